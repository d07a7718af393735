//! Sources of containers as `--source` and the tables `[[source]]` of the settings file name them.

use super::{RegistryAccess, options::AddressMode, value};
use crate::{
    label::{AllowedHost, AllowedPorts, Constraint},
    model::source_name::SourceName,
    support::etcd::{EtcdSettings, Password, parse_endpoint},
};
use anyhow::{Result, anyhow, bail};
use ipnet::IpNet;
use std::{net::IpAddr, path::PathBuf, time::Duration};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

/// The parameters of a source, as they follow its URL.
const PARAMETERS: [&str; 15] = [
    "name",
    "cert_path",
    "address",
    "host",
    "network",
    "allow_hosts",
    "allow_ports",
    "constraint",
    "forget",
    "allow_addresses",
    "user",
    "password_file",
    "ca_file",
    "cert_file",
    "key_file",
];

/// Those that only a registry has, and those that it does not have.
pub(super) const REGISTRY_PARAMETERS: [&str; 5] =
    ["user", "password_file", "ca_file", "cert_file", "key_file"];
const ENGINE_PARAMETERS: [&str; 3] = ["cert_path", "address", "host"];

pub(super) const PASSWORD_IN_URL: &str =
    "a password in a URL is visible in the list of processes; write password_file";

/// How long the containers of a machine of a registry are kept that shows no sign of life.
const FORGET_NODE: Duration = Duration::from_mins(5);

/// Where a registry is in etcd, if its URL does not say it.
const DEFAULT_PREFIX: &str = "docker-glue";

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// One Docker engine.
    Engine,
    /// Containers of many machines in etcd, where the docker-glue of each publishes them.
    Registry,
    /// A Docker Swarm, by its managers.
    Swarm,
}

impl SourceKind {
    /// Returns the kind of source that URLs of this scheme name.
    fn from_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "unix" | "tcp" | "http" | "https" | "ssh" => Some(Self::Engine),
            "etcd" | "etcds" => Some(Self::Registry),
            "swarm+unix" | "swarm+tcp" | "swarm+http" | "swarm+https" | "swarm+ssh" => {
                Some(Self::Swarm)
            }
            _ => None,
        }
    }

    fn default_forget(self) -> Option<Duration> {
        match self {
            Self::Engine | Self::Swarm => None,
            Self::Registry => Some(FORGET_NODE),
        }
    }

    /// Refuses a parameter that sources of this kind do not have.
    fn check_parameter(self, key: &str) -> Result<(), String> {
        match self {
            Self::Registry if key == "password" => Err(PASSWORD_IN_URL.to_owned()),
            Self::Registry if ENGINE_PARAMETERS.contains(&key) => Err(format!(
                "a source of etcd:// does not have it; its publishers say where their containers \
                 are, and its other parameters are {}",
                REGISTRY_PARAMETERS.join(", ")
            )),
            Self::Engine | Self::Swarm if REGISTRY_PARAMETERS.contains(&key) => {
                Err("only a source of etcd:// or etcds:// has it".to_owned())
            }
            Self::Swarm if key == "host" => {
                Err("the nodes of a Swarm have addresses of their own".to_owned())
            }
            Self::Engine | Self::Registry | Self::Swarm => Ok(()),
        }
    }
}

/// A source of containers, written as `URL?name=NAME&PARAMETER=VALUE…`. Values are percent-encoded. Lists are repeated
/// parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceOption {
    /// `unix:///PATH`, `tcp://HOST:PORT` or `ssh://USER@HOST`; for a Swarm with `swarm+` in front, and of TCP and SSH
    /// with the hosts of several managers, separated by commas; or `etcd://HOST,HOST/PREFIX`.
    pub url: String,
    pub kind: SourceKind,
    pub name: SourceName,
    /// The directory of `ca.pem`, `cert.pem` and `key.pem`. It turns on TLS.
    pub cert_path: Option<PathBuf>,
    pub address: Option<AddressMode>,
    /// The address of published ports. `None`: that of the URL's host.
    pub host: Option<IpAddr>,
    pub network: Option<String>,
    pub allow_hosts: Vec<AllowedHost>,
    pub allow_ports: Vec<AllowedPorts>,
    pub constraint: Vec<Constraint>,
    /// How long its containers are kept while it does not answer. `None`: until it answers.
    pub forget: Option<Duration>,
    pub allow_addresses: Vec<IpNet>,
    pub registry: RegistryAccess,
}

impl SourceOption {
    /// Parses a source.
    ///
    /// # Errors
    /// Says which parameter is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = value::parse_text(text)?;
        let (url, query) = text.split_once('?').unwrap_or((&text, ""));
        let mut name = None;
        let (url, kind) = parse_url(url)?;
        let mut source = Self {
            url,
            kind,
            name: SourceName::NONE,
            cert_path: None,
            address: None,
            host: None,
            network: None,
            allow_hosts: Vec::new(),
            allow_ports: Vec::new(),
            constraint: Vec::new(),
            forget: kind.default_forget(),
            allow_addresses: Vec::new(),
            registry: RegistryAccess::default(),
        };
        let mut etcd = EtcdFiles::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.as_ref();
            kind.check_parameter(&key).map_err(|text| format!("{key}: {text}"))?;
            let result = match key.as_ref() {
                "name" => value
                    .parse()
                    .map(|value| name = Some(value))
                    .map_err(|error| format!("{error}")),
                "cert_path" => value::parse_path(value).map(|path| source.cert_path = Some(path)),
                "address" => parse_address(value).map(|mode| source.address = Some(mode)),
                "host" => value::parse_ip(value).map(|ip| source.host = Some(ip)),
                "network" => value::parse_text(value).map(|name| source.network = Some(name)),
                "allow_hosts" => {
                    value::parse_host_fence(value).map(|fence| source.allow_hosts.push(fence))
                }
                "allow_ports" => {
                    value::parse_allowed_ports(value).map(|ports| source.allow_ports.push(ports))
                }
                "constraint" => {
                    value::parse_constraint(value).map(|one| source.constraint.push(one))
                }
                "allow_addresses" => {
                    value::parse_network(value).map(|network| source.allow_addresses.push(network))
                }
                key if REGISTRY_PARAMETERS.contains(&key) => etcd.set(key, value),
                "forget" => parse_forget(value).map(|time| source.forget = time),
                _ => {
                    Err(format!("there is no such parameter; there are {}", PARAMETERS.join(", ")))
                }
            };
            result.map_err(|text| format!("{key}: {text}"))?;
        }
        source.name =
            name.ok_or("a source needs a name: write tcp://10.0.0.2:2376?name=node2, for example")?;
        if kind == SourceKind::Registry {
            source.registry = etcd.build_access(&source.url)?;
        }
        Ok(source)
    }

    /// Converts a table of the settings file to the same text.
    ///
    /// # Errors
    /// If a value is neither a text nor a list of texts, or there is no URL.
    pub(super) fn text_of_table(table: &DeTable<'_>) -> Result<String> {
        let mut url = None;
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            for value in texts(key, value)? {
                match key {
                    "url" if url.is_none() => url = Some(value.to_owned()),
                    _ => drop(query.append_pair(key, value)),
                }
            }
        }
        let url = url.ok_or_else(|| anyhow!("a source needs a url"))?;
        Ok(format!("{url}?{}", query.finish()))
    }
}

/// The files and the user with which etcd is reached.
#[derive(Debug, Default)]
pub(super) struct EtcdFiles {
    user: Option<String>,
    password: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl EtcdFiles {
    /// Sets one of [`REGISTRY_PARAMETERS`].
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "user" => value::parse_text(value).map(|user| self.user = Some(user)),
            "password_file" => value::parse_path(value).map(|path| self.password = Some(path)),
            "ca_file" => value::parse_path(value).map(|path| self.ca = Some(path)),
            "cert_file" => value::parse_path(value).map(|path| self.cert = Some(path)),
            "key_file" => value::parse_path(value).map(|path| self.key = Some(path)),
            _ => Err("there is no such parameter".to_owned()),
        }
    }

    /// Parses `etcd://HOST,HOST:PORT/PREFIX`.
    pub(super) fn build_access(self, url: &str) -> Result<RegistryAccess, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_secure = scheme == "etcds";
        let Self { user, password, ca, cert, key } = self;
        if !is_secure && (ca.is_some() || cert.is_some() || key.is_some()) {
            return Err("certificates need etcds:// in place of etcd://".to_owned());
        }
        if hosts.contains("://") {
            return Err("hosts are separated by commas, as in etcd://10.0.0.2,10.0.0.3".to_owned());
        }
        let endpoints = hosts.split(',').map(|host| parse_endpoint(host, is_secure));
        let steps: Vec<_> = prefix.split('/').filter(|step| !step.is_empty()).collect();
        if steps.iter().any(|step| step.contains(char::is_whitespace)) {
            return Err("the prefix must be a path such as /docker-glue".to_owned());
        }
        let prefix = if steps.is_empty() { DEFAULT_PREFIX.to_owned() } else { steps.join("/") };
        let etcd = EtcdSettings {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            user: both(user, password, "user and password_file must be set together")?
                .map(|(user, file)| (user, Password::File(file))),
            ca,
            identity: both(cert, key, "cert_file and key_file must be set together")?,
        };
        Ok(RegistryAccess { etcd, prefix: format!("/{prefix}/") })
    }
}

fn both<A, B>(one: Option<A>, other: Option<B>, text: &str) -> Result<Option<(A, B)>, String> {
    match (one, other) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        _ => Err(text.to_owned()),
    }
}

fn texts<'a>(key: &str, value: &'a Spanned<DeValue<'_>>) -> Result<Vec<&'a str>> {
    match value.get_ref() {
        DeValue::String(text) => Ok(vec![text.as_ref()]),
        DeValue::Array(elements) => {
            let text = |element: &'a Spanned<DeValue<'_>>| match element.get_ref() {
                DeValue::String(text) => Some::<&str>(DeString::as_ref(text)),
                _ => None,
            };
            elements
                .iter()
                .map(|element| text(element).ok_or_else(|| anyhow!("{key}: not a list of texts")))
                .collect()
        }
        _ => bail!("{key}: the value must be a text or a list of texts"),
    }
}

/// A password in a URL would be visible in the list of processes.
pub(super) fn parse_url(url: &str) -> Result<(String, SourceKind), String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        format!("{url:?} is not unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST")
    })?;
    let kind = SourceKind::from_scheme(scheme).ok_or_else(|| {
        format!(
            "sources of {scheme}:// are not supported: write unix, tcp, ssh or etcd, for a Swarm with \
             swarm+ in front"
        )
    })?;
    let has_password =
        |place: &str| place.split_once('@').is_some_and(|(user, _)| user.contains(':'));
    if rest.split(',').any(has_password) {
        return Err("a URL must not contain a password".to_owned());
    }
    Ok((url.to_owned(), kind))
}

fn parse_address(text: &str) -> Result<AddressMode, String> {
    match text {
        "container" => Ok(AddressMode::Container),
        "published" => Ok(AddressMode::Published),
        _ => Err("the value must be container or published".to_owned()),
    }
}

/// `never` is `None`.
fn parse_forget(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    value::parse_duration(text).map(Some).map_err(|error| format!("{error}, or never"))
}

#[cfg(test)]
mod tests {
    use super::{SourceKind, SourceOption};
    use std::time::Duration;

    #[test]
    fn source_is_a_url_with_parameters() {
        let text = "tcp://10.0.0.2:2376?name=node2&cert_path=/etc/docker-glue/node2\
                    &address=published&host=10.0.0.3&network=web\
                    &allow_hosts=*.staging.example.com&allow_hosts=a.example.com&constraint=env%3Dtest\
                    &forget=1h";
        let source = SourceOption::parse(text).unwrap();
        assert_eq!(source.url, "tcp://10.0.0.2:2376");
        assert_eq!(source.name.as_str(), "node2");
        assert_eq!(source.cert_path, Some("/etc/docker-glue/node2".into()));
        assert_eq!(source.host, Some("10.0.0.3".parse().unwrap()));
        assert_eq!(source.network.as_deref(), Some("web"));
        assert_eq!(source.allow_hosts.len(), 2);
        assert_eq!(source.constraint.len(), 1);
        assert_eq!(source.forget, Some(Duration::from_hours(1)));
    }

    #[test]
    fn registry_is_a_url_of_etcd() {
        for (text, endpoints, prefix, forget) in [
            ("etcd://10.0.0.2?name=f", &["http://10.0.0.2:2379"][..], "/docker-glue/", Some(300)),
            (
                "etcd://10.0.0.2,e.test:9/a/b/?name=f&forget=never",
                &["http://10.0.0.2:2379", "http://e.test:9"],
                "/a/b/",
                None,
            ),
            (
                "etcds://[::1],e/x?name=f&ca_file=/ca&cert_file=/c&key_file=/k&forget=1s",
                &["https://[::1]:2379", "https://e:2379"],
                "/x/",
                Some(1),
            ),
        ] {
            let source = SourceOption::parse(text).unwrap();
            assert_eq!(source.kind, SourceKind::Registry);
            let access = source.registry;
            assert_eq!(
                (access.etcd.endpoints.join(" "), &*access.prefix),
                (endpoints.join(" "), prefix)
            );
            assert_eq!(source.forget.map(|time| time.as_secs()), forget, "{text}");
        }
        let fences = "etcd://a?name=f&allow_addresses=10.0.0.0/8&allow_addresses=fd00::1\
                      &user=u&password_file=/p";
        let source = SourceOption::parse(fences).unwrap();
        assert_eq!(source.allow_addresses.len(), 2);
        assert!(source.registry.etcd.user.is_some());
    }

    #[test]
    fn wrong_source_is_explained() {
        for (text, expected) in [
            ("tcp://10.0.0.2:2376", "a source needs a name"),
            ("10.0.0.2:2376?name=a", "is not unix:///PATH"),
            ("consul://10.0.0.2?name=a", "sources of consul:// are not supported"),
            ("tcp://me:secret@10.0.0.2?name=a", "must not contain a password"),
            ("swarm+ssh://me@m1,me:secret@m2?name=a", "must not contain a password"),
            ("swarm+tcp://m1:2376?name=a&host=10.0.0.3", "host: the nodes of a Swarm have"),
            ("tcp://10.0.0.2?name=Node-2", "name: \"Node-2\" is not a name of 1 to 16"),
            (
                "tcp://10.0.0.2?name=a&weight=2",
                "weight: there is no such parameter; there are name",
            ),
            ("tcp://10.0.0.2?name=a&address=both", "address: the value must be container or"),
            ("tcp://10.0.0.2?name=a&forget=soon", "as in 500ms, 30s or 5m, or never"),
            ("tcp://10.0.0.2?name=a&user=u", "user: only a source of etcd:// or etcds:// has it"),
            ("etcd://me:secret@a?name=a", "must not contain a password"),
            ("etcd://secret@a?name=a", "must not contain a user and password"),
            ("etcd://a?name=a&user=u&password=secret", "write password_file"),
            ("etcd://a?name=a&user=u", "user and password_file must be set together"),
            ("etcd://a?name=a&ca_file=/ca", "certificates need etcds://"),
            ("etcds://a?name=a&cert_file=/c", "cert_file and key_file must be set together"),
            ("etcd://a:b?name=a", "\"a:b\" is not an endpoint"),
            ("etcd://?name=a", "\"\" is not an endpoint"),
            ("etcd://a?name=a&address=container", "address: a source of etcd:// does not have it"),
            ("etcd://a?name=a&allow_addresses=x", "allow_addresses: "),
        ] {
            let error = SourceOption::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
