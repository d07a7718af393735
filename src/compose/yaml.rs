//! YAML as compose takes it: texts, lists and mappings, each with its line; merge keys are merged.
//!
//! Pure. The only file that names saphyr.

use super::interpolate::{Blank, Mistake};
use anyhow::{Result, anyhow, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
    sync::Arc,
};

/// More than anybody nests; what follows nodes calls itself.
const DEEPEST: usize = 100;

/// Nodes that aliases may stand for, in all.
const MOST_COPIED: usize = 100_000;

/// Where something stands: `compose.yaml:12`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
    pub(super) over: Over,
    /// Of a text: variables that left nothing in it.
    pub(super) blanks: Vec<Blank>,
    /// Of a text: why it is as it was written.
    pub(super) mistake: Option<Box<Mistake>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    /// As it is written, quotes and folds undone: a label `1` or `yes` is a text to Docker.
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, each key once.
    Map(Vec<Entry>),
}

/// What becomes of what an earlier file or document says in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Merge,
    /// `!override`
    Replace,
    /// `!reset`
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key.
    pub(super) place: Place,
    pub(super) value: Node,
}

/// A file as it stands: its documents, and the keys that stand in one mapping twice.
pub(super) struct Parsed {
    pub(super) documents: Vec<Node>,
    pub(super) twice: Vec<(String, Place)>,
}

/// Lines that other parsers of YAML take, and this one when they are moved.
const MOST_MOVED: usize = 64;

pub(super) fn parse(file: &str, text: &str) -> Result<Parsed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut text = Cow::Borrowed(text);
    for _ in 0..MOST_MOVED {
        match build(file, &text) {
            Err(Fault::Scan(error)) => match moved(&text, &error) {
                Some(moved) => text = Cow::Owned(moved),
                None => return Err(mistake(file, &text, &error)),
            },
            Err(Fault::Other(error)) => return Err(error),
            Ok(parsed) => return Ok(parsed),
        }
    }
    match build(file, &text) {
        Err(Fault::Scan(error)) => Err(mistake(file, &text, &error)),
        Err(Fault::Other(error)) => Err(error),
        Ok(parsed) => Ok(parsed),
    }
}

enum Fault {
    Scan(ScanError),
    Other(anyhow::Error),
}

fn build(file: &str, text: &str) -> Result<Parsed, Fault> {
    let mut builder = Builder::new(file.into());
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(Fault::Scan)?;
        builder.take(event, span).map_err(Fault::Other)?;
    }
    let Builder { documents, twice, .. } = builder;
    Ok(Parsed { documents, twice })
}

/// `]` of a list in brackets may stand as far left as what it is the value of: the line is moved to the right. And a tab
/// may stand after a colon.
fn moved(text: &str, error: &ScanError) -> Option<String> {
    let line = error.marker().line().checked_sub(1)?;
    let start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
    let (before, after) = text.split_at_checked(start)?;
    if error.info().starts_with("invalid indentation") {
        let right = " ".repeat(DEEPEST);
        return (!after.starts_with(&right)).then(|| format!("{before}{right}{after}"));
    }
    let (this, rest) = after.split_at(after.find('\n').unwrap_or(after.len()));
    this.contains(":\t").then(|| format!("{before}{}{rest}", this.replace(":\t", ": ")))
}

/// The parser's sentence, and the way out of what people do most.
fn mistake(file: &str, text: &str, error: &ScanError) -> anyhow::Error {
    let line = error.marker().line();
    let near = text.lines().skip(line.saturating_sub(2)).take(2);
    let tab = near.clone().any(|it| it.trim_start_matches(' ').starts_with('\t'));
    let more = if tab { "; YAML is indented by blanks, and a tab stands there" } else { "" };
    anyhow!("{file}:{line}: {}{more}", error.info())
}

/// Makes nodes of what the parser tells.
struct Builder {
    file: Arc<str>,
    documents: Vec<Node>,
    twice: Vec<(String, Place)>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    copied: usize,
}

/// A list or a mapping that has not ended.
struct Open {
    place: Place,
    anchor: usize,
    over: Over,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    /// `keys`: where in `entries` each stands.
    Map {
        entries: Vec<Entry>,
        keys: BTreeMap<String, usize>,
        key: Option<(String, Place)>,
    },
}

impl Builder {
    fn new(file: Arc<str>) -> Self {
        let (documents, twice, open, anchors) = Default::default();
        Self { file, documents, twice, open, anchors, copied: 0 }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let place = Place { file: Arc::clone(&self.file), line: span.start.line() };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let content = match (text.as_ref(), style) {
                    ("" | "~" | "null" | "Null" | "NULL", ScalarStyle::Plain) => Content::Nothing,
                    (text, _) => Content::Text(text.to_owned()),
                };
                let over = over(tag.as_deref().map(|it| it.suffix.as_str()));
                self.close(Node { over, ..Node::new(place, content) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let over = over(tag.as_deref().map(|it| it.suffix.as_str()));
                self.open(Open { place, anchor, over, inside: Inside::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                let over = over(tag.as_deref().map(|it| it.suffix.as_str()));
                let (entries, keys, key) = Default::default();
                let inside = Inside::Map { entries, keys, key };
                self.open(Open { place, anchor, over, inside })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { place, anchor, over, inside }) = self.open.pop() else {
                    return Ok(());
                };
                let content = match inside {
                    Inside::List(list) => Content::List(list),
                    Inside::Map { entries, .. } => Content::Map(merged(entries)),
                };
                self.close(Node { over, ..Node::new(place, content) }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    bail!("{place}: an alias stands within what it names");
                };
                self.copied += node.size();
                if MOST_COPIED < self.copied {
                    bail!("{place}: aliases stand for more than {MOST_COPIED} nodes");
                }
                let node = node.clone();
                self.close(Node { place, ..node }, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open) -> Result<()> {
        if DEEPEST < self.open.len() {
            bail!("{}: it is nested more than {DEEPEST} deep", open.place);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, node: Node, anchor: usize) -> Result<()> {
        if 0 < anchor {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.inside {
            Inside::List(list) => list.push(node),
            Inside::Map { entries, keys, key: begun } => {
                let Some((key, place)) = begun.take() else {
                    *begun = Some((node.key()?, node.place));
                    return Ok(());
                };
                let at = entries.len();
                let entry = Entry { key: key.clone(), place: place.clone(), value: node };
                // All merge keys count, of other two the last one.
                match keys.entry(key) {
                    btree_map::Entry::Occupied(known) if known.key() != MERGE => {
                        self.twice.push((known.key().clone(), place));
                        entries[*known.get()] = entry;
                        return Ok(());
                    }
                    btree_map::Entry::Vacant(new) => drop(new.insert(at)),
                    btree_map::Entry::Occupied(_) => {}
                }
                entries.push(entry);
            }
        }
        Ok(())
    }
}

fn over(tag: Option<&str>) -> Over {
    match tag {
        Some("reset") => Over::Remove,
        Some("override") => Over::Replace,
        _ => Over::Merge,
    }
}

const MERGE: &str = "<<";

/// `<<: *base` and `<<: [*a, *b]`: what the mapping does not say itself, the earlier of several first.
fn merged(entries: Vec<Entry>) -> Vec<Entry> {
    if entries.iter().all(|it| it.key != MERGE) {
        return entries;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|it| it.key == MERGE);
    let mut keys: BTreeSet<String> = own.iter().map(|it| it.key.clone()).collect();
    for merge in merges {
        let sources = match merge.value.content {
            Content::List(list) => list,
            _ => vec![merge.value],
        };
        for source in sources {
            let Content::Map(entries) = source.content else { continue };
            own.extend(entries.into_iter().filter(|it| keys.insert(it.key.clone())));
        }
    }
    own
}

/// `KEY=VALUE` of a list, or `KEY: VALUE` of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) key: &'a str,
    pub(super) place: &'a Place,
    pub(super) value: PairValue<'a>,
    pub(super) blanks: &'a [Blank],
    pub(super) mistake: Option<&'a Mistake>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PairValue<'a> {
    Nothing,
    Text(&'a str),
    /// A list or a mapping, where a text is to be.
    Node(&'a Node),
}

impl<'a> PairValue<'a> {
    /// `None` where there is none, or it is no text.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What stands in a list of pairs and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoPair<'a> {
    /// `- key: value`
    Map(&'a Entry),
    List(&'a Place),
}

impl Node {
    pub(super) fn new(place: Place, content: Content) -> Self {
        Self { place, content, over: Over::Merge, blanks: Vec::new(), mistake: None }
    }

    /// How many nodes it is, itself among them.
    pub(super) fn size(&self) -> usize {
        1 + match &self.content {
            Content::List(list) => list.iter().map(Self::size).sum::<usize>(),
            Content::Map(entries) => entries.iter().map(|it| 1 + it.value.size()).sum(),
            _ => 0,
        }
    }

    fn key(&self) -> Result<String> {
        match &self.content {
            Content::Text(text) => Ok(text.clone()),
            Content::Nothing => Ok(String::new()),
            _ => bail!("{}: a key is a text", self.place),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(entries) = &self.content else { return None };
        let value = entries.iter().find(|it| it.key == key).map(|it| &it.value);
        value.filter(|value| value.content != Content::Nothing)
    }

    /// Of a mapping.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Content::Map(entries) = &mut self.content else { return None };
        entries.iter_mut().find(|it| it.key == key).map(|it| &mut it.value)
    }

    /// Whether it is a mapping with this key, whatever the value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries().iter().any(|it| it.key == key)
    }

    /// The text of this key, where there is one and it is a text.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::text)
    }

    /// Of a mapping; nothing of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members of a list; a text or a mapping alone is a list of one.
    pub(super) fn list(&self) -> &[Node] {
        match &self.content {
            Content::List(list) => list,
            Content::Nothing => &[],
            Content::Text(_) | Content::Map(_) => std::slice::from_ref(self),
        }
    }

    /// `KEY=VALUE` in a list and `KEY: VALUE` in a mapping alike, and what is neither.
    pub(super) fn pairs(&self) -> (Vec<Pair<'_>>, Vec<NoPair<'_>>) {
        if let Content::Map(entries) = &self.content {
            return (entries.iter().map(Entry::pair).collect(), Vec::new());
        }
        let (mut pairs, mut others) = (Vec::new(), Vec::new());
        for node in self.list() {
            match &node.content {
                Content::Nothing => {}
                Content::Text(text) => pairs.push(node.pair(text)),
                Content::Map(entries) => others.extend(entries.iter().map(NoPair::Map)),
                Content::List(_) => others.push(NoPair::List(&node.place)),
            }
        }
        (pairs, others)
    }

    fn pair<'a>(&'a self, text: &'a str) -> Pair<'a> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, PairValue::Text(value)),
            None => (text, PairValue::Nothing),
        };
        let (place, blanks, mistake) = (&self.place, &self.blanks, self.mistake.as_deref());
        Pair { key, place, value, blanks, mistake }
    }

    /// Every text but keys.
    pub(super) fn texts(&mut self, change: &mut impl FnMut(&mut Node) -> Result<()>) -> Result<()> {
        match &mut self.content {
            Content::Nothing => {}
            Content::Text(_) => change(self)?,
            Content::List(list) => list.iter_mut().try_for_each(|it| it.texts(change))?,
            Content::Map(entries) => {
                entries.iter_mut().try_for_each(|it| it.value.texts(change))?;
            }
        }
        Ok(())
    }

    /// What could not be filled in, anywhere in it.
    pub(super) fn mistakes<'a>(&'a self, told: &mut Vec<(&'a Place, &'a Mistake)>) {
        match &self.content {
            Content::Nothing => {}
            Content::Text(_) => told.extend(self.mistake.as_deref().map(|it| (&self.place, it))),
            Content::List(list) => list.iter().for_each(|it| it.mistakes(told)),
            Content::Map(entries) => entries.iter().for_each(|it| it.value.mistakes(told)),
        }
    }
}

impl Entry {
    fn pair(&self) -> Pair<'_> {
        let Node { content, blanks, mistake, .. } = &self.value;
        let value = match content {
            Content::Nothing => PairValue::Nothing,
            Content::Text(text) => PairValue::Text(text),
            _ => PairValue::Node(&self.value),
        };
        let mistake = mistake.as_deref();
        Pair { key: &self.key, place: &self.place, value, blanks, mistake }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
