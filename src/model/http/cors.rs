//! Cross-origin requests (Fetch standard, section 3.2).

use super::not;
use crate::model::{
    host::Host, label_option::LabelOption, option_value::OptionType, problem::Reason,
};
use std::{collections::BTreeSet, fmt, num::NonZeroU16, str::FromStr};

/// Maximum number of origins of a route.
const MAX_ORIGINS: usize = 64;

/// Origins whose pages may use the route.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cors {
    /// HAProxy adds no header fields, and the container decides.
    #[default]
    Off,
    /// Every origin, without credentials.
    Any,
    /// These origins, with credentials.
    Origins(BTreeSet<String>),
}

/// Returns the origin as browsers send it: in lower case, without a default port.
fn parse_origin(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.trim_end_matches('/').split_once("://")?;
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let host = host.parse::<Host>().ok()?;
    let is_port = |port: &&str| port.parse::<NonZeroU16>().is_ok() && !port.starts_with(['+', '0']);
    match port {
        Some(port) if !is_port(&port) => None,
        Some(port) if port != default => Some(format!("{scheme}://{host}:{port}")),
        _ => Some(format!("{scheme}://{host}")),
    }
}

impl OptionType for Cors {}

impl FromStr for Cors {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        match text {
            "*" => return Ok(Self::Any),
            _ if text.eq_ignore_ascii_case("off") => return Ok(Self::Off),
            _ => {}
        }
        let origin = |member: &str| {
            parse_origin(member).ok_or_else(|| {
                not(LabelOption::Cors, member, "an origin such as https://app.example.com, or *")
            })
        };
        let origins = text.split(',').map(|member| origin(member.trim()));
        let origins = origins.collect::<Result<BTreeSet<_>, _>>()?;
        if MAX_ORIGINS < origins.len() {
            return Err(not(LabelOption::Cors, text, "a list of at most 64 origins"));
        }
        Ok(Self::Origins(origins))
    }
}

impl fmt::Display for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Any => f.write_str("*"),
            Self::Origins(origins) => {
                let origins: Vec<_> = origins.iter().map(String::as_str).collect();
                f.write_str(&origins.join(","))
            }
        }
    }
}
