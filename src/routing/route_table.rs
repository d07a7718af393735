//! Builds routes from the claims of containers, and finds the claims that must wait.
//!
//! Pure. If two containers conflict, the service that has the route keeps it; if neither has it, the older container
//! wins. The order of the input has no effect.

use super::host_terms::{self, HostTerms, RetainedTerms, TlsHost};
use crate::model::{
    container::{ContainerId, is_dated},
    container_ref::ContainerRef,
    label_option::{LabelOption, OptionValues},
    option_value::{Backup, HostMatch, Weight},
    problem::{Problem, ProblemSubject, Reason},
    route::{Endpoint, Listener, OwnedName, Policy, Readiness, Route, RouteKey, Routes},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    net::SocketAddr,
    slice,
    sync::Arc,
    time::{Duration, Instant},
};

/// A container port's request to serve a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: RouteKey,
    pub policy: Policy,
    /// Options of the host, if the listener is HTTPS.
    pub terms: OptionValues,
    pub container: ContainerRef,
    /// The service of the container, if it is known.
    pub service: Option<Arc<str>>,
    /// Owner of the container's hosts if `--own-hosts-by` names a label: `label=value`, or the container's name if it
    /// has no such label.
    pub holder: Option<Arc<str>>,
    /// The container's creation time in nanoseconds since 1970, then its id. The lowest is the oldest.
    pub seniority: (i64, ContainerId),
    pub port: u16,
    pub address: SocketAddr,
    /// Options of the container's server in the route.
    pub options: OptionValues,
    pub eligibility: Eligibility,
}

/// The party that makes claims. All containers of one service are one claimant, because they replace each other in a
/// deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimant {
    /// A service of Compose, as `project/service`, or of a Swarm.
    Service(Arc<str>),
    /// A container by its name, if its service is not known.
    Container(Arc<str>),
}

/// Reserves a route for the claimants that have it, or had it until recently.
#[derive(Debug, Clone, Copy)]
pub struct Reservation<'a> {
    pub claimants: &'a [Claimant],
    pub policy: &'a Policy,
}

/// Owner of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOwner {
    pub holder: Arc<str>,
    /// Whether the owner keeps the host. Provisional until it is known which container is the oldest.
    pub status: OwnershipStatus,
    /// Since when the owner has no claim on the host; `None` if it has one.
    pub left_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnershipStatus {
    Confirmed,
    Provisional,
}

/// A route that its claimant has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacatedRoute {
    pub claimant: Option<Claimant>,
    /// The route without endpoints.
    pub empty_route: Route,
    /// Whether no container serves the route now.
    pub is_unserved: bool,
}

/// Whether, and in which case, a container serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligibility {
    Active,
    /// Fit to serve, and its label says that others serve first. Serves while its route has no active container.
    Backup,
    /// Starting or unhealthy. Serves while its route has no ready container.
    Doubtful,
    /// Stopping, or starting or unhealthy although its label requires health. Continues to serve if it served until now
    /// and no container of its route is ready.
    LastResort,
    /// Paused, drained, or crashing repeatedly.
    Excluded,
    /// A service without containers. It claims the route, and is no server of it.
    Absent,
}

/// Which claims of a route serve: those of the first rank that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ServingRank {
    Active,
    /// Before [`Self::LastResort`]: a container that is fit serves instead of one that stops or is not healthy.
    Backup,
    LastResort,
    Doubtful,
    DoubtfulBackup,
}

/// All claims, and the resulting routes. Claims on the same listener, host and prefix share a route if they agree on
/// its policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    claims: BTreeMap<RouteKey, Vec<Claim>>,
    routes: Routes,
    /// Problems of the claims on each route, sorted by subject. Contains no empty lists.
    conflicts: BTreeMap<RouteKey, Vec<Problem>>,
    host_hints: BTreeMap<OwnedName, Vec<Problem>>,
    /// Containers whose claims have other problems than at the last [`Self::take_reassessed`].
    reassessed: BTreeSet<ContainerId>,
    /// Number of claimed routes of each listener.
    routes_per_listener: BTreeMap<Listener, usize>,
    /// Served routes of which the oldest claim is not known yet, because a creation time is not exact.
    undated: BTreeSet<RouteKey>,
    /// Empty without `--own-hosts-by`.
    owners: Arc<BTreeMap<OwnedName, HostOwner>>,
    /// Hosts without an entry have the default terms.
    terms: BTreeMap<TlsHost, HostTerms>,
    /// Routes to resolve again, each with the claimant that had it when it was last resolved.
    dirty: BTreeMap<RouteKey, Option<Claimant>>,
}

impl RouteTable {
    pub fn add_claim(&mut self, claim: Claim) {
        self.mark_dirty(&claim.key);
        let claims = self.claims.entry(claim.key.clone()).or_default();
        if claims.is_empty() {
            *self.routes_per_listener.entry(claim.key.listener).or_default() += 1;
        }
        claims.push(claim);
    }

    /// Removes all claims of a container on a route.
    pub fn remove_claim(&mut self, key: &RouteKey, id: &ContainerId) {
        if !self.claims.contains_key(key) {
            return;
        }
        self.mark_dirty(key);
        let Some(claims) = self.claims.get_mut(key) else { return };
        claims.retain(|claim| claim.seniority.1 != *id);
        if claims.is_empty() {
            self.claims.remove(key);
            let routes = self.routes_per_listener.entry(key.listener).or_default();
            *routes = routes.saturating_sub(1);
            if *routes == 0 {
                self.routes_per_listener.remove(&key.listener);
            }
        }
    }

    /// Marks the route to be resolved again, even if its claims do not change.
    pub fn mark_dirty(&mut self, key: &RouteKey) {
        if !self.dirty.contains_key(key) {
            let first = self.claims.get(key).and_then(|claims| claims.first());
            let was_served = self.routes.0.contains_key(key) && !self.undated.contains(key);
            let claimant = first.filter(|_| was_served).map(Claim::claimant);
            self.dirty.insert(key.clone(), claimant);
        }
    }

    /// Updates the owners of hosts, and the hints about hosts that several projects share. Returns when the next
    /// ownership ends.
    pub fn resolve_host_owners(&mut self, now: Instant, hold: Duration) -> Option<Instant> {
        let expired = self
            .owners
            .iter()
            .filter(|(_, owner)| owner.left_at.is_some_and(|claims_at| claims_at + hold <= now));
        let expired = expired.map(|(host, _)| host.clone());
        let touched = self.dirty.keys().map(RouteKey::owned_name);
        let hosts: BTreeSet<_> = touched.chain(expired).collect();
        for host in hosts {
            let claims = self.claims_on_host(&host).collect::<Vec<_>>();
            let hints: Vec<_> = shared_host_problems(&claims).collect();
            let before = self.owners.get(&host);
            let owner = elect_host_owner(&claims, before, now, hold);
            let owner_changes =
                before.map(|owner| &owner.holder) != owner.as_ref().map(|owner| &owner.holder);
            let routes = owner_changes
                .then(|| claims.iter().map(|claim| claim.key.clone()).collect::<BTreeSet<_>>());
            if before != owner.as_ref() {
                let owners = Arc::make_mut(&mut self.owners);
                match owner {
                    Some(owner) => drop(owners.insert(host.clone(), owner)),
                    None => drop(owners.remove(&host)),
                }
            }
            for key in routes.iter().flatten() {
                self.mark_dirty(key);
            }
            self.set_host_hints(host, hints);
        }
        self.owners.values().filter_map(|owner| owner.left_at).min().map(|left_at| left_at + hold)
    }

    /// Updates the terms of the HTTPS hosts whose claims changed. `retained` returns the terms of a host of which a route is
    /// held, and `may_hold` whether a route that its claimants leave now may be held.
    pub fn resolve_host_terms<'a>(
        &mut self,
        retained: impl Fn(&TlsHost) -> Option<RetainedTerms<'a>>,
        may_hold: impl Fn(&RouteKey) -> bool,
    ) {
        let hosts: BTreeSet<_> = self.dirty.keys().filter_map(host_terms::tls_host).collect();
        for host in hosts {
            let claims: Vec<_> = self.claims_at(host.0, &host.1).collect();
            let before = self.terms.get(&host);
            let departing = self.departing_terms(&host, &may_hold);
            let departing = departing
                .as_ref()
                .map(|(key, route, claimants)| RetainedTerms::new(key, route, claimants));
            let terms = HostTerms::elect(&claims, before, departing.or_else(|| retained(&host)));
            if before == terms.as_ref() {
                continue;
            }
            let keys: BTreeSet<_> = claims.iter().map(|claim| claim.key.clone()).collect();
            match terms {
                Some(terms) => drop(self.terms.insert(host, terms)),
                None => drop(self.terms.remove(&host)),
            }
            for key in &keys {
                self.mark_dirty(key);
            }
        }
    }

    /// Returns a route of the host that its claimant leaves now, and the claimant. The route will be held.
    fn departing_terms(
        &self,
        (listener, host): &TlsHost,
        may_hold: impl Fn(&RouteKey) -> bool,
    ) -> Option<(&RouteKey, Arc<Route>, Vec<Claimant>)> {
        host_terms::entries_of_host(&self.dirty, *listener, host).find_map(|(key, claimant)| {
            let claimants = vec![claimant.clone()?];
            let leaves = may_hold(key) && !self.has_claim_of(key, &claimants);
            leaves.then_some((key, Arc::clone(self.routes.0.get(key)?), claimants))
        })
    }

    fn set_host_hints(&mut self, host: OwnedName, hints: Vec<Problem>) {
        let before = self.host_hints.get(&host).map(Vec::as_slice).unwrap_or_default();
        if before == hints {
            return;
        }
        let claimants: Vec<_> =
            self.claims_on_host(&host).map(|claim| claim.seniority.1.clone()).collect();
        self.reassessed.extend(claimants);
        if hints.is_empty() {
            self.host_hints.remove(&host);
        } else {
            self.host_hints.insert(host, hints);
        }
    }

    /// Iterates over the claims on a host, at any listener, or on a public port.
    fn claims_on_host(&self, name: &OwnedName) -> impl Iterator<Item = &Claim> {
        let (host, listeners) = match name {
            OwnedName::Port(port) => (&HostMatch::Any, *port..=*port),
            OwnedName::Host(host) => (host, Listener::BY_HOST),
        };
        let is_any = matches!(name, OwnedName::Host(HostMatch::Any));
        let listeners = self.routes_per_listener.range(listeners).map(|(listener, _)| listener);
        // All connections of a port are an `OwnedName::Port`.
        let listeners = listeners.filter(move |listener| !(is_any && listener.is_tcp()));
        listeners.flat_map(move |listener| self.claims_at(*listener, host))
    }

    /// Iterates over the claims on a host at a listener.
    fn claims_at<'a>(
        &'a self,
        listener: Listener,
        host: &HostMatch,
    ) -> impl Iterator<Item = &'a Claim> + use<'a> {
        host_terms::entries_of_host(&self.claims, listener, host).flat_map(|(_, claims)| claims)
    }

    /// Returns the owner of each host.
    pub fn owners(&self) -> &Arc<BTreeMap<OwnedName, HostOwner>> {
        &self.owners
    }

    /// Restores the owners from an earlier run. Each keeps its host as if its last claim was removed at `now`.
    pub fn restore_owners(&mut self, owners: BTreeMap<OwnedName, Arc<str>>, now: Instant) {
        let (status, left_at) = (OwnershipStatus::Confirmed, Some(now));
        let owner = |(host, holder)| (host, HostOwner { holder, status, left_at });
        let owners = owners.into_iter().map(owner);
        self.owners = Arc::new(owners.collect());
    }

    /// Updates the routes whose claims changed. `reservation_of` returns the claimants that a route is reserved for,
    /// and `may_hold` whether it may be reserved at all. Returns the routes that their claimants have left.
    pub fn resolve_routes<'a>(
        &mut self,
        reservation_of: impl Fn(&RouteKey) -> Option<Reservation<'a>>,
        may_hold: impl Fn(&RouteKey) -> bool,
    ) -> BTreeMap<RouteKey, VacatedRoute> {
        let mut departures = BTreeMap::new();
        for (key, claimant) in mem::take(&mut self.dirty) {
            let before = self.routes.0.get(&key).cloned();
            let present = before.as_ref().zip(claimant.as_ref()).map(|(route, claimant)| {
                Reservation { claimants: slice::from_ref(claimant), policy: &route.policy }
            });
            let reservation = reservation_of(&key).or(present);
            let is_dated = |claims: &Vec<Claim>| claims.iter().all(Claim::is_dated);
            let is_sure = reservation.is_some() || self.claims.get(&key).is_none_or(is_dated);
            let (route, problems) = match self.claims.get_mut(&key) {
                Some(claims) => {
                    claims.shrink_to_fit();
                    let holder = self.owners.get(&key.owned_name()).map(|owner| &owner.holder);
                    let terms = host_terms::tls_host(&key).and_then(|host| self.terms.get(&host));
                    build_hosted_route(
                        claims,
                        terms,
                        holder,
                        before.as_deref(),
                        reservation,
                        may_hold(&key),
                    )
                }
                None => (None, Vec::new()),
            };
            let is_gone = route.is_none();
            if is_gone || is_sure {
                self.undated.remove(&key);
            } else {
                self.undated.insert(key.clone());
            }
            let has_claim = |claimant: &Claimant| {
                self.claims.get(&key).into_iter().flatten().any(|claim| claimant.owns_claim(claim))
            };
            if let Some(before) = &before
                && (is_gone || claimant.as_ref().is_some_and(|claimant| !has_claim(claimant)))
            {
                let empty_route = before.without_endpoints();
                let vacated = VacatedRoute { claimant, empty_route, is_unserved: is_gone };
                departures.insert(key.clone(), vacated);
            }
            match (route, before) {
                (Some(route), Some(before)) if *before == route => {}
                (Some(route), _) => drop(self.routes.0.insert(key.clone(), Arc::new(route))),
                (None, _) => drop(self.routes.0.remove(&key)),
            }
            self.set_conflicts(key, problems);
        }
        departures
    }

    fn set_conflicts(&mut self, key: RouteKey, mut problems: Vec<Problem>) {
        problems.sort_by(|a, b| a.subject.cmp(&b.subject));
        let before = self.conflicts.get(&key).map(Vec::as_slice).unwrap_or_default();
        if before == problems {
            return;
        }
        let claims = self.claims.get(&key).into_iter().flatten();
        self.reassessed.extend(claims.map(|claim| claim.seniority.1.clone()));
        if problems.is_empty() {
            self.conflicts.remove(&key);
        } else {
            self.conflicts.insert(key, problems);
        }
    }

    /// Returns the containers whose claims have other problems than at the last call.
    pub fn take_reassessed(&mut self) -> BTreeSet<ContainerId> {
        mem::take(&mut self.reassessed)
    }

    /// Iterates over the problems of a container's claims on these routes.
    pub fn conflicts_of<'a>(
        &'a self,
        about: &'a ProblemSubject,
        keys: &'a BTreeSet<&RouteKey>,
    ) -> impl Iterator<Item = &'a Problem> {
        let hosts: BTreeSet<_> = keys.iter().map(|key| key.owned_name()).collect();
        let of_hosts = hosts.into_iter().filter_map(|host| self.host_hints.get(&host)).flatten();
        // Sorted by subject, because a route may have a problem for each of a thousand containers.
        let of_route = move |problems: &'a Vec<Problem>| {
            let from = problems.partition_point(|problem| problem.subject < *about);
            problems[from..].iter().take_while(move |problem| problem.subject == *about)
        };
        let of_routes = keys.iter().filter_map(|key| self.conflicts.get(*key)).flat_map(of_route);
        of_routes.chain(of_hosts.filter(move |problem| problem.subject == *about))
    }

    /// Whether any of these claimants has a claim on the route.
    pub fn has_claim_of(&self, key: &RouteKey, parties: &[Claimant]) -> bool {
        let mut claims = self.claims.get(key).into_iter().flatten();
        claims.any(|claim| parties.iter().any(|claimant| claimant.owns_claim(claim)))
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Returns all claims by route, eligible or not. The first claim of a resolved route determines its policy.
    pub fn claims(&self) -> &BTreeMap<RouteKey, Vec<Claim>> {
        &self.claims
    }

    /// Iterates over the routes that are to be resolved again.
    pub fn dirty_keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.dirty.keys()
    }

    pub fn conflicts(&self) -> impl Iterator<Item = &Problem> {
        self.conflicts.values().chain(self.host_hints.values()).flatten()
    }

    /// Iterates over the routes that containers wait for because they are reserved for other claimants.
    pub fn reserved_routes(&self) -> impl Iterator<Item = &RouteKey> {
        let is_kept = |problem: &Problem| matches!(problem.reason, Reason::RouteReserved { .. });
        let kept = self.conflicts.iter().filter(move |(_, problems)| problems.iter().any(is_kept));
        kept.map(|(key, _)| key)
    }
}

/// Returns the routes of these claims, and their problems.
pub fn resolve_claims(claims: Vec<Claim>) -> (Routes, Vec<Problem>) {
    let mut board = RouteTable::default();
    for claim in claims {
        board.add_claim(claim);
    }
    board.resolve_host_terms(|_| None, |_| false);
    board.resolve_routes(|_| None, |_| false);
    let problems = board.conflicts().cloned().collect();
    (board.routes, problems)
}

impl Claim {
    /// Whether the container's creation time is known exactly.
    pub(super) fn is_dated(&self) -> bool {
        is_dated(self.seniority.0)
    }

    /// Returns the container's share of the route's requests.
    pub fn weight(&self) -> Weight {
        self.options.get()
    }

    /// Returns the Compose project.
    fn project(&self) -> Option<&str> {
        self.service.as_deref()?.split_once('/').map(|(project, _)| project)
    }

    pub fn claimant(&self) -> Claimant {
        match &self.service {
            Some(service) => Claimant::Service(Arc::clone(service)),
            None => Claimant::Container(self.container.name().into()),
        }
    }
}

impl Claimant {
    /// Whether the claim is this claimant's. A container is compared by name, regardless of its service labels.
    pub fn owns_claim(&self, claim: &Claim) -> bool {
        match self {
            Self::Service(service) => claim.service.as_ref() == Some(service),
            Self::Container(name) => **name == *claim.container.name(),
        }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service {service}"),
            Self::Container(name) => write!(f, "container {name}"),
        }
    }
}

/// Like [`build_owned_route`], for a host that may have terms. The claims with other terms wait.
fn build_hosted_route(
    claims: &mut [Claim],
    terms: Option<&HostTerms>,
    holder: Option<&Arc<str>>,
    before: Option<&Route>,
    reservation: Option<Reservation<'_>>,
    may_hold: bool,
) -> (Option<Route>, Vec<Problem>) {
    let Some(terms) = terms else {
        return build_owned_route(claims, holder, before, reservation, may_hold);
    };
    let (agreeing, mut problems) = terms.split_claims(claims);
    let (route, others) =
        build_owned_route(&mut claims[..agreeing], holder, before, reservation, may_hold);
    problems.extend(others);
    (route.map(|route| Route { terms: terms.values.clone(), ..route }), problems)
}

/// Like [`build_route`], for a host that may have an owner. The claims of others wait.
fn build_owned_route(
    claims: &mut [Claim],
    holder: Option<&Arc<str>>,
    before: Option<&Route>,
    reservation: Option<Reservation<'_>>,
    may_hold: bool,
) -> (Option<Route>, Vec<Problem>) {
    let Some(holder) = holder else { return build_route(claims, before, reservation, may_hold) };
    claims.sort_by_key(|claim| claim.holder.as_ref() != Some(holder));
    let own = claims.partition_point(|claim| claim.holder.as_ref() == Some(holder));
    let (own, others) = claims.split_at_mut(own);
    // The host is already reserved for its owner, so none of the remaining claims needs to wait for the route.
    let (route, mut problems) = build_route(own, before, reservation, false);
    problems.extend(others.iter().map(|claim| Problem {
        subject: ProblemSubject::Container(claim.container.clone()),
        label: None,
        reason: Reason::HostOwned { route: claim.key.to_string(), holder: holder.to_string() },
    }));
    (route, problems)
}

/// Returns the owner of the host: the one before, as long as it has a claim on the host or its hold time is not over,
/// else the owner of the oldest claim.
fn elect_host_owner(
    claims: &[&Claim],
    before: Option<&HostOwner>,
    now: Instant,
    hold: Duration,
) -> Option<HostOwner> {
    let has_claim_of = |holder| claims.iter().any(|claim| claim.holder.as_ref() == Some(holder));
    if let Some(before) = before.filter(|owner| owner.status == OwnershipStatus::Confirmed) {
        let left_at = (!has_claim_of(&before.holder)).then(|| before.left_at.unwrap_or(now));
        if left_at.is_none_or(|left_at| now < left_at + hold) {
            return Some(HostOwner { left_at, ..before.clone() });
        }
    }
    let owned = claims.iter().filter(|claim| claim.holder.is_some());
    let first = owned.min_by_key(|claim| &claim.seniority)?;
    let is_dated = claims.iter().all(|claim| claim.is_dated());
    let status = if is_dated { OwnershipStatus::Confirmed } else { OwnershipStatus::Provisional };
    first.holder.clone().map(|holder| HostOwner { holder, status, left_at: None })
}

/// Returns a hint for the oldest claim of each project that has no route of the host in common with the project of
/// the host's oldest claim.
fn shared_host_problems<'a>(claims: &[&'a Claim]) -> impl Iterator<Item = Problem> + use<'a> {
    let oldest = claims.iter().min_by_key(|claim| &claim.seniority).copied();
    let mut firsts: BTreeMap<Option<&str>, &Claim> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for claim in claims {
        let first = firsts.entry(claim.project()).or_insert(claim);
        if claim.seniority < first.seniority {
            *first = claim;
        }
    }
    if let Some(oldest) = oldest.filter(|_| 1 < firsts.len()) {
        let own = claims.iter().filter(|claim| claim.project() == oldest.project());
        let own: BTreeSet<_> = own.map(|claim| &claim.key).collect();
        let others = claims.iter().filter(|claim| own.contains(&claim.key));
        shared.extend(others.map(|claim| claim.project()));
    }
    let foreign = firsts.into_iter().filter(move |(project, _)| !shared.contains(project));
    foreign.filter_map(move |(_, claim)| {
        let host = claim.key.host();
        let (route, with) = (claim.key.to_string(), oldest?);
        if claim.project() == with.project() {
            return None;
        }
        Some(Problem {
            subject: ProblemSubject::Container(claim.container.clone()),
            label: None,
            reason: Reason::SharedHost {
                route,
                host: host.to_string(),
                with: with.container.clone(),
            },
        })
    })
}

/// Builds a route from its claims, the first of which determines the policy. `before` is the route before. If the
/// claimants of the reservation are gone and `may_hold`, other claims with another policy wait.
fn build_route(
    claims: &mut [Claim],
    before: Option<&Route>,
    reservation: Option<Reservation<'_>>,
    may_hold: bool,
) -> (Option<Route>, Vec<Problem>) {
    claims.sort_by(|a, b| (&a.seniority, a.port).cmp(&(&b.seniority, b.port)));
    if let Some(reservation) = reservation {
        let first = (0..claims.len()).min_by_key(|claims_at| reservation.rank(&claims[*claims_at]));
        let first = first.map(|claims_at| (claims_at, reservation.rank(&claims[claims_at])));
        match first {
            Some((_, ClaimRank::Stranger)) if may_hold => {
                let kept = claims.iter().filter_map(|claim| reserved_problem(claim, reservation));
                return (None, kept.collect());
            }
            Some((claims_at, rank)) if rank != ClaimRank::Stranger => {
                claims[..=claims_at].rotate_right(1);
            }
            _ => {}
        }
    }
    let Some(first) = claims.first() else { return (None, Vec::new()) };
    let (agreeing, others): (Vec<_>, Vec<_>) =
        claims.iter().partition(|claim| claim.policy == first.policy);
    let mut problems: Vec<_> = others.iter().map(|claim| conflict_problem(claim, first)).collect();
    problems.extend(shared_route_problems(&agreeing, first));
    let before = before.map_or(&[][..], |route| &route.endpoints);
    let route = Route {
        policy: first.policy.clone(),
        terms: first.terms.clone(),
        endpoints: build_endpoints(&agreeing, before),
    };
    (Some(route), problems)
}

/// Priority of a claim to determine the policy of a reserved route, the highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ClaimRank {
    /// A claimant of the reservation, with the same policy.
    Holder,
    /// A claimant of the reservation, with another policy.
    HolderDiffers,
    /// Another claimant, with the same policy.
    StrangerAgrees,
    Stranger,
}

impl Reservation<'_> {
    fn rank(&self, claim: &Claim) -> ClaimRank {
        let agrees = claim.policy == *self.policy;
        match self.claimants.iter().any(|claimant| claimant.owns_claim(claim)) {
            true if agrees => ClaimRank::Holder,
            true => ClaimRank::HolderDiffers,
            false if agrees => ClaimRank::StrangerAgrees,
            false => ClaimRank::Stranger,
        }
    }
}

fn reserved_problem(claim: &Claim, reservation: Reservation<'_>) -> Option<Problem> {
    Some(Problem {
        subject: ProblemSubject::Container(claim.container.clone()),
        label: None,
        reason: Reason::RouteReserved {
            route: claim.key.to_string(),
            party: reservation.claimants.first()?.to_string(),
            over: conflicting_option(&claim.policy, reservation.policy),
        },
    })
}

/// Returns a hint for the first claim of each service that shares the route with the service of `first`.
fn shared_route_problems<'a>(
    claims: &'a [&'a Claim],
    first: &'a Claim,
) -> impl Iterator<Item = Problem> + 'a {
    let mut services = BTreeSet::from([first.service.as_deref()]);
    let new = claims.iter().filter(move |claim| services.insert(claim.service.as_deref()));
    new.map(|claim| Problem {
        subject: ProblemSubject::Container(claim.container.clone()),
        label: None,
        reason: Reason::SharedRoute { route: claim.key.to_string(), with: first.container.clone() },
    })
}

fn conflict_problem(claim: &Claim, first: &Claim) -> Problem {
    Problem {
        subject: ProblemSubject::Container(claim.container.clone()),
        label: None,
        reason: Reason::Conflict {
            route: claim.key.to_string(),
            with: first.container.clone(),
            over: conflicting_option(&claim.policy, &first.policy),
        },
    }
}

/// Returns the option in which the two differ.
fn conflicting_option(a: &Policy, b: &Policy) -> LabelOption {
    let differing = a.first_difference(b);
    debug_assert!(differing.is_some(), "claims that agree are in no conflict");
    differing.unwrap_or(LabelOption::StripPrefix)
}

/// Returns one endpoint for each container and port, sorted. Active claims are ready; if none of them has a weight above
/// 0, those of the next [`ServingRank`] are, too. `before` are the route's endpoints before.
pub fn build_endpoints(claims: &[&Claim], before: &[Endpoint]) -> Vec<Endpoint> {
    let ranks: Vec<_> = claims.iter().map(|claim| serving_rank(claim, before)).collect();
    let takes_requests = |claim: &&Claim, rank: ServingRank| {
        // What serves for want of others does so with any weight.
        claim.weight().get() != 0 || ServingRank::LastResort <= rank
    };
    let serving = claims.iter().zip(&ranks);
    let serving =
        serving.filter_map(|(claim, rank)| rank.filter(|rank| takes_requests(claim, *rank)));
    let first = serving.min();
    let is_ready = |rank: Option<ServingRank>| {
        rank == Some(ServingRank::Active) || rank.is_some() && rank == first
    };
    let servers = claims.iter().zip(ranks);
    let servers = servers.filter(|(claim, _)| claim.eligibility != Eligibility::Absent);
    let mut endpoints: Vec<_> =
        servers.map(|(claim, rank)| build_endpoint(claim, is_ready(rank))).collect();
    endpoints.sort();
    endpoints.dedup_by(|a, b| a.container == b.container && a.port == b.port);
    endpoints
}

/// Returns the rank of a claim. `None` if it does not serve in any case.
fn serving_rank(claim: &Claim, before: &[Endpoint]) -> Option<ServingRank> {
    match claim.eligibility {
        Eligibility::Active => Some(ServingRank::Active),
        Eligibility::Backup => Some(ServingRank::Backup),
        Eligibility::LastResort => was_serving(claim, before).then_some(ServingRank::LastResort),
        Eligibility::Doubtful if claim.options.get::<Backup>().0 => {
            Some(ServingRank::DoubtfulBackup)
        }
        Eligibility::Doubtful => Some(ServingRank::Doubtful),
        Eligibility::Excluded | Eligibility::Absent => None,
    }
}

fn was_serving(claim: &Claim, before: &[Endpoint]) -> bool {
    let is_same = |endpoint: &Endpoint| {
        endpoint.container.id() == claim.container.id() && endpoint.port == claim.port
    };
    before.iter().any(|endpoint| is_same(endpoint) && endpoint.readiness == Readiness::Ready)
}

fn build_endpoint(claim: &Claim, is_ready: bool) -> Endpoint {
    Endpoint {
        container: claim.container.clone(),
        port: claim.port,
        address: claim.address,
        options: claim.options.clone(),
        readiness: if is_ready { Readiness::Ready } else { Readiness::Out },
    }
}
