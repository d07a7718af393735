//! What would change, as told in stories: `tests/outlook/<case>/`, and the way back from HAProxy to routes.
//!
//! Each case is what is served (`before.txt`) and what runs now (`after.txt`). `cargo insta review` shows what
//! changed.

use crate::common::{any, story};
use docker_glue::{
    haproxy::{
        config::{AdminState, Config, MapName},
        config_builder::ConfigBuilder,
        files::ConfigFiles,
        name,
        observed::ObservedState,
        plan::plan_commands,
        render::{RenderContext, render_files},
        route_recovery, stored_state,
    },
    model::{
        container_ref::ContainerRef,
        label_option::TypedOption,
        option_value::{Backup, CheckInterval, CheckMethod},
        route::{Route, RouteKey, Routes, Strip},
        source_name::SourceName,
        world::World,
    },
    report::{
        preview::{
            CurrentState, DiskState, PlanPreview, PreviewMethod, StateSource, decide_preview,
        },
        preview_output::PreviewOutput,
        status::{ListenerStatus, Load, Status},
    },
    routing::{
        decide::{self, DecideState},
        rollback::Rollback,
        route_table::Claim,
    },
    sources::compose::{
        Deployment, Project, ReadContext, VariableMode,
        planned_container::{self, Placeholders},
    },
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

const STOCK: usize = 1;

#[test]
fn plan_of_a_story_matches_snapshots() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outlook");
    let mut names: Vec<_> =
        fs::read_dir(&cases).unwrap().map(|result| result.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        let text = |name: &str| fs::read_to_string(case.join(name)).unwrap();
        let before = started_with(&text("before.txt"));
        let (world, masks) = world_after(&case);
        let outlook = preview_world(&before, &world, None);
        let hold = story::default_rules().hold;
        let socket = story::default_frame().stats_socket;
        let (refused, notes) = (None, Vec::new());
        let foretold = PreviewOutput {
            preview: outlook,
            placeholders: masks,
            socket,
            hold,
            rejection: refused,
            notes,
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&case);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| {
            insta::assert_snapshot!("human", strip_colours(&foretold.to_text()));
            insta::assert_snapshot!("json", foretold.to_json());
            insta::assert_snapshot!("text", foretold.to_patch());
        });
    }
}

/// What runs, with the compose file on top, where the case has one.
fn world_after(case: &Path) -> (World, Placeholders) {
    let world = story::parse_world(&fs::read_to_string(case.join("after.txt")).unwrap());
    let Ok(text) = fs::read_to_string(case.join("compose.yaml")) else {
        return (world, Placeholders::default());
    };
    let outside = ReadContext {
        folder: case.to_owned(),
        environment: BTreeMap::new(),
        deployment: Deployment::Compose,
        variables: VariableMode::Fill,
    };
    let project = Project::parse_project("compose.yaml", &text, &outside).unwrap();
    let planned = planned_container::plan_containers(&project, &BTreeMap::new());
    planned_container::merge_into_world(&world, &project, planned, &SourceName::NONE)
}

/// As it is where there is no terminal.
fn strip_colours(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn plan_text(outlook: &PlanPreview) -> String {
    let mut text = String::new();
    for change in &outlook.changes {
        writeln!(text, "{change}").unwrap();
    }
    for key in &outlook.route_holds {
        writeln!(text, "held: {key}").unwrap();
    }
    match &outlook.method {
        PreviewMethod::Reload(why) => writeln!(text, "\nreload: {why}").unwrap(),
        how => writeln!(text, "\n{how:?}").unwrap(),
    }
    for command in &outlook.commands {
        writeln!(text, "{command}").unwrap();
    }
    for patch in &outlook.patches {
        write!(text, "\n{}", patch.diff).unwrap();
    }
    for problem in &outlook.problems {
        writeln!(text, "\n{problem}").unwrap();
    }
    text
}

/// An HAProxy that was started with a story, and its files.
fn started_with(story: &str) -> CurrentState {
    let routes = story::parse_routes(story);
    let config = story::config_at_start(&routes, STOCK, false);
    current_state(&config, ObservedState::from_config(&config))
}

fn current_state(config: &Config, observed: ObservedState) -> CurrentState {
    let (disk, owners) =
        (disk_with(&render_files(config, &story::default_frame())), BTreeMap::new());
    CurrentState { source: StateSource::HAProxy, observed, disk, owners }
}

fn disk_with(files: &ConfigFiles) -> DiskState {
    let RenderContext { generations, .. } = story::default_frame();
    let position = |name: &String| generations.join(&files.generation.name).join(name);
    let all = files.generation.files.iter();
    DiskState {
        target: PathBuf::from("/var/lib/docker-glue/haproxy.cfg"),
        config: Some(files.config.clone()),
        files: all.map(|(name, text)| (name.clone(), (position(name), text.clone()))).collect(),
        generations,
    }
}

fn preview_story(before: &CurrentState, story: &str, daemon: Option<&Status>) -> PlanPreview {
    preview_world(before, &story::parse_world(story), daemon)
}

fn preview_world(before: &CurrentState, world: &World, daemon: Option<&Status>) -> PlanPreview {
    preview_rollback(before, world, daemon, None)
}

fn preview_rollback(
    before: &CurrentState,
    world: &World,
    daemon: Option<&Status>,
    rollback: Option<Rollback>,
) -> PlanPreview {
    let (rules, frame) = (story::default_rules(), story::default_frame());
    let maker = ConfigBuilder {
        rules: &rules,
        context: &frame,
        unavailable: &BTreeSet::new(),
        spare_count: STOCK,
        draining: &BTreeSet::new(),
    };
    let none = BTreeMap::new();
    let foreseen = decide_preview(world, before, daemon, &none, rollback, (&rules, Instant::now()));
    PlanPreview::new(before, foreseen, maker)
}

/// What comes back of routes: all that HAProxy is given.
fn routes_as_haproxy_has_them(routes: &Routes) -> Routes {
    let report = |(key, route): (&RouteKey, &Arc<Route>)| {
        let mut route = (**route).clone();
        if key.path().is_none_or(|path| path.segments().depth() == 0) {
            route.policy.set(Strip::Keep.into_value());
        }
        if route.own_answer(key.listener).is_some() {
            route.endpoints.clear();
        }
        let is_unchecked = route.policy.get::<CheckMethod>() == CheckMethod::Off;
        for endpoint in &mut route.endpoints {
            // Containers are backups in routing only.
            endpoint.options.set(Backup::default().into_value());
            if is_unchecked {
                // HAProxy has no interval of checks that it does not make.
                endpoint.options.set(CheckInterval::default().into_value());
            }
        }
        if route.endpoints.is_empty() {
            route.policy.set(CheckMethod::Tcp.into_value());
        }
        (key.clone(), Arc::new(route))
    };
    Routes(routes.0.iter().map(report).collect())
}

/// Whether containers disagree on a route that HAProxy itself would answer for one of them. HAProxy has no servers of
/// such a route, so nothing says whose it is.
fn has_contested_answer(story: &str) -> bool {
    let world = story::parse_world(story);
    let decided =
        decide::decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
    let contested = |(key, claims): (&RouteKey, &Vec<Claim>)| {
        let answers = |claim: &Claim| {
            Route::new(claim.policy.clone(), claim.terms.clone()).own_answer(key.listener).is_some()
        };
        claims.iter().any(|claim| claim.policy != claims[0].policy) && claims.iter().any(answers)
    };
    decided.memory.route_table().claims().iter().any(contested)
}

#[test]
fn unchanged_world_gives_an_empty_plan() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test\nold 172.17.0.3 paused glue_http_80_host=b.test glue_http_80_check=/well";
    let outlook = preview_story(&started_with(story), story, None);
    assert!(outlook.is_empty(), "{}", plan_text(&outlook));
}

/// Its server in HAProxy is not ready, and not because it is drained.
#[test]
fn backup_serves_in_plan_without_the_other_container() {
    let spare = "spare 172.17.0.3 glue_http_80_host=a.test glue_http_80_backup=1";
    let before = started_with(&format!("web 172.17.0.2 glue_http_80_host=a.test\n{spare}"));
    let outlook = preview_story(&before, &format!("- - exited\n{spare}"), None);
    let text = plan_text(&outlook);
    assert!(text.contains("spare") && !text.contains("drained"), "{text}");
    let ready = |server: &&docker_glue::haproxy::config::Server| server.admin == AdminState::Ready;
    let servers = outlook.config.backends["a.test:80"].servers.iter().filter(ready);
    let names: Vec<_> = servers.map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["spare-00c0ffee0001:80:single", "hold"]);
}

/// As after each change of an HAProxy that runs: nothing stands where a fresh one would have it.
#[test]
fn runtime_changes_give_an_empty_plan() {
    let first = "web 172.17.0.2 glue_http_80_host=a.test";
    let more = "web 172.17.0.2 glue_http_80_host=a.test\napi 172.17.0.3 glue_http_80_host=b.test";
    let mut observed = started_with(first).observed;
    let (config, homeless) = story::config_within(&story::parse_routes(more), &observed);
    assert_eq!(homeless, 0);
    for command in plan_commands(&observed, &config) {
        observed.apply_command(&command);
    }
    assert!(observed.servers.contains_key("spare-tcp-001"));
    let before = current_state(&config, observed);
    let outlook = preview_story(&before, more, None);
    assert!(outlook.is_empty(), "{}", plan_text(&outlook));
}

#[test]
fn excluded_servers_and_held_routes_stay_in_the_plan() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test\ntwo 172.17.0.3 glue_http_80_host=a.test";
    let mut before = started_with(story);
    for servers in before.observed.servers.values_mut() {
        for (name, server) in servers {
            if name.starts_with("web-") {
                server.admin = AdminState::Maintenance;
            }
        }
    }
    let map = before.observed.maps.get_mut(&MapName::Routes).unwrap();
    map.insert("held.test:80/".into(), format!("{} 0 5000 all held.test:80", name::NO_SERVER));
    let daemon = Status::default();
    let outlook = preview_story(&before, story, Some(&daemon));
    let kept: Vec<_> = outlook.excluded.iter().map(ContainerRef::name).collect();
    assert_eq!(kept, ["web"]);
    // The one that is left is not watched as the only one yet: that is for the docker-balancer to do.
    assert_eq!(outlook.changes, []);
    assert!(outlook.config.maps.routes.contains_key("held.test:80/"));
    let commands: Vec<_> = outlook.commands.iter().map(ToString::to_string).collect();
    assert!(commands.iter().all(|text| !text.contains("held.test")), "{commands:?}");

    // Where none runs nobody remembers either of them.
    let outlook = preview_story(&before, story, None);
    assert!(outlook.excluded.is_empty());
    let changes: Vec<_> = outlook.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ a.test:80/: + web", "- held.test:80/"]);
}

#[test]
fn plan_during_rollback_ignores_newer_containers() {
    let then = "web 172.17.0.2 glue_http_80_host=a.test\nold 172.17.0.3 glue_http_80_host=b.test";
    let later = "new 172.17.0.4 glue_http_80_host=c.test glue_http_81_host=c.test";
    let more = "two 172.17.0.4 glue_http_80_host=a.test";
    for (now, changes) in [
        (then.to_owned(), &[][..]),
        (format!("{then}\n{later}"), &[]),
        (format!("{then}\n{more}"), &[]),
        (then.replace("172.17.0.2", "172.17.0.9"), &["~ a.test:80/: web has a new address"]),
        (then.replace("172.17.0.3", "172.17.0.3 exited"), &["- b.test:80/"]),
        // Labels of then, not of now.
        (format!("{then} glue_http_80_weight=7"), &[]),
    ] {
        for daemon in [None, Some(&Status::default())] {
            let rollback = Rollback::new(41, 0, Arc::new(story::parse_routes(then)));
            let outlook = preview_rollback(
                &started_with(then),
                &story::parse_world(&now),
                daemon,
                Some(rollback),
            );
            let texts: Vec<_> = outlook.changes.iter().map(ToString::to_string).collect();
            assert_eq!(texts, changes, "{now}");
            assert_eq!(outlook.is_empty(), changes.is_empty(), "{now}");
            let (hold, socket) = (story::default_rules().hold, PathBuf::new());
            let (refused, notes, masks) = (None, Vec::new(), Placeholders::default());
            let foretold = PreviewOutput {
                preview: outlook,
                placeholders: masks,
                socket,
                hold,
                rejection: refused,
                notes,
            };
            let human = strip_colours(&foretold.to_text());
            let part = match changes {
                [] => "Nothing would change: HAProxy has the routes of generation 41.",
                ["- b.test:80/"] => "- b.test:80/ (503 while the rollback is active)",
                others => others[0],
            };
            assert!(human.contains(part), "{now}\n{human}");
        }
    }
}

#[test]
fn listener_taken_for_the_daemon_is_excluded_from_the_plan() {
    let problem = "listener http :81: its port is taken by nginx (pid 7); retrying every few \
                   seconds, other listeners are not affected";
    // An earlier docker-balancer sends the sentence.
    let sentence = "its port is taken by nginx (pid 7); it is tried again until it is free, and the \
                    other listeners are not affected";
    for taken in ["taken by nginx (pid 7)", sentence] {
        assert_eq!(problems_with_conflict(taken), [problem]);
    }
}

/// Plans with a daemon whose listener 81 is taken; the plan itself is empty.
fn problems_with_conflict(taken: &str) -> Vec<String> {
    let story = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_bind=80,81";
    let listener = ListenerStatus {
        protocol: "http".into(),
        port: 81,
        bound: 81,
        taken: Some(taken.into()),
        routes: 0,
        load: Some(Load::default()),
    };
    let daemon = Status { listeners: vec![listener], ..Status::default() };
    let outlook = preview_story(
        &started_with("web 172.17.0.2 glue_http_80_host=a.test"),
        story,
        Some(&daemon),
    );
    assert!(outlook.is_empty(), "{}", plan_text(&outlook));
    outlook.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn plan_without_haproxy_starts_from_files() {
    let story =
        "web 172.17.0.2 glue_http_80_host=a.test\nold 172.17.0.3 paused glue_http_80_host=b.test";
    let mut before = started_with(story);
    let files =
        render_files(&story::build_config(&story::parse_routes(story)), &story::default_frame());
    let map = |map: MapName| files.generation.files.get(&map.to_string()).cloned();
    let read = stored_state::from_files(&files.config, map);
    assert_eq!(read.servers, before.observed.servers);
    assert_eq!(read.maps, before.observed.maps);
    assert_eq!(read.fingerprint, before.observed.fingerprint);
    (before.observed, before.source) = (read, StateSource::Files);
    let outlook = preview_story(&before, &story.replace("172.17.0.2", "172.17.0.9"), None);
    assert_eq!(outlook.method, PreviewMethod::Start);
    let changes: Vec<_> = outlook.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ a.test:80/: web has a new address"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Routes → configuration → what HAProxy has → routes.
    #[test]
    fn routes_round_trip_through_observed_state(story in any::story_strategy()) {
        let routes = story::parse_routes(&story);
        let config = story::build_config(&routes);
        let back = route_recovery::recover_routes(&ObservedState::from_config(&config));
        prop_assert_eq!(back, routes_as_haproxy_has_them(&routes));
    }

    /// The same by way of the files.
    #[test]
    fn routes_round_trip_through_files(story in any::story_strategy()) {
        let config = story::build_config(&story::parse_routes(&story));
        let files = render_files(&config, &story::default_frame());
        let map = |map: MapName| files.generation.files.get(&map.to_string()).cloned();
        let read = stored_state::from_files(&files.config, map);
        let started = ObservedState::from_config(&config);
        prop_assert_eq!(&read.servers, &started.servers);
        prop_assert_eq!(&read.maps, &started.maps);
        prop_assert_eq!(route_recovery::recover_routes(&read), route_recovery::recover_routes(&started));
    }

    /// From any state to any other: once HAProxy has obeyed, nothing would change any more.
    #[test]
    fn applying_the_preview_leaves_no_difference(
        first in any::story_strategy(),
        others in prop::collection::vec(any::story_strategy(), 1..5),
    ) {
        let mut before = started_with(&first);
        let daemon = Status::default();
        for story in others.into_iter().filter(|story| !has_contested_answer(story)) {
            let outlook = preview_story(&before, &story, Some(&daemon));
            let mut observed = match outlook.method {
                PreviewMethod::Reload(_) => ObservedState::from_config(&outlook.config),
                _ => before.observed.clone(),
            };
            outlook.commands.iter().for_each(|command| observed.apply_command(command));
            let (source, disk) = (StateSource::HAProxy, disk_with(&outlook.files));
            before = CurrentState { source, observed, disk, owners: BTreeMap::new() };
            let again = preview_story(&before, &story, Some(&daemon));
            prop_assert!(again.is_empty(), "{}", plan_text(&again));
        }
    }
}
