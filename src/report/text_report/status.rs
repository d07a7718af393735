//! The status on one page: processes, last change, problems, and the most important routes.
//!
//! Pure.

use super::{
    history::render_changes,
    join_lines, method_text,
    problems::{list_problems, summarize_problems},
    routes::{NO_ROUTES, count_serving, load_cells, render_route_table, request_rate},
    wrap_text,
};
use crate::{
    model::problem::Reason,
    report::{
        status::{
            LastApply, ListenerStatus, RouteStatus, ServerState, Status, port_conflict_cause,
        },
        style::{DIM, ERROR, HEADING, WARN, apply_style},
        table::{Cell, Column, TableRow, render_table},
        udp_status::{PlaneCounts, UdpStatus},
        udp_table::describe_addresses,
    },
    support::format::{format_count, format_plural, format_span},
};
use std::{cmp::Reverse, time::Duration};

/// How many routes, servers and problems fit on a page. Other commands list all.
const MAX_ROUTES: usize = 12;
const MAX_SERVERS: usize = 6;
const MAX_PROBLEMS: usize = 8;

const LISTENER_COLUMNS: [Column; 7] = [
    Column::left_aligned("LISTENER", 0),
    Column::right_aligned("ROUTES", 0),
    Column::right_aligned("SESSIONS", 2),
    Column::right_aligned("REQ/S", 1),
    Column::right_aligned("REQUESTS", 5),
    Column::right_aligned("ERRORS", 3),
    Column::right_aligned("5XX", 4),
];

pub fn render_status(status: &Status, width: Option<usize>) -> String {
    let parts = [
        render_head(status, width),
        render_banners(status, width),
        status
            .last
            .as_ref()
            .map_or_else(String::new, |last| self::render_last_change(last, status.at_ms, width)),
        render_listeners(&status.listeners, width),
        render_top_routes(&status.routes, width),
        render_top_problems(status, width),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|text| !text.is_empty()).collect();
    parts.join("\n")
}

/// Renders the state of the balancer, HAProxy and Docker.
fn render_head(status: &Status, width: Option<usize>) -> String {
    let up = span_between(status.since_ms, status.at_ms);
    let haproxy = &status.haproxy;
    let owner_note = if haproxy.managed { "" } else { ", system service" };
    let pid = haproxy.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    let old = match haproxy.old_workers {
        0 => String::new(),
        old => format!(", {} with requests in flight", format_plural(old, "old worker")),
    };
    let silent = if haproxy.answers { "" } else { ", does not answer" };
    let docker = match (status.docker.connected, status.docker.containers) {
        (_, None) => "has not answered yet".to_owned(),
        (true, Some(number)) if status.docker.is_silent() => {
            let age = format_span(Duration::from_millis(status.docker.age_ms));
            format!("connected, but no answer for {age}; {}", format_plural(number, "container"))
        }
        (true, Some(number)) => format!("connected, {}", format_plural(number, "container")),
        (false, Some(number)) => {
            format!("not connected; {} when last connected", format_plural(number, "container"))
        }
    };
    let style_of = |style_of: bool| if style_of { anstyle::Style::new() } else { ERROR };
    let line = |name: &str, style, text: String| {
        // Styled line by line, because a wrapped text has several.
        let text = wrap_text(&format!("{name:9}{text}"), 0, width);
        text.lines().map(|line| apply_style(style, line) + "\n").collect::<String>()
    };
    [
        line("Balancer", style_of(true), format!("{}, up {up}", status.version)),
        line(
            "HAProxy",
            style_of(haproxy.answers),
            format!("{}{owner_note}{pid}{old}{silent}", haproxy.version),
        ),
        line("Docker", style_of(status.docker.connected && !status.docker.is_silent()), docker),
        status
            .sources
            .iter()
            .map(|source| line("Source", style_of(source.connected), source.text()))
            .collect(),
        udp_text(status)
            .map_or_else(String::new, |text| line("UDP", style_of(status.udp.is_some()), text)),
        status.orders.as_ref().map_or_else(String::new, |orders| {
            line("Orders", style_of(orders.leader.is_some()), orders.to_string())
        }),
    ]
    .concat()
}

/// Describes docker-glue-udp if there are listeners of UDP.
fn udp_text(status: &Status) -> Option<String> {
    status.listeners.iter().find(|listener| listener.protocol == "udp")?;
    let Some(udp) = &status.udp else {
        return Some("docker-glue-udp does not answer".to_owned());
    };
    let UdpStatus { version, pid, engine, counts, .. } = udp;
    let name = format!("docker-glue-udp {version}, pid {pid}, engine {engine}");
    let text = format!("{name}: {}", describe_addresses(*engine));
    let Some(PlaneCounts { sessions, session_limit, datagrams }) = counts else {
        return Some(text);
    };
    let lost = match datagrams.dropped {
        0 => String::new(),
        dropped => format!("; {} datagrams lost", format_count(dropped)),
    };
    let (sessions, limit) = (format_count(*sessions), format_count(*session_limit));
    Some(format!("{text}; {sessions} of {limit} sessions{lost}"))
}

/// Renders warnings that must not be overlooked.
pub(crate) fn render_banners(status: &Status, width: Option<usize>) -> String {
    let rollback_banner = status.rollback.map(|rollback_status| {
        let since = span_between(rollback_status.since_ms, status.at_ms);
        let text = format!(
            "rollback to generation {} active for {since}: newer containers are not served; \
             `docker-balancer rollback --release` ends it",
            rollback_status.generation
        );
        (WARN, text)
    });
    let error_banner = status
        .trouble
        .as_ref()
        .map(|why| (ERROR, format!("last change not applied: {}", join_lines(why))));
    let banner = |(style, text): (_, String)| {
        let text = wrap_text(&format!("! {text}"), 0, width);
        text.lines().map(|line| apply_style(style, line) + "\n").collect::<String>()
    };
    rollback_banner.into_iter().chain(error_banner).map(banner).collect()
}

/// Returns the time between two moments, both in milliseconds since 1970.
fn span_between(from_ms: u64, to_ms: u64) -> String {
    format_span(Duration::from_millis(to_ms.saturating_sub(from_ms)))
}

fn render_last_change(last: &LastApply, now_ms: u64, width: Option<usize>) -> String {
    let ago = span_between(last.at_ms, now_ms);
    let how = method_text(last.how, last.why.as_deref(), last.commands, last.took_us);
    let text = format!("Changed {ago} ago by {}: {how}", join_lines(&last.cause));
    wrap_text(&text, 0, width) + &render_changes(&last.changes, &last.changed, 0, width)
}

fn render_listeners(all: &[ListenerStatus], width: Option<usize>) -> String {
    if all.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = all.iter().flat_map(listener_rows).collect();
    render_table(&LISTENER_COLUMNS, &rows, width)
}

fn listener_rows(status: &ListenerStatus) -> impl Iterator<Item = TableRow> + use<> {
    let elsewhere = if status.bound == status.port {
        String::new()
    } else {
        format!(" on port {}", status.bound)
    };
    let name = format!("{} :{}{elsewhere}", status.protocol, status.port);
    let style = if status.taken.is_some() { ERROR } else { HEADING };
    let before = [Cell::new(style, name), status.routes.to_string().into()];
    let cells = TableRow::Cells(before.into_iter().chain(load_cells(status.load)).collect());
    let conflict_row = status
        .taken
        .as_ref()
        .map(|why| TableRow::Line(Cell::new(ERROR, format!("  {}", join_lines(&port_taken(why))))));
    [cells].into_iter().chain(conflict_row)
}

fn port_taken(why: &str) -> String {
    Reason::PortTaken { why: port_conflict_cause(why).to_owned() }.to_string()
}

/// Selects the routes without a serving container, then degraded ones, then the busiest. Shows them in their usual
/// order.
fn render_top_routes(all: &[RouteStatus], width: Option<usize>) -> String {
    if all.is_empty() {
        return wrap_text(NO_ROUTES, 0, width);
    }
    let mut shown: Vec<_> = (0..all.len()).collect();
    shown.sort_by_key(|at| sort_urgency(&all[*at]));
    shown.truncate(MAX_ROUTES);
    shown.sort_unstable();
    let text = render_route_table(
        &shown.iter().map(|at| &all[*at]).collect::<Vec<_>>(),
        MAX_SERVERS,
        width,
    );
    let hidden = (0..all.len()).filter(|at| shown.binary_search(at).is_err());
    let (mut hidden_count, mut degraded) = (0, 0);
    for route in hidden.map(|at| &all[at]) {
        hidden_count += 1;
        degraded += usize::from(is_degraded(route));
    }
    let style_of = match degraded {
        0 => "all up".to_owned(),
        degraded => format!("{degraded} down"),
    };
    match hidden_count {
        0 => text,
        hidden_count => {
            let more = format!(
                "… and {}, {style_of}; `docker-balancer routes` lists them",
                format_plural(hidden_count, "further route")
            );
            text + &apply_style(DIM, wrap_text(&more, 0, width).trim_end()) + "\n"
        }
    }
}

fn sort_urgency(route: &RouteStatus) -> (bool, bool, Reverse<u64>) {
    (count_serving(route) != 0, !is_degraded(route), Reverse(request_rate(route.load)))
}

/// Whether no server serves the route, or one of its servers is down.
fn is_degraded(route: &RouteStatus) -> bool {
    count_serving(route) == 0
        || route.servers.iter().any(|status| status.state == ServerState::Down)
}

fn render_top_problems(status: &Status, width: Option<usize>) -> String {
    let all = &status.problems;
    if all.is_empty() {
        return String::new();
    }
    // Hints come last.
    let mut ordered = all.clone();
    ordered.sort_by_key(|status| status.hint);
    let shown = &ordered[..ordered.len().min(MAX_PROBLEMS)];
    let more = match all.len() - shown.len() {
        0 => String::new(),
        more => format!("; {more} more: `docker-balancer problems` lists them"),
    };
    let sum = wrap_text(&(summarize_problems(all) + &more), 0, width);
    format!("{}{}\n", list_problems(shown, width), apply_style(HEADING, sum.trim_end()))
}
