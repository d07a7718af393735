//! What should be served now: the world, what is remembered, and the time → the desired routes.
//!
//! Pure: time is an argument and history is a value, so the same question has the same answer.

use crate::{
    address::{Ground, address},
    backoff::{Backoff, LONG_LIFE},
    claim::{Board, Claim, Departure, Incumbency, Party, Standing},
    container::{Container, ContainerId, Health, NetworkMode, State},
    label::{
        self, Ask, Fences, Reading,
        value::{HostMatch, Obedience},
    },
    life::Lives,
    origin::Origin,
    problem::{About, Label, Problem, Reason},
    problem_set::ProblemSet,
    rollback::Rollback,
    route::{Endpoint, Listener, Policy, Route, RouteKey, Routes},
    side_by_side::differences,
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

/// How long a listener stays out with which HAProxy could not be loaded, at first and at last: each try may
/// pause the others.
const UNLOADABLE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));

/// How many public ports all containers together get: HAProxy's file descriptors are counted, and a reload
/// takes longer with each.
pub const MOST_LISTENERS: usize = 256;

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
    /// Whether no container on the host's network may have this port of it served.
    fn keeps_to_itself(&self, port: u16) -> bool {
        let Some(port) = NonZeroU16::new(port) else { return false };
        let here = matches!(self.vantage, Vantage::Host | Vantage::Inside(_));
        self.fences.reserved.contains(&port) && (here || !self.fences.own.contains(&port))
    }

    /// The port that HAProxy binds for a listener.
    pub fn bound(&self, listener: Listener) -> NonZeroU16 {
        self.port_map.get(&listener.port).copied().unwrap_or(listener.port)
    }
}

/// What the next decision has to know of the past, and what need not be made again as nothing of it changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Routes that were served, whose parties have left them.
    held: BTreeMap<RouteKey, Held>,
    /// Listeners whose port belongs to somebody else.
    pub taken: BTreeMap<Listener, Taken>,
    /// Listeners with which HAProxy could not be loaded, and why.
    pub unloadable: BTreeMap<Listener, Unloadable>,
    /// Routes that HAProxy would not have, as they were; another shape of one is tried again.
    pub refused: BTreeMap<RouteKey, (Arc<Route>, String)>,
    /// Who crashes over and over.
    lives: Lives,
    /// Containers that somebody took out of traffic, for as long as they are up.
    pub drained: BTreeSet<ContainerId>,
    /// What is served in place of what is asked for, until somebody ends it.
    pub rollback: Option<Rollback>,
    /// The world of the last decision.
    known: BTreeMap<ContainerId, Arc<Container>>,
    /// Those of it that are up and publish ports.
    publishers: BTreeMap<ContainerId, Arc<Container>>,
    /// Those that are up and take part.
    seen: BTreeMap<ContainerId, Seen>,
    ground: Option<Ground>,
    board: Board,
    /// What is said of those seen.
    problems: ProblemSet,
}

/// What was made of a container, and stays so for as long as it does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    container: Arc<Container>,
    origin: Origin,
    /// Of the container: looking into all of them takes longer than all else that is done with them.
    borrows_its_address: bool,
    reading: Reading,
    /// Whether its claims were made as those of one that is out; `None` until they are made.
    out: Option<bool>,
    /// Why some of its claims could not be made.
    unreachable: Vec<Problem>,
}

impl Memory {
    /// What an earlier run served, as far as its routes tell: what is not asked for any more is held.
    pub fn of_routes(keys: impl IntoIterator<Item = RouteKey>, now: Instant) -> Self {
        let held = keys.into_iter().map(|key| (key, Held::new(Policy::default(), now))).collect();
        Self { held, ..Self::default() }
    }

    /// The same where it is known how these routes were served: held, they stay as they were.
    pub fn of_served<'a>(
        routes: impl IntoIterator<Item = (&'a RouteKey, &'a Policy)>,
        now: Instant,
    ) -> Self {
        let routes = routes.into_iter();
        let held = routes.map(|(key, policy)| (key.clone(), Held::new(policy.clone(), now)));
        Self { held: held.collect(), ..Self::default() }
    }

    /// These routes are kept for those that served them in an earlier run, and as they were. `routes` may be more than
    /// what is held.
    pub fn recall(&mut self, routes: &Routes) {
        for (key, route) in routes.0.iter().filter(|(_, route)| !route.endpoints.is_empty()) {
            let Some(held) = self.held.get_mut(key) else { continue };
            let named = |endpoint: &Endpoint| Party::Container(endpoint.origin.name().into());
            let parties = route.endpoints.iter().map(named).collect();
            *held = Held { parties, ..Held::new(route.policy.clone(), held.since) };
        }
    }

    /// These routes are kept for nobody.
    pub fn release<'a>(&mut self, keys: impl Iterator<Item = &'a RouteKey>) {
        for key in keys {
            if let Some(held) = self.held.get_mut(key) {
                held.parties.clear();
            }
        }
    }

    /// Who had which hosts in an earlier run, by the label that says so now.
    pub fn recall_owners(
        &mut self,
        owners: &BTreeMap<HostMatch, Arc<str>>,
        label: &str,
        now: Instant,
    ) {
        let is_by = |holder: &str| {
            let value = holder.strip_prefix(label).is_some_and(|it| it.starts_with('='));
            value || holder.starts_with(WITHOUT)
        };
        let owners = owners.iter().filter(|(_, holder)| is_by(holder));
        let owners = owners.map(|(host, holder)| (host.clone(), Arc::clone(holder))).collect();
        self.board.recall_owners(owners, now);
    }

    /// All that could be used again is forgotten; the next decision is the same without it.
    pub fn forget_work(&mut self) {
        for (id, seen) in std::mem::take(&mut self.seen) {
            seen.take_back(&id, &mut self.board);
        }
        self.known.clear();
        self.publishers.clear();
        self.problems = ProblemSet::default();
    }

    /// The container gets no new requests, until it is stopped or undrained.
    pub fn drain(&mut self, id: &ContainerId) {
        self.drained.insert(id.clone());
    }

    pub fn undrain(&mut self, id: &ContainerId) {
        self.drained.remove(id);
    }

    /// How many containers run and take part.
    pub fn containers(&self) -> usize {
        self.seen.len()
    }

    /// The container that is up or was just now, by its short id.
    pub fn container(&self, short_id: &str) -> Option<&Container> {
        let (_, found) = self.known.range(ContainerId::new(short_id)..).next()?;
        (found.id.short() == short_id).then_some(&**found)
    }

    /// Who asks for what, the routes that come of it and who must wait.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Since when nobody asks for the route, where it is held for those who will.
    pub fn held_since(&self, key: &RouteKey) -> Option<Instant> {
        let held = self.held.get(key).filter(|_| !self.board.routes().0.contains_key(key));
        held.map(|it| it.since)
    }

    /// Who gets no traffic for crashing over and over, and until when.
    pub fn crashing(&self, id: &ContainerId, now: Instant) -> Option<Instant> {
        self.lives.held(now).remove(id)
    }

    /// What the container asks for there.
    pub fn claim(&self, key: &RouteKey, endpoint: &Endpoint) -> Option<&Claim> {
        let mut claims = self.board.claims().get(key)?.iter();
        claims.find(|it| it.origin == endpoint.origin && it.port == endpoint.port)
    }

    /// How fit the container is to serve the route there.
    pub fn standing(&self, key: &RouteKey, endpoint: &Endpoint) -> Option<Standing> {
        self.claim(key, endpoint).map(|it| it.standing)
    }
}

/// Answers that nobody is there, until its time is over. Others may serve it, as it was, until those come back who had
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    empty: Arc<Route>,
    since: Instant,
    /// For whom it is kept; for whoever comes where that is not known.
    parties: Vec<Party>,
}

/// As many parties a route is kept for, where each comes after the other was gone.
const MOST_PARTIES: usize = 4;

impl Held {
    fn new(policy: Policy, since: Instant) -> Self {
        let empty = Arc::new(Route { policy, endpoints: Vec::new() });
        Self { empty, since, parties: Vec::new() }
    }

    fn incumbency(&self) -> Option<Incumbency<'_>> {
        let (parties, policy) = (&self.parties[..], &self.empty.policy);
        (!parties.is_empty()).then_some(Incumbency { parties, policy })
    }
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

/// A listener with which HAProxy could not be loaded, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unloadable {
    pub why: String,
    pub until: Instant,
    backoff: Backoff,
}

impl Unloadable {
    /// `before` is what came of the last try.
    pub fn new(why: String, now: Instant, before: Option<&Self>) -> Self {
        let (mut backoff, lived) = match before {
            Some(it) => (it.backoff.clone(), now.saturating_duration_since(it.until)),
            None => (Backoff::new(UNLOADABLE.0, UNLOADABLE.1), Duration::ZERO),
        };
        let until = now + backoff.pause_after(lived);
        Self { why, until, backoff }
    }
}

#[derive(Debug, Clone)]
pub struct Decided {
    pub routes: Routes,
    pub problems: ProblemSet,
    pub memory: Memory,
    /// When the answer changes by itself.
    pub wake_at: Option<Instant>,
}

/// The desired routes. The same world, memory and time give the same answer.
pub fn decide(world: &World, mut memory: Memory, now: Instant, rules: &Rules) -> Decided {
    let changed = look(world, &mut memory, rules);
    memory.lives.see(changed, now);
    memory.drained.retain(|id| world.containers.get(id).is_some_and(|it| it.is_up()));
    let crashed = memory.lives.held(now);
    let claimants = claim(world, &mut memory, &crashed, rules);
    if let Some(rollback) = &mut memory.rollback {
        rollback.follow(&memory.board);
    }
    let hold_ends = hold(&mut memory, now, rules.hold);
    renew_problems(&mut memory, claimants);
    let mut problems = memory.problems.clone();
    let rolled_back = memory.rollback.as_ref().map(Rollback::routes);
    let holds = rolled_back.is_some();
    let mut routes = rolled_back.unwrap_or_else(|| memory.board.routes().clone());
    leave_out_refused(&mut routes, &mut memory, &mut problems);
    if !holds {
        for (key, held) in &memory.held {
            routes.0.entry(key.clone()).or_insert_with(|| Arc::clone(&held.empty));
        }
    }
    leave_out_excess(&mut routes, &memory, &mut problems);
    memory.unloadable.retain(|_, it| now < it.until + LONG_LIFE);
    leave_out_unloadable(&mut routes, &memory, now, &mut problems);
    memory.taken.retain(|_, taken| now < taken.until);
    problems.extend(unused_maps(&routes, rules));
    problems.extend(label::constraint::problems(&rules.fences.constraints));
    let occupied = occupied(&memory.publishers, &routes, rules);
    leave_out_taken(&mut routes, &memory, occupied, &mut problems);
    let again = memory.unloadable.values().map(|it| it.until).filter(|until| now < *until);
    let retry = memory.taken.values().map(|taken| taken.until).chain(again).min();
    let wake_at = [hold_ends, retry, crashed.into_values().min()].into_iter().flatten().min();
    Decided { routes, problems, memory, wake_at }
}

/// Reads the labels of containers that are not as they were. Says of those that take part whether they leave, and
/// `None` of those that went.
fn look(world: &World, memory: &mut Memory, rules: &Rules) -> Vec<(ContainerId, Option<bool>)> {
    let first = memory.known.is_empty();
    let changed: Vec<_> = differences(&memory.known, &world.containers)
        .map(|(id, _, now)| (id.clone(), now.cloned()))
        .collect();
    let mut lives = Vec::new();
    for (id, now) in changed {
        match &now {
            Some(now) => drop(memory.known.insert(id.clone(), Arc::clone(now))),
            None => drop(memory.known.remove(&id)),
        }
        let now = now.filter(|it| it.is_up());
        memory.publishers.remove(&id);
        if let Some(now) = now.as_ref().filter(|it| !it.published.is_empty()) {
            memory.publishers.insert(id.clone(), Arc::clone(now));
        }
        let before = memory.seen.remove(&id);
        if let Some(seen) = &before {
            seen.take_back(&id, &mut memory.board);
        }
        let seen = now.filter(|it| label::takes_part(it, &rules.fences));
        let seen = seen.map(|container| Seen::new(container, rules));
        if let Some(before) = before.as_ref()
            && seen.as_ref().is_none_or(|seen| seen.origin != before.origin)
        {
            memory.problems.replace(&About::Container(before.origin.clone()), Vec::new());
        }
        match seen {
            Some(seen) => {
                lives.push((id.clone(), Some(seen.container.leaving)));
                memory.seen.insert(id, seen);
            }
            None if before.is_some() => lives.push((id, None)),
            None => {}
        }
    }
    if first {
        let went = memory.lives.up().filter(|id| !memory.seen.contains_key(id));
        lives.extend(went.map(|id| (id.clone(), None)));
    }
    lives
}

/// Makes the claims of containers that are new, and those that something else makes different. Says whose.
fn claim(
    world: &World,
    memory: &mut Memory,
    crashed: &BTreeMap<ContainerId, Instant>,
    rules: &Rules,
) -> BTreeSet<ContainerId> {
    let ground = Some(Ground::new(world, &rules.vantage));
    let moved = memory.ground != ground;
    memory.ground = ground;
    let Memory { seen, board, drained, .. } = memory;
    let mut claimants = BTreeSet::new();
    for (id, seen) in seen {
        let out = crashed.contains_key(id) || drained.contains(id);
        if seen.out == Some(out) && !moved && !seen.borrows_its_address {
            continue;
        }
        if seen.out.is_some() {
            seen.take_back(id, board);
        }
        claimants.insert(id.clone());
        (seen.out, seen.unreachable) = (Some(out), Vec::new());
        let Seen { container, origin, reading, unreachable, .. } = seen;
        let service = label::service(container).map(Into::into);
        let holder = rules.fences.own_hosts_by.as_deref().map(|label| holder(container, label));
        let place = Place { container, origin, world, rules, out, service, holder };
        place.claim(reading, board, unreachable);
    }
    claimants
}

impl Seen {
    fn new(container: Arc<Container>, rules: &Rules) -> Self {
        let reading = label::read(&container, &rules.fences);
        let borrows_its_address = matches!(container.network_mode, NetworkMode::Container(_));
        let (origin, out, unreachable) = (container.origin(), None, Vec::new());
        Self { container, origin, borrows_its_address, reading, out, unreachable }
    }

    fn take_back(&self, id: &ContainerId, board: &mut Board) {
        self.reading.asks.iter().for_each(|ask| board.remove(&ask.key, id));
    }

    /// All that is said of it, in no order.
    fn problems(&self, about: &About, board: &Board) -> Vec<Problem> {
        let of_labels = self.reading.problems.iter().chain(&self.unreachable);
        let keys = self.reading.asks.iter().map(|ask| &ask.key).collect();
        // It may ask for a thousand routes of others.
        let mut conflicts = board.conflicts_of(about, &keys);
        let first = conflicts.by_ref().take(label::MOST_PROBLEMS);
        let mut problems: Vec<_> = of_labels.chain(first).cloned().collect();
        let more = conflicts.count();
        let (about, reason) = (about.clone(), Reason::More { more });
        problems.extend((0 < more).then_some(Problem { about, label: None, reason }));
        problems
    }
}

/// Says again what is said of containers whose claims were made, or of whose claims something else is said now.
fn renew_problems(memory: &mut Memory, claimants: BTreeSet<ContainerId>) {
    let Memory { seen, board, problems, .. } = memory;
    let mut renewed = board.take_reassessed();
    renewed.extend(claimants);
    for seen in renewed.iter().filter_map(|id| seen.get(id)) {
        let about = About::Container(seen.origin.clone());
        problems.replace(&about, seen.problems(&about, board));
    }
}

/// One container in the world.
struct Place<'a> {
    container: &'a Container,
    origin: &'a Origin,
    world: &'a World,
    rules: &'a Rules,
    /// It crashed too often of late, or somebody drained it.
    out: bool,
    service: Option<Arc<str>>,
    holder: Option<Arc<str>>,
}

/// What stands before the name of a container that has not the label that says whose its hosts are.
const WITHOUT: &str = "container ";

fn holder(container: &Container, label: &str) -> Arc<str> {
    match container.labels.get(label) {
        Some(value) => format!("{label}={value}").into(),
        None => format!("{WITHOUT}{}", container.origin().name()).into(),
    }
}

impl Place<'_> {
    fn claim(&self, reading: &Reading, board: &mut Board, problems: &mut Vec<Problem>) {
        let wanted = reading.network.as_deref();
        let mut addresses = BTreeMap::new();
        let of_host = is_on_host(self.container, self.world);
        for ask in &reading.asks {
            if of_host && self.rules.keeps_to_itself(ask.port) {
                if addresses.insert(ask.port, Err(Reason::PortOfHost { port: ask.port })).is_none()
                {
                    problems.push(unreachable(
                        self.container,
                        None,
                        Reason::PortOfHost { port: ask.port },
                    ));
                }
                continue;
            }
            let found = addresses.entry(ask.port).or_insert_with(|| self.address(ask.port, wanted));
            match found {
                Ok(found) => board.add(self.one(ask, *found)),
                Err(reason) => {
                    let problem = unreachable(self.container, wanted, reason.clone());
                    // Ports of one container mostly have one reason, and may be many.
                    if problems.last() != Some(&problem) {
                        problems.push(problem);
                    }
                }
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
            origin: self.origin.clone(),
            service: self.service.clone(),
            holder: self.holder.clone(),
            seniority: (self.container.created, self.container.id.clone()),
            port,
            address,
            weight,
            standing: if self.out { Standing::Out } else { standing(self.container, obedience) },
        }
    }
}

/// Whether its ports are those of the host: its own network's, or that of the container whose network it joined.
fn is_on_host(container: &Container, world: &World) -> bool {
    let is_host = |it: &Container| it.network_mode == NetworkMode::Host;
    let owner = container.network_owner_id().and_then(|id| world.containers.get(id));
    is_host(container) || owner.is_some_and(|owner| is_host(owner))
}

fn standing(container: &Container, obedience: Obedience) -> Standing {
    let doubtful = matches!(container.health, Health::Starting | Health::Unhealthy);
    match obedience {
        _ if container.state == State::Paused => Standing::Out,
        _ if container.leaving => Standing::LastResort,
        Obedience::Obey if doubtful => Standing::Reserve,
        Obedience::Require if doubtful => Standing::LastResort,
        _ => Standing::Ready,
    }
}

fn unreachable(container: &Container, wanted: Option<&str>, reason: Reason) -> Problem {
    let named = |network: &str| Label::new("glue_network", network);
    Problem {
        about: About::Container(container.origin()),
        label: wanted.filter(|_| matches!(reason, Reason::NotOnNetwork { .. })).map(named),
        reason,
    }
}

/// A refused route stays out for as long as it is asked for in the same shape.
fn leave_out_refused(routes: &mut Routes, memory: &mut Memory, problems: &mut ProblemSet) {
    memory.refused.retain(|key, (route, _)| routes.0.get(key) == Some(route));
    for (key, (_, text)) in &memory.refused {
        let Some(route) = routes.0.remove(key) else { continue };
        problems.extend(route.endpoints.iter().map(|endpoint| Problem {
            about: About::Container(endpoint.origin.clone()),
            label: None,
            reason: Reason::Refused { route: key.to_string(), text: text.clone() },
        }));
    }
}

/// Of more listeners than there may be those stay that older containers ask for.
fn leave_out_excess(routes: &mut Routes, memory: &Memory, problems: &mut ProblemSet) {
    // Keys are sorted by listener.
    let mut listeners: Vec<_> = routes.0.keys().map(|key| key.listener).collect();
    listeners.dedup();
    if listeners.len() <= MOST_LISTENERS {
        return;
    }
    let mut first_comers = BTreeMap::new();
    for (key, claims) in memory.board.claims() {
        let oldest = claims.iter().map(|claim| &claim.seniority).min();
        let first = first_comers.entry(key.listener).or_insert(oldest);
        *first = (*first).into_iter().chain(oldest).min();
    }
    // Those that nobody asks for go first.
    let rank = |listener: &Listener| {
        let first = first_comers.get(listener).copied().flatten();
        (first.is_none(), first, *listener)
    };
    listeners.sort_by_cached_key(rank);
    let excess = listeners.split_off(MOST_LISTENERS).into_iter().collect();
    let reason = |_: Listener| ();
    leave_out(&excess, routes, problems, reason, |ports, ()| Reason::NoListenerLeft {
        ports,
        most: MOST_LISTENERS,
    });
}

fn leave_out_unloadable(
    routes: &mut Routes,
    memory: &Memory,
    now: Instant,
    problems: &mut ProblemSet,
) {
    let out =
        memory.unloadable.iter().filter(|(_, it)| now < it.until).map(|(at, _)| *at).collect();
    let why = |listener: Listener| memory.unloadable[&listener].why.clone();
    leave_out(&out, routes, problems, why, |ports, text| Reason::NotLoaded { ports, text });
}

/// Takes out the routes of these listeners, and names each container that asks for them once per cause.
fn leave_out<C: Ord>(
    out: &BTreeSet<Listener>,
    routes: &mut Routes,
    problems: &mut ProblemSet,
    cause: impl Fn(Listener) -> C,
    reason: impl Fn(Vec<u16>, C) -> Reason,
) {
    if out.is_empty() {
        return;
    }
    let mut ports: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
    routes.0.retain(|key, route| {
        let stays = !out.contains(&key.listener);
        for endpoint in route.endpoints.iter().filter(|_| !stays) {
            let place = (endpoint.origin.clone(), cause(key.listener));
            ports.entry(place).or_default().insert(key.listener.port.get());
        }
        stays
    });
    problems.extend(ports.into_iter().map(|((origin, cause), ports)| Problem {
        about: About::Container(origin),
        label: None,
        reason: reason(ports.into_iter().collect(), cause),
    }));
}

/// Routes that their parties have left stay, empty where nobody else serves them, until their time is over. Says when
/// the next one goes.
fn hold(memory: &mut Memory, now: Instant, time: Duration) -> Option<Instant> {
    let Memory { held, board, refused, .. } = memory;
    let is_over = |key: &RouteKey, held: &Held| {
        held.since + time <= now && !board.routes().0.contains_key(key)
    };
    let over = held.iter().filter(|(key, held)| is_over(key, held)).map(|(key, _)| key.clone());
    let over: BTreeSet<_> = over.collect();
    for key in &over {
        board.touch(key);
    }
    let owners_change = board.settle_hosts(now, time);
    let incumbency = |key: &RouteKey| held.get(key).and_then(Held::incumbency);
    let may_hold =
        |key: &RouteKey| !time.is_zero() && !refused.contains_key(key) && !over.contains(key);
    for (key, departure) in board.settle(incumbency, may_hold) {
        if !refused.contains_key(&key) {
            depart(held, key, departure, now);
        }
    }
    let served = &board.routes().0;
    held.retain(|key, it| {
        let others_serve = || !it.parties.is_empty() && !board.has_claim_of(key, &it.parties);
        now < it.since + time && (!served.contains_key(key) || others_serve())
    });
    let hold_ends = held.values().map(|it| it.since).min().map(|since| since + time);
    hold_ends.into_iter().chain(owners_change).min()
}

/// Where nobody serves it any more its time begins anew.
fn depart(held: &mut BTreeMap<RouteKey, Held>, key: RouteKey, left: Departure, now: Instant) {
    let Departure { party, policy, is_gone } = left;
    let before = held.get(&key);
    if before.is_some() && !is_gone {
        return;
    }
    let mut parties = before.map(|it| it.parties.clone()).unwrap_or_default();
    parties.extend(party.filter(|party| !parties.contains(party)));
    parties.truncate(MOST_PARTIES);
    held.insert(key, Held { parties, ..Held::new(policy, now) });
}

/// Listeners whose port is known to be somebody else's without asking HAProxy, and whose.
fn occupied(
    publishers: &BTreeMap<ContainerId, Arc<Container>>,
    routes: &Routes,
    rules: &Rules,
) -> BTreeMap<Listener, String> {
    let listeners: BTreeSet<_> = routes.0.keys().map(|key| key.listener).collect();
    let why = |at: &Listener| {
        moved_there(*at, &listeners, rules).or_else(|| published(publishers, *at, rules))
    };
    listeners.iter().filter_map(|at| Some((*at, why(at)?))).collect()
}

/// `--map-port` the wrong way round.
fn unused_maps(routes: &Routes, rules: &Rules) -> Vec<Problem> {
    if rules.port_map.is_empty() {
        return Vec::new();
    }
    let ports: BTreeSet<_> = routes.0.keys().map(|key| key.listener.port).collect();
    let wrong = rules.port_map.iter().filter(|(public, ours)| {
        !ports.contains(public) && ports.contains(ours) && !rules.port_map.contains_key(ours)
    });
    wrong
        .map(|(public, ours)| Problem {
            about: About::Option("--map-port"),
            label: None,
            reason: Reason::MapPortUnused { public: public.get(), ours: ours.get() },
        })
        .collect()
}

/// `--map-port` puts another listener where this one would be.
fn moved_there(at: Listener, all: &BTreeSet<Listener>, rules: &Rules) -> Option<String> {
    let same = |other: &&Listener| **other != at && rules.bound(**other) == rules.bound(at);
    let other = all.iter().find(same).filter(|_| !rules.port_map.contains_key(&at.port))?;
    Some(format!("taken by listener {other}, which --map-port puts there"))
}

/// Some container publishes the port on this host.
fn published(
    publishers: &BTreeMap<ContainerId, Arc<Container>>,
    at: Listener,
    rules: &Rules,
) -> Option<String> {
    let port = rules.bound(at).get();
    let has_it =
        |it: &&Arc<Container>| it.published.iter().any(|published| published.host_port == port);
    let holder = publishers.values().find(has_it)?;
    (rules.vantage == Vantage::Host)
        .then(|| format!("taken by container {}, which publishes it", holder.origin()))
}

fn leave_out_taken(
    routes: &mut Routes,
    memory: &Memory,
    occupied: BTreeMap<Listener, String>,
    problems: &mut ProblemSet,
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
