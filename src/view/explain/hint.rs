//! What was meant, where else it would be served, and what else is to be known.
//!
//! Pure.

use super::{
    chosen::Chosen,
    contest::{HostRank, host_rank, place},
    request::Url,
};
use crate::{
    label::value::HostMatch,
    problem::{About, Reason},
    rollback::RELEASE,
    route::{Listener, Match},
    view::Picture,
};
use std::{collections::BTreeSet, num::NonZeroU16};

/// The host of a route that is most like the one asked for, where nobody asks for that: at most three slips, and
/// fewer than half of the labels in question.
pub(super) fn nearest(url: &Url, picture: &Picture) -> Option<String> {
    let named = |host: &HostMatch| host_rank(url, host).is_some_and(|it| it != HostRank::Any);
    let hosts: BTreeSet<_> = picture
        .routes
        .0
        .keys()
        .map(|key| {
            let Match::Http { host, .. } = &key.rule;
            host
        })
        .collect();
    if hosts.iter().any(|host| named(host)) {
        return None;
    }
    let exact = hosts.into_iter().filter_map(|host| match host {
        HostMatch::Exact(host) => Some(host.as_str()),
        HostMatch::Wildcard(_) | HostMatch::Any => None,
    });
    let near = exact.filter_map(|host| Some((slips(url.host(), host)?, host)));
    near.min().map(|(_, host)| host.to_owned())
}

/// `None` where they have little to do with each other. Labels at the end that are the same say nothing.
fn slips(one: &str, other: &str) -> Option<usize> {
    let (mut a, mut b) = (one.split('.').rev().peekable(), other.split('.').rev().peekable());
    while a.peek().is_some() && a.peek() == b.peek() {
        a.next();
        b.next();
    }
    let left = |labels: Vec<&str>| labels.join(".");
    let (a, b) = (left(a.collect()), left(b.collect()));
    let slips = strsim::osa_distance(&a, &b);
    (slips <= 3 && 2 * slips < a.len().max(b.len())).then_some(slips)
}

/// The same request, on the ports where a route answers it.
pub(super) fn elsewhere(url: &Url, picture: &Picture) -> Vec<String> {
    let ports: BTreeSet<_> = picture.routes.0.keys().map(|key| key.listener.port).collect();
    let on = |port: NonZeroU16| url.on_port(port);
    let answers = |text: &String| {
        let there: Option<Url> = text.parse().ok();
        there.is_some_and(|url| {
            let named = |it: &(HostRank, _)| it.0 != HostRank::Any;
            picture.routes.0.keys().any(|key| place(&url, key).as_ref().is_some_and(named))
        })
    };
    ports.into_iter().map(on).filter(answers).collect()
}

/// The public port that is meant by one that only is bound for it, as a browser is given it.
pub(super) fn public_port(url: &Url, picture: &Picture) -> Option<NonZeroU16> {
    let listeners = || picture.routes.0.keys().map(|key| key.listener);
    let is_bound = |at: &Listener| picture.rules.bound(*at) == url.port();
    let is_public = listeners().any(|at| at.port == url.port());
    listeners().filter(|_| !is_public).find(is_bound).map(|at| at.port)
}

/// `counted`: HAProxy said what it counts. `public`: see [`public_port`].
pub(super) fn notes(
    picture: &Picture,
    counted: bool,
    chosen: Option<&Chosen<'_>>,
    public: Option<NonZeroU16>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(port) = public {
        notes.push(format!("that is where public port {port} is bound; labels say {port}"));
    }
    if let Some(trouble) = &picture.trouble {
        notes.push(format!("the last change is not applied: {trouble}"));
    }
    if !picture.docker_is_there {
        notes.push("Docker does not answer at the moment; this is of before".to_owned());
    }
    if !picture.haproxy.answers {
        notes.push("HAProxy does not say what it has; this is what the labels ask for".to_owned());
    }
    if picture.haproxy.answers && !counted {
        notes.push(
            "HAProxy does not answer at the moment; how its servers are is not known".to_owned(),
        );
    }
    if let Some(rollback) = &picture.memory.rollback {
        notes.push(format!("{rollback}; what came later waits for {RELEASE}"));
    }
    let Some(chosen) = chosen else { return notes };
    let serves = |about: &About| match about {
        About::Container(origin) => chosen.route.endpoints.iter().any(|it| it.origin == *origin),
        About::Listener(listener) => chosen.key.listener == *listener,
        About::Option(_) => false,
    };
    // What takes part nevertheless; an exposed port is worth a word only where nothing answers.
    let problems = picture.problems.iter().filter(|it| serves(&it.about));
    let of_labels = problems.filter(|it| match it.reason {
        Reason::NotExposed { .. } => !chosen.is_served(),
        Reason::Conflict { .. }
        | Reason::Kept { .. }
        | Reason::HostOwned { .. }
        | Reason::Refused { .. } => false,
        // Told as the outcome already, where it is the only server's.
        _ if it.reason.fails_check() => chosen.is_served() || chosen.servers.len() != 1,
        _ if it.reason.is_of_traffic() => true,
        _ => it.label.is_some(),
    });
    notes.extend(of_labels.map(ToString::to_string));
    notes
}
