//! YAML as compose takes it: texts, lists and mappings, each with its line; merge keys are merged.
//!
//! Pure. The only file that names saphyr.

use anyhow::{Result, anyhow, bail};
use saphyr::{MarkedYaml, ScalarStyle, YamlData, YamlLoader};
use saphyr_parser::Parser;
use std::{fmt, sync::Arc};

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key.
    pub(super) place: Place,
    pub(super) value: Node,
}

pub(super) fn parse(file: &str, text: &str) -> Result<Node> {
    let mut loader = YamlLoader::<'_, MarkedYaml<'_>>::default();
    // As written: 1e3 and 0x10 and yes are texts in a label.
    loader.early_parse(false);
    let mut parser = Parser::new_from_str(text);
    let parsed = parser.load(&mut loader, true);
    if let Some(error) = parsed.err().or_else(|| loader.error().cloned()) {
        return Err(anyhow!("{file}:{}: {}", error.marker().line(), error.info()));
    }
    let file: Arc<str> = file.into();
    match &loader.into_documents()[..] {
        [] => bail!("{file}: there is nothing in it"),
        [document] => node(document, &file),
        _ => bail!("{file}: it has more than one document; give it one"),
    }
}

fn node(said: &MarkedYaml<'_>, file: &Arc<str>) -> Result<Node> {
    let place = Place { file: Arc::clone(file), line: said.span.start.line() };
    let content = match &said.data {
        YamlData::Tagged(tag, inner) => {
            single(&tag.suffix, &place)?;
            node(inner, file)?.content
        }
        YamlData::Representation(text, style, tag) => {
            tag.as_ref().map_or(Ok(()), |tag| single(&tag.suffix, &place))?;
            match (text.as_ref(), style) {
                ("" | "~" | "null" | "Null" | "NULL", ScalarStyle::Plain) => Content::Nothing,
                (text, _) => Content::Text(text.to_owned()),
            }
        }
        YamlData::Sequence(list) => {
            Content::List(list.iter().map(|it| node(it, file)).collect::<Result<_>>()?)
        }
        YamlData::Mapping(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map {
                entries.push(entry(key, value, file)?);
            }
            Content::Map(merged(entries)?)
        }
        YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => Content::Nothing,
    };
    Ok(Node { place, content })
}

/// Compose's own tags say what becomes of an earlier file.
fn single(tag: &str, place: &Place) -> Result<()> {
    if matches!(tag, "reset" | "override") {
        bail!("{place}: !{tag} is for several files; {}", super::WAY_OUT);
    }
    Ok(())
}

fn entry(key: &MarkedYaml<'_>, value: &MarkedYaml<'_>, file: &Arc<str>) -> Result<Entry> {
    let Node { place, content } = node(key, file)?;
    let key = match content {
        Content::Text(text) => text,
        Content::Nothing => String::new(),
        _ => bail!("{place}: a key is a text"),
    };
    Ok(Entry { key, place, value: node(value, file)? })
}

/// `<<: *base` and `<<: [*a, *b]`: what the mapping does not say itself, the earlier of several first.
fn merged(entries: Vec<Entry>) -> Result<Vec<Entry>> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|it| it.key == "<<");
    for merge in merges {
        let sources = match merge.value.content {
            Content::List(list) => list,
            _ => vec![merge.value],
        };
        for source in sources {
            let Content::Map(entries) = source.content else {
                bail!("{}: << takes a mapping, or a list of mappings", source.place)
            };
            let new = entries.into_iter().filter(|it| own.iter().all(|known| known.key != it.key));
            let new: Vec<_> = new.collect();
            own.extend(new);
        }
    }
    Ok(own)
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(entries) = &self.content else { return None };
        let value = entries.iter().find(|it| it.key == key).map(|it| &it.value);
        value.filter(|value| value.content != Content::Nothing)
    }

    /// Of a mapping; nothing of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Result<&str> {
        match &self.content {
            Content::Text(text) => Ok(text),
            Content::Nothing => Ok(""),
            _ => bail!("{}: it is to be a text", self.place),
        }
    }

    /// The members of a list; a text alone is a list of one.
    pub(super) fn list(&self) -> Result<&[Node]> {
        match &self.content {
            Content::List(list) => Ok(list),
            Content::Nothing => Ok(&[]),
            Content::Text(_) => Ok(std::slice::from_ref(self)),
            Content::Map(_) => bail!("{}: it is to be a list", self.place),
        }
    }

    /// `KEY=VALUE` in a list and `KEY: VALUE` in a mapping alike; without a value `None`.
    pub(super) fn pairs(&self) -> Result<Vec<(String, Option<String>, Place)>> {
        match &self.content {
            Content::Map(entries) => entries
                .iter()
                .map(|it| {
                    let nothing = it.value.content == Content::Nothing;
                    let value = it.value.text()?.to_owned();
                    Ok((it.key.clone(), (!nothing).then_some(value), it.place.clone()))
                })
                .collect(),
            _ => self
                .list()?
                .iter()
                .map(|it| {
                    let text = it.text()?;
                    let (key, value) = match text.split_once('=') {
                        Some((key, value)) => (key, Some(value.to_owned())),
                        None => (text, None),
                    };
                    Ok((key.to_owned(), value, it.place.clone()))
                })
                .collect(),
        }
    }

    /// Changes every text but keys.
    pub(super) fn texts(
        &mut self,
        change: &mut impl FnMut(&str, &Place) -> Result<String>,
    ) -> Result<()> {
        match &mut self.content {
            Content::Nothing => {}
            Content::Text(text) => *text = change(text, &self.place)?,
            Content::List(list) => list.iter_mut().try_for_each(|it| it.texts(change))?,
            Content::Map(entries) => {
                entries.iter_mut().try_for_each(|it| it.value.texts(change))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
