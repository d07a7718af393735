//! The two ways to a desired state: over the runtime API, or by a reload, files first.

use super::{Balancer, Did, Running, rests::Rests};
use crate::{
    haproxy::{
        command::{Command, Health},
        config::{Admin, Config, Probe, Server},
        error::ApplyError,
        observed::Observed,
        plan::plan,
        proxy::How,
        render,
        runtime::RuntimeError,
        step::{Leftover, Step},
        unchecked::{Accepted, Unchecked},
    },
    reload::Why,
    route::Routes,
};
use anyhow::Result;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{debug, error, warn};

/// Until a server whose connections have not ended is tried to be deleted again.
const DELETE_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

impl Balancer {
    /// The short way, where HAProxy has what it was given. `None`: it has to be the long one.
    pub(super) async fn step(&mut self, routes: &Routes, now: Instant) -> Option<Did> {
        if self.is_stale(now) {
            return None;
        }
        let mut step = self.next_step(routes)?;
        if step.commands.iter().any(Command::makes_unwell) {
            self.look_again(&step.commands).await;
            step = self.next_step(routes)?;
        }
        self.running.settled = None;
        if !step.commands.is_empty()
            && let Err(error) = self.tell(&step.commands).await
        {
            warn!("{error}; HAProxy is asked what it has");
            self.running.observed = self.proxy.observe().await;
            return None;
        }
        let commands = step.commands.len();
        self.running.settled = Some(self.undeleted(&step.commands));
        if step.changes_config() {
            self.files.unchecked.add(step.changed_backends(&self.running.config));
            let left = step.take(Arc::make_mut(&mut self.running.config));
            self.rest(left);
            self.files_are_due();
        }
        Some(if commands == 0 { Did::Nothing } else { Did::Runtime { commands } })
    }

    fn next_step(&self, routes: &Routes) -> Option<Step> {
        let Running { config, observed, settled, rests, .. } = &self.running;
        let has = (observed.as_ref()?, settled.as_ref()?);
        Step::new((&self.served, config), has, routes, rests.names(), self.frame.wait)
    }

    /// The runtime lane. `None`: HAProxy is not where it was believed to be; decide anew.
    pub(super) async fn change(&mut self, config: Config) -> Result<Option<Did>> {
        let Some(observed) = &self.running.observed else { return Ok(None) };
        let mut commands = plan(observed, &config);
        if commands.iter().any(Command::makes_unwell) {
            self.look_again(&commands).await;
            let Some(observed) = &self.running.observed else { return Ok(None) };
            commands = plan(observed, &config);
        }
        if commands.is_empty() {
            self.files_follow(config);
            return Ok(Some(Did::Nothing));
        }
        match self.tell(&commands).await {
            Ok(()) => {}
            Err(error) => {
                warn!("{error}; HAProxy is asked what it has");
                self.running.observed = self.proxy.observe().await;
                return self.repair(config).await;
            }
        }
        self.files_follow(config);
        Ok(Some(Did::Runtime { commands: commands.len() }))
    }

    /// Checks may have found a server to be well since it was asked about.
    async fn look_again(&mut self, commands: &[Command]) {
        let Some(observed) = &mut self.running.observed else { return };
        let Ok(mut runtime) = self.proxy.runtime().await else { return };
        if let Err(error) = runtime.read_back(commands, observed).await {
            debug!("{error}");
        }
    }

    /// Once more from what it really has; if that does not help either, a reload does.
    async fn repair(&mut self, config: Config) -> Result<Option<Did>> {
        let Some(observed) = &self.running.observed else { return Ok(None) };
        if observed.skeleton == config.skeleton {
            let commands = plan(observed, &config);
            match self.tell(&commands).await {
                Ok(()) => {
                    self.files_follow(config);
                    return Ok(Some(Did::Runtime { commands: commands.len() }));
                }
                Err(error) => error!("{error}; HAProxy is reloaded"),
            }
        }
        self.running.astray = true;
        Ok(None)
    }

    async fn tell(&mut self, commands: &[Command]) -> Result<(), RuntimeError> {
        let told = self.try_to_tell(commands).await;
        match &told {
            Ok(()) => self.metrics.told(commands),
            Err(error) => self.metrics.not_told(error),
        }
        told
    }

    /// Says the commands and reads back what they touched.
    async fn try_to_tell(&mut self, commands: &[Command]) -> Result<(), RuntimeError> {
        let observed = self.running.observed.get_or_insert_default();
        let mut runtime = self.proxy.runtime().await?;
        runtime.obey(commands, observed).await?;
        runtime.read_back(commands, observed).await?;
        let all_deleted = self.undeleted(commands).is_empty();
        let pause = &mut self.running.delete_again;
        *pause = if all_deleted {
            Duration::ZERO
        } else {
            (*pause * 2).clamp(DELETE_AGAIN.0, DELETE_AGAIN.1)
        };
        Ok(())
    }

    /// Where deletions were refused.
    fn undeleted(&self, commands: &[Command]) -> Leftover {
        let observed = self.running.observed.as_ref();
        let is_there =
            |backend, name| observed.and_then(|it| it.servers.get(backend)?.get(name)).is_some();
        let is_backend = |name| observed.is_some_and(|it| it.backends.contains(name));
        let refused = commands.iter().filter_map(|command| match command {
            Command::DelServer { backend, name } => is_there(backend, name).then_some(backend),
            Command::DelBackend { backend } => is_backend(backend).then_some(backend),
            _ => None,
        });
        refused.cloned().collect()
    }

    /// The reload lane: files first. `None`: something was left out; decide anew.
    pub(super) async fn load(
        &mut self,
        routes: &Routes,
        config: Config,
        why: Why,
    ) -> Result<Option<Did>> {
        self.settle().await;
        self.files.unchecked.doubt();
        let checker = self.proxy.checker();
        let files = render::render(&config, &self.frame);
        let applied = match why {
            Why::NotKnown => self.proxy.apply(&files).await,
            _ => self.proxy.reload(&files).await,
        };
        match applied {
            Ok(applied) => {
                if applied.how != How::Unchanged {
                    let accept = |it| Accepted::new(&config, &self.frame, it, Instant::now());
                    self.files.unchecked = Unchecked::default();
                    self.files.unchecked.accept(checker.map(accept));
                }
                self.loaded(config).await;
                Ok(Some(Did::Loaded(applied, why)))
            }
            Err(ApplyError::Refused(refusal)) => {
                self.leave_out(routes, &config, &files, &refusal).await?;
                Ok(None)
            }
            Err(ApplyError::NotLoaded(refusal))
                if self.leave_out_listeners(routes, &config, &refusal, Instant::now()) =>
            {
                Ok(None)
            }
            Err(ApplyError::Bind(taken)) => {
                self.give_up(&config, taken, Instant::now())?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The reload lane is closed: over the runtime API HAProxy gets what needs no reload, at least. One of ours that
    /// does not run is started with what is stored. `None`: not even that.
    pub(super) async fn change_without_reload(&mut self, routes: &Routes) -> Option<Did> {
        // What it had before may be gone, and the worker that had it.
        self.running.observed = self.proxy.observe().await;
        if self.running.observed.is_none() {
            if let Err(error) = self.proxy.start().await {
                debug!("not started with what is stored: {error}");
            }
            self.running.observed = self.proxy.observe().await;
        }
        self.running.asked = Some(Instant::now());
        self.running.observed.as_ref()?;
        self.change(self.without_reload(routes)).await.ok().flatten()
    }

    /// A worker that was just started has what its file says; what is new and asked for its health is
    /// not well before it says so.
    async fn loaded(&mut self, config: Config) {
        let before = self.running.observed.take();
        self.running.asked = Some(Instant::now());
        self.running.observed = self.proxy.observe().await;
        if let (Some(before), Some(_)) = (before, &self.running.observed) {
            let commands = unproven(&before, &config);
            if let Err(error) = self.tell(&commands).await {
                debug!("{error}");
                self.running.observed = None;
            }
        }
        if let Some(observed) = &self.running.observed
            && !plan(observed, &config).is_empty()
        {
            debug!("HAProxy has something else than its files say; it is asked again");
            self.running.observed = None;
        }
        self.running.config = Arc::new(config);
        self.running.rests = Rests::default();
        self.running.astray = false;
        self.running.may_have_old = true;
        self.files.due = None;
    }
}

/// Servers of a new worker that asks for their health and was not told that they are well.
fn unproven(before: &Observed, config: &Config) -> Vec<Command> {
    let was_up = |name: &str| {
        before
            .servers
            .values()
            .filter_map(|it| it.get(name))
            .any(|it| it.up && it.admin == Admin::Ready)
    };
    let asked = config.backends.iter().filter(|(_, backend)| backend.shape.probe == Probe::Http);
    let servers =
        asked.flat_map(|(name, backend)| backend.servers.iter().map(move |it| (name, it)));
    let unproven = servers
        .filter(|(_, it)| it.watch.is_checked() && it.admin == Admin::Ready && !was_up(&it.name));
    let down = |(backend, it): (&String, &Server)| Command::SetHealth {
        backend: backend.clone(),
        name: it.name.clone(),
        health: Health::None,
    };
    unproven.map(down).collect()
}
