//! Applies a desired state: over the runtime API, or by a reload after the files are written.

use super::{Balancer, LiveHaproxy, StepOutcome, draining::DrainingBackends};
use crate::{
    haproxy::{
        check_scope::{AcceptedConfig, UncheckedSections},
        command::{CheckHealth, RuntimeCommand},
        config::{AdminState, Config, Probe, Server},
        error::ApplyError,
        incremental_plan::{IncrementalPlan, PendingDeletions},
        name,
        observed::ObservedState,
        plan::plan_commands,
        proxy::ApplyKind,
        reload_reason::ReloadReason,
        render,
        runtime::RuntimeError,
    },
    model::route::Routes,
    support::backoff::Backoff,
};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{debug, error, warn};

/// Delay until the deletion of a server that still has connections is tried again.
const DELETE_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

impl Balancer {
    /// Applies only the differences, if HAProxy's state is as expected. `None`: the whole state has to be compared.
    pub(crate) async fn apply_incremental(
        &mut self,
        routes: &Routes,
        now: Instant,
    ) -> Option<StepOutcome> {
        if self.is_stale(now) {
            return None;
        }
        let mut step = self.plan_incremental(routes)?;
        if step.commands.iter().any(RuntimeCommand::may_mark_down) {
            self.refresh_health(&step.commands).await;
            step = self.plan_incremental(routes)?;
        }
        self.live.pending_deletions = None;
        if !step.commands.is_empty()
            && let Err(error) = self.send_commands(&step.commands).await
        {
            if !self.quarantine_certificate(&error) {
                warn!("{error}; reading HAProxy's state");
            }
            self.live.observed = self.read_state().await;
            return None;
        }
        let commands = step.commands.len();
        self.live.pending_deletions = Some(self.refused_deletions(&step.commands));
        if step.changes_config() {
            self.pending_write.unchecked.mark_changed(step.changed_backends(&self.live.config));
            let removed = step.apply_to(Arc::make_mut(&mut self.live.config));
            self.drain_backends(removed);
            self.schedule_write();
        }
        Some(if commands == 0 { StepOutcome::Unchanged } else { StepOutcome::Runtime { commands } })
    }

    fn plan_incremental(&self, routes: &Routes) -> Option<IncrementalPlan> {
        let LiveHaproxy { config, observed, pending_deletions: settled, .. } = &self.live;
        let has = (observed.as_ref()?, settled.as_ref()?);
        IncrementalPlan::new((&self.served_routes, config), has, routes, self.config_builder())
    }

    /// Applies over the runtime API. `None`: HAProxy's state was not as expected, so the pass has to decide again.
    pub(crate) async fn apply_runtime(&mut self, config: Config) -> Result<Option<StepOutcome>> {
        let Some(observed) = &self.live.observed else { return Ok(None) };
        let mut commands = plan_commands(observed, &config);
        if commands.iter().any(RuntimeCommand::may_mark_down) {
            self.refresh_health(&commands).await;
            let Some(observed) = &self.live.observed else { return Ok(None) };
            commands = plan_commands(observed, &config);
        }
        if commands.is_empty() {
            self.schedule_files(config);
            return Ok(Some(StepOutcome::Unchanged));
        }
        match self.send_commands(&commands).await {
            Ok(()) => {}
            Err(error) => {
                let is_handled = self.quarantine_certificate(&error)
                    || self.exclude_taken_frontend(&config, &error).await;
                if !is_handled {
                    warn!("{error}; reading HAProxy's state");
                }
                self.live.observed = self.read_state().await;
                return if is_handled { Ok(None) } else { self.repair_state(config).await };
            }
        }
        self.schedule_files(config);
        Ok(Some(StepOutcome::Runtime { commands: commands.len() }))
    }

    /// Reads the health again, because checks may have succeeded since it was last read.
    async fn refresh_health(&mut self, commands: &[RuntimeCommand]) {
        let Some(observed) = &mut self.live.observed else { return };
        let Ok(mut runtime) = self.proxy.connect_runtime().await else { return };
        if let Err(error) = runtime.read_back(commands, observed).await {
            debug!("{error}");
        }
    }

    /// Tries once more, starting from HAProxy's actual state. If that does not help either, HAProxy is reloaded.
    async fn repair_state(&mut self, config: Config) -> Result<Option<StepOutcome>> {
        let Some(observed) = &self.live.observed else { return Ok(None) };
        if observed.fingerprint == config.fingerprint {
            let commands = plan_commands(observed, &config);
            match self.send_commands(&commands).await {
                Ok(()) => {
                    self.schedule_files(config);
                    return Ok(Some(StepOutcome::Runtime { commands: commands.len() }));
                }
                Err(error) => error!("{error}; reloading HAProxy"),
            }
        }
        self.live.has_diverged = true;
        Ok(None)
    }

    async fn send_commands(&mut self, commands: &[RuntimeCommand]) -> Result<(), RuntimeError> {
        let result = self.try_send_commands(commands).await;
        match &result {
            Ok(()) => self.metrics.record_commands(commands),
            Err(error) => self.metrics.record_command_error(error),
        }
        result
    }

    /// Reads HAProxy's state. HAProxy does not return what its default certificate is, but a worker keeps it.
    pub(super) async fn read_state(&mut self) -> Option<ObservedState> {
        let mut observed = self.proxy.read_state().await?;
        if let Some((worker, certificate)) = &self.live.default_certificate
            && observed.worker == Some(*worker)
        {
            observed.tls.default_certificate = Some(certificate.clone());
        }
        Some(observed)
    }

    fn remember_default_certificate(&mut self) {
        let Some(observed) = &self.live.observed else { return };
        let known = observed.worker.zip(observed.tls.default_certificate.clone());
        self.live.default_certificate = known;
    }

    /// Sends the commands and reads back what they have changed.
    async fn try_send_commands(&mut self, commands: &[RuntimeCommand]) -> Result<(), RuntimeError> {
        let changes_default = |command: &RuntimeCommand| {
            matches!(command, RuntimeCommand::SetDefaultCertificate { .. })
        };
        // HAProxy gets it in any case.
        if commands.iter().any(changes_default)
            && let Err(error) = self.write_default_certificate()
        {
            warn!("{error:#}; HAProxy would start with another default certificate");
        }
        let observed = self.live.observed.get_or_insert_default();
        let mut runtime = self.proxy.connect_runtime().await?;
        runtime.execute_commands(commands, observed).await?;
        runtime.read_back(commands, observed).await?;
        self.remember_default_certificate();
        let all_deleted = self.refused_deletions(commands).is_empty();
        if all_deleted {
            self.live.delete_backoff = None;
        } else {
            let backoff = self.live.delete_backoff.get_or_insert(Backoff::new(DELETE_BACKOFF));
            backoff.next_pause();
        }
        Ok(())
    }

    /// Returns where deletions were refused.
    fn refused_deletions(&self, commands: &[RuntimeCommand]) -> PendingDeletions {
        let observed = self.live.observed.as_ref();
        let is_there = |backend, name| {
            observed.and_then(|state| state.servers.get(backend)?.get(name)).is_some()
        };
        let is_backend = |name| observed.is_some_and(|state| state.backends.contains(name));
        let refused = commands.iter().filter_map(|command| match command {
            RuntimeCommand::DelServer { backend, name } => {
                is_there(backend, name).then_some(backend)
            }
            RuntimeCommand::DelBackend { backend } => is_backend(backend).then_some(backend),
            _ => None,
        });
        refused.cloned().collect()
    }

    /// Applies by a reload, after the files are written. `None`: something was left out, so the pass has to decide
    /// again.
    pub(crate) async fn apply_reload(
        &mut self,
        routes: &Routes,
        config: Config,
        why: ReloadReason,
    ) -> Result<Option<StepOutcome>> {
        self.finish_write().await;
        self.pending_write.unchecked.invalidate();
        self.write_default_certificate()?;
        let checker = self.proxy.checker_id();
        let files = render::render_files(&config, &self.render_context);
        let applied = match why {
            ReloadReason::StateUnknown => self.proxy.apply_files(&files).await,
            _ => self.proxy.reload_files(&files).await,
        };
        match applied {
            Ok(applied) => {
                if applied.kind != ApplyKind::Unchanged {
                    let accept = |binary_id| {
                        AcceptedConfig::new(
                            &config,
                            &self.render_context,
                            binary_id,
                            Instant::now(),
                        )
                    };
                    self.pending_write.unchecked = UncheckedSections::default();
                    self.pending_write.unchecked.set_accepted(checker.map(accept));
                }
                self.on_reloaded(config, applied.kind).await;
                Ok(Some(StepOutcome::Loaded(applied, why)))
            }
            Err(ApplyError::Refused(refusal)) => {
                self.exclude_refused(routes, &config, &files, &refusal).await?;
                Ok(None)
            }
            Err(ApplyError::NotLoaded(refusal))
                if self.exclude_unloadable(routes, &config, &refusal, Instant::now()) =>
            {
                Ok(None)
            }
            Err(ApplyError::Bind(taken)) => {
                self.exclude_taken_ports(&config, taken, Instant::now())?;
                Ok(None)
            }
            Err(ApplyError::BindUdp(taken)) => {
                self.release_http3_ports(taken, Instant::now())?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Applies only the changes that need no reload, after a reload has failed. Starts a managed HAProxy that does not
    /// run with the stored configuration. `None` if neither was possible.
    pub(crate) async fn apply_without_reload(&mut self, routes: &Routes) -> Option<StepOutcome> {
        // The worker whose state was known may have exited.
        self.live.observed = self.read_state().await;
        if self.live.observed.is_none() {
            if let Err(error) = self.proxy.start().await {
                debug!("could not start HAProxy with the stored configuration: {error}");
            }
            self.live.observed = self.read_state().await;
        }
        self.live.observed_at = Some(Instant::now());
        self.live.observed.as_ref()?;
        self.apply_runtime(self.config_without_reload(routes)).await.ok().flatten()
    }

    /// Records the state of a worker that was just started, which equals its file. A new server with an HTTP check is
    /// set to down until a check succeeds.
    async fn on_reloaded(&mut self, config: Config, kind: ApplyKind) {
        let before = self.live.observed.take();
        self.live.observed_at = Some(Instant::now());
        self.live.observed = self.read_state().await;
        if kind != ApplyKind::Unchanged
            && let Some(observed) = &mut self.live.observed
        {
            observed.tls.default_certificate = config.default_certificate.certificate().cloned();
            self.remember_default_certificate();
        }
        if let (Some(before), Some(_)) = (before, &self.live.observed) {
            let commands = initial_down_commands(&before, &config);
            if let Err(error) = self.send_commands(&commands).await {
                debug!("{error}");
                self.live.observed = None;
            }
        }
        if let Some(observed) = &self.live.observed
            && !plan_commands(observed, &config).is_empty()
        {
            debug!("HAProxy's state differs from its files; reading it again");
            self.live.observed = None;
        }
        self.live.config = Arc::new(config);
        self.live.draining = DrainingBackends::default();
        self.live.has_diverged = false;
        self.live.may_have_old_workers = true;
        self.pending_write.due_at = None;
    }
}

/// Returns commands that set the servers of a new worker to down if they have an HTTP check and were not up before.
fn initial_down_commands(before: &ObservedState, config: &Config) -> Vec<RuntimeCommand> {
    let servers_before = before.servers.values().flatten();
    let was_up: BTreeSet<_> = servers_before
        .filter(|(_, server)| server.up && server.admin == AdminState::Ready)
        .map(|(name, _)| name::current_server_name(name))
        .collect();
    let http_backends =
        config.backends.iter().filter(|(_, backend)| backend.shape.probe == Probe::Http);
    let servers = http_backends
        .flat_map(|(name, backend)| backend.servers.iter().map(move |server| (name, server)));
    let unproven = servers.filter(|(_, server)| {
        server.check_mode.is_checked()
            && server.admin == AdminState::Ready
            && !was_up.contains(server.name.as_str())
    });
    let down = |(backend, server): (&String, &Server)| RuntimeCommand::SetHealth {
        backend: backend.clone(),
        name: server.name.clone(),
        health: CheckHealth::Down,
    };
    unproven.map(down).collect()
}
