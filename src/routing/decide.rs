//! What should be served now: the world, what is remembered, and the time → the desired routes.
//!
//! Pure: time is an argument and history is a value, so the same question has the same answer.

use crate::{
    label::{self, LabelLimits, ParsedLabels, RouteRequest},
    model::{
        container::{Container, ContainerId, ContainerState, Health, NetworkMode},
        container_ref::ContainerRef,
        option_value::{HealthPolicy, HostMatch},
        problem::{LabelText, Problem, ProblemSubject, Reason},
        problem_set::ProblemSet,
        route::{Endpoint, Listener, Policy, Route, RouteKey, Routes},
        world::{Vantage, World},
    },
    routing::{
        address::{NetworkContext, resolve_address},
        crash_loop::CrashTracker,
        rollback::Rollback,
        route_table::{Claim, Claimant, Eligibility, Reservation, RouteTable, VacatedRoute},
    },
    support::{
        backoff::{Backoff, RESET_AFTER},
        map_diff::diff_maps,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long until a listener whose port was taken is tried again.
pub const PORT_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How long a listener stays out with which HAProxy could not be loaded, at first and at last: each try may
/// pause the others.
const UNLOADABLE_BACKOFF: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));

/// How many public ports all containers together get: HAProxy's file descriptors are counted, and a reload
/// takes longer with each.
pub const MAX_LISTENERS: usize = 256;

/// The administrator's part of every decision.
#[derive(Debug, Clone)]
pub struct Rules {
    pub label_limits: LabelLimits,
    /// `--network`: where HAProxy reaches containers that do not say it themselves.
    pub network: Option<String>,
    pub vantage: Vantage,
    /// How long a route whose last container went away still answers 503.
    pub hold: Duration,
    /// Public port → the port that is bound for it.
    pub port_map: BTreeMap<NonZeroU16, NonZeroU16>,
}

impl Rules {
    /// Whether no container on the host's network may have this port of it served.
    fn is_reserved_host_port(&self, port: u16) -> bool {
        let Some(port) = NonZeroU16::new(port) else { return false };
        let here = matches!(self.vantage, Vantage::Host | Vantage::Inside(_));
        self.label_limits.reserved_ports.contains(&port)
            && (here || !self.label_limits.own_ports.contains(&port))
    }

    /// The port that HAProxy binds for a listener.
    pub fn bound_port(&self, listener: Listener) -> NonZeroU16 {
        self.port_map.get(&listener.port).copied().unwrap_or(listener.port)
    }
}

/// What the next decision has to know of the past, and what need not be made again as nothing of it changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecideState {
    /// Routes that were served, whose parties have left them.
    held_routes: BTreeMap<RouteKey, HeldRoute>,
    /// Listeners whose port belongs to somebody else.
    pub port_conflicts: BTreeMap<Listener, PortConflict>,
    /// Listeners with which HAProxy could not be loaded, and why.
    pub unloadable_listeners: BTreeMap<Listener, UnloadableListener>,
    /// Routes that HAProxy would not have, as they were; another shape of one is tried again.
    pub refused_routes: BTreeMap<RouteKey, (Arc<Route>, String)>,
    /// Who crashes over and over.
    crash_tracker: CrashTracker,
    /// Containers that somebody took out of traffic, for as long as they are up.
    pub drained: BTreeSet<ContainerId>,
    /// What is served in place of what is asked for, until somebody ends it.
    pub rollback: Option<Rollback>,
    /// The world of the last decision.
    last_containers: BTreeMap<ContainerId, Arc<Container>>,
    /// Those of it that are up and publish ports.
    publishers: BTreeMap<ContainerId, Arc<Container>>,
    /// Those that are up and take part.
    entries: BTreeMap<ContainerId, ContainerEntry>,
    network_context: Option<NetworkContext>,
    route_table: RouteTable,
    /// What is said of those seen.
    problems: ProblemSet,
}

/// What was made of a container, and stays so for as long as it does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ContainerEntry {
    container: Arc<Container>,
    origin: ContainerRef,
    /// Of the container: looking into all of them takes longer than all else that is done with them.
    shares_network: bool,
    labels: ParsedLabels,
    /// Whether its claims were made as those of one that is out; `None` until they are made.
    is_excluded: Option<bool>,
    /// Why some of its claims could not be made.
    address_problems: Vec<Problem>,
}

impl DecideState {
    /// What an earlier run served, as far as its routes tell: what is not asked for any more is held.
    pub fn with_routes(keys: impl IntoIterator<Item = RouteKey>, now: Instant) -> Self {
        let routes =
            keys.into_iter().map(|key| (key, HeldRoute::new(Policy::default(), now))).collect();
        Self { held_routes: routes, ..Self::default() }
    }

    /// The same where it is known how these routes were served: held, they stay as they were.
    pub fn with_served<'a>(
        routes: impl IntoIterator<Item = (&'a RouteKey, &'a Policy)>,
        now: Instant,
    ) -> Self {
        let routes = routes.into_iter();
        let map = routes.map(|(key, policy)| (key.clone(), HeldRoute::new(policy.clone(), now)));
        Self { held_routes: map.collect(), ..Self::default() }
    }

    /// These routes are kept for those that served them in an earlier run, and as they were. `routes` may be more than
    /// what is held.
    pub fn restore_claimants(&mut self, routes: &Routes) {
        for (key, route) in &routes.0 {
            let Some(held) = self.held_routes.get_mut(key) else { continue };
            let claimant_of =
                |endpoint: &Endpoint| Claimant::Container(endpoint.container.name().into());
            let claimants = route.endpoints.iter().map(claimant_of).collect();
            *held = HeldRoute { claimants, ..HeldRoute::new(route.policy.clone(), held.since) };
        }
    }

    /// These routes are kept for nobody.
    pub fn release_routes<'a>(&mut self, keys: impl Iterator<Item = &'a RouteKey>) {
        for key in keys {
            if let Some(route) = self.held_routes.get_mut(key) {
                route.claimants.clear();
            }
        }
    }

    /// Who had which hosts in an earlier run, by the label that says so now.
    pub fn restore_host_owners(
        &mut self,
        owners: &BTreeMap<HostMatch, Arc<str>>,
        label: &str,
        now: Instant,
    ) {
        let is_by = |holder: &str| {
            let value = holder.strip_prefix(label).is_some_and(|text| text.starts_with('='));
            value || holder.starts_with(UNLABELLED_PREFIX)
        };
        let owners = owners.iter().filter(|(_, holder)| is_by(holder));
        let owners = owners.map(|(host, holder)| (host.clone(), Arc::clone(holder))).collect();
        self.route_table.restore_owners(owners, now);
    }

    /// All that could be used again is forgotten; the next decision is the same without it.
    pub fn clear_cache(&mut self) {
        for (id, seen) in std::mem::take(&mut self.entries) {
            seen.withdraw_claims(&id, &mut self.route_table);
        }
        self.last_containers.clear();
        self.publishers.clear();
        self.problems = ProblemSet::default();
    }

    /// The container gets no new requests, until it is stopped or undrained.
    pub fn drain_container(&mut self, id: &ContainerId) {
        self.drained.insert(id.clone());
    }

    pub fn undrain_container(&mut self, id: &ContainerId) {
        self.drained.remove(id);
    }

    /// How many containers run and take part.
    pub fn container_count(&self) -> usize {
        self.entries.len()
    }

    /// The container that is up or was just now, by its short id.
    pub fn find_container(&self, short_id: &str) -> Option<&Container> {
        let (_, found) = self.last_containers.range(ContainerId::new(short_id)..).next()?;
        (found.id.short() == short_id).then_some(&**found)
    }

    /// Who asks for what, the routes that come of it and who must wait.
    pub fn route_table(&self) -> &RouteTable {
        &self.route_table
    }

    /// Since when nobody asks for the route, where it is held for those who will.
    pub fn held_since(&self, key: &RouteKey) -> Option<Instant> {
        let route =
            self.held_routes.get(key).filter(|_| !self.route_table.routes().0.contains_key(key));
        route.map(|route| route.since)
    }

    /// Who gets no traffic for crashing over and over, and until when.
    pub fn crash_delay_until(&self, id: &ContainerId, now: Instant) -> Option<Instant> {
        self.crash_tracker.delayed_containers(now).remove(id)
    }

    /// What the container asks for there.
    pub fn find_claim(&self, key: &RouteKey, endpoint: &Endpoint) -> Option<&Claim> {
        let mut claims = self.route_table.claims().get(key)?.iter();
        claims.find(|claim| claim.container == endpoint.container && claim.port == endpoint.port)
    }

    /// How fit the container is to serve the route there.
    pub fn find_eligibility(&self, key: &RouteKey, endpoint: &Endpoint) -> Option<Eligibility> {
        self.find_claim(key, endpoint).map(|claim| claim.eligibility)
    }
}

/// Answers that nobody is there, until its time is over. Others may serve it, as it was, until those come back who had
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HeldRoute {
    empty_route: Arc<Route>,
    since: Instant,
    /// For whom it is kept; for whoever comes where that is not known.
    claimants: Vec<Claimant>,
}

/// As many parties a route is kept for, where each comes after the other was gone.
const MAX_CLAIMANTS: usize = 4;

impl HeldRoute {
    fn new(policy: Policy, since: Instant) -> Self {
        let empty = Arc::new(Route { policy, endpoints: Vec::new() });
        Self { empty_route: empty, since, claimants: Vec::new() }
    }

    fn reservation(&self) -> Option<Reservation<'_>> {
        let (claimants, policy) = (&self.claimants[..], &self.empty_route.policy);
        (!claimants.is_empty()).then_some(Reservation { claimants, policy })
    }
}

/// A port that somebody else holds, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConflict {
    /// Follows "its port is": `taken by nginx (pid 7)`.
    pub reason: String,
    pub until: Instant,
}

impl PortConflict {
    pub fn new(reason: String, now: Instant) -> Self {
        Self { reason, until: now + PORT_RETRY_INTERVAL }
    }
}

/// A listener with which HAProxy could not be loaded, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnloadableListener {
    pub reason: String,
    pub until: Instant,
    backoff: Backoff,
}

impl UnloadableListener {
    /// `before` is what came of the last try.
    pub fn new(reason: String, now: Instant, before: Option<&Self>) -> Self {
        let (mut backoff, lived) = match before {
            Some(listener) => {
                (listener.backoff.clone(), now.saturating_duration_since(listener.until))
            }
            None => (Backoff::new(UNLOADABLE_BACKOFF), Duration::ZERO),
        };
        let until = now + backoff.pause_after(lived);
        Self { reason, until, backoff }
    }
}

#[derive(Debug, Clone)]
pub struct Decision {
    pub routes: Routes,
    pub problems: ProblemSet,
    pub memory: DecideState,
    /// When the answer changes by itself.
    pub wake_at: Option<Instant>,
}

/// The desired routes. The same world, memory and time give the same answer.
pub fn decide(world: &World, mut memory: DecideState, now: Instant, rules: &Rules) -> Decision {
    let changed = update_containers(world, &mut memory, rules);
    memory.crash_tracker.record_changes(changed, now);
    memory.drained.retain(|id| world.containers.get(id).is_some_and(|container| container.is_up()));
    let crashed = memory.crash_tracker.delayed_containers(now);
    let claimants = update_claims(world, &mut memory, &crashed, rules);
    if let Some(rollback) = &mut memory.rollback {
        rollback.update_routes(&memory.route_table);
    }
    let hold_ends = update_held_routes(&mut memory, now, rules.hold);
    renew_problems(&mut memory, claimants);
    let mut problems = memory.problems.clone();
    let rolled_back = memory.rollback.as_ref().map(Rollback::served_routes);
    let holds = rolled_back.is_some();
    let mut routes = rolled_back.unwrap_or_else(|| memory.route_table.routes().clone());
    exclude_refused(&mut routes, &mut memory, &mut problems);
    if !holds {
        for (key, route) in &memory.held_routes {
            routes.0.entry(key.clone()).or_insert_with(|| Arc::clone(&route.empty_route));
        }
    }
    exclude_excess(&mut routes, &memory, &mut problems);
    memory.unloadable_listeners.retain(|_, listener| now < listener.until + RESET_AFTER);
    exclude_unloadable(&mut routes, &memory, now, &mut problems);
    memory.port_conflicts.retain(|_, port_conflicts| now < port_conflicts.until);
    problems.extend(unused_port_maps(&routes, rules));
    problems.extend(label::constraint::constraint_problems(&rules.label_limits.constraints));
    let conflicts = find_port_conflicts(&memory.publishers, &routes, rules);
    exclude_port_conflicts(&mut routes, &memory, conflicts, &mut problems);
    let again = memory
        .unloadable_listeners
        .values()
        .map(|listener| listener.until)
        .filter(|until| now < *until);
    let retry = memory
        .port_conflicts
        .values()
        .map(|port_conflicts| port_conflicts.until)
        .chain(again)
        .min();
    let wake_at = [hold_ends, retry, crashed.into_values().min()].into_iter().flatten().min();
    Decision { routes, problems, memory, wake_at }
}

/// Reads the labels of containers that are not as they were. Says of those that take part whether they leave, and
/// `None` of those that went.
fn update_containers(
    world: &World,
    memory: &mut DecideState,
    rules: &Rules,
) -> Vec<(ContainerId, Option<bool>)> {
    let first = memory.last_containers.is_empty();
    let changed: Vec<_> = diff_maps(&memory.last_containers, &world.containers)
        .map(|(id, _, now)| (id.clone(), now.cloned()))
        .collect();
    let mut lives = Vec::new();
    for (id, now) in changed {
        match &now {
            Some(now) => drop(memory.last_containers.insert(id.clone(), Arc::clone(now))),
            None => drop(memory.last_containers.remove(&id)),
        }
        let now = now.filter(|container| container.is_up());
        memory.publishers.remove(&id);
        if let Some(now) = now.as_ref().filter(|container| !container.published.is_empty()) {
            memory.publishers.insert(id.clone(), Arc::clone(now));
        }
        let before = memory.entries.remove(&id);
        if let Some(seen) = &before {
            seen.withdraw_claims(&id, &mut memory.route_table);
        }
        let seen = now.filter(|container| label::participates(container, &rules.label_limits));
        let seen = seen.map(|container| ContainerEntry::new(container, rules));
        if let Some(before) = before.as_ref()
            && seen.as_ref().is_none_or(|seen| seen.origin != before.origin)
        {
            memory.problems.replace(&ProblemSubject::Container(before.origin.clone()), Vec::new());
        }
        match seen {
            Some(seen) => {
                lives.push((id.clone(), Some(seen.container.stopping)));
                memory.entries.insert(id, seen);
            }
            None if before.is_some() => lives.push((id, None)),
            None => {}
        }
    }
    if first {
        let went = memory.crash_tracker.running_ids().filter(|id| !memory.entries.contains_key(id));
        lives.extend(went.map(|id| (id.clone(), None)));
    }
    lives
}

/// Makes the claims of containers that are new, and those that something else makes different. Says whose.
fn update_claims(
    world: &World,
    memory: &mut DecideState,
    crashed: &BTreeMap<ContainerId, Instant>,
    rules: &Rules,
) -> BTreeSet<ContainerId> {
    let context = Some(NetworkContext::new(world, &rules.vantage));
    let context_changed = memory.network_context != context;
    memory.network_context = context;
    let DecideState { entries: seen, route_table: board, drained, .. } = memory;
    let mut claimants = BTreeSet::new();
    for (id, seen) in seen {
        let is_excluded = crashed.contains_key(id) || drained.contains(id);
        if seen.is_excluded == Some(is_excluded) && !context_changed && !seen.shares_network {
            continue;
        }
        if seen.is_excluded.is_some() {
            seen.withdraw_claims(id, board);
        }
        claimants.insert(id.clone());
        (seen.is_excluded, seen.address_problems) = (Some(is_excluded), Vec::new());
        let ContainerEntry {
            container,
            origin,
            labels: reading,
            address_problems: unreachable,
            ..
        } = seen;
        let service = label::service_name(container).map(Into::into);
        let holder =
            rules.label_limits.own_hosts_by.as_deref().map(|label| host_holder(container, label));
        let dir = ClaimBuilder { container, origin, world, rules, is_excluded, service, holder };
        dir.add_claims(reading, board, unreachable);
    }
    claimants
}

impl ContainerEntry {
    fn new(container: Arc<Container>, rules: &Rules) -> Self {
        let labels = label::parse_labels(&container, &rules.label_limits);
        let borrows_its_address = matches!(container.network_mode, NetworkMode::Container(_));
        let (origin, is_excluded, unreachable) = (container.to_ref(), None, Vec::new());
        Self {
            container,
            origin,
            shares_network: borrows_its_address,
            labels,
            is_excluded,
            address_problems: unreachable,
        }
    }

    fn withdraw_claims(&self, id: &ContainerId, route_table: &mut RouteTable) {
        self.labels.requests.iter().for_each(|ask| route_table.remove_claim(&ask.key, id));
    }

    /// All that is said of it, in no order.
    fn collect_problems(&self, about: &ProblemSubject, route_table: &RouteTable) -> Vec<Problem> {
        let of_labels = self.labels.problems.iter().chain(&self.address_problems);
        let keys = self.labels.requests.iter().map(|ask| &ask.key).collect();
        // It may ask for a thousand routes of others.
        let mut conflicts = route_table.conflicts_of(about, &keys);
        let first = conflicts.by_ref().take(label::MAX_PROBLEMS);
        let mut problems: Vec<_> = of_labels.chain(first).cloned().collect();
        let more = conflicts.count();
        let (about, reason) = (about.clone(), Reason::MoreProblems { more });
        problems.extend((0 < more).then_some(Problem { subject: about, label: None, reason }));
        problems
    }
}

/// Says again what is said of containers whose claims were made, or of whose claims something else is said now.
fn renew_problems(memory: &mut DecideState, claimants: BTreeSet<ContainerId>) {
    let DecideState { entries: seen, route_table: board, problems, .. } = memory;
    let mut renewed = board.take_reassessed();
    renewed.extend(claimants);
    for seen in renewed.iter().filter_map(|id| seen.get(id)) {
        let about = ProblemSubject::Container(seen.origin.clone());
        problems.replace(&about, seen.collect_problems(&about, board));
    }
}

/// One container in the world.
struct ClaimBuilder<'a> {
    container: &'a Container,
    origin: &'a ContainerRef,
    world: &'a World,
    rules: &'a Rules,
    /// It crashed too often of late, or somebody drained it.
    is_excluded: bool,
    service: Option<Arc<str>>,
    holder: Option<Arc<str>>,
}

/// What stands before the name of a container that has not the label that says whose its hosts are.
const UNLABELLED_PREFIX: &str = "container ";

fn host_holder(container: &Container, label: &str) -> Arc<str> {
    match container.labels.get(label) {
        Some(value) => format!("{label}={value}").into(),
        None => format!("{UNLABELLED_PREFIX}{}", container.to_ref().name()).into(),
    }
}

impl ClaimBuilder<'_> {
    fn add_claims(
        &self,
        labels: &ParsedLabels,
        route_table: &mut RouteTable,
        problems: &mut Vec<Problem>,
    ) {
        let required_network = labels.network.as_deref();
        let mut addresses = BTreeMap::new();
        let on_host = uses_host_network(self.container, self.world);
        for ask in &labels.requests {
            if on_host && self.rules.is_reserved_host_port(ask.port) {
                if addresses
                    .insert(ask.port, Err(Reason::HostPortReserved { port: ask.port }))
                    .is_none()
                {
                    problems.push(address_problem(
                        self.container,
                        None,
                        Reason::HostPortReserved { port: ask.port },
                    ));
                }
                continue;
            }
            let found = addresses
                .entry(ask.port)
                .or_insert_with(|| self.endpoint_address(ask.port, required_network));
            match found {
                Ok(found) => route_table.add_claim(self.build_claim(ask, *found)),
                Err(reason) => {
                    let problem = address_problem(self.container, required_network, reason.clone());
                    // Ports of one container mostly have one reason, and may be many.
                    if problems.last() != Some(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }

    fn endpoint_address(
        &self,
        port: u16,
        required_network: Option<&str>,
    ) -> Result<SocketAddr, Reason> {
        let Rules { network, vantage, .. } = self.rules;
        resolve_address(
            self.container,
            port,
            required_network,
            network.as_deref(),
            self.world,
            vantage,
        )
    }

    fn build_claim(&self, ask: &RouteRequest, address: SocketAddr) -> Claim {
        let RouteRequest { key, policy, port, options, health_policy: obedience } = ask.clone();
        Claim {
            key,
            policy,
            container: self.origin.clone(),
            service: self.service.clone(),
            holder: self.holder.clone(),
            seniority: (self.container.created, self.container.id.clone()),
            port,
            address,
            options,
            eligibility: if self.is_excluded {
                Eligibility::Excluded
            } else {
                container_eligibility(self.container, obedience)
            },
        }
    }
}

/// Whether its ports are those of the host: its own network's, or that of the container whose network it joined.
fn uses_host_network(container: &Container, world: &World) -> bool {
    let is_host = |container: &Container| container.network_mode == NetworkMode::Host;
    let owner = container.network_owner_id().and_then(|id| world.containers.get(id));
    is_host(container) || owner.is_some_and(|owner| is_host(owner))
}

fn container_eligibility(container: &Container, obedience: HealthPolicy) -> Eligibility {
    let doubtful = matches!(container.health, Health::Starting | Health::Unhealthy);
    match obedience {
        _ if container.state == ContainerState::Paused => Eligibility::Excluded,
        _ if container.stopping => Eligibility::LastResort,
        HealthPolicy::Obey if doubtful => Eligibility::Backup,
        HealthPolicy::Require if doubtful => Eligibility::LastResort,
        _ => Eligibility::Active,
    }
}

fn address_problem(
    container: &Container,
    required_network: Option<&str>,
    reason: Reason,
) -> Problem {
    let claimant_of = |network: &str| LabelText::new("glue_network", network);
    Problem {
        subject: ProblemSubject::Container(container.to_ref()),
        label: required_network
            .filter(|_| matches!(reason, Reason::NotOnNetwork { .. }))
            .map(claimant_of),
        reason,
    }
}

/// A refused route stays out for as long as it is asked for in the same shape.
fn exclude_refused(routes: &mut Routes, memory: &mut DecideState, problems: &mut ProblemSet) {
    memory.refused_routes.retain(|key, (route, _)| routes.0.get(key) == Some(route));
    for (key, (_, text)) in &memory.refused_routes {
        let Some(route) = routes.0.remove(key) else { continue };
        problems.extend(route.endpoints.iter().map(|endpoint| Problem {
            subject: ProblemSubject::Container(endpoint.container.clone()),
            label: None,
            reason: Reason::RouteRefused { route: key.to_string(), text: text.clone() },
        }));
    }
}

/// Of more listeners than there may be those stay that older containers ask for.
fn exclude_excess(routes: &mut Routes, memory: &DecideState, problems: &mut ProblemSet) {
    // Keys are sorted by listener.
    let mut listeners: Vec<_> = routes.0.keys().map(|key| key.listener).collect();
    listeners.dedup();
    if listeners.len() <= MAX_LISTENERS {
        return;
    }
    let mut first_comers = BTreeMap::new();
    for (key, claims) in memory.route_table.claims() {
        let oldest = claims.iter().map(|claim| &claim.seniority).min();
        let first = first_comers.entry(key.listener).or_insert(oldest);
        *first = (*first).into_iter().chain(oldest).min();
    }
    // Those that nobody asks for go first.
    let rank = |listener: &Listener| {
        let first = first_comers.get(listener).copied().flatten();
        (first.is_none(), first, *listener)
    };
    listeners.sort_by_cached_key(rank);
    let excess = listeners.split_off(MAX_LISTENERS).into_iter().collect();
    let reason = |_: Listener| ();
    exclude_listeners(&excess, routes, problems, reason, |ports, ()| Reason::NoListenerLeft {
        ports,
        most: MAX_LISTENERS,
    });
}

fn exclude_unloadable(
    routes: &mut Routes,
    memory: &DecideState,
    now: Instant,
    problems: &mut ProblemSet,
) {
    let is_excluded = memory
        .unloadable_listeners
        .iter()
        .filter(|(_, listener)| now < listener.until)
        .map(|(at, _)| *at)
        .collect();
    let reason = |listener: Listener| memory.unloadable_listeners[&listener].reason.clone();
    exclude_listeners(&is_excluded, routes, problems, reason, |ports, text| {
        Reason::PortsNotLoaded { ports, text }
    });
}

/// Takes out the routes of these listeners, and names each container that asks for them once per cause.
fn exclude_listeners<C: Ord>(
    is_excluded: &BTreeSet<Listener>,
    routes: &mut Routes,
    problems: &mut ProblemSet,
    cause: impl Fn(Listener) -> C,
    reason: impl Fn(Vec<u16>, C) -> Reason,
) {
    if is_excluded.is_empty() {
        return;
    }
    let mut ports: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
    routes.0.retain(|key, route| {
        let stays = !is_excluded.contains(&key.listener);
        for endpoint in route.endpoints.iter().filter(|_| !stays) {
            let pair = (endpoint.container.clone(), cause(key.listener));
            ports.entry(pair).or_default().insert(key.listener.port.get());
        }
        stays
    });
    problems.extend(ports.into_iter().map(|((origin, cause), ports)| Problem {
        subject: ProblemSubject::Container(origin),
        label: None,
        reason: reason(ports.into_iter().collect(), cause),
    }));
}

/// Routes that their parties have left stay, empty where nobody else serves them, until their time is over. Says when
/// the next one goes.
fn update_held_routes(memory: &mut DecideState, now: Instant, time: Duration) -> Option<Instant> {
    let DecideState { held_routes: held, route_table: board, refused_routes: refused, .. } = memory;
    let is_over = |key: &RouteKey, route: &HeldRoute| {
        route.since + time <= now && !board.routes().0.contains_key(key)
    };
    let expired =
        held.iter().filter(|(key, route)| is_over(key, route)).map(|(key, _)| key.clone());
    let expired: BTreeSet<_> = expired.collect();
    for key in &expired {
        board.mark_dirty(key);
    }
    let owners_change = board.resolve_host_owners(now, time);
    let reservation = |key: &RouteKey| held.get(key).and_then(HeldRoute::reservation);
    let may_hold =
        |key: &RouteKey| !time.is_zero() && !refused.contains_key(key) && !expired.contains(key);
    for (key, departure) in board.resolve_routes(reservation, may_hold) {
        if !refused.contains_key(&key) {
            hold_vacated_route(held, key, departure, now);
        }
    }
    let served = &board.routes().0;
    held.retain(|key, route| {
        let others_serve =
            || !route.claimants.is_empty() && !board.has_claim_of(key, &route.claimants);
        now < route.since + time && (!served.contains_key(key) || others_serve())
    });
    let hold_ends = held.values().map(|route| route.since).min().map(|since| since + time);
    hold_ends.into_iter().chain(owners_change).min()
}

/// Where nobody serves it any more its time begins anew.
fn hold_vacated_route(
    routes: &mut BTreeMap<RouteKey, HeldRoute>,
    key: RouteKey,
    vacated: VacatedRoute,
    now: Instant,
) {
    let VacatedRoute { claimant: party, policy, is_unserved: is_gone } = vacated;
    let before = routes.get(&key);
    if before.is_some() && !is_gone {
        return;
    }
    let mut claimants = before.map(|route| route.claimants.clone()).unwrap_or_default();
    claimants.extend(party.filter(|claimant| !claimants.contains(claimant)));
    claimants.truncate(MAX_CLAIMANTS);
    routes.insert(key, HeldRoute { claimants, ..HeldRoute::new(policy, now) });
}

/// Listeners whose port is known to be somebody else's without asking HAProxy, and whose.
fn find_port_conflicts(
    publishers: &BTreeMap<ContainerId, Arc<Container>>,
    routes: &Routes,
    rules: &Rules,
) -> BTreeMap<Listener, String> {
    let listeners: BTreeSet<_> = routes.0.keys().map(|key| key.listener).collect();
    let reason = |at: &Listener| {
        map_port_conflict(*at, &listeners, rules)
            .or_else(|| publisher_conflict(publishers, *at, rules))
    };
    listeners.iter().filter_map(|at| Some((*at, reason(at)?))).collect()
}

/// `--map-port` the wrong way round.
fn unused_port_maps(routes: &Routes, rules: &Rules) -> Vec<Problem> {
    if rules.port_map.is_empty() {
        return Vec::new();
    }
    let ports: BTreeSet<_> = routes.0.keys().map(|key| key.listener.port).collect();
    let wrong = rules.port_map.iter().filter(|(public, ours)| {
        !ports.contains(public) && ports.contains(ours) && !rules.port_map.contains_key(ours)
    });
    wrong
        .map(|(public, ours)| Problem {
            subject: ProblemSubject::Option("--map-port"),
            label: None,
            reason: Reason::MapPortUnused { public: public.get(), ours: ours.get() },
        })
        .collect()
}

/// `--map-port` puts another listener where this one would be.
fn map_port_conflict(at: Listener, all: &BTreeSet<Listener>, rules: &Rules) -> Option<String> {
    let same =
        |other: &&Listener| **other != at && rules.bound_port(**other) == rules.bound_port(at);
    let other = all.iter().find(same).filter(|_| !rules.port_map.contains_key(&at.port))?;
    Some(format!("used by listener {other} because of --map-port"))
}

/// Some container publishes the port on this host.
fn publisher_conflict(
    publishers: &BTreeMap<ContainerId, Arc<Container>>,
    at: Listener,
    rules: &Rules,
) -> Option<String> {
    let port = rules.bound_port(at).get();
    let has_it = |container: &&Arc<Container>| {
        container.published.iter().any(|published| published.host_port == port)
    };
    let holder = publishers.values().find(has_it)?;
    (rules.vantage == Vantage::Host).then(|| format!("published by container {}", holder.to_ref()))
}

fn exclude_port_conflicts(
    routes: &mut Routes,
    memory: &DecideState,
    conflicts: BTreeMap<Listener, String>,
    problems: &mut ProblemSet,
) {
    let remembered = memory
        .port_conflicts
        .iter()
        .map(|(at, port_conflicts)| (*at, port_conflicts.reason.clone()));
    let mut port_conflicts: BTreeMap<_, _> = remembered.chain(conflicts).collect();
    port_conflicts.retain(|listener, _| routes.0.keys().any(|key| key.listener == *listener));
    routes.0.retain(|key, _| !port_conflicts.contains_key(&key.listener));
    problems.extend(port_conflicts.into_iter().map(|(listener, reason)| Problem {
        subject: ProblemSubject::Listener(listener),
        label: None,
        reason: Reason::PortTaken { why: reason },
    }));
}
