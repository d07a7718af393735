//! What holds for any labels and any world.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/any.rs"]
mod any;
#[path = "common/ours.rs"]
mod ours;
#[path = "common/story.rs"]
mod story;

use docker_glue::{
    claim::collect,
    container::Container,
    decide::{Memory, decide},
    haproxy::{
        config::{Admin, Backend, Config, MapName, Shape, shape},
        name,
        observed::{Observed, ServerSeen},
        plan::plan,
        step::{self, Step},
    },
    label::{self, key::Choice, trace::trace},
    origin::Origin,
    route::{Readiness, Route, RouteKey, Routes},
    world::World,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_labels_leave_a_configuration_whose_every_line_is_ours(world in any::world()) {
        ours::assert_ours(&ours::files(&world));
    }

    /// Whatever was decided and remembered on the way; but who has a route keeps it from those who disagree.
    #[test]
    fn containers_that_become_known_in_any_order_give_the_same_bytes(
        (world, order) in prop_oneof![any::world(), any::told().prop_map(|it| story::world(&it))]
            .prop_flat_map(|world| {
                let ids: Vec<_> = world.containers.keys().cloned().collect();
                (Just(world), Just(ids).prop_shuffle())
            }),
    ) {
        let (mut known, mut memory) = (World { containers: BTreeMap::new(), ..world.clone() }, Memory::default());
        let now = Instant::now();
        let whole = decide(&world, Memory::default(), now, &story::rules());
        prop_assume!(!whole.problems.iter().any(|it| it.reason.kind() == "conflict"));
        for id in order {
            known.containers.insert(id.clone(), world.containers[&id].clone());
            memory = decide(&known, memory, now, &story::rules()).memory;
        }
        prop_assert_eq!(ours::files_after(memory, &known), ours::files(&world));
    }

    #[test]
    fn the_order_of_claims_does_not_matter(
        (claims, shuffled) in any::claims().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle()))
    ) {
        let ((routes, mut problems), (again, mut others)) = (collect(claims), collect(shuffled));
        problems.sort();
        others.sort();
        prop_assert_eq!((routes, problems), (again, others));
    }

    /// What is used again of earlier decisions makes them quicker, and no different.
    #[test]
    fn a_decision_is_the_same_when_all_of_it_is_made_anew(
        turns in prop::collection::vec((any::told(), 0..40_u64, 0..9_usize), 1..7),
    ) {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let (mut world, rules) = (World::default(), story::rules());
        for (story, seconds, drained) in turns {
            now += Duration::from_secs(seconds);
            world = story::next_world(&world, &story);
            if let Some(id) = world.containers.keys().nth(drained) {
                memory.drain(id);
            }
            let mut unworked = memory.clone();
            unworked.forget_work();
            let whole = decide(&world, unworked, now, &rules);
            let decided = decide(&world, memory, now, &rules);
            prop_assert_eq!(&decided.routes, &whole.routes);
            prop_assert_eq!(&decided.problems, &whole.problems);
            prop_assert_eq!(decided.wake_at, whole.wake_at);
            prop_assert_eq!(&decided.memory, &whole.memory);
            memory = decided.memory;
        }
    }

    /// From any world to any other and on to a third, with servers that could not be deleted in
    /// between: each plan ends where it should, and no client would hold anything against the way.
    #[test]
    fn obeying_a_plan_leads_from_any_world_to_any_other(
        (a, b, c) in (any::told(), any::told(), any::told()),
        stock in 1..3_usize,
        adds: bool,
        busy: bool,
    ) {
        let mut way = Way::fresh(&story::routes(&a), stock, adds);
        for (story, busy) in [(b, busy), (c, false)] {
            way.turn(&story::routes(&story));
            let plan = plan(&way.observed, &way.config);
            for command in plan.iter().filter(|it| !(busy && it.may_be_refused())) {
                way.observed.obey(command);
                prop_assert_eq!(way.lost(), None, "{}", command);
            }
        }
        prop_assert!(way.is_there(), "{:#?}", way);
    }

    /// What is different alone gives what the whole gives.
    #[test]
    fn a_step_is_the_whole_way(
        turns in prop::collection::vec((any::told(), any::<bool>()), 2..6),
        stock in 1..4_usize,
        adds: bool,
    ) {
        let mut before = story::routes(&turns[0].0);
        let mut config = story::started(&before, stock, adds);
        let mut observed = Observed::started(&config);
        for (story, busy) in &turns[1..] {
            let after = story::routes(story);
            let (whole, homeless) = story::config_within(&after, &observed);
            let commands = plan(&observed, &whole);
            let leftover = step::leftover(&observed, &config);
            let leftover = leftover.expect("HAProxy has what it was given");
            let has = (&observed, &leftover);
            let step = Step::new((&before, &config), has, &after, &BTreeSet::new(), story::frame().wait);
            let Some(step) = step else {
                prop_assert!(0 < homeless || whole.skeleton != config.skeleton);
                break;
            };
            prop_assert_eq!(&step.commands, &commands);
            step.take(&mut config);
            prop_assert_eq!(&config, &whole);
            for command in commands.iter().filter(|it| !(*busy && it.may_be_refused())) {
                observed.obey(command);
            }
            before = after;
        }
    }

    /// One that was cut off anywhere is followed by one that ends where it should.
    #[test]
    fn a_plan_may_end_anywhere(
        (a, b, c) in (any::told(), any::told(), any::told()),
        stock in 1..3_usize,
        adds: bool,
        cut in 0..30_usize,
    ) {
        let mut way = Way::fresh(&story::routes(&a), stock, adds);
        for (story, most) in [(b, cut), (c, usize::MAX)] {
            way.turn(&story::routes(&story));
            for command in plan(&way.observed, &way.config).iter().take(most) {
                way.observed.obey(command);
            }
        }
        prop_assert!(way.is_there(), "{:#?}", way);
    }
}

/// From one desired state to the next.
#[derive(Debug)]
struct Way {
    observed: Observed,
    before: Config,
    config: Config,
    routes: Routes,
    /// Served by an endpoint, before, that is to serve it after as well.
    kept: BTreeSet<RouteKey>,
}

impl Way {
    fn fresh(routes: &Routes, stock: usize, adds: bool) -> Self {
        let config = story::started(routes, stock, adds);
        let (observed, routes) = (Observed::started(&config), routes.clone());
        Self { observed, before: config.clone(), config, routes, kept: BTreeSet::new() }
    }

    fn turn(&mut self, routes: &Routes) {
        let (config, _) = story::config_within(routes, &self.observed);
        self.before = mem::replace(&mut self.config, config);
        let placed = |key: &&RouteKey| place(&self.config, key).is_some();
        let served = |key: &&RouteKey| {
            let both = &ready(&self.routes, key) & &ready(routes, key);
            let (_, servers) = self.at(key).unwrap_or_default();
            let is_one = |(name, seen): (&String, &ServerSeen)| {
                let is_it = |(_, origin, address): &(_, Origin, SocketAddr)| {
                    name::container(name) == Some(origin.id()) && *address == seen.address
                };
                takes_traffic(seen) && both.iter().any(is_it)
            };
            servers.iter().any(is_one)
        };
        self.kept = routes.0.keys().filter(placed).filter(served).cloned().collect();
        self.routes = routes.clone();
    }

    fn is_there(&self) -> bool {
        let there = Observed::started(&self.config);
        self.observed.agrees_with(&there) && plan(&self.observed, &self.config).is_empty()
    }

    fn serves(&self, key: &RouteKey) -> bool {
        self.at(key).is_some_and(|(_, servers)| servers.values().any(takes_traffic))
    }

    /// Where requests of the route go, and who is there.
    fn at(&self, key: &RouteKey) -> Option<(&str, BTreeMap<String, ServerSeen>)> {
        let value = self.observed.maps.get(&MapName::Routes)?.get(&key.to_string())?;
        let place = value.split(' ').next()?;
        let mut servers = self.observed.servers.get(place).cloned().unwrap_or_default();
        servers.remove(name::HOLD);
        Some((place, servers))
    }

    /// What a client would hold against this moment.
    fn lost(&self) -> Option<String> {
        if let Some(key) = self.kept.iter().find(|key| !self.serves(key)) {
            return Some(format!("nobody serves {key}: {:?}", self.at(key)));
        }
        let keys = self.observed.map(MapName::Routes).map(|(key, _)| key.parse().unwrap());
        keys.collect::<Vec<RouteKey>>().into_iter().find_map(|key| {
            let (at, servers) = self.at(&key)?;
            let places = [&self.before, &self.config].map(|config| place(config, &key));
            let own: Vec<_> = places.into_iter().flatten().flat_map(|it| &it.servers).collect();
            let is_own = |name: &String| own.iter().any(|it| it.name == *name);
            let mut ready = servers.iter().filter(|(_, it)| it.admin == Admin::Ready);
            let (stranger, _) = ready.find(|(name, _)| !is_own(name))?;
            Some(format!("{key} goes to {at}, where {stranger} serves another route"))
        })
    }
}

fn takes_traffic(it: &ServerSeen) -> bool {
    it.up && it.admin == Admin::Ready
}

fn ready(routes: &Routes, key: &RouteKey) -> BTreeSet<(Shape, Origin, SocketAddr)> {
    let Some(route) = routes.0.get(key) else { return BTreeSet::new() };
    let Route { policy, endpoints } = route.as_ref();
    let ready = endpoints.iter().filter(|it| it.readiness == Readiness::Ready);
    ready.map(|it| (shape(policy), it.origin.clone(), it.address)).collect()
}

fn place<'a>(config: &'a Config, key: &RouteKey) -> Option<&'a Backend> {
    config.backends.values().map(AsRef::as_ref).find(|it| it.route == *key)
}

proptest! {
    /// Alone, the labels that a route is traced back to ask for that very route.
    #[test]
    fn a_route_is_traced_back_to_the_labels_that_ask_for_it(world in any::world()) {
        let fences = story::rules().fences;
        for container in world.containers.values() {
            for ask in label::read(container, &fences).asks {
                let trace = trace(container, &fences, &ask.key, ask.port);
                let trace = trace.expect("somebody asked for it");
                let choices = Choice::ALL.iter().filter_map(|(_, choice)| trace.get(*choice));
                let labels = choices.chain(&trace.ports).map(|it| (it.key.clone(), it.value.clone()));
                let labels: BTreeMap<_, _> = labels.collect();
                let bare = Container { labels: labels.into(), ..(**container).clone() };
                let asks = label::read(&bare, &fences).asks;
                prop_assert!(asks.contains(&ask), "{:?} of {:?}", ask, bare.labels);
            }
        }
    }
}
