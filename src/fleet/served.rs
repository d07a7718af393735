//! A hash of what a balancer serves, which is equal on balancers that serve the same.
//!
//! Pure. Each route has a hash of its own, and they are added, so that a change of one route among 10,000 hashes only
//! this one, in whatever order changes arrive. The hash of a route is SipHash-2-4 with a key of zeros over the texts of
//! its key, options and servers, which are the same on all machines. What depends on the machine of the balancer or on
//! its clock does not count: addresses, and routes that have no server and are only held.

use crate::model::{
    label_option::OptionValues,
    route::{Endpoint, Readiness, Route, RouteKey},
};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::{
    fmt::{self, Write as _},
    hash::Hasher as _,
    str::FromStr,
};

/// The length of the text, in hexadecimal digits.
const DIGITS: usize = 16;

/// The sum of the hashes of all routes. Displays as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServedHash(u64);

/// The text is not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash has {DIGITS} hexadecimal digits in lower case")]
pub struct ServedHashError;

impl ServedHash {
    /// Replaces what one route adds. `None` where the route does not exist.
    #[must_use]
    pub fn replace(self, key: &RouteKey, before: Option<&Route>, after: Option<&Route>) -> Self {
        let hash = |route: Option<&Route>| route.map_or(0, |route| hash_route(key, route));
        Self(self.0.wrapping_sub(hash(before)).wrapping_add(hash(after)))
    }
}

fn hash_route(key: &RouteKey, route: &Route) -> u64 {
    let Route { policy, terms, endpoints } = route;
    if endpoints.is_empty() {
        return 0;
    }
    let mut hash = TextHash(SipHasher24::new());
    hash.add(&format_args!("{key}"));
    hash.add_options(policy);
    hash.add_options(terms);
    let mut endpoints: Vec<_> = endpoints.iter().collect();
    endpoints.sort_by_key(|endpoint| (endpoint.container.id(), endpoint.port));
    for Endpoint { container, port, options, readiness, .. } in endpoints {
        let readiness = match readiness {
            Readiness::Ready => "ready",
            Readiness::Out => "out",
        };
        hash.add(&format_args!("{} {port} {readiness}", container.id()));
        hash.add_options(options);
    }
    hash.0.finish()
}

/// A hash of texts.
struct TextHash(SipHasher24);

impl TextHash {
    /// Adds a text and its end, so that two texts never count as one.
    fn add(&mut self, text: &fmt::Arguments<'_>) {
        // Writing into a hash does not fail.
        let _ = self.write_fmt(*text);
        self.0.write_u8(0);
    }

    /// Only values other than the default are in the set, so that an option of a later version changes nothing until a
    /// label uses it.
    fn add_options(&mut self, options: &OptionValues) {
        for value in options.iter() {
            self.add(&format_args!("{}={value}", value.option()));
        }
        self.0.write_u8(1);
    }
}

impl fmt::Write for TextHash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for ServedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

impl FromStr for ServedHash {
    type Err = ServedHashError;

    fn from_str(text: &str) -> Result<Self, ServedHashError> {
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return Err(ServedHashError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ServedHashError)
    }
}

impl From<ServedHash> for String {
    fn from(hash: ServedHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ServedHash {
    type Error = ServedHashError;

    fn try_from(text: String) -> Result<Self, ServedHashError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
