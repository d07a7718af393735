//! Whole or not at all: a file is written beside its place, synced, and renamed over it.

use crate::support::durable;
use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

const STAGED_SUFFIX: &str = ".docker-glue";

/// Who may read what we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// HAProxy is ours and reads as the user it is started by.
    Private,
    /// HAProxy may run as another user of our group. The base file may hold passwords, so that others read nothing.
    Shared,
}

/// Something could not be written, and what to do about it. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {why}{}", path.display(), write_hint(why.kind()))]
pub struct WriteError {
    pub path: PathBuf,
    /// Not called `source`: who prints the chain would say it twice.
    pub why: io::Error,
}

/// A file beside its place. Dropped, it is gone.
#[derive(Debug)]
pub struct Staged(NamedTempFile);

impl WriteError {
    /// A temporary file's own name, another one each time, is left out of the reason.
    pub(crate) fn new(path: &Path, why: io::Error) -> Self {
        let named = why.raw_os_error().is_none() && why.kind() != io::ErrorKind::Other;
        let why = if named { why.kind().into() } else { why };
        Self { path: path.to_owned(), why }
    }
}

fn write_hint(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Kind;
    match kind {
        Kind::StorageFull | Kind::QuotaExceeded => "; free some disk space there",
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
            "; make it writable for this user, or choose another place with --config-file or --state-dir"
        }
        _ => "",
    }
}

impl FileAccess {
    fn file_permissions(self) -> Permissions {
        Permissions::from_mode(match self {
            Self::Private => 0o600,
            Self::Shared => 0o640,
        })
    }

    fn directory_mode(self) -> u32 {
        match self {
            Self::Private => 0o700,
            Self::Shared => 0o750,
        }
    }
}

impl Staged {
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The commit.
    pub fn replace(self, target: &Path) -> Result<(), WriteError> {
        let at = |e| WriteError::new(target, e);
        durable::replace(self.0, target).map_err(at)
    }
}

/// Writes beside `target`, with the owner of the file that it is to replace, and its mode but for what others may.
pub(crate) fn stage_file(
    target: &Path,
    content: &str,
    access: FileAccess,
) -> Result<Staged, WriteError> {
    check_regular(target)?;
    let at = |e| WriteError::new(target, e);
    let mut builder = tempfile::Builder::new();
    builder.suffix(STAGED_SUFFIX);
    let prefix = staged_prefix(target);
    let mut file = builder.prefix(&prefix).tempfile_in(parent_directory(target)).map_err(at)?;
    file.write_all(content.as_bytes()).map_err(at)?;
    copy_metadata(file.as_file(), file.path(), target, access).map_err(at)?;
    Ok(Staged(file))
}

/// # Errors
/// What is there cannot be replaced by a file: as root a rename would take a device away from everybody.
pub(crate) fn check_regular(target: &Path) -> Result<(), WriteError> {
    let Some(what) = durable::irregular_kind(target) else { return Ok(()) };
    let why = format!("it is {what}, not a file; set a file with --config-file");
    Err(WriteError::new(target, io::Error::other(why)))
}

/// The text of a regular file: a pipe would be waited for.
pub(crate) fn read_regular(path: &Path) -> Option<String> {
    if durable::irregular_kind(path).is_some() { None } else { fs::read_to_string(path).ok() }
}

fn copy_metadata(file: &File, path: &Path, target: &Path, access: FileAccess) -> io::Result<()> {
    match fs::metadata(target) {
        Ok(old) if access == FileAccess::Shared => {
            // Only root may give a file away; for anyone else it stays theirs.
            let _ = chown(path, Some(old.uid()), Some(old.gid()));
            file.set_permissions(Permissions::from_mode(old.mode() & 0o770))
        }
        _ => file.set_permissions(access.file_permissions()),
    }
}

/// A new file, on disk when this returns.
pub(crate) fn write_new(path: &Path, content: &str, access: FileAccess) -> Result<(), WriteError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(access.file_permissions())?;
        file.sync_all()
    };
    write().map_err(|e| WriteError::new(path, e))
}

pub(crate) fn create_directory(path: &Path, access: FileAccess) -> Result<(), WriteError> {
    let mut builder = fs::DirBuilder::new();
    let create = builder.recursive(true).mode(access.directory_mode()).create(path);
    create.map_err(|e| WriteError::new(path, e))
}

pub(crate) fn set_directory_mode(path: &Path, access: FileAccess) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(access.directory_mode()))
}

/// Takes away what others may do with it.
pub(crate) fn restrict_access(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o770))
}

pub(crate) fn sync_directory(dir: &Path) -> Result<(), WriteError> {
    durable::sync_folder(dir).map_err(|e| WriteError::new(dir, e))
}

/// Keeps the file under another name and says which, unless it is kept already.
pub(crate) fn back_up(target: &Path, content: &[u8]) -> Result<Option<PathBuf>, WriteError> {
    for name in backup_paths(target) {
        match fs::read(&name) {
            Ok(kept) if kept == content => return Ok(None),
            Ok(_) => {}
            Err(_) => return link_or_copy(target, &name).map(|()| Some(name)),
        }
    }
    unreachable!("found no free name next to the file")
}

/// The very file, with its owner and mode, where links can be made.
fn link_or_copy(target: &Path, name: &Path) -> Result<(), WriteError> {
    let kept = fs::hard_link(target, name).or_else(|_| fs::copy(target, name).map(drop));
    kept.map_err(|e| WriteError::new(name, e))
}

fn backup_paths(target: &Path) -> impl Iterator<Item = PathBuf> {
    let with = |end: String| {
        let mut name = target.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let first = ".before-docker-glue";
    std::iter::once(with(first.to_owned()))
        .chain((1..).map(move |n: u32| with(format!("{first}.{n}"))))
}

/// The file that a path means, links followed, though it may not exist yet.
pub(crate) fn resolve_links(target: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(target) {
        return real;
    }
    match fs::read_link(target) {
        Ok(to) => parent_directory(target).join(to),
        Err(_) => std::path::absolute(target).unwrap_or_else(|_| target.to_owned()),
    }
}

pub(crate) fn parent_directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn staged_prefix(target: &Path) -> String {
    format!(".{}.", target.file_name().unwrap_or_default().to_string_lossy())
}

pub(crate) fn is_staged(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix) && name.ends_with(STAGED_SUFFIX)
}
