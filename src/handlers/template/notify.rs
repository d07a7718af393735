//! Notifications that a file has changed: a command, containers and services.

use super::{
    pending_notifications::PendingSnapshot,
    swarm::Swarm,
    value::{Dict, ListKind, find_matching},
};
use crate::{
    model::container::ContainerId,
    sources::docker::{Engine, EngineSettings},
};
use anyhow::{Context, Result, anyhow, bail};
use minijinja::Value;
use std::{fmt, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NotifyTargets {
    pub(crate) notify: Option<Vec<String>>,
    /// Anything that `matching` in a template accepts.
    pub(crate) restart: Vec<String>,
    pub(crate) signal: Vec<(String, String)>,
}

/// The time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
/// How much of a command's output is reported.
const MAX_OUTPUT_CHARS: usize = 1000;

/// One notification. Its text is its name on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    Command,
    Restart(String),
    Signal(String, String),
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => f.write_str("notify"),
            Self::Restart(target) => write!(f, "restart {target}"),
            Self::Signal(target, signal) => write!(f, "signal {target} {signal}"),
        }
    }
}

impl NotifyTargets {
    pub(crate) fn is_empty(&self) -> bool {
        self.notify.is_none() && self.restart.is_empty() && self.signal.is_empty()
    }

    /// Runs the command, then restarts, then signals. A failure does not stop the others. Notifications that were
    /// already delivered are left out.
    pub(crate) async fn notify_all(
        &self,
        access: &EngineSettings,
        containers: &[Value],
        snapshot: PendingSnapshot,
    ) -> NotifyReport {
        let mut report = NotifyReport::new(snapshot);
        if let Some(words) = &self.notify
            && !report.snapshot.delivered.is_delivered(&Notification::Command)
        {
            let name = words.first().cloned().unwrap_or_default();
            if report.record_result(format!("ran {name}"), run_command(words).await) {
                report.snapshot.delivered.mark_delivered(&Notification::Command);
            }
        }
        let restarts = self.restart.iter().cloned().map(Notification::Restart);
        let signals = self.signal.iter().cloned();
        let signals = signals.map(|(target, signal)| Notification::Signal(target, signal));
        let mut remaining: Vec<_> = restarts.chain(signals).collect();
        remaining.retain(|notification| !report.snapshot.delivered.is_delivered(notification));
        if remaining.is_empty() {
            return report;
        }
        let engine = match Engine::connect(access).await {
            Ok(engine) => engine,
            Err(error) => {
                report.errors.push(error);
                return report;
            }
        };
        for notification in &remaining {
            if report.send_notification(&engine, containers, notification).await {
                report.snapshot.delivered.mark_delivered(notification);
            }
        }
        report
    }
}

/// What was done, and what failed.
#[derive(Debug, Default)]
pub(crate) struct NotifyReport {
    pub(crate) done: Vec<String>,
    pub(crate) errors: Vec<anyhow::Error>,
    pub(crate) snapshot: PendingSnapshot,
}

impl NotifyReport {
    pub(crate) fn new(snapshot: PendingSnapshot) -> Self {
        Self { snapshot, ..Self::default() }
    }

    /// Returns whether it succeeded.
    fn record_result(&mut self, what: String, result: Result<()>) -> bool {
        match result {
            Ok(()) => self.done.push(what),
            Err(error) => {
                self.errors.push(error);
                return false;
            }
        }
        true
    }

    /// Returns whether all targets of the notification were notified.
    async fn send_notification(
        &mut self,
        engine: &Engine,
        containers: &[Value],
        notification: &Notification,
    ) -> bool {
        let target = match notification {
            Notification::Command => return true,
            Notification::Signal(target, _) => target,
            Notification::Restart(target) => {
                if let Some(succeeded) = self.restart_services(engine, target, notification).await {
                    return succeeded;
                }
                target
            }
        };
        let found = find_running(containers, target);
        if found.is_empty() {
            self.errors.push(anyhow!("no running container is called {target:?} or belongs to it"));
            return false;
        }
        let mut all_succeeded = true;
        for (id, name) in found {
            if self.snapshot.delivered.is_delivered_to(notification, id.as_str()) {
                continue;
            }
            let (what, result) = match notification {
                Notification::Signal(_, signal) => {
                    (format!("sent {signal} to {name}"), engine.send_signal(&id, signal).await)
                }
                _ => (format!("restarted {name}"), engine.restart_container(&id).await),
            };
            let succeeded = self.record_result(what, result);
            if succeeded {
                self.snapshot.delivered.mark_delivered_to(notification, id.as_str());
            }
            all_succeeded &= succeeded;
        }
        all_succeeded
    }

    /// Restarts the service of that name as a whole, on all its nodes. Returns `None` if there is no such service.
    async fn restart_services(
        &mut self,
        engine: &Engine,
        target: &str,
        notification: &Notification,
    ) -> Option<bool> {
        let swarm = engine.query_swarm().await.ok().flatten();
        let swarm = swarm
            .map(|output_text| Swarm::new(&output_text))
            .map(|swarm| swarm.services)
            .unwrap_or_default();
        let services = find_targets(&swarm, target, ListKind::Services);
        let mut all_succeeded = (!services.is_empty()).then_some(true)?;
        for (id, name) in &services {
            if self.snapshot.delivered.is_delivered_to(notification, id.as_str()) {
                continue;
            }
            let restarted = engine.restart_service(id.as_str()).await;
            let succeeded = self.record_result(format!("restarted service {name}"), restarted);
            if succeeded {
                self.snapshot.delivered.mark_delivered_to(notification, id.as_str());
            }
            all_succeeded &= succeeded;
        }
        Some(all_succeeded)
    }
}

fn find_running(containers: &[Value], target: &str) -> Vec<(ContainerId, String)> {
    let runs = |value: &&Value| {
        let dict = value.downcast_object_ref::<Dict>();
        dict.and_then(|dict| dict.find_value("running")).is_some_and(Value::is_true)
    };
    let those: Vec<_> = containers.iter().filter(runs).cloned().collect();
    find_targets(&those, target, ListKind::Containers)
}

fn find_targets(all: &[Value], target: &str, of: ListKind) -> Vec<(ContainerId, String)> {
    let dicts: Vec<_> = all.iter().map(Value::downcast_object_ref::<Dict>).collect();
    let found = find_matching(&dicts, target, of).into_iter().filter_map(|at| dicts[at]);
    let named =
        |dict: &Dict| Some((ContainerId::new(dict.text("id")?), dict.text("name")?.to_owned()));
    found.filter_map(named).collect()
}

/// Runs a command without a shell.
pub(crate) async fn run_command(words: &[String]) -> Result<()> {
    let [program, arguments @ ..] = words else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(COMMAND_TIMEOUT, command.output()).await;
    let output = output
        .map_err(|_| anyhow!("{program} did not exit within {}s", COMMAND_TIMEOUT.as_secs()))?
        .with_context(|| format!("cannot run {program}"))?;
    let output_text = [output.stderr, output.stdout].concat();
    let output_text = String::from_utf8_lossy(&output_text);
    let output_text: String = output_text.trim().chars().take(MAX_OUTPUT_CHARS).collect();
    if !output.status.success() {
        bail!("{program} exited with {}: {}", output.status, output_text.replace('\n', "; "));
    }
    tracing::debug!("{program} printed: {output_text}");
    Ok(())
}
