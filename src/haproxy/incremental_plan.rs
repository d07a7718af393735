//! From one desired state to the next where HAProxy has what it was given: only what is different is looked at.
//!
//! Pure. Gives what layout, configuration and plan give of the whole, in a time that goes with the number
//! of changes.

use super::{
    command::RuntimeCommand, config::Config, layout::Layout, name, observed::ObservedState,
    plan::plan_commands,
};
use crate::{
    model::route::{Route, RouteKey, Routes},
    support::map_diff::diff_maps,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What HAProxy is told, and what becomes of its configuration.
#[derive(Debug)]
pub struct IncrementalPlan {
    pub commands: Vec<RuntimeCommand>,
    /// The routes that were looked at.
    keys: Vec<RouteKey>,
    /// What is to be instead of what was for them.
    part: Config,
}

/// Backends with servers that nobody wants and that could not be deleted yet.
pub type PendingDeletions = BTreeSet<String>;

/// What of `observed` differs from what was given, if that is only what could not be deleted yet.
pub fn find_pending_deletions(
    observed: &ObservedState,
    config: &Config,
) -> Option<PendingDeletions> {
    let deleted = |command| match command {
        RuntimeCommand::DelServer { backend, .. }
        | RuntimeCommand::Unpublish { backend }
        | RuntimeCommand::DelBackend { backend } => Some(backend),
        _ => None,
    };
    plan_commands(observed, config).into_iter().map(deleted).collect()
}

impl IncrementalPlan {
    /// `observed` is what `config` says, which was made of `before`, but for the leftover. `None`: this
    /// change takes more than the runtime API.
    pub fn new(
        (before, config): (&Routes, &Config),
        (observed, pending_deletions): (&ObservedState, &PendingDeletions),
        after: &Routes,
        draining: &BTreeSet<String>,
        wait: Duration,
    ) -> Option<Self> {
        let mut changes: BTreeMap<_, _> =
            diff_maps(&before.0, &after.0).map(|(key, _, after)| (key, after)).collect();
        let used = pending_deletions.iter().filter_map(|name| config.backends.get(name));
        for key in used.map(|backend| &backend.route) {
            changes.entry(key).or_insert_with(|| after.0.get(key));
        }
        if !keeps_listeners(&changes, config, after) {
            return None;
        }
        let keys: BTreeMap<_, _> = changes.keys().map(|key| (key.to_string(), *key)).collect();
        let current = keys.keys().filter_map(|key| Some(&config.maps.routes.get(key)?.backend));
        let candidates = |key: &&RouteKey| {
            let names = name::backend_names(key);
            names.take_while(|name| observed.backends.contains(name)).collect::<Vec<_>>()
        };
        let adds = observed.can_add_backends();
        let candidates: Vec<_> = keys.values().filter(|_| adds).flat_map(candidates).collect();
        let backends =
            current.chain(config.spares.keys()).chain(pending_deletions).chain(&candidates);
        let observed = observed.select_part(backends, keys.keys());
        let routes =
            changes.iter().filter_map(|(key, route)| Some(((*key).clone(), (*route)?.clone())));
        let routes = Routes(routes.collect());
        let (layout, unplaced) = Layout::for_running_worker(&routes, &observed, draining);
        if !unplaced.is_empty() {
            return None;
        }
        let mut part = Config::new(&routes, layout, |listener| listener.port, wait);
        part.requeue = config.requeue;
        let commands = plan_commands(&observed, &part);
        Some(Self { commands, keys: keys.into_values().cloned().collect(), part })
    }

    /// Whether the configuration is another one after it.
    pub fn changes_config(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Backends whose sections it changes.
    pub fn changed_backends(&self, config: &Config) -> Vec<String> {
        let spares = self.part.spares.keys().filter(|name| !config.spares.contains_key(*name));
        self.part.backends.keys().chain(spares).cloned().collect()
    }

    /// Brings the configuration to where it leads. Returns the backends that routes leave.
    pub fn apply_to(self, config: &mut Config) -> Vec<String> {
        let mut removed = Vec::new();
        for key in &self.keys {
            let Some(target) = config.maps.routes.remove(&key.to_string()) else { continue };
            if !self.part.backends.contains_key(&target.backend) {
                removed.push(target.backend.clone());
            }
            if target.backend != name::NO_SERVER {
                config.backends.remove(&target.backend);
                config.maps.checks.remove(&target.backend);
                config.maps.check_hosts.remove(&target.backend);
            }
        }
        let Config { backends, spares, maps, .. } = self.part;
        config.backends.extend(backends);
        config.spares = spares;
        config.maps.routes.extend(maps.routes);
        config.maps.checks.extend(maps.checks);
        config.maps.check_hosts.extend(maps.check_hosts);
        removed
    }
}

fn keeps_listeners(
    changes: &BTreeMap<&RouteKey, Option<&Arc<Route>>>,
    config: &Config,
    after: &Routes,
) -> bool {
    changes.iter().all(|(key, route)| match route {
        Some(_) => config.frontends.iter().any(|frontend| frontend.listener == key.listener),
        None => after.0.keys().any(|route_key| route_key.listener == key.listener),
    })
}
