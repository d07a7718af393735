//! The worlds of several sources as one.
//!
//! Pure.

use crate::{
    model::{source_name::SourceName, world::World},
    support::map_diff::replace_part,
};
use std::{collections::BTreeMap, sync::Arc};

/// One world of all sources. What a source has not changed stays the very same value.
#[derive(Debug, Default)]
pub struct MergedWorld {
    slices: BTreeMap<SourceName, Arc<World>>,
    world: Arc<World>,
}

impl MergedWorld {
    /// Returns the containers of all sources.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Returns the containers of all sources, without a copy if nothing else has them.
    pub fn into_world(self) -> World {
        drop(self.slices);
        Arc::unwrap_or_clone(self.world)
    }

    /// Returns the last world of a source.
    pub fn slice(&self, source: &SourceName) -> Option<&Arc<World>> {
        self.slices.get(source)
    }

    /// Removes the containers of a source, but not its networks. Returns how many there were.
    pub fn forget(&mut self, source: &SourceName) -> usize {
        let slice = self.slices.get(source).cloned().unwrap_or_default();
        let networks = slice.networks.clone();
        self.replace(source, Arc::new(World { networks, ..World::default() }));
        slice.containers.len()
    }

    /// Replaces the world of a source, in time proportional to its changes once the differences are found.
    pub fn replace(&mut self, source: &SourceName, slice: Arc<World>) {
        let before = self.slices.insert(source.clone(), Arc::clone(&slice));
        if self.slices.len() == 1 {
            self.world = slice;
            return;
        }
        let before = before.unwrap_or_default();
        let world = Arc::make_mut(&mut self.world);
        replace_part(&mut world.containers, &before.containers, &slice.containers);
        let networks = slice.networks.get(source).cloned().unwrap_or_default();
        if world.networks.get(source) != Some(&networks) {
            world.networks.insert(source.clone(), networks);
        }
        if world.nodes.get(source) != slice.nodes.get(source) {
            world.nodes.remove(source);
            world
                .nodes
                .extend(slice.nodes.get_key_value(source).map(|(s, n)| (s.clone(), Arc::clone(n))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MergedWorld;
    use crate::{
        model::{
            container::Container,
            source_name::SourceName,
            world::{Network, World},
        },
        sources::docker::convert,
        support::map_diff::diff_maps,
    };
    use bollard::models::ContainerSummary;
    use proptest::{collection::btree_set, prelude::*};
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };

    fn container(source: &SourceName, number: u8, name: &str) -> Arc<Container> {
        let summary = ContainerSummary {
            id: Some(format!("{number:064}")),
            names: Some(vec![format!("/{name}")]),
            ..ContainerSummary::default()
        };
        Arc::new(convert::parse_container(summary, source).unwrap())
    }

    /// A world in which each container has its number, and one of two names.
    fn slice(source: &SourceName, containers: &BTreeSet<(u8, bool)>) -> Arc<World> {
        let container = |(number, is_renamed): &(u8, bool)| {
            container(source, *number, if *is_renamed { "b" } else { "a" })
        };
        let containers = containers.iter().map(container);
        let networks = [("bridge".to_owned(), Network::default())].into();
        Arc::new(World {
            containers: containers.map(|container| (container.id.clone(), container)).collect(),
            networks: [(source.clone(), networks)].into(),
            nodes: BTreeMap::new(),
        })
    }

    proptest! {
        /// Containers of two sources have the same ids and names.
        #[test]
        fn merged_world_has_what_its_sources_have(
            changes in prop::collection::vec((0..3_usize, btree_set((0..6_u8, any::<bool>()), 0..6)), 1..9),
        ) {
            let names = ["a", "b", "c"].map(|name| name.parse::<SourceName>().unwrap());
            let mut merged = MergedWorld::default();
            let mut expected = BTreeMap::new();
            for (number, containers) in changes {
                let source = &names[number];
                let world = slice(source, &containers);
                let before = Arc::clone(merged.world());
                merged.replace(source, Arc::clone(&world));
                let changed = diff_maps(&before.containers, &merged.world().containers);
                prop_assert!(changed.into_iter().all(|(id, ..)| id.source() == source));
                expected.insert(source.clone(), world);
            }
            let containers: BTreeMap<_, _> =
                expected.values().flat_map(|world| world.containers.clone()).collect();
            let networks: BTreeMap<_, _> =
                expected.values().flat_map(|world| world.networks.clone()).collect();
            prop_assert_eq!(&merged.world().containers, &containers);
            prop_assert_eq!(&merged.world().networks, &networks);
        }
    }

    #[test]
    fn only_source_is_not_copied() {
        let world = slice(&SourceName::NONE, &[(1, false)].into());
        let mut merged = MergedWorld::default();
        merged.replace(&SourceName::NONE, Arc::clone(&world));
        assert!(Arc::ptr_eq(merged.world(), &world));
    }
}
