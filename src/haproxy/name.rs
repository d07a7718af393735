//! HAProxy's names for routes and endpoints: readable, unique, the same each time.
//!
//! Pure. HAProxy allows letters, digits and `_ - . :` in names (configuration manual, section 4).

use super::config::{BackendShape, CheckMode, ConnectRetry, Probe};
use crate::model::{
    option_value::HostMatch,
    route::{Endpoint, Match, RouteKey},
};
use sha1::{Digest, Sha1};
use std::{borrow::Cow, collections::BTreeSet};

/// Longer names are cut, and told apart by a hash that nobody finds two texts for: who writes labels chooses them.
const MAX_LENGTH: usize = 120;

/// Those of backends are shorter: with all else that goes along with a request they have to fit into a unique id of the
/// PROXY protocol, which has 128 bytes.
const LONGEST_BACKEND: usize = 72;

const SINGLE_SUFFIX: &str = ":single";
const UNCHECKED_SUFFIX: &str = ":unchecked";

/// Answers for all routes that have no server at the moment, with a 503.
pub const NO_SERVER: &str = "no-server";

/// The names that earlier versions gave this backend and the only server of a route. Their workers keep them, also after
/// the reload that an upgrade takes, until their last connection ends. To be removed one release later.
const OLD_NO_SERVER: &str = "nobody";
const OLD_SINGLE_SUFFIX: &str = ":alone";

/// The server of each backend that requests wait on, see [`super::config::hold`]. No container's server is called so.
pub const HOLD_SERVER: &str = "hold";

/// The frontend that it leads to, see [`super::requeue`].
pub const REQUEUE: &str = "docker-glue-requeue";

/// What backends that requests may come back to are called: spares, and those with their port.
pub const OURS: &str = "^(spare-(tcp|http)-[0-9]+|[^:]+:[0-9].*)$";

/// `app.example.com:80_api_v2`. Capitals mark what is no host's own name: hosts are lower case.
pub fn backend_name(key: &RouteKey) -> String {
    let Match::Http { host, prefix } = &key.rule;
    let host = match host {
        HostMatch::Exact(host) => host.to_string(),
        HostMatch::Wildcard(host) => format!("WILD.{host}"),
        HostMatch::Any => "ANY".to_owned(),
    };
    let port = key.listener.port;
    let path = prefix.as_str();
    // Only `/` becomes `_`, so a path without `_` and without other characters needs no hash.
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.'));
    let name = sanitize(format!("{host}:{port}{path}"));
    if plain && name.len() <= LONGEST_BACKEND {
        name
    } else {
        shorten_with_hash(&name, &key.to_string())
    }
}

/// That, and further ones for a route that changes its shape while HAProxy runs: a `:` in a path would
/// have made a hash of it, so no other route is called so.
pub fn backend_names(key: &RouteKey) -> impl Iterator<Item = String> + use<> {
    let proper = backend_name(key);
    let others = (2_u32..).scan(proper.clone(), |name, number| Some(format!("{name}:{number}")));
    [proper].into_iter().chain(others)
}

/// The section of defaults that backends of a shape inherit from, see [`super::growth`].
pub fn defaults_section(shape: BackendShape) -> &'static str {
    match (shape.probe, shape.connect) {
        (Probe::Tcp, ConnectRetry::On) => "docker-glue-tcp",
        (Probe::Http, ConnectRetry::On) => "docker-glue-http",
        (Probe::Tcp, ConnectRetry::Off) => "docker-glue-tcp-once",
        (Probe::Http, ConnectRetry::Off) => "docker-glue-http-once",
    }
}

/// `wp1-0123456789ab:80`: the container's name and short id, and its port. How it is watched cannot be
/// changed while HAProxy runs, nor read back, so a server that is watched otherwise is another one.
pub fn server_name(endpoint: &Endpoint, check_mode: CheckMode) -> String {
    let Endpoint { container: origin, port, .. } = endpoint;
    let name = origin.name();
    let end = name.char_indices().nth(MAX_LENGTH).map_or(name.len(), |(at, _)| at);
    let name = sanitize(name[..end].to_owned());
    let suffix = match check_mode {
        // The one that requests wait on is no endpoint's.
        CheckMode::Pool | CheckMode::Hold { .. } => "",
        CheckMode::Single { .. } => SINGLE_SUFFIX,
        CheckMode::Off => UNCHECKED_SUFFIX,
    };
    format!("{name}-{}:{port}{suffix}", origin.id())
}

/// The short id of the container that a server of ours stands for.
pub fn container_id(server: &str) -> Option<&str> {
    parse_container_port(server).map(|(id, _)| id)
}

/// That and the container's port, which do not depend on how it is watched, nor on the container's name.
pub fn parse_container_port(server: &str) -> Option<(&str, &str)> {
    parse_server(server).map(|(_, id, port)| (id, port))
}

/// The container's name and short id, and its port.
pub fn parse_server(server: &str) -> Option<(&str, &str, &str)> {
    let suffixes = [SINGLE_SUFFIX, OLD_SINGLE_SUFFIX, UNCHECKED_SUFFIX];
    let server = suffixes.iter().find_map(|end| server.strip_suffix(end)).unwrap_or(server);
    let (server, port) = server.rsplit_once(':')?;
    server.rsplit_once('-').map(|(name, id)| (name, id, port))
}

/// The name that this version gives the server which a worker of any version calls so.
pub fn current_server_name(server: &str) -> Cow<'_, str> {
    match server.strip_suffix(OLD_SINGLE_SUFFIX) {
        Some(place) => Cow::Owned(format!("{place}{SINGLE_SUFFIX}")),
        None => Cow::Borrowed(server),
    }
}

/// Whether a route that leads to this backend has no server, in a worker of any version.
pub fn is_no_server(backend: &str) -> bool {
    matches!(backend, NO_SERVER | OLD_NO_SERVER)
}

/// The backend's name in a worker that has these backends: it is started with it, and keeps it.
pub fn no_server_in(backends: &BTreeSet<String>) -> &'static str {
    let is_old = backends.contains(OLD_NO_SERVER) && !backends.contains(NO_SERVER);
    if is_old { OLD_NO_SERVER } else { NO_SERVER }
}

/// Whether HAProxy does not judge it.
pub fn is_unchecked(server: &str) -> bool {
    server.ends_with(UNCHECKED_SUFFIX)
}

/// `spare-tcp-001`, from 1.
pub fn spare_name(probe: Probe, number: usize) -> String {
    format!("{}{number:03}", spare_prefix(probe))
}

/// What the name of a spare backend says about its shape.
pub fn spare_shape(name: &str) -> Option<BackendShape> {
    let probes = [Probe::Tcp, Probe::Http];
    let probe = probes.into_iter().find(|probe| name.starts_with(spare_prefix(*probe)))?;
    Some(BackendShape { probe, connect: ConnectRetry::On })
}

/// Whether a backend's name is one of those made here: a spare's, or a route's with its port.
pub fn is_managed(backend: &str) -> bool {
    let has_port =
        |(_, remainder): (&str, &str)| remainder.starts_with(|c: char| c.is_ascii_digit());
    let shared = backend == NO_SERVER || spare_shape(backend).is_some();
    shared || backend.split_once(':').is_some_and(has_port)
}

/// No route has such a name: there is no port in it.
fn spare_prefix(probe: Probe) -> &'static str {
    match probe {
        Probe::Tcp => "spare-tcp-",
        Probe::Http => "spare-http-",
    }
}

/// A number for a server that depends on its name alone: 1 to 2^31 - 1 (configuration manual, `id`).
pub fn server_id(name: &str) -> u32 {
    u32::try_from(hash(name) >> 33).unwrap_or(u32::MAX >> 1).max(1)
}

/// 64-bit FNV-1a: short, and the same in every version of this program, as names on disk must be.
pub fn hash(text: &str) -> u64 {
    hash_all([text])
}

/// The same of texts one after the other.
pub fn hash_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let more = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    texts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, text| text.bytes().fold(hash, more))
}

/// With `_` in place of what is not allowed. Most names are made again and again, and are allowed as they are.
fn sanitize(name: String) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if name.chars().all(is_allowed) { name } else { name.replace(|c| !is_allowed(c), "_") }
}

fn shorten_with_hash(name: &str, whole: &str) -> String {
    let digest = Sha1::digest(whole);
    let end = digest.iter().take(8).fold(String::new(), |end, byte| format!("{end}{byte:02x}"));
    format!("{}-{end}", &name[..name.len().min(LONGEST_BACKEND)])
}
