//! The files with the last known descriptions of the containers of each source, for docker-glue's next start.

use super::{
    description::{ContainerMap, Description},
    source_file::SourceFiles,
};
use crate::model::{container::ContainerId, source_name::SourceName};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The version of the files' format.
const FORMAT: u32 = 1;

/// Reads and writes the containers of named sources.
#[derive(Debug, Clone)]
pub struct DescriptionStore(SourceFiles);

#[derive(Debug, Serialize, Deserialize)]
struct DescriptionFile {
    format: u32,
    containers: Vec<DescriptionEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DescriptionEntry {
    id: ContainerId,
    name: String,
    json: Box<str>,
}

impl DescriptionStore {
    /// Returns the store in docker-glue's state directory, in the part that is its own: a balancer among its handlers may
    /// have the same directory.
    pub fn new(state_dir: &Path) -> Self {
        Self(SourceFiles::new(&state_dir.join("handlers")))
    }

    /// Removes the files of other sources than these, and returns their paths. What cannot be removed is left.
    pub fn remove_others(&self, sources: &BTreeSet<SourceName>) -> Vec<PathBuf> {
        self.0.remove_others(sources)
    }

    /// The path of a source's file.
    pub fn path(&self, source: &SourceName) -> PathBuf {
        self.0.path(source)
    }

    /// Reads the containers of a source; `None` if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or has another format.
    pub fn read(&self, source: &SourceName) -> Result<Option<ContainerMap>> {
        let Some(file) = self.0.read(source)? else { return Ok(None) };
        let DescriptionFile { format, containers } = file;
        if format != FORMAT {
            bail!("the format {format} is unknown");
        }
        let of_source = containers.into_iter().filter(|entry| entry.id.source() == source);
        let described = of_source.map(|DescriptionEntry { id, name, json }| {
            (id.clone(), Arc::new(Description { id, name, json }))
        });
        Ok(Some(described.collect()))
    }

    /// Replaces the containers of a source.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, source: &SourceName, containers: &ContainerMap) -> Result<()> {
        let entry = |Description { id, name, json }: &Description| DescriptionEntry {
            id: id.clone(),
            name: name.clone(),
            json: json.clone(),
        };
        let containers = containers.values().map(|description| entry(description)).collect();
        self.0.write(source, &DescriptionFile { format: FORMAT, containers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    fn containers(source: &SourceName) -> ContainerMap {
        let id = ContainerId::in_source(source.clone(), "0123456789abcdef".repeat(4));
        let json = r#"{"Config":{"Env":["A=secret \"b\""]}}"#.into();
        [(id.clone(), Arc::new(Description { id, name: "web".to_owned(), json }))].into()
    }

    #[test]
    fn written_containers_are_read_by_their_source_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = DescriptionStore::new(folder.path());
        let [one, other] = ["one", "other"].map(|name| name.parse::<SourceName>().unwrap());
        assert!(store.read(&one).unwrap().is_none());
        store.write(&one, &containers(&one)).unwrap();
        assert_eq!(store.read(&one).unwrap(), Some(containers(&one)));
        let mode = fs::metadata(store.path(&one)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The file of another source is copied.
        fs::copy(store.path(&one), store.path(&other)).unwrap();
        assert_eq!(store.read(&other).unwrap(), Some(ContainerMap::new()));
        for damaged in ["", "{", r#"{"format":2,"containers":[]}"#] {
            fs::write(store.path(&one), damaged).unwrap();
            assert!(store.read(&one).is_err(), "{damaged}");
        }
    }
}
