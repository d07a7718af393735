//! Secrets in memory, by the digest of each. Neither the values nor their keys are printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// A PEM text that contains a private key. The memory is overwritten when it is dropped. It has no `Display` and
/// cannot be serialized, and `Debug` prints only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPem(Zeroizing<String>);

/// The PEM texts with keys that HAProxy may need. Copies share one content.
pub struct Vault<K>(Arc<Mutex<BTreeMap<K, Arc<SecretPem>>>>);

impl SecretPem {
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text. Do not print it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord> Vault<K> {
    pub fn insert(&self, key: K, pem: Arc<SecretPem>) {
        self.content().insert(key, pem);
    }

    pub fn get(&self, key: &K) -> Option<Arc<SecretPem>> {
        self.content().get(key).cloned()
    }

    /// Removes all secrets but those of `keep`. A copy that was returned by [`Vault::get`] lives on until it is dropped.
    pub fn retain(&self, keep: &BTreeSet<K>) {
        self.content().retain(|key, _| keep.contains(key));
    }

    pub fn len(&self) -> usize {
        self.content().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Vault<K> {
    /// A panic of another holder leaves a complete map, because each change is one call.
    fn content(&self) -> MutexGuard<'_, BTreeMap<K, Arc<SecretPem>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Default for Vault<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Vault<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for SecretPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPem({} bytes)", self.len())
    }
}

impl<K> fmt::Debug for Vault<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({} secrets)", self.content().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Arc<SecretPem> {
        Arc::new(SecretPem::new(Zeroizing::new(text.to_owned())))
    }

    #[test]
    fn copies_share_content_and_retain_removes_others() {
        let vault = Vault::default();
        let copy = vault.clone();
        for key in 1..=3 {
            vault.insert(key, secret("old"));
        }
        vault.insert(2, secret("new"));
        assert_eq!(copy.get(&2).unwrap().reveal(), "new");
        copy.retain(&BTreeSet::from([2, 4]));
        assert_eq!((vault.len(), vault.get(&1), vault.get(&4)), (1, None, None));
    }

    #[test]
    fn debug_prints_counts_only() {
        let vault = Vault::default();
        vault.insert("digest", secret("KEYTEXT"));
        let printed = format!("{vault:?} {:#?} {:?}", vault, vault.get(&"digest"));
        assert_eq!(printed, "Vault(1 secrets) Vault(1 secrets) Some(SecretPem(7 bytes))");
    }
}
