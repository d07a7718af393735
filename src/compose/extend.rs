//! `extends`: a service on top of another one, of this file or one beside it.

use super::{
    Outside, parse,
    yaml::{Content, Entry, Node},
};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// More than anybody writes; a circle has no end.
const DEEPEST: usize = 16;

/// The service with all that it extends.
pub(super) fn extended(
    services: &Node,
    service: &Node,
    outside: &Outside,
    variables: &BTreeMap<String, String>,
    depth: usize,
) -> Result<Node> {
    let Some(extends) = service.get("extends") else { return Ok(service.clone()) };
    let place = &extends.place;
    if depth == DEEPEST {
        bail!("{place}: services extend each other in a circle");
    }
    let (file, name) = if let Content::Text(name) = &extends.content {
        (None, name.as_str())
    } else {
        let text = |key: &str| extends.get(key).map(Node::text).transpose();
        let name = text("service")?.with_context(|| format!("{place}: extends names no service"));
        (text("file")?, name?)
    };
    let (other, beside);
    let (services, outside) = match file {
        None => (services, outside),
        Some(file) => {
            let text = outside.file(file)?;
            let text = text.with_context(|| format!("{place}: there is no file {file}"))?;
            let path = outside.folder.join(file);
            other = parse(&path.display().to_string(), &text, variables)?;
            beside =
                Outside { folder: super::folder(&path), environment: outside.environment.clone() };
            (other.get("services").unwrap_or(&other), &beside)
        }
    };
    let base = services.get(name);
    let base = base.with_context(|| format!("{place}: there is no service {name} to extend"))?;
    let base = extended(services, base, outside, variables, depth + 1)?;
    onto(base, service)
}

/// What the service says itself wins; lists of ports grow, and mappings are joined.
fn onto(base: Node, own: &Node) -> Result<Node> {
    let Content::Map(mut entries) = base.content else { return Ok(own.clone()) };
    // Not inherited: the compose specification, "extends".
    entries.retain(|it| !matches!(it.key.as_str(), "extends" | "depends_on" | "profiles"));
    for entry in own.entries() {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            None => entries.push(entry.clone()),
            Some(known) => known.value = joined(&entry.key, &known.value, &entry.value)?,
        }
    }
    Ok(Node { place: own.place.clone(), content: Content::Map(entries) })
}

fn joined(key: &str, base: &Node, own: &Node) -> Result<Node> {
    let content = match key {
        "labels" | "environment" => Content::Map(overlaid(mapped(base)?, mapped(own)?)),
        "networks" => Content::Map(overlaid(keyed(base)?, keyed(own)?)),
        "ports" | "expose" | "env_file" | "label_file" => {
            Content::List([base.list()?, own.list()?].concat())
        }
        _ => own.content.clone(),
    };
    Ok(Node { place: own.place.clone(), content })
}

fn overlaid(mut base: Vec<Entry>, own: Vec<Entry>) -> Vec<Entry> {
    base.retain(|it| own.iter().all(|other| other.key != it.key));
    base.extend(own);
    base
}

/// `KEY=VALUE` in a list as a mapping.
fn mapped(node: &Node) -> Result<Vec<Entry>> {
    let entry = |(key, value, place)| {
        let content = Option::map_or(value, Content::Nothing, Content::Text);
        Entry { key, value: Node { place: Clone::clone(&place), content }, place }
    };
    Ok(node.pairs()?.into_iter().map(entry).collect())
}

/// A list of names as a mapping.
fn keyed(node: &Node) -> Result<Vec<Entry>> {
    match &node.content {
        Content::Map(entries) => Ok(entries.clone()),
        _ => node
            .list()?
            .iter()
            .map(|it| {
                let (key, place) = (it.text()?.to_owned(), it.place.clone());
                let value = Node { place: place.clone(), content: Content::Nothing };
                Ok(Entry { key, place, value })
            })
            .collect(),
    }
}
