//! Latency from the engine's time of an event to its effect for a client, under the same load.

use crate::{
    chaos::{Activity, Chaos, Span},
    crowd::{Fate, now_nanos},
    entry::Protocol,
    load::{Kind, Odd, to_micros},
};
use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc, time::Duration};
use tokio::{
    task::{JoinHandle, JoinSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

const TICK: Duration = Duration::from_millis(1);
/// How long no request may reach a container after its kill before the last one counts as final.
const QUIET: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LatencyKind {
    StartOwn,
    StartShared,
    StartTen,
    KillShared,
    KillTen,
    /// The longest answer while a further container of a shared route was slow to listen.
    Late,
}

/// In microseconds.
pub(crate) type Latencies = BTreeMap<LatencyKind, Vec<u32>>;

/// A request of the prober.
#[derive(Debug, Clone)]
struct Probe {
    sent: i64,
    done: i64,
    whoami: String,
}

/// Sends requests at every tick, without waiting for earlier ones.
struct Prober {
    shots: Rc<RefCell<Vec<Probe>>>,
    hammering: JoinHandle<()>,
}

pub(crate) async fn measure_latencies(chaos: &Chaos) {
    let span = Span::begin(Activity::Latency);
    for number in 0..chaos.plan.samples {
        measure_own_route(chaos, number).await;
    }
    measure_shared_route(chaos, 2, LatencyKind::StartShared, LatencyKind::KillShared).await;
    measure_shared_route(chaos, 10, LatencyKind::StartTen, LatencyKind::KillTen).await;
    measure_late_listener(chaos).await;
    chaos.end_span(span);
}

async fn measure_own_route(chaos: &Chaos, number: usize) {
    let service = format!("own{number}");
    let name = chaos.crowd.create(&service, &[]).await;
    chaos.crowd.start(&name).await;
    let started = chaos.crowd.event_time(&name, "start").await;
    let hammer = Prober::start(chaos, &service, 1);
    if let Some(served) = hammer.until_answered_by(&name).await {
        chaos.record_latency(LatencyKind::StartOwn, served - started);
    }
    chaos.crowd.end_container(&name, Fate::Stopped).await;
}

/// With `size` containers running: adds and removes one more.
async fn measure_shared_route(chaos: &Chaos, size: usize, start: LatencyKind, kill: LatencyKind) {
    let service = format!("shared{size}");
    let mut there = Vec::new();
    for _ in 0..size {
        let name = chaos.crowd.create(&service, &[]).await;
        chaos.crowd.start(&name).await;
        there.push(name);
    }
    for name in &there {
        chaos.wait_until_served(&service, name).await;
    }
    let a_tick = size.div_ceil(4);
    for _ in 0..chaos.plan.samples {
        // The container continues to serve after the signal, so that requests sent too late are
        // visible.
        let name = chaos.crowd.create(&service, &["--ignore-term"]).await;
        chaos.crowd.start(&name).await;
        let started = chaos.crowd.event_time(&name, "start").await;
        let hammer = Prober::start(chaos, &service, a_tick);
        if let Some(served) = hammer.until_answered_by(&name).await {
            chaos.record_latency(start, served - started);
        }
        sleep(Duration::from_millis(200)).await;

        let hammer = Prober::start(chaos, &service, a_tick);
        sleep(Duration::from_millis(30)).await;
        chaos.crowd.signal(&name, "TERM").await;
        let killed = chaos.crowd.event_time(&name, "kill").await;
        sleep(QUIET).await;
        let shots = hammer.end().await;
        let last = shots.iter().filter(|shot| shot.whoami == name).map(|shot| shot.sent).max();
        if let Some(last) = last {
            chaos.record_latency(kill, last - killed);
        }
        chaos.crowd.end_container(&name, Fate::Killed).await;
    }
    for name in there {
        chaos.crowd.end_container(&name, Fate::Stopped).await;
    }
}

/// Starts a container that listens only after two seconds: next to one that listens, and as the
/// only one.
async fn measure_late_listener(chaos: &Chaos) {
    for number in 0..chaos.plan.late {
        let service = format!("late{number}");
        let first = chaos.crowd.create(&service, &[]).await;
        chaos.crowd.start(&first).await;
        chaos.wait_until_served(&service, &first).await;
        let second = chaos.crowd.create(&service, &["--listen-after", "2s"]).await;
        let steady =
            spawn_local(send_steadily(chaos.clone(), service.clone(), Duration::from_millis(3500)));
        chaos.crowd.start(&second).await;
        let longest = steady.await.unwrap();
        chaos
            .story
            .borrow_mut()
            .latencies
            .entry(LatencyKind::Late)
            .or_default()
            .push(to_micros(longest));
        chaos.crowd.end_container(&first, Fate::Stopped).await;
        chaos.crowd.end_container(&second, Fate::Stopped).await;

        let service = format!("alone{number}");
        let alone = chaos.crowd.create(&service, &["--listen-after", "2s"]).await;
        chaos.crowd.start(&alone).await;
        // The route exists now: requests wait for the container.
        sleep(Duration::from_millis(300)).await;
        send_waiting_requests(chaos, &service).await;
        chaos.crowd.end_container(&alone, Fate::Stopped).await;
    }
}

/// Sends a hundred requests a second, none of which may fail; returns the longest duration.
async fn send_steadily(chaos: Chaos, service: String, time: Duration) -> Duration {
    let mut tick = interval(Duration::from_millis(10));
    let begun = Instant::now();
    let mut shots = JoinSet::new();
    while begun.elapsed() < time {
        tick.tick().await;
        shots.spawn_local(time_request(chaos.clone(), service.clone()));
    }
    shots.join_all().await.into_iter().max().unwrap_or_default()
}

/// Sends ten requests at once that wait for the only container.
async fn send_waiting_requests(chaos: &Chaos, service: &str) {
    let mut shots = JoinSet::new();
    for _ in 0..10 {
        shots.spawn_local(time_request(chaos.clone(), service.to_owned()));
    }
    shots.join_all().await;
}

async fn time_request(chaos: Chaos, service: String) -> Duration {
    let number = chaos.story.borrow().probes;
    chaos.story.borrow_mut().probes += 1;
    let path = format!("/late/{number}");
    let at = Instant::now();
    let host = chaos.crowd.host(&service);
    let answer = chaos.entry.send_on_new(Protocol::Http, Kind::Probe, &path, &host).await;
    let after = at.elapsed();
    if let Err(failure) = answer {
        let (protocol, kind) = (Protocol::Http, Kind::Probe);
        let odd =
            Odd { protocol, kind, path, at, after, lag: Duration::ZERO, failure: Some(failure) };
        chaos.story.borrow_mut().odd.push(odd);
    }
    after
}

impl Prober {
    fn start(chaos: &Chaos, service: &str, a_tick: usize) -> Self {
        let shots: Rc<RefCell<Vec<Probe>>> = Rc::default();
        let entry = Rc::new(chaos.entry.clone());
        let host: Rc<str> = chaos.crowd.host(service).into();
        let shared = Rc::clone(&shots);
        let hammering = spawn_local(async move {
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut flying = JoinSet::new();
            loop {
                tick.tick().await;
                while flying.try_join_next().is_some() {}
                for _ in 0..a_tick {
                    let (shots, entry, host) =
                        (Rc::clone(&shared), Rc::clone(&entry), Rc::clone(&host));
                    if 200 < flying.len() {
                        break;
                    }
                    flying.spawn_local(async move {
                        let sent = now_nanos();
                        let (protocol, kind) = (Protocol::Http, Kind::Probe);
                        let answer = entry.send_on_new(protocol, kind, "/hammer", &host).await;
                        if let Ok(answer) = answer {
                            let (done, whoami) = (now_nanos(), answer.whoami);
                            shots.borrow_mut().push(Probe { sent, done, whoami });
                        }
                    });
                }
            }
        });
        Self { shots, hammering }
    }

    async fn until_answered_by(self, name: &str) -> Option<i64> {
        let answered = async {
            loop {
                let first = self
                    .shots
                    .borrow()
                    .iter()
                    .find(|shot| shot.whoami == name)
                    .map(|probe| probe.done);
                if let Some(done) = first {
                    return done;
                }
                sleep(TICK).await;
            }
        };
        let answered = timeout(Duration::from_secs(10), answered).await.ok();
        self.end().await;
        answered
    }

    async fn end(self) -> Vec<Probe> {
        self.hammering.abort();
        let _ = self.hammering.await;
        self.shots.take()
    }
}

impl Chaos {
    /// Records a latency in nanoseconds; a negative one counts as zero.
    fn record_latency(&self, channel: LatencyKind, nanos: i64) {
        let nanos = Duration::from_nanos(nanos.max(0).cast_unsigned());
        self.story.borrow_mut().latencies.entry(channel).or_default().push(to_micros(nanos));
    }
}

impl fmt::Display for LatencyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StartOwn => "start → first request served, a route of its own",
            Self::StartShared => "start → first request served, beside 2 others",
            Self::StartTen => "start → first request served, beside 10 others",
            Self::KillShared => "kill → last request sent, of 3",
            Self::KillTen => "kill → last request sent, of 11",
            Self::Late => "longest answer while a second container does not listen",
        })
    }
}
