//! One order, from the request to the certificate.

use super::{
    Client,
    challenge::{Proof, Solver},
    http::{problem_kind, problem_text},
    key::{generate_key, sign_request},
    predecessor,
    retry::retry_nonce,
};
use crate::sources::acme::{
    acme_host::AcmeHost,
    blocking::run_blocking,
    chain::{Leaf, parse_leaf},
    decide::Order,
    error::{AcmeError, FailureKind},
    store::PendingOrder,
};
use instant_acme::{
    AuthorizationStatus, ChallengeStatus, Identifier, NewOrder, Order as CaOrder, OrderStatus,
    Problem,
};
use std::time::Duration;
use zeroize::Zeroizing;

/// The pauses between two questions for the state of an order.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// The longest time to withdraw proofs, and to keep the CA's last words.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(150);

/// A certificate from the CA, with its key.
pub(crate) struct Issued {
    pub leaf: Leaf,
    pub chain: String,
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("names", &self.leaf.names).finish_non_exhaustive()
    }
}

/// An order that runs.
struct Run<'a> {
    client: &'a Client,
    order: &'a Order,
    solver: &'a Solver,
    proofs: Vec<Proof>,
}

/// Runs an order for the longest time that the settings permit. All proofs are withdrawn at the end.
pub(super) async fn run(
    client: &Client,
    order: &Order,
    solver: &Solver,
) -> Result<Issued, AcmeError> {
    let mut run = Run { client, order, solver, proofs: Vec::new() };
    let limit = client.settings.order_timeout;
    let result = tokio::select! {
        biased;
        () = solver.wait_until_lost() => {
            Err(AcmeError::new(FailureKind::Interrupted, "another balancer makes the orders"))
        }
        result = tokio::time::timeout(limit, run.complete()) => result.unwrap_or_else(|_| {
            let text = format!("the CA did not finish the order in {} s", limit.as_secs());
            Err(AcmeError::new(FailureKind::Timeout, text))
        }),
    };
    let proofs = std::mem::take(&mut run.proofs);
    let _ = tokio::time::timeout(WITHDRAW_TIMEOUT, solver.withdraw(proofs)).await;
    if result.as_ref().is_err_and(|error| !error.kind.keeps_order()) {
        run.forget();
    }
    result
}

impl Run<'_> {
    async fn complete(&mut self) -> Result<Issued, AcmeError> {
        let pending = self.read_pending();
        let mut ca = match &pending {
            Some(pending) => self.resume(&pending.url).await?,
            None => self.open().await?,
        };
        if pending.is_none() {
            self.keep(PendingOrder { url: ca.url().to_owned(), key: None }).await?;
        }
        let resumed = pending.is_some();
        if ca.state().status == OrderStatus::Pending {
            self.authorize(&mut ca).await?;
            self.poll(&mut ca, OrderStatus::Pending).await?;
        }
        let key = pending.and_then(|pending| pending.key);
        if key.is_none() && ca.state().status != OrderStatus::Ready {
            return Err(lost_key(resumed));
        }
        let key = self.finalize(&mut ca, key).await?;
        self.poll(&mut ca, OrderStatus::Processing).await?;
        self.download(&mut ca, key).await
    }

    fn read_pending(&self) -> Option<PendingOrder> {
        if self.order.staging { None } else { self.client.store.read_pending(&self.order.host) }
    }

    /// Stores an order that can be continued. In staging there is no limit that this would save.
    async fn keep(&self, pending: PendingOrder) -> Result<(), AcmeError> {
        if self.order.staging {
            return Ok(());
        }
        let (store, host) = (self.client.store.clone(), self.order.host.clone());
        let written = run_blocking(move || store.write_pending(&host, &pending)).await;
        written.map_err(|error| AcmeError::new(FailureKind::Storage, error))
    }

    fn forget(&self) {
        if !self.order.staging {
            let _ = self.client.store.remove_pending(&self.order.host);
        }
    }

    async fn open(&self) -> Result<CaOrder, AcmeError> {
        let identifiers = identifiers(&self.order.host);
        let mut request = NewOrder::new(&identifiers);
        if let Some(profile) = &self.client.settings.profile {
            request = request.profile(profile);
        }
        if let Some(ari_id) = &self.order.replaces {
            request = request.replaces(predecessor(ari_id)?);
        }
        retry_nonce!(self.client.account.new_order(&request))
    }

    /// Reads an earlier order. If it cannot be continued, the next try opens another one.
    async fn resume(&self, url: &str) -> Result<CaOrder, AcmeError> {
        let gone = |text| AcmeError::new(FailureKind::OrderGone, text);
        let read = retry_nonce!(self.client.account.order(url.to_owned()));
        let mut order =
            read.map_err(|error| if error.kind.keeps_order() { error } else { gone(error.text) })?;
        match order.state().status {
            OrderStatus::Invalid => Err(gone("the order is not valid any more".to_owned())),
            _ => Ok(order),
        }
    }

    /// Publishes the proof for each name that the CA has not verified yet, and asks the CA to verify it.
    async fn authorize(&mut self, ca: &mut CaOrder) -> Result<(), AcmeError> {
        let count = ca.state().authorizations.len();
        for index in 0..count {
            // Reads the authorizations up to this one. Those that were read before are not requested again.
            retry_nonce!(async {
                let mut all = ca.authorizations();
                for _ in 0..=index {
                    all.next().await.transpose()?;
                }
                Ok(())
            })?;
            self.prove(ca, index).await?;
        }
        Ok(())
    }

    async fn prove(&mut self, ca: &mut CaOrder, index: usize) -> Result<(), AcmeError> {
        let missing = || AcmeError::new(FailureKind::BadResponse, "the CA sent no authorization");
        let mut all = ca.authorizations();
        for _ in 0..index {
            all.next().await;
        }
        let next = all.next().await.ok_or_else(missing)?;
        let mut authorization = next.map_err(super::translate)?;
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(()),
            AuthorizationStatus::Pending => {}
            other => {
                let text = format!("the CA's authorization is {other:?}");
                return Err(AcmeError::new(FailureKind::Unauthorized, text));
            }
        }
        let name = match authorization.identifier().identifier {
            Identifier::Dns(name) => name.clone(),
            other => format!("{other:?}"),
        };
        let kind = self.solver.challenge_type();
        let handle = authorization.challenge(kind);
        let mut handle = handle.ok_or_else(|| {
            AcmeError::new(
                FailureKind::Challenge,
                "the CA does not offer this challenge for the name",
            )
        })?;
        self.solver.publish(&handle, &name, &mut self.proofs).await?;
        // An interrupted order may have come further. The CA then verifies the proof already.
        if handle.status != ChallengeStatus::Pending {
            return Ok(());
        }
        retry_nonce!(handle.set_ready())
    }

    /// Waits while the order is in a state.
    async fn poll(&self, ca: &mut CaOrder, state: OrderStatus) -> Result<(), AcmeError> {
        let (mut pause, mut hint) = (POLL.0, Duration::ZERO);
        while ca.state().status == state {
            tokio::time::sleep(pause.max(hint)).await;
            pause = pause.mul_f32(1.5).min(POLL.1);
            retry_nonce!(async { ca.refresh().await.map(drop) })?;
            hint = self.client.poll_hint();
        }
        if ca.state().status == OrderStatus::Invalid {
            return Err(explain(ca).await);
        }
        Ok(())
    }

    /// Sends the request for the certificate, unless the CA has it. Its key is on disk before.
    async fn finalize(
        &self,
        ca: &mut CaOrder,
        key: Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, AcmeError> {
        let key = match key {
            Some(key) if ca.state().status != OrderStatus::Ready => return Ok(key),
            Some(key) => key,
            None => {
                let variant = self.order.host.variant;
                generate_key(self.client.settings.keys.key_type(variant)).await?
            }
        };
        self.keep(PendingOrder { url: ca.url().to_owned(), key: Some(key.clone()) }).await?;
        let (request, _) = sign_request(&self.order.host, &key)?;
        retry_nonce!(ca.finalize_csr(&request))?;
        Ok(key)
    }

    async fn download(
        &self,
        ca: &mut CaOrder,
        key: Zeroizing<String>,
    ) -> Result<Issued, AcmeError> {
        let chain = retry_nonce!(ca.certificate())?;
        let bad = |text: String| AcmeError::new(FailureKind::BadResponse, text);
        let chain = chain.ok_or_else(|| bad("the CA sent no certificate".to_owned()))?;
        let leaf = parse_leaf(&chain).map_err(bad)?;
        let (_, public_key) = sign_request(&self.order.host, &key)?;
        if leaf.public_key != public_key {
            return Err(bad_certificate("the CA's certificate is for another key"));
        }
        if let Some(name) = self.order.host.names().iter().find(|name| !leaf.names.contains(name)) {
            return Err(bad_certificate(format!("the CA's certificate lacks the name {name}")));
        }
        Ok(Issued { leaf, chain, key })
    }
}

impl Client {
    /// Returns how long the CA's last answer says to wait, within the pauses of polling.
    fn poll_hint(&self) -> Duration {
        let seconds = self.http.notes().retry_after.unwrap_or(0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(POLL.1)
    }
}

fn bad_certificate(text: impl std::fmt::Display) -> AcmeError {
    AcmeError::new(FailureKind::BadCertificate, text)
}

/// Returns why an order is invalid: the error of a challenge says more than the order's own.
async fn explain(ca: &mut CaOrder) -> AcmeError {
    let of_order = ca.state().error.as_ref().map(error_of);
    let read = retry_nonce!(async {
        let mut found = None;
        let mut all = ca.authorizations();
        while let Some(next) = all.next().await {
            let mut authorization = next?;
            let state = authorization.refresh().await?;
            let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            found = found.or_else(|| errors.map(error_of).next());
        }
        Ok(found)
    });
    let of_challenge = read.ok().flatten();
    let unexplained = || AcmeError::new(FailureKind::Unauthorized, "the CA refuses the order");
    of_challenge.or(of_order).unwrap_or_else(unexplained)
}

/// A CA may answer an order with one that it completed for an earlier request, whose key is not known.
fn lost_key(resumed: bool) -> AcmeError {
    let kind = if resumed { FailureKind::OrderGone } else { FailureKind::BadResponse };
    AcmeError::new(kind, "the CA completed the order with another key")
}

fn error_of(problem: &Problem) -> AcmeError {
    AcmeError::new(problem_kind(problem), problem_text(problem))
}

fn identifiers(host: &AcmeHost) -> Vec<Identifier> {
    match host.address() {
        Some(address) => vec![Identifier::Ip(address.into())],
        None => host.names().into_iter().map(Identifier::Dns).collect(),
    }
}
