//! Work between passes: writes the files after changes over the runtime API, and handles HAProxy's
//! exit.

use super::{Balancer, sleep_until};
use crate::{
    controller::udp_plane::UdpPlane,
    haproxy::{
        check::ConfigRejection,
        check_scope::{self, AcceptedConfig, CheckScope, UncheckedSections},
        config::Config,
        error::ApplyError,
        name,
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

/// How much longer than the waiting time of requests the last retry of a request may take.
const RETRY_GRACE: Duration = Duration::from_secs(1);
/// A burst of changes is written as one file.
const WRITE_DELAY: Duration = Duration::from_millis(200);
/// A reload by another program that began before the files were written has ended after this time.
const WORKER_CHECK_DELAY: Duration = Duration::from_secs(1);
/// How long to wait before files that could not be written are written again.
const WRITE_RETRY: Duration = Duration::from_secs(5);

/// Why a pass is needed although the world has not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InternalEvent {
    RestartDue,
    /// HAProxy refused the file of a configuration that it runs already.
    FileRefused,
    /// HAProxy has another worker, which may have read older files.
    WorkerReplaced,
    /// docker-glue-udp serves other listeners than before, or does not answer any more.
    UdpChanged,
    /// HAProxy's check of a server has failed. `id` is the short id of its container.
    ServerDown {
        id: String,
    },
}

/// HAProxy's exits: after the first one it is restarted at once, then after growing pauses.
#[derive(Debug)]
pub(crate) struct RestartSchedule {
    backoff: Backoff,
    last_pause: Option<Duration>,
    pub(crate) restart_at: Option<Instant>,
    /// The last pause was as long as the one before, so it was not logged.
    pub(crate) is_repeated: bool,
}

/// Pauses after an exit: the shortest, which is skipped, and the longest.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Default for RestartSchedule {
    fn default() -> Self {
        let backoff = Backoff::new(RESTART_BACKOFF);
        Self { backoff, last_pause: None, restart_at: None, is_repeated: false }
    }
}

impl RestartSchedule {
    /// Records an exit. It is logged as an error if its pause differs from the previous one.
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

/// The files that are written after changes over the runtime API.
#[derive(Debug, Default)]
pub(crate) struct PendingWrite {
    pub(crate) due_at: Option<Instant>,
    writing: Option<JoinHandle<Result<WrittenFiles, ApplyError>>>,
    pub(crate) unchecked: UncheckedSections,
    /// When to check whether the worker is still the same.
    worker_check_at: Option<Instant>,
    /// The last failure, which is logged once.
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

    /// Keeps these backends from other routes until the requests that wait in them have been
    /// answered.
    pub(crate) fn drain_backends(&mut self, backends: impl IntoIterator<Item = String>) {
        let retry_at = Instant::now() + self.render_context.wait + RETRY_GRACE;
        self.live.draining.add_backends(backends, retry_at);
    }

    pub(crate) fn schedule_write(&mut self) {
        self.pending_write.due_at.get_or_insert(Instant::now() + WRITE_DELAY);
    }

    /// Handles what happens between passes, until a pass is needed: writes files after changes and
    /// handles HAProxy's exits. For a `select!`.
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
                        match name::container_id(&change.server) {
                            Some(id) if !change.up => {
                                return InternalEvent::ServerDown { id: id.to_owned() };
                            }
                            _ => continue,
                        }
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
                () = udp_change(&mut self.udp) => return InternalEvent::UdpChanged,
                () = sleep_until(self.restarts.restart_at) => {
                    self.restarts.restart_at = None;
                    return InternalEvent::RestartDue;
                }
                () = sleep_until(*look) => {
                    // May be cancelled here; the check is repeated then.
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

    /// Returns whether HAProxy has another worker. A worker that does not answer is left to the
    /// next pass.
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
        if self.pending_write.due_at.is_none() {
            self.prune_certificates();
        }
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
        // What prevents a reload may prevent this too.
        let retry_at = self.overdue.as_ref().map(|overdue| overdue.retry_at);
        self.pending_write.due_at = Some(Instant::now() + WRITE_RETRY).max(retry_at);
    }

    /// Handles a refused file of changes that HAProxy runs already: leaves out the routes that
    /// caused the refusal.
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

    /// Waits until no file is being written.
    pub(crate) async fn finish_write(&mut self) {
        if self.pending_write.writing.is_some() {
            match wait_for_write(&mut self.pending_write.writing).await {
                Ok(written) => self.on_written(written),
                Err(_) => self.pending_write.unchecked.invalidate(),
            }
        }
    }

    /// Writes everything that is pending; all of it is on disk when this returns.
    pub async fn finish(&mut self) {
        self.finish_write().await;
        if self.pending_write.due_at.is_some() {
            self.start_write();
            self.finish_write().await;
        }
        self.finish_certificate_list().await;
        if let Some(journal) = self.journal.take() {
            journal.finish().await;
        }
    }
}

/// Waits until the state of docker-glue-udp is another one; forever if UDP is not forwarded.
async fn udp_change(plane: &mut Option<UdpPlane>) {
    match plane {
        Some(plane) => plane.changed().await,
        None => std::future::pending().await,
    }
}

/// Waits for the write in progress and returns its result; forever if there is none.
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
            Self::UdpChanged => "docker-glue-udp",
            Self::ServerDown { .. } => "a server that HAProxy cannot reach",
        })
    }
}
