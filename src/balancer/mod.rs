//! One pass: the world → what is decided → what HAProxy does. The only place that knows both neighbours.
//!
//! What the runtime API can change is changed at once, and the files follow; what it cannot takes a
//! reload, files first. Either way HAProxy is asked afterwards what it has.

mod behind;
mod exporter;
mod health;
pub mod journal;
mod lanes;
mod measure;
pub mod past;
mod refusal;
mod rests;
pub mod way;

pub use behind::Happening;

use crate::{
    backoff::Backoff,
    budget::Budget,
    claim::HostOwner,
    container::{Container, ContainerId},
    control::{failure::Failure, find},
    decide::{self, Decided, Memory, Rules},
    haproxy::{
        config::{Config, MapName},
        growth::Growth,
        inverse,
        layout::Layout,
        name,
        observed::{self, Observed},
        old_workers::OldWorkers,
        proxy::{self, How, Proxy},
        render::Frame,
        requeue::Requeue,
        sessions::Sessions,
        step::{self, Leftover},
    },
    label::{self, value::HostMatch},
    metrics::Metrics,
    problem_set::ProblemSet,
    reload::Why,
    route::{Listener, Readiness, Route, RouteKey, Routes},
    told::{self, Told},
    view::{
        self, Applied, Picture,
        history::{Delta, History},
    },
    world::{Vantage, World},
};
use anyhow::{Result, bail};
use behind::{Deaths, FilesBehind};
use exporter::Exporter;
use health::Patrol;
use journal::Journal;
use rests::Rests;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tracing::{debug, info, warn};
use way::Maker;

/// How often in one pass HAProxy may find something impossible.
const MOST_TRIES: usize = 32;
/// How long what HAProxy has is believed unseen.
const BELIEF: Duration = Duration::from_secs(30);
/// Until it is asked again what it did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Until a reload that could not be had is tried again.
const RELOAD_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// From worlds to a running HAProxy.
#[derive(Debug)]
pub struct Balancer {
    pub proxy: Proxy,
    rules: Rules,
    frame: Frame,
    /// How many spare backends of each shape a new worker gets.
    stock: usize,
    memory: Memory,
    told: Told,
    served: Routes,
    /// When this balancer began, and the last pass that changed something.
    since_ms: u64,
    last: Option<Applied>,
    history: History,
    /// What an earlier run served last, until the first pass.
    served_before: Option<Routes>,
    /// Who has which hosts, as it was kept last.
    owners: Arc<BTreeMap<HostMatch, HostOwner>>,
    /// `None` where nobody keeps the history.
    journal: Option<Journal>,
    metrics: Metrics,
    /// When events were heard that HAProxy does not follow yet.
    heard: Vec<Instant>,
    exporter: Exporter,
    budget: Budget,
    running: Running,
    files: FilesBehind,
    patrol: Patrol,
    /// A reload that could not be had.
    overdue: Option<Overdue>,
    deaths: Deaths,
}

/// A reload that could not be had, and when it is tried again. Until then the runtime API does what it can.
#[derive(Debug)]
struct Overdue {
    text: String,
    until: Instant,
    backoff: Backoff,
}

/// What a pass came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// When to look again though nothing changes.
    pub wake_at: Option<Instant>,
    /// Why what needs a reload is not applied, where that is so.
    pub overdue: Option<String>,
}

/// What is known of HAProxy as it runs.
#[derive(Debug, Default)]
struct Running {
    /// `None` until it was asked, and after it said something unexpected.
    observed: Option<Observed>,
    asked: Option<Instant>,
    /// The last configuration that was loaded or applied, for saying what is different.
    config: Arc<Config>,
    /// It has what `config` says, which was made of what is served, but for this.
    settled: Option<Leftover>,
    /// Commands did not get it to where it should be.
    astray: bool,
    /// How long the last deletion that was refused waits.
    delete_again: Duration,
    /// Backends that no other route is given yet.
    rests: Rests,
    /// Those that a reload has left; told what changes for as long as there are any.
    old_workers: Option<OldWorkers>,
    /// There may be some that nobody accompanies yet.
    may_have_old: bool,
}

/// How a desired state is reached.
enum Way {
    Runtime(Config),
    Load(Config, Why),
    /// A reload would be needed and is not to be had before that time.
    Wait(Config, Why, Instant),
}

/// What a step did, for the log.
enum Did {
    Nothing,
    Runtime { commands: usize },
    Loaded(proxy::Applied, Why),
}

impl Balancer {
    /// Remembers the routes that an earlier run has left behind, in HAProxy or at least on disk.
    pub async fn new(mut proxy: Proxy, rules: Rules, frame: Frame, stock: usize) -> Self {
        let observed = proxy.observe().await;
        let map = match &observed {
            Some(observed) => observed.maps.get(&MapName::Routes).cloned().unwrap_or_default(),
            None => observed::map_file(&proxy.stored("routes.map").unwrap_or_default()),
        };
        let now = Instant::now();
        // Those that nobody was behind have been held already.
        let held = format!("{} ", name::NOBODY);
        let served = map.iter().filter(|(_, value)| !value.starts_with(&held));
        let mut memory = Memory::of_routes(served.filter_map(|(key, _)| key.parse().ok()), now);
        if let Some(observed) = &observed {
            memory.recall(&inverse::routes(observed));
        }
        let asked = observed.is_some().then_some(now);
        let running = Running { asked, observed, may_have_old: true, ..Running::default() };
        let metrics = Metrics::new(proxy.version());
        let (told, served, files, heard, exporter) = Default::default();
        let patrol = Patrol::default();
        let budget = Budget::full(now);
        let (since_ms, last) = (wall_clock(), None);
        let (history, served_before, owners, journal, overdue) = Default::default();
        Self {
            proxy,
            rules,
            frame,
            stock,
            memory,
            told,
            served,
            since_ms,
            last,
            history,
            served_before,
            owners,
            journal,
            metrics,
            heard,
            exporter,
            budget,
            running,
            files,
            patrol,
            overdue,
            deaths: Deaths::default(),
        }
    }

    /// From where HAProxy looks at the containers.
    pub fn stand_at(&mut self, vantage: Vantage) {
        self.rules.vantage = vantage;
    }

    /// Whether it looks at the containers from there already.
    pub fn stands_at(&self, vantage: &Vantage) -> bool {
        self.rules.vantage == *vantage
    }

    /// The container that somebody means, of those that take part.
    pub fn find<'a>(&self, world: &'a World, text: &str) -> Result<&'a Container, Failure> {
        let all = world.containers.values().map(AsRef::as_ref);
        find::find(all.filter(|it| label::takes_part(it, &self.rules.fences)), text)
    }

    /// From the next pass on the container gets no new requests.
    pub fn drain(&mut self, id: &ContainerId) {
        self.memory.drain(id);
    }

    pub fn undrain(&mut self, id: &ContainerId) {
        self.memory.undrain(id);
    }

    /// Where a container's requests are counted; `None` while it is not known what HAProxy has.
    pub fn sessions(&self, id: &ContainerId) -> Option<Sessions> {
        let observed = self.running.observed.as_ref()?;
        Some(self.proxy.sessions(observed, id.short()))
    }

    /// The routes that the container shares and that no container serves.
    pub fn unserved(&self, id: &ContainerId) -> Vec<String> {
        let shares = |route: &Route| route.endpoints.iter().any(|it| it.origin.id() == id.short());
        let is_served =
            |route: &Route| route.endpoints.iter().any(|it| it.readiness == Readiness::Ready);
        let unserved = self.served.0.iter().filter(|(_, it)| shares(it) && !is_served(it));
        unserved.map(|(key, _)| key.to_string()).collect()
    }

    /// Nothing that was heard of HAProxy is believed any more: the next pass asks for all of it.
    pub fn doubt(&mut self) {
        self.running.asked = None;
        self.overdue = None;
        self.memory.unloadable.clear();
    }

    /// HAProxy of ours ends again and again, and a pause is made before the next start.
    pub fn waits_for_restart(&self) -> bool {
        self.deaths.restart_at.is_some()
    }

    /// Whether one runs, with what it was given by an earlier balancer.
    pub fn has_haproxy(&self) -> bool {
        self.running.observed.is_some()
    }

    /// All that is known now, for those who only look.
    pub fn picture(&self, world: Option<Arc<World>>, link: Link) -> Picture {
        Picture {
            at_ms: wall_clock(),
            now: Instant::now(),
            since_ms: self.since_ms,
            world,
            docker_is_there: link.docker_is_there,
            docker_age: link.docker_age,
            rules: self.rules.clone(),
            memory: self.memory.clone(),
            routes: self.served.clone(),
            problems: self.problems(),
            config: Arc::clone(&self.running.config),
            haproxy: view::Haproxy {
                version: self.proxy.version(),
                pid: self.proxy.pid(),
                managed: self.proxy.is_managed(),
                answers: self.running.observed.is_some(),
            },
            last: self.last.clone(),
            trouble: link.trouble,
            history: self.history.clone(),
        }
    }

    fn problems(&self) -> ProblemSet {
        let mut problems = self.told.problems().clone();
        problems.extend(self.patrol.problems().iter().cloned());
        problems
    }

    /// How many routes are served.
    pub fn routes(&self) -> usize {
        self.served.0.len()
    }

    /// Makes HAProxy do what the world asks for, less what turns out to be impossible: that is told.
    /// Where a reload cannot be had, what needs none is done all the same.
    ///
    /// # Errors
    /// When nothing could be applied; what ran before runs on.
    pub async fn pass(&mut self, world: &World, cause: &str) -> Result<Passed> {
        let begun = Instant::now();
        self.try_exporter_again(begun);
        self.running.rests.at(begun);
        let unloadable = self.memory.unloadable.clone();
        for _ in 0..MOST_TRIES {
            let mut decided = self.decide(world, begun);
            let mut wake_at = decided.wake_at;
            if let Some(did) = self.step(&decided.routes, begun).await {
                self.succeeded(&did);
                self.done(decided, &did, cause, begun);
                return Ok(self.passed(wake_at));
            }
            self.running.settled = None;
            let mut waits = false;
            let did = match self.way(&decided.routes, begun).await {
                Way::Runtime(config) => self.change(config).await?,
                Way::Wait(config, why, until) => {
                    debug!("a reload has to wait: {why}");
                    wake_at = Some(wake_at.map_or(until, |at| at.min(until)));
                    waits = true;
                    self.change(config).await?
                }
                Way::Load(config, why) => match self.load(&decided.routes, config, why).await {
                    Ok(did) => {
                        if did.is_some() {
                            self.overdue = None;
                        }
                        did
                    }
                    Err(error) => {
                        // Nobody is to blame who was left out in vain.
                        if self.memory.unloadable != unloadable {
                            self.memory.unloadable = unloadable.clone();
                            decided = self.decide(world, begun);
                        }
                        waits = true;
                        let did = self.change_without_reload(&decided.routes).await;
                        self.postpone(&error);
                        Some(did.ok_or(error)?)
                    }
                },
            };
            if let Some(did) = did {
                self.running.settled = if waits { None } else { self.leftover() };
                if !waits {
                    self.succeeded(&did);
                }
                self.done(decided, &did, cause, begun);
                return Ok(self.passed(wake_at));
            }
        }
        bail!("HAProxy refused {MOST_TRIES} versions of the configuration")
    }

    fn decide(&mut self, world: &World, now: Instant) -> Decided {
        let mut decided = decide::decide(world, mem::take(&mut self.memory), now, &self.rules);
        self.memory = mem::take(&mut decided.memory);
        decided
    }

    /// The reload that failed is tried again after a pause that grows.
    fn postpone(&mut self, error: &anyhow::Error) {
        let now = Instant::now();
        let before = self.overdue.take().map(|overdue| overdue.backoff);
        let mut backoff = before.unwrap_or_else(|| Backoff::new(RELOAD_AGAIN.0, RELOAD_AGAIN.1));
        let until = now + backoff.pause_after(Duration::ZERO);
        self.overdue = Some(Overdue { text: format!("{error:#}"), until, backoff });
    }

    fn passed(&self, wake_at: Option<Instant>) -> Passed {
        let until = self.overdue.as_ref().map(|overdue| overdue.until);
        let wake_at = self.wake([wake_at, until].into_iter().flatten().min());
        Passed { wake_at, overdue: self.overdue.as_ref().map(|overdue| overdue.text.clone()) }
    }

    /// Chooses between the runtime API and a reload.
    async fn way(&mut self, routes: &Routes, now: Instant) -> Way {
        self.ask_when_stale(now).await;
        let Some(observed) = &self.running.observed else {
            return self.way_to_load(routes, Why::NotKnown).await;
        };
        let (config, why) = self.maker().within(routes, observed, &self.running.config);
        let why = if self.running.astray { Some(Why::Astray) } else { why };
        let Some(why) = why else {
            self.overdue = None;
            return Way::Runtime(config);
        };
        if let Some(overdue) = self.overdue.as_ref().filter(|overdue| now < overdue.until) {
            return Way::Wait(self.without_reload(routes), why, overdue.until);
        }
        let old_workers = self.proxy.old_workers().await;
        match self.budget.take(now, old_workers) {
            Ok(()) => self.way_to_load(routes, why).await,
            Err(until) => Way::Wait(self.without_reload(routes), why, until),
        }
    }

    /// The files are made for the HAProxy that will read them: it may have been replaced by another version.
    async fn way_to_load(&mut self, routes: &Routes, why: Why) -> Way {
        if let Some(build) = self.proxy.replaced_build().await {
            let version = build.version;
            info!("HAProxy {version} is installed now, for which the configuration is made");
            self.frame.growth = Growth::of(version, &self.frame.base);
            self.frame.requeue = Requeue::of(build, &self.frame.base, self.frame.key);
        }
        Way::Load(self.fresh(routes), why)
    }

    /// `None`: it is not known to have what it was given.
    fn leftover(&self) -> Option<Leftover> {
        step::leftover(self.running.observed.as_ref()?, &self.running.config)
    }

    fn is_stale(&self, now: Instant) -> bool {
        let fresh = self.running.asked.is_some_and(|asked| now < asked + BELIEF);
        !fresh || self.running.observed.is_none()
    }

    async fn ask_when_stale(&mut self, now: Instant) {
        if !self.is_stale(now) {
            return;
        }
        let before = self.running.observed.take();
        self.running.observed = self.proxy.observe().await;
        self.running.asked = Some(now);
        self.running.may_have_old = true;
        if let (Some(before), Some(after)) = (before, &self.running.observed)
            && !after.agrees_with(&before)
        {
            warn!("HAProxy does not have what it was given; it is repaired");
            self.metrics.drifted();
        }
    }

    /// As much of it as the worker that runs can take.
    fn without_reload(&self, routes: &Routes) -> Config {
        let observed = self.running.observed.clone().unwrap_or_default();
        let had = &self.running.config.frontends;
        let bound = self.bound();
        let mut routes = routes.clone();
        routes.0.retain(|key, _| bound.contains(&key.listener));
        let (layout, _) = Layout::within(&routes, &observed, self.running.rests.names());
        let mut config = self.config(&routes, layout);
        if !had.is_empty() {
            config.frontends.clone_from(had);
        }
        config.skeleton = observed.skeleton;
        config
    }

    /// The listeners that the worker has which runs.
    fn bound(&self) -> BTreeSet<Listener> {
        // What an earlier balancer left running is known by its routes alone.
        let observed = self.running.observed.iter();
        let keys = observed.flat_map(|it| it.map(MapName::Routes));
        let keys = keys.filter_map(|(key, _)| key.parse().ok());
        let had = self.running.config.frontends.iter().map(|frontend| frontend.listener);
        keys.map(|key: RouteKey| key.listener).chain(had).collect()
    }

    fn maker(&self) -> Maker<'_> {
        let resting = self.running.rests.names();
        Maker { rules: &self.rules, frame: &self.frame, stock: self.stock, resting }
    }

    fn fresh(&self, routes: &Routes) -> Config {
        self.maker().fresh(routes)
    }

    fn config(&self, routes: &Routes, layout: Layout) -> Config {
        self.maker().config(routes, layout)
    }

    fn wake(&self, wake_at: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let again = Some(self.running.delete_again).filter(|pause| !pause.is_zero());
        let again = again.map(|pause| now + pause);
        let stale = match &self.running.observed {
            Some(_) => self.running.asked.map(|asked| asked + BELIEF),
            None => Some(now + ASK_AGAIN),
        };
        [wake_at, again, stale, self.exporter.wake_at()].into_iter().flatten().min()
    }

    fn tell_old_workers(&mut self) {
        let Running { config, old_workers, may_have_old, .. } = &mut self.running;
        if old_workers.as_ref().is_some_and(|it| it.tell(config)) {
            return;
        }
        let look = mem::take(may_have_old);
        *old_workers = if look { self.proxy.accompany_old_workers(config) } else { None };
    }

    fn done(&mut self, mut decided: Decided, did: &Did, cause: &str, begun: Instant) {
        self.tell_old_workers();
        self.measure(did);
        decided.problems.extend(self.exporter.problem());
        self.told.tell(decided.problems);
        let delta = Delta::between(&self.served, &decided.routes);
        let changes = delta.changes(usize::MAX);
        changes.iter().for_each(told::tell_change);
        let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
        let keys: Vec<_> = delta.0.keys().map(ToString::to_string).collect();
        self.served = decided.routes;
        let (routes, took) = (self.routes(), begun.elapsed());
        self.record(delta, did, cause, took);
        self.keep_owners();
        self.servers_changed(&keys);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(how) = did.how() {
            let (at_ms, cause) = (wall_clock(), cause.to_owned());
            self.last = Some(Applied { at_ms, cause, how, took, changes });
        }
        match did {
            Did::Nothing => {}
            Did::Runtime { commands } => info!(cause, routes, commands, us, "told HAProxy"),
            Did::Loaded(applied, why) => {
                if let Some(backup) = &applied.backup {
                    warn!("the configuration that was there is kept as {}", backup.display());
                }
                match applied.how {
                    How::Unchanged => {}
                    How::Started if self.deaths.is_repeated => {
                        debug!(cause, routes, us, "started HAProxy");
                    }
                    How::Started => info!(cause, routes, us, "started HAProxy"),
                    How::Reloaded => {
                        info!(cause, routes, us, reason = why.kind(), "reloaded HAProxy: {why}");
                    }
                }
            }
        }
    }
}

impl Did {
    /// `None` where nothing was done.
    fn how(&self) -> Option<view::How> {
        match self {
            Self::Nothing => None,
            Self::Runtime { commands } => Some(view::How::Runtime { commands: *commands }),
            Self::Loaded(applied, why) => match applied.how {
                How::Unchanged => None,
                How::Started => Some(view::How::Started),
                How::Reloaded => Some(view::How::Reloaded { why: why.to_string() }),
            },
        }
    }
}

/// What the balancer itself does not know of how things stand.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Docker's events are heard.
    pub docker_is_there: bool,
    /// Since Docker was heard.
    pub docker_age: Duration,
    /// Why the last pass failed.
    pub trouble: Option<String>,
}

/// Milliseconds since 1970.
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until then; for ever where there is no time.
pub async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
