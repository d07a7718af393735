//! The worlds of several sources as one.
//!
//! Pure. The container of a task of a Swarm may be known twice: to its engine, and to a manager. Then it is that of the
//! manager, which knows before its engine that it will stop, and the engine adds what it knows sooner: its end. What
//! docker-glue publishes in a registry is left to the engine that has it.

use crate::{
    model::{
        container::{Container, ContainerId},
        source_name::SourceName,
        world::{NodeReport, World},
    },
    support::map_diff::diff_maps,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The label by which an engine names the task of a container.
const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// One world of all sources. What a source has not changed stays the very same value.
#[derive(Debug, Default)]
pub struct MergedWorld {
    slices: BTreeMap<SourceName, Arc<World>>,
    world: Arc<World>,
    /// The containers that engines have of each task, by the task's id.
    task_containers: BTreeMap<Box<str>, BTreeSet<ContainerId>>,
    /// The containers of registries that are left to an engine.
    left_records: BTreeSet<ContainerId>,
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

    /// Returns the container of this short id.
    pub fn find_container(&self, short_id: &str) -> Option<&Container> {
        let first = ContainerId::first_with_short(short_id);
        let (_, found) = self.world.containers.range(first..).next()?;
        (found.id.short() == short_id).then_some(&**found)
    }

    /// Returns how many containers an engine and a Swarm both have.
    pub fn count_shared(&self) -> usize {
        let is_shared = |task: &str, engines: &BTreeSet<ContainerId>| {
            engines.iter().any(|id| self.task_of(task, id.source()).is_some())
        };
        self.task_containers.iter().filter(|(task, engines)| is_shared(task, engines)).count()
    }

    /// Returns how many containers of registries are left to engines.
    pub fn count_left_records(&self) -> usize {
        self.left_records.len()
    }

    /// Returns what is known of the machines of a source.
    pub fn node_report(&self, source: &SourceName) -> Option<&NodeReport> {
        self.slices.get(source)?.nodes.get(source).map(AsRef::as_ref)
    }

    /// Replaces the world of a source, in time proportional to its changes once the differences are found.
    pub fn replace(&mut self, source: &SourceName, slice: Arc<World>) {
        let before = self.slices.insert(source.clone(), Arc::clone(&slice));
        if self.slices.len() == 1 {
            self.world = slice;
            return;
        }
        if self.slices.len() == 2 && before.is_none() {
            self.index_first(source);
        }
        let before = before.unwrap_or_default();
        let mut changed = BTreeSet::new();
        for (id, before, after) in diff_maps(&before.containers, &slice.containers) {
            changed.insert(id.clone());
            self.index_task(before, after);
            let tasks = [before, after].into_iter().flatten().filter_map(|one| engine_task(one));
            changed.extend(tasks.filter_map(|task| self.task_of(task, source)));
            changed.extend(self.task_containers.get(id.as_str()).into_iter().flatten().cloned());
            changed.extend(self.copies_of(id).map(|copy| copy.id.clone()));
        }
        for id in changed {
            let is_left = self.is_left_record(&id);
            if is_left {
                self.left_records.insert(id.clone());
            } else {
                self.left_records.remove(&id);
            }
            let container = if is_left { None } else { self.merge_container(&id) };
            let world = Arc::make_mut(&mut self.world);
            match container {
                Some(container) => drop(world.containers.insert(id, container)),
                None => drop(world.containers.remove(&id)),
            }
        }
        let world = Arc::make_mut(&mut self.world);
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

    /// Adds the tasks of the first source, which had no other to share them with.
    fn index_first(&mut self, second: &SourceName) {
        let first = self.slices.iter().find(|(source, _)| *source != second);
        let Some(world) = first.map(|(_, world)| Arc::clone(world)) else { return };
        world.containers.values().for_each(|container| self.index_task(None, Some(container)));
    }

    fn index_task(&mut self, before: Option<&Arc<Container>>, after: Option<&Arc<Container>>) {
        if let Some(container) = before
            && let Some(task) = engine_task(container)
            && let Some(containers) = self.task_containers.get_mut(task)
        {
            containers.remove(&container.id);
            if containers.is_empty() {
                self.task_containers.remove(task);
            }
        }
        if let Some(container) = after
            && let Some(task) = engine_task(container)
        {
            let containers = self.task_containers.entry(task.into()).or_default();
            containers.insert(container.id.clone());
        }
    }

    /// Returns the task of this id, if another source than `source` is a Swarm that has it.
    fn task_of(&self, task: &str, source: &SourceName) -> Option<ContainerId> {
        let others = self.slices.iter().filter(|(other, _)| *other != source);
        let mut ids = others.map(|(other, world)| {
            let id = ContainerId::in_source(other.clone(), task);
            world.containers.contains_key(&id).then_some(id)
        });
        ids.find_map(|id| id)
    }

    /// Returns the containers of this id that other sources have.
    fn copies_of(&self, id: &ContainerId) -> impl Iterator<Item = &Arc<Container>> {
        let others = self.slices.iter().filter(|(source, _)| *source != id.source());
        others.filter_map(|(source, world)| {
            let id = ContainerId::in_source(source.clone(), id.as_str());
            world.containers.get(&id)
        })
    }

    /// Whether a registry has the container, and an engine, too.
    fn is_left_record(&self, id: &ContainerId) -> bool {
        let container = self.slices.get(id.source()).and_then(|world| world.containers.get(id));
        container.is_some_and(|container| names_node(container))
            && self.copies_of(id).any(|copy| !names_node(copy))
    }

    /// Returns the container as it is known to all sources. `None` if it is gone, or left to another source.
    fn merge_container(&self, id: &ContainerId) -> Option<Arc<Container>> {
        let container = self.slices.get(id.source())?.containers.get(id)?;
        if let Some(task) = engine_task(container) {
            let is_left = self.task_of(task, id.source()).is_some();
            return (!is_left).then(|| Arc::clone(container));
        }
        let engines = self.task_containers.get(id.as_str()).into_iter().flatten();
        let mut engines = engines.filter_map(|engine| {
            self.slices.get(engine.source())?.containers.get(engine).filter(|_| engine != id)
        });
        let ends = engines.any(|engine| engine.stopping || !engine.is_up());
        if ends && container.is_up() && !container.stopping {
            return Some(Arc::new(Container { stopping: true, ..Container::clone(container) }));
        }
        Some(Arc::clone(container))
    }
}

fn task_label(container: &Container) -> Option<&str> {
    container.labels.get(TASK_LABEL).map(String::as_str)
}

/// Whether the container is of a source that has containers of several machines. An engine has those of one.
fn names_node(container: &Container) -> bool {
    container.node.is_some()
}

/// Returns the task of a container that an engine has. The container of a Swarm is its task itself.
fn engine_task(container: &Container) -> Option<&str> {
    task_label(container).filter(|task| *task != container.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::MergedWorld;
    use crate::{
        model::{
            container::{Container, ContainerId, ContainerState},
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

    /// Returns a container of an engine, or of a Swarm if its id is that of the task.
    fn with_task(source: &SourceName, id: &str, task: &str, stopping: bool) -> Arc<World> {
        let container = container(source, 1, "web");
        let container = Container {
            id: ContainerId::in_source(source.clone(), id),
            labels: Arc::new([("com.docker.swarm.task.id".to_owned(), task.to_owned())].into()),
            state: ContainerState::Running,
            stopping,
            ..Container::clone(&container)
        };
        let containers = [(container.id.clone(), Arc::new(container))].into();
        Arc::new(World { containers, ..World::default() })
    }

    #[test]
    fn task_is_left_to_the_swarm_that_has_it() {
        let [engine, swarm] = ["engine", "swarm"].map(|name| name.parse::<SourceName>().unwrap());
        let show = |merged: &MergedWorld| {
            let containers = merged.world().containers.values();
            let text = |one: &Arc<Container>| {
                format!("{}{}", one.id, if one.stopping { " stopping" } else { "" })
            };
            containers.map(text).collect::<Vec<_>>().join(", ")
        };
        let empty = || Arc::new(World::default());
        for is_engine_first in [true, false] {
            let mut merged = MergedWorld::default();
            let of_engine = |stopping| with_task(&engine, "c1", "t1", stopping);
            let of_swarm = || with_task(&swarm, "t1", "t1", false);
            if is_engine_first {
                merged.replace(&engine, of_engine(false));
                assert_eq!(show(&merged), "c1.engine");
                merged.replace(&swarm, of_swarm());
            } else {
                merged.replace(&swarm, of_swarm());
                merged.replace(&engine, of_engine(false));
            }
            assert_eq!(show(&merged), "t1.swarm");
            assert_eq!(merged.count_shared(), 1);
            merged.replace(&engine, of_engine(true));
            assert_eq!(show(&merged), "t1.swarm stopping", "the engine knows it first");
            merged.replace(&engine, empty());
            assert_eq!(show(&merged), "t1.swarm");
            merged.replace(&engine, of_engine(false));
            merged.replace(&swarm, empty());
            assert_eq!(show(&merged), "c1.engine", "the Swarm no longer has it");
            assert_eq!(merged.count_shared(), 0);
        }
    }

    /// Returns a container of an engine, or of a registry if it names a machine.
    fn with_node(source: &SourceName, node: Option<&str>) -> Arc<World> {
        let container = container(source, 1, "web");
        let node = node.map(Into::into);
        let container = Container { node, ..Container::clone(&container) };
        let containers = [(container.id.clone(), Arc::new(container))].into();
        Arc::new(World { containers, ..World::default() })
    }

    #[test]
    fn record_is_left_to_the_engine_that_has_it() {
        let names = ["a", "b", "r"].map(|name| name.parse::<SourceName>().unwrap());
        let [a, b, registry] = &names;
        // A source that sends its container, or none.
        for (steps, expected, left) in [
            ("a r", "a", 1),
            ("r a", "a", 1),
            // Engines of copied machines.
            ("r a b", "a b", 1),
            ("r a b -a", "b", 1),
            ("r a -a", "r", 0),
            ("a r -r", "a", 0),
            ("r b -r b", "b", 0),
        ] {
            let mut merged = MergedWorld::default();
            for step in steps.split(' ') {
                let source = names.iter().find(|name| step.ends_with(name.as_str())).unwrap();
                let node = (source == registry).then_some("node2");
                let sent = with_node(source, node);
                let sent = if step.starts_with('-') { Arc::default() } else { sent };
                merged.replace(source, sent);
            }
            let sources = merged.world().containers.keys().map(|id| id.source().as_str());
            assert_eq!(sources.collect::<Vec<_>>().join(" "), expected, "{steps}");
            assert_eq!(merged.count_left_records(), left, "{steps}");
            assert!(
                merged.world().containers.keys().all(|id| [a, b, registry].contains(&id.source()))
            );
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
