//! HAProxy's names for routes and endpoints: readable, unique, and the same each time.
//!
//! Pure. HAProxy allows letters, digits and `_ - . :` in names (configuration manual, section 4).

use super::{
    config::{BackendShape, CheckMode, ConnectRetry, Mode, Probe},
    server_transport::{self, ServerTransport},
};
use crate::model::{
    http::sticky::StickyCookie,
    option_value::{CheckInterval, HostMatch, PathRule},
    route::{Endpoint, Listener, Match, Protocol, RouteKey},
    stream::Balance,
};
use sha1::{Digest, Sha1};
use std::{borrow::Cow, collections::BTreeSet, num::NonZeroU16};

/// How many characters of a container's name a server's name contains. The container's id, which follows, makes the
/// name unique.
const MAX_LENGTH: usize = 120;

/// Longest name of a backend. A longer one is cut and made unique by a hash that is hard to collide, because the names
/// come from labels, which anyone may write. With the other state of a request, the name has to fit into a unique id of
/// the PROXY protocol, which has 128 bytes.
const LONGEST_BACKEND: usize = 72;

/// End of the name of a backend of connections. No backend of requests has such a name: a path with `:` gets a hash.
const CONNECTIONS_SUFFIX: &str = ":tcp";
/// End of the name of a backend of an exact path, see [`CONNECTIONS_SUFFIX`].
const EXACT_SUFFIX: &str = ":exact";

const SINGLE_SUFFIX: &str = ":single";
const UNCHECKED_SUFFIX: &str = ":unchecked";

/// End of the part of a server's name that has its check interval.
const INTERVAL_UNIT: &str = "ms";

/// Name of the backend that answers 503 for all routes without a server at the moment.
pub const NO_SERVER: &str = "no-server";

/// Name of the backend that ends all connections of routes of connections without a server at the moment.
pub const NO_SERVER_TCP: &str = "no-server-tcp";

/// Name of the backend that redirects plain requests to HTTPS.
pub const TO_HTTPS: &str = "to-https";

/// Name of the backend that answers plain requests with 503 which would be redirected, but whose host has no
/// certificate.
pub const NO_CERTIFICATE: &str = "no-certificate";

/// Name of the backend that answers 503 for routes whose protection is not understood.
pub const CLOSED: &str = "closed";

/// Name of the backend of routes that redirect.
pub const REDIRECTS: &str = "redirects";

/// Start of the names of backends of routes for any host.
pub const ANY_HOST: &str = "ANY";

/// Start of the names of backends that only have a table.
pub const TABLE_PREFIX: &str = "docker-glue-table-";

/// The names that earlier versions gave to this backend and to the only server of a route. Workers of these versions
/// keep the names until their last connection ends, also after the reload at an upgrade. To be removed one release
/// later.
const OLD_NO_SERVER: &str = "nobody";
const OLD_SINGLE_SUFFIX: &str = ":alone";

/// Name of the server of each backend on which requests wait, see [`super::config::hold_server`]. No container's server
/// has this name.
pub const HOLD_SERVER: &str = "hold";

/// The frontend to which that server leads, see [`super::requeue`].
pub const REQUEUE: &str = "docker-glue-requeue";

/// Name of the frontend to which questions for authentication servers are sent.
pub const FORWARD_AUTH: &str = "docker-glue-forward-auth";

/// Name of the backend for these servers. HAProxy 3.3 and later refuse a frontend and a backend of one name.
pub const AUTH_SERVERS: &str = "docker-glue-auth-servers";

/// Name of the backend for those that are asked over TLS.
pub const AUTH_SERVERS_TLS: &str = "docker-glue-auth-servers-tls";

/// Name of the only server of both.
pub const AUTH_SERVER: &str = "any";

/// Pattern of the names of backends to which requests may return: spares, and names with a port.
pub const OURS: &str = "^(spare-(sticky-)?(tcp|http)-[0-9]+|[^:]+:[0-9].*)$";

/// Returns the frontend name of a listener.
pub fn frontend_name(listener: Listener) -> String {
    format!("{}-{}", listener.protocol, listener.port)
}

/// Returns the listener of the frontend that binds its port, and whether it passes connections through. `None` for a
/// frontend of another name.
pub fn parse_frontend(name: &str) -> Option<(Listener, bool)> {
    let (protocol, port) = name.split_once('-')?;
    let (protocol, passes) = match protocol {
        "http" => (Protocol::Http, false),
        "https" => (Protocol::Https, false),
        "tcp" => (Protocol::Tcp, false),
        "tls" => (Protocol::Https, true),
        _ => return None,
    };
    let listener = Listener { protocol, port: port.parse().ok()? };
    let proper = if passes { passthrough_frontend(listener.port) } else { frontend_name(listener) };
    (proper == name).then_some((listener, passes))
}

/// Returns the name of the frontend in front of an HTTPS listener's, which passes connections through.
pub fn passthrough_frontend(port: NonZeroU16) -> String {
    format!("tls-{port}")
}

/// Returns the name of the backend by which that frontend leads connections to the HTTPS listener's frontend.
pub fn decrypting_backend(port: NonZeroU16) -> String {
    format!("{DECRYPTING_PREFIX}{port}")
}

/// Whether the backend leads connections to the frontend that decrypts them.
pub fn is_decrypting(backend: &str) -> bool {
    backend.starts_with(DECRYPTING_PREFIX)
}

/// No route's backend has such a name, because it contains no colon.
pub const DECRYPTING_PREFIX: &str = "decrypt-";

/// Returns the backend name of a route, such as `app.example.com:80_api_v2`. Capitals mark what is not a host name,
/// because host names are in lower case.
pub fn backend_name(key: &RouteKey) -> String {
    let host = match key.host() {
        HostMatch::Exact(host) => host.to_string(),
        HostMatch::Wildcard(host) => format!("WILD.{host}"),
        HostMatch::Any => ANY_HOST.to_owned(),
    };
    let port = key.listener.port;
    let Match::Http { path: rule, .. } = &key.rule else {
        let name = shorten(sanitize(format!("{host}:{port}")), &key.to_string(), LONGEST_BACKEND);
        return format!("{name}{CONNECTIONS_SUFFIX}");
    };
    let (path, suffix) = match rule {
        PathRule::Prefix(prefix) => (prefix.to_string(), ""),
        PathRule::Exact(path) => (path.to_string(), EXACT_SUFFIX),
    };
    // Only `/` is replaced by `_`, so a path of these characters, which include no `_`, needs no hash.
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.'));
    let name = sanitize(format!("{host}:{port}{path}"));
    let whole = key.to_string();
    let longest = LONGEST_BACKEND - suffix.len();
    let name = if plain {
        shorten(name, &whole, longest)
    } else {
        shorten_with_hash(&name, &whole, longest)
    };
    name + suffix
}

fn shorten(name: String, whole: &str, longest: usize) -> String {
    if name.len() <= longest { name } else { shorten_with_hash(&name, whole, longest) }
}

/// Iterates over the names for a route's backend: [`backend_name`], then further ones for a route that changes its
/// shape while HAProxy runs. No other route has these names: a path with `:` gets a hash.
pub fn backend_names(key: &RouteKey) -> impl Iterator<Item = String> + use<> {
    let proper = backend_name(key);
    let others = (2_u32..).scan(proper.clone(), |name, number| Some(format!("{name}:{number}")));
    [proper].into_iter().chain(others)
}

/// Whether the backend of a route forwards connections.
pub fn is_of_connections(backend: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let without_number = backend.rsplit_once(':').filter(|(_, last)| is_number(last));
    let proper = without_number.map_or(backend, |(proper, _)| proper);
    match spare_shape(backend) {
        Some(shape) => shape.mode == Mode::Tcp,
        None => proper.ends_with(CONNECTIONS_SUFFIX),
    }
}

/// Returns the `defaults` section from which backends of a shape inherit, see [`super::provisioning`].
pub fn defaults_section(shape: BackendShape) -> &'static str {
    match (shape.mode, shape.probe) {
        (Mode::Tcp, probe) => match (shape.balance, probe) {
            (Balance::Least, Probe::Tcp) => "docker-glue-stream",
            (Balance::Least, Probe::Http) => "docker-glue-stream-http",
            (Balance::Round, Probe::Tcp) => "docker-glue-stream-round",
            (Balance::Round, Probe::Http) => "docker-glue-stream-round-http",
            (Balance::Source, Probe::Tcp) => "docker-glue-stream-source",
            (Balance::Source, Probe::Http) => "docker-glue-stream-source-http",
        },
        (Mode::Http, probe) if shape.sticky == StickyCookie::Cookie => match (probe, shape.connect)
        {
            (Probe::Tcp, ConnectRetry::On) => "docker-glue-sticky-tcp",
            (Probe::Http, ConnectRetry::On) => "docker-glue-sticky-http",
            (Probe::Tcp, ConnectRetry::Off) => "docker-glue-sticky-tcp-once",
            (Probe::Http, ConnectRetry::Off) => "docker-glue-sticky-http-once",
        },
        (Mode::Http, probe) => match (probe, shape.connect) {
            (Probe::Tcp, ConnectRetry::On) => "docker-glue-tcp",
            (Probe::Http, ConnectRetry::On) => "docker-glue-http",
            (Probe::Tcp, ConnectRetry::Off) => "docker-glue-tcp-once",
            (Probe::Http, ConnectRetry::Off) => "docker-glue-http-once",
        },
    }
}

/// Returns a server's name, such as `wp1-0123456789ab:80`: the container's name and short id, and its port. The check
/// mode, the check interval of its own and the transport of a server can neither be changed while HAProxy runs nor be
/// read back, so suffixes make a server with other ones a different server: `wp1-0123456789ab:80:5000ms:single`.
pub fn server_name(
    endpoint: &Endpoint,
    check_mode: CheckMode,
    transport: &ServerTransport,
) -> String {
    let Endpoint { container: origin, port, .. } = endpoint;
    let name = origin.name();
    let end = name.char_indices().nth(MAX_LENGTH).map_or(name.len(), |(at, _)| at);
    let name = sanitize(name[..end].to_owned());
    let interval = endpoint.options.get::<CheckInterval>().duration();
    let interval = interval.filter(|_| check_mode.is_checked());
    let interval = interval.map(|time| format!(":{}{INTERVAL_UNIT}", time.as_millis()));
    let suffix = match check_mode {
        // `hold` is not the server of an endpoint.
        CheckMode::Pool { .. } | CheckMode::Hold { .. } => "",
        CheckMode::Single { .. } => SINGLE_SUFFIX,
        CheckMode::Off => UNCHECKED_SUFFIX,
    };
    let interval = interval.unwrap_or_default();
    format!("{name}-{}:{port}{}{interval}{suffix}", origin.id(), transport.name_suffix())
}

/// Returns the short id of the container from the name of its server.
pub fn container_id(server: &str) -> Option<&str> {
    parse_container_port(server).map(|(id, _)| id)
}

/// Returns the container's short id and port, which depend neither on the check mode nor on the container's name.
pub fn parse_container_port(server: &str) -> Option<(&str, &str)> {
    parse_server(server).map(|(_, id, port)| (id, port))
}

/// Returns the container's name, short id and port.
pub fn parse_server(server: &str) -> Option<(&str, &str, &str)> {
    let server = without_check_mode(server);
    let server = split_interval(server).map_or(server, |(server, _)| server);
    let is_suffix = |(_, last): &(&str, &str)| server_transport::is_name_suffix(last);
    let server = server.rsplit_once(':').filter(is_suffix).map_or(server, |(server, _)| server);
    let (server, port) = server.rsplit_once(':')?;
    server.rsplit_once('-').map(|(name, id)| (name, id, port))
}

/// Returns the check interval of its own that a server has.
pub fn parse_check_interval(server: &str) -> CheckInterval {
    let interval = split_interval(without_check_mode(server));
    interval.and_then(|(_, interval)| interval.parse().ok()).unwrap_or_default()
}

fn without_check_mode(server: &str) -> &str {
    let suffixes = [SINGLE_SUFFIX, OLD_SINGLE_SUFFIX, UNCHECKED_SUFFIX];
    suffixes.iter().find_map(|end| server.strip_suffix(end)).unwrap_or(server)
}

/// Splits off the interval, with its unit.
fn split_interval(server: &str) -> Option<(&str, &str)> {
    let is_interval = |(_, last): &(&str, &str)| {
        let number = last.strip_suffix(INTERVAL_UNIT).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())
    };
    server.rsplit_once(':').filter(is_interval)
}

/// Returns this version's name for a server, given its name in a worker of any version.
pub fn current_server_name(server: &str) -> Cow<'_, str> {
    match server.strip_suffix(OLD_SINGLE_SUFFIX) {
        Some(place) => Cow::Owned(format!("{place}{SINGLE_SUFFIX}")),
        None => Cow::Borrowed(server),
    }
}

/// Whether this is the backend of routes without a server, in a worker of any version.
pub fn is_no_server(backend: &str) -> bool {
    matches!(backend, NO_SERVER | OLD_NO_SERVER)
}

/// Whether the backend answers requests of all routes that have none of their own.
pub fn is_shared(backend: &str) -> bool {
    is_no_server(backend) || is_static(backend)
}

/// Whether this version declares the backend in every file.
fn is_static(backend: &str) -> bool {
    let of_answers = [NO_SERVER, NO_SERVER_TCP, TO_HTTPS, NO_CERTIFICATE, CLOSED, REDIRECTS];
    let of_questions = [AUTH_SERVERS, AUTH_SERVERS_TLS];
    of_answers.contains(&backend)
        || of_questions.contains(&backend)
        || backend.starts_with(TABLE_PREFIX)
}

/// Whether the server stands for all authentication servers, whose addresses are in a map.
pub fn is_auth_server(backend: &str, server: &str) -> bool {
    [AUTH_SERVERS, AUTH_SERVERS_TLS].contains(&backend) && server == AUTH_SERVER
}

/// Returns the backend of routes without a server.
pub fn no_server_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Http => NO_SERVER,
        Mode::Tcp => NO_SERVER_TCP,
    }
}

/// Returns the name of the backend of routes without a server in a worker with these backends. A worker starts with the backend and keeps it.
pub fn no_server_in(backends: &BTreeSet<String>) -> &'static str {
    let is_old = backends.contains(OLD_NO_SERVER) && !backends.contains(NO_SERVER);
    if is_old { OLD_NO_SERVER } else { NO_SERVER }
}

/// Whether HAProxy does not check the server.
pub fn is_unchecked(server: &str) -> bool {
    server.ends_with(UNCHECKED_SUFFIX)
}

/// The shapes that spare backends have, and the start of their names. No route has such a name, because it contains no
/// port.
pub const SPARES: [(BackendShape, &str); 10] = [
    (BackendShape::http(Probe::Tcp, ConnectRetry::On), "spare-tcp-"),
    (BackendShape::http(Probe::Http, ConnectRetry::On), "spare-http-"),
    (BackendShape::http(Probe::Tcp, ConnectRetry::On).with_cookie(), "spare-sticky-tcp-"),
    (BackendShape::http(Probe::Http, ConnectRetry::On).with_cookie(), "spare-sticky-http-"),
    (BackendShape::tcp(Probe::Tcp, Balance::Least), "spare-stream-"),
    (BackendShape::tcp(Probe::Http, Balance::Least), "spare-stream-http-"),
    (BackendShape::tcp(Probe::Tcp, Balance::Round), "spare-stream-round-"),
    (BackendShape::tcp(Probe::Http, Balance::Round), "spare-stream-round-http-"),
    (BackendShape::tcp(Probe::Tcp, Balance::Source), "spare-stream-source-"),
    (BackendShape::tcp(Probe::Http, Balance::Source), "spare-stream-source-http-"),
];

/// Returns the name of a spare backend, such as `spare-tcp-001`. Numbers start at 1.
pub fn spare_name(prefix: &str, number: usize) -> String {
    format!("{prefix}{number:03}")
}

/// Returns the shape of a spare backend, which its name contains.
pub fn spare_shape(name: &str) -> Option<BackendShape> {
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let has_prefix = |prefix| name.strip_prefix(prefix).is_some_and(is_number);
    SPARES.iter().find(|(_, prefix)| has_prefix(*prefix)).map(|(shape, _)| *shape)
}

/// Whether a backend's name was made here: it is that of a shared or spare backend, or of a route, which contains the
/// port.
pub fn is_managed(backend: &str) -> bool {
    let has_port =
        |(_, remainder): (&str, &str)| remainder.starts_with(|c: char| c.is_ascii_digit());
    is_static(backend)
        || spare_shape(backend).is_some()
        || backend.split_once(':').is_some_and(has_port)
}

/// Returns a server's id, which depends only on its name: 1 to 2^31 - 1 (configuration manual, `id`).
pub fn server_id(name: &str) -> u32 {
    u32::try_from(hash(name) >> 33).unwrap_or(u32::MAX >> 1).max(1)
}

/// Returns the 64-bit FNV-1a hash: short, and the same in every version of this program, as names on disk must be.
pub fn hash(text: &str) -> u64 {
    hash_all([text])
}

/// Returns the hash of the concatenated texts.
pub fn hash_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let more = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    texts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, text| text.bytes().fold(hash, more))
}

/// Replaces characters that HAProxy does not allow with `_`. Most names are made repeatedly and need no change.
fn sanitize(name: String) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if name.chars().all(is_allowed) { name } else { name.replace(|c| !is_allowed(c), "_") }
}

fn shorten_with_hash(name: &str, whole: &str, longest: usize) -> String {
    let digest = Sha1::digest(whole);
    let end = digest.iter().take(8).fold(String::new(), |end, byte| format!("{end}{byte:02x}"));
    format!("{}-{end}", &name[..name.len().min(longest)])
}
