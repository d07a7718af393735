//! One balancer per state directory.

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A process that may open the file may lock it and so keep another user's balancer from starting. Hence only the owner
/// may open it.
const LOCK_FILE_MODE: u32 = 0o600;

/// An exclusive lock, held until this value is dropped. The kernel releases it when the process ends, even by a crash.
#[derive(Debug)]
pub struct Lock {
    #[expect(dead_code, reason = "to be held is its whole use")]
    file: Flock<File>,
    is_read_only: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another docker-balancer (pid {pid}) has locked {}; stop it, or set another --state-dir \
         and --runtime-dir", state.display()
    )]
    AlreadyLocked { pid: String, state: PathBuf },
    #[error("cannot lock {}: {why}", state.display())]
    Io { state: PathBuf, why: io::Error },
}

impl Lock {
    /// Locks the state directory. The lock file is never deleted: otherwise two processes could each hold a lock on a
    /// file of that name.
    pub fn acquire(state: &Path) -> Result<Self, LockError> {
        let at = |why| LockError::Io { state: state.to_owned(), why };
        let file = open_file(&state.join("lock"), state).map_err(at)?;
        // The file may come from an earlier version with a wider mode. If the state directory itself is locked, its
        // mode stays. An error is ignored: if the file belongs to another user, that user has to change the mode.
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            let _ = file.set_permissions(Permissions::from_mode(LOCK_FILE_MODE));
        }
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(write_pid(file)),
            Err((file, Errno::EWOULDBLOCK)) => Err(lock_error(file, state)),
            Err((_, errno)) => Err(at(errno.into())),
        }
    }
}

impl Lock {
    /// Whether nothing can be written to the state directory.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }
}

/// Opens the file to lock. Locking needs no write access: on a read-only file system the existing file is used, or else
/// the directory itself.
fn open_file(path: &Path, state: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(LOCK_FILE_MODE);
    match open.open(path) {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            File::open(path).or_else(|_| File::open(state))
        }
        opened => opened,
    }
}

/// Writes our pid for people to read. An error, such as a full disk, is therefore ignored.
fn write_pid(mut file: Flock<File>) -> Lock {
    let _ = file.set_len(0);
    let written = writeln!(file, "{}", std::process::id());
    // Writing to a file that was opened for reading only fails with EBADF.
    let is_read_only = written.is_err_and(|e| e.raw_os_error() == Some(Errno::EBADF as i32));
    Lock { file, is_read_only }
}

fn lock_error(mut file: File, state: &Path) -> LockError {
    let mut pid = String::new();
    if file.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
        "unknown".clone_into(&mut pid);
    }
    LockError::AlreadyLocked { pid: pid.trim().to_owned(), state: state.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_fails_with_pid_of_owner_until_released() {
        let state = tempfile::tempdir().unwrap();
        let first = Lock::acquire(state.path()).unwrap();
        let second = Lock::acquire(state.path()).unwrap_err().to_string();
        let expected = format!("another docker-balancer (pid {}) has locked ", std::process::id());
        assert!(second.starts_with(&expected), "{second}");
        drop(first);
        Lock::acquire(state.path()).unwrap();
    }

    #[test]
    fn readable_lock_file_becomes_mode_0600() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("lock");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        drop(Lock::acquire(state.path()).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Lock::acquire(state.path()).unwrap());
        assert_eq!(mode(), 0o600);
    }
}
