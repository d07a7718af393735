//! Those who are told that a file is another one: a command, containers and services.

use super::{
    swarm::Swarm,
    value::{Dict, Of, places},
};
use crate::{
    container::ContainerId,
    docker::{Access, Engine},
};
use anyhow::{Context, Result, anyhow, bail};
use minijinja::Value;
use std::{process::Stdio, time::Duration};
use tokio::{process::Command, task::JoinError, time::timeout};

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

impl Others {
    /// The command, then restarts, then signals; one that goes wrong holds up no other.
    pub(super) async fn tell(&self, access: &Access, containers: &[Value]) -> Told {
        let mut told = Told::default();
        if let Some(words) = &self.notify {
            let name = words.first().cloned().unwrap_or_default();
            told.add(format!("ran {name}"), run(words).await);
        }
        if self.restart.is_empty() && self.signal.is_empty() {
            return told;
        }
        let engine = match Engine::connect(access).await {
            Ok(engine) => engine,
            Err(error) => {
                told.wrong.push(error);
                return told;
            }
        };
        for target in &self.restart {
            told.restart(&engine, containers, target).await;
        }
        for (target, signal) in &self.signal {
            let found = running(containers, target);
            told.nobody(target, found.is_empty());
            for (id, name) in found {
                let sent = engine.signal(&id, signal).await;
                told.add(format!("sent {signal} to {name}"), sent);
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
}

impl Told {
    pub(super) fn broken(error: &JoinError) -> Self {
        let wrong = vec![anyhow!("telling broke, which is a defect of docker-glue: {error}")];
        Self { done: Vec::new(), wrong }
    }

    fn add(&mut self, what: String, result: Result<()>) {
        match result {
            Ok(()) => self.done.push(what),
            Err(error) => self.wrong.push(error),
        }
    }

    fn nobody(&mut self, target: &str, is_empty: bool) {
        if is_empty {
            self.wrong.push(anyhow!("no container that runs is {target:?}, or belongs to it"));
        }
    }

    /// A service of that name is restarted as one, wherever its tasks are.
    async fn restart(&mut self, engine: &Engine, containers: &[Value], target: &str) {
        let swarm = engine.swarm().await.ok().flatten();
        let swarm = swarm.map(|said| Swarm::new(&said)).map(|it| it.services).unwrap_or_default();
        let services = matching(&swarm, target, Of::Services);
        for (id, name) in &services {
            let restarted = engine.restart_service(id.as_str()).await;
            self.add(format!("restarted service {name}"), restarted);
        }
        if !services.is_empty() {
            return;
        }
        let found = running(containers, target);
        self.nobody(target, found.is_empty());
        for (id, name) in found {
            self.add(format!("restarted {name}"), engine.restart(&id).await);
        }
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
