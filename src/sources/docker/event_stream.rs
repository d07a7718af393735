//! Tells handlers of everything that happens, for ever.
//!
//! The loop is thin: it listens, asks, and hands everything to [`InspectCache`], which decides.

use super::{
    connect::EngineSettings,
    engine::Engine,
    inspect_cache::{ContainerMap, ContainerUpdate, EngineEvent, InspectCache, InspectResult},
    lenient::{LenientList, WarningLog},
    ping::Ping,
    stopping::StoppingContainers,
    watch::{back_off, log_disconnected, log_parse_warning, log_return},
};
use crate::{model::container::ContainerId, support::outage::Outage};
use anyhow::{Context, Result};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, pin_mut, stream::FuturesUnordered};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// How often the whole list is asked for though no event asks for it.
const RELIST_INTERVAL: Duration = Duration::from_secs(30);

/// Tells until nobody listens any more. An engine that is away is told of once and waited for without
/// an end; events that it remembers from that time are told then.
///
/// `bookmark` is where an earlier call has got to, which ended by a panic: it goes on behind the event of then.
pub async fn follow_events(
    settings: &EngineSettings,
    updates: &mpsc::Sender<ContainerUpdate>,
    bookmark: &Bookmark,
) {
    let cache = InspectCache::from_bookmark(bookmark.load_time());
    let (mut state, mut outage) =
        (StreamState { cache, ..StreamState::default() }, Outage::inactive());
    loop {
        let end = tokio::select! {
            end = run_connection(settings, &mut state, &mut outage, updates, bookmark) => end,
            () = updates.closed() => return,
        };
        let Err(error) = end else { return };
        state.cache.on_disconnect();
        tokio::select! {
            () = back_off(&mut outage, &error) => {}
            () = updates.closed() => return,
        }
    }
}

/// All containers as they are now.
pub async fn list_descriptions(settings: &EngineSettings) -> Result<Arc<ContainerMap>> {
    let (tell, mut result) = mpsc::channel(1);
    let (mut state, mut outage) = (StreamState::default(), Outage::inactive());
    let bookmark = Bookmark::default();
    tokio::select! {
        end = run_connection(settings, &mut state, &mut outage, &tell, &bookmark) => match end {
            Err(error) => Err(error),
            Ok(()) => result.try_recv().ok().and_then(containers_of).context("docker told nothing"),
        },
        Some(updates) = result.recv() => containers_of(updates).context("docker told nothing"),
    }
}

/// The first news are all containers.
fn containers_of(updates: ContainerUpdate) -> Option<Arc<ContainerMap>> {
    match updates {
        ContainerUpdate::Changed(containers) | ContainerUpdate::Event(_, containers) => {
            Some(containers)
        }
        ContainerUpdate::Stopping(_) => None,
    }
}

/// The time of the event that was heard last, by the engine's clock: outlives a panic. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Bookmark(Arc<AtomicI64>);

impl Bookmark {
    fn store_time(&self, time_nano: i64) {
        self.0.store(time_nano, Ordering::Relaxed);
    }

    /// `None` before the first event.
    fn load_time(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }
}

/// What outlives a connection.
#[derive(Debug, Default)]
struct StreamState {
    cache: InspectCache,
    stopping: StoppingContainers,
    warnings: WarningLog,
}

/// All that can happen during a connection.
enum StreamInput {
    Event(Option<Result<EngineEvent>>),
    List(Result<LenientList<(ContainerId, String)>>),
    Response(ContainerId, InspectResult),
    Pinged(Result<()>),
    Tick,
}

impl StreamInput {
    /// The engine said something.
    fn is_heard(&self) -> bool {
        match self {
            Self::Event(event) => matches!(event, Some(Ok(_))),
            Self::List(lines) => lines.is_ok(),
            Self::Response(_, result) => !matches!(result, InspectResult::Failed),
            Self::Pinged(answer) => answer.is_ok(),
            Self::Tick => false,
        }
    }
}

/// One connection's life. It ends well when nobody listens any more.
async fn run_connection(
    settings: &EngineSettings,
    StreamState { cache: keeper, stopping: leaving, warnings: oddities }: &mut StreamState,
    outage: &mut Outage,
    updates: &mpsc::Sender<ContainerUpdate>,
    bookmark: &Bookmark,
) -> Result<()> {
    let engine = Engine::connect(settings).await?;
    let events = engine.subscribe_all_events(keeper.on_connect());
    pin_mut!(events);
    let mut requests = FuturesUnordered::<BoxFuture<'static, StreamInput>>::new();
    let mut list_at = Instant::now();
    let mut listing = false;
    let (mut ping, mut is_hung) = (Ping::new(), false);
    loop {
        while let Some(id) = keeper.next_query() {
            let engine = engine.clone();
            requests.push(Box::pin(async move {
                let result = describe_container(&engine, &id).await;
                StreamInput::Response(id, result)
            }));
        }
        let expiry_at = leaving.wake_at().map(Instant::from_std);
        let input = tokio::select! {
            biased;
            // Its first poll subscribes: before the first question.
            event = events.next() => StreamInput::Event(event),
            Some(input) = requests.next() => input,
            () = tokio::time::sleep_until(expiry_at.unwrap_or(list_at)), if expiry_at.is_some() => StreamInput::Tick,
            () = tokio::time::sleep_until(list_at), if !listing => {
                listing = true;
                let engine = engine.clone();
                requests.push(Box::pin(async move { StreamInput::List(engine.list_fingerprints().await) }));
                continue;
            }
            () = ping.wait() => {
                requests.push(Box::pin(ping.send(&engine).map(StreamInput::Pinged)));
                continue;
            }
        };
        let now = Instant::now().into_std();
        if input.is_heard() {
            ping.postpone();
            // What it was asked before it hung, it answers on the connection that there is.
            if std::mem::take(&mut is_hung)
                && let Some(away) = outage.finish(now)
            {
                log_return(away);
            }
        }
        let mut stopping_changed = false;
        match input {
            StreamInput::Event(event) => {
                let event = event.context("docker closed its events")??;
                bookmark.store_time(event.time_nano);
                if let Some(containers) =
                    keeper.containers().filter(|_| !keeper.is_duplicate(&event))
                {
                    // Before anybody is asked: that may take as long as the stop does.
                    stopping_changed = leaving.on_event(&event, containers, now);
                }
                keeper.on_event(event);
                if let Some(step) = keeper.take_clock_step() {
                    tracing::warn!(
                        "Docker's clock was set back by {}s; its events are told all the same",
                        step.as_secs()
                    );
                }
            }
            StreamInput::Tick => stopping_changed = leaving.expire_deadlines(now),
            StreamInput::Pinged(answer) => {
                ping.end();
                if let Err(error) = answer {
                    is_hung = true;
                    log_disconnected(outage, &error);
                }
            }
            StreamInput::List(lines) => {
                let LenientList { entries, warnings: odd, .. } = lines?;
                oddities.add(odd.iter());
                oddities.take_unlogged().iter().for_each(|warning| log_parse_warning(warning));
                keeper.on_list(entries.into_iter().collect());
                (listing, list_at) = (false, Instant::now() + RELIST_INTERVAL);
                if let Some(away) = outage.finish(now) {
                    log_return(away);
                }
            }
            StreamInput::Response(id, result) => keeper.on_response(&id, result),
        }
        let mut pending_updates = keeper.take_updates();
        for event in &pending_updates {
            stopping_changed |= leaving.on_update(event);
        }
        if stopping_changed {
            pending_updates.push(ContainerUpdate::Stopping(leaving.ids()));
        }
        for event in pending_updates {
            if updates.send(event).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn describe_container(engine: &Engine, id: &ContainerId) -> InspectResult {
    match engine.describe_container(id).await {
        Ok(Some(result)) => InspectResult::Found(result),
        Ok(None) => InspectResult::Gone,
        Err(error) => {
            tracing::debug!("not inspected: {error:#}");
            InspectResult::Failed
        }
    }
}
