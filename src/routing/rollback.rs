//! An active rollback: the routes of an earlier generation, served by those of its containers that still exist.
//!
//! Pure. A container of that generation that is eligible now gets traffic at its current address and with its weight
//! of that generation. Newer containers are not served. A route without remaining containers answers 503.

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

/// Command that ends the rollback.
pub const RELEASE_COMMAND: &str = "docker-balancer rollback --release";
/// The last millisecond of the year 9999; RFC 3339 cannot express a later one.
const MAX_TIMESTAMP_MS: u64 = 253_402_300_799_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    pub generation: u64,
    /// When the rollback started, in milliseconds since 1970.
    pub since_ms: u64,
    /// The routes of the generation.
    target: Arc<Routes>,
    /// The part of `target` that can be served now; `None` until the first [`Self::update_routes`].
    served: Option<Routes>,
}

impl Rollback {
    pub fn new(generation: u64, since_ms: u64, target: Arc<Routes>) -> Self {
        Self { generation, since_ms, target, served: None }
    }

    pub fn target_routes(&self) -> &Routes {
        &self.target
    }

    /// Returns the routes that are served while the rollback is active. Unchanged routes share one `Arc`.
    pub fn served_routes(&self) -> Routes {
        self.served.clone().unwrap_or_default()
    }

    /// Applies the claims that were added or removed since the last call. Must be called before
    /// [`RouteTable::resolve_routes`], which clears the dirty keys.
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

/// `rollback to generation 41 is active since 2026-11-21T12:00:00Z`
impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, since_ms, .. } = self;
        let since = UNIX_EPOCH + Duration::from_millis(*since_ms.min(&MAX_TIMESTAMP_MS));
        let since = humantime::format_rfc3339_seconds(since);
        write!(f, "rollback to generation {generation} is active since {since}")
    }
}

/// Returns the part of `target` that can be served now. `before` is the route as it was last served.
fn remaining_route(
    target: &Route,
    key: &RouteKey,
    claims: &BTreeMap<RouteKey, Vec<Claim>>,
    before: &Route,
) -> Route {
    let claims = claims.get(key).map(Vec::as_slice).unwrap_or_default();
    let remaining = |endpoint: &Endpoint| {
        // Compares the id, because a container may have been renamed.
        let is_same = |claim: &&Claim| {
            claim.container.id() == endpoint.container.id() && claim.port == endpoint.port
        };
        let claim = claims.iter().find(is_same)?;
        Some(Claim { options: endpoint.options.clone(), ..claim.clone() })
    };
    let remaining: Vec<_> = target.endpoints.iter().filter_map(remaining).collect();
    let endpoints =
        route_table::build_endpoints(&remaining.iter().collect::<Vec<_>>(), &before.endpoints);
    Route { policy: target.policy.clone(), terms: target.terms.clone(), endpoints }
}
