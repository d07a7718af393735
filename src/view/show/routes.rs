//! Routes, each with its servers under it.
//!
//! Pure.

use super::{count, status::banners, wrap};
use crate::{
    view::paint::{BAD, DOUBT, FAINT, GOOD, HEAD},
    view::{
        columns::{Cell, Column, Row, columns},
        out::Out,
        status::{Load, RouteStatus, ServerState, ServerStatus, Status},
    },
};
use anstyle::Style;
use std::cmp::Reverse;

const HEADS: [Column; 9] = [
    Column::left("ROUTE, SERVER", 0),
    Column::left("STATE", 0),
    Column::right("WEIGHT", 3),
    Column::right("SESSIONS", 2),
    Column::right("REQ/S", 1),
    Column::right("REQUESTS", 6),
    Column::right("ERRORS", 4),
    Column::right("5XX", 5),
    Column::left("ADDRESS", 7),
];

pub(super) const NO_ROUTES: &str = "no routes: no container asks for any";
pub(super) const NOT_HEARD: &str = "no routes: Docker has not answered yet";

/// All of them, and what nobody should overlook.
pub fn routes(status: &Status, width: Option<usize>) -> String {
    let (all, banners) = (&status.routes, banners(status, width));
    if all.is_empty() {
        let heard = status.docker.containers.is_some();
        return banners + &wrap(if heard { NO_ROUTES } else { NOT_HEARD }, 0, width);
    }
    let servers: usize = all.iter().map(|it| it.servers.len()).sum();
    let sum = format!("{}, {}", count(all.len(), "route"), count(servers, "server"));
    format!("{banners}{}\n{sum}\n", table(&all.iter().collect::<Vec<_>>(), usize::MAX, width))
}

/// Of each route at most so many servers: those that are not up, then those with most to do.
pub(super) fn table(routes: &[&RouteStatus], most: usize, width: Option<usize>) -> String {
    let rows: Vec<_> = routes.iter().flat_map(|route| rows(route, most)).collect();
    columns(&HEADS, &rows, width)
}

fn rows(route: &RouteStatus, most: usize) -> impl Iterator<Item = Row> {
    let (style, note) = match serving(route) {
        0 if route.held => (DOUBT, "  answers 503: nobody is left"),
        0 => (BAD, "  answers 503: nobody serves"),
        _ => (HEAD, ""),
    };
    let head = Row::Line(Cell::new(style, format!("{}{note}", route.route)));
    let mut shown: Vec<_> = route.servers.iter().enumerate().collect();
    shown.sort_by_key(|(_, it)| (it.state == ServerState::Up, Reverse(it.load.rate)));
    shown.truncate(most);
    shown.sort_by_key(|(at, _)| *at);
    let more = route.servers.len() - shown.len();
    let more = (0 < more)
        .then(|| Row::Line(Cell::new(FAINT, format!("  … and {}", count(more, "further server")))));
    let shown: Vec<_> = shown.into_iter().map(|(_, it)| server(it)).collect();
    [head].into_iter().chain(shown).chain(more)
}

/// How many of its servers get requests.
pub(super) fn serving(route: &RouteStatus) -> usize {
    route.servers.iter().filter(|it| it.state == ServerState::Up).count()
}

fn server(server: &ServerStatus) -> Row {
    let Load { sessions, requests, rate, errors, server_errors } = server.load;
    let (style, word) = state(server);
    let wrong = |number: u64| Cell::new(if number == 0 { FAINT } else { BAD }, number.to_string());
    Row::Cells(vec![
        format!("  {}", server.container).into(),
        Cell::new(style, word),
        server.weight.to_string().into(),
        sessions.to_string().into(),
        rate.to_string().into(),
        requests.to_string().into(),
        wrong(errors),
        wrong(server_errors),
        Cell::new(FAINT, &server.address),
    ])
}

/// HAProxy's own word where it says more than ours.
fn state(server: &ServerStatus) -> (Style, String) {
    match server.state {
        ServerState::Up => (GOOD, "up".to_owned()),
        ServerState::Down => (BAD, "down".to_owned()),
        ServerState::Weightless => (DOUBT, "weight 0".to_owned()),
        ServerState::Reserve => (DOUBT, "reserve".to_owned()),
        ServerState::Out => (FAINT, server.why.map_or("out", Out::word).to_owned()),
    }
}
