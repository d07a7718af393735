//! Problems of servers that follow from HAProxy's health reports, as a series of reports.

use crate::common::story;
use docker_glue::{
    haproxy::{
        config::Config,
        diagnosis::{CheckReporting, Diagnosis, FAILURE_DELAY, HealthQuery, LOST_DELAY, LossCause},
        health::{
            CapturedMessage, CheckFailure, CheckResult, FrontendErrorCounts, HealthReport,
            InvalidMessage, ServerHealth, ServerKey,
        },
        stderr_log::CheckResultChange,
    },
    model::{
        malformed_http::{MalformedRequest, MalformedResponse},
        problem::Severity,
        route::Routes,
    },
    routing::decide::{DecideState, Decision, decide},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);

/// A story, and the diagnosis of its servers over time.
struct Case {
    config: Config,
    routes: Routes,
    memory: DecideState,
    diagnosis: Diagnosis,
    now: Instant,
}

impl Case {
    fn from_story(story: &str) -> Self {
        let now = Instant::now();
        let world = story::parse_world(story);
        let Decision { routes, memory, .. } =
            decide(&world, DecideState::default(), now, &story::default_rules());
        let config = story::build_config(&routes);
        let mut diagnosis = Diagnosis::default();
        diagnosis.update_backends(&config, config.backends.keys().map(String::as_str), now);
        Self { config, routes, memory, diagnosis, now }
    }

    /// Returns the servers of a container.
    fn servers(&self, container: &str) -> Vec<ServerKey> {
        let of = |(name, backend): (&String, &std::sync::Arc<_>)| {
            let backend: &docker_glue::haproxy::config::Backend = backend;
            let servers =
                backend.servers.iter().filter(|server| server.name.starts_with(container));
            servers.map(|server| (name.clone(), server.name.clone())).collect::<Vec<_>>()
        };
        self.config.backends.iter().flat_map(of).collect()
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn learn(&mut self, round: &HealthReport) -> &mut Self {
        self.diagnosis.apply_report(round, &self.config, self.now);
        self
    }

    /// Reports this check result for all servers of a container.
    fn run_check(&mut self, container: &str, check: &CheckResult) -> &mut Self {
        let servers = self.servers(container);
        let servers = servers.into_iter().map(|name| (name, health(check.clone(), 0, 0, 0)));
        self.learn(&HealthReport { servers: servers.collect(), ..HealthReport::default() })
    }

    /// Reports these counts and this captured message for the only server of container `web`.
    fn count(&mut self, counts: (u64, u64, u64), message: Option<InvalidMessage>) -> &mut Self {
        let name = self.servers("web").remove(0);
        let (responses, response_errors, connection_errors) = counts;
        let health = health(CheckResult::Passed, responses, response_errors, connection_errors);
        let captured = message.map(|what| CapturedMessage { age: Duration::ZERO, message: what });
        self.learn(&HealthReport {
            servers: [(name, health)].into(),
            captures: Some(captured.into_iter().collect()),
            ..HealthReport::default()
        })
    }

    fn response(&self, malformed: MalformedResponse) -> InvalidMessage {
        InvalidMessage::Response { server: self.servers("web").remove(0), malformed }
    }

    fn record_check_message(&mut self, container: &str, passed: bool) -> &mut Self {
        for (backend, server) in self.servers(container) {
            self.diagnosis.on_check_result(
                &CheckResultChange { worker: 1, backend, server, passed },
                self.now,
            );
        }
        self
    }

    fn problem_texts(&self) -> Vec<String> {
        let Self { config, routes, memory, diagnosis, now } = self;
        let problems = diagnosis.problems(config, routes, memory, *now);
        problems.iter().map(ToString::to_string).collect()
    }

    /// Returns the milliseconds until the next query.
    fn next_due_ms(&self, hearing: CheckReporting) -> u128 {
        let due = self.diagnosis.next_query_at(hearing).unwrap();
        due.saturating_duration_since(self.now).as_millis()
    }
}

fn health(
    check: CheckResult,
    responses: u64,
    response_errors: u64,
    connection_errors: u64,
) -> ServerHealth {
    ServerHealth { check, responses, response_errors, connection_errors }
}

fn failed_check(failure: CheckFailure) -> CheckResult {
    CheckResult::Failed(failure)
}

/// Checks the problems of a container whose check has failed in this way for longer than `FAILURE_DELAY`.
fn check_failing(story: &str, failure: &CheckFailure, expected: &[&str]) {
    let mut case = Case::from_story(story);
    let failed = failed_check(failure.clone());
    case.run_check("web", &failed).pass(FAILURE_DELAY).run_check("web", &failed);
    assert_eq!(case.problem_texts(), expected, "{story} {failure:?}");
    assert_eq!(
        case.run_check("web", &CheckResult::Passed).problem_texts(),
        [""; 0],
        "{story} {failure:?}"
    );
}

/// The story's containers expose ports 80, 3000 and 8080.
#[test]
fn failed_check_problem_has_a_remedy() {
    let at = |port: u16, remaining: &str| {
        format!(
            "container web (00c0ffee0000): connection refused at 172.17.0.2:{port}; {remaining}"
        )
    };
    check_failing(
        "web 172.17.0.2 glue_http_81_host=a.test",
        &CheckFailure::Refused,
        &[&at(81, "the container exposes 80, 3000, 8080: did you mean glue_http_80_…?")],
    );
    check_failing(
        "web 172.17.0.2 glue_http_80_host=a.test",
        &CheckFailure::Refused,
        &[&at(
            80,
            "nothing listens on port 80 of the container, or it listens only on 127.0.0.1 and must \
             listen on 0.0.0.0; the container also exposes 3000, 8080: did you mean \
             glue_http_3000_…?",
        )],
    );
    // One problem for each port, regardless of the number of routes.
    check_failing(
        "web 172.17.0.2 glue_http_81_host=a.test,b.test,c.test",
        &CheckFailure::Refused,
        &[&at(81, "the container exposes 80, 3000, 8080: did you mean glue_http_80_…?")],
    );
    // A container on the host's network has no other address.
    check_failing(
        "web - host glue_http_80_host=a.test",
        &CheckFailure::Refused,
        &["container web (00c0ffee0000): connection refused at 127.0.0.1:80; nothing listens on \
           port 80 of the container; the container also exposes 3000, 8080: did you mean \
           glue_http_3000_…?"],
    );
    let checked = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_check=/healthz";
    let report = |text: &str| format!("container web (00c0ffee0000): {text}");
    check_failing(
        checked,
        &CheckFailure::Status(404),
        &[&report(
            "GET /healthz got status 404 from 172.17.0.2:80; HAProxy's check needs 2xx or 3xx, so \
             set a path that returns one in glue_http_80_check, or check only the connection (tcp)",
        )],
    );
    check_failing(
        checked,
        &CheckFailure::Timeout,
        &[&report(
            "GET /healthz got no response from 172.17.0.2:80 in time; HAProxy's check waits \
             as long as its interval (check_interval), so use a faster path, a longer interval, or \
             check only the connection (tcp)",
        )],
    );
    check_failing(
        checked,
        &CheckFailure::NotHttp,
        &[&report(
            "GET /healthz got no HTTP/1.1 response from 172.17.0.2:80; the connection was closed \
             without a response, or the port uses another protocol",
        )],
    );
    check_failing(
        checked,
        &CheckFailure::Unreachable,
        &[&report(
            "connections to 172.17.0.2:80 time out or have no route to it; check that the machine \
             is up, that the network is the right one (glue_network), and that no firewall blocks \
             them",
        )],
    );
    check_failing(
        checked,
        &CheckFailure::Other("Connection reset".to_owned()),
        &[&report("HAProxy's check of 172.17.0.2:80 fails: Connection reset")],
    );
    // A stopping container may refuse connections, and HAProxy does not check a paused one.
    check_failing("web 172.17.0.2 leaving glue_http_80_host=a.test", &CheckFailure::Refused, &[]);
    check_failing("web 172.17.0.2 paused glue_http_80_host=a.test", &CheckFailure::Refused, &[]);
}

#[test]
fn failing_check_becomes_a_problem_after_delay() {
    let refused = failed_check(CheckFailure::Refused);
    let mut case = Case::from_story("web 172.17.0.2 glue_http_80_host=a.test");
    case.run_check("web", &refused).pass(FAILURE_DELAY / 2).run_check("web", &refused);
    assert_eq!(case.problem_texts(), [""; 0]);
    // The check passed and fails again: the delay starts again.
    case.run_check("web", &CheckResult::Passed).pass(SECOND).run_check("web", &refused);
    assert_eq!(case.problem_texts(), [""; 0]);
    case.pass(FAILURE_DELAY);
    assert_eq!(case.problem_texts().len(), 1);
    // A new failure replaces the problem.
    case.run_check("web", &failed_check(CheckFailure::Unreachable));
    assert!(case.problem_texts()[0].contains("time out"), "{:?}", case.problem_texts());
    // The problems of a removed container are removed.
    let Case { mut diagnosis, now, .. } = case;
    let other = Case::from_story("other 172.17.0.3 glue_http_80_host=a.test");
    diagnosis.update_backends(&other.config, ["a.test:80"], now);
    assert!(diagnosis.problems(&other.config, &other.routes, &other.memory, now).is_empty());
}

#[test]
fn requests_are_cut_after_repeated_connection_timeouts() {
    let lost = |case: &mut Case| {
        let lost = case.diagnosis.take_lost_servers(case.now, &case.memory);
        lost.into_iter().map(|server| (server.server.1, server.is_new)).collect::<Vec<_>>()
    };
    let timed_out = failed_check(CheckFailure::Unreachable);
    let mut case = Case::from_story("web 172.17.0.2 glue_http_80_host=a.test");
    let server = case.servers("web").remove(0).1;
    case.run_check("web", &timed_out).pass(LOST_DELAY / 2).run_check("web", &timed_out);
    assert_eq!(lost(&mut case), []);
    case.pass(LOST_DELAY / 2).run_check("web", &timed_out);
    assert_eq!(lost(&mut case), [(server.clone(), true)]);
    // Later requests to the server are lost as well, and are cut after another delay.
    assert_eq!(lost(&mut case), []);
    case.pass(LOST_DELAY).run_check("web", &timed_out);
    assert_eq!(lost(&mut case), [(server, false)]);
    // A server that refuses connections may still answer the requests that it has accepted.
    case.run_check("web", &failed_check(CheckFailure::Refused)).pass(10 * LOST_DELAY);
    case.run_check("web", &failed_check(CheckFailure::Refused));
    assert_eq!(lost(&mut case), []);
    case.run_check("web", &timed_out);
    assert_eq!(lost(&mut case), []);
    // A server whose check passes again keeps its requests.
    case.pass(LOST_DELAY).run_check("web", &CheckResult::Passed);
    assert_eq!(lost(&mut case), []);
}

#[test]
fn requests_to_a_failing_server_of_a_lost_machine_are_cut() {
    let refused = failed_check(CheckFailure::Refused);
    let mut case = Case::from_story("web 172.17.0.2 glue_http_80_host=a.test lost");
    let lost = |case: &mut Case| {
        let lost = case.diagnosis.take_lost_servers(case.now, &case.memory);
        lost.into_iter().map(|server| (server.is_new, server.cause)).collect::<Vec<_>>()
    };
    case.run_check("web", &refused).pass(LOST_DELAY / 2).run_check("web", &refused);
    assert_eq!(lost(&mut case), []);
    case.pass(LOST_DELAY / 2).run_check("web", &refused);
    assert_eq!(lost(&mut case), [(true, LossCause::Machine)]);
    case.run_check("web", &refused);
    assert_eq!(lost(&mut case), []);
    case.pass(LOST_DELAY).run_check("web", &refused);
    assert_eq!(lost(&mut case), [(false, LossCause::Machine)]);
    case.run_check("web", &CheckResult::Passed).pass(LOST_DELAY);
    assert_eq!(lost(&mut case), []);
}

#[test]
fn healthy_servers_are_not_queried_again() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test\nwww 172.17.0.3 glue_http_80_host=b.test";
    let deaf = CheckReporting::Polled { servers: 2 };
    let mut case = Case::from_story(story);
    // New servers are queried soon, unless HAProxy reports that their checks pass.
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 1000);
    let requested = |backends: &[&str]| HealthQuery {
        backends: Some(backends.iter().map(ToString::to_string).collect()),
        frontend_errors: None,
    };
    assert_eq!(
        case.diagnosis.next_query(CheckReporting::Pushed),
        requested(&["a.test:80", "b.test:80"])
    );
    case.record_check_message("web", true);
    assert_eq!(case.diagnosis.next_query(CheckReporting::Pushed), requested(&["b.test:80"]));
    case.run_check("www", &CheckResult::Passed);
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 30000);
    assert_eq!(case.next_due_ms(deaf), 5000);
    assert_eq!(case.next_due_ms(CheckReporting::Polled { servers: 5000 }), 15000);
    // A server whose check fails is queried at once, then each second, then less often; and at once when its check
    // passes.
    case.record_check_message("web", false);
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 100);
    case.run_check("web", &failed_check(CheckFailure::Refused));
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 1000);
    case.pass(Duration::from_secs(20)).run_check("web", &failed_check(CheckFailure::Refused));
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 5000);
    case.record_check_message("web", true);
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 100);
    case.run_check("web", &CheckResult::Passed);
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 30000);
    // A reader (dashboard or status) triggers a query, but at most one a second.
    assert!(case.diagnosis.is_fresh(case.now));
    case.pass(SECOND);
    assert!(!case.diagnosis.is_fresh(case.now));
    case.diagnosis.request_now(case.now);
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 0);
    case.diagnosis.on_no_answer(case.now);
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 30000);
    // Without pushed check results all backends are queried.
    assert_eq!(case.diagnosis.next_query(deaf).backends, None);
}

#[test]
fn many_failing_servers_are_queried_together_less_often() {
    use std::fmt::Write as _;
    let story = (0..500).fold(String::new(), |mut story, n| {
        writeln!(story, "web{n} 172.17.{}.{} glue_http_80_host=h{n}.test", n / 250, n % 250 + 2)
            .unwrap();
        story
    });
    let mut case = Case::from_story(&story);
    assert_eq!(case.diagnosis.next_query(CheckReporting::Pushed).backends, None);
    case.run_check("web", &failed_check(CheckFailure::Refused));
    assert_eq!(case.next_due_ms(CheckReporting::Pushed), 1500);
}

const WEB: &str = "web 172.17.0.2 glue_http_80_host=a.test";

#[test]
fn invalid_response_is_reported_until_valid_ones_follow() {
    let bad = "container web (00c0ffee0000): a request to 172.17.0.2:80 got 502, because the \
               container's response is not HTTP/1.1: ";
    for (nonsense, expected) in [
        (
            MalformedResponse::Http2,
            "the container supports only HTTP/2 (gRPC, h2c); make it accept HTTP/1.1, which \
             HAProxy uses",
        ),
        (
            MalformedResponse::Tls,
            "the container uses TLS; make it serve plain HTTP, or use its plain HTTP port",
        ),
        (
            MalformedResponse::Other("SSH-2.0-OpenSSH_".to_owned()),
            "the response starts with \"SSH-2.0-OpenSSH_\"; check that the port is the right one",
        ),
        (MalformedResponse::Header("Bad".to_owned()), "its header field \"Bad\" is malformed"),
        (MalformedResponse::StatusLine, "its first line is malformed"),
        (MalformedResponse::Body, "its body does not match its headers"),
    ] {
        let mut case = Case::from_story(WEB);
        let message = Some(case.response(nonsense));
        case.count((7, 0, 0), None).pass(SECOND).count((7, 1, 0), message.clone());
        assert_eq!(case.problem_texts(), [format!("{bad}{expected}")]);
        // The problem stays until valid responses follow, plus a delay.
        case.pass(Duration::from_hours(1)).count((7, 1, 0), message.clone());
        assert_eq!(case.problem_texts().len(), 1);
        case.count((8, 1, 0), message.clone());
        assert_eq!(case.problem_texts(), [""; 0]);
        // HAProxy still keeps the captured message of the resolved problem.
        case.pass(SECOND).count((9, 1, 0), message.clone());
        assert_eq!(case.problem_texts(), [""; 0]);
        // A new HAProxy worker, whose counters start at 0, fails again.
        case.pass(SECOND).count((0, 2, 0), message.clone());
        assert_eq!(case.problem_texts().len(), 1);
        case.pass(SECOND).count((1, 2, 0), message.clone());
        assert_eq!(case.problem_texts().len(), 1);
        case.pass(10 * SECOND).count((1, 2, 0), message);
        assert_eq!(case.problem_texts(), [""; 0]);
    }
}

#[test]
fn missing_response_is_reported() {
    let text = "container web (00c0ffee0000): a request to 172.17.0.2:80 got 502 or 504, because \
                the container closed the connection or exceeded the timeout (glue_http_…_timeout); \
                see the container's log";
    let mut case = Case::from_story(WEB);
    case.count((0, 0, 0), None).count((0, 1, 0), None);
    assert_eq!(case.problem_texts(), [text]);
    // A container that has answered before needs two failures without a valid response in between.
    let mut case = Case::from_story(WEB);
    case.count((7, 0, 0), None).count((7, 1, 0), None);
    assert_eq!(case.problem_texts(), [""; 0]);
    case.count((7, 2, 0), None);
    assert_eq!(case.problem_texts(), [text]);
    // A message that HAProxy captured from an earlier container is not attributed to this one.
    let mut case = Case::from_story(WEB);
    let old = CapturedMessage {
        age: Duration::from_mins(1),
        message: case.response(MalformedResponse::Tls),
    };
    case.count((0, 0, 0), None).pass(SECOND);
    let servers = [(case.servers("web").remove(0), health(CheckResult::Passed, 0, 1, 0))].into();
    case.learn(&HealthReport { servers, captures: Some(vec![old]), ..HealthReport::default() });
    assert_eq!(case.problem_texts(), [text]);
    // A single failure among many valid responses is not a problem.
    let mut case = Case::from_story(WEB);
    case.count((7, 1, 0), None).count((90, 2, 0), None);
    assert_eq!(case.problem_texts(), [""; 0]);
}

#[test]
fn failed_connection_is_reported_only_with_check_off() {
    let mut case = Case::from_story(WEB);
    case.count((0, 0, 0), None).count((0, 0, 3), None);
    assert_eq!(case.problem_texts(), [""; 0]);
    let mut case = Case::from_story(&format!("{WEB} glue_http_80_check=off"));
    case.count((0, 0, 0), None).count((0, 0, 3), None);
    let text = "container web (00c0ffee0000): a request could not connect to 172.17.0.2:80 and got \
                503, and the check is off; nothing listens on port 80 of the container, or it \
                listens only on 127.0.0.1 and must listen on 0.0.0.0; the container also exposes \
                3000, 8080: did you mean glue_http_3000_…?";
    assert_eq!(case.problem_texts(), [text]);
}

/// HAProxy also captures invalid responses to its checks. The problem reports them as responses to the check.
#[test]
fn non_http_check_response_is_reported() {
    let case = Case::from_story(&format!("{WEB} glue_http_80_check=/x"));
    let name = case.servers("web").remove(0);
    let message = case.response(MalformedResponse::Http2);
    let text = "container web (00c0ffee0000): GET /x got a response from 172.17.0.2:80 that is not \
                HTTP/1.1: the container supports only HTTP/2 (gRPC, h2c); make it accept HTTP/1.1, \
                which HAProxy uses";
    // HAProxy's releases report different failures for this response.
    for failure in
        [CheckFailure::NotHttp, CheckFailure::Timeout, CheckFailure::Other("SOCKERR".to_owned())]
    {
        let mut case = Case::from_story(&format!("{WEB} glue_http_80_check=/x"));
        let round = HealthReport {
            servers: [(name.clone(), health(failed_check(failure), 0, 0, 0))].into(),
            captures: Some(vec![CapturedMessage { age: Duration::ZERO, message: message.clone() }]),
            ..HealthReport::default()
        };
        case.learn(&round).pass(FAILURE_DELAY).learn(&round);
        assert_eq!(case.problem_texts(), [text]);
    }
}

#[test]
fn invalid_request_is_a_hint_on_its_listener() {
    let mut case = Case::from_story(WEB);
    let request = |nonsense, client: &str| CapturedMessage {
        age: SECOND,
        message: InvalidMessage::Request {
            frontend: "http-80".to_owned(),
            client: Some(client.parse().unwrap()),
            malformed: nonsense,
        },
    };
    let round = |captured| HealthReport {
        frontends: BTreeMap::from([("http-80".to_owned(), FrontendErrorCounts::default())]),
        captures: Some(captured),
        ..HealthReport::default()
    };
    case.learn(&round(vec![request(MalformedRequest::Tls, "192.0.2.1")]));
    // The same error from another client adds no problem.
    case.learn(&round(vec![request(MalformedRequest::Tls, "192.0.2.2")]));
    case.learn(&round(vec![request(MalformedRequest::Target, "2001:db8::1")]));
    let report = |what: &str, client: &str| {
        format!(
            "listener http :80: a request got 400, because it is not HTTP/1.1: {what} (the first \
             one from {client})"
        )
    };
    let expected = [
        report("it uses TLS, but this port accepts only http://", "192.0.2.1"),
        report(
            "its path has a character (a space, # or a non-ASCII character) that the client must \
             write as %XX",
            "2001:db8::1",
        ),
    ];
    assert_eq!(case.problem_texts(), expected);
    let Case { config, routes, memory, diagnosis, now } = &case;
    let problems = diagnosis.problems(config, routes, memory, *now);
    assert!(problems.iter().all(|problem| problem.reason.severity() == Severity::Hint));
    case.pass(Duration::from_mins(11)).learn(&round(Vec::new()));
    assert_eq!(case.problem_texts(), [""; 0]);
}
