//! What the balancers of a fleet write into etcd, as JSON.
//!
//! Pure. What is read was written by another machine: it is input. Each value is checked here once.

use super::served::ServedHash;
use crate::model::{container::ContainerId, source_name::SourceName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{borrow::Borrow, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// The version of both records. A reader ignores fields that it does not know, and refuses a later version.
const VERSION: u32 = 1;

/// The greatest size of a record, in bytes: room for a thousand drains.
const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The greatest length of the version that a balancer reports.
const MAX_VERSION_LENGTH: usize = 32;

/// The greatest length of a balancer's name.
const MAX_NAME_LENGTH: usize = 32;

/// How many digits of a container's id its short form has.
const SHORT_ID_LENGTH: usize = 12;

/// The name of a balancer in its fleet: 1 to 32 lower-case letters, digits, `_` and `-`. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BalancerName(Arc<str>);

/// Why a text is not the name of a balancer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name of 1 to {MAX_NAME_LENGTH} of the characters a-z, 0-9, _ and -")]
pub struct BalancerNameError(String);

/// The short form of a container's id, with the name of its source if that has one: `0123456789ab.node2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DrainId(Arc<str>);

/// What a balancer says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerRecord {
    v: u32,
    /// The version of docker-balancer.
    pub version: String,
    pub served: ServedHash,
    /// The number of its last change, in its own history.
    pub generation: u64,
    /// Whether an operator's rollback to an earlier generation is active.
    pub rollback: bool,
    /// How many problems it reports, without hints.
    pub problems: usize,
    /// When `served` changed last, in seconds since 1970.
    pub since: u64,
    /// For each drain of the fleet that it has applied, how many requests, connections and flows of the container are
    /// still open there.
    #[serde(default)]
    pub drains: BTreeMap<DrainId, u64>,
}

/// A container to which no balancer of the fleet sends new requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    v: u32,
    /// The balancer whose operator requested it.
    pub by: BalancerName,
    /// In seconds since 1970.
    pub since: u64,
    /// Whether what is left is ended.
    #[serde(default)]
    pub cut: bool,
}

/// Why a record is ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetRecordError {
    #[error("it is larger than {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    #[error("it is of version {0}, but this docker-balancer reads version {VERSION}")]
    LaterVersion(u32),
    #[error("it is invalid: {0}")]
    Invalid(String),
}

impl BalancerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DrainId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&ContainerId> for DrainId {
    fn from(id: &ContainerId) -> Self {
        Self(id.short().into())
    }
}

impl BalancerRecord {
    /// Returns the record of a balancer that serves nothing yet.
    pub fn new(version: &str) -> Self {
        Self { v: VERSION, version: version.to_owned(), ..Self::default() }
    }

    /// # Errors
    /// If it is no such record, or one of a later version.
    pub fn parse(text: &[u8]) -> Result<Self, FleetRecordError> {
        let mut record: Self = parse_record(text)?;
        record.version = record.version.chars().take(MAX_VERSION_LENGTH).collect();
        Ok(record)
    }

    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl DrainRecord {
    /// `since` is in seconds since 1970.
    pub fn new(by: BalancerName, since: u64, cut: bool) -> Self {
        Self { v: VERSION, by, since, cut }
    }

    /// Returns the record with the request to end what is left.
    #[must_use]
    pub fn with_cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// # Errors
    /// If it is no such record, or one of a later version.
    pub fn parse(text: &[u8]) -> Result<Self, FleetRecordError> {
        parse_record(text)
    }

    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

/// What all versions of the records have.
#[derive(Debug, Deserialize)]
struct Versioned {
    v: u32,
}

fn parse_record<T: DeserializeOwned>(text: &[u8]) -> Result<T, FleetRecordError> {
    if MAX_RECORD_BYTES < text.len() {
        return Err(FleetRecordError::TooLarge);
    }
    let invalid = |error: serde_json::Error| FleetRecordError::Invalid(error.to_string());
    let Versioned { v } = serde_json::from_slice(text).map_err(invalid)?;
    if v != VERSION {
        return Err(FleetRecordError::LaterVersion(v));
    }
    serde_json::from_slice(text).map_err(invalid)
}

fn to_json(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("texts, numbers and maps of them are valid JSON")
}

impl fmt::Display for BalancerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DrainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for DrainId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for BalancerName {
    type Err = BalancerNameError;

    fn from_str(text: &str) -> Result<Self, BalancerNameError> {
        let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
        if text.is_empty() || MAX_NAME_LENGTH < text.len() || !text.chars().all(is_allowed) {
            return Err(BalancerNameError(text.chars().take(64).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for DrainId {
    type Err = FleetRecordError;

    fn from_str(text: &str) -> Result<Self, FleetRecordError> {
        let (id, source) = match text.split_once('.') {
            Some((id, source)) => (id, Some(source)),
            None => (text, None),
        };
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        let is_id = id.len() == SHORT_ID_LENGTH && id.bytes().all(is_digit);
        if !is_id || source.is_some_and(|source| source.parse::<SourceName>().is_err()) {
            return Err(FleetRecordError::Invalid("this is no id of a container".to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl From<BalancerName> for String {
    fn from(name: BalancerName) -> Self {
        name.as_str().to_owned()
    }
}

impl From<DrainId> for String {
    fn from(id: DrainId) -> Self {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for BalancerName {
    type Error = BalancerNameError;

    fn try_from(text: String) -> Result<Self, BalancerNameError> {
        text.parse()
    }
}

impl TryFrom<String> for DrainId {
    type Error = FleetRecordError;

    fn try_from(text: String) -> Result<Self, FleetRecordError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
