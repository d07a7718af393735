//! What would change if the labels were applied now: as routes, as commands, and as files.
//!
//! Pure. Uses the same code for decisions, layout, plan and rendering as a reconcile pass. The state before is
//! HAProxy's, so the result is the same whether a docker-balancer runs or not. HAProxy's state also shows what a
//! running docker-balancer holds back (held routes, drained containers).

use super::{
    status::{Status, port_conflict_cause},
    unified_diff::FilePatch,
};
use crate::{
    haproxy::{
        command::RuntimeCommand,
        config::{AdminState, Config, ExistingWorker},
        config_builder::ConfigBuilder,
        files::ConfigFiles,
        layout::Layout,
        name,
        observed::ObservedState,
        plan::plan_commands,
        reload_reason::ReloadReason,
        render, route_recovery,
    },
    model::{
        container_ref::ContainerRef,
        option_value::Backup,
        problem::Problem,
        route::{Endpoint, Listener, OwnedName, Readiness, Route, RouteKey, Routes},
        world::World,
    },
    routing::{
        decide::{DecideState, Decision, PortConflict, Rules, decide},
        rollback::Rollback,
        route_diff::{self, RouteChange},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

/// The current state.
#[derive(Debug, Clone)]
pub struct CurrentState {
    pub source: StateSource,
    pub observed: ObservedState,
    pub disk: DiskState,
    /// The owner of each host, from `hosts.json`.
    pub owners: BTreeMap<OwnedName, Arc<str>>,
}

/// Source of the state before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateSource {
    /// The running HAProxy.
    HAProxy,
    /// HAProxy does not answer: the files of the last good state.
    Files,
    /// There are no such files either, so everything is new.
    Nothing,
}

/// The current files.
#[derive(Debug, Clone, Default)]
pub struct DiskState {
    /// Path of the configuration, and its text.
    pub target: PathBuf,
    pub config: Option<String>,
    /// By name: the files of the generation that the configuration refers to, with their paths.
    pub files: BTreeMap<String, (PathBuf, String)>,
    /// The directory of the generations.
    pub generations: PathBuf,
}

/// All changes of a preview.
#[derive(Debug)]
pub struct PlanPreview {
    pub source: StateSource,
    pub method: PreviewMethod,
    pub changes: Vec<RouteChange>,
    /// Routes that are removed, but first answer 503 for a while.
    pub route_holds: BTreeSet<RouteKey>,
    pub commands: Vec<RuntimeCommand>,
    pub patches: Vec<FilePatch>,
    pub problems: BTreeSet<Problem>,
    /// Containers to which the running docker-balancer sends no new requests.
    pub excluded: BTreeSet<ContainerRef>,
    /// The active rollback, because of which newer containers are not served.
    pub rollback: Option<Rollback>,
    pub after: Routes,
    pub files: ConfigFiles,
    pub config: Config,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewMethod {
    /// HAProxy has this state already.
    Nothing,
    Runtime,
    Reload(ReloadReason),
    /// HAProxy does not run, or its state cannot be read.
    Start,
}

/// The decision that a running docker-balancer would make.
#[derive(Debug)]
pub struct PreviewDecision {
    pub decision: Decision,
    pub excluded: BTreeSet<ContainerRef>,
}

/// Returns the desired state for this world. `refused` are routes that HAProxy refused; `rollback` is the active one.
pub fn decide_preview(
    world: &World,
    before: &CurrentState,
    daemon: Option<&Status>,
    refused: &BTreeMap<RouteKey, (Arc<Route>, String)>,
    rollback: Option<Rollback>,
    (rules, now): (&Rules, Instant),
) -> PreviewDecision {
    let served = route_recovery::recover_routes(&before.observed);
    let remembered =
        served.0.iter().filter(|(_, route)| daemon.is_some() || !route.endpoints.is_empty());
    let mut state = DecideState::with_served(remembered, now);
    state.restore_claimants(&served);
    if let Some(label) = &rules.base.label_limits.own_hosts_by {
        state.restore_host_owners(&before.owners, label, now);
    }
    state.refused_routes.clone_from(refused);
    state.rollback = rollback;
    state.port_conflicts = daemon.map(|status| port_conflicts(status, now)).unwrap_or_default();
    // The preview shows the final state, so routes that are still reserved for containers that left them are released.
    let kept = decide(world, state.clone(), now, rules);
    state.release_routes(kept.memory.route_table().reserved_routes());
    let decision = decide(world, state.clone(), now, rules);
    let excluded = match daemon {
        Some(_) => find_excluded(&decision.routes, &before.observed),
        None => BTreeSet::new(),
    };
    if excluded.is_empty() {
        return PreviewDecision { decision, excluded };
    }
    let is_kept = |id: &str| excluded.iter().any(|container_ref| container_ref.id() == id);
    for id in world.containers.keys().filter(|id| is_kept(id.short())) {
        state.drain_container(id);
    }
    PreviewDecision { decision: decide(world, state, now, rules), excluded }
}

/// Returns the listeners whose port the running docker-balancer could not bind, each with its reason.
fn port_conflicts(daemon: &Status, now: Instant) -> BTreeMap<Listener, PortConflict> {
    let conflicts = daemon.listeners.iter().filter_map(|status| {
        let reason = port_conflict_cause(status.taken.as_deref()?);
        let protocol = status.protocol.parse().ok()?;
        let listener = Listener { protocol, port: NonZeroU16::new(status.port)? };
        Some((listener, PortConflict::new(reason.to_owned(), now)))
    });
    conflicts.collect()
}

/// Returns the containers that would serve by their labels but have no ready server in HAProxy: they are drained,
/// stopping, or crashing repeatedly. Of backups HAProxy cannot tell, because others may have served.
fn find_excluded(routes: &Routes, observed: &ObservedState) -> BTreeSet<ContainerRef> {
    let mut readiness: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (server_name, server) in observed.servers.values().flatten() {
        let Some(id_and_port) = name::parse_container_port(server_name) else { continue };
        *readiness.entry(id_and_port).or_default() |= server.admin == AdminState::Ready;
    }
    let is_excluded = |endpoint: &&Endpoint| {
        let port = endpoint.port.to_string();
        readiness.get(&(endpoint.container.id(), port.as_str())) == Some(&false)
    };
    // HAProxy has no servers of routes that it answers itself.
    let routes = routes.0.iter().filter(|(key, route)| route.own_answer(key.listener).is_none());
    let endpoints = routes.flat_map(|(_, route)| &route.endpoints);
    let ready = endpoints.filter(|endpoint| endpoint.readiness == Readiness::Ready);
    let ready = ready.filter(|endpoint| !endpoint.options.get::<Backup>().0);
    ready.filter(is_excluded).map(|endpoint| endpoint.container.clone()).collect()
}

impl PlanPreview {
    pub fn new(
        before: &CurrentState,
        preview_decision: PreviewDecision,
        builder: ConfigBuilder<'_>,
    ) -> Self {
        let PreviewDecision { decision: decided, excluded: kept_out } = preview_decision;
        let served = route_recovery::recover_routes(&before.observed);
        let (config, method, commands) = choose_method(before, &served, &decided.routes, builder);
        // Both sides are compared as recovered from HAProxy's state, so that what HAProxy does not know is no
        // difference.
        let mut after = route_recovery::recover_routes(&ObservedState::from_config(&config));
        let is_empty = |key: &RouteKey, route: &Arc<Route>| {
            route.endpoints.is_empty() && route.own_answer(key.listener).is_none()
        };
        let mut before_words = served;
        before_words.0.retain(|key, route| !is_empty(key, route) || !after.0.contains_key(key));
        let route_holds =
            after.0.iter().filter(|(key, route)| is_empty(key, route)).map(|(key, _)| key.clone());
        let mut route_holds: BTreeSet<_> = route_holds.collect();
        after.0.retain(|key, route| !is_empty(key, route));
        let changes = route_diff::diff_routes(&before_words, &after);
        route_holds.retain(|key| before_words.0.contains_key(key));
        let files = render::render_files(&config, builder.context);
        Self {
            source: before.source,
            method,
            changes,
            route_holds,
            commands,
            patches: before.disk.diff_files(&files),
            problems: decided.problems.iter().cloned().collect(),
            excluded: kept_out,
            rollback: decided.memory.rollback,
            after,
            files,
            config,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.method == PreviewMethod::Nothing && self.patches.is_empty()
    }

    /// Whether HAProxy has this state and the disk does not, as for a moment after each change.
    pub fn is_only_disk_stale(&self) -> bool {
        self.method == PreviewMethod::Nothing && !self.patches.is_empty()
    }
}

fn choose_method(
    before: &CurrentState,
    served: &Routes,
    routes: &Routes,
    builder: ConfigBuilder<'_>,
) -> (Config, PreviewMethod, Vec<RuntimeCommand>) {
    if before.source != StateSource::HAProxy {
        return (builder.build_fresh(routes), PreviewMethod::Start, Vec::new());
    }
    let observed = &before.observed;
    let existing = ExistingWorker::new(observed, &Config::default());
    let current = builder.build_config(served, Layout::default(), Some(&existing));
    let (config, reason) = builder.build_for_running(routes, observed, &current);
    if let Some(reason) = reason {
        return (builder.build_fresh(routes), PreviewMethod::Reload(reason), Vec::new());
    }
    let commands = plan_commands(observed, &config);
    // Such servers wait for their last request, and their deletion is retried continuously.
    let is_pending_delete =
        |command: &RuntimeCommand| matches!(command, RuntimeCommand::DelServer { .. });
    if commands.iter().all(is_pending_delete) {
        return (config, PreviewMethod::Nothing, Vec::new());
    }
    (config, PreviewMethod::Runtime, commands)
}
