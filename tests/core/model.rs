//! Property test of the balancer with a simulated HAProxy that loses connections, refuses commands and is modified by
//! others. The worker and the files on disk always end in the state that the last world requires, or an active
//! rollback.

use crate::common::{
    any,
    balancer::free_port,
    sim::{self, FakeHaproxy, Master},
    story,
};
use docker_glue::{
    controller::balancer::{Balancer, SourceStatus},
    haproxy::{
        config::FrontendState, observed::ObservedState, plan::plan_commands, proxy::Proxy,
        render::RenderContext,
    },
    model::{
        container::{Container, ContainerId, ContainerState},
        world::World,
    },
    report::StateSnapshot,
    routing::decide::{Rules, decide},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// The maximum number of passes until the balancer has converged, once nothing else changes.
const WAKES: usize = 6;

#[derive(Debug, Clone)]
enum Op {
    /// Containers changed, and an event reported it.
    Event(String),
    /// Containers changed, and the event was lost.
    Unheard(String),
    /// The containers are listed again.
    List,
    /// The pending files are written.
    Files,
    /// Half a minute passes, so that HAProxy's state is read again.
    Later,
    /// The balancer is killed and started again.
    Restart,
    /// The balancer is killed and started again with other settings, which need a reload.
    Upgrade,
    /// Another program reloads HAProxy, which loads the files on disk.
    Reload,
    /// This number of reloads fails.
    Broken(u32),
    Cut(usize, bool),
    Busy(u32),
    Deaf,
    Theirs(ForeignChange, usize),
    /// An operator rolls back to one of the generations in the history.
    RollBack(usize),
    Release,
}

/// A change that another program makes over the runtime API, to one of HAProxy's objects.
#[derive(Debug, Clone, Copy)]
enum ForeignChange {
    Server(&'static str),
    PauseFrontend,
    NewServer,
    DelEntry,
    SetEntry,
    Twin,
    NewEntry,
}

fn op_strategy() -> impl Strategy<Value = Op> {
    let theirs = prop_oneof![
        Just(ForeignChange::Server("weight 3")),
        Just(ForeignChange::Server("state maint")),
        Just(ForeignChange::Server("state drain")),
        Just(ForeignChange::Server("addr 10.9.9.9 port 9")),
        Just(ForeignChange::PauseFrontend),
        Just(ForeignChange::NewServer),
        Just(ForeignChange::DelEntry),
        Just(ForeignChange::SetEntry),
        Just(ForeignChange::Twin),
        Just(ForeignChange::NewEntry),
    ];
    prop_oneof![
        8 => any::story_strategy().prop_map(Op::Event),
        2 => any::story_strategy().prop_map(Op::Unheard),
        1 => Just(Op::List),
        2 => Just(Op::Files),
        1 => Just(Op::Later),
        1 => Just(Op::Restart),
        1 => Just(Op::Upgrade),
        1 => Just(Op::Reload),
        1 => (1..3_u32).prop_map(Op::Broken),
        2 => (0..20_usize, any::<bool>()).prop_map(|(after, obeyed)| Op::Cut(after, obeyed)),
        1 => (1..6_u32).prop_map(Op::Busy),
        1 => Just(Op::Deaf),
        3 => (theirs, 0..8_usize).prop_map(|(theirs, which)| Op::Theirs(theirs, which)),
        2 => (0..8_usize).prop_map(Op::RollBack),
        1 => Just(Op::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn balancer_converges_to_the_last_world(
        ops in prop::collection::vec(op_strategy(), 1..20),
        stock in 1..4_usize,
        adds: bool,
        master in prop_oneof![(0..4_u32).prop_map(Master::Asynchronous), Just(Master::Synchronous)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::start(master, stock, adds).await;
            for op in ops {
                model.apply_op(op).await;
            }
            model.settle_down().await;
        });
    }
}

struct Model {
    sim: FakeHaproxy,
    rules: Rules,
    stock: usize,
    /// Whether HAProxy can add backends at run time.
    adds: bool,
    /// A setting whose change needs a reload.
    hard_stop_after: Duration,
    world: World,
    /// How often each line's container was created.
    lives: BTreeMap<ContainerId, usize>,
    balancer: Option<Balancer>,
}

impl Model {
    async fn start(master: Master, stock: usize, adds: bool) -> Self {
        let port_map = BTreeMap::from([(80.try_into().unwrap(), free_port().try_into().unwrap())]);
        let rules = Rules { hold: Duration::ZERO, port_map, ..story::default_rules() };
        let (sim, world) = (FakeHaproxy::start(master), World::default());
        let lives = BTreeMap::new();
        let hard_stop_after = Duration::from_secs(1);
        let mut model =
            Self { sim, rules, stock, adds, hard_stop_after, world, lives, balancer: None };
        model.restart().await;
        model
    }

    async fn restart(&mut self) {
        self.balancer = None;
        let proxy = Proxy::open(self.sim.settings()).await.unwrap();
        let (rules, frame) = (self.rules.clone(), self.render_frame());
        self.balancer = Some(Balancer::new(proxy, rules, frame, self.stock).await);
    }

    fn render_frame(&self) -> RenderContext {
        RenderContext {
            stats_socket: self.sim.settings().stats_socket(),
            generations: self.sim.path("state/gen"),
            hard_stop_after: self.hard_stop_after,
            ..story::frame_for(self.adds)
        }
    }

    async fn apply_op(&mut self, op: Op) {
        match op {
            Op::Event(story) => {
                self.set_world(&story);
                self.run_pass().await;
            }
            Op::Unheard(story) => self.set_world(&story),
            Op::List => self.run_pass().await,
            Op::Files => self.balancer.as_mut().unwrap().finish().await,
            Op::Later => self.advance_time().await,
            Op::Restart => self.restart().await,
            Op::Upgrade => {
                self.hard_stop_after += Duration::from_secs(1);
                self.restart().await;
            }
            Op::Reload => self.sim.with_state(sim::State::reload_from_disk),
            Op::Broken(times) => self.sim.with_state(|state| state.broken = times),
            Op::Cut(after, obeyed) => {
                self.sim.with_state(|state| state.cut = Some((after, obeyed)));
            }
            Op::Busy(times) => self.sim.with_state(|state| state.busy = times),
            Op::Deaf => self.sim.with_state(|state| state.deaf = true),
            Op::Theirs(theirs, which) => self.interfere(theirs, which),
            Op::RollBack(which) => {
                let history = self.state().history;
                let all: Vec<_> = history.generations().map(|files| files.number).collect();
                if let Some(number) = all.get(which % all.len().max(1)) {
                    let _ = self.balancer.as_mut().unwrap().roll_back(*number).unwrap();
                    self.run_pass().await;
                }
            }
            Op::Release => {
                // Returns an error if no rollback is active.
                let _ = self.balancer.as_mut().unwrap().release_rollback();
                self.run_pass().await;
            }
        }
    }

    fn state(&self) -> StateSnapshot {
        self.balancer.as_ref().unwrap().snapshot(None, SourceStatus::default())
    }

    /// A container that starts again gets a new id, as if it were recreated.
    fn set_world(&mut self, story: &str) {
        let mut world = story::parse_world(story);
        let containers = std::mem::take(&mut world.containers);
        for (line, container) in containers {
            let life = self.lives.entry(line.clone()).or_default();
            let id = |life: usize| ContainerId::new(format!("{life:06x}{}", &line.as_str()[6..]));
            let was_up =
                self.world.containers.get(&id(*life)).is_some_and(|container| is_up(container));
            if is_up(&container) && !was_up {
                *life += 1;
            }
            let container = Container { id: id(*life), ..Arc::unwrap_or_clone(container) };
            world.containers.insert(container.id.clone(), Arc::new(container));
        }
        self.world = world;
    }

    /// Errors are ignored here; a later pass retries, as in the program.
    async fn run_pass(&mut self) {
        let _ = self.balancer.as_mut().unwrap().reconcile(&self.world, "test").await;
    }

    async fn advance_time(&mut self) {
        self.balancer.as_mut().unwrap().invalidate_state();
        self.run_pass().await;
    }

    fn interfere(&self, theirs: ForeignChange, which: usize) {
        self.sim.with_state(|state| {
            let worker = &mut state.worker;
            let names = worker
                .backends
                .iter()
                .flat_map(|(at, servers)| servers.keys().map(move |text| (at, text)));
            let servers: Vec<_> = names.map(|(at, name)| format!("{at}/{name}")).collect();
            let entries = worker.maps.get("routes.map").cloned().unwrap_or_default();
            let server = servers.get(which % servers.len().max(1));
            let key = entries.get(which % entries.len().max(1)).map(|pair| pair.0.as_str());
            match (theirs, server, key) {
                (ForeignChange::Server(change), Some(server), _) => {
                    let words: Vec<_> = change.split(' ').collect();
                    let _ =
                        worker.apply_command(&[&["set", "server", server], &words[..]].concat());
                }
                (ForeignChange::PauseFrontend, _, _) => {
                    let names: Vec<_> = worker.frontends.keys().cloned().collect();
                    if let Some(name) = names.get(which % names.len().max(1)) {
                        let _ = worker.apply_command(&["disable", "frontend", name]);
                    }
                }
                (ForeignChange::NewServer, _, _) => {
                    let at = worker.backends.keys().filter(|text| *text != "no-route");
                    let Some(at) = at.cycle().nth(which).map(|text| format!("{text}/theirs"))
                    else {
                        return;
                    };
                    let words = ["add", "server", &at, "10.9.9.9:9", "id", "9", "weight", "9"];
                    let _ = worker.apply_command(&words);
                }
                (ForeignChange::DelEntry, _, Some(key)) => {
                    let _ = worker.apply_command(&["del", "map", "routes.map", key]);
                }
                (ForeignChange::SetEntry, _, Some(key)) => {
                    let _ = worker.apply_command(&["set", "map", "routes.map", key, "nowhere"]);
                }
                (ForeignChange::Twin, _, Some(key)) => {
                    let _ = worker.apply_command(&["add", "map", "routes.map", key, "nowhere"]);
                }
                (ForeignChange::NewEntry, _, _) => {
                    let _ = worker.apply_command(&[
                        "add",
                        "map",
                        "routes.map",
                        "new.test:80/",
                        "nowhere",
                    ]);
                }
                _ => {}
            }
        });
    }

    /// From now on only the balancer's periodic passes happen.
    async fn settle_down(&mut self) {
        self.sim.with_state(|state| (state.broken, state.busy) = (0, state.busy.min(2)));
        let mut last = String::new();
        for _ in 0..WAKES {
            self.advance_time().await;
            self.balancer.as_mut().unwrap().finish().await;
            match self.difference() {
                None => return,
                Some(difference) => last = difference,
            }
        }
        panic!("it does not end: {last}");
    }

    /// Returns the difference between the actual state and the state that the world or a rollback requires.
    fn difference(&self) -> Option<String> {
        // Everything is decided again without the cache. The decide state keeps which containers served last, and the
        // rollback.
        let mut memory = self.state().decide_state;
        memory.clear_cache();
        let decided = decide(&self.world, memory, Instant::now(), &self.rules);
        let (worker, stored) = (self.sim.observe(), self.sim.stored());
        let (mut config, homeless) = story::config_within(&decided.routes, &worker);
        config.maps.auth_servers = decided.auth_servers;
        let there = ObservedState::from_config(&config);
        if 0 < homeless {
            return Some(format!("{homeless} routes have no place in {worker:#?}"));
        }
        if !worker.matches_state(&there) {
            return Some(format!("the worker has {worker:#?}, and should have {there:#?}"));
        }
        let commands = plan_commands(&worker, &config);
        if !commands.is_empty() {
            return Some(format!("{commands:?} would follow"));
        }
        // The files leave paused frontends out. A second entry that another program added under a map key is not
        // compared: HAProxy uses the first one.
        let mut worker = worker;
        worker.frontends.retain(|_, state| *state == FrontendState::Open);
        (!stored.matches_state(&worker)).then(|| format!("on disk is {stored:#?}, not {worker:#?}"))
    }
}

fn is_up(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Paused)
}

/// HAProxy's state is read again soon after HAProxy did not answer.
#[tokio::test]
async fn unreachable_haproxy_is_queried_again_within_2_seconds() {
    let mut model = Model::start(Master::Synchronous, 1, false).await;
    model.apply_op(Op::Event("a 172.17.0.2 glue_http_80_host=a.test".to_owned())).await;
    model.set_world("b 172.17.0.3 glue_http_80_host=b.test");
    model.sim.with_state(|state| state.mute = true);
    let wake = model.balancer.as_mut().unwrap().reconcile(&model.world, "test").await.unwrap();
    assert!(wake.wake_at.unwrap() < Instant::now() + Duration::from_secs(2));
    model.sim.with_state(|state| state.mute = false);
    model.run_pass().await;
    assert_eq!(model.difference(), None);
}

/// The balancer was restarted with settings that need a reload, and every reload fails.
#[tokio::test]
async fn running_routes_are_served_while_reloads_fail() {
    let mut model = Model::start(Master::Synchronous, 1, false).await;
    let story = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=b.test";
    model.apply_op(Op::Event(story.to_owned())).await;
    let before = model.sim.observe();
    model.sim.with_state(|state| state.broken = 1000);
    model.apply_op(Op::Upgrade).await;
    for _ in 0..20 {
        model.advance_time().await;
        assert!(model.sim.observe().matches_state(&before), "{:#?}", model.sim.observe());
    }
}
