//! Notifications that a file has changed: a command, containers and services.

use super::{
    pending_notifications::PendingSnapshot,
    swarm::Swarm,
    value::{Dict, ListKind, find_matching},
};
use crate::{
    handlers::source::GlueSource,
    model::{container::ContainerId, source_name::SourceName},
    sources::docker::{Engine, EngineSettings},
};
use anyhow::{Context, Result, anyhow, bail};
use minijinja::Value;
use std::{collections::BTreeMap, fmt, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NotifyTargets {
    pub(crate) notify: Option<Vec<String>>,
    /// Anything that `matching` in a template accepts.
    pub(crate) restart: Vec<String>,
    pub(crate) signal: Vec<(String, String)>,
    /// Whether containers on other machines are notified, too.
    pub(crate) remote: bool,
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
        sources: &[GlueSource],
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
        let mut scope = NotifyScope::new(sources, self.remote);
        for notification in &remaining {
            if report.send_notification(&mut scope, containers, notification).await {
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
        scope: &mut NotifyScope<'_>,
        containers: &[Value],
        notification: &Notification,
    ) -> bool {
        let target = match notification {
            Notification::Command => return true,
            Notification::Signal(target, _) => target,
            Notification::Restart(target) => {
                if let Some(succeeded) = self.restart_services(scope, target, notification).await {
                    return succeeded;
                }
                target
            }
        };
        let found = scope.find_running(containers, target);
        if found.is_empty() {
            self.errors.push(scope.missing_error(containers, target));
            return false;
        }
        let mut all_succeeded = true;
        for (id, name) in found {
            let key = String::from(id.clone());
            if self.snapshot.delivered.is_delivered_to(notification, &key) {
                continue;
            }
            let (what, result) = if let Notification::Signal(_, signal) = notification {
                let sent = async {
                    scope.connect_source(id.source()).await?.send_signal(&id, signal).await
                };
                (format!("sent {signal} to {name}"), sent.await)
            } else {
                let restarted =
                    async { scope.connect_source(id.source()).await?.restart_container(&id).await };
                (format!("restarted {name}"), restarted.await)
            };
            let succeeded = self.record_result(what, result);
            if succeeded {
                self.snapshot.delivered.mark_delivered_to(notification, &key);
            }
            all_succeeded &= succeeded;
        }
        all_succeeded
    }

    /// Restarts the service of that name as a whole, on all its nodes. Returns `None` if there is no such service.
    async fn restart_services(
        &mut self,
        scope: &mut NotifyScope<'_>,
        target: &str,
        notification: &Notification,
    ) -> Option<bool> {
        let (target, sources) = scope.sources_of(target);
        for manager in sources.iter().flat_map(|source| source.settings.managers()) {
            // Without an answer, the target may still be a container of an engine.
            let Ok(engine) = scope.connect(&manager).await else { continue };
            let swarm = engine.query_swarm().await.ok().flatten();
            let services = swarm.map(|state| Swarm::new(&state).services).unwrap_or_default();
            let services = find_targets(&services, target, ListKind::Services);
            if services.is_empty() {
                continue;
            }
            let mut all_succeeded = true;
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
            return Some(all_succeeded);
        }
        None
    }
}

/// The sources whose containers may be notified.
struct NotifyScope<'a> {
    sources: &'a [GlueSource],
    remote: bool,
    /// By their URLs.
    connected: BTreeMap<String, Engine>,
}

impl<'a> NotifyScope<'a> {
    fn new(sources: &'a [GlueSource], remote: bool) -> Self {
        Self { sources, remote, connected: BTreeMap::new() }
    }

    /// Returns the target without `@SOURCE`, and the sources in which it is searched.
    fn sources_of<'t>(&self, target: &'t str) -> (&'t str, Vec<&'a GlueSource>) {
        let allowed =
            self.sources.iter().filter(|source| self.remote || !source.settings.is_elsewhere);
        let (target, source) = split_target(target, self.sources);
        let allowed = allowed.filter(|one| source.is_none_or(|name| one.name().as_str() == name));
        (target, allowed.collect())
    }

    async fn connect(&mut self, settings: &EngineSettings) -> Result<&Engine> {
        let url = settings.url();
        if !self.connected.contains_key(url) {
            let engine = Engine::connect(settings).await?;
            self.connected.insert(url.to_owned(), engine);
        }
        self.connected.get(url).context("the engine is not connected")
    }

    async fn connect_source(&mut self, name: &SourceName) -> Result<&Engine> {
        let settings = self.sources.iter().find(|source| source.name() == name);
        let settings = settings.with_context(|| format!("no source is called {name}"))?;
        self.connect(&settings.settings.engine).await
    }

    /// Returns the running containers of the target that may be notified.
    fn find_running(&self, containers: &[Value], target: &str) -> Vec<(ContainerId, String)> {
        let (target, mut sources) = self.sources_of(target);
        sources.retain(|source| source.settings.is_engine());
        let found = find_running(containers, target).into_iter();
        found.filter(|(id, _)| sources.iter().any(|one| one.name() == id.source())).collect()
    }

    fn missing_error(&self, containers: &[Value], target: &str) -> anyhow::Error {
        let everywhere = Self { remote: true, connected: BTreeMap::new(), ..*self };
        if !everywhere.find_running(containers, target).is_empty() {
            return anyhow!(
                "{target:?} runs on another machine only; remote=yes allows to notify it there"
            );
        }
        let (name, sources) = everywhere.sources_of(target);
        let found = find_running(containers, name);
        let mut known =
            sources.iter().filter(|one| found.iter().any(|(id, _)| id.source() == one.name()));
        let refusal = known.find_map(|one| Some((one.name(), one.settings.notify_refusal()?)));
        match refusal {
            Some((source, why)) => anyhow!("{target:?} is known from {source} only: {why}"),
            None => anyhow!("no running container is called {target:?} or belongs to it"),
        }
    }
}

/// Returns the target without `@SOURCE`, and that source, if there is one of this name.
fn split_target<'t>(target: &'t str, sources: &[GlueSource]) -> (&'t str, Option<&'t str>) {
    let is_source = |name: &str| sources.iter().any(|one| one.name().as_str() == name);
    match target.rsplit_once('@') {
        Some((target, source)) if is_source(source) => (target, Some(source)),
        _ => (target, None),
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
    let named = |dict: &Dict| {
        let source = dict.text("source").unwrap_or_default().parse().unwrap_or_default();
        Some((ContainerId::in_source(source, dict.text("id")?), dict.text("name")?.to_owned()))
    };
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

#[cfg(test)]
mod tests {
    use super::NotifyScope;
    use crate::{
        handlers::{source::GlueSource, template::container::ContainerViews},
        model::container::ContainerId,
        settings::{GlueTask, HostEnv},
        sources::{ContainerMap, Description},
    };
    use std::{collections::BTreeMap, ffi::OsString, sync::Arc};

    /// A running container of each source, all with one id and name.
    fn same_containers(sources: &[&str]) -> ContainerMap {
        let container = |source: &&str| {
            let id = ContainerId::in_source(source.parse().unwrap(), "0".repeat(64));
            let json = r#"{"State":{"Running":true}}"#.into();
            (id.clone(), Arc::new(Description { id, name: "web".to_owned(), json }))
        };
        sources.iter().map(container).collect()
    }

    #[test]
    fn target_is_searched_on_this_machine_unless_remote_is_allowed() {
        let urls = [
            "unix:///a?name=a",
            "tcp://127.0.0.1?name=b",
            "tcp://10.0.0.2?name=far",
            "swarm+unix:///a?name=swarm",
            "etcd://10.0.0.2?name=fleet",
        ];
        let options = urls.iter().flat_map(|url| ["--source", url]);
        let args = ["docker-glue"].into_iter().chain(options).chain(["check"]);
        let args: Vec<_> = args.map(OsString::from).collect();
        let (_, settings) = GlueTask::from_args(&args, HostEnv::default()).unwrap();
        let sources = GlueSource::all_of(&settings);
        let mut views = ContainerViews::default();
        let mut all = same_containers(&["a", "b", "far", "swarm", "fleet"]);
        for (source, name) in [("swarm", "task"), ("fleet", "record")] {
            let id = ContainerId::in_source(source.parse().unwrap(), "0".repeat(64));
            let only = Description { name: name.to_owned(), ..(*all[&id]).clone() };
            all.insert(id, Arc::new(only));
        }
        views.update_views(&all, &BTreeMap::new());
        let containers = views.containers();
        for (target, remote, expected, error) in [
            ("web", false, "a b", ""),
            ("web", true, "a b far", ""),
            ("web@b", false, "b", ""),
            ("web@far", false, "", "remote=yes allows to notify it there"),
            ("web@far", true, "far", ""),
            ("web@other", true, "", "no running container is called \"web@other\""),
            ("db", true, "", "no running container"),
            ("task", true, "", "known from swarm only: a manager notifies no single containers"),
            ("task@swarm", false, "", "restart=SERVICE"),
            ("web@swarm", true, "", "no running container"),
            ("record", true, "", "known from fleet only: nothing is notified over etcd"),
        ] {
            let scope = NotifyScope::new(&sources, remote);
            let found = scope.find_running(&containers, target);
            let found: Vec<_> = found.iter().map(|(id, _)| id.source().as_str()).collect();
            assert_eq!(found.join(" "), expected, "{target} {remote}");
            if expected.is_empty() {
                let message = scope.missing_error(&containers, target).to_string();
                assert!(message.contains(error), "{target}: {message}");
            }
        }
    }

    #[test]
    fn services_are_restarted_by_managers_of_this_machine_unless_remote_is_allowed() {
        let urls = [
            "unix:///a?name=a",
            "swarm+tcp://10.0.0.2,10.0.0.3?name=swarm",
            "swarm+unix:///b?name=own",
            "etcd://10.0.0.2?name=fleet",
        ];
        let options = urls.iter().flat_map(|url| ["--source", url]);
        let args = ["docker-glue"].into_iter().chain(options).chain(["check"]);
        let args: Vec<_> = args.map(OsString::from).collect();
        let (_, settings) = GlueTask::from_args(&args, HostEnv::default()).unwrap();
        let sources = GlueSource::all_of(&settings);
        for (target, remote, expected) in [
            ("web", false, "unix:///a unix:///b"),
            ("web", true, "unix:///a unix:///b tcp://10.0.0.2 tcp://10.0.0.3"),
            ("web@swarm", false, ""),
            ("web@swarm", true, "tcp://10.0.0.2 tcp://10.0.0.3"),
            ("web@fleet", true, ""),
        ] {
            let (_, scope) = NotifyScope::new(&sources, remote).sources_of(target);
            let managers = scope.iter().flat_map(|source| source.settings.managers());
            let urls: Vec<_> = managers.map(|manager| manager.url().to_owned()).collect();
            assert_eq!(urls.join(" "), expected, "{target} {remote}");
        }
    }
}
