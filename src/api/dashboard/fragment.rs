//! The page as fragments, and the difference between two versions of it.
//!
//! Pure. A fragment is one element of the page. Its numbers change all the time, so they are kept apart from the
//! rest: a browser that receives new numbers keeps the elements it has.

use crate::haproxy::name;
use serde::Serialize;
use std::collections::BTreeMap;

/// An element of the page, identified by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub id: String,
    /// A hash of the HTML without the numbers.
    pub version: String,
    pub html: String,
    /// The texts of the elements with `data-n`, in order.
    pub numbers: Vec<String>,
}

/// All parts of a page that can change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragments {
    /// Fragments that always exist.
    pub fixed: Vec<Fragment>,
    /// Fragments that appear and disappear.
    pub groups: Vec<Fragment>,
}

/// What is sent to a browser, as JSON.
#[derive(Debug, Serialize)]
pub struct PageUpdate<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PagePart<'a>>,
    /// The ids of all groups in order, if they are not the same as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<&'a str>>,
    /// By the id of the fragment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<&'a str, &'a [String]>,
}

#[derive(Debug, Serialize)]
pub struct PagePart<'a> {
    pub id: &'a str,
    pub version: &'a str,
    pub html: &'a str,
}

/// Marks an element whose text is a number. The `>` is part of the mark, because no escaped text contains it.
const NUMBER_MARK: &str = " data-n>";
/// Where the version is inserted: the first attribute of a fragment.
const VERSION_MARK: &str = " data-v=\"\"";

impl Fragment {
    pub fn new(id: impl Into<String>, html: &str) -> Self {
        let mut pieces = html.split(NUMBER_MARK);
        let mut bare = pieces.next().unwrap_or_default().to_owned();
        let mut numbers = Vec::new();
        for piece in pieces {
            let (number, tail) = piece.split_at(piece.find('<').unwrap_or(piece.len()));
            numbers.push(number.to_owned());
            bare.push_str(NUMBER_MARK);
            bare.push_str(tail);
        }
        let version = format!("{:016x}", name::hash(&bare));
        let html = html.replacen(VERSION_MARK, &format!(" data-v=\"{version}\""), 1);
        Self { id: id.into(), version, html, numbers }
    }
}

impl Fragments {
    pub fn fragments(&self) -> impl Iterator<Item = &Fragment> {
        self.fixed.iter().chain(&self.groups)
    }

    fn group_ids(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|fragment| fragment.id.as_str())
    }

    /// Returns the update for a browser that shows `before`; `None` if nothing changed.
    pub fn diff_from<'a>(&'a self, before: &Self) -> Option<PageUpdate<'a>> {
        let previous: BTreeMap<_, _> =
            before.fragments().map(|fragment| (&fragment.id, fragment)).collect();
        let mut update = PageUpdate { parts: Vec::new(), order: None, numbers: BTreeMap::new() };
        for fragment in self.fragments() {
            let unchanged =
                previous.get(&fragment.id).filter(|before| before.version == fragment.version);
            if unchanged.is_none() {
                update.parts.push(PagePart::from_fragment(fragment));
            }
            if unchanged.is_none_or(|before| before.numbers != fragment.numbers) {
                update.numbers.insert(&fragment.id, &fragment.numbers);
            }
        }
        if !self.group_ids().eq(before.group_ids()) {
            update.order = Some(self.group_ids().collect());
        }
        (!update.numbers.is_empty() || update.order.is_some() || !update.parts.is_empty())
            .then_some(update)
    }

    /// Returns the update for a browser whose state is unknown.
    pub fn full_update(&self) -> PageUpdate<'_> {
        PageUpdate {
            parts: self.fragments().map(PagePart::from_fragment).collect(),
            order: Some(self.group_ids().collect()),
            numbers: self
                .fragments()
                .map(|fragment| (fragment.id.as_str(), &fragment.numbers[..]))
                .collect(),
        }
    }
}

impl<'a> PagePart<'a> {
    fn from_fragment(Fragment { id, version, html, .. }: &'a Fragment) -> Self {
        Self { id, version, html }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments_of(groups: &[(&str, &str)]) -> Fragments {
        let fragment = |(id, html): &(&str, &str)| Fragment::new(*id, html);
        Fragments { fixed: Vec::new(), groups: groups.iter().map(fragment).collect() }
    }

    fn update_json(before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        let after = fragments_of(after);
        let update = after.diff_from(&fragments_of(before));
        let text = update.map(|update| serde_json::to_string(&update).unwrap());
        let versions = after.groups.iter().map(|fragment| fragment.version.as_str());
        versions.fold(text.unwrap_or_default(), |text, version| text.replace(version, "V"))
    }

    #[test]
    fn update_contains_only_differences() {
        let a = ("a", "<p data-v=\"\">a <b data-n>1</b>, <b data-n>2</b></p>");
        let number = ("a", "<p data-v=\"\">a <b data-n>1</b>, <b data-n>3</b></p>");
        let text = ("a", "<p data-v=\"\">A <b data-n>1</b></p>");
        let b = ("b", "<p data-v=\"\">b</p>");
        for (before, after, expected) in [
            (&[a, b][..], &[a, b][..], ""),
            (&[a, b], &[number, b], r#"{"numbers":{"a":["1","3"]}}"#),
            (
                &[a],
                &[text],
                r#"{"parts":[{"id":"a","version":"V","html":"<p data-v=\"V\">A <b data-n>1</b></p>"}],"numbers":{"a":["1"]}}"#,
            ),
            (&[a, b], &[a], r#"{"order":["a"]}"#),
            (
                &[a],
                &[a, b],
                r#"{"parts":[{"id":"b","version":"V","html":"<p data-v=\"V\">b</p>"}],"order":["a","b"],"numbers":{"b":[]}}"#,
            ),
        ] {
            assert_eq!(update_json(before, after), expected);
        }
    }

    #[test]
    fn escaped_number_mark_in_text_is_no_number() {
        let html = "<p data-v=\"\">x data-n&#62;7 <b data-n>1</b></p>";
        assert_eq!(Fragment::new("a", html).numbers, ["1"]);
    }
}
