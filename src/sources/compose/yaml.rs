//! YAML in the form that compose accepts: texts, lists and mappings, each with its line; merge keys are applied.
//!
//! Pure. The only file that uses saphyr.

use super::interpolate::{EmptyVariable, InterpolationError};
use anyhow::{Result, anyhow, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
    sync::Arc,
};

/// Limit of nesting: deeper than in real files; the functions that walk nodes are recursive.
const MAX_DEPTH: usize = 100;

/// Limit of all nodes that aliases expand to.
const MAX_COPIED_NODES: usize = 100_000;

/// A position in a file: `compose.yaml:12`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) content: Content,
    pub(crate) merge_mode: MergeMode,
    /// If this is a text: variables that were substituted by nothing.
    pub(crate) empty_variables: Vec<EmptyVariable>,
    /// If this is a text: why its variables were not substituted.
    pub(crate) error: Option<Box<InterpolationError>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Nothing,
    /// The text without quotes and folding, otherwise as written: Docker takes a label `1` or `yes` as a text.
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; each key once.
    Map(Vec<YamlEntry>),
}

/// How a value is merged with the one of an earlier file or document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeMode {
    Merge,
    /// `!override`
    Replace,
    /// `!reset`
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlEntry {
    pub(crate) key: String,
    /// Position of the key.
    pub(crate) position: Position,
    pub(crate) value: Node,
}

/// A parsed file: its documents, and the keys that occur twice in one mapping.
pub(crate) struct ParsedYaml {
    pub(crate) documents: Vec<Node>,
    pub(crate) duplicates: Vec<(String, Position)>,
}

/// Limit of lines that other YAML parsers accept, and this one only after `repair_line`.
const MAX_REPAIRS: usize = 64;

pub(crate) fn parse_yaml(file: &str, text: &str) -> Result<ParsedYaml> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_REPAIRS {
        match build_nodes(file, &text) {
            Err(YamlError::Scan(error)) => match repair_line(&text, &error) {
                Some(repaired) => text = Cow::Owned(repaired),
                None => return Err(syntax_error(file, &text, &error)),
            },
            Err(YamlError::Other(error)) => return Err(error),
            Ok(parsed) => return Ok(parsed),
        }
    }
    match build_nodes(file, &text) {
        Err(YamlError::Scan(error)) => Err(syntax_error(file, &text, &error)),
        Err(YamlError::Other(error)) => Err(error),
        Ok(parsed) => Ok(parsed),
    }
}

enum YamlError {
    Scan(ScanError),
    Other(anyhow::Error),
}

fn build_nodes(file: &str, text: &str) -> Result<ParsedYaml, YamlError> {
    let mut builder = NodeBuilder::new(file.into());
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(YamlError::Scan)?;
        builder.handle_event(event, span).map_err(YamlError::Other)?;
    }
    let NodeBuilder { documents, duplicates: twice, .. } = builder;
    Ok(ParsedYaml { documents, duplicates: twice })
}

/// Repairs a line that other parsers accept: the `]` of a list may be indented as little as the key whose value the
/// list is, so the line is moved to the right; and a tab may follow a colon.
fn repair_line(text: &str, error: &ScanError) -> Option<String> {
    let line = error.marker().line().checked_sub(1)?;
    let start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
    let (before, after) = text.split_at_checked(start)?;
    if error.info().starts_with("invalid indentation") {
        let right = " ".repeat(MAX_DEPTH);
        return (!after.starts_with(&right)).then(|| format!("{before}{right}{after}"));
    }
    let (this, after_line) = after.split_at(after.find('\n').unwrap_or(after.len()));
    this.contains(":\t").then(|| format!("{before}{}{after_line}", this.replace(":\t", ": ")))
}

/// Returns the parser's message, and a hint for the most frequent mistake.
fn syntax_error(file: &str, text: &str, error: &ScanError) -> anyhow::Error {
    let line = error.marker().line();
    let near = text.lines().skip(line.saturating_sub(2)).take(2);
    let tab = near.clone().any(|text| text.trim_start_matches(' ').starts_with('\t'));
    let more = if tab { "; YAML must be indented by spaces, but there is a tab" } else { "" };
    anyhow!("{file}:{line}: {}{more}", error.info())
}

/// Builds nodes from the parser's events.
struct NodeBuilder {
    file: Arc<str>,
    documents: Vec<Node>,
    duplicates: Vec<(String, Position)>,
    open: Vec<OpenNode>,
    anchors: BTreeMap<usize, Node>,
    copied: usize,
}

/// A list or a mapping that is not closed yet.
struct OpenNode {
    position: Position,
    anchor: usize,
    merge_mode: MergeMode,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    /// `keys`: the index of each key in `entries`.
    Map {
        entries: Vec<YamlEntry>,
        keys: BTreeMap<String, usize>,
        key: Option<(String, Position)>,
    },
}

impl NodeBuilder {
    fn new(file: Arc<str>) -> Self {
        let (documents, duplicates, open, anchors) = Default::default();
        Self { file, documents, duplicates, open, anchors, copied: 0 }
    }

    fn handle_event(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let position = Position { file: Arc::clone(&self.file), line: span.start.line() };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let content = match (text.as_ref(), style) {
                    ("" | "~" | "null" | "Null" | "NULL", ScalarStyle::Plain) => Content::Nothing,
                    (text, _) => Content::Text(text.to_owned()),
                };
                let merge_mode = parse_merge_tag(tag.as_deref().map(|tag| tag.suffix.as_str()));
                self.close_node(Node { merge_mode, ..Node::new(position, content) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let merge_mode = parse_merge_tag(tag.as_deref().map(|tag| tag.suffix.as_str()));
                self.open_node(OpenNode {
                    position,
                    anchor,
                    merge_mode,
                    content: OpenContent::List(Vec::new()),
                })
            }
            Event::MappingStart(anchor, tag) => {
                let merge_mode = parse_merge_tag(tag.as_deref().map(|tag| tag.suffix.as_str()));
                let (entries, keys, key) = Default::default();
                let content = OpenContent::Map { entries, keys, key };
                self.open_node(OpenNode { position, anchor, merge_mode, content })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(OpenNode { position: place, anchor, merge_mode: over, content: inside }) =
                    self.open.pop()
                else {
                    return Ok(());
                };
                let content = match inside {
                    OpenContent::List(list) => Content::List(list),
                    OpenContent::Map { entries, .. } => Content::Map(apply_merge_keys(entries)),
                };
                self.close_node(Node { merge_mode: over, ..Node::new(place, content) }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    bail!("{position}: an alias refers to itself");
                };
                self.copied += node.count_nodes();
                if MAX_COPIED_NODES < self.copied {
                    bail!("{position}: aliases expand to more than {MAX_COPIED_NODES} nodes");
                }
                let node = node.clone();
                self.close_node(Node { position, ..node }, 0)
            }
            _ => Ok(()),
        }
    }

    fn open_node(&mut self, open: OpenNode) -> Result<()> {
        if MAX_DEPTH < self.open.len() {
            bail!("{}: nested more than {MAX_DEPTH} levels deep", open.position);
        }
        self.open.push(open);
        Ok(())
    }

    fn close_node(&mut self, node: Node, anchor: usize) -> Result<()> {
        if 0 < anchor {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.content {
            OpenContent::List(list) => list.push(node),
            OpenContent::Map { entries, keys, key: pending_key } => {
                let Some((key, position)) = pending_key.take() else {
                    *pending_key = Some((node.to_key()?, node.position));
                    return Ok(());
                };
                let at = entries.len();
                let entry = YamlEntry { key: key.clone(), position: position.clone(), value: node };
                // All merge keys apply; of any other key that occurs twice, the last one.
                match keys.entry(key) {
                    btree_map::Entry::Occupied(occupied) if occupied.key() != MERGE_KEY => {
                        self.duplicates.push((occupied.key().clone(), position));
                        entries[*occupied.get()] = entry;
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

fn parse_merge_tag(tag: Option<&str>) -> MergeMode {
    match tag {
        Some("reset") => MergeMode::Remove,
        Some("override") => MergeMode::Replace,
        _ => MergeMode::Merge,
    }
}

const MERGE_KEY: &str = "<<";

/// Applies `<<: *base` and `<<: [*a, *b]`: adds the keys that the mapping lacks; the earlier of several sources wins.
fn apply_merge_keys(entries: Vec<YamlEntry>) -> Vec<YamlEntry> {
    if entries.iter().all(|entry| entry.key != MERGE_KEY) {
        return entries;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.key == MERGE_KEY);
    let mut keys: BTreeSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
    for merge in merges {
        let sources = match merge.value.content {
            Content::List(list) => list,
            _ => vec![merge.value],
        };
        for source in sources {
            let Content::Map(entries) = source.content else { continue };
            own.extend(entries.into_iter().filter(|entry| keys.insert(entry.key.clone())));
        }
    }
    own
}

/// `KEY=VALUE` of a list, or `KEY: VALUE` of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair<'a> {
    pub(crate) key: &'a str,
    pub(crate) position: &'a Position,
    pub(crate) value: PairValue<'a>,
    pub(crate) empty_variables: &'a [EmptyVariable],
    pub(crate) error: Option<&'a InterpolationError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairValue<'a> {
    Nothing,
    Text(&'a str),
    /// A list or a mapping where a text is expected.
    Node(&'a Node),
}

impl<'a> PairValue<'a> {
    /// Returns `None` if the value is absent or not a text.
    pub(crate) fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// An entry of a list of pairs that is not a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InvalidPair<'a> {
    /// `- key: value`
    Map(&'a YamlEntry),
    List(&'a Position),
}

impl Node {
    pub(crate) fn new(position: Position, content: Content) -> Self {
        Self {
            position,
            content,
            merge_mode: MergeMode::Merge,
            empty_variables: Vec::new(),
            error: None,
        }
    }

    /// Returns the number of nodes, including this one.
    pub(crate) fn count_nodes(&self) -> usize {
        1 + match &self.content {
            Content::List(list) => list.iter().map(Self::count_nodes).sum::<usize>(),
            Content::Map(entries) => {
                entries.iter().map(|entry| 1 + entry.value.count_nodes()).sum()
            }
            _ => 0,
        }
    }

    fn to_key(&self) -> Result<String> {
        match &self.content {
            Content::Text(text) => Ok(text.clone()),
            Content::Nothing => Ok(String::new()),
            _ => bail!("{}: a key must be a text", self.position),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(entries) = &self.content else { return None };
        let value = entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        value.filter(|value| value.content != Content::Nothing)
    }

    /// Returns the value of a key of a mapping.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Content::Map(entries) = &mut self.content else { return None };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Whether this is a mapping with this key, even if its value is empty.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.entries().iter().any(|entry| entry.key == key)
    }

    /// Returns the value of this key if it is a text.
    pub(crate) fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::as_text)
    }

    /// Returns the entries of a mapping; none for any other node.
    pub(crate) fn entries(&self) -> &[YamlEntry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the members of a list; a text or a mapping alone counts as a list of one.
    pub(crate) fn as_list(&self) -> &[Node] {
        match &self.content {
            Content::List(list) => list,
            Content::Nothing => &[],
            Content::Text(_) | Content::Map(_) => std::slice::from_ref(self),
        }
    }

    /// Returns the pairs (`KEY=VALUE` in a list, `KEY: VALUE` in a mapping), and the entries that are not pairs.
    pub(crate) fn to_pairs(&self) -> (Vec<Pair<'_>>, Vec<InvalidPair<'_>>) {
        if let Content::Map(entries) = &self.content {
            return (entries.iter().map(YamlEntry::to_pair).collect(), Vec::new());
        }
        let (mut pairs, mut others) = (Vec::new(), Vec::new());
        for node in self.as_list() {
            match &node.content {
                Content::Nothing => {}
                Content::Text(text) => pairs.push(node.to_pair(text)),
                Content::Map(entries) => others.extend(entries.iter().map(InvalidPair::Map)),
                Content::List(_) => others.push(InvalidPair::List(&node.position)),
            }
        }
        (pairs, others)
    }

    fn to_pair<'a>(&'a self, text: &'a str) -> Pair<'a> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, PairValue::Text(value)),
            None => (text, PairValue::Nothing),
        };
        let (position, empty_variables, error) =
            (&self.position, &self.empty_variables, self.error.as_deref());
        Pair { key, position, value, empty_variables, error }
    }

    /// Visits every text except keys, and except those below the keys `kept`.
    pub(crate) fn visit_texts_outside(
        &mut self,
        kept: &[&str],
        change: &mut impl FnMut(&mut Node) -> Result<()>,
    ) -> Result<()> {
        match &mut self.content {
            Content::Nothing => {}
            Content::Text(_) => change(self)?,
            Content::List(list) => {
                list.iter_mut().try_for_each(|node| node.visit_texts_outside(kept, change))?;
            }
            Content::Map(entries) => {
                let mut visited =
                    entries.iter_mut().filter(|entry| !kept.contains(&entry.key.as_str()));
                visited.try_for_each(|entry| entry.value.visit_texts_outside(kept, change))?;
            }
        }
        Ok(())
    }

    /// Collects the errors of substitution anywhere in this node.
    pub(crate) fn collect_errors<'a>(
        &'a self,
        errors: &mut Vec<(&'a Position, &'a InterpolationError)>,
    ) {
        match &self.content {
            Content::Nothing => {}
            Content::Text(_) => {
                errors.extend(self.error.as_deref().map(|error| (&self.position, error)));
            }
            Content::List(list) => list.iter().for_each(|node| node.collect_errors(errors)),
            Content::Map(entries) => {
                for entry in entries {
                    entry.value.collect_errors(errors);
                }
            }
        }
    }
}

impl YamlEntry {
    fn to_pair(&self) -> Pair<'_> {
        let Node { content, empty_variables: blanks, error: mistake, .. } = &self.value;
        let value = match content {
            Content::Nothing => PairValue::Nothing,
            Content::Text(text) => PairValue::Text(text),
            _ => PairValue::Node(&self.value),
        };
        let error = mistake.as_deref();
        Pair { key: &self.key, position: &self.position, value, empty_variables: blanks, error }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
