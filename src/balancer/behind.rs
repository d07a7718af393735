//! Between passes: the files that follow what was said over the runtime API, and HAProxy's death.

use super::{Balancer, until};
use crate::{
    backoff::Backoff,
    haproxy::{
        check::Refusal,
        config::Config,
        error::ApplyError,
        process::{ExitReason, News},
        proxy::{Check, Draft, Written},
        render,
        unchecked::{self, Accepted, Scope, Unchecked},
    },
    world::World,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tracing::{debug, error, info};

/// What the last try of a request takes after the time that requests wait.
const WAITED: Duration = Duration::from_secs(1);
/// A burst of changes is one file.
const FILES_AFTER: Duration = Duration::from_millis(200);
/// A reload that somebody else began before the files were there has ended by then.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Until files that could not be written are written again.
const FILES_AGAIN: Duration = Duration::from_secs(5);

/// Why a pass is needed though the world is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Died,
    /// The file of what HAProxy was told was refused.
    Refused,
    /// It has another worker, which may have read files of before.
    Replaced,
}

/// HAProxy's deaths: after the first one it is started at once, then after pauses that grow.
#[derive(Debug)]
pub(super) struct Deaths {
    backoff: Backoff,
    last_pause: Option<Duration>,
    pub(super) restart_at: Option<Instant>,
    /// The last pause was as long as the one before, and not told.
    pub(super) is_repeated: bool,
}

/// After a death: the pause that is left out, and the longest one.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Default for Deaths {
    fn default() -> Self {
        let backoff = Backoff::new(RESTART.0, RESTART.1);
        Self { backoff, last_pause: None, restart_at: None, is_repeated: false }
    }
}

impl Deaths {
    /// Told where the pause is another one than the last time.
    fn add(&mut self, reason: ExitReason, lived: Duration) {
        let pause = self.backoff.pause_after(lived);
        let pause = if pause == RESTART.0 { Duration::ZERO } else { pause };
        self.is_repeated = !pause.is_zero() && self.last_pause == Some(pause);
        match pause {
            _ if self.is_repeated => debug!("{reason}; it is started again in {pause:?}"),
            Duration::ZERO => error!("{reason}; it is started again"),
            _ => error!("{reason}; it is started again in {pause:?}"),
        }
        self.last_pause = Some(pause);
        self.restart_at = Some(Instant::now() + pause);
    }
}

/// The files that follow what was said over the runtime API.
#[derive(Debug, Default)]
pub(super) struct FilesBehind {
    pub(super) due: Option<Instant>,
    writing: Option<JoinHandle<Result<Written, ApplyError>>>,
    pub(super) unchecked: Unchecked,
    /// When to look whether it is still the same worker.
    look: Option<Instant>,
    /// The last failure, told once.
    trouble: Option<String>,
}

impl Balancer {
    pub(super) fn files_follow(&mut self, config: Config) {
        if *self.running.config != config {
            let left = self.running.config.left_by(&config);
            self.rest(left);
            self.files.unchecked.add(unchecked::changed(&self.running.config, &config));
            self.running.config = Arc::new(config);
            self.files_are_due();
        }
    }

    /// Requests that wait there have been answered when another route may have these backends.
    pub(super) fn rest(&mut self, backends: impl IntoIterator<Item = String>) {
        let until = Instant::now() + self.frame.wait + WAITED;
        self.running.rests.begin(backends, until);
    }

    pub(super) fn files_are_due(&mut self) {
        self.files.due.get_or_insert(Instant::now() + FILES_AFTER);
    }

    /// What happens between passes, until one is asked for: files are written behind what was said,
    /// and HAProxy may die. For a `select!`.
    pub async fn happening(&mut self, world: Option<&World>) -> Happening {
        loop {
            let (patrol_due, asking) = (self.patrol_due(), self.patrol.is_asking());
            let FilesBehind { due, writing, look, .. } = &mut self.files;
            let written = tokio::select! {
                news = self.proxy.news() => match news {
                    News::Judged(judged) => {
                        if let Some(observed) = &mut self.running.observed {
                            observed.judge(&judged);
                        }
                        continue;
                    }
                    News::Checked(checked) => {
                        self.heard_of_check(&checked);
                        continue;
                    }
                    News::Died(reason, lived) => {
                        self.running.observed = None;
                        self.deaths.add(reason, lived);
                        continue;
                    }
                },
                () = until(self.deaths.restart_at) => {
                    self.deaths.restart_at = None;
                    return Happening::Died;
                }
                () = until(*look) => {
                    // May be cut off here, and is looked at again then.
                    let replaced = self.was_replaced().await;
                    self.files.look = None;
                    if replaced {
                        self.doubt();
                        return Happening::Replaced;
                    }
                    continue;
                }
                () = until(patrol_due), if !asking => {
                    self.go_on_patrol();
                    continue;
                }
                found = self.patrol.answered() => {
                    self.came_back(found);
                    continue;
                }
                () = until(*due), if writing.is_none() => None,
                written = finished(writing) => Some(written),
            };
            match written {
                None => self.write(),
                Some(Ok(written)) => self.written(written),
                Some(Err(ApplyError::Refused(refusal))) => {
                    self.files.unchecked.doubt();
                    self.files.due = Some(Instant::now() + FILES_AGAIN);
                    if self.refused_later(world, &refusal).await {
                        return Happening::Refused;
                    }
                }
                Some(Err(error)) => self.unwritten(&error.to_string()),
            }
        }
    }

    fn write(&mut self) {
        self.files.due = None;
        let (config, frame) = (Arc::clone(&self.running.config), self.frame.clone());
        let (unchecked, checker) = (self.files.unchecked.begin(), self.proxy.checker());
        let draft = move || {
            let now = Instant::now();
            let check = match unchecked.scope(&config, &frame, checker.as_ref(), now) {
                Scope::Whole => Check::Whole,
                Scope::Part(part) => Check::Part(render::render_for_check(&part, &frame)),
                Scope::Nothing => Check::Nothing,
            };
            let accepted = checker.map(|checker| Accepted::new(&config, &frame, checker, now));
            Draft { files: render::render(&config, &frame), check, accepted }
        };
        self.files.writing = Some(self.proxy.follow(draft));
    }

    /// One that does not answer is asked by the next pass.
    async fn was_replaced(&self) -> bool {
        let Some(observed) = &self.running.observed else { return false };
        let Ok(mut runtime) = self.proxy.runtime().await else { return false };
        runtime.is_of(observed).await.is_ok_and(|same| !same)
    }

    fn written(&mut self, written: Written) {
        if let Some(accepted) = &written.accepted {
            self.files.unchecked.accept(Some(accepted.clone()));
        }
        self.proxy.followed(written);
        self.files.look = Some(Instant::now() + LOOK_AFTER);
        if self.files.trouble.take().is_some() {
            info!("the configuration is on disk again");
        }
    }

    pub(super) fn unwritten(&mut self, text: &str) {
        self.files.unchecked.doubt();
        if self.files.trouble.as_deref() != Some(text) {
            error!("HAProxy has it, but the disk has not: {text}; trying again until it works");
            self.files.trouble = Some(text.to_owned());
        }
        // What prevents a reload may well prevent this.
        let until = self.overdue.as_ref().map(|overdue| overdue.until);
        self.files.due = Some(Instant::now() + FILES_AGAIN).max(until);
    }

    /// The file of what HAProxy was told already: the culprits are taken out again.
    async fn refused_later(&mut self, world: Option<&World>, refusal: &Refusal) -> bool {
        let now = Instant::now();
        let Some(world) = world else { return false };
        let routes = self.decide(world, now).routes;
        let config = Arc::clone(&self.running.config);
        let files = render::render(&config, &self.frame);
        match self.leave_out(&routes, &config, &files, refusal).await {
            Ok(()) => true,
            Err(error) => {
                self.unwritten(&format!("{error:#}"));
                false
            }
        }
    }

    /// Until no file is being written.
    pub(super) async fn settle(&mut self) {
        if self.files.writing.is_some() {
            match finished(&mut self.files.writing).await {
                Ok(written) => self.written(written),
                Err(_) => self.files.unchecked.doubt(),
            }
        }
    }

    /// Everything that is still to be written is on disk when this returns.
    pub async fn finish(&mut self) {
        self.settle().await;
        if self.files.due.is_some() {
            self.write();
            self.settle().await;
        }
        if let Some(journal) = self.journal.take() {
            journal.finish().await;
        }
    }
}

/// What was written, once it is; for ever where nothing is being written.
async fn finished(
    writing: &mut Option<JoinHandle<Result<Written, ApplyError>>>,
) -> Result<Written, ApplyError> {
    let Some(handle) = writing else { return std::future::pending().await };
    let written = handle.await;
    *writing = None;
    written.unwrap_or_else(|e| Err(ApplyError::Unreachable(e.to_string())))
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Died => "HAProxy died",
            Self::Refused => "HAProxy refused a file",
            Self::Replaced => "somebody reloaded HAProxy",
        })
    }
}
