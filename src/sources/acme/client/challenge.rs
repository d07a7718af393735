//! The proof that the host, or its DNS, is under control.

use super::super::{
    super::certificate::CertificateWithKey,
    dns::{self, TextRecord},
    error::{AcmeError, FailureKind},
    settings::{Challenge, DnsLookup, DnsPublisher},
    shared::LeaseGuard,
};
use crate::model::{certificate::CertificateOrigin, option_value::Host};
use instant_acme::{ChallengeHandle, ChallengeType};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// The longest time until HAProxy serves a token.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);

/// A change of what HAProxy serves for challenges: tokens on port 80, before any redirect or authentication, and
/// certificates on port 443.
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
    /// Present the certificate to clients that ask for the host with the protocol `acme-tls/1`, and answer `done` when
    /// HAProxy does.
    Present {
        host: Host,
        certificate: Box<CertificateWithKey>,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Present no such certificate for the host.
    Hide { host: Host },
}

/// Publishes proofs.
#[derive(Debug, Clone)]
pub(crate) struct Solver {
    pub challenge: Challenge,
    pub dns: DnsLookup,
    pub tokens: mpsc::Sender<TokenRequest>,
    /// `None` if no other balancer orders.
    pub lease: Option<LeaseGuard>,
}

/// A proof that is published until it is withdrawn.
#[derive(Debug)]
pub(super) enum Proof {
    Token {
        path: String,
    },
    Certificate {
        host: Host,
    },
    Record {
        publisher: DnsPublisher,
        record: TextRecord,
    },
    /// An administrator published the proof.
    Persistent,
}

impl Solver {
    /// Waits until another balancer orders.
    pub(super) async fn wait_until_lost(&self) {
        match &self.lease {
            Some(lease) => lease.clone().wait_until_lost().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn challenge_type(&self) -> ChallengeType {
        match self.challenge {
            Challenge::Http => ChallengeType::Http01,
            Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
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
                let key_authorization = handle.key_authorization().as_str().to_owned();
                self.wait_until_published(|done| TokenRequest::Publish {
                    path,
                    key_authorization,
                    done,
                })
                .await
            }
            Challenge::TlsAlpn => {
                let digest = handle.key_authorization().digest();
                let (host, certificate) = challenge_certificate(host, digest.as_ref())?;
                proofs.push(Proof::Certificate { host: host.clone() });
                let certificate = Box::new(certificate);
                self.wait_until_published(|done| TokenRequest::Present { host, certificate, done })
                    .await
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

    async fn wait_until_published(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), String>>) -> TokenRequest,
    ) -> Result<(), AcmeError> {
        let (done, answer) = oneshot::channel();
        let failed = |text: &str| AcmeError::new(FailureKind::Challenge, text);
        let sent = self.tokens.send(request(done)).await;
        sent.map_err(|_| failed("HAProxy's answers to challenges are not served any more"))?;
        match tokio::time::timeout(PUBLISH_TIMEOUT, answer).await {
            Err(_) => Err(failed("HAProxy did not take the answer to the challenge in time")),
            Ok(Err(_)) => Err(failed("HAProxy did not take the answer to the challenge")),
            Ok(Ok(result)) => result.map_err(|text| AcmeError::new(FailureKind::Challenge, text)),
        }
    }

    pub(super) async fn withdraw(&self, proofs: Vec<Proof>) {
        for proof in proofs {
            match proof {
                Proof::Token { path } => {
                    let _ = self.tokens.send(TokenRequest::Withdraw { path }).await;
                }
                Proof::Certificate { host } => {
                    let _ = self.tokens.send(TokenRequest::Hide { host }).await;
                }
                Proof::Record { publisher, record } => dns::clean_up(&publisher, &record).await,
                Proof::Persistent => {}
            }
        }
    }
}

/// Makes the certificate that answers a challenge: for the name, with the digest of the key authorization in an extension
/// (RFC 8737, section 3).
fn challenge_certificate(
    name: &str,
    digest: &[u8],
) -> Result<(Host, CertificateWithKey), AcmeError> {
    let failed = |text: String| AcmeError::new(FailureKind::Challenge, text);
    let host = name.parse().map_err(|_| failed(format!("{name} is not a host name")))?;
    let make = || -> Result<Zeroizing<String>, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let pem = params.self_signed(&key)?.pem();
        Ok(Zeroizing::new(format!("{pem}{}", *Zeroizing::new(key.serialize_pem()))))
    };
    let pem =
        make().map_err(|error| failed(format!("no certificate for the challenge: {error}")))?;
    let origin = CertificateOrigin::Acme { ca: "challenge".into() };
    let certificate = CertificateWithKey::parse(&pem, origin, name.to_owned());
    let certificate = certificate.map_err(|problem| failed(problem.to_string()))?;
    Ok((host, certificate))
}

/// Where tokens are served.
const TOKEN_PREFIX: &str = "/.well-known/acme-challenge/";

/// Whether this is the path of a token. The text becomes a key of a map of HAProxy, so a token with other characters
/// than RFC 8555, 8.3 permits is refused.
pub(crate) fn is_token_path(path: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    path.strip_prefix(TOKEN_PREFIX)
        .is_some_and(|token| (1..=256).contains(&token.len()) && token.bytes().all(legal))
}

fn token_path(token: &str) -> Result<String, AcmeError> {
    let path = format!("{TOKEN_PREFIX}{token}");
    if is_token_path(&path) {
        return Ok(path);
    }
    Err(AcmeError::new(FailureKind::BadResponse, "the CA sent a token with illegal characters"))
}
