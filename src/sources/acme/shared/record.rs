//! What balancers write into a shared store, as JSON.
//!
//! Pure. Other balancers wrote what is read here, and perhaps a program that should not. So each value is checked, and
//! its size is bounded.

use super::super::{
    super::certificate::CertificateWithKey, acme_host::AcmeHost, client::is_token_path,
};
use crate::{
    model::{certificate::CertificateOrigin, option_value::Host},
    support::escape::SingleLine,
};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use std::{collections::BTreeSet, fmt, sync::Arc};
use zeroize::Zeroizing;

/// The longest name of a machine that is shown, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The most hosts of one balancer.
const MAX_HOSTS: usize = 20_000;
/// The most answers to challenges at a time. A leader makes ten orders at a time.
const MAX_CHALLENGES: usize = 200;

/// The digits of an identifier of a balancer, and of a challenge.
const ID_DIGITS: usize = 32;
const NAME_DIGITS: usize = 40;

/// Identifies a balancer from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct MemberId(String);

/// Identifies an answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ChallengeName(String);

/// The balancer that orders certificates, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// The name of its machine.
    pub host: String,
    /// The process, on its machine or in its container.
    pub pid: u32,
    /// 32 hexadecimal digits. They differ for each start of the program.
    pub id: String,
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub id: MemberId,
    /// The name of the machine.
    pub host: String,
    pub pid: u32,
    /// The URL of the directory of its CA.
    pub ca: String,
}

/// The text of a lease. All fields that a later version may add are optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseRecord {
    #[serde(flatten)]
    pub owner: Identity,
    /// Grows with each sign of life.
    pub beat: u64,
    /// The owner ended, and left the orders to others.
    #[serde(default)]
    pub released: bool,
    /// Grows when there are other certificates.
    #[serde(default)]
    pub certificates: u64,
    /// Grows when the ledger changed.
    #[serde(default)]
    pub ledger: u64,
    /// The answers that each balancer has to serve.
    #[serde(default)]
    pub challenges: BTreeSet<ChallengeName>,
}

/// The entry of a balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberRecord {
    pub owner: Identity,
    /// The certificates that it needs.
    pub hosts: Arc<BTreeSet<AcmeHost>>,
    /// The answers that its HAProxy serves.
    pub serves: BTreeSet<ChallengeName>,
}

/// [`MemberRecord`] as JSON.
#[derive(Serialize, Deserialize)]
struct MemberText {
    #[serde(flatten)]
    owner: Identity,
    beat: u64,
    hosts: Vec<String>,
    serves: BTreeSet<ChallengeName>,
}

/// The answer to a challenge. The debug text has neither the answer nor the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SharedChallenge {
    Token { path: String, key_authorization: String },
    Certificate { host: Host, certificate: Box<CertificateWithKey> },
}

/// [`SharedChallenge`] as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum ChallengeText {
    Token { path: String, key_authorization: String },
    Certificate { host: String, pem: Zeroizing<String> },
}

/// A renewal that an operator demands.
#[derive(Serialize, Deserialize)]
struct RequestText {
    renew: AcmeHost,
}

/// Why a text is skipped. It is printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RecordError(String);

impl MemberId {
    /// Returns the identifier of a number.
    pub(super) fn new(number: u128) -> Self {
        Self(format!("{number:032x}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl ChallengeName {
    /// Returns the name of the answer at a path, or for a host.
    fn new(subject: &str) -> Self {
        let digest = Sha1::digest(subject);
        Self(digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
    }

    pub(super) fn of_path(path: &str) -> Self {
        Self::new(path)
    }

    pub(super) fn of_host(host: &Host) -> Self {
        Self::new(&format!("tls-alpn-01 {host}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MemberId {
    type Error = RecordError;

    fn try_from(text: String) -> Result<Self, RecordError> {
        check_digits(&text, ID_DIGITS)?;
        Ok(Self(text))
    }
}

impl From<MemberId> for String {
    fn from(id: MemberId) -> Self {
        id.0
    }
}

impl TryFrom<String> for ChallengeName {
    type Error = RecordError;

    fn try_from(text: String) -> Result<Self, RecordError> {
        check_digits(&text, NAME_DIGITS)?;
        Ok(Self(text))
    }
}

impl From<ChallengeName> for String {
    fn from(name: ChallengeName) -> Self {
        name.0
    }
}

fn check_digits(text: &str, count: usize) -> Result<(), RecordError> {
    let legal = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    if text.len() == count && text.bytes().all(legal) {
        return Ok(());
    }
    Err(RecordError(format!("an identifier has {count} hexadecimal digits")))
}

impl Identity {
    pub(super) fn leader(&self) -> Leader {
        let Self { id, host, pid, .. } = self;
        Leader { host: host.clone(), pid: *pid, id: id.0.clone() }
    }

    /// The name of a machine is shown to operators.
    fn with_printable_name(mut self) -> Self {
        let name = SingleLine(&self.host).to_string();
        self.host = name.chars().take(MAX_NAME_CHARS).collect();
        self
    }
}

impl LeaseRecord {
    /// # Errors
    /// If the text is not a lease.
    pub(super) fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let mut record: Self = serde_json::from_slice(text).map_err(json_error)?;
        record.owner = record.owner.with_printable_name();
        if MAX_CHALLENGES < record.challenges.len() {
            return Err(RecordError(format!("more than {MAX_CHALLENGES} challenges")));
        }
        Ok(record)
    }

    pub(super) fn to_text(&self) -> String {
        to_json(self)
    }
}

impl MemberRecord {
    /// Reads the entry of a balancer. Hosts that are no hosts are left out.
    ///
    /// # Errors
    /// If the text is not an entry, or has too many hosts.
    pub(super) fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let MemberText { owner, hosts, serves, .. } =
            serde_json::from_slice(text).map_err(json_error)?;
        if MAX_HOSTS < hosts.len() {
            return Err(RecordError(format!("more than {MAX_HOSTS} hosts")));
        }
        if MAX_CHALLENGES < serves.len() {
            return Err(RecordError(format!("more than {MAX_CHALLENGES} challenges")));
        }
        let hosts = hosts.iter().filter_map(|host| host.parse().ok()).collect();
        Ok(Self { owner: owner.with_printable_name(), hosts: Arc::new(hosts), serves })
    }

    pub(super) fn to_text(&self, beat: u64) -> String {
        let Self { owner, hosts, serves } = self;
        let hosts = hosts.iter().take(MAX_HOSTS).map(ToString::to_string).collect();
        to_json(&MemberText { owner: owner.clone(), beat, hosts, serves: serves.clone() })
    }
}

impl SharedChallenge {
    /// # Errors
    /// If the text is not an answer to a challenge. It would become part of HAProxy's maps.
    pub(super) fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let wrong = |text: &str| RecordError(text.to_owned());
        match serde_json::from_slice(text).map_err(json_error)? {
            ChallengeText::Token { path, key_authorization } => {
                let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
                let is_answer = (1..=512).contains(&key_authorization.len())
                    && key_authorization.bytes().all(legal);
                if !is_answer || !is_token_path(&path) {
                    return Err(wrong("a token or its answer has illegal characters"));
                }
                Ok(Self::Token { path, key_authorization })
            }
            ChallengeText::Certificate { host, pem } => {
                let host: Host = host.parse().map_err(|_| wrong("not a host"))?;
                let origin = CertificateOrigin::Acme { ca: "challenge".into() };
                let certificate = CertificateWithKey::parse(&pem, origin, host.to_string());
                let certificate =
                    certificate.map_err(|problem| RecordError(problem.to_string()))?;
                Ok(Self::Certificate { host, certificate: Box::new(certificate) })
            }
        }
    }

    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let text = match self.clone() {
            Self::Token { path, key_authorization } => {
                ChallengeText::Token { path, key_authorization }
            }
            Self::Certificate { host, certificate } => ChallengeText::Certificate {
                host: host.to_string(),
                pem: Zeroizing::new(certificate.pem.reveal().to_owned()),
            },
        };
        Zeroizing::new(to_json(&text))
    }
}

impl fmt::Debug for SharedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { path, .. } => {
                f.debug_struct("Token").field("path", path).finish_non_exhaustive()
            }
            Self::Certificate { host, .. } => {
                f.debug_struct("Certificate").field("host", host).finish_non_exhaustive()
            }
        }
    }
}

/// # Errors
/// If the text is not a request.
pub(super) fn parse_request(text: &[u8]) -> Result<AcmeHost, RecordError> {
    serde_json::from_slice(text).map(|RequestText { renew }| renew).map_err(json_error)
}

pub(super) fn request_text(host: &AcmeHost) -> String {
    to_json(&RequestText { renew: host.clone() })
}

/// The error's own text may contain parts of the file, such as a key.
#[allow(clippy::needless_pass_by_value, reason = "a function for `map_err`")]
fn json_error(error: serde_json::Error) -> RecordError {
    RecordError(format!("not valid JSON of this program, line {}", error.line()))
}

fn to_json(value: &impl Serialize) -> String {
    // Texts, numbers and lists of them can always be serialized.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
