//! What explain says is what HAProxy does: 10,000 requests against 500 routes, sent to a real one.
//!
//! Each server answers with its own name and the path that it saw. Routes and requests are drawn by one seed, so
//! that they are the same each time.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "explain_agrees/answerer.rs"]
mod answerer;
#[path = "explain_agrees/asker.rs"]
mod asker;
#[path = "explain_agrees/drawn.rs"]
mod drawn;
#[path = "common/haproxy.rs"]
mod haproxy;
#[path = "common/story.rs"]
mod story;

use answerer::Answerers;
use asker::{Answer, Asked, Asker};
use docker_glue::{
    decide::{Memory, decide},
    haproxy::{
        stat::{Counters, Stat},
        version,
    },
    view::{
        Haproxy, Picture,
        explain::{Explanation, Outcome, explain, request::Request},
        history::History,
    },
};
use drawn::Drawn;
use haproxy::HAProxy;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const ROUTES: usize = 500;
const REQUESTS: usize = 10_000;
/// Side by side, each on connections of its own.
const ASKERS: usize = 32;

#[tokio::test]
async fn explain_says_what_haproxy_does() {
    let mut drawn = Drawn::new();
    let answerers = Answerers::start(drawn::MOST_CONTAINERS).await;
    let picture = picture(&mut drawn, answerers.port);
    assert!(ROUTES <= picture.routes.0.len(), "{} routes", picture.routes.0.len());
    // Thousands of requests meet routes that no container serves.
    let wait = Duration::from_millis(1);
    let Some(haproxy) = HAProxy::start_with_wait(&picture.config, wait).await else { return };
    let counters = when_checked(haproxy.socket(), &picture).await;

    let shared = Arc::new((picture, counters));
    let requests: Vec<_> = (0..REQUESTS).map(|_| drawn.request(&shared.0.routes)).collect();
    let mut askers = JoinSet::new();
    for share in requests.chunks(REQUESTS / ASKERS) {
        let asker = Asker::new(|port| haproxy.bound(port), &shared.0.routes);
        askers.spawn(compare(asker, share.to_vec(), Arc::clone(&shared)));
    }
    let seen = askers.join_all().await;
    let wrong: Vec<_> = seen.iter().flat_map(|it| &it.wrong).cloned().collect();
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {REQUESTS} differ:\n{shown}", wrong.len());

    // Each route got the requests that were said to be its own.
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (backend, count) in seen.iter().flat_map(|it| &it.by_backend) {
        *expected.entry(backend.clone()).or_default() += count;
    }
    let counted = Stat::at(haproxy.socket()).ask().await.unwrap().backends;
    let counted = counted.into_iter().map(|(name, it)| (name, it.requests));
    let counted: BTreeMap<_, _> = counted.filter(|(_, requests)| 0 < *requests).collect();
    assert_eq!(counted, expected);

    let count =
        |outcome| seen.iter().map(|it| it.outcomes.get(&outcome).unwrap_or(&0)).sum::<u64>();
    for outcome in [Outcome::Served, Outcome::Unavailable, Outcome::NotFound, Outcome::Refused] {
        assert!(200 < count(outcome), "only {} are {outcome:?}", count(outcome));
    }
}

/// What one asker saw.
#[derive(Debug, Default)]
struct Seen {
    wrong: Vec<String>,
    by_backend: BTreeMap<String, u64>,
    outcomes: BTreeMap<Outcome, u64>,
}

async fn compare(mut asker: Asker, all: Vec<Asked>, shared: Arc<(Picture, Counters)>) -> Seen {
    let mut seen = Seen::default();
    for asked in all {
        let request = Request {
            method: asked.method.parse().unwrap(),
            url: asked.url().parse().unwrap_or_else(|e| panic!("{}: {e}", asked.url())),
        };
        let said = explain(&request, &shared.0, Some(&shared.1));
        let answer = asker.ask(&asked).await;
        if !agree(&said, &answer) {
            let becomes = said.becomes.as_ref().map(|it| &it.path);
            let (route, why) = (said.route.as_ref().map(|it| &it.route), &said.why);
            let head = asked.head();
            seen.wrong.push(format!("{head:?}: {answer:?}, but {route:?}, {why}, {becomes:?}"));
        }
        if said.outcome != Outcome::Refused {
            let backend = said.route.map_or("no-route".to_owned(), |it| it.backend);
            *seen.by_backend.entry(backend).or_default() += 1;
        }
        *seen.outcomes.entry(said.outcome).or_default() += 1;
    }
    seen
}

fn agree(said: &Explanation, answer: &Answer) -> bool {
    match said.outcome {
        Outcome::NobodyListens => false,
        Outcome::NotFound | Outcome::Unavailable | Outcome::Refused => {
            said.status == Some(answer.status)
        }
        Outcome::Served => {
            let ready = |address: &str| {
                said.servers.iter().any(|it| it.address == address && 0.0 < it.percent)
            };
            answer.status == 200
                && ready(&answer.server)
                && said.becomes.as_ref().is_some_and(|it| it.path == answer.path)
        }
    }
}

/// Some routes are held, since their containers were there a moment ago.
fn picture(drawn: &mut Drawn, port: u16) -> Picture {
    let (before, now) = drawn.stories(port, ROUTES);
    let (at, rules) = (Instant::now(), story::rules());
    let memory = decide(&story::world(&before), Memory::default(), at, &rules).memory;
    let world = story::world(&now);
    let decided = decide(&world, memory, at, &rules);
    let config = story::config(&decided.routes);
    Picture {
        at_ms: 0,
        now: at,
        since_ms: 0,
        world: Some(Arc::new(world)),
        docker_is_there: true,
        docker_age: Duration::ZERO,
        rules,
        memory: decided.memory,
        routes: decided.routes,
        problems: decided.problems,
        config: Arc::new(config),
        haproxy: Haproxy { version: version::OLDEST, pid: None, managed: true, answers: true },
        last: None,
        trouble: None,
        history: History::default(),
    }
}

/// What HAProxy counts once it knows who does not listen: they all share a route with somebody who does.
async fn when_checked(socket: PathBuf, picture: &Picture) -> Counters {
    let dead: usize = picture
        .config
        .backends
        .values()
        .flat_map(|it| &it.servers)
        .filter(|it| drawn::is_dead(it))
        .count();
    assert!(0 < dead);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let counters = Stat::at(socket.clone()).ask().await.unwrap();
        let all = counters.servers.values().flatten();
        let down = all.filter(|(_, it)| it.status.starts_with("DOWN")).count();
        if down == dead {
            return counters;
        }
        assert!(Instant::now() < end, "{down} of {dead} are down");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
