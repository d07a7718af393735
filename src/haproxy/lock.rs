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

/// Whoever may open the file may lock it, so that nobody else's balancer starts: its owner alone may.
const LOCK_FILE_MODE: u32 = 0o600;

/// Held as long as this lives; the kernel lets go of it with the process, however that ends.
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
    /// The file is left when the lock goes: deleting it would let two hold "the" lock.
    pub fn acquire(state: &Path) -> Result<Self, LockError> {
        let at = |why| LockError::Io { state: state.to_owned(), why };
        let file = open_file(&state.join("lock"), state).map_err(at)?;
        // One of an earlier version, or the directory, which keeps what it has. It may belong to another user, who then
        // has to see to it.
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            let _ = file.set_permissions(Permissions::from_mode(LOCK_FILE_MODE));
        }
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(write_pid(file)),
            Err((file, Errno::EWOULDBLOCK)) => Err(held_error(file, state)),
            Err((_, errno)) => Err(at(errno.into())),
        }
    }
}

impl Lock {
    /// Nothing can be written there.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }
}

/// A lock needs no writing: where nothing can be written the file that is there does, or the directory itself.
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

/// Who it is: for people, so that a full disk is no reason to stop here.
fn write_pid(mut file: Flock<File>) -> Lock {
    let _ = file.set_len(0);
    let written = writeln!(file, "{}", std::process::id());
    // A file that was opened for reading alone is a bad one to write to.
    let is_read_only = written.is_err_and(|e| e.raw_os_error() == Some(Errno::EBADF as i32));
    Lock { file, is_read_only }
}

fn held_error(mut file: File, state: &Path) -> LockError {
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
