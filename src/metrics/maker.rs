//! How a metric comes to be there.

use crate::haproxy::version::Version;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, core::Collector,
};

/// Seconds. A change over the runtime API takes about 5 ms, a reload some 100.
const BUCKETS: [f64; 13] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Makes metrics that are there from the start, at 0 for every value of their label: what has never
/// happened is known not to have happened.
pub(super) struct Maker<'a>(pub(super) &'a Registry);

/// Its name, and all its values.
pub(super) type Label<'a> = (&'a str, &'a [&'a str]);

/// Names and labels are constants, and registered once.
const CONSTANT: &str = "a metric is well named and is there once";

impl Maker<'_> {
    pub(super) fn add(&self, it: impl Collector + 'static) {
        self.0.register(Box::new(it)).expect(CONSTANT);
    }

    fn added<C: Collector + Clone + 'static>(&self, it: prometheus::Result<C>) -> C {
        let it = it.expect(CONSTANT);
        self.add(it.clone());
        it
    }

    pub(super) fn info(&self, name: &str, help: &str, haproxy: Version) {
        let gauges = GaugeVec::new(Opts::new(name, help), &["version", "haproxy_version"]);
        let version = env!("CARGO_PKG_VERSION");
        self.added(gauges).with_label_values(&[version, &haproxy.to_string()]).set(1.0);
    }

    pub(super) fn histogram(&self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.added(Histogram::with_opts(options))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.added(IntCounter::new(name, help))
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        (label, values): Label<'_>,
    ) -> IntCounterVec {
        let counters = self.added(IntCounterVec::new(Opts::new(name, help), &[label]));
        for value in values {
            counters.with_label_values(&[value]).reset();
        }
        counters
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.added(Gauge::new(name, help))
    }

    pub(super) fn level(&self, name: &str, help: &str) -> IntGauge {
        self.added(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, (label, values): Label<'_>) -> IntGaugeVec {
        let gauges = self.added(IntGaugeVec::new(Opts::new(name, help), &[label]));
        for value in values {
            gauges.with_label_values(&[value]).set(0);
        }
        gauges
    }
}
