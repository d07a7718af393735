//! The state of a worker that was started with docker-balancer's files: for when no worker can be queried.
//!
//! Pure. Parses only what [`super::render`] writes.

use super::{
    config::{self, AdminState, FrontendState, MapName},
    name,
    observed::{ObservedServer, ObservedState, parse_map_file},
    server_setting::ServerSettings,
    tls,
};
use std::collections::BTreeSet;

/// Parses the configuration; `map` returns the text of a map's file.
pub fn from_files(config: &str, map: impl Fn(MapName) -> Option<String>) -> ObservedState {
    let mut observed = ObservedState::default();
    let mut backend = None;
    for line in config.lines() {
        let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if line.starts_with(|c: char| c.is_ascii_lowercase()) {
            backend = words.strip_prefix(&["backend"]).and_then(|texts| texts.first()).copied();
            observed.backends.extend(backend.map(str::to_owned));
        }
        match (words.as_slice(), backend) {
            (["frontend", name, ..], None) if name::parse_frontend(name).is_some() => {
                observed.frontends.insert((*name).to_owned(), FrontendState::Open);
            }
            (["bind", _, options @ ..], None) => {
                let list = options.iter().skip_while(|word| **word != "crt-list").nth(1);
                let list = list.filter(|list| tls::list_port(list).is_some());
                observed.tls.lists.extend(list.map(|list| ((*list).to_owned(), BTreeSet::new())));
            }
            (["description", description @ ..], None) => {
                observed.fingerprint = description.join(" ");
            }
            (["server", name, ..], Some(backend)) if name::is_auth_server(backend, name) => {}
            (["server", name, address, options @ ..], Some(backend)) => {
                let Some(observed_server) = parse_server(name, address, options) else { continue };
                let servers = observed.servers.entry(backend.to_owned()).or_default();
                servers.insert((*name).to_owned(), observed_server);
            }
            _ => {}
        }
    }
    let entries = |name| map(name).as_deref().map(parse_map_file).unwrap_or_default();
    observed.maps = MapName::ALL.map(|name| (name, entries(name))).into();
    observed
}

fn parse_server(name: &str, address: &str, options: &[&str]) -> Option<ObservedServer> {
    let address = match address.parse().ok() {
        // The server leads to a socket that has no address.
        None if name == name::HOLD_SERVER => config::hold_server().address,
        address => address?,
    };
    let settings = match name {
        // The limit of `hold` is not that of a container.
        name::HOLD_SERVER => config::hold_server().settings,
        _ => ServerSettings::parse_line(options)?,
    };
    // Hosts may precede it, one of which may have this name.
    let admin = if options.last() == Some(&"disabled") {
        AdminState::Maintenance
    } else {
        AdminState::Ready
    };
    Some(ObservedServer { address, settings, admin, up: true })
}
