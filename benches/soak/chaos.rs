//! Changes of the containers and of the balancer while clients send requests.

use crate::{
    alone,
    balancer::{Balancer, until_served},
    certificates::Certificates,
    crowd::{ContainerFleet, Fate},
    entry::{Entry, Protocol},
    latency::{self, Latencies},
    load::{Kind, Odd},
};
use futures_util::{StreamExt, stream};
use nix::sys::signal::Signal;
use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc, time::Duration};
use tokio::{
    task::{JoinSet, spawn_local},
    time::{Instant, sleep},
};

/// The service that changes, and one that does not.
pub(crate) const SERVICE: &str = "web";
pub(crate) const STILL: &str = "still";

/// How often each activity is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) rolls_a_round: usize,
    pub(crate) kills_a_round: usize,
    pub(crate) others: usize,
    pub(crate) restarts: usize,
    pub(crate) pause_between_restarts: Duration,
    pub(crate) pause_between_renewals: Duration,
    /// Samples of each latency.
    pub(crate) samples: usize,
    pub(crate) late: usize,
}

/// An activity during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    Rolling,
    Scaling,
    Killing,
    Others,
    Restarting,
    Latency,
    Alone,
    Renewing,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) doing: Activity,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// The activities of the run, and the errors of the probe requests.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) counts: BTreeMap<Activity, u64>,
    /// How many containers were drained, and how many of these drains succeeded.
    pub(crate) drains: u64,
    pub(crate) drained: u64,
    pub(crate) spans: Vec<Span>,
    pub(crate) odd: Vec<Odd>,
    pub(crate) probes: u64,
    pub(crate) never_served: Vec<String>,
    pub(crate) latencies: Latencies,
    pub(crate) alone: alone::Counts,
    /// Renewed certificates that no client received.
    pub(crate) never_received: usize,
}

#[derive(Clone)]
pub(crate) struct Chaos {
    pub(crate) crowd: Rc<ContainerFleet>,
    pub(crate) balancer: Rc<tokio::sync::RwLock<Balancer>>,
    pub(crate) certificates: Rc<Certificates>,
    pub(crate) entry: Entry,
    pub(crate) plan: Plan,
    pub(crate) story: Rc<RefCell<Story>>,
}

impl Chaos {
    /// Starts the service that changes, with one container, and the one that does not; then the balancer.
    pub(crate) async fn prepare(&self) -> String {
        let first = self.crowd.create(SERVICE, &[]).await;
        let still = self.crowd.create(STILL, &[]).await;
        self.crowd.start(&first).await;
        self.crowd.start(&still).await;
        self.balancer.write().await.start();
        until_served(self.entry.http).await;
        self.wait_until_served(SERVICE, &first).await;
        self.wait_until_served(STILL, &still).await;
        let missing = self.certificates.renew(&self.entry).await;
        assert_eq!(missing, 0, "both services are served over HTTPS");
        // Errors of probes before the services were available do not count.
        self.story.take();
        first
    }

    pub(crate) async fn run(&self, first: String) {
        let renewals = self.clone();
        let renewals = spawn_local(async move { renewals.renew_certificates().await });
        latency::measure_latencies(self).await;
        alone::measure_single_container(self).await;
        let (others, restarts) = (self.clone(), self.clone());
        let others = spawn_local(async move { others.churn_other_services().await });
        let restarts = spawn_local(async move { restarts.restart_balancer().await });
        let mut now = first;
        for round in 0..self.plan.rounds {
            let mut leaving = JoinSet::new();
            for roll in 0..self.plan.rolls_a_round {
                let number = round * self.plan.rolls_a_round + roll;
                now = self.roll_container(now, number, &mut leaving).await;
            }
            leaving.join_all().await;
            self.scale_service().await;
            now = self.replace_killed(now).await;
        }
        others.await.unwrap();
        restarts.await.unwrap();
        renewals.abort();
    }

    /// Renews the certificates until it is aborted.
    async fn renew_certificates(&self) {
        loop {
            sleep(self.plan.pause_between_renewals).await;
            let span = Span::begin(Activity::Renewing);
            let missing = self.certificates.renew(&self.entry).await;
            self.story.borrow_mut().never_received += missing;
            self.end_span(span);
        }
    }

    /// Starts a new container, waits until it has served, and stops the old one; every second old
    /// one is drained first. Draining waits for the requests in flight, but the next roll does not
    /// wait for it.
    async fn roll_container(
        &self,
        old: String,
        number: usize,
        leaving: &mut JoinSet<()>,
    ) -> String {
        let span = Span::begin(Activity::Rolling);
        let drained = number % 2 == 1;
        // The container that is started here is ended by the next roll.
        let drops = number.is_multiple_of(2);
        let arguments: &[&str] = if drops { &["--drop-on-term"] } else { &[] };
        let new = self.crowd.create(SERVICE, arguments).await;
        self.crowd.start(&new).await;
        self.wait_until_served(SERVICE, &new).await;
        if drained {
            let chaos = self.clone();
            leaving.spawn_local(async move { chaos.drain_and_end(&old).await });
        } else {
            self.crowd.end_container(&old, Fate::Stopped).await;
        }
        self.end_span(span);
        new
    }

    async fn drain_and_end(&self, old: &str) {
        let fate = if self.drain(old).await { Fate::Drained } else { Fate::Undrained };
        self.story.borrow_mut().drains += 1;
        self.story.borrow_mut().drained += u64::from(fate == Fate::Drained);
        self.crowd.end_container(old, fate).await;
    }

    /// Retries, because the balancer may be restarting.
    async fn drain(&self, container: &str) -> bool {
        for _ in 0..5 {
            if self.balancer.read().await.drain(container).await {
                return true;
            }
            sleep(Duration::from_millis(500)).await;
        }
        false
    }

    /// Scales the service from one container to ten and back.
    async fn scale_service(&self) {
        let span = Span::begin(Activity::Scaling);
        let start = async || {
            let new = self.crowd.create(SERVICE, &[]).await;
            self.crowd.start(&new).await;
            new
        };
        let new = run_three_at_a_time((0..9).map(|_| start())).await;
        for name in &new {
            self.wait_until_served(SERVICE, name).await;
        }
        run_three_at_a_time(new.iter().map(|name| self.crowd.end_container(name, Fate::Stopped)))
            .await;
        self.end_span(span);
    }

    /// With two containers: kills one and starts another, repeatedly.
    async fn replace_killed(&self, one: String) -> String {
        let span = Span::begin(Activity::Killing);
        let mut ready = std::collections::VecDeque::from([one, self.start_another().await]);
        for _ in 0..self.plan.kills_a_round {
            let victim = ready.pop_front().expect("there are two");
            self.crowd.end_container(&victim, Fate::Killed).await;
            ready.push_back(self.start_another().await);
            *self.story.borrow_mut().counts.entry(Activity::Killing).or_default() += 1;
        }
        let last = ready.pop_front().expect("there are two");
        self.crowd.end_container(&last, Fate::Stopped).await;
        self.end_span(span);
        *self.story.borrow_mut().counts.entry(Activity::Killing).or_default() -= 1;
        ready.pop_front().expect("there were two")
    }

    async fn start_another(&self) -> String {
        let new = self.crowd.create(SERVICE, &[]).await;
        self.crowd.start(&new).await;
        self.wait_until_served(SERVICE, &new).await;
        new
    }

    /// Creates and removes services with hosts of their own.
    async fn churn_other_services(&self) {
        for number in 0..self.plan.others {
            let span = Span::begin(Activity::Others);
            let service = format!("other{number}");
            let name = self.crowd.create(&service, &[]).await;
            self.crowd.start(&name).await;
            self.wait_until_served(&service, &name).await;
            let fate = if number % 2 == 0 { Fate::Stopped } else { Fate::Killed };
            self.crowd.end_container(&name, fate).await;
            self.end_span(span);
        }
    }

    /// Ends the balancer, alternately by SIGKILL and SIGTERM, and starts it again.
    async fn restart_balancer(&self) {
        for number in 0..self.plan.restarts {
            sleep(self.plan.pause_between_restarts).await;
            let span = Span::begin(Activity::Restarting);
            let signal = if number % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
            {
                let mut balancer = self.balancer.write().await;
                balancer.end(signal).await;
                sleep(Duration::from_millis(300)).await;
                balancer.start();
            }
            sleep(Duration::from_secs(1)).await;
            self.end_span(span);
        }
    }

    /// Sends probes until this container has answered.
    pub(crate) async fn wait_until_served(&self, service: &str, name: &str) {
        let host = self.crowd.host(service);
        let begun = Instant::now();
        // An unknown host is not an error until it has been served for the first time.
        let mut flag = service == SERVICE;
        while begun.elapsed() < Duration::from_secs(30) {
            let probe = self.story.borrow().probes;
            let path = format!("/probe/{probe}");
            let at = Instant::now();
            let answer = self.entry.send_on_new(Protocol::Http, Kind::Probe, &path, &host).await;
            self.story.borrow_mut().probes += 1;
            match answer {
                Ok(answer) if answer.whoami == name => return,
                Ok(_) => flag = true,
                Err(failure) if flag => {
                    let after = at.elapsed();
                    let odd = Odd {
                        protocol: Protocol::Http,
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

    pub(crate) fn end_span(&self, span: Span) {
        let mut story = self.story.borrow_mut();
        *story.counts.entry(span.doing).or_default() += 1;
        story.spans.push(Span { to: Instant::now(), ..span });
    }
}

/// Runs three tasks at a time.
async fn run_three_at_a_time<T>(tasks: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(tasks).buffer_unordered(3).collect().await
}

impl Span {
    pub(crate) fn begin(doing: Activity) -> Self {
        let now = Instant::now();
        Self { doing, from: now, to: now }
    }
}

impl Plan {
    pub(crate) fn from_word(word: &str) -> Self {
        let usual = Self {
            rounds: 10,
            rolls_a_round: 10,
            kills_a_round: 2,
            others: 100,
            restarts: 10,
            pause_between_restarts: Duration::from_secs(15),
            pause_between_renewals: Duration::from_secs(5),
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

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rolling => "rolled",
            Self::Scaling => "scaled 1 → 10 → 1",
            Self::Killing => "killed and replaced",
            Self::Others => "other services created and removed",
            Self::Restarting => "balancer killed and restarted",
            Self::Latency => "latencies measured",
            Self::Alone => "only container of a route replaced and stopped",
            Self::Renewing => "two certificates renewed",
        })
    }
}
