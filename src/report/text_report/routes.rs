//! Text of the routes, each with its servers under it.
//!
//! Pure.

use super::{status::render_banners, wrap_text};
use crate::{
    report::{
        exclusion::Exclusion,
        status::{Load, RouteStatus, ServerState, ServerStatus, Status},
        style::{DIM, ERROR, HEADING, OK, WARN},
        table::{Cell, Column, TableRow, render_table},
    },
    support::format::format_plural,
};
use anstyle::Style;
use std::cmp::Reverse;

const ROUTE_COLUMNS: [Column; 9] = [
    Column::left_aligned("ROUTE, SERVER", 0),
    Column::left_aligned("STATE", 0),
    Column::right_aligned("WEIGHT", 3),
    Column::right_aligned("SESSIONS", 2),
    Column::right_aligned("REQ/S", 1),
    Column::right_aligned("REQUESTS", 6),
    Column::right_aligned("ERRORS", 4),
    Column::right_aligned("5XX", 5),
    Column::left_aligned("ADDRESS", 7),
];

pub(crate) const NO_ROUTES: &str = "no routes: no container has labels for one";
pub(crate) const DOCKER_PENDING: &str = "no routes: Docker has not answered yet";

/// Renders all routes, and the warnings that must not be overlooked.
pub fn render_routes(status: &Status, width: Option<usize>) -> String {
    let (all, banners) = (&status.routes, render_banners(status, width));
    if all.is_empty() {
        let has_answered = status.docker.containers.is_some();
        return banners
            + &wrap_text(if has_answered { NO_ROUTES } else { DOCKER_PENDING }, 0, width);
    }
    let servers: usize = all.iter().map(|status| status.servers.len()).sum();
    let sum =
        format!("{}, {}", format_plural(all.len(), "route"), format_plural(servers, "server"));
    format!(
        "{banners}{}\n{sum}\n",
        render_route_table(&all.iter().collect::<Vec<_>>(), usize::MAX, width)
    )
}

/// Renders a limited number of servers for each route: first those that are not up, then the busiest.
pub(crate) fn render_route_table(
    routes: &[&RouteStatus],
    limit: usize,
    width: Option<usize>,
) -> String {
    let rows: Vec<_> = routes.iter().flat_map(|route| route_rows(route, limit)).collect();
    render_table(&ROUTE_COLUMNS, &rows, width)
}

fn route_rows(route: &RouteStatus, limit: usize) -> impl Iterator<Item = TableRow> {
    let warning = route.certificate.and_then(|certificate| {
        let style = if certificate.state.is_usable() { WARN } else { ERROR };
        Some((style, certificate.state.warning()?))
    });
    let refusal = route.refusal();
    let (style, note) = match (count_serving(route), warning) {
        (0, _) if route.on_hold => (WARN, format!("  {refusal}: no containers left")),
        (0, _) => (ERROR, format!("  {refusal}: no server available")),
        (_, Some((style, warning))) => (style, format!("  {warning}")),
        (_, None) => (HEADING, String::new()),
    };
    let head = TableRow::Line(Cell::new(style, format!("{}{note}", route.route)));
    let mut shown: Vec<_> = route.servers.iter().enumerate().collect();
    shown.sort_by_key(|(_, status)| {
        (status.state == ServerState::Up, Reverse(request_rate(status.load)))
    });
    shown.truncate(limit);
    shown.sort_by_key(|(at, _)| *at);
    let more = route.servers.len() - shown.len();
    let more = (0 < more).then(|| {
        TableRow::Line(Cell::new(DIM, format!("  … and {}", format_plural(more, "further server"))))
    });
    let shown: Vec<_> = shown.into_iter().map(|(_, status)| server_row(status)).collect();
    [head].into_iter().chain(shown).chain(more)
}

/// Returns how many of the route's servers get requests.
pub(crate) fn count_serving(route: &RouteStatus) -> usize {
    route.servers.iter().filter(|status| status.state == ServerState::Up).count()
}

fn server_row(server: &ServerStatus) -> TableRow {
    let (style, word) = state_text(server);
    let before = [
        format!("  {}", server.place()).into(),
        Cell::new(style, word),
        server.weight().to_string().into(),
    ];
    let after = [Cell::new(DIM, &server.address)];
    TableRow::Cells(before.into_iter().chain(load_cells(server.load)).chain(after).collect())
}

/// Returns the cells of sessions, rate, requests, errors and server errors.
pub(super) fn load_cells(load: Option<Load>) -> [Cell; 5] {
    // What is not counted is not 0.
    let Some(load) = load else { return std::array::from_fn(|_| Cell::new(DIM, "-")) };
    let Load { sessions, requests, rate, errors, server_errors } = load;
    let error_cell =
        |number: u64| Cell::new(if number == 0 { DIM } else { ERROR }, number.to_string());
    [
        sessions.to_string().into(),
        rate.to_string().into(),
        requests.to_string().into(),
        error_cell(errors),
        error_cell(server_errors),
    ]
}

/// Returns the rate by which the busiest are shown first.
pub(super) fn request_rate(load: Option<Load>) -> u64 {
    load.map_or(0, |load| load.rate)
}

/// Returns the state and its style. For an excluded server, the state is the reason if it is known.
fn state_text(server: &ServerStatus) -> (Style, String) {
    match server.state {
        ServerState::Up => (OK, "up".to_owned()),
        ServerState::Down => (ERROR, "down".to_owned()),
        ServerState::ZeroWeight => (WARN, "weight 0".to_owned()),
        ServerState::Backup => (WARN, "backup".to_owned()),
        ServerState::Excluded => (DIM, server.why.map_or("excluded", Exclusion::as_str).to_owned()),
    }
}
