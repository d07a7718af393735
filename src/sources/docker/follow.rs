//! Follows an engine for ever, for all who are registered with its source.
//!
//! The loop is thin: it listens, asks, and hands everything to `EngineState`, which decides. It subscribes first and
//! lists then, so that nothing falls between; it lists again at every connection and from time to time, as the engine
//! drops events of a slow listener without a word.
//!
//! ```text
//! engine ─event──▶ follow ─on_event()──────▶ EngineState ─▶ ContainerCache, one for each reader of snapshots
//!                         ◀─next_requests()─             ─▶ InspectCache, for handlers
//! engine ◀─GET──── follow
//! engine ─answer─▶ follow ─on_answer()─────▶ EngineState
//!                         ◀─take_snapshots()─ to each reader, ◀─take_updates()─ to handlers
//! ```

use super::{
    cache::CacheUpdate,
    connect::EngineSettings,
    connection::{Connection, Input},
    engine::Engine,
    engine_state::EngineState,
    event::Event,
    replay::Replay,
};
use crate::{
    sources::source::{ConsumerId, Consumers, Source},
    support::outage::{FailureReport, Outage},
};
use anyhow::Result;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// Serves all who are registered with the source, without an end. An engine that is away is logged once and waited for
/// without an end; events that it remembers from that time are sent then.
pub async fn follow(settings: &EngineSettings, source: &Source) {
    let _disconnect = DisconnectGuard(source);
    let mut follower = Follower {
        source,
        changes: source.consumers(),
        consumers: Consumers::default(),
        state: EngineState::default(),
        outage: Outage::inactive(),
    };
    loop {
        follower.update_consumers();
        if follower.consumers.is_empty() {
            follower.wait_for_consumers().await;
            continue;
        }
        match follower.follow_connection(settings).await {
            Ok(reason) => tracing::debug!("{reason}; subscribing again"),
            Err(error) => {
                follower.state.on_disconnect();
                follower.publish().await;
                let pause = log_disconnected(&mut follower.outage, &error);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Says that the engine is not connected when the following ends, by a panic too. The world stays what it was.
struct DisconnectGuard<'a>(&'a Source);

impl Drop for DisconnectGuard<'_> {
    fn drop(&mut self) {
        for consumer in self.0.consumers().borrow().snapshots.values() {
            consumer.updates.send_if_modified(|snapshot| std::mem::take(&mut snapshot.connected));
        }
    }
}

/// What outlives a connection.
struct Follower<'a> {
    source: &'a Source,
    changes: watch::Receiver<Consumers>,
    consumers: Consumers,
    state: EngineState,
    outage: Outage,
}

impl Follower<'_> {
    /// One connection's life. It ends well, with the reason, when another subscription is needed.
    async fn follow_connection(&mut self, settings: &EngineSettings) -> Result<&'static str> {
        let engine = Engine::connect(settings).await?;
        let (selection, since) = (self.consumers.needed_events(), self.state.replay_start());
        let replay = self.expect_replay(&engine, since).await;
        let mut connection = Connection::new(engine, &selection, since);
        self.state.on_connect(replay, now());
        loop {
            if self.state.is_stream_stale() {
                return Ok("events of Docker were lost");
            }
            if self.consumers.is_empty() || !selection.covers(&self.consumers.needed_events()) {
                return Ok("other events are needed");
            }
            let input = connection.next_input(&mut self.state, &mut self.changes).await;
            connection.schedule_ping(&input);
            self.note_sign_of_life(&input);
            self.handle_input(input)?;
            self.publish().await;
            self.log_reconnected();
        }
    }

    /// A snapshot has to know which events are old. The engine's clock is asked before the subscription, so that
    /// every event that is later than that is live.
    async fn expect_replay(&self, engine: &Engine, since: Option<i64>) -> Replay {
        if since.is_none() || !self.state.has_snapshots() {
            return Replay::default();
        }
        let time = engine.query_time().await.inspect_err(|error| tracing::debug!("{error:#}"));
        Replay::expect_until(time.ok().flatten())
    }

    fn note_sign_of_life(&mut self, input: &Input) {
        if let Input::Pinged(Err(error)) = input {
            self.state.on_ping(false);
            log_disconnected(&mut self.outage, error);
        } else if input.is_from_engine() {
            self.state.on_ping(true);
            let readers = self.consumers.snapshots.values();
            readers.for_each(|reader| reader.config.heartbeat.record_beat());
        }
    }

    fn handle_input(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Event(event) => self.handle_event(event?),
            Input::Answer(answer) => {
                self.state.on_answer(answer?, now());
                log_parse_warnings(&mut self.state);
            }
            Input::Pinged(_) => {}
            Input::Consumers => self.update_consumers(),
            Input::Tick => self.state.on_tick(now()),
        }
        Ok(())
    }

    fn handle_event(&mut self, event: Event) {
        if self.consumers.events.is_some() && event.container_id().is_some() {
            self.source.bookmark().store_time(event.cause.time_nano);
        }
        self.state.on_event(event, now());
        if let Some(step) = self.state.take_clock_step() {
            tracing::warn!(
                "Docker's clock was set back by {}s; its events are still processed",
                step.as_secs()
            );
        }
    }

    fn update_consumers(&mut self) {
        self.consumers = self.changes.borrow_and_update().clone();
        self.state.set_consumers(&self.consumers, self.source.bookmark().load_time(), now());
    }

    async fn wait_for_consumers(&mut self) {
        // The source has the other end, and outlives this.
        let _ = self.changes.changed().await;
    }

    /// Snapshots first: handlers may be slower to take what is sent to them.
    async fn publish(&mut self) {
        for (id, update) in self.state.take_snapshots() {
            self.publish_snapshot(id, update);
        }
        for update in self.state.take_updates() {
            if let Some(consumer) = &self.consumers.events {
                // Whoever listens no more is not registered for much longer.
                let _ = consumer.updates.send(update).await;
            }
        }
    }

    fn publish_snapshot(&self, id: ConsumerId, update: CacheUpdate) {
        let Some(consumer) = self.consumers.snapshots.get(&id) else { return };
        let CacheUpdate { world, cause, connected } = update;
        consumer.updates.send_modify(|snapshot| {
            if let Some(moment) = cause.as_ref().and_then(|cause| cause.received_at) {
                snapshot.event_times.push_time(moment);
            }
            (snapshot.world, snapshot.cause, snapshot.connected) = (Some(world), cause, connected);
        });
    }

    fn log_reconnected(&mut self) {
        if self.state.is_current()
            && let Some(away) = self.outage.finish(now())
        {
            tracing::info!("connected to Docker again after {}s", away.as_secs());
        }
    }
}

/// Returns how long to wait before the engine is tried again. The first time it is said that it is away.
fn log_disconnected(outage: &mut Outage, error: &anyhow::Error) -> Duration {
    let (report, pause) = outage.record_failure(now());
    match report {
        FailureReport::First => {
            tracing::warn!("lost connection to Docker: {error:#}; retrying");
        }
        FailureReport::Repeat => tracing::debug!("still not connected to Docker: {error:#}"),
    }
    pause
}

/// What an engine says in words that are not known here; the rest of its container counts.
pub(crate) fn log_parse_warnings(state: &mut EngineState) {
    for warning in state.take_warnings() {
        tracing::warn!("ignoring values from Docker that are not understood: {warning}");
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
