//! docker-balancer's metrics, in Prometheus' text format.
//!
//! Code that has a clone of [`Metrics`] increments counters where an event occurs. Counters are atomic, so no code waits.
//! Gauges (routes, servers, problems) are computed for each scrape from the current state. Only the state of servers that
//! may be down and the refused requests of routes are queried from HAProxy, and the number of old workers from its
//! master.

mod builder;
mod certificates;
mod fleet;
mod refusals;
mod sources;
mod udp;

use crate::{
    haproxy::{
        command::RuntimeCommand, refusals::Refusals, reload_reason::ReloadReason,
        runtime::RuntimeError, stats::StatsClient, version::Version,
    },
    model::{problem::Reason, route::Protocol},
    report::{
        ApplyMethod,
        counts::{RouteState, StateCounts},
        status::ServerState,
    },
    support::log,
};
use builder::MetricsBuilder;
use certificates::CertificateMetrics;
use fleet::FleetMetrics;
use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    process_collector::ProcessCollector,
};
use refusals::RefusalMetrics;
use sources::SourceMetrics;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use udp::UdpMetrics;

/// All counters and gauges. A clone uses the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    event_to_applied: Histogram,
    applies: IntCounterVec,
    reloads: IntCounterVec,
    commands: IntCounterVec,
    command_errors: IntCounterVec,
    drift_repaired: IntCounter,
    passes_failed: IntCounter,
    log_lines_lost: IntCounter,
    last_success: Gauge,
    problems: IntGaugeVec,
    routes: IntGaugeVec,
    servers: IntGaugeVec,
    containers: IntGauge,
    certificates: CertificateMetrics,
    udp: UdpMetrics,
    sources: SourceMetrics,
    fleet: FleetMetrics,
    refusals: RefusalMetrics,
    rollback_active: IntGauge,
    docker_connected: IntGauge,
    stream_age: Gauge,
    haproxy_answers: IntGauge,
    old_workers: IntGauge,
    reloads_left: IntGauge,
}

/// The current state, and the sources of the other values.
#[derive(Debug)]
pub struct MetricsSnapshot {
    pub census: StateCounts,
    pub stat: StatsClient,
    pub metrics: Metrics,
}

impl Metrics {
    pub fn new(haproxy: Version) -> Self {
        let registry = Registry::new();
        let builder = MetricsBuilder(&registry);
        let versions = "Versions of docker-balancer and of HAProxy.";
        builder.build_info("docker_glue_build_info", versions, haproxy);
        builder.register(ProcessCollector::for_self());
        Self {
            event_to_applied: builder.add_histogram(
                "docker_glue_event_to_applied_seconds",
                "Time from receiving a Docker event to applying its change to HAProxy.",
            ),
            applies: builder.add_counters(
                "docker_glue_applies_total",
                "Changes applied to HAProxy, by method.",
                ("method", ApplyMethod::NAMES),
            ),
            reloads: builder.add_counters(
                "docker_glue_reloads_total",
                "Reloads of HAProxy, by reason.",
                ("reason", ReloadReason::KINDS),
            ),
            commands: builder.add_counters(
                "docker_glue_runtime_commands_total",
                "Commands sent over HAProxy's runtime API, by kind.",
                ("command", &RuntimeCommand::kinds()),
            ),
            command_errors: builder.add_counters(
                "docker_glue_runtime_errors_total",
                "Errors of HAProxy's runtime API, by kind.",
                ("kind", RuntimeError::KINDS),
            ),
            drift_repaired: builder.add_counter(
                "docker_glue_drift_repaired_total",
                "Times that HAProxy's state differed from the expected state and was repaired.",
            ),
            passes_failed: builder.add_counter(
                "docker_glue_passes_failed_total",
                "Failed attempts to apply a change to HAProxy; each is retried.",
            ),
            log_lines_lost: builder.add_counter(
                "docker_glue_log_lines_lost_total",
                "Log lines that were lost because the log was not read in time.",
            ),
            last_success: builder.add_gauge(
                "docker_glue_last_success_timestamp_seconds",
                "Time at which HAProxy last had the expected state; 0 if never.",
            ),
            problems: builder.add_int_gauges(
                "docker_glue_problems",
                "Current problems, by kind: invalid labels and options, failing checks, malformed \
                 requests and responses.",
                ("kind", Reason::KINDS),
            ),
            routes: builder.add_int_gauges_by_two(
                "docker_glue_routes",
                "Routes, by state and protocol. served: a server accepts requests; down: none \
                 does; held: no containers left.",
                ("state", RouteState::NAMES),
                ("protocol", Protocol::NAMES),
            ),
            servers: builder.add_int_gauges(
                "docker_glue_servers",
                "Servers of all routes, by state.",
                ("state", ServerState::NAMES),
            ),
            containers: builder.add_int_gauge(
                "docker_glue_containers",
                "Running containers with labels of docker-balancer.",
            ),
            certificates: CertificateMetrics::new(&builder),
            udp: UdpMetrics::new(&builder),
            sources: SourceMetrics::new(&builder),
            fleet: FleetMetrics::new(&builder),
            refusals: RefusalMetrics::new(&builder),
            rollback_active: builder.add_int_gauge(
                "docker_glue_rollback_active",
                "Whether a rollback is active (0 or 1).",
            ),
            docker_connected: builder
                .add_int_gauge("docker_glue_docker_connected", "Whether Docker's event stream is \
                                                                connected (0 or 1)."),
            stream_age: builder.add_gauge(
                "docker_glue_docker_stream_age_seconds",
                "Time since the last event or answer of Docker, whose list is requested every 30 s.",
            ),
            haproxy_answers: builder.add_int_gauge(
                "docker_glue_haproxy_answers",
                "Whether HAProxy answered the last request for its state (0 or 1).",
            ),
            old_workers: builder.add_int_gauge(
                "docker_glue_haproxy_old_workers",
                "Workers that a reload replaced and that still finish connections.",
            ),
            reloads_left: builder.add_int_gauge(
                "docker_glue_reloads_left",
                "Reloads that are possible without delay; at 0 the next one waits.",
            ),
            registry: registry.clone(),
        }
    }

    /// Counts a change of HAProxy by its method.
    pub fn record_apply(&self, how: &ApplyMethod) {
        self.applies.with_label_values(&[how.as_str()]).inc();
    }

    /// Counts a reload by its reason.
    pub fn record_reload(&self, why: &ReloadReason) {
        self.reloads.with_label_values(&[why.kind()]).inc();
    }

    /// Records how long ago the event was received whose change HAProxy has now.
    pub fn record_latency(&self, since: Duration) {
        self.event_to_applied.observe(since.as_secs_f64());
    }

    /// Records that HAProxy has everything it should have.
    pub fn record_success(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(now.as_secs_f64());
    }

    /// Counts a pass that was not applied.
    pub fn record_failure(&self) {
        self.passes_failed.inc();
    }

    /// Counts commands that HAProxy has executed.
    pub fn record_commands(&self, commands: &[RuntimeCommand]) {
        for command in commands {
            self.commands.with_label_values(&[command.kind()]).inc();
        }
    }

    /// Counts an error of commands, of which HAProxy has not executed all.
    pub fn record_command_error(&self, error: &RuntimeError) {
        self.command_errors.with_label_values(&[error.kind()]).inc();
        if matches!(error, RuntimeError::Differs) {
            self.record_drift();
        }
    }

    /// Counts a repair of HAProxy's state, which differed from the expected one.
    pub fn record_drift(&self) {
        self.drift_repaired.inc();
    }

    /// Renders all metrics, including the current state, in the classic text format. `refusals` is `None` if HAProxy
    /// did not report them.
    ///
    /// # Errors
    /// When a metric cannot be written, which none of these is known for.
    pub fn render_text(
        &self,
        census: &StateCounts,
        old_workers: usize,
        refusals: Option<Refusals>,
    ) -> prometheus::Result<String> {
        let StateCounts { routes, servers, problems, .. } = census;
        set_all(&self.problems, Reason::KINDS, |kind| problems.get(kind));
        for state in RouteState::ALL {
            for protocol in Protocol::ALL {
                set_level(
                    &self.routes.with_label_values(&[state.as_str(), protocol.as_str()]),
                    count_or_zero(routes.get(&(*protocol, *state))),
                );
            }
        }
        for state in ServerState::ALL {
            set_level(
                &self.servers.with_label_values(&[state.as_str()]),
                count_or_zero(servers.get(state)),
            );
        }
        set_level(&self.containers, census.containers);
        self.certificates.set_hosts(&census.certificates);
        self.certificates.set_orders(census.orders.as_deref());
        self.udp.set_report(census.udp.as_deref());
        self.rollback_active.set(census.rollback_active.into());
        self.sources.set_sources(&census.sources);
        self.fleet.set_counts(census.fleet);
        self.refusals.set_refusals(refusals);
        self.docker_connected.set(census.docker_connected.into());
        self.stream_age.set(census.stream_age.as_secs_f64());
        self.haproxy_answers.set(census.haproxy_answers.into());
        set_level(&self.old_workers, old_workers);
        self.log_lines_lost.inc_by(log::lost_lines().saturating_sub(self.log_lines_lost.get()));
        let left = census.budget.available(census.now, old_workers);
        self.reloads_left.set(left.into());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn set_all<'a>(gauges: &IntGaugeVec, all: &[&'a str], of: impl Fn(&'a str) -> Option<&'a usize>) {
    for word in all {
        set_level(&gauges.with_label_values(&[word]), count_or_zero(of(word)));
    }
}

fn count_or_zero(there_are: Option<&usize>) -> usize {
    there_are.copied().unwrap_or(0)
}

fn set_level(gauge: &IntGauge, value: usize) {
    gauge.set(value.try_into().unwrap_or(i64::MAX));
}
