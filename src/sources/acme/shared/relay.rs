//! Between the orders and HAProxy: passes the answers to challenges on to the other balancers, and serves theirs.
//!
//! The CA may connect to any of the balancers, and from several places. So an answer is ready when HAProxy and all
//! balancers that are alive serve it. One that does not in time delays the order, and does not fail it.

use super::{
    super::client::TokenRequest,
    SharedTimes,
    keeper::{KeeperCommand, ProofView},
    record::{ChallengeName, SharedChallenge},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::collections::{BTreeMap, BTreeSet};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tracing::debug;

type Done = oneshot::Sender<Result<(), String>>;

/// The state of the task.
#[derive(Debug)]
pub(crate) struct Relay {
    orders: mpsc::Receiver<TokenRequest>,
    haproxy: mpsc::Sender<TokenRequest>,
    keeper: mpsc::Sender<KeeperCommand>,
    proofs: watch::Receiver<ProofView>,
    serves: watch::Sender<BTreeSet<ChallengeName>>,
    times: SharedTimes,
    /// The answers of this balancer's orders.
    own: BTreeMap<ChallengeName, SharedChallenge>,
    /// The answers of other balancers that HAProxy has, or is to have.
    foreign: BTreeMap<ChallengeName, SharedChallenge>,
    work: FuturesUnordered<BoxFuture<'static, Step>>,
}

/// The end of a step.
#[derive(Debug)]
enum Step {
    /// The other balancers can read the answer, or the store failed.
    Put { name: ChallengeName, done: Done, until: Instant },
    /// HAProxy serves the answer of another balancer, or could not.
    Served { name: ChallengeName, is_served: bool },
    /// The order knows.
    Answered,
    /// Time for another attempt.
    Retry,
}

impl Relay {
    pub(super) fn new(
        (orders, haproxy): (mpsc::Receiver<TokenRequest>, mpsc::Sender<TokenRequest>),
        (keeper, proofs, serves): (
            mpsc::Sender<KeeperCommand>,
            watch::Receiver<ProofView>,
            watch::Sender<BTreeSet<ChallengeName>>,
        ),
        times: SharedTimes,
    ) -> Self {
        let (own, foreign, work) = Default::default();
        Self { orders, haproxy, keeper, proofs, serves, times, own, foreign, work }
    }

    /// Relays until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                Some(request) = self.orders.recv() => self.take(request).await,
                Ok(()) = self.proofs.changed() => self.serve_foreign().await,
                Some(step) = self.work.next() => self.go_on(step).await,
                else => return,
            }
        }
    }

    async fn take(&mut self, request: TokenRequest) {
        match request {
            TokenRequest::Publish { path, key_authorization, done } => {
                let name = ChallengeName::of_path(&path);
                self.publish(name, SharedChallenge::Token { path, key_authorization }, done);
            }
            TokenRequest::Present { host, certificate, done } => {
                let name = ChallengeName::of_host(&host);
                self.publish(name, SharedChallenge::Certificate { host, certificate }, done);
            }
            TokenRequest::Withdraw { ref path } => {
                self.withdraw(ChallengeName::of_path(path), request).await;
            }
            TokenRequest::Hide { ref host } => {
                self.withdraw(ChallengeName::of_host(host), request).await;
            }
        }
    }

    fn publish(&mut self, name: ChallengeName, challenge: SharedChallenge, done: Done) {
        self.own.insert(name.clone(), challenge.clone());
        let (keeper, times) = (self.keeper.clone(), self.times);
        self.work.push(Box::pin(async move {
            let until = Instant::now() + times.answer;
            let (put_done, put) = oneshot::channel();
            let command =
                KeeperCommand::PutChallenge { name: name.clone(), challenge, done: put_done };
            let put = async {
                // Without a store, HAProxy alone serves the answer.
                if keeper.send(command).await.is_ok() {
                    let _ = put.await;
                }
            };
            let _ = timeout_at(until, put).await;
            Step::Put { name, done, until }
        }));
    }

    async fn withdraw(&mut self, name: ChallengeName, request: TokenRequest) {
        self.own.remove(&name);
        let _ = self.keeper.send(KeeperCommand::DropChallenge { name: name.clone() }).await;
        // The balancer that orders now may continue the order.
        if !self.foreign.contains_key(&name) {
            let _ = self.haproxy.send(request).await;
        }
    }

    async fn go_on(&mut self, step: Step) {
        match step {
            Step::Put { name, done, until } => {
                // Otherwise the order ended, and withdrew the answer.
                if let Some(challenge) = self.own.get(&name) {
                    let (served, answer) = oneshot::channel();
                    let _ = self.haproxy.send(challenge.publish(served)).await;
                    self.work.push(Box::pin(wait_for_all(
                        (answer, done),
                        (name, self.proofs.clone()),
                        until,
                    )));
                }
            }
            Step::Served { name, is_served: true } => {
                let is_current = self.foreign.contains_key(&name);
                self.serves.send_if_modified(|names| is_current && names.insert(name));
            }
            Step::Served { name, is_served: false } => {
                self.foreign.remove(&name);
                let pause = self.times.poll;
                self.work.push(Box::pin(async move {
                    tokio::time::sleep(pause).await;
                    Step::Retry
                }));
            }
            Step::Retry => self.serve_foreign().await,
            Step::Answered => {}
        }
    }

    /// Brings what HAProxy serves for other balancers to what the leader wants.
    async fn serve_foreign(&mut self) {
        let wanted = self.proofs.borrow_and_update().challenges.clone();
        let (kept, gone): (BTreeMap<_, _>, _) = std::mem::take(&mut self.foreign)
            .into_iter()
            .partition(|(name, challenge)| wanted.get(name) == Some(challenge));
        self.foreign = kept;
        for (name, challenge) in gone {
            self.serves.send_if_modified(|names| names.remove(&name));
            if !self.own.contains_key(&name) {
                let _ = self.haproxy.send(challenge.withdraw()).await;
            }
        }
        for (name, challenge) in wanted {
            if self.foreign.contains_key(&name) {
                continue;
            }
            let (done, served) = oneshot::channel();
            let _ = self.haproxy.send(challenge.publish(done)).await;
            self.foreign.insert(name.clone(), challenge);
            let limit = self.times.answer;
            self.work.push(Box::pin(async move {
                let result = timeout(limit, served).await;
                Step::Served { name, is_served: matches!(result, Ok(Ok(Ok(())))) }
            }));
        }
    }
}

impl SharedChallenge {
    /// Returns the request by which HAProxy serves it.
    fn publish(&self, done: Done) -> TokenRequest {
        match self.clone() {
            Self::Token { path, key_authorization } => {
                TokenRequest::Publish { path, key_authorization, done }
            }
            Self::Certificate { host, certificate } => {
                TokenRequest::Present { host, certificate, done }
            }
        }
    }

    /// Returns the request by which HAProxy serves it no longer.
    fn withdraw(&self) -> TokenRequest {
        match self.clone() {
            Self::Token { path, .. } => TokenRequest::Withdraw { path },
            Self::Certificate { host, .. } => TokenRequest::Hide { host },
        }
    }
}

/// Waits until HAProxy serves an answer, and until all other balancers do, or a moment.
async fn wait_for_all(
    (answer, done): (oneshot::Receiver<Result<(), String>>, Done),
    (name, mut proofs): (ChallengeName, watch::Receiver<ProofView>),
    until: Instant,
) -> Step {
    let is_served = |view: &ProofView| view.served.values().all(|names| names.contains(&name));
    let all = async { proofs.wait_for(is_served).await.map(drop) };
    let (own, all) = tokio::join!(answer, timeout_at(until, all));
    if all.is_err() {
        debug!("some balancers do not serve the answer to a challenge; the order does not wait");
    }
    // Without a result, the order learns that HAProxy did not take the answer.
    if let Ok(result) = own {
        let _ = done.send(result);
    }
    Step::Answered
}
