//! What was applied before, and the way back to it.

use super::{
    Balancer, Did,
    journal::{Journal, Past},
    wall_clock,
};
use crate::{
    control::failure::Failure,
    rollback::Rollback,
    view::{
        How,
        history::{Delta, Generation},
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// What a rollback, or its end, came to.
#[derive(Debug)]
pub struct Turned {
    pub generation: u64,
    pub since_ms: u64,
    /// Whether it is on disk as well; without an answer it is not.
    pub kept: oneshot::Receiver<bool>,
}

impl Balancer {
    /// Goes on where an earlier run ended, and writes down what comes.
    pub fn remember(&mut self, journal: Journal, past: Past) {
        let Past { history, served, rollback, owners } = past;
        if let Some(label) = &self.rules.fences.own_hosts_by {
            self.memory.recall_owners(&owners, label, Instant::now());
        }
        self.owners = Arc::clone(self.memory.board().owners());
        if let Some(served) = &served {
            self.memory.recall(served);
        }
        (self.journal, self.history, self.served_before) = (Some(journal), history, served);
        if let Some(rollback) = &rollback {
            tell_held(rollback);
        }
        self.memory.rollback = rollback;
    }

    /// A pass is over. It made this difference to what this balancer served; to its first an earlier run
    /// is what came before.
    pub(super) fn record(&mut self, delta: Delta, did: &Did, cause: &str, took: Duration) {
        let delta = match self.served_before.take() {
            Some(before) => Delta::between(&before, &self.served),
            None => delta,
        };
        let how = match did.how() {
            Some(how @ (How::Started | How::Reloaded { .. })) => how,
            _ if delta.is_empty() => return,
            how => how.unwrap_or(How::Runtime { commands: 0 }),
        };
        let (number, cause) = (self.history.last() + 1, cause.to_owned());
        let generation =
            Arc::new(Generation { number, at_ms: wall_clock(), cause, how, took, delta });
        self.history.add(Arc::clone(&generation));
        if let Some(journal) = &mut self.journal {
            journal.add(generation);
        }
    }

    pub(super) fn keep_owners(&mut self) {
        let owners = self.memory.board().owners();
        if !Arc::ptr_eq(&self.owners, owners) {
            self.owners = Arc::clone(owners);
            if let Some(journal) = &mut self.journal {
                journal.own(Arc::clone(owners));
            }
        }
    }

    /// From the next pass on, what was served after this generation is served again.
    ///
    /// # Errors
    /// Where there is no such generation.
    pub fn roll_back(&mut self, generation: u64) -> Result<Turned, Failure> {
        let now = self.served_before.as_ref().unwrap_or(&self.served);
        let then = self.history.served_after(generation, now).map_err(Failure::NoGeneration)?;
        let rollback = Rollback::new(generation, wall_clock(), Arc::new(then));
        tell_held(&rollback);
        self.memory.rollback = Some(rollback.clone());
        Ok(self.turned(&rollback, Some(rollback.clone())))
    }

    /// From the next pass on, containers are followed again.
    ///
    /// # Errors
    /// Where no rollback holds.
    pub fn release(&mut self) -> Result<Turned, Failure> {
        let ended = self.memory.rollback.take().ok_or(Failure::NotHeld)?;
        info!("released from generation {}: containers are followed again", ended.generation);
        Ok(self.turned(&ended, None))
    }

    fn turned(&mut self, it: &Rollback, kept: Option<Rollback>) -> Turned {
        let kept = match &mut self.journal {
            Some(journal) => journal.hold(kept),
            None => oneshot::channel().1,
        };
        Turned { generation: it.generation, since_ms: it.since_ms, kept }
    }
}

fn tell_held(rollback: &Rollback) {
    warn!(
        "held at generation {}, whatever containers come: `docker-balancer rollback --release` \
         follows them again",
        rollback.generation
    );
}
