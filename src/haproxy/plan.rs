//! From what HAProxy has to what it should have, while it runs.
//!
//! Pure: decides, and leaves the doing to others. Makes before it breaks: what is new serves before
//! what is old goes.

use super::{
    command::{CheckHealth, RuntimeCommand},
    config::{AdminState, Backend, CheckMode, Config, MapName, Probe, Server},
    name,
    observed::{ObservedServer, ObservedState},
};
use std::collections::BTreeMap;

/// The commands that lead from `observed` to `config`, in order; none when nothing differs. Both must
/// have the same skeleton, and every backend of `config` must be there if none can be added.
pub fn plan_commands(observed: &ObservedState, config: &Config) -> Vec<RuntimeCommand> {
    let no_server = name::no_server_in(&observed.backends);
    let maps = MapName::ALL.map(|map| (map, desired_entries(config, map, no_server)));
    let mut plan = Vec::new();
    // What checks ask for has to be there before the first check.
    for (map, desired) in &maps[1..] {
        set_entries(&mut plan, observed, *map, desired);
    }
    for (name, backend) in &config.backends {
        add_backend(&mut plan, observed, name, backend);
        upsert_servers(&mut plan, observed, name, backend, config.requeue);
    }
    set_entries(&mut plan, observed, maps[0].0, &maps[0].1);
    for (map, desired) in &maps {
        delete_entries(&mut plan, observed, *map, desired);
    }
    remove_servers(&mut plan, observed, config);
    plan
}

/// `no_server` is what the worker calls that backend.
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

fn delete_entries(
    plan: &mut Vec<RuntimeCommand>,
    observed: &ObservedState,
    map: MapName,
    desired: &BTreeMap<String, String>,
) {
    let gone = observed.map_entries(map).filter(|(key, _)| !desired.contains_key(*key));
    plan.extend(gone.map(|(key, _)| RuntimeCommand::DelMap { map, key: key.to_owned() }));
}

/// Nothing leads to it yet, so it may be published before it has servers: nobody needs to know later
/// how far a plan came.
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

/// The servers that should be there: first those that come in, so that nobody is alone meanwhile.
fn upsert_servers(
    plan: &mut Vec<RuntimeCommand>,
    observed: &ObservedState,
    name: &str,
    backend: &Backend,
    requeue: Option<u64>,
) {
    let current = observed.servers.get(name);
    for server in &backend.servers {
        let health = initial_health(backend, server, current);
        match current.and_then(|current| current.get(&server.name)) {
            None if server.name == name::HOLD_SERVER => {
                let watch = CheckMode::Hold { requeue };
                add_server(plan, name, health, &Server { check_mode: watch, ..server.clone() });
            }
            None => add_server(plan, name, health, server),
            Some(state) => update_server(plan, name, health, server, state),
        }
    }
}

/// What to think of a server that gets ready. Where a path says what is well it is not until it said
/// so, but for one that said so under another name. The only one of a route is given all its time:
/// HAProxy begins with servers that are out after one failed check.
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
) {
    let at = || (backend.to_owned(), server.name.clone());
    plan.push(RuntimeCommand::AddServer { backend: backend.to_owned(), server: server.clone() });
    if server.check_mode.is_checked() {
        let (backend, name) = at();
        plan.push(RuntimeCommand::EnableHealth { backend, name });
    }
    if server.admin == AdminState::Ready {
        set_ready(plan, at, health);
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
    if state.admin != AdminState::Ready && server.admin == AdminState::Ready {
        set_ready(plan, at, health);
    }
}

/// Servers that should take no new traffic, and those that nobody wants: these are deleted, when their
/// last request has ended. Backends that are not ours (of a base file) are left alone.
fn remove_servers(plan: &mut Vec<RuntimeCommand>, observed: &ObservedState, config: &Config) {
    let mut deletions = Vec::new();
    for (backend, servers) in observed.servers.iter().filter(|(name, _)| name::is_managed(name)) {
        let desired = config.backends.get(backend).map_or(&[][..], |backend| &backend.servers);
        // In a backend that stays for other routes, requests will wait again.
        let stays = |name: &str| name == name::HOLD_SERVER && !observed.can_add_backends();
        for (name, state) in servers.iter().filter(|(name, _)| !stays(name)) {
            let desired = desired.iter().find(|server| server.name == *name);
            let (backend, name) = (backend.clone(), name.clone());
            if desired.is_none() {
                let (backend, name) = (backend.clone(), name.clone());
                deletions.push(RuntimeCommand::DelServer { backend, name });
            }
            let serves = desired.is_some_and(|server| server.admin == AdminState::Ready);
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

/// Those that no route leads to any more: for a route that comes later there will be another.
fn remove_backends(plan: &mut Vec<RuntimeCommand>, observed: &ObservedState, config: &Config) {
    let is_kept = |name: &str| name == name::NO_SERVER || config.backends.contains_key(name);
    let all = observed.backends.iter();
    for name in all.filter(|name| name::is_managed(name) && !is_kept(name)) {
        if !observed.unpublished.contains(name) {
            plan.push(RuntimeCommand::Unpublish { backend: name.clone() });
        }
        plan.push(RuntimeCommand::DelBackend { backend: name.clone() });
    }
}
