//! The plan from one desired state to the next when HAProxy has the former: only the differences are processed.
//!
//! Pure. The result equals that of layout, configuration and plan of the whole state, in time proportional to the
//! number of changes.

use super::{
    command::RuntimeCommand,
    config::{Config, TcpPort},
    config_builder::ConfigBuilder,
    features::FeatureMaps,
    layout::Layout,
    name,
    observed::ObservedState,
    plan::plan_commands,
    tls::{ListName, TlsContext, host_lines, list_name},
};
use crate::{
    model::{
        option_value::{HostMatch, PathRule},
        route::{Listener, Match, Protocol, Route, RouteKey, Routes},
    },
    support::map_diff::diff_maps,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The commands for HAProxy, and the resulting change of the configuration.
#[derive(Debug)]
pub struct IncrementalPlan {
    pub commands: Vec<RuntimeCommand>,
    /// The routes that were processed.
    keys: Vec<RouteKey>,
    /// The names whose lines in the lists were processed.
    names: BTreeSet<ListName>,
    /// The new configuration of these routes, which replaces their old one.
    part: Config,
    /// Whether `part` has the sets of all routes.
    has_sets: bool,
}

/// Backends that could not be deleted yet, or that have servers that could not be deleted yet.
pub type PendingDeletions = BTreeSet<String>;

/// Returns the backends with pending deletions; `None` if `observed` also differs from `config` otherwise.
pub fn find_pending_deletions(
    observed: &ObservedState,
    config: &Config,
) -> Option<PendingDeletions> {
    let deleted = |command| match command {
        RuntimeCommand::DelServer { backend, .. }
        | RuntimeCommand::EndSessions { backend, .. }
        | RuntimeCommand::Unpublish { backend }
        | RuntimeCommand::DelBackend { backend } => Some(backend),
        _ => None,
    };
    plan_commands(observed, config).into_iter().map(deleted).collect()
}

impl IncrementalPlan {
    /// `observed` equals `config`, which was built from `before`, except for the pending deletions. Returns `None` if
    /// this change takes more than the runtime API.
    pub fn new(
        (before, config): (&Routes, &Config),
        (observed, pending_deletions): (&ObservedState, &PendingDeletions),
        after: &Routes,
        builder: ConfigBuilder<'_>,
    ) -> Option<Self> {
        let differences = diff_maps(&before.0, &after.0).filter(|(key, ..)| !key.is_udp());
        let mut changes: BTreeMap<_, _> = differences.map(|(key, _, after)| (key, after)).collect();
        let used = pending_deletions.iter().filter_map(|name| config.backends.get(name));
        for key in used.map(|backend| &backend.route) {
            changes.entry(key).or_insert_with(|| after.0.get(key));
        }
        if !keeps_listeners(&changes, config, after, &builder.permanent_listeners()) {
            return None;
        }
        // The files then have another interval in the lines of all servers.
        let timing = builder.check_timing(after);
        if timing != builder.check_timing(before) {
            return None;
        }
        if changes.keys().any(|key| depends_on_others(key, config, after)) {
            return None;
        }
        let keys: BTreeMap<_, _> = changes.keys().map(|key| (key.map_key(), *key)).collect();
        let current = keys.values().filter_map(|key| config.maps.backend_of(key));
        let current: Vec<_> = current.map(str::to_owned).collect();
        let candidates = |key: &&RouteKey| {
            let names = name::backend_names(key);
            names.take_while(|name| observed.backends.contains(name)).collect::<Vec<_>>()
        };
        let adds = observed.can_add_backends();
        let candidates: Vec<_> = keys.values().filter(|_| adds).flat_map(candidates).collect();
        let backends =
            current.iter().chain(config.spares.keys()).chain(pending_deletions).chain(&candidates);
        let (whole, all_tls) = (observed, &observed.tls);
        let mut observed = observed.select_part(backends, keys.keys());
        let routes =
            changes.iter().filter_map(|(key, route)| Some(((*key).clone(), (*route)?.clone())));
        let routes = Routes(routes.collect());
        let (layout, unplaced) = Layout::for_running_worker(&routes, &observed, builder.draining);
        if !unplaced.is_empty() {
            return None;
        }
        let mut part = builder.build_part(&routes, layout, timing);
        // It stays, see `depends_on_others`.
        part.maps.tcp_ports.clear();
        let is_https = keys.values().any(|key| key.is_https());
        if is_https && (has_separate_lines(config) || has_separate_lines(&part)) {
            return None;
        }
        if !config.header_names.has_all(&part.header_names) {
            return None;
        }
        part.header_names.clone_from(&config.header_names);
        let has_sets = uses_sets(config, keys.keys()) || uses_sets(&part, keys.keys());
        if has_sets {
            // Routes share sets, and depend on others of their host.
            part.maps.features = features_after(config, &part, keys.keys());
            observed.copy_sets(whole);
        } else {
            part.maps.features = FeatureMaps::default();
        }
        part.requeue = config.requeue;
        part.cookie_key.clone_from(&config.cookie_key);
        // A CA may be shared, so it is only deleted by the next plan of the whole state.
        part.cas.extend(config.cas.iter().cloned());
        add_remaining_lines(&mut part, changes.keys().copied(), after, builder.tls_context());
        let names = processed_names(&part, changes.keys().copied());
        observed.tls = all_tls.select_lines(&names);
        let mut commands = plan_commands(&observed, &part);
        commands.retain(|command| match command {
            RuntimeCommand::DelCertificate { certificate } => {
                !all_tls.is_used_by_others(certificate, &names)
            }
            _ => true,
        });
        let keys = keys.into_values().cloned().collect();
        Some(Self { commands, keys, names, part, has_sets })
    }

    /// Whether the configuration changes.
    pub fn changes_config(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Returns the backends whose sections change.
    pub fn changed_backends(&self, config: &Config) -> Vec<String> {
        let spares = self.part.spares.keys().filter(|name| !config.spares.contains_key(*name));
        self.part.backends.keys().chain(spares).cloned().collect()
    }

    /// Applies the change to the configuration. Returns the backends that routes leave.
    pub fn apply_to(self, config: &mut Config) -> Vec<String> {
        let mut removed = Vec::new();
        for key in &self.keys {
            let Some(backend) = config.maps.backend_of(key).map(str::to_owned) else { continue };
            config.maps.remove_route(key);
            if !name::is_shared(&backend) {
                config.backends.remove(&backend);
                config.maps.checks.remove(&backend);
                config.maps.check_hosts.remove(&backend);
            }
            if !self.part.backends.contains_key(&backend) {
                removed.push(backend);
            }
        }
        for ListName { list, name } in &self.names {
            if let Some(lines) = config.tls.get_mut(list) {
                lines.retain(|line| line.name != *name);
            }
        }
        for (list, lines) in self.part.tls {
            config.tls.entry(list).or_default().extend(lines);
        }
        let Config { backends, spares, maps, cas, .. } = self.part;
        if self.has_sets {
            config.maps.features = maps.features;
        }
        config.backends.extend(backends);
        config.spares = spares;
        config.cas = cas;
        config.maps.routes.extend(maps.routes);
        config.maps.tcp.extend(maps.tcp);
        config.maps.checks.extend(maps.checks);
        config.maps.check_hosts.extend(maps.check_hosts);
        removed
    }
}

/// Whether one of the routes has entries in the maps of sets.
fn uses_sets<'a>(config: &Config, mut keys: impl Iterator<Item = &'a String>) -> bool {
    keys.any(|key| {
        let target = config.maps.routes.get(key);
        target.and_then(|target| target.features.as_ref()).is_some_and(|one| one.has_sets())
    })
}

/// Returns the sets of all routes after the change of those with these keys.
fn features_after<'a>(
    config: &Config,
    part: &Config,
    keys: impl Iterator<Item = &'a String>,
) -> FeatureMaps {
    let changed: BTreeSet<_> = keys.collect();
    let kept = config.maps.routes.iter().filter(|(key, _)| !changed.contains(key));
    FeatureMaps::of_routes(kept.chain(&part.maps.routes), &config.header_names)
}

/// Whether a wildcard host has lines with options, or there is a route of any host. The lines of other hosts depend on
/// these.
fn has_separate_lines(config: &Config) -> bool {
    // The keys of these routes begin with `*`.
    let routes = config.maps.routes.range("*".to_owned().."+".to_owned());
    let is_https = |text: &str| {
        let port = text.split('/').next().and_then(|port| port.parse().ok());
        port.is_some_and(|port| config.tls.contains_key(&list_name(port)))
    };
    let mut routes = routes.filter(|(key, target)| {
        target.guard.is_some() || key.strip_prefix("*:").is_some_and(is_https)
    });
    routes.next().is_some()
}

/// Returns the names of all lines of changed hosts: those that the lines had, and those that they get. A line for a
/// wildcard name, which may be shared, is only deleted by the next plan of the whole state.
fn processed_names<'a>(
    part: &Config,
    keys: impl Iterator<Item = &'a RouteKey>,
) -> BTreeSet<ListName> {
    let name = |key: &RouteKey| match key.host() {
        HostMatch::Exact(host) if key.is_https() => {
            Some(ListName { list: list_name(key.listener.port), name: host.to_string() })
        }
        _ => None,
    };
    let after = part.tls.iter().flat_map(|(list, lines)| {
        lines.iter().map(|line| ListName { list: list.clone(), name: line.name.clone() })
    });
    keys.filter_map(name).chain(after).collect()
}

/// Adds the lines of changed hosts that unchanged routes still need.
fn add_remaining_lines<'a>(
    part: &mut Config,
    keys: impl Iterator<Item = &'a RouteKey>,
    after: &Routes,
    tls: TlsContext<'_>,
) {
    for key in keys.filter(|key| key.is_https()) {
        let rule = Match::Http { host: key.host().clone(), path: PathRule::default() };
        let mut routes = after.0.range(RouteKey { listener: key.listener, rule }..);
        let is_same = |other: &RouteKey| {
            other.is_https() && other.listener == key.listener && other.host() == key.host()
        };
        let lines = part.tls.entry(list_name(key.listener.port)).or_default();
        if let Some((other, route)) = routes.next().filter(|(other, _)| is_same(other)) {
            lines.extend(host_lines(other, route, tls));
        }
    }
}

/// Whether the entries of a route may change those of another one: a host that is decrypted may have an entry because
/// of the wildcard above it, whose connections are passed through; and a port of TCP has an entry, which says whether
/// one of its routes has a name.
fn depends_on_others(key: &RouteKey, config: &Config, after: &Routes) -> bool {
    let is_wildcard = matches!(key.host(), HostMatch::Wildcard(_));
    // The keys of these routes begin with `*`.
    let has_wildcards = || config.maps.tcp.range("*".to_owned().."+".to_owned()).next().is_some();
    match key.listener.protocol {
        Protocol::Tcp => {
            let port = config.maps.tcp_ports.get(&key.listener.port.to_string());
            port.copied() != tcp_port(key.listener, after)
        }
        _ if key.is_tcp() => is_wildcard,
        _ => key.is_https() && has_wildcards(),
    }
}

/// Returns the entry of a port of TCP.
fn tcp_port(listener: Listener, routes: &Routes) -> Option<TcpPort> {
    let last = RouteKey { listener, rule: Match::Tcp { server_name: HostMatch::Any } };
    let keys = routes.0.range(..=last).rev().map(|(key, _)| key);
    // Before the route of any name there are only those of names.
    keys.take_while(|key| key.listener == listener).take(2).map(TcpPort::of).max()
}

fn keeps_listeners(
    changes: &BTreeMap<&RouteKey, Option<&Arc<Route>>>,
    config: &Config,
    after: &Routes,
    permanent: &BTreeSet<Listener>,
) -> bool {
    changes.iter().all(|(key, route)| {
        let frontend = config.frontends.iter().find(|frontend| frontend.listener == key.listener);
        let Some(frontend) = frontend.filter(|frontend| frontend.is_open()) else { return false };
        if route.is_some() {
            return frontend.has_passthrough || !key.is_passed();
        }
        let mut others = after.0.keys().filter(|other| other.listener == key.listener);
        others.next().is_some() || permanent.contains(&key.listener)
    })
}
