//! File operations that survive a power failure: the content is synced first, then the name is changed, then the
//! folder that contains the name is synced.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, symlink},
    path::Path,
};
use tempfile::NamedTempFile;

/// Renames a complete file over `target`, which is in the same folder.
pub fn replace(file: NamedTempFile, target: &Path) -> io::Result<()> {
    match replace_unless_mounted(file, target)? {
        None => Ok(()),
        Some(_) => Err(ErrorKind::ResourceBusy.into()),
    }
}

/// Like [`replace`], but returns the file if `target` is a mount point, which can only be written in place.
pub fn replace_unless_mounted(
    file: NamedTempFile,
    target: &Path,
) -> io::Result<Option<NamedTempFile>> {
    file.as_file().sync_all()?;
    match file.persist(target) {
        Ok(_) => sync_parent_folder(target).map(|()| None),
        Err(error) if error.error.kind() == ErrorKind::ResourceBusy => Ok(Some(error.file)),
        Err(error) => Err(error.error),
    }
}

/// Gives a complete file the name `target`, which is in the same folder. Returns `false` if the name is taken.
pub fn create(file: NamedTempFile, target: &Path) -> io::Result<bool> {
    file.as_file().sync_all()?;
    match file.persist_noclobber(target) {
        Ok(_) => sync_parent_folder(target).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Makes `link` a symbolic link to `target`, in place of an earlier link, if there is one.
pub fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    let folder = link.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().make_in(folder, |path| symlink(target, path))?;
    made.persist(link).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Returns the kind of `path`, links followed, if a file cannot replace it; `None` if it is a regular file or absent.
pub fn irregular_kind(path: &Path) -> Option<&'static str> {
    let kind = fs::metadata(path).ok()?.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        () if kind.is_fifo() => Some("a pipe"),
        () => Some("a socket"),
    }
}

/// Removes a file, if it exists.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent_folder(path),
    }
}

/// Syncs the folder of `path`, so that the names in it are on disk.
pub fn sync_parent_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// Syncs a folder, so that the names in it are on disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
