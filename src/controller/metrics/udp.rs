//! Metrics of docker-glue-udp, from its last report. A scrape does not wait for docker-glue-udp.
//!
//! The counters are its own: they do not fall when docker-balancer restarts, and begin at 0 when docker-glue-udp restarts,
//! which Prometheus recognizes. While it does not answer, they keep their last values. Before its first answer, and of an
//! engine that does not count, they are absent: 0 would mean that there were no datagrams.

use super::builder::MetricsBuilder;
use crate::udp::{
    answer::{PlaneReport, UdpDrops, UdpReport, UdpTraffic},
    engine::Engine,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

#[derive(Debug, Clone)]
pub(super) struct UdpMetrics {
    answers: IntGauge,
    engine: IntGaugeVec,
    sessions: IntGaugeVec,
    session_limit: IntGaugeVec,
    begun: IntCounterVec,
    datagrams: IntCounterVec,
    bytes: IntCounterVec,
    refused: IntCounterVec,
    moved: IntCounterVec,
    resent: IntCounterVec,
    evicted: IntCounterVec,
    dropped: IntCounterVec,
}

impl UdpMetrics {
    pub(super) fn new(builder: &MetricsBuilder<'_>) -> Self {
        Self {
            answers: builder.add_int_gauge(
                "docker_glue_udp_answers",
                "Whether docker-glue-udp answered the last request for its state (0 or 1).",
            ),
            engine: builder.add_absent_int_gauges(
                "docker_glue_udp_engine_info",
                "How docker-glue-udp carries datagrams, and whether containers see the client's \
                 address. Absent until it answers.",
                &["engine", "client_address"],
            ),
            sessions: builder.add_optional_int_gauge(
                "docker_glue_udp_sessions",
                "Flows that docker-glue-udp remembers. Like all of its counts, absent with the engine nft.",
            ),
            session_limit: builder.add_optional_int_gauge(
                "docker_glue_udp_session_limit",
                "The greatest number of flows.",
            ),
            begun: builder.add_absent_counters(
                "docker_glue_udp_sessions_total",
                "Flows that began, since docker-glue-udp was started, as with all its counters.",
                &[],
            ),
            datagrams: builder.add_absent_counters(
                "docker_glue_udp_datagrams_total",
                "Datagrams, by direction. in: from clients; out: answers of containers.",
                &["direction"],
            ),
            bytes: builder.add_absent_counters(
                "docker_glue_udp_bytes_total",
                "Bytes of datagrams, by direction.",
                &["direction"],
            ),
            refused: builder.add_absent_counters(
                "docker_glue_udp_refused_total",
                "Datagrams that containers refused, because no program listens on the port.",
                &[],
            ),
            moved: builder.add_absent_counters(
                "docker_glue_udp_moved_total",
                "Flows that moved to another container, because theirs left or refused datagrams.",
                &[],
            ),
            resent: builder.add_absent_counters(
                "docker_glue_udp_resent_total",
                "Refused datagrams that were sent to another container.",
                &[],
            ),
            evicted: builder.add_absent_counters(
                "docker_glue_udp_evicted_total",
                "Flows that were forgotten early to make room for others.",
                &[],
            ),
            dropped: builder.add_absent_counters(
                "docker_glue_udp_dropped_total",
                "Lost datagrams, by reason. kernel: the receive buffer was full; no_endpoint: no \
                 container accepts them; send_error: not sent by the kernel; session_limit: too \
                 many flows.",
                &["reason"],
            ),
        }
    }

    pub(super) fn set_report(&self, report: Option<&UdpReport>) {
        self.answers.set(report.is_some().into());
        let Some(UdpReport { plane, .. }) = report else { return };
        self.set_engine(plane.engine);
        if plane.engine.counts_datagrams() {
            self.set_counts(plane);
        } else {
            self.remove_counts();
        }
    }

    fn set_counts(&self, plane: &PlaneReport) {
        let PlaneReport { sessions, session_limit, counters, .. } = plane;
        set_gauge(&self.sessions.with_label_values::<&str>(&[]), *sessions);
        set_gauge(&self.session_limit.with_label_values::<&str>(&[]), *session_limit);
        let UdpTraffic { datagrams_in, bytes_in, datagrams_out, bytes_out } = counters.traffic;
        let UdpDrops { no_endpoint, session_limit, send_error, kernel } = counters.dropped;
        let counts: [(_, &[&str], _); _] = [
            (&self.begun, &[], counters.sessions),
            (&self.datagrams, &["in"], datagrams_in),
            (&self.datagrams, &["out"], datagrams_out),
            (&self.bytes, &["in"], bytes_in),
            (&self.bytes, &["out"], bytes_out),
            (&self.refused, &[], counters.refused),
            (&self.moved, &[], counters.moved),
            (&self.resent, &[], counters.resent),
            (&self.evicted, &[], counters.evicted),
            (&self.dropped, &["kernel"], kernel),
            (&self.dropped, &["no_endpoint"], no_endpoint),
            (&self.dropped, &["send_error"], send_error),
            (&self.dropped, &["session_limit"], session_limit),
        ];
        for (counters, labels, value) in counts {
            set_counter(&counters.with_label_values(labels), value);
        }
    }

    fn remove_counts(&self) {
        let Self { begun, datagrams, bytes, refused, moved, resent, evicted, dropped, .. } = self;
        [&self.sessions, &self.session_limit].into_iter().for_each(IntGaugeVec::reset);
        [begun, datagrams, bytes, refused, moved, resent, evicted, dropped]
            .into_iter()
            .for_each(IntCounterVec::reset);
    }

    fn set_engine(&self, engine: Engine) {
        self.engine.reset();
        let client_address = if engine.keeps_client_address() { "true" } else { "false" };
        self.engine.with_label_values(&[engine.as_str(), client_address]).set(1);
    }
}

fn set_gauge(gauge: &IntGauge, value: u64) {
    gauge.set(value.try_into().unwrap_or(i64::MAX));
}

/// Sets a counter to that of another program. A value below the last one is that of a process that was started since.
pub(super) fn set_counter(counter: &IntCounter, value: u64) {
    if value < counter.get() {
        counter.reset();
    }
    counter.inc_by(value - counter.get());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::answer::UdpCounters;
    use prometheus::{Registry, TextEncoder};

    /// The series that an engine that counts has.
    const COUNTS: usize = 15;

    fn report(engine: Engine, datagrams_in: u64) -> UdpReport {
        let traffic = UdpTraffic { datagrams_in, ..UdpTraffic::default() };
        let counters = UdpCounters { traffic, ..UdpCounters::default() };
        UdpReport {
            plane: PlaneReport { engine, counters, ..PlaneReport::default() },
            ..UdpReport::default()
        }
    }

    #[test]
    fn counts_follow_the_report_and_are_absent_of_an_engine_that_does_not_count() {
        let registry = Registry::new();
        let metrics = UdpMetrics::new(&MetricsBuilder(&registry));
        let user = "docker_glue_udp_engine_info{client_address=\"false\",engine=\"user\"} 1";
        let nft = "docker_glue_udp_engine_info{client_address=\"true\",engine=\"nft\"} 1";
        let steps = [
            (None, "0", None, None),
            (Some(report(Engine::User, 7)), "1", Some("7"), Some(user)),
            (Some(report(Engine::User, 9)), "1", Some("9"), Some(user)),
            (None, "0", Some("9"), Some(user)),
            // Another process has begun at 0.
            (Some(report(Engine::User, 3)), "1", Some("3"), Some(user)),
            (Some(report(Engine::Nft, 0)), "1", None, Some(nft)),
            (Some(report(Engine::User, 1)), "1", Some("1"), Some(user)),
        ];
        for (report, answers, datagrams, engine) in steps {
            metrics.set_report(report.as_ref());
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            let answers = format!("docker_glue_udp_answers {answers}");
            assert!(text.lines().any(|line| line == answers), "{text}");
            let received = datagrams.map(|number| {
                format!("docker_glue_udp_datagrams_total{{direction=\"in\"}} {number}")
            });
            let lines = |start: &str| {
                text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>()
            };
            let found = lines("docker_glue_udp_datagrams_total{direction=\"in\"}");
            assert_eq!(found, Vec::from_iter(received.as_deref()), "{text}");
            assert_eq!(lines("docker_glue_udp_engine_info"), Vec::from_iter(engine), "{text}");
            let others = lines("docker_glue_udp_").len() - 1 - usize::from(engine.is_some());
            assert_eq!(others, if datagrams.is_some() { COUNTS } else { 0 }, "{text}");
        }
    }
}
