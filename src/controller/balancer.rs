//! One reconcile pass: from the world to the decision, and from there to HAProxy. The only module that knows both
//! Docker's side and HAProxy's.
//!
//! A change that the runtime API can make is made at once, and the files are written afterwards. Any other change needs
//! a reload, for which the files are written first. In both cases HAProxy's state is read afterwards.

mod apply;
mod certificates;
mod draining;
mod exporter;
mod fleet;
mod health;
mod http3;
pub mod journal;
mod measure;
mod quarantine;
pub mod rollback;
mod write_behind;

pub use write_behind::InternalEvent;

use crate::{
    controller::{
        control_error::ApiError,
        find,
        fleet_link::FleetLink,
        inflight::{InflightFlows, InflightWork},
        metrics::Metrics,
        policy_follower::{FileReading, PolicyReading},
        problem_log::{self, ProblemLog},
        source_set::SourceState,
        udp_plane::{self, UdpPlane},
        user_sets::UserSets,
    },
    haproxy::{
        config::{Config, ExistingWorker},
        config_builder::ConfigBuilder,
        incremental_plan::{self, PendingDeletions},
        layout::Layout,
        observed::ObservedState,
        old_workers::OldWorkers,
        provisioning::Provisioning,
        proxy::{self, ApplyKind, Proxy, Shutdown},
        reload_budget::ReloadBudget,
        reload_reason::ReloadReason,
        render::RenderContext,
        requeue::Requeue,
        route_recovery,
        user_check::UserCheck,
        version::Build,
    },
    label,
    model::{
        container::{Container, ContainerId},
        problem::{Problem, ProblemSubject, Reason},
        problem_set::ProblemSet,
        route::{Listener, OwnedName, Readiness, Route, RouteKey, Routes},
        source_name::SourceName,
        world::{Vantage, World},
    },
    report::{
        self, AppliedPass, StateSnapshot,
        history::{History, RouteDelta},
        source_status::SourceReport,
        status::ChangeStatus,
    },
    routing::{
        decide::{self, DecideState, Decision, Rules},
        route_table::HostOwner,
        udp_listener,
    },
    support::backoff::Backoff,
    udp::answer::UdpReport,
};
use anyhow::{Result, bail};
use certificates::CertificateState;
use draining::DrainingBackends;
use exporter::Exporter;
use health::HealthMonitor;
use http3::Http3;
use journal::Journal;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tracing::{debug, info, warn};
use write_behind::{PendingWrite, RestartSchedule};

/// How many configurations HAProxy may refuse in one pass.
const MAX_TRIES: usize = 32;
/// How long HAProxy's state is used without being read again.
const STATE_TTL: Duration = Duration::from_secs(30);
/// Delay until the state is read again after HAProxy did not answer.
const OBSERVE_RETRY: Duration = Duration::from_secs(1);

/// Delay until a failed reload is tried again.
const RELOAD_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Applies worlds to a running HAProxy.
#[derive(Debug)]
pub struct Balancer {
    pub proxy: Proxy,
    rules: Rules,
    render_context: RenderContext,
    /// How many spare backends of each shape a new worker gets.
    spare_count: usize,
    memory: DecideState,
    problem_log: ProblemLog,
    served_routes: Routes,
    /// When this balancer started, and the last pass that changed something.
    since_ms: u64,
    last_apply: Option<AppliedPass>,
    history: History,
    /// The routes that an earlier run served last, until the first pass.
    previous_routes: Option<Routes>,
    /// The owners of hosts as they were last stored.
    owners: Arc<BTreeMap<OwnedName, HostOwner>>,
    /// `None` if the history is not stored.
    journal: Option<Journal>,
    metrics: Metrics,
    /// When the events arrived that are not applied to HAProxy yet.
    event_times: Vec<Instant>,
    exporter: Exporter,
    http3: Http3,
    budget: ReloadBudget,
    live: LiveHaproxy,
    pending_write: PendingWrite,
    health_monitor: HealthMonitor,
    /// A reload that failed.
    overdue: Option<OverdueReload>,
    restarts: RestartSchedule,
    certificates: CertificateState,
    /// `None` where UDP is not forwarded.
    udp: Option<UdpPlane>,
    source_states: Vec<SourceState>,
    fleet: Option<FleetLink>,
    user_sets: UserSets,
}

/// A reload that failed, and when it is tried again. Until then the changes that need no reload are made over the
/// runtime API.
#[derive(Debug)]
struct OverdueReload {
    reason: String,
    retry_at: Instant,
    backoff: Backoff,
}

/// The result of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassReport {
    /// When to run the next pass even if nothing changes.
    pub wake_at: Option<Instant>,
    /// Why changes that need a reload are not applied, if that is so.
    pub overdue: Option<String>,
}

/// What is known about the running HAProxy.
#[derive(Debug, Default)]
struct LiveHaproxy {
    /// `None` until the state is read, and after an unexpected answer.
    observed: Option<ObservedState>,
    observed_at: Option<Instant>,
    /// The last configuration that was loaded or applied, to find out what differs.
    config: Arc<Config>,
    /// If set, HAProxy's state equals `config`, which was built from the served routes, except for these deletions.
    pending_deletions: Option<PendingDeletions>,
    /// Commands did not lead to the desired state.
    has_diverged: bool,
    /// The worker that has a known default certificate, and the certificate whose content that has.
    default_certificate: Option<(u32, String)>,
    /// Delay until refused deletions are tried again; `None` if none was refused.
    delete_backoff: Option<Backoff>,
    /// Backends that no other route may get yet.
    draining: DrainingBackends,
    /// Listeners that it cannot have at the moment.
    unavailable: BTreeSet<Listener>,
    /// Old workers, which are updated on changes as long as there are any.
    old_workers: Option<OldWorkers>,
    /// There may be old workers that are not updated yet.
    may_have_old_workers: bool,
}

/// How a desired state is reached.
enum NextStep {
    Runtime(Config),
    Reload(Config, ReloadReason),
    /// A reload is needed but not possible before this time.
    RuntimeUntil(Config, ReloadReason, Instant),
}

/// The result of a step, for the log.
pub(crate) enum StepOutcome {
    Unchanged,
    Runtime { commands: usize },
    Loaded(proxy::ApplyReport, ReloadReason),
}

impl Balancer {
    /// Restores the routes that an earlier run has left, in HAProxy or at least on disk.
    pub async fn new(
        mut proxy: Proxy,
        rules: Rules,
        render_context: RenderContext,
        spare_count: usize,
    ) -> Self {
        let observed = proxy.read_state().await;
        let now = Instant::now();
        let stored = match &observed {
            Some(_) => ObservedState::default(),
            None => proxy.read_stored_state(),
        };
        let state = observed.as_ref().unwrap_or(&stored);
        // Routes without a server are held as well.
        let mut memory = DecideState::with_routes(route_recovery::recover_keys(state), now);
        if let Some(observed) = &observed {
            memory.restore_claimants(&route_recovery::recover_routes(observed));
        }
        let observed_at = observed.is_some().then_some(now);
        let live = LiveHaproxy {
            observed_at,
            observed,
            may_have_old_workers: true,
            ..LiveHaproxy::default()
        };
        let metrics = Metrics::new(proxy.version());
        let (problem_log, served_routes, pending_write, event_times, exporter) = Default::default();
        let health_monitor = HealthMonitor::default();
        let budget = ReloadBudget::full(now);
        let (since_ms, last_apply) = (unix_millis(), None);
        let (history, previous_routes, owners, journal, overdue) = Default::default();
        Self {
            proxy,
            rules,
            render_context,
            spare_count,
            memory,
            problem_log,
            served_routes,
            since_ms,
            last_apply,
            history,
            previous_routes,
            owners,
            journal,
            metrics,
            event_times,
            exporter,
            http3: Http3::default(),
            budget,
            live,
            pending_write,
            health_monitor,
            overdue,
            restarts: RestartSchedule::default(),
            certificates: CertificateState::default(),
            udp: None,
            source_states: Vec::new(),
            fleet: None,
            user_sets: UserSets::default(),
        }
    }

    /// Returns the users of all routes, now and after later passes.
    pub fn user_sets(&self) -> UserSets {
        self.user_sets.clone()
    }

    /// Sets the place from which HAProxy reaches the containers of a source.
    pub fn set_vantage(&mut self, source: &SourceName, vantage: Vantage) {
        self.rules.set_vantage(source, vantage);
    }

    /// Sets the policies and the error pages.
    pub(super) fn set_files(&mut self, reading: FileReading) {
        let FileReading { policies, error_pages } = reading;
        self.rules.error_page_faults = error_pages.faults;
        if self.render_context.error_pages != error_pages.pages {
            self.render_context.error_pages = error_pages.pages;
            // The next pass compares everything, and so finds that a reload is needed.
            self.live.pending_deletions = None;
        }
        self.set_policies(policies);
    }

    /// Sets the policies that labels name. If they could not be read, the last ones stay.
    fn set_policies(&mut self, reading: PolicyReading) {
        match reading {
            Ok(policies) => {
                self.rules.set_policies(&policies);
                self.rules.policy_fault = None;
                // Labels are parsed again.
                self.memory.clear_cache();
            }
            Err(text) => self.rules.policy_fault = Some(text),
        }
    }

    /// Sets which sources answer.
    pub fn set_source_states(&mut self, states: Vec<SourceState>) {
        for SourceState { name, silent_since, clock_skew, is_not_manager, .. } in &states {
            self.rules.set_not_manager(name, *is_not_manager);
            let since = silent_since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
            self.rules.set_source_state(name, since.map(|since| since.as_secs()), *clock_skew);
        }
        self.source_states = states;
    }

    /// Reports sources that never answer, as long as no pass does, because no source has answered.
    pub fn report_unusable_sources(&mut self) {
        self.problem_log.log_changes(decide::unusable_source_problems(&self.rules));
    }

    /// Returns what is known of the sources with names.
    fn source_reports(&self) -> Vec<SourceReport> {
        let report = |state: &SourceState| SourceReport {
            name: state.name.clone(),
            url: state.url.clone(),
            connected: state.connected,
            silent_ms: state.silent_since.map(|since| {
                let span = since.elapsed().unwrap_or_default();
                u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
            }),
            containers: self.memory.count_containers_of(&state.name),
            clock_skew: state.clock_skew,
            nodes: state.nodes,
        };
        self.source_states.iter().filter(|state| !state.name.is_none()).map(report).collect()
    }

    /// Has docker-glue-udp forward datagrams.
    pub fn set_udp_plane(&mut self, plane: UdpPlane) {
        self.udp = Some(plane);
    }

    /// Waits until docker-glue-udp serves the routes of datagrams.
    ///
    /// # Errors
    /// What is not served, and why.
    pub async fn settle_udp_plane(&mut self) -> Result<(), String> {
        match &mut self.udp {
            Some(plane) => plane.settle().await,
            None => Ok(()),
        }
    }

    /// Ends the connection to docker-glue-udp, and that itself if docker-balancer owns it.
    pub async fn finish_udp_plane(&mut self, end: Shutdown) {
        if let Some(plane) = self.udp.take() {
            plane.finish(end).await;
        }
    }

    /// Returns what docker-glue-udp reported last. `None` if it does not answer.
    pub fn udp_report(&self) -> Option<Arc<UdpReport>> {
        self.udp.as_ref().and_then(UdpPlane::report)
    }

    fn set_udp_listeners(&self, routes: &Routes) {
        let Some(plane) = &self.udp else { return };
        let mut listeners =
            udp_plane::udp_listeners(routes, &self.rules, &self.render_context.bind);
        let cut = &self.memory.cut;
        let ids: Vec<_> =
            cut.iter().map(|id| udp_listener::endpoint_ids_start(id.short())).collect();
        let is_cut = |endpoint: &str| ids.iter().any(|start| endpoint.starts_with(start));
        for listener in listeners.values_mut().filter(|_| !ids.is_empty()) {
            listener.endpoints.retain(|endpoint| !is_cut(&endpoint.id));
        }
        plane.set_listeners(listeners);
    }

    /// Tells docker-glue-udp which routes to serve. Returns the listeners that it does not serve.
    fn update_udp_plane(&self, routes: &Routes) -> Vec<Problem> {
        let binds = &self.render_context.bind;
        self.set_udp_listeners(routes);
        let listeners: BTreeSet<_> =
            routes.0.keys().filter(|key| key.is_udp()).map(|key| key.listener).collect();
        let problem = |listener: Listener| {
            let addresses = udp_plane::bound_addresses(listener, &self.rules, binds);
            let why = match &self.udp {
                Some(plane) => plane.unserved_reason(&addresses)?,
                None => "not served: no docker-glue-udp is configured".to_owned(),
            };
            let (subject, reason) = (ProblemSubject::Listener(listener), Reason::PortTaken { why });
            Some(Problem { subject, label: None, reason })
        };
        listeners.into_iter().filter_map(problem).collect()
    }

    /// Finds the participating container that a user named.
    pub fn find_container<'a>(
        &self,
        world: &'a World,
        text: &str,
    ) -> Result<&'a Container, ApiError> {
        let all = world.containers.values().map(AsRef::as_ref);
        find::find_container(
            all.filter(|container| {
                let rules = self.rules.of_source(container.id.source());
                label::participates(container, &rules.label_limits)
            }),
            text,
        )
    }

    /// Stops new requests to the container from the next pass on.
    pub fn drain(&mut self, id: &ContainerId) {
        self.memory.drain_container(id);
    }

    pub fn undrain(&mut self, id: &ContainerId) {
        self.memory.undrain_container(id);
    }

    /// Sends the flows of a drained container to other containers.
    pub fn cut_flows(&mut self, id: &ContainerId) {
        self.memory.cut_container(id);
        self.set_udp_listeners(&self.served_routes);
    }

    /// Returns how to count what a container serves; `None` while HAProxy's state is not known.
    pub fn inflight_work(&self, id: &ContainerId) -> Option<InflightWork> {
        let observed = self.live.observed.as_ref()?;
        let requests = self.proxy.inflight_requests(observed, id.short());
        Some(InflightWork { requests, flows: self.inflight_flows(id) })
    }

    /// Returns how to count a container's flows; `None` if the container has no route of datagrams.
    fn inflight_flows(&self, id: &ContainerId) -> Option<InflightFlows> {
        let shares =
            |route: &Route| route.endpoints.iter().any(|view| view.container.id() == id.short());
        let has_flows =
            self.served_routes.0.iter().any(|(key, route)| key.is_udp() && shares(route));
        let plane = self.udp.as_ref().filter(|_| has_flows)?;
        let socket = plane.socket().to_owned();
        Some(InflightFlows { socket, endpoints: udp_listener::endpoint_ids_start(id.short()) })
    }

    /// Returns the routes that the container shares and that no container serves.
    pub fn unserved_routes(&self, id: &ContainerId) -> Vec<String> {
        let shares =
            |route: &Route| route.endpoints.iter().any(|view| view.container.id() == id.short());
        let is_served =
            |route: &Route| route.endpoints.iter().any(|view| view.readiness == Readiness::Ready);
        let unserved =
            self.served_routes.0.iter().filter(|(_, route)| shares(route) && !is_served(route));
        unserved.map(|(key, _)| key.to_string()).collect()
    }

    /// Discards what is known about HAProxy's state: the next pass reads all of it.
    pub fn invalidate_state(&mut self) {
        self.live.observed_at = None;
        self.overdue = None;
        self.memory.unloadable_listeners.clear();
    }

    /// Whether a managed HAProxy has exited repeatedly, so that its next start is delayed.
    pub fn waits_for_restart(&self) -> bool {
        self.restarts.restart_at.is_some()
    }

    /// Whether an HAProxy runs, with the state that an earlier balancer gave it.
    pub fn has_haproxy(&self) -> bool {
        self.live.observed.is_some()
    }

    /// Returns everything that is known now, for reports.
    pub fn snapshot(&self, world: Option<Arc<World>>, link: SourceStatus) -> StateSnapshot {
        StateSnapshot {
            at_ms: unix_millis(),
            now: Instant::now(),
            started_ms: self.since_ms,
            world,
            docker_connected: link.is_docker_connected,
            docker_age: link.docker_age,
            sources: self.source_reports(),
            rules: self.rules.clone(),
            decide_state: self.memory.clone(),
            routes: self.served_routes.clone(),
            problems: self.problems(),
            orders: self.certificates.orders(),
            config: Arc::clone(&self.live.config),
            haproxy: report::HaproxyInfo {
                version: self.proxy.version(),
                pid: self.proxy.pid(),
                managed: self.proxy.is_managed(),
                answers: self.live.observed.is_some(),
            },
            udp: self.udp_report(),
            last_applied: self.last_apply.clone(),
            last_error: link.last_error,
            history: self.history.clone(),
        }
    }

    fn problems(&self) -> ProblemSet {
        let mut problems = self.problem_log.problems().clone();
        problems.extend(self.health_monitor.problems().iter().cloned());
        problems
    }

    /// Returns the number of served routes.
    pub fn route_count(&self) -> usize {
        self.served_routes.0.len()
    }

    /// Applies the world to HAProxy, except for what turns out to be impossible, which is reported. If a reload fails,
    /// the changes that need none are still made.
    ///
    /// # Errors
    /// When nothing could be applied; HAProxy continues as before.
    pub async fn reconcile(&mut self, world: &World, cause: &str) -> Result<PassReport> {
        let begun = Instant::now();
        self.retry_exporter(begun);
        self.retry_http3(begun);
        self.live.draining.expire(begun);
        self.apply_fleet_drains(world);
        let unloadable = self.memory.unloadable_listeners.clone();
        for _ in 0..MAX_TRIES {
            let mut decided = self.decide_routes(world, begun);
            let mut wake_at = decided.wake_at;
            if let Some(outcome) = self.apply_incremental(&decided.routes, begun).await {
                self.record_success(&outcome);
                self.finish_pass(decided, &outcome, cause, begun);
                return Ok(self.report_pass(wake_at));
            }
            self.live.pending_deletions = None;
            let mut waits = false;
            let outcome = match self.choose_step(&decided.routes, begun).await {
                NextStep::Runtime(config) => self.apply_runtime(config).await?,
                NextStep::RuntimeUntil(config, why, retry_at) => {
                    debug!("reload delayed: {why}");
                    wake_at = Some(wake_at.map_or(retry_at, |at| at.min(retry_at)));
                    waits = true;
                    self.apply_runtime(config).await?
                }
                NextStep::Reload(config, why) => {
                    match self.apply_reload(&decided.routes, config, why).await {
                        Ok(outcome) => {
                            if outcome.is_some() {
                                self.overdue = None;
                            }
                            outcome
                        }
                        Err(error) => {
                            // Leaving these listeners out did not help, so they are not the cause.
                            if self.memory.unloadable_listeners != unloadable {
                                self.memory.unloadable_listeners = unloadable.clone();
                                decided = self.decide_routes(world, begun);
                            }
                            waits = true;
                            let outcome = self.apply_without_reload(&decided.routes).await;
                            self.postpone_reload(&error);
                            Some(outcome.ok_or(error)?)
                        }
                    }
                }
            };
            if let Some(outcome) = outcome {
                self.live.pending_deletions =
                    if waits { None } else { self.find_pending_deletions() };
                if !waits {
                    self.record_success(&outcome);
                }
                self.finish_pass(decided, &outcome, cause, begun);
                return Ok(self.report_pass(wake_at));
            }
        }
        bail!("HAProxy refused {MAX_TRIES} versions of the configuration")
    }

    fn decide_routes(&mut self, world: &World, now: Instant) -> Decision {
        let mut decided = decide::decide(world, mem::take(&mut self.memory), now, &self.rules);
        self.memory = mem::take(&mut decided.memory);
        self.live.unavailable = self.memory.unavailable_listeners();
        self.user_sets.add_routes(&decided.routes);
        if self.rules.auth_servers != decided.auth_servers {
            self.rules.auth_servers.clone_from(&decided.auth_servers);
            self.live.pending_deletions = None;
        }
        decided
    }

    /// Schedules the next try of a failed reload, with an increasing delay.
    fn postpone_reload(&mut self, error: &anyhow::Error) {
        let now = Instant::now();
        let before = self.overdue.take().map(|overdue| overdue.backoff);
        let mut backoff = before.unwrap_or(Backoff::new(RELOAD_BACKOFF));
        let retry_at = now + backoff.next_pause();
        self.overdue = Some(OverdueReload { reason: format!("{error:#}"), retry_at, backoff });
    }

    fn report_pass(&self, wake_at: Option<Instant>) -> PassReport {
        let retry_at = self.overdue.as_ref().map(|overdue| overdue.retry_at);
        let wake_at = self.next_wake([wake_at, retry_at].into_iter().flatten().min());
        PassReport { wake_at, overdue: self.overdue.as_ref().map(|overdue| overdue.reason.clone()) }
    }

    /// Chooses between the runtime API and a reload.
    async fn choose_step(&mut self, routes: &Routes, now: Instant) -> NextStep {
        self.refresh_if_stale(now).await;
        let Some(observed) = &self.live.observed else {
            return self.prepare_reload(routes, ReloadReason::StateUnknown).await;
        };
        let (config, why) =
            self.config_builder().build_for_running(routes, observed, &self.live.config);
        let why = if self.live.has_diverged { Some(ReloadReason::RuntimeFailed) } else { why };
        let Some(why) = why else {
            self.overdue = None;
            return NextStep::Runtime(config);
        };
        if let Some(overdue) = self.overdue.as_ref().filter(|overdue| now < overdue.retry_at) {
            return NextStep::RuntimeUntil(
                self.config_without_reload(routes),
                why,
                overdue.retry_at,
            );
        }
        let old_workers = self.proxy.count_old_workers().await;
        match self.budget.take_reload(now, old_workers) {
            Ok(()) => self.prepare_reload(routes, why).await,
            Err(retry_at) => {
                NextStep::RuntimeUntil(self.config_without_reload(routes), why, retry_at)
            }
        }
    }

    /// Builds the files for the HAProxy that will read them, because it may have been replaced by another version.
    async fn prepare_reload(&mut self, routes: &Routes, why: ReloadReason) -> NextStep {
        if let Some(build) = self.proxy.replaced_build().await {
            let version = build.version;
            info!("HAProxy {version} is now installed; generating the configuration for it");
            self.render_context.provisioning =
                Provisioning::for_version(version, &self.render_context.base);
            self.render_context.requeue =
                Requeue::of(build, &self.render_context.base, self.render_context.key);
            self.adapt_user_check(build);
            self.adapt_http3(build);
        }
        NextStep::Reload(self.build_fresh_config(routes), why)
    }

    /// Adapts to an HAProxy that can or cannot ask about users. If it cannot, the next pass closes their routes; until
    /// then the configuration does.
    fn adapt_user_check(&mut self, build: Build) {
        let socket = self.proxy.user_socket();
        self.render_context.users = UserCheck::of(build, &self.render_context.base, &socket);
        self.rules.set_user_check(self.render_context.users.as_ref().err().copied());
        self.memory.clear_cache();
    }

    /// Returns `None` if HAProxy's state is not known to equal the configuration.
    fn find_pending_deletions(&self) -> Option<PendingDeletions> {
        incremental_plan::find_pending_deletions(self.live.observed.as_ref()?, &self.live.config)
    }

    fn is_stale(&self, now: Instant) -> bool {
        let fresh = self.live.observed_at.is_some_and(|observed_at| now < observed_at + STATE_TTL);
        !fresh || self.live.observed.is_none()
    }

    async fn refresh_if_stale(&mut self, now: Instant) {
        if !self.is_stale(now) {
            return;
        }
        let before = self.live.observed.take();
        self.live.observed = self.read_state().await;
        self.live.observed_at = Some(now);
        self.live.may_have_old_workers = true;
        if let (Some(before), Some(after)) = (before, &self.live.observed)
            && !after.matches_state(&before)
        {
            warn!("HAProxy's state differs from the expected state; repairing");
            self.metrics.record_drift();
        }
    }

    /// Returns the part of the configuration that the running worker can take.
    fn config_without_reload(&self, routes: &Routes) -> Config {
        let observed = self.live.observed.clone().unwrap_or_default();
        let existing = ExistingWorker::new(&observed, &self.live.config);
        let can_have = |key: &RouteKey| {
            let frontend =
                existing.frontends.iter().find(|frontend| frontend.listener == key.listener);
            frontend.is_some_and(|frontend| frontend.has_passthrough || !key.is_passed())
        };
        let mut routes = routes.clone();
        routes.0.retain(|key, _| can_have(key));
        let (layout, _) =
            Layout::for_running_worker(&routes, &observed, self.live.draining.names());
        let mut config = self.config_builder().build_config(&routes, layout, Some(&existing));
        // Those of permanent listeners that are new wait for the reload.
        let is_bound =
            |listener| existing.frontends.iter().any(|frontend| frontend.listener == listener);
        config.frontends.retain(|frontend| is_bound(frontend.listener));
        config.keep_shape_of(&existing);
        config.fingerprint = observed.fingerprint;
        config
    }

    /// Returns the listeners of the running worker.
    fn bound_listeners(&self) -> BTreeSet<Listener> {
        let observed = self.live.observed.iter();
        let frontends = observed
            .flat_map(|observed| ExistingWorker::new(observed, &self.live.config).frontends);
        frontends.map(|frontend| frontend.listener).collect()
    }

    fn config_builder(&self) -> ConfigBuilder<'_> {
        ConfigBuilder {
            rules: &self.rules,
            context: &self.render_context,
            unavailable: &self.live.unavailable,
            spare_count: self.spare_count,
            draining: self.live.draining.names(),
        }
    }

    fn build_fresh_config(&self, routes: &Routes) -> Config {
        self.config_builder().build_fresh(routes)
    }

    fn next_wake(&self, wake_at: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let again = self.live.delete_backoff.as_ref().map(|backoff| now + backoff.last_pause());
        let stale = match &self.live.observed {
            Some(_) => self.live.observed_at.map(|observed_at| observed_at + STATE_TTL),
            None => Some(now + OBSERVE_RETRY),
        };
        let options = [self.exporter.wake_at(), self.http3.wake_at()];
        [wake_at, again, stale].into_iter().chain(options).flatten().min()
    }

    fn update_old_workers(&mut self) {
        let LiveHaproxy { config, old_workers, may_have_old_workers: may_have_old, .. } =
            &mut self.live;
        if old_workers.as_ref().is_some_and(|workers| workers.update_config(config)) {
            return;
        }
        let look = mem::take(may_have_old);
        let limit = self.render_context.hard_stop_after;
        *old_workers = if look { self.proxy.follow_old_workers(config, limit) } else { None };
    }

    fn finish_pass(
        &mut self,
        mut decided: Decision,
        outcome: &StepOutcome,
        cause: &str,
        begun: Instant,
    ) {
        self.update_old_workers();
        self.record_method(outcome);
        decided.problems.extend(self.exporter.problem());
        decided.problems.extend(self.http3.problem());
        decided.problems.extend(self.certificate_problems());
        decided.problems.extend(self.fleet_problems());
        decided.problems.extend(self.update_udp_plane(&decided.routes));
        self.problem_log.log_changes(decided.problems);
        let delta = RouteDelta::from_routes(&self.served_routes, &decided.routes);
        let changes = delta.describe_changes(usize::MAX);
        changes.iter().for_each(problem_log::log_route_change);
        let changes: Vec<_> = changes.iter().map(ChangeStatus::from).collect();
        let keys: Vec<_> = delta.0.keys().map(ToString::to_string).collect();
        self.served_routes = decided.routes;
        if let Some(fleet) = &mut self.fleet {
            fleet.record_routes(&delta);
        }
        let (routes, took) = (self.route_count(), begun.elapsed());
        self.record_generation(delta, outcome, cause, took);
        self.persist_owners();
        self.on_servers_changed(&keys);
        self.update_fleet();
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(how) = outcome.apply_method() {
            let (at_ms, cause) = (unix_millis(), cause.to_owned());
            self.last_apply = Some(AppliedPass { at_ms, cause, how, duration: took, changes });
        }
        match outcome {
            StepOutcome::Unchanged => {}
            StepOutcome::Runtime { commands } => {
                info!(cause, routes, commands, us, "updated HAProxy over the runtime API");
            }
            StepOutcome::Loaded(applied, why) => {
                if let Some(backup) = &applied.backup {
                    warn!(
                        "replaced an existing configuration; it was saved as {}",
                        backup.display()
                    );
                }
                match applied.kind {
                    ApplyKind::Unchanged => {}
                    ApplyKind::Started if self.restarts.is_repeated => {
                        debug!(cause, routes, us, "started HAProxy");
                    }
                    ApplyKind::Started => info!(cause, routes, us, "started HAProxy"),
                    ApplyKind::Reloaded => {
                        info!(cause, routes, us, reason = why.kind(), "reloaded HAProxy: {why}");
                    }
                }
            }
        }
    }
}

impl StepOutcome {
    /// `None` if nothing was done.
    fn apply_method(&self) -> Option<report::ApplyMethod> {
        match self {
            Self::Unchanged => None,
            Self::Runtime { commands } => {
                Some(report::ApplyMethod::Runtime { commands: *commands })
            }
            Self::Loaded(applied, why) => match applied.kind {
                ApplyKind::Unchanged => None,
                ApplyKind::Started => Some(report::ApplyMethod::Started),
                ApplyKind::Reloaded => Some(report::ApplyMethod::Reloaded { why: why.to_string() }),
            },
        }
    }
}

/// State of the source, which the balancer itself does not know.
#[derive(Debug, Clone, Default)]
pub struct SourceStatus {
    /// Whether Docker's events are received.
    pub is_docker_connected: bool,
    /// Time since the last message from Docker.
    pub docker_age: Duration,
    /// Why the last pass failed.
    pub last_error: Option<String>,
}

/// Milliseconds since 1970.
fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until this time; forever if there is none.
pub async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
