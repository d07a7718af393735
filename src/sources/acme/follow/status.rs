//! The state of the orders, as operators see it.

use super::{
    super::{
        acme_host::AcmeHost,
        client::Client,
        decide::Decision,
        status::{AcmeStatus, HostStatus},
    },
    Follower,
};
use std::{collections::BTreeMap, sync::Arc};

impl Follower {
    pub(super) fn publish_status(&self, decision: Option<&Decision>) {
        let status = Arc::new(self.status(decision));
        self.handles.status.send_if_modified(|present| {
            let modified = **present != *status;
            *present = status;
            modified
        });
    }

    pub(super) fn status(&self, decision: Option<&Decision>) -> AcmeStatus {
        let client = self.production.client.as_ref();
        let notes = client.map(Client::notes).unwrap_or_default();
        let pause = decision.and_then(|decision| decision.ledger.pause.clone());
        let hosts = decision.map(|decision| self.host_statuses(decision)).unwrap_or_default();
        AcmeStatus {
            directory: self.production.directory.as_str().to_owned(),
            account: client.map(|client| client.account_id().to_owned()),
            terms_of_service: notes.meta.terms_of_service,
            caa_identities: notes.meta.caa_identities,
            pause: self.storage_pause.clone().or_else(|| self.shared_pause()).or(pause),
            shared: self.shared_status(),
            clock_skew: notes.skew,
            key_replacement: self.key_replacement.clone(),
            hosts,
            counters: self.counters.clone(),
        }
    }

    pub(super) fn host_statuses(&self, decision: &Decision) -> BTreeMap<AcmeHost, HostStatus> {
        let status = |host: &AcmeHost| {
            let (view, record) = (decision.hosts.get(host)?, decision.ledger.record(host));
            let not_after = self.issued.get(host).map(|issued| issued.not_after);
            let refusal = view.refusal.map(|refusal| refusal.to_string());
            let (state, next_order) = (view.state, view.next_order);
            let (failures, staging) = (record.failures, record.staging);
            let last_failure = record.last_failure;
            Some(HostStatus {
                state,
                next_order,
                not_after,
                refusal,
                failures,
                last_failure,
                staging,
            })
        };
        decision.hosts.keys().filter_map(|host| Some((host.clone(), status(host)?))).collect()
    }
}
