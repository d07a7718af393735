//! `[params]` of a publisher: what is published, where, and with which credentials.
//!
//! Pure. `clientParams` from Docker Glue's example is accepted as well as the plain names.

use super::literal::parse_literal;
use crate::{
    handlers::ini::{IniError, Section},
    support::etcd::{EtcdSettings, Password, parse_endpoint},
};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, time::Duration};

/// etcd grants no lease that is much shorter, and a request is sent after each third of it.
const MIN_TTL: Duration = Duration::from_secs(2);
const MAX_TTL: Duration = Duration::from_hours(24);

const PARAMS: &[&str] = &[
    "class",
    "clientParams",
    "endpoints",
    "user",
    "password",
    "password_file",
    "ca_file",
    "cert_file",
    "key_file",
    "prefix",
    "node",
    "ttl",
    "include_stopped",
    "omit",
    "on_stop",
    "what",
    "labels",
    "addresses",
];

/// What is omitted by default: the places where containers are usually given secrets.
const DEFAULT_OMIT: &str = "Config.Env, HostConfig.LogConfig.Config";

#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    pub(crate) access: EtcdSettings,
    /// With a slash at the end: `/docker-glue/`.
    pub(crate) prefix: String,
    /// `None` means the name of the host as the engine reports it.
    pub(crate) node: Option<String>,
    pub(crate) ttl: Duration,
    pub(crate) on_stop: OnStop,
    pub(crate) view: PublishView,
    /// Where other machines reach the ports that containers publish. `None`: at the address from which this machine
    /// connects to etcd.
    pub(crate) addresses: Option<Vec<IpAddr>>,
}

/// What happens to the keys when docker-glue stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnStop {
    Delete,
    /// The keys remain until the lease expires.
    Keep,
}

/// Which keys are published of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishedParts {
    /// What docker-balancer needs of containers with labels.
    Served,
    /// The output of `docker inspect`.
    Inspect,
    Both,
}

/// Which containers are published, and what is omitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishView {
    pub(crate) parts: PublishedParts,
    /// Labels that records contain, besides those that docker-balancer always reads.
    pub(crate) labels: BTreeSet<String>,
    pub(crate) include_stopped: bool,
    /// The paths in a container's description that are omitted, as lists of keys.
    pub(crate) omit: Vec<Vec<String>>,
}

impl PublishedParts {
    pub(crate) fn has_records(self) -> bool {
        matches!(self, Self::Served | Self::Both)
    }

    pub(crate) fn has_inspections(self) -> bool {
        matches!(self, Self::Inspect | Self::Both)
    }
}

impl Publish {
    pub(crate) fn parse_params(params: &Section) -> Result<Self, IniError> {
        params.reject_unknown(PARAMS)?;
        check_backend(params)?;
        let parts = parse_parts(params)?;
        Ok(Self {
            access: EtcdSettings::from_params(params)?,
            prefix: format!("{}/", parse_key_path(params, "prefix", "/docker-glue")?),
            node: parse_node(params)?,
            ttl: parse_ttl(params)?,
            on_stop: parse_on_stop(params, parts)?,
            addresses: parse_addresses(params)?,
            view: PublishView {
                parts,
                labels: params.split_list("labels").into_iter().map(str::to_owned).collect(),
                include_stopped: params.parse_bool("include_stopped", false)?,
                omit: parse_omit(params)?,
            },
        })
    }
}

fn check_backend(params: &Section) -> Result<(), IniError> {
    match non_empty_param(params, "class") {
        None | Some("etcd" | "distconfig.backends.etcd.EtcdBackend") => Ok(()),
        Some(other) => {
            let text = format!("unknown store {other:?}; containers can only be published to etcd");
            Err(params.error_at("class", text))
        }
    }
}

fn non_empty_param<'a>(params: &'a Section, key: &str) -> Option<&'a str> {
    params.get(key).filter(|text| !text.is_empty())
}

/// Returns a path such as `/a/b`, or an empty string for the root.
fn parse_key_path(params: &Section, key: &str, default: &str) -> Result<String, IniError> {
    let steps: Vec<_> = non_empty_param(params, key).unwrap_or(default).split('/').collect();
    let steps: Vec<_> = steps.into_iter().filter(|step| !step.is_empty()).collect();
    if steps.iter().any(|step| step.contains(char::is_whitespace)) {
        return Err(params.error_at(key, format!("{key} must be a path such as {default}")));
    }
    let slash = if steps.is_empty() { "" } else { "/" };
    Ok(format!("{slash}{}", steps.join("/")))
}

fn parse_node(params: &Section) -> Result<Option<String>, IniError> {
    let node = non_empty_param(params, "node");
    if node.is_some_and(|node| node.contains(|c: char| c == '/' || c.is_whitespace())) {
        return Err(params.error_at("node", "node must be a name without / and spaces"));
    }
    Ok(node.map(str::to_owned))
}

/// etcd's leases have whole seconds.
fn parse_ttl(params: &Section) -> Result<Duration, IniError> {
    let ttl = params.parse_duration("ttl", Duration::from_secs(30))?;
    if ttl < MIN_TTL || MAX_TTL < ttl {
        return Err(params.error_at("ttl", "ttl must be from 2s to 24h"));
    }
    Ok(Duration::from_secs(ttl.as_secs()))
}

fn parse_parts(params: &Section) -> Result<PublishedParts, IniError> {
    match non_empty_param(params, "what") {
        None | Some("inspect") => Ok(PublishedParts::Inspect),
        Some("served") => Ok(PublishedParts::Served),
        Some("both") => Ok(PublishedParts::Both),
        Some(other) => {
            let text = format!("what must be served, inspect or both, not {other:?}");
            Err(params.error_at("what", text))
        }
    }
}

fn parse_addresses(params: &Section) -> Result<Option<Vec<IpAddr>>, IniError> {
    let all = params.split_list("addresses");
    let ip = |text: &str| match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        _ => {
            let text = format!("{text:?} is not an address of this machine such as 10.0.0.2");
            Err(params.error_at("addresses", text))
        }
    };
    let all = all.into_iter().map(ip).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// A registry keeps its keys: containers run on while docker-glue is upgraded, and their routes must not go.
fn parse_on_stop(params: &Section, parts: PublishedParts) -> Result<OnStop, IniError> {
    match non_empty_param(params, "on_stop") {
        None if parts.has_records() => Ok(OnStop::Keep),
        None | Some("delete") => Ok(OnStop::Delete),
        Some("keep") => Ok(OnStop::Keep),
        Some(other) => {
            Err(params
                .error_at("on_stop", format!("on_stop must be delete or keep, not {other:?}")))
        }
    }
}

fn parse_omit(params: &Section) -> Result<Vec<Vec<String>>, IniError> {
    let paths = match non_empty_param(params, "omit") {
        None => DEFAULT_OMIT.split(", ").collect(),
        Some("none") => Vec::new(),
        Some(_) => params.split_list("omit"),
    };
    let step = |step: &str| (!step.is_empty()).then(|| step.to_owned());
    let steps = |path: &str| path.split('.').map(step).collect::<Option<Vec<_>>>();
    paths.into_iter().map(steps).collect::<Option<_>>().ok_or_else(|| {
        params.error_at(
            "omit",
            "omit must be none, or a comma-separated list of names such as Config.Env",
        )
    })
}

impl EtcdSettings {
    fn from_params(params: &Section) -> Result<Self, IniError> {
        let client = ClientParams::from_params(params)?;
        let ca = param_or_client(params, "ca_file", client.ca)?;
        let cert = param_or_client(params, "cert_file", client.cert)?;
        let key = param_or_client(params, "key_file", client.key)?;
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => return Err(params.error_at("cert_file", "key_file is missing")),
            (None, Some(_)) => return Err(params.error_at("key_file", "cert_file is missing")),
        };
        let secure = client.secure || ca.is_some() || identity.is_some();
        let endpoints = parse_endpoints(params, client.hosts, secure)?;
        if secure && endpoints.iter().any(|url| url.starts_with("http:")) {
            let text = "certificates do not apply to an endpoint that starts with http://";
            return Err(params.error_at("endpoints", text));
        }
        let user = param_or_client(params, "user", client.user)?;
        let user = user.zip(parse_password(params, client.password)?);
        if user.is_none()
            && (non_empty_param(params, "user").is_some() || params.get("password").is_some())
        {
            let text = "user and password (or password_file) must be set together";
            return Err(params.error_at("user", text));
        }
        Ok(Self { endpoints, user, ca: ca.map(PathBuf::from), identity })
    }
}

/// Returns a value that is set as a param or in clientParams. It is an error if both set it.
fn param_or_client(
    params: &Section,
    key: &str,
    client: Option<String>,
) -> Result<Option<String>, IniError> {
    match (non_empty_param(params, key), client) {
        (Some(_), Some(_)) => {
            Err(params.error_at(key, format!("{key} is set both here and in clientParams")))
        }
        (plain, client) => Ok(plain.map(str::to_owned).or(client)),
    }
}

fn parse_password(params: &Section, client: Option<String>) -> Result<Option<Password>, IniError> {
    match (param_or_client(params, "password", client)?, non_empty_param(params, "password_file")) {
        (Some(_), Some(_)) => Err(params.error_at("password_file", "password is set as well")),
        (Some(text), None) => Ok(Some(Password::Inline(text))),
        (None, file) => Ok(file.map(|file| Password::File(file.into()))),
    }
}

fn parse_endpoints(
    params: &Section,
    client: Vec<String>,
    secure: bool,
) -> Result<Vec<String>, IniError> {
    let plain = params.split_list("endpoints");
    if !plain.is_empty() && !client.is_empty() {
        return Err(params.error_at("endpoints", "endpoints is set both here and in clientParams"));
    }
    let (key, all) = if plain.is_empty() {
        ("clientParams", client)
    } else {
        ("endpoints", plain.into_iter().map(str::to_owned).collect())
    };
    if all.is_empty() {
        let text =
            "the key endpoints is missing in [params], as in endpoints=http://127.0.0.1:2379";
        return Err(params.error_at("endpoints", text));
    }
    let wrong = |message| params.error_at(key, message);
    all.iter().map(|text| parse_endpoint(text, secure).map_err(wrong)).collect()
}

/// The content of clientParams, with the names of the Python etcd client.
#[derive(Default)]
struct ClientParams {
    hosts: Vec<String>,
    secure: bool,
    user: Option<String>,
    password: Option<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

/// Options that only affect the Python client itself.
const IGNORED_CLIENT_KEYS: &[&str] = &[
    "allow_reconnect",
    "allow_redirect",
    "lock_prefix",
    "per_host_pool_size",
    "read_timeout",
    "use_proxies",
    "version_prefix",
];

impl ClientParams {
    fn from_params(params: &Section) -> Result<Self, IniError> {
        let Some(text) = non_empty_param(params, "clientParams") else {
            return Ok(Self::default());
        };
        let wrong = |message: String| params.error_at("clientParams", message);
        match parse_literal(text) {
            Ok(Value::Object(map)) => Self::from_map(map).map_err(wrong),
            Ok(_) => {
                Err(wrong("clientParams must be a map such as {\"host\": \"10.0.0.2\"}".into()))
            }
            Err(message) => Err(wrong(format!("clientParams: {message}"))),
        }
    }

    fn from_map(map: Map<String, Value>) -> Result<Self, String> {
        let mut client = Self::default();
        let mut port = None;
        for (key, value) in map {
            let wrong = |what: &str| format!("clientParams: {key} must be {what}");
            let text = || value.as_str().map(str::to_owned).ok_or_else(|| wrong("a quoted text"));
            match key.as_str() {
                _ if value.is_null() => {}
                "host" | "hosts" => client.hosts.extend(
                    parse_hosts(&value)
                        .ok_or_else(|| wrong("a host, or pairs of a host and a port"))?,
                ),
                "port" => port = Some(value.as_u64().ok_or_else(|| wrong("a number"))?),
                "protocol" => client.secure |= text()? == "https",
                "username" | "user" => client.user = Some(text()?),
                "password" => client.password = Some(text()?),
                "ca_cert" => client.ca = Some(text()?),
                "cert" => match &value {
                    Value::Array(pair) if pair.len() == 2 => {
                        let word = |at: usize| pair[at].as_str().map(str::to_owned);
                        (client.cert, client.key) = (word(0), word(1));
                    }
                    _ => return Err(wrong("a pair of the certificate's file and the key's file")),
                },
                idle if IGNORED_CLIENT_KEYS.contains(&idle) => {}
                other => return Err(format!("clientParams: unknown key {other:?}")),
            }
        }
        if let (Some(port), [host]) = (port, client.hosts.as_mut_slice())
            && !host.contains(':')
        {
            *host = format!("{host}:{port}");
        }
        Ok(client)
    }
}

/// Parses `"a"`, `"a:1,b:2"`, `("a", 1)`, `(("a", 1), ("b", 2))`, `["a:1", "b"]`.
fn parse_hosts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(text.split(',').map(|text| text.trim().to_owned()).collect()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(host), Value::Number(port)] => Some(vec![format!("{host}:{port}")]),
            all => {
                let all = all.iter().map(parse_hosts).collect::<Option<Vec<_>>>()?;
                Some(all.into_iter().flatten().collect())
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
