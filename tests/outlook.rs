//! What would change, as told in stories: `tests/outlook/<case>/`, and the way back from HAProxy to routes.
//!
//! Each case is what is served (`before.txt`) and what runs now (`after.txt`). `cargo insta review` shows what
//! changed.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/any.rs"]
mod any;
#[path = "common/story.rs"]
mod story;

use docker_glue::{
    balancer::way::Maker,
    compose::{
        Outside, Project,
        planned::{self, Masks},
    },
    haproxy::{
        config::{Admin, Config, MapName},
        files::Files,
        inverse, name,
        observed::Observed,
        on_disk,
        plan::plan,
        render::{Frame, render},
    },
    label::value::Check,
    origin::Origin,
    rollback::Rollback,
    route::{Match, Route, RouteKey, Routes, Strip},
    view::{
        foretold::Foretold,
        outlook::{Before, Disk, How, Outlook, Source, foresee},
        status::{ListenerStatus, Load, Status},
    },
    world::World,
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
fn a_story_has_always_the_same_outlook() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outlook");
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        let text = |name: &str| fs::read_to_string(case.join(name)).unwrap();
        let before = served(&text("before.txt"));
        let (world, masks) = world_after(&case);
        let outlook = look_at(&before, &world, None);
        let hold = story::rules().hold;
        let socket = story::frame().stats_socket;
        let (refused, notes) = (None, Vec::new());
        let foretold = Foretold { outlook, masks, socket, hold, refused, notes };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&case);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| {
            insta::assert_snapshot!("human", plain(&foretold.human()));
            insta::assert_snapshot!("json", foretold.json());
            insta::assert_snapshot!("text", foretold.patch());
        });
    }
}

/// What runs, with the compose file on top, where the case has one.
fn world_after(case: &Path) -> (World, Masks) {
    let world = story::world(&fs::read_to_string(case.join("after.txt")).unwrap());
    let Ok(text) = fs::read_to_string(case.join("compose.yaml")) else {
        return (world, Masks::default());
    };
    let outside = Outside { folder: case.to_owned(), environment: BTreeMap::new() };
    let project = Project::read("compose.yaml", &text, &outside).unwrap();
    let planned = planned::containers(&project, &BTreeMap::new());
    planned::onto(&world, &project, planned)
}

/// As it is where there is no terminal.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn told(outlook: &Outlook) -> String {
    let mut text = String::new();
    for change in &outlook.changes {
        writeln!(text, "{change}").unwrap();
    }
    for key in &outlook.held {
        writeln!(text, "held: {key}").unwrap();
    }
    match &outlook.how {
        How::Reload(why) => writeln!(text, "\nreload: {why}").unwrap(),
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
fn served(story: &str) -> Before {
    let routes = story::routes(story);
    let config = story::started(&routes, STOCK, false);
    before(&config, Observed::started(&config))
}

fn before(config: &Config, observed: Observed) -> Before {
    let (disk, owners) = (disk(&render(config, &story::frame())), BTreeMap::new());
    Before { source: Source::HAProxy, observed, disk, owners }
}

fn disk(files: &Files) -> Disk {
    let Frame { generations, .. } = story::frame();
    let place = |name: &String| generations.join(&files.generation.name).join(name);
    let all = files.generation.files.iter();
    Disk {
        target: PathBuf::from("/var/lib/docker-glue/haproxy.cfg"),
        config: Some(files.config.clone()),
        files: all.map(|(name, text)| (name.clone(), (place(name), text.clone()))).collect(),
        generations,
    }
}

fn look(before: &Before, story: &str, daemon: Option<&Status>) -> Outlook {
    look_at(before, &story::world(story), daemon)
}

fn look_at(before: &Before, world: &World, daemon: Option<&Status>) -> Outlook {
    look_held(before, world, daemon, None)
}

fn look_held(
    before: &Before,
    world: &World,
    daemon: Option<&Status>,
    rollback: Option<Rollback>,
) -> Outlook {
    let (rules, frame) = (story::rules(), story::frame());
    let maker = Maker { rules: &rules, frame: &frame, stock: STOCK, resting: &BTreeSet::new() };
    let none = BTreeMap::new();
    let foreseen = foresee(world, before, daemon, &none, rollback, (&rules, Instant::now()));
    Outlook::new(before, foreseen, maker)
}

/// What comes back of routes: all that HAProxy is given.
fn as_haproxy_is_told(routes: &Routes) -> Routes {
    let told = |(key, route): (&RouteKey, &Arc<Route>)| {
        let mut route = (**route).clone();
        let Match::Http { prefix, .. } = &key.rule;
        if prefix.depth() == 0 {
            route.policy.strip = Strip::Keep;
        }
        if route.endpoints.is_empty() {
            route.policy.check = Check::Tcp;
        }
        (key.clone(), Arc::new(route))
    };
    Routes(routes.0.iter().map(told).collect())
}

#[test]
fn without_a_difference_nothing_would_change() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test\nold 172.17.0.3 paused glue_http_80_host=b.test glue_http_80_check=/well";
    let outlook = look(&served(story), story, None);
    assert!(outlook.is_empty(), "{}", told(&outlook));
}

/// As after each change of an HAProxy that runs: nothing stands where a fresh one would have it.
#[test]
fn what_came_over_the_runtime_api_is_no_difference() {
    let first = "web 172.17.0.2 glue_http_80_host=a.test";
    let more = "web 172.17.0.2 glue_http_80_host=a.test\napi 172.17.0.3 glue_http_80_host=b.test";
    let mut observed = served(first).observed;
    let (config, homeless) = story::config_within(&story::routes(more), &observed);
    assert_eq!(homeless, 0);
    for command in plan(&observed, &config) {
        observed.obey(&command);
    }
    assert!(observed.servers.contains_key("spare-tcp-001"));
    let before = before(&config, observed);
    let outlook = look(&before, more, None);
    assert!(outlook.is_empty(), "{}", told(&outlook));
}

#[test]
fn what_a_docker_balancer_keeps_out_or_holds_stays_so() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test\ntwo 172.17.0.3 glue_http_80_host=a.test";
    let mut before = served(story);
    for servers in before.observed.servers.values_mut() {
        for (name, server) in servers {
            if name.starts_with("web-") {
                server.admin = Admin::Maintenance;
            }
        }
    }
    let map = before.observed.maps.get_mut(&MapName::Routes).unwrap();
    map.insert("held.test:80/".into(), format!("{} 0 5000 all held.test:80", name::NOBODY));
    let daemon = Status::default();
    let outlook = look(&before, story, Some(&daemon));
    let kept: Vec<_> = outlook.kept_out.iter().map(Origin::name).collect();
    assert_eq!(kept, ["web"]);
    // The one that is left is not watched as the only one yet: that is for the docker-balancer to do.
    assert_eq!(outlook.changes, []);
    assert!(outlook.config.maps.routes.contains_key("held.test:80/"));
    let commands: Vec<_> = outlook.commands.iter().map(ToString::to_string).collect();
    assert!(commands.iter().all(|it| !it.contains("held.test")), "{commands:?}");

    // Where none runs nobody remembers either of them.
    let outlook = look(&before, story, None);
    assert!(outlook.kept_out.is_empty());
    let changes: Vec<_> = outlook.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ a.test:80/: + web", "- held.test:80/"]);
}

#[test]
fn while_a_rollback_holds_who_came_later_changes_nothing() {
    let then = "web 172.17.0.2 glue_http_80_host=a.test\nold 172.17.0.3 glue_http_80_host=b.test";
    let later = "new 172.17.0.4 glue_http_80_host=c.test glue_http_81_host=c.test";
    let more = "two 172.17.0.4 glue_http_80_host=a.test";
    for (now, changes) in [
        (then.to_owned(), &[][..]),
        (format!("{then}\n{later}"), &[]),
        (format!("{then}\n{more}"), &[]),
        (then.replace("172.17.0.2", "172.17.0.9"), &["~ a.test:80/: web at a new address"]),
        (then.replace("172.17.0.3", "172.17.0.3 exited"), &["- b.test:80/"]),
        // Labels of then, not of now.
        (format!("{then} glue_http_80_weight=7"), &[]),
    ] {
        for daemon in [None, Some(&Status::default())] {
            let rollback = Rollback::new(41, 0, Arc::new(story::routes(then)));
            let outlook = look_held(&served(then), &story::world(&now), daemon, Some(rollback));
            let told: Vec<_> = outlook.changes.iter().map(ToString::to_string).collect();
            assert_eq!(told, changes, "{now}");
            assert_eq!(outlook.is_empty(), changes.is_empty(), "{now}");
            let (hold, socket) = (story::rules().hold, PathBuf::new());
            let (refused, notes, masks) = (None, Vec::new(), Masks::default());
            let foretold = Foretold { outlook, masks, socket, hold, refused, notes };
            let human = plain(&foretold.human());
            let part = match changes {
                [] => "Nothing would change: HAProxy has what is left of generation 41.",
                ["- b.test:80/"] => "- b.test:80/ (answers 503 while the rollback holds)",
                others => others[0],
            };
            assert!(human.contains(part), "{now}\n{human}");
        }
    }
}

#[test]
fn a_listener_that_could_not_be_had_is_left_out_as_by_the_docker_balancer_that_runs() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_bind=80,81";
    let taken = "its port is taken by nginx (pid 7); it is tried again every few seconds, the other listeners are served";
    let listener = ListenerStatus {
        protocol: "http".into(),
        port: 81,
        bound: 81,
        taken: Some(taken.into()),
        routes: 0,
        load: Load::default(),
    };
    let daemon = Status { listeners: vec![listener], ..Status::default() };
    let outlook = look(&served("web 172.17.0.2 glue_http_80_host=a.test"), story, Some(&daemon));
    assert!(outlook.is_empty(), "{}", told(&outlook));
    let problems: Vec<_> = outlook.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, [format!("listener http :81: {taken}")]);
}

#[test]
fn without_an_haproxy_the_files_say_what_was() {
    let story =
        "web 172.17.0.2 glue_http_80_host=a.test\nold 172.17.0.3 paused glue_http_80_host=b.test";
    let mut before = served(story);
    let files = render(&story::config(&story::routes(story)), &story::frame());
    let map = |map: MapName| files.generation.files.get(&map.to_string()).cloned();
    let read = on_disk::observed(&files.config, map);
    assert_eq!(read.servers, before.observed.servers);
    assert_eq!(read.maps, before.observed.maps);
    assert_eq!(read.skeleton, before.observed.skeleton);
    (before.observed, before.source) = (read, Source::Files);
    let outlook = look(&before, &story.replace("172.17.0.2", "172.17.0.9"), None);
    assert_eq!(outlook.how, How::Start);
    let changes: Vec<_> = outlook.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ a.test:80/: web at a new address"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Routes → configuration → what HAProxy has → routes.
    #[test]
    fn the_way_back_ends_where_it_began(story in any::told()) {
        let routes = story::routes(&story);
        let config = story::config(&routes);
        let back = inverse::routes(&Observed::started(&config));
        prop_assert_eq!(back, as_haproxy_is_told(&routes));
    }

    /// The same by way of the files.
    #[test]
    fn the_files_lead_back_too(story in any::told()) {
        let config = story::config(&story::routes(&story));
        let files = render(&config, &story::frame());
        let map = |map: MapName| files.generation.files.get(&map.to_string()).cloned();
        let read = on_disk::observed(&files.config, map);
        let started = Observed::started(&config);
        prop_assert_eq!(&read.servers, &started.servers);
        prop_assert_eq!(&read.maps, &started.maps);
        prop_assert_eq!(inverse::routes(&read), inverse::routes(&started));
    }

    /// From any state to any other: once HAProxy has obeyed, nothing would change any more.
    #[test]
    fn what_is_foreseen_is_all_there_is(
        first in any::told(),
        others in prop::collection::vec(any::told(), 1..5),
    ) {
        let mut before = served(&first);
        let daemon = Status::default();
        for story in others {
            let outlook = look(&before, &story, Some(&daemon));
            let mut observed = match outlook.how {
                How::Reload(_) => Observed::started(&outlook.config),
                _ => before.observed.clone(),
            };
            outlook.commands.iter().for_each(|command| observed.obey(command));
            let (source, disk) = (Source::HAProxy, disk(&outlook.files));
            before = Before { source, observed, disk, owners: BTreeMap::new() };
            let again = look(&before, &story, Some(&daemon));
            prop_assert!(again.is_empty(), "{}", told(&again));
        }
    }
}
