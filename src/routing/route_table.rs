//! Who shares a route: claims of containers → routes, and the claims that must wait.
//!
//! Pure. Where two containers disagree, the service that has the route keeps it, and among strangers the older
//! container wins. The order of the input never decides.

use crate::model::{
    container::{ContainerId, is_dated},
    container_ref::ContainerRef,
    label_option::{LabelOption, OptionValues},
    option_value::{HostMatch, PathPrefix, Weight},
    problem::{Problem, ProblemSubject, Reason},
    route::{Endpoint, Listener, Match, Policy, Readiness, Route, RouteKey, Routes},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    net::SocketAddr,
    slice,
    sync::Arc,
    time::{Duration, Instant},
};

/// What one container port wants: a place in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: RouteKey,
    pub policy: Policy,
    pub container: ContainerRef,
    /// The service that the container is of, where somebody knows.
    pub service: Option<Arc<str>>,
    /// Who has its hosts, where `--own-hosts-by` names a label: `label=value`, or the container without one.
    pub holder: Option<Arc<str>>,
    /// Seconds since 1970, then the id: who came first.
    pub seniority: (i64, ContainerId),
    pub port: u16,
    pub address: SocketAddr,
    /// Options of the container's server in the route.
    pub options: OptionValues,
    pub eligibility: Eligibility,
}

/// Whose claims are one to us, whichever containers they come from: they replace each other in a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimant {
    /// Of Compose, as `project/service`, or of a Swarm.
    Service(Arc<str>),
    /// By its name, where no service is known.
    Container(Arc<str>),
}

/// What keeps a route for those who have it, or had it until just now.
#[derive(Debug, Clone, Copy)]
pub struct Reservation<'a> {
    pub claimants: &'a [Claimant],
    pub policy: &'a Policy,
}

/// Who has a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOwner {
    pub holder: Arc<str>,
    /// Whether they keep it; not before it is known who came first.
    pub status: OwnershipStatus,
    /// Since when they have no claim there.
    pub left_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnershipStatus {
    Confirmed,
    Provisional,
}

/// A route that its party has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacatedRoute {
    pub claimant: Option<Claimant>,
    pub policy: Policy,
    /// Whether nobody serves the route now.
    pub is_unserved: bool,
}

/// How fit a container is to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligibility {
    Active,
    /// Starting or unhealthy: serves while its route has no ready container.
    Backup,
    /// Told to stop, or unhealthy where health is required: serves on if no container of its route is ready and it
    /// served until now.
    LastResort,
    /// Paused, drained, or crashing over and over.
    Excluded,
}

/// All claims, and the routes that come of them. Claims on the same listener, host and prefix share a
/// route when they agree on its policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    claims: BTreeMap<RouteKey, Vec<Claim>>,
    routes: Routes,
    /// What is said of claims, where there is anything, sorted by the container.
    conflicts: BTreeMap<RouteKey, Vec<Problem>>,
    host_hints: BTreeMap<HostMatch, Vec<Problem>>,
    /// Containers of whose claims something else is said than when they were last taken.
    reassessed: BTreeSet<ContainerId>,
    /// How many routes are claimed at each.
    routes_per_listener: BTreeMap<Listener, usize>,
    /// Routes that are served, where it is not known yet which of their claims is the oldest.
    undated: BTreeSet<RouteKey>,
    /// Empty without `--own-hosts-by`.
    owners: Arc<BTreeMap<HostMatch, HostOwner>>,
    /// Claims on these came or went since the last time, when that party had the route.
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

    /// Takes back what a container claims of a route, if anything.
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

    /// Has the route settled though its claims are the same.
    pub fn mark_dirty(&mut self, key: &RouteKey) {
        if !self.dirty.contains_key(key) {
            let first = self.claims.get(key).and_then(|claims| claims.first());
            let was_served = self.routes.0.contains_key(key) && !self.undated.contains(key);
            let claimant = first.filter(|_| was_served).map(Claim::claimant);
            self.dirty.insert(key.clone(), claimant);
        }
    }

    /// Who has which hosts, and what is to be told of hosts that several projects share. Says when that changes by
    /// itself.
    pub fn resolve_host_owners(&mut self, now: Instant, hold: Duration) -> Option<Instant> {
        let expired = self
            .owners
            .iter()
            .filter(|(_, owner)| owner.left_at.is_some_and(|claims_at| claims_at + hold <= now));
        let expired = expired.map(|(host, _)| host.clone());
        let touched =
            self.dirty.keys().map(|RouteKey { rule: Match::Http { host, .. }, .. }| host.clone());
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

    fn set_host_hints(&mut self, host: HostMatch, hints: Vec<Problem>) {
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

    /// All claims on a host, at whatever listener.
    fn claims_on_host(&self, host: &HostMatch) -> impl Iterator<Item = &Claim> {
        let claims_at = move |listener: &Listener| {
            let rule = Match::Http { host: host.clone(), prefix: PathPrefix::default() };
            let keys = self.claims.range(RouteKey { listener: *listener, rule }..);
            let listener = *listener;
            keys.take_while(move |(key, _)| {
                let Match::Http { host: other, .. } = &key.rule;
                key.listener == listener && other == host
            })
        };
        self.routes_per_listener.keys().flat_map(claims_at).flat_map(|(_, claims)| claims)
    }

    /// Who has which hosts.
    pub fn owners(&self) -> &Arc<BTreeMap<HostMatch, HostOwner>> {
        &self.owners
    }

    /// Who had which hosts in an earlier run; they have them for as long as if they were gone since then.
    pub fn restore_owners(&mut self, owners: BTreeMap<HostMatch, Arc<str>>, now: Instant) {
        let (status, left_at) = (OwnershipStatus::Confirmed, Some(now));
        let owner = |(host, holder)| (host, HostOwner { holder, status, left_at });
        let owners = owners.into_iter().map(owner);
        self.owners = Arc::new(owners.collect());
    }

    /// Brings the routes in line with the claims. `held` says for whom a route is kept, and `may_hold` whether it may be
    /// kept at all. Returns the routes that their parties have left.
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
                    let Match::Http { host, .. } = &key.rule;
                    let holder = self.owners.get(host).map(|owner| &owner.holder);
                    build_owned_route(
                        claims,
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
                let policy = before.policy.clone();
                departures
                    .insert(key.clone(), VacatedRoute { claimant, policy, is_unserved: is_gone });
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

    /// Containers of whose claims something else is said than the last time.
    pub fn take_reassessed(&mut self) -> BTreeSet<ContainerId> {
        mem::take(&mut self.reassessed)
    }

    /// What is said of a container's claims on these routes, each named once.
    pub fn conflicts_of<'a>(
        &'a self,
        about: &'a ProblemSubject,
        keys: &'a BTreeSet<&RouteKey>,
    ) -> impl Iterator<Item = &'a Problem> {
        let hosts: BTreeSet<_> =
            keys.iter().map(|RouteKey { rule: Match::Http { host, .. }, .. }| host).collect();
        let of_hosts = hosts.into_iter().filter_map(|host| self.host_hints.get(host)).flatten();
        // Sorted by what they are about: there may be one for each of a thousand containers.
        let of_route = move |problems: &'a Vec<Problem>| {
            let from = problems.partition_point(|problem| problem.subject < *about);
            problems[from..].iter().take_while(move |problem| problem.subject == *about)
        };
        let of_routes = keys.iter().filter_map(|key| self.conflicts.get(*key)).flat_map(of_route);
        of_routes.chain(of_hosts.filter(move |problem| problem.subject == *about))
    }

    /// Whether any of these has a claim on the route.
    pub fn has_claim_of(&self, key: &RouteKey, parties: &[Claimant]) -> bool {
        let mut claims = self.claims.get(key).into_iter().flatten();
        claims.any(|claim| parties.iter().any(|claimant| claimant.owns_claim(claim)))
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Of all that is asked for, fit to serve or not; by route, the one that says how it is first.
    pub fn claims(&self) -> &BTreeMap<RouteKey, Vec<Claim>> {
        &self.claims
    }

    /// Routes on which claims came or went since they were last settled.
    pub fn dirty_keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.dirty.keys()
    }

    pub fn conflicts(&self) -> impl Iterator<Item = &Problem> {
        self.conflicts.values().chain(self.host_hints.values()).flatten()
    }

    /// Routes that strangers wait for, as they are kept for others.
    pub fn reserved_routes(&self) -> impl Iterator<Item = &RouteKey> {
        let is_kept = |problem: &Problem| matches!(problem.reason, Reason::RouteReserved { .. });
        let kept = self.conflicts.iter().filter(move |(_, problems)| problems.iter().any(is_kept));
        kept.map(|(key, _)| key)
    }
}

/// The routes of these claims, and what must wait.
pub fn resolve_claims(claims: Vec<Claim>) -> (Routes, Vec<Problem>) {
    let mut board = RouteTable::default();
    for claim in claims {
        board.add_claim(claim);
    }
    board.resolve_routes(|_| None, |_| false);
    let problems = board.conflicts().cloned().collect();
    (board.routes, problems)
}

impl Claim {
    /// Whether it is known who came first.
    fn is_dated(&self) -> bool {
        is_dated(self.seniority.0)
    }

    /// Returns the container's share of the route's requests.
    pub fn weight(&self) -> Weight {
        self.options.get()
    }

    /// Of Compose.
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
    /// A container's name is its own for as long as it is there, whatever service it says it is of.
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

/// The same where the host may be somebody's: the claims of others wait behind.
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
    // The host is kept for its holder already: of those who are let in none is a stranger.
    let (route, mut problems) = build_route(own, before, reservation, false);
    problems.extend(others.iter().map(|claim| Problem {
        subject: ProblemSubject::Container(claim.container.clone()),
        label: None,
        reason: Reason::HostOwned { route: claim.key.to_string(), holder: holder.to_string() },
    }));
    (route, problems)
}

/// Who has the host: those who had it, for as long as they have a claim there or had one until just now, else the
/// oldest container's.
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

/// The first of each other project than the oldest one's on a host that has no route with that one in common.
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
        let Match::Http { host, .. } = &claim.key.rule;
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

/// The route of claims on it: the first of them says how it is. `before` is the route as it was. Where those who have it
/// are gone and `may_hold`, strangers who would have it otherwise wait.
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
    let route =
        Route { policy: first.policy.clone(), endpoints: build_endpoints(&agreeing, before) };
    (Some(route), problems)
}

/// Who says how a route is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ClaimRank {
    /// Of those who have it, and as it is.
    Holder,
    /// Of those who have it, otherwise.
    HolderDiffers,
    /// A stranger who agrees.
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

/// The first of each service that shares the route with another one's.
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

/// One endpoint per container and port, by name. Where no claim is ready, those that served until now serve on as a last
/// resort, else reserves serve. `before` are the route's endpoints as they were.
pub fn build_endpoints(claims: &[&Claim], before: &[Endpoint]) -> Vec<Endpoint> {
    let fallback = fallback_eligibility(claims, before);
    let is_ready = |claim: &Claim| match claim.eligibility {
        Eligibility::Active => true,
        Eligibility::Backup => fallback == Some(Eligibility::Backup),
        Eligibility::LastResort => {
            fallback == Some(Eligibility::LastResort) && was_serving(claim, before)
        }
        Eligibility::Excluded => false,
    };
    let mut endpoints: Vec<_> =
        claims.iter().map(|claim| build_endpoint(claim, is_ready(claim))).collect();
    endpoints.sort();
    endpoints.dedup_by(|a, b| a.container == b.container && a.port == b.port);
    endpoints
}

/// Which claims serve in place of ready ones, where there are none that take requests.
fn fallback_eligibility(claims: &[&Claim], before: &[Endpoint]) -> Option<Eligibility> {
    let takes_requests =
        |claim: &&Claim| claim.eligibility == Eligibility::Active && claim.weight().get() != 0;
    let serves_on =
        |claim: &&Claim| claim.eligibility == Eligibility::LastResort && was_serving(claim, before);
    match () {
        () if claims.iter().any(takes_requests) => None,
        () if claims.iter().any(serves_on) => Some(Eligibility::LastResort),
        () => Some(Eligibility::Backup),
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
