//! What happens to the containers and to the balancer while clients ask.

use crate::{
    alone,
    balancer::{Balancer, until_served},
    crowd::{Crowd, Fate},
    latency::{self, Latencies},
    load::{Kind, Odd, on_new, request},
};
use futures_util::{StreamExt, stream};
use nix::sys::signal::Signal;
use std::{cell::RefCell, collections::BTreeMap, fmt, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    task::{JoinSet, spawn_local},
    time::{Instant, sleep},
};

/// The service that changes, and one that stays.
pub(crate) const SERVICE: &str = "web";
pub(crate) const STILL: &str = "still";

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) rolls_a_round: usize,
    pub(crate) kills_a_round: usize,
    pub(crate) others: usize,
    pub(crate) restarts: usize,
    pub(crate) pause_between_restarts: Duration,
    /// Of each latency.
    pub(crate) samples: usize,
    pub(crate) late: usize,
}

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doing {
    Rolling,
    Scaling,
    Killing,
    Others,
    Restarting,
    Latency,
    Alone,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) doing: Doing,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// What was done, and what went wrong with our own requests meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) counts: BTreeMap<Doing, u64>,
    pub(crate) drained: u64,
    pub(crate) spans: Vec<Span>,
    pub(crate) odd: Vec<Odd>,
    pub(crate) probes: u64,
    pub(crate) never_served: Vec<String>,
    pub(crate) latencies: Latencies,
    pub(crate) alone: alone::Counts,
}

#[derive(Debug, Clone)]
pub(crate) struct Chaos {
    pub(crate) crowd: Rc<Crowd>,
    pub(crate) balancer: Rc<tokio::sync::RwLock<Balancer>>,
    pub(crate) at: SocketAddr,
    pub(crate) plan: Plan,
    pub(crate) story: Rc<RefCell<Story>>,
    pub(crate) can_drain: bool,
}

impl Chaos {
    /// A service of one container and one that stays; the balancer comes when both are there.
    pub(crate) async fn prepare(&self) -> String {
        let first = self.crowd.create(SERVICE, &[]).await;
        let still = self.crowd.create(STILL, &[]).await;
        self.crowd.start(&first).await;
        self.crowd.start(&still).await;
        self.balancer.write().await.start();
        until_served(self.at).await;
        self.served(SERVICE, &first).await;
        self.served(STILL, &still).await;
        // What our requests met before anything was there is not the story.
        self.story.take();
        first
    }

    pub(crate) async fn run(&self, first: String) {
        latency::measure(self).await;
        alone::measure(self).await;
        let (others, restarts) = (self.clone(), self.clone());
        let others = spawn_local(async move { others.others().await });
        let restarts = spawn_local(async move { restarts.restarts().await });
        let mut now = first;
        for round in 0..self.plan.rounds {
            let mut leaving = JoinSet::new();
            for roll in 0..self.plan.rolls_a_round {
                let number = round * self.plan.rolls_a_round + roll;
                now = self.roll(now, number, &mut leaving).await;
            }
            leaving.join_all().await;
            self.scale().await;
            now = self.kills(now).await;
        }
        others.await.unwrap();
        restarts.await.unwrap();
    }

    /// Start new, wait until it has served, stop old: every second one is drained before.
    /// The draining waits for what is under way, and the next roll does not wait for that.
    async fn roll(&self, old: String, number: usize, leaving: &mut JoinSet<()>) -> String {
        let span = Span::begin(Doing::Rolling);
        let drained = self.can_drain && number % 2 == 1;
        // It is the next roll that ends what this one starts.
        let drops = self.can_drain && number.is_multiple_of(2);
        let arguments: &[&str] = if drops { &["--drop-on-term"] } else { &[] };
        let new = self.crowd.create(SERVICE, arguments).await;
        self.crowd.start(&new).await;
        self.served(SERVICE, &new).await;
        if drained {
            let chaos = self.clone();
            leaving.spawn_local(async move { chaos.drained(&old).await });
        } else {
            self.crowd.end(&old, Fate::Stopped).await;
        }
        self.end(span);
        new
    }

    async fn drained(&self, old: &str) {
        let fate = if self.drain(old).await { Fate::Drained } else { Fate::Undrained };
        self.story.borrow_mut().drained += u64::from(fate == Fate::Drained);
        self.crowd.end(old, fate).await;
    }

    /// The balancer may be away for a moment: whoever drains tries again.
    async fn drain(&self, container: &str) -> bool {
        for _ in 0..5 {
            if self.balancer.read().await.drain(container).await {
                return true;
            }
            sleep(Duration::from_millis(500)).await;
        }
        false
    }

    /// One becomes ten and one again.
    async fn scale(&self) {
        let span = Span::begin(Doing::Scaling);
        let start = async || {
            let new = self.crowd.create(SERVICE, &[]).await;
            self.crowd.start(&new).await;
            new
        };
        let new = a_few((0..9).map(|_| start())).await;
        for name in &new {
            self.served(SERVICE, name).await;
        }
        a_few(new.iter().map(|name| self.crowd.end(name, Fate::Stopped))).await;
        self.end(span);
    }

    /// With two of them: one dies, another takes its place.
    async fn kills(&self, one: String) -> String {
        let span = Span::begin(Doing::Killing);
        let mut ready = std::collections::VecDeque::from([one, self.another().await]);
        for _ in 0..self.plan.kills_a_round {
            let victim = ready.pop_front().expect("there are two");
            self.crowd.end(&victim, Fate::Killed).await;
            ready.push_back(self.another().await);
            *self.story.borrow_mut().counts.entry(Doing::Killing).or_default() += 1;
        }
        let last = ready.pop_front().expect("there are two");
        self.crowd.end(&last, Fate::Stopped).await;
        self.end(span);
        *self.story.borrow_mut().counts.entry(Doing::Killing).or_default() -= 1;
        ready.pop_front().expect("there were two")
    }

    async fn another(&self) -> String {
        let new = self.crowd.create(SERVICE, &[]).await;
        self.crowd.start(&new).await;
        self.served(SERVICE, &new).await;
        new
    }

    /// Services of their own hosts come and go.
    async fn others(&self) {
        for number in 0..self.plan.others {
            let span = Span::begin(Doing::Others);
            let service = format!("other{number}");
            let name = self.crowd.create(&service, &[]).await;
            self.crowd.start(&name).await;
            self.served(&service, &name).await;
            let fate = if number % 2 == 0 { Fate::Stopped } else { Fate::Killed };
            self.crowd.end(&name, fate).await;
            self.end(span);
        }
    }

    /// The balancer dies, in turn by SIGKILL and SIGTERM, and comes again.
    async fn restarts(&self) {
        for number in 0..self.plan.restarts {
            sleep(self.plan.pause_between_restarts).await;
            let span = Span::begin(Doing::Restarting);
            let signal = if number % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
            {
                let mut balancer = self.balancer.write().await;
                balancer.end(signal).await;
                sleep(Duration::from_millis(300)).await;
                balancer.start();
            }
            sleep(Duration::from_secs(1)).await;
            self.end(span);
        }
    }

    /// Asks until that container has answered.
    pub(crate) async fn served(&self, service: &str, name: &str) {
        let host = self.crowd.host(service);
        let begun = Instant::now();
        // A host that nobody knows yet is no error; afterwards it is.
        let mut known = service == SERVICE;
        while begun.elapsed() < Duration::from_secs(30) {
            let probe = self.story.borrow().probes;
            let path = format!("/probe/{probe}");
            let at = Instant::now();
            let answer = on_new(self.at, &request(Kind::Probe, &path, &host)).await;
            self.story.borrow_mut().probes += 1;
            match answer {
                Ok(answer) if answer.whoami == name => return,
                Ok(_) => known = true,
                Err(failure) if known => {
                    let after = at.elapsed();
                    let odd = Odd {
                        kind: Kind::Probe,
                        path,
                        at,
                        after,
                        lag: Duration::ZERO,
                        failure: Some(failure),
                    };
                    self.story.borrow_mut().odd.push(odd);
                }
                Err(_) => {}
            }
            sleep(Duration::from_millis(3)).await;
        }
        self.story.borrow_mut().never_served.push(name.to_owned());
    }

    pub(crate) fn end(&self, span: Span) {
        let mut story = self.story.borrow_mut();
        *story.counts.entry(span.doing).or_default() += 1;
        story.spans.push(Span { to: Instant::now(), ..span });
    }
}

/// Three at a time.
async fn a_few<T>(tasks: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(tasks).buffer_unordered(3).collect().await
}

impl Span {
    pub(crate) fn begin(doing: Doing) -> Self {
        let now = Instant::now();
        Self { doing, from: now, to: now }
    }
}

impl Plan {
    pub(crate) fn of(word: &str) -> Self {
        let usual = Self {
            rounds: 10,
            rolls_a_round: 10,
            kills_a_round: 2,
            others: 100,
            restarts: 10,
            pause_between_restarts: Duration::from_secs(15),
            samples: 20,
            late: 2,
        };
        match word {
            "short" => Self {
                rounds: 1,
                others: 10,
                restarts: 2,
                pause_between_restarts: Duration::from_secs(3),
                samples: 5,
                late: 1,
                ..usual
            },
            "long" => {
                Self { rounds: 120, others: 1200, restarts: 120, samples: 100, late: 10, ..usual }
            }
            _ => usual,
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rolling => "rolled",
            Self::Scaling => "scaled 1 → 10 → 1",
            Self::Killing => "killed and replaced",
            Self::Others => "other services created and removed",
            Self::Restarting => "balancer killed and restarted",
            Self::Latency => "latencies measured",
            Self::Alone => "only container of a route replaced and stopped",
        })
    }
}
