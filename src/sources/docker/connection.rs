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
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Everything that can happen during a connection.
pub(crate) enum Input {
    Event(Result<Event>),
    Answer(Result<EngineAnswer>),
    Pinged(Result<()>),
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
            Self::Consumers | Self::Tick => false,
        }
    }
}

pub(crate) struct Connection {
    engine: Engine,
    events: BoxStream<'static, Result<Event>>,
    requests: FuturesUnordered<BoxFuture<'static, Input>>,
    ping: Ping,
}

impl Connection {
    /// Creates a connection with events from `since` on, by the engine's clock. The first call of `next_input` sends
    /// the subscription.
    pub(crate) fn new(engine: Engine, selection: &EventSelection, since: Option<i64>) -> Self {
        let events = engine.subscribe_events(selection, since).boxed();
        let ping = Ping::new(engine.timeouts.ping);
        Self { engine, events, requests: FuturesUnordered::new(), ping }
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

fn event_or_end(event: Option<Result<Event>>) -> Result<Event> {
    event.unwrap_or_else(|| Err(anyhow!("Docker closed the event stream")))
}
