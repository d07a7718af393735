//! How to connect to etcd: endpoints, the user, and files of certificates.

use anyhow::{Context, Result};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// etcd's default port.
const DEFAULT_PORT: u16 = 2379;

/// How to connect to etcd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdSettings {
    /// URLs such as `https://10.0.0.2:2379`; at least one.
    pub endpoints: Vec<String>,
    pub user: Option<(String, Password)>,
    /// `None` means the certificate authorities that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The files of the client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    Inline(String),
    File(PathBuf),
}

/// Does not print the password.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Said(…)"),
            Self::File(file) => write!(f, "File({file:?})"),
        }
    }
}

impl Password {
    pub(super) fn read_password(&self) -> Result<String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(file) => Ok(read_file(file)?.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }
}

impl EtcdSettings {
    /// Whether the password could be read on the network.
    pub(crate) fn sends_password_unencrypted(&self) -> bool {
        let is_remote = |url: &String| {
            let host = url.strip_prefix("http://")?;
            let near = ["127.", "localhost:", "[::1]:"];
            (!near.iter().any(|text| host.starts_with(text))).then_some(())
        };
        self.user.is_some() && self.endpoints.iter().any(|url| is_remote(url).is_some())
    }
}

/// Turns `10.0.0.2`, `etcd.test:2379` or `https://[::1]:2379/` into URLs such as `http://10.0.0.2:2379`.
pub(crate) fn parse_endpoint(text: &str, secure: bool) -> Result<String, String> {
    if text.contains('@') {
        return Err(
            "an endpoint must not contain a user and password; use user and password_file".into()
        );
    }
    let wrong = || format!("{text:?} is not an endpoint such as http://10.0.0.2:2379");
    let (scheme, authority) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), authority)) => (scheme, authority),
        Some(_) => return Err(wrong()),
        None if secure => ("https", text),
        None => ("http", text),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let colon = authority.rfind(':').filter(|colon| authority.rfind(']') < Some(*colon));
    let (host, port) = match colon {
        Some(colon) => (&authority[..colon], authority[colon + 1..].parse().map_err(|_| wrong())?),
        None => (authority, DEFAULT_PORT),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let well = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(legal),
    };
    if well { Ok(format!("{scheme}://{host}:{port}")) } else { Err(wrong()) }
}

pub(super) fn read_file(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
