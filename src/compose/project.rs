//! The whole file: the services that would run, and the networks between them.

use super::{
    Note, Outside, Service, extend,
    note::Remark,
    service,
    source::{Reader, Variables},
    yaml::{Content, Entry, Node},
};
use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Containers of all services, so that each gets an id that stands for it.
const MOST: u32 = 99_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// Those whose profile is not active.
    pub inactive: Vec<Service>,
    /// By the name that Docker knows: the driver, where the file says it.
    pub networks: BTreeMap<String, Option<String>>,
    pub notes: BTreeSet<Note>,
}

impl Project {
    /// `file` is for complaints.
    ///
    /// # Errors
    /// The file is none of compose's, or has no end.
    pub fn read(file: &str, text: &str, outside: &Outside) -> Result<Self> {
        let mut reader = Reader::new(&outside.folder);
        let variables = reader.variables(&outside.environment);
        let root = reader.load(file, text, &variables)?;
        let name = name(&root, &outside.folder, &variables);
        let services = services(file, &root, &mut reader.notes)?;
        let networks = networks(&root, &name);
        let dockers = networks.iter().map(|(key, (name, _))| (key.clone(), name.clone())).collect();
        let (mut active, mut inactive) = (Vec::new(), Vec::new());
        for entry in services.entries() {
            let node = extend::extended(&mut reader, &variables, &services, entry)?;
            if !matches!(node.content, Content::Map(_) | Content::Nothing) {
                reader.notes.insert(Note::of(&entry.place, &entry.key, Remark::NotAService));
                continue;
            }
            let mut maker = service::Maker { reader: &mut reader, variables: &variables };
            let mut service = maker.read(&entry.key, &node, &dockers);
            service.place = entry.place.clone();
            let list = if is_active(&node, &variables) { &mut active } else { &mut inactive };
            list.push(service);
        }
        let containers = active.iter().fold(0_u32, |sum, it| sum.saturating_add(it.scale));
        if MOST < containers {
            bail!("{file}: {containers} containers are more than {MOST}");
        }
        let mut notes = reader.notes;
        misplaced(&root, &mut notes);
        drop_doubles(&mut notes);
        let networks = networks.into_values().collect();
        Ok(Self { name, services: active, inactive, networks, notes })
    }
}

/// Keys at the top of a compose file, whatever its version.
fn is_composes(key: &str) -> bool {
    let known =
        ["version", "name", "networks", "volumes", "configs", "secrets", "include", "models"];
    known.contains(&key) || key.starts_with("x-")
}

fn services(file: &str, root: &Node, notes: &mut BTreeSet<Note>) -> Result<Node> {
    let nothing = Node::new(root.place.clone(), Content::Nothing);
    if let Some(services) = root.get("services") {
        match services.content {
            Content::Map(_) => return Ok(services.clone()),
            _ => bail!("{}: services is to be a mapping, NAME: and what it is", services.place),
        }
    }
    let is_service = |it: &Entry| ["image", "build", "extends"].iter().any(|key| it.value.has(key));
    if !root.has("services") && root.entries().iter().any(is_service) {
        notes.insert(Note::at(&root.place, Remark::FirstFormat));
        let services = root.entries().iter().filter(|it| !is_composes(&it.key));
        return Ok(Node { content: Content::Map(services.cloned().collect()), ..nothing });
    }
    if root.has("services") || root.entries().iter().any(|it| is_composes(&it.key)) {
        notes.insert(Note::at(&root.place, Remark::NoServices));
        return Ok(nothing);
    }
    bail!("{file}: it has no services; is it a compose file?")
}

/// From the file's name of a network to Docker's, and its driver.
type Networks = BTreeMap<String, (String, Option<String>)>;

fn networks(root: &Node, project: &str) -> Networks {
    let mut all = Networks::new();
    all.insert("default".to_owned(), (format!("{project}_default"), None));
    let entries = root.get("networks").map_or(&[][..], |it| it.entries());
    for Entry { key, value, .. } in entries {
        let external = value.get("external");
        // `external: {name: …}` is of version 2.
        let named = external.and_then(|it| it.text_of("name"));
        let is_external = external.is_some_and(|it| it.text() != Some("false"));
        let own = if is_external { key.clone() } else { format!("{project}_{key}") };
        let name = value.text_of("name").or(named).map_or(own, str::to_owned);
        all.insert(key.clone(), (name, value.text_of("driver").map(str::to_owned)));
    }
    all
}

/// As compose chooses it: the variable, the file, the folder.
fn name(root: &Node, folder: &Path, variables: &Variables) -> String {
    let variable = variables.get("COMPOSE_PROJECT_NAME").map(String::as_str);
    let said = variable.into_iter().chain(root.text_of("name"));
    if let Some(name) = said.into_iter().find(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let folder = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let fits = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let name: String = folder.chars().filter(fits).collect();
    let name = name.trim_start_matches(['-', '_']);
    if name.is_empty() { "default".to_owned() } else { name.to_owned() }
}

fn is_active(service: &Node, variables: &Variables) -> bool {
    let wanted = service.get("profiles").map_or(&[][..], |it| it.list());
    let active = variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
    let active: Vec<_> = active.split(',').map(str::trim).collect();
    let is_active = |profile: &Node| profile.text().is_some_and(|it| active.contains(&it));
    wanted.is_empty() || active.contains(&"*") || wanted.iter().any(is_active)
}

/// Labels of ours beside the services.
fn misplaced(root: &Node, notes: &mut BTreeSet<Note>) {
    for entry in root.entries() {
        if entry.key == "services" || entry.key.starts_with("x-") || !is_composes(&entry.key) {
            continue;
        }
        service::ours_in(&entry.value, &mut |key, place| {
            let (key, under) = (key.to_owned(), entry.key.clone());
            notes.insert(Note::at(place, Remark::Misplaced { key, under }));
        });
    }
}

/// What is said of a label need not be said of its text.
fn drop_doubles(notes: &mut BTreeSet<Note>) {
    let labels: BTreeSet<_> = notes
        .iter()
        .filter(|it| matches!(it.remark, Remark::Label { .. }))
        .map(|it| it.place.clone())
        .collect();
    notes.retain(|it| !(matches!(it.remark, Remark::Text(_)) && labels.contains(&it.place)));
}
