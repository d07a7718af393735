//! The mailboxes between the dispatcher, which never blocks, and the handlers, which may be slow. Each handler has
//! its own.

use super::{
    certificate_change::{CERTIFICATE_EVENT, CertificateChange},
    stats::HandlerStats,
};
use crate::sources::{ContainerEvent, ContainerMap, certificate::CertificateLists};
use std::sync::Arc;
use tokio::sync::mpsc::{self, error::TrySendError};

/// The capacity of a handler's mailbox. A message is only a pointer to data that all handlers share.
pub const MAX_MESSAGES: usize = 100_000;

/// A message to a handler.
#[derive(Debug, Clone)]
pub enum HandlerMessage {
    /// Sent at the start, and after handlers with `triggers-none`.
    NoneEvent,
    /// The containers changed without an event.
    ContainersChanged,
    Event(Arc<ContainerEvent>),
    /// The containers at the start: the first message to a handler with `at_start=yes`.
    InitialContainers(Arc<ContainerMap>),
    /// An event that happened while docker-glue was not running.
    ReplayedEvent(Arc<ContainerEvent>),
    /// The lists of certificates changed. Scripts and plugins get the differences as [`Self::CertificateEvent`].
    CertificatesChanged(Arc<CertificateLists>),
    CertificateEvent(Arc<CertificateChange>),
}

#[derive(Debug)]
pub struct MailboxSender {
    sender: mpsc::Sender<HandlerMessage>,
    stats: Arc<HandlerStats>,
    /// Whether messages are being lost. This is logged once, until a message fits in again.
    is_full: bool,
}

/// Closed by the dispatcher when the handler should end, after the last message.
pub type Mailbox = mpsc::Receiver<HandlerMessage>;

pub fn create_mailbox(tally: Arc<HandlerStats>) -> (MailboxSender, Mailbox) {
    let (sender, mailbox) = mpsc::channel(MAX_MESSAGES);
    (MailboxSender { sender, stats: tally, is_full: false }, mailbox)
}

impl MailboxSender {
    pub fn send(&mut self, message: HandlerMessage) {
        match self.sender.try_send(message) {
            Ok(()) => self.is_full = false,
            Err(TrySendError::Full(_)) => {
                self.stats.record_dropped();
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::error!(
                        handler = self.stats.name(),
                        "{MAX_MESSAGES} events are pending; further events are lost until the \
                         handler catches up"
                    );
                }
            }
            // The handler has ended and logged the reason.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

impl HandlerMessage {
    /// Returns the event's action, or `none`, as scripts and plugins receive it.
    pub fn action(&self) -> &str {
        match self {
            Self::NoneEvent | Self::ContainersChanged | Self::InitialContainers(_) => "none",
            Self::Event(event) | Self::ReplayedEvent(event) => &event.action,
            Self::CertificatesChanged(_) => CERTIFICATE_EVENT,
            Self::CertificateEvent(change) => change.action.event_name(),
        }
    }

    /// Returns the container's full id; empty if the message is not about a container.
    pub fn container_id(&self) -> &str {
        self.event().map_or("", |event| event.id.as_str())
    }

    /// Returns the container's event, if the message is one.
    pub fn event(&self) -> Option<&ContainerEvent> {
        match self {
            Self::Event(event) | Self::ReplayedEvent(event) => Some(event),
            _ => None,
        }
    }

    /// Returns the change of a certificate, if the message is one.
    pub fn certificate_change(&self) -> Option<&CertificateChange> {
        match self {
            Self::CertificateEvent(change) => Some(change),
            _ => None,
        }
    }

    /// Whether the message is an event of a container or a certificate.
    pub fn is_event(&self) -> bool {
        self.event().is_some()
            || matches!(self, Self::CertificateEvent(_) | Self::CertificatesChanged(_))
    }
}
