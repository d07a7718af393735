//! Renders the configuration to files, with askama templates.
//!
//! Pure. Only this file and dashboard/render.rs name askama. The same configuration yields the same bytes.

use super::{
    config::{
        self, Backend, BackendShape, CheckMode, Config, ConnectRetry, Frontend, MapName, Mode,
        Probe, Server,
    },
    error_pages::{self, ErrorPages},
    features::{Block, Feature, HeaderNames, Word},
    files::{ConfigFiles, GenerationFiles, MARKER},
    name,
    provisioning::Provisioning,
    refusals, request_pattern,
    requeue::{self, Requeue},
    server_setting::ServerSetting,
    tls::{self, CertificateDirectory, TCP_ALPN, TlsLine},
    user_check::{self, UserCheck},
};
use crate::model::{
    http::{redirect::RedirectStatus, sticky::StickyCookie, users::NoUserCheck},
    option_value::Host,
    route::PATH_END,
    stream::Balance,
    tls::TlsPolicy,
};
use askama::Template;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Inputs of the file that do not depend on the routes.
#[derive(Debug, Clone)]
pub struct RenderContext {
    pub base: BaseConfig,
    /// How routes that are added later get their backends.
    pub provisioning: Provisioning,
    /// HAProxy's stats socket.
    pub stats_socket: PathBuf,
    /// Whether the group may use the socket too, or only its owner.
    pub socket_for_group: bool,
    /// The directory of all generations.
    pub generations: PathBuf,
    pub bind: Vec<Bind>,
    /// Directory of the certificates that HAProxy loads.
    pub certificates: CertificateDirectory,
    /// The host whose certificate clients get that ask for no name, or for one without a certificate. `None`: they are
    /// refused.
    pub default_host: Option<Host>,
    /// Policy of HTTPS hosts whose labels do not set one.
    pub tls_policy: TlsPolicy,
    /// Whether frontends answer the challenges of an ACME CA.
    pub acme: ChallengeAnswer,
    /// Whether HTTPS listeners can pass connections through before the first route asks for it.
    pub passthrough: bool,
    /// Whether hosts may verify certificates of clients.
    pub verifies_clients: bool,
    pub http3: Http3Mode,
    pub worker_privilege: WorkerPrivilege,
    /// Networks whose X-Forwarded-* headers are trusted.
    pub trusted: Vec<ipnet::IpNet>,
    /// Networks whose connections to TCP listeners begin with a header of the PROXY protocol.
    pub proxy_protocol_from: Vec<ipnet::IpNet>,
    /// A `log` target of HAProxy: `stdout format raw daemon`, `/dev/log local0`, …
    pub log: Option<String>,
    /// Address on which HAProxy exports its own metrics to Prometheus.
    pub exporter: Option<SocketAddr>,
    /// Host names that are accepted there, besides `localhost`, addresses and names without a dot.
    pub exporter_names: Vec<Host>,
    /// How long a request waits for the only container of its route.
    pub wait: Duration,
    /// `timeout connect`, unless a base file sets it.
    pub connect_timeout: Duration,
    /// Distinguishes this docker-balancer from others on the same host.
    pub key: u64,
    /// `None`: requests wait by retries.
    pub requeue: Option<Requeue>,
    /// How users are verified. `Err`: routes with users answer 503 to those that are not known.
    pub users: Result<UserCheck, NoUserCheck>,
    /// Without any, HAProxy would refuse a configuration that needs them.
    pub system_cas: SystemCas,
    /// How long an old worker may run for its long connections.
    pub hard_stop_after: Duration,
    /// What clients get where HAProxy itself answers.
    pub error_pages: ErrorPages,
}

/// Whether a machine has CAs by which servers outside are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCas {
    Missing,
    Present,
}

/// Whether HTTPS listeners also serve HTTP/3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Http3Mode {
    #[default]
    Off,
    On,
}

/// What the workers of a master that runs as root can keep of its privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerPrivilege {
    None,
    /// The capability to bind ports below 1024.
    LowPorts,
}

/// How HAProxy answers the challenges of an ACME CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChallengeAnswer {
    /// It does not.
    None,
    /// By tokens on plain ports (http-01).
    Token,
    /// By certificates on HTTPS ports (tls-alpn-01).
    Certificate,
}

/// Addresses that listeners bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bind {
    /// Every address of both families.
    Everywhere,
    /// This address. The unspecified IPv6 address accepts only IPv6.
    At(IpAddr),
}

impl Bind {
    fn addresses(self) -> Vec<IpAddr> {
        match self {
            Self::Everywhere => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            Self::At(address) => vec![address],
        }
    }
}

/// The sections that docker-balancer does not decide.
#[derive(Debug, Clone)]
pub enum BaseConfig {
    BuiltIn {
        /// User and group of the workers, if the master runs as root.
        drop_to: Option<(String, String)>,
    },
    /// The administrator's file, and its path.
    File { path: PathBuf, text: String },
}

impl RenderContext {
    /// Whether the configuration sets how Lua sees booleans.
    fn says_booleans(&self) -> bool {
        let of_users = self.users.as_ref().is_ok_and(UserCheck::says_booleans);
        of_users || self.requeue.is_some_and(Requeue::says_booleans)
    }
}

/// Sections besides `global`. Lists of users have lines that begin with `user`, too.
const OTHER_SECTIONS: [&str; 8] =
    ["backend", "cache", "defaults", "frontend", "listen", "peers", "resolvers", "userlist"];

impl BaseConfig {
    /// Returns the administrator's text; empty if there is none.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::BuiltIn { .. } => "",
            Self::File { text, .. } => text,
        }
    }

    /// Returns the user to which the workers of a master that runs as root switch.
    pub fn worker_user(&self) -> Option<String> {
        let text = match self {
            Self::BuiltIn { drop_to } => return drop_to.as_ref().map(|(user, _)| user.clone()),
            Self::File { text, .. } => text,
        };
        let mut is_global = false;
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).fold(
            None,
            |user, words| {
                match words[..] {
                    ["global", ..] => is_global = true,
                    [word, ..] if OTHER_SECTIONS.contains(&word) => is_global = false,
                    ["user", name, ..] if is_global => return Some(name.to_owned()),
                    _ => {}
                }
                user
            },
        )
    }

    /// Whether the administrator's text has a word with this start.
    pub(super) fn says(&self, start: &str) -> bool {
        self.text().split_whitespace().any(|text| text.starts_with(start))
    }
}

/// How often HAProxy sends a request again, to another server or the same one, where waiting uses none of these
/// retries. A request that five killed containers drop or refuse one after the other can still wait. Since one of
/// several servers is taken out of use at its first failed connection, few requests meet more than one failure.
const RETRIES: u128 = 6;

/// A request that returns more often than this is not sent to a server again.
const MOST_HOPS: u32 = 10;

/// How long HAProxy tries to connect to a container (`timeout connect`).
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// HAProxy waits for `timeout connect` between two attempts on the same server, but not longer than this.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The limit that HAProxy 3.0 and later use by default. 2.6 needs 72 MB for it.
pub const FD_HARD_LIMIT: u32 = 1_048_576;

/// The Lua program that pauses a request.
const WAIT: &str = include_str!("../../templates/wait.lua");

/// Name of the cookie by which clients stay at a container.
const COOKIE: &str = "docker-glue-server";

/// The Lua program that asks authentication servers.
const FORWARD_AUTH: &str = include_str!("../../templates/forward_auth.lua");

/// How many requests may wait for one authentication server at once. Further ones are answered with 503.
const MAX_QUESTIONS: u32 = 256;

/// Approximate lengths of a backend's section without its servers, and of the rest of the file.
const SECTION_OVERHEAD: usize = 640;
const BASE_SIZE: usize = 16 << 10;

#[derive(Template)]
#[template(path = "haproxy.cfg", escape = "none")]
struct CfgTemplate<'a> {
    marker: &'a str,
    context: &'a RenderContext,
    generation: String,
    stats_socket: String,
    retries: u128,
    connect_timeout: String,
    wait: String,
    wait_ms: u128,
    hard_stop_after: String,
    /// How many attempts to connect fit into the time for which a connection waits.
    attempts: u128,
    /// The line of the server on which requests wait, and of that on which connections wait.
    hold_lines: [String; 2],
    config: &'a Config,
}

impl CfgTemplate<'_> {
    fn hold_line(&self, can_requeue: bool) -> &str {
        let [of_requests, of_connections] = &self.hold_lines;
        if can_requeue { of_requests } else { of_connections }
    }
}

/// Returns a fingerprint of everything that cannot be changed in a running HAProxy: if it is equal, no reload is
/// needed.
pub fn static_fingerprint(config: &Config, context: &RenderContext) -> String {
    // All shapes, because without `add backend` nothing else contains a shape's lines.
    let shapes = BackendShape::ALL.map(|shape| (name::defaults_section(shape).to_owned(), shape));
    let (frontends, spares) = (config.frontends.clone(), shapes.into());
    let header_names = config.header_names.clone();
    let (resolves_names, asks_over_tls) = (config.resolves_names, config.asks_over_tls);
    let auth = Config { resolves_names, asks_over_tls, ..Config::default() };
    let bare = Config { frontends, spares, header_names, ..auth };
    let users = context.users.as_ref().map(UserCheck::lua_program).unwrap_or_default();
    let forward_auth = context.forward_auth_program().unwrap_or_default();
    let config = render_config(&bare, context, String::new());
    let texts = [config.as_str(), WAIT, users.as_str(), forward_auth.as_str()];
    let hash = name::hash_all(texts.into_iter().chain(context.error_pages.bodies()));
    format!("docker-balancer {hash:016x}{}", context.provisioning.fingerprint_suffix())
}

/// Returns a hash of everything that is not a backend.
pub fn base_hash(config: &Config, context: &RenderContext) -> u64 {
    let Config { fingerprint: skeleton, frontends, .. } = config;
    let (skeleton, frontends) = (skeleton.clone(), frontends.clone());
    let header_names = config.header_names.clone();
    let (resolves_names, asks_over_tls) = (config.resolves_names, config.asks_over_tls);
    let auth = Config { resolves_names, asks_over_tls, ..Config::default() };
    let bare = Config { fingerprint: skeleton, frontends, header_names, ..auth };
    name::hash(&render_config(&bare, context, String::new()))
}

/// Renders files that are checked and never loaded. Without the additional setting HAProxy reads all of the system's
/// certificates before it reads a configuration, for requests of its own that no such configuration makes; that takes
/// twice as long as the rest of the check.
pub fn render_for_check(config: &Config, context: &RenderContext) -> ConfigFiles {
    let mut files = render_files(config, context);
    files.config.push_str("\nglobal\n  httpclient.ssl.verify none\n");
    files
}

/// Renders the files for `config`. A worker that starts with them has no paused frontends.
pub fn render_files(config: &Config, context: &RenderContext) -> ConfigFiles {
    if config.frontends.iter().all(Frontend::is_open) {
        return render_open_files(config, context);
    }
    let mut stored = config.clone();
    stored.remove_paused_frontends();
    stored.fingerprint = static_fingerprint(&stored, context);
    render_open_files(&stored, context)
}

fn render_open_files(config: &Config, context: &RenderContext) -> ConfigFiles {
    let files = generation_files(config, context);
    let name = generation_name(&files);
    let text = render_config(config, context, quote_path(&context.generations.join(&name)));
    ConfigFiles { config: text, generation: GenerationFiles { name, files } }
}

fn render_config(config: &Config, context: &RenderContext, generation: String) -> String {
    let page = CfgTemplate {
        marker: MARKER,
        context,
        generation,
        stats_socket: quote_path(&context.stats_socket),
        retries: context.requeue.map_or_else(|| connect_attempts(context), |_| RETRIES),
        connect_timeout: format_time(context.connect_timeout),
        wait: format_time(context.wait),
        wait_ms: context.wait.as_millis(),
        hard_stop_after: format_time(context.hard_stop_after),
        attempts: connect_attempts(context),
        hold_lines: [hold_line(context.requeue), hold_line(None)],
        config,
    };
    // Approximately the final length: growing the string step by step takes several times the memory.
    let lines: usize = config.backends.values().map(|backend| backend.lines.len()).sum();
    let sections = config.backends.len() + config.spares.len();
    let mut text = String::with_capacity(lines + SECTION_OVERHEAD * sections + BASE_SIZE);
    page.render_into(&mut text).expect("writing to a string cannot fail");
    text
}

fn hold_line(requeue: Option<Requeue>) -> String {
    let watch = CheckMode::Hold { requeue: requeue.map(Requeue::key) };
    let hold = Server { check_mode: watch, ..config::hold_server() };
    format!("  server {} {} {}", hold.name, hold.place(), hold.arguments())
}

/// Returns how many attempts to connect that are refused at once fit into the time of the wait.
fn connect_attempts(context: &RenderContext) -> u128 {
    let pause = context.connect_timeout.min(MAX_PAUSE);
    context.wait.as_millis().div_ceil(pause.as_millis()).max(1)
}

/// Quotes a path as one word of the configuration, whatever characters it contains (configuration manual, section 2.2).
/// Only single quotes protect everything except themselves.
fn quote_path(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Formats a time in HAProxy's syntax, in the largest unit that is exact (configuration manual, section 2.5).
fn format_time(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let exact = units.into_iter().find(|(size, _)| 0 < millis && millis.is_multiple_of(*size));
    exact.map_or_else(|| format!("{millis}ms"), |(size, unit)| format!("{}{unit}", millis / size))
}

fn generation_files(config: &Config, context: &RenderContext) -> BTreeMap<String, String> {
    let maps = &config.maps;
    let lua = context.requeue.map(|_| ("wait.lua".to_owned(), WAIT.to_owned()));
    let users = context.users.as_ref().map(|check| ("users.lua".to_owned(), check.lua_program()));
    let forward_auth =
        context.forward_auth_program().map(|program| ("forward_auth.lua".to_owned(), program));
    let files = BTreeMap::from([
        ("routes.map".to_owned(), format_map(&maps.routes)),
        ("checks.map".to_owned(), format_map(&maps.checks)),
        ("check-hosts.map".to_owned(), format_map(&maps.check_hosts)),
        ("servers.state".to_owned(), format_server_states(config)),
        (MapName::AuthServers.to_string(), format_map(&maps.auth_servers)),
    ]);
    let sets = MapName::SETS.map(|map| (map.to_string(), format_map(&maps.entries(map))));
    let acme = context.acme.is_token().then(|| (MapName::Acme.to_string(), format_map(&maps.acme)));
    let tcp = config.has_tcp().then(|| (MapName::Tcp.to_string(), format_map(&maps.tcp)));
    let ports = config
        .has_tcp_listeners()
        .then(|| (MapName::TcpPorts.to_string(), format_map(&maps.tcp_ports)));
    files
        .into_iter()
        .chain(sets)
        .chain(context.error_pages.files())
        .chain(lua)
        .chain(users)
        .chain(forward_auth)
        .chain(acme)
        .chain(tcp)
        .chain(ports)
        .chain(list_files(config, context))
        .collect()
}

/// Returns the files of the certificate lists. HAProxy's check reads the empty one in place of the others: reading
/// 10,000 certificates takes HAProxy 2.6 up to 20 s.
fn list_files(config: &Config, context: &RenderContext) -> impl Iterator<Item = (String, String)> {
    let empty = (!config.tls.is_empty()).then(|| (EMPTY_LIST.to_owned(), String::new()));
    let default = move |name: &str| {
        let has_default = context.default_host.is_some() && tls::list_port(name).is_some();
        has_default.then(|| context.certificates.default_line())
    };
    let list = move |(name, lines): (&String, _)| (name.clone(), format_list(default(name), lines));
    config.tls.iter().map(list).chain(empty)
}

/// HAProxy's default is the certificate of the first line, if the `bind` line has no `strict-sni`.
fn format_list(default: Option<String>, lines: &BTreeSet<TlsLine>) -> String {
    let mut text = default.map_or_else(String::new, |line| line + "\n");
    for line in lines {
        writeln!(text, "{line}").expect("writing to a string cannot fail");
    }
    text
}

/// Name of the list for checks.
const EMPTY_LIST: &str = "no-certificates.list";

/// Returns the text of a configuration with the empty list in place of all others. `None` if it has no lists.
pub fn without_certificates(config: &str) -> Option<String> {
    let lists: BTreeSet<_> =
        config.split_whitespace().filter(|word| tls::is_list_name(word)).collect();
    // HAProxy accepts an empty list with `strict-sni` only.
    let empty = format!(" crt-list {EMPTY_LIST} strict-sni ");
    let replace = |text: String, list: &str| {
        let text = text.replace(&format!(" crt-list {list} strict-sni "), &empty);
        text.replace(&format!(" crt-list {list} "), &empty)
    };
    (!lists.is_empty()).then(|| lists.into_iter().fold(config.to_owned(), replace))
}

/// Returns a name derived from the content, so that an unchanged configuration yields an unchanged file.
fn generation_name(files: &BTreeMap<String, String>) -> String {
    let whole = files.iter().flat_map(|(name, text)| [name, "\0", text]);
    format!("{:016x}", name::hash_all(whole))
}

fn format_map<V: std::fmt::Display>(entries: &BTreeMap<String, V>) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        writeln!(text, "{key} {value}").expect("writing to a string cannot fail");
    }
    text
}

/// Renders a server state file. Without it HAProxy starts servers one failed check away from down, whatever `fall` is.
/// The file has the format of `show servers state` (management guide, section 9.3), and also works before 3.1, which
/// has `init-state fully-up`. HAProxy ignores the backend's number and uses its name.
fn format_server_states(config: &Config) -> String {
    let mut text = "1\n".to_owned();
    for (backend_name, backend) in &config.backends {
        for (server, fall) in
            backend.servers.iter().filter_map(|server| Some((server, server.initial_fall()?)))
        {
            let Server { id, name, address, settings, transport, .. } = server;
            // HAProxy uses this value in place of `ssl` on the line.
            let tls = u8::from(transport.has_tls());
            let (ip, port) = (address.ip(), address.port());
            let weight = settings.get(ServerSetting::Weight);
            let line = format_args!(
                "0 {backend_name} {id} {name} {ip} 2 0 {weight} {weight} 0 1 0 {fall} 6 0 0 1 - {port} - {tls} 0 - - 0"
            );
            writeln!(text, "{line}").expect("writing to a string cannot fail");
        }
    }
    text
}

impl ChallengeAnswer {
    fn is_token(self) -> bool {
        self == Self::Token
    }

    pub(super) fn is_certificate(self) -> bool {
        self == Self::Certificate
    }
}

impl RenderContext {
    /// Returns the words of a rule that refuses a request: the administrator's page, else the text.
    fn refusal(&self, status: u16, text: &str) -> impl std::fmt::Display {
        self.error_pages.answer(status, text)
    }

    /// Returns the words of a rule that answers with a status: the administrator's page, else nothing but the status.
    fn status_page(&self, status: u16) -> impl std::fmt::Display {
        self.error_pages.status_page(status)
    }

    /// Returns the expression of the client's address.
    fn client_expression(&self) -> &'static str {
        if self.trusted.is_empty() { "src" } else { "var(txn.client)" }
    }

    /// Returns the `bind` lines of one port. Both families have a line each, so that an IPv4 client appears with its
    /// plain address.
    fn bind_lines(&self, frontend: &Frontend) -> Vec<String> {
        let tls = if frontend.is_https() { self.tls_words(frontend) } else { String::new() };
        let lines = if frontend.has_passthrough {
            vec![format!("{} accept-proxy", self.decrypting_socket(frontend))]
        } else {
            self.public_bind_lines(frontend)
        };
        lines.into_iter().map(|line| format!("{line}{tls}")).collect()
    }

    /// Returns the address at which a frontend behind [`name::passthrough_frontend`] listens.
    fn decrypting_socket(&self, frontend: &Frontend) -> String {
        format!("{}-{}", requeue::address(self.key), frontend.port)
    }

    /// Returns the key of the hashes in cookies: several balancers with state directories of one name have the same, so that a
    /// client can move from one to the other.
    pub fn cookie_key(&self) -> String {
        format!("{:016x}", self.key)
    }

    fn has_system_cas(&self) -> bool {
        self.system_cas == SystemCas::Present
    }

    /// Whether HAProxy has Lua, by which it asks authentication servers.
    fn has_lua(&self) -> bool {
        self.users.as_ref().err() != Some(&NoUserCheck::Lua)
    }

    /// Returns the Lua program that asks authentication servers, with the address of the frontend that passes its
    /// questions on.
    fn forward_auth_program(&self) -> Option<String> {
        self.has_lua()
            .then(|| format!("local address = \"{}\"\n{FORWARD_AUTH}", self.auth_socket()))
    }

    fn auth_socket(&self) -> String {
        format!("{}-auth", requeue::address(self.key))
    }

    /// Returns the address at which the frontend for challenges listens.
    fn challenge_socket(&self) -> String {
        format!("{}-acme", requeue::address(self.key))
    }

    /// Returns the addresses of one port, with the words that each needs.
    fn public_bind_lines(&self, frontend: &Frontend) -> Vec<String> {
        let port = frontend.bound;
        let lines = self.bind.iter().flat_map(|bind| match bind {
            Bind::Everywhere => vec![format!("0.0.0.0:{port}"), format!("[::]:{port} v6only")],
            Bind::At(IpAddr::V6(v6)) if v6.is_unspecified() => vec![format!("[::]:{port} v6only")],
            Bind::At(IpAddr::V6(v6)) => vec![format!("[{v6}]:{port}")],
            Bind::At(IpAddr::V4(v4)) => vec![format!("{v4}:{port}")],
        });
        lines.collect()
    }

    /// Returns the words of an HTTPS listener's `bind` line, with the space before them. A connection without the name
    /// of a certificate is refused, unless there is a default certificate.
    fn tls_words(&self, frontend: &Frontend) -> String {
        let mut words = format!("{} alpn {TCP_ALPN}", self.list_words(frontend));
        if self.verifies_clients {
            words.push_str(" no-tls-tickets");
        }
        for (keyword, value) in tls::policy_words(self.tls_policy) {
            write!(words, " {keyword} {value}").expect("writing to a string cannot fail");
        }
        words
    }

    /// Returns the `bind` lines for HTTP/3 of one port, which have the same certificates. HAProxy issues tickets for TLS
    /// sessions over QUIC also with `no-tls-tickets`; so hosts that verify their clients exclude HTTP/3, see
    /// [`tls::host_lines`].
    fn http3_bind_lines(&self, frontend: &Frontend) -> Vec<String> {
        if !self.has_http3(frontend) {
            return Vec::new();
        }
        let (port, list) = (frontend.bound, self.list_words(frontend));
        let addresses = self.bind.iter().flat_map(|bind| bind.addresses());
        let lines = addresses.map(|address| match address {
            IpAddr::V4(v4) => format!("quic4@{v4}:{port}"),
            IpAddr::V6(v6) if v6.is_unspecified() => format!("quic6@[::]:{port} v6only"),
            IpAddr::V6(v6) => format!("quic6@[{v6}]:{port}"),
        });
        lines.map(|line| format!("{line}{list} alpn h3")).collect()
    }

    fn list_words(&self, frontend: &Frontend) -> String {
        let strict = if self.default_host.is_some() { "" } else { " strict-sni" };
        format!(" ssl crt-list {}{strict}", tls::list_name(frontend.port))
    }

    fn has_http3(&self, frontend: &Frontend) -> bool {
        self.http3 == Http3Mode::On && frontend.is_https()
    }

    fn keeps_capability(&self) -> bool {
        self.http3 == Http3Mode::On && self.worker_privilege == WorkerPrivilege::LowPorts
    }

    fn proxy_protocol_list(&self) -> String {
        let networks = self.proxy_protocol_from.iter().map(ToString::to_string);
        networks.collect::<Vec<_>>().join(" ")
    }

    fn trusted_list(&self) -> String {
        self.trusted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl Frontend {
    fn is_https(&self) -> bool {
        self.listener.is_https()
    }

    fn is_tcp(&self) -> bool {
        self.listener.is_tcp()
    }

    fn passthrough_name(&self) -> String {
        name::passthrough_frontend(self.port)
    }

    fn decrypting_backend(&self) -> String {
        name::decrypting_backend(self.port)
    }
}

impl BackendShape {
    fn is_http(self) -> bool {
        self.probe == Probe::Http
    }

    fn is_tcp(self) -> bool {
        self.mode == Mode::Tcp
    }

    fn tunnel_timeout(self) -> String {
        self.idle.duration().map_or_else(|| "24d".to_owned(), format_time)
    }

    fn defaults(self) -> &'static str {
        name::defaults_section(self)
    }

    fn has_cookie(self) -> bool {
        self.sticky == StickyCookie::Cookie
    }

    fn is_once(self) -> bool {
        self.connect == ConnectRetry::Off
    }
}

impl Backend {
    fn needs_server_state(&self) -> bool {
        self.servers.iter().any(|server| server.initial_fall().is_some())
    }
}

/// Returns the backend in whose section a line of the configuration (from 1) is.
pub fn find_backend_at(config: &str, line: usize) -> Option<&str> {
    let above: Vec<_> = config.lines().take(line).collect();
    let header =
        above.iter().rev().find(|text| text.starts_with(|c: char| c.is_ascii_lowercase()))?;
    header.strip_prefix("backend ")?.split(' ').next()
}
