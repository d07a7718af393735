//! What a manager has said of services, tasks and nodes, and the containers that follow from it.
//!
//! Pure. A list shows the tasks that are to run. A known task that is not in it gets no new requests from then on, and is
//! asked for by its id until its container has ended. What one answer lacks altogether goes only when the next one lacks
//! it, too.

use super::{
    convert,
    object::{Node, Port, Service, Task},
};
use crate::{
    model::{
        container::Container,
        source_name::SourceName,
        world::{Networks, World},
    },
    sources::filter::ContainerFilter,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many answers must lack something before it is gone.
const ABSENCES: u8 = 2;

/// Ids of services, or of tasks.
pub(super) type Ids = BTreeSet<String>;

/// Everything that a manager has.
#[derive(Debug, Clone, Default)]
pub(super) struct WholeAnswer {
    pub(super) services: Vec<Service>,
    /// Those that are to run.
    pub(super) tasks: Vec<Task>,
    pub(super) nodes: Vec<Node>,
    pub(super) networks: Networks,
    pub(super) unlisted: UnlistedAnswer,
}

/// Some services, and their tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct ServicesAnswer {
    pub(super) services: Vec<Service>,
    /// Those that are to run.
    pub(super) tasks: Vec<Task>,
    pub(super) unlisted: UnlistedAnswer,
}

/// Tasks that were asked for by their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct UnlistedAnswer {
    pub(super) requested: Ids,
    pub(super) tasks: Vec<Task>,
}

#[derive(Debug, Default)]
pub(super) struct SwarmCache {
    services: BTreeMap<String, Cached<Service>>,
    tasks: BTreeMap<String, CachedTask>,
    nodes: BTreeMap<String, Node>,
    networks: Networks,
    is_complete: bool,
}

#[derive(Debug)]
struct Cached<T> {
    value: T,
    /// How many answers in succession lacked it.
    absences: u8,
}

#[derive(Debug)]
struct CachedTask {
    task: Task,
    /// The ports of its node that lead to it, as they were known last.
    ports: Vec<Port>,
    /// How many answers in succession lacked it although it was asked for by its id.
    absences: u8,
}

impl SwarmCache {
    /// Whether everything was read once.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn apply_everything(&mut self, answer: WholeAnswer) {
        let WholeAnswer { services, tasks, nodes, networks, unlisted } = answer;
        self.nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
        self.networks = networks;
        let all = self.services.keys().cloned().collect();
        self.apply_services(&all, services);
        self.apply_tasks(tasks, unlisted, |_| true);
        self.is_complete = true;
    }

    /// Applies an answer about these services.
    pub(super) fn apply_part(&mut self, requested: &Ids, answer: ServicesAnswer) {
        let ServicesAnswer { services, tasks, unlisted } = answer;
        self.apply_services(requested, services);
        self.apply_tasks(tasks, unlisted, |task| requested.contains(&task.service_id));
    }

    pub(super) fn apply_nodes(&mut self, nodes: Vec<Node>) {
        self.nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
        self.drop_lost_tasks();
    }

    fn apply_services(&mut self, requested: &Ids, services: Vec<Service>) {
        for id in requested {
            if let Some(service) = self.services.get_mut(id) {
                service.absences += 1;
            }
        }
        for value in services.into_iter().filter(|service| is_id(&service.id)) {
            self.services.insert(value.id.clone(), Cached { value, absences: 0 });
        }
        self.services.retain(|_, service| service.absences < ABSENCES);
    }

    /// `is_requested` are the tasks that the list would have if they were to run.
    fn apply_tasks(
        &mut self,
        tasks: Vec<Task>,
        unlisted: UnlistedAnswer,
        is_requested: impl Fn(&Task) -> bool,
    ) {
        let listed: Ids = tasks.iter().map(|task| task.id.clone()).collect();
        for (id, cached) in &mut self.tasks {
            if cached.task.is_desired() && is_requested(&cached.task) && !listed.contains(id) {
                "shutdown".clone_into(&mut cached.task.desired_state);
            }
        }
        let found: Ids = unlisted.tasks.iter().map(|task| task.id.clone()).collect();
        for id in unlisted.requested.iter().filter(|id| !found.contains(*id)) {
            if let Some(cached) = self.tasks.get_mut(id).filter(|_| !listed.contains(id)) {
                cached.absences += 1;
            }
        }
        tasks.into_iter().chain(unlisted.tasks).for_each(|task| self.apply_task(task));
        self.tasks.retain(|_, cached| cached.absences < ABSENCES);
        self.drop_lost_tasks();
    }

    /// Takes over a task, unless a manager that lags behind has sent it.
    fn apply_task(&mut self, task: Task) {
        let before = self.tasks.get(&task.id);
        let is_older = before.is_some_and(|cached| task.version.index < cached.task.version.index);
        // Tasks without a service attach plain containers to networks.
        if is_older || !is_id(&task.id) || task.service_id.is_empty() {
            return;
        }
        if task.has_ended() || (!task.is_running() && !task.is_desired()) {
            self.tasks.remove(&task.id);
            return;
        }
        let known = before.filter(|cached| cached.task.is_running() && task.is_running());
        let ports = match (convert::reported_ports(&task), known) {
            (Some(ports), _) => ports.to_vec(),
            (None, Some(cached)) => cached.ports.clone(),
            (None, None) => Vec::new(),
        };
        self.tasks.insert(task.id.clone(), CachedTask { task, ports, absences: 0 });
    }

    /// Drops the tasks that are to stop on nodes that are down: their end is not reported before the node is back.
    fn drop_lost_tasks(&mut self) {
        let Self { nodes, tasks, .. } = self;
        let is_down = |id: &str| nodes.get(id).is_some_and(|node| node.status.state == "down");
        tasks.retain(|_, cached| cached.task.is_desired() || !is_down(&cached.task.node_id));
    }

    /// Returns the tasks of these services whose end is awaited.
    pub(super) fn unlisted_tasks(&self, is_requested: impl Fn(&str) -> bool) -> Ids {
        let unlisted = self.tasks.values().filter(|cached| !cached.task.is_desired());
        let unlisted = unlisted.filter(|cached| is_requested(&cached.task.service_id));
        unlisted.map(|cached| cached.task.id.clone()).collect()
    }

    /// Returns the services in which nothing moves: as many tasks run as are wanted, and none is to stop.
    pub(super) fn settled_services(&self) -> Ids {
        let mut counts: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for CachedTask { task, .. } in self.tasks.values() {
            let (running, moves) = counts.entry(&task.service_id).or_default();
            *running += u64::from(task.is_running() && task.is_desired());
            *moves |= !task.is_running() || !task.is_desired();
        }
        let is_settled = |service: &Service| {
            let (running, moves) = counts.get(service.id.as_str()).copied().unwrap_or_default();
            let is_enough = service.replicas().is_none_or(|replicas| replicas == running);
            service.is_job() || (is_enough && !moves && !service.is_updating())
        };
        let present = self.services.values().filter(|service| service.absences == 0);
        let settled = present.filter(|service| is_settled(&service.value));
        settled.map(|service| service.value.id.clone()).collect()
    }

    /// Returns the services that the manager has, and those that the last answer lacked.
    pub(super) fn services(&self) -> Ids {
        self.services.keys().cloned().collect()
    }

    /// Returns the services whose tasks the manager replaces.
    pub(super) fn updating_services(&self) -> Ids {
        let updating = self.services.values().filter(|service| service.value.is_updating());
        updating.map(|service| service.value.id.clone()).collect()
    }

    /// Returns the services that an event of the node may move: those with a task there, and those with one on each
    /// node.
    pub(super) fn services_on(&self, node: &str) -> Ids {
        let there = self.tasks.values().filter(|cached| cached.task.node_id == node);
        let there = there.map(|cached| cached.task.service_id.clone());
        let global = self.services.values().filter(|service| service.value.replicas().is_none());
        there.chain(global.map(|service| service.value.id.clone())).collect()
    }

    /// Returns the service of a task.
    pub(super) fn service_of(&self, task: &str) -> Option<&str> {
        self.tasks.get(task).map(|cached| cached.task.service_id.as_str())
    }

    /// Returns the containers of all tasks, and one for each service that has none. A container that is as in `before`
    /// is the same value.
    pub(super) fn build_world(&self, filter: &ContainerFilter, before: Option<&World>) -> World {
        let source = &filter.source;
        let mut world = World {
            networks: [(source.clone(), self.networks.clone())].into(),
            ..World::default()
        };
        let mut served = BTreeSet::new();
        for CachedTask { task, ports, .. } in self.tasks.values() {
            let Some(Cached { value: service, .. }) = self.services.get(&task.service_id) else {
                continue;
            };
            if service.is_job() {
                continue;
            }
            let mut container = self.convert(task, service, ports, source);
            slim(&mut container, filter);
            if container.is_up() {
                served.insert(service.id.as_str());
            }
            insert(&mut world, container, before);
        }
        for Cached { value: service, .. } in self.services.values() {
            if served.contains(service.id.as_str()) || service.is_job() {
                continue;
            }
            let mut container = convert::convert_idle_service(service, source);
            slim(&mut container, filter);
            if filter.matches_container(&container) {
                insert(&mut world, container, before);
            }
        }
        world
    }

    fn convert(
        &self,
        task: &Task,
        service: &Service,
        ports: &[Port],
        source: &SourceName,
    ) -> Container {
        let node = self.nodes.get(&task.node_id);
        let fixed = || convert::fixed_ports(service);
        let is_unknown = ports.is_empty() && task.is_running();
        let fixed = if is_unknown { fixed() } else { Vec::new() };
        convert::convert_task(task, service, node, if is_unknown { &fixed } else { ports }, source)
    }
}

/// Drops what is not read of labels and environment.
fn slim(container: &mut Container, filter: &ContainerFilter) {
    let environment = std::mem::take(&mut container.environment);
    container.environment = filter.filter_environment(environment.into_iter().collect());
    filter.drop_unused_labels(container);
}

fn insert(world: &mut World, container: Container, before: Option<&World>) {
    let before = before.and_then(|before| before.containers.get(&container.id));
    let container = match before {
        Some(before) if **before == container => Arc::clone(before),
        _ => Arc::new(container),
    };
    world.containers.insert(container.id.clone(), container);
}

/// Whether the text is an id of a Swarm, which names of servers contain.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests;
