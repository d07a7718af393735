//! The route that answers: who serves it, by which labels, and what becomes of the request.
//!
//! Pure.

use super::{
    Again, Becomes, HostStep, RouteStep, ServerState, ServerStep, Source,
    contest::is_under,
    request::{Request, Url},
    source::{Asker, sources},
};
use crate::{
    haproxy::stat::Counters,
    label::{key::Choice, value::Retry},
    route::{Match, Route, RouteKey, Strip},
    view::{Picture, status},
};
use std::collections::BTreeSet;

/// The route that answers.
pub(super) struct Chosen<'a> {
    pub(super) key: &'a RouteKey,
    pub(super) route: &'a Route,
    status: status::RouteStatus,
    /// What it is like is of a generation that is held, and not of labels.
    rolled_back: bool,
    pub(super) servers: Vec<ServerStep>,
    /// Whose labels made it: those who serve, else all who share it.
    pub(super) askers: Vec<Asker<'a>>,
}

impl<'a> Chosen<'a> {
    pub(super) fn of(
        picture: &'a Picture,
        counters: Option<&Counters>,
        key: &'a RouteKey,
    ) -> Option<Self> {
        let route = picture.routes.0.get(key)?;
        let none = Counters::default();
        let status = status::route(picture, counters.unwrap_or(&none), (key, route));
        let endpoints = route.endpoints.iter();
        let askers = endpoints.filter_map(|it| Asker::of_endpoint(picture, key, it)).collect();
        let rolled_back = picture.memory.rollback.is_some();
        let mut chosen = Self { key, route, status, rolled_back, servers: Vec::new(), askers };
        chosen.servers = chosen.server_steps();
        if !chosen.servers.is_empty() {
            let serving: BTreeSet<_> = chosen.servers.iter().map(|it| it.id.as_str()).collect();
            chosen.askers.retain(|it| serving.contains(it.container.id.short()));
        }
        Some(chosen)
    }

    fn server_steps(&self) -> Vec<ServerStep> {
        let takes_part = |it: &&status::ServerStatus| {
            0 < it.weight && matches!(it.state, ServerState::Up | ServerState::Down)
        };
        let share = |it: &status::ServerStatus| {
            if it.state == ServerState::Up { f64::from(it.weight) } else { 0.0 }
        };
        let servers: Vec<_> = self.status.servers.iter().filter(takes_part).collect();
        let all: f64 = servers.iter().map(|it| share(it)).sum();
        let step = |it: &status::ServerStatus| ServerStep {
            container: it.container.clone(),
            id: it.id.clone(),
            address: it.address.clone(),
            weight: it.weight,
            percent: if 0.0 < all { (1000.0 * share(it) / all).round() / 10.0 } else { 0.0 },
            state: it.state,
            haproxy: it.haproxy.clone(),
            label: self.asker(it).and_then(|asker| self.choice(asker, Choice::Weight)),
        };
        servers.into_iter().map(step).collect()
    }

    fn asker(&self, it: &status::ServerStatus) -> Option<&Asker<'a>> {
        let is_it = |asker: &&Asker<'_>| asker.is((it.id.as_str(), it.port));
        self.askers.iter().find(is_it)
    }

    fn choice(&self, asker: &Asker<'a>, choice: Choice) -> Option<Source> {
        if self.rolled_back { None } else { asker.choice(choice) }
    }

    pub(super) fn host(&self, request: &Request) -> HostStep {
        let Match::Http { host, .. } = &self.key.rule;
        HostStep {
            asked: request.url.host().to_owned(),
            matched: host.to_string(),
            labels: sources(&self.askers, Asker::host),
        }
    }

    pub(super) fn route(&self) -> RouteStep {
        RouteStep {
            route: self.status.route.clone(),
            prefix: self.status.prefix.clone(),
            backend: self.status.backend.clone(),
            labels: sources(&self.askers, Asker::prefix),
        }
    }

    pub(super) fn becomes(&self, request: &Request) -> Becomes {
        let Match::Http { prefix, .. } = &self.key.rule;
        let (path, query) = (self.path(&request.url), request.url.query());
        // No segments are nothing to take off.
        let stripped = self.route.policy.strip == Strip::Prefix && prefix.depth() != 0;
        let depth = if stripped { prefix.depth() } else { 0 };
        let rest = path.splitn(depth + 2, '/').nth(depth + 1).unwrap_or_default();
        let rest = if stripped { rest.trim_start_matches('/') } else { rest };
        let written = [Choice::StripPrefix, Choice::Timeout, Choice::Retry, Choice::Check];
        let labels = written.into_iter().filter_map(|it| self.choice(self.askers.first()?, it));
        Becomes {
            path: format!("/{rest}{query}"),
            stripped,
            timeout_ms: self.status.timeout_ms,
            retry: self.status.retry.clone(),
            again: match self.route.policy.retry {
                Retry::Off => Again::Never,
                Retry::Safe if !request.method.is_safe() => Again::Unsent,
                Retry::Safe | Retry::All => Again::Unanswered,
            },
            check: self.status.check.clone(),
            labels: labels.collect(),
        }
    }

    /// As it was sent where its segments are under the prefix, else as it was routed.
    fn path<'b>(&self, url: &'b Url) -> &'b str {
        let Match::Http { prefix, .. } = &self.key.rule;
        match url.reading() {
            Some(reading) if reading.dotted || !is_under(&reading.literal, prefix) => &reading.path,
            _ => url.path(),
        }
    }

    pub(super) fn is_served(&self) -> bool {
        self.servers.iter().any(|it| it.state == ServerState::Up)
    }
}
