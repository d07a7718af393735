//! The labels that something comes from: the container is read anew.
//!
//! Pure.

use super::Source;
use crate::{
    claim::Claim,
    container::Container,
    label::{
        key::Choice,
        trace::{Place, Trace, WrittenIn, trace},
    },
    route::{Endpoint, RouteKey},
    view::Picture,
};

/// A container that asks for a route, and where it says so.
pub(super) struct Asker<'a> {
    pub(super) container: &'a Container,
    port: u16,
    trace: Trace,
}

impl<'a> Asker<'a> {
    pub(super) fn of_claim(picture: &'a Picture, claim: &Claim) -> Option<Self> {
        let container = picture.world.as_ref()?.containers.get(&claim.seniority.1)?;
        Self::new(picture, container, &claim.key, claim.port)
    }

    pub(super) fn new(
        picture: &Picture,
        container: &'a Container,
        key: &RouteKey,
        port: u16,
    ) -> Option<Self> {
        let trace = trace(container, &picture.rules.fences, key, port)?;
        Some(Self { container, port, trace })
    }

    pub(super) fn of_endpoint(
        picture: &'a Picture,
        key: &RouteKey,
        endpoint: &Endpoint,
    ) -> Option<Self> {
        let mut claims = picture.memory.board().claims().get(key)?.iter();
        let is_it = |it: &&Claim| it.origin == endpoint.origin && it.port == endpoint.port;
        Self::of_claim(picture, claims.find(is_it)?)
    }

    /// By the container's short id, and its port.
    pub(super) fn is(&self, (id, port): (&str, u16)) -> bool {
        (self.container.id.short(), self.port) == (id, port)
    }

    pub(super) fn listener(&self) -> Option<Source> {
        self.trace.listener().map(|it| self.source(it))
    }

    pub(super) fn host(&self) -> Option<Source> {
        self.trace.host().map(|it| self.source(it))
    }

    /// A route of the whole host is one for not saying a prefix.
    pub(super) fn prefix(&self) -> Option<Source> {
        self.trace.get(Choice::Prefix).or(self.trace.host()).map(|it| self.source(it))
    }

    /// `None` where it has the default.
    pub(super) fn choice(&self, choice: Choice) -> Option<Source> {
        self.trace.get(choice).map(|it| self.source(it))
    }

    fn source(&self, place: &Place) -> Source {
        let Place { key, value, written_in } = place.clone();
        Source {
            container: self.container.name.clone(),
            id: self.container.id.short().to_owned(),
            key,
            value,
            environment: written_in == WrittenIn::Environment,
        }
    }
}

/// Each once, in the order of the containers.
pub(super) fn sources<'a>(
    askers: &[Asker<'a>],
    which: impl Fn(&Asker<'a>) -> Option<Source>,
) -> Vec<Source> {
    let mut sources: Vec<_> = askers.iter().filter_map(which).collect();
    sources.dedup();
    sources
}
