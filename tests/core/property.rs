//! What holds for any labels and any world.

use crate::common::{any, ours, story};
use docker_glue::{
    haproxy::{
        config::{
            AdminState, Backend, BackendShape, Config, FrontendState, MapName, required_shape,
        },
        incremental_plan::{self, IncrementalPlan},
        name,
        observed::{ObservedServer, ObservedState},
        plan::plan_commands,
    },
    label::{self, trace::trace_labels},
    model::{
        container::Container,
        container_ref::ContainerRef,
        label_option::LabelOption,
        route::{Protocol, Readiness, Route, RouteKey, Routes},
        world::World,
    },
    routing::{
        decide::{DecideState, decide},
        route_table::resolve_claims,
    },
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
    fn any_labels_give_only_own_configuration_lines(world in any::world_strategy()) {
        ours::assert_own_lines(&ours::files_of(&world));
    }

    /// Whatever was decided and remembered on the way; but who has a route keeps it from those who disagree.
    #[test]
    fn any_arrival_order_gives_the_same_files(
        (world, order) in prop_oneof![any::world_strategy(), any::story_strategy().prop_map(|text| story::parse_world(&text))]
            .prop_flat_map(|world| {
                let ids: Vec<_> = world.containers.keys().cloned().collect();
                (Just(world), Just(ids).prop_shuffle())
            }),
    ) {
        let (mut partial, mut memory) = (World { containers: BTreeMap::new(), ..world.clone() }, DecideState::default());
        let now = Instant::now();
        let whole = decide(&world, DecideState::default(), now, &story::default_rules());
        prop_assume!(!whole.problems.iter().any(|problem| problem.reason.kind() == "conflict"));
        for id in order {
            partial.containers.insert(id.clone(), world.containers[&id].clone());
            memory = decide(&partial, memory, now, &story::default_rules()).memory;
        }
        prop_assert_eq!(ours::files_after(memory, &partial), ours::files_of(&world));
    }

    #[test]
    fn any_claim_order_gives_the_same_routes(
        (claims, shuffled) in any::claims_strategy().prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle()))
    ) {
        let ((routes, mut problems), (again, mut others)) = (resolve_claims(claims), resolve_claims(shuffled));
        problems.sort();
        others.sort();
        prop_assert_eq!((routes, problems), (again, others));
    }

    /// What is used again of earlier decisions makes them quicker, and no different.
    #[test]
    fn incremental_decision_equals_full_decision(
        turns in prop::collection::vec((any::story_strategy(), 0..40_u64, 0..9_usize), 1..7),
    ) {
        let (mut memory, mut now) = (DecideState::default(), Instant::now());
        let (mut world, rules) = (World::default(), story::default_rules());
        for (story, seconds, drained) in turns {
            now += Duration::from_secs(seconds);
            world = story::parse_next_world(&world, &story);
            if let Some(id) = world.containers.keys().nth(drained) {
                memory.drain_container(id);
            }
            let mut unworked = memory.clone();
            unworked.clear_cache();
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
    fn applied_plan_reaches_any_world_without_lost_requests(
        (a, b, c) in (any::story_strategy(), any::story_strategy(), any::story_strategy()),
        stock in 1..3_usize,
        adds: bool,
        busy: bool,
    ) {
        let mut channel = PlanRun::start(&story::parse_routes(&a), stock, adds);
        for (story, busy) in [(b, busy), (c, false)] {
            channel.plan_routes(&story::parse_routes(&story));
            let plan = plan_commands(&channel.observed, &channel.config);
            for command in plan.iter().filter(|command| !(busy && command.may_be_refused())) {
                channel.observed.apply_command(command);
                prop_assert_eq!(channel.violation(), None, "{}", command);
            }
        }
        prop_assert!(channel.has_arrived(), "{:#?}", channel);
    }

    /// What is different alone gives what the whole gives.
    #[test]
    fn incremental_plan_equals_full_plan(
        turns in prop::collection::vec((any::story_strategy(), any::<bool>()), 2..6),
        stock in 1..4_usize,
        adds: bool,
    ) {
        let mut before = story::parse_routes(&turns[0].0);
        let mut config = story::config_at_start(&before, stock, adds);
        let mut observed = ObservedState::from_config(&config);
        for (story, busy) in &turns[1..] {
            let after = story::parse_routes(story);
            let (whole, homeless) = story::config_within(&after, &observed);
            let commands = plan_commands(&observed, &whole);
            let leftover = incremental_plan::find_pending_deletions(&observed, &config);
            let leftover = leftover.expect("HAProxy has what it was given");
            let has = (&observed, &leftover);
            let (rules, frame) = (story::default_rules(), story::frame_for(adds));
            let (unavailable, draining) = (BTreeSet::new(), BTreeSet::new());
            let builder = story::builder(&rules, &frame, &unavailable, &draining);
            let step = IncrementalPlan::new((&before, &config), has, &after, builder);
            if let Some(step) = step {
                prop_assert_eq!(&step.commands, &commands);
                step.apply_to(&mut config);
                prop_assert_eq!(&config, &whole);
            } else {
                let needs_reload = 0 < homeless
                    || whole.frontends != config.frontends
                    || whole.header_names != config.header_names;
                prop_assert!(needs_reload || whole.maps.tcp_ports != config.maps.tcp_ports);
                if needs_reload {
                    break;
                }
                config = whole;
            }
            for command in commands.iter().filter(|command| !(*busy && command.may_be_refused())) {
                observed.apply_command(command);
            }
            before = after;
        }
    }

    /// One that was cut off anywhere is followed by one that ends where it should.
    #[test]
    fn interrupted_plan_is_completed_by_the_next(
        (a, b, c) in (any::story_strategy(), any::story_strategy(), any::story_strategy()),
        stock in 1..3_usize,
        adds: bool,
        cut in 0..30_usize,
    ) {
        let mut channel = PlanRun::start(&story::parse_routes(&a), stock, adds);
        for (story, most) in [(b, cut), (c, usize::MAX)] {
            channel.plan_routes(&story::parse_routes(&story));
            for command in plan_commands(&channel.observed, &channel.config).iter().take(most) {
                channel.observed.apply_command(command);
            }
        }
        prop_assert!(channel.has_arrived(), "{:#?}", channel);
    }
}

/// From one desired state to the next.
#[derive(Debug)]
struct PlanRun {
    observed: ObservedState,
    before: Config,
    config: Config,
    routes: Routes,
    /// Served by an endpoint, before, that is to serve it after as well.
    kept: BTreeSet<RouteKey>,
}

impl PlanRun {
    fn start(routes: &Routes, stock: usize, adds: bool) -> Self {
        let config = story::config_at_start(routes, stock, adds);
        let (observed, routes) = (ObservedState::from_config(&config), routes.clone());
        Self { observed, before: config.clone(), config, routes, kept: BTreeSet::new() }
    }

    fn plan_routes(&mut self, routes: &Routes) {
        let (config, _) = story::config_within(routes, &self.observed);
        self.before = mem::replace(&mut self.config, config);
        // A reload would bind them.
        for frontend in self.config.open_frontends() {
            let frontends = &mut self.observed.frontends;
            frontends.entry(frontend.public_name()).or_insert(FrontendState::Open);
        }
        let placed = |key: &&RouteKey| backend_of_route(&self.config, key).is_some();
        let served = |key: &&RouteKey| {
            let both = &ready_servers(&self.routes, key) & &ready_servers(routes, key);
            let (_, servers) = self.backend_of(key).unwrap_or_default();
            let is_one = |(name, seen): (&String, &ObservedServer)| {
                let is_same = |(_, origin, address): &(_, ContainerRef, SocketAddr)| {
                    name::container_id(name) == Some(origin.id()) && *address == seen.address
                };
                takes_traffic(seen) && both.iter().any(is_same)
            };
            servers.iter().any(is_one)
        };
        self.kept = routes.0.keys().filter(placed).filter(served).cloned().collect();
        self.routes = routes.clone();
    }

    fn has_arrived(&self) -> bool {
        let there = ObservedState::from_config(&self.config);
        self.observed.matches_state(&there)
            && plan_commands(&self.observed, &self.config).is_empty()
    }

    fn serves(&self, key: &RouteKey) -> bool {
        self.backend_of(key).is_some_and(|(_, servers)| servers.values().any(takes_traffic))
    }

    /// Where requests of the route go, and who is there.
    fn backend_of(&self, key: &RouteKey) -> Option<(&str, BTreeMap<String, ObservedServer>)> {
        let value = self.observed.maps.get(&MapName::of_route(key))?.get(&key.map_key())?;
        let text = value.split(' ').next()?;
        let mut servers = self.observed.servers.get(text).cloned().unwrap_or_default();
        servers.remove(name::HOLD_SERVER);
        Some((text, servers))
    }

    /// What a client would hold against this moment.
    fn violation(&self) -> Option<String> {
        if let Some(key) = self.kept.iter().find(|key| !self.serves(key)) {
            return Some(format!("nobody serves {key}: {:?}", self.backend_of(key)));
        }
        let is_closed = |key: &&RouteKey| {
            let mut frontends = self.config.frontends.iter();
            let frontend = frontends.find(|frontend| frontend.listener == key.listener).unwrap();
            self.observed.frontends[&frontend.public_name()] != FrontendState::Open
        };
        if let Some(key) = self.kept.iter().find(is_closed) {
            return Some(format!("the port of {key} is closed"));
        }
        let keys = self
            .observed
            .map_entries(MapName::Routes)
            .map(|(key, _)| RouteKey::parse_map_key(key, |_| Protocol::Http).unwrap());
        keys.collect::<Vec<RouteKey>>().into_iter().find_map(|key| {
            let (at, servers) = self.backend_of(&key)?;
            let places = [&self.before, &self.config].map(|config| backend_of_route(config, &key));
            let own: Vec<_> =
                places.into_iter().flatten().flat_map(|backend| &backend.servers).collect();
            let is_own = |name: &String| own.iter().any(|server| server.name == *name);
            let mut ready = servers.iter().filter(|(_, server)| server.admin == AdminState::Ready);
            let (stranger, _) = ready.find(|(name, _)| !is_own(name))?;
            Some(format!("{key} goes to {at}, where {stranger} serves another route"))
        })
    }
}

fn takes_traffic(server: &ObservedServer) -> bool {
    server.up && server.admin == AdminState::Ready
}

fn ready_servers(
    routes: &Routes,
    key: &RouteKey,
) -> BTreeSet<(BackendShape, ContainerRef, SocketAddr)> {
    let Some(route) = routes.0.get(key) else { return BTreeSet::new() };
    let Route { policy, endpoints, .. } = route.as_ref();
    let ready = endpoints.iter().filter(|view| view.readiness == Readiness::Ready);
    ready.map(|view| (required_shape(key, policy), view.container.clone(), view.address)).collect()
}

fn backend_of_route<'a>(config: &'a Config, key: &RouteKey) -> Option<&'a Backend> {
    config.backends.values().map(AsRef::as_ref).find(|backend| backend.route == *key)
}

proptest! {
    /// Alone, the labels that a route is traced back to ask for that very route.
    #[test]
    fn traced_labels_alone_request_the_same_route(world in any::world_strategy()) {
        let fences = story::default_rules().base.label_limits;
        for container in world.containers.values() {
            for ask in label::parse_labels(container, &fences).requests {
                let trace = trace_labels(container, &fences, &ask.key, ask.port);
                let trace = trace.expect("somebody asked for it");
                let choices = LabelOption::of_ports().filter_map(|option| trace.get(option));
                let labels = choices.chain(&trace.ports).map(|dir| (dir.key.clone(), dir.value.clone()));
                let labels: BTreeMap<_, _> = labels.collect();
                let bare = Container { labels: labels.into(), ..(**container).clone() };
                let asks = label::parse_labels(&bare, &fences).requests;
                prop_assert!(asks.contains(&ask), "{:?} of {:?}", ask, bare.labels);
            }
        }
    }
}
