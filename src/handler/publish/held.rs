//! What etcd holds under our keys, and how it differs from what it should hold.
//!
//! Pure.

use crate::container::ContainerId;
use std::collections::{BTreeMap, BTreeSet};

/// One key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// `None`: somebody else has written it, and what is not known.
    pub(super) digest: Option<u64>,
    pub(super) lease: i64,
    /// When it was written last, in etcd's count.
    pub(super) revision: i64,
}

pub(super) type Shelf = BTreeMap<ContainerId, Held>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) puts: Vec<ContainerId>,
    pub(super) deletes: Vec<ContainerId>,
}

/// A key under another lease would end with that one: it is written again.
pub(super) fn changes(
    shelf: &Shelf,
    wanted: &BTreeMap<ContainerId, u64>,
    refused: &BTreeMap<ContainerId, u64>,
    lease: i64,
) -> Changes {
    let well = |id: &ContainerId, digest: u64| {
        shelf.get(id).is_some_and(|held| held.digest == Some(digest) && held.lease == lease)
    };
    let puts = wanted
        .iter()
        .filter(|(id, digest)| !well(id, **digest) && refused.get(*id) != Some(*digest));
    let gone = |id: &&ContainerId| match wanted.get(*id) {
        None => true,
        // What cannot be written anew is not left there as it was.
        Some(digest) => refused.get(*id) == Some(digest),
    };
    Changes {
        puts: puts.map(|(id, _)| id.clone()).collect(),
        deletes: shelf.keys().filter(gone).cloned().collect(),
    }
}

/// The shelf as it was found to be, without the texts; and which keys somebody else has written.
pub(super) fn found(shelf: &Shelf, seen: Shelf) -> (Shelf, BTreeSet<ContainerId>) {
    let ours = |id: &ContainerId, it: &Held| {
        shelf.get(id).filter(|held| (held.revision, held.lease) == (it.revision, it.lease)).copied()
    };
    let strange =
        seen.iter().filter(|(id, it)| ours(id, it).is_none()).map(|(id, _)| id.clone()).collect();
    let shelf = seen
        .into_iter()
        .map(|(id, it)| {
            let held = ours(&id, &it).unwrap_or(Held { digest: None, ..it });
            (id, held)
        })
        .collect();
    (shelf, strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: i64 = 7;

    fn id(name: &str) -> ContainerId {
        ContainerId::new(name)
    }

    /// `a=1 b=2@3`: digest 2 under lease 3.
    fn shelf(text: &str) -> Shelf {
        let held = |word: &str| {
            let (name, rest) = word.split_once('=').unwrap();
            let (digest, lease) = rest.split_once('@').unwrap_or((rest, "7"));
            let lease = lease.parse().unwrap();
            (id(name), Held { digest: digest.parse().ok(), lease, revision: 1 })
        };
        text.split_whitespace().map(held).collect()
    }

    fn digests(text: &str) -> BTreeMap<ContainerId, u64> {
        shelf(text).into_iter().map(|(id, held)| (id, held.digest.unwrap())).collect()
    }

    #[test]
    fn only_differences_are_written() {
        for (held, wanted, refused, puts, deletes) in [
            ("", "", "", "", ""),
            ("", "a=1 b=2", "", "a b", ""),
            ("a=1 b=2", "a=1 b=2", "", "", ""),
            ("a=1 b=2", "a=1 b=3", "", "b", ""),
            ("a=1 b=2", "b=2", "", "", "a"),
            // Of a process before this one.
            ("a=1@3", "a=1", "", "a", ""),
            // Somebody else's.
            ("a=?", "a=1", "", "a", ""),
            ("a=?", "", "", "", "a"),
            // Too large as it is, but not as it was, nor as it may be one day.
            ("", "a=1 b=1", "a=1", "b", ""),
            ("a=1", "a=2", "a=2", "", "a"),
            ("", "a=2", "a=1", "a", ""),
        ] {
            let changes = changes(&shelf(held), &digests(wanted), &digests(refused), LEASE);
            let words = |ids: &[ContainerId]| {
                ids.iter().map(ContainerId::as_str).collect::<Vec<_>>().join(" ")
            };
            let decided = (words(&changes.puts), words(&changes.deletes));
            assert_eq!(decided, (puts.into(), deletes.into()), "{held} -> {wanted}");
        }
    }

    #[test]
    fn what_others_did_is_found_without_reading_it() {
        let shelf = shelf("a=1 b=2 c=3 d=4");
        let seen = |revision: i64, lease: i64| Held { digest: None, lease, revision };
        let seen = Shelf::from([
            (id("a"), seen(1, LEASE)),
            (id("b"), seen(2, LEASE)),
            (id("c"), seen(1, 0)),
            (id("x"), seen(1, 0)),
        ]);
        let (found, strange) = found(&shelf, seen);
        let digests: Vec<_> = found.iter().map(|(id, held)| (id.as_str(), held.digest)).collect();
        assert_eq!(digests, [("a", Some(1)), ("b", None), ("c", None), ("x", None)]);
        assert_eq!(strange, BTreeSet::from(["b", "c", "x"].map(id)));
    }
}
