//! The directory from which HAProxy reads certificates: one file for each, named by its digest and never changed,
//! and that of the default certificate.

use crate::{
    model::certificate::CertificateDigest,
    support::{
        atomic_file::{self, FileAccess, WriteError},
        durable,
        secret::SecretPem,
    },
};
use std::{
    collections::BTreeSet,
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

const DIRECTORY: &str = "certs";
const EXTENSION: &str = "pem";
/// Name of the default certificate, whose content changes, without its extension.
const DEFAULT_STEM: &str = "default";

/// The files of certificates with their keys, in `STATE/certs/`.
#[derive(Debug, Clone)]
pub struct CertificateStore {
    directory: PathBuf,
    access: FileAccess,
}

impl CertificateStore {
    /// Creates the directory, if it does not exist, and sets its permissions.
    pub fn open(state_dir: &Path, access: FileAccess) -> Result<Self, WriteError> {
        let store = Self::new(state_dir, access);
        store.create_directory()?;
        Ok(store)
    }

    /// Returns a store whose directory is created with the first file.
    pub fn new(state_dir: &Path, access: FileAccess) -> Self {
        Self { directory: state_dir.join(DIRECTORY), access }
    }

    fn create_directory(&self) -> Result<(), WriteError> {
        atomic_file::create_directory(&self.directory, self.access)?;
        let set = atomic_file::set_directory_mode(&self.directory, self.access);
        set.map_err(|why| WriteError::new(&self.directory, why))
    }

    /// Returns the path of a certificate's file, whether it exists or not.
    pub fn path(&self, digest: &CertificateDigest) -> PathBuf {
        self.directory.join(format!("{digest}.{EXTENSION}"))
    }

    /// Writes a certificate's file, and syncs it. A file with this content is not written again.
    pub fn save(&self, digest: &CertificateDigest, pem: &SecretPem) -> Result<(), WriteError> {
        let path = self.path(digest);
        let existing = atomic_file::read_regular(&path).map(Zeroizing::new);
        if existing.is_some_and(|text| *text == *pem.reveal()) {
            return Ok(());
        }
        if !self.directory.exists() {
            self.create_directory()?;
        }
        atomic_file::stage_file(&path, pem.reveal(), self.access)?.replace(&path)
    }

    /// Writes the file of the default certificate, and syncs it. A file with this content is not written again.
    pub fn save_default(&self, pem: &SecretPem) -> Result<(), WriteError> {
        if self.read_default().is_some_and(|stored| stored == *pem) {
            return Ok(());
        }
        if !self.directory.exists() {
            self.create_directory()?;
        }
        let path = self.default_path();
        atomic_file::stage_file(&path, pem.reveal(), self.access)?.replace(&path)
    }

    /// Reads the default certificate.
    pub fn read_default(&self) -> Option<SecretPem> {
        read_pem(&self.default_path())
    }

    /// Reads a certificate's file.
    pub fn read(&self, digest: &CertificateDigest) -> Option<SecretPem> {
        read_pem(&self.path(digest))
    }

    fn default_path(&self) -> PathBuf {
        self.directory.join(format!("{DEFAULT_STEM}.{EXTENSION}"))
    }

    /// Writes a CA's file, and syncs it. A file with this content is not written again.
    pub fn save_ca(&self, digest: &CertificateDigest, pem: &str) -> Result<(), WriteError> {
        let path = self.directory.join(format!("{digest}.ca.{EXTENSION}"));
        if atomic_file::read_regular(&path).is_some_and(|text| text == pem) {
            return Ok(());
        }
        atomic_file::stage_file(&path, pem, self.access)?.replace(&path)
    }

    /// Whether a file of the right length exists: a cheap check of what was saved earlier.
    pub(super) fn is_present(&self, digest: &CertificateDigest, bytes: usize) -> bool {
        let metadata = fs::symlink_metadata(self.path(digest));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes as u64)
    }

    /// Removes files that are not in `keep` and were written longer than `older_than` ago, and remains of interrupted
    /// writes. Returns how many files were removed.
    pub fn remove_unused(
        &self,
        keep: &BTreeSet<CertificateDigest>,
        older_than: Duration,
    ) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if is_unused(&entry, keep) && is_older(&entry, older_than) {
                durable::remove(&entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn read_pem(path: &Path) -> Option<SecretPem> {
    atomic_file::read_regular(path).map(|text| SecretPem::new(Zeroizing::new(text)))
}

/// Whether the name is that of a certificate which is not kept, or of a file that was never completed. Other files are
/// not docker-balancer's.
fn is_unused(entry: &DirEntry, keep: &BTreeSet<CertificateDigest>) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let digest = |text: &str| text.parse::<CertificateDigest>().ok();
    let stem = name.strip_suffix(".pem").and_then(digest);
    let staged = || {
        let (stem, _) = name.strip_prefix('.')?.split_once('.')?;
        let prefix = format!(".{stem}.{EXTENSION}.");
        let is_ours = stem == DEFAULT_STEM || digest(stem).is_some();
        (is_ours && atomic_file::is_staged(&name, &prefix)).then_some(())
    };
    stem.is_some_and(|digest| !keep.contains(&digest)) || staged().is_some()
}

fn is_older(entry: &DirEntry, age: Duration) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| age <= elapsed))
}
