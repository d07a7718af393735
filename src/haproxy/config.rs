//! The desired configuration of HAProxy: converts desired routes to frontends, backends, servers and maps.
//!
//! Pure. Names are chosen and HAProxy's quirks are handled here and not in the templates, which only print.

use super::{
    check_timing::CheckTiming,
    features::{FeatureMaps, HeaderNames, RouteFeatures},
    layout::Layout,
    name, requeue,
    server_setting::ServerSettings,
    server_transport::{self, ServerTransport},
    stream_options,
    tls::{self, ConnectionGuard, DefaultCertificate, TlsContext, TlsLists},
    tls_merge::{HostLines, merge_lines},
};
use crate::model::{
    http::{forward_auth::AuthServer, sticky::StickyCookie},
    option_value::{CheckMethod, HostMatch, Retry, Timeout},
    route::{Endpoint, Listener, Policy, Protocol, Readiness, Route, RouteKey, Routes, Strip},
    stream::{Balance, Idle},
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
    /// Names for which the frontends have rules: those of routes, and those that the running worker has.
    pub header_names: HeaderNames,
    /// Whether HAProxy asks name servers for the addresses of authentication servers.
    pub resolves_names: bool,
    /// Whether it asks authentication servers over TLS.
    pub asks_over_tls: bool,
    /// The key of [`super::requeue`], if requests wait that way.
    pub requeue: Option<u64>,
    /// The key of the cookies by which clients stay at a server.
    pub cookie_key: String,
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
    /// Whether HAProxy accepts connections. A frontend that no route needs any more is paused: binding its port again
    /// would take a reload.
    pub state: FrontendState,
    /// Whether it is kept while no route uses it, also by the next worker.
    pub is_spare: bool,
}

/// Whether a frontend accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendState {
    Open,
    /// Connections are refused, and another program can listen on the port.
    Paused,
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
    /// Of connections. Requests are shared in turn.
    pub balance: Balance,
    /// After which time without data a connection ends. HAProxy has no command that sets it, up to 3.4.
    pub idle: Idle,
    /// Whether clients stay at a server, by a cookie.
    pub sticky: StickyCookie,
}

impl BackendShape {
    /// All shapes for which backends can be added at run time, or spare ones are kept.
    pub const ALL: [Self; 14] = [
        Self::http(Probe::Tcp, ConnectRetry::On),
        Self::http(Probe::Http, ConnectRetry::On),
        Self::http(Probe::Tcp, ConnectRetry::Off),
        Self::http(Probe::Http, ConnectRetry::Off),
        Self::http(Probe::Tcp, ConnectRetry::On).with_cookie(),
        Self::http(Probe::Http, ConnectRetry::On).with_cookie(),
        Self::http(Probe::Tcp, ConnectRetry::Off).with_cookie(),
        Self::http(Probe::Http, ConnectRetry::Off).with_cookie(),
        Self::tcp(Probe::Tcp, Balance::Least),
        Self::tcp(Probe::Http, Balance::Least),
        Self::tcp(Probe::Tcp, Balance::Round),
        Self::tcp(Probe::Http, Balance::Round),
        Self::tcp(Probe::Tcp, Balance::Source),
        Self::tcp(Probe::Http, Balance::Source),
    ];

    /// Returns the shape of a backend of requests.
    pub const fn http(probe: Probe, connect: ConnectRetry) -> Self {
        let (mode, balance, idle) = (Mode::Http, Balance::Round, Idle::OFF);
        Self { mode, probe, connect, balance, idle, sticky: StickyCookie::Off }
    }

    /// Returns the shape with a cookie by which clients stay at a server.
    #[must_use]
    pub const fn with_cookie(self) -> Self {
        Self { sticky: StickyCookie::Cookie, ..self }
    }

    /// Returns the shape of a backend of connections without a limit of the time without data.
    pub const fn tcp(probe: Probe, balance: Balance) -> Self {
        let (mode, connect) = (Mode::Tcp, ConnectRetry::On);
        Self { mode, probe, connect, balance, idle: Idle::OFF, sticky: StickyCookie::Off }
    }

    /// Whether a backend can get the shape while HAProxy runs.
    pub fn is_prepared(self) -> bool {
        self.idle == Idle::OFF
    }
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
    Single { interval: Duration, fall: u32 },
    /// One of several servers: the first failed connection takes it out of use until a check succeeds.
    Pool { interval: Duration },
    /// Not a container: see [`hold_server`]. With a key the server leads to the requeue frontend of that key, without
    /// one to a port on which nothing listens.
    Hold { requeue: Option<u64> },
}

/// The administrative state of a server in HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminState {
    Ready,
    /// The server gets no new traffic and cannot be deleted. docker-balancer sets it for servers whose connections end
    /// in maintenance.
    Drain,
    Maintenance,
}

/// Entries of the map files: key → value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// `host:port/prefix/` or `host:port/path/#` → [`MapTarget`].
    pub routes: BTreeMap<String, MapTarget>,
    /// `name:port` → [`TcpTarget`].
    pub tcp: BTreeMap<String, TcpTarget>,
    /// Port of a TCP listener → what its routes depend on. Connections to other ports are rejected.
    pub tcp_ports: BTreeMap<String, TcpPort>,
    /// Backend → path of its HTTP check.
    pub checks: BTreeMap<String, String>,
    /// Backend → Host header of its HTTP check.
    pub check_hosts: BTreeMap<String, String>,
    /// Path of an ACME challenge → its answer (RFC 8555, section 8.3).
    pub acme: BTreeMap<String, String>,
    /// Key of an authentication server → where HAProxy reaches it.
    pub auth_servers: BTreeMap<String, AuthServer>,
    /// Sets that entries of routes name.
    pub features: FeatureMaps,
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
    /// `None` for most routes.
    pub features: Option<Arc<RouteFeatures>>,
}

/// Target of a route of connections. Its display is the value in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpTarget {
    pub backend: String,
    /// The route's own name, for the access log.
    pub route: String,
    /// Options that are not the default. Only read back by docker-balancer.
    pub options: Option<String>,
}

/// What a running worker cannot lose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExistingWorker {
    pub frontends: Vec<Frontend>,
    pub header_names: HeaderNames,
    /// Whether it asks name servers for the addresses of authentication servers.
    pub resolves_names: bool,
    /// Whether it asks authentication servers over TLS.
    pub asks_over_tls: bool,
}

/// On what the choice of a TCP listener's route depends. One route with a name is enough for the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TcpPort {
    /// On nothing: there is one route, for any name. HAProxy connects to a container at once, which may speak first.
    Any,
    /// On the name that the client sends at the beginning of TLS.
    Names,
}

impl TcpPort {
    /// Returns the entry of a port that has only this route.
    pub fn of(key: &RouteKey) -> Self {
        if *key.host() == HostMatch::Any { Self::Any } else { Self::Names }
    }
}

/// A map file. Its display is also its name in the runtime API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapName {
    Routes,
    Tcp,
    TcpPorts,
    Checks,
    CheckHosts,
    Acme,
    StrictHosts,
    /// Entries are added before those of [`Self::ClientNetworks`], and deleted after them: a class without its members
    /// would refuse its clients.
    ClientMembers,
    ClientNetworks,
    Origins,
    /// Questions to authentication servers.
    ForwardAuth,
    /// Where authentication servers are.
    AuthServers,
    Headers,
}

/// Which frontends a configuration has besides those that its routes need.
#[derive(Debug, Clone, Copy)]
pub struct ListenerRules<'a> {
    pub permanent: &'a BTreeSet<Listener>,
    /// What the running worker has, and keeps until it ends. `None` for a new worker.
    pub existing: Option<&'a ExistingWorker>,
    /// Ports of TCP that a new worker binds and pauses, so that no route on one of them needs a reload later.
    pub spare_tcp_ports: &'a BTreeSet<NonZeroU16>,
    /// Whether every HTTPS listener can pass connections through, so that the first such route needs no reload.
    pub passthrough: bool,
    /// Public port → the port that HAProxy binds for it, where they differ.
    pub port_map: &'a BTreeMap<NonZeroU16, NonZeroU16>,
}

/// Stands for a word of a [`MapTarget`] that has no value, if others follow.
pub(super) const NO_WORD: &str = "-";

/// `maxconn` of the server `hold`, on which requests wait; see [`HOLD_ONLY_FREE`].
const HOLD_MAXCONN: u64 = 2_000_000_000;

/// If a backend has at least this many free connections, [`hold_server`] is its only usable server: HAProxy does not
/// count `hold`, a backup server, while another server is usable, and the limits of 15,000 other servers add up to
/// less.
pub const HOLD_ONLY_FREE: u64 = 1_000_000_000;

impl Config {
    /// Builds the configuration. `timing` is that of the whole configuration, of which this may be a part. A route that
    /// the layout does not assign to a backend is left out. There are open frontends for the listeners of routes and
    /// for the permanent ones, and those of the running worker.
    pub fn new(
        routes: &Routes,
        layout: Layout,
        listeners: &ListenerRules<'_>,
        timing: CheckTiming,
        tls: TlsContext<'_>,
    ) -> Self {
        let Layout { assignments: places, spares } = layout;
        let mut config = Self { spares, ..Self::default() };
        config.add_frontends(routes, listeners);
        let mut lines = Vec::new();
        for (key, name) in places {
            if let Some(route) = routes.0.get(&key) {
                lines.extend(config.add_route(&key, name, route, timing, tls));
            }
        }
        merge_lines(lines, &mut config.tls);
        config.add_decrypted_hosts(routes);
        if let Some(existing) = listeners.existing {
            config.header_names.extend(&existing.header_names);
        }
        let features = config.maps.routes.values().filter_map(|target| target.features.as_deref());
        features.for_each(|features| config.header_names.add(features));
        config.maps.features = FeatureMaps::of_routes(&config.maps.routes, &config.header_names);
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
            let target = TcpTarget { route: backend.clone(), backend, options: None };
            self.maps.tcp.insert(format!("{}:{}", key.host(), key.listener.port), target);
        }
    }

    /// Whether connections can be passed through on a listener.
    pub fn has_passthrough(&self) -> bool {
        self.frontends.iter().any(|frontend| frontend.has_passthrough)
    }

    /// Whether connections of any protocol are forwarded, which may last for months.
    pub fn has_tcp(&self) -> bool {
        let is_tcp = |frontend: &Frontend| frontend.has_passthrough || frontend.listener.is_tcp();
        self.frontends.iter().any(is_tcp)
    }

    /// Returns the shapes that backends can get at run time, where HAProxy can add them.
    pub fn prepared_shapes(&self) -> impl Iterator<Item = BackendShape> {
        let is_used = |shape: &BackendShape| shape.mode == Mode::Http || self.has_tcp();
        BackendShape::ALL.into_iter().filter(is_used)
    }

    /// Whether the configuration has TCP listeners.
    pub fn has_tcp_listeners(&self) -> bool {
        self.frontends.iter().any(|frontend| frontend.listener.is_tcp())
    }

    /// Leaves out names of header fields that the running worker does not have, and what only other authentication servers need.
    pub fn keep_shape_of(&mut self, existing: &ExistingWorker) {
        self.resolves_names = existing.resolves_names;
        self.asks_over_tls = existing.asks_over_tls;
        self.header_names.clone_from(&existing.header_names);
        self.maps.features = FeatureMaps::of_routes(&self.maps.routes, &self.header_names);
    }

    /// Returns the frontends that accept connections.
    pub fn open_frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.frontends.iter().filter(|frontend| frontend.is_open())
    }

    /// Removes the frontends that are paused, except spare ones: a new worker starts without them.
    pub fn remove_paused_frontends(&mut self) {
        let is_left_out = |frontend: &mut Frontend| !frontend.is_open() && !frontend.is_spare;
        let paused = self.frontends.extract_if(.., is_left_out);
        for frontend in paused.filter(|frontend| frontend.listener.is_https()) {
            self.tls.remove(&tls::list_name(frontend.port));
        }
    }

    /// Returns the backends of this configuration that `next` does not have.
    pub fn removed_backends(&self, next: &Self) -> Vec<String> {
        let removed = self.backends.keys().filter(|name| !next.backends.contains_key(*name));
        removed.cloned().collect()
    }

    fn add_frontends(&mut self, routes: &Routes, rules: &ListenerRules<'_>) {
        let build = |listener: Listener| Frontend {
            listener,
            name: name::frontend_name(listener),
            port: listener.port,
            bound: rules.port_map.get(&listener.port).copied().unwrap_or(listener.port),
            has_passthrough: listener.is_https() && rules.passthrough,
            state: FrontendState::Open,
            is_spare: listener.is_tcp() && rules.spare_tcp_ports.contains(&listener.port),
        };
        let mut frontends = BTreeMap::new();
        let existing = rules.existing.map(|worker| &worker.frontends[..]);
        for existing in existing.into_iter().flatten() {
            let mut frontend = build(existing.listener);
            frontend.has_passthrough |= existing.has_passthrough;
            frontends
                .insert(existing.listener, Frontend { state: FrontendState::Paused, ..frontend });
        }
        let keys = routes.0.keys().filter(|key| !key.is_udp());
        let used = keys.map(|key| (key.listener, key.is_passed()));
        for (listener, is_passed) in rules.permanent.iter().map(|port| (*port, false)).chain(used) {
            let frontend = frontends.entry(listener).or_insert_with(|| build(listener));
            frontend.state = FrontendState::Open;
            frontend.has_passthrough |= is_passed;
        }
        let mut used: BTreeSet<_> = frontends.keys().map(|listener| listener.port).collect();
        for port in rules.spare_tcp_ports {
            let listener = Listener { protocol: Protocol::Tcp, port: *port };
            if rules.existing.is_none() && used.insert(*port) {
                let state = FrontendState::Paused;
                frontends.insert(listener, Frontend { state, ..build(listener) });
            }
        }
        self.frontends = frontends.into_values().collect();
        let https = self.frontends.iter().filter(|frontend| frontend.listener.is_https());
        self.tls.extend(https.map(|frontend| (tls::list_name(frontend.port), BTreeSet::new())));
    }

    /// Adds everything but the lines of the host, which are returned.
    fn add_route(
        &mut self,
        key: &RouteKey,
        mut name: String,
        route: &Route,
        timing: CheckTiming,
        tls: TlsContext<'_>,
    ) -> Option<HostLines> {
        if key.is_tcp() {
            self.add_tcp_route(key, name, route, timing);
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
        self.add_check(&name, key, &route.policy);
        let backend =
            build_backend(key, route, timing, ServerTransport::new(key, &route.policy, tls));
        let cas = backend.servers.iter().filter_map(|server| server.transport.ca());
        self.cas.extend(cas.map(str::to_owned));
        self.backends.insert(name, Arc::new(backend));
        lines
    }

    /// Adds a route of connections.
    fn add_tcp_route(&mut self, key: &RouteKey, name: String, route: &Route, timing: CheckTiming) {
        let options = stream_options::format_options(&route.policy);
        let target = TcpTarget { backend: name.clone(), route: name::backend_name(key), options };
        self.maps.tcp.insert(key.map_key(), target);
        if key.listener.is_tcp() {
            let port = self.maps.tcp_ports.entry(key.listener.port.to_string());
            let port = port.or_insert(TcpPort::Any);
            *port = TcpPort::of(key).max(*port);
        }
        if name::is_shared(&name) {
            return;
        }
        if key.listener.is_tcp() {
            self.add_check(&name, key, &route.policy);
        }
        let transport = ServerTransport::of_connections(&route.policy);
        let backend = build_backend(key, route, timing, Some(transport));
        self.backends.insert(name, Arc::new(backend));
    }

    /// Adds the request of HTTP checks, if the policy has them.
    fn add_check(&mut self, backend: &str, key: &RouteKey, policy: &Policy) {
        if let CheckMethod::Http(path) | CheckMethod::HttpOn(_, path) = policy.get() {
            self.maps.checks.insert(backend.to_owned(), path.to_string());
            self.maps.check_hosts.insert(backend.to_owned(), check_host_header(key.host()));
        }
    }
}

fn build_target(backend: &str, key: &RouteKey, policy: &Policy) -> MapTarget {
    // A redirect to HTTPS is that of the request as it was sent, and asks for no password in the clear.
    let is_redirect = [name::TO_HTTPS, name::NO_CERTIFICATE].contains(&backend);
    let path = key.path().filter(|_| !is_redirect);
    let strip = path.map_or(0, |path| policy.get::<Strip>().depth(path.segments()));
    let features = || RouteFeatures::new(policy, strip != 0, key.path());
    MapTarget {
        backend: backend.to_owned(),
        route: name::backend_name(key),
        strip,
        features: if is_redirect { None } else { features() },
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
    timing: CheckTiming,
    transport: Option<ServerTransport>,
) -> Backend {
    let endpoints = if transport.is_some() { &route.endpoints[..] } else { &[] };
    let transport = transport.unwrap_or_default();
    let ready = |endpoint: &&Endpoint| endpoint.readiness == Readiness::Ready;
    let (method, ready) = (route.policy.get(), endpoints.iter().filter(ready).count());
    let build = |endpoint: &Endpoint| {
        let timing = timing.of_server(&endpoint.options);
        let (interval, fall) = (timing.interval, timing.fall_count());
        let check_mode = match (&method, ready) {
            (CheckMethod::Off, _) => CheckMode::Off,
            (_, 0 | 1) => CheckMode::Single { interval, fall },
            (_, _) => CheckMode::Pool { interval },
        };
        build_server(endpoint, check_mode, &transport)
    };
    let mut servers: Vec<_> = endpoints.iter().map(build).collect();
    let shape = required_shape(key, &route.policy);
    servers.extend(shape.has_hold_server().then(hold_server));
    let mut ids = BTreeSet::from([hold_server().id]);
    for server in servers.iter_mut().filter(|server| server.name != name::HOLD_SERVER) {
        while !ids.insert(server.id) {
            server.id = server.id % (u32::MAX >> 1) + 1;
        }
    }
    let label = if key.listener.is_tcp() { "glue_tcp" } else { "glue_http" };
    let lines = format_servers(&servers[..endpoints.len()], endpoints, label);
    Backend { route: key.clone(), shape, servers, lines }
}

/// Approximate length of a `server` line without its name and its address.
const LINE_OVERHEAD: usize = 192;

/// Renders the `server` lines. `label` is the start of the labels that requested them. Pads names and addresses, so that the columns are aligned.
fn format_servers(servers: &[Server], endpoints: &[Endpoint], label: &str) -> String {
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
            "\n  server {name:to$} {address:then_to$} {words}{admin}  # {label}_{port} of {origin}"
        );
        lines.write_fmt(line).expect("writing to a string cannot fail");
    }
    lines.shrink_to_fit();
    lines
}

/// Returns the shape of backend that a route with this policy needs.
pub fn required_shape(key: &RouteKey, policy: &Policy) -> BackendShape {
    let has_requests = matches!(policy.get(), CheckMethod::Http(_) | CheckMethod::HttpOn(..));
    // A container that decrypts TLS itself is not asked for a page in the clear.
    let probe = if has_requests && !key.is_passed() { Probe::Http } else { Probe::Tcp };
    if key.is_tcp() {
        return BackendShape { idle: policy.get(), ..BackendShape::tcp(probe, policy.get()) };
    }
    let is_once = policy.get::<Retry>() == Retry::Off;
    let shape =
        BackendShape::http(probe, if is_once { ConnectRetry::Off } else { ConnectRetry::On });
    BackendShape { sticky: policy.get(), ..shape }
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
            // Maintenance would end the connections as a failed check does.
            Readiness::Out if transport.cuts_at_failed_check() => AdminState::Drain,
            Readiness::Out => AdminState::Maintenance,
        },
    }
}

impl Frontend {
    pub fn is_open(&self) -> bool {
        self.state == FrontendState::Open
    }

    /// Returns the name of the frontend that binds the port.
    pub fn public_name(&self) -> String {
        if self.has_passthrough { name::passthrough_frontend(self.port) } else { self.name.clone() }
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
        matches!(self, Self::Single { .. } | Self::Pool { .. })
    }
}

impl Server {
    /// Returns how many checks have to fail before the server is down, if that applies from its start on and is more
    /// than HAProxy's default.
    pub fn initial_fall(&self) -> Option<u32> {
        match (self.check_mode, self.admin) {
            (CheckMode::Single { fall, .. }, AdminState::Ready) => Some(fall),
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
            MapName::TcpPorts => {
                self.tcp_ports.iter().map(|(key, port)| (key.clone(), port.to_string())).collect()
            }
            MapName::Checks => self.checks.clone(),
            MapName::CheckHosts => self.check_hosts.clone(),
            MapName::Acme => self.acme.clone(),
            MapName::AuthServers => self
                .auth_servers
                .iter()
                .map(|(key, server)| (key.clone(), server.to_string()))
                .collect(),
            MapName::StrictHosts
            | MapName::ClientMembers
            | MapName::ClientNetworks
            | MapName::Origins
            | MapName::ForwardAuth
            | MapName::Headers => self.features.entries(map).cloned().unwrap_or_default(),
        }
    }
}

impl MapName {
    pub const ALL: [Self; 13] = [
        Self::Routes,
        Self::Tcp,
        Self::TcpPorts,
        Self::Checks,
        Self::CheckHosts,
        Self::Acme,
        Self::AuthServers,
        Self::StrictHosts,
        Self::ClientMembers,
        Self::ClientNetworks,
        Self::Origins,
        Self::ForwardAuth,
        Self::Headers,
    ];

    /// Maps of sets that entries of routes name.
    pub const SETS: [Self; 6] = [
        Self::StrictHosts,
        Self::ClientMembers,
        Self::ClientNetworks,
        Self::Origins,
        Self::ForwardAuth,
        Self::Headers,
    ];

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
            Self::TcpPorts => "tcp-ports.map",
            Self::Checks => "checks.map",
            Self::CheckHosts => "check-hosts.map",
            Self::Acme => "acme.map",
            Self::StrictHosts => "strict-hosts.map",
            Self::ClientMembers => "client-members.map",
            Self::ClientNetworks => "client-networks.map",
            Self::Origins => "origins.map",
            Self::ForwardAuth => "forward-auth.map",
            Self::AuthServers => "auth-servers.map",
            Self::Headers => "headers.map",
        })
    }
}

/// Writes words of a `server` line, with the space before them.
impl fmt::Display for CheckMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Single { interval, fall } => {
                let interval = interval.as_millis();
                write!(
                    f,
                    " check inter {interval}ms downinter 250ms rise 1 fall {fall} \
                     observe layer4 error-limit 3 on-error mark-down"
                )
            }
            Self::Pool { interval } => write!(
                f,
                " check inter {}ms fastinter 250ms downinter 250ms rise 1 fall 3 \
                 observe layer4 error-limit 1 on-error mark-down",
                interval.as_millis()
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

impl fmt::Display for TcpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Names => "names",
        })
    }
}

impl fmt::Display for TcpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, route, options } = self;
        write!(f, "{backend} {route}")?;
        options.as_ref().map_or(Ok(()), |options| write!(f, " {options}"))
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
        let features = self.features.iter().flat_map(|features| features.words());
        let words: Vec<_> = words.into_iter().chain(features).collect();
        let used = words.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        words[..used].iter().try_for_each(|word| write!(f, " {}", word.unwrap_or(NO_WORD)))
    }
}
