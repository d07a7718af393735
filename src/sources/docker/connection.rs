//! A connection to an engine: its events, the requests in progress, and the ping of an engine that is silent.

use super::{
    engine::Engine,
    engine_state::{EngineAnswer, EngineState},
    event::Event,
    ping::Ping,
    request::send_request,
};
use crate::sources::source::{Consumers, EventSelection};
use anyhow::{Result, anyhow};
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How often the clock of an engine with a name is read.
const CLOCK_INTERVAL: Duration = Duration::from_mins(1);

/// Everything that can happen during a connection.
pub(crate) enum Input {
    Event(Result<Event>),
    Answer(Result<EngineAnswer>),
    Pinged(Result<()>),
    /// The engine's time, if it reports it, with this machine's times before and after the request, in nanoseconds since
    /// 1970.
    Clock(Result<Option<(i64, i64, i64)>>),
    Consumers,
    Tick,
}

impl Input {
    /// Whether this input shows that the engine answers.
    pub(crate) fn is_from_engine(&self) -> bool {
        match self {
            Self::Event(event) => event.is_ok(),
            Self::Answer(answer) => answer.as_ref().is_ok_and(EngineAnswer::is_from_engine),
            Self::Pinged(answer) => answer.is_ok(),
            Self::Clock(answer) => answer.is_ok(),
            Self::Consumers | Self::Tick => false,
        }
    }
}

pub(crate) struct Connection {
    engine: Engine,
    events: BoxStream<'static, Result<Event>>,
    requests: FuturesUnordered<BoxFuture<'static, Input>>,
    ping: Ping,
    /// When the engine's clock is read next. `None`: never.
    clock_at: Option<Instant>,
}

impl Connection {
    /// Creates a connection with events from `since` on, by the engine's clock. The first call of `next_input` sends
    /// the subscription.
    pub(crate) fn new(engine: Engine, selection: &EventSelection, since: Option<i64>) -> Self {
        let events = engine.subscribe_events(selection, since).boxed();
        let ping = Ping::new(engine.timeouts.ping);
        // Containers of the only source are not compared with those of another clock.
        let clock_at = (!engine.source.is_none()).then(Instant::now);
        Self { engine, events, requests: FuturesUnordered::new(), ping, clock_at }
    }

    /// Handles all events that have arrived, sends the requests that are due, and waits for the next input.
    pub(crate) async fn next_input(
        &mut self,
        state: &mut EngineState,
        changes: &mut watch::Receiver<Consumers>,
    ) -> Input {
        // The first poll of the events sends the subscription. On another connection, so the first list may overtake
        // it; the list that confirms the first one follows after a second.
        if let Some(event) = self.events.next().now_or_never() {
            return Input::Event(event_or_end(event));
        }
        self.send_requests(state);
        let wake = state.wake_at().map(Instant::from_std);
        loop {
            tokio::select! {
                biased;
                event = self.events.next() => return Input::Event(event_or_end(event)),
                Some(input) = self.requests.next() => return input,
                Ok(()) = changes.changed() => return Input::Consumers,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    return Input::Tick;
                }
                () = sleep_until(self.clock_at.unwrap_or_else(Instant::now)), if self.clock_at.is_some() => {
                    self.clock_at = Some(Instant::now() + CLOCK_INTERVAL);
                    self.requests.push(Box::pin(read_clock(self.engine.clone()).map(Input::Clock)));
                }
                () = self.ping.wait() => {
                    let ping = self.ping.send(&self.engine).map(Input::Pinged);
                    self.requests.push(Box::pin(ping));
                }
            }
        }
    }

    fn send_requests(&self, state: &mut EngineState) {
        for request in state.next_requests(Instant::now().into_std()) {
            let engine = self.engine.clone();
            let answer = async move { Input::Answer(send_request(&engine, request).await) };
            self.requests.push(Box::pin(answer));
        }
    }

    /// Postpones the next ping if the engine sent something.
    pub(crate) fn schedule_ping(&mut self, input: &Input) {
        match input {
            Input::Pinged(_) => self.ping.end(),
            input if input.is_from_engine() => self.ping.postpone(),
            _ => {}
        }
    }
}

async fn read_clock(engine: Engine) -> Result<Option<(i64, i64, i64)>> {
    let before = local_time();
    let time = engine.query_time().await?;
    Ok(time.map(|time| (time, before, local_time())))
}

/// Returns this machine's time, in nanoseconds since 1970.
fn local_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn event_or_end(event: Option<Result<Event>>) -> Result<Event> {
    event.unwrap_or_else(|| Err(anyhow!("Docker closed the event stream")))
}
