//! Metrics of certificates and orders.

use super::{builder::MetricsBuilder, set_all};
use crate::{
    report::certificates::{CertificateCounts, ServingState},
    sources::acme::{AcmeStatus, error::FailureKind},
};
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use strum::VariantNames as _;

#[derive(Debug, Clone)]
pub(super) struct CertificateMetrics {
    expiry: GaugeVec,
    hosts: IntGaugeVec,
    orders: IntCounterVec,
    issued: IntCounter,
    failures: IntCounterVec,
    paused: IntGauge,
    clock_skew: IntGauge,
    leader: IntGaugeVec,
}

impl CertificateMetrics {
    pub(super) fn new(builder: &MetricsBuilder<'_>) -> Self {
        Self {
            expiry: builder.add_gauges(
                "docker_glue_certificate_expiry_timestamp_seconds",
                "When the first certificate of a served HTTPS host expires: of the 1,000 hosts \
                 where this is earliest.",
                "host",
            ),
            hosts: builder.add_int_gauges(
                "docker_glue_https_hosts",
                "Served HTTPS hosts, by the state of their certificate. expires_soon: less than a \
                 sixth of its lifetime remains; missing: TLS is refused.",
                ("state", ServingState::VARIANTS),
            ),
            orders: builder.add_counters(
                "docker_glue_acme_orders_total",
                "Orders that were begun, by the CA's environment.",
                ("environment", &["production", "staging"]),
            ),
            issued: builder.add_counter(
                "docker_glue_acme_certificates_issued_total",
                "Certificates that were issued by the CA.",
            ),
            failures: builder.add_counters(
                "docker_glue_acme_failures_total",
                "Failures of orders and of connections to the CA, by kind.",
                ("kind", FailureKind::VARIANTS),
            ),
            paused: builder.add_int_gauge(
                "docker_glue_acme_paused",
                "Whether no certificate is ordered at present, because of the CA's limits, the \
                 account, the clock or the disk (0 or 1).",
            ),
            clock_skew: builder.add_int_gauge(
                "docker_glue_acme_clock_skew_seconds",
                "How far the CA's clock is ahead of the local one; orders pause beyond 300.",
            ),
            leader: builder.add_optional_int_gauge(
                "docker_glue_acme_leader",
                "Whether this balancer orders for all that share the store (0 or 1). Only with \
                 --acme-store.",
            ),
        }
    }

    pub(super) fn set_hosts(&self, counts: &CertificateCounts) {
        let count = |word: &str| {
            let mut counted = counts.hosts.iter();
            counted.find(|(state, _)| <&str>::from(*state) == word).map(|(_, number)| number)
        };
        set_all(&self.hosts, ServingState::VARIANTS, count);
        self.expiry.reset();
        for (host, at) in &counts.expiries {
            // Unix seconds are exact in a float until the year 285 million.
            #[allow(clippy::cast_precision_loss, reason = "see above")]
            self.expiry.with_label_values(&[host.as_str()]).set(*at as f64);
        }
    }

    /// The counters of the status only grow, as these do.
    pub(super) fn set_orders(&self, status: Option<&AcmeStatus>) {
        let Some(AcmeStatus { pause, clock_skew, counters, shared, .. }) = status else { return };
        let raise = |counter: &IntCounter, value: u64| {
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        let begun = |environment| self.orders.with_label_values(&[environment]);
        raise(&begun("production"), counters.orders);
        raise(&begun("staging"), counters.staging_orders);
        raise(&self.issued, counters.issued);
        for (kind, number) in &counters.failures {
            raise(&self.failures.with_label_values(&[<&str>::from(kind)]), *number);
        }
        self.paused.set(pause.is_some().into());
        self.clock_skew.set(clock_skew.unwrap_or_default());
        if let Some(shared) = shared {
            let none: &[&str] = &[];
            self.leader.with_label_values(none).set(shared.is_leader.into());
        }
    }
}
