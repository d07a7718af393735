//! The route that answers: its servers, the labels that cause them, and how the request is handled.
//!
//! Pure.

use super::{
    ForwardedRequest, HostStep, LabelSource, OptionStep, RetryScope, RouteStep, ServerState,
    ServerStep,
    label_source::{Requester, collect_sources},
    request::{ExplainRequest, Url},
};
use crate::{
    haproxy::stats::Counters,
    model::{
        backend_tls::{Scheme, Verification},
        http::rewrite::AddPrefix,
        label_option::{LabelOption, OptionPlace},
        option_value::{CheckMethod, Retry, Timeout},
        route::{Match, Route, RouteKey, Strip},
    },
    report::{StateSnapshot, status},
};
use std::collections::BTreeSet;

/// The winning route.
pub(crate) struct SelectedRoute<'a> {
    pub(crate) key: &'a RouteKey,
    pub(crate) route: &'a Route,
    status: status::RouteStatus,
    /// Whether the route comes from the generation of the active rollback, and not from labels.
    is_rolled_back: bool,
    pub(crate) servers: Vec<ServerStep>,
    /// The containers whose labels define the route: those that serve it, else all that share it.
    pub(crate) requesters: Vec<Requester<'a>>,
}

impl<'a> SelectedRoute<'a> {
    pub(crate) fn from_key(
        snapshot: &'a StateSnapshot,
        counters: Option<&Counters>,
        key: &'a RouteKey,
    ) -> Option<Self> {
        let route = snapshot.routes.0.get(key)?;
        let live = status::LiveCounts::new(snapshot, counters);
        let status = status::route_status(snapshot, &live, (key, route));
        let endpoints = route.endpoints.iter();
        let requesters =
            endpoints.filter_map(|view| Requester::from_endpoint(snapshot, key, view)).collect();
        let is_rolled_back = snapshot.decide_state.rollback.is_some();
        let mut selected =
            Self { key, route, status, is_rolled_back, servers: Vec::new(), requesters };
        selected.servers = selected.server_steps();
        if !selected.servers.is_empty() {
            let serving: BTreeSet<_> =
                selected.servers.iter().map(|step| step.id.as_str()).collect();
            selected
                .requesters
                .retain(|requester| serving.contains(requester.container.id.short()));
        }
        Some(selected)
    }

    fn server_steps(&self) -> Vec<ServerStep> {
        let gets_requests = |status: &&status::ServerStatus| {
            0 < status.weight() && matches!(status.state, ServerState::Up | ServerState::Down)
        };
        let share = |status: &status::ServerStatus| {
            if status.state == ServerState::Up { f64::from(status.weight()) } else { 0.0 }
        };
        let servers: Vec<_> = self.status.servers.iter().filter(gets_requests).collect();
        let all: f64 = servers.iter().map(|status| share(status)).sum();
        let step = |status: &status::ServerStatus| ServerStep {
            container: status.container.clone(),
            id: status.id.clone(),
            node: status.node.clone(),
            address: status.address.clone(),
            weight: status.weight(),
            percent: if 0.0 < all { (1000.0 * share(status) / all).round() / 10.0 } else { 0.0 },
            state: status.state,
            haproxy: status.haproxy.clone(),
            label: self
                .find_requester(status)
                .and_then(|requester| self.option_source(requester, LabelOption::Weight)),
        };
        servers.into_iter().map(step).collect()
    }

    fn find_requester(&self, status: &status::ServerStatus) -> Option<&Requester<'a>> {
        let is_same = |requester: &&Requester<'_>| {
            requester.matches_server((status.id.as_str(), status.port))
        };
        self.requesters.iter().find(is_same)
    }

    fn option_source(&self, requester: &Requester<'a>, option: LabelOption) -> Option<LabelSource> {
        if self.is_rolled_back { None } else { requester.option_source(option) }
    }

    /// Returns the label that sets a feature, or the one that names its policy.
    pub(crate) fn feature_source(&self, option: LabelOption) -> Option<LabelSource> {
        let requester = self.requesters.first()?;
        let source = |option| self.option_source(requester, option);
        let from = || (option == LabelOption::Redirect).then(|| source(LabelOption::RedirectFrom));
        source(option).or_else(|| from().flatten()).or_else(|| source(LabelOption::Use))
    }

    pub(crate) fn host_step(&self, request: &ExplainRequest) -> HostStep {
        HostStep {
            requested: request.url.host().to_owned(),
            matched: self.key.host().to_string(),
            labels: collect_sources(&self.requesters, Requester::host_source),
        }
    }

    pub(crate) fn route_step(&self) -> RouteStep {
        RouteStep {
            route: self.status.route.clone(),
            prefix: self.status.prefix.clone(),
            exact: self.status.exact,
            passes_tls: self.key.is_passed(),
            backend: self.status.backend.clone(),
            labels: match self.key.rule {
                Match::Tcp { .. } if self.key.is_passed() => self.terms_sources(LabelOption::Tls),
                Match::Tcp { .. } | Match::Udp => Vec::new(),
                Match::Http { .. } => collect_sources(&self.requesters, Requester::path_source),
            },
        }
    }

    pub(crate) fn forwarded_request(&self, request: &ExplainRequest) -> ForwardedRequest {
        let strip = self.route.policy.get::<Strip>();
        let depth = self.key.path().map_or(0, |path| strip.depth(path.segments()));
        let (path, query) = (self.forwarded_path(&request.url), request.url.query());
        let stripped = depth != 0;
        let remaining_path = path.splitn(depth + 2, '/').nth(depth + 1).unwrap_or_default();
        let remaining_path =
            if stripped { remaining_path.trim_start_matches('/') } else { remaining_path };
        let AddPrefix(added) = self.route.policy.get();
        let labels = LabelOption::of_place(OptionPlace::Policy)
            .filter_map(|option| self.option_source(self.requesters.first()?, option));
        let (retry, scheme) = (self.route.policy.get::<Retry>(), self.route.policy.get::<Scheme>());
        ForwardedRequest {
            path: format!("{}/{remaining_path}{query}", added.as_str()),
            stripped,
            timeout_ms: self.route.policy.get::<Timeout>().as_millis(),
            retry: retry.to_string(),
            again: match retry {
                Retry::Off => RetryScope::Never,
                Retry::Safe if !request.method.is_safe() => RetryScope::Unsent,
                Retry::Safe | Retry::All => RetryScope::Unanswered,
            },
            scheme: scheme.to_string(),
            verify: scheme.has_tls().then(|| self.route.policy.get::<Verification>().to_string()),
            check: self.route.policy.get::<CheckMethod>().to_string(),
            labels: labels.collect(),
        }
    }

    /// Returns the options of a route of TCP or UDP.
    pub(crate) fn option_steps(&self) -> Vec<OptionStep> {
        let protocol = self.key.listener.protocol.label_protocol();
        let options = LabelOption::of_place(OptionPlace::Policy)
            .filter(|option| option.spec().protocols.contains(&protocol));
        let step = |option: LabelOption| {
            Some(OptionStep {
                option: option.name().to_owned(),
                value: self.route.policy.value(option)?.to_string(),
                label: self.option_source(self.requesters.first()?, option),
            })
        };
        options.filter_map(step).collect()
    }

    /// Returns the path as it was sent if the route matches its segments, else as it was normalized for routing.
    pub(crate) fn forwarded_path<'b>(&self, url: &'b Url) -> &'b str {
        let is_matched = |literal: &str| self.key.path().is_none_or(|rule| rule.matches(literal));
        match url.normalized_path() {
            Some(normalized) if normalized.has_dot_segments || !is_matched(&normalized.literal) => {
                &normalized.path
            }
            _ => url.path(),
        }
    }

    /// Whether requests are redirected to HTTPS, or would be if there were a certificate.
    pub(crate) fn redirects(&self) -> bool {
        self.route.redirects(self.key.listener)
    }

    /// Returns the labels of an option of the host's terms.
    pub(crate) fn terms_sources(&self, option: LabelOption) -> Vec<LabelSource> {
        collect_sources(&self.requesters, |requester| self.option_source(requester, option))
    }

    pub(crate) fn is_served(&self) -> bool {
        self.servers.iter().any(|step| step.state == ServerState::Up)
    }
}
