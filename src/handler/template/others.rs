//! Those who are told that a file is another one: a command, containers and services.

use super::{
    owed::Debt,
    swarm::Swarm,
    value::{Dict, Of, places},
};
use crate::{
    container::ContainerId,
    docker::{Access, Engine},
};
use anyhow::{Context, Result, anyhow, bail};
use minijinja::Value;
use std::{fmt, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Others {
    pub(super) notify: Option<Vec<String>>,
    /// Anything that `matching` of a template takes.
    pub(super) restart: Vec<String>,
    pub(super) signal: Vec<(String, String)>,
}

/// A command may take this long.
const PATIENCE: Duration = Duration::from_mins(1);
/// What is told of a command's output.
const MOST_SAID: usize = 1000;

/// One of those who are told. Its text is its name on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notification {
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

impl Others {
    pub(super) fn is_nobody(&self) -> bool {
        self.notify.is_none() && self.restart.is_empty() && self.signal.is_empty()
    }

    /// The command, then restarts, then signals; one that goes wrong holds up no other. Who has been told
    /// already is not told again.
    pub(super) async fn tell(&self, access: &Access, containers: &[Value], debt: Debt) -> Told {
        let mut told = Told::new(debt);
        if let Some(words) = &self.notify
            && !told.debt.given.has(&Notification::Command)
        {
            let name = words.first().cloned().unwrap_or_default();
            if told.add(format!("ran {name}"), run(words).await) {
                told.debt.given.give(&Notification::Command);
            }
        }
        let restarts = self.restart.iter().cloned().map(Notification::Restart);
        let signals = self.signal.iter().cloned();
        let signals = signals.map(|(target, signal)| Notification::Signal(target, signal));
        let mut rest: Vec<_> = restarts.chain(signals).collect();
        rest.retain(|notification| !told.debt.given.has(notification));
        if rest.is_empty() {
            return told;
        }
        let engine = match Engine::connect(access).await {
            Ok(engine) => engine,
            Err(error) => {
                told.wrong.push(error);
                return told;
            }
        };
        for notification in &rest {
            if told.notify(&engine, containers, notification).await {
                told.debt.given.give(notification);
            }
        }
        told
    }
}

/// What was done, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) done: Vec<String>,
    pub(super) wrong: Vec<anyhow::Error>,
    pub(super) debt: Debt,
}

impl Told {
    pub(super) fn new(debt: Debt) -> Self {
        Self { debt, ..Self::default() }
    }

    /// Whether it went well.
    fn add(&mut self, what: String, result: Result<()>) -> bool {
        match result {
            Ok(()) => self.done.push(what),
            Err(error) => {
                self.wrong.push(error);
                return false;
            }
        }
        true
    }

    /// Whether all that it is for have been told.
    async fn notify(
        &mut self,
        engine: &Engine,
        containers: &[Value],
        notification: &Notification,
    ) -> bool {
        let target = match notification {
            Notification::Command => return true,
            Notification::Signal(target, _) => target,
            Notification::Restart(target) => {
                if let Some(well) = self.restart_services(engine, target, notification).await {
                    return well;
                }
                target
            }
        };
        let found = running(containers, target);
        if found.is_empty() {
            self.wrong.push(anyhow!("no container that runs is {target:?}, or belongs to it"));
            return false;
        }
        let mut all_well = true;
        for (id, name) in found {
            if self.debt.given.has_one(notification, id.as_str()) {
                continue;
            }
            let (what, result) = match notification {
                Notification::Signal(_, signal) => {
                    (format!("sent {signal} to {name}"), engine.signal(&id, signal).await)
                }
                _ => (format!("restarted {name}"), engine.restart(&id).await),
            };
            let well = self.add(what, result);
            if well {
                self.debt.given.give_one(notification, id.as_str());
            }
            all_well &= well;
        }
        all_well
    }

    /// A service of that name is restarted as one, wherever its tasks are. `None`: there is none.
    async fn restart_services(
        &mut self,
        engine: &Engine,
        target: &str,
        notification: &Notification,
    ) -> Option<bool> {
        let swarm = engine.swarm().await.ok().flatten();
        let swarm = swarm.map(|said| Swarm::new(&said)).map(|it| it.services).unwrap_or_default();
        let services = matching(&swarm, target, Of::Services);
        let mut all_well = (!services.is_empty()).then_some(true)?;
        for (id, name) in &services {
            if self.debt.given.has_one(notification, id.as_str()) {
                continue;
            }
            let restarted = engine.restart_service(id.as_str()).await;
            let well = self.add(format!("restarted service {name}"), restarted);
            if well {
                self.debt.given.give_one(notification, id.as_str());
            }
            all_well &= well;
        }
        Some(all_well)
    }
}

fn running(containers: &[Value], target: &str) -> Vec<(ContainerId, String)> {
    let runs = |it: &&Value| {
        let dict = it.downcast_object_ref::<Dict>();
        dict.and_then(|it| it.find("running")).is_some_and(Value::is_true)
    };
    let those: Vec<_> = containers.iter().filter(runs).cloned().collect();
    matching(&those, target, Of::Containers)
}

fn matching(all: &[Value], target: &str, of: Of) -> Vec<(ContainerId, String)> {
    let dicts: Vec<_> = all.iter().map(Value::downcast_object_ref::<Dict>).collect();
    let found = places(&dicts, target, of).into_iter().filter_map(|at| dicts[at]);
    let named = |it: &Dict| Some((ContainerId::new(it.word("id")?), it.word("name")?.to_owned()));
    found.filter_map(named).collect()
}

/// Without a shell.
pub(super) async fn run(words: &[String]) -> Result<()> {
    let [program, arguments @ ..] = words else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output
        .map_err(|_| anyhow!("{program} did not end within {}s", PATIENCE.as_secs()))?
        .with_context(|| format!("cannot run {program}"))?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let said: String = said.trim().chars().take(MOST_SAID).collect();
    if !output.status.success() {
        bail!("{program} ended with {}: {}", output.status, said.replace('\n', "; "));
    }
    tracing::debug!("{program} said: {said}");
    Ok(())
}
