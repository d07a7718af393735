//! Decides which requests the servers for browsers and Prometheus accept.
//!
//! Pure.

use crate::model::option_value::Host;
use hyper::{HeaderMap, StatusCode, Uri, header::HOST};
use std::net::IpAddr;

/// The names under which a server may be requested.
#[derive(Debug, Clone)]
pub struct HostCheck {
    /// Host names that are accepted besides `localhost` and the address at which the request arrived.
    pub names: Vec<Host>,
    /// Whether a name without a dot is accepted: the name of a machine or of a compose service. Public web sites have
    /// no such names.
    pub allows_bare_names: bool,
    /// The option that adds a name, for the error message.
    pub option: &'static str,
}

impl HostCheck {
    /// Returns the status and text with which a request is rejected. Rejected are requests for another host name,
    /// which a web page sends after DNS rebinding; requests with two Host headers; and cross-site requests that a
    /// page sends in the background. `local` is the address at which the request arrived.
    pub fn reject_request(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        local: IpAddr,
    ) -> Option<(StatusCode, String)> {
        if headers.get_all(HOST).iter().nth(1).is_some() {
            return Some((StatusCode::BAD_REQUEST, "the request has two Host headers".to_owned()));
        }
        let header = headers.get(HOST).map(|value| value.to_str().unwrap_or_default());
        let named = uri.authority().map(hyper::http::uri::Authority::as_str).or(header);
        let host = named.unwrap_or_default();
        // A browser always sends a host. An HTTP/1.0 client may send none.
        let is_ours = |host| self.allows_bare_names && (named.is_none() || is_bare_name(host));
        if !(is_allowed_host(host, local, &self.names) || is_ours(host)) {
            let text = format!("host {host:?} is not allowed; allow it with {}", self.option);
            return Some((StatusCode::MISDIRECTED_REQUEST, text));
        }
        let is = |name: &str, value: &str| {
            headers.get(name).is_some_and(|header_value| header_value == value)
        };
        (is("sec-fetch-site", "cross-site") && !is("sec-fetch-mode", "navigate"))
            .then(|| (StatusCode::FORBIDDEN, "cross-site requests are not allowed".to_owned()))
    }
}

/// Whether the host is a valid name without a dot.
fn is_bare_name(host: &str) -> bool {
    let name = without_port(host);
    !name.contains('.') && name.parse::<Host>().is_ok()
}

/// Whether a request with this host is meant for this server. Another name is rejected, because a web page can make
/// its own name resolve to this address (DNS rebinding). `local` is the address at which the request arrived.
fn is_allowed_host(host: &str, local: IpAddr, names: &[Host]) -> bool {
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
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
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !is_bare_ipv6(name) => {
            name
        }
        _ => host,
    }
}

/// An IPv6 address contains colons itself; with a port it is in brackets.
fn is_bare_ipv6(name: &str) -> bool {
    name.contains(':') && !name.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn own_host_names_are_allowed_others_are_not() {
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
            assert_eq!(is_allowed_host(host, local.parse().unwrap(), &names), expected, "{host}");
        }
    }

    #[test]
    fn foreign_or_ambiguous_host_is_rejected_with_its_status() {
        let named = |bare| HostCheck {
            names: Vec::new(),
            allows_bare_names: bare,
            option: "--metrics-host",
        };
        for (headers, bare, expected) in [
            (&[("host", "localhost:9105")][..], false, None),
            (&[], true, None),
            (&[], false, Some(421)),
            (&[("host", "")], true, Some(421)),
            (&[("host", "balancer:9105")], true, None),
            (&[("host", "balancer:9105")], false, Some(421)),
            (&[("host", "evil.example")], true, Some(421)),
            (&[("host", "localhost"), ("host", "localhost")], true, Some(400)),
            (&[("host", "localhost"), ("host", "evil.example")], true, Some(400)),
            (&[("host", "localhost"), ("sec-fetch-site", "same-origin")], true, None),
            (&[("host", "localhost"), ("sec-fetch-site", "none")], true, None),
            (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], true, Some(403)),
            (
                &[
                    ("host", "localhost"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                true,
                None,
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            let local = "127.0.0.1".parse().unwrap();
            let rejection = named(bare).reject_request(&map, &Uri::from_static("/"), local);
            let status = rejection.map(|(status, _)| status.as_u16());
            assert_eq!(status, expected, "{headers:?}");
        }
    }
}
