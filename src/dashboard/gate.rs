//! Who is let in, and what a browser is told that it may do with the answer.
//!
//! Pure.

use crate::label::value::Host;
use std::net::IpAddr;

/// With each answer. No inline script or style, nothing from other hosts, no frame around it.
pub(super) const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// Whether a request with this Host header is meant for us: one that a page of the web sends to a name
/// of its own, which leads here since a moment ago, is not. `local` is the address that it came in at.
pub(super) fn admits(host: &str, local: IpAddr, names: &[Host]) -> bool {
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(name).parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback() || address == local.to_canonical();
    }
    let Ok(name) = name.parse::<Host>() else { return false };
    let text = name.as_str();
    text == "localhost" || text.ends_with(".localhost") || names.contains(&name)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !is_bare_v6(name) => name,
        _ => host,
    }
}

/// An IPv6 address has colons of its own; with a port it wears brackets.
fn is_bare_v6(name: &str) -> bool {
    name.contains(':') && !name.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_name_this_place_are_let_in() {
        let names = ["glue.example.com".parse().unwrap()];
        for (host, local, expected) in [
            ("localhost", "127.0.0.1", true),
            ("localhost:9000", "127.0.0.1", true),
            ("LocalHost.:9000", "127.0.0.1", true),
            ("glue.localhost:9000", "127.0.0.1", true),
            ("127.0.0.1:9000", "127.0.0.1", true),
            ("127.1.2.3", "127.0.0.1", true),
            ("[::1]:9000", "::1", true),
            ("[::1]", "::1", true),
            ("192.0.2.1:9000", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("[2001:db8::1]:9000", "2001:db8::1", true),
            ("glue.example.com:9000", "192.0.2.1", true),
            ("GLUE.example.com", "192.0.2.1", true),
            ("192.0.2.2", "192.0.2.1", false),
            ("0.0.0.0:9000", "127.0.0.1", false),
            ("evil.example", "127.0.0.1", false),
            ("localhost.evil.example", "127.0.0.1", false),
            ("evillocalhost", "127.0.0.1", false),
            ("127.0.0.1.evil.example:9000", "127.0.0.1", false),
            ("x.glue.example.com", "192.0.2.1", false),
            ("localhost:9000:9000", "127.0.0.1", false),
            ("localhost/", "127.0.0.1", false),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(admits(host, local.parse().unwrap(), &names), expected, "{host}");
        }
    }
}
