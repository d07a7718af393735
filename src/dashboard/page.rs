//! What the page says: a status in groups, rows and words.
//!
//! Pure. Templates print what is here; what is said, and how, is decided here.

use super::words::{ago, clock, count, several, span, timeout, took};
use crate::{
    haproxy::stat::Counters,
    label::value::Timeout,
    view::{
        Applied, Picture,
        status::{
            HowStatus, LastApply, Load, ProblemStatus, RouteStatus, ServerState, ServerStatus,
            Status,
        },
    },
};
use std::collections::BTreeSet;

/// With more groups than these, only those where something is wrong stand open at first.
const MOST_OPEN: usize = 30;
/// Of all problems, changes of one pass, and passes.
const MOST_PROBLEMS: usize = 100;
const MOST_LINES: usize = 6;
const MOST_RECENT: usize = 20;
/// Of a group's containers, while it is closed.
const MOST_NAMES: usize = 3;
/// Of what a label says.
const MOST_LETTERS: usize = 200;

#[derive(Debug, Clone)]
pub struct Page {
    pub head: Head,
    pub problems: Problems,
    pub welcome: Option<Welcome>,
    pub recent: Vec<Pass>,
    pub groups: Vec<Group>,
}

/// How it is altogether.
#[derive(Debug, Clone)]
pub struct Head {
    pub version: String,
    pub up: String,
    pub docker: Light,
    pub haproxy: Light,
    pub listeners: Vec<Port>,
    pub routes: String,
    pub rate: String,
    pub open: String,
    pub last: Option<Pass>,
    pub trouble: Option<String>,
}

/// A neighbour: there or not.
#[derive(Debug, Clone)]
pub struct Light {
    pub mark: Mark,
    pub text: String,
    pub more: String,
}

#[derive(Debug, Clone)]
pub struct Port {
    pub name: String,
    /// `on port 8080`, where another port is bound for it.
    pub bound: Option<String>,
    pub taken: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// `2 problems, 1 hint`
    pub title: String,
    pub list: Vec<Trouble>,
    /// Those that are left out.
    pub more: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Trouble {
    pub hint: bool,
    /// The container, or the listener.
    pub about: String,
    pub id: Option<String>,
    pub label: Option<String>,
    pub reason: String,
}

/// Why there is nothing to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Docker was not heard yet.
    Waiting,
    NoRoutes,
}

/// A pass that changed something.
#[derive(Debug, Clone)]
pub struct Pass {
    pub clock: String,
    pub ago: String,
    pub cause: String,
    /// `4 commands in 1.2 ms`
    pub how: String,
    pub why: Option<String>,
    pub lines: Vec<Line>,
    pub more: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub sign: Sign,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Came,
    Went,
    Differs,
}

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

#[derive(Debug, Clone)]
pub struct Path {
    pub path: String,
    /// It is not just all of the host.
    pub titled: bool,
    /// What is special about it.
    pub options: Vec<String>,
    /// Why nobody serves it, where nobody does.
    pub nobody: Option<&'static str>,
    pub rows: Vec<Row>,
}

/// A container.
#[derive(Debug, Clone)]
pub struct Row {
    pub mark: Mark,
    pub state: &'static str,
    /// HAProxy's word, where it says more.
    pub haproxy: Option<String>,
    pub container: String,
    pub id: String,
    pub address: String,
    pub weight: u16,
    /// Percent of the path's requests.
    pub share: u64,
    pub rate: String,
    pub open: String,
    /// Where there are any.
    pub errors: Option<String>,
    pub server_errors: Option<String>,
}

/// A shape, that says without colour how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Up,
    Weightless,
    Reserve,
    Out,
    Partly,
    Down,
}

impl Page {
    /// Without `counters` where HAProxy does not say them.
    pub fn of_picture(picture: &Picture, counters: Option<&Counters>, wanted: &str) -> Self {
        Self::of(&Status::of(picture, counters), picture.recent.iter(), wanted)
    }

    /// `recent` has the newest first. Groups in which `wanted` does not occur are hidden.
    pub fn of<'a>(
        status: &Status,
        recent: impl Iterator<Item = &'a Applied>,
        wanted: &str,
    ) -> Self {
        let pass = |it: &Applied| Pass::of(&LastApply::from(it), status.at_ms);
        let groups = groups(status, &wanted.trim().to_lowercase());
        Self {
            head: Head::of(status),
            problems: problems(&status.problems),
            welcome: welcome(status, &groups),
            recent: recent.take(MOST_RECENT).map(pass).collect(),
            groups,
        }
    }
}

fn welcome(status: &Status, groups: &[Group]) -> Option<Welcome> {
    match (groups.is_empty(), status.docker.containers) {
        (false, _) => None,
        (true, None) => Some(Welcome::Waiting),
        (true, Some(_)) => Some(Welcome::NoRoutes),
    }
}

impl Head {
    fn of(status: &Status) -> Self {
        let counted = Counted(status.haproxy.answers);
        let sum = |of: fn(&Load) -> u64| {
            counted.say(status.listeners.iter().map(|it| of(&it.load)).sum())
        };
        Self {
            version: status.version.clone(),
            up: span(status.at_ms.saturating_sub(status.since_ms) / 1000),
            docker: docker(status),
            haproxy: haproxy(status),
            listeners: status
                .listeners
                .iter()
                .map(|it| Port {
                    name: format!("{} :{}", it.protocol, it.port),
                    bound: (it.bound != it.port).then(|| format!("on port {}", it.bound)),
                    taken: it.taken.is_some(),
                })
                .collect(),
            routes: several(status.routes.len(), "route"),
            rate: sum(|it| it.rate),
            open: sum(|it| it.sessions),
            last: status.last.as_ref().map(|it| Pass::of(it, status.at_ms)),
            trouble: status.trouble.clone(),
        }
    }
}

fn docker(status: &Status) -> Light {
    let it = &status.docker;
    Light {
        mark: if it.connected { Mark::Up } else { Mark::Down },
        text: if it.connected { "Docker connected" } else { "Docker away" }.to_owned(),
        more: match (it.containers, it.connected) {
            (Some(number), _) => several(number, "container"),
            (None, true) => "it lists its containers".to_owned(),
            (None, false) => "it did not answer yet".to_owned(),
        },
    }
}

fn haproxy(status: &Status) -> Light {
    let it = &status.haproxy;
    let whose = if it.managed { "ours" } else { "a service" };
    let old = (it.old_workers != 0).then(|| several(it.old_workers, "old worker"));
    let pid = it.pid.map(|pid| format!("pid {pid}"));
    let more = [Some(whose.to_owned()), pid, old];
    Light {
        mark: if it.answers { Mark::Up } else { Mark::Down },
        text: format!(
            "HAProxy {} {}",
            it.version,
            if it.answers { "answers" } else { "does not answer" }
        ),
        more: more.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

fn problems(all: &[ProblemStatus]) -> Problems {
    let (hints, real): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.hint);
    let titles = [(real.len(), "problem"), (hints.len(), "hint")];
    let titles = titles.into_iter().filter(|(number, _)| *number != 0);
    let left_out = all.len().saturating_sub(MOST_PROBLEMS);
    Problems {
        title: titles.map(|(number, what)| several(number, what)).collect::<Vec<_>>().join(", "),
        list: real.iter().chain(&hints).take(MOST_PROBLEMS).map(|it| Trouble::of(it)).collect(),
        more: (left_out != 0).then(|| format!("and {} more", count(left_out as u64))),
    }
}

impl Trouble {
    fn of(problem: &ProblemStatus) -> Self {
        let about = problem.container.as_ref().or(problem.listener.as_ref());
        let label = problem.label.as_ref().map(|label| match &problem.value {
            Some(value) => format!("{}={}", plain(label), plain(value)),
            None => plain(label),
        });
        Self {
            hint: problem.hint,
            about: about.cloned().unwrap_or_default(),
            id: problem.id.clone(),
            label,
            reason: problem.reason.clone(),
        }
    }
}

/// What somebody else wrote: what cannot be seen, or turns the direction of writing, as its number.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().take(MOST_LETTERS) {
        match c {
            '"' | '\'' | '\\' => plain.push(c),
            c => plain.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MOST_LETTERS).is_some() { plain + "…" } else { plain }
}

impl Pass {
    fn of(it: &LastApply, now_ms: u64) -> Self {
        let took = took(it.took_us);
        let left_out = it.changes.len().saturating_sub(MOST_LINES);
        Self {
            clock: clock(it.at_ms),
            ago: ago(it.at_ms, now_ms),
            cause: it.cause.clone(),
            how: match it.how {
                HowStatus::Runtime => format!("{} in {took}", several(it.commands, "command")),
                HowStatus::Start => format!("HAProxy started in {took}"),
                HowStatus::Reload => format!("HAProxy reloaded in {took}"),
            },
            why: it.why.clone(),
            lines: it.changes.iter().take(MOST_LINES).map(|text| Line::of(text)).collect(),
            more: (left_out != 0).then(|| format!("and {} more", count(left_out as u64))),
        }
    }
}

impl Line {
    fn of(text: &str) -> Self {
        let (sign, rest) = text.split_once(' ').unwrap_or(("~", text));
        let sign = match sign {
            "+" => Sign::Came,
            "-" => Sign::Went,
            _ => Sign::Differs,
        };
        Self { sign, text: rest.to_owned() }
    }
}

impl Sign {
    pub fn text(self) -> &'static str {
        match self {
            Self::Came => "+",
            Self::Went => "−",
            Self::Differs => "~",
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Came => "came",
            Self::Went => "went",
            Self::Differs => "differs",
        }
    }
}

/// Routes stand in the order of listener, host and path, so those of a host stand together.
fn groups(status: &Status, wanted: &str) -> Vec<Group> {
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

impl Path {
    fn of(route: &RouteStatus, counted: Counted) -> Self {
        let gets = |it: &&ServerStatus| it.state == ServerState::Up;
        let total: u64 = route.servers.iter().filter(gets).map(|it| u64::from(it.weight)).sum();
        Self {
            path: if route.prefix.is_empty() { "/".to_owned() } else { route.prefix.clone() },
            titled: true,
            options: options(route),
            nobody: nobody(route),
            rows: route.servers.iter().map(|it| Row::of(it, total, counted)).collect(),
        }
    }
}

fn nobody(route: &RouteStatus) -> Option<&'static str> {
    let is = |state| route.servers.iter().any(|it| it.state == state);
    match () {
        () if is(ServerState::Up) => None,
        () if route.held => Some("the last container went; 503 is answered for a while"),
        () if is(ServerState::Down) => Some("HAProxy finds nobody up; 503 is answered"),
        () => Some("nobody gets requests; 503 is answered"),
    }
}

fn options(route: &RouteStatus) -> Vec<String> {
    let check = match route.check.as_str() {
        "tcp" => None,
        "off" => Some("not checked".to_owned()),
        path => Some(format!("check {path}")),
    };
    let usual = Timeout::default().millis() == route.timeout_ms;
    let retry = (route.retry != "safe").then(|| format!("retry {}", route.retry));
    let timeout = (!usual).then(|| format!("timeout {}", timeout(route.timeout_ms)));
    let strip = route.strip.then(|| "strips the prefix".to_owned());
    [strip, check, timeout, retry].into_iter().flatten().collect()
}

impl Row {
    fn of(server: &ServerStatus, total: u64, counted: Counted) -> Self {
        let ServerStatus { container, id, address, weight, state, load, .. } = server;
        let gets = if *state == ServerState::Up { u64::from(*weight) } else { 0 };
        let plain = |word: &&String| {
            !matches!(word.as_str(), "UP" | "no check" | "DOWN" | "MAINT") && !word.is_empty()
        };
        let (mark, word) = Mark::of(*state);
        let some = |number| (number != 0).then(|| counted.say(number));
        Self {
            mark,
            state: word,
            haproxy: server.haproxy.as_ref().filter(plain).cloned(),
            container: container.clone(),
            id: id.clone(),
            address: address.clone(),
            weight: *weight,
            share: (gets * 200 + total) / (total * 2).max(1),
            rate: counted.say(load.rate),
            open: counted.say(load.sessions),
            errors: some(load.errors),
            server_errors: some(load.server_errors),
        }
    }
}

impl Mark {
    fn of(state: ServerState) -> (Self, &'static str) {
        match state {
            ServerState::Up => (Self::Up, "up"),
            ServerState::Down => (Self::Down, "down"),
            ServerState::Weightless => (Self::Weightless, "weight 0"),
            ServerState::Reserve => (Self::Reserve, "reserve"),
            ServerState::Out => (Self::Out, "out"),
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Weightless => "weightless",
            Self::Reserve => "reserve",
            Self::Out => "out",
            Self::Partly => "partly",
        }
    }
}

/// Whether HAProxy counts.
#[derive(Debug, Clone, Copy)]
struct Counted(bool);

impl Counted {
    fn say(self, number: u64) -> String {
        if self.0 { count(number) } else { "–".to_owned() }
    }
}
