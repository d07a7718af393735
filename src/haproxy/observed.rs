//! The state of a running HAProxy, parsed from its answers.
//!
//! Pure. The answers are those of HAProxy's Management Guide, section 9.3.

use super::{
    command::{CheckHealth, RuntimeCommand},
    config::{self, AdminState, Config, Frontend, FrontendState, MapName, Server},
    name,
    provisioning::Provisioning,
    server_setting::{ServerSetting, ServerSettings},
    stderr_log::HealthChange,
    tls::ObservedTls,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// The observed state, as far as docker-balancer controls it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedState {
    /// The pid of the worker that answered, if it is known.
    pub worker: Option<u32>,
    /// Fingerprint that the worker was started with, see [`Config::fingerprint`].
    pub fingerprint: String,
    /// Frontends that bind the ports of listeners.
    pub frontends: BTreeMap<String, FrontendState>,
    pub backends: BTreeSet<String>,
    /// Backends that are not published, so that HAProxy sends no requests to them. Empty before HAProxy 3.4.
    pub unpublished: BTreeSet<String>,
    pub servers: ServersByBackend,
    pub maps: BTreeMap<MapName, BTreeMap<String, String>>,
    pub tls: ObservedTls,
}

/// By backend, then by name.
pub type ServersByBackend = BTreeMap<String, BTreeMap<String, ObservedServer>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedServer {
    pub address: SocketAddr,
    pub settings: ServerSettings,
    pub admin: AdminState,
    /// Whether the checks allow the server to take traffic.
    pub up: bool,
}

impl ObservedState {
    /// Returns the state of a worker that was just started with this configuration.
    pub fn from_config(config: &Config) -> Self {
        let names = config.backends.keys().chain(config.spares.keys());
        let spares = config.spares.iter().filter(|(_, shape)| shape.has_hold_server());
        Self {
            worker: None,
            unpublished: BTreeSet::new(),
            fingerprint: config.fingerprint.clone(),
            frontends: config.frontends.iter().map(observe_frontend).collect(),
            backends: names.cloned().collect(),
            servers: config
                .backends
                .iter()
                .filter(|(_, backend)| !backend.servers.is_empty())
                .map(|(name, backend)| (name.clone(), observe_servers(&backend.servers)))
                .chain(
                    spares
                        .map(|(name, _)| (name.clone(), observe_servers(&[config::hold_server()]))),
                )
                .collect(),
            maps: MapName::ALL.map(|map| (map, config.maps.entries(map))).into(),
            tls: ObservedTls {
                cas: config.cas.clone(),
                default_certificate: config.default_certificate.certificate().cloned(),
                ..ObservedTls::new(config.tls.clone(), BTreeSet::new())
            },
        }
    }

    /// Updates the state as HAProxy does on this command.
    pub fn apply_command(&mut self, command: &RuntimeCommand) {
        match command {
            RuntimeCommand::AddBackend { backend, .. } => {
                self.backends.insert(backend.clone());
                self.unpublished.insert(backend.clone());
            }
            RuntimeCommand::Publish { backend } => drop(self.unpublished.remove(backend)),
            RuntimeCommand::Unpublish { backend } => drop(self.unpublished.insert(backend.clone())),
            RuntimeCommand::DelBackend { backend } => {
                self.backends.remove(backend);
                self.unpublished.remove(backend);
                self.servers.remove(backend);
            }
            RuntimeCommand::AddServer { backend, server } => {
                let state = ObservedServer {
                    admin: AdminState::Maintenance,
                    ..ObservedServer::from_server(server)
                };
                let servers = self.servers.entry(backend.clone()).or_default();
                servers.insert(server.name.clone(), state);
            }
            RuntimeCommand::EnableHealth { .. }
            | RuntimeCommand::SetCookieKey { .. }
            | RuntimeCommand::EndSessions { .. } => {}
            RuntimeCommand::SetState { backend, name, admin } => {
                self.update_server(backend, name, |server| server.admin = *admin);
            }
            RuntimeCommand::SetHealth { backend, name, health } => {
                self.update_server(backend, name, |server| server.up = *health == CheckHealth::Up);
            }
            RuntimeCommand::SetAddress { backend, name, address } => {
                self.update_server(backend, name, |server| server.address = *address);
            }
            RuntimeCommand::SetSetting { backend, name, setting, value } => {
                self.update_server(backend, name, |server| server.settings.set(*setting, *value));
            }
            RuntimeCommand::DelServer { backend, name } => {
                let Some(servers) = self.servers.get_mut(backend) else { return };
                servers.remove(name);
                if servers.is_empty() {
                    self.servers.remove(backend);
                }
            }
            RuntimeCommand::EnableFrontend { frontend } => {
                self.frontends.insert(frontend.clone(), FrontendState::Open);
            }
            RuntimeCommand::DisableFrontend { frontend } => {
                self.frontends.insert(frontend.clone(), FrontendState::Paused);
            }
            RuntimeCommand::AddMap { map, key, value }
            | RuntimeCommand::SetMap { map, key, value } => {
                self.maps.entry(*map).or_default().insert(key.clone(), value.clone());
            }
            RuntimeCommand::DelMap { map, key } => {
                self.maps.entry(*map).or_default().remove(key);
            }
            RuntimeCommand::LoadCertificate { .. }
            | RuntimeCommand::SetDefaultCertificate { .. }
            | RuntimeCommand::DelCertificate { .. }
            | RuntimeCommand::LoadCa { .. }
            | RuntimeCommand::DelCa { .. }
            | RuntimeCommand::AddTlsLine { .. }
            | RuntimeCommand::DelTlsLine { .. } => self.tls.apply_command(command),
        }
    }

    /// Applies a check result that HAProxy reported after its state was read.
    pub fn apply_health(&mut self, change: &HealthChange) {
        if self.worker == Some(change.worker) {
            self.update_server(&change.backend, &change.server, |server| server.up = change.up);
        }
    }

    fn update_server(
        &mut self,
        backend: &str,
        name: &str,
        change: impl FnOnce(&mut ObservedServer),
    ) {
        let server = self.servers.get_mut(backend).and_then(|servers| servers.get_mut(name));
        server.map(change);
    }

    /// Whether the worker accepts `add backend`.
    pub fn can_add_backends(&self) -> bool {
        Provisioning::is_dynamic_worker(&self.fingerprint)
    }

    /// Returns the backends that have servers of a container, given by its short id.
    pub fn backends_of_container(&self, id: &str) -> Vec<String> {
        let of = |servers: &BTreeMap<String, _>| {
            servers.keys().any(|server| name::container_id(server) == Some(id))
        };
        let backends = self.servers.iter().filter(|(_, servers)| of(servers));
        backends.map(|(backend, _)| backend.clone()).collect()
    }

    /// Returns the part of the state that concerns these backends and these keys of routes.
    #[must_use]
    pub fn select_part<'a>(
        &self,
        backends: impl IntoIterator<Item = &'a String>,
        keys: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        let maps = self.maps.keys().map(|map| (*map, BTreeMap::new())).collect();
        let mut part = Self { fingerprint: self.fingerprint.clone(), maps, ..Self::default() };
        let copy = |from: &BTreeMap<String, String>, key, to: &mut BTreeMap<_, _>| {
            to.extend(from.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())));
        };
        let keys: Vec<_> = keys.into_iter().collect();
        for name in backends {
            part.backends.extend(self.backends.get(name).cloned());
            part.unpublished.extend(self.unpublished.get(name).cloned());
            let servers = self.servers.get(name).map(|servers| (name.clone(), servers.clone()));
            part.servers.extend(servers);
        }
        for (map, entries) in &mut part.maps {
            let Some(from) = self.maps.get(map) else { continue };
            match map {
                MapName::Routes | MapName::Tcp => {
                    for key in &keys {
                        copy(from, *key, entries);
                    }
                }
                MapName::TcpPorts
                | MapName::Acme
                | MapName::StrictHosts
                | MapName::ClientMembers
                | MapName::ClientNetworks
                | MapName::Origins
                | MapName::ForwardAuth
                | MapName::AuthServers
                | MapName::Headers => {}
                MapName::Checks | MapName::CheckHosts => {
                    part.backends.iter().for_each(|name| copy(from, name, entries));
                }
            }
        }
        part
    }

    /// Replaces the maps of sets by those of another state.
    pub(super) fn copy_sets(&mut self, from: &Self) {
        for map in MapName::SETS {
            self.maps.insert(map, from.maps.get(&map).cloned().unwrap_or_default());
        }
    }

    /// Whether both states are equal except for check results, which change by themselves.
    pub fn matches_state(&self, other: &Self) -> bool {
        self.maps == other.maps
            && self.frontends == other.frontends
            && self.dynamic_backends().eq(other.dynamic_backends())
            && self.unpublished == other.unpublished
            && servers_match(&self.servers, &other.servers)
            && self.tls == other.tls
    }

    /// Iterates over the backends that are added and deleted at run time.
    fn dynamic_backends(&self) -> impl Iterator<Item = &String> {
        let come_and_go = |name: &str| name::is_managed(name) && !name::is_shared(name);
        self.backends.iter().filter(move |name| self.can_add_backends() && come_and_go(name))
    }

    /// Replaces the assumed servers by those that HAProxy returned. Returns whether they are equal.
    pub(super) fn replace_servers(&mut self, found: ServersByBackend) -> bool {
        let same = servers_match(&self.servers, &found);
        self.servers = found;
        same
    }

    /// Does the same for one backend.
    pub(super) fn replace_backend(&mut self, backend: &str, mut found: ServersByBackend) -> bool {
        let before = self.servers.remove(backend);
        let after = found.remove(backend);
        let same = match (&before, &after) {
            (Some(before), Some(after)) => backends_match(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        self.servers.extend(after.map(|after| (backend.to_owned(), after)));
        same
    }

    /// Does the same for one frontend.
    pub(super) fn replace_frontend(&mut self, name: &str, found: Option<FrontendState>) -> bool {
        let before = self.frontends.remove(name);
        self.frontends.extend(found.map(|found| (name.to_owned(), found)));
        before == found
    }

    /// Does the same for one entry of a map.
    pub(super) fn replace_entry(&mut self, map: MapName, key: &str, found: Option<String>) -> bool {
        let entries = self.maps.entry(map).or_default();
        let same = entries.get(key) == found.as_ref();
        match found {
            Some(value) => entries.insert(key.to_owned(), value),
            None => entries.remove(key),
        };
        same
    }

    pub fn map_entries(&self, map: MapName) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.maps.get(&map).into_iter().flatten();
        entries.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn servers_match(a: &ServersByBackend, b: &ServersByBackend) -> bool {
    let (mut a, mut b) = (non_empty_backends(a), non_empty_backends(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.0 == b.0 && backends_match(a.1, b.1) => {}
            _ => return false,
        }
    }
}

/// Iterates over the backends that have servers besides `hold`, on which requests wait. A backend that its route has
/// left keeps `hold`.
fn non_empty_backends(
    servers: &ServersByBackend,
) -> impl Iterator<Item = (&String, &BTreeMap<String, ObservedServer>)> {
    servers.iter().filter(|(_, servers)| servers.keys().any(|server| server != name::HOLD_SERVER))
}

fn backends_match(
    a: &BTreeMap<String, ObservedServer>,
    b: &BTreeMap<String, ObservedServer>,
) -> bool {
    let settings = |server: &ObservedServer| (server.address, server.settings, server.admin);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && settings(a.1) == settings(b.1))
}

fn observe_frontend(frontend: &Frontend) -> (String, FrontendState) {
    (frontend.public_name(), frontend.state)
}

fn observe_servers(servers: &[Server]) -> BTreeMap<String, ObservedServer> {
    let servers = servers.iter();
    servers.map(|server| (server.name.clone(), ObservedServer::from_server(server))).collect()
}

impl ObservedServer {
    pub fn from_server(server: &Server) -> Self {
        let Server { address, settings, admin, .. } = *server;
        Self { address, settings, admin, up: true }
    }
}

/// Parses `show stat` of frontends. Returns those that bind the port of a listener: where connections are passed
/// through, only the frontend in front of the one that decrypts.
pub fn parse_frontends(answer: &str) -> BTreeMap<String, FrontendState> {
    let mut frontends = BTreeMap::new();
    let lines = answer.lines();
    let Some(column) = statistics_column(answer, "status") else { return frontends };
    for line in lines.skip(1) {
        let mut cells = line.split(',');
        let (Some(name), Some("FRONTEND")) = (cells.next(), cells.next()) else { continue };
        if name::parse_frontend(name).is_none() {
            continue;
        }
        // The other words are `OPEN`, `FULL`, and `STOP`, which is final.
        let is_paused = cells.nth(column) == Some("PAUSED");
        let state = if is_paused { FrontendState::Paused } else { FrontendState::Open };
        frontends.insert(name.to_owned(), state);
    }
    let passing = frontends.keys().filter_map(|name| name::parse_frontend(name));
    let passing: Vec<_> = passing.filter(|(_, passes)| *passes).collect();
    for (listener, _) in passing {
        frontends.remove(&name::frontend_name(listener));
    }
    frontends
}

/// Returns how many columns of `show stat` are between the first two, which are the names, and this one.
fn statistics_column(answer: &str, column: &str) -> Option<usize> {
    let header = answer.lines().next()?.strip_prefix("# ")?;
    header.split(',').position(|name| name == column)?.checked_sub(2)
}

/// Parses `show servers state`: a version, a heading, and one line per server.
pub fn parse_servers(answer: &str) -> ServersByBackend {
    let mut servers = ServersByBackend::new();
    for line in answer.lines().filter(|line| !line.starts_with('#')) {
        let Some((backend, name, state)) = parse_server(line) else { continue };
        servers.entry(backend).or_default().insert(name, state);
    }
    servers
}

/// The bits of maintenance, except the one for `disabled` in the file: it stays set when the server is set to ready.
const MAINTENANCE_BITS: u32 = 0x63;
const DRAIN_BITS: u32 = 0x18;

fn parse_admin(bits: u32) -> AdminState {
    match bits {
        _ if bits & MAINTENANCE_BITS != 0 => AdminState::Maintenance,
        _ if bits & DRAIN_BITS != 0 => AdminState::Drain,
        _ => AdminState::Ready,
    }
}

/// Columns, from 0: 1 backend, 3 server, 4 address, 5 operational state, 6 administrative state, 18 port, and those of
/// the settings. Management Guide, `show servers state`.
fn parse_server(line: &str) -> Option<(String, String, ObservedServer)> {
    let words: Vec<_> = line.split(' ').collect();
    let name = *words.get(3)?;
    let address = match (name, *words.get(4)?) {
        // The server leads to a socket that has no address.
        (name::HOLD_SERVER, "-") => config::hold_server().address,
        (_, ip) => SocketAddr::new(ip.parse().ok()?, words.get(18)?.parse().ok()?),
    };
    let state = ObservedServer {
        address,
        settings: ServerSettings::parse_state(&words)?,
        admin: parse_admin(words.get(6)?.parse().ok()?),
        up: *words.get(5)? != "0",
    };
    let backend = *words.get(1)?;
    (!name::is_auth_server(backend, name)).then(|| (backend.to_owned(), name.to_owned(), state))
}

/// Parses `show stat` of servers: copies the settings that `show servers state` does not have.
pub fn apply_statistics(answer: &str, servers: &mut ServersByBackend) {
    for (setting, column) in ServerSetting::of_statistics() {
        for (backend, name, value) in parse_statistics(answer, column) {
            let server = servers.get_mut(backend).and_then(|servers| servers.get_mut(name));
            // The server `hold` has its own settings.
            if let Some(server) = server.filter(|_| name != name::HOLD_SERVER) {
                server.settings.set(setting, value);
            }
        }
    }
}

/// Iterates over the servers that have a number in this column, with their backends.
fn parse_statistics<'a>(
    answer: &'a str,
    column: &str,
) -> impl Iterator<Item = (&'a str, &'a str, u32)> {
    let column = statistics_column(answer, column);
    answer.lines().skip(1).filter_map(move |line| {
        let mut cells = line.split(',');
        let (backend, name) = (cells.next()?, cells.next()?);
        Some((backend, name, cells.nth(column?)?.parse().ok()?))
    })
}

/// Parses `show map <name>`: each line has an address, the key and the value. HAProxy does not know a map to which no
/// section of the file refers; its answer is parsed as an empty map.
pub fn parse_map(answer: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let (_, entry) = line.split_once(' ').filter(|(address, _)| address.starts_with("0x"))?;
        let (key, value) = entry.split_once(' ')?;
        Some((key.to_owned(), value.trim_end().to_owned()))
    };
    // If a key occurs more than once, HAProxy uses the first entry, and so does this function.
    answer.lines().rev().filter_map(entry).collect()
}

/// Parses the file of a map: each line has the key and the value.
pub fn parse_map_file(text: &str) -> BTreeMap<String, String> {
    let entries = text.lines().filter_map(|line| line.split_once(' '));
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Parses `get map <name> <key>`. Returns the value if it belongs to this key and not to a shorter one.
pub fn parse_entry(answer: &str, key: &str) -> Option<String> {
    let (_, found) = answer.split_once(", key=\"")?;
    let (_, value) =
        found.strip_prefix(key)?.split_once("\", value=\"").filter(|pair| pair.0.is_empty())?;
    let (value, _) = value.rsplit_once("\", type=")?;
    Some(value.to_owned())
}

/// Parses `show stat`. Returns the number of requests in flight at the servers of a container, given by its short id;
/// `None` if this is not an answer to `show stat`. A backend may have been removed in the meantime, which counts as 0.
/// Management Guide, section 9.1.
pub fn count_container_requests(answer: &str, id: &str) -> Option<u64> {
    sum_sessions(answer, |name| name::container_id(name) == Some(id))
}

/// Parses `show stat` of a backend. Returns the servers of a container, given by its short id.
pub fn container_servers<'a>(answer: &'a str, id: &str) -> Vec<&'a str> {
    let names = answer.lines().filter_map(|line| line.split(',').nth(1));
    names.filter(|name| name::container_id(name) == Some(id)).collect()
}

/// Returns the number of requests in flight in all backends.
pub fn count_requests(answer: &str) -> Option<u64> {
    sum_sessions(answer, |name| name == "BACKEND")
}

/// Parses `show stat` of backends. Returns those that are not published.
pub fn parse_unpublished(answer: &str) -> BTreeSet<String> {
    let is_so = |line: &&str| line.split(',').any(|cell| cell.ends_with("(UNPUB)"));
    let lines = answer.lines().filter(is_so);
    lines.filter_map(|line| line.split(',').next()).map(str::to_owned).collect()
}

fn sum_sessions(answer: &str, is_counted: impl Fn(&str) -> bool) -> Option<u64> {
    if answer.starts_with("No such proxy") {
        return Some(0);
    }
    let mut lines = answer.lines();
    let header: Vec<_> = lines.next()?.strip_prefix("# ")?.split(',').collect();
    let column = |name: &str| header.iter().position(|text| *text == name);
    let (name, current) = (column("svname")?, column("scur")?);
    let mut sum = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let cells: Vec<_> = line.split(',').collect();
        if is_counted(cells.get(name)?) {
            sum += cells.get(current)?.parse::<u64>().ok()?;
        }
    }
    Some(sum)
}

/// A request that has no connection to a server yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRequest {
    /// The id that `shutdown session` takes.
    pub id: String,
    pub backend: String,
    pub server: String,
}

/// States of HAProxy's stream connectors before a connection to a server is established: in the queue of a server or a
/// backend (2), the pause before the next attempt (3), from the choice of a server (4) to a failed connection (6).
const CONNECTING_STATES: std::ops::RangeInclusive<u8> = 2..=6;

/// Parses `show sess`. Returns the requests that still wait for a connection to their server.
pub fn parse_queued(answer: &str) -> Vec<QueuedRequest> {
    let waiting = |line: &str| {
        let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        let state = word("scb=[")?.split(',').next()?.parse().ok()?;
        let (id, _) = line.split_once(':').filter(|(id, _)| id.starts_with("0x"))?;
        let (id, backend, server) =
            (id.to_owned(), word("be=")?.to_owned(), word("srv=")?.to_owned());
        CONNECTING_STATES.contains(&state).then_some(QueuedRequest { id, backend, server })
    };
    answer.lines().filter_map(waiting).collect()
}

/// Parses `show sess`. Returns the ids of the requests, and of the connections that have no request yet.
pub fn parse_http_sessions(answer: &str) -> Vec<String> {
    let is_http = |frontend: &str| {
        name::parse_frontend(frontend)
            .is_some_and(|(listener, passes)| !passes && !listener.is_tcp())
    };
    let session = |line: &str| {
        let frontend = line.split(' ').find_map(|word| word.strip_prefix("fe="))?;
        let (id, _) = line.split_once(':').filter(|(id, _)| id.starts_with("0x"))?;
        is_http(frontend).then(|| id.to_owned())
    };
    answer.lines().filter_map(session).collect()
}

/// Parses `show sess`. Returns backend and name of the servers that requests refer to, also of those that have no
/// connection to it yet or any more.
pub fn parse_servers_of_requests(answer: &str) -> BTreeSet<(String, String)> {
    let server = |line: &str| {
        let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        Some((word("be=")?.to_owned(), word("srv=")?.to_owned()))
    };
    answer.lines().filter(|line| line.starts_with("0x")).filter_map(server).collect()
}

/// Parses `show servers conn <backend>`: a heading with the names of the columns, and one line per server. Returns the
/// names of the servers with connections that are not idle.
pub fn parse_connected_servers(answer: &str, backend: &str) -> BTreeSet<String> {
    let mut lines = answer.lines().skip_while(|line| !line.starts_with("# "));
    let heading = lines.next().unwrap_or_default().trim_start_matches("# ");
    let Some(column) = heading.split(' ').position(|word| word == "used_cur") else {
        return BTreeSet::new();
    };
    let is_used = |line: &&str| {
        line.split(' ')
            .nth(column)
            .and_then(|text| text.parse::<u64>().ok())
            .is_some_and(|used| 0 < used)
    };
    let name = |line: &str| {
        let (place, _) = line.split_once(' ')?;
        Some(place.strip_prefix(backend)?.strip_prefix('/')?.to_owned())
    };
    lines.filter(is_used).filter_map(name).collect()
}

/// Parses `show backend`: a heading, and one line per backend.
pub fn parse_backends(answer: &str) -> BTreeSet<String> {
    answer
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Parses `show info`. Returns the pid of the process that answers.
pub fn parse_worker_pid(answer: &str) -> Option<u32> {
    answer.lines().find_map(|line| line.strip_prefix("Pid: "))?.trim().parse().ok()
}

/// Parses `show info`. Returns the value of `description` in the configuration, which is the fingerprint.
pub fn parse_fingerprint(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| line.strip_prefix("description: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "\
# pxname,svname,qcur,qmax,scur,smax,slim,stot,
a.test:80,web-0123456789ab:80,0,0,2,3,,17,
a.test:80,web-0123456789ab:80:single,0,0,1,3,,17,
a.test:80,web-2-ba9876543210:80,0,0,5,3,,17,
spare-tcp-001,web-0123456789ab:8080:unchecked,0,0,4,3,,17,
stats,theirs,0,0,9,3,,17,
stats,BACKEND,0,0,9,3,,17,
a.test:80,BACKEND,0,0,8,3,,17,

";

    #[test]
    fn inflight_requests_are_summed_per_container() {
        let check = |answer, id, expected| {
            assert_eq!(count_container_requests(answer, id), expected, "{id}");
        };
        check(STAT, "0123456789ab", Some(7));
        check(STAT, "ba9876543210", Some(5));
        check(STAT, "000000000000", Some(0));
        check("# svname,scur\n", "0123456789ab", Some(0));
        check("No such proxy.\n", "0123456789ab", Some(0));
        check("Unknown command.\n", "0123456789ab", None);
        check("# svname,scur\nweb-0123456789ab:80,many\n", "0123456789ab", None);
        check("# svname,scur\nweb-0123456789ab:80\n", "0123456789ab", None);
        check("", "0123456789ab", None);
    }

    #[test]
    fn statistics_yield_servers_of_container() {
        let check = |answer, id, expected: &[&str]| {
            assert_eq!(container_servers(answer, id), expected, "{id}");
        };
        check(STAT, "ba9876543210", &["web-2-ba9876543210:80"]);
        check(STAT, "000000000000", &[]);
        check("No such proxy.\n", "ba9876543210", &[]);
    }

    #[test]
    fn statistics_yield_numbers_of_servers() {
        let check = |answer: &str, column, expected: &[(&str, &str, u32)]| {
            let found: Vec<_> = parse_statistics(answer, column).collect();
            assert_eq!(found, expected, "{answer:?}");
        };
        let answer = "# pxname,svname,smax,slim,\na:80,web,7,25,\na:80,hold,7,2000000000,\n\na:80,b,7,,\na,c\n";
        check(answer, "slim", &[("a:80", "web", 25), ("a:80", "hold", 2_000_000_000)]);
        check(answer, "svname", &[]);
        check(answer, "none", &[]);
        check("Permission denied\n", "slim", &[]);
        check("", "slim", &[]);
    }

    #[test]
    fn show_info_yields_worker_pid() {
        assert_eq!(parse_worker_pid("Name: HAProxy\nPid: 13074\nUptime: 0d\n"), Some(13074));
        assert_eq!(parse_worker_pid("Unknown command\n"), None);
    }

    #[test]
    fn only_connecting_request_is_queued() {
        let line = |state: u8| {
            format!(
                "0x55f9a330fd10: proto=tcpv4 src=127.0.0.1:54190 fe=http-80 be=a.test:80 \
                 srv=web-01:80:single ts=00 epoch=0x1 age=0s calls=6 rq[f=4dc0h,i=0] rp[f=8h,i=0] \
                 scf=[8,280h,fd=16] scb=[{state},1h,fd=-1] exp=0s rc=3 c_exp=0s\n"
            )
        };
        let (backend, server) = ("a.test:80".to_owned(), "web-01:80:single".to_owned());
        let found = [QueuedRequest { id: "0x55f9a330fd10".to_owned(), backend, server }];
        for (state, is_queued) in [
            (0, false),
            (1, false),
            (2, true),
            (3, true),
            (4, true),
            (5, true),
            (6, true),
            (8, false),
        ] {
            let expected = if is_queued { &found[..] } else { &[] };
            assert_eq!(parse_queued(&line(state)), expected, "{state}");
        }
        assert_eq!(parse_queued("Permission denied\n\n"), []);
    }

    #[test]
    fn server_is_used_while_request_refers_to_it() {
        let check = |answer: &str, expected: &[(&str, &str)]| {
            let expected: BTreeSet<_> =
                expected.iter().map(|(b, s)| ((*b).to_owned(), (*s).to_owned())).collect();
            assert_eq!(parse_servers_of_requests(answer), expected, "{answer:?}");
        };
        check(
            "0x7f1c: proto=tcpv4 src=127.0.0.1:5 fe=http-80 be=a.test:80 srv=web-01:80 ts=00 scb=[3,1h,fd=-1]\n\
             0x7f2c: proto=tcpv4 src=127.0.0.1:6 fe=http-80 be=b.test:80 srv=<none> ts=00 scb=[2,1h,fd=-1]\n\
             0x7f3c: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=02\n\
             0x7f4c: proto=? ts=02\n\n",
            &[("a.test:80", "web-01:80"), ("b.test:80", "<none>"), ("<NONE>", "<none>")],
        );
        check("Permission denied\n", &[]);
        check("", &[]);
    }

    #[test]
    fn server_is_used_while_it_has_connections() {
        let check = |answer: &str, expected: &[&str]| {
            let found = parse_connected_servers(answer, "a.test:80");
            assert_eq!(found, expected.iter().map(|&name| name.to_owned()).collect(), "{answer:?}");
        };
        let heading = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est \
             unsafe_nb safe_nb idle_lim idle_cur idle_per_thr[2]\n";
        let lines = "a.test:80/web-01:80 5/1 172.17.0.2 80 - 5000 2 3 3 0 0 -1 0 0 0\n\
             a.test:80/web-02:80 5/2 172.17.0.3 80 - 5000 0 3 3 0 4 -1 4 2 2\n\
             a.test:80/hold 5/3 - 0 - 5000 1 1 1 0 0 -1 0 0 0\n";
        check(&format!("{heading}{lines}"), &["hold", "web-01:80"]);
        check(&format!("a message about a server\n{heading}{lines}"), &["hold", "web-01:80"]);
        check(heading, &[]);
        check("Can't find backend.\n", &[]);
        check("", &[]);
    }

    #[test]
    fn inflight_requests_are_summed_over_backends() {
        assert_eq!(count_requests(STAT), Some(17));
        assert_eq!(count_requests("# svname,scur\n"), Some(0));
        assert_eq!(count_requests(""), None);
    }

    #[test]
    fn server_names_yield_backends_of_container() {
        let address = "10.0.0.2:80".parse().unwrap();
        let settings = ServerSettings::default();
        let state = || ObservedServer { address, settings, admin: AdminState::Ready, up: true };
        let servers =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), state())).collect();
        let observed = ObservedState {
            servers: BTreeMap::from([
                ("a.test:80".to_owned(), servers(&["web-01:80", "other-02:80:single"])),
                ("b.test:80".to_owned(), servers(&["other-02:80"])),
                ("spare-tcp-001".to_owned(), servers(&["web-01:8080:unchecked"])),
                ("theirs".to_owned(), servers(&["01", "web-02"])),
            ]),
            ..ObservedState::default()
        };
        assert_eq!(observed.backends_of_container("01"), ["a.test:80", "spare-tcp-001"]);
        assert_eq!(observed.backends_of_container("03"), Vec::<String>::new());
    }
}
