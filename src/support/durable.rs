//! Files that are there, whole, after a power cut: content first, then the name, then the folder that holds the
//! name.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::Path,
};
use tempfile::NamedTempFile;

/// Puts a complete file in the place of `target`, in the same folder.
pub fn replace(file: NamedTempFile, target: &Path) -> io::Result<()> {
    match replace_unless_mounted(file, target)? {
        None => Ok(()),
        Some(_) => Err(ErrorKind::ResourceBusy.into()),
    }
}

/// Like [`replace`]. Returns the file where `target` is a mount of its own, which can only be written in place.
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

/// Returns what `path` is, links followed, where no file can take its place; `None` where it is a regular file, or absent.
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

/// Removes a file, if there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent_folder(path),
    }
}

/// The names in the folder of `path` are on disk when this returns.
pub fn sync_parent_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// The names in a folder are on disk when this returns.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
