//! Plans the commands that change the state of a running HAProxy from observed to desired.
//!
//! Pure: decides, and does not execute. New servers are added before old ones are removed, so that a route is always
//! served.

use super::{
    command::{CheckHealth, RuntimeCommand},
    config::{AdminState, Backend, CheckMode, Config, FrontendState, MapName, Probe, Server},
    features, name,
    observed::{ObservedServer, ObservedState},
};
use crate::model::http::sticky::StickyCookie;
use std::collections::BTreeMap;

/// Returns the commands that lead from `observed` to `config`, in order; none if nothing differs. Both must have the
/// same fingerprint, and every backend of `config` must exist if backends cannot be added.
pub fn plan_commands(observed: &ObservedState, config: &Config) -> Vec<RuntimeCommand> {
    let no_server = name::no_server_in(&observed.backends);
    let maps = MapName::ALL.map(|map| (map, desired_entries(config, map, no_server)));
    // Lines come before the map entries that redirect requests to HTTPS.
    let mut plan = observed.tls.plan_ca_additions(&config.cas);
    plan.extend(observed.tls.plan_additions(&config.tls));
    plan.extend(observed.tls.plan_default(&config.default_certificate));
    // The map entries that checks use have to exist before the first check.
    let transitional = features::transitional_members(observed, &config.maps.features);
    for (map, desired) in maps.iter().filter(|(map, _)| !map.has_routes()) {
        if *map == MapName::ClientMembers {
            set_entries(&mut plan, observed, *map, &transitional);
        }
        set_entries(&mut plan, observed, *map, desired);
    }
    for (name, backend) in &config.backends {
        add_backend(&mut plan, observed, name, backend);
        upsert_servers(&mut plan, observed, name, backend, config);
    }
    for (map, desired) in maps.iter().filter(|(map, _)| map.has_routes()) {
        set_entries(&mut plan, observed, *map, desired);
    }
    // A port opens after its routes are there, and closes before they go.
    set_frontend_states(&mut plan, observed, config);
    let (of_routes, others): (Vec<_>, Vec<_>) = maps.iter().partition(|(map, _)| map.has_routes());
    // Sets go after the entries that name them, and in the opposite order to that of their addition.
    for (map, desired) in of_routes.into_iter().chain(others.into_iter().rev()) {
        delete_entries(&mut plan, observed, *map, desired);
        if *map == MapName::ClientMembers {
            let known = |key: &String| {
                let current = observed.maps.get(map);
                current.is_some_and(|current| current.contains_key(key))
                    || desired.contains_key(key)
            };
            let added = transitional.keys().filter(|key| !known(key));
            plan.extend(added.map(|key| RuntimeCommand::DelMap { map: *map, key: key.clone() }));
        }
    }
    remove_servers(&mut plan, observed, config);
    plan.extend(observed.tls.plan_deletions(&config.tls));
    plan.extend(observed.tls.plan_ca_deletions(&config.cas));
    plan
}

/// `no_server` is the worker's name for the backend of routes without a server.
fn desired_entries(config: &Config, map: MapName, no_server: &str) -> BTreeMap<String, String> {
    let mut entries = config.maps.entries(map);
    if map == MapName::Routes && no_server != name::NO_SERVER {
        for value in entries.values_mut() {
            let suffix = value.strip_prefix(name::NO_SERVER).filter(|s| s.starts_with(' '));
            if let Some(suffix) = suffix {
                *value = format!("{no_server}{suffix}");
            }
        }
    }
    entries
}

fn set_entries(
    plan: &mut Vec<RuntimeCommand>,
    observed: &ObservedState,
    map: MapName,
    desired: &BTreeMap<String, String>,
) {
    let current = observed.maps.get(&map);
    for (key, value) in desired {
        let old = current.and_then(|current| current.get(key));
        if old == Some(value) {
            continue;
        }
        let (key, value) = (key.clone(), value.clone());
        plan.push(match old {
            None => RuntimeCommand::AddMap { map, key, value },
            Some(_) => RuntimeCommand::SetMap { map, key, value },
        });
    }
}

/// Resumes and pauses frontends. The worker has no others than those of its start.
fn set_frontend_states(plan: &mut Vec<RuntimeCommand>, observed: &ObservedState, config: &Config) {
    for frontend in &config.frontends {
        let name = frontend.public_name();
        let state = observed.frontends.get(&name);
        let frontend = (state.copied(), frontend.state);
        plan.extend(match frontend {
            (Some(FrontendState::Paused), FrontendState::Open) => {
                Some(RuntimeCommand::EnableFrontend { frontend: name })
            }
            (Some(FrontendState::Open), FrontendState::Paused) => {
                Some(RuntimeCommand::DisableFrontend { frontend: name })
            }
            _ => None,
        });
    }
}

fn delete_entries(
    plan: &mut Vec<RuntimeCommand>,
    observed: &ObservedState,
    map: MapName,
    desired: &BTreeMap<String, String>,
) {
    let gone = observed.map_entries(map).filter(|(key, _)| !desired.contains_key(*key));
    plan.extend(gone.map(|(key, _)| RuntimeCommand::DelMap { map, key: key.to_owned() }));
}

/// Adds and publishes a missing backend. No route leads to it yet, so it may be published before it has servers: if the
/// plan is interrupted, nothing has to be tracked.
fn add_backend(
    plan: &mut Vec<RuntimeCommand>,
    observed: &ObservedState,
    name: &str,
    backend: &Backend,
) {
    let is_there = observed.backends.contains(name);
    let at = || name.to_owned();
    if !is_there && observed.can_add_backends() {
        plan.push(RuntimeCommand::AddBackend { backend: at(), shape: backend.shape });
    }
    if !is_there && observed.can_add_backends() || observed.unpublished.contains(name) {
        plan.push(RuntimeCommand::Publish { backend: at() });
    }
}

/// Adds and updates the desired servers, before other servers are removed, so that the route has a ready server at all
/// times.
fn upsert_servers(
    plan: &mut Vec<RuntimeCommand>,
    observed: &ObservedState,
    name: &str,
    backend: &Backend,
    config: &Config,
) {
    let Config { requeue, cookie_key, .. } = config;
    let current = observed.servers.get(name);
    let has_cookie = backend.shape.sticky == StickyCookie::Cookie;
    let key = has_cookie.then_some(cookie_key.as_str());
    for server in &backend.servers {
        let health = initial_health(backend, server, current);
        match current.and_then(|current| current.get(&server.name)) {
            None if server.name == name::HOLD_SERVER => {
                let requeue = requeue.filter(|_| backend.shape.can_requeue());
                let watch = CheckMode::Hold { requeue };
                let hold = Server { check_mode: watch, ..server.clone() };
                add_server(plan, name, health, &hold, None);
            }
            None => add_server(plan, name, health, server, key),
            Some(state) => {
                // Before it was ready, a plan that added it may have been interrupted.
                if server.admin == AdminState::Ready && state.admin == AdminState::Maintenance {
                    set_cookie_key(plan, name, key);
                }
                update_server(plan, name, health, server, state);
            }
        }
    }
}

/// Returns the health to set on a server that becomes ready. With an HTTP check the server is down until a check
/// succeeds, unless a server with the same address (the same container port under another name) is up. The only server
/// of a route may fail as many checks as `fall` allows: HAProxy starts an added server one failed check away from down.
fn initial_health(
    backend: &Backend,
    server: &Server,
    current: Option<&BTreeMap<String, ObservedServer>>,
) -> Option<CheckHealth> {
    if !server.check_mode.is_checked() {
        return None;
    }
    let well = |observed_server: &ObservedServer| {
        observed_server.up
            && observed_server.admin == AdminState::Ready
            && observed_server.address == server.address
    };
    match (backend.shape.probe, current.is_some_and(|current| current.values().any(well))) {
        (Probe::Http, false) => Some(CheckHealth::Down),
        (Probe::Http, true) | (Probe::Tcp, _) => server.initial_fall().map(|_| CheckHealth::Up),
    }
}

fn add_server(
    plan: &mut Vec<RuntimeCommand>,
    backend: &str,
    health: Option<CheckHealth>,
    server: &Server,
    cookie_key: Option<&str>,
) {
    let at = || (backend.to_owned(), server.name.clone());
    plan.push(RuntimeCommand::AddServer { backend: backend.to_owned(), server: server.clone() });
    set_cookie_key(plan, backend, cookie_key);
    if server.check_mode.is_checked() {
        let (backend, name) = at();
        plan.push(RuntimeCommand::EnableHealth { backend, name });
    }
    if server.admin == AdminState::Ready {
        set_ready(plan, at, health);
    }
}

/// Gives all servers of a backend their cookies, also those that HAProxy has added.
fn set_cookie_key(plan: &mut Vec<RuntimeCommand>, backend: &str, key: Option<&str>) {
    if let Some(key) = key {
        let (backend, key) = (backend.to_owned(), key.to_owned());
        plan.push(RuntimeCommand::SetCookieKey { backend, key });
    }
}

fn set_ready(
    plan: &mut Vec<RuntimeCommand>,
    at: impl Fn() -> (String, String),
    health: Option<CheckHealth>,
) {
    let (backend, name) = at();
    plan.push(RuntimeCommand::SetState { backend, name, admin: AdminState::Ready });
    if let Some(health) = health {
        let (backend, name) = at();
        plan.push(RuntimeCommand::SetHealth { backend, name, health });
    }
}

fn update_server(
    plan: &mut Vec<RuntimeCommand>,
    backend: &str,
    health: Option<CheckHealth>,
    server: &Server,
    state: &ObservedServer,
) {
    let at = || (backend.to_owned(), server.name.clone());
    if state.address != server.address {
        let ((backend, name), address) = (at(), server.address);
        plan.push(RuntimeCommand::SetAddress { backend, name, address });
    }
    for (setting, value) in state.settings.changes_to(server.settings) {
        let (backend, name) = at();
        plan.push(RuntimeCommand::SetSetting { backend, name, setting, value });
    }
    match server.admin {
        AdminState::Ready if state.admin != AdminState::Ready => set_ready(plan, at, health),
        AdminState::Drain if state.admin != AdminState::Drain => {
            let ((backend, name), admin) = (at(), AdminState::Drain);
            plan.push(RuntimeCommand::SetState { backend, name, admin });
        }
        AdminState::Ready | AdminState::Drain | AdminState::Maintenance => {}
    }
}

/// Puts servers that should not take new traffic into maintenance, and deletes those that are not desired when their
/// last request has ended. Backends of the administrator's base file are left alone.
fn remove_servers(plan: &mut Vec<RuntimeCommand>, observed: &ObservedState, config: &Config) {
    let mut deletions = Vec::new();
    for (backend, servers) in observed.servers.iter().filter(|(name, _)| name::is_managed(name)) {
        let desired = config.backends.get(backend).map_or(&[][..], |backend| &backend.servers);
        // If the backend is kept for other routes, requests will wait on `hold` again.
        let stays = |name: &str| name == name::HOLD_SERVER && !observed.can_add_backends();
        for (name, state) in servers.iter().filter(|(name, _)| !stays(name)) {
            let is_gone = are_connections_orphaned(backend, name, desired);
            let desired = desired.iter().find(|server| server.name == *name);
            let (backend, name) = (backend.clone(), name.clone());
            if desired.is_none() {
                if is_gone {
                    let (backend, name) = (backend.clone(), name.clone());
                    deletions.push(RuntimeCommand::EndSessions { backend, name });
                }
                let (backend, name) = (backend.clone(), name.clone());
                deletions.push(RuntimeCommand::DelServer { backend, name });
            }
            let serves = desired.is_some_and(|server| server.admin != AdminState::Maintenance);
            if state.admin != AdminState::Maintenance && !serves {
                plan.push(RuntimeCommand::SetState {
                    backend,
                    name,
                    admin: AdminState::Maintenance,
                });
            }
        }
    }
    plan.append(&mut deletions);
    if observed.can_add_backends() {
        remove_backends(plan, observed, config);
    }
}

/// Whether a server forwards connections, and no desired server of its backend has its container port. Requests end by
/// themselves.
fn are_connections_orphaned(backend: &str, server: &str, desired: &[Server]) -> bool {
    let Some(port) = name::parse_container_port(server) else { return false };
    let is_same = |other: &Server| name::parse_container_port(&other.name) == Some(port);
    name::is_of_connections(backend) && !desired.iter().any(is_same)
}

/// Unpublishes and deletes the backends to which no route leads any more. A later route gets a new backend.
fn remove_backends(plan: &mut Vec<RuntimeCommand>, observed: &ObservedState, config: &Config) {
    let is_kept = |name: &str| name::is_shared(name) || config.backends.contains_key(name);
    let all = observed.backends.iter();
    for name in all.filter(|name| name::is_managed(name) && !is_kept(name)) {
        if !observed.unpublished.contains(name) {
            plan.push(RuntimeCommand::Unpublish { backend: name.clone() });
        }
        plan.push(RuntimeCommand::DelBackend { backend: name.clone() });
    }
}
