//! Runs a template handler: all waiting messages become one rendering, and each rendering with a new result is
//! written to the file.

use super::{
    Template, TemplateRenderer,
    debounce::Debounce,
    notify::{self, NotifyReport},
    pending_notifications::{DeliveredNotifications, PendingNotifications},
    target::{StagedTarget, TargetChange},
};
use crate::{
    handlers::{HandlerContext, mailbox::HandlerMessage, source::query_swarm, state::HandlerState},
    settings::RunMode,
    sources::{ContainerMap, certificate::CertificateLists, docker::SwarmState},
    support::backoff::Backoff,
};
use anyhow::{Context, Result, anyhow};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::{JoinError, JoinSet, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::{debug, error, info, warn};

/// The most messages that become one rendering.
const MAX_BATCH: usize = 10_000;
/// The first and the longest pause before a failed write is retried.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The name of the pending notifications in the handler's state.
const PENDING_FILE: &str = "owed";

/// The state between renderings.
struct TemplateRunner {
    template: Arc<Template>,
    /// `None` only while it is rendering on another thread.
    renderer: Option<TemplateRenderer>,
    /// Whether the template uses what only a Swarm manager knows.
    needs_swarm: bool,
    debounce: Debounce,
    repeat: Option<Instant>,
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// The last error, which is logged once.
    last_error: Option<String>,
    state: HandlerState,
    pending: PendingNotifications,
    /// The last error of notifications, which is logged once.
    last_notify_error: Option<String>,
    /// The last undefined value, which is logged once.
    last_undefined: Option<String>,
    /// The container that mounts the file itself.
    mounted_by: Option<String>,
}

impl Template {
    pub async fn run(self, mut work: HandlerContext) {
        let once = work.command == RunMode::Once;
        let mut runner = TemplateRunner::new(self, &work).await;
        let mut has_stored_pending = runner.pending.delivered().is_some();
        let mut messages = Vec::new();
        let mut notify_tasks = JoinSet::new();
        loop {
            let is_free = !once && notify_tasks.is_empty();
            tokio::select! {
                count = work.mailbox.recv_many(&mut messages, MAX_BATCH) => {
                    if count == 0 {
                        break;
                    }
                    runner.refresh_target(&work).await;
                    runner.schedule_repeat();
                    if std::mem::take(&mut has_stored_pending) {
                        runner.debounce.record_change(Instant::now().into_std());
                    }
                    messages.drain(..).for_each(|message: HandlerMessage| work.trigger_none_event(&message));
                }
                () = sleep_until_set(runner.repeat) => {
                    runner.repeat = None;
                    runner.refresh_target(&work).await;
                }
                () = sleep_until_set(runner.retry_at) => runner.refresh_target(&work).await,
                // A slow notification delays the next notification, but not the next rendering.
                () = sleep_until_set(runner.notify_due().map(Instant::from_std)), if is_free => {
                    notify_tasks.spawn(runner.start_notify(&work));
                }
                Some(report) = notify_tasks.join_next() => runner.finish_notify(&work, report).await,
            }
        }
        // A written file is notified in any case, as far as the time limit allows.
        while let Some(report) = notify_tasks.join_next().await {
            runner.finish_notify(&work, report).await;
        }
        if runner.debounce.due_at().is_some() {
            let report = runner.start_notify(&work).await;
            runner.finish_notify(&work, Ok(report)).await;
        }
    }
}

async fn sleep_until_set(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl TemplateRunner {
    async fn new(template: Template, work: &HandlerContext) -> Self {
        let state = HandlerState::new(&work.settings, &work.handler);
        let delivered = state
            .read_value::<DeliveredNotifications>(PENDING_FILE)
            .await
            .filter(|_| !template.notify_targets.is_empty());
        Self {
            state,
            pending: PendingNotifications::restore_from(delivered),
            last_notify_error: None,
            renderer: Some(template.create_renderer()),
            needs_swarm: false,
            debounce: Debounce::new(template.interval),
            repeat: None,
            retry_at: None,
            backoff: Backoff::new(RETRY_BACKOFF),
            last_error: None,
            last_undefined: None,
            mounted_by: None,
            template: Arc::new(template),
        }
    }

    fn schedule_repeat(&mut self) {
        let repeat = self.template.repeat;
        self.repeat = (!repeat.is_zero()).then(|| Instant::now() + repeat);
    }

    async fn refresh_target(&mut self, work: &HandlerContext) {
        let name = &work.handler.name;
        let target = self.template.target.path.display().to_string();
        match self.write_target(work).await {
            Ok(written) => {
                work.stats.record_success();
                self.retry_at = None;
                self.backoff.reset();
                self.log_undefined(name);
                if self.last_error.take().is_some() {
                    info!(handler = name, "recovered");
                }
                match written {
                    TargetChange::Text => {
                        info!(handler = name, "wrote {target}");
                        self.debounce.record_change(Instant::now().into_std());
                    }
                    TargetChange::Attributes => {
                        info!(handler = name, "set the mode and owner of {target}");
                    }
                    TargetChange::Nothing => {}
                }
            }
            Err(wrong) => {
                let failures = work.stats.record_failure();
                let text = format!("{:#}", wrong.error);
                if self.last_error.as_ref() == Some(&text) {
                    debug!(handler = name, failures, "{text}");
                } else {
                    error!(handler = name, failures, "{text}; {target} was not changed");
                }
                self.last_error = Some(text);
                // A permanent error, such as one in the template, is not retried without an event.
                self.retry_at =
                    wrong.is_transient.then(|| Instant::now() + self.backoff.next_pause());
                if !wrong.is_transient {
                    self.backoff.reset();
                }
            }
        }
    }

    fn log_undefined(&mut self, name: &str) {
        let now =
            self.renderer.as_ref().and_then(TemplateRenderer::first_undefined).map(str::to_owned);
        if let Some(text) = now.as_ref().filter(|now| self.last_undefined.as_ref() != Some(now)) {
            warn!(handler = name, "{text}; written as empty");
        }
        self.last_undefined = now;
    }

    /// Renders the text and writes it if it changed. Returns what was changed.
    async fn write_target(&mut self, work: &HandlerContext) -> Result<TargetChange, RunError> {
        let text = self.render_text(work).await?;
        let template = Arc::clone(&self.template);
        let path = template.target.path.display().to_string();
        let write_context = || format!("cannot write {path}");
        let staged = run_blocking(move || template.target.stage_text(&text))
            .await
            .map_err(RunError::from_transient)?;
        let staged = match staged.with_context(write_context).map_err(RunError::from_transient)? {
            Ok(staged) => staged,
            Err(written) => return Ok(written),
        };
        if let Some(words) = &self.template.check {
            let checked = notify::run_command(&insert_path(words, &staged)).await;
            checked
                .context("the check of the new file failed")
                .map_err(RunError::from_permanent)?;
        }
        self.store_pending().await;
        let swapped = if self.check_mounted(work, &staged) {
            run_blocking(move || staged.write_in_place()).await
        } else {
            run_blocking(move || staged.swap_in()).await
        };
        let swapped = swapped.map_err(RunError::from_transient)?;
        swapped.with_context(write_context).map_err(RunError::from_transient)?;
        Ok(TargetChange::Text)
    }

    /// Stores the pending notifications before the file is replaced, so that they are sent even after a crash in
    /// between.
    async fn store_pending(&mut self) {
        if self.template.notify_targets.is_empty() {
            return;
        }
        self.pending.start_new_text();
        if let Some(delivered) = self.pending.delivered() {
            self.state.write_value(PENDING_FILE, delivered).await;
        }
    }

    /// Returns when to notify: about a new text, or else again about one whose notifications failed.
    fn notify_due(&self) -> Option<std::time::Instant> {
        self.debounce.due_at().or(self.pending.retry_at())
    }

    /// Returns whether a container mounts the file itself, which is logged once.
    fn check_mounted(&mut self, work: &HandlerContext, staged: &StagedTarget) -> bool {
        let roster = Arc::clone(&work.containers.borrow());
        let renderer = self.renderer.as_mut();
        let now = renderer
            .and_then(|renderer| renderer.find_mounting_container(&roster, staged.target_path()));
        if let Some(name) = now.as_ref().filter(|now| self.mounted_by.as_ref() != Some(now)) {
            let target = self.template.target.path.display();
            warn!(
                handler = work.handler.name,
                "{name} mounts the file {target} and would keep the old one, so it is overwritten \
                 in place; mount its directory, so that the file is replaced atomically"
            );
        }
        self.mounted_by = now;
        self.mounted_by.is_some()
    }

    async fn render_text(&mut self, work: &HandlerContext) -> Result<String, RunError> {
        let roster = Arc::clone(&work.containers.borrow());
        let certificates = Arc::clone(&work.certificates.borrow());
        if !self.needs_swarm {
            let input = (Arc::clone(&roster), Arc::clone(&certificates));
            let (text, needs_swarm) = self.render_with(input, None).await?;
            if !needs_swarm {
                return Ok(text);
            }
            self.needs_swarm = true;
        }
        let swarm = query_swarm(&work.settings.sources).await.map_err(RunError::from_transient)?;
        self.render_with((roster, certificates), swarm).await.map(|(text, _)| text)
    }

    /// Also returns whether the template used what only a Swarm manager knows.
    async fn render_with(
        &mut self,
        (roster, certificates): (Arc<ContainerMap>, Arc<CertificateLists>),
        swarm: Option<SwarmState>,
    ) -> Result<(String, bool), RunError> {
        let again = || self.template.create_renderer();
        let mut renderer = self.renderer.take().unwrap_or_else(again);
        renderer.set_certificates(certificates);
        let work = run_blocking(move || {
            let text = renderer.render(&roster, swarm.as_ref());
            (text, renderer)
        });
        let (text, renderer) = work.await.map_err(RunError::from_permanent)?;
        self.renderer = Some(renderer);
        text.map_err(|fault| RunError::from_permanent(anyhow!("{fault}")))
    }

    /// Returns a future that sends the notifications, and clears the debounce.
    fn start_notify(
        &mut self,
        work: &HandlerContext,
    ) -> impl Future<Output = NotifyReport> + use<> {
        self.debounce.clear_pending();
        let template = Arc::clone(&self.template);
        let roster = Arc::clone(&work.containers.borrow());
        let containers = self
            .renderer
            .as_mut()
            .map(|renderer| renderer.update_containers(&roster))
            .unwrap_or_default();
        let sources = Arc::clone(&work.sources);
        let snapshot = self.pending.snapshot();
        async move { template.notify_targets.notify_all(&sources, &containers, snapshot).await }
    }

    /// Logs what was done and what failed; the latter is retried later.
    async fn finish_notify(
        &mut self,
        work: &HandlerContext,
        report: Result<NotifyReport, JoinError>,
    ) {
        let handler = &work.handler.name;
        let NotifyReport { done, errors: wrong, snapshot: debt } =
            report.unwrap_or_else(|error| self.panic_report(&error));
        if !done.is_empty() {
            info!(handler, "{}", done.join(", "));
        }
        if wrong.is_empty() {
            if self.pending.mark_all_delivered(&debt) {
                self.state.remove_value(PENDING_FILE).await;
                if self.last_notify_error.take().is_some() {
                    info!(handler, "all notifications succeeded");
                }
            }
            return;
        }
        let again = match self.pending.schedule_retry(debt, Instant::now().into_std()) {
            _ if work.command == RunMode::Once => "retrying in the next run".to_owned(),
            Some(pause) => format!("retrying in {}s", pause.as_secs()),
            None => "a newer change will be notified next".to_owned(),
        };
        if let Some(delivered) = self.pending.delivered() {
            self.state.write_value(PENDING_FILE, delivered).await;
        }
        let all: Vec<_> = wrong.iter().map(|error| format!("{error:#}")).collect();
        let text = all.join("; ");
        let mut failures = 0;
        for _ in &all {
            failures = work.stats.record_failure();
        }
        if self.last_notify_error.as_ref() == Some(&text) {
            debug!(handler, failures, "{text}; {again}");
        } else {
            for error in &all {
                warn!(handler, failures, "{error}; {again}");
            }
        }
        self.last_notify_error = Some(text);
    }

    fn panic_report(&self, error: &JoinError) -> NotifyReport {
        let wrong = vec![anyhow!("notifying failed because of a bug in docker-glue: {error}")];
        NotifyReport { errors: wrong, ..NotifyReport::new(self.pending.snapshot()) }
    }
}

/// Puts the path of the new file in the place of `{}`, or at the end.
fn insert_path(words: &[String], staged: &StagedTarget) -> Vec<String> {
    let path = staged.staged_path().display().to_string();
    let mut words = words.to_vec();
    match words.iter_mut().find(|word| word.contains("{}")) {
        Some(word) => *word = word.replace("{}", &path),
        None => words.push(path),
    }
    words
}

/// Runs work that needs the processor or the disk on another thread.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.context("rendering failed because of a bug in docker-glue")
}

struct RunError {
    error: anyhow::Error,
    /// Whether a retry may succeed without an event.
    is_transient: bool,
}

impl RunError {
    fn from_transient(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), is_transient: true }
    }

    fn from_permanent(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), is_transient: false }
    }
}
