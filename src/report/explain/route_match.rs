//! Which routes match a request, the winner first, and why the others do not win.
//!
//! Pure. Compares the listener, then the host (exact, else a wildcard, else any), then an exact path, then the longest
//! prefix of whole segments, exactly as the generated frontend does. Connections that are passed through do not reach that frontend;
//! those for a host that is decrypted do, even if the wildcard above it is passed through.

use super::{NotSelectedReason, request::Url};
use crate::model::{
    option_value::{HostMatch, PathPrefix, PathRule},
    route::RouteKey,
};
use std::cmp::Reverse;

/// How many of the most similar routes are shown if none matches.
const MAX_NEAR_MISSES: usize = 8;

/// How the host of a route matches, in order of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostRank {
    Exact,
    Wildcard,
    Any,
}

/// Returns the routes that match, the best first.
pub(crate) fn matching_routes<'a>(
    url: &Url,
    keys: impl Iterator<Item = &'a RouteKey>,
) -> Vec<&'a RouteKey> {
    let keys: Vec<_> = keys.filter(|key| key.listener == url.listener()).collect();
    let names_host = |key: &RouteKey| host_rank(url, key.host()) == Some(HostRank::Exact);
    let is_decrypted = keys.iter().any(|key| !key.is_tcp() && names_host(key));
    let keys = keys.into_iter().filter(|key| !(is_decrypted && key.is_tcp() && !names_host(key)));
    let mut found: Vec<_> = keys.filter_map(|key| Some((match_rank(url, key)?, key))).collect();
    found.sort();
    found.into_iter().map(|(_, key)| key).collect()
}

/// How a route matches. Lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MatchRank {
    host: HostRank,
    is_http: bool,
    is_prefix: bool,
    path_length: Reverse<usize>,
}

/// Returns `None` if the route does not match.
pub(crate) fn match_rank(url: &Url, key: &RouteKey) -> Option<MatchRank> {
    let host = host_rank(url, key.host()).filter(|_| key.listener == url.listener())?;
    let rank = MatchRank { host, is_http: false, is_prefix: false, path_length: Reverse(0) };
    let Some(rule) = key.path() else { return Some(rank) };
    rule.matches(&url.normalized_path()?.path).then(|| MatchRank {
        is_http: true,
        is_prefix: !rule.is_exact(),
        path_length: Reverse(rule.segments().as_str().len()),
        ..rank
    })
}

pub(crate) fn host_rank(url: &Url, host: &HostMatch) -> Option<HostRank> {
    match host {
        HostMatch::Exact(host) => (host.as_str() == url.host()).then_some(HostRank::Exact),
        HostMatch::Wildcard(above) => {
            (url.parent() == Some(above.as_str())).then_some(HostRank::Wildcard)
        }
        HostMatch::Any => Some(HostRank::Any),
    }
}

/// Returns why another matching route lost against the winner.
pub(crate) fn not_selected_reason(winner: &RouteKey, loser: &RouteKey) -> NotSelectedReason {
    let (host, better) = (loser.host(), winner.host());
    match host {
        _ if winner.is_tcp() && !loser.is_tcp() => NotSelectedReason::PassedThrough,
        HostMatch::Any if better != host => NotSelectedReason::AnyHost,
        HostMatch::Wildcard(_) if better != host => NotSelectedReason::Wildcard,
        _ if winner.path().is_some_and(PathRule::is_exact) => NotSelectedReason::Prefix,
        _ => NotSelectedReason::ShorterPrefix,
    }
}

/// Returns the routes that come nearest if none matches, and why each does not match.
pub(crate) fn near_misses<'a>(
    url: &Url,
    keys: impl Iterator<Item = &'a RouteKey>,
) -> Vec<(&'a RouteKey, NotSelectedReason)> {
    let same_listener = keys.filter(|key| key.listener == url.listener());
    let mut found: Vec<_> =
        same_listener.filter_map(|key| Some((key, mismatch_reason(url, key)?))).collect();
    let distance = |key: &RouteKey| {
        let segments = key.path().map(PathRule::segments);
        strsim::osa_distance(segments.map_or("", PathPrefix::as_str), url.path())
    };
    found.sort_by_cached_key(|(key, _)| (distance(key), *key));
    found.truncate(MAX_NEAR_MISSES);
    found
}

fn mismatch_reason(url: &Url, key: &RouteKey) -> Option<NotSelectedReason> {
    let (host, path) = (key.host(), &url.normalized_path()?.path);
    let same_but_for_case = || {
        let path = path.to_ascii_lowercase();
        match key.path() {
            None => true,
            Some(PathRule::Exact(exact)) => exact.to_string().to_ascii_lowercase() == path,
            Some(PathRule::Prefix(prefix)) => {
                let prefix = prefix.as_str().to_ascii_lowercase().parse();
                prefix.is_ok_and(|prefix| PathRule::Prefix(prefix).matches(&path))
            }
        }
    };
    match host {
        // Another route decides that the connections are decrypted.
        _ if key.is_tcp() && host_rank(url, host).is_some() => None,
        _ if host_rank(url, host).is_some() => Some(if same_but_for_case() {
            NotSelectedReason::OtherCase
        } else if key.path().is_some_and(PathRule::is_exact) {
            NotSelectedReason::OtherExactPath
        } else {
            NotSelectedReason::OtherPath
        }),
        HostMatch::Wildcard(above) => {
            let after_prefix = url.host().strip_suffix(above.as_str())?;
            (after_prefix.is_empty() || after_prefix.ends_with('.'))
                .then_some(NotSelectedReason::NotOneLabel)
        }
        _ => None,
    }
}
