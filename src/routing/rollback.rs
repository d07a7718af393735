//! A rollback that holds: the routes of an earlier generation, served by those of its containers that
//! still are there.
//!
//! Pure. Who was there then and is fit now gets traffic, at the address that it has now and with the weight
//! of then; who came later is not served. A route that has nobody left answers 503.

use crate::{
    model::route::{Endpoint, Route, RouteKey, Routes},
    routing::route_table::{self, Claim, RouteTable},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// What ends it.
pub const RELEASE_COMMAND: &str = "docker-balancer rollback --release";
/// The last moment of the year 9999: no later one can be written.
const MAX_TIMESTAMP_MS: u64 = 253_402_300_799_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    pub generation: u64,
    /// When it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// What was served then.
    target: Arc<Routes>,
    /// What is left of it; `None` until somebody looked.
    served: Option<Routes>,
}

impl Rollback {
    pub fn new(generation: u64, since_ms: u64, target: Arc<Routes>) -> Self {
        Self { generation, since_ms, target, served: None }
    }

    pub fn target_routes(&self) -> &Routes {
        &self.target
    }

    /// What is served while it holds. What did not change is the very same.
    pub fn served_routes(&self) -> Routes {
        self.served.clone().unwrap_or_default()
    }

    /// Looks at the claims that came or went since the last time, before they are settled.
    pub fn update_routes(&mut self, route_table: &RouteTable) {
        let claims = route_table.claims();
        match &mut self.served {
            None => {
                let left = |(key, target): (&RouteKey, &Arc<Route>)| {
                    (key.clone(), Arc::new(remaining_route(target, key, claims, target)))
                };
                self.served = Some(Routes(self.target.0.iter().map(left).collect()));
            }
            Some(before) => {
                for key in route_table.dirty_keys() {
                    let Some(target) = self.target.0.get(key) else { continue };
                    let now =
                        remaining_route(target, key, claims, before.0.get(key).unwrap_or(target));
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
        let since = UNIX_EPOCH + Duration::from_millis(*since_ms.min(&MAX_TIMESTAMP_MS));
        let since = humantime::format_rfc3339_seconds(since);
        write!(f, "rollback to generation {generation} is active since {since}")
    }
}

/// `before` is the route as it was served last.
fn remaining_route(
    target: &Route,
    key: &RouteKey,
    claims: &BTreeMap<RouteKey, Vec<Claim>>,
    before: &Route,
) -> Route {
    let claims = claims.get(key).map(Vec::as_slice).unwrap_or_default();
    let remaining = |endpoint: &Endpoint| {
        // By its id, as a container may have been given another name.
        let is_same = |claim: &&Claim| {
            claim.container.id() == endpoint.container.id() && claim.port == endpoint.port
        };
        let claim = claims.iter().find(is_same)?;
        Some(Claim { options: endpoint.options.clone(), ..claim.clone() })
    };
    let remaining: Vec<_> = target.endpoints.iter().filter_map(remaining).collect();
    let endpoints =
        route_table::build_endpoints(&remaining.iter().collect::<Vec<_>>(), &before.endpoints);
    Route { policy: target.policy.clone(), endpoints }
}
