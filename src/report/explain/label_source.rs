//! Finds the labels that cause a result, by parsing the container again.
//!
//! Pure.

use super::LabelSource;
use crate::{
    label::trace::{LabelOrigin, LabelTrace, OptionSource, trace_labels},
    model::{
        container::Container,
        label_option::LabelOption,
        route::{Endpoint, RouteKey},
        secret,
    },
    report::StateSnapshot,
    routing::route_table::Claim,
};

/// A container that requests a route, and the labels with which it does so.
pub(crate) struct Requester<'a> {
    pub(crate) container: &'a Container,
    port: u16,
    trace: LabelTrace,
}

impl<'a> Requester<'a> {
    pub(crate) fn from_claim(snapshot: &'a StateSnapshot, claim: &Claim) -> Option<Self> {
        let container = snapshot.world.as_ref()?.containers.get(&claim.seniority.1)?;
        Self::new(snapshot, container, &claim.key, claim.port)
    }

    pub(crate) fn new(
        snapshot: &StateSnapshot,
        container: &'a Container,
        key: &RouteKey,
        port: u16,
    ) -> Option<Self> {
        let limits = &snapshot.rules.of_source(container.id.source()).label_limits;
        let trace = trace_labels(container, limits, key, port)?;
        Some(Self { container, port, trace })
    }

    pub(crate) fn from_endpoint(
        snapshot: &'a StateSnapshot,
        key: &RouteKey,
        endpoint: &Endpoint,
    ) -> Option<Self> {
        let mut claims = snapshot.decide_state.route_table().claims().get(key)?.iter();
        let is_same =
            |claim: &&Claim| claim.container == endpoint.container && claim.port == endpoint.port;
        Self::from_claim(snapshot, claims.find(is_same)?)
    }

    /// Whether the server, given by its container's short id and its port, is the requester's.
    pub(crate) fn matches_server(&self, (id, port): (&str, u16)) -> bool {
        (self.container.id.short(), self.port) == (id, port)
    }

    pub(crate) fn listener_source(&self) -> Option<LabelSource> {
        self.trace.listener_source().map(|dir| self.to_source(dir))
    }

    pub(crate) fn host_source(&self) -> Option<LabelSource> {
        self.trace.host_source().map(|dir| self.to_source(dir))
    }

    /// Returns the source of the path. A route of the whole host may have no label for it; then it is the source of the
    /// host.
    pub(crate) fn path_source(&self) -> Option<LabelSource> {
        self.trace.path_source().or(self.trace.host_source()).map(|dir| self.to_source(dir))
    }

    /// Returns `None` if the option has its default.
    pub(crate) fn option_source(&self, option: LabelOption) -> Option<LabelSource> {
        self.trace.get(option).map(|dir| self.to_source(dir))
    }

    fn to_source(&self, option_source: &OptionSource) -> LabelSource {
        let OptionSource { key, value, origin: written_in } = option_source.clone();
        LabelSource {
            container: self.container.name.clone(),
            id: self.container.id.short().to_owned(),
            value: secret::shown_value(&key, &value).into_owned(),
            key,
            environment: written_in == LabelOrigin::Environment,
        }
    }
}

/// Returns the labels in the order of the containers, without adjacent duplicates.
pub(crate) fn collect_sources<'a>(
    requesters: &[Requester<'a>],
    which: impl Fn(&Requester<'a>) -> Option<LabelSource>,
) -> Vec<LabelSource> {
    let mut sources: Vec<_> = requesters.iter().filter_map(which).collect();
    sources.dedup();
    sources
}
