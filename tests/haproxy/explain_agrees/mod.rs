//! Explain predicts what HAProxy does: 10,000 requests against 500 routes, sent to a real HAProxy.
//!
//! Each server answers with its own name and the path that it saw. Routes and requests are drawn from one seed, so that
//! they are the same in each run.

mod answerer;
mod asker;
mod drawn;
mod tcp;

use crate::common::{haproxy::HAProxy, story};
use answerer::Answerers;
use asker::{Answer, Client, DrawnRequest};
use docker_glue::{
    haproxy::{
        stats::{Counters, StatsClient},
        version,
    },
    report::{
        HaproxyInfo, StateSnapshot,
        explain::{Explanation, RequestOutcome, explain, request::ExplainRequest},
        history::History,
    },
    routing::decide::{DecideState, decide},
};
use drawn::Drawn;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const ROUTES: usize = 500;
const REQUESTS: usize = 10_000;
/// Concurrent clients, each with its own connections.
const ASKERS: usize = 32;

#[tokio::test]
async fn explain_predicts_haproxy_for_10000_requests() {
    let mut drawn = Drawn::new();
    let answerers = Answerers::start(drawn::MOST_CONTAINERS).await;
    let picture = draw_state(&mut drawn, answerers.port);
    assert!(ROUTES <= picture.routes.0.len(), "{} routes", picture.routes.0.len());
    // With a longer wait the thousands of requests to routes without a ready container would each be delayed.
    let wait = Duration::from_millis(1);
    let Some(haproxy) = HAProxy::start_with_wait(&picture.config, wait).await else { return };
    let counters = counters_after_checks(haproxy.socket(), &picture).await;

    let shared = Arc::new((picture, counters));
    let requests: Vec<_> = (0..REQUESTS).map(|_| drawn.request(&shared.0.routes)).collect();
    let mut askers = JoinSet::new();
    for share in requests.chunks(REQUESTS / ASKERS) {
        let asker = Client::new(|port| haproxy.bound(port), &shared.0.routes);
        askers.spawn(compare_answers(asker, share.to_vec(), Arc::clone(&shared)));
    }
    let seen = askers.join_all().await;
    let wrong: Vec<_> = seen.iter().flat_map(|comparison| &comparison.wrong).cloned().collect();
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {REQUESTS} differ:\n{shown}", wrong.len());

    // HAProxy's counters confirm that each route got the predicted requests.
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (backend, count) in seen.iter().flat_map(|comparison| &comparison.by_backend) {
        *expected.entry(backend.clone()).or_default() += count;
    }
    let counted =
        StatsClient::for_socket(haproxy.socket()).fetch_counters().await.unwrap().backends;
    let counted = counted.into_iter().map(|(name, row)| (name, row.requests));
    let counted: BTreeMap<_, _> = counted.filter(|(_, requests)| 0 < *requests).collect();
    assert_eq!(counted, expected);

    let count = |outcome| {
        seen.iter().map(|comparison| comparison.outcomes.get(&outcome).unwrap_or(&0)).sum::<u64>()
    };
    for outcome in [
        RequestOutcome::Served,
        RequestOutcome::Redirected,
        RequestOutcome::Unavailable,
        RequestOutcome::NotFound,
        RequestOutcome::Refused,
    ] {
        assert!(200 < count(outcome), "only {} are {outcome:?}", count(outcome));
    }
}

/// The results of one client.
#[derive(Debug, Default)]
struct Seen {
    wrong: Vec<String>,
    by_backend: BTreeMap<String, u64>,
    outcomes: BTreeMap<RequestOutcome, u64>,
}

async fn compare_answers(
    mut asker: Client,
    all: Vec<DrawnRequest>,
    shared: Arc<(StateSnapshot, Counters)>,
) -> Seen {
    let mut seen = Seen::default();
    for answered_by in all {
        let url = answered_by.url().parse();
        let url = url.unwrap_or_else(|e| panic!("{}: {e}", answered_by.url()));
        let from = Some(([127, 0, 0, 1], 0).into());
        let method = answered_by.method.parse().unwrap();
        let headers = answered_by.headers.iter().map(|header| header.parse().unwrap()).collect();
        let request = ExplainRequest::with_client(method, url, from).unwrap();
        let request = request.with_headers(headers, None).unwrap();
        let explanation = explain(&request, &shared.0, Some(&shared.1));
        let answer = asker.send_request(&answered_by).await;
        if !answers_agree(&explanation, &answer) {
            let becomes = explanation.becomes.as_ref().map(|request| &request.path);
            let (route, why) =
                (explanation.route.as_ref().map(|step| &step.route), &explanation.why);
            let head = answered_by.head();
            seen.wrong.push(format!("{head:?}: {answer:?}, but {route:?}, {why}, {becomes:?}"));
        }
        if !matches!(explanation.outcome, RequestOutcome::Refused | RequestOutcome::Answered) {
            let backend = explanation.route.map_or("no-route".to_owned(), |step| step.backend);
            *seen.by_backend.entry(backend).or_default() += 1;
        }
        *seen.outcomes.entry(explanation.outcome).or_default() += 1;
    }
    seen
}

fn answers_agree(explanation: &Explanation, answer: &Answer) -> bool {
    match explanation.outcome {
        RequestOutcome::NotListening
        | RequestOutcome::TlsRefused
        | RequestOutcome::PassedThrough
        | RequestOutcome::Dropped
        | RequestOutcome::Closed => false,
        RequestOutcome::Redirected => {
            explanation.status == Some(answer.status) && explanation.location == answer.location
        }
        RequestOutcome::NotFound
        | RequestOutcome::Unavailable
        | RequestOutcome::Refused
        | RequestOutcome::Answered => explanation.status == Some(answer.status),
        RequestOutcome::Served => {
            let ready = |address: &str| {
                explanation.servers.iter().any(|step| step.address == address && 0.0 < step.percent)
            };
            answer.status == 200
                && ready(&answer.server)
                && explanation.becomes.as_ref().is_some_and(|request| request.path == answer.path)
        }
    }
}

/// Returns the state. Some routes are on hold, because their containers have just been removed.
fn draw_state(drawn: &mut Drawn, port: u16) -> StateSnapshot {
    let (before, now) = drawn.stories(port, ROUTES);
    let (at, rules) = (Instant::now(), story::default_rules());
    let memory = decide(&story::parse_world(&before), DecideState::default(), at, &rules).memory;
    let world = story::parse_world(&now);
    let decided = decide(&world, memory, at, &rules);
    let config = story::build_config(&decided.routes);
    StateSnapshot {
        at_ms: 0,
        now: at,
        started_ms: 0,
        world: Some(Arc::new(world)),
        docker_connected: true,
        docker_age: Duration::ZERO,
        sources: Vec::new(),
        rules,
        decide_state: decided.memory,
        routes: decided.routes,
        problems: decided.problems,
        orders: None,
        config: Arc::new(config),
        haproxy: HaproxyInfo { version: version::OLDEST, pid: None, managed: true, answers: true },
        udp: None,
        last_applied: None,
        last_error: None,
        history: History::default(),
    }
}

/// Returns HAProxy's counters once its checks have found all servers that do not listen. Each of them shares a route
/// with one that listens.
async fn counters_after_checks(socket: PathBuf, picture: &StateSnapshot) -> Counters {
    let dead: usize = picture
        .config
        .backends
        .values()
        .flat_map(|backend| &backend.servers)
        .filter(|server| drawn::is_dead(server))
        .count();
    assert!(0 < dead);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let counters = StatsClient::for_socket(socket.clone()).fetch_counters().await.unwrap();
        let all = counters.servers.values().flatten();
        let down = all.filter(|(_, row)| row.status.starts_with("DOWN")).count();
        if down == dead {
            return counters;
        }
        assert!(Instant::now() < end, "{down} of {dead} are down");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
