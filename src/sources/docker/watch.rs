//! Keeps a world current for ever.
//!
//! The loop is thin: it listens, asks, and hands everything to [`ContainerCache`], which decides. Subscribed
//! first and listed then, so that nothing falls between; listed anew at every connection and from
//! time to time, as the engine drops events of a slow listener without a word.

use super::{
    cache::{
        CacheQuery, CacheResponse, CacheSnapshot, CacheUpdate, ContainerCache, InspectOutcome,
    },
    connect::EngineSettings,
    engine::Engine,
    event::{Event, EventCause},
    filter::ContainerFilter,
    image_labels::ImageAnswer,
    lenient::LenientList,
    ping::Ping,
};
use crate::{
    model::{
        container::{ContainerId, ImageId},
        world::{MAX_NETWORK_HOPS, World},
    },
    support::outage::{FailureReport, Outage},
};
use anyhow::{Result, anyhow};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, pin_mut, stream::FuturesUnordered};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// What the watcher publishes. Of changes that come faster than they are read only the newest is
/// seen: it describes everything.
#[derive(Debug, Clone, Default)]
pub struct DockerSnapshot {
    /// `None` until the engine answered for the first time, which an empty world is not. It stays
    /// what it was while the engine is away.
    pub world: Option<Arc<World>>,
    /// The event behind this change; `None` where a list told it, or the connection changed.
    pub cause: Option<EventCause>,
    /// The engine answers. Not so at the start and during an outage.
    pub connected: bool,
    pub event_times: EventTimes,
}

/// When the events behind the changes were heard. Changes are overwritten by newer ones, these are not:
/// each reader remembers how far it has read.
#[derive(Debug, Clone, Default)]
pub struct EventTimes {
    newest: VecDeque<std::time::Instant>,
    /// How many there were before these.
    dropped: usize,
}

impl EventTimes {
    /// More than ever wait for one pass.
    const MAX_TIMES: usize = 256;

    /// Those after the first `read` ones, which are then read too.
    pub fn take_unread(&self, read: &mut usize) -> Vec<std::time::Instant> {
        let skip = read.saturating_sub(self.dropped);
        *read = self.dropped + self.newest.len();
        self.newest.iter().skip(skip).copied().collect()
    }

    fn push_time(&mut self, moment: std::time::Instant) {
        self.newest.push_back(moment);
        if Self::MAX_TIMES < self.newest.len() {
            self.newest.pop_front();
            self.dropped += 1;
        }
    }
}

/// What to watch for.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    pub filter: ContainerFilter,
    /// How often the whole list is asked for though no event asks for it.
    pub relist_interval: Duration,
    /// Further event actions (`exec_start`, `oom`, …) of interesting containers: each publishes the
    /// world that is known, with the event as its cause, and asks the engine nothing.
    pub extra_actions: Vec<String>,
    pub heartbeat: StreamHeartbeat,
}

/// When Docker was heard last: an event, or an answer to a question. A clone tells of the same Docker.
/// Docker is asked for its list every [`WatchConfig::relist_interval`], so an age far above that means that Docker is not
/// followed.
#[derive(Debug, Clone)]
pub struct StreamHeartbeat {
    started_at: std::time::Instant,
    /// Milliseconds after that.
    last_record_millis: Arc<AtomicU64>,
}

impl Default for StreamHeartbeat {
    fn default() -> Self {
        Self { started_at: Instant::now().into_std(), last_record_millis: Arc::default() }
    }
}

impl StreamHeartbeat {
    /// Since then; since the beginning where nothing was heard yet.
    pub fn age(&self) -> Duration {
        let received_at = Duration::from_millis(self.last_record_millis.load(Ordering::Relaxed));
        self.started_at.elapsed().saturating_sub(received_at)
    }

    fn record_beat(&self) {
        let millis = self.started_at.elapsed().as_millis();
        self.last_record_millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl WatchConfig {
    pub fn new(filter: ContainerFilter) -> Self {
        let (relist, extra_actions, heartbeat) =
            (Duration::from_secs(30), Vec::new(), StreamHeartbeat::default());
        Self { filter, relist_interval: relist, extra_actions, heartbeat }
    }
}

/// Publishes the world at every change, until nobody listens any more. An engine that is away is
/// told once and waited for without an end.
pub async fn watch(
    settings: &EngineSettings,
    config: &WatchConfig,
    updates: &watch::Sender<DockerSnapshot>,
) {
    let _disconnect = DisconnectGuard(updates);
    let now = Instant::now().into_std();
    let mut cache = ContainerCache::new(config.filter.clone(), config.relist_interval, now);
    let mut outage = Outage::inactive();
    loop {
        let end = tokio::select! {
            end = follow_connection(settings, config, &mut cache, &mut outage, updates) => end,
            () = updates.closed() => return,
        };
        let Err(error) = end else {
            tracing::debug!("docker's events went missing; subscribing anew");
            continue;
        };
        cache.on_disconnect();
        publish_update(&mut cache, updates);
        tokio::select! {
            () = back_off(&mut outage, &error) => {}
            () = updates.closed() => return,
        }
    }
}

/// Says that Docker is not connected when the watching ends, by a panic too. The world stays what it was.
struct DisconnectGuard<'a>(&'a watch::Sender<DockerSnapshot>);

impl Drop for DisconnectGuard<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|snapshot| std::mem::take(&mut snapshot.connected));
    }
}

/// Until the engine is tried again; the first time it is said that it is away.
pub(crate) async fn back_off(outage: &mut Outage, error: &anyhow::Error) {
    let pause = log_disconnected(outage, error);
    tokio::time::sleep(pause).await;
}

/// Returns how long to wait before the engine is tried again.
pub(crate) fn log_disconnected(outage: &mut Outage, error: &anyhow::Error) -> Duration {
    let (tell, pause) = outage.record_failure(Instant::now().into_std());
    match tell {
        FailureReport::First => {
            tracing::warn!("docker is away: {error:#}; trying again until it is back");
        }
        FailureReport::Repeat => tracing::debug!("docker is still away: {error:#}"),
    }
    pause
}

/// What an engine says in words that are not known here; the rest of its container counts.
pub(crate) fn log_parse_warning(warning: &str) {
    tracing::warn!("Docker says something that is not understood, and left out: {warning}");
}

/// The world as it is now.
pub async fn list_once(settings: &EngineSettings, filter: &ContainerFilter) -> Result<World> {
    let engine = Engine::connect(settings).await?;
    let now = Instant::now().into_std();
    let mut cache = ContainerCache::new(filter.clone(), Duration::from_hours(1), now);
    cache.on_connect(now);
    let mut requests = FuturesUnordered::new();
    dispatch_queries(&mut cache, &engine, filter, &mut requests);
    let mut world = Arc::default();
    while let Some(input) = requests.next().await {
        handle_input(&mut cache, input)?;
        dispatch_queries(&mut cache, &engine, filter, &mut requests);
        world = cache.take_update().map_or(world, |update| update.world);
    }
    Ok(Arc::unwrap_or_clone(world))
}

/// All that can happen during a connection.
enum WatchInput {
    Event(Result<Event>),
    Response(CacheQuery, Result<CacheResponse>),
    Inspected(ContainerId, InspectOutcome),
    Image(ImageId, Result<ImageAnswer>),
    Pinged(Result<()>),
    Tick,
}

impl WatchInput {
    /// Docker said something.
    fn is_from_docker(&self) -> bool {
        match self {
            Self::Event(event) => event.is_ok(),
            Self::Response(_, answer) => answer.is_ok(),
            Self::Inspected(_, received) => !matches!(received, InspectOutcome::Failed),
            Self::Image(_, answer) => answer.is_ok(),
            Self::Pinged(answer) => answer.is_ok(),
            Self::Tick => false,
        }
    }
}

type PendingRequests = FuturesUnordered<BoxFuture<'static, WatchInput>>;

/// One connection's life. It ends well when it turns out deaf, and with an error otherwise.
async fn follow_connection(
    settings: &EngineSettings,
    config: &WatchConfig,
    cache: &mut ContainerCache,
    outage: &mut Outage,
    updates: &watch::Sender<DockerSnapshot>,
) -> Result<()> {
    let engine = Engine::connect(settings).await?;
    let events = engine.subscribe_events(&config.extra_actions);
    pin_mut!(events);
    let mut requests = PendingRequests::new();
    cache.on_connect(Instant::now().into_std());
    let mut ping = Ping::new();
    while !cache.is_stream_stale() {
        // The first poll of the events sends the subscription: before the first question.
        if let Some(event) = events.next().now_or_never() {
            handle_input(cache, WatchInput::Event(event_or_end(event)))?;
            config.heartbeat.record_beat();
            cache.on_ping(true);
        } else {
            dispatch_queries(cache, &engine, &config.filter, &mut requests);
            let wake = Instant::from_std(cache.wake_at());
            let input = tokio::select! {
                biased;
                event = events.next() => WatchInput::Event(event_or_end(event)),
                Some(input) = requests.next() => input,
                () = tokio::time::sleep_until(wake) => WatchInput::Tick,
                () = ping.wait() => {
                    requests.push(Box::pin(ping.send(&engine).map(WatchInput::Pinged)));
                    continue;
                }
            };
            if input.is_from_docker() {
                config.heartbeat.record_beat();
                cache.on_ping(true);
            }
            if let WatchInput::Pinged(Err(error)) = &input {
                cache.on_ping(false);
                log_disconnected(outage, error);
            }
            match &input {
                WatchInput::Pinged(_) => ping.end(),
                input if input.is_from_docker() => ping.postpone(),
                _ => {}
            }
            handle_input(cache, input)?;
        }
        publish_update(cache, updates);
        log_reconnected(cache, outage);
    }
    Ok(())
}

fn handle_input(cache: &mut ContainerCache, input: WatchInput) -> Result<()> {
    let now = Instant::now().into_std();
    match input {
        WatchInput::Event(event) => cache.on_event(event?, now),
        WatchInput::Response(query, answer) => {
            cache.on_response(&query, answer?, now);
            cache.take_warnings().iter().for_each(|warning| log_parse_warning(warning));
        }
        WatchInput::Inspected(id, received) => cache.on_inspection(&id, received, now),
        WatchInput::Image(id, answer) => {
            let failed = |error| ImageAnswer::Failed(format!("{error:#}").into());
            cache.answer_image(&id, answer.unwrap_or_else(failed));
        }
        WatchInput::Pinged(_) => {}
        WatchInput::Tick => cache.on_tick(now),
    }
    Ok(())
}

fn event_or_end(event: Option<Result<Event>>) -> Result<Event> {
    event.unwrap_or_else(|| Err(anyhow!("the engine closed the stream of events")))
}

/// Sends the questions that are due.
fn dispatch_queries(
    cache: &mut ContainerCache,
    engine: &Engine,
    filter: &ContainerFilter,
    requests: &mut PendingRequests,
) {
    if let Some(query) = cache.next_query(Instant::now().into_std()) {
        let (engine, snapshot) = (engine.clone(), cache.to_snapshot());
        requests.push(Box::pin(async move {
            let answer = run_query(&engine, &query, &snapshot).await;
            WatchInput::Response(query, answer)
        }));
    }
    while let Some(id) = cache.next_inspection() {
        let (engine, filter) = (engine.clone(), filter.clone());
        requests.push(Box::pin(async move {
            let received = run_inspection(&engine, &id, &filter).await;
            WatchInput::Inspected(id, received)
        }));
    }
    while let Some(id) = cache.ask_image() {
        let (engine, filter) = (engine.clone(), filter.clone());
        requests.push(Box::pin(async move {
            let answer = find_image(&engine, &id, &filter).await;
            WatchInput::Image(id, answer)
        }));
    }
}

async fn run_query(
    engine: &Engine,
    query: &CacheQuery,
    snapshot: &CacheSnapshot,
) -> Result<CacheResponse> {
    let all = || engine.list_all_containers(|received| snapshot.reuse_unchanged(received));
    let some = async |ids| {
        let LenientList { entries: mut received, warnings: mut odd, .. } =
            engine.list_containers(ids).await?;
        // One who shares the network of another that does so, and on: not without an end.
        for _ in 0..MAX_NETWORK_HOPS {
            let owners = snapshot.find_new_network_owners(&received);
            if owners.is_empty() {
                break;
            }
            let more = engine.list_containers(&owners).await?;
            if more.entries.is_empty() {
                break;
            }
            received.extend(more.entries);
            odd.extend(more.warnings);
        }
        let entries = received.into_iter().map(Arc::new).collect::<Vec<_>>();
        Ok::<_, anyhow::Error>(LenientList { entries, warnings: odd, dropped: 0 })
    };
    let (LenientList { entries: containers, warnings: odd, .. }, networks) = match query {
        CacheQuery::All => {
            let (all, networks) = tokio::try_join!(all(), engine.list_networks())?;
            (all, Some(networks))
        }
        CacheQuery::Ids { ids, networks: false } => {
            let some = some(ids).await?;
            // Podman tells of no network that is made.
            let lacks = snapshot.misses_network(&some.entries);
            (some, if lacks { Some(engine.list_networks().await?) } else { None })
        }
        CacheQuery::Ids { ids, networks: true } => {
            let (some, networks) = tokio::try_join!(some(ids), engine.list_networks())?;
            (some, Some(networks))
        }
    };
    Ok(CacheResponse { containers, networks, warnings: odd })
}

/// An answer that there is no such image is one.
async fn find_image(
    engine: &Engine,
    id: &ImageId,
    filter: &ContainerFilter,
) -> Result<ImageAnswer> {
    Ok(match engine.inspect_image(id.as_str()).await? {
        Some(image) => ImageAnswer::Found(Arc::new(filter.slim_image(image))),
        None => ImageAnswer::Failed(format!("Docker has no image {} any more", id.as_str()).into()),
    })
}

async fn run_inspection(
    engine: &Engine,
    id: &ContainerId,
    filter: &ContainerFilter,
) -> InspectOutcome {
    match engine.inspect_details(id, filter).await {
        Ok(Some(details)) => InspectOutcome::Found(details),
        Ok(None) => InspectOutcome::Gone,
        Err(error) => {
            tracing::debug!("not inspected: {error:#}");
            InspectOutcome::Failed
        }
    }
}

fn publish_update(cache: &mut ContainerCache, updates: &watch::Sender<DockerSnapshot>) {
    if let Some(update) = cache.take_update() {
        let CacheUpdate { world, cause, connected } = update;
        updates.send_modify(|snapshot| {
            if let Some(moment) = cause.as_ref().and_then(|cause| cause.received_at) {
                snapshot.event_times.push_time(moment);
            }
            (snapshot.world, snapshot.cause, snapshot.connected) = (Some(world), cause, connected);
        });
    }
}

fn log_reconnected(cache: &ContainerCache, outage: &mut Outage) {
    let back = cache.is_current().then(|| outage.finish(Instant::now().into_std())).flatten();
    if let Some(away) = back {
        log_return(away);
    }
}

pub(crate) fn log_return(away: Duration) {
    tracing::info!("docker is back after {}s", away.as_secs());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_times_are_read_once_and_oldest_dropped() {
        let begun = std::time::Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (mut times, mut read) = (EventTimes::default(), 0);
        assert!(times.take_unread(&mut read).is_empty());
        times.push_time(at(1));
        times.push_time(at(0));
        assert_eq!(times.take_unread(&mut read), [at(1), at(0)]);
        times.push_time(at(2));
        assert_eq!(times.take_unread(&mut read), [at(2)]);
        assert!(times.take_unread(&mut read).is_empty());
        (0..1000).for_each(|seconds| times.push_time(at(seconds)));
        let unread = times.take_unread(&mut read);
        assert_eq!((unread.len(), unread.last()), (EventTimes::MAX_TIMES, Some(&at(999))));
        assert!(times.take_unread(&mut read).is_empty());
    }

    #[test]
    fn merged_cause_keeps_earliest_time() {
        let now = std::time::Instant::now();
        let later = now + Duration::from_secs(1);
        let cause = |received_at| EventCause {
            action: "start".into(),
            name: "web".into(),
            time_nano: 0,
            received_at,
        };
        let received_at = |one, other| cause(one).merge_cause(Some(&cause(other))).received_at;
        assert_eq!(received_at(Some(later), Some(now)), Some(now));
        assert_eq!(received_at(Some(now), Some(later)), Some(now));
        assert_eq!(received_at(Some(now), None), Some(now));
        assert_eq!(cause(None).merge_cause(None).received_at, None);
    }
}
