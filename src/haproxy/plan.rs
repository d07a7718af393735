//! From what HAProxy has to what it should have, while it runs.
//!
//! Pure: decides, and leaves the doing to others. Makes before it breaks: what is new serves before
//! what is old goes.

use super::{
    command::{Command, Health},
    config::{Admin, Backend, Config, MapName, Probe, Server, Watch},
    name,
    observed::{Observed, ServerSeen},
};
use std::collections::BTreeMap;

/// The commands that lead from `observed` to `config`, in order; none when nothing differs. Both must
/// have the same skeleton, and every backend of `config` must be there if none can be added.
pub fn plan(observed: &Observed, config: &Config) -> Vec<Command> {
    let maps = MapName::ALL.map(|map| (map, config.maps.entries(map)));
    let mut plan = Vec::new();
    // What checks ask for has to be there before the first check.
    for (map, wanted) in &maps[1..] {
        set_entries(&mut plan, observed, *map, wanted);
    }
    for (name, backend) in &config.backends {
        add_backend(&mut plan, observed, name, backend);
        bring(&mut plan, observed, name, backend, config.requeue);
    }
    set_entries(&mut plan, observed, maps[0].0, &maps[0].1);
    for (map, wanted) in &maps {
        del_entries(&mut plan, observed, *map, wanted);
    }
    take_away(&mut plan, observed, config);
    plan
}

fn set_entries(
    plan: &mut Vec<Command>,
    observed: &Observed,
    map: MapName,
    wanted: &BTreeMap<String, String>,
) {
    let has = observed.maps.get(&map);
    for (key, value) in wanted {
        let old = has.and_then(|has| has.get(key));
        if old == Some(value) {
            continue;
        }
        let (key, value) = (key.clone(), value.clone());
        plan.push(match old {
            None => Command::AddMap { map, key, value },
            Some(_) => Command::SetMap { map, key, value },
        });
    }
}

fn del_entries(
    plan: &mut Vec<Command>,
    observed: &Observed,
    map: MapName,
    wanted: &BTreeMap<String, String>,
) {
    let gone = observed.map(map).filter(|(key, _)| !wanted.contains_key(*key));
    plan.extend(gone.map(|(key, _)| Command::DelMap { map, key: key.to_owned() }));
}

/// Nothing leads to it yet, so it may be published before it has servers: nobody needs to know later
/// how far a plan came.
fn add_backend(plan: &mut Vec<Command>, observed: &Observed, name: &str, backend: &Backend) {
    let is_there = observed.backends.contains(name);
    let at = || name.to_owned();
    if !is_there && observed.adds_backends() {
        plan.push(Command::AddBackend { backend: at(), shape: backend.shape });
    }
    if !is_there && observed.adds_backends() || observed.unpublished.contains(name) {
        plan.push(Command::Publish { backend: at() });
    }
}

/// The servers that should be there: first those that come in, so that nobody is alone meanwhile.
fn bring(
    plan: &mut Vec<Command>,
    observed: &Observed,
    name: &str,
    backend: &Backend,
    requeue: Option<u64>,
) {
    let has = observed.servers.get(name);
    for server in &backend.servers {
        let health = judge(backend, server, has);
        match has.and_then(|has| has.get(&server.name)) {
            None if server.name == name::HOLD => {
                let watch = Watch::Hold { requeue };
                add(plan, name, health, &Server { watch, ..server.clone() });
            }
            None => add(plan, name, health, server),
            Some(seen) => adjust(plan, name, health, server, seen),
        }
    }
}

/// What to think of a server that gets ready. Where a path says what is well it is not until it said
/// so, but for one that said so under another name. The only one of a route is given all its time:
/// HAProxy begins with servers that are out after one failed check.
fn judge(
    backend: &Backend,
    server: &Server,
    has: Option<&BTreeMap<String, ServerSeen>>,
) -> Option<Health> {
    if !server.watch.is_checked() {
        return None;
    }
    let well = |it: &ServerSeen| it.up && it.admin == Admin::Ready && it.address == server.address;
    match (backend.shape.probe, has.is_some_and(|has| has.values().any(well))) {
        (Probe::Http, false) => Some(Health::None),
        (Probe::Http, true) | (Probe::Tcp, _) => server.grace().map(|_| Health::Full),
    }
}

fn add(plan: &mut Vec<Command>, backend: &str, health: Option<Health>, server: &Server) {
    let at = || (backend.to_owned(), server.name.clone());
    plan.push(Command::AddServer { backend: backend.to_owned(), server: server.clone() });
    if server.watch.is_checked() {
        let (backend, name) = at();
        plan.push(Command::EnableHealth { backend, name });
    }
    if server.admin == Admin::Ready {
        set_ready(plan, at, health);
    }
}

fn set_ready(plan: &mut Vec<Command>, at: impl Fn() -> (String, String), health: Option<Health>) {
    let (backend, name) = at();
    plan.push(Command::SetState { backend, name, admin: Admin::Ready });
    if let Some(health) = health {
        let (backend, name) = at();
        plan.push(Command::SetHealth { backend, name, health });
    }
}

fn adjust(
    plan: &mut Vec<Command>,
    backend: &str,
    health: Option<Health>,
    server: &Server,
    seen: &ServerSeen,
) {
    let at = || (backend.to_owned(), server.name.clone());
    if seen.address != server.address {
        let ((backend, name), address) = (at(), server.address);
        plan.push(Command::SetAddress { backend, name, address });
    }
    if seen.weight != server.weight {
        let ((backend, name), weight) = (at(), server.weight);
        plan.push(Command::SetWeight { backend, name, weight });
    }
    if seen.admin != Admin::Ready && server.admin == Admin::Ready {
        set_ready(plan, at, health);
    }
}

/// Servers that should take no new traffic, and those that nobody wants: these are deleted, when their
/// last request has ended. Backends that are not ours (of a base file) are left alone.
fn take_away(plan: &mut Vec<Command>, observed: &Observed, config: &Config) {
    let mut deletions = Vec::new();
    for (backend, servers) in observed.servers.iter().filter(|(name, _)| name::is_ours(name)) {
        let wanted = config.backends.get(backend).map_or(&[][..], |it| &it.servers);
        // In a backend that stays for other routes, requests will wait again.
        let stays = |name: &str| name == name::HOLD && !observed.adds_backends();
        for (name, seen) in servers.iter().filter(|(name, _)| !stays(name)) {
            let wanted = wanted.iter().find(|server| server.name == *name);
            let (backend, name) = (backend.clone(), name.clone());
            if wanted.is_none() {
                let (backend, name) = (backend.clone(), name.clone());
                deletions.push(Command::DelServer { backend, name });
            }
            let serves = wanted.is_some_and(|server| server.admin == Admin::Ready);
            if seen.admin != Admin::Maintenance && !serves {
                plan.push(Command::SetState { backend, name, admin: Admin::Maintenance });
            }
        }
    }
    plan.append(&mut deletions);
    if observed.adds_backends() {
        take_backends_away(plan, observed, config);
    }
}

/// Those that no route leads to any more: for a route that comes later there will be another.
fn take_backends_away(plan: &mut Vec<Command>, observed: &Observed, config: &Config) {
    let is_kept = |name: &str| name == name::NOBODY || config.backends.contains_key(name);
    let all = observed.backends.iter();
    for name in all.filter(|name| name::is_ours(name) && !is_kept(name)) {
        if !observed.unpublished.contains(name) {
            plan.push(Command::Unpublish { backend: name.clone() });
        }
        plan.push(Command::DelBackend { backend: name.clone() });
    }
}
