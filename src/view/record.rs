//! History and rollbacks as they are kept on disk: JSON, one generation a line.
//!
//! Pure. The first line says what was served before the oldest generation, each further one what a
//! generation changed. What is read is checked as labels are: a file that somebody wrote into gets nothing
//! past these types. A line that was torn off, and what follows it, is left out and told.

use super::{
    How,
    history::{BeforeAfter, Delta, Generation, History},
    status::{check_text, retry_text},
};
use crate::{
    claim::HostOwner,
    label::value::{HostMatch, Weight},
    origin::Origin,
    rollback::Rollback,
    route::{Endpoint, Policy, Readiness, Route, RouteKey, Routes, Strip},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

/// What a file of lines came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// What was served before the oldest generation.
    pub base: Routes,
    pub history: History,
    /// What is served after the last.
    pub served: Routes,
    /// The line that was not understood, and why.
    pub fault: Option<(usize, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Base { generation: u64, routes: BTreeMap<String, RouteLine> },
    Generation(GenerationLine),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationLine {
    number: u64,
    at_ms: u64,
    cause: String,
    how: HowLine,
    took_us: u64,
    /// `null` where the route went.
    routes: BTreeMap<String, Option<RouteLine>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HowLine {
    Runtime(usize),
    Started,
    Reloaded(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteLine {
    strip: bool,
    check: String,
    timeout_ms: u64,
    retry: String,
    servers: Vec<ServerLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerLine {
    container: String,
    id: String,
    port: u16,
    address: SocketAddr,
    weight: u16,
    ready: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackLine {
    generation: u64,
    since_ms: u64,
    routes: BTreeMap<String, RouteLine>,
}

/// The first line: what was served before the first generation that is kept.
pub fn base(generation: u64, routes: &Routes) -> String {
    line(&Line::Base { generation, routes: lines(routes) })
}

pub fn generation(generation: &Generation) -> String {
    let Generation { number, at_ms, cause, how, took, delta } = generation;
    let route = |(key, (_, after)): (&RouteKey, &BeforeAfter)| {
        (key.to_string(), after.as_deref().map(RouteLine::from))
    };
    line(&Line::Generation(GenerationLine {
        number: *number,
        at_ms: *at_ms,
        cause: cause.clone(),
        how: match how.clone() {
            How::Runtime { commands } => HowLine::Runtime(commands),
            How::Started => HowLine::Started,
            How::Reloaded { why } => HowLine::Reloaded(why),
        },
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        routes: delta.0.iter().map(route).collect(),
    }))
}

pub fn rollback(rollback: &Rollback) -> String {
    let Rollback { generation, since_ms, .. } = *rollback;
    line(&RollbackLine { generation, since_ms, routes: lines(rollback.then()) })
}

/// Who has which host.
pub fn owners(owners: &BTreeMap<HostMatch, HostOwner>) -> String {
    let holder =
        |(host, owner): (&HostMatch, &HostOwner)| (host.to_string(), owner.holder.to_string());
    line(&owners.iter().map(holder).collect::<BTreeMap<_, _>>())
}

/// # Errors
/// Says what was not understood.
pub fn read_owners(text: &str) -> Result<BTreeMap<HostMatch, Arc<str>>, String> {
    let owners: BTreeMap<String, String> = parse(text)?;
    let owner = |(host, holder): (String, String)| {
        let pattern =
            HostMatch::pattern(&host).map_err(|_| format!("no host is called {host:?}"))?;
        Ok((pattern, holder.into()))
    };
    owners.into_iter().map(owner).collect()
}

/// # Errors
/// Says what was not understood.
pub fn read_rollback(text: &str) -> Result<Rollback, String> {
    let RollbackLine { generation, since_ms, routes } = parse(text)?;
    Ok(Rollback::new(generation, since_ms, Arc::new(read_routes(routes)?)))
}

/// Up to the first line that cannot be understood. Numbers go on even after those that are lost.
pub fn read(text: &str) -> Read {
    let mut read = Read::default();
    // The last line counts once its end was written.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut lines = whole.lines().enumerate();
    let fault = lines.find_map(|(at, line)| Some((at + 1, read.take(line).err()?)));
    let lost = lines.filter_map(|(_, line)| match parse(line).ok()? {
        Line::Base { generation, .. } => Some(generation),
        Line::Generation(it) => Some(it.number),
    });
    if let Some(last) = lost.max() {
        // What those changed is not known: the next one says what is different after all of them.
        read.history.skip_to(last);
    }
    let torn = whole.len() < text.len();
    let end = || (whole.lines().count() + 1, "it has no end".to_owned());
    read.fault = fault.or_else(|| torn.then(end));
    read
}

impl Read {
    fn take(&mut self, line: &str) -> Result<(), String> {
        match parse(line)? {
            Line::Base { generation, routes } => {
                self.base = read_routes(routes)?;
                self.served = self.base.clone();
                self.history = History::after_number(generation);
            }
            Line::Generation(line) => {
                let generation = line.read(&self.served)?;
                generation.delta.redo(&mut self.served);
                for dropped in self.history.add(Arc::new(generation)) {
                    dropped.delta.redo(&mut self.base);
                }
            }
        }
        Ok(())
    }
}

impl GenerationLine {
    fn read(self, served: &Routes) -> Result<Generation, String> {
        let Self { number, at_ms, cause, how, took_us, routes } = self;
        let mut delta = Delta::default();
        for (key, after) in routes {
            let key = read_key(&key)?;
            let before = served.0.get(&key).cloned();
            let after = after.map(Route::try_from).transpose()?.map(Arc::new);
            delta.0.insert(key, (before, after));
        }
        let how = match how {
            HowLine::Runtime(commands) => How::Runtime { commands },
            HowLine::Started => How::Started,
            HowLine::Reloaded(why) => How::Reloaded { why },
        };
        Ok(Generation { number, at_ms, cause, how, took: Duration::from_micros(took_us), delta })
    }
}

impl From<&Route> for RouteLine {
    fn from(route: &Route) -> Self {
        let Policy { strip, check, timeout, retry } = &route.policy;
        Self {
            strip: *strip == Strip::Prefix,
            check: check_text(check),
            timeout_ms: timeout.millis(),
            retry: retry_text(*retry).to_owned(),
            servers: route.endpoints.iter().map(ServerLine::from).collect(),
        }
    }
}

impl From<&Endpoint> for ServerLine {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { origin, port, address, weight, readiness } = endpoint;
        Self {
            container: origin.name().to_owned(),
            id: origin.id().to_owned(),
            port: *port,
            address: *address,
            weight: weight.get(),
            ready: *readiness == Readiness::Ready,
        }
    }
}

impl TryFrom<RouteLine> for Route {
    type Error = String;

    fn try_from(line: RouteLine) -> Result<Self, String> {
        let RouteLine { strip, check, timeout_ms, retry, servers } = line;
        let policy = Policy {
            strip: if strip { Strip::Prefix } else { Strip::Keep },
            check: check.parse().map_err(|_| format!("check {check:?}"))?,
            timeout: format!("{timeout_ms}ms").parse().map_err(|_| format!("{timeout_ms} ms"))?,
            retry: retry.parse().map_err(|_| format!("retry {retry:?}"))?,
        };
        let endpoints = servers.into_iter().map(Endpoint::try_from).collect::<Result<_, _>>()?;
        Ok(Self { policy, endpoints })
    }
}

impl TryFrom<ServerLine> for Endpoint {
    type Error = String;

    fn try_from(line: ServerLine) -> Result<Self, String> {
        let ServerLine { container, id, port, address, weight, ready } = line;
        let most = Weight::MOST.get();
        let weight = Some(weight).filter(|it| *it <= most).ok_or(format!("weight {weight}"))?;
        Ok(Self {
            origin: Origin::new(&container, &id),
            port,
            address,
            weight: weight.to_string().parse().map_err(|_| format!("weight {weight}"))?,
            readiness: if ready { Readiness::Ready } else { Readiness::Out },
        })
    }
}

fn line(it: &impl Serialize) -> String {
    // Maps with keys of text and numbers always can be written.
    serde_json::to_string(it).unwrap_or_default() + "\n"
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn lines(routes: &Routes) -> BTreeMap<String, RouteLine> {
    routes.0.iter().map(|(key, route)| (key.to_string(), RouteLine::from(route.as_ref()))).collect()
}

fn read_routes(lines: BTreeMap<String, RouteLine>) -> Result<Routes, String> {
    let route =
        |(key, line): (String, RouteLine)| Ok((read_key(&key)?, Arc::new(line.try_into()?)));
    lines.into_iter().map(route).collect::<Result<_, String>>().map(Routes)
}

fn read_key(text: &str) -> Result<RouteKey, String> {
    text.parse().map_err(|()| format!("no route is called {text:?}"))
}
