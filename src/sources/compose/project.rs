//! A whole compose file: the services that would run, and their networks.

use super::{
    ComposeNote, ReadContext, Service, extend,
    loader::{ProjectLoader, Variables},
    note::Remark,
    service,
    yaml::{Content, Node, YamlEntry},
};
use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Limit of the containers of all services, so that each gets its own placeholder id.
const MAX_CONTAINERS: u32 = 99_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// Services whose profile is not active.
    pub inactive: Vec<Service>,
    /// Docker's name of each network → its driver, if the file sets it.
    pub networks: BTreeMap<String, Option<String>>,
    pub notes: BTreeSet<ComposeNote>,
}

impl Project {
    /// Parses a project. `file` is the name for error messages.
    ///
    /// # Errors
    /// The text is not a compose file, or a limit is exceeded.
    pub fn parse_project(file: &str, text: &str, context: &ReadContext) -> Result<Self> {
        let mut loader = ProjectLoader::new(context);
        let variables = loader.load_variables(&context.environment);
        let root = loader.load_root(file, text, &variables)?;
        let name = project_name(&root, &context.folder, &variables);
        let services = find_services(file, &root, &mut loader.notes)?;
        let networks = parse_networks(&root, &name);
        let docker_names =
            networks.iter().map(|(key, (name, _))| (key.clone(), name.clone())).collect();
        let (mut active, mut inactive) = (Vec::new(), Vec::new());
        for entry in services.entries() {
            let node = extend::resolve_extends(&mut loader, &variables, &services, entry)?;
            if !matches!(node.content, Content::Map(_) | Content::Nothing) {
                loader.notes.insert(ComposeNote::for_service(
                    &entry.position,
                    &entry.key,
                    Remark::NotAService,
                ));
                continue;
            }
            let mut parser = service::ServiceParser { loader: &mut loader, variables: &variables };
            let mut service = parser.parse_service(&entry.key, &node, &docker_names);
            service.position = entry.position.clone();
            let list = if is_active(&node, &variables) { &mut active } else { &mut inactive };
            list.push(service);
        }
        let containers =
            active.iter().fold(0_u32, |sum, service| sum.saturating_add(service.scale));
        if MAX_CONTAINERS < containers {
            bail!("{file}: {containers} containers are more than the limit of {MAX_CONTAINERS}");
        }
        let mut notes = loader.notes;
        note_misplaced_labels(&root, &mut notes);
        drop_duplicate_notes(&mut notes);
        let networks = networks.into_values().collect();
        Ok(Self { name, services: active, inactive, networks, notes })
    }
}

/// Keys at the top of a compose file, whatever its version.
fn is_compose_key(key: &str) -> bool {
    let keys =
        ["version", "name", "networks", "volumes", "configs", "secrets", "include", "models"];
    keys.contains(&key) || key.starts_with("x-")
}

fn find_services(file: &str, root: &Node, notes: &mut BTreeSet<ComposeNote>) -> Result<Node> {
    let empty = Node::new(root.position.clone(), Content::Nothing);
    if let Some(services) = root.get("services") {
        match services.content {
            Content::Map(_) => return Ok(services.clone()),
            _ => bail!("{}: services must be a mapping of names to services", services.position),
        }
    }
    let is_service = |entry: &YamlEntry| {
        ["image", "build", "extends"].iter().any(|key| entry.value.has_key(key))
    };
    if !root.has_key("services") && root.entries().iter().any(is_service) {
        notes.insert(ComposeNote::for_project(&root.position, Remark::FirstFormat));
        let services = root.entries().iter().filter(|entry| !is_compose_key(&entry.key));
        return Ok(Node { content: Content::Map(services.cloned().collect()), ..empty });
    }
    if root.has_key("services") || root.entries().iter().any(|entry| is_compose_key(&entry.key)) {
        notes.insert(ComposeNote::for_project(&root.position, Remark::NoServices));
        return Ok(empty);
    }
    bail!("{file}: no services found; check that it is a compose file")
}

/// Name of a network in the file → Docker's name and the driver.
type NetworkNames = BTreeMap<String, (String, Option<String>)>;

fn parse_networks(root: &Node, project: &str) -> NetworkNames {
    let mut all = NetworkNames::new();
    all.insert("default".to_owned(), (format!("{project}_default"), None));
    let entries = root.get("networks").map_or(&[][..], |node| node.entries());
    for YamlEntry { key, value, .. } in entries {
        let external = value.get("external");
        // `external: {name: …}` is the syntax of version 2.
        let named = external.and_then(|node| node.text_at("name"));
        let is_external = external.is_some_and(|node| node.as_text() != Some("false"));
        let own = if is_external { key.clone() } else { format!("{project}_{key}") };
        let name = value.text_at("name").or(named).map_or(own, str::to_owned);
        all.insert(key.clone(), (name, value.text_at("driver").map(str::to_owned)));
    }
    all
}

/// Chooses the project name in the order of compose: the variable, the file, the folder.
fn project_name(root: &Node, folder: &Path, variables: &Variables) -> String {
    let variable = variables.get("COMPOSE_PROJECT_NAME").map(String::as_str);
    let candidates = variable.into_iter().chain(root.text_at("name"));
    if let Some(name) = candidates.into_iter().find(|name| !name.is_empty()) {
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
    let profiles = service.get("profiles").map_or(&[][..], |node| node.as_list());
    let active = variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
    let active: Vec<_> = active.split(',').map(str::trim).collect();
    let is_active = |profile: &Node| profile.as_text().is_some_and(|text| active.contains(&text));
    profiles.is_empty() || active.contains(&"*") || profiles.iter().any(is_active)
}

/// Adds a note for each docker-glue label outside the services.
fn note_misplaced_labels(root: &Node, notes: &mut BTreeSet<ComposeNote>) {
    for entry in root.entries() {
        if entry.key == "services" || entry.key.starts_with("x-") || !is_compose_key(&entry.key) {
            continue;
        }
        service::visit_our_labels(&entry.value, &mut |key, position| {
            let (key, under) = (key.to_owned(), entry.key.clone());
            notes.insert(ComposeNote::for_project(position, Remark::MisplacedLabel { key, under }));
        });
    }
}

/// Removes the notes about texts of labels that have a note already.
fn drop_duplicate_notes(notes: &mut BTreeSet<ComposeNote>) {
    let labels: BTreeSet<_> = notes
        .iter()
        .filter(|note| matches!(note.remark, Remark::InvalidLabel { .. }))
        .map(|note| note.position.clone())
        .collect();
    notes.retain(|note| {
        !(matches!(note.remark, Remark::InvalidText(_)) && labels.contains(&note.position))
    });
}
