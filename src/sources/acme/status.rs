//! What operators see of the orders. It contains no secret.

use super::{
    acme_host::AcmeHost,
    decide::HostState,
    error::FailureKind,
    ledger::{Failure, Pause},
    shared::Leader,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The state of all orders with one CA. All moments are Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AcmeStatus {
    /// The URL of the CA's directory.
    pub directory: String,
    /// The URL of the account, once it is used.
    pub account: Option<String>,
    /// The CA's terms, to which using it agrees.
    pub terms_of_service: Option<String>,
    /// The CA's domains, one of which is part of a record of dns-persist-01.
    pub caa_identities: Vec<String>,
    /// Nothing is ordered until then.
    pub pause: Option<Pause>,
    /// How far the CA's clock is ahead of the local one, in seconds.
    pub clock_skew: Option<i64>,
    /// The last replacement of the account's key since the start of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_replacement: Option<KeyReplacement>,
    /// Who orders. `None` if no other balancer uses the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedStatus>,
    pub hosts: BTreeMap<AcmeHost, HostStatus>,
    pub counters: Counters,
}

impl AcmeStatus {
    /// Returns the order that is for the host, or that of a wildcard that covers it.
    pub fn find_host(&self, host: &AcmeHost) -> Option<(&AcmeHost, &HostStatus)> {
        let exact = self.hosts.get_key_value(host);
        // A wildcard's certificate also covers the domain itself.
        let covering = [Some(host.host.clone()), host.host.parent()].into_iter().flatten();
        let mut wildcards = covering.filter(|_| !host.wildcard);
        exact.or_else(|| {
            wildcards.find_map(|host| self.hosts.get_key_value(&AcmeHost::wildcard(host)))
        })
    }
}

/// Who orders, of the balancers that share a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedStatus {
    /// Whether this balancer does.
    pub is_leader: bool,
    /// The balancer that does. `None` while none gives signs of life.
    pub leader: Option<Leader>,
}

/// The result of a replacement of the account's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyReplacement {
    /// When it ended, in Unix seconds.
    pub at: i64,
    /// Why the key was not replaced.
    pub failure: Option<String>,
}

/// Counts since the start of the program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Orders that were begun in production, including those that continued an earlier order.
    pub orders: u64,
    /// Orders that were begun in the staging environment.
    pub staging_orders: u64,
    /// Certificates from production.
    pub issued: u64,
    /// Failures of orders and of connections to the CA.
    pub failures: BTreeMap<FailureKind, u64>,
}

/// The state of one host's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    pub state: HostState,
    /// When the next order begins, if a moment is known.
    pub next_order: Option<i64>,
    /// When the current certificate expires.
    pub not_after: Option<i64>,
    /// Why the name is not ordered.
    pub refusal: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    pub last_failure: Option<Failure>,
    /// The next try is made in the staging environment.
    pub staging: bool,
}
