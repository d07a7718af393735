//! A path of a host, and the containers behind it.
//!
//! Pure.

use super::{CountFormat, StatusIcon};
use crate::{
    model::{label_option::OptionValue, option_value::CheckMethod},
    report::status::{Load, RouteStatus, ServerState, ServerStatus},
    support::format::format_duration,
};
use std::time::Duration;

/// A route of the host.
#[derive(Debug, Clone)]
pub struct PathGroup {
    pub path: String,
    /// Whether the path is shown as a title, because it is not the whole host.
    pub titled: bool,
    /// Options that differ from the default.
    pub options: Vec<String>,
    /// Why no container serves it, if none does.
    pub unserved: Option<&'static str>,
    pub rows: Vec<ServerRow>,
}

/// A container.
#[derive(Debug, Clone)]
pub struct ServerRow {
    pub mark: StatusIcon,
    pub state: &'static str,
    /// HAProxy's word for the state, if it contains more.
    pub haproxy: Option<String>,
    pub container: String,
    pub id: String,
    pub address: String,
    pub weight: u16,
    /// Percent of the path's requests.
    pub share: u64,
    pub rate: String,
    pub open: String,
    /// `None` if there are none.
    pub errors: Option<String>,
    pub server_errors: Option<String>,
}

impl PathGroup {
    pub(crate) fn from_route(route: &RouteStatus, counts: CountFormat) -> Self {
        let gets = |status: &&ServerStatus| status.state == ServerState::Up;
        let total: u64 =
            route.servers.iter().filter(gets).map(|status| u64::from(status.weight())).sum();
        Self {
            path: match route.protocol.as_str() {
                "tcp" => "connections".to_owned(),
                "udp" => "datagrams".to_owned(),
                _ if route.exact => format!("{}, exactly", route.prefix),
                _ if route.prefix.is_empty() => "/".to_owned(),
                _ => route.prefix.clone(),
            },
            titled: true,
            options: route.policy.iter().map(option_note).collect(),
            unserved: no_server_note(route),
            rows: route
                .servers
                .iter()
                .map(|status| ServerRow::from_server(status, total, counts))
                .collect(),
        }
    }
}

/// Whether it is a route of connections or datagrams, and not of requests.
pub(super) fn is_stream(route: &RouteStatus) -> bool {
    matches!(route.protocol.as_str(), "tcp" | "udp")
}

fn no_server_note(route: &RouteStatus) -> Option<&'static str> {
    let is = |state| route.servers.iter().any(|status| status.state == state);
    match () {
        () if is(ServerState::Up) => None,
        () if is_stream(route) && route.on_hold => Some("last container gone"),
        () if is_stream(route) && is(ServerState::Down) => Some("all servers down"),
        () if is_stream(route) => Some("no server available"),
        () if route.on_hold => Some("last container gone: responding 503 for a while"),
        () if is(ServerState::Down) => Some("all servers down: responding 503"),
        () => Some("no server available: responding 503"),
    }
}

fn option_note(value: &OptionValue) -> String {
    match value {
        OptionValue::StripPrefix(_) => "strips the prefix".to_owned(),
        OptionValue::Check(CheckMethod::Off) => "not checked".to_owned(),
        OptionValue::Timeout(time) => {
            format!("timeout {}", format_duration(Duration::from_millis(time.as_millis())))
        }
        value => format!("{} {value}", value.option()),
    }
}

impl ServerRow {
    fn from_server(server: &ServerStatus, total: u64, counts: CountFormat) -> Self {
        let ServerStatus { container, id, address, state, load, .. } = server;
        let weight = server.weight();
        let gets = if *state == ServerState::Up { u64::from(weight) } else { 0 };
        let plain = |word: &&String| {
            !matches!(word.as_str(), "UP" | "no check" | "DOWN" | "MAINT") && !word.is_empty()
        };
        let (mark, word) = StatusIcon::for_server(server);
        let some = |of: fn(&Load) -> u64| {
            let number = load.as_ref().map(of).filter(|number| *number != 0)?;
            Some(counts.format_number(Some(number)))
        };
        Self {
            mark,
            state: word,
            haproxy: server.haproxy.as_ref().filter(plain).cloned(),
            container: container.clone(),
            id: id.clone(),
            address: address.clone(),
            weight,
            share: (gets * 200 + total) / (total * 2).max(1),
            rate: counts.format_number(load.map(|load| load.rate)),
            open: counts.format_number(load.map(|load| load.sessions)),
            errors: some(|load| load.errors),
            server_errors: some(|load| load.server_errors),
        }
    }
}
