//! The state of a handler that survives a restart: JSON files in `STATE/handlers/NAME-HASH/`.
//!
//! Only docker-glue's user may read them, because descriptions of containers may contain secrets. If the state
//! directory cannot be written, only this state is lost; the failure is logged once.

use super::Handler;
use crate::{
    haproxy::name::hash,
    settings::{GlueSettings, paths},
    support::durable,
};
use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, chown, geteuid};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsStr,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf, absolute},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

const SUFFIX: &str = "json";

/// The state folder of a handler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HandlerState(Arc<StateInner>);

#[derive(Debug)]
struct StateInner {
    handler: String,
    /// `None` if no state directory is configured.
    paths: Option<StatePaths>,
    /// Whether a write failed, which is logged once.
    write_failed: AtomicBool,
}

#[derive(Debug)]
struct StatePaths {
    state_dir: PathBuf,
    folder: PathBuf,
}

impl HandlerState {
    /// Handlers with the same name in two folders have separate state.
    pub fn new(settings: &GlueSettings, handler: &Handler) -> Self {
        let file = absolute(&handler.file).unwrap_or_else(|_| handler.file.clone());
        let unique = hash(&file.to_string_lossy());
        let paths = settings.state_dir.as_ref().map(|state_dir| StatePaths {
            state_dir: state_dir.clone(),
            folder: state_dir.join("handlers").join(format!("{}-{unique:016x}", handler.name)),
        });
        Self(Arc::new(StateInner {
            handler: handler.name.clone(),
            paths,
            write_failed: AtomicBool::new(false),
        }))
    }

    /// Returns `None` if the file does not exist or cannot be read; the latter is logged.
    pub async fn read_value<T: DeserializeOwned + Send + 'static>(&self, name: &str) -> Option<T> {
        let path = self.value_path(name)?;
        let inner = Arc::clone(&self.0);
        run_blocking(move || inner.read_value(&path)).await.flatten()
    }

    /// Returns all values in a folder, with their names.
    pub async fn read_folder<T: DeserializeOwned + Send + 'static>(
        &self,
        folder: &str,
    ) -> Vec<(String, T)> {
        let Some(paths) = &self.0.paths else { return Vec::new() };
        let (inner, folder) = (Arc::clone(&self.0), paths.folder.join(folder));
        run_blocking(move || inner.read_folder(&folder)).await.unwrap_or_default()
    }

    /// Writes a value. It is synced to disk when this returns.
    pub async fn write_value(&self, name: &str, value: &impl Serialize) {
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        let text = serde_json::to_string(value);
        let written = run_blocking(move || inner.write_value(&name, &text?)).await;
        self.0.log_result(written.unwrap_or(Ok(())));
    }

    pub async fn remove_value(&self, name: &str) {
        let Some(path) = self.value_path(name) else { return };
        let removed = run_blocking(move || {
            durable::remove(&path).with_context(|| format!("cannot remove {}", path.display()))
        });
        self.0.log_result(removed.await.unwrap_or(Ok(())));
    }

    fn value_path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.paths.as_ref()?.value_path(name))
    }
}

/// Runs disk operations on another thread. Returns `None` if the work panicked.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(work).await.ok()
}

impl StatePaths {
    fn value_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{SUFFIX}"))
    }

    /// Returns the owner of the state directory if this process is root: files then get the owner of the service's
    /// user.
    fn service_owner(&self) -> Option<(Uid, Gid)> {
        let found = fs::metadata(&self.state_dir).ok().filter(|_| geteuid().is_root())?;
        Some((Uid::from_raw(found.uid()), Gid::from_raw(found.gid())))
    }

    fn create_folder(&self, folder: &Path) -> Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        paths::create_dir(folder)?;
        if let Some((user, group)) = self.service_owner() {
            for ours in folder.ancestors().take_while(|group| *group != self.state_dir) {
                chown(ours, Some(user), Some(group))?;
            }
        }
        Ok(())
    }

    fn write_file(&self, path: &Path, text: &str) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        self.create_folder(folder)?;
        // The mode of a temporary file is 0600.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        if let Some((user, group)) = self.service_owner() {
            chown(file.path(), Some(user), Some(group))?;
        }
        Ok(durable::replace(file, path)?)
    }
}

impl StateInner {
    fn write_value(&self, name: &str, text: &str) -> Result<()> {
        let paths = self.paths.as_ref().context("neither XDG_STATE_HOME nor HOME is set")?;
        let path = paths.value_path(name);
        paths.write_file(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn read_value<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let read = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
        };
        if let Err(cause) = &read {
            let (handler, path) = (&self.handler, path.display());
            warn!(handler, "cannot read {path}: {cause}; its state is discarded");
        }
        read.ok()
    }

    fn read_folder<T: DeserializeOwned>(&self, folder: &Path) -> Vec<(String, T)> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension() == Some(OsStr::new(SUFFIX)));
        paths.sort();
        let named = |path: PathBuf| {
            let name = path.file_stem()?.to_str()?.to_owned();
            Some((name, self.read_value(&path)?))
        };
        paths.into_iter().filter_map(named).collect()
    }

    fn log_result(&self, result: Result<()>) {
        let handler = &self.handler;
        match result {
            Ok(()) => self.write_failed.store(false, Relaxed),
            Err(error) if self.write_failed.swap(true, Relaxed) => debug!(handler, "{error:#}"),
            Err(error) => warn!(
                handler,
                "{error:#}; the handler's state is lost when docker-glue stops (set --state-dir to \
                 keep it)"
            ),
        }
    }
}
