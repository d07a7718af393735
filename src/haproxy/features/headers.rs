//! Header fields that routes set and remove.
//!
//! Pure.

use super::{PRESENT, RouteFeatures, set_name};
use crate::model::{
    http::header::{
        DropRequestHeaders, DropResponseHeaders, HeaderName, Headers, RequestHeaders,
        ResponseHeaders, SecureHeaders,
    },
    route::Policy,
};
use ring::digest::{SHA256, digest};
use std::{collections::BTreeSet, fmt::Write as _};

/// Header fields that are set, and those that are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HeaderChanges {
    request: Headers,
    response: Headers,
    drop_request: BTreeSet<HeaderName>,
    drop_response: BTreeSet<HeaderName>,
}

/// Names of header fields for which frontends have rules. HAProxy takes no names from maps, so a further name takes a
/// reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames {
    pub request: BTreeSet<String>,
    pub response: BTreeSet<String>,
    pub drop_request: BTreeSet<String>,
    pub drop_response: BTreeSet<String>,
}

/// Names that many people use. They need no reload.
const PREPARED_RESPONSE: [&str; 7] = [
    "cache-control",
    "content-security-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
    "x-robots-tag",
];
const PREPARED_DROPS: [&str; 2] = ["server", "x-powered-by"];

impl Default for HeaderNames {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            request: names(&["x-forwarded-proto"]),
            response: names(&PREPARED_RESPONSE),
            drop_request: BTreeSet::new(),
            drop_response: names(&PREPARED_DROPS),
        }
    }
}

impl HeaderNames {
    /// Returns the names of the running worker, from the keys of its map of headers.
    pub fn of_worker<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut names = Self::default();
        for key in keys.filter_map(|key| key.strip_prefix(NAMES)) {
            let Some((kind, name)) = key.split_once('/') else { continue };
            let of_kind = names.by_kind_mut().into_iter().find(|(other, _)| *other == kind);
            if let Some((_, of_kind)) = of_kind {
                of_kind.insert(name.to_owned());
            }
        }
        names
    }

    /// Returns the keys of the names in the map of headers, from which [`Self::of_worker`] reads them.
    pub(super) fn keys(&self) -> Vec<String> {
        let (prepared, mut keys) = (Self::default(), Vec::new());
        for ((kind, names), (_, prepared)) in self.by_kind().into_iter().zip(prepared.by_kind()) {
            let further = names.difference(prepared);
            keys.extend(further.map(|name| format!("{NAMES}{kind}/{name}")));
        }
        keys
    }

    /// Returns the bit in the first word of routes that change a header field of this name, and of routes that change one
    /// with an equal hash. Rules for other names then cost less than a look into the map.
    pub fn bit(kind: &str, name: &str) -> u64 {
        bit_of_key(&format!("/{kind}/{name}"))
    }

    /// Whether other names are the same to a server that turns separators into `_`, as CGI and WSGI do.
    pub fn has_other_spellings(name: &str) -> bool {
        !name.bytes().all(|c| c.is_ascii_alphanumeric())
    }

    /// Returns a pattern of all spellings of a name in lower case, between single quotes.
    pub fn pattern(name: &str) -> String {
        let any = |c: char| {
            if c.is_ascii_alphanumeric() { c.to_string() } else { "[^0-9a-z]".to_owned() }
        };
        format!("'^{}$'", name.chars().map(any).collect::<String>())
    }

    fn by_kind(&self) -> [(&'static str, &BTreeSet<String>); 4] {
        [
            (REQUEST, &self.request),
            (RESPONSE, &self.response),
            (DROP_REQUEST, &self.drop_request),
            (DROP_RESPONSE, &self.drop_response),
        ]
    }

    fn by_kind_mut(&mut self) -> [(&'static str, &mut BTreeSet<String>); 4] {
        [
            (REQUEST, &mut self.request),
            (RESPONSE, &mut self.response),
            (DROP_REQUEST, &mut self.drop_request),
            (DROP_RESPONSE, &mut self.drop_response),
        ]
    }

    /// Adds the names of another set.
    pub fn extend(&mut self, other: &Self) {
        self.request.extend(other.request.iter().cloned());
        self.response.extend(other.response.iter().cloned());
        self.drop_request.extend(other.drop_request.iter().cloned());
        self.drop_response.extend(other.drop_response.iter().cloned());
    }

    /// Whether it has all names of another set.
    pub fn has_all(&self, other: &Self) -> bool {
        self.request.is_superset(&other.request)
            && self.response.is_superset(&other.response)
            && self.drop_request.is_superset(&other.drop_request)
            && self.drop_response.is_superset(&other.drop_response)
    }

    /// Adds the names that a route uses.
    pub fn add(&mut self, features: &RouteFeatures) {
        let Some((_, changes)) = &features.headers else { return };
        let owned = |name: &HeaderName| name.as_str().to_owned();
        self.request.extend(changes.request.iter().map(|(name, _)| owned(name)));
        self.response.extend(changes.response.iter().map(|(name, _)| owned(name)));
        self.drop_request.extend(changes.drop_request.iter().map(owned));
        self.drop_response.extend(changes.drop_response.iter().map(owned));
    }
}

impl HeaderChanges {
    pub(super) fn new(policy: &Policy) -> Self {
        let (RequestHeaders(request), ResponseHeaders(mut response)) = (policy.get(), policy.get());
        if policy.get::<SecureHeaders>() == SecureHeaders(true) {
            response.add_missing(&SecureHeaders::headers());
        }
        let (DropRequestHeaders(drop_request), DropResponseHeaders(drop_response)) =
            (policy.get(), policy.get());
        Self { request, response, drop_request, drop_response }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_request() && !self.has_response()
    }

    /// Whether requests are changed.
    pub(super) fn has_request(&self) -> bool {
        !self.request.is_empty() || !self.drop_request.is_empty()
    }

    /// Whether responses are changed.
    pub(super) fn has_response(&self) -> bool {
        !self.response.is_empty() || !self.drop_response.is_empty()
    }

    /// Returns the bits of the names.
    pub(super) fn bits(&self) -> u64 {
        self.entries().fold(0, |bits, (key, _)| bits | bit_of_key(&key))
    }

    pub(super) fn set_name(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.entries() {
            writeln!(text, "{key} {value}").expect("writing to a string cannot fail");
        }
        set_name('h', &text)
    }

    /// Iterates over the keys in the map without the set's name, and the values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, &str)> {
        let request = self.request.iter().map(|(name, value)| (header_key(REQUEST, name), value));
        let response =
            self.response.iter().map(|(name, value)| (header_key(RESPONSE, name), value));
        let drop_request =
            self.drop_request.iter().map(|name| (header_key(DROP_REQUEST, name), PRESENT));
        let drop_response =
            self.drop_response.iter().map(|name| (header_key(DROP_RESPONSE, name), PRESENT));
        request.chain(response).chain(drop_request).chain(drop_response)
    }
}

/// Kinds of entries in the map of headers.
pub(super) const REQUEST: &str = "request";
pub(super) const RESPONSE: &str = "response";
pub(super) const DROP_REQUEST: &str = "drop-request";
pub(super) const DROP_RESPONSE: &str = "drop-response";

/// Bits of names in the first word: those of an `i64` that no feature has.
const FIRST_BIT: u8 = 19;
const BITS: u8 = 63 - FIRST_BIT;

/// Start of the keys by which the running worker's names are known. No set has this name.
const NAMES: &str = "names/";

fn header_key(kind: &str, name: &HeaderName) -> String {
    format!("/{kind}/{}", name.as_str())
}

fn bit_of_key(key: &str) -> u64 {
    let hash = digest(&SHA256, key.as_bytes());
    1 << (FIRST_BIT + hash.as_ref()[0] % BITS)
}
