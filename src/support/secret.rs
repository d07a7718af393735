//! Secrets in memory, which are not printed.

use std::fmt;
use zeroize::Zeroizing;

/// A PEM text that contains a private key. The memory is overwritten when it is dropped. It has no `Display` and
/// cannot be serialized, and `Debug` prints only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPem(Zeroizing<String>);

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

impl fmt::Debug for SecretPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPem({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_length_only() {
        let secret = SecretPem::new(Zeroizing::new("KEYTEXT".to_owned()));
        assert_eq!(
            format!("{secret:?} {:?}", Some(&secret)),
            "SecretPem(7 bytes) Some(SecretPem(7 bytes))"
        );
    }
}
