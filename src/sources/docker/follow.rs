//! Follows an engine forever, for all consumers that are registered with its source.
//!
//! The loop is thin: it receives events, sends requests, and passes everything to `EngineState`, which decides. It
//! subscribes first and lists afterwards, so that no change is missed in between. It lists again at every connection
//! and periodically, because the engine drops events of a slow reader without notice.
//!
//! ```text
//! engine ─event──▶ follow ─on_event()──────▶ EngineState ─▶ ContainerCache, one for each consumer of snapshots
//!                         ◀─next_requests()─             ─▶ InspectCache, for handlers
//! engine ◀─GET──── follow
//! engine ─answer─▶ follow ─on_answer()─────▶ EngineState
//!                         ◀─take_snapshots()─ to each consumer, ◀─take_updates()─ to handlers
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

/// Serves all consumers that are registered with the source; never returns. An outage of the engine is logged once, and
/// connecting is retried forever. Events of the outage that the engine remembers are sent after it.
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

/// Marks the engine as disconnected when following ends, including by a panic. The world is kept.
pub(super) struct DisconnectGuard<'a>(pub(super) &'a Source);

impl Drop for DisconnectGuard<'_> {
    fn drop(&mut self) {
        for consumer in self.0.consumers().borrow().snapshots.values() {
            consumer.updates.send_if_modified(|snapshot| std::mem::take(&mut snapshot.connected));
        }
    }
}

/// State that survives a connection.
struct Follower<'a> {
    source: &'a Source,
    changes: watch::Receiver<Consumers>,
    consumers: Consumers,
    state: EngineState,
    outage: Outage,
}

impl Follower<'_> {
    /// Follows one connection. Returns the reason when a new subscription is needed, and an error when the connection
    /// fails.
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

    /// Returns which events of the new connection may be old, which a snapshot has to distinguish. The engine's clock
    /// is read before the subscription, so every event with a later time is live.
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
            Input::Clock(Ok(Some((time, before, after)))) => {
                if self.source.clock_skew().store(time, before, after) {
                    let readers = self.consumers.snapshots.values();
                    readers.for_each(|reader| reader.updates.send_modify(|_| ()));
                }
            }
            Input::Clock(Err(error)) => tracing::debug!("{error:#}"),
            Input::Clock(Ok(None)) | Input::Pinged(_) => {}
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
        // The source owns the sender and outlives this follower.
        let _ = self.changes.changed().await;
    }

    /// Publishes snapshots first: handlers may be slow to receive their updates.
    async fn publish(&mut self) {
        for (id, update) in self.state.take_snapshots() {
            self.publish_snapshot(id, update);
        }
        for update in self.state.take_updates() {
            if let Some(consumer) = &self.consumers.events {
                // An error means that the consumer has stopped; its registration ends soon.
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

/// Returns how long to wait before the next attempt to connect. The first failure of an outage is logged as a warning.
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

/// Logs the values in answers of the engine that were ignored. The other values of the container apply.
pub(crate) fn log_parse_warnings(state: &mut EngineState) {
    for warning in state.take_warnings() {
        tracing::warn!("ignoring values from Docker that are not understood: {warning}");
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
