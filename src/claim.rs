//! Who shares a route: claims of containers → routes, and the claims that must wait.
//!
//! Pure. The order of arrival decides where two containers disagree; the order of the input never does.

use crate::{
    container::ContainerId,
    label::value::Weight,
    origin::Origin,
    problem::{About, Problem, Reason},
    route::{Endpoint, Policy, Readiness, Route, RouteKey, Routes},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// What one container port wants: a place in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: RouteKey,
    pub policy: Policy,
    pub origin: Origin,
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
    /// Starting or unhealthy: serves while its route has nobody better.
    Reserve,
    /// Paused, leaving, drained, or unhealthy where health is required.
    Out,
}

/// Claims on the same listener, host and prefix share a route when they agree on its policy.
pub fn collect(mut claims: Vec<Claim>) -> (Routes, Vec<Problem>) {
    claims.sort_by(|a, b| (&a.key, &a.seniority, a.port).cmp(&(&b.key, &b.seniority, b.port)));
    let mut routes = BTreeMap::new();
    let mut problems = Vec::new();
    for group in claims.chunk_by(|a, b| a.key == b.key) {
        let (first, agreeing) = (&group[0], agreeing(group, &mut problems));
        let route = Route { policy: first.policy.clone(), endpoints: endpoints(&agreeing) };
        routes.insert(first.key.clone(), route);
    }
    (Routes(routes), problems)
}

fn agreeing<'a>(group: &'a [Claim], problems: &mut Vec<Problem>) -> Vec<&'a Claim> {
    let first = &group[0];
    let (agreeing, others): (Vec<_>, Vec<_>) =
        group.iter().partition(|claim| claim.policy == first.policy);
    problems.extend(others.iter().map(|claim| conflict(claim, first)));
    agreeing
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

/// One endpoint per container and port, by name; a reserve is called up where nobody else is ready.
fn endpoints(claims: &[&Claim]) -> Vec<Endpoint> {
    let served = claims.iter().any(|claim| claim.standing == Standing::Ready);
    let mut endpoints: Vec<_> = claims.iter().map(|claim| endpoint(claim, served)).collect();
    endpoints.sort();
    endpoints.dedup_by(|a, b| a.origin == b.origin && a.port == b.port);
    endpoints
}

fn endpoint(claim: &Claim, served: bool) -> Endpoint {
    Endpoint {
        origin: claim.origin.clone(),
        port: claim.port,
        address: claim.address,
        weight: claim.weight,
        readiness: match claim.standing {
            Standing::Ready => Readiness::Ready,
            Standing::Reserve if !served => Readiness::Ready,
            Standing::Reserve | Standing::Out => Readiness::Out,
        },
    }
}
