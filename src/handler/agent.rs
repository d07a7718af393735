//! Reads the handlers' files, gives each a task, and hands everybody the letters that they want.

use super::{
    Handler, Work,
    load::{self, Found},
    mailbox::{Letter, Sender, mailbox},
    tally::Tally,
};
use crate::{
    backoff::Backoff,
    container::ContainerId,
    docker::{self, Access, Bookmark, Happened, News, Roster},
    settings::{Command, GlueSettings},
    supervise::{self, fault, supervise},
    systemd::{self, Watchdog},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout_at},
};
use tracing::{error, info, warn};

/// How long handlers may take to end what they have begun when they are to stop.
const STOP: Duration = Duration::from_secs(10);

/// Follows Docker until it is told to stop; `hangups` has the files read anew.
///
/// # Errors
/// There is nothing to do at all.
pub async fn follow(
    settings: GlueSettings,
    access: Access,
    stop: impl Future<Output = ()>,
    mut hangups: mpsc::Receiver<()>,
) -> Result<()> {
    let (tell, mut news) = mpsc::channel(1024);
    let (after, mut nones) = mpsc::channel(1);
    let mut agent = Agent::new(settings, access.clone(), Command::Watch, after);
    agent.load();
    if agent.running.is_empty() {
        warn!("no handler is there; SIGHUP has the files read anew");
    }
    let mut eyes = JoinSet::new();
    let bookmark = Bookmark::default();
    eyes.spawn(supervise("Docker follower", move || {
        let (access, tell, bookmark) = (access.clone(), tell.clone(), bookmark.clone());
        async move { docker::follow(&access, &tell, &bookmark).await }
    }));
    systemd::ready(&agent.status());
    let mut watchdog = Watchdog::of_service_manager();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = watchdog.pat() => {}
            Some(it) = news.recv() => agent.hear(it),
            Some(()) = nones.recv() => agent.none(),
            Some(()) = hangups.recv() => agent.reload(),
            Some(ended) = agent.tasks.join_next_with_id() => agent.restart_ended(&ended),
        }
    }
    agent.stop().await;
    info!("stopped");
    Ok(())
}

/// Docker did not answer.
#[derive(Debug, thiserror::Error)]
#[error("nothing was run")]
pub struct Unreachable;

/// Runs each handler once, for the containers that there are.
///
/// # Errors
/// Docker does not answer, or something went wrong in a handler: it has been said.
pub async fn once(settings: GlueSettings, access: Access) -> Result<()> {
    let roster = docker::take_roll(&access).await.context(Unreachable)?;
    let (after, _nones) = mpsc::channel(1);
    let mut agent = Agent::new(settings, access, Command::Once, after);
    let mistakes = agent.load();
    agent.hear(News::Changed(roster));
    let tallies: Vec<_> = agent.running.values().map(|it| Arc::clone(&it.tally)).collect();
    // A handler that is told no more ends.
    agent.running.clear();
    let mut panics = false;
    while let Some(ended) = agent.tasks.join_next_with_id().await {
        panics |= has_panicked(&ended);
    }
    if mistakes != 0 || panics || !tallies.iter().all(|it| it.is_clean()) {
        bail!("not everything went well");
    }
    Ok(())
}

struct Agent {
    settings: Arc<GlueSettings>,
    access: Access,
    command: Command,
    roster: watch::Sender<Arc<Roster>>,
    leaving: watch::Sender<Arc<BTreeSet<ContainerId>>>,
    /// Nothing is told before the first roster.
    known: bool,
    running: BTreeMap<PathBuf, Running>,
    tasks: JoinSet<()>,
    after: mpsc::Sender<()>,
}

/// A handler at work.
struct Running {
    handler: Handler,
    /// Of its file, to know whether it is another one.
    text: String,
    letters: Sender,
    tally: Arc<Tally>,
    task: AbortHandle,
    since: Instant,
    backoff: Backoff,
}

impl Agent {
    fn new(
        settings: GlueSettings,
        access: Access,
        command: Command,
        after: mpsc::Sender<()>,
    ) -> Self {
        Self {
            settings: Arc::new(settings),
            access,
            command,
            roster: watch::Sender::default(),
            leaving: watch::Sender::default(),
            known: false,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            after,
        }
    }

    /// Reads the files: what is the same runs on. Returns how many have mistakes.
    fn load(&mut self) -> usize {
        let Found { handlers, mistakes, notes, disabled, nothing } = load::load(&self.settings);
        for note in notes {
            warn!("{note}");
        }
        if let Some(nothing) = nothing {
            warn!("{nothing}");
        }
        for mistake in &mistakes {
            error!("{mistake}; this handler is left out");
        }
        for file in &disabled {
            info!("{} says enabled=0", file.display());
        }
        let mut before = std::mem::take(&mut self.running);
        for (handler, text) in handlers {
            let same = before.get(&handler.file).is_some_and(|it| it.text == text);
            let kept = if same { before.remove(&handler.file) } else { None };
            let running = kept.unwrap_or_else(|| {
                let tally = Arc::new(Tally::new(&handler.name));
                info!(handler = handler.name, "started");
                self.start(handler, text, tally, (Duration::ZERO, supervise::backoff()))
            });
            self.running.insert(running.handler.file.clone(), running);
        }
        for gone in before.into_values() {
            info!(handler = gone.handler.name, "stopped: {}", gone.tally);
            end_in_time(gone.task);
        }
        mistakes.len()
    }

    /// What is the same runs on, and does anew what it does of all containers.
    fn reload(&mut self) {
        info!("reading the handlers' files anew");
        self.running.values_mut().for_each(Running::changed);
        self.load();
        systemd::ready(&self.status());
    }

    /// Its task begins after a pause; what happens meanwhile waits for it.
    fn start(
        &mut self,
        handler: Handler,
        text: String,
        tally: Arc<Tally>,
        (pause, backoff): (Duration, Backoff),
    ) -> Running {
        let (letters, mailbox) = mailbox(Arc::clone(&tally));
        let work = Work {
            handler: handler.clone(),
            command: self.command,
            mailbox,
            roster: self.roster.subscribe(),
            leaving: self.leaving.subscribe(),
            access: self.access.clone(),
            settings: Arc::clone(&self.settings),
            tally: Arc::clone(&tally),
            after: handler.triggers_none.then(|| self.after.clone()),
        };
        let name = handler.name.clone();
        let task = self.tasks.spawn(async move {
            sleep(pause).await;
            Box::pin(fault::inject(&name, Handler::run(work))).await;
        });
        let since = Instant::now() + pause;
        let mut running = Running { handler, text, letters, tally, task, since, backoff };
        if self.known {
            running.begin(&self.roster.borrow());
        }
        running
    }

    /// One that ended although it is to run starts again; those that were stopped have ended well.
    fn restart_ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let outcome = if has_panicked(ended) { "panicked" } else { "ended" };
        let Some(file) = self.running.iter().find(|(_, it)| it.task.id() == id) else { return };
        let file = file.0.clone();
        let Some(running) = self.running.remove(&file) else { return };
        let Running { handler, text, tally, since, mut backoff, .. } = running;
        let failures = tally.fail();
        let pause = backoff.pause_after(since.elapsed());
        error!(
            handler = handler.name,
            failures,
            "the handler {outcome}, which is a defect of docker-glue; what waited for it is lost, \
             starting it again in {pause:?}"
        );
        let running = self.start(handler, text, tally, (pause, backoff));
        self.running.insert(file, running);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Changed(roster) => {
                let first = !std::mem::replace(&mut self.known, true);
                if first {
                    info!("follows docker, which has {} containers", roster.len());
                }
                self.roster.send_replace(Arc::clone(&roster));
                for running in self.running.values_mut() {
                    if first { running.begin(&roster) } else { running.changed() }
                }
            }
            News::Leaving(ids) => {
                self.leaving.send_replace(ids);
                let publishers = self.running.values_mut();
                publishers.filter(|it| it.handler.is_publisher()).for_each(Running::changed);
            }
            News::Happened(happened, roster) => {
                self.roster.send_replace(roster);
                self.running.values_mut().for_each(|it| it.happened(&happened));
            }
        }
    }

    fn none(&mut self) {
        let wanting = self.running.values_mut().filter(|it| it.handler.wanted.none);
        wanting.for_each(|it| it.letters.send(Letter::None));
    }

    async fn stop(mut self) {
        let tallies: Vec<_> = self.running.values().map(|it| Arc::clone(&it.tally)).collect();
        let tasks: Vec<_> = self.running.values().map(|it| it.task.clone()).collect();
        self.running.clear();
        let until = Instant::now() + STOP;
        while let Ok(Some(ended)) = timeout_at(until, self.tasks.join_next_with_id()).await {
            has_panicked(&ended);
        }
        for (task, tally) in tasks.iter().zip(&tallies) {
            if !task.is_finished() {
                warn!(handler = tally.name(), "did not end within {}s", STOP.as_secs());
            }
            info!(handler = tally.name(), "{tally}");
        }
        self.tasks.shutdown().await;
    }

    fn status(&self) -> String {
        format!("{} handlers", self.running.len())
    }
}

/// One that has nothing more to be told has as long for what it was told as when all stop.
fn end_in_time(task: AbortHandle) {
    tokio::spawn(async move {
        tokio::time::sleep(STOP).await;
        task.abort();
    });
}

/// Its panic was logged as it happened.
fn has_panicked(ended: &Result<(Id, ()), JoinError>) -> bool {
    ended.as_ref().is_err_and(JoinError::is_panic)
}

impl Running {
    /// What there is at the start.
    fn begin(&mut self, roster: &Arc<Roster>) {
        if self.handler.at_start {
            self.letters.send(Letter::Begin(Arc::clone(roster)));
        }
        if self.handler.wanted.none || self.handler.begins_by_itself() {
            self.letters.send(Letter::None);
        }
    }

    fn changed(&mut self) {
        if self.handler.begins_by_itself() {
            self.letters.send(Letter::Changed);
        }
    }

    fn happened(&mut self, happened: &Arc<Happened>) {
        if self.handler.wanted.has(&happened.action) {
            self.letters.send(Letter::Happened(Arc::clone(happened)));
        }
    }
}
