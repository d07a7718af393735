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
const MODE: u32 = 0o600;

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
        "another docker-balancer (pid {pid}) holds {}; stop it, or give this one its own \
         --state-dir and --runtime-dir", state.display()
    )]
    Held { pid: String, state: PathBuf },
    #[error("cannot lock {}: {why}", state.display())]
    Io { state: PathBuf, why: io::Error },
}

impl Lock {
    /// The file is left when the lock goes: deleting it would let two hold "the" lock.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let at = |why| LockError::Io { state: state.to_owned(), why };
        let file = open(&state.join("lock"), state).map_err(at)?;
        // One of an earlier version, or the directory, which keeps what it has. It may belong to another user, who then
        // has to see to it.
        if file.metadata().is_ok_and(|it| it.is_file()) {
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(sign(file)),
            Err((file, Errno::EWOULDBLOCK)) => Err(held(file, state)),
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
fn open(path: &Path, state: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(MODE);
    match open.open(path) {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            File::open(path).or_else(|_| File::open(state))
        }
        opened => opened,
    }
}

/// Who it is: for people, so that a full disk is no reason to stop here.
fn sign(mut file: Flock<File>) -> Lock {
    let _ = file.set_len(0);
    let written = writeln!(file, "{}", std::process::id());
    // A file that was opened for reading alone is a bad one to write to.
    let is_read_only = written.is_err_and(|e| e.raw_os_error() == Some(Errno::EBADF as i32));
    Lock { file, is_read_only }
}

fn held(mut file: File, state: &Path) -> LockError {
    let mut pid = String::new();
    if file.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
        "unknown".clone_into(&mut pid);
    }
    LockError::Held { pid: pid.trim().to_owned(), state: state.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_gets_it_afterwards() {
        let state = tempfile::tempdir().unwrap();
        let first = Lock::take(state.path()).unwrap();
        let second = Lock::take(state.path()).unwrap_err().to_string();
        let who = format!("another docker-balancer (pid {}) holds ", std::process::id());
        assert!(second.starts_with(&who), "{second}");
        drop(first);
        Lock::take(state.path()).unwrap();
    }

    #[test]
    fn lock_file_of_an_earlier_version_is_closed_to_others() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("lock");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        drop(Lock::take(state.path()).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Lock::take(state.path()).unwrap());
        assert_eq!(mode(), 0o600);
    }
}
