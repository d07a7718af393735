//! The outcome of a request as a sentence, and the state of its listener.
//!
//! Pure.

use super::{
    ListenerStep, RequestOutcome, ServerState,
    features::feature_answer,
    format_seconds,
    label_source::{Requester, collect_sources},
    request::ExplainRequest,
    route_match::{HostRank, host_rank, matching_routes},
    selected_route::SelectedRoute,
};
use crate::{
    haproxy::{name, tls},
    model::{
        problem::{ProblemSubject, Reason},
        route::{Listener, Protocol, RouteKey},
        tls::TlsBind,
    },
    report::{StateSnapshot, certificates::presented_certificates},
};
use std::collections::BTreeSet;

/// A list with more ports would not be useful.
const MAX_LISTED_PORTS: usize = 8;

pub(crate) fn decide_outcome(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
    selected: Option<&SelectedRoute<'_>>,
) -> (RequestOutcome, String) {
    let Some(selected) = selected else { return no_route_outcome(request, snapshot) };
    if selected.key.is_passed() {
        return connection_outcome(snapshot, selected);
    }
    if let Some(outcome) = failed_outcome(selected.key.listener.protocol) {
        return match request_outcome(snapshot, selected) {
            (RequestOutcome::Served, why) => (RequestOutcome::Served, why),
            (_, why) => (outcome, why),
        };
    }
    let tls = tls_outcome(request, snapshot, Some(selected));
    let answer = || feature_answer(request, snapshot, selected);
    match tls {
        Some(outcome) if selected.key.is_https() => outcome,
        tls => answer()
            .map(|answer| (answer.outcome, answer.why))
            .or(tls)
            .unwrap_or_else(|| request_outcome(snapshot, selected)),
    }
}

/// Returns the outcome for connections or datagrams that no container accepts. `None` for requests.
fn failed_outcome(protocol: Protocol) -> Option<RequestOutcome> {
    match protocol {
        Protocol::Http | Protocol::Https => None,
        Protocol::Tcp => Some(RequestOutcome::Closed),
        Protocol::Udp => Some(RequestOutcome::Dropped),
    }
}

/// Returns the outcome of a connection that HAProxy does not decrypt.
fn connection_outcome(
    snapshot: &StateSnapshot,
    selected: &SelectedRoute<'_>,
) -> (RequestOutcome, String) {
    match request_outcome(snapshot, selected) {
        (RequestOutcome::Served, why) => {
            let to = why.trim_start_matches("served by ");
            (RequestOutcome::PassedThrough, format!("TLS is passed through to {to}"))
        }
        (_, why) => (RequestOutcome::Closed, why),
    }
}

fn request_outcome(
    snapshot: &StateSnapshot,
    selected: &SelectedRoute<'_>,
) -> (RequestOutcome, String) {
    let up = selected.servers.iter().filter(|step| step.state == ServerState::Up);
    let names: Vec<_> = up.map(|step| step.container.as_str()).collect();
    match (&names[..], &selected.servers[..], selected.route.endpoints.len()) {
        ([one], ..) => (RequestOutcome::Served, format!("served by {one}")),
        ([one, other], ..) => (RequestOutcome::Served, format!("served by {one} and {other}")),
        ([one, others @ ..], ..) => {
            (RequestOutcome::Served, format!("served by {one} and {} others", others.len()))
        }
        ([], _, 0) => (RequestOutcome::Unavailable, hold_text(snapshot, selected.key)),
        ([], [], 1) => {
            (RequestOutcome::Unavailable, "its only container accepts no requests".to_owned())
        }
        ([], [], all) => {
            (RequestOutcome::Unavailable, format!("none of its {all} containers accepts requests"))
        }
        ([], [one], _) => {
            let reason = match failed_check_reason(snapshot, &one.id) {
                Some(reason) => format!("HAProxy's check of {} fails: {reason}", one.container),
                None => format!("HAProxy's check of {} fails", one.container),
            };
            (RequestOutcome::Unavailable, reason)
        }
        ([], all, _) => (
            RequestOutcome::Unavailable,
            format!("HAProxy's checks of all {} servers fail", all.len()),
        ),
    }
}

/// Returns the outcome if TLS decides it: the host has no certificate, or the request is redirected to HTTPS.
fn tls_outcome(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
    selected: Option<&SelectedRoute<'_>>,
) -> Option<(RequestOutcome, String)> {
    let (listener, host) = (request.url.listener(), request.url.host());
    if listener.is_https() {
        return https_outcome(snapshot, (listener, host), selected);
    }
    let selected = selected.filter(|selected| selected.redirects())?;
    if has_certificate(snapshot, selected.key) {
        let to = redirect_location(request, selected);
        return Some((RequestOutcome::Redirected, format!("redirected to {to}")));
    }
    let why = format!(
        "{host} has no certificate yet, so it is not redirected to HTTPS; with tls=both it would be served \
         over plain HTTP, too"
    );
    Some((RequestOutcome::Unavailable, why))
}

/// Returns the outcome if there is no certificate for the host, unless the default one serves the request.
fn https_outcome(
    snapshot: &StateSnapshot,
    (listener, host): (Listener, &str),
    selected: Option<&SelectedRoute<'_>>,
) -> Option<(RequestOutcome, String)> {
    let has_default = snapshot.config.default_certificate.is_on();
    let is_presented = !presented_certificates(snapshot, listener, host).is_empty();
    if !is_presented && !has_default {
        let why =
            format!("there is no certificate for {host}, so HAProxy refuses the TLS connection");
        return Some((RequestOutcome::TlsRefused, why));
    }
    let target = snapshot.config.maps.routes.get(&selected?.key.map_key())?;
    let lines = snapshot.config.tls.get(&tls::list_name(listener.port))?;
    let needs_own = has_default && target.guard.is_some();
    let is_default = needs_own && tls::find_lines(lines, host).is_empty();
    let why = format!(
        "there is no certificate for {host}, and connections with the default one do not have its TLS options, so \
         the request gets 421"
    );
    is_default.then_some((RequestOutcome::Refused, why))
}

/// Whether HAProxy redirects the requests of a plain route of an HTTPS host, which it does once there is a certificate.
fn has_certificate(snapshot: &StateSnapshot, key: &RouteKey) -> bool {
    let target = snapshot.config.maps.routes.get(&key.map_key());
    target.is_some_and(|target| target.backend != name::NO_CERTIFICATE)
}

/// Returns the URL that a plain request is redirected to.
pub(crate) fn redirect_location(request: &ExplainRequest, selected: &SelectedRoute<'_>) -> String {
    let port = selected.route.policy.get::<TlsBind>().redirect_port();
    request.url.format_on(Listener { protocol: Protocol::Https, port })
}

/// Returns why the check of the container fails, if that is known.
fn failed_check_reason<'a>(snapshot: &'a StateSnapshot, id: &str) -> Option<&'a Reason> {
    let is_about = |subject: &ProblemSubject| matches!(subject, ProblemSubject::Container(origin) if origin.id() == id);
    let mut all = snapshot
        .problems
        .iter()
        .filter(|problem| is_about(&problem.subject))
        .map(|problem| &problem.reason);
    all.find(|reason| reason.is_check_failure())
}

/// Returns the text for a route that has no container any more.
fn hold_text(snapshot: &StateSnapshot, key: &RouteKey) -> String {
    if let Some(rollback) = &snapshot.decide_state.rollback {
        return format!("{rollback}, and none of the containers of that time exists any more");
    }
    let since = snapshot.decide_state.hold_since(key);
    let end = since.map(|since| since + snapshot.rules.hold);
    match end.map(|end| end.saturating_duration_since(snapshot.now)) {
        Some(remaining) => format!(
            "its last container is gone; {} for another {}, then the route is removed",
            match failed_outcome(key.listener.protocol) {
                None => "requests get 503",
                Some(RequestOutcome::Dropped) => "datagrams are dropped",
                Some(_) => "connections are closed",
            },
            format_seconds(remaining)
        ),
        None => "its last container is gone".to_owned(),
    }
}

fn no_route_outcome(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
) -> (RequestOutcome, String) {
    let at = request.url.listener();
    let port = at.port;
    let here = || snapshot.routes.0.keys().filter(|key| key.listener == at);
    let has_claim = || {
        let keys = snapshot.decide_state.route_table().routes().0.keys();
        !matching_routes(&request.url, keys).is_empty()
    };
    let bound = snapshot.config.open_frontends().any(|frontend| frontend.listener == at);
    if let Some(reason) = port_conflict(snapshot, at) {
        return (
            RequestOutcome::NotListening,
            format!("port {port} is not available: it is {reason}"),
        );
    }
    let is_not_listening = !bound && here().next().is_none();
    if let Some(outcome) = tls_outcome(request, snapshot, None).filter(|_| !is_not_listening) {
        return outcome;
    }
    let failed = failed_outcome(at.protocol);
    if let Some(rejection) = request.rejection().filter(|_| !is_not_listening && failed.is_none()) {
        return (RequestOutcome::Refused, rejection.to_string());
    }
    if let Some(rollback) = snapshot.decide_state.rollback.as_ref().filter(|_| has_claim()) {
        let outcome = if is_not_listening {
            RequestOutcome::NotListening
        } else {
            failed.unwrap_or(RequestOutcome::NotFound)
        };
        return (outcome, format!("{rollback}, which has no route for this request"));
    }
    if is_not_listening {
        return (RequestOutcome::NotListening, not_listening_text(snapshot, at));
    }
    if let Some(outcome) = failed {
        let reason = match request.url.host() {
            "" => {
                format!("no container has a route on port {port} for clients that ask for no name")
            }
            name => format!("no container has a route for {name} on port {port}"),
        };
        return (outcome, reason);
    }
    let has_host = |key: &RouteKey| {
        host_rank(&request.url, key.host()).is_some_and(|rank| rank != HostRank::Any)
    };
    let (host, path) = (request.url.host(), request.url.path());
    let reason = if here().any(has_host) {
        format!("{host} has routes, but none for the path {path}")
    } else {
        format!("no container has a route for {host} on port {port}")
    };
    (RequestOutcome::NotFound, reason)
}

fn not_listening_text(snapshot: &StateSnapshot, at: Listener) -> String {
    let listeners: BTreeSet<_> = snapshot.routes.0.keys().map(|key| key.listener).collect();
    if let Some(other) = listeners.iter().find(|other| other.port == at.port) {
        let protocol = other.protocol;
        return format!("port {} accepts only {protocol}; write {protocol}://", at.port);
    }
    let same_protocol = listeners.iter().filter(|other| other.protocol == at.protocol);
    let ports: Vec<_> = same_protocol.map(|other| other.port.to_string()).collect();
    match ports.len() {
        0 if at.protocol != Protocol::Http => {
            format!("no container has a route for {}", at.protocol.to_string().to_uppercase())
        }
        0 => "no container has a route on any port".to_owned(),
        1..=MAX_LISTED_PORTS => {
            format!("no container has a route on port {}, only on {}", at.port, ports.join(", "))
        }
        _ => format!("no container has a route on port {}", at.port),
    }
}

/// Returns why the port is not available; completes "its port is …".
pub(crate) fn port_conflict(snapshot: &StateSnapshot, at: Listener) -> Option<String> {
    let mut subject =
        snapshot.problems.iter().filter(|problem| problem.subject == ProblemSubject::Listener(at));
    subject.find_map(|problem| match &problem.reason {
        Reason::PortTaken { why } => Some(why.clone()),
        _ => None,
    })
}

pub(crate) fn listener_step(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
    selected: Option<&SelectedRoute<'_>>,
) -> ListenerStep {
    let at = request.url.listener();
    ListenerStep {
        protocol: at.protocol.to_string(),
        port: at.port.get(),
        bound: snapshot.rules.bound_port(at).get(),
        taken: port_conflict(snapshot, at),
        labels: selected
            .map(|route| collect_sources(&route.requesters, Requester::listener_source))
            .unwrap_or_default(),
    }
}
