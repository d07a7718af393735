//! Sources of containers as `--source` and the tables `[[source]]` of the settings file name them.

use super::{options::AddressMode, value};
use crate::{
    label::{AllowedHost, AllowedPorts, Constraint},
    model::source_name::SourceName,
};
use anyhow::{Result, anyhow, bail};
use std::{net::IpAddr, path::PathBuf, time::Duration};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

/// The parameters of a source, as they follow its URL.
const PARAMETERS: [&str; 9] = [
    "name",
    "cert_path",
    "address",
    "host",
    "network",
    "allow_hosts",
    "allow_ports",
    "constraint",
    "forget",
];

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// One Docker engine.
    Engine,
    /// A Docker Swarm, by its managers.
    Swarm,
}

impl SourceKind {
    /// Returns the kind of source that URLs of this scheme name.
    fn from_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "unix" | "tcp" | "http" | "https" | "ssh" => Some(Self::Engine),
            "swarm+unix" | "swarm+tcp" | "swarm+http" | "swarm+https" | "swarm+ssh" => {
                Some(Self::Swarm)
            }
            _ => None,
        }
    }
}

/// A source of containers, written as `URL?name=NAME&PARAMETER=VALUE…`. Values are percent-encoded. Lists are repeated
/// parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceOption {
    /// `unix:///PATH`, `tcp://HOST:PORT` or `ssh://USER@HOST`; for a Swarm with `swarm+` in front, and of TCP and SSH
    /// with the hosts of several managers, separated by commas.
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
            forget: None,
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.as_ref();
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
                "forget" => parse_forget(value).map(|time| source.forget = time),
                _ => {
                    Err(format!("there is no such parameter; there are {}", PARAMETERS.join(", ")))
                }
            };
            result.map_err(|text| format!("{key}: {text}"))?;
        }
        if source.kind == SourceKind::Swarm && source.host.is_some() {
            return Err("host: the nodes of a Swarm have addresses of their own".to_owned());
        }
        source.name =
            name.ok_or("a source needs a name: write tcp://10.0.0.2:2376?name=node2, for example")?;
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
fn parse_url(url: &str) -> Result<(String, SourceKind), String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        format!("{url:?} is not unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST")
    })?;
    let kind = SourceKind::from_scheme(scheme).ok_or_else(|| {
        format!(
            "sources of {scheme}:// are not supported: write unix, tcp or ssh, for a Swarm with \
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
    use super::SourceOption;
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
        ] {
            let error = SourceOption::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
