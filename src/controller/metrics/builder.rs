//! Creation and registration of metrics.

use crate::haproxy::version::Version;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, core::Collector,
};

/// In seconds. A change over the runtime API takes about 5 ms, a reload some 100 ms.
const BUCKETS: [f64; 13] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Creates metrics that are present from the start, at 0 for every value of their label, so that an
/// event that never happened is distinguishable from a missing metric.
pub(crate) struct MetricsBuilder<'a>(pub(crate) &'a Registry);

/// Name of a label, and all its values.
pub(crate) type MetricLabel<'a> = (&'a str, &'a [&'a str]);

/// Names and labels are constants, and each metric is registered once.
const VALID_METRIC: &str = "a metric is well named and is there once";

impl MetricsBuilder<'_> {
    pub(crate) fn register(&self, metric: impl Collector + 'static) {
        self.0.register(Box::new(metric)).expect(VALID_METRIC);
    }

    fn build_registered<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect(VALID_METRIC);
        self.register(metric.clone());
        metric
    }

    pub(crate) fn build_info(&self, name: &str, help: &str, haproxy: Version) {
        let gauges = GaugeVec::new(Opts::new(name, help), &["version", "haproxy_version"]);
        let version = env!("CARGO_PKG_VERSION");
        self.build_registered(gauges).with_label_values(&[version, &haproxy.to_string()]).set(1.0);
    }

    pub(crate) fn add_histogram(&self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.build_registered(Histogram::with_opts(options))
    }

    pub(crate) fn add_counter(&self, name: &str, help: &str) -> IntCounter {
        self.build_registered(IntCounter::new(name, help))
    }

    pub(crate) fn add_counters(
        &self,
        name: &str,
        help: &str,
        (label, values): MetricLabel<'_>,
    ) -> IntCounterVec {
        let counters = self.add_absent_counters(name, help, &[label]);
        for value in values {
            counters.with_label_values(&[value]).reset();
        }
        counters
    }

    /// Adds a counter by labels, without values until it is set.
    pub(crate) fn add_absent_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> IntCounterVec {
        self.build_registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(crate) fn add_gauge(&self, name: &str, help: &str) -> Gauge {
        self.build_registered(Gauge::new(name, help))
    }

    /// Adds a gauge for each value of a label, which are not known before.
    pub(crate) fn add_gauges(&self, name: &str, help: &str, label: &str) -> GaugeVec {
        self.build_registered(GaugeVec::new(Opts::new(name, help), &[label]))
    }

    pub(crate) fn add_int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.build_registered(IntGauge::new(name, help))
    }

    /// Adds a gauge that is absent until it is set.
    pub(crate) fn add_optional_int_gauge(&self, name: &str, help: &str) -> IntGaugeVec {
        self.build_registered(IntGaugeVec::new(Opts::new(name, help), &[]))
    }

    /// Adds a gauge by several labels, without values until they are set.
    pub(crate) fn add_absent_int_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> IntGaugeVec {
        self.build_registered(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// Adds a gauge for each pair of values of two labels.
    pub(crate) fn add_int_gauges_by_two(
        &self,
        name: &str,
        help: &str,
        (label, values): MetricLabel<'_>,
        (other_label, other_values): MetricLabel<'_>,
    ) -> IntGaugeVec {
        let gauges = self.add_absent_int_gauges(name, help, &[label, other_label]);
        for value in values {
            for other in other_values {
                gauges.with_label_values(&[value, other]).set(0);
            }
        }
        gauges
    }

    pub(crate) fn add_int_gauges(
        &self,
        name: &str,
        help: &str,
        (label, values): MetricLabel<'_>,
    ) -> IntGaugeVec {
        let gauges = self.build_registered(IntGaugeVec::new(Opts::new(name, help), &[label]));
        for value in values {
            gauges.with_label_values(&[value]).set(0);
        }
        gauges
    }
}
