//! History of applied generations, and rollback to one of them.

use super::{
    Balancer, StepOutcome,
    journal::{Journal, StoredState},
    unix_millis,
};
use crate::{
    controller::control_error::ApiError,
    report::{
        ApplyMethod,
        history::{GenerationRecord, RouteDelta},
    },
    routing::rollback::Rollback,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// Result of a rollback, or of its release.
#[derive(Debug)]
pub struct RollbackResult {
    pub generation: u64,
    pub since_ms: u64,
    /// Whether the change is on disk too; without an answer it is not.
    pub persisted: oneshot::Receiver<bool>,
}

impl Balancer {
    /// Continues with the state of an earlier run, and writes changes to the journal from now on.
    pub fn restore_state(&mut self, journal: Journal, past: StoredState) {
        let StoredState { history, served, certificates, rollback, owners } = past;
        self.certificates.set_served(certificates);
        if let Some(label) = &self.rules.base.label_limits.own_hosts_by {
            self.memory.restore_host_owners(&owners, label, Instant::now());
        }
        self.owners = Arc::clone(self.memory.route_table().owners());
        if let Some(served) = &served {
            self.memory.restore_claimants(served);
        }
        (self.journal, self.history, self.previous_routes) = (Some(journal), history, served);
        if let Some(rollback) = &rollback {
            log_active_rollback(rollback);
        }
        self.memory.rollback = rollback;
    }

    /// Records a pass in the history. `delta` is its difference to the routes that this balancer served before; for the
    /// first pass, the difference to the routes of the earlier run is used.
    pub(crate) fn record_generation(
        &mut self,
        delta: RouteDelta,
        did: &StepOutcome,
        cause: &str,
        took: Duration,
    ) {
        let delta = match self.previous_routes.take() {
            Some(before) => RouteDelta::from_routes(&before, &self.served_routes),
            None => delta,
        };
        let certificates =
            self.certificates.update_served(&self.served_routes, &self.rules.certificates, &delta);
        let how = match did.apply_method() {
            Some(how @ (ApplyMethod::Started | ApplyMethod::Reloaded { .. })) => how,
            _ if delta.is_empty() && certificates.is_empty() => return,
            how => how.unwrap_or(ApplyMethod::Runtime { commands: 0 }),
        };
        let (number, cause) = (self.history.last_number() + 1, cause.to_owned());
        let generation = Arc::new(GenerationRecord {
            number,
            at_ms: unix_millis(),
            cause,
            how,
            duration: took,
            delta,
            certificates,
        });
        self.history.push_generation(Arc::clone(&generation));
        if let Some(journal) = &mut self.journal {
            journal.add_generation(generation);
        }
    }

    pub(crate) fn persist_owners(&mut self) {
        let owners = self.memory.route_table().owners();
        if !Arc::ptr_eq(&self.owners, owners) {
            self.owners = Arc::clone(owners);
            if let Some(journal) = &mut self.journal {
                journal.set_owners(Arc::clone(owners));
            }
        }
    }

    /// Serves the routes of this generation again, from the next pass on.
    ///
    /// # Errors
    /// There is no such generation.
    pub fn roll_back(&mut self, generation: u64) -> Result<RollbackResult, ApiError> {
        let now = self.previous_routes.as_ref().unwrap_or(&self.served_routes);
        let then = self.history.routes_after(generation, now).map_err(ApiError::NoGeneration)?;
        let rollback = Rollback::new(generation, unix_millis(), Arc::new(then));
        log_active_rollback(&rollback);
        self.memory.rollback = Some(rollback.clone());
        Ok(self.finish_rollback(&rollback, Some(rollback.clone())))
    }

    /// Follows the containers again, from the next pass on.
    ///
    /// # Errors
    /// No rollback is active.
    pub fn release_rollback(&mut self) -> Result<RollbackResult, ApiError> {
        let ended = self.memory.rollback.take().ok_or(ApiError::NoRollback)?;
        info!("rollback to generation {} ended; following containers again", ended.generation);
        Ok(self.finish_rollback(&ended, None))
    }

    fn finish_rollback(
        &mut self,
        request: &Rollback,
        persisted: Option<Rollback>,
    ) -> RollbackResult {
        let persisted = match &mut self.journal {
            Some(journal) => journal.set_rollback(persisted),
            None => oneshot::channel().1,
        };
        RollbackResult { generation: request.generation, since_ms: request.since_ms, persisted }
    }
}

fn log_active_rollback(rollback: &Rollback) {
    warn!(
        "rollback to generation {} is active; new containers are not served until `docker-balancer \
         rollback --release`",
        rollback.generation
    );
}
