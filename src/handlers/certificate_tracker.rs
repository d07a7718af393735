//! The certificates that were delivered to a handler: the next event is the difference, also after a restart.

use super::{
    HandlerContext,
    certificate_change::{
        CertificateAction, CertificateChange, CertificateRecord, KnownCertificates,
    },
    mailbox::HandlerMessage,
    state::HandlerState,
};
use crate::{haproxy::name::hash, sources::certificate::CertificateLists};
use std::{path::Path, sync::Arc};

/// The folder in the handler's state directory, with one file per certificate.
const RECORDS_FOLDER: &str = "certificates";

/// Turns lists of certificates into the events of one handler.
#[derive(Debug, Default)]
pub struct CertificateTracker {
    /// Includes those whose event is still in the queue.
    known: KnownCertificates,
}

impl CertificateTracker {
    /// Reads what was delivered to the handler earlier.
    pub async fn load(work: &HandlerContext) -> Self {
        if !work.handler.events.includes_certificates() {
            return Self::default();
        }
        let state = HandlerState::new(&work.settings, &work.handler);
        let records = state.read_folder::<CertificateRecord>(RECORDS_FOLDER).await;
        Self {
            known: KnownCertificates::from_records(records.into_iter().map(|(_, record)| record)),
        }
    }

    /// Returns an event for each difference.
    pub fn update(&mut self, lists: &CertificateLists) -> impl Iterator<Item = HandlerMessage> {
        let changes = self.known.update(lists).into_iter();
        changes.map(|change| HandlerMessage::CertificateEvent(Arc::new(change)))
    }
}

/// Records an event that the handler does not subscribe to, so that it knows the certificate when a later event comes.
/// Returns whether the message is such an event.
pub async fn record_unsubscribed(work: &HandlerContext, message: &HandlerMessage) -> bool {
    let is_unsubscribed =
        message.certificate_change().is_some() && !work.handler.events.matches(message.action());
    if is_unsubscribed {
        record_delivery(work, message).await;
    }
    is_unsubscribed
}

/// Records on disk which certificates the handler knows. An event that failed is not recorded, so the handler gets it
/// again after a restart.
pub async fn record_delivery(work: &HandlerContext, message: &HandlerMessage) {
    let Some(change) = message.certificate_change() else { return };
    let state = HandlerState::new(&work.settings, &work.handler);
    let CertificateChange { action, list, certificate } = change;
    let name = record_name(list, &certificate.id);
    match action {
        CertificateAction::Gone => state.remove_value(&name).await,
        CertificateAction::Issued | CertificateAction::Renewed => {
            let (list, certificate) = (list.clone(), certificate.clone());
            state.write_value(&name, &CertificateRecord { list, certificate }).await;
        }
    }
}

fn record_name(list: &Path, id: &str) -> String {
    format!("{RECORDS_FOLDER}/{:016x}", hash(&format!("{}\n{id}", list.display())))
}
