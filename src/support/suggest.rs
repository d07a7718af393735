//! Suggestions for "did you mean": one measure of similarity for labels, options, names and hosts.
//!
//! Pure.

/// Words with more slips than this are not considered similar.
const MAX_SLIPS: usize = 3;
/// A shorter word is the beginning of too many candidates.
const MIN_BEGINNING: usize = 3;

/// Returns the candidate that was most likely meant: the nearest one, or else the only one that begins with the word.
///
/// A prefix that all candidates share makes them look alike. Remove it from the word and the candidates first.
pub fn suggest<T: AsRef<str> + Copy>(
    word: &str,
    candidates: impl IntoIterator<Item = T>,
) -> Option<T> {
    let candidates: Vec<_> = candidates.into_iter().collect();
    find_nearest(word, candidates.iter().copied()).or_else(|| find_longer(word, &candidates))
}

/// Returns the candidate with the fewest slips. For words that may not be meant for this program at all.
pub fn find_nearest<T: AsRef<str>>(
    word: &str,
    candidates: impl IntoIterator<Item = T>,
) -> Option<T> {
    let near = candidates.into_iter().filter_map(|candidate| {
        count_slips(word, candidate.as_ref()).map(|slips| (slips, candidate))
    });
    near.min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

fn find_longer<T: AsRef<str> + Copy>(word: &str, candidates: &[T]) -> Option<T> {
    let mut longer = candidates.iter().filter(|text| text.as_ref().starts_with(word));
    let only = longer.next().filter(|_| MIN_BEGINNING <= word.chars().count());
    only.filter(|_| longer.next().is_none()).copied()
}

/// Returns how many slips lead from one word to the other: an added, missing, different or swapped character. `None`
/// if the words have little in common: more than three slips, or at least half as many slips as the longer word has
/// characters.
pub fn count_slips(word: &str, candidate: &str) -> Option<usize> {
    let length = word.chars().count().max(candidate.chars().count());
    // The time and memory of the distance grow with the product of both lengths, and a label may have a megabyte.
    if MAX_SLIPS < word.chars().count().abs_diff(candidate.chars().count()) {
        return None;
    }
    let slips = strsim::osa_distance(word, candidate);
    (slips <= MAX_SLIPS && 2 * slips < length).then_some(slips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_is_suggested_if_it_is_near() {
        let candidates = ["timeout", "retry", "weight", "check", "web-1"];
        for (word, expected) in [
            ("timeout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("timeuot_", Some("timeout")),
            ("wieght", Some("weight")),
            ("retries", Some("retry")),
            ("web", Some("web-1")),
            ("rt", None),
            ("chec", Some("check")),
            ("weighting-of-it", None),
            ("", None),
            ("maxconn", None),
        ] {
            assert_eq!(suggest(word, candidates), expected, "{word}");
        }
        let classes = ["exec.ScriptHandler", "lb.HAProxyHandler", "lb.HAProxyHandlers"];
        assert_eq!(suggest("exec.Script", classes), Some("exec.ScriptHandler"));
        assert_eq!(suggest("lb.HA", classes), None);
        assert_eq!(suggest(&"x".repeat(1 << 20), ["x", &"x".repeat(1 << 19)]), None);
    }
}
