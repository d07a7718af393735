//! Files that HAProxy reads.

use crate::{
    model::certificate::CertificateDigest,
    sources::certificate::CertificateStore,
    support::{atomic_file::FileAccess, secret::SecretPem},
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

fn secret(text: &str) -> SecretPem {
    SecretPem::new(Zeroizing::new(text.to_owned()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn file_has_content_and_permissions() {
    for (access, directory_mode, file_mode) in
        [(FileAccess::Private, 0o700, 0o600), (FileAccess::Shared, 0o750, 0o640)]
    {
        let state = tempfile::tempdir().unwrap();
        let store = CertificateStore::open(state.path(), access).unwrap();
        let digest = CertificateDigest::of_pem("text");
        store.save(&digest, &secret("text")).unwrap();
        let path = store.path(&digest);
        assert_eq!(path, state.path().join(format!("certs/{digest}.pem")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (directory_mode, file_mode));
    }
}

#[test]
fn existing_directory_loses_permissions_of_other_users() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("certs");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    CertificateStore::open(state.path(), FileAccess::Private).unwrap();
    assert_eq!(mode(&directory), 0o700);
}

#[test]
fn default_certificate_changes_and_is_never_unused() {
    for (access, file_mode) in [(FileAccess::Private, 0o600), (FileAccess::Shared, 0o640)] {
        let state = tempfile::tempdir().unwrap();
        let store = CertificateStore::new(state.path(), access);
        assert_eq!(store.read_default(), None);
        let path = state.path().join("certs/default.pem");
        let inode = || fs::metadata(&path).unwrap().ino();
        let mut inodes = Vec::new();
        for text in ["first", "second", "second"] {
            store.save_default(&secret(text)).unwrap();
            assert_eq!(store.read_default(), Some(secret(text)));
            assert_eq!(mode(&path), file_mode);
            inodes.push(inode());
        }
        assert_eq!(inodes[1], inodes[2], "an equal file is not written");
        // A crash left it.
        fs::write(path.with_file_name(".default.pem.AbCdEf.docker-glue"), "half").unwrap();
        assert_eq!(store.remove_unused(&BTreeSet::new(), Duration::ZERO).unwrap(), 1);
        assert_eq!(store.read_default(), Some(secret("second")));
    }
}

#[test]
fn equal_file_is_not_written_and_damaged_one_is() {
    let state = tempfile::tempdir().unwrap();
    let store = CertificateStore::open(state.path(), FileAccess::Private).unwrap();
    let digest = CertificateDigest::of_pem("text");
    let path = store.path(&digest);
    let save = || {
        store.save(&digest, &secret("text")).unwrap();
        fs::metadata(&path).unwrap().ino()
    };
    let first = save();
    assert_eq!(save(), first);
    fs::write(&path, "te").unwrap();
    assert_ne!(save(), first);
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
}

#[test]
fn store_that_cannot_be_written_is_an_error_with_path() {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("certs"), "a file").unwrap();
    let error = CertificateStore::open(state.path(), FileAccess::Private).unwrap_err();
    assert!(error.to_string().contains("/certs: "), "{error}");
}

#[test]
fn unused_old_files_are_removed() {
    let state = tempfile::tempdir().unwrap();
    let store = CertificateStore::open(state.path(), FileAccess::Private).unwrap();
    let digests = ["used", "unused", "new"].map(CertificateDigest::of_pem);
    let [used, unused, new] = digests;
    for digest in digests {
        store.save(&digest, &secret("text")).unwrap();
    }
    let directory = state.path().join("certs");
    let staged = directory.join(format!(".{unused}.pem.abc.docker-glue"));
    let foreign = directory.join("README.pem");
    let yesterday = SystemTime::now() - Duration::from_hours(24);
    for path in [&staged, &foreign] {
        fs::write(path, "text").unwrap();
    }
    for path in [&staged, &foreign, &store.path(&used), &store.path(&unused)] {
        fs::File::open(path).unwrap().set_modified(yesterday).unwrap();
    }
    let removed = store.remove_unused(&BTreeSet::from([used]), Duration::from_hours(1)).unwrap();
    assert_eq!(removed, 2);
    for (path, exists) in [
        (staged, false),
        (store.path(&unused), false),
        (foreign, true),
        (store.path(&used), true),
        (store.path(&new), true),
    ] {
        assert_eq!(path.exists(), exists, "{}", path.display());
    }
}
