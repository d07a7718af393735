//! What the follower does at the end of a job.

use super::{
    super::{
        acme_host::AcmeHost,
        client::{Client, Issued, unix_now},
        decide::{Connection, Order},
        error::{AcmeError, ErrorScope, FailureKind},
        ledger::RenewalWindow,
        schedule,
        store::join_pem,
    },
    Finished, Follower, STAGING_PAUSE,
};
use std::sync::Arc;
use tracing::{debug, info, warn};

impl Follower {
    pub(super) async fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Connected { staging, result } => {
                self.finish_connect(staging, result.map(|client| *client));
            }
            Finished::AccountKeyReplaced(result) => self.finish_key_replacement(result),
            Finished::WindowRead { host, result } => self.finish_ask(&host, result),
            Finished::Ordered { order, result } => {
                self.running.remove(&order.host);
                match result {
                    Err(error) if error.kind == FailureKind::Interrupted => {
                        self.interrupt_order(&order, &error);
                    }
                    Ok(issued) => self.finish_order(order, issued).await,
                    Err(error) => self.fail_order(&order, &error).await,
                }
            }
        }
    }

    pub(super) fn finish_connect(&mut self, staging: bool, result: Result<Client, AcmeError>) {
        let environment = self.environment_mut(staging);
        match result {
            Ok(client) => {
                let renewal_info = client.notes().renewal_info;
                environment.connection = Connection::Ready { renewal_info };
                environment.client = Some(client);
            }
            Err(error) => {
                environment.connection = Connection::None;
                if !staging {
                    self.fail_requested_key(&error);
                }
                self.fail_environment(staging, &error);
            }
        }
    }

    /// Records a failure that affects all orders of an environment.
    pub(super) fn fail_environment(&mut self, staging: bool, error: &AcmeError) {
        self.count(error.kind);
        self.urgent = true;
        let now = unix_now();
        let environment = self.environment_mut(staging);
        // The next connection measures the difference of the clocks again.
        let lost = matches!(
            error.kind,
            FailureKind::Account | FailureKind::UnknownAccount | FailureKind::Clock
        );
        if lost || environment.client.is_none() {
            environment.client = None;
            environment.connection = Connection::None;
        }
        if error.kind == FailureKind::UnknownAccount {
            let retired = environment.store.retire_account();
            warn!("the CA does not know the account: {error}; registering another one");
            if let Err(error) = retired {
                self.pause_for_storage(&error, now);
            }
        }
        if staging {
            debug!("the staging environment of the CA failed: {error}");
            self.staging_pause = now + STAGING_PAUSE;
        } else if let Some(ledger) = &mut self.ledger {
            ledger.record_account_failure(error, now);
            let pause = ledger.pause.as_ref().map_or(0, |pause| pause.until - now);
            warn!("ordering no certificates for {pause}s: {error}");
        }
    }

    pub(super) fn finish_ask(
        &mut self,
        host: &AcmeHost,
        result: Result<(RenewalWindow, Option<i64>), AcmeError>,
    ) {
        self.asking.remove(host);
        let (window, retry_after) = match result {
            Ok((window, retry_after)) => (Some(window), retry_after),
            Err(error) => {
                debug!("the CA does not say when to renew {host}: {error}");
                (None, error.retry_after)
            }
        };
        if let Some(ledger) = &mut self.ledger {
            let at = schedule::ask_window_at(unix_now(), retry_after);
            ledger.record_window(host, window, at);
        }
    }

    pub(super) async fn finish_order(&mut self, order: Order, issued: Issued) {
        self.urgent = true;
        let host = order.host;
        if let Some(ledger) = &mut self.ledger {
            let renewed_at = self.issued.contains_key(&host).then(unix_now);
            ledger.record_success(&host, order.staging, renewed_at);
        }
        if order.staging {
            info!("the CA's staging environment accepts {host}; ordering in production");
            return;
        }
        info!("received a certificate for {host}");
        self.counters.issued += 1;
        self.issued.insert(host.clone(), issued.leaf.issued.clone());
        let pem = join_pem(&issued.chain, &issued.key);
        self.unsaved.insert(host.clone(), Arc::new(issued));
        self.save().await;
        self.hand_out(host, pem).await;
    }

    pub(super) async fn fail_order(&mut self, order: &Order, error: &AcmeError) {
        self.urgent = true;
        if order.staging || error.scope == ErrorScope::Host {
            self.count(error.kind);
            warn!("could not get a certificate for {}: {error}", order.host);
        } else {
            self.fail_environment(false, error);
        }
        let (now, has_staging) = (unix_now(), self.staging.is_some());
        if let Some(ledger) = &mut self.ledger {
            match error.scope {
                ErrorScope::Account if !order.staging => ledger.end_order(&order.host),
                _ => ledger.record_failure(&order.host, error, order.staging, (now, has_staging)),
            }
        }
        self.read_pending().await;
    }

    /// Ends an order that another balancer may continue, because that one is the leader now.
    fn interrupt_order(&mut self, order: &Order, error: &AcmeError) {
        info!("stopped the order for {}: {error}", order.host);
        if let Some(ledger) = &mut self.ledger {
            ledger.end_order(&order.host);
        }
    }

    pub(super) fn count(&mut self, kind: FailureKind) {
        *self.counters.failures.entry(kind).or_default() += 1;
    }
}
