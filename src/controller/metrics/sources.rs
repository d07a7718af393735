//! Metrics of sources with names.

use super::builder::MetricsBuilder;
use crate::report::source_status::{NodeCounts, SourceReport};
use prometheus::GaugeVec;

#[derive(Debug, Clone)]
pub(super) struct SourceMetrics {
    connected: GaugeVec,
    silent: GaugeVec,
    containers: GaugeVec,
    clock_skew: GaugeVec,
    nodes: GaugeVec,
    lost_nodes: GaugeVec,
}

impl SourceMetrics {
    pub(super) fn new(builder: &MetricsBuilder<'_>) -> Self {
        Self {
            connected: builder.add_gauges(
                "docker_glue_source_connected",
                "Whether a source of --source answers (0 or 1).",
                "source",
            ),
            silent: builder.add_gauges(
                "docker_glue_source_silent_seconds",
                "For how long a source of --source has not answered; 0 while it answers.",
                "source",
            ),
            containers: builder.add_gauges(
                "docker_glue_source_containers",
                "Containers of a source that run and have labels, as known last.",
                "source",
            ),
            clock_skew: builder.add_gauges(
                "docker_glue_source_clock_skew_seconds",
                "How far the clock of a source is ahead, if that is more than two seconds; negative if it is behind.",
                "source",
            ),
            nodes: builder.add_gauges(
                "docker_glue_source_nodes",
                "Machines of a registry that show signs of life, as known last. Only for sources in etcd.",
                "source",
            ),
            lost_nodes: builder.add_gauges(
                "docker_glue_source_nodes_lost",
                "Machines of a registry that show no sign of life and are not forgotten. Only for sources in etcd.",
                "source",
            ),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "the numbers are small")]
    pub(super) fn set_sources(&self, sources: &[SourceReport]) {
        for SourceReport { name, connected, silent_ms, containers, clock_skew, nodes, .. } in
            sources
        {
            let labels = &[name.as_str()];
            if let Some(NodeCounts { up, lost }) = nodes {
                self.nodes.with_label_values(labels).set(*up as f64);
                self.lost_nodes.with_label_values(labels).set(*lost as f64);
            }
            self.connected.with_label_values(labels).set(f64::from(u8::from(*connected)));
            let silent = silent_ms.unwrap_or_default() as f64 / 1000.0;
            self.silent.with_label_values(labels).set(silent);
            self.clock_skew.with_label_values(labels).set(clock_skew.unwrap_or_default() as f64);
            self.containers.with_label_values(labels).set(*containers as f64);
        }
    }
}
