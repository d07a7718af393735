//! Between passes: the files that follow what was said over the runtime API, and HAProxy's death.

use super::{Balancer, sleep_until};
use crate::{
    haproxy::{
        check::ConfigRejection,
        check_scope::{self, AcceptedConfig, CheckScope, UncheckedSections},
        config::Config,
        error::ApplyError,
        process::{ExitReason, ProcessEvent},
        proxy::{Draft, FileCheck, WrittenFiles},
        render,
    },
    model::world::World,
    support::backoff::Backoff,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tracing::{debug, error, info};

/// What the last try of a request takes after the time that requests wait.
const RETRY_GRACE: Duration = Duration::from_secs(1);
/// A burst of changes is one file.
const WRITE_DELAY: Duration = Duration::from_millis(200);
/// A reload that somebody else began before the files were there has ended by then.
const WORKER_CHECK_DELAY: Duration = Duration::from_secs(1);
/// Until files that could not be written are written again.
const WRITE_RETRY: Duration = Duration::from_secs(5);

/// Why a pass is needed though the world is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalEvent {
    RestartDue,
    /// The file of what HAProxy was told was refused.
    FileRefused,
    /// It has another worker, which may have read files of before.
    WorkerReplaced,
}

/// HAProxy's deaths: after the first one it is started at once, then after pauses that grow.
#[derive(Debug)]
pub(crate) struct RestartSchedule {
    backoff: Backoff,
    last_pause: Option<Duration>,
    pub(crate) restart_at: Option<Instant>,
    /// The last pause was as long as the one before, and not told.
    pub(crate) is_repeated: bool,
}

/// After a death: the pause that is left out, and the longest one.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Default for RestartSchedule {
    fn default() -> Self {
        let backoff = Backoff::new(RESTART_BACKOFF);
        Self { backoff, last_pause: None, restart_at: None, is_repeated: false }
    }
}

impl RestartSchedule {
    /// Told where the pause is another one than the last time.
    fn record_exit(&mut self, reason: ExitReason, lived: Duration) {
        let pause = self.backoff.pause_after(lived);
        let pause = if pause == RESTART_BACKOFF.0 { Duration::ZERO } else { pause };
        self.is_repeated = !pause.is_zero() && self.last_pause == Some(pause);
        match pause {
            _ if self.is_repeated => debug!("{reason}; restarting in {pause:?}"),
            Duration::ZERO => error!("{reason}; restarting"),
            _ => error!("{reason}; restarting in {pause:?}"),
        }
        self.last_pause = Some(pause);
        self.restart_at = Some(Instant::now() + pause);
    }
}

/// The files that follow what was said over the runtime API.
#[derive(Debug, Default)]
pub(crate) struct PendingWrite {
    pub(crate) due_at: Option<Instant>,
    writing: Option<JoinHandle<Result<WrittenFiles, ApplyError>>>,
    pub(crate) unchecked: UncheckedSections,
    /// When to look whether it is still the same worker.
    worker_check_at: Option<Instant>,
    /// The last failure, told once.
    last_error: Option<String>,
}

impl Balancer {
    pub(crate) fn schedule_files(&mut self, config: Config) {
        if *self.live.config != config {
            let removed = self.live.config.removed_backends(&config);
            self.drain_backends(removed);
            self.pending_write
                .unchecked
                .mark_changed(check_scope::changed_backends(&self.live.config, &config));
            self.live.config = Arc::new(config);
            self.schedule_write();
        }
    }

    /// Requests that wait there have been answered when another route may have these backends.
    pub(crate) fn drain_backends(&mut self, backends: impl IntoIterator<Item = String>) {
        let retry_at = Instant::now() + self.render_context.wait + RETRY_GRACE;
        self.live.draining.add_backends(backends, retry_at);
    }

    pub(crate) fn schedule_write(&mut self) {
        self.pending_write.due_at.get_or_insert(Instant::now() + WRITE_DELAY);
    }

    /// What happens between passes, until one is asked for: files are written behind what was said,
    /// and HAProxy may die. For a `select!`.
    pub async fn next_event(&mut self, world: Option<&World>) -> InternalEvent {
        loop {
            let (patrol_due, asking) =
                (self.next_health_query(), self.health_monitor.is_query_running());
            let PendingWrite { due_at: due, writing, worker_check_at: look, .. } =
                &mut self.pending_write;
            let written = tokio::select! {
                event = self.proxy.next_event() => match event {
                    ProcessEvent::HealthChanged(change) => {
                        if let Some(observed) = &mut self.live.observed {
                            observed.apply_health(&change);
                        }
                        continue;
                    }
                    ProcessEvent::CheckResultChanged(change) => {
                        self.on_check_result(&change);
                        continue;
                    }
                    ProcessEvent::Exited(reason, lived) => {
                        self.live.observed = None;
                        self.restarts.record_exit(reason, lived);
                        continue;
                    }
                },
                () = sleep_until(self.restarts.restart_at) => {
                    self.restarts.restart_at = None;
                    return InternalEvent::RestartDue;
                }
                () = sleep_until(*look) => {
                    // May be cut off here, and is looked at again then.
                    let replaced = self.was_worker_replaced().await;
                    self.pending_write.worker_check_at = None;
                    if replaced {
                        self.invalidate_state();
                        return InternalEvent::WorkerReplaced;
                    }
                    continue;
                }
                () = sleep_until(patrol_due), if !asking => {
                    self.start_health_query();
                    continue;
                }
                found = self.health_monitor.wait_for_report() => {
                    self.on_health_report(found);
                    continue;
                }
                () = sleep_until(*due), if writing.is_none() => None,
                written = wait_for_write(writing) => Some(written),
            };
            match written {
                None => self.start_write(),
                Some(Ok(written)) => self.on_written(written),
                Some(Err(ApplyError::Refused(refusal))) => {
                    self.pending_write.unchecked.invalidate();
                    self.pending_write.due_at = Some(Instant::now() + WRITE_RETRY);
                    if self.quarantine_refused(world, &refusal).await {
                        return InternalEvent::FileRefused;
                    }
                }
                Some(Err(error)) => self.on_write_failed(&error.to_string()),
            }
        }
    }

    fn start_write(&mut self) {
        self.pending_write.due_at = None;
        let (config, context) = (Arc::clone(&self.live.config), self.render_context.clone());
        let (unchecked, checker) =
            (self.pending_write.unchecked.take_snapshot(), self.proxy.checker_id());
        let draft = move || {
            let now = Instant::now();
            let check = match unchecked.select_scope(&config, &context, checker.as_ref(), now) {
                CheckScope::Full => FileCheck::Full,
                CheckScope::Partial(part) => {
                    FileCheck::Partial(render::render_for_check(&part, &context))
                }
                CheckScope::Skip => FileCheck::Skip,
            };
            let accepted =
                checker.map(|checker| AcceptedConfig::new(&config, &context, checker, now));
            Draft { files: render::render_files(&config, &context), check, accepted }
        };
        self.pending_write.writing = Some(self.proxy.write_behind(draft));
    }

    /// One that does not answer is asked by the next pass.
    async fn was_worker_replaced(&self) -> bool {
        let Some(observed) = &self.live.observed else { return false };
        let Ok(mut runtime) = self.proxy.connect_runtime().await else { return false };
        runtime.is_same_worker(observed).await.is_ok_and(|same| !same)
    }

    fn on_written(&mut self, written: WrittenFiles) {
        if let Some(accepted) = &written.accepted {
            self.pending_write.unchecked.set_accepted(Some(accepted.clone()));
        }
        self.proxy.record_written(written);
        self.pending_write.worker_check_at = Some(Instant::now() + WORKER_CHECK_DELAY);
        if self.pending_write.last_error.take().is_some() {
            info!("configuration written to disk again");
        }
    }

    pub(crate) fn on_write_failed(&mut self, text: &str) {
        self.pending_write.unchecked.invalidate();
        if self.pending_write.last_error.as_deref() != Some(text) {
            error!("change is live but could not be written to disk: {text}; retrying");
            self.pending_write.last_error = Some(text.to_owned());
        }
        // What prevents a reload may well prevent this.
        let retry_at = self.overdue.as_ref().map(|overdue| overdue.retry_at);
        self.pending_write.due_at = Some(Instant::now() + WRITE_RETRY).max(retry_at);
    }

    /// The file of what HAProxy was told already: the culprits are taken out again.
    async fn quarantine_refused(
        &mut self,
        world: Option<&World>,
        refusal: &ConfigRejection,
    ) -> bool {
        let now = Instant::now();
        let Some(world) = world else { return false };
        let routes = self.decide_routes(world, now).routes;
        let config = Arc::clone(&self.live.config);
        let files = render::render_files(&config, &self.render_context);
        match self.exclude_refused(&routes, &config, &files, refusal).await {
            Ok(()) => true,
            Err(error) => {
                self.on_write_failed(&format!("{error:#}"));
                false
            }
        }
    }

    /// Until no file is being written.
    pub(crate) async fn finish_write(&mut self) {
        if self.pending_write.writing.is_some() {
            match wait_for_write(&mut self.pending_write.writing).await {
                Ok(written) => self.on_written(written),
                Err(_) => self.pending_write.unchecked.invalidate(),
            }
        }
    }

    /// Everything that is still to be written is on disk when this returns.
    pub async fn finish(&mut self) {
        self.finish_write().await;
        if self.pending_write.due_at.is_some() {
            self.start_write();
            self.finish_write().await;
        }
        if let Some(journal) = self.journal.take() {
            journal.finish().await;
        }
    }
}

/// What was written, once it is; for ever where nothing is being written.
async fn wait_for_write(
    writing: &mut Option<JoinHandle<Result<WrittenFiles, ApplyError>>>,
) -> Result<WrittenFiles, ApplyError> {
    let Some(handle) = writing else { return std::future::pending().await };
    let written = handle.await;
    *writing = None;
    written.unwrap_or_else(|e| Err(ApplyError::Unreachable(e.to_string())))
}

impl fmt::Display for InternalEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RestartDue => "HAProxy exited",
            Self::FileRefused => "HAProxy refused a configuration file",
            Self::WorkerReplaced => "HAProxy was reloaded by another program",
        })
    }
}
