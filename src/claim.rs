//! Who shares a route: claims of containers → routes, and the claims that must wait.
//!
//! Pure. The order of arrival decides where two containers disagree; the order of the input never does,
//! nor does it matter which claims were there before.

use crate::{
    container::ContainerId,
    label::value::Weight,
    origin::Origin,
    problem::{About, Problem, Reason},
    route::{Endpoint, Policy, Readiness, Route, RouteKey, Routes},
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    mem,
    net::SocketAddr,
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
    /// The claims that must wait, where there are any.
    conflicts: BTreeMap<RouteKey, Vec<Problem>>,
    /// Claims on these came or went since the last time.
    touched: BTreeSet<RouteKey>,
}

impl Board {
    pub fn add(&mut self, claim: Claim) {
        self.touched.insert(claim.key.clone());
        self.claims.entry(claim.key.clone()).or_default().push(claim);
    }

    /// Takes back what a container claims of a route, if anything.
    pub fn remove(&mut self, key: &RouteKey, id: &ContainerId) {
        let Some(claims) = self.claims.get_mut(key) else { return };
        claims.retain(|claim| claim.seniority.1 != *id);
        if claims.is_empty() {
            self.claims.remove(key);
        }
        self.touched.insert(key.clone());
    }

    /// Brings the routes in line with the claims. Gives back those that are not claimed any more.
    pub fn settle(&mut self) -> BTreeMap<RouteKey, Arc<Route>> {
        let mut gone = BTreeMap::new();
        for key in mem::take(&mut self.touched) {
            let (route, problems) = match self.claims.get_mut(&key) {
                Some(claims) => {
                    claims.shrink_to_fit();
                    share(claims, self.routes.0.get(&key).map(AsRef::as_ref))
                }
                None => (None, Vec::new()),
            };
            match (route, self.routes.0.entry(key.clone())) {
                (Some(route), Entry::Occupied(before)) if **before.get() == route => {}
                (Some(route), Entry::Occupied(mut before)) => drop(before.insert(Arc::new(route))),
                (Some(route), Entry::Vacant(none)) => drop(none.insert(Arc::new(route))),
                (None, Entry::Occupied(before)) => gone.extend([before.remove_entry()]),
                (None, Entry::Vacant(_)) => {}
            }
            self.conflicts.remove(&key);
            if !problems.is_empty() {
                self.conflicts.insert(key, problems);
            }
        }
        gone
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Of all that is asked for, fit to serve or not; by route, the first comer first.
    pub fn claims(&self) -> &BTreeMap<RouteKey, Vec<Claim>> {
        &self.claims
    }

    /// Routes on which claims came or went since they were last settled.
    pub fn touched(&self) -> &BTreeSet<RouteKey> {
        &self.touched
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
    board.settle();
    let problems = board.conflicts().cloned().collect();
    (board.routes, problems)
}

/// The route of claims on it: who came first says how it is. `before` is the route as it was.
fn share(claims: &mut [Claim], before: Option<&Route>) -> (Option<Route>, Vec<Problem>) {
    claims.sort_by(|a, b| (&a.seniority, a.port).cmp(&(&b.seniority, b.port)));
    let Some(first) = claims.first() else { return (None, Vec::new()) };
    let (agreeing, others): (Vec<_>, Vec<_>) =
        claims.iter().partition(|claim| claim.policy == first.policy);
    let mut problems: Vec<_> = others.iter().map(|claim| conflict(claim, first)).collect();
    problems.extend(strangers(&agreeing, first));
    let before = before.map_or(&[][..], |route| &route.endpoints);
    let route = Route { policy: first.policy.clone(), endpoints: endpoints(&agreeing, before) };
    (Some(route), problems)
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
