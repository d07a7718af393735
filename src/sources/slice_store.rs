//! The files with the last known containers of each source, so that a source that is away when docker-balancer starts
//! is served as it was known last.

use super::source_file::SourceFiles;
use crate::model::{
    container::Container,
    source_name::SourceName,
    world::{Networks, NodeReport, Vantage, World},
};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The version of the files' format.
const FORMAT: u32 = 1;

/// What is known of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub vantage: Vantage,
    pub world: Arc<World>,
}

/// Reads and writes the slices of named sources.
#[derive(Debug, Clone)]
pub struct SliceStore(SourceFiles);

#[derive(Debug, Serialize, Deserialize)]
struct SliceFile {
    format: u32,
    vantage: Vantage,
    containers: Vec<Arc<Container>>,
    networks: Networks,
    #[serde(default)]
    nodes: Option<Arc<NodeReport>>,
}

impl SliceStore {
    /// Returns the store in a state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self(SourceFiles::new(state_dir))
    }

    /// Reads a slice; `None` if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or has another format.
    pub fn read(&self, source: &SourceName) -> Result<Option<Slice>> {
        let Some(file) = self.0.read(source)? else { return Ok(None) };
        let SliceFile { format, vantage, containers, networks, nodes } = file;
        if format != FORMAT {
            bail!("the format {format} is unknown");
        }
        let of_source = containers.into_iter().filter(|container| container.id.source() == source);
        let containers = of_source.map(|container| (container.id.clone(), container)).collect();
        let networks = [(source.clone(), networks)].into();
        let nodes = nodes.into_iter().map(|nodes| (source.clone(), nodes)).collect();
        Ok(Some(Slice { vantage, world: Arc::new(World { containers, networks, nodes }) }))
    }

    /// Replaces a slice.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, source: &SourceName, slice: &Slice) -> Result<()> {
        let Slice { vantage, world } = slice;
        let file = SliceFile {
            format: FORMAT,
            vantage: vantage.clone(),
            containers: world.containers.values().cloned().collect(),
            networks: world.networks.get(source).cloned().unwrap_or_default(),
            nodes: world.nodes.get(source).cloned(),
        };
        self.0.write(source, &file)
    }

    /// Removes the files of other sources than these, and returns their paths. What cannot be removed is left.
    pub fn remove_others(&self, sources: &BTreeSet<SourceName>) -> Vec<PathBuf> {
        self.0.remove_others(sources)
    }

    /// The path of a slice's file.
    pub fn path(&self, source: &SourceName) -> PathBuf {
        self.0.path(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::world::Network, sources::docker::convert};
    use bollard::models::ContainerSummary;
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

    const LIST: &[u8] = include_bytes!("docker/fixtures/list-29.json");

    fn slice(source: &SourceName) -> Slice {
        let list: Vec<ContainerSummary> = serde_json::from_slice(LIST).unwrap();
        let containers = list.into_iter().filter_map(|one| convert::parse_container(one, source));
        let containers: BTreeMap<_, _> =
            containers.map(|container| (container.id.clone(), Arc::new(container))).collect();
        assert!(!containers.is_empty());
        let networks = [(source.clone(), [("web".to_owned(), Network::default())].into())].into();
        let engine = "10.0.0.2".parse().unwrap();
        let own_addresses = ["10.0.0.1".parse().unwrap()].into();
        let vantage = Vantage::Remote { engine, own_addresses };
        let nodes =
            [(source.clone(), Arc::new(NodeReport { up: 1, ..NodeReport::default() }))].into();
        Slice { vantage, world: Arc::new(World { containers, networks, nodes }) }
    }

    #[test]
    fn slice_is_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let (store, source) = (SliceStore::new(folder.path()), "node2".parse().unwrap());
        assert_eq!(store.read(&source).unwrap(), None);
        let slice = slice(&source);
        store.write(&source, &slice).unwrap();
        assert_eq!(store.read(&source).unwrap(), Some(slice));
        let mode = fs::metadata(store.path(&source)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn containers_of_another_source_are_not_taken_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = SliceStore::new(folder.path());
        let [one, other]: [SourceName; 2] = ["one", "other"].map(|name| name.parse().unwrap());
        store.write(&one, &slice(&one)).unwrap();
        fs::copy(store.path(&one), store.path(&other)).unwrap();
        assert!(store.read(&other).unwrap().unwrap().world.containers.is_empty());
    }

    #[test]
    fn files_of_removed_sources_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = SliceStore::new(folder.path());
        assert!(store.remove_others(&BTreeSet::new()).is_empty());
        let [one, other]: [SourceName; 2] = ["one", "other"].map(|name| name.parse().unwrap());
        for source in [&one, &other] {
            store.write(source, &slice(source)).unwrap();
        }
        assert_eq!(store.remove_others(&[one.clone()].into()), [store.path(&other)]);
        assert!(store.read(&other).unwrap().is_none() && store.read(&one).unwrap().is_some());
    }

    #[test]
    fn damaged_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (store, source) = (SliceStore::new(folder.path()), "node2".parse().unwrap());
        store.write(&source, &slice(&source)).unwrap();
        let text = fs::read_to_string(store.path(&source)).unwrap();
        for (content, expected) in [
            (text.replace("\"format\":1", "\"format\":9"), "the format 9 is unknown"),
            (text[..text.len() / 2].to_owned(), "EOF while parsing"),
            ("null".to_owned(), "invalid type: null"),
        ] {
            fs::write(store.path(&source), content).unwrap();
            let error = format!("{:#}", store.read(&source).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
