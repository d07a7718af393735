//! Counts passes, and provides the state for metrics.

use super::{Balancer, StepOutcome, unix_millis};
use crate::{
    controller::metrics::{Metrics, MetricsSnapshot},
    report::{
        ApplyMethod,
        certificates::CertificateCounts,
        counts::{self, StateCounts},
        fleet::FleetCounts,
    },
};
use std::time::{Duration, Instant};

/// Limit of events that wait for their pass; more of them at once give no new information.
const MAX_EVENT_TIMES: usize = 1000;

impl Balancer {
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Records when events were received that the next pass applies.
    pub fn record_event_times(&mut self, moments: impl IntoIterator<Item = Instant>) {
        let room = MAX_EVENT_TIMES.saturating_sub(self.event_times.len());
        self.event_times.extend(moments.into_iter().take(room));
    }

    /// Discards the times of events that changed nothing for a pass.
    pub fn discard_event_times(&mut self) {
        self.event_times.clear();
    }

    /// Returns the state for metrics. `docker`: whether Docker is connected, and the time since it last sent something.
    pub fn metrics_snapshot(&self, docker: (bool, Duration)) -> MetricsSnapshot {
        let observed = self.live.observed.as_ref();
        let config = &self.live.config;
        let (routes, servers) =
            counts::count_states(&self.served_routes, &self.memory, config, observed);
        let (docker_is_there, stream_age) = docker;
        let now = i64::try_from(unix_millis() / 1000).unwrap_or(i64::MAX);
        let census = StateCounts {
            routes,
            servers,
            problems: counts::count_problem_kinds(
                self.problem_log.problems().iter().chain(self.health_monitor.problems().iter()),
            ),
            containers: self.memory.container_count(),
            certificates: CertificateCounts::new(
                &self.served_routes,
                &self.rules.certificates,
                now,
            ),
            orders: self.certificates.orders(),
            udp: self.udp_report(),
            rollback_active: self.memory.rollback.is_some(),
            docker_connected: docker_is_there,
            sources: self.source_reports(),
            fleet: self.fleet_state().map(|state| FleetCounts::from_state(&state)),
            stream_age,
            haproxy_answers: observed.is_some(),
            budget: self.budget,
            now: Instant::now(),
        };
        MetricsSnapshot { census, stat: self.proxy.stats_client(), metrics: self.metrics.clone() }
    }

    /// Records that HAProxy has everything it should have. Events that changed nothing do not count for the latency.
    pub(crate) fn record_success(&mut self, did: &StepOutcome) {
        self.metrics.record_success();
        let event_times = std::mem::take(&mut self.event_times);
        if did.apply_method().is_some() {
            for at in event_times {
                self.metrics.record_latency(at.elapsed());
            }
        }
    }

    /// Records how a pass was applied.
    pub(crate) fn record_method(&self, did: &StepOutcome) {
        let Some(how) = did.apply_method() else { return };
        self.metrics.record_apply(&how);
        if let (ApplyMethod::Reloaded { .. }, StepOutcome::Loaded(_, why)) = (&how, did) {
            self.metrics.record_reload(why);
        }
    }
}
