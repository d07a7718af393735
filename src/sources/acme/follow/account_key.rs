//! The replacement of the account's key, at an operator's request.

use super::{
    super::{
        client::{Client, unix_now},
        decide::Connection,
        error::AcmeError,
        status::KeyReplacement,
    },
    Finished, Follower,
    jobs::not_connected,
};
use tracing::{info, warn};

/// Nothing is begun while the key is to be replaced.
const BUSY: &Connection = &Connection::Connecting;

impl Follower {
    /// The connection for orders. None begins before a replacement of the key that is requested: the CA would refuse
    /// the old key in the middle of an order.
    pub(super) fn usable_production(&self) -> &Connection {
        if self.key_requested { BUSY } else { &self.production.connection }
    }

    /// Begins the replacement of the key, if it is requested, no order runs, and there is an account.
    pub(super) fn replace_requested_key(&mut self) {
        if !self.key_requested || !self.running.is_empty() || !self.asking.is_empty() {
            return;
        }
        match self.production.connection {
            Connection::None => self.connect(false),
            Connection::Connecting => {}
            Connection::Ready { .. } => {
                self.key_requested = false;
                self.production.connection = Connection::Connecting;
                let client = self.production.client.clone();
                let work = async move {
                    client.ok_or_else(not_connected)?.replace_account_key().await.map(Box::new)
                };
                self.spawn(work, Finished::AccountKeyReplaced);
            }
        }
    }

    pub(super) fn finish_key_replacement(&mut self, result: Result<Box<Client>, AcmeError>) {
        // The next connection finds out which key the CA has.
        self.production.client = None;
        self.production.connection = Connection::None;
        match result {
            Ok(client) => {
                info!("replaced the key of the account {}", client.account_id());
                self.key_replacement = Some(KeyReplacement { at: unix_now(), failure: None });
                self.finish_connect(false, Ok(*client));
            }
            Err(error) => self.report_failed_key(&error),
        }
    }

    /// Ends a request for another key, because there is no connection to the CA.
    pub(super) fn fail_requested_key(&mut self, error: &AcmeError) {
        if std::mem::take(&mut self.key_requested) {
            self.report_failed_key(error);
        }
    }

    fn report_failed_key(&mut self, error: &AcmeError) {
        warn!("could not replace the key of the account: {error}");
        let failure = Some(error.to_string());
        self.key_replacement = Some(KeyReplacement { at: unix_now(), failure });
    }
}
