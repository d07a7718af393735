//! The proof that the host, or its DNS, is under control.

use super::super::{
    dns::{self, TextRecord},
    error::{AcmeError, FailureKind},
    settings::{Challenge, DnsLookup, DnsPublisher},
};
use instant_acme::{ChallengeHandle, ChallengeType};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The longest time until HAProxy serves a token.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);

/// A change of the tokens that HAProxy serves on port 80, before any redirect or authentication.
#[derive(Debug)]
pub enum TokenRequest {
    /// Serve `key_authorization` at `path`, and answer `done` when HAProxy does.
    Publish {
        /// `/.well-known/acme-challenge/TOKEN`, in characters that need no escaping.
        path: String,
        key_authorization: String,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Serve nothing at `path`.
    Withdraw { path: String },
}

/// Publishes proofs.
#[derive(Debug, Clone)]
pub(crate) struct Solver {
    pub challenge: Challenge,
    pub dns: DnsLookup,
    pub tokens: mpsc::Sender<TokenRequest>,
}

/// A proof that is published until it is withdrawn.
#[derive(Debug)]
pub(super) enum Proof {
    Token {
        path: String,
    },
    Record {
        publisher: DnsPublisher,
        record: TextRecord,
    },
    /// An administrator published the proof.
    Persistent,
}

impl Solver {
    pub(super) fn challenge_type(&self) -> ChallengeType {
        match self.challenge {
            Challenge::Http => ChallengeType::Http01,
            Challenge::Dns(_) => ChallengeType::Dns01,
            Challenge::DnsPersist => ChallengeType::Unknown("dns-persist-01".to_owned()),
        }
    }

    /// Publishes the proof of a challenge. It is in `proofs` even if publishing it fails, and must be withdrawn.
    pub(super) async fn publish(
        &self,
        handle: &ChallengeHandle<'_>,
        host: &str,
        proofs: &mut Vec<Proof>,
    ) -> Result<(), AcmeError> {
        match &self.challenge {
            Challenge::Http => {
                let path = token_path(&handle.token)?;
                proofs.push(Proof::Token { path: path.clone() });
                self.publish_token(path, handle.key_authorization().as_str()).await
            }
            Challenge::Dns(publisher) => {
                let name = dns::find_record_name(&self.dns, host).await?;
                let record = TextRecord { name, value: handle.key_authorization().dns_value() };
                let copy = (publisher.clone(), record.clone());
                proofs.push(Proof::Record { publisher: copy.0, record: copy.1 });
                dns::publish(publisher, &record).await?;
                dns::wait_until_visible(&self.dns, &record).await;
                Ok(())
            }
            Challenge::DnsPersist => {
                proofs.push(Proof::Persistent);
                Ok(())
            }
        }
    }

    async fn publish_token(&self, path: String, key_authorization: &str) -> Result<(), AcmeError> {
        let (done, answer) = oneshot::channel();
        let key_authorization = key_authorization.to_owned();
        let failed = |text: &str| AcmeError::new(FailureKind::Challenge, text);
        let sent = self.tokens.send(TokenRequest::Publish { path, key_authorization, done }).await;
        sent.map_err(|_| failed("HAProxy's tokens are not served any more"))?;
        match tokio::time::timeout(PUBLISH_TIMEOUT, answer).await {
            Err(_) => Err(failed("HAProxy did not take the token in time")),
            Ok(Err(_)) => Err(failed("HAProxy did not take the token")),
            Ok(Ok(result)) => result.map_err(|text| AcmeError::new(FailureKind::Challenge, text)),
        }
    }

    pub(super) async fn withdraw(&self, proofs: Vec<Proof>) {
        for proof in proofs {
            match proof {
                Proof::Token { path } => {
                    let _ = self.tokens.send(TokenRequest::Withdraw { path }).await;
                }
                Proof::Record { publisher, record } => dns::clean_up(&publisher, &record).await,
                Proof::Persistent => {}
            }
        }
    }
}

/// Returns the path of a token. The text becomes a key of a map of HAProxy, so a token with other characters than
/// RFC 8555, 8.3 permits is refused.
fn token_path(token: &str) -> Result<String, AcmeError> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if (1..=256).contains(&token.len()) && token.bytes().all(legal) {
        return Ok(format!("/.well-known/acme-challenge/{token}"));
    }
    Err(AcmeError::new(FailureKind::BadResponse, "the CA sent a token with illegal characters"))
}
