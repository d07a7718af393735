//! The installed HAProxy's version, and whether it is new enough.

use super::socket::with_timeout;
use std::{
    collections::BTreeSet, fmt, io, path::Path, path::PathBuf, process::Stdio, str::FromStr,
    time::Duration,
};
use tokio::process::Command;

/// 2.6 is the first version with all keywords of the generated configuration (`default-path`, `idle-close`, dynamic
/// servers), and the oldest one in a supported distribution.
pub const OLDEST: Version = Version { major: 2, minor: 6 };

/// 3.0 is the first long-term version with all keywords of HTTP/3 in the generated configuration (`setcap`).
const OLDEST_WITH_QUIC: Version = Version { major: 3, minor: 0 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

/// Properties of a program file of HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    pub version: Version,
    pub has_lua: bool,
    /// Whether it can serve HTTP/3.
    pub has_quic: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error(
        "no HAProxy at {}; install it (apt-get install haproxy, dnf install haproxy) or set its \
         path with --haproxy-bin", bin.display()
    )]
    Missing { bin: PathBuf },
    #[error("cannot run {}: {why}", bin.display())]
    Unrunnable { bin: PathBuf, why: io::Error },
    #[error("{} -v printed {output:?}, which contains no version of HAProxy", bin.display())]
    Unknown { bin: PathBuf, output: String },
    #[error(
        "HAProxy {found} at {} is too old; install {OLDEST} or later, or set the path of one with \
         --haproxy-bin", bin.display()
    )]
    TooOld { bin: PathBuf, found: Version },
}

/// Runs `haproxy -v`.
pub async fn query_version(bin: &Path) -> Result<Version, VersionError> {
    let run = Command::new(bin).arg("-v").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = with_timeout(Duration::from_secs(10), run).await.map_err(|why| {
        let bin = bin.to_owned();
        match why.kind() {
            io::ErrorKind::NotFound => VersionError::Missing { bin },
            _ => VersionError::Unrunnable { bin, why },
        }
    })?;
    parse_version(bin, &String::from_utf8_lossy(&output.stdout))
}

/// Returns the version, and what HAProxy was built with.
pub async fn build(bin: &Path) -> Result<Build, VersionError> {
    let version = query_version(bin).await?;
    let details = details(bin).await;
    let has_quic = OLDEST_WITH_QUIC <= version && lists_quic(&details);
    Ok(Build { version, has_lua: lists_lua(&details), has_quic })
}

/// Whether HAProxy can export its metrics to Prometheus.
pub async fn has_exporter(bin: &Path) -> bool {
    lists_exporter(&details(bin).await)
}

/// Runs `haproxy -vv`. Errors are ignored: `haproxy -v` has already reported them.
async fn details(bin: &Path) -> String {
    let run = Command::new(bin).arg("-vv").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = with_timeout(Duration::from_secs(10), run).await;
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// `Built with Lua version : Lua 5.3.6`
fn lists_lua(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("Built with Lua version"))
}

/// `Feature list : … +QUIC -QUIC_OPENSSL_COMPAT …`. With the compatibility layer for OpenSSL before 3.5, no handshake
/// with curl succeeds.
fn lists_quic(output: &str) -> bool {
    let lists = output.lines().filter_map(|line| line.strip_prefix("Feature list"));
    let features: BTreeSet<_> = lists.flat_map(str::split_whitespace).collect();
    features.contains("+QUIC") && !features.contains("+QUIC_OPENSSL_COMPAT")
}

/// `Available services : prometheus-exporter`
fn lists_exporter(output: &str) -> bool {
    let services = output.lines().filter_map(|line| line.strip_prefix("Available services"));
    services.flat_map(str::split_whitespace).any(|word| word == "prometheus-exporter")
}

fn parse_version(bin: &Path, output: &str) -> Result<Version, VersionError> {
    let first = output.lines().next().unwrap_or_default();
    match first.parse::<Version>() {
        Ok(found) if found < OLDEST => Err(VersionError::TooOld { bin: bin.to_owned(), found }),
        Ok(found) => Ok(found),
        Err(()) => Err(VersionError::Unknown { bin: bin.to_owned(), output: first.to_owned() }),
    }
}

/// `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/`; before 2.4 `HA-Proxy`.
impl FromStr for Version {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let remainder =
            line.strip_prefix("HAProxy version ").or(line.strip_prefix("HA-Proxy version "));
        Self::parse(remainder.ok_or(())?)
    }
}

impl Version {
    /// `2.6.12-1+deb12u4`
    pub(super) fn parse(text: &str) -> Result<Self, ()> {
        let (major, remainder) = text.split_once('.').ok_or(())?;
        let minor = remainder.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        Ok(Self { major: major.parse().map_err(drop)?, minor: minor.parse().map_err(drop)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_output_is_parsed_or_rejected_with_reason() {
        for (output, expected) in [
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6"),
            ("HAProxy version 3.2.26-1 2026/10/14 - https://haproxy.org/\nStatus: …", "3.2"),
            ("HAProxy version 3.5-dev5 2026/08/21 - https://haproxy.org/", "3.5"),
            (
                "HAProxy version 2.4.22-f8e3218 2023/02/14 - https://haproxy.org/",
                "HAProxy 2.4 at hap is too old; install 2.6 or later, or set the path of one with --haproxy-bin",
            ),
            (
                "HA-Proxy version 1.8.27 2020/11/06",
                "HAProxy 1.8 at hap is too old; install 2.6 or later, or set the path of one with --haproxy-bin",
            ),
            ("nginx/1.22", "hap -v printed \"nginx/1.22\", which contains no version of HAProxy"),
        ] {
            let found = parse_version(Path::new("hap"), output);
            let text = found.map_or_else(|e| e.to_string(), |v| v.to_string());
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn build_with_lua_is_recognized() {
        for (output, expected) in [
            ("OPTIONS = USE_LUA=1\nBuilt with Lua version : Lua 5.4.6\n", true),
            ("Feature list : -LUA\nBuilt without Lua support\n", false),
            ("", false),
        ] {
            assert_eq!(lists_lua(output), expected, "{output}");
        }
    }

    #[test]
    fn quic_is_recognized_without_compatibility_layer_only() {
        for (output, expected) in [
            ("Feature list : -ECH +QUIC -QUIC_OPENSSL_COMPAT +RT\n", true),
            ("Feature list : +PROMEX +QUIC\n", true),
            ("Feature list : -ENGINE +QUIC +QUIC_OPENSSL_COMPAT +RT\n", false),
            ("Feature list : +PROMEX -QUIC +RT\n", false),
            ("       quic : mode=HTTP  side=FE|BE  mux=QUIC  flags=HTX|NO_UPG|FRAMED\n", false),
            ("", false),
        ] {
            assert_eq!(lists_quic(output), expected, "{output}");
        }
    }

    #[test]
    fn exporter_is_found_only_in_service_list() {
        for (output, expected) in [
            ("Available services : prometheus-exporter\n", true),
            ("Available services : opentracing prometheus-exporter\n", true),
            ("Available services : none\n", false),
            ("Feature list : +PROMEX\nAvailable services :\n", false),
            ("", false),
        ] {
            assert_eq!(lists_exporter(output), expected, "{output}");
        }
    }
}
