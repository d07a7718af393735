//! Routes that answer with a redirect.

use super::not;
use crate::model::{
    host::Host, label_option::LabelOption, option_value::OptionType, problem::Reason,
};
use std::{fmt, num::NonZeroU16, str::FromStr};

/// Where requests are redirected to, if the route does not lead to containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redirect {
    #[default]
    Off,
    /// The same host, path and query over HTTPS.
    Https,
    /// Another host with the same path and query: a scheme, a host, and optionally a port, without a slash at the end.
    Host(String),
    /// Exactly this URL. It does not end with `*`.
    Url(String),
}

/// Status of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedirectStatus(u16);

impl RedirectStatus {
    /// All of them. HAProxy needs a rule for each.
    pub const ALL: [u16; 5] = [301, 302, 303, 307, 308];

    pub fn get(self) -> u16 {
        self.0
    }
}

/// Browsers do not keep it for ever, and repeat the method.
impl Default for RedirectStatus {
    fn default() -> Self {
        Self(307)
    }
}

impl Redirect {
    /// Returns the redirect to a host with the same path and query.
    pub fn to_host(scheme: &str, host: &Host, port: Option<NonZeroU16>) -> Self {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Self::Host(format!("{scheme}://{host}{port}"))
    }
}

impl OptionType for Redirect {}

impl FromStr for Redirect {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("https") {
            return Ok(Self::Https);
        }
        let invalid = || {
            not(
                LabelOption::Redirect,
                text,
                "https, an origin such as https://example.com (the path stays), or a URL with a path",
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let is_port =
            |port: &str| port.parse::<NonZeroU16>().is_ok() && !port.starts_with(['+', '0']);
        // HAProxy evaluates no `%` in values of maps. Blanks would end the word.
        let is_url = |c: u8| c.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&c);
        let host = host.parse::<Host>().map_err(|_| invalid())?;
        if !matches!(scheme, "http" | "https")
            || !port.is_none_or(is_port)
            || !path.bytes().all(is_url)
        {
            return Err(invalid());
        }
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{scheme}://{host}{port}");
        // In HAProxy's map, `*` at the end stands for the path and the query.
        Ok(match path.strip_suffix('*') {
            None if path.is_empty() => Self::Host(origin),
            None => Self::Url(origin + path),
            Some(start) => Self::Url(format!("{origin}{start}%2A")),
        })
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Https => "https",
            Self::Host(url) | Self::Url(url) => url,
        })
    }
}

impl OptionType for RedirectStatus {}

impl FromStr for RedirectStatus {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let status = Self::ALL.into_iter().find(|status| status.to_string() == text.trim());
        status.map(Self).ok_or_else(|| {
            not(LabelOption::RedirectStatus, text, "one of 301, 302, 303, 307 and 308")
        })
    }
}

impl fmt::Display for RedirectStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_at_end_of_url_is_no_path_of_the_request() {
        for (text, expected) in [
            ("http://a.test/*", "http://a.test/%2A"),
            ("http://a.test/x?y=**", "http://a.test/x?y=*%2A"),
            ("http://a.test/*/x", "http://a.test/*/x"),
            ("http://a.test", "http://a.test"),
        ] {
            let redirect: Redirect = text.parse().unwrap();
            assert_eq!(redirect.to_string(), expected);
            assert_eq!(redirect.to_string().parse(), Ok(redirect), "{text}");
        }
        assert!("http://a.test*".parse::<Redirect>().is_err());
    }
}
