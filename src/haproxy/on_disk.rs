//! What a worker has that is started with files of ours: for when none can be asked.
//!
//! Pure. Reads only what [`super::render`] writes.

use super::{
    config::{self, Admin, MapName},
    name,
    observed::{Observed, ServerSeen, map_file},
};

/// `map` gives the text of a map's file.
pub fn observed(config: &str, map: impl Fn(MapName) -> Option<String>) -> Observed {
    let mut observed = Observed::default();
    let mut backend = None;
    for line in config.lines() {
        let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if line.starts_with(|c: char| c.is_ascii_lowercase()) {
            backend = words.strip_prefix(&["backend"]).and_then(|it| it.first()).copied();
            observed.backends.extend(backend.map(str::to_owned));
        }
        match (words.as_slice(), backend) {
            (["description", rest @ ..], None) => observed.skeleton = rest.join(" "),
            (["server", name, address, options @ ..], Some(backend)) => {
                let Some(seen) = server(name, address, options) else { continue };
                let servers = observed.servers.entry(backend.to_owned()).or_default();
                servers.insert((*name).to_owned(), seen);
            }
            _ => {}
        }
    }
    let entries = |name| map(name).as_deref().map(map_file).unwrap_or_default();
    observed.maps = MapName::ALL.map(|name| (name, entries(name))).into();
    observed
}

fn server(name: &str, address: &str, options: &[&str]) -> Option<ServerSeen> {
    let address = match address.parse().ok() {
        // It leads to a socket that has no address.
        None if name == name::HOLD => config::hold().address,
        address => address?,
    };
    let weight = options.iter().skip_while(|word| **word != "weight").nth(1)?.parse().ok()?;
    let admin = if options.contains(&"disabled") { Admin::Maintenance } else { Admin::Ready };
    Some(ServerSeen { address, weight, admin, up: true })
}
