//! Which routes answer a request, the one that wins first, and why the others do not.
//!
//! Pure. The listener, then the host (exact, else a wildcard, else any), then the longest prefix of whole
//! segments: what the generated frontend looks up, and nothing else.

use super::{Loss, request::Url};
use crate::{
    label::value::{HostMatch, PathPrefix},
    route::{Match, RouteKey},
};
use std::cmp::Reverse;

/// Of routes that do not match no more are shown: those that are most like it.
const MOST_NEAR: usize = 8;

/// How the host of a route matches; the first counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostRank {
    Exact,
    Wildcard,
    Any,
}

/// The routes that match, the best first.
pub(super) fn matching<'a>(
    url: &Url,
    keys: impl Iterator<Item = &'a RouteKey>,
) -> Vec<&'a RouteKey> {
    let mut found: Vec<_> = keys.filter_map(|key| Some((place(url, key)?, key))).collect();
    found.sort();
    found.into_iter().map(|(_, key)| key).collect()
}

/// The lower the better; `None` where it does not match.
pub(super) fn place(url: &Url, key: &RouteKey) -> Option<(HostRank, Reverse<usize>)> {
    let Match::Http { host, prefix } = &key.rule;
    let rank = host_rank(url, host).filter(|_| key.listener.port == url.port())?;
    is_under(&url.reading()?.path, prefix).then(|| (rank, Reverse(prefix.as_str().len())))
}

pub(super) fn host_rank(url: &Url, host: &HostMatch) -> Option<HostRank> {
    match host {
        HostMatch::Exact(it) => (it.as_str() == url.host()).then_some(HostRank::Exact),
        HostMatch::Wildcard(above) => {
            (url.parent() == Some(above.as_str())).then_some(HostRank::Wildcard)
        }
        HostMatch::Any => Some(HostRank::Any),
    }
}

/// As the map is asked: both with a slash behind them, so that `/api` is no beginning of `/apiary`.
pub(super) fn is_under(path: &str, prefix: &PathPrefix) -> bool {
    let rest = path.strip_prefix(prefix.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why one that matches too has lost.
pub(super) fn loss(winner: &RouteKey, loser: &RouteKey) -> Loss {
    let Match::Http { host, .. } = &loser.rule;
    let Match::Http { host: better, .. } = &winner.rule;
    match host {
        HostMatch::Any if better != host => Loss::AnyHost,
        HostMatch::Wildcard(_) if better != host => Loss::Wildcard,
        _ => Loss::ShorterPrefix,
    }
}

/// The routes that come nearest where none matches, and what they lack.
pub(super) fn near<'a>(
    url: &Url,
    keys: impl Iterator<Item = &'a RouteKey>,
) -> Vec<(&'a RouteKey, Loss)> {
    let same_port = keys.filter(|key| key.listener.port == url.port());
    let mut found: Vec<_> = same_port.filter_map(|key| Some((key, lack(url, key)?))).collect();
    let unlikeness = |key: &RouteKey| {
        let Match::Http { prefix, .. } = &key.rule;
        strsim::osa_distance(prefix.as_str(), url.path())
    };
    found.sort_by_cached_key(|(key, _)| (unlikeness(key), *key));
    found.truncate(MOST_NEAR);
    found
}

fn lack(url: &Url, key: &RouteKey) -> Option<Loss> {
    let Match::Http { host, prefix } = &key.rule;
    let path = &url.reading()?.path;
    let same_but_for_case = || {
        prefix
            .as_str()
            .to_ascii_lowercase()
            .parse()
            .is_ok_and(|prefix| is_under(&path.to_ascii_lowercase(), &prefix))
    };
    match host {
        _ if host_rank(url, host).is_some() => {
            Some(if same_but_for_case() { Loss::OtherCase } else { Loss::OtherPath })
        }
        HostMatch::Wildcard(above) => {
            let rest = url.host().strip_suffix(above.as_str())?;
            (rest.is_empty() || rest.ends_with('.')).then_some(Loss::NotOneLabel)
        }
        _ => None,
    }
}
