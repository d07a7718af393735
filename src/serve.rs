//! From settings to work: applies once, or follows Docker until it is told to stop.

use crate::{
    balancer::{Balancer, Link, Passed, journal::Journal, past::Turned, until},
    container::{Container, ContainerId},
    control::{
        failure::Failure,
        order::{Look, Meant, Order},
    },
    decide::Rules,
    docker::{self, Access, Engine, Interest, OwnLabels, Patience, Pulse, Reach, Seen, Watching},
    haproxy::{
        growth::Growth,
        name,
        process::Stdout,
        proxy::{Proxy, Shutdown},
        render::{Base, Bind, Frame},
        requeue::Requeue,
        settings::{self as haproxy, Mode},
        version::Build,
    },
    label,
    settings::{
        AccessLog, Address, AtExit, BindAddress, Command, DockerAccess, Haproxy, HaproxyUser,
        OnOff, Reload, Settings,
    },
    supervise::supervise,
    systemd::{self, Watchdog},
    view::status::is_silent,
    world::{Vantage, World},
};
use anyhow::{Context as _, Result, bail};
use futures_util::{
    FutureExt,
    future::{BoxFuture, FusedFuture},
};
use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tracing::{error, info, warn};

/// After a pass that failed: the shortest and the longest time until the next try.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long the service manager may wait for Docker's answer while HAProxy serves.
const DOCKER: Duration = Duration::from_secs(2);

/// How often it is looked at whether Docker is still heard.
const LOOK: Duration = Duration::from_secs(15);

/// What is under way when the program is to stop may take so long to end by itself, and what is to be written
/// at the end may take as long.
const STOP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Starts what asks for the state, as [`crate::api::start`] does; dropped, it ends.
pub type StartServers<S> = fn(&Settings, &mpsc::Sender<Order>, watch::Receiver<()>) -> Result<S>;

/// Does what the command line asks for.
pub async fn serve<S>(
    settings: Settings,
    start_servers: StartServers<S>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let proxy = Proxy::open(proxy_settings(&settings)).await?;
    match settings.command {
        Command::Once => once(&settings, proxy).await,
        Command::Watch => follow(&settings, proxy, start_servers, stop).await,
    }
}

async fn once(settings: &Settings, proxy: Proxy) -> Result<()> {
    let access = access(settings);
    let engine = Engine::connect(&access).await?;
    let vantage = docker::vantage(&engine, &access, reach(settings)).await?;
    let world = docker::list_once(&access, &interest(settings, &vantage)).await?;
    // Nobody is there to end it, so nothing is held.
    let rules = Rules { hold: Duration::ZERO, ..rules(settings, vantage) };
    let mut balancer = balancer(settings, proxy, rules).await?;
    let (journal, past) = Journal::open(&settings.state_dir);
    balancer.remember(journal, past);
    let passed = balancer.pass(&world, "once").await?;
    balancer.finish().await;
    if let Some(text) = passed.overdue {
        bail!("what needs a reload is not applied: {text}");
    }
    info!(routes = balancer.routes(), "applied");
    balancer.proxy.shutdown(Shutdown::Leave).await;
    Ok(())
}

async fn follow<S>(
    settings: &Settings,
    proxy: Proxy,
    start_servers: StartServers<S>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let rules = rules(settings, Vantage::Host);
    let balancer = balancer(settings, proxy, rules).await?;
    let (asker, mut orders) = mpsc::channel(1);
    let (changed, passes) = watch::channel(());
    let servers = start_servers(settings, &asker, passes)?;
    let mut follower = Follower::new(balancer, changed);
    let (updates, mut seen) = watch::channel(Seen::default());
    let updates = Arc::new(updates);
    let mut is_watched = false;
    let mut eyes = JoinSet::new();
    let mut standing = std::pin::pin!(find_vantage(settings));
    // Docker's host may have another address when it is reached again.
    let mut link = DockerLinks::default();
    let mut new_standing: Option<BoxFuture<'_, Option<Vantage>>> = None;
    let mut stop = std::pin::pin!(stop.fuse());
    let mut world: Option<Arc<World>> = None;

    let mut watchdog = Watchdog::of_service_manager();
    let mut look = every(LOOK);

    // What was good yesterday serves until Docker has answered.
    let mut goes_on = ends_in_time(follower.start_stored(), &mut stop).await;
    let (journal, past) = Journal::open(&settings.state_dir);
    follower.balancer.remember(journal, past);
    while goes_on {
        let call = tokio::select! {
            () = &mut stop => break,
            () = watchdog.pat() => continue,
            vantage = &mut standing, if !is_watched => {
                is_watched = true;
                let pulse = follower.pulse.clone();
                let watch = watch_docker(settings, &vantage, pulse, Arc::clone(&updates));
                eyes.spawn(watch);
                follower.balancer.stand_at(vantage);
                continue;
            }
            vantage = finish(&mut new_standing) => {
                new_standing = None;
                let Some(vantage) = vantage.filter(|it| !follower.balancer.stands_at(it)) else {
                    continue;
                };
                info!("{} is reached at another address now", access(settings).url());
                follower.balancer.stand_at(vantage);
                Call::Pass(By::Other, "address of Docker".to_owned())
            }
            happening = follower.balancer.happening(world.as_deref()) => {
                Call::Pass(By::Other, happening.to_string())
            }
            Some(order) = orders.recv() => Call::Order(order),
            Ok(()) = seen.changed() => {
                if link.is_new(seen.borrow().connected) {
                    new_standing = Some(Box::pin(find_vantage_again(settings)));
                }
                Call::Pass(By::Docker, cause(&seen.borrow()))
            }
            _ = look.tick() => {
                follower.look_at_docker(seen.borrow().connected);
                continue;
            }
            () = until(follower.wake_at) => Call::Pass(By::Other, "time".to_owned()),
            () = until(follower.ready_at) => {
                follower.ready_at = None;
                systemd::ready("HAProxy serves what it had; waiting for Docker");
                continue;
            }
        };
        match call {
            Call::Pass(by, cause) => {
                follower.take(&seen.borrow_and_update(), &mut world);
                if by == By::Docker && follower.may_skip(world.as_ref()) {
                    follower.skip();
                } else {
                    let work = follower.pass(world.as_ref(), &cause);
                    goes_on = ends_in_time(work, &mut stop).await;
                }
            }
            Call::Order(order) => {
                // Not every order makes a pass, so a change stays unseen until one does.
                follower.take(&seen.borrow(), &mut world);
                let connected = seen.borrow().connected;
                let obey = follower.obey(world.as_ref(), connected, order);
                goes_on = ends_in_time(obey, &mut stop).await;
            }
        }
    }
    // With it end the connections of those who wait for a drain, or look.
    drop((servers, asker));
    shut_down(follower.balancer, &settings.haproxy).await;
    Ok(())
}

/// Follows Docker for as long as the program runs.
fn watch_docker(
    settings: &Settings,
    vantage: &Vantage,
    pulse: Pulse,
    updates: Arc<watch::Sender<Seen>>,
) -> impl Future<Output = ()> + use<> {
    let interest = interest(settings, vantage);
    let watching = Watching { extra: extra(settings), pulse, ..Watching::new(interest) };
    let access = access(settings);
    let watch = move || {
        let (access, watching) = (access.clone(), watching.clone());
        let updates = Arc::clone(&updates);
        async move { docker::watch(&access, &watching, &updates).await }
    };
    supervise("Docker watch", watch)
}

/// Writes the files of the last changes, and ends HAProxy where the settings say so.
async fn shut_down(mut balancer: Balancer, haproxy: &Haproxy) {
    let end = match haproxy {
        Haproxy::Managed { at_exit: AtExit::Stop, .. } => Shutdown::Stop,
        _ => Shutdown::Leave,
    };
    if timeout(STOP.1, balancer.finish()).await.is_err() {
        warn!(
            "the files of the last changes are not written; the next start asks HAProxy what it has"
        );
    }
    balancer.proxy.shutdown(end).await;
    info!("stopped");
}

/// Does some work, and cuts it short where the program is to stop meanwhile: each step leaves a state that a
/// crash may leave. `false`: the program is to stop.
async fn ends_in_time<T>(
    work: impl Future<Output = T>,
    stop: &mut (impl FusedFuture<Output = ()> + Unpin),
) -> bool {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        _ = &mut work => return true,
        () = stop => {}
    }
    if timeout(STOP.0, work).await.is_err() {
        warn!("a change of HAProxy is cut short");
    }
    false
}

/// What the loop wakes up for.
enum Call {
    Pass(By, String),
    Order(Order),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Docker,
    /// HAProxy, or time.
    Other,
}

/// What became of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Applied,
    /// All but what needs a reload.
    NotLoaded,
    Failed,
}

/// A balancer that does not give up.
struct Follower {
    balancer: Balancer,
    wake_at: Option<Instant>,
    /// When we are ready without Docker, as HAProxy serves what it had.
    ready_at: Option<Instant>,
    trouble: Option<Trouble>,
    /// The world of the last pass, if that went well.
    passed: Option<Arc<World>>,
    /// Tells those who look that there is something new.
    changed: watch::Sender<()>,
    /// How many of the moments when events were heard are known here.
    read: usize,
    pulse: Pulse,
    docker: DockerLink,
}

/// What is known of the way to Docker, as it was said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DockerLink {
    Heard,
    Away,
    /// It is connected, and was not heard for so long that it is not followed.
    Silent,
}

/// The last pass failed.
struct Trouble {
    text: String,
    pause: Duration,
    is_logged: bool,
}

impl Follower {
    fn new(balancer: Balancer, changed: watch::Sender<()>) -> Self {
        let (wake_at, ready_at, trouble, passed) = Default::default();
        let (read, pulse, docker) = (0, Pulse::default(), DockerLink::Away);
        Self { balancer, wake_at, ready_at, trouble, passed, changed, read, pulse, docker }
    }

    /// Docker was heard of late, or the service manager and the log are told otherwise.
    fn look_at_docker(&mut self, is_connected: bool) {
        let before = self.docker;
        let age = self.pulse.age();
        self.docker = DockerLink::of(is_connected, age);
        match (before, self.docker) {
            (before, now) if before == now => return,
            (_, DockerLink::Silent) => error!(
                "nothing was heard of Docker for {}s, which answers a question every 30 s; \
                 what was known is served on",
                age.as_secs()
            ),
            (DockerLink::Silent, DockerLink::Heard) => info!("Docker is heard again"),
            _ => {}
        }
        systemd::status(&self.status());
    }

    /// For the service manager.
    fn status(&self) -> String {
        let docker = match self.docker {
            DockerLink::Heard => "",
            DockerLink::Away => "; Docker is away",
            DockerLink::Silent => "; nothing is heard of Docker",
        };
        format!("{} routes{docker}", self.balancer.routes())
    }

    /// What the next pass is about.
    fn take(&mut self, seen: &Seen, world: &mut Option<Arc<World>>) {
        self.docker = DockerLink::of(seen.connected, self.pulse.age());
        world.clone_from(&seen.world);
        self.balancer.heard(seen.heard.unread(&mut self.read));
    }

    async fn start_stored(&mut self) {
        match self.balancer.proxy.start().await {
            Ok(true) => {
                info!("HAProxy serves the last good configuration until Docker has answered");
                self.ready_at = Some(Instant::now() + DOCKER);
            }
            Ok(false) if self.balancer.has_haproxy() => {
                self.ready_at = Some(Instant::now() + DOCKER);
            }
            Ok(false) => {}
            Err(error) => self.failed(&error.into()),
        }
    }

    async fn pass(&mut self, world: Option<&Arc<World>>, cause: &str) -> Outcome {
        self.passed = None;
        if self.balancer.waits_for_restart() {
            self.wait_for_restart();
            return Outcome::Failed;
        }
        let outcome = match world {
            None => {
                self.start_stored().await;
                Outcome::Failed
            }
            Some(world) => match self.balancer.pass(world, cause).await {
                Ok(Passed { wake_at, overdue: None }) => {
                    self.passed = Some(Arc::clone(world));
                    self.applied(wake_at);
                    Outcome::Applied
                }
                Ok(Passed { wake_at, overdue: Some(text) }) => {
                    self.not_loaded(text, wake_at);
                    Outcome::NotLoaded
                }
                Err(error) => {
                    self.failed(&error);
                    Outcome::Failed
                }
            },
        };
        self.changed.send_replace(());
        outcome
    }

    /// A pass would find nothing to do: the last one went well, and what came since serves nothing.
    fn may_skip(&self, world: Option<&Arc<World>>) -> bool {
        let both = self.passed.as_ref().zip(world);
        both.is_some_and(|(passed, world)| world.differs_in_idle_ones_only(passed))
    }

    fn skip(&mut self) {
        self.balancer.heard_in_vain();
        self.changed.send_replace(());
    }

    /// Who asked may be gone: then nobody is answered.
    async fn obey(&mut self, world: Option<&Arc<World>>, docker_is_there: bool, order: Order) {
        match order {
            Order::Look { answer } => {
                let trouble = self.trouble.as_ref().map(|it| it.text.clone());
                let docker_age = self.pulse.age();
                let picture = self
                    .balancer
                    .picture(world.cloned(), Link { docker_is_there, docker_age, trouble });
                let _ = answer.send(Look { picture, stat: self.balancer.proxy.stat() });
            }
            Order::Examine { answer } => self.balancer.examine(answer),
            Order::Count { answer } => {
                let docker = (docker_is_there, self.pulse.age());
                let _ = answer.send(self.balancer.count(docker));
            }
            Order::Drain { container, answer } => {
                let _ = answer.send(self.mark(world, &container, "drain", Balancer::drain).await);
            }
            Order::Undrain { container, answer } => {
                let marked = self.mark(world, &container, "undrain", Balancer::undrain).await;
                let _ = answer.send(marked);
            }
            Order::Rollback { generation, answer } => {
                let turn = |it: &mut Balancer| it.roll_back(generation);
                let _ =
                    answer.send(self.turn(world, &format!("rollback {generation}"), turn).await);
            }
            Order::Release { answer } => {
                let _ = answer.send(self.turn(world, "release", Balancer::release).await);
            }
        }
    }

    /// Goes back, or on, and has HAProxy do so before this returns.
    async fn turn(
        &mut self,
        world: Option<&Arc<World>>,
        cause: &str,
        turn: impl FnOnce(&mut Balancer) -> Result<Turned, Failure>,
    ) -> Result<Turned, Failure> {
        let world = world.ok_or(Failure::NoDocker)?;
        let turned = turn(&mut self.balancer)?;
        self.pass(Some(world), cause).await;
        match &self.trouble {
            None => Ok(turned),
            Some(trouble) => Err(Failure::NotApplied(trouble.text.clone())),
        }
    }

    /// Marks a container, and has HAProxy know it before this returns.
    async fn mark(
        &mut self,
        world: Option<&Arc<World>>,
        text: &str,
        verb: &str,
        mark: fn(&mut Balancer, &ContainerId),
    ) -> Result<Meant, Failure> {
        let world = world.ok_or(Failure::NoDocker)?;
        let Container { name, id, .. } = self.balancer.find(world, text)?;
        mark(&mut self.balancer, id);
        let outcome = self.pass(Some(world), &format!("{verb} {name}")).await;
        match self.trouble.as_ref().filter(|_| outcome == Outcome::Failed) {
            None => {
                let sessions = self.balancer.sessions(id);
                let unserved = self.balancer.unserved(id);
                Ok(Meant { name: name.clone(), id: id.clone(), sessions, unserved })
            }
            Some(trouble) => Err(Failure::NotApplied(trouble.text.clone())),
        }
    }

    fn applied(&mut self, wake_at: Option<Instant>) {
        if self.trouble.take().is_some_and(|trouble| trouble.is_logged) {
            info!("applied; the trouble is over");
        }
        self.wake_at = wake_at;
        self.ready_at = None;
        systemd::ready(&self.status());
    }

    /// The next pass is the one that starts HAProxy, with all that came meanwhile. Its death was logged.
    fn wait_for_restart(&mut self) {
        let text = "HAProxy ends again and again; it is started after a pause".to_owned();
        self.wake_at = None;
        self.trouble.get_or_insert(Trouble { text, pause: RETRY.0, is_logged: false });
    }

    /// What needs no reload is applied; the rest is told once, and tried again with growing pauses.
    fn not_loaded(&mut self, text: String, wake_at: Option<Instant>) {
        self.balancer.metrics().failed();
        let before = self.trouble.take();
        if before.is_none_or(|trouble| trouble.text != text) {
            let now = self.balancer.proxy.meanwhile();
            error!(
                "HAProxy is not reloaded, {now}: {text}; what needs no reload is applied, trying again until it works"
            );
        }
        (self.wake_at, self.ready_at) = (wake_at, None);
        self.trouble = Some(Trouble { text, pause: RETRY.0, is_logged: true });
        systemd::ready(&format!("{}; a reload of HAProxy is overdue", self.status()));
    }

    /// Told once, and tried again with growing pauses.
    fn failed(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        self.balancer.metrics().failed();
        let before = self.trouble.take();
        let pause = before.as_ref().map_or(RETRY.0, |it| (it.pause * 2).min(RETRY.1));
        if before.is_none_or(|it| it.text != text) {
            let now = self.balancer.proxy.meanwhile();
            error!("not applied, {now}: {text}; trying again until it works");
        }
        self.wake_at = Some(Instant::now() + pause);
        self.trouble = Some(Trouble { text, pause, is_logged: true });
    }
}

impl DockerLink {
    fn of(is_connected: bool, age: Duration) -> Self {
        match is_connected {
            false => Self::Away,
            true if is_silent(age) => Self::Silent,
            true => Self::Heard,
        }
    }
}

/// What was missed is not made up for.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn balancer(settings: &Settings, proxy: Proxy, rules: Rules) -> Result<Balancer> {
    let frame = frame(settings, proxy.build())?;
    let mut balancer = Balancer::new(proxy, rules, frame, stock(settings)).await;
    if let Some(address) = settings.haproxy_metrics {
        balancer.export(address).await;
    }
    Ok(balancer)
}

pub(crate) fn stock(settings: &Settings) -> usize {
    settings.spare_backends.into()
}

fn cause(seen: &Seen) -> String {
    match &seen.cause {
        Some(cause) => format!("{} {}", cause.action, cause.name),
        None => "list".to_owned(),
    }
}

/// Connections to Docker, of which the first one needs no second look.
#[derive(Debug, Default)]
struct DockerLinks {
    is_connected: bool,
    had_one: bool,
}

impl DockerLinks {
    /// Docker is reached again.
    fn is_new(&mut self, is_connected: bool) -> bool {
        let was_connected = std::mem::replace(&mut self.is_connected, is_connected);
        let comes = is_connected && !was_connected;
        comes && std::mem::replace(&mut self.had_one, true)
    }
}

/// The end of a future; without an end where there is none.
async fn finish<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Where HAProxy stands now. `None`: Docker does not answer, and is looked at again when it does.
async fn find_vantage_again(settings: &Settings) -> Option<Vantage> {
    let access = access(settings);
    let look = async {
        let engine = Engine::connect(&access).await?;
        docker::find_vantage(&engine, &access, reach(settings)).await
    };
    look.await.inspect_err(|error| tracing::debug!("{error:#}")).ok()
}

/// Where HAProxy stands; Docker knows, as soon as there is one.
async fn find_vantage(settings: &Settings) -> Vantage {
    let access = access(settings);
    let mut pause = Duration::from_millis(100);
    loop {
        let look = async {
            let engine = Engine::connect(&access).await?;
            docker::vantage(&engine, &access, reach(settings)).await
        };
        match look.await {
            Ok(vantage) => return vantage,
            Err(error) if pause < Duration::from_millis(200) => {
                warn!("docker is away: {error:#}; trying again until it is there");
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

impl From<&DockerAccess> for Access {
    fn from(told: &DockerAccess) -> Self {
        let DockerAccess { url, tls_verify, cert_path } = told.clone();
        Self { url, tls_verify, cert_path, patience: Patience::default() }
    }
}

pub(crate) fn access(settings: &Settings) -> Access {
    Access::from(&settings.docker)
}

pub(crate) fn reach(settings: &Settings) -> Reach {
    match settings.address {
        None => Reach::Fitting,
        Some(Address::Container) => Reach::Networks,
        Some(Address::Published) => Reach::Published,
    }
}

pub(crate) fn interest(settings: &Settings, vantage: &Vantage) -> Interest {
    Interest {
        speaks: |labels| label::speaks(labels.keys().map(String::as_str)),
        reads: label::is_read,
        named: settings.fences.labels().map(str::to_owned).collect(),
        required: settings
            .fences
            .constraints
            .iter()
            .map(|it| (it.label.clone(), it.value.clone()))
            .collect(),
        environment: settings.include_env,
        everything: false,
        own_labels: own_labels(settings),
        own: match vantage {
            Vantage::Inside(own) => Some(own.clone()),
            Vantage::Host | Vantage::Published(_) | Vantage::Elsewhere { .. } => None,
        },
    }
}

/// How to leave a container the labels that its image does not have; `None` where those of images count.
pub(crate) fn own_labels(settings: &Settings) -> Option<OwnLabels> {
    match settings.image_labels {
        OnOff::On => None,
        OnOff::Off => Some(label::keep_own),
    }
}

fn extra(settings: &Settings) -> Vec<String> {
    settings.watch_set.iter().cloned().collect()
}

pub(crate) fn rules(settings: &Settings, vantage: Vantage) -> Rules {
    Rules {
        fences: settings.fences.clone(),
        network: settings.network.clone(),
        vantage,
        hold: settings.hold,
        port_map: settings.port_map.clone(),
    }
}

pub(crate) fn frame(settings: &Settings, build: Build) -> Result<Frame> {
    let base = base(settings)?;
    let key = key(&settings.state_dir);
    Ok(Frame {
        growth: Growth::of(build.version, &base),
        key,
        requeue: Requeue::of(build, &base, key),
        base,
        socket_for_group: matches!(
            &settings.haproxy,
            Haproxy::Service { stats_socket: Some(_), .. }
        ),
        stats_socket: proxy_settings(settings).stats_socket(),
        generations: settings.state_dir.join("gen"),
        bind: settings
            .bind
            .iter()
            .map(|address| match address {
                BindAddress::Everywhere => Bind::Everywhere,
                BindAddress::At(address) => Bind::At(*address),
            })
            .collect(),
        trusted: settings.trusted_proxies.clone(),
        log: match &settings.access_log {
            AccessLog::Off => None,
            AccessLog::Stdout => Some("stdout format raw daemon".to_owned()),
            AccessLog::To(address) => Some(format!("{address} daemon")),
        },
        exporter: None,
        exporter_names: settings.metrics_hosts.clone(),
        wait: settings.wait_for_start,
        hard_stop_after: settings.hard_stop_after,
    })
}

/// Of a state directory, which is one docker-balancer's alone: another one's may have the same path, in a container that
/// shares the host's network.
fn key(state: &Path) -> u64 {
    let entry = std::fs::metadata(state).map(|it| (it.dev(), it.ino()));
    name::hash(&format!("{} {:?}", state.display(), entry.unwrap_or_default()))
}

fn base(settings: &Settings) -> Result<Base> {
    let Some(path) = &settings.base_file else {
        return Ok(Base::BuiltIn { drop_to: drop_to(&settings.haproxy)? });
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the base file {}", path.display()))?;
    info!("global and defaults come from {}; its global is given our stats socket", path.display());
    Ok(Base::File { path: path.clone(), text })
}

/// The user and group that HAProxy's workers become, so that only its master is root.
fn drop_to(haproxy: &Haproxy) -> Result<Option<(String, String)>> {
    match haproxy {
        Haproxy::Managed { .. } if !nix::unistd::geteuid().is_root() => Ok(None),
        Haproxy::Service { user: Some(HaproxyUser::Same), .. } => Ok(None),
        Haproxy::Service { user: Some(HaproxyUser::Named(name)), .. } => {
            let missing = || format!("--haproxy-user: there is no user {name}");
            account(name).with_context(missing).map(Some)
        }
        // The distribution's.
        Haproxy::Managed { .. } | Haproxy::Service { user: None, .. } => Ok(account("haproxy")),
    }
}

fn account(name: &str) -> Option<(String, String)> {
    let user = nix::unistd::User::from_name(name).ok()??;
    let group = nix::unistd::Group::from_gid(user.gid).ok()??;
    Some((user.name, group.name))
}

pub(crate) fn proxy_settings(settings: &Settings) -> haproxy::Settings {
    haproxy::Settings {
        mode: match &settings.haproxy {
            Haproxy::Managed { stop_timeout, .. } => Mode::Managed {
                stop_timeout: *stop_timeout,
                stdout: match (settings.command, &settings.access_log) {
                    (Command::Watch, AccessLog::Stdout) => Stdout::Inherit,
                    _ => Stdout::Null,
                },
            },
            Haproxy::Service { reload, stats_socket, .. } => Mode::Service {
                reload: match reload {
                    Reload::MasterSocket(socket) => haproxy::Reload::Master(socket.clone()),
                    Reload::Unit(unit) => haproxy::Reload::Unit(unit.clone()),
                },
                stats_socket: stats_socket.clone(),
            },
        },
        bin: settings.haproxy_bin.clone(),
        config: settings.config_file.clone(),
        state_dir: settings.state_dir.clone(),
        runtime_dir: settings.runtime_dir.clone(),
        check_options: settings.haproxy_arguments.clone(),
    }
}
