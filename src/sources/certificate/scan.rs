//! Lists the files in the directories of certificates.

use super::problem::{CertificateProblem, CertificateProblemKind as Kind};
use crate::support::durable;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// How many levels of directories below a configured one are read.
const MAX_DEPTH: usize = 2;
/// The most files below a configured directory.
pub(super) const MAX_FILES: usize = 20_000;

/// The coarsest resolution of times in a file system, in seconds.
const CLOCK_RESOLUTION: i64 = 2;

/// The files of all directories, without their content. Equal as long as no file changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// The files of each directory, by path.
    pub directories: BTreeMap<PathBuf, BTreeMap<PathBuf, FileStamp>>,
    pub problems: Vec<CertificateProblem>,
    /// Directories in which a change of a file or link is visible: those above and those of link targets.
    pub watched: BTreeSet<PathBuf>,
}

/// Changes whenever a file is written, replaced, or changes its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub bytes: u64,
    pub mode: u32,
    file: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Lists the files below the configured directories. Links are followed; hidden files and files other than regular
/// ones are skipped.
pub(super) fn scan_directories(directories: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for directory in directories {
        scan.watched.insert(directory.clone());
        let mut remaining = MAX_FILES;
        scan.add_directory(directory, MAX_DEPTH, &mut remaining);
        if remaining == 0 {
            scan.add_problem(directory, Kind::TooManyFiles { limit: MAX_FILES });
        }
    }
    scan
}

impl Scan {
    /// Whether the path was listed as a file.
    pub(super) fn contains(&self, path: &Path) -> bool {
        let files = path.parent().and_then(|directory| self.directories.get(directory));
        files.is_some_and(|files| files.contains_key(path))
    }

    fn add_problem(&mut self, path: &Path, kind: Kind) {
        self.problems.push(CertificateProblem::new(path, kind));
    }

    fn add_directory(&mut self, directory: &Path, depth: usize, remaining: &mut usize) {
        let entries = match list_entries(directory) {
            Ok(entries) => entries,
            Err(error) => {
                return self.add_problem(directory, Kind::Unreadable { why: error.to_string() });
            }
        };
        self.watched.insert(directory.to_owned());
        for path in entries {
            self.add_entry(directory, path, depth, remaining);
        }
    }

    fn add_entry(&mut self, directory: &Path, path: PathBuf, depth: usize, remaining: &mut usize) {
        if durable::irregular_kind(&path) == Some("a directory") {
            if 0 < depth {
                self.add_link_target(&path);
                self.add_directory(&path, depth - 1, remaining);
            }
            return;
        }
        // A link that leads nowhere, or a file that was removed meanwhile.
        let Ok(metadata) = fs::metadata(&path) else { return self.add_link_target(&path) };
        if !metadata.is_file() || *remaining == 0 {
            return;
        }
        *remaining -= 1;
        self.add_link_target(&path);
        let files = self.directories.entry(directory.to_owned()).or_default();
        files.insert(path, FileStamp::new(&metadata));
    }

    /// Adds the directory that contains the target of a link, if `path` is a link.
    fn add_link_target(&mut self, path: &Path) {
        if !path.is_symlink() {
            return;
        }
        let target = crate::support::atomic_file::resolve_links(path);
        self.watched.extend(target.parent().map(Path::to_owned));
    }
}

impl FileStamp {
    fn new(metadata: &fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            mode: metadata.mode(),
            file: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether any write after `now`, in Unix time, changes the stamp: its times are not those of the current moment.
    pub(super) fn is_settled(&self, now: i64) -> bool {
        self.modified.0.max(self.changed.0).saturating_add(CLOCK_RESOLUTION) < now
    }

    /// Whether users other than the owner and the group may read the file.
    pub(super) fn is_world_readable(&self) -> bool {
        self.mode & 0o004 != 0
    }
}

/// Returns the paths of all entries that are not hidden, sorted.
fn list_entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
