//! What was served, told by what changed; and what of it is served when somebody goes back.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/any.rs"]
mod any;
#[path = "common/story.rs"]
mod story;

use docker_glue::{
    claim::Standing,
    decide::{Memory, decide},
    rollback::Rollback,
    route::{Readiness, Route, RouteKey, Routes},
    view::{
        How,
        history::{Delta, Generation, History, MOST, MOST_LINES},
        record,
    },
    world::World,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

fn generation(number: u64, before: &Routes, after: &Routes) -> Arc<Generation> {
    let how = match number % 3 {
        0 => How::Started,
        1 => How::Runtime { commands: 7 },
        _ => How::Reloaded { why: "its reason".to_owned() },
    };
    let delta = Delta::between(before, after);
    let (cause, took) = (format!("start web-{number}"), Duration::from_micros(1234));
    Arc::new(Generation { number, at_ms: 1_000 + number, cause, how, took, delta })
}

/// What is served after each of these, the history of it, and the file.
fn live(tales: &[String]) -> (Vec<Routes>, History, String) {
    let (mut memory, mut world) = (Memory::default(), World::default());
    let (mut served, mut history) = (vec![Routes::default()], History::default());
    let (mut text, now) = (record::base(0, &Routes::default()), Instant::now());
    for tale in tales {
        world = story::next_world(&world, tale);
        let decided = decide(&world, memory, now, &story::rules());
        memory = decided.memory;
        let new = generation(history.last() + 1, served.last().unwrap(), &decided.routes);
        text += &record::generation(&new);
        history.add(new);
        served.push(decided.routes);
    }
    (served, history, text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_changed_leads_back_and_forth_to_the_same(tales in any::tales()) {
        let (served, history, _) = live(&tales);
        let now = served.last().unwrap();
        for (number, expected) in served.iter().enumerate().skip(1) {
            let again = history.served_after(number as u64, now);
            prop_assert_eq!(again.as_ref(), Ok(expected));
        }
        let mut forth = Routes::default();
        for (it, expected) in history.generations().zip(&served[1..]) {
            it.delta.redo(&mut forth);
            prop_assert_eq!(&forth, expected);
        }
        for (it, expected) in history.generations().rev().zip(served.iter().rev().skip(1)) {
            it.delta.undo(&mut forth);
            prop_assert_eq!(&forth, expected);
        }
    }

    /// Cut off anywhere, the file has all whose line is whole.
    #[test]
    fn what_is_read_is_what_was_written(tales in any::tales(), cut: prop::sample::Index) {
        let (served, history, text) = live(&tales);
        let read = record::read(&text);
        prop_assert_eq!(&read.fault, &None);
        prop_assert_eq!(&read.history, &history);
        prop_assert_eq!(&read.served, served.last().unwrap());
        prop_assert_eq!(&read.base, &Routes::default());

        let part = &text[..text.floor_char_boundary(cut.index(text.len() + 1))];
        let whole = part.matches('\n').count();
        let read = record::read(part);
        prop_assert_eq!(read.fault.is_some(), !part.is_empty() && !part.ends_with('\n'));
        prop_assert_eq!(read.history.generations().count(), whole.saturating_sub(1));
        prop_assert_eq!(&read.served, &served[whole.saturating_sub(1)]);
    }

    /// While it holds, whatever comes; and when it is released, all is as if nothing had been.
    #[test]
    fn a_rollback_serves_nobody_who_came_later_and_those_who_are_there(
        tales in any::tales(),
        then in any::told(),
    ) {
        let (rules, mut now) = (story::rules(), Instant::now());
        let then = story::routes(&then);
        let (mut memory, mut world) = (Memory::default(), World::default());
        memory.rollback = Some(Rollback::new(1, 0, Arc::new(then.clone())));
        for tale in &tales {
            // Nobody crashes so fast that it would be held back.
            now += Duration::from_mins(5);
            world = story::next_world(&world, tale);
            let decided = decide(&world, memory, now, &rules);
            let mut anew = Memory::default();
            anew.rollback = Some(Rollback::new(1, 0, Arc::new(then.clone())));
            let anew = decide(&world, anew, now, &rules);
            prop_assert_eq!(
                whoever_served(&decided.routes, &decided.memory),
                whoever_served(&anew.routes, &decided.memory),
                "bit by bit or at once"
            );
            prop_assert!(decided.routes.0.keys().eq(then.0.keys()));
            let free = story_routes(&world);
            for (key, route) in &decided.routes.0 {
                let was = &then.0[key];
                prop_assert_eq!(&route.policy, &was.policy);
                for it in &route.endpoints {
                    let same = |other: &&_| same(other, it);
                    let before = was.endpoints.iter().find(same);
                    prop_assert_eq!(before.map(|it| it.weight), Some(it.weight));
                }
                // Who was there then and is well now serves.
                let theirs = free.0.get(key).map(|it| it.endpoints.clone()).unwrap_or_default();
                let well =
                    |it: &&_| decided.memory.standing(key, it) == Some(Standing::Ready);
                for it in theirs.iter().filter(well) {
                    let held = route.endpoints.iter().find(|other| same(other, it));
                    if was.endpoints.iter().any(|other| same(other, it)) {
                        prop_assert_eq!(held.map(|it| (it.address, it.readiness)),
                            Some((it.address, Readiness::Ready)));
                    }
                }
            }
            memory = decided.memory;
        }
        memory.rollback = None;
        let released = decide(&world, memory.clone(), now, &rules);
        let free = story_routes(&world);
        let free = whoever_served(&free, &released.memory);
        let released = whoever_served(&released.routes, &released.memory);
        // Who has a route keeps it from those who disagree.
        let agrees = |(key, route): &(&&RouteKey, &&Route)| {
            released.get(*key).is_none_or(|it| it.policy == route.policy)
        };
        for (key, route) in free.iter().filter(agrees) {
            prop_assert_eq!(released.get(key), Some(route));
        }
    }
}

/// The routes of which it does not matter who served before: a last resort serves on, and keeps reserves out.
fn whoever_served<'a>(routes: &'a Routes, memory: &Memory) -> BTreeMap<&'a RouteKey, &'a Route> {
    let has_last_resort = |(key, _): &(&RouteKey, &Arc<Route>)| {
        let claims = memory.board().claims().get(*key).into_iter().flatten();
        claims.into_iter().any(|claim| claim.standing == Standing::LastResort)
    };
    let others = routes.0.iter().filter(|it| !has_last_resort(it));
    others.map(|(key, route)| (key, route.as_ref())).collect()
}

fn same(one: &docker_glue::route::Endpoint, other: &docker_glue::route::Endpoint) -> bool {
    one.origin.id() == other.origin.id() && one.port == other.port
}

fn story_routes(world: &World) -> Routes {
    decide(world, Memory::default(), Instant::now(), &story::rules()).routes
}

fn told(routes: &Routes) -> Vec<String> {
    let server = |it: &docker_glue::route::Endpoint| {
        let out = if it.readiness == Readiness::Ready { "" } else { " out" };
        format!("{} {} weight {}{out}", it.origin.name(), it.address.ip(), it.weight.get())
    };
    let servers = |it: &Route| it.endpoints.iter().map(server).collect::<Vec<_>>().join(", ");
    routes.0.iter().map(|(key, route)| format!("{key} → {}", servers(route))).collect()
}

/// What is served while it holds: `then` was served, and now the world is another one. The same line is
/// the same container.
fn check(then: &str, now: &str, expected: &[&str]) {
    let mut memory = Memory::default();
    memory.rollback = Some(Rollback::new(7, 0, Arc::new(story::routes(then))));
    let decided = decide(&story::world(now), memory, Instant::now(), &story::rules());
    assert_eq!(told(&decided.routes), expected, "\n{then}\n{now}");
}

#[test]
fn a_rollback_serves_what_is_left_of_then() {
    let two = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test";
    let both = "a.test:80/ → a 172.17.0.2 weight 100, b 172.17.0.3 weight 100";
    check(two, two, &[both]);
    let newcomer = format!(
        "{two}\nc 172.17.0.4 glue_http_80_host=a.test\nd 172.17.0.5 glue_http_80_host=new.test"
    );
    check(two, &newcomer, &[both]);
    // One has gone, and one is at a new address.
    check(
        two,
        "a 172.17.0.2 exited glue_http_80_host=a.test\nb 172.17.0.9 glue_http_80_host=a.test",
        &["a.test:80/ → b 172.17.0.9 weight 100"],
    );
    let second = two.lines().nth(1).unwrap();
    for state in ["paused", "leaving"] {
        let now = format!("a 172.17.0.2 {state} glue_http_80_host=a.test\n{second}");
        check(two, &now, &["a.test:80/ → a 172.17.0.2 weight 100 out, b 172.17.0.3 weight 100"]);
    }
    // Nobody is left: that is answered by 503, and not by 404.
    check(two, "", &["a.test:80/ → "]);
    // Who was unwell then and is well now serves, and the other way round.
    check(
        "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 unhealthy glue_http_80_host=a.test",
        "a 172.17.0.2 unhealthy glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test",
        &["a.test:80/ → a 172.17.0.2 weight 100 out, b 172.17.0.3 weight 100"],
    );
    // Nobody better is there of those of then, though a newcomer is.
    check(
        "a 172.17.0.2 glue_http_80_host=a.test",
        "a 172.17.0.2 unhealthy glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test",
        &["a.test:80/ → a 172.17.0.2 weight 100"],
    );
    check(
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=7",
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=200",
        &["a.test:80/ → a 172.17.0.2 weight 7"],
    );
}

#[test]
fn a_drained_container_is_out_while_it_holds() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test";
    let (world, now) = (story::world(story), Instant::now());
    let mut memory = Memory::default();
    memory.rollback = Some(Rollback::new(7, 0, Arc::new(story::routes(story))));
    memory.drain(world.containers.keys().next().unwrap());
    let decided = decide(&world, memory, now, &story::rules());
    assert_eq!(told(&decided.routes), ["a.test:80/ → a 172.17.0.2 weight 100 out"]);
}

/// What did not change is the very same, so that HAProxy is told of nothing else.
#[test]
fn routes_that_did_not_change_are_shared_while_it_holds() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=b.test";
    let (rules, now, world) = (story::rules(), Instant::now(), story::world(story));
    let mut memory = Memory::default();
    memory.rollback = Some(Rollback::new(7, 0, Arc::new(story::routes(story))));
    let before = decide(&world, memory, now, &rules);
    let next = story::next_world(
        &world,
        &format!("{}\n{}", &story[..37], "b 172.17.0.3 paused glue_http_80_host=b.test"),
    );
    let after = decide(&next, before.memory, now, &rules);
    let same: Vec<_> = before
        .routes
        .0
        .iter()
        .zip(&after.routes.0)
        .map(|((_, a), (_, b))| Arc::ptr_eq(a, b))
        .collect();
    assert_eq!(same, [true, false]);
}

#[test]
fn the_oldest_go_where_there_is_no_room() {
    let [a, b] =
        ["a", "b"].map(|it| story::routes(&format!("{it} 172.17.0.2 glue_http_80_host=a.test")));
    let mut history = History::default();
    let most = u64::try_from(MOST).unwrap();
    for number in 1..=most + 10 {
        let (before, after) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let dropped = history.add(generation(number, before, after));
        assert_eq!(dropped.len(), usize::from(most < number));
    }
    assert_eq!(history.last(), most + 10);
    let told = |number| history.served_after(number, &b).map_err(|it| it.to_string());
    assert_eq!(
        told(10),
        Err(format!("there is no generation 10; history has 11 to {}", most + 10))
    );
    assert_eq!((told(11), told(12)), (Ok(a.clone()), Ok(b.clone())));

    // However many routes a change has, the last one is kept.
    let (key, route) = a.0.first_key_value().unwrap();
    let many = |count: usize| {
        let key = |at: usize| key.to_string().replace("a.test", &format!("h{at}.test"));
        Routes((0..count).map(|at| (key(at).parse().unwrap(), Arc::clone(route))).collect())
    };
    let (mut history, none) = (History::default(), Routes::default());
    history.add(generation(1, &none, &many(1)));
    history.add(generation(2, &many(1), &many(MOST_LINES + 2)));
    assert_eq!(history.generations().count(), 1);
    let told = &history.told()[0];
    assert_eq!((told.changes.len(), told.more), (100, MOST_LINES + 1 - 100));
}

#[test]
fn changes_of_a_route_with_many_servers_are_kept_for_less_long() {
    let story = |last: usize| {
        let line = |at: usize| {
            format!("c{at} 172.17.{}.{} glue_http_80_host=a.test", at / 250, at % 250 + 1)
        };
        story::routes(&(0..last).map(line).collect::<Vec<_>>().join("\n"))
    };
    let [a, b] = [999, 1000].map(story);
    let mut history = History::default();
    for number in 1..=200 {
        let (before, after) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        history.add(generation(number, before, after));
    }
    let kept = history.generations().count();
    assert!((40..=50).contains(&kept), "{kept}");
    assert_eq!(history.served_after(200, &b), Ok(b.clone()));
}

#[test]
fn a_number_that_is_not_there_is_told_with_those_that_are() {
    let (a, none) = (story::routes("a 172.17.0.2 glue_http_80_host=a.test"), Routes::default());
    let mut history = History::default();
    let told =
        |history: &History, number| history.served_after(number, &a).unwrap_err().to_string();
    assert_eq!(told(&history, 3), "there is no generation 3, nor any other yet");
    history.add(generation(1, &none, &a));
    assert_eq!(told(&history, 3), "there is no generation 3; there is 1 alone");
    history.add(generation(2, &a, &a));
    assert_eq!(told(&history, 0), "there is no generation 0; history has 1 to 2");
}

/// A line that nobody understands costs itself and what follows; numbers are not given twice.
#[test]
fn a_file_that_somebody_wrote_into_loses_what_follows() {
    let tales = ["a", "b", "c"].map(|it| format!("{it} 172.17.0.2 glue_http_80_host={it}.test"));
    let (served, _, text) = live(&tales);
    let lines: Vec<_> = text.lines().collect();
    for (line, why) in [
        ("{}", "expected value"),
        (r#"{"generation":{"number":2}}"#, "missing field"),
        (&lines[2].replace("b.test:80/", "b test:80/"), "no route is called \"b test:80/\""),
        (&lines[2].replace("\"weight\":100", "\"weight\":300"), "weight 300"),
        (&lines[2].replace("\"check\":\"tcp\"", "\"check\":\"x\\ny\""), "check \"x\\ny\""),
    ] {
        let read = record::read(&format!("{}\n{}\n{line}\n{}\n", lines[0], lines[1], lines[3]));
        let (at, told) = read.fault.unwrap();
        assert!(at == 3 && told.contains(why), "{line}: {at} {told}");
        assert_eq!((read.history.generations().count(), read.history.last()), (1, 3));
        assert_eq!(read.served, served[1]);
    }
    let kept = Rollback::new(3, 42, Arc::new(served[3].clone()));
    assert_eq!(record::read_rollback(&record::rollback(&kept)), Ok(kept));
    assert!(record::read_rollback("{").is_err());
}
