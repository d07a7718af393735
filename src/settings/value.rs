//! Values of options: text → type, once, with what to write instead.

use crate::{
    cli::{AccessLog, HaproxyUser},
    label::{
        Constraint, HostFence,
        value::{Host, HostMatch},
    },
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

pub type Ports = BTreeSet<NonZeroU16>;

/// HAProxy counts milliseconds in 31 bits.
const LONGEST: Duration = Duration::from_hours(576);

pub fn text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".into()),
        text if text.chars().any(char::is_control) => Err("it has control characters".into()),
        text => Ok(text.into()),
    }
}

pub fn switch(text: &str) -> Result<bool, String> {
    let none = clap::Command::new("");
    BoolishValueParser::new()
        .parse_ref(&none, None, text.as_ref())
        .map_err(|_| "it is one of true false yes no on off 1 0".into())
}

/// Made absolute: HAProxy need not be where we are.
pub fn path(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(text(path)?).map_err(|error| error.to_string())
}

pub fn program(program: &str) -> Result<PathBuf, String> {
    if program.contains('/') { path(program) } else { text(program).map(PathBuf::from) }
}

pub fn unit(unit: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if unit.is_empty() || unit.starts_with('-') || !unit.chars().all(legal) {
        return Err("a unit has a name such as haproxy.service".into());
    }
    Ok(unit.into())
}

pub fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(time) if time <= LONGEST => Ok(time),
        Ok(_) => Err("a time is at most 24days".into()),
        Err(_) => Err("a time is a number with its unit, as in 500ms, 30s or 5m".into()),
    }
}

pub fn ip(text: &str) -> Result<IpAddr, String> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_err(|_| "an address is as in 192.0.2.1 or [2001:db8::1], without port".into())
}

pub fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "a network is as in 192.0.2.0/24 or 2001:db8::/32".into())
}

pub fn port(text: &str) -> Result<NonZeroU16, String> {
    let digits = text.trim();
    let whole = digits.chars().all(|c| c.is_ascii_digit());
    let port = if whole { digits.parse().ok() } else { None };
    port.ok_or_else(|| format!("{digits:?} is no port; a port is a whole number from 1 to 65535"))
}

/// `80,443,8000-8100`
pub fn ports(text: &str) -> Result<Ports, String> {
    let mut ports = Ports::new();
    for piece in text.split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(format!("{first}-{last} ends before it begins"));
        }
        ports.extend((first.get()..=last.get()).filter_map(NonZeroU16::new));
    }
    Ok(ports)
}

/// Where something is listened for: an address and a port; a bare port is on loopback.
pub fn local(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let bare = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port(bare) {
        return Ok((Ipv4Addr::LOCALHOST, port.get()).into());
    }
    let address = text.parse::<SocketAddr>().ok().filter(|it| it.port() != 0);
    address.ok_or_else(|| {
        "it is a port, for this machine alone, or an address and a port, as in 9105, 0.0.0.0:9105 or \
         [2001:db8::1]:9105"
            .into()
    })
}

/// `80=8080`
pub fn mapping(text: &str) -> Result<(NonZeroU16, NonZeroU16), String> {
    let form = "it is the public port, =, and the port to listen on, as in 80=8080";
    let Some((public, ours)) = text.split_once('=') else {
        // As docker run takes them: the host's port first.
        return Err(match text.split_once(':') {
            Some((ours, public)) => {
                format!("{form}; docker's {ours}:{public} is {public}={ours} here")
            }
            None => form.to_owned(),
        });
    };
    Ok((port(public)?, port(ours)?))
}

pub fn host(text: &str) -> Result<HostMatch, String> {
    match text.trim() {
        "*" => Ok(HostMatch::Any),
        text => text.parse().map_err(|reason: crate::problem::Reason| reason.to_string()),
    }
}

/// A host, and ` if LABEL` or ` if LABEL=VALUE` behind one that is reserved.
pub fn host_fence(fence: &str) -> Result<HostFence, String> {
    let (pattern, only) = match fence.split_once(" if ") {
        Some((pattern, only)) => (pattern, Some(constraint(only.trim())?)),
        None => (fence, None),
    };
    Ok(HostFence { host: host(pattern)?, only })
}

/// `label` or `label=value`; the value may be empty.
pub fn constraint(constraint: &str) -> Result<Constraint, String> {
    let constraint = text(constraint)?;
    let (label, value) = match constraint.split_once('=') {
        Some((label, value)) => (label, Some(value.to_owned())),
        None => (constraint.as_str(), None),
    };
    Ok(Constraint { label: text(label).map_err(|_| "it names no label")?, value })
}

pub fn name(text: &str) -> Result<Host, String> {
    text.parse().map_err(|reason: crate::problem::Reason| reason.to_string())
}

/// `-` is nobody else.
pub fn user(text: &str) -> Result<HaproxyUser, String> {
    match text.trim() {
        "" => Err("it is a user's name, or -".to_owned()),
        "-" => Ok(HaproxyUser::Same),
        name => Ok(HaproxyUser::Named(name.to_owned())),
    }
}

pub fn access_log(text: &str) -> Result<AccessLog, String> {
    match text.trim() {
        "off" => Ok(AccessLog::Off),
        "stdout" => Ok(AccessLog::Stdout),
        address if is_log_address(address) => Ok(AccessLog::To(address.into())),
        _ => Err("it is off, stdout, a socket such as /dev/log, or a server such as 192.0.2.1:514"
            .into()),
    }
}

/// Nothing that would need quotes in a configuration.
fn is_log_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-@+".contains(c);
    let is_socket = Path::new(text).is_absolute() && text.chars().all(plain);
    is_socket || text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug>(read: fn(&str) -> Result<T, String>, table: &[(&str, &str)]) {
        for (text, expected) in table {
            let said = match read(text) {
                Ok(value) => format!("{value:?}"),
                Err(reason) => format!("no: {reason}"),
            };
            assert_eq!(said, *expected, "{text:?}");
        }
    }

    #[test]
    fn ports_are_single_or_ranges() {
        check(
            ports,
            &[
                ("80", "{80}"),
                ("80,443", "{80, 443}"),
                (" 443 , 80 ", "{80, 443}"),
                ("8000-8002,80", "{80, 8000, 8001, 8002}"),
                ("65535-65535", "{65535}"),
                ("", "no: \"\" is no port; a port is a whole number from 1 to 65535"),
                ("80,", "no: \"\" is no port; a port is a whole number from 1 to 65535"),
                ("0", "no: \"0\" is no port; a port is a whole number from 1 to 65535"),
                ("+80", "no: \"+80\" is no port; a port is a whole number from 1 to 65535"),
                ("65536", "no: \"65536\" is no port; a port is a whole number from 1 to 65535"),
                ("http", "no: \"http\" is no port; a port is a whole number from 1 to 65535"),
                ("9-8", "no: 9-8 ends before it begins"),
                ("1-2-3", "no: \"2-3\" is no port; a port is a whole number from 1 to 65535"),
            ],
        );
    }

    #[test]
    fn a_port_moves_to_another() {
        check(
            mapping,
            &[
                ("80=8080", "(80, 8080)"),
                (" 80 = 8080 ", "(80, 8080)"),
                ("80", "no: it is the public port, =, and the port to listen on, as in 80=8080"),
                (
                    "8080:80",
                    "no: it is the public port, =, and the port to listen on, as in 80=8080; docker's 8080:80 is 80=8080 here",
                ),
                ("80=", "no: \"\" is no port; a port is a whole number from 1 to 65535"),
            ],
        );
    }

    #[test]
    fn a_time_has_a_unit() {
        let bad = "no: a time is a number with its unit, as in 500ms, 30s or 5m";
        check(
            time,
            &[
                ("30s", "30s"),
                ("500ms", "500ms"),
                ("1m 30s", "90s"),
                ("0s", "0ns"),
                ("30", bad),
                ("-1s", bad),
                ("", bad),
                ("25days", "no: a time is at most 24days"),
            ],
        );
    }

    #[test]
    fn an_address_may_wear_brackets() {
        let bad = "no: an address is as in 192.0.2.1 or [2001:db8::1], without port";
        check(
            ip,
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
    fn a_bare_port_is_on_loopback() {
        let bad = "no: it is a port, for this machine alone, or an address and a port, as in 9105, \
                   0.0.0.0:9105 or [2001:db8::1]:9105";
        check(
            local,
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
    fn a_network_is_cut_to_its_prefix() {
        check(
            network,
            &[
                ("10.1.2.3/8", "10.0.0.0/8"),
                ("10.1.2.3", "10.1.2.3/32"),
                ("2001:db8::1/32", "2001:db8::/32"),
                ("example.com", "no: a network is as in 192.0.2.0/24 or 2001:db8::/32"),
            ],
        );
    }

    #[test]
    fn a_constraint_is_a_label_with_or_without_value() {
        check(
            constraint,
            &[
                ("a", "Constraint { label: \"a\", value: None }"),
                ("a=", "Constraint { label: \"a\", value: Some(\"\") }"),
                ("a=b=c,d", "Constraint { label: \"a\", value: Some(\"b=c,d\") }"),
                ("=b", "no: it names no label"),
                ("", "no: it is empty"),
            ],
        );
    }

    #[test]
    fn any_host_is_a_star() {
        check(host, &[("*", "Any"), (" * ", "Any")]);
        assert!(host("https://app.example.com").is_err());
    }

    #[test]
    fn the_access_log_goes_where_haproxy_can_send_it() {
        let bad =
            "no: it is off, stdout, a socket such as /dev/log, or a server such as 192.0.2.1:514";
        check(
            access_log,
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
    fn a_unit_is_no_option_and_no_command() {
        let bad = "no: a unit has a name such as haproxy.service";
        check(
            unit,
            &[
                ("haproxy@1.service", "\"haproxy@1.service\""),
                ("--now", bad),
                ("a;b", bad),
                ("", bad),
            ],
        );
    }
}
