//! What would change if the labels were applied now: in words of routes, as commands, and in the files.
//!
//! Pure. Decided, laid out, planned and printed by what a pass of the balancer uses. What HAProxy has tells
//! what was before, so that it is the same whether a docker-balancer runs or not; what one that runs holds
//! back (routes, drained containers) is read off there too.

use super::{patch::Patch, status::Status};
use crate::{
    balancer::way::Maker,
    change::{self, Change},
    decide::{Decided, Memory, Rules, Taken, decide},
    haproxy::{
        command::Command,
        config::{Admin, Config},
        files::Files,
        inverse,
        layout::Layout,
        name,
        observed::Observed,
        plan::plan,
        render,
    },
    label::value::HostMatch,
    origin::Origin,
    problem::Problem,
    reload::Why,
    rollback::Rollback,
    route::{Endpoint, Listener, Protocol, Readiness, Route, RouteKey, Routes},
    world::World,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

/// How things stand.
#[derive(Debug, Clone)]
pub struct Before {
    pub source: Source,
    pub observed: Observed,
    pub disk: Disk,
    /// Who has which host, by `hosts.json`.
    pub owners: BTreeMap<HostMatch, Arc<str>>,
}

/// Who says what was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// HAProxy as it runs.
    HAProxy,
    /// It does not answer: the files of the last good state.
    Files,
    /// There are none either, so everything is new.
    Nothing,
}

/// The files that are there.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// The configuration's place, and what is there.
    pub target: PathBuf,
    pub config: Option<String>,
    /// By name: the files of the generation that the configuration names, with their places.
    pub files: BTreeMap<String, (PathBuf, String)>,
    /// Where generations are.
    pub generations: PathBuf,
}

/// All that would change.
#[derive(Debug)]
pub struct Outlook {
    pub source: Source,
    pub how: How,
    pub changes: Vec<Change>,
    /// Routes that go, and answer 503 for a while first.
    pub held: BTreeSet<RouteKey>,
    pub commands: Vec<Command>,
    pub patches: Vec<Patch>,
    pub problems: BTreeSet<Problem>,
    /// Containers that the docker-balancer that runs keeps out of traffic.
    pub kept_out: BTreeSet<Origin>,
    /// It holds, so that who came later is not served.
    pub rollback: Option<Rollback>,
    pub after: Routes,
    pub files: Files,
    pub config: Config,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// HAProxy has it already.
    Nothing,
    Runtime,
    Reload(Why),
    /// It does not run, or cannot be asked.
    Start,
}

/// What was decided, as the docker-balancer that runs would.
#[derive(Debug)]
pub struct Foreseen {
    pub decided: Decided,
    pub kept_out: BTreeSet<Origin>,
}

/// What is to be, in this world. `refused` are routes that HAProxy would not have; `rollback` is the one
/// that holds.
pub fn foresee(
    world: &World,
    before: &Before,
    daemon: Option<&Status>,
    refused: &BTreeMap<RouteKey, (Arc<Route>, String)>,
    rollback: Option<Rollback>,
    (rules, now): (&Rules, Instant),
) -> Foreseen {
    let had = inverse::routes(&before.observed);
    let remembered = had.0.iter().filter(|(_, it)| daemon.is_some() || !it.endpoints.is_empty());
    let mut memory = Memory::of_served(remembered.map(|(key, it)| (key, &it.policy)), now);
    memory.recall(&had);
    if let Some(label) = &rules.fences.own_hosts_by {
        memory.recall_owners(&before.owners, label, now);
    }
    memory.refused.clone_from(refused);
    memory.rollback = rollback;
    memory.taken = daemon.map(|it| taken(it, now)).unwrap_or_default();
    // What is asked for in the end, and not only until a route is kept no longer for those who have left it.
    let kept = decide(world, memory.clone(), now, rules);
    memory.release(kept.memory.board().kept());
    let decided = decide(world, memory.clone(), now, rules);
    let kept_out = match daemon {
        Some(_) => kept_out(&decided.routes, &before.observed),
        None => BTreeSet::new(),
    };
    if kept_out.is_empty() {
        return Foreseen { decided, kept_out };
    }
    let is_kept = |id: &str| kept_out.iter().any(|it| it.id() == id);
    for id in world.containers.keys().filter(|id| is_kept(id.short())) {
        memory.drain(id);
    }
    Foreseen { decided: decide(world, memory, now, rules), kept_out }
}

/// Listeners that a docker-balancer that runs could not have, in its own words.
fn taken(daemon: &Status, now: Instant) -> BTreeMap<Listener, Taken> {
    let taken = daemon.listeners.iter().filter_map(|it| {
        let why = it.taken.as_deref()?;
        let why = why.strip_prefix("its port is ").unwrap_or(why);
        let why = why.split("; it is tried again").next().unwrap_or(why);
        let listener = Listener { protocol: Protocol::Http, port: NonZeroU16::new(it.port)? };
        Some((listener, Taken::new(why.to_owned(), now)))
    });
    taken.collect()
}

/// Containers that would serve by their labels and are out wherever HAProxy has them: drained, told to
/// stop, or crashed over and over.
fn kept_out(routes: &Routes, observed: &Observed) -> BTreeSet<Origin> {
    let mut seen: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (server, it) in observed.servers.values().flatten() {
        let Some(place) = name::place(server) else { continue };
        *seen.entry(place).or_default() |= it.admin == Admin::Ready;
    }
    let is_out = |endpoint: &&Endpoint| {
        let port = endpoint.port.to_string();
        seen.get(&(endpoint.origin.id(), port.as_str())) == Some(&false)
    };
    let endpoints = routes.0.values().flat_map(|route| &route.endpoints);
    let ready = endpoints.filter(|endpoint| endpoint.readiness == Readiness::Ready);
    ready.filter(is_out).map(|endpoint| endpoint.origin.clone()).collect()
}

impl Outlook {
    pub fn new(before: &Before, foreseen: Foreseen, maker: Maker<'_>) -> Self {
        let Foreseen { decided, kept_out } = foreseen;
        let had = inverse::routes(&before.observed);
        let (config, how, commands) = way(before, &had, &decided.routes, maker);
        // Seen through the same glass: what HAProxy is not told is no difference.
        let mut after = inverse::routes(&Observed::started(&config));
        let empty = |route: &Arc<Route>| route.endpoints.is_empty();
        let mut before_words = had;
        before_words.0.retain(|key, route| !empty(route) || !after.0.contains_key(key));
        let held = after.0.iter().filter(|(_, route)| empty(route)).map(|(key, _)| key.clone());
        let mut held: BTreeSet<_> = held.collect();
        after.0.retain(|_, route| !empty(route));
        let changes = change::changes(&before_words, &after);
        held.retain(|key| before_words.0.contains_key(key));
        let files = render::render(&config, maker.frame);
        Self {
            source: before.source,
            how,
            changes,
            held,
            commands,
            patches: before.disk.patches(&files),
            problems: decided.problems.iter().cloned().collect(),
            kept_out,
            rollback: decided.memory.rollback,
            after,
            files,
            config,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.how == How::Nothing && self.patches.is_empty()
    }

    /// HAProxy has it, and the disk has not: so it is for a moment after each change.
    pub fn is_only_behind(&self) -> bool {
        self.how == How::Nothing && !self.patches.is_empty()
    }
}

fn way(
    before: &Before,
    had: &Routes,
    routes: &Routes,
    maker: Maker<'_>,
) -> (Config, How, Vec<Command>) {
    if before.source != Source::HAProxy {
        return (maker.fresh(routes), How::Start, Vec::new());
    }
    let observed = &before.observed;
    let given = maker.config(had, Layout::default());
    let (config, why) = maker.within(routes, observed, &given);
    if let Some(why) = why {
        return (maker.fresh(routes), How::Reload(why), Vec::new());
    }
    let commands = plan(observed, &config);
    // Those wait for their last request, and are tried again all the time.
    let waits = |command: &Command| matches!(command, Command::DelServer { .. });
    if commands.iter().all(waits) {
        return (config, How::Nothing, Vec::new());
    }
    (config, How::Runtime, commands)
}
