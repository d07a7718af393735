//! Comparison of two sorted maps key by key, in one walk without lookups.
//!
//! Pure.

use std::{cmp::Ordering, collections::BTreeMap, iter, sync::Arc};

/// Returns each key of either map, with its value in each map.
pub fn merge_join<'a, K: Ord, A, B>(
    one: &'a BTreeMap<K, A>,
    other: &'a BTreeMap<K, B>,
) -> impl Iterator<Item = (&'a K, Option<&'a A>, Option<&'a B>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let a = if order.is_le() { one.next() } else { None };
        let b = if order.is_ge() { other.next() } else { None };
        let key = a.map(|pair| pair.0).or(b.map(|pair| pair.0))?;
        Some((key, a.map(|pair| pair.1), b.map(|pair| pair.1)))
    })
}

/// Returns the keys whose values differ, or that only one of the maps contains.
pub fn diff_maps<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, Arc<V>>,
    after: &'a BTreeMap<K, Arc<V>>,
) -> impl Iterator<Item = (&'a K, Option<&'a Arc<V>>, Option<&'a Arc<V>>)> {
    merge_join(before, after).filter(|(_, before, after)| match (before, after) {
        (Some(before), Some(after)) => !Arc::ptr_eq(before, after) && before != after,
        _ => true,
    })
}

/// Makes `map`, which contains `before` and other keys, contain `after` in its place.
pub fn replace_part<K: Ord + Clone, V: PartialEq>(
    map: &mut BTreeMap<K, Arc<V>>,
    before: &BTreeMap<K, Arc<V>>,
    after: &BTreeMap<K, Arc<V>>,
) {
    for (key, _, after) in diff_maps(before, after) {
        match after {
            Some(value) => map.insert(key.clone(), Arc::clone(value)),
            None => map.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diff_maps_returns_added_removed_and_changed_keys() {
        let map = |text: &str| -> BTreeMap<char, Arc<char>> {
            let pairs = text.split_whitespace().map(|pair| pair.chars().collect::<Vec<_>>());
            pairs.map(|pair| (pair[0], Arc::new(pair[1]))).collect()
        };
        for (before, after, expected) in [
            ("", "", ""),
            ("a1", "", "a"),
            ("", "a1", "a"),
            ("a1 c1 d1", "a1 b1 c2 d1", "b c"),
            ("a1 b1", "b1 c1", "a c"),
        ] {
            let (before, after) = (map(before), map(after));
            let found: Vec<_> = diff_maps(&before, &after).map(|item| item.0.to_string()).collect();
            assert_eq!(found.join(" "), expected);
        }
    }
}
