//! Header fields that a route sets or removes.

use super::not;
use crate::model::{
    label_option::{LabelOption, OptionValue},
    option_value::OptionType,
    problem::Reason,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, collections::BTreeSet, fmt, str::FromStr};

/// Maximum number of header fields that a route sets, and that it removes, of requests and of responses each.
pub const MAX_HEADERS: usize = 32;

/// Longest value in bytes. The whole has to fit into HAProxy's buffer with the rest of a message.
const MAX_VALUE: usize = 2048;

/// Header fields that belong to the connection, or by which HAProxy finds the end of a message. No route changes them.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// Name of a header field: 1 to 64 letters, digits and `-`. Compared without case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderName(String);

/// Header fields and their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Headers(BTreeMap<HeaderName, String>);

/// Header fields that containers get in requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestHeaders(pub Headers);

/// Header fields that clients get in responses, also in those that HAProxy makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResponseHeaders(pub Headers);

/// Header fields that are removed from requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropRequestHeaders(pub BTreeSet<HeaderName>);

/// Header fields that are removed from responses.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropResponseHeaders(pub BTreeSet<HeaderName>);

/// Whether responses get the header fields of [`SecureHeaders::headers`], unless the route sets them otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecureHeaders(pub bool);

impl SecureHeaders {
    const FIELDS: [(&'static str, &'static str); 3] = [
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "SAMEORIGIN"),
    ];

    /// Returns the header fields.
    pub fn headers() -> Headers {
        let field = |(name, value): (&str, &str)| (HeaderName(name.to_owned()), value.to_owned());
        Headers(Self::FIELDS.map(field).into())
    }
}

impl HeaderName {
    /// Returns the name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(option: LabelOption, text: &str) -> Result<Self, Reason> {
        let is_name = (1..=64).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let name = text.to_ascii_lowercase();
        if !is_name || RESERVED.contains(&name.as_str()) {
            return Err(not(
                option,
                text,
                "the name of a header that can be changed: letters, digits and \"-\", but none of \
                 the connection such as Host or Content-Length",
            ));
        }
        Ok(Self(name))
    }
}

impl Headers {
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &str)> {
        self.0.iter().map(|(name, value)| (name, value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the fields of `others` that are not set.
    pub fn add_missing(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            self.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    /// Removes the fields of `others`, if it has all of them with the same values. Returns whether it has.
    pub fn remove_all(&mut self, others: &Self) -> bool {
        let has_all = others.0.iter().all(|(name, value)| self.0.get(name) == Some(value));
        if has_all {
            self.0.retain(|name, _| !others.0.contains_key(name));
        }
        has_all
    }

    /// Returns the one field whose name and value are these.
    fn one(option: LabelOption, name: &str, value: &str) -> Result<Self, Reason> {
        let name = HeaderName::parse(option, name.trim())?;
        let value = value.trim();
        let is_printable = value.bytes().all(|c| matches!(c, b' '..=b'~'));
        if value.is_empty() || !is_printable || MAX_VALUE < value.len() {
            return Err(not(
                option,
                value,
                "the value of a header: at most 2048 printable ASCII characters",
            ));
        }
        Ok(Self([(name, value.to_owned())].into()))
    }

    /// Parses lines of `Name: value`.
    fn parse(option: LabelOption, text: &str) -> Result<Self, Reason> {
        let mut headers = Self::default();
        for line in text.lines() {
            let (name, value) =
                line.split_once(':').ok_or_else(|| not(option, line, "a header, Name: value"))?;
            headers.0.extend(Self::one(option, name, value)?.0);
        }
        Ok(headers)
    }

    fn to_json(&self) -> Value {
        let field = |(name, value): (&HeaderName, &str)| (name.0.clone(), value.into());
        Value::Object(self.iter().map(field).collect())
    }

    fn from_json(option: LabelOption, fields: &Map<String, Value>) -> Option<Self> {
        let mut headers = Self::default();
        for (name, value) in fields {
            headers.0.extend(Self::one(option, name, value.as_str()?).ok()?.0);
        }
        Some(headers)
    }
}

/// Returns the names of header fields in a value: HAProxy needs rules for each.
pub fn names_of(value: &OptionValue) -> BTreeSet<&HeaderName> {
    match value {
        OptionValue::RequestHeader(RequestHeaders(headers))
        | OptionValue::ResponseHeader(ResponseHeaders(headers)) => headers.0.keys().collect(),
        OptionValue::DropRequestHeaders(DropRequestHeaders(names))
        | OptionValue::DropResponseHeaders(DropResponseHeaders(names)) => names.iter().collect(),
        _ => BTreeSet::new(),
    }
}

/// Parses the value of a label with a header's name in its name.
///
/// # Errors
/// If the header must not be changed, or the value is none of a header.
pub fn parse_named(option: LabelOption, name: &str, value: &str) -> Result<Headers, Reason> {
    Headers::one(option, name, value)
}

pub(super) fn parse_names(option: LabelOption, text: &str) -> Result<BTreeSet<HeaderName>, Reason> {
    let names = text.split(',').map(|name| HeaderName::parse(option, name.trim()));
    let names = names.collect::<Result<BTreeSet<_>, _>>()?;
    if MAX_HEADERS < names.len() {
        return Err(not(option, text, "a list of at most 32 headers"));
    }
    Ok(names)
}

pub(super) fn write_names(f: &mut fmt::Formatter<'_>, names: &BTreeSet<HeaderName>) -> fmt::Result {
    let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
    f.write_str(&names.join(","))
}

/// Lines of `name: value`.
impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> =
            self.iter().map(|(name, value)| format!("{}: {value}", name.0)).collect();
        f.write_str(&lines.join("\n"))
    }
}

macro_rules! header_options {
    ($($headers:ident $option:ident, $drop:ident $drop_option:ident;)+) => { $(
        impl OptionType for $headers {
            fn to_json(&self) -> Value {
                self.0.to_json()
            }

            fn from_json(value: &Value) -> Option<Self> {
                Headers::from_json(LabelOption::$option, value.as_object()?).map(Self)
            }
        }

        impl FromStr for $headers {
            type Err = Reason;

            fn from_str(text: &str) -> Result<Self, Reason> {
                Headers::parse(LabelOption::$option, text).map(Self)
            }
        }

        impl fmt::Display for $headers {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl OptionType for $drop {}

        impl FromStr for $drop {
            type Err = Reason;

            fn from_str(text: &str) -> Result<Self, Reason> {
                parse_names(LabelOption::$drop_option, text).map(Self)
            }
        }

        impl fmt::Display for $drop {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_names(f, &self.0)
            }
        }
    )+ };
}

header_options! {
    RequestHeaders RequestHeader, DropRequestHeaders DropRequestHeaders;
    ResponseHeaders ResponseHeader, DropResponseHeaders DropResponseHeaders;
}

impl OptionType for SecureHeaders {
    fn to_json(&self) -> Value {
        self.0.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool().map(Self)
    }
}

impl FromStr for SecureHeaders {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        crate::model::option_value::parse_switch(text).map(Self)
    }
}

impl fmt::Display for SecureHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "1" } else { "0" })
    }
}
