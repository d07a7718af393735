//! The map: hosts, and what is behind them.
//!
//! Pure.

use super::{
    super::words::{count, several},
    Counted, Mark, Path, Row,
};
use crate::view::status::{RouteStatus, Status};
use std::collections::BTreeSet;

/// With more groups than these, only those with a path that nobody serves stand open at first.
const MOST_OPEN: usize = 30;
/// Of a group's containers, while it is closed.
const MOST_NAMES: usize = 3;

/// A host of a listener.
#[derive(Debug, Clone)]
pub struct Group {
    /// `app.example.com:80`
    pub id: String,
    pub host: String,
    pub port: u16,
    pub mark: Mark,
    /// `served`, …
    pub state: &'static str,
    pub open: bool,
    pub size: String,
    /// Of its containers, in the place of its size while it is closed.
    pub names: String,
    pub rate: String,
    pub paths: Vec<Path>,
    /// All by which it can be found, in lower case.
    pub find: String,
    /// It is not what was looked for.
    pub hidden: bool,
}

/// Routes stand in the order of listener, host and path, so those of a host stand together.
pub(super) fn groups(status: &Status, wanted: &str) -> Vec<Group> {
    let routes = status.routes.chunk_by(|a, b| (a.port, &a.host) == (b.port, &b.host));
    let counted = Counted(status.haproxy.answers);
    let mut groups: Vec<_> = routes.map(|it| Group::of(it, counted)).collect();
    let few = groups.len() <= MOST_OPEN;
    for group in &mut groups {
        group.open = few || group.mark == Mark::Down;
        group.hidden = !group.find.contains(wanted);
    }
    groups
}

impl Group {
    fn of(routes: &[RouteStatus], counted: Counted) -> Self {
        let RouteStatus { host, port, .. } = &routes[0];
        let servers: usize = routes.iter().map(|it| it.servers.len()).sum();
        let mut paths: Vec<_> = routes.iter().map(|it| Path::of(it, counted)).collect();
        if let [Path { path, options, titled, .. }] = &mut paths[..] {
            *titled = path != "/" || !options.is_empty();
        }
        let (mark, state) = health(&paths);
        Self {
            id: format!("{host}:{port}"),
            host: host_text(host).to_owned(),
            port: *port,
            mark,
            state,
            open: true,
            size: format!("{}, {}", several(paths.len(), "path"), several(servers, "container")),
            names: names(routes),
            rate: counted.say(routes.iter().map(|it| it.load.rate).sum()),
            find: find(routes),
            paths,
            hidden: false,
        }
    }
}

fn host_text(host: &str) -> &str {
    if host == "*" { "any host" } else { host }
}

fn health(paths: &[Path]) -> (Mark, &'static str) {
    let served = paths.iter().filter(|it| it.nobody.is_none()).count();
    let up = |row: &Row| matches!(row.mark, Mark::Up | Mark::Reserve | Mark::Weightless);
    match served {
        0 => (Mark::Down, "not served"),
        _ if served < paths.len() => (Mark::Down, "partly served"),
        _ if paths.iter().flat_map(|it| &it.rows).all(up) => (Mark::Up, "served"),
        _ => (Mark::Partly, "served, not by all"),
    }
}

/// `→ web-1, web-2 and 3 more`
fn names(routes: &[RouteStatus]) -> String {
    let names = routes.iter().flat_map(|it| &it.servers).map(|it| it.container.as_str());
    let names: BTreeSet<_> = names.collect();
    let first = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "→ nobody".to_owned(),
        1..=MOST_NAMES => format!("→ {first}"),
        all => format!("→ {first} and {} more", count((all - MOST_NAMES) as u64)),
    }
}

fn find(routes: &[RouteStatus]) -> String {
    let mut words = vec![host_text(&routes[0].host), &routes[0].host];
    for route in routes {
        words.push(&route.prefix);
        words.extend(route.servers.iter().flat_map(|it| [&it.container[..], &it.address]));
    }
    words.retain(|word| !word.is_empty());
    words.dedup();
    words.join(" ").to_lowercase()
}
