//! The groups of the page: each host with its paths and containers.
//!
//! Pure.

use super::{CountFormat, PathGroup, ServerRow, StatusIcon, row};
use crate::{
    report::{
        certificates::ServingState,
        status::{RouteStatus, Status},
    },
    support::format::{format_count, format_plural},
};
use std::collections::BTreeSet;

/// With more groups than this, only those with an unserved path are open at first.
const MAX_OPEN_GROUPS: usize = 30;
/// How many container names a closed group shows.
const MAX_NAMES: usize = 3;

/// A host on a listener, with its paths.
#[derive(Debug, Clone)]
pub struct HostGroup {
    /// For example `app.example.com:80`.
    pub id: String,
    pub host: String,
    pub port: u16,
    pub mark: StatusIcon,
    /// For example `served`.
    pub state: &'static str,
    pub open: bool,
    pub size: String,
    /// The names of its containers, shown instead of its size while the group is closed.
    pub names: String,
    pub rate: String,
    /// What is wrong with the certificate of an HTTPS host.
    pub certificate: Option<&'static str>,
    pub paths: Vec<PathGroup>,
    /// All text that the filter searches, in lower case.
    pub find: String,
    /// Whether the filter excludes this group.
    pub hidden: bool,
}

/// Builds the groups. Routes are sorted by listener, host and path, so the routes of one host are adjacent.
pub(crate) fn build_groups(status: &Status, filter: &str) -> Vec<HostGroup> {
    let key = |route: &RouteStatus| (route.protocol.clone(), route.port, route.host.clone());
    let routes = status.routes.chunk_by(|a, b| key(a) == key(b));
    let counts = CountFormat(status.haproxy.answers);
    let mut groups: Vec<_> =
        routes.map(|statuses| HostGroup::from_routes(statuses, counts)).collect();
    let few = groups.len() <= MAX_OPEN_GROUPS;
    for group in &mut groups {
        group.open = few || group.mark == StatusIcon::Down;
        group.hidden = !group.find.contains(filter);
    }
    groups
}

impl HostGroup {
    fn from_routes(routes: &[RouteStatus], counts: CountFormat) -> Self {
        let RouteStatus { host, port, protocol, .. } = &routes[0];
        let is_stream = row::is_stream(&routes[0]);
        let servers: usize = routes.iter().map(|status| status.servers.len()).sum();
        let mut paths: Vec<_> =
            routes.iter().map(|status| PathGroup::from_route(status, counts)).collect();
        if let [PathGroup { path, options, titled, .. }] = &mut paths[..] {
            *titled = path != "/" && !is_stream || !options.is_empty();
        }
        let certificate = routes[0].certificate.map(|certificate| certificate.state);
        let (mark, state) = match certificate {
            Some(certificate) if !certificate.is_usable() => (StatusIcon::Down, "TLS fails"),
            _ => group_state(&paths),
        };
        Self {
            id: if is_stream {
                format!("{protocol}-{host}:{port}")
            } else {
                format!("{host}:{port}")
            },
            host: if is_stream {
                format!("{} {}", protocol.to_uppercase(), host_label(host))
            } else {
                host_label(host).to_owned()
            },
            port: *port,
            mark,
            state,
            open: true,
            size: format!(
                "{}, {}",
                format_plural(paths.len(), "path"),
                format_plural(servers, "container")
            ),
            names: container_names(routes),
            rate: counts
                .format_number(routes.iter().map(|status| status.load.map(|load| load.rate)).sum()),
            find: search_text(routes),
            certificate: certificate.and_then(ServingState::warning),
            paths,
            hidden: false,
        }
    }
}

fn host_label(host: &str) -> &str {
    if host == "*" { "any host" } else { host }
}

fn group_state(paths: &[PathGroup]) -> (StatusIcon, &'static str) {
    let served = paths.iter().filter(|group| group.unserved.is_none()).count();
    let up = |row: &ServerRow| {
        matches!(row.mark, StatusIcon::Up | StatusIcon::Backup | StatusIcon::ZeroWeight)
    };
    match served {
        0 => (StatusIcon::Down, "not served"),
        _ if served < paths.len() => (StatusIcon::Down, "partly served"),
        _ if paths.iter().flat_map(|group| &group.rows).all(up) => (StatusIcon::Up, "served"),
        _ => (StatusIcon::Partly, "served by some"),
    }
}

/// Returns for example `→ web-1, web-2 and 3 more`.
fn container_names(routes: &[RouteStatus]) -> String {
    let names =
        routes.iter().flat_map(|status| &status.servers).map(|status| status.container.as_str());
    let names: BTreeSet<_> = names.collect();
    let first = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "→ no containers".to_owned(),
        1..=MAX_NAMES => format!("→ {first}"),
        all => format!("→ {first} and {} more", format_count((all - MAX_NAMES) as u64)),
    }
}

fn search_text(routes: &[RouteStatus]) -> String {
    let mut words = vec![host_label(&routes[0].host), &routes[0].host, &routes[0].protocol];
    for route in routes {
        words.push(&route.prefix);
        words.extend(
            route.servers.iter().flat_map(|status| [&status.container[..], &status.address]),
        );
    }
    words.retain(|word| !word.is_empty());
    words.dedup();
    words.join(" ").to_lowercase()
}
