//! Hints of an explanation: a similar host, other ports that serve the request, and notes.
//!
//! Pure.

use super::{
    request::Url,
    route_match::{HostRank, host_rank, matching_routes},
    selected_route::SelectedRoute,
};
use crate::{
    model::{
        option_value::HostMatch,
        problem::{ProblemSubject, Reason},
        route::{Listener, RouteKey},
    },
    report::{StateSnapshot, source_status::SourceReport},
    routing::rollback::RELEASE_COMMAND,
    support::suggest::count_slips,
};
use std::{collections::BTreeSet, num::NonZeroU16};

/// Returns the host that is most similar to the requested one, if no route has the latter: at most three typing errors,
/// and fewer than half as many as the compared labels have characters.
pub(crate) fn nearest_host(url: &Url, snapshot: &StateSnapshot) -> Option<String> {
    let names_host =
        |host: &HostMatch| host_rank(url, host).is_some_and(|rank| rank != HostRank::Any);
    let hosts: BTreeSet<_> = snapshot.routes.0.keys().map(RouteKey::host).collect();
    if hosts.iter().any(|host| names_host(host)) {
        return None;
    }
    let exact = hosts.into_iter().filter_map(|host| match host {
        HostMatch::Exact(host) => Some(host.as_str()),
        HostMatch::Wildcard(_) | HostMatch::Any => None,
    });
    let candidates = exact.filter_map(|host| Some((typo_distance(url.host(), host)?, host)));
    candidates.min().map(|(_, host)| host.to_owned())
}

/// Returns the number of typing errors; `None` if the hosts are too different. Equal labels at the end are not
/// compared.
fn typo_distance(one: &str, other: &str) -> Option<usize> {
    let (mut a, mut b) = (one.split('.').rev().peekable(), other.split('.').rev().peekable());
    while a.peek().is_some() && a.peek() == b.peek() {
        a.next();
        b.next();
    }
    let join_labels = |labels: Vec<&str>| labels.join(".");
    let (a, b) = (join_labels(a.collect()), join_labels(b.collect()));
    count_slips(&a, &b)
}

/// Returns the URLs of the same request on other listeners where a route matches it.
pub(crate) fn other_ports(url: &Url, snapshot: &StateSnapshot) -> Vec<String> {
    let listeners: BTreeSet<_> = snapshot.routes.0.keys().map(|key| key.listener).collect();
    let on = |listener: Listener| url.format_on(listener);
    let answers = |text: &String| {
        let there: Option<Url> = text.parse().ok();
        there.is_some_and(|url| {
            let matches = matching_routes(&url, snapshot.routes.0.keys());
            matches.into_iter().any(|key| *key.host() != HostMatch::Any)
        })
    };
    listeners.into_iter().map(on).filter(answers).collect()
}

/// Returns the public port whose bound port the URL has. Clients connect to the bound port, labels have the public one.
pub(crate) fn public_port(url: &Url, snapshot: &StateSnapshot) -> Option<NonZeroU16> {
    let protocol = url.listener().protocol;
    let all = || snapshot.routes.0.keys().map(|key| key.listener);
    let listeners = || all().filter(|listener| listener.protocol == protocol);
    let is_bound = |at: &Listener| snapshot.rules.bound_port(*at) == url.port();
    let is_public = listeners().any(|at| at.port == url.port());
    listeners().filter(|_| !is_public).find(is_bound).map(|at| at.port)
}

/// `has_counters`: HAProxy reported its counters. `public`: see [`public_port`].
pub(crate) fn collect_notes(
    snapshot: &StateSnapshot,
    has_counters: bool,
    selected: Option<&SelectedRoute<'_>>,
    public: Option<NonZeroU16>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(port) = public {
        notes.push(format!("public port {port} is bound to this port; labels use {port}"));
    }
    if let Some(error) = &snapshot.last_error {
        notes.push(format!("the last change could not be applied: {error}"));
    }
    let silent = snapshot.sources.iter().filter_map(SourceReport::silence_text);
    notes.extend(silent);
    if !snapshot.docker_connected && snapshot.sources.is_empty() {
        notes.push("Docker does not answer; showing its last known state".to_owned());
    }
    if !snapshot.haproxy.answers {
        notes.push("HAProxy's state could not be read; showing the expected state".to_owned());
    }
    if snapshot.haproxy.answers && !has_counters {
        notes.push("HAProxy does not answer; the state of its servers is unknown".to_owned());
    }
    if let Some(rollback) = &snapshot.decide_state.rollback {
        notes.push(format!("{rollback}; newer containers are not served until {RELEASE_COMMAND}"));
    }
    let Some(selected) = selected else { return notes };
    let serves = |subject: &ProblemSubject| match subject {
        ProblemSubject::Container(origin) => {
            selected.route.endpoints.iter().any(|view| view.container == *origin)
        }
        ProblemSubject::Listener(listener) => selected.key.listener == *listener,
        ProblemSubject::Option(_) => false,
    };
    // Problems of labels that do not keep a container out. An unexposed port matters only if nothing serves the
    // request.
    let problems = snapshot.problems.iter().filter(|problem| serves(&problem.subject));
    let of_labels = problems.filter(|problem| match problem.reason {
        Reason::NotExposed { .. } => !selected.is_served(),
        Reason::Conflict { .. }
        | Reason::RouteReserved { .. }
        | Reason::HostOwned { .. }
        | Reason::RouteRefused { .. } => false,
        // Already part of the outcome if the route has only this server.
        _ if problem.reason.is_check_failure() => {
            selected.is_served() || selected.servers.len() != 1
        }
        _ if problem.reason.is_about_traffic() => true,
        _ => problem.label.is_some(),
    });
    notes.extend(of_labels.map(ToString::to_string));
    notes
}
