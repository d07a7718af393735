//! Secrets, which are not printed: in memory, and in files of the settings.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
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

/// The longest file with a secret that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A file with a secret cannot be used. The text has no part of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("cannot read {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("all users have access to {path}, which contains a secret; run chmod o= {path}", path = .0.display())]
    Public(PathBuf),
}

/// Reads a text file that only its owner and its group have access to.
///
/// # Errors
/// If other users have access, or the file is no text or longer than 64 KiB.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let unreadable = |why| SecretFileError::Unreadable { path: path.to_owned(), why };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.mode() & 0o007 != 0 {
        return Err(SecretFileError::Public(path.to_owned()));
    }
    if MAX_FILE_BYTES < metadata.len() {
        return Err(unreadable(io::Error::other("it is too long")));
    }
    // A text that grows would leave copies in memory that are not overwritten.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
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
