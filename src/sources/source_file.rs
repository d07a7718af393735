//! A file for each source in the state directory, which only this user may read.

use crate::{model::source_name::SourceName, support::durable};
use anyhow::{Context as _, Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::warn;

/// The folder of the files.
#[derive(Debug, Clone)]
pub(super) struct SourceFiles(PathBuf);

impl SourceFiles {
    /// Returns the folder in a state directory.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("sources"))
    }

    /// The path of a source's file.
    pub(super) fn path(&self, source: &SourceName) -> PathBuf {
        self.0.join(format!("{source}.json"))
    }

    /// Removes the files of other sources than these, and returns their paths. What cannot be removed is left.
    pub(super) fn remove_others(&self, sources: &BTreeSet<SourceName>) -> Vec<PathBuf> {
        let kept: BTreeSet<_> = sources.iter().map(|source| self.path(source)).collect();
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let is_ours = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "json");
        let others = paths.filter(|path| is_ours(path) && !kept.contains(path));
        others.filter(|path| durable::remove(path).is_ok()).collect()
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub(super) fn read<T: DeserializeOwned>(&self, source: &SourceName) -> Result<Option<T>> {
        match fs::read_to_string(self.path(source)) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self, source: &SourceName, value: &impl Serialize) -> Result<()> {
        let mut content = serde_json::to_string(value)?;
        content.push('\n');
        DirBuilder::new().recursive(true).mode(0o750).create(&self.0)?;
        let mut file = NamedTempFile::new_in(&self.0)?;
        file.write_all(content.as_bytes())?;
        // Labels and environments may contain secrets.
        file.as_file().set_permissions(Permissions::from_mode(0o600))?;
        Ok(durable::replace(file, &self.path(source))?)
    }
}

/// Writes the file at `path` after changes, at most once in `pause`, until nobody sends any.
pub async fn keep_written<T: Clone + Send + Sync + 'static>(
    path: PathBuf,
    pause: Duration,
    mut values: watch::Receiver<Option<T>>,
    write: impl Fn(&T) -> Result<()> + Clone + Send + 'static,
) {
    let mut is_failing = false;
    while values.changed().await.is_ok() {
        let Some(value) = values.borrow_and_update().clone() else { continue };
        let result = write_in_background(&path, value, write.clone()).await;
        if let Err(error) = &result
            && !is_failing
        {
            warn!("{error:#}; trying again after the next change");
        }
        is_failing = result.is_err();
        sleep(pause).await;
    }
}

/// Writes the file at `path` on another thread.
///
/// # Errors
/// If it cannot be written; the error names it.
pub async fn write_in_background<T: Send + 'static>(
    path: &Path,
    value: T,
    write: impl Fn(&T) -> Result<()> + Send + 'static,
) -> Result<()> {
    let written = spawn_blocking(move || write(&value)).await;
    let written = written.map_err(Error::from).flatten();
    written.with_context(|| format!("could not write {}", path.display()))
}
