//! The target file: it is replaced as a whole, and only if its content changed.

use crate::support::durable;
use nix::unistd::{Gid, Group, Uid, User};
use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetFile {
    pub(crate) path: PathBuf,
    /// `None` means the mode of the old file, or 0644.
    pub(crate) mode: Option<u32>,
    /// `None` means the owner of the old file.
    pub(crate) owner: Option<FileOwner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileOwner {
    user: Option<Uid>,
    group: Option<Gid>,
}

/// The new text in a temporary file next to the target.
#[derive(Debug)]
pub(crate) struct StagedTarget {
    file: NamedTempFile,
    target: PathBuf,
}

/// What a rendering changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetChange {
    Text,
    /// Only the mode or the owner.
    Attributes,
    Nothing,
}

impl TargetFile {
    /// # Errors
    /// If something exists at the path that a file cannot replace.
    pub(crate) fn check_regular_file(&self) -> Result<(), String> {
        let Some(what) = durable::irregular_kind(&self.path) else { return Ok(()) };
        let path = self.path.display();
        Err(format!("{path} is {what}, not a file; use docker-glue render to print a template"))
    }

    /// Returns the staged text. If the file has this text already, returns what else was changed.
    pub(crate) fn stage_text(&self, text: &str) -> io::Result<Result<StagedTarget, TargetChange>> {
        self.check_regular_file().map_err(io::Error::other)?;
        let target = self.resolved_path();
        let old = match File::open(&target) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = &old
            && fs::read(&target)? == text.as_bytes()
        {
            return self.apply_attributes(file).map(Err);
        }
        let old = old.map(|file| file.metadata()).transpose()?;
        let folder = target.parent().filter(|group| !group.as_os_str().is_empty());
        let mut file = tempfile::Builder::new()
            .prefix(".docker-glue-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        let mode =
            self.mode.or(old.as_ref().map(|metadata| metadata.mode() & 0o7777)).unwrap_or(0o644);
        let before = old.map(|metadata| FileOwner {
            user: Some(Uid::from_raw(metadata.uid())),
            group: Some(Gid::from_raw(metadata.gid())),
        });
        match (self.owner, before) {
            (Some(owner), _) => drop(owner.apply_to(file.as_file())?),
            // A user who may not set this owner may still be allowed to write the file.
            (None, Some(before)) => drop(before.apply_to(file.as_file())),
            (None, None) => {}
        }
        // After the owner, because changing the owner clears the set-id bits.
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        Ok(Ok(StagedTarget { file, target }))
    }

    /// Returns a path that is the same for every spelling of it.
    pub(crate) fn canonical_path(&self) -> PathBuf {
        let target = self.resolved_path();
        let folder = target.parent().filter(|group| !group.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
        match (folder, target.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => std::path::absolute(&target).unwrap_or(target),
        }
    }

    /// Follows a link, so that the link stays and its target is written, whether that exists or not.
    fn resolved_path(&self) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let pointed = || fs::read_link(&self.path).map(|to| folder.join(to));
        fs::canonicalize(&self.path).or_else(|_| pointed()).unwrap_or_else(|_| self.path.clone())
    }

    /// Sets the configured mode and owner of a file whose text is up to date.
    fn apply_attributes(&self, file: &File) -> io::Result<TargetChange> {
        let owned = self.owner.map_or(Ok(false), |owner| owner.apply_to(file))?;
        let now = file.metadata()?.mode() & 0o7777;
        let mode = self.mode.filter(|mode| *mode != now);
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(if owned || mode.is_some() { TargetChange::Attributes } else { TargetChange::Nothing })
    }
}

impl StagedTarget {
    pub(crate) fn staged_path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn target_path(&self) -> &Path {
        &self.target
    }

    pub(crate) fn swap_in(self) -> io::Result<()> {
        let Self { file, target } = self;
        match durable::replace_unless_mounted(file, &target)? {
            None => Ok(()),
            Some(file) => Self { file, target }.write_in_place(),
        }
    }

    /// Overwrites the file, so that containers that mount it see the change. The file is never empty in between.
    pub(crate) fn write_in_place(self) -> io::Result<()> {
        let mut text = self.file.reopen()?;
        let new = text.metadata()?;
        let mut to = File::options().write(true).open(&self.target)?;
        let old = to.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&to, Some(new.uid()), Some(new.gid()))?;
        }
        let length = io::copy(&mut text, &mut to)?;
        to.set_len(length)?;
        to.set_permissions(new.permissions())?;
        to.sync_all()
    }
}

impl FileOwner {
    /// Parses `user`, `user:group` or `:group`, by name or number.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let user = match (user, user.parse()) {
            ("", _) => None,
            (_, Ok(number)) => Some(Uid::from_raw(number)),
            (name, _) => match User::from_name(name) {
                Ok(Some(user)) => Some(user.uid),
                _ => return Err(format!("unknown user {name:?}")),
            },
        };
        let group = match (group, group.parse()) {
            ("", _) => None,
            (_, Ok(number)) => Some(Gid::from_raw(number)),
            (name, _) => match Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid),
                _ => return Err(format!("unknown group {name:?}")),
            },
        };
        Ok(Self { user, group })
    }

    /// Returns whether the owner was changed.
    fn apply_to(self, file: &File) -> io::Result<bool> {
        let now = file.metadata()?;
        let user = self.user.map(Uid::as_raw).filter(|n| *n != now.uid());
        let group = self.group.map(Gid::as_raw).filter(|n| *n != now.gid());
        let is_other = user.is_some() || group.is_some();
        if is_other {
            fchown(file, user, group)?;
        }
        Ok(is_other)
    }
}
