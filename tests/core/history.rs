//! What was served, told by what changed; and what of it is served when somebody goes back.

use crate::common::{any, story};
use docker_glue::{
    model::{
        certificate::CertificateDigest,
        route::{Readiness, Route, RouteKey, Routes},
        world::World,
    },
    report::{
        ApplyMethod,
        certificate_history::{CertificateDelta, ServedCertificate, ServedCertificates},
        history::{GenerationRecord, History, MAX_GENERATIONS, MAX_LINES, RouteDelta},
        history_file,
    },
    routing::{
        decide::{DecideState, decide},
        rollback::Rollback,
        route_table::Eligibility,
    },
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

fn generation(number: u64, before: &Routes, after: &Routes) -> Arc<GenerationRecord> {
    let how = match number % 3 {
        0 => ApplyMethod::Started,
        1 => ApplyMethod::Runtime { commands: 7 },
        _ => ApplyMethod::Reloaded { why: "its reason".to_owned() },
    };
    let delta = RouteDelta::from_routes(before, after);
    let (cause, duration) = (format!("start web-{number}"), Duration::from_micros(1234));
    let [before, after] = [number - 1, number].map(certificates_after);
    let certificates = CertificateDelta::new(&before, &after);
    let at_ms = 1_000 + number;
    Arc::new(GenerationRecord { number, at_ms, cause, how, duration, delta, certificates })
}

/// Returns the certificates after a generation: that of one host changes each time, that of the other comes and goes.
fn certificates_after(number: u64) -> ServedCertificates {
    let certificate = |host: &str| ServedCertificate {
        digest: CertificateDigest::of_pem(&format!("{host} {number}")),
        origin: "file \"a.pem\"".to_owned(),
        not_after: 1_800_000_000,
    };
    let hosts = match number {
        0 => &[][..],
        number if number % 2 == 0 => &["a.test:443", "b.test:443"],
        _ => &["a.test:443"],
    };
    let hosts = hosts.iter().map(|host| ((*host).to_owned(), vec![certificate(host)]));
    ServedCertificates(hosts.collect())
}

/// What is served after each of these, the history of it, and the file.
fn replay_stories(tales: &[String]) -> (Vec<Routes>, History, String) {
    let (mut memory, mut world) = (DecideState::default(), World::default());
    let (mut served, mut history) = (vec![Routes::default()], History::default());
    let (mut text, now) = (
        history_file::format_base(0, &Routes::default(), &ServedCertificates::default()),
        Instant::now(),
    );
    for tale in tales {
        world = story::parse_next_world(&world, tale);
        let decided = decide(&world, memory, now, &story::default_rules());
        memory = decided.memory;
        let new = generation(history.last_number() + 1, served.last().unwrap(), &decided.routes);
        text += &history_file::format_generation(&new);
        history.push_generation(new);
        served.push(decided.routes);
    }
    (served, history, text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn history_deltas_undo_and_redo_every_generation(tales in any::stories_strategy()) {
        let (served, history, _) = replay_stories(&tales);
        let now = served.last().unwrap();
        for (number, expected) in served.iter().enumerate().skip(1) {
            let again = history.routes_after(number as u64, now);
            prop_assert_eq!(again.as_ref(), Ok(expected));
        }
        let mut forth = Routes::default();
        for (generation, expected) in history.generations().zip(&served[1..]) {
            generation.delta.apply_to(&mut forth);
            prop_assert_eq!(&forth, expected);
        }
        for (generation, expected) in history.generations().rev().zip(served.iter().rev().skip(1)) {
            generation.delta.revert_from(&mut forth);
            prop_assert_eq!(&forth, expected);
        }
    }

    /// Cut off anywhere, the file has all whose line is whole.
    #[test]
    fn history_file_round_trips_and_tolerates_truncation(tales in any::stories_strategy(), cut: prop::sample::Index) {
        let (served, history, text) = replay_stories(&tales);
        let read = history_file::parse_history(&text);
        prop_assert_eq!(&read.error, &None);
        prop_assert_eq!(&read.history, &history);
        prop_assert_eq!(&read.served, served.last().unwrap());
        prop_assert_eq!(&read.base, &Routes::default());
        prop_assert_eq!(&read.certificates, &certificates_after(history.last_number()));

        let part = &text[..text.floor_char_boundary(cut.index(text.len() + 1))];
        let whole = part.matches('\n').count();
        let read = history_file::parse_history(part);
        prop_assert_eq!(read.error.is_some(), !part.is_empty() && !part.ends_with('\n'));
        prop_assert_eq!(read.history.generations().count(), whole.saturating_sub(1));
        prop_assert_eq!(&read.served, &served[whole.saturating_sub(1)]);
        let certificates = certificates_after(whole.saturating_sub(1) as u64);
        prop_assert_eq!(&read.certificates, &certificates);
    }

    /// While it holds, whatever comes; and when it is released, all is as if nothing had been.
    #[test]
    fn rollback_serves_only_remaining_containers_of_its_generation(
        tales in any::stories_strategy(),
        then in any::story_strategy(),
    ) {
        let (rules, mut now) = (story::default_rules(), Instant::now());
        let then = story::parse_routes(&then);
        let (mut memory, mut world) = (DecideState::default(), World::default());
        memory.rollback = Some(Rollback::new(1, 0, Arc::new(then.clone())));
        for tale in &tales {
            // Nobody crashes so fast that it would be held back.
            now += Duration::from_mins(5);
            world = story::parse_next_world(&world, tale);
            let decided = decide(&world, memory, now, &rules);
            let mut anew = DecideState::default();
            anew.rollback = Some(Rollback::new(1, 0, Arc::new(then.clone())));
            let anew = decide(&world, anew, now, &rules);
            prop_assert_eq!(
                routes_without_last_resort(&decided.routes, &decided.memory),
                routes_without_last_resort(&anew.routes, &decided.memory),
                "bit by bit or at once"
            );
            prop_assert!(decided.routes.0.keys().eq(then.0.keys()));
            let free = story_routes(&world);
            for (key, route) in &decided.routes.0 {
                let was = &then.0[key];
                prop_assert_eq!(&route.policy, &was.policy);
                for endpoint in &route.endpoints {
                    let same = |other: &&_| is_same_endpoint(other, endpoint);
                    let before = was.endpoints.iter().find(same);
                    prop_assert_eq!(before.map(|before| &before.options), Some(&endpoint.options));
                }
                // Who was there then and is well now serves.
                let theirs = free.0.get(key).map(|route| route.endpoints.clone()).unwrap_or_default();
                let well =
                    |endpoint: &&_| decided.memory.find_eligibility(key, endpoint) == Some(Eligibility::Active);
                for endpoint in theirs.iter().filter(well) {
                    let matching = route.endpoints.iter().find(|other| is_same_endpoint(other, endpoint));
                    if was.endpoints.iter().any(|other| is_same_endpoint(other, endpoint)) {
                        prop_assert_eq!(matching.map(|matching| (matching.address, matching.readiness)),
                            Some((endpoint.address, Readiness::Ready)));
                    }
                }
            }
            memory = decided.memory;
        }
        memory.rollback = None;
        let released = decide(&world, memory.clone(), now, &rules);
        let free = story_routes(&world);
        let free = routes_without_last_resort(&free, &released.memory);
        let released = routes_without_last_resort(&released.routes, &released.memory);
        // Who has a route keeps it from those who disagree.
        let agrees = |(key, route): &(&&RouteKey, &&Route)| {
            released.get(*key).is_none_or(|released| released.policy == route.policy)
        };
        for (key, route) in free.iter().filter(agrees) {
            prop_assert_eq!(released.get(key), Some(route));
        }
    }
}

/// The routes of which it does not matter who served before: a last resort serves on, and keeps reserves out.
fn routes_without_last_resort<'a>(
    routes: &'a Routes,
    memory: &DecideState,
) -> BTreeMap<&'a RouteKey, &'a Route> {
    let has_last_resort = |(key, _): &(&RouteKey, &Arc<Route>)| {
        let claims = memory.route_table().claims().get(*key).into_iter().flatten();
        claims.into_iter().any(|claim| claim.eligibility == Eligibility::LastResort)
    };
    let others = routes.0.iter().filter(|pair| !has_last_resort(pair));
    others.map(|(key, route)| (key, route.as_ref())).collect()
}

fn is_same_endpoint(
    one: &docker_glue::model::route::Endpoint,
    other: &docker_glue::model::route::Endpoint,
) -> bool {
    one.container.id() == other.container.id() && one.port == other.port
}

fn story_routes(world: &World) -> Routes {
    decide(world, DecideState::default(), Instant::now(), &story::default_rules()).routes
}

fn format_routes(routes: &Routes) -> Vec<String> {
    let server = |view: &docker_glue::model::route::Endpoint| {
        let out = if view.readiness == Readiness::Ready { "" } else { " out" };
        format!(
            "{} {} weight {}{out}",
            view.container.name(),
            view.address.ip(),
            view.weight().get()
        )
    };
    let servers = |route: &Route| route.endpoints.iter().map(server).collect::<Vec<_>>().join(", ");
    routes.0.iter().map(|(key, route)| format!("{key} → {}", servers(route))).collect()
}

/// What is served while it holds: `then` was served, and now the world is another one. The same line is
/// the same container.
fn check_rollback(then: &str, now: &str, expected: &[&str]) {
    let mut memory = DecideState::default();
    memory.rollback = Some(Rollback::new(7, 0, Arc::new(story::parse_routes(then))));
    let decided = decide(&story::parse_world(now), memory, Instant::now(), &story::default_rules());
    assert_eq!(format_routes(&decided.routes), expected, "\n{then}\n{now}");
}

#[test]
fn rollback_serves_remaining_containers() {
    let two = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test";
    let both = "a.test:80/ → a 172.17.0.2 weight 100, b 172.17.0.3 weight 100";
    check_rollback(two, two, &[both]);
    let newcomer = format!(
        "{two}\nc 172.17.0.4 glue_http_80_host=a.test\nd 172.17.0.5 glue_http_80_host=new.test"
    );
    check_rollback(two, &newcomer, &[both]);
    // One has gone, and one is at a new address.
    check_rollback(
        two,
        "a 172.17.0.2 exited glue_http_80_host=a.test\nb 172.17.0.9 glue_http_80_host=a.test",
        &["a.test:80/ → b 172.17.0.9 weight 100"],
    );
    let second = two.lines().nth(1).unwrap();
    for state in ["paused", "leaving"] {
        let now = format!("a 172.17.0.2 {state} glue_http_80_host=a.test\n{second}");
        check_rollback(
            two,
            &now,
            &["a.test:80/ → a 172.17.0.2 weight 100 out, b 172.17.0.3 weight 100"],
        );
    }
    // Nobody is left: that is answered by 503, and not by 404.
    check_rollback(two, "", &["a.test:80/ → "]);
    // Who was unwell then and is well now serves, and the other way round.
    check_rollback(
        "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 unhealthy glue_http_80_host=a.test",
        "a 172.17.0.2 unhealthy glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test",
        &["a.test:80/ → a 172.17.0.2 weight 100 out, b 172.17.0.3 weight 100"],
    );
    // Nobody better is there of those of then, though a newcomer is.
    check_rollback(
        "a 172.17.0.2 glue_http_80_host=a.test",
        "a 172.17.0.2 unhealthy glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test",
        &["a.test:80/ → a 172.17.0.2 weight 100"],
    );
    check_rollback(
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=7",
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=200",
        &["a.test:80/ → a 172.17.0.2 weight 7"],
    );
}

#[test]
fn drained_container_stays_excluded_during_rollback() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test";
    let (world, now) = (story::parse_world(story), Instant::now());
    let mut memory = DecideState::default();
    memory.rollback = Some(Rollback::new(7, 0, Arc::new(story::parse_routes(story))));
    memory.drain_container(world.containers.keys().next().unwrap());
    let decided = decide(&world, memory, now, &story::default_rules());
    assert_eq!(format_routes(&decided.routes), ["a.test:80/ → a 172.17.0.2 weight 100 out"]);
}

/// What did not change is the very same, so that HAProxy is told of nothing else.
#[test]
fn unchanged_routes_are_shared_during_rollback() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=b.test";
    let (rules, now, world) = (story::default_rules(), Instant::now(), story::parse_world(story));
    let mut memory = DecideState::default();
    memory.rollback = Some(Rollback::new(7, 0, Arc::new(story::parse_routes(story))));
    let before = decide(&world, memory, now, &rules);
    let next = story::parse_next_world(
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
fn oldest_generations_are_dropped_beyond_limit() {
    let [a, b] = ["a", "b"]
        .map(|text| story::parse_routes(&format!("{text} 172.17.0.2 glue_http_80_host=a.test")));
    let mut history = History::default();
    let most = u64::try_from(MAX_GENERATIONS).unwrap();
    for number in 1..=most + 10 {
        let (before, after) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let dropped = history.push_generation(generation(number, before, after));
        assert_eq!(dropped.len(), usize::from(most < number));
    }
    assert_eq!(history.last_number(), most + 10);
    let report = |number| history.routes_after(number, &b).map_err(|error| error.to_string());
    assert_eq!(
        report(10),
        Err(format!("no generation 10 in the history; it has 11 to {}", most + 10))
    );
    assert_eq!((report(11), report(12)), (Ok(a.clone()), Ok(b.clone())));

    // However many routes a change has, the last one is kept.
    let (key, route) = a.0.first_key_value().unwrap();
    let many = |count: usize| {
        let key = |at: usize| key.to_string().replace("a.test", &format!("h{at}.test"));
        Routes((0..count).map(|at| (key(at).parse().unwrap(), Arc::clone(route))).collect())
    };
    let (mut history, none) = (History::default(), Routes::default());
    history.push_generation(generation(1, &none, &many(1)));
    history.push_generation(generation(2, &many(1), &many(MAX_LINES + 2)));
    assert_eq!(history.generations().count(), 1);
    let status = &history.to_statuses()[0];
    assert_eq!((status.changes.len(), status.more), (100, MAX_LINES + 1 - 100));
}

#[test]
fn generations_of_large_routes_are_dropped_earlier() {
    let story = |last: usize| {
        let line = |at: usize| {
            format!("c{at} 172.17.{}.{} glue_http_80_host=a.test", at / 250, at % 250 + 1)
        };
        story::parse_routes(&(0..last).map(line).collect::<Vec<_>>().join("\n"))
    };
    let [a, b] = [999, 1000].map(story);
    let mut history = History::default();
    for number in 1..=200 {
        let (before, after) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        history.push_generation(generation(number, before, after));
    }
    let kept = history.generations().count();
    assert!((40..=50).contains(&kept), "{kept}");
    assert_eq!(history.routes_after(200, &b), Ok(b.clone()));
}

#[test]
fn unknown_generation_error_names_the_known_range() {
    let (a, none) =
        (story::parse_routes("a 172.17.0.2 glue_http_80_host=a.test"), Routes::default());
    let mut history = History::default();
    let report =
        |history: &History, number| history.routes_after(number, &a).unwrap_err().to_string();
    assert_eq!(report(&history, 3), "no generation 3 in the history, which is empty");
    history.push_generation(generation(1, &none, &a));
    assert_eq!(report(&history, 3), "no generation 3 in the history; it has only 1");
    history.push_generation(generation(2, &a, &a));
    assert_eq!(report(&history, 0), "no generation 0 in the history; it has 1 to 2");
}

/// A line that nobody understands costs itself and what follows; numbers are not given twice.
#[test]
fn edited_history_file_is_read_up_to_the_invalid_line() {
    let tales =
        ["a", "b", "c"].map(|text| format!("{text} 172.17.0.2 glue_http_80_host={text}.test"));
    let (served, _, text) = replay_stories(&tales);
    let lines: Vec<_> = text.lines().collect();
    for (line, why) in [
        ("{}", "expected value"),
        (r#"{"generation":{"number":2}}"#, "missing field"),
        (&lines[2].replace("b.test:80/", "b test:80/"), "invalid route \"b test:80/\""),
        (&lines[2].replace("\"weight\":100", "\"weight\":300"), "weight 300"),
        (&lines[2].replace("\"check\":\"tcp\"", "\"check\":\"x\\ny\""), "check \"x\\ny\""),
    ] {
        let read = history_file::parse_history(&format!(
            "{}\n{}\n{line}\n{}\n",
            lines[0], lines[1], lines[3]
        ));
        let (at, text) = read.error.unwrap();
        assert!(at == 3 && text.contains(why), "{line}: {at} {text}");
        assert_eq!((read.history.generations().count(), read.history.last_number()), (1, 3));
        assert_eq!(read.served, served[1]);
    }
    let kept = Rollback::new(3, 42, Arc::new(served[3].clone()));
    assert_eq!(history_file::parse_rollback(&history_file::format_rollback(&kept)), Ok(kept));
    assert!(history_file::parse_rollback("{").is_err());
}
