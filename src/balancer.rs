//! One pass: the world → what is decided → what HAProxy does. The only file that knows both neighbours.
//!
//! What the runtime API can change is changed at once, and the files follow; what it cannot takes a
//! reload, files first. Either way HAProxy is asked afterwards what it has.

use crate::{
    budget::Budget,
    change,
    container::{Container, ContainerId},
    control::{failure::Failure, find},
    decide::{self, Decided, Memory, Rules, Taken},
    haproxy::{
        check::Refusal,
        command::{Command, Health},
        config::{Admin, Config, MapName, Probe},
        error::ApplyError,
        files::Files,
        layout::Layout,
        name,
        observed::{self, Observed},
        plan::plan,
        proxy::{Applied, How, Proxy},
        render::{self, Base, Frame},
        runtime::RuntimeError,
        sessions::Sessions,
    },
    label,
    reload::Why,
    route::{RouteKey, Routes},
    told::Told,
    world::{Vantage, World},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

/// How often in one pass HAProxy may find something impossible.
const MOST_TRIES: usize = 32;
/// How long what HAProxy has is believed unseen.
const BELIEF: Duration = Duration::from_secs(30);
/// Until it is asked again what it did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A burst of changes is one file.
const FILES_AFTER: Duration = Duration::from_millis(200);
/// Until files that could not be written are written again.
const FILES_AGAIN: Duration = Duration::from_secs(5);
/// Until a server whose connections have not ended is tried to be deleted again.
const DELETE_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

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
    budget: Budget,
    running: Running,
    files: FilesBehind,
}

/// What is known of HAProxy as it runs.
#[derive(Debug, Default)]
struct Running {
    /// `None` until it was asked, and after it said something unexpected.
    observed: Option<Observed>,
    asked: Option<Instant>,
    /// The last configuration that was loaded or applied, for saying what is different.
    config: Config,
    /// Commands did not get it to where it should be.
    astray: bool,
    /// How long the last deletion that was refused waits.
    delete_again: Duration,
}

/// The files that follow what was said over the runtime API.
#[derive(Debug, Default)]
struct FilesBehind {
    due: Option<Instant>,
    writing: Option<JoinHandle<Result<String, ApplyError>>>,
    /// The last failure, told once.
    trouble: Option<String>,
}

/// Why a pass is needed though the world is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Died,
    /// The file of what HAProxy was told was refused.
    Refused,
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
    Loaded(Applied, Why),
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
        let memory = Memory::of_routes(served.filter_map(|(key, _)| key.parse().ok()), now);
        let running =
            Running { asked: observed.is_some().then_some(now), observed, ..Running::default() };
        let (told, served, files) = Default::default();
        let budget = Budget::full(now);
        Self { proxy, rules, frame, stock, memory, told, served, budget, running, files }
    }

    /// From where HAProxy looks at the containers.
    pub fn stand_at(&mut self, vantage: Vantage) {
        self.rules.vantage = vantage;
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

    /// Nothing that was heard of HAProxy is believed any more: the next pass asks for all of it.
    pub fn doubt(&mut self) {
        self.running.asked = None;
    }

    /// How many routes are served.
    pub fn routes(&self) -> usize {
        self.served.0.len()
    }

    /// Makes HAProxy do what the world asks for, less what turns out to be impossible: that is told.
    /// Returns when to look again though nothing changes.
    ///
    /// # Errors
    /// When nothing could be applied; what ran before runs on.
    pub async fn pass(&mut self, world: &World, cause: &str) -> Result<Option<Instant>> {
        let begun = Instant::now();
        for _ in 0..MOST_TRIES {
            let decided = self.decide(world, begun);
            let mut wake_at = decided.wake_at;
            let config = match self.way(&decided.routes, begun).await {
                Way::Runtime(config) => config,
                Way::Wait(config, why, until) => {
                    debug!("a reload has to wait: {why}");
                    wake_at = Some(wake_at.map_or(until, |at| at.min(until)));
                    config
                }
                Way::Load(config, why) => match self.load(&decided.routes, config, why).await? {
                    Some(did) => {
                        self.done(decided, &did, cause, begun);
                        return Ok(self.wake(wake_at));
                    }
                    None => continue,
                },
            };
            let did = self.change(config).await?;
            if let Some(did) = did {
                self.done(decided, &did, cause, begun);
                return Ok(self.wake(wake_at));
            }
        }
        bail!("HAProxy refused {MOST_TRIES} versions of the configuration")
    }

    fn decide(&mut self, world: &World, now: Instant) -> Decided {
        let mut decided = decide::decide(world, mem::take(&mut self.memory), now, &self.rules);
        self.memory = mem::take(&mut decided.memory);
        decided
    }

    /// Chooses between the runtime API and a reload.
    async fn way(&mut self, routes: &Routes, now: Instant) -> Way {
        self.ask_when_stale(now).await;
        let Some(observed) = &self.running.observed else {
            return Way::Load(self.fresh(routes), Why::NotKnown);
        };
        let (layout, homeless) = Layout::within(routes, observed);
        let config = self.config(routes, layout);
        let why = match homeless.first() {
            _ if self.running.astray => Why::Astray,
            _ if config.skeleton != observed.skeleton => {
                Why::new_skeleton(&self.running.config, &config)
            }
            Some((_, shape)) => Why::NoSpare(*shape),
            None => return Way::Runtime(config),
        };
        let old_workers = self.proxy.old_workers().await;
        match self.budget.take(now, old_workers) {
            Ok(()) => Way::Load(self.fresh(routes), why),
            Err(until) => Way::Wait(self.without_reload(routes), why, until),
        }
    }

    async fn ask_when_stale(&mut self, now: Instant) {
        let fresh = self.running.asked.is_some_and(|asked| now < asked + BELIEF);
        if fresh && self.running.observed.is_some() {
            return;
        }
        let before = self.running.observed.take();
        self.running.observed = self.proxy.observe().await;
        self.running.asked = Some(now);
        if let (Some(before), Some(after)) = (before, &self.running.observed)
            && !after.agrees_with(&before)
        {
            warn!("HAProxy does not have what it was given; it is repaired");
        }
    }

    /// As much of it as the worker that runs can take.
    fn without_reload(&self, routes: &Routes) -> Config {
        let observed = self.running.observed.clone().unwrap_or_default();
        let had = &self.running.config.frontends;
        // What an earlier balancer left running is known by its routes alone.
        let keys = observed.map(MapName::Routes).filter_map(|(key, _)| key.parse().ok());
        let mut bound: BTreeSet<_> = keys.map(|key: RouteKey| key.listener).collect();
        bound.extend(had.iter().map(|frontend| frontend.listener));
        let mut routes = routes.clone();
        routes.0.retain(|key, _| bound.contains(&key.listener));
        let (layout, _) = Layout::within(&routes, &observed);
        let mut config = self.config(&routes, layout);
        if !had.is_empty() {
            config.frontends.clone_from(had);
        }
        config.skeleton = observed.skeleton;
        config
    }

    fn fresh(&self, routes: &Routes) -> Config {
        self.config(routes, Layout::fresh(routes, self.stock))
    }

    fn config(&self, routes: &Routes, layout: Layout) -> Config {
        let bound = |listener| self.rules.bound(listener);
        let mut config = Config::new(routes, layout, bound, self.frame.wait);
        config.skeleton = render::skeleton(&config, &self.frame);
        config
    }

    /// The runtime lane. `None`: HAProxy is not where it was believed to be; decide anew.
    async fn change(&mut self, config: Config) -> Result<Option<Did>> {
        let Some(observed) = &self.running.observed else { return Ok(None) };
        let mut commands = plan(observed, &config);
        if commands.iter().any(Command::makes_unwell) {
            self.look_again(&commands).await;
            let Some(observed) = &self.running.observed else { return Ok(None) };
            commands = plan(observed, &config);
        }
        if commands.is_empty() {
            self.files_follow(config);
            return Ok(Some(Did::Nothing));
        }
        match self.tell(&commands).await {
            Ok(()) => {}
            Err(error) => {
                warn!("{error}; HAProxy is asked what it has");
                self.running.observed = self.proxy.observe().await;
                return self.repair(config).await;
            }
        }
        self.files_follow(config);
        Ok(Some(Did::Runtime { commands: commands.len() }))
    }

    /// Checks may have found a server to be well since it was asked about.
    async fn look_again(&mut self, commands: &[Command]) {
        let Some(observed) = &mut self.running.observed else { return };
        let Ok(mut runtime) = self.proxy.runtime().await else { return };
        if let Err(error) = runtime.read_back(commands, observed).await {
            debug!("{error}");
        }
    }

    /// Once more from what it really has; if that does not help either, a reload does.
    async fn repair(&mut self, config: Config) -> Result<Option<Did>> {
        let Some(observed) = &self.running.observed else { return Ok(None) };
        if observed.skeleton == config.skeleton {
            let commands = plan(observed, &config);
            match self.tell(&commands).await {
                Ok(()) => {
                    self.files_follow(config);
                    return Ok(Some(Did::Runtime { commands: commands.len() }));
                }
                Err(error) => error!("{error}; HAProxy is reloaded"),
            }
        }
        self.running.astray = true;
        Ok(None)
    }

    /// Says the commands and reads back what they touched.
    async fn tell(&mut self, commands: &[Command]) -> Result<(), RuntimeError> {
        let observed = self.running.observed.get_or_insert_default();
        let mut runtime = self.proxy.runtime().await?;
        runtime.obey(commands, observed).await?;
        runtime.read_back(commands, observed).await?;
        let undeleted = commands.iter().any(|command| match command {
            Command::DelServer { backend, name } => {
                observed.servers.get(backend).is_some_and(|it| it.contains_key(name))
            }
            _ => false,
        });
        let pause = &mut self.running.delete_again;
        *pause = if undeleted {
            (*pause * 2).clamp(DELETE_AGAIN.0, DELETE_AGAIN.1)
        } else {
            Duration::ZERO
        };
        Ok(())
    }

    /// The reload lane: files first. `None`: something was left out; decide anew.
    async fn load(&mut self, routes: &Routes, config: Config, why: Why) -> Result<Option<Did>> {
        self.settle().await;
        let files = render::render(&config, &self.frame);
        let applied = match why {
            Why::NotKnown => self.proxy.apply(&files).await,
            _ => self.proxy.reload(&files).await,
        };
        match applied {
            Ok(applied) => {
                self.loaded(config).await;
                Ok(Some(Did::Loaded(applied, why)))
            }
            Err(ApplyError::Refused(refusal)) => {
                self.leave_out(routes, &config, &files, &refusal).await?;
                Ok(None)
            }
            Err(ApplyError::Bind(taken)) => {
                self.give_up(&config, taken, Instant::now())?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A worker that was just started has what its file says; what is new and asked for its health is
    /// not well before it says so.
    async fn loaded(&mut self, config: Config) {
        let before = self.running.observed.take();
        self.running.asked = Some(Instant::now());
        self.running.observed = self.proxy.observe().await;
        if let (Some(before), Some(_)) = (before, &self.running.observed) {
            let commands = unproven(&before, &config);
            if let Err(error) = self.tell(&commands).await {
                debug!("{error}");
                self.running.observed = None;
            }
        }
        if let Some(observed) = &self.running.observed
            && !plan(observed, &config).is_empty()
        {
            debug!("HAProxy has something else than its files say; it is asked again");
            self.running.observed = None;
        }
        self.running.config = config;
        self.running.astray = false;
        self.files.due = None;
    }

    fn files_follow(&mut self, config: Config) {
        if self.running.config != config {
            self.running.config = config;
            self.files.due.get_or_insert(Instant::now() + FILES_AFTER);
        }
    }

    /// What happens between passes, until one is asked for: files are written behind what was said,
    /// and HAProxy may die. For a `select!`.
    pub async fn happening(&mut self, world: Option<&World>) -> Happening {
        loop {
            let FilesBehind { due, writing, .. } = &mut self.files;
            let written = tokio::select! {
                reason = self.proxy.died() => {
                    error!("HAProxy died ({reason}); it is started again");
                    self.running.observed = None;
                    return Happening::Died;
                }
                () = until(*due), if writing.is_none() => None,
                written = finished(writing) => Some(written),
            };
            match written {
                None => self.write(),
                Some(Ok(config)) => self.written(config),
                Some(Err(ApplyError::Refused(refusal))) => {
                    self.files.due = Some(Instant::now() + FILES_AGAIN);
                    if self.refused_later(world, &refusal).await {
                        return Happening::Refused;
                    }
                }
                Some(Err(error)) => self.unwritten(&error.to_string()),
            }
        }
    }

    fn write(&mut self) {
        self.files.due = None;
        let files = render::render(&self.running.config, &self.frame);
        self.files.writing = Some(self.proxy.follow(files));
    }

    fn written(&mut self, config: String) {
        self.proxy.followed(config);
        if self.files.trouble.take().is_some() {
            info!("the configuration is on disk again");
        }
    }

    fn unwritten(&mut self, text: &str) {
        if self.files.trouble.as_deref() != Some(text) {
            error!("HAProxy has it, but the disk has not: {text}; trying again until it works");
            self.files.trouble = Some(text.to_owned());
        }
        self.files.due = Some(Instant::now() + FILES_AGAIN);
    }

    /// The file of what HAProxy was told already: the culprits are taken out again.
    async fn refused_later(&mut self, world: Option<&World>, refusal: &Refusal) -> bool {
        let now = Instant::now();
        let Some(world) = world else { return false };
        let routes = self.decide(world, now).routes;
        let config = self.running.config.clone();
        let files = render::render(&config, &self.frame);
        match self.leave_out(&routes, &config, &files, refusal).await {
            Ok(()) => true,
            Err(error) => {
                self.unwritten(&format!("{error:#}"));
                false
            }
        }
    }

    /// Until no file is being written.
    async fn settle(&mut self) {
        if self.files.writing.is_some()
            && let Ok(config) = finished(&mut self.files.writing).await
        {
            self.written(config);
        }
    }

    /// Everything that is still to be written is on disk when this returns.
    pub async fn finish(&mut self) {
        self.settle().await;
        if self.files.due.is_some() {
            self.write();
            self.settle().await;
        }
    }

    fn wake(&self, wake_at: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let again = Some(self.running.delete_again).filter(|pause| !pause.is_zero());
        let again = again.map(|pause| now + pause);
        let stale = match &self.running.observed {
            Some(_) => self.running.asked.map(|asked| asked + BELIEF),
            None => Some(now + ASK_AGAIN),
        };
        [wake_at, again, stale].into_iter().flatten().min()
    }

    /// The listeners of ports that somebody else has are left out until they are tried again.
    fn give_up(
        &mut self,
        config: &Config,
        taken: BTreeMap<u16, String>,
        now: Instant,
    ) -> Result<()> {
        for (port, why) in taken {
            let ours = config.frontends.iter().find(|frontend| frontend.bound.get() == port);
            let Some(frontend) = ours else {
                bail!("{}HAProxy cannot listen on port {port}, which is {why}", self.base_hint());
            };
            self.memory.taken.insert(frontend.listener, Taken::new(why, now));
        }
        Ok(())
    }

    /// The routes that HAProxy will not have are left out, so that the rest goes live.
    async fn leave_out(
        &mut self,
        routes: &Routes,
        config: &Config,
        files: &Files,
        refusal: &Refusal,
    ) -> Result<()> {
        let named =
            refusal.lines.iter().filter_map(|line| render::backend_at(&files.config, *line));
        let routes_of = named.filter_map(|name| Some(config.backends.get(name)?.route.clone()));
        let mut culprits: BTreeSet<_> = routes_of.collect();
        if culprits.is_empty() {
            culprits.extend(self.halve(routes).await?);
        }
        if culprits.is_empty() {
            bail!("{}HAProxy refuses the configuration: {}", self.base_hint(), refusal.text);
        }
        for key in culprits {
            let Some(route) = routes.0.get(&key) else { continue };
            self.memory.refused.insert(key, (route.clone(), refusal.text.clone()));
        }
        Ok(())
    }

    /// One route that is refused even alone, where HAProxy did not say which. None if it is not for
    /// the routes: what surrounds them is refused without any.
    async fn halve(&self, routes: &Routes) -> Result<Option<RouteKey>> {
        if !self.is_fine(&Routes::default()).await? {
            return Ok(None);
        }
        let mut suspects = routes.clone();
        while 1 < suspects.0.len() {
            let middle = suspects.0.keys().nth(suspects.0.len() / 2).cloned();
            let middle = middle.context("a map of two has a second key")?;
            let upper = Routes(suspects.0.split_off(&middle));
            if self.is_fine(&suspects).await? {
                suspects = upper;
            }
        }
        let fine = self.is_fine(&suspects).await?;
        Ok(suspects.0.into_keys().next().filter(|_| !fine))
    }

    async fn is_fine(&self, routes: &Routes) -> Result<bool> {
        let files = render::render(&self.fresh(routes), &self.frame);
        match self.proxy.try_out(&files).await {
            Ok(()) => Ok(true),
            Err(ApplyError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn base_hint(&self) -> String {
        match &self.frame.base {
            Base::BuiltIn { .. } => String::new(),
            Base::File { path, .. } => format!("look at {}: ", path.display()),
        }
    }

    fn done(&mut self, decided: Decided, did: &Did, cause: &str, begun: Instant) {
        self.told.tell(decided.problems);
        for change in change::changes(&self.served, &decided.routes) {
            info!("{change}");
        }
        self.served = decided.routes;
        let (routes, us) = (self.routes(), begun.elapsed().as_micros());
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        match did {
            Did::Nothing => {}
            Did::Runtime { commands } => info!(cause, routes, commands, us, "told HAProxy"),
            Did::Loaded(applied, why) => {
                if let Some(backup) = &applied.backup {
                    warn!("the configuration that was there is kept as {}", backup.display());
                }
                match applied.how {
                    How::Unchanged => {}
                    How::Started => info!(cause, routes, us, "started HAProxy"),
                    How::Reloaded => info!(cause, routes, us, "reloaded HAProxy: {why}"),
                }
            }
        }
    }
}

/// What was written, once it is; for ever where nothing is being written.
async fn finished(
    writing: &mut Option<JoinHandle<Result<String, ApplyError>>>,
) -> Result<String, ApplyError> {
    let Some(handle) = writing else { return std::future::pending().await };
    let written = handle.await;
    *writing = None;
    written.unwrap_or_else(|e| Err(ApplyError::Unreachable(e.to_string())))
}

/// Servers of a new worker that asks for their health and was not told that they are well.
fn unproven(before: &Observed, config: &Config) -> Vec<Command> {
    let was_up = |name: &str| {
        before
            .servers
            .values()
            .filter_map(|it| it.get(name))
            .any(|it| it.up && it.admin == Admin::Ready)
    };
    let asked = config.backends.iter().filter(|(_, backend)| backend.shape.probe == Probe::Http);
    let servers =
        asked.flat_map(|(name, backend)| backend.servers.iter().map(move |it| (name, it)));
    let unproven = servers.filter(|(_, it)| it.admin == Admin::Ready && !was_up(&it.name));
    let down = |(backend, it): (&String, &crate::haproxy::config::Server)| Command::SetHealth {
        backend: backend.clone(),
        name: it.name.clone(),
        health: Health::None,
    };
    unproven.map(down).collect()
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Died => "HAProxy died",
            Self::Refused => "HAProxy refused a file",
        })
    }
}

/// Sleeps until then; for ever where there is no time.
pub async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
