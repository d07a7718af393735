//! The way to the engine: its address, its certificates, and what to say when nobody answers there.

use super::ssh::{self, Destination};
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

/// Where Docker is and how it is spoken to. Whoever makes it has read the flags and the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `--docker-url`, else `DOCKER_HOST`. `None`, and an empty text, mean `DEFAULT_URL`.
    pub url: Option<String>,
    /// `DOCKER_TLS_VERIFY` is there and not empty.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`: the folder of `ca.pem`, `cert.pem` and `key.pem`; with TLS `~/.docker`
    /// where it is not given. It asks for TLS by itself, and then the engine is verified too.
    pub cert_path: Option<PathBuf>,
    pub patience: Patience,
}

/// How long the engine may take before it counts as away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    pub connect: Duration,
    pub list: Duration,
    pub inspect: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), list: seconds(30), inspect: seconds(10) }
    }
}

impl Access {
    pub fn url(&self) -> &str {
        self.url.as_deref().map(str::trim).filter(|url| !url.is_empty()).unwrap_or(DEFAULT_URL)
    }

    /// The engine's host as the URL names it.
    pub(super) fn host(&self) -> Result<Host> {
        Ok(match Address::read(self)? {
            Address::Unix(_) => Host::Here,
            Address::Plain(place) | Address::Tls(place) => Host::Named(host_of(&place).to_owned()),
            Address::Ssh(destination) => Host::OfSsh(destination.host),
        })
    }
}

/// Where an engine listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// At a socket of this machine.
    Here,
    Named(String),
    /// The user's ssh may have a name of its own for it.
    OfSsh(String),
}

/// A client for the engine. No API version is asked for, so each engine speaks its own newest.
pub(super) async fn client(access: &Access) -> Result<Docker> {
    let (url, patience) = (access.url(), access.patience);
    let address = Address::read(access)?;
    let reached = timeout(patience.connect, address.reach());
    let late = || anyhow!("no answer from Docker at {url} within {:?}", patience.connect);
    reached.await.map_err(|_| late())?.map_err(|error| unreachable(url, &error))?;
    let seconds = patience.list.as_secs().max(1);
    match &address {
        Address::Unix(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
        }
        Address::Plain(place) => Docker::connect_with_http(place, seconds, API_DEFAULT_VERSION),
        Address::Tls(place) => return tls(access, place, seconds),
        Address::Ssh(destination) => {
            return ssh::client(destination, url, patience.connect, patience.list).await;
        }
    }
    .with_context(|| format!("cannot use Docker at {url}"))
}

#[derive(Debug, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    /// `host:port`
    Plain(String),
    Tls(String),
    Ssh(Destination),
}

impl Address {
    fn read(access: &Access) -> Result<Self> {
        let url = access.url();
        let (scheme, place) = url.split_once("://").unwrap_or(("unix", url));
        let place = if scheme == "unix" { place } else { place.trim_end_matches('/') };
        let tls = access.tls_verify || access.cert_path.is_some();
        if place.is_empty() || (scheme != "unix" && place.contains('/')) {
            bail!("cannot use Docker at {url}: after {scheme}:// a place is wanted, and no path");
        }
        Ok(match scheme {
            "unix" if place.starts_with('/') => Self::Unix(place.into()),
            "tcp" if tls => Self::Tls(with_port(place, 2376)),
            "tcp" => Self::Plain(with_port(place, 2375)),
            "http" => Self::Plain(with_port(place, 80)),
            "https" => Self::Tls(with_port(place, 443)),
            "ssh" => Self::Ssh(Destination::read(place).ok_or_else(|| {
                anyhow!(
                    "cannot use Docker at {url}: ssh://USER@HOST or ssh://USER@HOST:PORT is wanted"
                )
            })?),
            _ => bail!(
                "cannot use Docker at {url}: an address starts with unix:///, tcp://, http://, https:// or ssh://"
            ),
        })
    }

    /// Tries the way there: a client library's own errors do not tell one reason from the other.
    async fn reach(&self) -> Result<(), Error> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(drop),
            Self::Plain(place) | Self::Tls(place) => TcpStream::connect(place).await.map(drop),
            Self::Ssh(_) => Ok(()), // asked for an answer at once, which is the only way to know
        }
    }
}

fn with_port(place: &str, port: u16) -> String {
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let is_bare_ipv6 = place.parse::<std::net::Ipv6Addr>().is_ok();
    match (is_bare_ipv6, has_port) {
        (true, _) => format!("[{place}]:{port}"),
        (false, true) => place.to_owned(),
        (false, false) => format!("{place}:{port}"),
    }
}

fn host_of(place: &str) -> &str {
    match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ipv6, _)) => ipv6,
        None => place.rsplit_once(':').map_or(place, |(host, _)| host),
    }
}

fn tls(access: &Access, place: &str, seconds: u64) -> Result<Docker> {
    let folder = match &access.cert_path {
        Some(folder) => folder.clone(),
        None => std::env::home_dir().unwrap_or_default().join(".docker"),
    };
    let ca = folder.join("ca.pem");
    // `https://` without a folder of certificates trusts whom the system trusts.
    let asked = access.tls_verify || access.cert_path.is_some();
    let ca = if asked || ca.exists() { ca } else { Path::new("/dev/null").to_owned() };
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    Docker::connect_with_ssl(place, &key, &cert, &ca, seconds, API_DEFAULT_VERSION).with_context(
        || {
            let (url, folder) = (access.url(), folder.display());
            format!(
                "cannot use TLS to Docker at {url}: ca.pem, cert.pem and key.pem are read from \
                 {folder} (DOCKER_CERT_PATH)"
            )
        },
    )
}

fn unreachable(url: &str, error: &Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "no Docker at {url}: there is no such socket; is Docker installed and running? \
             (--docker-url and DOCKER_HOST say where it is)"
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "no way to Docker at {url}: permission denied; run as root or as a member of the \
             group docker"
        ),
        ErrorKind::ConnectionRefused => {
            anyhow!("no Docker at {url}: connection refused; is it running?")
        }
        _ => anyhow!("no Docker at {url}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Address, Destination, Host, PathBuf, client};

    fn access(url: &str) -> Access {
        Access { url: Some(url.to_owned()), ..Access::default() }
    }

    fn check(url: &str, expected: &Address) {
        assert_eq!(&Address::read(&access(url)).unwrap(), expected, "{url}");
    }

    fn tls(place: &str) -> Address {
        Address::Tls(place.to_owned())
    }

    fn plain(place: &str) -> Address {
        Address::Plain(place.to_owned())
    }

    #[test]
    fn an_address_is_read_by_its_scheme() {
        let socket = Address::Unix(PathBuf::from("/var/run/docker.sock"));
        check("", &socket);
        check(" unix:///var/run/docker.sock ", &socket);
        check("/var/run/docker.sock", &socket);
        check("tcp://10.0.0.1", &plain("10.0.0.1:2375"));
        check("tcp://10.0.0.1:4000/", &plain("10.0.0.1:4000"));
        check("tcp://[::1]:4000", &plain("[::1]:4000"));
        check("tcp://[::1]", &plain("[::1]:2375"));
        check("http://proxy:2375", &plain("proxy:2375"));
        check("http://proxy", &plain("proxy:80"));
        check("https://docker.test", &tls("docker.test:443"));
        check("ssh://me@host:22", &Address::Ssh(Destination::read("me@host:22").unwrap()));
    }

    #[test]
    fn tcp_is_tls_when_either_setting_says_so() {
        let asked = Access { tls_verify: true, ..access("tcp://host") };
        assert_eq!(Address::read(&asked).unwrap(), tls("host:2376"));
        let given = Access { cert_path: Some("/certs".into()), ..access("tcp://host:1") };
        assert_eq!(Address::read(&given).unwrap(), tls("host:1"));
    }

    #[test]
    fn what_is_no_address_is_told_with_the_choices() {
        for url in [
            "npipe:////./pipe/docker",
            "docker.sock",
            "tcp://",
            "tcp://host/path",
            "unix://",
            "ssh://host:x",
        ] {
            let error = Address::read(&access(url)).unwrap_err().to_string();
            assert!(error.contains(url), "{error}");
        }
    }

    #[test]
    fn the_host_is_named_without_user_and_port() {
        let named = |host: &str| Host::Named(host.to_owned());
        let of_ssh = |host: &str| Host::OfSsh(host.to_owned());
        for (url, host) in [
            ("unix:///x", Host::Here),
            ("tcp://10.0.0.1:4000", named("10.0.0.1")),
            ("tcp://[::1]", named("::1")),
            ("ssh://me@far.test", of_ssh("far.test")),
            ("ssh://me@far.test:2222", of_ssh("far.test")),
        ] {
            assert_eq!(access(url).host().unwrap(), host, "{url}");
        }
    }

    #[tokio::test]
    async fn an_absent_engine_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let socket = format!("unix://{}/none.sock", folder.path().display());
        let error = client(&access(&socket)).await.unwrap_err().to_string();
        assert!(error.contains(&socket) && error.contains("no such socket"), "{error}");
        let error = client(&access("tcp://127.0.0.1:1")).await.unwrap_err().to_string();
        assert!(error.contains("connection refused; is it running?"), "{error}");
    }
}
