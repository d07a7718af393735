//! What is counted of passes, and how things stand for who counts.

use super::{Balancer, StepOutcome};
use crate::{
    controller::metrics::{Metrics, MetricsSnapshot},
    report::{
        ApplyMethod,
        counts::{self, StateCounts},
    },
};
use std::time::{Duration, Instant};

/// Events that wait for their pass; more of them at once tell nothing new.
const MAX_EVENT_TIMES: usize = 1000;

impl Balancer {
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Events were heard then, and the next pass follows them.
    pub fn record_event_times(&mut self, moments: impl IntoIterator<Item = Instant>) {
        let room = MAX_EVENT_TIMES.saturating_sub(self.event_times.len());
        self.event_times.extend(moments.into_iter().take(room));
    }

    /// They changed nothing that a pass would follow.
    pub fn discard_event_times(&mut self) {
        self.event_times.clear();
    }

    /// How things stand. `docker`: whether its events are heard, and how long ago the last one was.
    pub fn metrics_snapshot(&self, docker: (bool, Duration)) -> MetricsSnapshot {
        let observed = self.live.observed.as_ref();
        let config = &self.live.config;
        let (routes, servers) =
            counts::count_states(&self.served_routes, &self.memory, config, observed);
        let (docker_is_there, stream_age) = docker;
        let census = StateCounts {
            routes,
            servers,
            problems: counts::count_problem_kinds(
                self.problem_log.problems().iter().chain(self.health_monitor.problems().iter()),
            ),
            containers: self.memory.container_count(),
            rollback_active: self.memory.rollback.is_some(),
            docker_connected: docker_is_there,
            stream_age,
            haproxy_answers: observed.is_some(),
            budget: self.budget,
            now: Instant::now(),
        };
        MetricsSnapshot { census, stat: self.proxy.stats_client(), metrics: self.metrics.clone() }
    }

    /// HAProxy has all that it should have. Events that changed nothing say nothing of how long it takes.
    pub(crate) fn record_success(&mut self, did: &StepOutcome) {
        self.metrics.record_success();
        let event_times = std::mem::take(&mut self.event_times);
        if did.apply_method().is_some() {
            for at in event_times {
                self.metrics.record_latency(at.elapsed());
            }
        }
    }

    /// The way that a pass took.
    pub(crate) fn record_method(&self, did: &StepOutcome) {
        let Some(how) = did.apply_method() else { return };
        self.metrics.record_apply(&how);
        if let (ApplyMethod::Reloaded { .. }, StepOutcome::Loaded(_, why)) = (&how, did) {
            self.metrics.record_reload(why);
        }
    }
}
