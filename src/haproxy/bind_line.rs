//! The addresses that a configuration binds.
//!
//! Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Returns the TCP addresses of the `bind` lines. Host names, port ranges, Unix sockets and other address families are
/// ignored.
pub fn parse_bind_addresses(config: &str) -> BTreeSet<SocketAddr> {
    let lines = config.lines().filter_map(|line| line.trim_start().strip_prefix("bind "));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.flat_map(|word| word.split(',')).filter_map(parse_address).collect()
}

/// Returns the UDP addresses of the `bind` lines for HTTP/3.
pub(super) fn parse_udp_addresses(config: &str) -> BTreeSet<SocketAddr> {
    let lines = config.lines().filter_map(|line| line.trim_start().strip_prefix("bind quic"));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.filter_map(|word| parse_address(&format!("ipv{word}"))).collect()
}

pub fn parse_bind_ports(config: &str) -> BTreeSet<u16> {
    parse_bind_addresses(config).iter().map(SocketAddr::port).collect()
}

/// Parses `:80`, `*:80`, `10.0.0.1:80`, `[::]:80`, `:::80`, `ipv4@…`, `ipv6@…` (Configuration Manual, 4.2 "bind").
pub(super) fn parse_address(word: &str) -> Option<SocketAddr> {
    let (is_ipv6, word) = match word.strip_prefix("ipv6@") {
        Some(unprefixed) => (true, unprefixed),
        None => (false, word.strip_prefix("ipv4@").unwrap_or(word)),
    };
    let (host, port) = word.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let ip = match host {
        "" | "*" if is_ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http3_bind_line_parses_to_udp_addresses() {
        for (config, expected) in [
            ("  bind quic4@0.0.0.0:443 ssl\n  bind quic6@[::]:443 v6only", "0.0.0.0:443 [::]:443"),
            ("  bind quic4@:8443 ssl", "0.0.0.0:8443"),
            ("  bind 0.0.0.0:443 ssl\n  # bind quic4@:81", ""),
        ] {
            let found: Vec<_> =
                parse_udp_addresses(config).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{config:?}");
        }
    }

    #[test]
    fn bind_line_parses_to_socket_addresses() {
        for (config, expected) in [
            ("  bind :80\n", "0.0.0.0:80"),
            ("\tbind *:80 name x", "0.0.0.0:80"),
            ("  bind [::]:80 v4v6", "[::]:80"),
            ("  bind :::80 v4v6", "[::]:80"),
            ("  bind ipv6@:80", "[::]:80"),
            ("  bind 10.0.0.1:80,127.0.0.1:81 ssl", "10.0.0.1:80 127.0.0.1:81"),
            ("  bind /run/x.sock\n  bind quic4@:443\n  bind :80-90\n  # bind :81", ""),
            ("  bind-process 1\n  use_backend b if { port 80 }", ""),
        ] {
            let found: Vec<_> =
                parse_bind_addresses(config).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{config:?}");
        }
    }
}
