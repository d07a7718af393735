//! Metrics of a fleet.

use super::builder::MetricsBuilder;
use crate::report::fleet::FleetCounts;
use prometheus::IntGaugeVec;

/// Absent without a fleet.
#[derive(Debug, Clone)]
pub(super) struct FleetMetrics {
    balancers: IntGaugeVec,
    differs: IntGaugeVec,
}

impl FleetMetrics {
    pub(super) fn new(builder: &MetricsBuilder<'_>) -> Self {
        Self {
            balancers: builder.add_optional_int_gauge(
                "docker_glue_fleet_balancers",
                "Balancers of the fleet that are alive, with this one; as known last while etcd is \
                 silent. Only with --fleet.",
            ),
            differs: builder.add_optional_int_gauge(
                "docker_glue_fleet_differs",
                "Whether balancers of the fleet have served different routes for more than five \
                 seconds (0 or 1). Only with --fleet.",
            ),
        }
    }

    pub(super) fn set_counts(&self, counts: Option<FleetCounts>) {
        let Some(FleetCounts { balancers, differs }) = counts else { return };
        let none: &[&str] = &[];
        let balancers = i64::try_from(balancers).unwrap_or(i64::MAX);
        self.balancers.with_label_values(none).set(balancers);
        self.differs.with_label_values(none).set(differs.into());
    }
}
