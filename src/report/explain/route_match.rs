//! Which routes match a request, the winner first, and why the others do not win.
//!
//! Pure. Compares the listener, then the host (exact, else a wildcard, else any), then the longest prefix of whole
//! segments, exactly as the generated frontend does.

use super::{NotSelectedReason, request::Url};
use crate::model::{
    option_value::{HostMatch, PathPrefix},
    route::{Match, RouteKey},
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
    let mut found: Vec<_> = keys.filter_map(|key| Some((match_rank(url, key)?, key))).collect();
    found.sort();
    found.into_iter().map(|(_, key)| key).collect()
}

/// Lower is better; `None` if the route does not match.
pub(crate) fn match_rank(url: &Url, key: &RouteKey) -> Option<(HostRank, Reverse<usize>)> {
    let Match::Http { host, prefix } = &key.rule;
    let rank = host_rank(url, host).filter(|_| key.listener == url.listener())?;
    has_prefix(&url.normalized_path()?.path, prefix).then(|| (rank, Reverse(prefix.as_str().len())))
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

/// Compares as the map look-up does: each with a slash appended, so that `/api` is not a prefix of `/apiary`.
pub(crate) fn has_prefix(path: &str, prefix: &PathPrefix) -> bool {
    let after_prefix = path.strip_prefix(prefix.as_str());
    after_prefix
        .is_some_and(|after_prefix| after_prefix.is_empty() || after_prefix.starts_with('/'))
}

/// Returns why another matching route lost against the winner.
pub(crate) fn not_selected_reason(winner: &RouteKey, loser: &RouteKey) -> NotSelectedReason {
    let Match::Http { host, .. } = &loser.rule;
    let Match::Http { host: better, .. } = &winner.rule;
    match host {
        HostMatch::Any if better != host => NotSelectedReason::AnyHost,
        HostMatch::Wildcard(_) if better != host => NotSelectedReason::Wildcard,
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
        let Match::Http { prefix, .. } = &key.rule;
        strsim::osa_distance(prefix.as_str(), url.path())
    };
    found.sort_by_cached_key(|(key, _)| (distance(key), *key));
    found.truncate(MAX_NEAR_MISSES);
    found
}

fn mismatch_reason(url: &Url, key: &RouteKey) -> Option<NotSelectedReason> {
    let Match::Http { host, prefix } = &key.rule;
    let path = &url.normalized_path()?.path;
    let same_but_for_case = || {
        prefix
            .as_str()
            .to_ascii_lowercase()
            .parse()
            .is_ok_and(|prefix| has_prefix(&path.to_ascii_lowercase(), &prefix))
    };
    match host {
        _ if host_rank(url, host).is_some() => Some(if same_but_for_case() {
            NotSelectedReason::OtherCase
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
