//! A rollback that holds: the routes of an earlier generation, served by those of its containers that
//! still are there.
//!
//! Pure. Who was there then and is fit now gets traffic, at the address that it has now and with the weight
//! of then; who came later is not served. A route that has nobody left answers 503.

use crate::{
    claim::{self, Board, Claim},
    route::{Endpoint, Route, RouteKey, Routes},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// What ends it.
pub const RELEASE: &str = "docker-balancer rollback --release";
/// The last moment of the year 9999: no later one can be written.
const LAST_MS: u64 = 253_402_300_799_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    pub generation: u64,
    /// When it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// What was served then.
    then: Arc<Routes>,
    /// What is left of it; `None` until somebody looked.
    left: Option<Routes>,
}

impl Rollback {
    pub fn new(generation: u64, since_ms: u64, then: Arc<Routes>) -> Self {
        Self { generation, since_ms, then, left: None }
    }

    pub fn then(&self) -> &Routes {
        &self.then
    }

    /// What is served while it holds. What did not change is the very same.
    pub fn routes(&self) -> Routes {
        self.left.clone().unwrap_or_default()
    }

    /// Looks at the claims that came or went since the last time, before they are settled.
    pub fn follow(&mut self, board: &Board) {
        let claims = board.claims();
        match &mut self.left {
            None => {
                let left = |(key, then): (&RouteKey, &Arc<Route>)| {
                    (key.clone(), Arc::new(left(then, key, claims, then)))
                };
                self.left = Some(Routes(self.then.0.iter().map(left).collect()));
            }
            Some(before) => {
                for key in board.touched() {
                    let Some(then) = self.then.0.get(key) else { continue };
                    let now = left(then, key, claims, before.0.get(key).unwrap_or(then));
                    if before.0.get(key).is_none_or(|before| **before != now) {
                        before.0.insert(key.clone(), Arc::new(now));
                    }
                }
            }
        }
    }
}

/// `generation 41 is held since 2026-11-21T12:00:00Z`
impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, since_ms, .. } = self;
        let since = UNIX_EPOCH + Duration::from_millis(*since_ms.min(&LAST_MS));
        let since = humantime::format_rfc3339_seconds(since);
        write!(f, "generation {generation} is held since {since}")
    }
}

/// `before` is the route as it was served last.
fn left(
    then: &Route,
    key: &RouteKey,
    claims: &BTreeMap<RouteKey, Vec<Claim>>,
    before: &Route,
) -> Route {
    let claims = claims.get(key).map(Vec::as_slice).unwrap_or_default();
    let still = |endpoint: &Endpoint| {
        // By its id, as a container may have been given another name.
        let is_it =
            |it: &&Claim| it.origin.id() == endpoint.origin.id() && it.port == endpoint.port;
        let claim = claims.iter().find(is_it)?;
        Some(Claim { weight: endpoint.weight, ..claim.clone() })
    };
    let still: Vec<_> = then.endpoints.iter().filter_map(still).collect();
    let endpoints = claim::endpoints(&still.iter().collect::<Vec<_>>(), &before.endpoints);
    Route { policy: then.policy.clone(), endpoints }
}
