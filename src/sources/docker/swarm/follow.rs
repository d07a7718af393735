//! Follows the managers of a Swarm forever, for all consumers that are registered with its source.
//!
//! The loop is thin: `Pace` decides what to ask and when, `SwarmCache` keeps what was answered. One question is under way
//! at a time. A manager that fails is replaced by the next one. What is known stays as it is until one answers.

use super::{
    super::{connect::EngineSettings, engine::Engine, follow::DisconnectGuard},
    cache::{Ids, SwarmCache},
    pace::{Findings, Pace, Query},
    query::{Answer, EventSubject, ManagerEvent, NotManagerError, manager_settings},
};
use crate::{
    model::world::World,
    sources::{
        filter::ContainerFilter,
        snapshot::EventCause,
        source::{ConsumerId, Consumers, Source},
    },
    support::{
        backoff::Backoff,
        outage::{FailureReport, Outage},
    },
};
use anyhow::{Context as _, Result, anyhow};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// The pauses between connections.
const CONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Serves all consumers that are registered with the source; never returns. An outage of all managers is logged once.
pub async fn follow(settings: &EngineSettings, source: &Source) {
    let _disconnect = DisconnectGuard(source);
    let managers = manager_settings(settings);
    let mut follower = Follower::new(source);
    let mut backoff = Backoff::new(CONNECT_BACKOFF);
    let mut failures = Vec::new();
    for manager in managers.iter().cycle() {
        follower.wait_for_consumers().await;
        let begun = Instant::now();
        let error = follower.follow_manager(manager).await;
        tracing::debug!("{error:#}; asking the next manager");
        if std::mem::take(&mut follower.has_answered) {
            failures.clear();
        }
        failures.push(error);
        if managers.len() <= failures.len() {
            follower.report_outage(&failures);
            failures.clear();
        }
        sleep(backoff.pause_after(begun.elapsed())).await;
    }
}

/// Returns the current world, as the first manager that answers has it.
///
/// # Errors
/// If none answers, the error of the last one.
pub async fn list_once(settings: &EngineSettings, filter: &ContainerFilter) -> Result<World> {
    let mut last = anyhow!("{} names no manager", settings.url());
    for manager in manager_settings(settings) {
        match list_at(&manager).await {
            Ok(cache) => return Ok(cache.build_world(filter, None)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn list_at(manager: &EngineSettings) -> Result<SwarmCache> {
    let engine = Engine::connect(manager).await?;
    let mut cache = SwarmCache::default();
    apply(&mut cache, engine.ask_manager(Query::Everything, Ids::new()).await?);
    Ok(cache)
}

fn apply(cache: &mut SwarmCache, answer: Answer) {
    match answer {
        Answer::Everything(answer) => cache.apply_everything(answer),
        Answer::Services(requested, answer) => cache.apply_part(&requested, answer),
        Answer::Nodes(nodes) => cache.apply_nodes(nodes),
    }
}

/// State that survives a connection.
struct Follower<'a> {
    source: &'a Source,
    changes: watch::Receiver<Consumers>,
    consumers: Consumers,
    cache: SwarmCache,
    pace: Pace,
    /// What each consumer has got last.
    worlds: BTreeMap<ConsumerId, Arc<World>>,
    /// The event since the last answer that may have caused the next change.
    cause: Option<EventCause>,
    outage: Outage,
    /// Whether the manager has answered since the connection began.
    has_answered: bool,
}

/// A question that is under way.
struct Question {
    query: Query,
    sent_at: Instant,
    answer: BoxFuture<'static, Result<Answer>>,
}

enum Input {
    Event(Result<ManagerEvent>),
    Answer(Result<Answer>),
    Consumers,
    Hints,
    Tick,
}

impl<'a> Follower<'a> {
    fn new(source: &'a Source) -> Self {
        Self {
            source,
            changes: source.consumers(),
            consumers: Consumers::default(),
            cache: SwarmCache::default(),
            pace: Pace::new(now()),
            worlds: BTreeMap::new(),
            cause: None,
            outage: Outage::inactive(),
            has_answered: false,
        }
    }

    async fn wait_for_consumers(&mut self) {
        self.update_consumers();
        while self.consumers.is_empty() {
            // The source owns the sender and outlives this follower.
            let _ = self.changes.changed().await;
            self.update_consumers();
        }
    }

    /// Follows one manager until it fails. Returns why.
    async fn follow_manager(&mut self, manager: &EngineSettings) -> anyhow::Error {
        let engine = match Engine::connect(manager).await {
            Ok(engine) => engine,
            Err(error) => return error,
        };
        let mut events = engine.subscribe_swarm_events().boxed();
        let mut hints = self.source.hints();
        let mut question: Option<Question> = None;
        self.pace.on_connect(now());
        loop {
            // The first poll of the events sends the subscription, before anything is asked.
            let input = match events.next().now_or_never() {
                Some(event) => Input::Event(event_or_end(event)),
                None => self.next_input(&engine, &mut events, &mut hints, &mut question).await,
            };
            if let Err(error) = self.handle_input(input, &mut question) {
                return error;
            }
        }
    }

    async fn next_input(
        &mut self,
        engine: &Engine,
        events: &mut BoxStream<'static, Result<ManagerEvent>>,
        hints: &mut watch::Receiver<Ids>,
        question: &mut Option<Question>,
    ) -> Input {
        if question.is_none() {
            *question = self.next_question(engine);
        }
        let wake = question.is_none().then(|| Instant::from_std(self.pace.wake_at()));
        tokio::select! {
            biased;
            event = events.next() => Input::Event(event_or_end(event)),
            answer = finish(question) => Input::Answer(answer),
            Ok(()) = self.changes.changed() => Input::Consumers,
            Ok(()) = hints.changed() => Input::Hints,
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Input::Tick,
        }
    }

    fn next_question(&self, engine: &Engine) -> Option<Question> {
        let query = self.pace.next_query(now())?;
        let unlisted = match &query {
            Query::Everything => self.cache.unlisted_tasks(|_| true),
            Query::Services(ids) => self.cache.unlisted_tasks(|id| ids.contains(id)),
            Query::Nodes => Ids::new(),
        };
        let (engine, asked) = (engine.clone(), query.clone());
        let answer = async move { engine.ask_manager(asked, unlisted).await }.boxed();
        Some(Question { query, sent_at: Instant::now(), answer })
    }

    fn handle_input(&mut self, input: Input, question: &mut Option<Question>) -> Result<()> {
        match input {
            Input::Event(event) => self.on_event(event?),
            Input::Answer(answer) => {
                if let Some(Question { query, sent_at, .. }) = question.take() {
                    self.on_answer(&query, sent_at, answer?);
                }
            }
            Input::Consumers => {
                self.update_consumers();
                self.publish();
            }
            Input::Hints => self.on_hints(),
            Input::Tick => {}
        }
        Ok(())
    }

    fn on_event(&mut self, event: ManagerEvent) {
        self.record_beat();
        let ManagerEvent { subject, action, name, time_nano } = event;
        let what = match &subject {
            EventSubject::Service(service) => {
                self.pace.mark_busy(service, now());
                "service"
            }
            EventSubject::Node(node) => {
                self.pace.request_nodes(now());
                for service in self.cache.services_on(node) {
                    self.pace.mark_busy(&service, now());
                }
                "node"
            }
        };
        if action == "remove" {
            self.pace.request_everything(now());
        }
        let action = format!("{what} {action}");
        let cause = EventCause { action, name, time_nano, received_at: Some(now()) };
        self.cause = Some(cause.merge_cause(self.cause.as_ref()));
    }

    /// HAProxy has lost servers: something has happened to their tasks, and a manager will know soon.
    fn on_hints(&mut self) {
        for task in self.source.take_hints() {
            if let Some(service) = self.cache.service_of(&task) {
                self.pace.mark_busy(service, now());
            }
        }
    }

    fn on_answer(&mut self, query: &Query, sent_at: Instant, answer: Answer) {
        self.record_beat();
        self.has_answered = true;
        if let Some(away) = self.outage.finish(now()) {
            tracing::info!("connected to a manager of the Swarm again after {}s", away.as_secs());
        }
        apply(&mut self.cache, answer);
        let findings = Findings {
            settled: self.cache.settled_services(),
            updating: self.cache.updating_services(),
            all: self.cache.services(),
        };
        self.pace.on_answer(query, sent_at.elapsed(), &findings, now());
        self.publish();
    }

    fn update_consumers(&mut self) {
        self.consumers = self.changes.borrow_and_update().clone();
        let snapshots = &self.consumers.snapshots;
        self.worlds.retain(|id, _| snapshots.contains_key(id));
    }

    fn record_beat(&self) {
        let readers = self.consumers.snapshots.values();
        readers.for_each(|reader| reader.config.heartbeat.record_beat());
    }

    /// Publishes the containers to each consumer that has others, or that has heard of an outage.
    fn publish(&mut self) {
        if !self.cache.is_complete() {
            return;
        }
        let cause = self.cause.take();
        for (id, consumer) in &self.consumers.snapshots {
            let before = self.worlds.get(id);
            let world = self.cache.build_world(&consumer.config.filter, before.map(AsRef::as_ref));
            let is_same = before.is_some_and(|before| **before == world);
            let world = match before {
                Some(before) if is_same => Arc::clone(before),
                _ => Arc::new(world),
            };
            self.worlds.insert(*id, Arc::clone(&world));
            consumer.updates.send_if_modified(|snapshot| {
                let is_known = is_same && snapshot.connected && snapshot.world.is_some();
                if is_known {
                    return false;
                }
                if let Some(moment) = cause.as_ref().and_then(|cause| cause.received_at) {
                    snapshot.event_times.push_time(moment);
                }
                snapshot.is_not_manager = false;
                (snapshot.world, snapshot.connected) = (Some(world), true);
                snapshot.cause.clone_from(&cause);
                true
            });
        }
    }

    /// Reports that none of the managers answers. `failures` has one error of each.
    fn report_outage(&mut self, failures: &[anyhow::Error]) {
        let is_not_manager = failures.iter().all(anyhow::Error::is::<NotManagerError>);
        if let Some(error) = failures.last()
            && self.outage.record_failure(now()).0 == FailureReport::First
        {
            tracing::warn!("no manager of the Swarm answers: {error:#}; retrying");
        }
        for consumer in self.consumers.snapshots.values() {
            consumer.updates.send_if_modified(|snapshot| {
                let was = (snapshot.connected, snapshot.is_not_manager);
                (snapshot.connected, snapshot.is_not_manager) = (false, is_not_manager);
                was != (false, is_not_manager)
            });
        }
    }
}

/// Waits for the answer; forever if nothing was asked.
async fn finish(question: &mut Option<Question>) -> Result<Answer> {
    match question {
        Some(question) => question.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

fn event_or_end(event: Option<Result<ManagerEvent>>) -> Result<ManagerEvent> {
    event.context("the manager closed the event stream")?
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
