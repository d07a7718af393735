//! Who shares a route: claims of containers → routes, and the claims that must wait.
//!
//! Pure. Where two containers disagree, the service that has the route keeps it, and among strangers the older
//! container wins. The order of the input never decides.

use crate::{
    container::ContainerId,
    label::value::Weight,
    origin::Origin,
    problem::{About, Problem, Reason},
    route::{Endpoint, Policy, Readiness, Route, RouteKey, Routes},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    net::SocketAddr,
    slice,
    sync::Arc,
};

/// What one container port wants: a place in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: RouteKey,
    pub policy: Policy,
    pub origin: Origin,
    /// The service that the container is of, where somebody knows.
    pub service: Option<Arc<str>>,
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
    /// What is said of claims, where there is anything.
    conflicts: BTreeMap<RouteKey, Vec<Problem>>,
    /// Claims on these came or went since the last time, when that party had the route.
    touched: BTreeMap<RouteKey, Option<Party>>,
}

impl Board {
    pub fn add(&mut self, claim: Claim) {
        self.touch(&claim.key);
        self.claims.entry(claim.key.clone()).or_default().push(claim);
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
        }
    }

    /// Has the route settled though its claims are the same.
    pub fn touch(&mut self, key: &RouteKey) {
        if !self.touched.contains_key(key) {
            let first = self.claims.get(key).and_then(|claims| claims.first());
            let party = first.filter(|_| self.routes.0.contains_key(key)).map(Claim::party);
            self.touched.insert(key.clone(), party);
        }
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
            let (route, problems) = match self.claims.get_mut(&key) {
                Some(claims) => {
                    claims.shrink_to_fit();
                    share(claims, before.as_deref(), incumbency, may_hold(&key))
                }
                None => (None, Vec::new()),
            };
            let is_gone = route.is_none();
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
            self.conflicts.remove(&key);
            if !problems.is_empty() {
                self.conflicts.insert(key, problems);
            }
        }
        departures
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
        self.conflicts.values().flatten()
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
    let mut services: BTreeSet<&str> = first.service.as_deref().into_iter().collect();
    let known = !services.is_empty();
    let others = claims.iter().filter_map(|claim| Some((claim, claim.service.as_deref()?)));
    let new = others.filter(move |(_, service)| known && services.insert(service));
    new.map(|(claim, _)| Problem {
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
