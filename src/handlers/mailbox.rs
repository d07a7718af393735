//! Between the agent, which never waits, and a handler, which may be slow: each has a mailbox of its own.

use super::stats::HandlerStats;
use crate::sources::{ContainerEvent, ContainerMap};
use std::sync::Arc;
use tokio::sync::mpsc::{self, error::TrySendError};

/// What a handler's mailbox holds at most. A letter is a pointer to what all handlers share.
pub const MAX_MESSAGES: usize = 100_000;

/// What a handler is told of.
#[derive(Debug, Clone)]
pub enum HandlerMessage {
    /// At the start, and after handlers that say `triggers-none`.
    NoneEvent,
    /// The containers are others, and no event said so.
    ContainersChanged,
    Event(Arc<ContainerEvent>),
    /// The containers at the beginning, for a handler with `at_start=yes`: its first letter.
    InitialContainers(Arc<ContainerMap>),
    /// One that happened while it was not there.
    ReplayedEvent(Arc<ContainerEvent>),
}

#[derive(Debug)]
pub struct MailboxSender {
    sender: mpsc::Sender<HandlerMessage>,
    stats: Arc<HandlerStats>,
    /// Letters are being lost: said once, until one fits in again.
    is_full: bool,
}

/// Ends when the agent wants the handler to end, after the last letter.
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
            // It has ended, and said why.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

impl HandlerMessage {
    /// `none`, or the event's action, as scripts and plugins are told it.
    pub fn action(&self) -> &str {
        match self {
            Self::NoneEvent | Self::ContainersChanged | Self::InitialContainers(_) => "none",
            Self::Event(event) | Self::ReplayedEvent(event) => &event.action,
        }
    }

    /// The container's full id; empty where no container is meant.
    pub fn container_id(&self) -> &str {
        match self {
            Self::NoneEvent | Self::ContainersChanged | Self::InitialContainers(_) => "",
            Self::Event(event) | Self::ReplayedEvent(event) => event.id.as_str(),
        }
    }

    /// The event, if it is one.
    pub fn event(&self) -> Option<&ContainerEvent> {
        match self {
            Self::NoneEvent | Self::ContainersChanged | Self::InitialContainers(_) => None,
            Self::Event(event) | Self::ReplayedEvent(event) => Some(event),
        }
    }
}
