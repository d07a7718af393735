//! The sources with names, as part of the status.

use crate::{
    model::{source_name::SourceName, world::NodeReport},
    support::format::{format_plural, format_span},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A source whose containers are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    pub name: SourceName,
    pub url: String,
    /// Whether it answers.
    pub connected: bool,
    /// Milliseconds since it stopped answering; absent while it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// The number of its containers that run and participate. They are those that were known last if it does not answer.
    pub containers: usize,
    /// Seconds by which its clock is ahead of this machine's, if more than two; behind it if negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<i64>,
    /// Its machines, if it is a registry; those that were known last if it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
}

/// How many machines a registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// Those that show signs of life.
    pub up: usize,
    /// Those that do not, and are not forgotten.
    pub lost: usize,
}

impl From<&NodeReport> for NodeCounts {
    fn from(report: &NodeReport) -> Self {
        Self { up: report.up, lost: report.lost.len() }
    }
}

impl SourceReport {
    /// Returns how long it has not answered, and what that means; `None` while it answers.
    pub(crate) fn silence_text(&self) -> Option<String> {
        let span = format_span(Duration::from_millis(self.silent_ms?));
        Some(format!(
            "{} has not answered for {span}; showing its containers as known then",
            self.name
        ))
    }

    /// Returns one line for people.
    pub(crate) fn text(&self) -> String {
        let Self { name, url, silent_ms, containers, clock_skew, nodes, .. } = self;
        let containers = format_plural(*containers, "container");
        let on_nodes = nodes.map(|NodeCounts { up, lost }| {
            let machines = format_plural(up + lost, "machine");
            if lost == 0 {
                format!(" on {machines}")
            } else {
                format!(" on {machines}, {lost} lost")
            }
        });
        let containers = containers + &on_nodes.unwrap_or_default();
        let clock = clock_skew.map(|seconds| {
            let span = format_span(Duration::from_secs(seconds.unsigned_abs()));
            format!(", clock {span} {}", if seconds < 0 { "behind" } else { "ahead" })
        });
        let clock = clock.unwrap_or_default();
        match silent_ms {
            None => format!("{name} ({url}): connected, {containers}{clock}"),
            Some(silent) => {
                let span = format_span(Duration::from_millis(*silent));
                format!("{name} ({url}): no answer for {span}; {containers} as known then{clock}")
            }
        }
    }
}
