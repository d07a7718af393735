//! The page in pieces, and what is different between two of them.
//!
//! Pure. A piece is one element of the page. Its numbers, which change all the time, are told apart from
//! the rest of it: a browser that is told a number keeps all that it has.

use crate::haproxy::name;
use serde::Serialize;
use std::collections::BTreeMap;

/// An element of the page, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub id: String,
    /// Stands for all of it but its numbers.
    pub version: String,
    pub html: String,
    /// The texts of its elements that say `data-n`, in their order.
    pub numbers: Vec<String>,
}

/// All that a page shows and that changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Painting {
    /// These are always there.
    pub fixed: Vec<Fragment>,
    /// These come and go.
    pub groups: Vec<Fragment>,
}

/// What a browser is told, as JSON.
#[derive(Debug, Serialize)]
pub struct Update<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
    /// The groups that there are, where others were there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<&'a str>>,
    /// By the fragment's id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<&'a str, &'a [String]>,
}

#[derive(Debug, Serialize)]
pub struct Part<'a> {
    pub id: &'a str,
    pub version: &'a str,
    pub html: &'a str,
}

/// Marks an element whose text is a number; `>` follows, which no text of others has in it.
const NUMBER: &str = " data-n>";
/// Where a fragment says its version: first of all attributes.
const VERSION: &str = " data-v=\"\"";

impl Fragment {
    pub fn new(id: impl Into<String>, html: &str) -> Self {
        let mut pieces = html.split(NUMBER);
        let mut bare = pieces.next().unwrap_or_default().to_owned();
        let mut numbers = Vec::new();
        for piece in pieces {
            let (number, rest) = piece.split_at(piece.find('<').unwrap_or(piece.len()));
            numbers.push(number.to_owned());
            bare.push_str(NUMBER);
            bare.push_str(rest);
        }
        let version = format!("{:016x}", name::hash(&bare));
        let html = html.replacen(VERSION, &format!(" data-v=\"{version}\""), 1);
        Self { id: id.into(), version, html, numbers }
    }
}

impl Painting {
    pub fn fragments(&self) -> impl Iterator<Item = &Fragment> {
        self.fixed.iter().chain(&self.groups)
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|it| it.id.as_str())
    }

    /// What somebody is to be told who has seen `before`; nothing is as long as nothing changed.
    pub fn update<'a>(&'a self, before: &Self) -> Option<Update<'a>> {
        let known: BTreeMap<_, _> = before.fragments().map(|it| (&it.id, it)).collect();
        let mut update = Update { parts: Vec::new(), order: None, numbers: BTreeMap::new() };
        for it in self.fragments() {
            let same = known.get(&it.id).filter(|before| before.version == it.version);
            if same.is_none() {
                update.parts.push(Part::of(it));
            }
            if same.is_none_or(|before| before.numbers != it.numbers) {
                update.numbers.insert(&it.id, &it.numbers);
            }
        }
        if !self.ids().eq(before.ids()) {
            update.order = Some(self.ids().collect());
        }
        (!update.numbers.is_empty() || update.order.is_some() || !update.parts.is_empty())
            .then_some(update)
    }

    /// The same for somebody who may have seen anything.
    pub fn whole(&self) -> Update<'_> {
        Update {
            parts: self.fragments().map(Part::of).collect(),
            order: Some(self.ids().collect()),
            numbers: self.fragments().map(|it| (it.id.as_str(), &it.numbers[..])).collect(),
        }
    }
}

impl<'a> Part<'a> {
    fn of(Fragment { id, version, html, .. }: &'a Fragment) -> Self {
        Self { id, version, html }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painting(groups: &[(&str, &str)]) -> Painting {
        let fragment = |(id, html): &(&str, &str)| Fragment::new(*id, html);
        Painting { fixed: Vec::new(), groups: groups.iter().map(fragment).collect() }
    }

    fn told(before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        let after = painting(after);
        let update = after.update(&painting(before));
        let text = update.map(|it| serde_json::to_string(&it).unwrap());
        let versions = after.groups.iter().map(|it| it.version.as_str());
        versions.fold(text.unwrap_or_default(), |text, version| text.replace(version, "V"))
    }

    #[test]
    fn only_what_is_different_is_told() {
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
            assert_eq!(told(before, after), expected);
        }
    }

    #[test]
    fn text_of_others_is_no_number() {
        let html = "<p data-v=\"\">x data-n&#62;7 <b data-n>1</b></p>";
        assert_eq!(Fragment::new("a", html).numbers, ["1"]);
    }
}
