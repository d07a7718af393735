//! The dispatcher: reads the handler files, starts a task for each handler, and sends each handler the messages that
//! it subscribes to.

use super::{
    Handler, HandlerContext,
    load::{self, LoadedHandlers},
    mailbox::{HandlerMessage, MailboxSender, create_mailbox},
    roster::{Roster, RosterSource},
    source::GlueSource,
    source_store::{SourceStore, list_sources},
    stats::HandlerStats,
};
use crate::{
    model::{container::ContainerId, source_name::SourceName},
    settings::{GlueSettings, RunMode},
    sources::{
        ContainerEvent, ContainerMap, ContainerUpdate,
        certificate::{self, CertificateLists, ListFile},
    },
    support::{
        backoff::Backoff,
        format::format_plural,
        supervise::{self, fault, supervise},
        systemd::{self, Watchdog},
    },
};
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt as _, stream::SelectAll};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tracing::{error, info, warn};

/// How long handlers may take to finish their work when docker-glue stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The greatest number of events that are kept for handlers before the first list of all containers.
const MAX_EARLY_EVENTS: usize = 10_000;

/// Follows all sources until `stop` resolves. A message on `hangups` makes it read the handler files again.
///
/// # Errors
/// None at present: a failure to connect is retried.
pub async fn run_until_stopped(
    settings: GlueSettings,
    stop: impl Future<Output = ()>,
    mut hangups: mpsc::Receiver<()>,
) -> Result<()> {
    let (after, mut none_triggers) = mpsc::channel(1);
    let mut agent = Dispatcher::new(settings, RunMode::Watch, after);
    agent.load_handlers();
    if agent.running.is_empty() {
        warn!("no handlers configured; send SIGHUP to reload the files");
    }
    let mut follower = JoinSet::new();
    let mut store = SourceStore::open(&agent.settings, &mut agent.roster);
    let follow = |source: &GlueSource| {
        source.follow(agent.roster.known(source.name()).cloned(), &mut follower)
    };
    let (mut updates, _registrations): (SelectAll<_>, Vec<_>) =
        agent.sources.iter().map(follow).unzip();
    agent.on_time();
    let list_files = agent.list_files.subscribe();
    let (list_sender, mut lists) = watch::channel(Arc::default());
    follower.spawn(supervise("lists of certificates", move || {
        certificate::follow_lists(list_files.clone(), list_sender.clone())
    }));
    systemd::notify_ready(&agent.status_text());
    let mut watchdog = Watchdog::from_env();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = watchdog.ping() => {}
            Some((source, update)) = updates.next() => {
                agent.on_update(&source, update);
                store.update(&source, &agent.roster);
            }
            () = sleep_until_set(agent.roster.wake_at()) => agent.on_time(),
            Some(()) = none_triggers.recv() => agent.send_none_event(),
            Ok(()) = lists.changed() => {
                let lists = Arc::clone(&lists.borrow_and_update());
                agent.on_certificates(&lists);
            }
            Some(()) = hangups.recv() => agent.reload_handlers(),
            Some(ended) = agent.tasks.join_next_with_id() => agent.restart_ended(&ended),
        }
    }
    agent.shut_down().await;
    store.finish().await;
    info!("stopped");
    Ok(())
}

async fn sleep_until_set(when: Option<std::time::Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}

/// Docker did not answer.
#[derive(Debug, thiserror::Error)]
#[error("no handlers were run")]
pub struct NothingRunError;

/// Runs each handler once for the existing containers.
///
/// # Errors
/// If a source does not answer of which nothing is stored, or a handler failed. Failures of handlers are already logged.
pub async fn run_once(settings: GlueSettings) -> Result<()> {
    let sources = list_sources(&settings).await.context(NothingRunError)?;
    let (after, _nones) = mpsc::channel(1);
    let mut agent = Dispatcher::new(settings, RunMode::Once, after);
    let errors = agent.load_handlers();
    let list_files = agent.list_files.borrow().clone();
    agent.on_certificates(&certificate::read_lists(list_files).await);
    for (source, containers) in sources {
        agent.on_update(&source, ContainerUpdate::Changed(containers));
    }
    let all_stats: Vec<_> =
        agent.running.values().map(|master| Arc::clone(&master.stats)).collect();
    // A handler ends when its mailbox is closed.
    agent.running.clear();
    let mut panics = false;
    while let Some(ended) = agent.tasks.join_next_with_id().await {
        panics |= has_panicked(&ended);
    }
    if errors != 0 || panics || !all_stats.iter().all(|stats| stats.all_succeeded()) {
        bail!("some handlers failed");
    }
    Ok(())
}

struct Dispatcher {
    settings: Arc<GlueSettings>,
    sources: Arc<[GlueSource]>,
    command: RunMode,
    roster: Roster,
    containers: watch::Sender<Arc<ContainerMap>>,
    leaving: watch::Sender<Arc<BTreeSet<ContainerId>>>,
    /// The lists of certificates to follow.
    list_files: watch::Sender<BTreeSet<ListFile>>,
    certificates: watch::Sender<Arc<CertificateLists>>,
    /// Whether the first lists of containers have arrived. Handlers get no messages before that.
    is_synced: bool,
    /// Events before that, of sources that have sent their list.
    early_events: Vec<Arc<ContainerEvent>>,
    running: BTreeMap<PathBuf, RunningHandler>,
    tasks: JoinSet<()>,
    after: mpsc::Sender<()>,
}

/// A handler whose task is running.
struct RunningHandler {
    handler: Handler,
    /// The text of its file, to detect a change.
    text: String,
    sender: MailboxSender,
    stats: Arc<HandlerStats>,
    task: AbortHandle,
    started_at: Instant,
    backoff: Backoff,
}

impl Dispatcher {
    fn new(settings: GlueSettings, command: RunMode, after: mpsc::Sender<()>) -> Self {
        let sources = settings.sources.iter().map(|source| RosterSource {
            name: source.name().clone(),
            is_engine: source.is_engine(),
            forget: source.forget,
        });
        Self {
            sources: GlueSource::all_of(&settings),
            roster: Roster::new(sources, now()),
            settings: Arc::new(settings),
            command,
            containers: watch::Sender::default(),
            leaving: watch::Sender::default(),
            list_files: watch::Sender::default(),
            certificates: watch::Sender::default(),
            is_synced: false,
            early_events: Vec::new(),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            after,
        }
    }

    /// Reads the handler files. Handlers whose file has not changed keep running. Returns how many files have errors.
    fn load_handlers(&mut self) -> usize {
        let LoadedHandlers {
            handlers,
            errors: mistakes,
            notes,
            disabled,
            no_files_reason: nothing,
        } = load::load_handlers(&self.settings);
        for note in notes {
            warn!("{note}");
        }
        if let Some(nothing) = nothing {
            warn!("{nothing}");
        }
        for error in &mistakes {
            error!("{error}; handler ignored");
        }
        for file in &disabled {
            info!("handler disabled by enabled=0: {}", file.display());
        }
        let mut before = std::mem::take(&mut self.running);
        for (handler, text) in handlers {
            let same = before.get(&handler.file).is_some_and(|master| master.text == text);
            let kept = if same { before.remove(&handler.file) } else { None };
            let running = kept.unwrap_or_else(|| {
                let tally = Arc::new(HandlerStats::new(&handler.name));
                info!(handler = handler.name, "started");
                self.start_handler(handler, text, tally, (Duration::ZERO, supervise::new_backoff()))
            });
            self.running.insert(running.handler.file.clone(), running);
        }
        for removed in before.into_values() {
            info!(handler = removed.handler.name, "stopped: {}", removed.stats);
            abort_after_timeout(removed.task);
        }
        self.update_list_files();
        mistakes.len()
    }

    /// Follows the list of docker-balancer, and those of the balancers among the handlers.
    fn update_list_files(&self) {
        let handlers = self.running.values().filter_map(|master| master.handler.certificate_list());
        let own = self.settings.certificate_list.clone();
        let files: BTreeSet<_> = std::iter::once(own).chain(handlers).collect();
        self.list_files.send_if_modified(|current| {
            let differs = *current != files;
            *current = files;
            differs
        });
    }

    /// Reads the handler files again. Handlers whose file has not changed keep running, and those that handle all
    /// containers are triggered again.
    fn reload_handlers(&mut self) {
        info!("reloading the handler files");
        self.running.values_mut().for_each(RunningHandler::send_changed);
        self.load_handlers();
        systemd::notify_ready(&self.status_text());
    }

    /// Starts the task of a handler after a pause. Messages that arrive before wait in its mailbox.
    fn start_handler(
        &mut self,
        handler: Handler,
        text: String,
        tally: Arc<HandlerStats>,
        (pause, backoff): (Duration, Backoff),
    ) -> RunningHandler {
        let (letters, mailbox) = create_mailbox(Arc::clone(&tally));
        let work = HandlerContext {
            handler: handler.clone(),
            command: self.command,
            mailbox,
            containers: self.containers.subscribe(),
            leaving: self.leaving.subscribe(),
            certificates: self.certificates.subscribe(),
            sources: Arc::clone(&self.sources),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&tally),
            none_trigger: handler.triggers_none.then(|| self.after.clone()),
        };
        let name = handler.name.clone();
        let task = self.tasks.spawn(async move {
            sleep(pause).await;
            Box::pin(fault::inject(&name, Handler::run(work))).await;
        });
        let since = Instant::now() + pause;
        let mut running = RunningHandler {
            handler,
            text,
            sender: letters,
            stats: tally,
            task,
            started_at: since,
            backoff,
        };
        if self.is_synced {
            running.send_initial(self.roster.containers(), &self.certificates.borrow());
        }
        running
    }

    /// Restarts a handler whose task ended by itself. A handler that was stopped is no longer in `running`.
    fn restart_ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let outcome = if has_panicked(ended) { "panicked" } else { "ended" };
        let Some(file) = self.running.iter().find(|(_, master)| master.task.id() == id) else {
            return;
        };
        let file = file.0.clone();
        let Some(running) = self.running.remove(&file) else { return };
        let RunningHandler { handler, text, stats: tally, started_at: since, mut backoff, .. } =
            running;
        let failures = tally.record_failure();
        let pause = backoff.pause_after(since.elapsed());
        error!(
            handler = handler.name,
            failures,
            "the handler {outcome} because of a bug in docker-glue; its pending events are lost; \
             restarting in {pause:?}"
        );
        let running = self.start_handler(handler, text, tally, (pause, backoff));
        self.running.insert(file, running);
    }

    fn on_update(&mut self, source: &SourceName, update: ContainerUpdate) {
        match update {
            ContainerUpdate::Changed(containers) => {
                self.roster.take_over(source, containers);
                self.send_changed();
            }
            ContainerUpdate::Stopping(ids) => {
                self.roster.set_stopping(source, ids);
                self.leaving.send_replace(self.roster.stopping());
                let publishers = self.running.values_mut();
                publishers
                    .filter(|master| master.handler.is_publisher())
                    .for_each(RunningHandler::send_changed);
            }
            ContainerUpdate::Event(event, containers) => {
                self.roster.take_over(source, containers);
                let is_admitted = self.roster.admits_event(&event);
                if self.is_synced {
                    self.publish_containers();
                }
                if is_admitted && self.is_synced {
                    self.running.values_mut().for_each(|master| master.send_event(&event));
                } else if is_admitted && self.early_events.len() < MAX_EARLY_EVENTS {
                    self.early_events.push(event);
                }
            }
            ContainerUpdate::Answering(is_answering) => {
                self.roster.set_answering(source, is_answering);
                self.on_time();
            }
        }
    }

    /// Forgets containers of sources that have not answered for too long, and stops waiting for first lists.
    fn on_time(&mut self) {
        let forgotten = self.roster.forget_silent(now());
        for (source, count) in &forgotten {
            let containers = format_plural(*count, "container");
            warn!("{source} has not answered for too long; forgetting {containers}");
        }
        if !forgotten.is_empty() || !self.is_synced {
            self.send_changed();
        }
    }

    /// Sends all containers to the handlers, once they are known.
    fn send_changed(&mut self) {
        if !self.roster.complete(now()) {
            return;
        }
        self.publish_containers();
        if self.is_synced {
            return self.running.values_mut().for_each(RunningHandler::send_changed);
        }
        self.is_synced = true;
        let containers = Arc::clone(self.roster.containers());
        info!("watching {}", describe_sources(&self.sources, containers.len()));
        let certificates = self.certificates.borrow();
        let early_events = std::mem::take(&mut self.early_events);
        for running in self.running.values_mut() {
            running.send_initial(&containers, &certificates);
            // The others start with all containers.
            if !running.handler.at_start && !running.handler.handles_all_containers() {
                for event in &early_events {
                    running.send_event(event);
                }
            }
        }
    }

    fn publish_containers(&self) {
        self.containers.send_replace(Arc::clone(self.roster.containers()));
    }

    /// Takes over lists of certificates. Before the first list of containers, handlers get no messages.
    fn on_certificates(&mut self, lists: &Arc<CertificateLists>) {
        self.certificates.send_replace(Arc::clone(lists));
        if self.is_synced {
            self.running.values_mut().for_each(|master| master.send_certificates(lists));
        }
    }

    fn send_none_event(&mut self) {
        let subscribers = self.running.values_mut().filter(|master| master.handler.events.none);
        subscribers.for_each(|master| master.sender.send(HandlerMessage::NoneEvent));
    }

    async fn shut_down(mut self) {
        let all_stats: Vec<_> =
            self.running.values().map(|master| Arc::clone(&master.stats)).collect();
        let tasks: Vec<_> = self.running.values().map(|master| master.task.clone()).collect();
        self.running.clear();
        let until = Instant::now() + STOP_TIMEOUT;
        while let Ok(Some(ended)) = timeout_at(until, self.tasks.join_next_with_id()).await {
            has_panicked(&ended);
        }
        for (task, tally) in tasks.iter().zip(&all_stats) {
            if !task.is_finished() {
                warn!(handler = tally.name(), "did not stop within {}s", STOP_TIMEOUT.as_secs());
            }
            info!(handler = tally.name(), "{tally}");
        }
        self.tasks.shutdown().await;
    }

    fn status_text(&self) -> String {
        format!("{} handlers", self.running.len())
    }
}

/// Completes "watching ".
fn describe_sources(sources: &[GlueSource], count: usize) -> String {
    let are_engines = sources.iter().all(|source| source.settings.is_engine());
    match sources {
        [_] if are_engines => format!("Docker, which has {count} containers"),
        [only] => format!("{}, which has {count} containers", only.settings.engine.url()),
        several if are_engines => {
            let engines = several.len();
            format!("Docker at {engines} engines, which have {count} containers")
        }
        several => format!("{} sources, which have {count} containers", several.len()),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Aborts a removed handler that is still running after the same time limit as at a stop.
fn abort_after_timeout(task: AbortHandle) {
    tokio::spawn(async move {
        tokio::time::sleep(STOP_TIMEOUT).await;
        task.abort();
    });
}

/// Returns whether the task panicked. The panic was logged when it happened.
fn has_panicked(ended: &Result<(Id, ()), JoinError>) -> bool {
    ended.as_ref().is_err_and(JoinError::is_panic)
}

impl RunningHandler {
    /// Sends the state at the start.
    fn send_initial(&mut self, roster: &Arc<ContainerMap>, certificates: &Arc<CertificateLists>) {
        if self.handler.at_start {
            self.sender.send(HandlerMessage::InitialContainers(Arc::clone(roster)));
        }
        self.send_certificates(certificates);
        if self.handler.events.none || self.handler.handles_all_containers() {
            self.sender.send(HandlerMessage::NoneEvent);
        }
    }

    fn send_changed(&mut self) {
        if self.handler.handles_all_containers() {
            self.sender.send(HandlerMessage::ContainersChanged);
        }
    }

    fn send_certificates(&mut self, lists: &Arc<CertificateLists>) {
        if self.handler.events.includes_certificates() {
            self.sender.send(HandlerMessage::CertificatesChanged(Arc::clone(lists)));
        }
    }

    fn send_event(&mut self, happened: &Arc<ContainerEvent>) {
        if self.handler.events.matches(&happened.action) {
            self.sender.send(HandlerMessage::Event(Arc::clone(happened)));
        }
    }
}
