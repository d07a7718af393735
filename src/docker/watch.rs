//! Keeps a world current for ever.
//!
//! The loop is thin: it listens, asks, and hands everything to `Known`, which decides. Subscribed
//! first and listed then, so that nothing falls between; listed anew at every connection and from
//! time to time, as the engine drops events of a slow listener without a word.

use super::{
    connect::Access,
    engine::Engine,
    event::{Cause, Event},
    image_labels::ImageAnswer,
    interest::Interest,
    known::{Answer, Ask, Inspection, Known, Memory, Shown},
    lenient::List,
    ping::Ping,
};
use crate::{
    container::{ContainerId, ImageId},
    outage::{Outage, Tell},
    world::{MOST_HOPS, World},
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
pub struct Seen {
    /// `None` until the engine answered for the first time, which an empty world is not. It stays
    /// what it was while the engine is away.
    pub world: Option<Arc<World>>,
    /// The event behind this change; `None` where a list told it, or the connection changed.
    pub cause: Option<Cause>,
    /// The engine answers. Not so at the start and during an outage.
    pub connected: bool,
    pub heard: Moments,
}

/// When the events behind the changes were heard. Changes are overwritten by newer ones, these are not:
/// each reader remembers how far it has read.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    newest: VecDeque<std::time::Instant>,
    /// How many there were before these.
    forgotten: usize,
}

impl Moments {
    /// More than ever wait for one pass.
    const MOST: usize = 256;

    /// Those after the first `read` ones, which are then read too.
    pub fn unread(&self, read: &mut usize) -> Vec<std::time::Instant> {
        let skip = read.saturating_sub(self.forgotten);
        *read = self.forgotten + self.newest.len();
        self.newest.iter().skip(skip).copied().collect()
    }

    fn add(&mut self, moment: std::time::Instant) {
        self.newest.push_back(moment);
        if Self::MOST < self.newest.len() {
            self.newest.pop_front();
            self.forgotten += 1;
        }
    }
}

/// What to watch for.
#[derive(Debug, Clone)]
pub struct Watching {
    pub interest: Interest,
    /// How often the whole list is asked for though no event asks for it.
    pub relist: Duration,
    /// Further event actions (`exec_start`, `oom`, …) of interesting containers: each publishes the
    /// world that is known, with the event as its cause, and asks the engine nothing.
    pub extra: Vec<String>,
    pub pulse: Pulse,
}

/// When Docker was heard last: an event, or an answer to a question. A clone tells of the same Docker.
/// Docker is asked for its list every [`Watching::relist`], so an age far above that means that Docker is not
/// followed.
#[derive(Debug, Clone)]
pub struct Pulse {
    begun: std::time::Instant,
    /// Milliseconds after that.
    heard: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { begun: Instant::now().into_std(), heard: Arc::default() }
    }
}

impl Pulse {
    /// Since then; since the beginning where nothing was heard yet.
    pub fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(heard)
    }

    fn beat(&self) {
        let millis = self.begun.elapsed().as_millis();
        self.heard.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Watching {
    pub fn new(interest: Interest) -> Self {
        let (relist, extra, pulse) = (Duration::from_secs(30), Vec::new(), Pulse::default());
        Self { interest, relist, extra, pulse }
    }
}

/// Publishes the world at every change, until nobody listens any more. An engine that is away is
/// told once and waited for without an end.
pub async fn watch(access: &Access, watching: &Watching, updates: &watch::Sender<Seen>) {
    let _disconnect = Disconnect(updates);
    let now = Instant::now().into_std();
    let mut known = Known::new(watching.interest.clone(), watching.relist, now);
    let mut outage = Outage::none();
    loop {
        let end = tokio::select! {
            end = follow(access, watching, &mut known, &mut outage, updates) => end,
            () = updates.closed() => return,
        };
        let Err(error) = end else {
            tracing::debug!("docker's events went missing; subscribing anew");
            continue;
        };
        known.away();
        publish(&mut known, updates);
        tokio::select! {
            () = wait_out(&mut outage, &error) => {}
            () = updates.closed() => return,
        }
    }
}

/// Says that Docker is not connected when the watching ends, by a panic too. The world stays what it was.
struct Disconnect<'a>(&'a watch::Sender<Seen>);

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|seen| std::mem::take(&mut seen.connected));
    }
}

/// Until the engine is tried again; the first time it is said that it is away.
pub(super) async fn wait_out(outage: &mut Outage, error: &anyhow::Error) {
    let pause = tell_away(outage, error);
    tokio::time::sleep(pause).await;
}

/// Returns how long to wait before the engine is tried again.
pub(super) fn tell_away(outage: &mut Outage, error: &anyhow::Error) -> Duration {
    let (tell, pause) = outage.failed(Instant::now().into_std());
    match tell {
        Tell::Loud => tracing::warn!("docker is away: {error:#}; trying again until it is back"),
        Tell::Quiet => tracing::debug!("docker is still away: {error:#}"),
    }
    pause
}

/// What an engine says in words that are not known here; the rest of its container counts.
pub(super) fn tell_odd(odd: &str) {
    tracing::warn!("Docker says something that is not understood, and left out: {odd}");
}

/// The world as it is now.
pub async fn list_once(access: &Access, interest: &Interest) -> Result<World> {
    let engine = Engine::connect(access).await?;
    let now = Instant::now().into_std();
    let mut known = Known::new(interest.clone(), Duration::from_hours(1), now);
    known.connected(now);
    let mut errands = FuturesUnordered::new();
    send_out(&mut known, &engine, interest, &mut errands);
    let mut world = Arc::default();
    while let Some(input) = errands.next().await {
        take(&mut known, input)?;
        send_out(&mut known, &engine, interest, &mut errands);
        world = known.show().map_or(world, |shown| shown.world);
    }
    Ok(Arc::unwrap_or_clone(world))
}

/// All that can happen during a connection.
enum Input {
    Event(Result<Event>),
    Answer(Ask, Result<Answer>),
    Inspected(ContainerId, Inspection),
    Image(ImageId, Result<ImageAnswer>),
    Pinged(Result<()>),
    Time,
}

impl Input {
    /// Docker said something.
    fn is_heard(&self) -> bool {
        match self {
            Self::Event(event) => event.is_ok(),
            Self::Answer(_, answer) => answer.is_ok(),
            Self::Inspected(_, told) => !matches!(told, Inspection::Failed),
            Self::Image(_, answer) => answer.is_ok(),
            Self::Pinged(answer) => answer.is_ok(),
            Self::Time => false,
        }
    }
}

type Errands = FuturesUnordered<BoxFuture<'static, Input>>;

/// One connection's life. It ends well when it turns out deaf, and with an error otherwise.
async fn follow(
    access: &Access,
    watching: &Watching,
    known: &mut Known,
    outage: &mut Outage,
    updates: &watch::Sender<Seen>,
) -> Result<()> {
    let engine = Engine::connect(access).await?;
    let events = engine.events(&watching.extra);
    pin_mut!(events);
    let mut errands = Errands::new();
    known.connected(Instant::now().into_std());
    let mut ping = Ping::new();
    while !known.is_deaf() {
        // The first poll of the events sends the subscription: before the first question.
        if let Some(event) = events.next().now_or_never() {
            take(known, Input::Event(ended(event)))?;
            watching.pulse.beat();
            known.pinged(true);
        } else {
            send_out(known, &engine, &watching.interest, &mut errands);
            let wake = Instant::from_std(known.wake_at());
            let input = tokio::select! {
                biased;
                event = events.next() => Input::Event(ended(event)),
                Some(input) = errands.next() => input,
                () = tokio::time::sleep_until(wake) => Input::Time,
                () = ping.wait() => {
                    errands.push(Box::pin(ping.send(&engine).map(Input::Pinged)));
                    continue;
                }
            };
            if input.is_heard() {
                watching.pulse.beat();
                known.pinged(true);
            }
            if let Input::Pinged(Err(error)) = &input {
                known.pinged(false);
                tell_away(outage, error);
            }
            match &input {
                Input::Pinged(_) => ping.end(),
                input if input.is_heard() => ping.postpone(),
                _ => {}
            }
            take(known, input)?;
        }
        publish(known, updates);
        tell_return(known, outage);
    }
    Ok(())
}

fn take(known: &mut Known, input: Input) -> Result<()> {
    let now = Instant::now().into_std();
    match input {
        Input::Event(event) => known.hear(event?, now),
        Input::Answer(ask, answer) => {
            known.answered(&ask, answer?, now);
            known.take_odd().iter().for_each(|odd| tell_odd(odd));
        }
        Input::Inspected(id, told) => known.inspected(&id, told, now),
        Input::Image(id, answer) => {
            let failed = |error| ImageAnswer::Failed(format!("{error:#}").into());
            known.answer_image(&id, answer.unwrap_or_else(failed));
        }
        Input::Pinged(_) => {}
        Input::Time => known.tick(now),
    }
    Ok(())
}

fn ended(event: Option<Result<Event>>) -> Result<Event> {
    event.unwrap_or_else(|| Err(anyhow!("the engine closed the stream of events")))
}

/// Sends the questions that are due.
fn send_out(known: &mut Known, engine: &Engine, interest: &Interest, errands: &mut Errands) {
    if let Some(ask) = known.ask(Instant::now().into_std()) {
        let (engine, memory) = (engine.clone(), known.remember());
        errands.push(Box::pin(async move {
            let answer = answer(&engine, &ask, &memory).await;
            Input::Answer(ask, answer)
        }));
    }
    while let Some(id) = known.inspect() {
        let (engine, interest) = (engine.clone(), interest.clone());
        errands.push(Box::pin(async move {
            let told = inspection(&engine, &id, &interest).await;
            Input::Inspected(id, told)
        }));
    }
    while let Some(id) = known.ask_image() {
        let (engine, interest) = (engine.clone(), interest.clone());
        errands.push(Box::pin(async move {
            let answer = find_image(&engine, &id, &interest).await;
            Input::Image(id, answer)
        }));
    }
}

async fn answer(engine: &Engine, ask: &Ask, memory: &Memory) -> Result<Answer> {
    let all = || engine.all_containers(|told| memory.recognize(told));
    let some = async |ids| {
        let List { entries: mut told, mut odd, .. } = engine.containers(ids).await?;
        // One who shares the network of another that does so, and on: not without an end.
        for _ in 0..MOST_HOPS {
            let owners = memory.new_network_owners(&told);
            if owners.is_empty() {
                break;
            }
            let more = engine.containers(&owners).await?;
            if more.entries.is_empty() {
                break;
            }
            told.extend(more.entries);
            odd.extend(more.odd);
        }
        let entries = told.into_iter().map(Arc::new).collect::<Vec<_>>();
        Ok::<_, anyhow::Error>(List { entries, odd, lost: 0 })
    };
    let (List { entries: containers, odd, .. }, networks) = match ask {
        Ask::All => {
            let (all, networks) = tokio::try_join!(all(), engine.networks())?;
            (all, Some(networks))
        }
        Ask::Some { ids, networks: false } => {
            let some = some(ids).await?;
            // Podman tells of no network that is made.
            let lacks = memory.lacks_network(&some.entries);
            (some, if lacks { Some(engine.networks().await?) } else { None })
        }
        Ask::Some { ids, networks: true } => {
            let (some, networks) = tokio::try_join!(some(ids), engine.networks())?;
            (some, Some(networks))
        }
    };
    Ok(Answer { containers, networks, odd })
}

/// An answer that there is no such image is one.
async fn find_image(engine: &Engine, id: &ImageId, interest: &Interest) -> Result<ImageAnswer> {
    Ok(match engine.image(id.as_str()).await? {
        Some(image) => ImageAnswer::Found(Arc::new(interest.slim_image(image))),
        None => ImageAnswer::Failed(format!("Docker has no image {} any more", id.as_str()).into()),
    })
}

async fn inspection(engine: &Engine, id: &ContainerId, interest: &Interest) -> Inspection {
    match engine.details(id, interest).await {
        Ok(Some(details)) => Inspection::Told(details),
        Ok(None) => Inspection::Gone,
        Err(error) => {
            tracing::debug!("not inspected: {error:#}");
            Inspection::Failed
        }
    }
}

fn publish(known: &mut Known, updates: &watch::Sender<Seen>) {
    if let Some(shown) = known.show() {
        let Shown { world, cause, connected } = shown;
        updates.send_modify(|seen| {
            if let Some(moment) = cause.as_ref().and_then(|cause| cause.heard) {
                seen.heard.add(moment);
            }
            (seen.world, seen.cause, seen.connected) = (Some(world), cause, connected);
        });
    }
}

fn tell_return(known: &Known, outage: &mut Outage) {
    let back = known.is_current().then(|| outage.over(Instant::now().into_std())).flatten();
    if let Some(away) = back {
        log_return(away);
    }
}

pub(super) fn log_return(away: Duration) {
    tracing::info!("docker is back after {}s", away.as_secs());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_once_and_the_oldest_are_forgotten() {
        let begun = std::time::Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (mut moments, mut read) = (Moments::default(), 0);
        assert!(moments.unread(&mut read).is_empty());
        moments.add(at(1));
        moments.add(at(0));
        assert_eq!(moments.unread(&mut read), [at(1), at(0)]);
        moments.add(at(2));
        assert_eq!(moments.unread(&mut read), [at(2)]);
        assert!(moments.unread(&mut read).is_empty());
        (0..1000).for_each(|seconds| moments.add(at(seconds)));
        let unread = moments.unread(&mut read);
        assert_eq!((unread.len(), unread.last()), (Moments::MOST, Some(&at(999))));
        assert!(moments.unread(&mut read).is_empty());
    }

    #[test]
    fn of_two_that_are_answered_as_one_the_first_counts() {
        let now = std::time::Instant::now();
        let later = now + Duration::from_secs(1);
        let cause =
            |heard| Cause { action: "start".into(), name: "web".into(), time_nano: 0, heard };
        let heard = |one, other| cause(one).and(Some(&cause(other))).heard;
        assert_eq!(heard(Some(later), Some(now)), Some(now));
        assert_eq!(heard(Some(now), Some(later)), Some(now));
        assert_eq!(heard(Some(now), None), Some(now));
        assert_eq!(cause(None).and(None).heard, None);
    }
}
