//! The step of the check interval, with a configuration of thousands of servers.

use crate::common::story;
use docker_glue::{
    haproxy::{
        command::RuntimeCommand,
        config::Config,
        incremental_plan::{self, IncrementalPlan},
        observed::ObservedState,
        plan::plan_commands,
    },
    model::route::Routes,
};
use std::{collections::BTreeSet, fmt::Write as _};

/// Returns ten routes that share this number of containers.
fn routes_with(servers: usize) -> Routes {
    let mut story = String::new();
    for n in 0..servers {
        let (high, low, host) = (n / 250, n % 250 + 1, n % 10);
        writeln!(story, "c{n} 172.17.{high}.{low} glue_http_80_host=h{host}.test").unwrap();
    }
    story::parse_routes(&story)
}

/// Returns the incremental plan, if the change does not take the whole state.
fn plan_incremental(
    (before, config): (&Routes, &Config),
    observed: &ObservedState,
    after: &Routes,
) -> Option<IncrementalPlan> {
    let pending = incremental_plan::find_pending_deletions(observed, config).unwrap();
    let (rules, frame) = (story::default_rules(), story::frame_for(false));
    let (unavailable, draining) = (BTreeSet::new(), BTreeSet::new());
    let builder = story::builder(&rules, &frame, &unavailable, &draining);
    IncrementalPlan::new((before, config), (observed, &pending), after, builder)
}

/// Returns the intervals of the servers that the commands add, and checks that they change no other server.
fn added_intervals(commands: &[RuntimeCommand]) -> Vec<String> {
    let added = |command: &RuntimeCommand| match command {
        RuntimeCommand::AddServer { .. } => {
            let line = command.to_string();
            let (_, after) = line.split_once(" inter ").unwrap();
            after.split(' ').next().map(str::to_owned)
        }
        RuntimeCommand::EnableHealth { .. } | RuntimeCommand::SetState { .. } => None,
        other => panic!("{other}"),
    };
    assert!(commands.len() <= 3 * commands.iter().filter_map(added).count(), "{commands:?}");
    commands.iter().filter_map(added).collect()
}

#[test]
fn step_of_interval_neither_reloads_nor_changes_other_servers() {
    let before = routes_with(2000);
    let config = story::config_at_start(&before, 1, false);
    let mut observed = ObservedState::from_config(&config);
    assert!(config.backends["h1.test:80"].lines.contains(" inter 2000ms "));

    let after = routes_with(2001);
    assert!(plan_incremental((&before, &config), &observed, &after).is_none());
    let (whole, unplaced) = story::config_within(&after, &observed);
    assert_eq!((unplaced, &whole.fingerprint), (0, &observed.fingerprint));
    let commands = plan_commands(&observed, &whole);
    assert_eq!(added_intervals(&commands), ["4000ms"]);
    // The files have the interval that the servers get at the next reload.
    assert!(whole.backends["h1.test:80"].lines.contains(" inter 4000ms "));
    for command in &commands {
        observed.apply_command(command);
    }
    assert_eq!(plan_commands(&observed, &whole), []);

    // The next container takes the incremental plan again.
    let next = routes_with(2002);
    let step = plan_incremental((&after, &whole), &observed, &next).unwrap();
    assert_eq!(added_intervals(&step.commands), ["4000ms"]);
}

#[test]
fn own_interval_is_not_stretched() {
    let mut routes = routes_with(2001);
    let own = "a 172.18.0.1 glue_http_80_host=a.test glue_http_80_check_interval=500ms
               b 172.18.0.2 glue_http_80_host=a.test glue_http_80_check_interval=1h
               c 172.18.0.3 glue_http_80_host=c.test glue_http_80_check_interval=3s
               d 172.18.0.4 glue_http_80_host=d.test glue_http_80_check_interval=1h
               e 172.18.0.5 glue_http_80_host=e.test glue_http_80_check_interval=3s glue_http_80_check=off
               f 172.18.0.6 glue_tcp_5432_check_interval=3s";
    routes.0.extend(story::parse_routes(own).0);
    let config = story::config_at_start(&routes, 1, false);
    for (backend, server, words) in [
        ("h1.test:80", ":80", " inter 4000ms fastinter 250ms downinter 250ms rise 1 fall 3 "),
        ("a.test:80", ":80:500ms", " inter 500ms fastinter 250ms downinter 250ms rise 1 fall 3 "),
        ("a.test:80", ":80:3600000ms", " inter 3600000ms fastinter 250ms downinter 250ms rise 1 "),
        // Its checks fail for as long as requests wait.
        ("c.test:80", ":80:3000ms:single", " inter 3000ms downinter 250ms rise 1 fall 4 "),
        ("d.test:80", ":80:3600000ms:single", " inter 3600000ms downinter 250ms rise 1 fall 1 "),
        ("ANY:5432:tcp", ":5432:3000ms:single", " inter 3000ms downinter 250ms rise 1 fall 4 "),
        ("e.test:80", ":80:unchecked", ""),
    ] {
        let lines = &config.backends[backend].lines;
        let is_expected = |line: &str| line.contains(&format!("{server} ")) && line.contains(words);
        assert!(lines.lines().any(is_expected), "{server}{words}: {lines}");
    }
    assert!(!config.backends["e.test:80"].lines.contains("inter"));
}

/// A policy may change the interval of a container that runs.
#[test]
fn changed_interval_replaces_server() {
    let story = |interval| {
        format!("a 172.18.0.1 glue_http_80_host=a.test glue_http_80_check_interval={interval}")
    };
    let (before, after) = (story::parse_routes(&story("3s")), story::parse_routes(&story("5s")));
    let config = story::config_at_start(&before, 1, false);
    let mut observed = ObservedState::from_config(&config);
    let (after, _) = story::config_within(&after, &observed);
    let commands = plan_commands(&observed, &after);
    assert!(
        commands[0].to_string().contains(":80:5000ms:single 172.18.0.1:80 "),
        "{}",
        commands[0]
    );
    for command in &commands {
        observed.apply_command(command);
    }
    let names: Vec<_> = observed.servers["a.test:80"].keys().map(String::as_str).collect();
    assert_eq!(names, ["a-00c0ffee0000:80:5000ms:single", "hold"]);
}

#[test]
fn unchecked_servers_do_not_count() {
    let before = routes_with(2000);
    let config = story::config_at_start(&before, 1, false);
    let observed = ObservedState::from_config(&config);
    let mut after = before.clone();
    let other = story::parse_routes("x 172.18.0.1 glue_http_80_host=x.test glue_http_80_check=off");
    after.0.extend(other.0);
    assert!(plan_incremental((&before, &config), &observed, &after).is_some());
}
