//! `extends`: a service on top of another one, of this file or one beside it. And what comes of two files, or two
//! documents of one, that say something of the same service.

use super::{
    note::{Note, Remark},
    source::{Reader, Variables},
    yaml::{Content, Entry, Node, Over},
};
use anyhow::Result;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// More than anybody writes; a circle has no end.
const DEEPEST: usize = 16;

/// The service with all that it extends. What is not there is told, and left out.
///
/// # Errors
/// Where it grows beyond all measure.
pub(super) fn extended(
    reader: &mut Reader,
    variables: &Variables,
    services: &Node,
    service: &Entry,
) -> Result<Node> {
    let Entry { key, value, .. } = service;
    let node = Extender { reader, variables, service: key }.follow(services, value, 0);
    reader.count(node.size())?;
    Ok(node)
}

struct Extender<'a> {
    reader: &'a mut Reader,
    variables: &'a Variables,
    service: &'a str,
}

impl Extender<'_> {
    fn follow(&mut self, services: &Node, service: &Node, depth: usize) -> Node {
        let Some(extends) = service.get("extends") else { return service.clone() };
        match self.base(services, extends, depth) {
            Ok(base) => onto(base, service.clone()),
            Err(remark) => {
                self.reader.notes.insert(Note::of(&extends.place, self.service, remark));
                service.clone()
            }
        }
    }

    fn base(&mut self, services: &Node, extends: &Node, depth: usize) -> Result<Node, Remark> {
        if depth == DEEPEST {
            return Err(Remark::Circle);
        }
        let name = extends.text().or_else(|| extends.text_of("service"));
        let name = name.ok_or(Remark::ExtendsNothing)?;
        let services = match extends.text_of("file").filter(|file| !file.is_empty()) {
            None => Cow::Borrowed(services),
            Some(file) => {
                let root = self.reader.beside(file, self.variables);
                let root = root.map_err(|why| Remark::NoFile { file: file.to_owned(), why })?;
                Cow::Owned(root.get("services").cloned().unwrap_or(root))
            }
        };
        let base = services.get(name).ok_or_else(|| Remark::NoService(name.to_owned()))?;
        let mut base = self.follow(&services, base, depth + 1);
        if let Content::Map(entries) = &mut base.content {
            // Not inherited: the compose specification, "extends".
            entries.retain(|it| !matches!(it.key.as_str(), "extends" | "depends_on" | "profiles"));
        }
        Ok(base)
    }
}

/// Whole files: their services, networks and the like by name, the later one on top.
pub(super) fn root_onto(base: Node, own: Node) -> Node {
    over(base, own, &|_, base, own| over(base, own, &|_, base, own| onto(base, own)))
}

/// What the later one says itself wins; lists of ports grow, and mappings are joined.
fn onto(base: Node, own: Node) -> Node {
    over(base, own, &joined)
}

/// A mapping on top of another one; `join` says what comes of a key that both have.
fn over(base: Node, own: Node, join: &dyn Fn(&str, Node, Node) -> Node) -> Node {
    if own.over == Over::Remove {
        return Node::new(own.place, Content::Nothing);
    }
    if own.over == Over::Replace {
        return own;
    }
    match (base, own) {
        (base, Node { content: Content::Nothing, .. }) => base,
        (
            Node { content: Content::Map(entries), .. },
            Node { content: Content::Map(own), place, .. },
        ) => Node::new(place, Content::Map(overlaid(entries, own, join))),
        (_, own) => own,
    }
}

fn overlaid(
    mut base: Vec<Entry>,
    own: Vec<Entry>,
    join: &dyn Fn(&str, Node, Node) -> Node,
) -> Vec<Entry> {
    let known: BTreeMap<_, _> = base.iter().map(|it| it.key.clone()).zip(0..).collect();
    let mut removed = BTreeSet::new();
    for Entry { key, place, value } in own {
        if value.over == Over::Remove {
            removed.insert(key);
            continue;
        }
        let Some(&at) = known.get(&key) else {
            base.push(Entry { key, place, value });
            continue;
        };
        let nothing = Node::new(place.clone(), Content::Nothing);
        let before = std::mem::replace(&mut base[at].value, nothing);
        base[at].value = join(&key, before, value);
        base[at].place = place;
    }
    base.retain(|it| !removed.contains(&it.key));
    base
}

fn joined(key: &str, base: Node, own: Node) -> Node {
    if own.over == Over::Replace {
        return own;
    }
    let place = own.place.clone();
    let content = match key {
        "labels" | "environment" | "networks" => {
            let replace: &dyn Fn(&str, Node, Node) -> Node = &|_, _, own| own;
            Content::Map(overlaid(mapped(base), mapped(own), replace))
        }
        "ports" | "expose" | "env_file" | "label_file" => {
            Content::List([base.list(), own.list()].concat())
        }
        "deploy" | "build" => return over(base, own, &joined),
        _ => return own,
    };
    Node::new(place, content)
}

/// `KEY=VALUE` in a list, or a name alone, as a mapping. What is neither stays what it is, under no name.
fn mapped(node: Node) -> Vec<Entry> {
    let Content::Map(entries) = node.content else {
        return node.list().iter().map(one_mapped).collect();
    };
    entries
}

fn one_mapped(node: &Node) -> Entry {
    let place = node.place.clone();
    let (key, content) = match &node.content {
        Content::Text(text) => match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Content::Text(value.to_owned())),
            None => (text.clone(), Content::Nothing),
        },
        Content::Map(entries) if entries.len() == 1 => return entries[0].clone(),
        content => (String::new(), content.clone()),
    };
    Entry { key, place: place.clone(), value: Node { content, ..node.clone() } }
}
