//! What can be counted, as Prometheus' text.
//!
//! Counters are told where things happen, by whoever has a clone of [`Metrics`]: they are atomic, nobody
//! waits. How things stand (routes, servers, problems) is counted when somebody asks, from what is known
//! anyway: HAProxy is asked how the servers are that may not be well, and its master how many old workers there are.

mod maker;
pub mod server;

use crate::{
    haproxy::{command::Command, runtime::RuntimeError, stat::Stat, version::Version},
    log,
    problem::Reason,
    reload::Why,
    view::{
        How,
        census::{Census, RouteState},
        status::ServerState,
    },
};
use maker::Maker;
use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    process_collector::ProcessCollector,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// All there are. A clone counts into the same.
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
    rollback_holds: IntGauge,
    docker_connected: IntGauge,
    stream_age: Gauge,
    haproxy_answers: IntGauge,
    old_workers: IntGauge,
    reloads_left: IntGauge,
}

/// How things stand, and where the rest is counted.
#[derive(Debug)]
pub struct Count {
    pub census: Census,
    pub stat: Stat,
    pub metrics: Metrics,
}

impl Metrics {
    pub fn new(haproxy: Version) -> Self {
        let registry = Registry::new();
        let it = Maker(&registry);
        it.info("docker_glue_build_info", "Versions of docker-balancer and of HAProxy.", haproxy);
        it.add(ProcessCollector::for_self());
        Self {
            event_to_applied: it.histogram(
                "docker_glue_event_to_applied_seconds",
                "From hearing an event of Docker to HAProxy having what follows from it.",
            ),
            applies: it.counters(
                "docker_glue_applies_total",
                "Passes that changed something in HAProxy, by the way they took.",
                ("way", How::WAYS),
            ),
            reloads: it.counters(
                "docker_glue_reloads_total",
                "Reloads of HAProxy, by what made them necessary.",
                ("reason", Why::KINDS),
            ),
            commands: it.counters(
                "docker_glue_runtime_commands_total",
                "Commands told to HAProxy over its runtime API.",
                ("command", Command::KINDS),
            ),
            command_errors: it.counters(
                "docker_glue_runtime_errors_total",
                "Times that HAProxy's runtime API did not do what it was told.",
                ("kind", RuntimeError::KINDS),
            ),
            drift_repaired: it.counter(
                "docker_glue_drift_repaired_total",
                "Times that HAProxy was found to have something else than it was given.",
            ),
            passes_failed: it.counter(
                "docker_glue_passes_failed_total",
                "Times that what should be could not be applied; it is tried again.",
            ),
            log_lines_lost: it.counter(
                "docker_glue_log_lines_lost_total",
                "Lines of the log that were lost, as nobody read it in time.",
            ),
            last_success: it.gauge(
                "docker_glue_last_success_timestamp_seconds",
                "When HAProxy was last known to have all that it should have; 0 is never.",
            ),
            problems: it.gauges(
                "docker_glue_problems",
                "Labels and options that cannot be honoured now, servers whose checks fail, and what was no HTTP.",
                ("kind", Reason::KINDS),
            ),
            routes: it.gauges(
                "docker_glue_routes",
                "Routes. served: some server takes requests; down: none does; held: nobody asks for it any more.",
                ("state", RouteState::WORDS),
            ),
            servers: it.gauges(
                "docker_glue_servers",
                "Servers of all routes, by what becomes of new requests there.",
                ("state", ServerState::WORDS),
            ),
            containers: it.level(
                "docker_glue_containers",
                "Containers that run and take part.",
            ),
            rollback_holds: it.level(
                "docker_glue_rollback_holds",
                "Whether an earlier generation is served until it is released (0 or 1).",
            ),
            docker_connected: it
                .level("docker_glue_docker_connected", "Whether Docker's events are heard (0 or 1)."),
            stream_age: it.gauge(
                "docker_glue_docker_stream_age_seconds",
                "Time since Docker was last heard: an event, or an answer; it is asked for its list every 30 s.",
            ),
            haproxy_answers: it.level(
                "docker_glue_haproxy_answers",
                "Whether HAProxy said what it has when it was asked last (0 or 1).",
            ),
            old_workers: it.level(
                "docker_glue_haproxy_old_workers",
                "Workers that a reload has replaced and that end what they have begun.",
            ),
            reloads_left: it.level(
                "docker_glue_reloads_left",
                "Reloads that may follow at once; at 0 the next one waits.",
            ),
            registry: registry.clone(),
        }
    }

    /// HAProxy was changed that way.
    pub fn applied(&self, how: &How) {
        self.applies.with_label_values(&[how.way()]).inc();
    }

    /// For this reason.
    pub fn reloaded(&self, why: &Why) {
        self.reloads.with_label_values(&[why.kind()]).inc();
    }

    /// HAProxy has what follows from an event that was heard so long ago.
    pub fn followed(&self, since: Duration) {
        self.event_to_applied.observe(since.as_secs_f64());
    }

    /// HAProxy has all that it should have.
    pub fn succeeded(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(now.as_secs_f64());
    }

    /// A pass was not applied.
    pub fn failed(&self) {
        self.passes_failed.inc();
    }

    /// HAProxy has obeyed these.
    pub fn told(&self, commands: &[Command]) {
        for command in commands {
            self.commands.with_label_values(&[command.kind()]).inc();
        }
    }

    /// It has not obeyed all of them.
    pub fn not_told(&self, error: &RuntimeError) {
        self.command_errors.with_label_values(&[error.kind()]).inc();
        if matches!(error, RuntimeError::Differs) {
            self.drifted();
        }
    }

    /// HAProxy has something else than it was given, and is set right.
    pub fn drifted(&self) {
        self.drift_repaired.inc();
    }

    /// All of it, and how things stand now, in the classic text format.
    ///
    /// # Errors
    /// When a metric cannot be written, which none of these is known for.
    pub fn text(&self, census: &Census, old_workers: usize) -> prometheus::Result<String> {
        let Census { routes, servers, problems, .. } = census;
        set(&self.problems, Reason::KINDS, |kind| problems.get(kind));
        for state in RouteState::ALL {
            level(&self.routes.with_label_values(&[state.word()]), count(routes.get(state)));
        }
        for state in ServerState::ALL {
            level(&self.servers.with_label_values(&[state.word()]), count(servers.get(state)));
        }
        level(&self.containers, census.containers);
        self.rollback_holds.set(census.rollback_holds.into());
        self.docker_connected.set(census.docker_is_there.into());
        self.stream_age.set(census.stream_age.as_secs_f64());
        self.haproxy_answers.set(census.haproxy_answers.into());
        level(&self.old_workers, old_workers);
        self.log_lines_lost.inc_by(log::lost().saturating_sub(self.log_lines_lost.get()));
        let left = census.budget.left(census.now, old_workers);
        self.reloads_left.set(left.into());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn set<'a>(gauges: &IntGaugeVec, all: &[&'a str], of: impl Fn(&'a str) -> Option<&'a usize>) {
    for word in all {
        level(&gauges.with_label_values(&[word]), count(of(word)));
    }
}

fn count(there_are: Option<&usize>) -> usize {
    there_are.copied().unwrap_or(0)
}

fn level(gauge: &IntGauge, value: usize) {
    gauge.set(value.try_into().unwrap_or(i64::MAX));
}
