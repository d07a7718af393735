//! The follower's jobs, which run next to each other.

use super::{
    super::{
        acme_host::AcmeHost,
        blocking::run_blocking,
        client::{Client, Solver},
        decide::{Act, Connection, Order},
        error::{AcmeError, FailureKind},
    },
    Finished, Follower,
};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use tracing::warn;

impl Follower {
    pub(super) async fn begin(&mut self, act: Act) {
        match act {
            Act::Connect { staging } => self.connect(staging),
            Act::Order(order) => self.order(order),
            Act::AskWindow(host) => self.ask_window(host),
            Act::Remove(host) => self.remove(&host).await,
        }
    }

    pub(super) fn connect(&mut self, staging: bool) {
        let settings = self.settings.clone();
        let environment = self.environment_mut(staging);
        environment.connection = Connection::Connecting;
        let (directory, store) = (environment.directory.clone(), environment.store.clone());
        self.spawn(
            async move { Client::connect(settings, directory, store).await },
            move |result| Finished::Connected { staging, result: result.map(Box::new) },
        );
    }

    pub(super) fn order(&mut self, order: Order) {
        let counters = &mut self.counters;
        *if order.staging { &mut counters.staging_orders } else { &mut counters.orders } += 1;
        self.running.insert(order.host.clone());
        let client = self.environment_mut(order.staging).client.clone();
        let (challenge, tokens) = (self.settings.challenge.clone(), self.handles.tokens.clone());
        let (dns, lease) = (self.settings.dns.clone(), self.lease_guard());
        let solver = Solver { challenge, dns, tokens, lease };
        let run = order.clone();
        let work = async move {
            let client = client.ok_or_else(not_connected)?;
            client.order(&run, &solver).await
        };
        self.spawn(work, move |result| Finished::Ordered { order, result });
    }

    pub(super) fn ask_window(&mut self, host: AcmeHost) {
        self.asking.insert(host.clone());
        let client = self.production.client.clone();
        let id =
            self.issued.get(&host).and_then(|issued| issued.ari_id.clone()).unwrap_or_default();
        let work = async move { client.ok_or_else(not_connected)?.ask_window(&id).await };
        self.spawn(work, move |result| Finished::WindowRead { host, result });
    }

    /// Runs a job, which always ends with a value, even if it panics.
    pub(super) fn spawn<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = Result<T, AcmeError>> + Send + 'static,
        finish: impl FnOnce(Result<T, AcmeError>) -> Finished + Send + 'static,
    ) {
        self.jobs.spawn(async move {
            let result = AssertUnwindSafe(work).catch_unwind().await;
            finish(result.unwrap_or_else(|_| {
                Err(AcmeError::new(FailureKind::BadResponse, "a bug in this program"))
            }))
        });
    }

    pub(super) async fn remove(&mut self, host: &AcmeHost) {
        let (store, copy) = (self.production.store.clone(), host.clone());
        self.issued.remove(host);
        if let Err(error) = run_blocking(move || store.remove_certificates(&copy)).await {
            warn!("could not remove the expired certificate of {host}: {error}");
        }
        self.remove_copy(host).await;
    }
}

pub(super) fn not_connected() -> AcmeError {
    AcmeError::new(FailureKind::Unreachable, "there is no connection to the CA").of_account()
}
