//! The desired configuration of HAProxy: converts desired routes to frontends, backends, servers and maps.
//!
//! Pure. Names are chosen and HAProxy's quirks are handled here and not in the templates, which only print.

use super::{
    layout::Layout,
    name, requeue,
    server_setting::ServerSettings,
    server_transport::{self, ServerTransport},
    tls::{self, ConnectionGuard, DefaultCertificate, TlsContext, TlsLists},
    tls_merge::{HostLines, merge_lines},
};
use crate::model::{
    option_value::{CheckMethod, HostMatch, PathPrefix, Retry, Timeout},
    route::{Endpoint, Listener, Policy, Readiness, Route, RouteKey, Routes, Strip},
    tls::{HTTPS_PORT, Hsts, TlsBind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    net::SocketAddr,
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

/// The desired state in HAProxy's terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Identifies everything that needs a reload to change. The running worker returns it.
    pub fingerprint: String,
    pub frontends: Vec<Frontend>,
    /// By name.
    pub backends: BTreeMap<String, Arc<Backend>>,
    /// Empty backends, for routes that are added while HAProxy runs.
    pub spares: BTreeMap<String, BackendShape>,
    pub maps: Maps,
    /// Has each HTTPS listener.
    pub tls: TlsLists,
    pub default_certificate: DefaultCertificate,
    /// HAProxy's names of the CAs that servers and lists have.
    pub cas: BTreeSet<String>,
    /// The key of [`super::requeue`], if requests wait that way.
    pub requeue: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    pub listener: Listener,
    pub name: String,
    /// The public port, as clients see it.
    pub port: NonZeroU16,
    /// The port that HAProxy binds for it.
    pub bound: NonZeroU16,
    /// Whether another frontend, in TCP mode, has the port: it forwards the connections that containers decrypt, and
    /// leads all others to this frontend.
    pub has_passthrough: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The route that the backend serves. Used for the comment in the file, and to find the route of a line number.
    pub route: RouteKey,
    pub shape: BackendShape,
    pub servers: Vec<Server>,
    /// The lines of the servers in the file, except that of [`hold_server`]. Rendered once, because most backends are
    /// the same from one file to the next.
    pub lines: String,
}

/// The properties of a backend that cannot be changed while HAProxy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendShape {
    pub mode: Mode,
    pub probe: Probe,
    pub connect: ConnectRetry,
}

impl BackendShape {
    /// All shapes.
    pub const ALL: [Self; 5] = [
        Self { mode: Mode::Http, probe: Probe::Tcp, connect: ConnectRetry::On },
        Self { mode: Mode::Http, probe: Probe::Http, connect: ConnectRetry::On },
        Self { mode: Mode::Http, probe: Probe::Tcp, connect: ConnectRetry::Off },
        Self { mode: Mode::Http, probe: Probe::Http, connect: ConnectRetry::Off },
        Self { mode: Mode::Tcp, probe: Probe::Tcp, connect: ConnectRetry::On },
    ];
}

/// What a backend forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Requests.
    Http,
    /// Whole connections.
    Tcp,
}

/// What the checks of a backend's servers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    Tcp,
    Http,
}

/// Whether a failed connect is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectRetry {
    On,
    Off,
}

/// One `server` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub name: String,
    pub id: u32,
    pub address: SocketAddr,
    pub settings: ServerSettings,
    pub transport: ServerTransport,
    pub check_mode: CheckMode,
    pub admin: AdminState,
}

/// How HAProxy checks a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckMode {
    /// No checks.
    Off,
    /// The only ready server of its route. It stays in use until its checks have failed for as long as requests would
    /// wait for it, or several connections in a row have failed. Then requests wait on [`hold_server`] until a check
    /// succeeds.
    Single { fall: u32 },
    /// One of several servers: the first failed connection takes it out of use until a check succeeds.
    Pool,
    /// Not a container: see [`hold_server`]. With a key the server leads to the requeue frontend of that key, without
    /// one to a port on which nothing listens.
    Hold { requeue: Option<u64> },
}

/// The administrative state of a server in HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminState {
    Ready,
    /// The server gets no new traffic and cannot be deleted. docker-balancer never sets this state; if another program
    /// has set it, docker-balancer ends it.
    Drain,
    Maintenance,
}

/// Entries of the map files: key → value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// `host:port/path/` → [`MapTarget`].
    pub routes: BTreeMap<String, MapTarget>,
    /// `name:port` → [`TcpTarget`].
    pub tcp: BTreeMap<String, TcpTarget>,
    /// Backend → path of its HTTP check.
    pub checks: BTreeMap<String, String>,
    /// Backend → Host header of its HTTP check.
    pub check_hosts: BTreeMap<String, String>,
    /// Path of an ACME challenge → its answer (RFC 8555, section 8.3).
    pub acme: BTreeMap<String, String>,
}

/// Target of a route's key. Its display is the value in the map; the frontends read its words by their position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapTarget {
    pub backend: String,
    /// The route's own name, for the access log.
    pub route: String,
    /// How many path segments are stripped.
    pub strip: usize,
    /// In milliseconds.
    pub timeout: u64,
    pub retry: Retry,
    /// On an HTTPS listener the Strict-Transport-Security header, if there is one. For a redirect the port in the URL,
    /// with its colon.
    pub detail: Option<String>,
    /// On an HTTPS listener, which connections may have requests of the route, if not all.
    pub guard: Option<ConnectionGuard>,
    /// How the servers are reached, if not by plain HTTP/1.1. Only read back by docker-balancer.
    pub transport: Option<String>,
}

/// Target of a route of connections. Its display is the value in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpTarget {
    pub backend: String,
    /// The route's own name, for the access log.
    pub route: String,
}

/// A map file. Its display is also its name in the runtime API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapName {
    Routes,
    Tcp,
    Checks,
    CheckHosts,
    Acme,
}

/// Which frontends a configuration has besides those that its routes need.
#[derive(Debug, Clone, Copy)]
pub struct ListenerRules<'a> {
    pub permanent: &'a BTreeSet<Listener>,
    /// Whether every HTTPS listener can pass connections through, so that the first such route needs no reload.
    pub passthrough: bool,
    /// Public port → the port that HAProxy binds for it, where they differ.
    pub port_map: &'a BTreeMap<NonZeroU16, NonZeroU16>,
}

/// Stands for a word of a [`MapTarget`] that has no value, if others follow.
const NO_WORD: &str = "-";

/// `maxconn` of the server `hold`, on which requests wait; see [`HOLD_ONLY_FREE`].
const HOLD_MAXCONN: u64 = 2_000_000_000;

/// If a backend has at least this many free connections, [`hold_server`] is its only usable server: HAProxy does not
/// count `hold`, a backup server, while another server is usable, and the limits of 15,000 other servers add up to
/// less.
pub const HOLD_ONLY_FREE: u64 = 1_000_000_000;

/// Milliseconds between two checks of a server that is up.
pub const CHECK_INTERVAL: u64 = 2000;

impl Config {
    /// Builds the configuration. `wait` is how long a request waits for the only container of its route. A route that
    /// the layout does not assign to a backend is left out. There are frontends for the listeners of routes, and for
    /// the permanent ones.
    pub fn new(
        routes: &Routes,
        layout: Layout,
        listeners: &ListenerRules<'_>,
        wait: Duration,
        tls: TlsContext<'_>,
    ) -> Self {
        let Layout { assignments: places, spares } = layout;
        let mut config = Self { spares, ..Self::default() };
        config.add_frontends(routes, listeners);
        let mut lines = Vec::new();
        for (key, name) in places {
            if let Some(route) = routes.0.get(&key) {
                lines.extend(config.add_route(&key, name, route, wait, tls));
            }
        }
        merge_lines(lines, &mut config.tls);
        config.add_decrypted_hosts(routes);
        config
    }

    /// Leads connections for hosts that are decrypted to the frontend that does it, if those of the wildcard above are
    /// passed through.
    fn add_decrypted_hosts(&mut self, routes: &Routes) {
        let passes_wildcard = |port: NonZeroU16, parent: &str| {
            self.maps.tcp.contains_key(&format!("*.{parent}:{port}"))
        };
        let is_below = |key: &&RouteKey| {
            let HostMatch::Exact(host) = key.host() else { return false };
            let parent = host.as_str().split_once('.').map(|(_, parent)| parent);
            key.is_https()
                && parent.is_some_and(|parent| passes_wildcard(key.listener.port, parent))
        };
        let keys: Vec<_> = routes.0.keys().filter(is_below).collect();
        for key in keys {
            let backend = name::decrypting_backend(key.listener.port);
            let target = TcpTarget { route: backend.clone(), backend };
            self.maps.tcp.insert(format!("{}:{}", key.host(), key.listener.port), target);
        }
    }

    /// Whether connections can be passed through on a listener.
    pub fn has_passthrough(&self) -> bool {
        self.frontends.iter().any(|frontend| frontend.has_passthrough)
    }

    /// Returns the backends of this configuration that `next` does not have.
    pub fn removed_backends(&self, next: &Self) -> Vec<String> {
        let removed = self.backends.keys().filter(|name| !next.backends.contains_key(*name));
        removed.cloned().collect()
    }

    fn add_frontends(&mut self, routes: &Routes, rules: &ListenerRules<'_>) {
        // The rules of a listener's routes: whether any is about connections.
        let mut listeners: BTreeMap<Listener, bool> =
            rules.permanent.iter().map(|listener| (*listener, false)).collect();
        for key in routes.0.keys() {
            *listeners.entry(key.listener).or_default() |= key.is_tcp();
        }
        for (listener, has_tcp_routes) in listeners {
            let port = listener.port;
            if listener.is_https() {
                self.tls.insert(tls::list_name(port), BTreeSet::new());
            }
            self.frontends.push(Frontend {
                listener,
                name: name::frontend_name(listener),
                port,
                bound: rules.port_map.get(&port).copied().unwrap_or(port),
                has_passthrough: listener.is_https() && (has_tcp_routes || rules.passthrough),
            });
        }
    }

    /// Adds everything but the lines of the host, which are returned.
    fn add_route(
        &mut self,
        key: &RouteKey,
        mut name: String,
        route: &Route,
        wait: Duration,
        tls: TlsContext<'_>,
    ) -> Option<HostLines> {
        if key.is_tcp() {
            self.add_tcp_route(key, name, route, wait);
            return None;
        }
        let needs_certificate = tls::needs_certificate(key.listener, route);
        let lines = if needs_certificate { tls::host_lines(key, route, tls) } else { Vec::new() };
        let guard =
            key.listener.is_https().then(|| tls::connection_guard(route, &lines, tls)).flatten();
        self.cas.extend(lines.first().and_then(|_| tls::client_ca(route, tls)).flatten());
        if route.redirects(key.listener) && lines.is_empty() {
            name::NO_CERTIFICATE.clone_into(&mut name);
        }
        let lines = key.listener.is_https().then(|| HostLines {
            list: tls::list_name(key.listener.port),
            host: key.host().clone(),
            lines,
        });
        let target = MapTarget { guard, ..build_target(&name, key, &route.policy) };
        self.maps.routes.insert(key.map_key(), target);
        if name::is_shared(&name) {
            return lines;
        }
        if let CheckMethod::Http(path) = route.policy.get() {
            self.maps.checks.insert(name.clone(), path.to_string());
            self.maps.check_hosts.insert(name.clone(), check_host_header(key.host()));
        }
        let backend =
            build_backend(key, route, wait, ServerTransport::new(key, &route.policy, tls));
        let cas = backend.servers.iter().filter_map(|server| server.transport.ca());
        self.cas.extend(cas.map(str::to_owned));
        self.backends.insert(name, Arc::new(backend));
        lines
    }

    /// Adds a route of connections.
    fn add_tcp_route(&mut self, key: &RouteKey, name: String, route: &Route, wait: Duration) {
        let target = TcpTarget { backend: name.clone(), route: name::backend_name(key) };
        self.maps.tcp.insert(key.map_key(), target);
        if !name::is_shared(&name) {
            let backend = build_backend(key, route, wait, Some(ServerTransport::default()));
            self.backends.insert(name, Arc::new(backend));
        }
    }
}

fn build_target(backend: &str, key: &RouteKey, policy: &Policy) -> MapTarget {
    MapTarget {
        backend: backend.to_owned(),
        route: name::backend_name(key),
        strip: match policy.get() {
            Strip::Keep => 0,
            Strip::Prefix => key.prefix().map_or(0, PathPrefix::depth),
        },
        timeout: policy.get::<Timeout>().as_millis(),
        retry: policy.get(),
        detail: match policy.get::<TlsBind>().redirect_port() {
            _ if key.listener.is_https() => policy.get::<Hsts>().header(),
            port if backend == name::TO_HTTPS && port != HTTPS_PORT => Some(format!(":{port}")),
            _ => None,
        },
        guard: None,
        transport: if name::is_shared(backend) {
            None
        } else {
            server_transport::format_options(policy)
        },
    }
}

/// Returns the Host header of a check. A wildcard has no single host name.
fn check_host_header(host: &HostMatch) -> String {
    match host {
        HostMatch::Exact(host) => host.to_string(),
        HostMatch::Wildcard(_) | HostMatch::Any => "localhost".to_owned(),
    }
}

/// Returns the server `hold`, which gets the requests while no other server of their backend is ready: HAProxy has no
/// queue for a backend without servers. Where it can, the server leads to HAProxy itself, see [`super::requeue`].
/// Otherwise its address is a loopback port on which only root could listen and nothing does, so each attempt fails,
/// and HAProxy sends the request to a server that is ready at the next attempt. The address is never one of a network,
/// where another host may answer.
pub fn hold_server() -> Server {
    Server {
        name: name::HOLD_SERVER.to_owned(),
        id: 1,
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        settings: ServerSettings::default(),
        transport: ServerTransport::default(),
        check_mode: CheckMode::Hold { requeue: None },
        admin: AdminState::Ready,
    }
}

/// Builds a backend. Without a transport it has no servers: if a CA does not exist, no container is used without
/// verification.
fn build_backend(
    key: &RouteKey,
    route: &Route,
    wait: Duration,
    transport: Option<ServerTransport>,
) -> Backend {
    let endpoints = if transport.is_some() { &route.endpoints[..] } else { &[] };
    let transport = transport.unwrap_or_default();
    let ready = |endpoint: &&Endpoint| endpoint.readiness == Readiness::Ready;
    let check_mode = match (route.policy.get(), endpoints.iter().filter(ready).count()) {
        (CheckMethod::Off, _) => CheckMode::Off,
        (_, 0 | 1) => CheckMode::Single { fall: fall_count(wait) },
        (_, _) => CheckMode::Pool,
    };
    let mut servers: Vec<_> =
        endpoints.iter().map(|view| build_server(view, check_mode, &transport)).collect();
    let shape = required_shape(key, &route.policy);
    servers.extend(shape.has_hold_server().then(hold_server));
    let mut ids = BTreeSet::from([hold_server().id]);
    for server in servers.iter_mut().filter(|server| server.name != name::HOLD_SERVER) {
        while !ids.insert(server.id) {
            server.id = server.id % (u32::MAX >> 1) + 1;
        }
    }
    let lines = format_servers(&servers[..endpoints.len()], endpoints);
    Backend { route: key.clone(), shape, servers, lines }
}

/// Approximate length of a `server` line without its name and its address.
const LINE_OVERHEAD: usize = 192;

/// Renders the `server` lines. Pads names and addresses, so that the columns are aligned.
fn format_servers(servers: &[Server], endpoints: &[Endpoint]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    let longest =
        |text: &mut dyn Iterator<Item = &String>| text.map(String::len).max().unwrap_or(0);
    let to = longest(&mut servers.iter().map(|server| &server.name));
    let then_to = longest(&mut addresses.iter());
    // The final capacity or slightly more: growing the string step by step takes longer than writing it.
    let mut lines = String::with_capacity(servers.len() * (to + then_to + LINE_OVERHEAD));
    for ((server, address), endpoint) in servers.iter().zip(&addresses).zip(endpoints) {
        let (Server { name, admin, .. }, words) = (server, server.arguments());
        let Endpoint { port, container: origin, .. } = endpoint;
        let line = format_args!(
            "\n  server {name:to$} {address:then_to$} {words}{admin}  # glue_http_{port} of {origin}"
        );
        lines.write_fmt(line).expect("writing to a string cannot fail");
    }
    lines.shrink_to_fit();
    lines
}

/// Returns how many checks in a row fail in the time for which requests wait.
fn fall_count(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(u128::from(CHECK_INTERVAL))).unwrap_or(u32::MAX).max(1)
}

/// Returns the shape of backend that a route with this policy needs.
pub fn required_shape(key: &RouteKey, policy: &Policy) -> BackendShape {
    if key.is_tcp() {
        return BackendShape { mode: Mode::Tcp, probe: Probe::Tcp, connect: ConnectRetry::On };
    }
    BackendShape {
        mode: Mode::Http,
        probe: if matches!(policy.get(), CheckMethod::Http(_)) { Probe::Http } else { Probe::Tcp },
        connect: if policy.get::<Retry>() == Retry::Off {
            ConnectRetry::Off
        } else {
            ConnectRetry::On
        },
    }
}

fn build_server(endpoint: &Endpoint, check_mode: CheckMode, transport: &ServerTransport) -> Server {
    let name = name::server_name(endpoint, check_mode, transport);
    Server {
        id: name::server_id(&name),
        name,
        address: endpoint.address,
        settings: ServerSettings::from_options(&endpoint.options),
        transport: transport.clone(),
        check_mode,
        admin: match endpoint.readiness {
            Readiness::Ready => AdminState::Ready,
            Readiness::Out => AdminState::Maintenance,
        },
    }
}

impl BackendShape {
    /// Whether requests or connections wait while no container is ready. Without retries they cannot.
    pub fn has_hold_server(self) -> bool {
        self.connect == ConnectRetry::On
    }

    /// Whether what waits does so as [`super::requeue`] describes, if HAProxy can. Connections wait by retries.
    pub fn can_requeue(self) -> bool {
        self.mode == Mode::Http
    }
}

impl CheckMode {
    pub fn is_checked(self) -> bool {
        matches!(self, Self::Single { .. } | Self::Pool)
    }
}

impl Server {
    /// Returns how many checks have to fail before the server is down, if that applies from its start on and is more
    /// than HAProxy's default.
    pub fn initial_fall(&self) -> Option<u32> {
        match (self.check_mode, self.admin) {
            (CheckMode::Single { fall }, AdminState::Ready) => Some(fall),
            _ => None,
        }
    }

    /// Returns the server's address as it is written on a `server` line and in an `add server` command.
    pub fn place(&self) -> String {
        match self.check_mode {
            CheckMode::Hold { requeue: Some(key) } => requeue::address(key),
            _ => self.address.to_string(),
        }
    }

    /// Writes what follows the address on a `server` line and in an `add server` command.
    pub fn arguments(&self) -> impl fmt::Display {
        let Self { id, settings, transport, check_mode, .. } = self;
        fmt::from_fn(move |f| write!(f, "id {id}{settings}{transport}{check_mode}"))
    }
}

impl Maps {
    /// Returns the backend that serves a route.
    pub fn backend_of(&self, key: &RouteKey) -> Option<&str> {
        self.backend_at(&key.map_key())
    }

    /// Does the same for a route by its key in the maps, which is in one of them.
    pub fn backend_at(&self, map_key: &str) -> Option<&str> {
        let of_requests = self.routes.get(map_key).map(|target| &target.backend);
        let of_connections = || self.tcp.get(map_key).map(|target| &target.backend);
        of_requests.or_else(of_connections).map(String::as_str)
    }

    /// Removes the entry of a route.
    pub fn remove_route(&mut self, key: &RouteKey) {
        let map_key = key.map_key();
        if key.is_tcp() {
            self.tcp.remove(&map_key);
        } else {
            self.routes.remove(&map_key);
        }
    }

    /// Returns the entries as they are written to the file.
    pub fn entries(&self, map: MapName) -> BTreeMap<String, String> {
        match map {
            MapName::Routes => {
                self.routes.iter().map(|(key, target)| (key.clone(), target.to_string())).collect()
            }
            MapName::Tcp => {
                self.tcp.iter().map(|(key, target)| (key.clone(), target.to_string())).collect()
            }
            MapName::Checks => self.checks.clone(),
            MapName::CheckHosts => self.check_hosts.clone(),
            MapName::Acme => self.acme.clone(),
        }
    }
}

impl MapName {
    pub const ALL: [Self; 5] =
        [Self::Routes, Self::Tcp, Self::Checks, Self::CheckHosts, Self::Acme];

    /// Returns the map that contains a route.
    pub fn of_route(key: &RouteKey) -> Self {
        if key.is_tcp() { Self::Tcp } else { Self::Routes }
    }

    /// Whether its entries lead traffic to backends.
    pub fn has_routes(self) -> bool {
        matches!(self, Self::Routes | Self::Tcp)
    }
}

/// Writes the file's name, which is also the map's name in the runtime API.
impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routes => "routes.map",
            Self::Tcp => "tcp.map",
            Self::Checks => "checks.map",
            Self::CheckHosts => "check-hosts.map",
            Self::Acme => "acme.map",
        })
    }
}

/// Writes words of a `server` line, with the space before them.
impl fmt::Display for CheckMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Single { fall } => {
                write!(
                    f,
                    " check inter {CHECK_INTERVAL}ms downinter 250ms rise 1 fall {fall} \
                     observe layer4 error-limit 3 on-error mark-down"
                )
            }
            Self::Pool => write!(
                f,
                " check inter {CHECK_INTERVAL}ms fastinter 250ms downinter 250ms rise 1 fall 3 \
                 observe layer4 error-limit 1 on-error mark-down"
            ),
            Self::Hold { requeue: None } => f.write_str(" backup"),
            // A connection that carries the state of one request cannot be reused for another one.
            Self::Hold { requeue: Some(_) } => write!(
                f,
                " maxconn {HOLD_MAXCONN} pool-max-conn 0 send-proxy-v2 proxy-v2-options unique-id backup"
            ),
        }
    }
}

/// Writes a word of a `server` line, with the space before it.
impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => Ok(()),
            Self::Drain | Self::Maintenance => f.write_str(" disabled"),
        }
    }
}

impl fmt::Display for TcpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, route } = self;
        write!(f, "{backend} {route}")
    }
}

impl fmt::Display for MapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, route, strip, timeout, .. } = self;
        let retry = match self.retry {
            Retry::Safe => "safe",
            Retry::All => "all",
            Retry::Off => "off",
        };
        write!(f, "{backend} {strip} {timeout} {retry} {route}")?;
        let words = [self.detail.as_deref(), self.guard.map(Into::into), self.transport.as_deref()];
        let used = words.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        words[..used].iter().try_for_each(|word| write!(f, " {}", word.unwrap_or(NO_WORD)))
    }
}
