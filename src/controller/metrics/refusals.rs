//! Metrics of requests that HAProxy has refused.
//!
//! The counters are those of HAProxy's worker: they begin at 0 after a reload, which Prometheus recognizes.

use super::{builder::MetricsBuilder, udp::set_counter};
use crate::haproxy::refusals::{Refusals, limit_routes};
use prometheus::{IntCounterVec, core::Collector, proto::MetricFamily};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub(super) struct RefusalMetrics {
    refused: IntCounterVec,
}

impl RefusalMetrics {
    pub(super) fn new(builder: &MetricsBuilder<'_>) -> Self {
        Self {
            refused: builder.add_absent_counters(
                "docker_glue_refused_requests_total",
                "Requests that HAProxy refused because of an option of their route, by route and \
                 status. 401: users, forward_auth; 403: allow, deny, cors, forward_auth; 429: \
                 rate, at_once. Since HAProxy's last reload. At most 1,000 routes; other: all \
                 further ones.",
                &["route", "status"],
            ),
        }
    }

    /// Sets all counters. `None` if HAProxy did not answer: they keep their values.
    pub(super) fn set_refusals(&self, refusals: Option<Refusals>) {
        let Some(refusals) = refusals.map(limit_routes) else { return };
        let mut present = BTreeSet::new();
        for ((route, status), count) in &refusals {
            let labels = [route.clone(), status.to_string()];
            set_counter(&self.refused.with_label_values(&labels), *count);
            present.insert(labels);
        }
        // A counter that was reset in place would be seen as 0 by another scrape.
        let families = self.refused.collect();
        for metric in families.iter().flat_map(MetricFamily::get_metric) {
            let labels: Vec<_> =
                metric.get_label().iter().map(|label| label.value().to_owned()).collect();
            if let Ok(labels) = <[String; 2]>::try_from(labels)
                && !present.contains(&labels)
            {
                let _ = self.refused.remove_label_values(&labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    #[test]
    fn counters_follow_the_table_and_vanish_with_its_entries() {
        let registry = Registry::new();
        let metrics = RefusalMetrics::new(&MetricsBuilder(&registry));
        let table = |entries: &[(&str, u16, u64)]| {
            let entry = |(route, status, count): &(&str, u16, u64)| {
                (((*route).to_owned(), *status), *count)
            };
            Some(entries.iter().map(entry).collect::<Refusals>())
        };
        for (refusals, expected) in [
            (table(&[]), &[][..]),
            (
                table(&[("a.test:80", 403, 2), ("b.test:80", 401, 1)]),
                &["a.test:80 403 2", "b.test:80 401 1"],
            ),
            (None, &["a.test:80 403 2", "b.test:80 401 1"]),
            (table(&[("a.test:80", 403, 5)]), &["a.test:80 403 5"]),
            // Another worker has begun at 0.
            (table(&[("a.test:80", 403, 1)]), &["a.test:80 403 1"]),
        ] {
            metrics.set_refusals(refusals);
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            let lines = text.lines().filter_map(|line| {
                line.strip_prefix("docker_glue_refused_requests_total{route=\"")
            });
            let lines: Vec<_> =
                lines.map(|line| line.replace("\",status=\"", " ").replace("\"}", "")).collect();
            assert_eq!(lines, expected, "{text}");
        }
    }
}
