//! All of it on a page: what runs, what changed last, what is wrong, and the routes that matter most.
//!
//! Pure.

use super::{
    count,
    history::changes,
    how, plain,
    problems::{list, sum},
    routes::{NO_ROUTES, serving, table},
    span, wrap,
};
use crate::{
    view::paint::{BAD, DOUBT, FAINT, HEAD, paint},
    view::{
        columns::{Cell, Column, Row, columns},
        status::{LastApply, ListenerStatus, Load, RouteStatus, ServerState, Status},
    },
};
use std::cmp::Reverse;

/// So many routes and problems fit a page; the commands for them list all.
const MOST_ROUTES: usize = 12;
const MOST_SERVERS: usize = 6;
const MOST_PROBLEMS: usize = 8;

const LISTENERS: [Column; 7] = [
    Column::left("LISTENER", 0),
    Column::right("ROUTES", 0),
    Column::right("SESSIONS", 2),
    Column::right("REQ/S", 1),
    Column::right("REQUESTS", 5),
    Column::right("ERRORS", 3),
    Column::right("5XX", 4),
];

pub fn status(status: &Status, width: Option<usize>) -> String {
    let parts = [
        head(status, width),
        banners(status, width),
        status.last.as_ref().map_or_else(String::new, |last| self::last(last, status.at_ms, width)),
        listeners(&status.listeners, width),
        routes(&status.routes, width),
        problems(status, width),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|it| !it.is_empty()).collect();
    parts.join("\n")
}

/// Who runs, and whether both neighbours are there.
fn head(status: &Status, width: Option<usize>) -> String {
    let up = span(status.since_ms, status.at_ms);
    let haproxy = &status.haproxy;
    let theirs = if haproxy.managed { "" } else { ", a service's" };
    let pid = haproxy.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    let old = match haproxy.old_workers {
        0 => String::new(),
        old => format!(", {} with requests that have not ended", count(old, "old worker")),
    };
    let silent = if haproxy.answers { "" } else { ", does not answer" };
    let docker = match (status.docker.connected, status.docker.containers) {
        (_, None) => "has not answered yet".to_owned(),
        (true, Some(number)) if status.docker.is_silent() => {
            let age = span(status.at_ms.saturating_sub(status.docker.age_ms), status.at_ms);
            format!("connected, but silent for {age}; {}", count(number, "container"))
        }
        (true, Some(number)) => format!("connected, {}", count(number, "container")),
        (false, Some(number)) => {
            format!("away; {} when it was last heard", count(number, "container"))
        }
    };
    let well = |well: bool| if well { anstyle::Style::new() } else { BAD };
    let line = |name: &str, style, text: String| {
        // Styled by line, as a wrapped one has several.
        let text = wrap(&format!("{name:9}{text}"), 0, width);
        text.lines().map(|line| paint(style, line) + "\n").collect::<String>()
    };
    [
        line("Balancer", well(true), format!("{}, up {up}", status.version)),
        line(
            "HAProxy",
            well(haproxy.answers),
            format!("{}{theirs}{pid}{old}{silent}", haproxy.version),
        ),
        line("Docker", well(status.docker.connected && !status.docker.is_silent()), docker),
    ]
    .concat()
}

/// What nobody should overlook.
pub(super) fn banners(status: &Status, width: Option<usize>) -> String {
    let held = status.rollback.map(|it| {
        let since = span(it.since_ms, status.at_ms);
        let text = format!(
            "held at generation {} for {since}: what came later is not served; \
             `docker-balancer rollback --release` follows the containers again",
            it.generation
        );
        (DOUBT, text)
    });
    let trouble = status.trouble.as_ref().map(|why| (BAD, format!("not applied: {}", plain(why))));
    let banner = |(style, text): (_, String)| {
        let text = wrap(&format!("! {text}"), 0, width);
        text.lines().map(|line| paint(style, line) + "\n").collect::<String>()
    };
    held.into_iter().chain(trouble).map(banner).collect()
}

fn last(last: &LastApply, now_ms: u64, width: Option<usize>) -> String {
    let ago = span(last.at_ms, now_ms);
    let how = how(last.how, last.why.as_deref(), last.commands, last.took_us);
    let text = format!("Changed {ago} ago by {}: {how}", plain(&last.cause));
    wrap(&text, 0, width) + &changes(&last.changes, 0, width)
}

fn listeners(all: &[ListenerStatus], width: Option<usize>) -> String {
    if all.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = all.iter().flat_map(listener).collect();
    columns(&LISTENERS, &rows, width)
}

fn listener(it: &ListenerStatus) -> impl Iterator<Item = Row> + use<> {
    let Load { sessions, requests, rate, errors, server_errors } = it.load;
    let elsewhere =
        if it.bound == it.port { String::new() } else { format!(" on port {}", it.bound) };
    let name = format!("{} :{}{elsewhere}", it.protocol, it.port);
    let style = if it.taken.is_some() { BAD } else { HEAD };
    let wrong = |number: u64| Cell::new(if number == 0 { FAINT } else { BAD }, number.to_string());
    let cells = Row::Cells(vec![
        Cell::new(style, name),
        it.routes.to_string().into(),
        sessions.to_string().into(),
        rate.to_string().into(),
        requests.to_string().into(),
        wrong(errors),
        wrong(server_errors),
    ]);
    let taken = it.taken.as_ref().map(|why| Row::Line(Cell::new(BAD, format!("  {}", plain(why)))));
    [cells].into_iter().chain(taken)
}

/// Those that nobody serves, those that are not whole, and those with most to do; shown in their order.
fn routes(all: &[RouteStatus], width: Option<usize>) -> String {
    if all.is_empty() {
        return wrap(NO_ROUTES, 0, width);
    }
    let mut shown: Vec<_> = (0..all.len()).collect();
    shown.sort_by_key(|at| urgency(&all[*at]));
    shown.truncate(MOST_ROUTES);
    shown.sort_unstable();
    let text = table(&shown.iter().map(|at| &all[*at]).collect::<Vec<_>>(), MOST_SERVERS, width);
    let hidden = (0..all.len()).filter(|at| shown.binary_search(at).is_err());
    let (mut left, mut unwell) = (0, 0);
    for route in hidden.map(|at| &all[at]) {
        left += 1;
        unwell += usize::from(ailing(route));
    }
    let well = match unwell {
        0 => "all well".to_owned(),
        unwell => format!("{unwell} of them not well"),
    };
    match left {
        0 => text,
        left => {
            let more = format!(
                "… and {}, {well}; `docker-balancer routes` lists them",
                count(left, "further route")
            );
            text + &paint(FAINT, wrap(&more, 0, width).trim_end()) + "\n"
        }
    }
}

fn urgency(route: &RouteStatus) -> (bool, bool, Reverse<u64>) {
    (serving(route) != 0, !ailing(route), Reverse(route.load.rate))
}

/// Nobody serves it, or somebody who should does not.
fn ailing(route: &RouteStatus) -> bool {
    serving(route) == 0 || route.servers.iter().any(|it| it.state == ServerState::Down)
}

fn problems(status: &Status, width: Option<usize>) -> String {
    let all = &status.problems;
    if all.is_empty() {
        return String::new();
    }
    // Hints come last.
    let mut ordered = all.clone();
    ordered.sort_by_key(|it| it.hint);
    let shown = &ordered[..ordered.len().min(MOST_PROBLEMS)];
    let more = match all.len() - shown.len() {
        0 => String::new(),
        more => format!("; {more} more: `docker-balancer problems` lists them"),
    };
    let sum = wrap(&(sum(all) + &more), 0, width);
    format!("{}{}\n", list(shown, width), paint(HEAD, sum.trim_end()))
}
