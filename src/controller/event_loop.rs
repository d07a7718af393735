//! Runs docker-balancer with its settings: applies the world once, or follows Docker until it is stopped.

use crate::{
    controller::{
        balancer::{
            Balancer, InternalEvent, PassReport, SourceStatus, journal::Journal,
            rollback::RollbackResult, sleep_until,
        },
        certificate_follower::{CertificateEvent, CertificateFollower},
        certificate_publisher::CertificatePublisher,
        control_error::ApiError,
        fleet_link::{FleetEvents, FleetLink},
        policy_follower::PolicyFollower,
        request::{ControlRequest, DrainTarget, LiveSnapshot},
        source_set::{SourceEvent, SourceSet, Taking, list_sources},
        udp_plane::{UdpOwner, UdpPlane},
        udp_process::UdpProcessConfig,
        user_sets::UserSets,
    },
    haproxy::proxy::{Proxy, Shutdown},
    model::{
        container::{Container, ContainerId},
        world::World,
    },
    report::status::is_silent,
    routing::decide::Rules,
    settings::{AtExit, HaproxyMode, RunMode, Settings},
    sources::{
        Source,
        acme::{AcmeHost, TokenRequest},
        certificate::CertificateStore,
    },
    support::{
        backoff::Backoff,
        signals::ReloadRequests,
        systemd::{self, Watchdog},
    },
};
use anyhow::{Result, bail};
use futures_util::{FutureExt, future::FusedFuture};
use std::{
    collections::BTreeSet,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tracing::{error, info, warn};

/// The shortest and the longest time between a pass that failed and the next attempt.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long READY=1 is delayed to wait for Docker's answer while HAProxy serves its last configuration.
const DOCKER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often to check that Docker still sends something.
const DOCKER_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// On stop: how long the work in progress may take to end by itself, and how long writing the last files may take.
const STOP_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Starts the servers that read the state, as [`crate::api::start::start`] does. Dropping the value ends them.
pub type StartServers<S> =
    fn(&Settings, &mpsc::Sender<ControlRequest>, watch::Receiver<()>, UserSets) -> Result<S>;

/// Runs the command of the command line. `followed` are the sources that are followed already. Each message on
/// `hangups` makes it read the policies again.
pub async fn run_command<S>(
    settings: Settings,
    followed: Vec<Source>,
    start_servers: StartServers<S>,
    stop: impl Future<Output = ()>,
    hangups: Option<ReloadRequests>,
) -> Result<()> {
    let proxy = Proxy::open(settings.proxy()).await?;
    match settings.command {
        RunMode::Once => Box::pin(run_once(&settings, proxy)).await,
        RunMode::Watch => {
            let sources = SourceSet::start(&settings, &followed);
            run_loop(&settings, sources, proxy, start_servers, stop, hangups).await
        }
    }
}

async fn run_once(settings: &Settings, proxy: Proxy) -> Result<()> {
    let (world, rules) = list_sources(settings, |filter| filter).await?;
    // No later pass could end a hold, so no route is held.
    let rules = Rules { hold: Duration::ZERO, ..rules };
    let mut balancer = create_balancer(settings, proxy, rules).await?;
    let (journal, past) = Journal::open(&settings.state_dir);
    balancer.restore_state(journal, past);
    let mut certificates = CertificateFollower::start(settings)?;
    certificates.wait_until_complete().await;
    balancer.set_certificates(certificates.current());
    let mut passed = balancer.reconcile(&world, "once").await?;
    let own = balancer.certificate_requests(certificates.name_rules()).own;
    drop(certificates);
    if !own.is_empty() {
        passed = Box::pin(load_own_certificates(settings, &mut balancer, &world, own)).await?;
    }
    balancer.finish().await;
    let datagrams = balancer.settle_udp_plane().await;
    balancer.finish_udp_plane(Shutdown::Leave).await;
    if let Some(text) = passed.overdue {
        bail!("changes that need a reload were not applied: {text}");
    }
    if let Err(text) = datagrams {
        bail!("HAProxy has all changes, but datagrams are not forwarded: {text}");
    }
    info!(routes = balancer.route_count(), "applied");
    balancer.proxy.shutdown(Shutdown::Leave).await;
    Ok(())
}

/// Issues certificates of the own CA for the hosts that a single pass found, and loads them: there is no later pass.
async fn load_own_certificates(
    settings: &Settings,
    balancer: &mut Balancer,
    world: &World,
    hosts: BTreeSet<AcmeHost>,
) -> Result<PassReport> {
    let mut certificates = CertificateFollower::start_with(settings, hosts)?;
    certificates.wait_until_complete().await;
    balancer.set_certificates(certificates.current());
    balancer.reconcile(world, "certificates of the own CA").await
}

async fn run_loop<S>(
    settings: &Settings,
    mut sources: SourceSet,
    proxy: Proxy,
    start_servers: StartServers<S>,
    stop: impl Future<Output = ()>,
    hangups: Option<ReloadRequests>,
) -> Result<()> {
    let mut policies = PolicyFollower::start(settings, hangups);
    let mut balancer = create_balancer(settings, proxy, settings.rules()).await?;
    for (source, vantage) in sources.stored_vantages() {
        balancer.set_vantage(&source, vantage);
    }
    let mut certificates = CertificateFollower::start(settings)?;
    balancer.set_certificate_store(certificates.store());
    balancer.set_wildcards(settings.wildcards.clone());
    let mut fleet_events = start_fleet(settings, &mut balancer);
    let (request_sender, mut requests) = mpsc::channel(1);
    let (changed, passes) = watch::channel(());
    let servers = start_servers(settings, &request_sender, passes, balancer.user_sets())?;
    let mut controller = Controller::new(balancer, changed);
    let mut stop = std::pin::pin!(stop.fuse());
    let mut world: Option<Arc<World>> = None;

    let mut watchdog = Watchdog::from_env();
    let mut probe = new_interval(DOCKER_CHECK_INTERVAL);

    // The last good configuration serves until Docker has answered.
    let mut keeps_running = run_until_stop(controller.start_stored(), &mut stop).await;
    let (journal, past) = Journal::open(&settings.state_dir);
    controller.balancer.restore_state(journal, past);
    keeps_running &= run_until_stop(certificates.wait_until_complete(), &mut stop).await;
    controller.balancer.set_certificates(certificates.current());
    keeps_running &= run_until_stop(controller.balancer.wait_for_fleet(), &mut stop).await;
    while keeps_running {
        let wakeup = tokio::select! {
            () = &mut stop => break,
            () = watchdog.ping() => continue,
            event = controller.balancer.next_event(world.as_deref()) => match event {
                InternalEvent::ServerDown { id } => {
                    sources.on_server_down(&id);
                    continue;
                }
                event => Wakeup::Pass(Trigger::Other, event.to_string()),
            },
            event = certificates.next_event() => {
                controller.on_certificate_event(event, &mut certificates)
            }
            Some(request) = requests.recv() => Wakeup::Request(request),
            event = sources.next_event() => match event {
                SourceEvent::Vantage { source, vantage } => {
                    controller.balancer.set_vantage(&source, vantage);
                    // The first vantage is known before there are containers.
                    if world.is_none() {
                        continue;
                    }
                    Wakeup::other("address of Docker")
                }
                SourceEvent::Changed { cause } => Wakeup::Pass(Trigger::Docker, cause),
            },
            reading = policies.next_reading() => {
                controller.balancer.set_files(reading);
                Wakeup::other("policies or error pages")
            }
            () = next_fleet_event(&mut fleet_events) => Wakeup::other("fleet"),
            _ = probe.tick() => {
                controller.check_docker(&sources);
                continue;
            }
            () = sleep_until(controller.wake_at) => Wakeup::other("time"),
            () = sleep_until(controller.ready_at) => {
                controller.ready_at = None;
                systemd::notify_ready("waiting for Docker; HAProxy keeps its last configuration");
                continue;
            }
        };
        match wakeup {
            Wakeup::Pass(trigger, cause) => {
                let cause = sources.untaken_cause().unwrap_or(cause);
                controller.take_changes(&mut sources, &mut world, Taking::ForPass);
                if trigger == Trigger::Docker && controller.may_skip(world.as_ref()) {
                    controller.skip_pass();
                } else {
                    let work = controller.run_pass(world.as_ref(), &cause);
                    keeps_running = Box::pin(run_until_stop(work, &mut stop)).await;
                }
            }
            Wakeup::Token(request) => {
                controller.take_changes(&mut sources, &mut world, Taking::ForPass);
                let work = controller.handle_token(world.as_ref(), request);
                keeps_running = run_until_stop(work, &mut stop).await;
            }
            Wakeup::Request(request) => {
                let Some(request) = certificates.handle_request(request) else { continue };
                controller.take_changes(&mut sources, &mut world, Taking::ForRequest);
                let connection = (sources.is_connected(), sources.age());
                let work = controller.handle_request(world.as_ref(), connection, request);
                keeps_running = Box::pin(run_until_stop(work, &mut stop)).await;
            }
        }
        let requests = controller.balancer.certificate_requests(certificates.name_rules());
        certificates.set_hosts(requests);
    }
    // This also ends the connections of clients that wait for a drain or watch the state.
    drop((servers, request_sender));
    sources.finish().await;
    shut_down(controller.balancer, &settings.haproxy).await;
    Ok(())
}

/// Joins the fleet of the settings, if there is one.
fn start_fleet(settings: &Settings, balancer: &mut Balancer) -> Option<FleetEvents> {
    let fleet = FleetLink::start(settings.fleet.clone()?);
    let events = fleet.events();
    balancer.set_fleet(fleet);
    Some(events)
}

async fn next_fleet_event(events: &mut Option<FleetEvents>) {
    match events {
        Some(events) => events.next_event().await,
        None => pending().await,
    }
}

/// Writes the files of the last changes, and stops HAProxy if the settings require it.
async fn shut_down(mut balancer: Balancer, haproxy: &HaproxyMode) {
    let end = match haproxy {
        HaproxyMode::Managed { at_exit: AtExit::Stop, .. } => Shutdown::Stop,
        _ => Shutdown::Leave,
    };
    if timeout(STOP_TIMEOUTS.1, balancer.finish()).await.is_err() {
        warn!(
            "the files of the last changes were not written; the next start reads HAProxy's state"
        );
    }
    balancer.finish_fleet().await;
    balancer.finish_udp_plane(end).await;
    balancer.proxy.shutdown(end).await;
    info!("stopped");
}

/// Runs `work` and cuts it short if the program is stopped during it: each step leaves a state that a crash could leave
/// too. Returns `false` if the program is to stop.
async fn run_until_stop<T>(
    work: impl Future<Output = T>,
    stop: &mut (impl FusedFuture<Output = ()> + Unpin),
) -> bool {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        _ = &mut work => return true,
        () = stop => {}
    }
    if timeout(STOP_TIMEOUTS.0, work).await.is_err() {
        warn!("stopping before a change of HAProxy is complete");
    }
    false
}

/// What wakes up the loop.
enum Wakeup {
    Pass(Trigger, String),
    Request(ControlRequest),
    Token(TokenRequest),
}

impl Wakeup {
    /// Returns the pass for an event that is none of Docker.
    fn other(cause: &str) -> Self {
        Self::Pass(Trigger::Other, cause.to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Docker,
    /// An event of HAProxy, or a timer.
    Other,
}

/// Result of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassOutcome {
    Applied,
    /// Everything was applied except what needs a reload.
    ReloadPostponed,
    Failed,
}

/// A balancer with retries.
struct Controller {
    balancer: Balancer,
    wake_at: Option<Instant>,
    /// When to report READY without Docker, because HAProxy serves its last configuration.
    ready_at: Option<Instant>,
    last_error: Option<LastError>,
    /// Pauses between passes that fail.
    backoff: Backoff,
    /// The world of the last pass, if that pass succeeded.
    last_world: Option<Arc<World>>,
    /// Notifies readers of the state about a change.
    changed: watch::Sender<()>,
    docker: DockerLink,
}

/// State of the connection to Docker, as reported last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DockerLink {
    Connected,
    Disconnected,
    /// Connected, but Docker has been silent for so long that it is not being followed.
    Silent,
}

/// Error of the last pass.
struct LastError {
    text: String,
    is_logged: bool,
}

impl Controller {
    fn new(balancer: Balancer, changed: watch::Sender<()>) -> Self {
        let (wake_at, ready_at, last_error, passed) = Default::default();
        Self {
            balancer,
            wake_at,
            ready_at,
            last_error,
            backoff: Backoff::new(RETRY_BACKOFF),
            last_world: passed,
            changed,
            docker: DockerLink::Disconnected,
        }
    }

    /// Checks the connection to Docker, and reports a change to the service manager and in the log.
    fn check_docker(&mut self, sources: &SourceSet) {
        let before = self.docker;
        let age = sources.age();
        self.docker = DockerLink::from_state(sources.is_connected(), age);
        match (before, self.docker) {
            (before, now) if before == now => return,
            (_, DockerLink::Silent) => error!(
                "received nothing from Docker for {}s, although its list is requested every 30 s; \
                 HAProxy keeps the last known state",
                age.as_secs()
            ),
            (DockerLink::Silent, DockerLink::Connected) => info!("Docker answers again"),
            _ => {}
        }
        systemd::notify_status(&self.status_text());
    }

    /// Returns the status text for the service manager.
    fn status_text(&self) -> String {
        let docker = match self.docker {
            DockerLink::Connected => "",
            DockerLink::Disconnected => "; not connected to Docker",
            DockerLink::Silent => "; Docker does not answer",
        };
        format!("{} routes{docker}", self.balancer.route_count())
    }

    /// Takes the world and the event times of the sources for the next pass.
    fn take_changes(
        &mut self,
        sources: &mut SourceSet,
        world: &mut Option<Arc<World>>,
        taking: Taking,
    ) {
        self.balancer.record_event_times(sources.take_changes(taking));
        self.docker = DockerLink::from_state(sources.is_connected(), sources.age());
        self.balancer.set_source_states(sources.states());
        *world = sources.world();
    }

    async fn start_stored(&mut self) {
        match self.balancer.proxy.start().await {
            Ok(true) => {
                info!("waiting for Docker; HAProxy serves the last good configuration");
                self.ready_at = Some(Instant::now() + DOCKER_TIMEOUT);
            }
            Ok(false) if self.balancer.has_haproxy() => {
                self.ready_at = Some(Instant::now() + DOCKER_TIMEOUT);
            }
            Ok(false) => {}
            Err(error) => self.on_failed(&error.into()),
        }
    }

    fn on_certificate_event(
        &mut self,
        event: CertificateEvent,
        certificates: &mut CertificateFollower,
    ) -> Wakeup {
        match event {
            CertificateEvent::Changed => {
                self.balancer.set_certificates(certificates.current());
                Wakeup::Pass(Trigger::Other, "certificates".to_owned())
            }
            CertificateEvent::OrdersChanged => {
                self.balancer.set_orders(certificates.orders());
                Wakeup::Pass(Trigger::Other, "certificate orders".to_owned())
            }
            CertificateEvent::Token(request) => Wakeup::Token(request),
        }
    }

    /// Changes the answer to an ACME challenge, and reports when HAProxy has it.
    async fn handle_token(&mut self, world: Option<&Arc<World>>, request: TokenRequest) {
        let cause = "certificate order";
        match request {
            TokenRequest::Publish { path, key_authorization, done } => {
                self.balancer.set_token(&path, Some(key_authorization));
                self.run_pass(world, cause).await;
                report_challenge(done, self.balancer.serves_token(&path));
            }
            TokenRequest::Present { host, certificate, done } => {
                if let Err(error) = self.balancer.add_challenge_certificate(&host, &certificate) {
                    let _ = done.send(Err(error.to_string()));
                    return;
                }
                self.run_pass(world, cause).await;
                report_challenge(done, self.balancer.presents_challenge_certificate(&host));
            }
            TokenRequest::Hide { host } => {
                self.balancer.remove_challenge_certificate(&host);
                self.run_pass(world, cause).await;
            }
            TokenRequest::Withdraw { path } => {
                self.balancer.set_token(&path, None);
                self.run_pass(world, cause).await;
            }
        }
    }

    async fn run_pass(&mut self, world: Option<&Arc<World>>, cause: &str) -> PassOutcome {
        self.last_world = None;
        if self.balancer.waits_for_restart() {
            self.wait_for_restart();
            return PassOutcome::Failed;
        }
        let outcome = match world {
            None => {
                self.balancer.report_unusable_sources();
                self.start_stored().await;
                PassOutcome::Failed
            }
            Some(world) => match self.balancer.reconcile(world, cause).await {
                Ok(PassReport { wake_at, overdue: None }) => {
                    self.last_world = Some(Arc::clone(world));
                    self.on_applied(wake_at);
                    PassOutcome::Applied
                }
                Ok(PassReport { wake_at, overdue: Some(text) }) => {
                    self.on_reload_postponed(text, wake_at);
                    PassOutcome::ReloadPostponed
                }
                Err(error) => {
                    self.on_failed(&error);
                    PassOutcome::Failed
                }
            },
        };
        self.changed.send_replace(());
        outcome
    }

    /// Whether a pass would have nothing to do: the last one succeeded, and only idle containers have changed since.
    fn may_skip(&self, world: Option<&Arc<World>>) -> bool {
        let both = self.last_world.as_ref().zip(world);
        both.is_some_and(|(passed, world)| world.only_idle_containers_changed(passed))
    }

    fn skip_pass(&mut self) {
        self.balancer.discard_event_times();
        self.changed.send_replace(());
    }

    /// Handles a request. The requester may be gone by then, so errors of sending the answer are ignored.
    async fn handle_request(
        &mut self,
        world: Option<&Arc<World>>,
        (is_docker_connected, docker_age): (bool, Duration),
        request: ControlRequest,
    ) {
        match request {
            ControlRequest::Snapshot { answer } => {
                let last_error = self.last_error.as_ref().map(|error| error.text.clone());
                let picture = self.balancer.snapshot(
                    world.cloned(),
                    SourceStatus { is_docker_connected, docker_age, last_error },
                );
                let _ = answer.send(LiveSnapshot {
                    state: picture,
                    stat: self.balancer.proxy.stats_client(),
                });
            }
            // The follower of certificates handles them.
            ControlRequest::RenewCertificate { .. } | ControlRequest::ReplaceAccountKey { .. } => {}
            ControlRequest::RefreshHealth { answer } => self.balancer.examine_servers(answer),
            ControlRequest::Metrics { answer } => {
                let docker = (is_docker_connected, docker_age);
                let _ = answer.send(self.balancer.metrics_snapshot(docker));
            }
            ControlRequest::Fleet { answer } => {
                let _ = answer.send(self.balancer.fleet_state());
            }
            ControlRequest::Drain { container, reply: answer } => {
                let action = |balancer: &mut Balancer, id: &ContainerId| {
                    balancer.drain(id);
                    balancer.request_fleet_drain(id, false);
                };
                let _ = answer.send(self.set_drain(world, &container, "drain", action).await);
            }
            ControlRequest::Undrain { container, answer } => {
                let action = |balancer: &mut Balancer, id: &ContainerId| {
                    balancer.undrain(id);
                    balancer.request_fleet_undrain(id);
                };
                let result = self.set_drain(world, &container, "undrain", action).await;
                let _ = answer.send(result);
            }
            ControlRequest::CutFlows { id, answer } => {
                self.balancer.cut_flows(&id);
                self.balancer.request_fleet_drain(&id, true);
                let _ = answer.send(());
            }
            ControlRequest::Rollback { generation, answer } => {
                let action = |balancer: &mut Balancer| balancer.roll_back(generation);
                let _ = answer.send(
                    self.apply_rollback(world, &format!("rollback {generation}"), action).await,
                );
            }
            ControlRequest::Release { answer } => {
                let _ = answer
                    .send(self.apply_rollback(world, "release", Balancer::release_rollback).await);
            }
        }
    }

    /// Starts or releases a rollback, and applies it to HAProxy before it returns.
    async fn apply_rollback(
        &mut self,
        world: Option<&Arc<World>>,
        cause: &str,
        action: impl FnOnce(&mut Balancer) -> Result<RollbackResult, ApiError>,
    ) -> Result<RollbackResult, ApiError> {
        let world = world.ok_or(ApiError::DockerNotReady)?;
        let result = action(&mut self.balancer)?;
        self.run_pass(Some(world), cause).await;
        match &self.last_error {
            None => Ok(result),
            Some(last_error) => Err(ApiError::NotApplied(last_error.text.clone())),
        }
    }

    /// Drains or undrains a container, and applies that to HAProxy before it returns.
    async fn set_drain(
        &mut self,
        world: Option<&Arc<World>>,
        text: &str,
        verb: &str,
        action: fn(&mut Balancer, &ContainerId),
    ) -> Result<DrainTarget, ApiError> {
        let world = world.ok_or(ApiError::DockerNotReady)?;
        let Container { name, id, .. } = self.balancer.find_container(world, text)?;
        action(&mut self.balancer, id);
        let outcome = self.run_pass(Some(world), &format!("{verb} {name}")).await;
        match self.last_error.as_ref().filter(|_| outcome == PassOutcome::Failed) {
            None => {
                let inflight = self.balancer.inflight_work(id);
                let unserved = self.balancer.unserved_routes(id);
                let fleet = self.balancer.fleet_drain(id);
                Ok(DrainTarget { name: name.clone(), id: id.clone(), inflight, unserved, fleet })
            }
            Some(last_error) => Err(ApiError::NotApplied(last_error.text.clone())),
        }
    }

    fn on_applied(&mut self, wake_at: Option<Instant>) {
        if self.last_error.take().is_some_and(|last_error| last_error.is_logged) {
            info!("apply succeeded after earlier failures");
        }
        self.backoff.reset();
        self.wake_at = wake_at;
        self.ready_at = None;
        systemd::notify_ready(&self.status_text());
    }

    /// Waits for the pass that restarts HAProxy, which applies all changes until then. HAProxy's exit has been logged
    /// already.
    fn wait_for_restart(&mut self) {
        let text = "HAProxy exits repeatedly; it is restarted after a delay".to_owned();
        self.wake_at = None;
        self.last_error.get_or_insert(LastError { text, is_logged: false });
    }

    /// Handles a pass whose reload failed. What needs no reload is applied. The error is logged once and the reload
    /// retried with growing pauses.
    fn on_reload_postponed(&mut self, text: String, wake_at: Option<Instant>) {
        self.balancer.metrics().record_failure();
        let before = self.last_error.take();
        if before.is_none_or(|last_error| last_error.text != text) {
            let now = self.balancer.proxy.service_state();
            error!(
                "reload of HAProxy failed, {now}: {text}; changes that need no reload are applied; \
                 retrying"
            );
        }
        (self.wake_at, self.ready_at) = (wake_at, None);
        self.backoff.reset();
        self.last_error = Some(LastError { text, is_logged: true });
        systemd::notify_ready(&format!("{}; a reload of HAProxy is pending", self.status_text()));
    }

    /// Handles a pass that failed. The error is logged once and the pass retried with growing pauses.
    fn on_failed(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        self.balancer.metrics().record_failure();
        let before = self.last_error.take();
        if before.is_none_or(|error| error.text != text) {
            let now = self.balancer.proxy.service_state();
            error!("apply failed, {now}: {text}; retrying");
        }
        self.wake_at = Some(Instant::now() + self.backoff.next_pause());
        self.last_error = Some(LastError { text, is_logged: true });
    }
}

impl DockerLink {
    fn from_state(is_connected: bool, age: Duration) -> Self {
        match is_connected {
            false => Self::Disconnected,
            true if is_silent(age) => Self::Silent,
            true => Self::Connected,
        }
    }
}

/// Creates an interval that does not catch up on missed ticks.
fn new_interval(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn create_balancer(settings: &Settings, proxy: Proxy, mut rules: Rules) -> Result<Balancer> {
    let context = settings.render_context(proxy.build())?;
    rules.set_user_check(context.users.as_ref().err().copied());
    let mut balancer = Balancer::new(proxy, rules, context, settings.spare_backends.into()).await;
    let (list, state_dir) = (settings.certificate_list.clone(), settings.state_dir.clone());
    balancer.set_certificate_publisher(CertificatePublisher::start(list, state_dir));
    let access = settings.proxy().file_access();
    balancer.set_default_store(CertificateStore::new(&settings.state_dir, access));
    if let Some(address) = settings.haproxy_metrics {
        balancer.enable_exporter(address).await;
    }
    if settings.http3 {
        balancer.enable_http3();
    }
    balancer.set_udp_plane(UdpPlane::start(udp_owner(settings)));
    Ok(balancer)
}

fn udp_owner(settings: &Settings) -> UdpOwner {
    match &settings.udp_socket {
        Some(socket) => UdpOwner::Other { socket: socket.clone() },
        None => UdpOwner::Balancer(UdpProcessConfig {
            socket: settings.runtime_dir.join("udp.sock"),
            state_dir: settings.runtime_dir.join("udp"),
            engine: settings.udp_engine,
        }),
    }
}

/// Tells an order whether HAProxy serves the answer to its challenge.
fn report_challenge(done: tokio::sync::oneshot::Sender<Result<(), String>>, is_served: bool) {
    let failure = || "HAProxy does not serve the answer to the challenge".to_owned();
    // If the order does not wait any more, the answer is withdrawn soon.
    let _ = done.send(is_served.then_some(()).ok_or_else(failure));
}
