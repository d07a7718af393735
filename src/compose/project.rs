//! The whole file: the services that would run, and the networks between them.

use super::{Outside, Service, extend, parse, service, yaml::Node};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Containers of all services, so that each gets an id that stands for it.
const MOST: u32 = 99_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    /// In the order of the file; those whose profile is not active are left out.
    pub services: Vec<Service>,
    /// By the name that Docker knows: the driver, where the file says it.
    pub networks: BTreeMap<String, Option<String>>,
}

impl Project {
    /// `file` is for complaints.
    pub fn read(file: &str, text: &str, outside: &Outside) -> Result<Self> {
        let variables = outside.variables()?;
        let root = parse(file, text, &variables)?;
        let name = name(&root, outside, &variables)?;
        let Some(services) = root.get("services") else {
            bail!("{file}: it has no services; is it a compose file?")
        };
        let networks = networks(&root, &name)?;
        let dockers = networks.iter().map(|(key, (name, _))| (key.clone(), name.clone())).collect();
        let mut read = Vec::new();
        for entry in services.entries() {
            let node = extend::extended(services, &entry.value, outside, &variables, 0)?;
            if is_active(&node, &variables)? {
                let mut service = service::read(&entry.key, &node, &dockers, outside)?;
                service.place = entry.place.clone();
                read.push(service);
            }
        }
        let containers: u32 = read.iter().map(|it| it.scale).sum();
        if MOST < containers {
            bail!("{file}: {containers} containers are more than {MOST}");
        }
        Ok(Self { name, services: read, networks: networks.into_values().collect() })
    }
}

/// From the file's name of a network to Docker's, and its driver.
type Networks = BTreeMap<String, (String, Option<String>)>;

fn networks(root: &Node, project: &str) -> Result<Networks> {
    let mut all = Networks::new();
    all.insert("default".to_owned(), (format!("{project}_default"), None));
    let entries = root.get("networks").map_or(&[][..], |it| it.entries());
    for entry in entries {
        let (key, node) = (&entry.key, &entry.value);
        let text = |key: &str| node.get(key).map(Node::text).transpose();
        let external = node.get("external").is_some_and(|it| it.text().ok() != Some("false"));
        let own = if external { key.clone() } else { format!("{project}_{key}") };
        let name = text("name")?.map_or(own, str::to_owned);
        all.insert(key.clone(), (name, text("driver")?.map(str::to_owned)));
    }
    Ok(all)
}

/// As compose chooses it: the variable, the file, the folder.
fn name(root: &Node, outside: &Outside, variables: &BTreeMap<String, String>) -> Result<String> {
    let variable = variables.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    let said = root.get("name").map(Node::text).transpose()?;
    if let Some(name) = variable.map(String::as_str).or(said) {
        return Ok(name.to_owned());
    }
    let folder = outside.folder.canonicalize().unwrap_or_else(|_| outside.folder.clone());
    let folder = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let fits = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let name: String = folder.chars().filter(fits).collect();
    let name = name.trim_start_matches(['-', '_']);
    Ok(if name.is_empty() { "default".to_owned() } else { name.to_owned() })
}

fn is_active(service: &Node, variables: &BTreeMap<String, String>) -> Result<bool> {
    let Some(profiles) = service.get("profiles") else { return Ok(true) };
    let active = variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
    let active: Vec<_> = active.split(',').map(str::trim).collect();
    let wanted = profiles.list()?;
    let mut none = wanted.is_empty();
    for profile in wanted {
        none |= active.contains(&"*") || active.contains(&profile.text()?);
    }
    Ok(none)
}
