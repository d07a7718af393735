//! Atomic file replacement: the new content is written to a temporary file in the same folder, synced, and renamed
//! over the target.

use crate::support::durable;
use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

const STAGED_SUFFIX: &str = ".docker-glue";

/// Who may read a file that this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Only the owner. This program starts HAProxy, which reads the file as the same user.
    Private,
    /// The owner and the group. HAProxy may run as another user of the same group. The base file may contain
    /// passwords, so other users have no access.
    Shared,
}

/// A file could not be written; the message says what to do about it. No file was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {why}{}", path.display(), write_hint(why.kind()))]
pub struct WriteError {
    pub path: PathBuf,
    /// The field is not called `source`, because a printed error chain would then repeat it.
    pub why: io::Error,
}

/// A temporary file next to its target. It is removed when this value is dropped.
#[derive(Debug)]
pub struct Staged(NamedTempFile);

impl WriteError {
    /// The name of a temporary file differs each time, so it is left out of the message.
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

    /// Renames the temporary file over the target.
    pub fn replace(self, target: &Path) -> Result<(), WriteError> {
        let at = |e| WriteError::new(target, e);
        durable::replace(self.0, target).map_err(at)
    }

    /// Gives the temporary file the name of the target, unless there is a file of this name. Returns whether it did. Of
    /// several programs, on any machine, exactly one succeeds.
    pub(crate) fn create(self, target: &Path) -> Result<bool, WriteError> {
        durable::create(self.0, target).map_err(|e| WriteError::new(target, e))
    }
}

/// Writes a temporary file next to `target`. With [`FileAccess::Shared`] it gets the owner of the existing file, and
/// its mode without any permissions for other users.
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
/// If `target` exists and is not a regular file. Root could otherwise replace a device with a file by a rename, which
/// would remove the device for every program.
pub(crate) fn check_regular(target: &Path) -> Result<(), WriteError> {
    let Some(what) = durable::irregular_kind(target) else { return Ok(()) };
    let why = format!("it is {what}, not a file; set a file with --config-file");
    Err(WriteError::new(target, io::Error::other(why)))
}

/// Returns the text of a regular file. Anything else is not opened, because reading a pipe would block.
pub(crate) fn read_regular(path: &Path) -> Option<String> {
    if durable::irregular_kind(path).is_some() { None } else { fs::read_to_string(path).ok() }
}

fn copy_metadata(file: &File, path: &Path, target: &Path, access: FileAccess) -> io::Result<()> {
    match fs::metadata(target) {
        Ok(old) if access == FileAccess::Shared => {
            // Only root may change the owner of a file. For any other user the call fails and the file keeps its
            // owner.
            let _ = chown(path, Some(old.uid()), Some(old.gid()));
            file.set_permissions(Permissions::from_mode(old.mode() & 0o770))
        }
        _ => file.set_permissions(access.file_permissions()),
    }
}

/// Creates a new file. It is synced to disk when the function returns.
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

/// Removes all permissions for other users.
pub(crate) fn restrict_access(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o770))
}

pub(crate) fn sync_directory(dir: &Path) -> Result<(), WriteError> {
    durable::sync_folder(dir).map_err(|e| WriteError::new(dir, e))
}

/// Keeps a copy of the file under a backup name and returns that name, or `None` if a backup with this content
/// exists.
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

/// Makes a hard link, which keeps owner and mode, or a copy where hard links are not possible.
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

/// Returns the file that a path refers to, with links followed. The file need not exist yet.
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
