//! An explanation for people: what becomes of the request, then why, step by step.

use super::table::{Painted, painted, table};
use crate::problem::is_strange;
use crate::view::explain::{
    Absent, Again, Asked, Becomes, Explanation, Lost, Outcome, RouteStep, ServerState, ServerStep,
    Source,
};
use crate::view::paint::{BAD, DOUBT, FAINT, GOOD, HEAD, PLAIN};
use std::time::Duration;

/// Of those that lost, and of those that are absent, no more are shown; the JSON has all.
const MOST: usize = 20;

/// With colours, which whoever prints it takes out again where they are not wanted.
pub fn human(it: &Explanation) -> String {
    let mut text = heading(it);
    text.push('\n');
    text.push_str(&table(&chain(it)));
    section(&mut text, lost_title(it), &lost(it));
    section(&mut text, "takes no part", &absent(it));
    section(&mut text, "note", &hints(it));
    text
}

fn heading(it: &Explanation) -> String {
    let (style, word) = match it.outcome {
        Outcome::Served => (GOOD, "served".to_owned()),
        Outcome::Unavailable => (DOUBT, "503 Service Unavailable".to_owned()),
        Outcome::NotFound => (BAD, "404 Not Found".to_owned()),
        Outcome::Refused => (BAD, format!("{} by HAProxy", it.status.unwrap_or(400))),
        Outcome::NobodyListens => (BAD, "nobody listens".to_owned()),
    };
    let by_docker = "so this is what one would do by Docker's answer";
    let asked = match (it.asked, &it.daemon_said) {
        (Asked::Daemon, _) => String::new(),
        (Asked::Docker, None) => format!("no docker-balancer answers, {by_docker}\n"),
        (Asked::Docker, Some(said)) => {
            format!("docker-balancer answers {said:?}, {by_docker}\n")
        }
    };
    let (request, outcome) =
        (painted(HEAD, format!("{} {}", it.method, it.url)), painted(style, word));
    format!("{request}\n{outcome}: {}\n{}", it.why, painted(FAINT, asked))
}

fn chain(it: &Explanation) -> Vec<Vec<Painted>> {
    let mut rows = vec![row("listener", listener(it), &it.listener.labels)];
    if let Some(host) = &it.host {
        let matched = match host.matched.as_str() {
            "*" => format!("{}, by any host", host.asked),
            matched if matched == host.asked => matched.to_owned(),
            matched => format!("{}, by {matched}", host.asked),
        };
        rows.push(row("host", painted(PLAIN, matched), &host.labels));
    }
    if let Some(route) = &it.route {
        rows.push(row("path", painted(PLAIN, path(route)), &route.labels));
    }
    let shares = shares(&it.servers);
    for (at, (server, share)) in it.servers.iter().zip(shares).enumerate() {
        let title = if at == 0 { "servers" } else { "" };
        rows.push(row(title, painted(state(server), share), server.label.as_slice()));
    }
    rows.extend(it.becomes.iter().flat_map(|becomes| becomes_rows(&it.method, becomes)));
    rows
}

fn row(title: &str, what: Painted, labels: &[Source]) -> Vec<Painted> {
    vec![painted(FAINT, title), what, painted(FAINT, written(labels))]
}

fn listener(it: &Explanation) -> Painted {
    let (port, bound) = (it.listener.port, it.listener.bound);
    match (&it.listener.taken, it.outcome) {
        (Some(why), _) => painted(BAD, format!("http :{port} is {why}")),
        (None, Outcome::NobodyListens) => painted(BAD, format!("http :{port} is not there")),
        _ if port == bound => painted(PLAIN, format!("http :{port}")),
        _ => painted(PLAIN, format!("http :{port}, bound to {bound}")),
    }
}

fn path(route: &RouteStep) -> String {
    match route.prefix.as_str() {
        "" => "/, the whole host".to_owned(),
        prefix => format!("{prefix}/"),
    }
}

fn state(server: &ServerStep) -> anstyle::Style {
    if server.state == ServerState::Up { GOOD } else { BAD }
}

/// One line each, in columns.
fn shares(servers: &[ServerStep]) -> Vec<String> {
    let widest = |text: fn(&ServerStep) -> &String| {
        servers.iter().map(|it| text(it).chars().count()).max().unwrap_or(0)
    };
    let (to, then_to) = (widest(|it| &it.container), widest(|it| &it.address));
    let line = |it: &ServerStep| {
        let ServerStep { container, address, weight, percent, .. } = it;
        let said = said(it);
        format!("{container:to$}  {address:then_to$}  {said}  weight {weight:<3}  {percent:>5} %")
    };
    servers.iter().map(line).collect()
}

fn said(server: &ServerStep) -> String {
    let known = server.haproxy.as_deref().filter(|it| *it != "UP" && *it != "no check");
    match (server.state, known) {
        (ServerState::Up, None) => "up".to_owned(),
        (_, said) => format!("HAProxy says {}", said.unwrap_or("DOWN")),
    }
}

fn becomes_rows(method: &str, it: &Becomes) -> Vec<Vec<Painted>> {
    let timeout = humantime::format_duration(Duration::from_millis(it.timeout_ms)).to_string();
    let again = match it.again {
        Again::Never => "not sent again",
        Again::Unsent => "sent again only if it did not reach a container",
        Again::Unanswered => "sent again, also if a container died over it",
    };
    let lines = [
        ("becomes", format!("{method} {}", it.path), "strip_prefix"),
        ("timeout", timeout, "timeout"),
        ("retry", format!("{}: {again}", it.retry), "retry"),
        ("check", it.check.clone(), "check"),
    ];
    let painted_row = |(title, text, option): (&str, String, &str)| {
        let label = it.labels.iter().find(|label| is_option(&label.key, option));
        row(title, painted(PLAIN, text), &label.cloned().into_iter().collect::<Vec<_>>())
    };
    lines.into_iter().map(painted_row).collect()
}

/// `glue_http_80_check` and `glue_http_80_check.admin`.
fn is_option(key: &str, option: &str) -> bool {
    key.split('.').next().unwrap_or_default().ends_with(&format!("_{option}"))
}

fn lost_title(it: &Explanation) -> &'static str {
    if it.route.is_some() { "also matches" } else { "comes near" }
}

fn lost(it: &Explanation) -> Vec<Vec<Painted>> {
    let row = |it: &Lost| {
        let names = some_of(it.containers.iter());
        vec![painted(PLAIN, &it.route), painted(PLAIN, &it.text), painted(FAINT, names)]
    };
    cut(it.lost.iter().map(row).collect())
}

fn absent(it: &Explanation) -> Vec<Vec<Painted>> {
    let row = |it: &Absent| {
        let label = it.label.as_ref().map(label).unwrap_or_default();
        vec![painted(DOUBT, &it.container), painted(PLAIN, plain(&it.text)), painted(FAINT, label)]
    };
    cut(it.absent.iter().map(row).collect())
}

fn hints(it: &Explanation) -> Vec<Vec<Painted>> {
    let meant = it.did_you_mean.as_ref().map(|host| format!("did you mean {host}?"));
    let elsewhere = it.elsewhere.iter().map(|url| format!("{url} is answered"));
    let all = meant.into_iter().chain(elsewhere).chain(it.notes.iter().map(|it| plain(it)));
    all.map(|text| vec![painted(PLAIN, text)]).collect()
}

fn section(text: &mut String, title: &str, rows: &[Vec<Painted>]) {
    if !rows.is_empty() {
        let title = painted(HEAD, title).to_string();
        text.extend(["\n", &title, "\n", &table(rows)]);
    }
}

fn cut(mut rows: Vec<Vec<Painted>>) -> Vec<Vec<Painted>> {
    let more = rows.len().saturating_sub(MOST);
    if 0 < more {
        rows.truncate(MOST);
        rows.push(vec![painted(FAINT, format!("and {more} more"))]);
    }
    rows
}

/// The first one's, whose they are, and who says it in other words.
fn written(labels: &[Source]) -> String {
    let Some(first) = labels.first() else { return String::new() };
    let same = |it: &&Source| (&it.key, &it.value) == (&first.key, &first.value);
    let (same, others): (Vec<_>, Vec<_>) = labels.iter().partition(same);
    let names = |all: Vec<&Source>| some_of(all.into_iter().map(|it| &it.container));
    let also = if others.is_empty() { "" } else { ", otherwise of " };
    format!("{} of {}{also}{}", label(first), names(same), names(others))
}

/// As it is written, on one line.
fn label(it: &Source) -> String {
    let variable = if it.environment { " (environment)" } else { "" };
    let label = format!("{}={}", it.key, it.value);
    format!("{}{variable}", plain(&label))
}

fn some_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    match &names[..] {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, other] => format!("{one}, {other}"),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    }
}

/// Nothing of a label speaks to the terminal.
fn plain(text: &str) -> String {
    let escaped = |c: char| {
        let shown = if is_strange(c) { c.escape_default().to_string() } else { c.to_string() };
        shown.chars().collect::<Vec<_>>()
    };
    text.chars().flat_map(escaped).collect()
}
