//! Reads and follows the lists of certificates that docker-balancers write for other programs.

use super::{
    public_list::{PublicCertificate, PublicCertificateList},
    thread::run_in_thread,
    watch::{LOOK_INTERVAL, MAX_SCANS, wait_for_trigger},
};
use crate::support::inotify::{ChangeReceiver, DirectoryWatch, start_watch};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf, absolute},
    sync::Arc,
};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

/// Limit of a list, which has less than 1 kB for a certificate.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A list to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListFile {
    pub path: PathBuf,
    /// If set, the file has to belong to this user or root.
    pub owner: Option<u32>,
}

/// The certificates of each list that was read, by the path of the list. A list that does not exist is absent: nothing
/// is known about its certificates.
pub type CertificateLists = BTreeMap<PathBuf, Arc<Vec<PublicCertificate>>>;

/// Reads the lists again after a change, and at least every minute.
#[derive(Debug, Default)]
struct ListReader {
    lists: CertificateLists,
    versions: BTreeMap<PathBuf, FileVersion>,
    /// The last error of each list, which is logged once.
    errors: BTreeMap<PathBuf, String>,
}

/// Differs if the file was replaced or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// Returns the lists that exist and are valid.
pub async fn read_lists(files: BTreeSet<ListFile>) -> Arc<CertificateLists> {
    let read = run_in_thread(move || {
        let mut reader = ListReader::default();
        reader.read(&files);
        reader.lists
    });
    Arc::new(read.await)
}

/// Sends the lists of `files` after each change, until the sender of `files` is dropped. A list that was removed or
/// damaged keeps its last content.
pub async fn follow_lists(
    mut files: watch::Receiver<BTreeSet<ListFile>>,
    sender: watch::Sender<Arc<CertificateLists>>,
) {
    let (changes, mut watch) = start_watch();
    let mut reader = ListReader::default();
    loop {
        let current = files.borrow_and_update().clone();
        (reader, watch) = run_in_thread(move || {
            // The watch comes first, so that no change is missed.
            watch_directories(&mut watch, &current);
            reader.read(&current);
            (reader, watch)
        })
        .await;
        sender.send_if_modified(|lists| {
            let differs = **lists != reader.lists;
            if differs {
                *lists = Arc::new(reader.lists.clone());
            }
            differs
        });
        if !wait_for_change(&changes, &mut files).await {
            return;
        }
    }
}

/// Returns `false` if the sender of `files` was dropped.
async fn wait_for_change(
    changes: &ChangeReceiver,
    files: &mut watch::Receiver<BTreeSet<ListFile>>,
) -> bool {
    tokio::select! {
        _ = wait_for_trigger(changes, Instant::now() + LOOK_INTERVAL) => true,
        result = files.changed() => result.is_ok(),
    }
}

/// Watches the directories of the lists. Of a directory that does not exist, the one in which it will appear is watched.
fn watch_directories(watch: &mut DirectoryWatch, files: &BTreeSet<ListFile>) {
    for _ in 0..MAX_SCANS {
        let paths = files.iter().filter_map(|file| absolute(&file.path).ok());
        let existing = |path: PathBuf| {
            path.ancestors().skip(1).find(|path| path.is_dir()).map(Path::to_path_buf)
        };
        // A directory may have appeared before the one above it was watched.
        if !watch.watch_only(&paths.filter_map(existing).collect()) {
            return;
        }
    }
}

impl ListReader {
    fn read(&mut self, files: &BTreeSet<ListFile>) {
        let is_listed = |path: &PathBuf| files.iter().any(|file| file.path == *path);
        self.lists.retain(|path, _| is_listed(path));
        self.versions.retain(|path, _| is_listed(path));
        for file in files {
            match self.read_if_changed(file) {
                Ok(Some(list)) => {
                    self.errors.remove(&file.path);
                    self.lists.insert(file.path.clone(), Arc::new(list.certificates));
                }
                Ok(None) => {}
                Err(text) => self.log_error(&file.path, text),
            }
        }
    }

    /// Returns `None` if the file does not exist or is the same as before.
    fn read_if_changed(
        &mut self,
        ListFile { path, owner }: &ListFile,
    ) -> Result<Option<PublicCertificateList>, String> {
        let mut file = match open_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| error.to_string())?,
        };
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        if owner.is_some_and(|owner| ![0, owner].contains(&metadata.uid())) {
            return Err("it belongs to another user; to use it, set --certificate-list".to_owned());
        }
        if !metadata.is_file() || MAX_BYTES < metadata.len() {
            return Err("it is not a file of at most 64 MiB".to_owned());
        }
        let version = FileVersion::new(&metadata);
        if self.versions.get(path) == Some(&version) {
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| error.to_string())?;
        let list = PublicCertificateList::parse(&text)?;
        self.versions.insert(path.clone(), version);
        Ok(Some(list))
    }

    fn log_error(&mut self, path: &Path, text: String) {
        if self.errors.get(path) != Some(&text) {
            warn!("cannot read the list of certificates {}: {text}", path.display());
            self.errors.insert(path.to_owned(), text);
        }
    }
}

/// Does not wait for a writer if the path is a pipe.
fn open_file(path: &Path) -> io::Result<fs::File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

impl FileVersion {
    fn new(metadata: &fs::Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), size: metadata.len(), modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::durable;
    use std::{io::Write, time::Duration};
    use tempfile::TempDir;
    use tokio::{task::JoinSet, time::timeout};

    const DEADLINE: Duration = Duration::from_secs(50);

    fn list_json(digest: &str) -> String {
        let certificate = PublicCertificate::sample("acme/a.test", "a.test", digest);
        PublicCertificateList { certificates: vec![certificate] }.to_json()
    }

    /// Replaces the list, as docker-balancer does.
    fn replace(path: &Path, text: &str) {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        durable::replace(file, path).unwrap();
    }

    fn list_file(directory: &TempDir, owner: Option<u32>) -> ListFile {
        ListFile { path: directory.path().join("list.json"), owner }
    }

    fn digests(lists: &CertificateLists) -> Vec<&str> {
        lists.values().flat_map(|list| &**list).map(|found| found.digest.as_str()).collect()
    }

    #[tokio::test]
    async fn replaced_list_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        // docker-balancer creates the directory when it starts.
        let path = directory.path().join("run/glue/list.json");
        let file = ListFile { path: path.clone(), owner: None };
        let (_files, files) = watch::channel(BTreeSet::from([file]));
        let (sender, mut lists) = watch::channel(Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_lists(files, sender));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for digest in ["one", "two", "three"] {
            replace(&path, &list_json(digest));
            let found = lists.wait_for(|lists: &Arc<CertificateLists>| digests(lists) == [digest]);
            timeout(DEADLINE, found).await.unwrap().unwrap();
        }
    }

    #[test]
    fn damaged_or_removed_list_keeps_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let (files, mut reader) = ([list_file(&directory, None)].into(), ListReader::default());
        for (text, expected) in [
            (Some(list_json("one")), "one"),
            (Some("{".to_owned()), "one"),
            (Some(list_json("two")), "two"),
            (None, "two"),
            (Some(list_json("three")), "three"),
        ] {
            match text {
                Some(text) => replace(&directory.path().join("list.json"), &text),
                None => durable::remove(&directory.path().join("list.json")).unwrap(),
            }
            reader.read(&files);
            assert_eq!(digests(&reader.lists), [expected]);
        }
        reader.read(&BTreeSet::new());
        assert!(reader.lists.is_empty());
    }

    #[tokio::test]
    async fn list_in_default_place_of_another_user_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        replace(&directory.path().join("list.json"), &list_json("one"));
        let uid = directory.path().metadata().unwrap().uid();
        for (owner, expected) in [(None, 1), (Some(uid), 1), (Some(uid + 1), usize::from(uid == 0))]
        {
            let lists = read_lists([list_file(&directory, owner)].into()).await;
            assert_eq!(lists.len(), expected, "{owner:?}");
        }
        assert!(
            read_lists([list_file(&tempfile::tempdir().unwrap(), None)].into()).await.is_empty()
        );
    }
}
