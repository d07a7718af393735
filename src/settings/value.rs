//! Parsers for the values of options. An error says what to write instead.

use crate::{
    label::{AllowedHost, AllowedPorts, Constraint},
    model::{
        label_option::LabelProtocol,
        option_value::{Host, HostMatch},
        tls::{TlsMode, TlsPolicy},
    },
    settings::{
        acme::AcmeDns,
        options::{AccessLog, HaproxyUser},
    },
    sources::acme::settings::{DirectoryUrl, DirectoryUrlError},
};
use clap::builder::{BoolishValueParser, TypedValueParser};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};

pub type PortSet = BTreeSet<NonZeroU16>;

/// HAProxy stores times in milliseconds in 31 bits.
const MAX_DURATION: Duration = Duration::from_hours(576);

pub fn parse_text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the value is empty".into()),
        text if text.chars().any(char::is_control) => {
            Err("the value contains control characters".into())
        }
        text => Ok(text.into()),
    }
}

pub fn parse_bool(text: &str) -> Result<bool, String> {
    let none = clap::Command::new("");
    BoolishValueParser::new()
        .parse_ref(&none, None, text.as_ref())
        .map_err(|_| "the value must be one of true, false, yes, no, on, off, 1 and 0".into())
}

/// Makes the path absolute, because HAProxy may run in another directory.
pub fn parse_path(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(parse_text(path)?).map_err(|error| error.to_string())
}

pub fn parse_program(program: &str) -> Result<PathBuf, String> {
    if program.contains('/') { parse_path(program) } else { parse_text(program).map(PathBuf::from) }
}

pub fn parse_unit(unit: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if unit.is_empty() || unit.starts_with('-') || !unit.chars().all(legal) {
        return Err("the value must be the name of a unit, such as haproxy.service".into());
    }
    Ok(unit.into())
}

pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err("a time must be at most 24days".into()),
        Err(_) => Err("a time must be a number with a unit, as in 500ms, 30s or 5m".into()),
    }
}

/// Parses a time from 10 ms to 60 s.
pub fn parse_connect_timeout(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    let range = Duration::from_millis(10)..=Duration::from_mins(1);
    if range.contains(&time) { Ok(time) } else { Err("the time must be 10ms to 60s".into()) }
}

pub fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_err(|_| {
        "the value must be an address without port, as in 192.0.2.1 or [2001:db8::1]".into()
    })
}

pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "the value must be a network, as in 192.0.2.0/24 or 2001:db8::/32".into())
}

pub fn parse_port(text: &str) -> Result<NonZeroU16, String> {
    let digits = text.trim();
    let whole = digits.chars().all(|c| c.is_ascii_digit());
    let port = if whole { digits.parse().ok() } else { None };
    port.ok_or_else(|| {
        format!("{digits:?} is not a port; a port is a whole number from 1 to 65535")
    })
}

/// Parses a list such as `80,443,8000-8100`.
pub fn parse_ports(text: &str) -> Result<PortSet, String> {
    let ranges = text.split(',').map(parse_port_range).collect::<Result<Vec<_>, _>>()?;
    Ok(ranges.into_iter().flatten().collect())
}

/// Parses a list such as `80,443,tcp:5432,udp:27000-27015`. A port without a protocol is allowed for each.
pub fn parse_allowed_ports(text: &str) -> Result<AllowedPorts, String> {
    let mut allowed = AllowedPorts::default();
    for piece in text.split(',') {
        let Some((protocol, ports)) = piece.split_once(':') else {
            allowed.any.extend(parse_port_range(piece)?);
            continue;
        };
        let protocol = protocol.trim().to_ascii_lowercase();
        let known = protocol
            .parse::<LabelProtocol>()
            .map_err(|()| format!("{protocol:?} is not a protocol; write http, tcp or udp"))?;
        allowed.named.extend(parse_port_range(ports)?.map(|port| (known, port)));
    }
    Ok(allowed)
}

/// Parses `80` or `8000-8100`.
fn parse_port_range(text: &str) -> Result<impl Iterator<Item = NonZeroU16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if last < first {
        return Err(format!("{first}-{last}: the last port is lower than the first"));
    }
    Ok((first.get()..=last.get()).filter_map(NonZeroU16::new))
}

/// Parses an address and a port to listen on; a port alone means loopback.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let bare = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = parse_port(bare) {
        return Ok((Ipv4Addr::LOCALHOST, port.get()).into());
    }
    let address = text.parse::<SocketAddr>().ok().filter(|addr| addr.port() != 0);
    address.ok_or_else(|| {
        "the value must be a port of loopback, or an address and a port, as in 9105, 0.0.0.0:9105 \
         or [2001:db8::1]:9105"
            .into()
    })
}

/// Parses `80=8080`, the public port first.
pub fn parse_port_mapping(text: &str) -> Result<(NonZeroU16, NonZeroU16), String> {
    let form = "the value must be PUBLIC=PORT, the public port and the port to listen on, as in \
                80=8080";
    let Some((public, ours)) = text.split_once('=') else {
        // docker run takes the host's port first.
        return Err(match text.split_once(':') {
            Some((ours, public)) => {
                format!("{form}; for docker's {ours}:{public} write {public}={ours}")
            }
            None => form.to_owned(),
        });
    };
    Ok((parse_port(public)?, parse_port(ours)?))
}

pub fn parse_host_match(text: &str) -> Result<HostMatch, String> {
    match text.trim() {
        "*" => Ok(HostMatch::Any),
        text => text.parse().map_err(|reason: crate::model::problem::Reason| reason.to_string()),
    }
}

/// Parses a host, followed by ` if LABEL` or ` if LABEL=VALUE` if it is reserved for containers with that label.
pub fn parse_host_fence(fence: &str) -> Result<AllowedHost, String> {
    let (pattern, only) = match fence.split_once(" if ") {
        Some((pattern, only)) => (pattern, Some(parse_constraint(only.trim())?)),
        None => (fence, None),
    };
    Ok(AllowedHost { host: parse_host_match(pattern)?, constraint: only })
}

/// Parses `label` or `label=value`; the value may be empty.
pub fn parse_constraint(constraint: &str) -> Result<Constraint, String> {
    let constraint = parse_text(constraint)?;
    let (label, value) = match constraint.split_once('=') {
        Some((label, value)) => (label, Some(value.to_owned())),
        None => (constraint.as_str(), None),
    };
    Ok(Constraint {
        label: parse_text(label).map_err(|_| "the name of the label is missing")?,
        value,
    })
}

pub fn parse_host(text: &str) -> Result<Host, String> {
    text.parse().map_err(|reason: crate::model::problem::Reason| reason.to_string())
}

/// Parses the mode of ports without the label. Passing TLS through needs other labels as well, so it is no default.
pub fn parse_tls_mode(text: &str) -> Result<TlsMode, String> {
    match text.parse() {
        Ok(mode) if mode != TlsMode::Pass => Ok(mode),
        _ => Err("it is off, on, both or only".to_owned()),
    }
}

pub fn parse_tls_policy(text: &str) -> Result<TlsPolicy, String> {
    text.parse().map_err(|reason: crate::model::problem::Reason| reason.to_string())
}

pub fn parse_acme_directory(text: &str) -> Result<DirectoryUrl, String> {
    text.trim().parse().map_err(|error: DirectoryUrlError| error.to_string())
}

/// Parses `PROGRAM`, `exec:PROGRAM` or `rfc2136:FILE`.
pub fn parse_acme_dns(text: &str) -> Result<AcmeDns, String> {
    match text.trim().split_once(':') {
        Some(("exec", path)) => parse_path(path).map(AcmeDns::Program),
        Some(("rfc2136", path)) => parse_path(path).map(AcmeDns::Rfc2136),
        Some((kind, _)) if !kind.contains('/') => Err(format!(
            "{kind}: is not known; the value must be PROGRAM, exec:PROGRAM or rfc2136:FILE"
        )),
        _ => parse_path(text).map(AcmeDns::Program),
    }
}

/// Parses `KID:FILE`.
pub fn parse_eab(text: &str) -> Result<(String, PathBuf), String> {
    match text.trim().split_once(':') {
        Some((kid, file)) if !kid.is_empty() && !file.is_empty() => {
            Ok((kid.to_owned(), file.into()))
        }
        _ => Err("the value must be the key's id and its file, as in KID:FILE".to_owned()),
    }
}

/// Parses the name of a user; `-` means that HAProxy does not change its user.
pub fn parse_user(text: &str) -> Result<HaproxyUser, String> {
    match text.trim() {
        "" => Err("the value must be the name of a user, or -".to_owned()),
        "-" => Ok(HaproxyUser::Same),
        name => Ok(HaproxyUser::Named(name.to_owned())),
    }
}

pub fn parse_access_log(text: &str) -> Result<AccessLog, String> {
    match text.trim() {
        "off" => Ok(AccessLog::Off),
        "stdout" => Ok(AccessLog::Stdout),
        address if is_log_address(address) => Ok(AccessLog::To(address.into())),
        _ => Err("the value must be off, stdout, a socket such as /dev/log, or a server such as \
                  192.0.2.1:514"
            .into()),
    }
}

/// Only characters that need no quotes in a HAProxy configuration.
fn is_log_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-@+".contains(c);
    let is_socket = Path::new(text).is_absolute() && text.chars().all(plain);
    is_socket || text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_table<T: std::fmt::Debug>(
        read: fn(&str) -> Result<T, String>,
        table: &[(&str, &str)],
    ) {
        for (text, expected) in table {
            let result = match read(text) {
                Ok(value) => format!("{value:?}"),
                Err(reason) => format!("no: {reason}"),
            };
            assert_eq!(result, *expected, "{text:?}");
        }
    }

    #[test]
    fn single_ports_and_ranges_are_parsed() {
        check_table(
            parse_ports,
            &[
                ("80", "{80}"),
                ("80,443", "{80, 443}"),
                (" 443 , 80 ", "{80, 443}"),
                ("8000-8002,80", "{80, 8000, 8001, 8002}"),
                ("65535-65535", "{65535}"),
                ("", "no: \"\" is not a port; a port is a whole number from 1 to 65535"),
                ("80,", "no: \"\" is not a port; a port is a whole number from 1 to 65535"),
                ("0", "no: \"0\" is not a port; a port is a whole number from 1 to 65535"),
                ("+80", "no: \"+80\" is not a port; a port is a whole number from 1 to 65535"),
                ("65536", "no: \"65536\" is not a port; a port is a whole number from 1 to 65535"),
                ("http", "no: \"http\" is not a port; a port is a whole number from 1 to 65535"),
                ("9-8", "no: 9-8: the last port is lower than the first"),
                ("1-2-3", "no: \"2-3\" is not a port; a port is a whole number from 1 to 65535"),
            ],
        );
    }

    #[test]
    fn allowed_port_may_have_a_protocol() {
        let allowed = |text: &str| {
            let AllowedPorts { any, named } = parse_allowed_ports(text)?;
            let any = any.iter().map(ToString::to_string);
            let named = named.iter().map(|(protocol, port)| format!("{protocol}:{port}"));
            Ok::<_, String>(any.chain(named).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("80,443", "80 443"),
            ("80, tcp:5432 ,udp:53", "80 tcp:5432 udp:53"),
            ("UDP:27000-27002,http:80", "http:80 udp:27000 udp:27001 udp:27002"),
            ("tls:80", "no: \"tls\" is not a protocol; write http, tcp or udp"),
            ("tcp:", "no: \"\" is not a port; a port is a whole number from 1 to 65535"),
            ("tcp:2-1", "no: 2-1: the last port is lower than the first"),
            ("tcp:1:2", "no: \"1:2\" is not a port; a port is a whole number from 1 to 65535"),
        ] {
            let actual = allowed(text).unwrap_or_else(|reason| format!("no: {reason}"));
            assert_eq!(actual, expected, "{text}");
        }
    }

    #[test]
    fn way_of_dns_records_is_parsed() {
        check_table(
            parse_acme_dns,
            &[
                ("/usr/bin/publish", "Program(\"/usr/bin/publish\")"),
                ("exec:/usr/bin/publish", "Program(\"/usr/bin/publish\")"),
                ("/opt/a:b", "Program(\"/opt/a:b\")"),
                ("rfc2136:/etc/key.toml", "Rfc2136(\"/etc/key.toml\")"),
                (
                    "route53:/etc/x",
                    "no: route53: is not known; the value must be PROGRAM, exec:PROGRAM or \
                     rfc2136:FILE",
                ),
                ("rfc2136:", "no: the value is empty"),
            ],
        );
    }

    #[test]
    fn port_mapping_needs_two_ports_with_equals_sign() {
        check_table(
            parse_port_mapping,
            &[
                ("80=8080", "(80, 8080)"),
                (" 80 = 8080 ", "(80, 8080)"),
                (
                    "80",
                    "no: the value must be PUBLIC=PORT, the public port and the port to listen on, \
                     as in 80=8080",
                ),
                (
                    "8080:80",
                    "no: the value must be PUBLIC=PORT, the public port and the port to listen on, \
                     as in 80=8080; for docker's 8080:80 write 80=8080",
                ),
                ("80=", "no: \"\" is not a port; a port is a whole number from 1 to 65535"),
            ],
        );
    }

    #[test]
    fn duration_without_unit_is_rejected() {
        let bad = "no: a time must be a number with a unit, as in 500ms, 30s or 5m";
        check_table(
            parse_duration,
            &[
                ("30s", "30s"),
                ("500ms", "500ms"),
                ("1m 30s", "90s"),
                ("0s", "0ns"),
                ("30", bad),
                ("-1s", bad),
                ("", bad),
                ("25days", "no: a time must be at most 24days"),
            ],
        );
    }

    #[test]
    fn connect_timeout_outside_its_range_is_rejected() {
        let bad = "no: the time must be 10ms to 60s";
        check_table(
            parse_connect_timeout,
            &[
                ("10ms", "10ms"),
                ("60s", "60s"),
                ("9ms", bad),
                ("61s", bad),
                ("0s", bad),
                ("250", "no: a time must be a number with a unit, as in 500ms, 30s or 5m"),
            ],
        );
    }

    #[test]
    fn ip_in_brackets_is_parsed_port_is_rejected() {
        let bad = "no: the value must be an address without port, as in 192.0.2.1 or [2001:db8::1]";
        check_table(
            parse_ip,
            &[
                ("[::]", "::"),
                ("::1", "::1"),
                ("0.0.0.0", "0.0.0.0"),
                ("1.2.3.4:80", bad),
                ("*", bad),
            ],
        );
    }

    #[test]
    fn bare_port_listens_on_loopback() {
        let bad = "no: the value must be a port of loopback, or an address and a port, as in 9105, \
                   0.0.0.0:9105 or [2001:db8::1]:9105";
        check_table(
            parse_listen_address,
            &[
                ("9105", "127.0.0.1:9105"),
                (":9105", "127.0.0.1:9105"),
                ("0.0.0.0:9105", "0.0.0.0:9105"),
                ("[::1]:9105", "[::1]:9105"),
                ("192.0.2.1", bad),
                ("localhost:9105", bad),
                ("0", bad),
                (":0", bad),
                ("127.0.0.1:0", bad),
                ("*:9105", bad),
                ("", bad),
            ],
        );
    }

    #[test]
    fn network_is_truncated_to_its_prefix() {
        check_table(
            parse_network,
            &[
                ("10.1.2.3/8", "10.0.0.0/8"),
                ("10.1.2.3", "10.1.2.3/32"),
                ("2001:db8::1/32", "2001:db8::/32"),
                (
                    "example.com",
                    "no: the value must be a network, as in 192.0.2.0/24 or 2001:db8::/32",
                ),
            ],
        );
    }

    #[test]
    fn constraint_is_parsed_with_or_without_value() {
        check_table(
            parse_constraint,
            &[
                ("a", "Constraint { label: \"a\", value: None }"),
                ("a=", "Constraint { label: \"a\", value: Some(\"\") }"),
                ("a=b=c,d", "Constraint { label: \"a\", value: Some(\"b=c,d\") }"),
                ("=b", "no: the name of the label is missing"),
                ("", "no: the value is empty"),
            ],
        );
    }

    #[test]
    fn star_is_any_host_url_is_rejected() {
        check_table(parse_host_match, &[("*", "Any"), (" * ", "Any")]);
        assert!(parse_host_match("https://app.example.com").is_err());
    }

    #[test]
    fn access_log_target_is_parsed_or_rejected() {
        let bad = "no: the value must be off, stdout, a socket such as /dev/log, or a server such \
                   as 192.0.2.1:514";
        check_table(
            parse_access_log,
            &[
                ("off", "Off"),
                ("stdout", "Stdout"),
                ("/dev/log", "To(\"/dev/log\")"),
                ("192.0.2.1", "To(\"192.0.2.1\")"),
                ("[2001:db8::1]:514", "To(\"[2001:db8::1]:514\")"),
                ("/dev/log local0", bad),
                ("dev/log", bad),
                ("/a\nglobal", bad),
                ("", bad),
            ],
        );
    }

    #[test]
    fn unit_with_dash_or_shell_syntax_is_rejected() {
        let bad = "no: the value must be the name of a unit, such as haproxy.service";
        check_table(
            parse_unit,
            &[
                ("haproxy@1.service", "\"haproxy@1.service\""),
                ("--now", bad),
                ("a;b", bad),
                ("", bad),
            ],
        );
    }
}
