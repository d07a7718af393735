//! What comes of the request, in a sentence, and whether anybody listens.
//!
//! Pure.

use super::{
    ListenerStep, Outcome, ServerState,
    chosen::Chosen,
    contest::{HostRank, host_rank, matching},
    request::Request,
    seconds,
    source::{Asker, sources},
};
use crate::{
    problem::{About, Reason},
    route::{Listener, Match, Protocol, RouteKey},
    view::Picture,
};
use std::collections::BTreeSet;

/// More are not worth a list.
const MOST_PORTS: usize = 8;

pub(super) fn outcome(
    request: &Request,
    picture: &Picture,
    chosen: Option<&Chosen<'_>>,
) -> (Outcome, String) {
    let Some(chosen) = chosen else { return no_route(request, picture) };
    let up = chosen.servers.iter().filter(|it| it.state == ServerState::Up);
    let names: Vec<_> = up.map(|it| it.container.as_str()).collect();
    match (&names[..], &chosen.servers[..], chosen.route.endpoints.len()) {
        ([one], ..) => (Outcome::Served, format!("{one} answers")),
        ([one, other], ..) => (Outcome::Served, format!("{one} and {other} share it")),
        ([one, rest @ ..], ..) => {
            (Outcome::Served, format!("{one} and {} others share it", rest.len()))
        }
        ([], _, 0) => (Outcome::Unavailable, held(picture, chosen.key)),
        ([], [], 1) => (Outcome::Unavailable, "its only container takes no requests".to_owned()),
        ([], [], all) => {
            (Outcome::Unavailable, format!("none of its {all} containers takes requests"))
        }
        ([], [one], _) => {
            let why = match failed_check(picture, &one.id) {
                Some(reason) => format!("HAProxy's check of {} fails: {reason}", one.container),
                None => format!("HAProxy's check of {} fails", one.container),
            };
            (Outcome::Unavailable, why)
        }
        ([], all, _) => {
            (Outcome::Unavailable, format!("HAProxy's checks of all {} servers fail", all.len()))
        }
    }
}

/// Why the check of the container fails, as far as that is known.
fn failed_check<'a>(picture: &'a Picture, id: &str) -> Option<&'a Reason> {
    let is_about = |about: &About| matches!(about, About::Container(origin) if origin.id() == id);
    let mut all = picture.problems.iter().filter(|it| is_about(&it.about)).map(|it| &it.reason);
    all.find(|reason| reason.fails_check())
}

/// Nobody is behind it any more.
fn held(picture: &Picture, key: &RouteKey) -> String {
    if let Some(rollback) = &picture.memory.rollback {
        return format!("{rollback}, and none of the containers that served it then is left");
    }
    let since = picture.memory.held_since(key);
    let end = since.map(|since| since + picture.rules.hold);
    match end.map(|end| end.saturating_duration_since(picture.now)) {
        Some(left) => format!(
            "its last container went away; until another one comes it is 503, for another {}, then as if it had \
             never been",
            seconds(left)
        ),
        None => "its last container went away".to_owned(),
    }
}

fn no_route(request: &Request, picture: &Picture) -> (Outcome, String) {
    let at = asked_listener(request);
    let port = at.port;
    let here = || picture.routes.0.keys().filter(|key| key.listener == at);
    let asked_for = || {
        let keys = picture.memory.board().routes().0.keys();
        !matching(&request.url, keys).is_empty()
    };
    let bound = picture.config.frontends.iter().any(|it| it.listener == at);
    if let Some(why) = taken(picture, at) {
        return (Outcome::NobodyListens, format!("port {port} is not ours: it is {why}"));
    }
    let silent = !bound && here().next().is_none();
    if let Some(refusal) = request.refusal().filter(|_| !silent) {
        return (Outcome::Refused, refusal.to_string());
    }
    if let Some(rollback) = picture.memory.rollback.as_ref().filter(|_| asked_for()) {
        let outcome = if silent { Outcome::NobodyListens } else { Outcome::NotFound };
        return (outcome, format!("{rollback}, and it had no route for this"));
    }
    if silent {
        return (Outcome::NobodyListens, nobody(picture, at));
    }
    let knows = |key: &RouteKey| {
        let Match::Http { host, .. } = &key.rule;
        host_rank(&request.url, host).is_some_and(|it| it != HostRank::Any)
    };
    let (host, path) = (request.url.host(), request.url.path());
    let why = if here().any(knows) {
        format!("{host} is known, but no route of it has the path {path}")
    } else {
        format!("no container asks for {host} on port {port}")
    };
    (Outcome::NotFound, why)
}

fn nobody(picture: &Picture, at: Listener) -> String {
    let ports: BTreeSet<_> = picture.routes.0.keys().map(|key| key.listener.port).collect();
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    match ports.len() {
        0 => "no container asks for any port".to_owned(),
        1..=MOST_PORTS => {
            format!("no container asks for port {}, only for {}", at.port, ports.join(", "))
        }
        _ => format!("no container asks for port {}", at.port),
    }
}

fn asked_listener(request: &Request) -> Listener {
    Listener { protocol: Protocol::Http, port: request.url.port() }
}

/// Follows "its port is".
pub(super) fn taken(picture: &Picture, at: Listener) -> Option<String> {
    let mut about = picture.problems.iter().filter(|it| it.about == About::Listener(at));
    about.find_map(|it| match &it.reason {
        Reason::PortTaken { why } => Some(why.clone()),
        _ => None,
    })
}

pub(super) fn listener(
    request: &Request,
    picture: &Picture,
    chosen: Option<&Chosen<'_>>,
) -> ListenerStep {
    let at = asked_listener(request);
    ListenerStep {
        port: at.port.get(),
        bound: picture.rules.bound(at).get(),
        taken: taken(picture, at),
        labels: chosen.map(|it| sources(&it.askers, Asker::listener)).unwrap_or_default(),
    }
}
