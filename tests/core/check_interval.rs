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
fn unchecked_servers_do_not_count() {
    let before = routes_with(2000);
    let config = story::config_at_start(&before, 1, false);
    let observed = ObservedState::from_config(&config);
    let mut after = before.clone();
    let other = story::parse_routes("x 172.18.0.1 glue_http_80_host=x.test glue_http_80_check=off");
    after.0.extend(other.0);
    assert!(plan_incremental((&before, &config), &observed, &after).is_some());
}
