//! The keys that etcd holds under our prefix, and how they differ from what it should hold.
//!
//! Pure.

use crate::sources::registry::ALIVE_KEY;
use std::collections::{BTreeMap, BTreeSet};

/// What follows our prefix in a key: `containers/ID`, `served/ID` or `alive`.
pub(crate) type KeyName = String;

/// One key under our prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteKey {
    /// `None` if another writer has changed the key, so its value is unknown.
    pub(crate) digest: Option<u64>,
    pub(crate) lease: i64,
    /// The revision of the last change, in etcd's count.
    pub(crate) revision: i64,
}

pub(crate) type RemoteKeys = BTreeMap<KeyName, RemoteKey>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChanges {
    pub(crate) puts: Vec<KeyName>,
    pub(crate) deletes: Vec<KeyName>,
}

/// Returns the keys to write and to delete. A key under another lease is written again, because it would be deleted
/// with that lease.
pub(crate) fn diff_keys(
    remote: &RemoteKeys,
    local: &BTreeMap<KeyName, u64>,
    refused: &BTreeMap<KeyName, u64>,
    lease: i64,
) -> KeyChanges {
    let is_current = |id: &KeyName, digest: u64| {
        remote.get(id).is_some_and(|remote_key| {
            remote_key.digest == Some(digest) && remote_key.lease == lease
        })
    };
    let puts = local
        .iter()
        .filter(|(id, digest)| !is_current(id, **digest) && refused.get(*id) != Some(*digest));
    let is_stale = |id: &&KeyName| match local.get(*id) {
        None => true,
        // If the new value is refused, the old one is deleted, because it is out of date.
        Some(digest) => refused.get(*id) == Some(digest),
    };
    // The sign of life comes last: to a reader, what is not there by then is gone.
    let (last, first): (Vec<_>, Vec<_>) =
        puts.map(|(id, _)| id.clone()).partition(|name| name == ALIVE_KEY);
    KeyChanges {
        puts: first.into_iter().chain(last).collect(),
        deletes: remote.keys().filter(is_stale).cloned().collect(),
    }
}

/// Merges the keys that were read without their values. Returns the new state, and the keys that another writer has
/// changed.
pub(crate) fn merge_fetched(
    remote: &RemoteKeys,
    fetched: RemoteKeys,
) -> (RemoteKeys, BTreeSet<KeyName>) {
    let ours = |id: &KeyName, route: &RemoteKey| {
        remote
            .get(id)
            .filter(|remote_key| {
                (remote_key.revision, remote_key.lease) == (route.revision, route.lease)
            })
            .copied()
    };
    let foreign = fetched
        .iter()
        .filter(|(id, route)| ours(id, route).is_none())
        .map(|(id, _)| id.clone())
        .collect();
    let remote = fetched
        .into_iter()
        .map(|(id, route)| {
            let remote_key = ours(&id, &route).unwrap_or(RemoteKey { digest: None, ..route });
            (id, remote_key)
        })
        .collect();
    (remote, foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: i64 = 7;

    fn container_id(name: &str) -> KeyName {
        name.to_owned()
    }

    /// Parses `a=1 b=2@3`: `b` has digest 2 and lease 3.
    fn remote_keys(text: &str) -> RemoteKeys {
        let remote_key = |word: &str| {
            let (name, fields) = word.split_once('=').unwrap();
            let (digest, lease) = fields.split_once('@').unwrap_or((fields, "7"));
            let lease = lease.parse().unwrap();
            (container_id(name), RemoteKey { digest: digest.parse().ok(), lease, revision: 1 })
        };
        text.split_whitespace().map(remote_key).collect()
    }

    fn digests(text: &str) -> BTreeMap<KeyName, u64> {
        remote_keys(text)
            .into_iter()
            .map(|(id, remote_key)| (id, remote_key.digest.unwrap()))
            .collect()
    }

    #[test]
    fn only_differing_keys_are_written() {
        for (remote_key, local, refused, puts, deletes) in [
            ("", "", "", "", ""),
            ("", "a=1 b=2", "", "a b", ""),
            ("a=1 b=2", "a=1 b=2", "", "", ""),
            ("a=1 b=2", "a=1 b=3", "", "b", ""),
            ("a=1 b=2", "b=2", "", "", "a"),
            // From an earlier process.
            ("a=1@3", "a=1", "", "a", ""),
            // Changed by another writer.
            ("a=?", "a=1", "", "a", ""),
            ("a=?", "", "", "", "a"),
            // The current value of a is refused as too large; an earlier or later value is not.
            ("", "a=1 b=1", "a=1", "b", ""),
            ("a=1", "a=2", "a=2", "", "a"),
            ("", "a=2", "a=1", "a", ""),
            ("", "alive=1 containers/a=1 served/a=1", "", "containers/a served/a alive", ""),
        ] {
            let changes =
                diff_keys(&remote_keys(remote_key), &digests(local), &digests(refused), LEASE);
            let words = |names: &[KeyName]| names.join(" ");
            let decided = (words(&changes.puts), words(&changes.deletes));
            assert_eq!(decided, (puts.into(), deletes.into()), "{remote_key} -> {local}");
        }
    }

    #[test]
    fn foreign_changes_are_found_without_values() {
        let remote = remote_keys("a=1 b=2 c=3 d=4");
        let fetched = |revision: i64, lease: i64| RemoteKey { digest: None, lease, revision };
        let fetched = RemoteKeys::from([
            (container_id("a"), fetched(1, LEASE)),
            (container_id("b"), fetched(2, LEASE)),
            (container_id("c"), fetched(1, 0)),
            (container_id("x"), fetched(1, 0)),
        ]);
        let (found, foreign) = merge_fetched(&remote, fetched);
        let digests: Vec<_> =
            found.iter().map(|(id, remote_key)| (id.as_str(), remote_key.digest)).collect();
        assert_eq!(digests, [("a", Some(1)), ("b", None), ("c", None), ("x", None)]);
        assert_eq!(foreign, BTreeSet::from(["b", "c", "x"].map(container_id)));
    }
}
