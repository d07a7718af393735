//! What should be served now: the world, what is remembered, and the time → the desired routes.
//!
//! Pure: time is an argument and history is a value, so the same question has the same answer.

use crate::{
    address::address,
    claim::{self, Claim, Standing},
    container::{Container, ContainerId, Health, State},
    label::{self, Ask, Fences, Reading, value::Obedience},
    life::{Lives, Up},
    origin::Origin,
    problem::{About, Label, Problem, Reason},
    route::{Listener, Policy, Route, RouteKey, Routes},
    world::{Vantage, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long until a listener whose port was taken is tried again.
pub const TAKEN_RETRY: Duration = Duration::from_secs(5);

/// The administrator's part of every decision.
#[derive(Debug, Clone)]
pub struct Rules {
    pub fences: Fences,
    /// `--network`: where HAProxy reaches containers that do not say it themselves.
    pub network: Option<String>,
    pub vantage: Vantage,
    /// How long a route whose last container went away still answers 503.
    pub hold: Duration,
    /// Public port → the port that is bound for it.
    pub port_map: BTreeMap<NonZeroU16, NonZeroU16>,
}

impl Rules {
    /// The port that HAProxy binds for a listener.
    pub fn bound(&self, listener: Listener) -> NonZeroU16 {
        self.port_map.get(&listener.port).copied().unwrap_or(listener.port)
    }
}

/// What the next decision has to know of the past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Routes that were served, and since when nobody asks for them.
    known: BTreeMap<RouteKey, Known>,
    /// Listeners whose port belongs to somebody else.
    pub taken: BTreeMap<Listener, Taken>,
    /// Routes that HAProxy would not have, as they were; another shape of one is tried again.
    pub refused: BTreeMap<RouteKey, (Route, String)>,
    /// Who crashes over and over.
    lives: Lives,
    /// What labels were found to say. Labels of a container do not change, and reading them is most
    /// of the work.
    readings: BTreeMap<ContainerId, (Arc<Container>, Arc<Reading>)>,
    /// Containers that somebody took out of traffic, for as long as they are up.
    pub drained: BTreeSet<ContainerId>,
}

impl Memory {
    /// What an earlier run served, as far as its routes tell: what is not asked for any more is held.
    pub fn of_routes(keys: impl IntoIterator<Item = RouteKey>, now: Instant) -> Self {
        let known = Known { policy: Policy::default(), gone: Some(now) };
        let known = keys.into_iter().map(|key| (key, known.clone())).collect();
        Self { known, ..Self::default() }
    }

    /// The container gets no new requests, until it is stopped or undrained.
    pub fn drain(&mut self, id: &ContainerId) {
        self.drained.insert(id.clone());
    }

    pub fn undrain(&mut self, id: &ContainerId) {
        self.drained.remove(id);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    policy: Policy,
    gone: Option<Instant>,
}

/// A port that somebody else holds, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Follows "its port is": `taken by nginx (pid 7)`.
    pub why: String,
    pub until: Instant,
}

impl Taken {
    pub fn new(why: String, now: Instant) -> Self {
        Self { why, until: now + TAKEN_RETRY }
    }
}

#[derive(Debug, Clone)]
pub struct Decided {
    pub routes: Routes,
    pub problems: BTreeSet<Problem>,
    pub memory: Memory,
    /// When the answer changes by itself.
    pub wake_at: Option<Instant>,
}

/// The desired routes. The same world, memory and time give the same answer.
pub fn decide(world: &World, mut memory: Memory, now: Instant, rules: &Rules) -> Decided {
    memory.lives.see(lives(world, rules), now);
    memory.drained.retain(|id| world.containers.get(id).is_some_and(|it| is_up(it.state)));
    let (claims, mut problems, crashed) = claims(world, &mut memory, now, rules);
    let (mut routes, conflicts) = claim::collect(claims);
    problems.extend(conflicts);
    leave_out_refused(&mut routes, &mut memory, &mut problems);
    let hold_ends = hold(&mut routes, &mut memory, now, rules.hold);
    memory.taken.retain(|_, taken| now < taken.until);
    let occupied = occupied(world, &routes, rules);
    leave_out_taken(&mut routes, &memory, occupied, &mut problems);
    let retry = memory.taken.values().map(|taken| taken.until).min();
    let wake_at = [hold_ends, retry, crashed].into_iter().flatten().min();
    Decided { routes, problems: problems.into_iter().collect(), memory, wake_at }
}

fn lives<'a>(world: &'a World, rules: &Rules) -> impl Iterator<Item = Up<'a>> {
    let up = world.containers.values().filter(|it| is_up(it.state));
    let ours = up.filter(|it| label::takes_part(it, &rules.fences));
    ours.map(|it| Up { id: &it.id, leaving: it.leaving })
}

/// What the containers ask for, what cannot be had of it, and when a crashed one is let in again.
fn claims(
    world: &World,
    memory: &mut Memory,
    now: Instant,
    rules: &Rules,
) -> (Vec<Claim>, Vec<Problem>, Option<Instant>) {
    let (mut claims, mut problems, mut again) = (Vec::new(), Vec::new(), None);
    let mut readings = BTreeMap::new();
    for (id, container) in &world.containers {
        if !is_up(container.state) || !label::takes_part(container, &rules.fences) {
            continue;
        }
        let read = memory.readings.remove(id).filter(|(of, _)| Arc::ptr_eq(of, container));
        let reading = match read {
            Some((_, reading)) => reading,
            None => Arc::new(label::read(container, &rules.fences)),
        };
        readings.insert(id.clone(), (Arc::clone(container), Arc::clone(&reading)));
        problems.extend(reading.problems.iter().cloned());
        let held = memory.lives.held_until(id, now);
        again = [again, held].into_iter().flatten().min();
        let out = held.is_some() || memory.drained.contains(id);
        let place = Place { container, world, rules, out };
        place.claim(&reading, &mut claims, &mut problems);
    }
    memory.readings = readings;
    (claims, problems, again)
}

/// One container in the world.
struct Place<'a> {
    container: &'a Container,
    world: &'a World,
    rules: &'a Rules,
    /// It crashed too often of late, or somebody drained it.
    out: bool,
}

impl Place<'_> {
    fn claim(&self, reading: &Reading, claims: &mut Vec<Claim>, problems: &mut Vec<Problem>) {
        let wanted = reading.network.as_deref();
        let mut addresses = BTreeMap::new();
        for ask in &reading.asks {
            let found = addresses.entry(ask.port).or_insert_with(|| self.address(ask.port, wanted));
            match found {
                Ok(found) => claims.push(self.one(ask, *found)),
                Err(reason) => problems.push(unreachable(self.container, wanted, reason.clone())),
            }
        }
    }

    fn address(&self, port: u16, wanted: Option<&str>) -> Result<SocketAddr, Reason> {
        let Rules { network, vantage, .. } = self.rules;
        address(self.container, port, wanted, network.as_deref(), self.world, vantage)
    }

    fn one(&self, ask: &Ask, address: SocketAddr) -> Claim {
        let Ask { key, policy, port, weight, obedience } = ask.clone();
        Claim {
            key,
            policy,
            origin: origin(self.container),
            seniority: (self.container.created, self.container.id.clone()),
            port,
            address,
            weight,
            standing: if self.out { Standing::Out } else { standing(self.container, obedience) },
        }
    }
}

fn is_up(state: State) -> bool {
    matches!(state, State::Running | State::Paused)
}

fn origin(container: &Container) -> Origin {
    Origin::new(&container.name, container.id.short())
}

fn standing(container: &Container, obedience: Obedience) -> Standing {
    let doubtful = matches!(container.health, Health::Starting | Health::Unhealthy);
    match obedience {
        _ if container.state == State::Paused || container.leaving => Standing::Out,
        Obedience::Obey if doubtful => Standing::Reserve,
        Obedience::Require if doubtful => Standing::Out,
        _ => Standing::Ready,
    }
}

fn unreachable(container: &Container, wanted: Option<&str>, reason: Reason) -> Problem {
    let named = |network: &str| Label { key: "glue_network".to_owned(), value: network.to_owned() };
    Problem {
        about: About::Container(origin(container)),
        label: wanted.filter(|_| matches!(reason, Reason::NotOnNetwork { .. })).map(named),
        reason,
    }
}

/// A refused route stays out for as long as it is asked for in the same shape.
fn leave_out_refused(routes: &mut Routes, memory: &mut Memory, problems: &mut Vec<Problem>) {
    memory.refused.retain(|key, (route, _)| routes.0.get(key) == Some(route));
    for (key, (_, text)) in &memory.refused {
        let Some(route) = routes.0.remove(key) else { continue };
        problems.extend(route.endpoints.into_iter().map(|endpoint| Problem {
            about: About::Container(endpoint.origin),
            label: None,
            reason: Reason::Refused { route: key.to_string(), text: text.clone() },
        }));
    }
}

/// Routes that nobody asks for any more stay, empty, until their time is over. Says when the next one goes.
fn hold(routes: &mut Routes, memory: &mut Memory, now: Instant, time: Duration) -> Option<Instant> {
    for (key, known) in &mut memory.known {
        let wanted = routes.0.contains_key(key);
        known.gone = if wanted { None } else { Some(known.gone.unwrap_or(now)) };
    }
    let Memory { known, refused, .. } = memory;
    known.retain(|key, known| {
        known.gone.is_none_or(|gone| now < gone + time) && !refused.contains_key(key)
    });
    for (key, route) in &routes.0 {
        if memory.known.get(key).is_none_or(|known| known.policy != route.policy) {
            let known = Known { policy: route.policy.clone(), gone: None };
            memory.known.insert(key.clone(), known);
        }
    }
    for (key, known) in memory.known.iter().filter(|(_, known)| known.gone.is_some()) {
        let empty = Route { policy: known.policy.clone(), endpoints: Vec::new() };
        routes.0.insert(key.clone(), empty);
    }
    memory.known.values().filter_map(|known| known.gone).min().map(|gone| gone + time)
}

/// Listeners whose port is known to be somebody else's without asking HAProxy, and whose.
fn occupied(world: &World, routes: &Routes, rules: &Rules) -> BTreeMap<Listener, String> {
    let listeners: BTreeSet<_> = routes.0.keys().map(|key| key.listener).collect();
    let why = |at: &Listener| {
        moved_there(*at, &listeners, rules).or_else(|| published(world, *at, rules))
    };
    listeners.iter().filter_map(|at| Some((*at, why(at)?))).collect()
}

/// `--map-port` puts another listener where this one would be.
fn moved_there(at: Listener, all: &BTreeSet<Listener>, rules: &Rules) -> Option<String> {
    let same = |other: &&Listener| **other != at && rules.bound(**other) == rules.bound(at);
    let other = all.iter().find(same).filter(|_| !rules.port_map.contains_key(&at.port))?;
    Some(format!("taken by listener {other}, which --map-port puts there"))
}

/// Some container publishes the port on this host.
fn published(world: &World, at: Listener, rules: &Rules) -> Option<String> {
    let port = rules.bound(at).get();
    let publishes = |container: &&Arc<Container>| {
        let ports = &container.published;
        is_up(container.state) && ports.iter().any(|published| published.host_port == port)
    };
    let on_host = rules.vantage == Vantage::Host;
    let holder = world.containers.values().find(publishes).filter(|_| on_host)?;
    Some(format!("taken by container {}, which publishes it", origin(holder)))
}

fn leave_out_taken(
    routes: &mut Routes,
    memory: &Memory,
    occupied: BTreeMap<Listener, String>,
    problems: &mut Vec<Problem>,
) {
    let remembered = memory.taken.iter().map(|(at, taken)| (*at, taken.why.clone()));
    let mut taken: BTreeMap<_, _> = remembered.chain(occupied).collect();
    taken.retain(|listener, _| routes.0.keys().any(|key| key.listener == *listener));
    routes.0.retain(|key, _| !taken.contains_key(&key.listener));
    problems.extend(taken.into_iter().map(|(listener, why)| Problem {
        about: About::Listener(listener),
        label: None,
        reason: Reason::PortTaken { why },
    }));
}
