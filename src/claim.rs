//! Who shares a route: claims of containers → routes, and the claims that must wait.
//!
//! Pure. Where two containers disagree, the service that has the route keeps it, and among strangers the older
//! container wins. The order of the input never decides.

use crate::{
    container::{ContainerId, is_dated},
    label::value::{HostMatch, PathPrefix, Weight},
    origin::Origin,
    problem::{About, Problem, Reason},
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
    pub origin: Origin,
    /// The service that the container is of, where somebody knows.
    pub service: Option<Arc<str>>,
    /// Who has its hosts, where `--own-hosts-by` names a label: `label=value`, or the container without one.
    pub holder: Option<Arc<str>>,
    /// Seconds since 1970, then the id: who came first.
    pub seniority: (i64, ContainerId),
    pub port: u16,
    pub address: SocketAddr,
    pub weight: Weight,
    pub standing: Standing,
}

/// Whose claims are one to us, whichever containers they come from: they replace each other in a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// Of Compose, as `project/service`, or of a Swarm.
    Service(Arc<str>),
    /// By its name, where no service is known.
    Container(Arc<str>),
}

/// What keeps a route for those who have it, or had it until just now.
#[derive(Debug, Clone, Copy)]
pub struct Incumbency<'a> {
    pub parties: &'a [Party],
    pub policy: &'a Policy,
}

/// Who has a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOwner {
    pub holder: Arc<str>,
    /// Whether they keep it; not before it is known who came first.
    pub tenure: Tenure,
    /// Since when they have no claim there.
    pub left: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    Sure,
    Undated,
}

/// A route that its party has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    pub party: Option<Party>,
    pub policy: Policy,
    /// Whether nobody serves the route now.
    pub is_gone: bool,
}

/// How fit a container is to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// Starting or unhealthy: serves while its route has no ready container.
    Reserve,
    /// Told to stop, or unhealthy where health is required: serves on if no container of its route is ready and it
    /// served until now.
    LastResort,
    /// Paused, drained, or crashing over and over.
    Out,
}

/// All claims, and the routes that come of them. Claims on the same listener, host and prefix share a
/// route when they agree on its policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    claims: BTreeMap<RouteKey, Vec<Claim>>,
    routes: Routes,
    /// What is said of claims, where there is anything, sorted by the container.
    conflicts: BTreeMap<RouteKey, Vec<Problem>>,
    host_hints: BTreeMap<HostMatch, Vec<Problem>>,
    /// Containers of whose claims something else is said than when they were last taken.
    reassessed: BTreeSet<ContainerId>,
    /// How many routes are claimed at each.
    listeners: BTreeMap<Listener, usize>,
    /// Routes that are served, where it is not known yet which of their claims is the oldest.
    undated: BTreeSet<RouteKey>,
    /// Empty without `--own-hosts-by`.
    owners: Arc<BTreeMap<HostMatch, HostOwner>>,
    /// Claims on these came or went since the last time, when that party had the route.
    touched: BTreeMap<RouteKey, Option<Party>>,
}

impl Board {
    pub fn add(&mut self, claim: Claim) {
        self.touch(&claim.key);
        let claims = self.claims.entry(claim.key.clone()).or_default();
        if claims.is_empty() {
            *self.listeners.entry(claim.key.listener).or_default() += 1;
        }
        claims.push(claim);
    }

    /// Takes back what a container claims of a route, if anything.
    pub fn remove(&mut self, key: &RouteKey, id: &ContainerId) {
        if !self.claims.contains_key(key) {
            return;
        }
        self.touch(key);
        let Some(claims) = self.claims.get_mut(key) else { return };
        claims.retain(|claim| claim.seniority.1 != *id);
        if claims.is_empty() {
            self.claims.remove(key);
            let routes = self.listeners.entry(key.listener).or_default();
            *routes = routes.saturating_sub(1);
            if *routes == 0 {
                self.listeners.remove(&key.listener);
            }
        }
    }

    /// Has the route settled though its claims are the same.
    pub fn touch(&mut self, key: &RouteKey) {
        if !self.touched.contains_key(key) {
            let first = self.claims.get(key).and_then(|claims| claims.first());
            let is_theirs = self.routes.0.contains_key(key) && !self.undated.contains(key);
            let party = first.filter(|_| is_theirs).map(Claim::party);
            self.touched.insert(key.clone(), party);
        }
    }

    /// Who has which hosts, and what is to be told of hosts that several projects share. Says when that changes by
    /// itself.
    pub fn settle_hosts(&mut self, now: Instant, hold: Duration) -> Option<Instant> {
        let over = self.owners.iter().filter(|(_, it)| it.left.is_some_and(|at| at + hold <= now));
        let over = over.map(|(host, _)| host.clone());
        let touched =
            self.touched.keys().map(|RouteKey { rule: Match::Http { host, .. }, .. }| host.clone());
        let hosts: BTreeSet<_> = touched.chain(over).collect();
        for host in hosts {
            let claims = self.on_host(&host).collect::<Vec<_>>();
            let hints: Vec<_> = foreign_projects(&claims).collect();
            let before = self.owners.get(&host);
            let owner = host_owner(&claims, before, now, hold);
            let moves = before.map(|it| &it.holder) != owner.as_ref().map(|it| &it.holder);
            let routes =
                moves.then(|| claims.iter().map(|it| it.key.clone()).collect::<BTreeSet<_>>());
            if before != owner.as_ref() {
                let owners = Arc::make_mut(&mut self.owners);
                match owner {
                    Some(owner) => drop(owners.insert(host.clone(), owner)),
                    None => drop(owners.remove(&host)),
                }
            }
            for key in routes.iter().flatten() {
                self.touch(key);
            }
            self.set_host_hints(host, hints);
        }
        self.owners.values().filter_map(|it| it.left).min().map(|left| left + hold)
    }

    fn set_host_hints(&mut self, host: HostMatch, hints: Vec<Problem>) {
        let before = self.host_hints.get(&host).map(Vec::as_slice).unwrap_or_default();
        if before == hints {
            return;
        }
        let claimants: Vec<_> = self.on_host(&host).map(|it| it.seniority.1.clone()).collect();
        self.reassessed.extend(claimants);
        if hints.is_empty() {
            self.host_hints.remove(&host);
        } else {
            self.host_hints.insert(host, hints);
        }
    }

    /// All claims on a host, at whatever listener.
    fn on_host(&self, host: &HostMatch) -> impl Iterator<Item = &Claim> {
        let at = move |listener: &Listener| {
            let rule = Match::Http { host: host.clone(), prefix: PathPrefix::default() };
            let keys = self.claims.range(RouteKey { listener: *listener, rule }..);
            let listener = *listener;
            keys.take_while(move |(key, _)| {
                let Match::Http { host: other, .. } = &key.rule;
                key.listener == listener && other == host
            })
        };
        self.listeners.keys().flat_map(at).flat_map(|(_, claims)| claims)
    }

    /// Who has which hosts.
    pub fn owners(&self) -> &Arc<BTreeMap<HostMatch, HostOwner>> {
        &self.owners
    }

    /// Who had which hosts in an earlier run; they have them for as long as if they were gone since then.
    pub fn recall_owners(&mut self, owners: BTreeMap<HostMatch, Arc<str>>, now: Instant) {
        let (tenure, left) = (Tenure::Sure, Some(now));
        let owner = |(host, holder)| (host, HostOwner { holder, tenure, left });
        let owners = owners.into_iter().map(owner);
        self.owners = Arc::new(owners.collect());
    }

    /// Brings the routes in line with the claims. `held` says for whom a route is kept, and `may_hold` whether it may be
    /// kept at all. Returns the routes that their parties have left.
    pub fn settle<'a>(
        &mut self,
        held: impl Fn(&RouteKey) -> Option<Incumbency<'a>>,
        may_hold: impl Fn(&RouteKey) -> bool,
    ) -> BTreeMap<RouteKey, Departure> {
        let mut departures = BTreeMap::new();
        for (key, party) in mem::take(&mut self.touched) {
            let before = self.routes.0.get(&key).cloned();
            let present = before.as_ref().zip(party.as_ref()).map(|(route, party)| Incumbency {
                parties: slice::from_ref(party),
                policy: &route.policy,
            });
            let incumbency = held(&key).or(present);
            let is_dated = |claims: &Vec<Claim>| claims.iter().all(Claim::is_dated);
            let is_sure = incumbency.is_some() || self.claims.get(&key).is_none_or(is_dated);
            let (route, problems) = match self.claims.get_mut(&key) {
                Some(claims) => {
                    claims.shrink_to_fit();
                    let Match::Http { host, .. } = &key.rule;
                    let holder = self.owners.get(host).map(|it| &it.holder);
                    share_owned(claims, holder, before.as_deref(), incumbency, may_hold(&key))
                }
                None => (None, Vec::new()),
            };
            let is_gone = route.is_none();
            if is_gone || is_sure {
                self.undated.remove(&key);
            } else {
                self.undated.insert(key.clone());
            }
            let stays = |party: &Party| {
                self.claims.get(&key).into_iter().flatten().any(|claim| party.owns(claim))
            };
            if let Some(before) = &before
                && (is_gone || party.as_ref().is_some_and(|party| !stays(party)))
            {
                let policy = before.policy.clone();
                departures.insert(key.clone(), Departure { party, policy, is_gone });
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
        problems.sort_by(|a, b| a.about.cmp(&b.about));
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
        about: &'a About,
        keys: &'a BTreeSet<&RouteKey>,
    ) -> impl Iterator<Item = &'a Problem> {
        let hosts: BTreeSet<_> =
            keys.iter().map(|RouteKey { rule: Match::Http { host, .. }, .. }| host).collect();
        let of_hosts = hosts.into_iter().filter_map(|host| self.host_hints.get(host)).flatten();
        // Sorted by what they are about: there may be one for each of a thousand containers.
        let of_route = move |problems: &'a Vec<Problem>| {
            let from = problems.partition_point(|it| it.about < *about);
            problems[from..].iter().take_while(move |it| it.about == *about)
        };
        let of_routes = keys.iter().filter_map(|key| self.conflicts.get(*key)).flat_map(of_route);
        of_routes.chain(of_hosts.filter(move |it| it.about == *about))
    }

    /// Whether any of these has a claim on the route.
    pub fn has_claim_of(&self, key: &RouteKey, parties: &[Party]) -> bool {
        let mut claims = self.claims.get(key).into_iter().flatten();
        claims.any(|claim| parties.iter().any(|party| party.owns(claim)))
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Of all that is asked for, fit to serve or not; by route, the one that says how it is first.
    pub fn claims(&self) -> &BTreeMap<RouteKey, Vec<Claim>> {
        &self.claims
    }

    /// Routes on which claims came or went since they were last settled.
    pub fn touched(&self) -> impl Iterator<Item = &RouteKey> {
        self.touched.keys()
    }

    pub fn conflicts(&self) -> impl Iterator<Item = &Problem> {
        self.conflicts.values().chain(self.host_hints.values()).flatten()
    }

    /// Routes that strangers wait for, as they are kept for others.
    pub fn kept(&self) -> impl Iterator<Item = &RouteKey> {
        let is_kept = |it: &Problem| matches!(it.reason, Reason::Kept { .. });
        let kept = self.conflicts.iter().filter(move |(_, problems)| problems.iter().any(is_kept));
        kept.map(|(key, _)| key)
    }
}

/// The routes of these claims, and what must wait.
pub fn collect(claims: Vec<Claim>) -> (Routes, Vec<Problem>) {
    let mut board = Board::default();
    for claim in claims {
        board.add(claim);
    }
    board.settle(|_| None, |_| false);
    let problems = board.conflicts().cloned().collect();
    (board.routes, problems)
}

impl Claim {
    /// Whether it is known who came first.
    fn is_dated(&self) -> bool {
        is_dated(self.seniority.0)
    }

    /// Of Compose.
    fn project(&self) -> Option<&str> {
        self.service.as_deref()?.split_once('/').map(|(project, _)| project)
    }

    pub fn party(&self) -> Party {
        match &self.service {
            Some(service) => Party::Service(Arc::clone(service)),
            None => Party::Container(self.origin.name().into()),
        }
    }
}

impl Party {
    /// A container's name is its own for as long as it is there, whatever service it says it is of.
    pub fn owns(&self, claim: &Claim) -> bool {
        match self {
            Self::Service(service) => claim.service.as_ref() == Some(service),
            Self::Container(name) => **name == *claim.origin.name(),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service {service}"),
            Self::Container(name) => write!(f, "container {name}"),
        }
    }
}

/// The same where the host may be somebody's: the claims of others wait behind.
fn share_owned(
    claims: &mut [Claim],
    holder: Option<&Arc<str>>,
    before: Option<&Route>,
    incumbency: Option<Incumbency<'_>>,
    may_hold: bool,
) -> (Option<Route>, Vec<Problem>) {
    let Some(holder) = holder else { return share(claims, before, incumbency, may_hold) };
    claims.sort_by_key(|claim| claim.holder.as_ref() != Some(holder));
    let own = claims.partition_point(|claim| claim.holder.as_ref() == Some(holder));
    let (own, others) = claims.split_at_mut(own);
    // The host is kept for its holder already: of those who are let in none is a stranger.
    let (route, mut problems) = share(own, before, incumbency, false);
    problems.extend(others.iter().map(|claim| Problem {
        about: About::Container(claim.origin.clone()),
        label: None,
        reason: Reason::HostOwned { route: claim.key.to_string(), holder: holder.to_string() },
    }));
    (route, problems)
}

/// Who has the host: those who had it, for as long as they have a claim there or had one until just now, else the
/// oldest container's.
fn host_owner(
    claims: &[&Claim],
    before: Option<&HostOwner>,
    now: Instant,
    hold: Duration,
) -> Option<HostOwner> {
    let is_there = |holder| claims.iter().any(|claim| claim.holder.as_ref() == Some(holder));
    if let Some(before) = before.filter(|it| it.tenure == Tenure::Sure) {
        let left = (!is_there(&before.holder)).then(|| before.left.unwrap_or(now));
        if left.is_none_or(|left| now < left + hold) {
            return Some(HostOwner { left, ..before.clone() });
        }
    }
    let owning = claims.iter().filter(|claim| claim.holder.is_some());
    let first = owning.min_by_key(|claim| &claim.seniority)?;
    let is_dated = claims.iter().all(|claim| claim.is_dated());
    let tenure = if is_dated { Tenure::Sure } else { Tenure::Undated };
    first.holder.clone().map(|holder| HostOwner { holder, tenure, left: None })
}

/// The first of each other project than the oldest one's on a host that has no route with that one in common.
fn foreign_projects<'a>(claims: &[&'a Claim]) -> impl Iterator<Item = Problem> + use<'a> {
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
            about: About::Container(claim.origin.clone()),
            label: None,
            reason: Reason::SharedHost { route, host: host.to_string(), with: with.origin.clone() },
        })
    })
}

/// The route of claims on it: the first of them says how it is. `before` is the route as it was. Where those who have it
/// are gone and `may_hold`, strangers who would have it otherwise wait.
fn share(
    claims: &mut [Claim],
    before: Option<&Route>,
    incumbency: Option<Incumbency<'_>>,
    may_hold: bool,
) -> (Option<Route>, Vec<Problem>) {
    claims.sort_by(|a, b| (&a.seniority, a.port).cmp(&(&b.seniority, b.port)));
    if let Some(incumbency) = incumbency {
        let first = (0..claims.len()).min_by_key(|at| incumbency.rank(&claims[*at]));
        let first = first.map(|at| (at, incumbency.rank(&claims[at])));
        match first {
            Some((_, Rank::Stranger)) if may_hold => {
                let kept = claims.iter().filter_map(|claim| kept(claim, incumbency));
                return (None, kept.collect());
            }
            Some((at, rank)) if rank != Rank::Stranger => claims[..=at].rotate_right(1),
            _ => {}
        }
    }
    let Some(first) = claims.first() else { return (None, Vec::new()) };
    let (agreeing, others): (Vec<_>, Vec<_>) =
        claims.iter().partition(|claim| claim.policy == first.policy);
    let mut problems: Vec<_> = others.iter().map(|claim| conflict(claim, first)).collect();
    problems.extend(strangers(&agreeing, first));
    let before = before.map_or(&[][..], |route| &route.endpoints);
    let route = Route { policy: first.policy.clone(), endpoints: endpoints(&agreeing, before) };
    (Some(route), problems)
}

/// Who says how a route is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Of those who have it, and as it is.
    Same,
    /// Of those who have it, otherwise.
    Other,
    /// A stranger who agrees.
    Agreeing,
    Stranger,
}

impl Incumbency<'_> {
    fn rank(&self, claim: &Claim) -> Rank {
        let agrees = claim.policy == *self.policy;
        match self.parties.iter().any(|party| party.owns(claim)) {
            true if agrees => Rank::Same,
            true => Rank::Other,
            false if agrees => Rank::Agreeing,
            false => Rank::Stranger,
        }
    }
}

fn kept(claim: &Claim, incumbency: Incumbency<'_>) -> Option<Problem> {
    Some(Problem {
        about: About::Container(claim.origin.clone()),
        label: None,
        reason: Reason::Kept {
            route: claim.key.to_string(),
            party: incumbency.parties.first()?.to_string(),
            over: disagreement(&claim.policy, incumbency.policy),
        },
    })
}

/// The first of each service that shares the route with another one's.
fn strangers<'a>(claims: &'a [&'a Claim], first: &'a Claim) -> impl Iterator<Item = Problem> + 'a {
    let mut services = BTreeSet::from([first.service.as_deref()]);
    let new = claims.iter().filter(move |claim| services.insert(claim.service.as_deref()));
    new.map(|claim| Problem {
        about: About::Container(claim.origin.clone()),
        label: None,
        reason: Reason::Shared { route: claim.key.to_string(), with: first.origin.clone() },
    })
}

fn conflict(claim: &Claim, first: &Claim) -> Problem {
    Problem {
        about: About::Container(claim.origin.clone()),
        label: None,
        reason: Reason::Conflict {
            route: claim.key.to_string(),
            with: first.origin.clone(),
            over: disagreement(&claim.policy, &first.policy),
        },
    }
}

/// The label that the two would have to agree on.
fn disagreement(a: &Policy, b: &Policy) -> &'static str {
    let Policy { strip, check, timeout, retry } = a;
    match () {
        () if *strip != b.strip => "strip_prefix",
        () if *check != b.check => "check",
        () if *timeout != b.timeout => "timeout",
        () => {
            debug_assert_ne!(*retry, b.retry);
            "retry"
        }
    }
}

/// One endpoint per container and port, by name. Where no claim is ready, those that served until now serve on as a last
/// resort, else reserves serve. `before` are the route's endpoints as they were.
pub fn endpoints(claims: &[&Claim], before: &[Endpoint]) -> Vec<Endpoint> {
    let called_up = called_up(claims, before);
    let is_ready = |claim: &Claim| match claim.standing {
        Standing::Ready => true,
        Standing::Reserve => called_up == Some(Standing::Reserve),
        Standing::LastResort => {
            called_up == Some(Standing::LastResort) && has_served(claim, before)
        }
        Standing::Out => false,
    };
    let mut endpoints: Vec<_> =
        claims.iter().map(|claim| endpoint(claim, is_ready(claim))).collect();
    endpoints.sort();
    endpoints.dedup_by(|a, b| a.origin == b.origin && a.port == b.port);
    endpoints
}

/// Which claims serve in place of ready ones, where there are none that take requests.
fn called_up(claims: &[&Claim], before: &[Endpoint]) -> Option<Standing> {
    let takes_requests =
        |claim: &&Claim| claim.standing == Standing::Ready && claim.weight.get() != 0;
    let serves_on =
        |claim: &&Claim| claim.standing == Standing::LastResort && has_served(claim, before);
    match () {
        () if claims.iter().any(takes_requests) => None,
        () if claims.iter().any(serves_on) => Some(Standing::LastResort),
        () => Some(Standing::Reserve),
    }
}

fn has_served(claim: &Claim, before: &[Endpoint]) -> bool {
    let is_same = |endpoint: &Endpoint| {
        endpoint.origin.id() == claim.origin.id() && endpoint.port == claim.port
    };
    before.iter().any(|endpoint| is_same(endpoint) && endpoint.readiness == Readiness::Ready)
}

fn endpoint(claim: &Claim, is_ready: bool) -> Endpoint {
    Endpoint {
        origin: claim.origin.clone(),
        port: claim.port,
        address: claim.address,
        weight: claim.weight,
        readiness: if is_ready { Readiness::Ready } else { Readiness::Out },
    }
}
