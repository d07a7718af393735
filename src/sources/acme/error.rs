//! Failures of orders, as a closed set for metrics and decisions.
//!
//! Pure.

use crate::support::escape::SingleLine;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest text of a failure that is kept, in characters.
const MAX_TEXT_CHARS: usize = 400;

/// What failed. The names are values of a metric's label and of JSON.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureKind {
    /// The CA could not resolve the name, or found no TXT record.
    Dns,
    /// The CA could not connect to the name's address.
    Connection,
    /// The CA received another answer to the challenge than it expected.
    Unauthorized,
    /// A CAA record of the domain forbids this CA to sign.
    Caa,
    /// The CA's TLS connection to the name failed.
    Tls,
    /// A limit of the CA is reached.
    RateLimited,
    /// The CA does not sign this name.
    RefusedName,
    /// The CA does not accept the account, or requires an external one.
    Account,
    /// The CA does not know the account.
    UnknownAccount,
    /// The CA does not accept the request, for example the profile.
    BadRequest,
    /// The CA sent something that is not an answer of the protocol.
    BadResponse,
    /// The CA's certificate is not the one that was requested.
    BadCertificate,
    /// The CA reports a failure of its own.
    Server,
    /// The CA cannot be reached.
    Unreachable,
    /// The order took too long.
    Timeout,
    /// The local clock and the CA's differ by more than five minutes.
    Clock,
    /// The challenge could not be published, in HAProxy or in the DNS.
    Challenge,
    /// A file could not be written.
    Storage,
    /// The private key could not be generated.
    Key,
    /// The predecessor that the order names is already replaced.
    AlreadyReplaced,
    /// An order that should be continued does not exist any more.
    OrderGone,
    /// The program ended before the order did, or another balancer makes the orders now.
    Interrupted,
}

impl FailureKind {
    /// Returns the kind of an error type of the ACME protocol (RFC 8555, 6.7; RFC 9773), without its prefix
    /// `urn:ietf:params:acme:error:`.
    pub fn of_problem(name: &str) -> Self {
        match name {
            "dns" => Self::Dns,
            "connection" => Self::Connection,
            "unauthorized" | "incorrectResponse" => Self::Unauthorized,
            "caa" => Self::Caa,
            "tls" => Self::Tls,
            "rateLimited" => Self::RateLimited,
            "rejectedIdentifier" | "unsupportedIdentifier" => Self::RefusedName,
            "accountDoesNotExist" => Self::UnknownAccount,
            "externalAccountRequired"
            | "userActionRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "badPublicKey"
            | "badSignatureAlgorithm" => Self::Account,
            "serverInternal" => Self::Server,
            "alreadyReplaced" => Self::AlreadyReplaced,
            "badNonce" => Self::BadResponse,
            _ => Self::BadRequest,
        }
    }

    /// Whether the CA judged the name, so that the next try is better made in the CA's staging environment.
    pub fn is_about_name(self) -> bool {
        matches!(
            self,
            Self::Dns
                | Self::Connection
                | Self::Unauthorized
                | Self::Caa
                | Self::Tls
                | Self::RefusedName
        )
    }

    /// Whether the order may still be completed by a later try.
    pub fn keeps_order(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Unreachable
                | Self::Server
                | Self::BadResponse
                | Self::Storage
                | Self::RateLimited
                | Self::Clock
                | Self::Interrupted
        )
    }
}

/// What an error applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorScope {
    /// One host's order.
    Host,
    /// All orders of the account.
    Account,
}

/// Why an order failed. The text is printable and bounded, and contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeError {
    pub kind: FailureKind,
    pub text: String,
    /// How long the CA says to wait, in seconds.
    pub retry_after: Option<i64>,
    pub scope: ErrorScope,
}

impl AcmeError {
    /// Creates an error of one host's order. `text` may come from the CA.
    pub fn new(kind: FailureKind, text: impl fmt::Display) -> Self {
        Self { kind, text: bound_text(&text), retry_after: None, scope: ErrorScope::Host }
    }

    #[must_use]
    pub fn with_retry_after(mut self, seconds: Option<i64>) -> Self {
        self.retry_after = seconds;
        self
    }

    #[must_use]
    pub fn of_account(mut self) -> Self {
        self.scope = ErrorScope::Account;
        self
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.kind)
    }
}

impl std::error::Error for AcmeError {}

fn bound_text(text: &impl fmt::Display) -> String {
    let text = SingleLine(text).to_string();
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn text_of_ca_is_escaped_and_bounded() {
        let error = AcmeError::new(FailureKind::Dns, "a\n\u{1b}[31m".to_owned() + &"x".repeat(900));
        assert!(error.text.starts_with("a\\n\\u{1b}[31mx"), "{}", error.text);
        assert_eq!(error.text.chars().count(), MAX_TEXT_CHARS + 1);
    }

    #[test]
    fn problem_types_have_kinds() {
        for (name, kind) in [
            ("dns", FailureKind::Dns),
            ("rateLimited", FailureKind::RateLimited),
            ("rejectedIdentifier", FailureKind::RefusedName),
            ("externalAccountRequired", FailureKind::Account),
            ("somethingNew", FailureKind::BadRequest),
        ] {
            assert_eq!(FailureKind::of_problem(name), kind);
        }
    }

    #[test]
    fn names_in_json_and_in_metrics_agree() {
        for kind in FailureKind::iter() {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
