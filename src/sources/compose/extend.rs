//! `extends`: a service that inherits from another service, in the same file or a file next to it. Also the merging of
//! two files, or of two documents in one file, that define the same service.

use super::{
    loader::{ProjectLoader, Variables},
    note::{ComposeNote, Remark},
    yaml::{Content, MergeMode, Node, YamlEntry},
};
use anyhow::Result;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// Limit of the depth of `extends`: deeper than in real files, and it ends a circular reference.
const MAX_DEPTH: usize = 16;

/// Returns the service with everything that it extends. A missing file or service is reported and left out.
///
/// # Errors
/// Fails if the services together exceed the limit of nodes.
pub(crate) fn resolve_extends(
    loader: &mut ProjectLoader,
    variables: &Variables,
    services: &Node,
    service: &YamlEntry,
) -> Result<Node> {
    let YamlEntry { key, value, .. } = service;
    let node = Extender { loader, variables, service: key }.extend_service(services, value, 0);
    loader.count_nodes(node.count_nodes())?;
    Ok(node)
}

struct Extender<'a> {
    loader: &'a mut ProjectLoader,
    variables: &'a Variables,
    service: &'a str,
}

impl Extender<'_> {
    fn extend_service(&mut self, services: &Node, service: &Node, depth: usize) -> Node {
        let Some(extends) = service.get("extends") else { return service.clone() };
        match self.load_base(services, extends, depth) {
            Ok(base) => merge_services(base, service.clone()),
            Err(remark) => {
                self.loader.notes.insert(ComposeNote::for_service(
                    &extends.position,
                    self.service,
                    remark,
                ));
                service.clone()
            }
        }
    }

    fn load_base(&mut self, services: &Node, extends: &Node, depth: usize) -> Result<Node, Remark> {
        if depth == MAX_DEPTH {
            return Err(Remark::Circle);
        }
        let name = extends.as_text().or_else(|| extends.text_at("service"));
        let name = name.ok_or(Remark::ExtendsNothing)?;
        let services = match extends.text_at("file").filter(|file| !file.is_empty()) {
            None => Cow::Borrowed(services),
            Some(file) => {
                let root = self.loader.load_extended_file(file, self.variables);
                let root =
                    root.map_err(|error| Remark::NoFile { file: file.to_owned(), why: error })?;
                Cow::Owned(root.get("services").cloned().unwrap_or(root))
            }
        };
        let base = services.get(name).ok_or_else(|| Remark::NoService(name.to_owned()))?;
        let mut base = self.extend_service(&services, base, depth + 1);
        if let Content::Map(entries) = &mut base.content {
            // The compose specification, section "extends": these keys are not inherited.
            entries.retain(|entry| {
                !matches!(entry.key.as_str(), "extends" | "depends_on" | "profiles")
            });
        }
        Ok(base)
    }
}

/// Merges whole files: services, networks and other sections by name; the later file wins.
pub(crate) fn merge_roots(base: Node, own: Node) -> Node {
    merge_nodes(base, own, &|_, base, own| {
        merge_nodes(base, own, &|_, base, own| merge_services(base, own))
    })
}

/// The later service wins; lists of ports are appended, and mappings are merged.
fn merge_services(base: Node, own: Node) -> Node {
    merge_nodes(base, own, &merge_key)
}

/// Merges one mapping into another; `join` merges the values of a key that both have.
fn merge_nodes(base: Node, own: Node, join: &dyn Fn(&str, Node, Node) -> Node) -> Node {
    if own.merge_mode == MergeMode::Remove {
        return Node::new(own.position, Content::Nothing);
    }
    if own.merge_mode == MergeMode::Replace {
        return own;
    }
    match (base, own) {
        (base, Node { content: Content::Nothing, .. }) => base,
        (
            Node { content: Content::Map(entries), .. },
            Node { content: Content::Map(own), position: place, .. },
        ) => Node::new(place, Content::Map(merge_entries(entries, own, join))),
        (_, own) => own,
    }
}

fn merge_entries(
    mut base: Vec<YamlEntry>,
    own: Vec<YamlEntry>,
    join: &dyn Fn(&str, Node, Node) -> Node,
) -> Vec<YamlEntry> {
    let positions: BTreeMap<_, _> = base.iter().map(|entry| entry.key.clone()).zip(0..).collect();
    let mut removed = BTreeSet::new();
    for YamlEntry { key, position: place, value } in own {
        if value.merge_mode == MergeMode::Remove {
            removed.insert(key);
            continue;
        }
        let Some(&at) = positions.get(&key) else {
            base.push(YamlEntry { key, position: place, value });
            continue;
        };
        let empty = Node::new(place.clone(), Content::Nothing);
        let before = std::mem::replace(&mut base[at].value, empty);
        base[at].value = join(&key, before, value);
        base[at].position = place;
    }
    base.retain(|entry| !removed.contains(&entry.key));
    base
}

fn merge_key(key: &str, base: Node, own: Node) -> Node {
    if own.merge_mode == MergeMode::Replace {
        return own;
    }
    let position = own.position.clone();
    let content = match key {
        "labels" | "environment" | "networks" => {
            let replace: &dyn Fn(&str, Node, Node) -> Node = &|_, _, own| own;
            Content::Map(merge_entries(to_entries(base), to_entries(own), replace))
        }
        "ports" | "expose" | "env_file" | "label_file" => {
            Content::List([base.as_list(), own.as_list()].concat())
        }
        "deploy" | "build" => return merge_nodes(base, own, &merge_key),
        _ => return own,
    };
    Node::new(position, content)
}

/// Returns a list of `KEY=VALUE`, or of names alone, as a mapping. Other entries are kept unchanged, under an empty
/// name.
fn to_entries(node: Node) -> Vec<YamlEntry> {
    let Content::Map(entries) = node.content else {
        return node.as_list().iter().map(to_entry).collect();
    };
    entries
}

fn to_entry(node: &Node) -> YamlEntry {
    let position = node.position.clone();
    let (key, content) = match &node.content {
        Content::Text(text) => match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Content::Text(value.to_owned())),
            None => (text.clone(), Content::Nothing),
        },
        Content::Map(entries) if entries.len() == 1 => return entries[0].clone(),
        content => (String::new(), content.clone()),
    };
    YamlEntry { key, position: position.clone(), value: Node { content, ..node.clone() } }
}
