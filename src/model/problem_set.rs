//! The current problems, by their subject.
//!
//! Pure. Unchanged problems share one value (`Arc`), so that copies and comparisons cost only pointers.

use crate::{
    model::problem::{Problem, ProblemSubject},
    support::map_diff::diff_maps,
};
use std::{collections::BTreeMap, iter, sync::Arc};

/// Sorted, without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProblemSet(Arc<BTreeMap<ProblemSubject, Arc<Vec<Problem>>>>);

impl ProblemSet {
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().flat_map(|problems| problems.iter())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.values().map(|problems| problems.len()).sum()
    }

    /// Replaces all problems of one subject. Copies nothing if they are unchanged.
    pub fn replace(&mut self, about: &ProblemSubject, mut problems: Vec<Problem>) {
        problems.sort();
        problems.dedup();
        let before = self.0.get(about).map(|problems| &***problems).unwrap_or_default();
        if before == problems {
            return;
        }
        let all = Arc::make_mut(&mut self.0);
        if problems.is_empty() {
            all.remove(about);
        } else {
            all.insert(about.clone(), Arc::new(problems));
        }
    }

    pub fn insert(&mut self, problem: Problem) {
        let about = problem.subject.clone();
        let before = self.0.get(&about).into_iter().flat_map(|problems| problems.iter().cloned());
        let problems = before.chain(iter::once(problem)).collect();
        self.replace(&about, problems);
    }

    /// Returns the problems that `other` does not contain.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Problem> {
        let is_same = Arc::ptr_eq(&self.0, &other.0);
        let abouts = (!is_same).then(|| diff_maps(&other.0, &self.0));
        abouts.into_iter().flatten().flat_map(|(_, other, own)| {
            let other = other.map(|problems| &***problems).unwrap_or_default();
            let own = own.map(|problems| &***problems).unwrap_or_default();
            own.iter().filter(|problem| other.binary_search(problem).is_err())
        })
    }

    /// Whether both share one value for the problems of this subject.
    pub fn shares(&self, other: &Self, about: &ProblemSubject) -> bool {
        let both = self.0.get(about).zip(other.0.get(about));
        both.is_some_and(|(own, other)| Arc::ptr_eq(own, other))
    }
}

impl Extend<Problem> for ProblemSet {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        problems.into_iter().for_each(|problem| self.insert(problem));
    }
}

impl FromIterator<Problem> for ProblemSet {
    fn from_iter<T: IntoIterator<Item = Problem>>(problems: T) -> Self {
        let mut set = Self::default();
        set.extend(problems);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{container::Transport, container_ref::ContainerRef, problem::Reason};

    fn about(name: char) -> ProblemSubject {
        ProblemSubject::Container(ContainerRef::new(&name.to_string(), "0123456789ab"))
    }

    /// `a1 b2`: container a has problem 1, b has 2.
    fn set(text: &str) -> ProblemSet {
        let problem = |word: &str| {
            let port = word[1..].parse().unwrap();
            let about = about(word.chars().next().unwrap());
            Problem {
                subject: about,
                label: None,
                reason: Reason::NotExposed { transport: Transport::Tcp, port },
            }
        };
        text.split_whitespace().map(problem).collect()
    }

    fn words<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
        let word = |problem: &Problem| match (&problem.subject, &problem.reason) {
            (ProblemSubject::Container(origin), Reason::NotExposed { port, .. }) => {
                format!("{}{port}", origin.name())
            }
            _ => panic!("{problem}"),
        };
        problems.map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn problems_in_any_order_are_sorted_and_counted_once() {
        for (given, expected) in [("", ""), ("b2 a3 a1 b2", "a1 a3 b2")] {
            let set = set(given);
            assert_eq!(words(set.iter()), expected);
            assert_eq!(set.len(), expected.split_whitespace().count());
            assert_eq!(set.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn difference_of_two_sets_is_what_one_has_alone() {
        for (one, other, expected) in [
            ("", "", ""),
            ("a1", "", "a1"),
            ("", "a1", ""),
            ("a1 a2 c1", "a2 b1 c1", "a1"),
            ("a1 b1", "b2", "a1 b1"),
        ] {
            assert_eq!(words(set(one).difference(&set(other))), expected, "{one} - {other}");
        }
    }

    #[test]
    fn replacing_the_problems_of_one_container_shares_those_of_others() {
        let before = set("a1 b1");
        for (problems, expected) in [("b2", "a1 b2"), ("", "a1"), ("b1", "a1 b1")] {
            let mut after = before.clone();
            after.replace(&about('b'), set(problems).iter().cloned().collect());
            assert_eq!(words(after.iter()), expected);
            assert!(after.shares(&before, &about('a')));
            assert_eq!(after.shares(&before, &about('b')), problems == "b1");
        }
    }
}
