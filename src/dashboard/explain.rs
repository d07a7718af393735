//! What the explain box answers.
//!
//! Pure.

use crate::{
    label::value::{Host, HostMatch, PathPrefix},
    route::{Listener, Match, Protocol, RouteKey, Routes},
    view::Picture,
};
use std::num::NonZeroU16;

/// What becomes of a request that was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub served: bool,
    /// Lines, to be shown as they are.
    pub text: String,
}

/// What becomes of a request for this URL; without a scheme it is `http://`.
pub fn explain(url: &str, picture: &Picture) -> Answer {
    let Some((listener, host, path)) = read(url) else {
        let text = "This is no URL that HAProxy is asked for; one is http://app.example.com/path";
        return Answer { served: false, text: text.to_owned() };
    };
    let Some(key) = find(&picture.routes, listener, &host, path) else {
        let text = format!("404: no route on {listener} answers for {host}{path}");
        return Answer { served: false, text };
    };
    let servers = &picture.routes.0[&key].endpoints;
    let names: Vec<_> = servers.iter().map(|it| it.origin.to_string()).collect();
    let text = match &names[..] {
        [] => format!("503: route {key} matches, and nobody serves it"),
        names => format!("Route {key} matches: {}", names.join(", ")),
    };
    Answer { served: !names.is_empty(), text }
}

fn read(url: &str) -> Option<(Listener, Host, &str)> {
    let url = url.trim();
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, NonZeroU16::new(80)?),
    };
    Some((Listener { protocol: Protocol::Http, port }, host.parse().ok()?, path))
}

/// The nearest host first, then the longest prefix.
fn find(routes: &Routes, listener: Listener, host: &Host, path: &str) -> Option<RouteKey> {
    let above = host.as_str().split_once('.').and_then(|(_, above)| above.parse().ok());
    let hosts = [Some(HostMatch::Exact(host.clone())), above.map(HostMatch::Wildcard)];
    let key = |host: &HostMatch, prefix: PathPrefix| RouteKey {
        listener,
        rule: Match::Http { host: host.clone(), prefix },
    };
    let of_host = |host: HostMatch| {
        let keys = prefixes(path).map(move |prefix| key(&host, prefix));
        keys.into_iter().find(|key| routes.0.contains_key(key))
    };
    hosts.into_iter().flatten().chain([HostMatch::Any]).find_map(of_host)
}

/// `/a/b`, `/a` and none.
fn prefixes(path: &str) -> impl Iterator<Item = PathPrefix> {
    let cuts = path.match_indices('/').map(|(at, _)| at).filter(|at| *at != 0);
    let mut cuts: Vec<_> = cuts.chain([path.len()]).collect();
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    let prefixes: Vec<_> = cuts.into_iter().filter_map(|end| path[..end].parse().ok()).collect();
    prefixes.into_iter().chain([PathPrefix::default()])
}
