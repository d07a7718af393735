//! Connects to the engine: its address, its certificates, and the error messages when it does not answer.

use super::ssh::{self, Destination};
use crate::model::source_name::SourceName;
use anyhow::{Context, Result, anyhow, bail};
use bollard::{API_DEFAULT_VERSION, Docker};
use std::{
    io::{Error, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

pub const DEFAULT_URL: &str = "unix:///var/run/docker.sock";

/// Where Docker is and how to connect to it. The caller has read the flags and the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// The name of this source, if it is not the only one.
    pub source: SourceName,
    /// `--docker-url`, else `DOCKER_HOST`. `None`, and an empty text, mean `DEFAULT_URL`.
    pub url: Option<String>,
    /// `DOCKER_TLS_VERIFY` is set and not empty.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`: the folder of `ca.pem`, `cert.pem` and `key.pem`; with TLS, `~/.docker` if it is not set.
    /// Setting it turns on TLS, and then the engine's certificate is verified too.
    pub cert_path: Option<PathBuf>,
    pub timeouts: Timeouts,
}

/// How long the engine may take to answer before it counts as unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub list: Duration,
    pub inspect: Duration,
    /// How long the engine may be silent before it is pinged, and how long it may take to answer that.
    pub ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), list: seconds(30), inspect: seconds(10), ping: seconds(5) }
    }
}

impl Timeouts {
    /// Returns the timeouts of one of several engines: one that hangs is reported within five seconds.
    pub fn for_several() -> Self {
        Self { ping: Duration::from_secs(2), ..Self::default() }
    }
}

impl EngineSettings {
    pub fn url(&self) -> &str {
        self.url.as_deref().map(str::trim).filter(|url| !url.is_empty()).unwrap_or(DEFAULT_URL)
    }

    /// Returns the engine's host as the URL names it, which may be an alias of ssh. `None` for a socket of this machine.
    ///
    /// # Errors
    /// If the URL is not valid.
    pub fn machine(&self) -> Result<Option<String>> {
        Ok(match self.host()? {
            EngineHost::Local => None,
            EngineHost::Named(host) | EngineHost::SshAlias(host) => Some(host),
        })
    }

    /// Returns the engine's host as the URL names it.
    pub(crate) fn host(&self) -> Result<EngineHost> {
        Ok(match DockerAddress::parse_url(self)? {
            DockerAddress::Unix(_) => EngineHost::Local,
            DockerAddress::Plain(location) | DockerAddress::Tls(location) => {
                EngineHost::Named(host_part(&location).to_owned())
            }
            DockerAddress::Ssh(destination) => EngineHost::SshAlias(destination.host),
        })
    }
}

/// Where an engine listens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EngineHost {
    /// A socket on this machine.
    Local,
    Named(String),
    /// May be an alias in the user's ssh configuration.
    SshAlias(String),
}

/// Creates a client for the engine. No API version is requested, so each engine uses its newest one.
pub(crate) async fn connect_client(settings: &EngineSettings) -> Result<Docker> {
    let (url, timeouts) = (settings.url(), settings.timeouts);
    let address = DockerAddress::parse_url(settings)?;
    let probe = timeout(timeouts.connect, address.probe_address());
    let timeout_error = || anyhow!("no answer from Docker at {url} within {:?}", timeouts.connect);
    probe.await.map_err(|_| timeout_error())?.map_err(|error| connect_error(url, &error))?;
    let seconds = timeouts.list.as_secs().max(1);
    match &address {
        DockerAddress::Unix(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
        }
        DockerAddress::Plain(location) => {
            Docker::connect_with_http(location, seconds, API_DEFAULT_VERSION)
        }
        DockerAddress::Tls(location) => return with_tls(settings, location, seconds),
        DockerAddress::Ssh(destination) => {
            return ssh::connect_client(destination, url, timeouts.connect, timeouts.list).await;
        }
    }
    .with_context(|| format!("cannot use Docker at {url}"))
}

#[derive(Debug, PartialEq, Eq)]
enum DockerAddress {
    Unix(PathBuf),
    /// `host:port`
    Plain(String),
    Tls(String),
    Ssh(Destination),
}

impl DockerAddress {
    fn parse_url(settings: &EngineSettings) -> Result<Self> {
        let url = settings.url();
        let (scheme, location) = url.split_once("://").unwrap_or(("unix", url));
        let location = if scheme == "unix" { location } else { location.trim_end_matches('/') };
        let tls = settings.tls_verify || settings.cert_path.is_some();
        if location.is_empty() || (scheme != "unix" && location.contains('/')) {
            bail!(
                "cannot use Docker at {url}: {scheme}:// must be followed by a host and a port, \
                 without a path"
            );
        }
        Ok(match scheme {
            "unix" if location.starts_with('/') => Self::Unix(location.into()),
            "tcp" if tls => Self::Tls(add_default_port(location, 2376)),
            "tcp" => Self::Plain(add_default_port(location, 2375)),
            "http" => Self::Plain(add_default_port(location, 80)),
            "https" => Self::Tls(add_default_port(location, 443)),
            "ssh" => Self::Ssh(Destination::parse_place(location).ok_or_else(|| {
                anyhow!(
                    "cannot use Docker at {url}: the form is ssh://USER@HOST or \
                     ssh://USER@HOST:PORT"
                )
            })?),
            _ => bail!(
                "cannot use Docker at {url}: the address must start with unix:///, tcp://, \
                 http://, https:// or ssh://"
            ),
        })
    }

    /// Tries to connect: the errors of the client library do not distinguish the causes.
    async fn probe_address(&self) -> Result<(), Error> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(drop),
            Self::Plain(location) | Self::Tls(location) => {
                TcpStream::connect(location).await.map(drop)
            }
            Self::Ssh(_) => Ok(()), // the first request is sent immediately, which is the only test
        }
    }
}

fn add_default_port(location: &str, port: u16) -> String {
    let has_port = location.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let is_bare_ipv6 = location.parse::<std::net::Ipv6Addr>().is_ok();
    match (is_bare_ipv6, has_port) {
        (true, _) => format!("[{location}]:{port}"),
        (false, true) => location.to_owned(),
        (false, false) => format!("{location}:{port}"),
    }
}

fn host_part(location: &str) -> &str {
    match location.strip_prefix('[').and_then(|bracketed| bracketed.split_once(']')) {
        Some((ipv6, _)) => ipv6,
        None => location.rsplit_once(':').map_or(location, |(host, _)| host),
    }
}

fn with_tls(settings: &EngineSettings, location: &str, seconds: u64) -> Result<Docker> {
    let folder = match &settings.cert_path {
        Some(folder) => folder.clone(),
        None => std::env::home_dir().unwrap_or_default().join(".docker"),
    };
    let ca = folder.join("ca.pem");
    // `https://` without a folder of certificates trusts the certificates that the system trusts.
    let verifies = settings.tls_verify || settings.cert_path.is_some();
    let ca = if verifies || ca.exists() { ca } else { Path::new("/dev/null").to_owned() };
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    Docker::connect_with_ssl(location, &key, &cert, &ca, seconds, API_DEFAULT_VERSION).with_context(
        || {
            let (url, folder) = (settings.url(), folder.display());
            format!(
                "cannot use TLS to Docker at {url} with ca.pem, cert.pem and key.pem from {folder} \
                 (DOCKER_CERT_PATH)"
            )
        },
    )
}

fn connect_error(url: &str, error: &Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "cannot connect to Docker at {url}: no such socket; check that Docker is installed and \
             running, and --docker-url and DOCKER_HOST"
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "cannot connect to Docker at {url}: permission denied; run as root or as a member of \
             the group docker"
        ),
        ErrorKind::ConnectionRefused => {
            anyhow!(
                "cannot connect to Docker at {url}: connection refused; check that Docker is \
                 running"
            )
        }
        _ => anyhow!("cannot connect to Docker at {url}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, DockerAddress, EngineHost, EngineSettings, PathBuf, connect_client};

    fn settings_for(url: &str) -> EngineSettings {
        EngineSettings { url: Some(url.to_owned()), ..EngineSettings::default() }
    }

    fn check(url: &str, expected: &DockerAddress) {
        assert_eq!(&DockerAddress::parse_url(&settings_for(url)).unwrap(), expected, "{url}");
    }

    fn with_tls(location: &str) -> DockerAddress {
        DockerAddress::Tls(location.to_owned())
    }

    fn without_tls(location: &str) -> DockerAddress {
        DockerAddress::Plain(location.to_owned())
    }

    #[test]
    fn url_scheme_selects_address_type() {
        let socket = DockerAddress::Unix(PathBuf::from("/var/run/docker.sock"));
        check("", &socket);
        check(" unix:///var/run/docker.sock ", &socket);
        check("/var/run/docker.sock", &socket);
        check("tcp://10.0.0.1", &without_tls("10.0.0.1:2375"));
        check("tcp://10.0.0.1:4000/", &without_tls("10.0.0.1:4000"));
        check("tcp://[::1]:4000", &without_tls("[::1]:4000"));
        check("tcp://[::1]", &without_tls("[::1]:2375"));
        check("http://proxy:2375", &without_tls("proxy:2375"));
        check("http://proxy", &without_tls("proxy:80"));
        check("https://docker.test", &with_tls("docker.test:443"));
        check(
            "ssh://me@host:22",
            &DockerAddress::Ssh(Destination::parse_place("me@host:22").unwrap()),
        );
    }

    #[test]
    fn tcp_url_with_tls_verify_or_cert_path_uses_tls() {
        let verifies = EngineSettings { tls_verify: true, ..settings_for("tcp://host") };
        assert_eq!(DockerAddress::parse_url(&verifies).unwrap(), with_tls("host:2376"));
        let given =
            EngineSettings { cert_path: Some("/certs".into()), ..settings_for("tcp://host:1") };
        assert_eq!(DockerAddress::parse_url(&given).unwrap(), with_tls("host:1"));
    }

    #[test]
    fn invalid_url_is_refused_with_its_text() {
        for url in [
            "npipe:////./pipe/docker",
            "docker.sock",
            "tcp://",
            "tcp://host/path",
            "unix://",
            "ssh://host:x",
        ] {
            let error = DockerAddress::parse_url(&settings_for(url)).unwrap_err().to_string();
            assert!(error.contains(url), "{error}");
        }
    }

    #[test]
    fn engine_host_excludes_user_and_port() {
        let named = |host: &str| EngineHost::Named(host.to_owned());
        let ssh_alias = |host: &str| EngineHost::SshAlias(host.to_owned());
        for (url, host) in [
            ("unix:///x", EngineHost::Local),
            ("tcp://10.0.0.1:4000", named("10.0.0.1")),
            ("tcp://[::1]", named("::1")),
            ("ssh://me@far.test", ssh_alias("far.test")),
            ("ssh://me@far.test:2222", ssh_alias("far.test")),
        ] {
            assert_eq!(settings_for(url).host().unwrap(), host, "{url}");
        }
    }

    #[tokio::test]
    async fn absent_engine_is_reported_with_url_and_hint() {
        let folder = tempfile::tempdir().unwrap();
        let socket = format!("unix://{}/none.sock", folder.path().display());
        let error = connect_client(&settings_for(&socket)).await.unwrap_err().to_string();
        assert!(error.contains(&socket) && error.contains("no such socket"), "{error}");
        let error =
            connect_client(&settings_for("tcp://127.0.0.1:1")).await.unwrap_err().to_string();
        assert!(error.contains("connection refused; check that Docker is running"), "{error}");
    }
}
