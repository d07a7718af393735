//! Directories of CAs that labels name: read, stored for HAProxy, and followed.

use super::{
    pem::parse_pem,
    problem::{CertificateProblem, CertificateProblemKind as Kind},
    store::CertificateStore,
    thread::run_in_thread,
    watch::{LOOK_INTERVAL, wait_for_trigger},
};
use crate::model::{
    ca_index::{CaIndex, CaPurpose},
    certificate::{CertificateDigest, CertificateStem},
};
use crate::support::inotify::start_watch;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{sync::watch, time::Instant};

/// The most bytes of a CA's certificates. HAProxy before 3.4 accepts commands of 16 kB.
const MAX_CA_BYTES: usize = 15_000;
/// The largest file that is read, in bytes. Comments are not passed on.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// All CAs, and what is wrong with files of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaSnapshot {
    pub index: Arc<CaIndex>,
    /// Sorted, each with the purpose of its directory.
    pub problems: Arc<BTreeSet<(CaPurpose, CertificateProblem)>>,
    /// Whether the directories were read.
    pub is_complete: bool,
}

/// Directories of CAs.
pub type CaDirectories = Vec<(CaPurpose, PathBuf)>;

/// The directories, and the CAs that were read from them last.
#[derive(Debug)]
struct CaReader {
    directories: CaDirectories,
    /// `None`: nothing is stored.
    store: Option<CertificateStore>,
    cas: BTreeMap<PathBuf, Ca>,
}

#[derive(Debug, Clone)]
struct Ca {
    purpose: CaPurpose,
    name: CertificateStem,
    digest: CertificateDigest,
}

/// Follows the directories, and publishes a snapshot when their CAs have changed. Never returns.
pub async fn follow_cas(
    directories: CaDirectories,
    store: CertificateStore,
    sender: watch::Sender<CaSnapshot>,
) {
    let (changes, mut watch) = start_watch();
    let mut reader = CaReader { directories, store: Some(store), cas: BTreeMap::new() };
    loop {
        let (next, snapshot) = run_in_thread(move || {
            watch.watch_only(&reader.directories.iter().map(|(_, path)| path.clone()).collect());
            let snapshot = reader.read();
            ((reader, watch), snapshot)
        })
        .await;
        (reader, watch) = next;
        sender.send_if_modified(|last| {
            let differs = *last != snapshot;
            *last = snapshot;
            differs
        });
        wait_for_trigger(&changes, Instant::now() + LOOK_INTERVAL).await;
    }
}

/// Reads the directories once, and stores nothing.
pub fn read_cas(directories: CaDirectories) -> CaSnapshot {
    CaReader { directories, store: None, cas: BTreeMap::new() }.read()
}

impl CaReader {
    /// Reads all files. A CA whose file is broken stays as it was; one without a file does not exist any more.
    fn read(&mut self) -> CaSnapshot {
        let (mut cas, mut problems) = (BTreeMap::new(), BTreeSet::new());
        for (purpose, directory) in &self.directories {
            let files = list_files(directory);
            if let Err(error) = &files {
                let kind = Kind::Unreadable { why: error.to_string() };
                problems.insert((*purpose, CertificateProblem::new(directory, kind)));
            }
            for (name, path) in files.unwrap_or_default() {
                match self.read_ca(&path) {
                    Ok(digest) => drop(cas.insert(path, Ca { purpose: *purpose, name, digest })),
                    Err(kind) => {
                        problems.insert((*purpose, CertificateProblem::new(&path, kind)));
                        cas.extend(self.cas.remove(&path).map(|last| (path, last)));
                    }
                }
            }
        }
        self.cas = cas;
        let mut index = CaIndex::default();
        for Ca { purpose, name, digest } in self.cas.values() {
            index.insert(*purpose, name.clone(), *digest);
        }
        CaSnapshot { index: Arc::new(index), problems: Arc::new(problems), is_complete: true }
    }

    /// Reads a CA's file, and stores its certificates for HAProxy.
    fn read_ca(&self, path: &Path) -> Result<CertificateDigest, Kind> {
        let unreadable = |error: io::Error| Kind::Unreadable { why: error.to_string() };
        if MAX_FILE_BYTES < fs::metadata(path).map_err(unreadable)?.len() {
            return Err(Kind::FileTooLarge { limit: MAX_FILE_BYTES });
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let text = format_ca(&String::from_utf8_lossy(&bytes))?;
        let digest = CertificateDigest::of_pem(&text);
        if let Some(store) = &self.store {
            let stored = store.save_ca(&digest, &text);
            stored.map_err(|error| Kind::NotStored { why: error.to_string() })?;
        }
        Ok(digest)
    }
}

/// Returns the certificates of a file, without comments, keys and empty lines.
fn format_ca(text: &str) -> Result<String, Kind> {
    let file = parse_pem(text);
    if let Some(defect) = file.defect {
        return Err(defect);
    }
    let text: String =
        file.certificates.iter().map(|certificate| certificate.text.as_str()).collect();
    match text.len() {
        0 => Err(Kind::NotPem),
        length if MAX_CA_BYTES < length => Err(Kind::CaTooLarge { limit: MAX_CA_BYTES }),
        _ => Ok(text),
    }
}

/// Returns the files of CAs with their names. Of `X.crt` and `X.pem` the latter counts.
fn list_files(directory: &Path) -> io::Result<BTreeMap<CertificateStem, PathBuf>> {
    let mut paths: Vec<_> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let name = |path: &Path| {
        let extension = path.extension()?.to_str()?;
        let is_ca = matches!(extension, "pem" | "crt");
        path.file_stem()?.to_str().filter(|stem| is_ca && !stem.starts_with('.'))?.parse().ok()
    };
    Ok(paths.into_iter().filter_map(|path| Some((name(&path)?, path))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{atomic_file::FileAccess, durable};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn new_ca() -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn names(snapshot: &CaSnapshot) -> Vec<&'static str> {
        let all = ["internal", "other", "broken"];
        let has =
            |name: &&str| snapshot.index.find(CaPurpose::Backend, &name.parse().unwrap()).is_some();
        all.into_iter().filter(has).collect()
    }

    #[test]
    fn ca_of_broken_file_stays_and_ca_of_missing_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cas");
        fs::create_dir(&directory).unwrap();
        let store = CertificateStore::open(folder.path(), FileAccess::Private).unwrap();
        let directories = vec![(CaPurpose::Backend, directory.clone())];
        let cas = BTreeMap::new();
        let mut reader = CaReader { directories, store: Some(store), cas };
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        let ca = new_ca();
        write("internal.pem", &format!("# comment\r\n{ca}\n{}", new_ca()));
        write("other.crt", &ca);
        write("broken.pem", "nothing");
        write("readme.txt", &ca);
        let first = reader.read();
        assert_eq!(names(&first), ["internal", "other"]);
        assert_eq!(first.problems.len(), 1, "{first:?}");
        let digest = first.index.find(CaPurpose::Backend, &"other".parse().unwrap()).unwrap();
        let path = folder.path().join(format!("certs/{digest}.ca.pem"));
        assert_eq!(fs::read_to_string(path).unwrap(), ca);

        write("internal.pem", "-----BEGIN CERTIFICATE-----\nAAAA");
        write("broken.pem", &"a".repeat(70_000));
        durable::remove(&directory.join("other.crt")).unwrap();
        let second = reader.read();
        assert_eq!(names(&second), ["internal"]);
        assert_eq!(second.problems.len(), 2, "{second:?}");
        assert_eq!(reader.read(), second);
    }
}
