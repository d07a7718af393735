//! What templates may access on this machine: environment variables, files, and other templates.

use crate::model::source_name::SourceName;
use minijinja::{Error, ErrorKind};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// Relative paths start from `folder`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateEnv {
    pub folder: PathBuf,
    pub env: Arc<BTreeMap<String, String>>,
    /// The full id of the container that docker-glue runs in, if it does.
    pub own_container_id: Option<Arc<str>>,
    /// Where the published ports of each engine are; empty for an engine of this machine.
    pub hosts: Arc<BTreeMap<SourceName, String>>,
}

impl TemplateEnv {
    /// Returns an included or extended template: a file in the template's folder or below it.
    pub(crate) fn read_include(&self, name: &str) -> Result<Option<String>, Error> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(name).components().all(inside) {
            return Ok(None);
        }
        match fs::read_to_string(self.folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let text = format!("{name} cannot be read: {error}");
                Err(Error::new(ErrorKind::InvalidOperation, text))
            }
        }
    }

    pub(crate) fn list_folder(&self, folder: &str) -> Result<Vec<String>, Error> {
        let names = fs::read_dir(self.folder.join(folder)).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        });
        let mut names = match names {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| {
                Error::new(ErrorKind::InvalidOperation, format!("{folder}: {error}"))
            })?,
        };
        names.sort();
        Ok(names)
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.folder.join(path).exists()
    }

    /// `read_config` of docker-pygen: the value of a `KEY=VALUE` line in a file, or the whole file.
    pub(crate) fn read_config(&self, key: &str, path: Option<&str>, whole: bool) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(path?)).ok()?;
        if whole {
            return Some(text.trim_end_matches('\n').to_owned());
        }
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    }
}
