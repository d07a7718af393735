//! A directory that several balancers share, on a disk or by NFS.
//!
//! It needs only files, links and renames: no locks, and no notifications. A file has its name when it is complete.

use super::{super::blocking::run_blocking, EntryKind, SharedStore, SharedStoreError};
use crate::support::{
    atomic_file::{FileAccess, WriteError, create_directory, parent_directory, stage_file},
    durable,
};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// The longest file that is read. A balancer with 20,000 hosts writes less.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// The most files of a folder that are read.
const MAX_ENTRIES: usize = 1000;
/// How many leases are kept. A balancer that tries to create an earlier one finds that it exists.
const KEPT_LEASES: u64 = 16;
/// Terms above this one are no terms of this program.
const MAX_TERM: u64 = 1 << 53;
/// The longest time that the end of the program waits for the store.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// A directory on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    folder: PathBuf,
    /// The file in which this balancer keeps that the directory has been used.
    memo: PathBuf,
    is_memo_written: Arc<AtomicBool>,
}

impl Directory {
    /// `state` is the folder of this balancer's own certificates.
    pub(crate) fn new(folder: &Path, state: &Path) -> Self {
        let memo = state.join("shared-store");
        Self { folder: folder.to_owned(), memo, is_memo_written: Arc::default() }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, SharedStoreError> {
        let copy = self.clone();
        run_blocking(move || work(&copy)).await.map_err(store_error)
    }

    fn leader_folder(&self) -> PathBuf {
        self.folder.join("leader")
    }

    /// Creates a folder of the store, and the store itself before its first use.
    fn create_folder(&self, folder: &Path) -> Result<(), WriteError> {
        if !self.leader_folder().is_dir() {
            self.check_unused()?;
        }
        create_directory(folder, FileAccess::Private)
    }

    fn lease_path(&self, term: u64) -> PathBuf {
        self.leader_folder().join(format!("{term}.json"))
    }

    fn folder_of(&self, kind: EntryKind) -> PathBuf {
        self.folder.join(match kind {
            EntryKind::Member => "members",
            EntryKind::Challenge => "challenges",
            EntryKind::Request => "requests",
        })
    }

    fn entry_path(&self, kind: EntryKind, name: &str) -> PathBuf {
        self.folder_of(kind).join(format!("{name}.json"))
    }

    fn newest_lease(&self) -> Result<Option<(u64, Vec<u8>)>, WriteError> {
        let terms = list_names(&self.leader_folder())?;
        let terms = terms.iter().filter_map(|name| name.parse().ok());
        let Some(term) = terms.filter(|term| *term < MAX_TERM).max() else {
            return self.check_unused().map(|()| None);
        };
        let path = self.lease_path(term);
        // It is removed only when there are later ones.
        let text = read_bounded(&path)?.unwrap_or_default();
        // A full disk of this balancer does not keep the others' store from being read.
        let _ = self.keep_memo();
        Ok(Some((term, text)))
    }

    /// # Errors
    /// If this balancer has used the directory before. Then another one is in its place, as when it is not mounted.
    fn check_unused(&self) -> Result<(), WriteError> {
        match read_bounded(&self.memo)? {
            Some(text) if text == self.memo_text().as_bytes() => {
                let why = format!(
                    "the directory was used before, and has nothing of it any more; is it mounted? \
                     To begin again, remove {}",
                    self.memo.display()
                );
                Err(WriteError { path: self.folder.clone(), why: io::Error::other(why) })
            }
            _ => Ok(()),
        }
    }

    fn keep_memo(&self) -> Result<(), WriteError> {
        if self.is_memo_written.load(Ordering::Relaxed) {
            return Ok(());
        }
        let text = self.memo_text();
        let is_present =
            read_bounded(&self.memo)?.is_some_and(|present| present == text.as_bytes());
        if !is_present {
            create_directory(parent_directory(&self.memo), FileAccess::Private)?;
            write_file(&self.memo, &text)?;
        }
        self.is_memo_written.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn memo_text(&self) -> String {
        format!("{}\n", self.folder.display())
    }

    fn create_new_lease(&self, term: u64, text: &str) -> Result<bool, WriteError> {
        let path = self.lease_path(term);
        self.create_folder(&self.leader_folder())?;
        let is_created = stage_file(&path, text, FileAccess::Private)?.create(&path)?;
        // A server may have created the file, and its answer may be lost: the next try then finds the file.
        let is_own =
            is_created || read_bounded(&path)?.is_some_and(|found| found == text.as_bytes());
        if is_own {
            self.remove_old_leases(term);
        }
        Ok(is_own)
    }

    fn remove_old_leases(&self, term: u64) {
        let names = list_names(&self.leader_folder()).unwrap_or_default();
        let terms = names.iter().filter_map(|name| name.parse::<u64>().ok());
        for old in terms.filter(|old| old + KEPT_LEASES <= term) {
            let _ = durable::remove(&self.lease_path(old));
        }
    }

    fn read_entries(&self, kind: EntryKind) -> Result<Vec<(String, Vec<u8>)>, WriteError> {
        let names = list_names(&self.folder_of(kind))?.into_iter().take(MAX_ENTRIES);
        let read = names.filter_map(|name| {
            let text = read_bounded(&self.entry_path(kind, &name)).transpose()?;
            Some(text.map(|text| (name, text)))
        });
        read.collect()
    }
}

impl SharedStore for Directory {
    async fn read_lease(&self) -> Result<Option<(u64, Vec<u8>)>, SharedStoreError> {
        self.run(Self::newest_lease).await
    }

    async fn create_lease(&self, term: u64, text: &str) -> Result<bool, SharedStoreError> {
        let text = text.to_owned();
        self.run(move |store| store.create_new_lease(term, &text)).await
    }

    async fn write_lease(&self, term: u64, text: &str) -> Result<(), SharedStoreError> {
        let text = text.to_owned();
        self.run(move |store| write_file(&store.lease_path(term), &text)).await
    }

    fn release(&self, lease: Option<(u64, String)>, member: &str) {
        let (store, member) = (self.clone(), member.to_owned());
        let (done, ended) = mpsc::channel();
        // The store may not answer, and the program has to end.
        let work = thread::Builder::new().name("release".to_owned()).spawn(move || {
            if let Some((term, text)) = lease {
                let _ = write_file(&store.lease_path(term), &text);
            }
            let _ = durable::remove(&store.entry_path(EntryKind::Member, &member));
            let _ = done.send(());
        });
        if work.is_ok() {
            let _ = ended.recv_timeout(RELEASE_TIMEOUT);
        }
    }

    async fn list(&self, kind: EntryKind) -> Result<Vec<(String, Vec<u8>)>, SharedStoreError> {
        self.run(move |store| store.read_entries(kind)).await
    }

    async fn read(&self, kind: EntryKind, name: &str) -> Result<Option<Vec<u8>>, SharedStoreError> {
        let name = name.to_owned();
        self.run(move |store| read_bounded(&store.entry_path(kind, &name))).await
    }

    async fn write(&self, kind: EntryKind, name: &str, text: &str) -> Result<(), SharedStoreError> {
        let (name, text) = (name.to_owned(), zeroize::Zeroizing::new(text.to_owned()));
        self.run(move |store| {
            store.create_folder(&store.folder_of(kind))?;
            write_file(&store.entry_path(kind, &name), &text)
        })
        .await
    }

    async fn remove(&self, kind: EntryKind, name: &str) -> Result<(), SharedStoreError> {
        let name = name.to_owned();
        self.run(move |store| {
            let path = store.entry_path(kind, &name);
            durable::remove(&path).map_err(|why| WriteError { path, why })
        })
        .await
    }
}

/// The hint of [`WriteError`] names options that do not set this directory.
fn store_error(WriteError { path, why }: WriteError) -> SharedStoreError {
    let hint = match why.kind() {
        ErrorKind::PermissionDenied => {
            "; all balancers that share the directory have to run as the same user"
        }
        _ => "",
    };
    SharedStoreError(format!("the shared store: {}: {why}{hint}", path.display()))
}

fn write_file(path: &Path, text: &str) -> Result<(), WriteError> {
    stage_file(path, text, FileAccess::Private)?.replace(path)
}

/// Returns the names of the JSON files in a folder, in order; none if there is no such folder.
fn list_names(folder: &Path) -> Result<Vec<String>, WriteError> {
    let failed = |why| WriteError { path: folder.to_owned(), why };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The folder above is missing too if nothing is mounted, which is not an empty store.
            return Ok(Vec::new());
        }
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // The names of files that are not complete begin with a dot.
        let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(stem.filter(|stem| !stem.starts_with('.')).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns the content of a file; nothing of one that is too long or not a regular file. `None` if there is none.
fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, WriteError> {
    let failed = |why| WriteError { path: path.to_owned(), why };
    // To open a pipe would block.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_file() || MAX_FILE_BYTES < found.len() => {
            return Ok(Some(Vec::new()));
        }
        Ok(_) => {}
    }
    let read = || {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    match read() {
        Err(error) if is_gone(&error) => Ok(None),
        read => read.map(Some).map_err(failed),
    }
}

/// Whether the file was removed while it was read; ESTALE is NFS's word for that.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}

#[cfg(test)]
mod tests;
