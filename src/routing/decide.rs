//! Decides the desired routes from the world, the state of the last decision, and the time.
//!
//! Pure: time is an argument and history is a value, so equal arguments give equal results.

use crate::{
    label::{self, LabelLimits, ParsedLabels, RouteRequest},
    model::{
        backend_tls::Verification,
        ca_index::{CaIndex, CaPurpose},
        certificate::{CertificateDigest, CertificateIndex, CertificateStem},
        client_certificate::ClientCertificate,
        container::{
            Container, ContainerId, ContainerPort, ContainerState, Health, NetworkMode,
            PublishedPort, Transport,
        },
        container_ref::ContainerRef,
        http::users::NoUserCheck,
        label_option::LabelOption,
        option_value::{Backup, CheckMethod, HealthPolicy, Host, HostMatch},
        policy_book::PolicyBook,
        problem::{AddressFence, LabelText, Problem, ProblemSubject, Reason, UnmatchedClients},
        problem_set::ProblemSet,
        route::{Endpoint, Listener, OwnedName, Protocol, Route, RouteKey, Routes},
        source_name::SourceName,
        tls::CertificateOption,
        world::{Vantage, World},
    },
    routing::{
        address::{NetworkContext, resolve_address},
        auth_server::{AuthServers, find_auth_servers},
        crash_loop::CrashTracker,
        host_terms::{self, RetainedTerms, TlsHost},
        rollback::Rollback,
        route_table::{Claim, Claimant, Eligibility, Reservation, RouteTable, VacatedRoute},
    },
    support::{
        backoff::{Backoff, RESET_AFTER},
        map_diff::diff_maps,
    },
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

/// Delay until a listener whose port is taken is tried again.
pub const PORT_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum and maximum delay until a listener with which HAProxy could not be loaded is tried again. Each try may
/// interrupt the other listeners.
const UNLOADABLE_BACKOFF: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));

/// Maximum number of public ports of all containers together: HAProxy's file descriptors are limited, and each port
/// makes a reload slower.
pub const MAX_LISTENERS: usize = 256;

/// Maximum number of public ports of UDP of all containers together. HAProxy does not have them.
pub const MAX_UDP_LISTENERS: usize = 8192;

/// The administrator's settings for every decision.
#[derive(Debug, Clone)]
pub struct Rules {
    /// For the containers of a source without rules of its own.
    pub base: SourceRules,
    /// For the containers of a source that has a name.
    pub sources: BTreeMap<SourceName, SourceRules>,
    /// How long a route still answers 503 after its last container is gone.
    pub hold: Duration,
    /// Public port → the port that is bound for it.
    pub port_map: BTreeMap<NonZeroU16, NonZeroU16>,
    /// Listeners that HAProxy has even if no container requests them, so that none of them needs a reload later.
    pub permanent_listeners: BTreeSet<Listener>,
    /// Public ports of TCP that HAProxy binds even if no container requests them, so that a route on one of them needs
    /// no reload.
    pub spare_tcp_ports: BTreeSet<NonZeroU16>,
    /// Whether HTTPS ports also serve HTTP/3, for which HAProxy binds the same port of UDP.
    pub http3: bool,
    /// Certificates that HAProxy may present.
    pub certificates: Arc<CertificateIndex>,
    /// What clients of a host without a certificate get.
    pub unmatched_clients: UnmatchedClients,
    /// Path of an ACME challenge → its answer.
    pub acme_tokens: BTreeMap<String, String>,
    /// Host → the certificate that answers a challenge for it.
    pub acme_certificates: BTreeMap<Host, CertificateDigest>,
    /// CAs that labels may name.
    pub cas: Arc<CaIndex>,
    /// Where the authentication servers of routes are, as of the last decision.
    pub auth_servers: AuthServers,
    /// Why the policies of the settings file were not read again, if so.
    pub policy_fault: Option<String>,
    /// What is wrong with error pages that are not used.
    pub error_page_faults: Vec<String>,
}

/// What the containers of a source may claim, and how HAProxy reaches them.
#[derive(Debug, Clone)]
pub struct SourceRules {
    pub label_limits: LabelLimits,
    /// `--network`: the network over which HAProxy reaches containers without a `glue_network` label.
    pub network: Option<String>,
    pub vantage: Vantage,
    /// Unix time at which the source stopped answering, in seconds.
    pub silent_since: Option<u64>,
    /// Seconds by which the source's clock is ahead of this machine's, if more than two; behind it if negative.
    pub clock_skew: Option<i64>,
    /// Networks of the addresses that its containers may have; all if there is none.
    pub allowed_addresses: Vec<IpNet>,
    /// Whether the source is to be a Swarm, but what answers is no manager of one.
    pub is_not_manager: bool,
}

impl SourceRules {
    /// # Errors
    /// If containers of the source must not have the address.
    pub(super) fn check_allowed(&self, address: SocketAddr) -> Result<(), Reason> {
        let address = address.ip();
        let is_allowed = |network: &IpNet| network.contains(&address);
        if self.allowed_addresses.is_empty() || self.allowed_addresses.iter().any(is_allowed) {
            return Ok(());
        }
        Err(Reason::AddressRefused { address, fence: AddressFence::NotAllowed })
    }

    /// Whether containers on the host's network must not serve this port of the host.
    fn is_reserved_host_port(&self, (transport, port): ContainerPort) -> bool {
        let Some(port) = NonZeroU16::new(port) else { return false };
        let here = matches!(self.vantage, Vantage::Host | Vantage::Inside(_));
        if transport == Transport::Udp {
            return self.label_limits.reserved_udp_ports.contains(&port);
        }
        self.label_limits.reserved_ports.contains(&port)
            && (here || !self.label_limits.own_ports.contains(&port))
    }
}

impl Rules {
    /// Returns the rules for the containers of a source.
    pub fn of_source(&self, source: &SourceName) -> &SourceRules {
        self.sources.get(source).unwrap_or(&self.base)
    }

    /// Sets from where HAProxy reaches the containers of a source.
    pub fn set_vantage(&mut self, source: &SourceName, vantage: Vantage) {
        self.sources.get_mut(source).unwrap_or(&mut self.base).vantage = vantage;
    }

    /// Sets since when a source does not answer, in seconds since 1970, and how far its clock is ahead, in seconds.
    pub fn set_source_state(
        &mut self,
        source: &SourceName,
        silent_since: Option<u64>,
        clock_skew: Option<i64>,
    ) {
        if let Some(rules) = self.sources.get_mut(source) {
            (rules.silent_since, rules.clock_skew) = (silent_since, clock_skew);
        }
    }

    /// Sets whether what answers for a Swarm is no manager of one.
    pub fn set_not_manager(&mut self, source: &SourceName, is_not_manager: bool) {
        if let Some(rules) = self.sources.get_mut(source) {
            rules.is_not_manager = is_not_manager;
        }
    }

    /// Sets why HAProxy cannot verify passwords of users, if so.
    pub fn set_user_check(&mut self, no_user_check: Option<NoUserCheck>) {
        for rules in self.sources.values_mut().chain([&mut self.base]) {
            rules.label_limits.no_user_check = no_user_check;
        }
    }

    /// Sets the policies, for all sources.
    pub fn set_policies(&mut self, policies: &Arc<PolicyBook>) {
        for rules in self.sources.values_mut().chain([&mut self.base]) {
            rules.label_limits.policies = Arc::clone(policies);
        }
    }

    /// Returns the port that HAProxy binds for a listener.
    pub fn bound_port(&self, listener: Listener) -> NonZeroU16 {
        self.port_map.get(&listener.port).copied().unwrap_or(listener.port)
    }
}

/// State that the next decision needs: the history, and a cache of results whose inputs did not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecideState {
    /// Routes that were served and whose claimants have left them.
    route_holds: BTreeMap<RouteKey, RouteHold>,
    /// Listeners whose port is in use by another program, container or listener.
    pub port_conflicts: BTreeMap<Listener, PortConflict>,
    /// Listeners with which HAProxy could not be loaded, and why.
    pub unloadable_listeners: BTreeMap<Listener, UnloadableListener>,
    /// Routes that HAProxy refused, with the reason. A route that changes is tried again.
    pub refused_routes: BTreeMap<RouteKey, (Arc<Route>, String)>,
    /// Detects containers that crash repeatedly.
    crash_tracker: CrashTracker,
    /// Containers that an operator drained, for as long as they are up.
    pub drained: BTreeSet<ContainerId>,
    /// Those of them whose flows go to other containers.
    pub cut: BTreeSet<ContainerId>,
    /// The active rollback, whose routes replace those that labels ask for until an operator releases it.
    pub rollback: Option<Rollback>,
    /// All containers of the last decision's world.
    last_containers: BTreeMap<ContainerId, Arc<Container>>,
    /// Containers that are up and publish ports.
    publishers: BTreeMap<ContainerId, Arc<Container>>,
    /// Containers that are up and participate, see [`label::participates`].
    entries: BTreeMap<ContainerId, ContainerEntry>,
    /// The protocol of each public port of TCP in the last decision.
    protocols: BTreeMap<NonZeroU16, Protocol>,
    network_contexts: BTreeMap<SourceName, NetworkContext>,
    route_table: RouteTable,
    /// Problems of the containers in `entries`.
    problems: ProblemSet,
}

/// Parsed container. Stays valid until the container changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ContainerEntry {
    container: Arc<Container>,
    origin: ContainerRef,
    /// Whether the container uses another one's network. Stored, because looking into every container takes longer
    /// than all other work on them.
    shares_network: bool,
    labels: ParsedLabels,
    /// Whether the claims were added for a drained or crashing container; `None` until they are added.
    is_excluded: Option<bool>,
    /// Why some of the claims could not be added.
    address_problems: Vec<Problem>,
}

impl DecideState {
    /// Returns the state after an earlier run that served these routes. Routes without a claim are held.
    pub fn with_routes(keys: impl IntoIterator<Item = RouteKey>, now: Instant) -> Self {
        let routes =
            keys.into_iter().map(|key| (key, RouteHold::new(Route::default(), now))).collect();
        Self { route_holds: routes, ..Self::default() }
    }

    /// Like [`Self::with_routes`], if the policies are known. Held routes keep theirs.
    pub fn with_served<'a>(
        routes: impl IntoIterator<Item = (&'a RouteKey, &'a Arc<Route>)>,
        now: Instant,
    ) -> Self {
        let routes = routes.into_iter();
        let map = routes
            .map(|(key, route)| (key.clone(), RouteHold::new(route.without_endpoints(), now)));
        Self { route_holds: map.collect(), ..Self::default() }
    }

    /// Reserves held routes, with their policies, for the containers that served them in an earlier run. Ignores
    /// `routes` that are not held.
    pub fn restore_claimants(&mut self, routes: &Routes) {
        for (key, route) in &routes.0 {
            let Some(hold) = self.route_holds.get_mut(key) else { continue };
            let claimant_of =
                |endpoint: &Endpoint| Claimant::Container(endpoint.container.name().into());
            let claimants = route.endpoints.iter().map(claimant_of).collect();
            *hold =
                RouteHold { claimants, ..RouteHold::new(route.without_endpoints(), hold.since) };
        }
    }

    /// Removes the reservations of these held routes, so that any container can get them.
    pub fn release_routes<'a>(&mut self, keys: impl Iterator<Item = &'a RouteKey>) {
        for key in keys {
            if let Some(route) = self.route_holds.get_mut(key) {
                route.claimants.clear();
            }
        }
    }

    /// Restores the owners of hosts from an earlier run. Ignores those that were determined by another label than
    /// `label`.
    pub fn restore_host_owners(
        &mut self,
        owners: &BTreeMap<OwnedName, Arc<str>>,
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

    /// Clears the cache. The next decision is the same without it, but takes longer.
    pub fn clear_cache(&mut self) {
        for (id, entry) in std::mem::take(&mut self.entries) {
            entry.withdraw_claims(&id, &mut self.route_table);
        }
        self.last_containers.clear();
        self.publishers.clear();
        self.problems = ProblemSet::default();
    }

    /// Returns the listeners that HAProxy cannot have at the moment.
    pub fn unavailable_listeners(&self) -> BTreeSet<Listener> {
        let unloadable = self.unloadable_listeners.keys();
        unloadable.chain(self.port_conflicts.keys()).copied().collect()
    }

    /// Stops new requests to the container until it is stopped or undrained.
    pub fn drain_container(&mut self, id: &ContainerId) {
        self.drained.insert(id.clone());
    }

    pub fn undrain_container(&mut self, id: &ContainerId) {
        self.drained.remove(id);
        self.cut.remove(id);
    }

    /// Sends the flows of a drained container to others, until it is stopped or undrained.
    pub fn cut_container(&mut self, id: &ContainerId) {
        self.cut.extend(self.drained.get(id).cloned());
    }

    /// Returns the number of containers that are up and participate.
    pub fn container_count(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of containers of a source that are up and participate.
    pub fn count_containers_of(&self, source: &SourceName) -> usize {
        self.entries.keys().filter(|id| id.source() == source).count()
    }

    /// Returns the number of containers of a machine of a registry that participate.
    fn count_containers_of_node(&self, source: &SourceName, node: &str) -> usize {
        let entries = self.entries.iter().filter(|(id, _)| id.source() == source);
        entries.filter(|(_, entry)| entry.container.node.as_deref() == Some(node)).count()
    }

    /// Finds a container of the last decision's world by its short id.
    pub fn find_container(&self, short_id: &str) -> Option<&Container> {
        let (_, found) =
            self.last_containers.range(ContainerId::first_with_short(short_id)..).next()?;
        (found.id.short() == short_id).then_some(&**found)
    }

    /// Returns the claims, the resulting routes, and the conflicts.
    pub fn route_table(&self) -> &RouteTable {
        &self.route_table
    }

    /// Returns since when the route is held without a container that serves it; `None` if it is served or not held.
    pub fn hold_since(&self, key: &RouteKey) -> Option<Instant> {
        let route =
            self.route_holds.get(key).filter(|_| !self.route_table.routes().0.contains_key(key));
        route.map(|route| route.since)
    }

    /// Returns until when the container gets no traffic because it crashes repeatedly.
    pub fn crash_delay_until(&self, id: &ContainerId, now: Instant) -> Option<Instant> {
        self.crash_tracker.delayed_containers(now).remove(id)
    }

    /// Finds the claim of an endpoint on the route.
    pub fn find_claim(&self, key: &RouteKey, endpoint: &Endpoint) -> Option<&Claim> {
        let mut claims = self.route_table.claims().get(key)?.iter();
        claims.find(|claim| claim.container == endpoint.container && claim.port == endpoint.port)
    }

    /// Returns the eligibility of an endpoint on the route.
    pub fn find_eligibility(&self, key: &RouteKey, endpoint: &Endpoint) -> Option<Eligibility> {
        self.find_claim(key, endpoint).map(|claim| claim.eligibility)
    }
}

/// A route whose claimants have left. Until the hold time is over, it answers 503, or containers of others serve it
/// with the same policy until the claimants return.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RouteHold {
    empty_route: Arc<Route>,
    since: Instant,
    /// The claimants for whom the route is reserved. Empty if they are not known; then any container gets the route.
    claimants: Vec<Claimant>,
}

/// Maximum number of claimants that a route is reserved for, if one after the other had and left it.
const MAX_CLAIMANTS: usize = 4;

impl RouteHold {
    fn new(empty_route: Route, since: Instant) -> Self {
        Self { empty_route: Arc::new(empty_route), since, claimants: Vec::new() }
    }

    fn reservation(&self) -> Option<Reservation<'_>> {
        let (claimants, policy) = (&self.claimants[..], &self.empty_route.policy);
        (!claimants.is_empty()).then_some(Reservation { claimants, policy })
    }
}

/// A port that another program or container uses, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConflict {
    /// Completes "its port is …": `taken by nginx (pid 7)`.
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
    /// `before` is the result of the last try.
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
    /// Where the authentication servers of these routes are.
    pub auth_servers: AuthServers,
    pub problems: ProblemSet,
    pub memory: DecideState,
    /// When the decision changes without a change of the world.
    pub wake_at: Option<Instant>,
}

/// Decides the desired routes. The same world, memory and time give the same result.
pub fn decide(world: &World, mut memory: DecideState, now: Instant, rules: &Rules) -> Decision {
    let changed = update_containers(world, &mut memory, rules);
    memory.crash_tracker.record_changes(changed, now);
    memory.drained.retain(|id| world.containers.get(id).is_some_and(|container| container.is_up()));
    memory.cut.retain(|id| memory.drained.contains(id));
    let crashed = memory.crash_tracker.delayed_containers(now);
    let claimants = update_claims(world, &mut memory, &crashed, rules);
    if let Some(rollback) = &mut memory.rollback {
        rollback.update_routes(&memory.route_table);
    }
    let hold_ends = update_route_holds(&mut memory, now, rules.hold);
    renew_problems(&mut memory, claimants);
    let mut problems = memory.problems.clone();
    let rolled_back = memory.rollback.as_ref().map(Rollback::served_routes);
    let holds = rolled_back.is_some();
    let mut routes = rolled_back.unwrap_or_else(|| memory.route_table.routes().clone());
    exclude_refused(&mut routes, &mut memory, &mut problems);
    if !holds {
        for (key, route) in &memory.route_holds {
            if !is_served_otherwise(key, memory.route_table.routes()) {
                routes.0.entry(key.clone()).or_insert_with(|| Arc::clone(&route.empty_route));
            }
        }
    }
    exclude_other_protocol(&mut routes, &mut memory, &mut problems);
    exclude_excess(&mut routes, &memory, rules, &mut problems);
    memory.unloadable_listeners.retain(|_, listener| now < listener.until + RESET_AFTER);
    exclude_unloadable(&mut routes, &memory, now, &mut problems);
    memory.port_conflicts.retain(|_, port_conflicts| now < port_conflicts.until);
    problems.extend(unused_port_maps(&routes, rules));
    problems.extend(source_problems(&memory, rules));
    problems.extend(node_problems(world, &memory));
    problems.extend(rules.policy_fault.iter().map(|text| Problem {
        subject: ProblemSubject::Option("--settings"),
        label: None,
        reason: Reason::PoliciesUnreadable { text: text.clone() },
    }));
    problems.extend(rules.error_page_faults.iter().map(|text| Problem {
        subject: ProblemSubject::Option("--error-pages"),
        label: None,
        reason: Reason::ErrorPageUnused { text: text.clone() },
    }));
    problems.extend(label::constraint::constraint_problems(&rules.base.label_limits.constraints));
    let conflicts = find_port_conflicts(&memory.publishers, &routes, rules);
    exclude_port_conflicts(&mut routes, &memory, conflicts, &mut problems);
    exclude_unknown_cas(&mut routes, &rules.cas, &mut problems);
    problems.extend(missing_certificates(&routes, rules));
    let (auth_servers, unknown_servers) = find_auth_servers(&routes, world, rules);
    problems.extend(unknown_servers);
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
    Decision { routes, auth_servers, problems, memory, wake_at }
}

/// Whether HAProxy decrypts the connections for the host of a route that would leave it to the container, or the other
/// way round.
fn is_served_otherwise(key: &RouteKey, routes: &Routes) -> bool {
    let Some((listener, host)) = host_terms::tls_host(key) else { return false };
    let mut others = host_terms::entries_of_host(&routes.0, listener, &host);
    others.any(|(other, _)| other.is_passed() != key.is_passed())
}

/// Parses the labels of changed containers. Returns for each that participates whether it is stopping, and `None` for
/// each that no longer does.
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
        let now = now.filter(|container| container.makes_claims());
        memory.publishers.remove(&id);
        if let Some(now) = now.as_ref().filter(|container| !container.published.is_empty()) {
            memory.publishers.insert(id.clone(), Arc::clone(now));
        }
        let before = memory.entries.remove(&id);
        if let Some(entry) = &before {
            entry.withdraw_claims(&id, &mut memory.route_table);
        }
        let limits = &rules.of_source(id.source()).label_limits;
        let entry = now.filter(|container| label::participates(container, limits));
        let entry = entry.map(|container| ContainerEntry::new(container, rules));
        if let Some(before) = before.as_ref()
            && entry.as_ref().is_none_or(|entry| entry.origin != before.origin)
        {
            memory.problems.replace(&ProblemSubject::Container(before.origin.clone()), Vec::new());
        }
        match entry {
            Some(entry) => {
                if entry.container.is_up() {
                    lives.push((id.clone(), Some(entry.container.stopping)));
                }
                memory.entries.insert(id, entry);
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

/// Adds the claims of new containers, and replaces those that change for another reason (drain, crashes, networks).
/// Returns the containers whose claims were added.
fn update_claims(
    world: &World,
    memory: &mut DecideState,
    crashed: &BTreeMap<ContainerId, Instant>,
    rules: &Rules,
) -> BTreeSet<ContainerId> {
    let contexts = network_contexts(world, rules);
    let is_changed =
        |source: &SourceName| contexts.get(source) != memory.network_contexts.get(source);
    let changed: BTreeSet<_> =
        contexts.keys().filter(|source| is_changed(source)).cloned().collect();
    memory.network_contexts = contexts;
    let DecideState { entries, route_table, drained, .. } = memory;
    let mut claimants = BTreeSet::new();
    for (id, entry) in entries {
        let is_excluded = crashed.contains_key(id) || drained.contains(id);
        let context_changed = changed.contains(id.source());
        if entry.is_excluded == Some(is_excluded) && !context_changed && !entry.shares_network {
            continue;
        }
        if entry.is_excluded.is_some() {
            entry.withdraw_claims(id, route_table);
        }
        claimants.insert(id.clone());
        (entry.is_excluded, entry.address_problems) = (Some(is_excluded), Vec::new());
        let ContainerEntry { container, origin, labels, address_problems, .. } = entry;
        let service = label::service_name(container).map(Into::into);
        let holder = rules
            .base
            .label_limits
            .own_hosts_by
            .as_deref()
            .map(|label| host_holder(container, label));
        let rules = rules.of_source(id.source());
        let dir = ClaimBuilder { container, origin, world, rules, is_excluded, service, holder };
        dir.add_claims(labels, route_table, address_problems);
    }
    claimants
}

/// Returns the inputs of address selection of each source.
fn network_contexts(world: &World, rules: &Rules) -> BTreeMap<SourceName, NetworkContext> {
    let base = (SourceName::NONE, &rules.base);
    let named = rules.sources.iter().map(|(source, rules)| (source.clone(), rules));
    let context = |(source, rules): (SourceName, &SourceRules)| {
        let context = NetworkContext::new(world, &source, &rules.vantage);
        (source, context)
    };
    [base].into_iter().chain(named).map(context).collect()
}

impl ContainerEntry {
    fn new(container: Arc<Container>, rules: &Rules) -> Self {
        let limits = &rules.of_source(container.id.source()).label_limits;
        let labels = label::parse_labels(&container, limits);
        let borrows_its_address = matches!(container.network_mode, NetworkMode::Container(_));
        let (origin, is_excluded, address_problems) = (container.to_ref(), None, Vec::new());
        Self {
            container,
            origin,
            shares_network: borrows_its_address,
            labels,
            is_excluded,
            address_problems,
        }
    }

    fn withdraw_claims(&self, id: &ContainerId, route_table: &mut RouteTable) {
        self.labels.requests.iter().for_each(|request| route_table.remove_claim(&request.key, id));
    }

    /// Returns all problems of the container, unsorted.
    fn collect_problems(&self, about: &ProblemSubject, route_table: &RouteTable) -> Vec<Problem> {
        let of_labels = self.labels.problems.iter().chain(&self.address_problems);
        let keys = self.labels.requests.iter().map(|request| &request.key).collect();
        // Limited, because one container may request a thousand routes that others have.
        let mut conflicts = route_table.conflicts_of(about, &keys);
        let first = conflicts.by_ref().take(label::MAX_PROBLEMS);
        let mut problems: Vec<_> = of_labels.chain(first).cloned().collect();
        let more = conflicts.count();
        let (about, reason) = (about.clone(), Reason::MoreProblems { more });
        problems.extend((0 < more).then_some(Problem { subject: about, label: None, reason }));
        problems
    }
}

/// Replaces the problems of containers whose claims were added, or whose conflicts changed.
fn renew_problems(memory: &mut DecideState, claimants: BTreeSet<ContainerId>) {
    let DecideState { entries, route_table, problems, .. } = memory;
    let mut renewed = route_table.take_reassessed();
    renewed.extend(claimants);
    for entry in renewed.iter().filter_map(|id| entries.get(id)) {
        let about = ProblemSubject::Container(entry.origin.clone());
        problems.replace(&about, entry.collect_problems(&about, route_table));
    }
}

/// Builds the claims of one container.
struct ClaimBuilder<'a> {
    container: &'a Container,
    origin: &'a ContainerRef,
    world: &'a World,
    rules: &'a SourceRules,
    /// The container crashes repeatedly, or an operator drained it.
    is_excluded: bool,
    service: Option<Arc<str>>,
    holder: Option<Arc<str>>,
}

/// Prefix of the owner's name for a container without the label that `--own-hosts-by` names.
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
        for request in &labels.requests {
            let port = (request.key.listener.protocol.transport(), request.port);
            if on_host && self.rules.is_reserved_host_port(port) {
                if addresses
                    .insert(port, Err(Reason::HostPortReserved { port: request.port }))
                    .is_none()
                {
                    problems.push(address_problem(
                        self.container,
                        None,
                        Reason::HostPortReserved { port: request.port },
                    ));
                }
                continue;
            }
            let found = addresses
                .entry(port)
                .or_insert_with(|| self.endpoint_address(port, required_network));
            match found {
                Ok(found) => route_table.add_claim(self.build_claim(request, *found)),
                Err(reason) => {
                    let problem = address_problem(self.container, required_network, reason.clone());
                    // A container may have many ports, which mostly have the same reason.
                    if problems.last() != Some(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }

    fn endpoint_address(
        &self,
        port: ContainerPort,
        required_network: Option<&str>,
    ) -> Result<SocketAddr, Reason> {
        if self.container.state == ContainerState::Expected {
            // It is no server.
            return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port.1));
        }
        let SourceRules { network, vantage, .. } = self.rules;
        let found = resolve_address(
            self.container,
            port,
            required_network,
            network.as_deref(),
            self.world,
            vantage,
        )?;
        self.rules.check_allowed(found)?;
        Ok(found)
    }

    /// Whether nothing can tell that the container serves: neither its machine nor HAProxy's checks.
    fn is_lost_unchecked(&self, request: &RouteRequest) -> bool {
        let is_unchecked = || {
            request.key.listener.is_udp() || request.policy.get::<CheckMethod>() == CheckMethod::Off
        };
        self.container.is_lost && self.container.is_up() && is_unchecked()
    }

    fn build_claim(&self, request: &RouteRequest, address: SocketAddr) -> Claim {
        let RouteRequest { key, policy, terms, port, options, health_policy } = request.clone();
        let backup = options.get();
        Claim {
            key,
            policy,
            terms,
            container: self.origin.clone(),
            service: self.service.clone(),
            holder: self.holder.clone(),
            seniority: (self.container.created, self.container.id.clone()),
            port,
            address,
            options,
            eligibility: if self.is_excluded && self.container.is_up()
                || self.is_lost_unchecked(request)
            {
                Eligibility::Excluded
            } else {
                container_eligibility(self.container, health_policy, backup)
            },
        }
    }
}

/// Whether the container's ports are ports of the host: it, or the container whose network it joined, uses the host's
/// network.
fn uses_host_network(container: &Container, world: &World) -> bool {
    let is_host = |container: &Container| container.network_mode == NetworkMode::Host;
    let owner = container.network_owner_id().and_then(|id| world.containers.get(id));
    is_host(container) || owner.is_some_and(|owner| is_host(owner))
}

fn container_eligibility(
    container: &Container,
    health_policy: HealthPolicy,
    Backup(is_backup): Backup,
) -> Eligibility {
    let doubtful = matches!(container.health, Health::Starting | Health::Unhealthy);
    match health_policy {
        _ if container.state == ContainerState::Expected => Eligibility::Absent,
        _ if container.state == ContainerState::Paused => Eligibility::Excluded,
        _ if container.stopping => Eligibility::LastResort,
        HealthPolicy::Obey if doubtful => Eligibility::Doubtful,
        HealthPolicy::Require if doubtful => Eligibility::LastResort,
        _ if is_backup => Eligibility::Backup,
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

/// Removes the routes that HAProxy refused, as long as they are requested unchanged.
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

/// Leaves one protocol for each public port of TCP: of HTTP and HTTPS the one that it had before, else the one that the
/// oldest container requests. Another protocol over TCP has the port only if neither is requested, whatever its age:
/// else any container could take the public port of all sites.
fn exclude_other_protocol(
    routes: &mut Routes,
    memory: &mut DecideState,
    problems: &mut ProblemSet,
) {
    // Keys are sorted by listener.
    let mut listeners: Vec<_> = routes.0.keys().map(|key| key.listener).collect();
    listeners.dedup();
    listeners.retain(|listener| !listener.is_udp());
    let protocols = choose_protocols(&listeners, memory);
    let is_other = |listener: &&Listener| protocols[&listener.port] != listener.protocol;
    let other: BTreeSet<_> = listeners.iter().filter(is_other).copied().collect();
    memory.protocols = protocols;
    if other.is_empty() {
        return;
    }
    routes.0.retain(|key, _| !other.contains(&key.listener));
    problems.extend(other.into_iter().map(|listener| {
        let protocol = memory.protocols[&listener.port];
        let used = Listener { protocol, port: listener.port };
        Problem {
            subject: ProblemSubject::Listener(listener),
            label: None,
            reason: Reason::PortTaken { why: format!("used by listener {used}") },
        }
    }));
}

fn choose_protocols(
    listeners: &[Listener],
    memory: &DecideState,
) -> BTreeMap<NonZeroU16, Protocol> {
    let mut by_port: BTreeMap<NonZeroU16, Vec<Listener>> = BTreeMap::new();
    for listener in listeners {
        by_port.entry(listener.port).or_default().push(*listener);
    }
    for listeners in by_port.values_mut() {
        if listeners.iter().any(|listener| !listener.is_tcp()) {
            listeners.retain(|listener| !listener.is_tcp());
        }
    }
    let seniority = |listener: &&Listener| {
        let claims = memory.route_table.claims().iter();
        let claims = claims.filter(|(key, _)| key.listener == **listener);
        let oldest = claims.flat_map(|(_, claims)| claims).map(|claim| &claim.seniority).min();
        (oldest.is_none(), oldest)
    };
    let choose = |(port, listeners): (NonZeroU16, Vec<Listener>)| {
        let before = memory.protocols.get(&port);
        let kept = listeners.iter().find(|listener| Some(&listener.protocol) == before);
        let kept = match listeners.as_slice() {
            [only] => Some(only),
            _ => kept.or_else(|| listeners.iter().min_by_key(seniority)),
        };
        kept.map(|listener| (port, listener.protocol))
    };
    by_port.into_iter().filter_map(choose).collect()
}

/// Removes the endpoints of routes with a CA that does not exist: they must not be used without verification. The
/// routes stay, and answer 503.
fn exclude_unknown_cas(routes: &mut Routes, cas: &CaIndex, problems: &mut ProblemSet) {
    for (key, route) in &mut routes.0 {
        let Some((purpose, option, ca)) = unknown_ca(key, route, cas) else { continue };
        let directory = purpose.option();
        let reason =
            Reason::UnknownCa { route: key.to_string(), option, ca: ca.to_string(), directory };
        problems.extend(route.endpoints.iter().map(|endpoint| Problem {
            subject: ProblemSubject::Container(endpoint.container.clone()),
            label: None,
            reason: reason.clone(),
        }));
        *route = Arc::new(route.without_endpoints());
    }
}

/// Returns the CA of the route that does not exist, and the option that names it.
fn unknown_ca(
    key: &RouteKey,
    route: &Route,
    cas: &CaIndex,
) -> Option<(CaPurpose, LabelOption, CertificateStem)> {
    let backend = match route.policy.get() {
        Verification::Ca(name) => Some((CaPurpose::Backend, LabelOption::Verify, name)),
        Verification::Off | Verification::System => None,
    };
    let client = route.terms.get::<ClientCertificate>();
    let client = client.ca().filter(|_| key.is_https()).cloned();
    let client = client.map(|name| (CaPurpose::Client, LabelOption::ClientCert, name));
    let is_unknown = |(purpose, _, name): &(CaPurpose, LabelOption, CertificateStem)| {
        cas.find(*purpose, name).is_none()
    };
    backend.into_iter().chain(client).find(is_unknown)
}

/// Returns a problem for each HTTPS host without a certificate that containers request.
fn missing_certificates(routes: &Routes, rules: &Rules) -> impl Iterator<Item = Problem> {
    let https = routes.0.iter().filter(|(key, _)| key.is_https());
    let clients = rules.unmatched_clients;
    let mut hosts = BTreeMap::new();
    for (key, route) in https {
        let (host, CertificateOption(choice)) = (key.host(), route.terms.get());
        if let Some(endpoint) = route.endpoints.first()
            && *host != HostMatch::Any
            && rules.certificates.find(host, &choice).is_empty()
        {
            hosts
                .entry((key.listener, host.clone()))
                .or_insert((endpoint.container.clone(), choice));
        }
    }
    hosts.into_iter().map(move |((_, host), (container, choice))| Problem {
        subject: ProblemSubject::Container(container),
        label: None,
        reason: Reason::NoCertificate {
            host: host.to_string(),
            choice: choice.to_string(),
            clients,
        },
    })
}

/// Removes the listeners above the limits. Those that older containers request are kept.
fn exclude_excess(
    routes: &mut Routes,
    memory: &DecideState,
    rules: &Rules,
    problems: &mut ProblemSet,
) {
    // Keys are sorted by listener.
    let mut listeners: Vec<_> = routes.0.keys().map(|key| key.listener).collect();
    listeners.dedup();
    // HAProxy has bound the spare ports already.
    listeners
        .retain(|listener| !(listener.is_tcp() && rules.spare_tcp_ports.contains(&listener.port)));
    let (of_udp, others) = listeners.into_iter().partition(|listener| listener.is_udp());
    exclude_above(MAX_LISTENERS, others, routes, memory, problems);
    exclude_above(MAX_UDP_LISTENERS, of_udp, routes, memory, problems);
}

/// Removes those of the listeners that are above the limit.
fn exclude_above(
    most: usize,
    mut listeners: Vec<Listener>,
    routes: &mut Routes,
    memory: &DecideState,
    problems: &mut ProblemSet,
) {
    if listeners.len() <= most {
        return;
    }
    let mut first_comers = BTreeMap::new();
    for (key, claims) in memory.route_table.claims() {
        let oldest = claims.iter().map(|claim| &claim.seniority).min();
        let first = first_comers.entry(key.listener).or_insert(oldest);
        *first = (*first).into_iter().chain(oldest).min();
    }
    // Listeners without a claim are removed first.
    let rank = |listener: &Listener| {
        let first = first_comers.get(listener).copied().flatten();
        (first.is_none(), first, *listener)
    };
    listeners.sort_by_cached_key(rank);
    let excess = listeners.split_off(most).into_iter().collect();
    let reason = |_: Listener| ();
    exclude_listeners(&excess, routes, problems, reason, |ports, ()| Reason::NoListenerLeft {
        ports,
        most,
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

/// Removes the routes of these listeners, and reports one problem for each of their containers and causes.
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

/// Resolves the routes, and holds those that their claimants have left until the hold time is over; such a route is
/// empty if no other container serves it. Returns when the next hold or host ownership ends.
fn update_route_holds(memory: &mut DecideState, now: Instant, time: Duration) -> Option<Instant> {
    let DecideState { route_holds: holds, route_table, refused_routes: refused, .. } = memory;
    let is_over = |key: &RouteKey, route: &RouteHold| {
        route.since + time <= now && !route_table.routes().0.contains_key(key)
    };
    let expired =
        holds.iter().filter(|(key, route)| is_over(key, route)).map(|(key, _)| key.clone());
    let expired: BTreeSet<_> = expired.collect();
    for key in &expired {
        route_table.mark_dirty(key);
    }
    let owners_change = route_table.resolve_host_owners(now, time);
    let reservation = |key: &RouteKey| holds.get(key).and_then(RouteHold::reservation);
    let may_hold =
        |key: &RouteKey| !time.is_zero() && !refused.contains_key(key) && !expired.contains(key);
    route_table.resolve_host_terms(|host| retained_terms(holds, &expired, host), may_hold);
    for (key, departure) in route_table.resolve_routes(reservation, may_hold) {
        if !refused.contains_key(&key) {
            hold_vacated_route(holds, key, departure, now);
        }
    }
    let served = &route_table.routes().0;
    holds.retain(|key, route| {
        let others_serve =
            || !route.claimants.is_empty() && !route_table.has_claim_of(key, &route.claimants);
        now < route.since + time && (!served.contains_key(key) || others_serve())
    });
    let hold_ends = holds.values().map(|route| route.since).min().map(|since| since + time);
    hold_ends.into_iter().chain(owners_change).min()
}

/// Returns the terms of an HTTPS host of which a route is held. `expired` are routes that are not held any longer.
fn retained_terms<'a>(
    holds: &'a BTreeMap<RouteKey, RouteHold>,
    expired: &BTreeSet<RouteKey>,
    (listener, host): &TlsHost,
) -> Option<RetainedTerms<'a>> {
    let mut routes = host_terms::entries_of_host(holds, *listener, host);
    let is_retained = |(key, hold): &(&RouteKey, &RouteHold)| {
        !hold.claimants.is_empty() && !expired.contains(*key)
    };
    let (key, hold) = routes.find(is_retained)?;
    Some(RetainedTerms::new(key, &hold.empty_route, &hold.claimants))
}

/// Holds a route. If no container serves it any more, its hold time starts again.
fn hold_vacated_route(
    routes: &mut BTreeMap<RouteKey, RouteHold>,
    key: RouteKey,
    vacated: VacatedRoute,
    now: Instant,
) {
    let VacatedRoute { claimant: party, empty_route, is_unserved: is_gone } = vacated;
    let before = routes.get(&key);
    if before.is_some() && !is_gone {
        return;
    }
    let mut claimants = before.map(|route| route.claimants.clone()).unwrap_or_default();
    claimants.extend(party.filter(|claimant| !claimants.contains(claimant)));
    claimants.truncate(MAX_CLAIMANTS);
    routes.insert(key, RouteHold { claimants, ..RouteHold::new(empty_route, now) });
}

/// Returns the listeners whose port is known to be in use without a query to HAProxy, each with the reason.
fn find_port_conflicts(
    publishers: &BTreeMap<ContainerId, Arc<Container>>,
    routes: &Routes,
    rules: &Rules,
) -> BTreeMap<Listener, String> {
    let listeners: BTreeSet<_> = routes.0.keys().map(|key| key.listener).collect();
    let bound = |listener: &Listener| (listener.protocol.transport(), rules.bound_port(*listener));
    let mut by_port: BTreeMap<_, Vec<Listener>> = BTreeMap::new();
    for listener in &listeners {
        by_port.entry(bound(listener)).or_default().push(*listener);
    }
    let https = listeners.iter().chain(&rules.permanent_listeners).filter(|at| at.is_https());
    let https: BTreeMap<_, _> = https.map(|at| (rules.bound_port(*at), *at)).collect();
    let published = published_ports(publishers, rules);
    let reason = |at: &Listener| {
        map_port_conflict(*at, &by_port[&bound(at)], rules)
            .or_else(|| http3_conflict(*at, &https, rules))
            .or_else(|| publisher_conflict(&published, bound(at)))
    };
    listeners.iter().filter_map(|at| Some((*at, reason(at)?))).collect()
}

/// Returns the containers that publish ports on this host, by protocol and port.
fn published_ports<'a>(
    publishers: &'a BTreeMap<ContainerId, Arc<Container>>,
    rules: &Rules,
) -> BTreeMap<(Transport, u16), &'a Arc<Container>> {
    let is_here = |container: &&Arc<Container>| {
        rules.of_source(container.id.source()).vantage == Vantage::Host
    };
    let publishers = publishers.values().filter(is_here);
    // The first container with a port is the one that is named.
    let ports = publishers.rev().flat_map(|container| {
        let port = move |port: &PublishedPort| ((port.transport, port.host_port), container);
        container.published.iter().map(port)
    });
    ports.collect()
}

/// Returns the problems of sources that never answer with containers, so that nothing is decided.
pub fn unusable_source_problems(rules: &Rules) -> ProblemSet {
    let problems = source_problems(&DecideState::default(), rules).into_iter();
    problems.filter(|problem| matches!(problem.reason, Reason::NotAManager { .. })).collect()
}

/// Reports sources that do not answer or are no Swarm, and those whose clocks differ.
fn source_problems(memory: &DecideState, rules: &Rules) -> Vec<Problem> {
    let reasons = |(source, rules): (&SourceName, &SourceRules)| {
        let silent = rules.silent_since.map(|since| {
            let containers = memory.count_containers_of(source);
            Reason::SourceSilent { source: source.clone(), since, containers }
        });
        let skewed =
            rules.clock_skew.map(|seconds| Reason::ClockSkew { source: source.clone(), seconds });
        let not_manager =
            rules.is_not_manager.then(|| Reason::NotAManager { source: source.clone() });
        let silent = silent.filter(|_| not_manager.is_none());
        [not_manager, silent, skewed].into_iter().flatten()
    };
    let reasons = rules.sources.iter().flat_map(reasons);
    let subject = ProblemSubject::Option("--source");
    reasons.map(|reason| Problem { subject: subject.clone(), label: None, reason }).collect()
}

/// Reports machines of registries that are lost, and records that are not used.
fn node_problems(world: &World, memory: &DecideState) -> Vec<Problem> {
    let mut reasons = Vec::new();
    for (source, report) in &world.nodes {
        let lost = report.lost.iter();
        match lost.clone().map(|(_, since)| *since).max() {
            Some(since) if report.keeps_lost => {
                let (lost, total) = (report.lost.len(), report.up + report.lost.len());
                reasons.push(Reason::NodesLost { source: source.clone(), lost, total, since });
            }
            _ => reasons.extend(lost.map(|(node, since)| Reason::NodeLost {
                source: source.clone(),
                node: node.to_string(),
                since: *since,
                containers: memory.count_containers_of_node(source, node),
            })),
        }
        reasons.extend(report.faults.iter().map(|fault| Reason::RecordIgnored {
            source: source.clone(),
            key: fault.key.clone(),
            why: fault.why.clone(),
            more: report.more_faults,
        }));
    }
    let about = ProblemSubject::Option("--source");
    let problem = |reason| Problem { subject: about.clone(), label: None, reason };
    reasons.into_iter().map(problem).collect()
}

/// Reports values of `--map-port` that seem to have their ports swapped.
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

/// Returns the conflict with a listener that `--map-port` moves to this one's port. `all` are those that bind the port.
fn map_port_conflict(at: Listener, all: &[Listener], rules: &Rules) -> Option<String> {
    let other = all.iter().find(|other| **other != at)?;
    let is_moved = rules.port_map.contains_key(&at.port);
    (!is_moved).then(|| format!("used by listener {other} because of --map-port"))
}

/// Returns the conflict of a UDP port with HTTP/3. `https` are the listeners of HTTPS by the port that they bind.
fn http3_conflict(
    at: Listener,
    https: &BTreeMap<NonZeroU16, Listener>,
    rules: &Rules,
) -> Option<String> {
    let other = https.get(&rules.bound_port(at))?;
    (rules.http3 && at.is_udp()).then(|| format!("used by HTTP/3 of listener {other}"))
}

/// Returns the conflict with a container that publishes the port on this host.
fn publisher_conflict(
    published: &BTreeMap<(Transport, u16), &Arc<Container>>,
    (transport, port): (Transport, NonZeroU16),
) -> Option<String> {
    let holder = published.get(&(transport, port.get()))?;
    Some(format!("published by container {}", holder.to_ref()))
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
