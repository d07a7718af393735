//! Between the agent, which never waits, and a handler, which may be slow: each has a mailbox of its own.

use super::tally::Tally;
use crate::docker::{Happened, Roster};
use std::sync::Arc;
use tokio::sync::mpsc::{self, error::TrySendError};

/// What a handler's mailbox holds at most. A letter is a pointer to what all handlers share.
pub const ROOM: usize = 100_000;

/// What a handler is told of.
#[derive(Debug, Clone)]
pub enum Letter {
    /// At the start, and after handlers that say `triggers-none`.
    None,
    /// The containers are others, and no event said so.
    Changed,
    Happened(Arc<Happened>),
    /// The containers at the beginning, for a handler with `at_start=yes`: its first letter.
    Begin(Arc<Roster>),
    /// One that happened while it was not there.
    Replayed(Arc<Happened>),
}

#[derive(Debug)]
pub struct Sender {
    letters: mpsc::Sender<Letter>,
    tally: Arc<Tally>,
    /// Letters are being lost: said once, until one fits in again.
    full: bool,
}

/// Ends when the agent wants the handler to end, after the last letter.
pub type Mailbox = mpsc::Receiver<Letter>;

pub fn mailbox(tally: Arc<Tally>) -> (Sender, Mailbox) {
    let (letters, mailbox) = mpsc::channel(ROOM);
    (Sender { letters, tally, full: false }, mailbox)
}

impl Sender {
    pub fn send(&mut self, letter: Letter) {
        match self.letters.try_send(letter) {
            Ok(()) => self.full = false,
            Err(TrySendError::Full(_)) => {
                self.tally.lose();
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(
                        handler = self.tally.name(),
                        "{ROOM} events wait for it already; further ones are lost until it catches up"
                    );
                }
            }
            // It has ended, and said why.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

impl Letter {
    /// `none`, or the event's action, as scripts and plugins are told it.
    pub fn action(&self) -> &str {
        match self {
            Self::None | Self::Changed | Self::Begin(_) => "none",
            Self::Happened(it) | Self::Replayed(it) => &it.action,
        }
    }

    /// The container's full id; empty where no container is meant.
    pub fn container(&self) -> &str {
        match self {
            Self::None | Self::Changed | Self::Begin(_) => "",
            Self::Happened(it) | Self::Replayed(it) => it.id.as_str(),
        }
    }

    /// The event, if it is one.
    pub fn happened(&self) -> Option<&Happened> {
        match self {
            Self::None | Self::Changed | Self::Begin(_) => None,
            Self::Happened(it) | Self::Replayed(it) => Some(it),
        }
    }
}
