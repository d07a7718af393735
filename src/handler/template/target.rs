//! The file that is written: whole, and only when it is another one.

use nix::unistd::{Gid, Group, Uid, User, chown};
use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Else the old file's, or 0644.
    pub(super) mode: Option<u32>,
    /// Else the old file's.
    pub(super) owner: Option<Owner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    user: Option<Uid>,
    group: Option<Gid>,
}

/// A new text, beside the old one.
#[derive(Debug)]
pub(super) struct Staged {
    file: NamedTempFile,
    place: PathBuf,
}

impl Target {
    /// `None`: that is what is there.
    pub(super) fn stage(&self, text: &str) -> io::Result<Option<Staged>> {
        // A link stays one: what it points to is written.
        let place = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let old = match File::open(&place) {
            Ok(file) => Some(file.metadata()?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if old.is_some() && fs::read(&place)? == text.as_bytes() {
            return Ok(None);
        }
        let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
        let mut file = tempfile::Builder::new()
            .prefix(".docker-glue-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        let mode = self.mode.or(old.as_ref().map(|it| it.mode() & 0o7777)).unwrap_or(0o644);
        let before = old.map(|it| Owner {
            user: Some(Uid::from_raw(it.uid())),
            group: Some(Gid::from_raw(it.gid())),
        });
        match (self.owner, before) {
            (Some(owner), _) => owner.own(&file)?,
            // Who may not give it away may still be one who may write it.
            (None, Some(before)) => drop(before.own(&file)),
            (None, None) => {}
        }
        // After the owner, as a change of that takes away set-id bits.
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        Ok(Some(Staged { file, place }))
    }
}

impl Staged {
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn swap_in(self) -> io::Result<()> {
        let Self { file, place } = self;
        let folder = place.parent().map(Path::to_path_buf).unwrap_or_default();
        match file.persist(&place) {
            Ok(_) => File::open(folder).and_then(|folder| folder.sync_all()),
            // A file that is mounted on its own into a container can't be swapped, only written.
            Err(error) if error.error.kind() == ErrorKind::ResourceBusy => {
                let mut text = error.file.reopen()?;
                let mut to = File::options().write(true).truncate(true).open(&place)?;
                io::copy(&mut text, &mut to)?;
                to.sync_all()
            }
            Err(error) => Err(error.error),
        }
    }
}

impl Owner {
    /// `user`, `user:group`, `:group`; names or numbers.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let user = match (user, user.parse()) {
            ("", _) => None,
            (_, Ok(number)) => Some(Uid::from_raw(number)),
            (name, _) => match User::from_name(name) {
                Ok(Some(user)) => Some(user.uid),
                _ => return Err(format!("there is no user {name:?}")),
            },
        };
        let group = match (group, group.parse()) {
            ("", _) => None,
            (_, Ok(number)) => Some(Gid::from_raw(number)),
            (name, _) => match Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid),
                _ => return Err(format!("there is no group {name:?}")),
            },
        };
        Ok(Self { user, group })
    }

    fn own(self, file: &NamedTempFile) -> io::Result<()> {
        let now = file.as_file().metadata()?;
        let user = self.user.filter(|it| it.as_raw() != now.uid());
        let group = self.group.filter(|it| it.as_raw() != now.gid());
        if user.is_some() || group.is_some() {
            chown(file.path(), user, group)?;
        }
        Ok(())
    }
}
