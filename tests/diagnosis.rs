//! What is told of servers, from what HAProxy says of them: tables of rounds.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{
    decide::{Decided, Memory, decide},
    diagnosis::{Diagnosis, FAILS_FOR, Hearing, LOST_AFTER, Question},
    haproxy::{
        config::Config,
        health::{Captured, Check, Failure, Health, Message, Refusals, Round, ServerName},
        said::Checked,
    },
    nonsense::{Request, Response},
    problem::Severity,
    route::Routes,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);

/// A story, and what is known of its servers as time goes by.
struct Case {
    config: Config,
    routes: Routes,
    memory: Memory,
    diagnosis: Diagnosis,
    now: Instant,
}

impl Case {
    fn of(story: &str) -> Self {
        let now = Instant::now();
        let world = story::world(story);
        let Decided { routes, memory, .. } =
            decide(&world, Memory::default(), now, &story::rules());
        let config = story::config(&routes);
        let mut diagnosis = Diagnosis::default();
        diagnosis.follow(&config, config.backends.keys().map(String::as_str), now);
        Self { config, routes, memory, diagnosis, now }
    }

    /// The servers of a container.
    fn servers(&self, container: &str) -> Vec<ServerName> {
        let of = |(name, backend): (&String, &std::sync::Arc<_>)| {
            let backend: &docker_glue::haproxy::config::Backend = backend;
            let servers = backend.servers.iter().filter(|it| it.name.starts_with(container));
            servers.map(|it| (name.clone(), it.name.clone())).collect::<Vec<_>>()
        };
        self.config.backends.iter().flat_map(of).collect()
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn learn(&mut self, round: &Round) -> &mut Self {
        self.diagnosis.learn(round, &self.config, self.now);
        self
    }

    /// All servers of a container answer a check so.
    fn check(&mut self, container: &str, check: &Check) -> &mut Self {
        let servers = self.servers(container);
        let servers = servers.into_iter().map(|name| (name, health(check.clone(), 0, 0, 0)));
        self.learn(&Round { servers: servers.collect(), ..Round::default() })
    }

    /// Its only server counted these, and said that.
    fn count(&mut self, counts: (u64, u64, u64), said: Option<Message>) -> &mut Self {
        let name = self.servers("web").remove(0);
        let (responses, response_errors, connection_errors) = counts;
        let health = health(Check::Passed, responses, response_errors, connection_errors);
        let captured = said.map(|what| Captured { age: Duration::ZERO, what });
        self.learn(&Round {
            servers: [(name, health)].into(),
            captured: Some(captured.into_iter().collect()),
            ..Round::default()
        })
    }

    fn response(&self, nonsense: Response) -> Message {
        Message::Response { server: self.servers("web").remove(0), nonsense }
    }

    fn hear(&mut self, container: &str, passed: bool) -> &mut Self {
        for (backend, server) in self.servers(container) {
            self.diagnosis.hear(&Checked { worker: 1, backend, server, passed }, self.now);
        }
        self
    }

    fn told(&self) -> Vec<String> {
        let Self { config, routes, memory, diagnosis, now } = self;
        let problems = diagnosis.problems(config, routes, memory, *now);
        problems.iter().map(ToString::to_string).collect()
    }

    /// Milliseconds until the next question.
    fn due(&self, hearing: Hearing) -> u128 {
        let due = self.diagnosis.due(hearing).unwrap();
        due.saturating_duration_since(self.now).as_millis()
    }
}

fn health(check: Check, responses: u64, response_errors: u64, connection_errors: u64) -> Health {
    Health { check, responses, response_errors, connection_errors }
}

fn failed(failure: Failure) -> Check {
    Check::Failed(failure)
}

/// What is told of a container whose check has failed in this way for long.
fn check(story: &str, failure: &Failure, expected: &[&str]) {
    let mut case = Case::of(story);
    let failed = failed(failure.clone());
    case.check("web", &failed).pass(FAILS_FOR).check("web", &failed);
    assert_eq!(case.told(), expected, "{story} {failure:?}");
    assert_eq!(case.check("web", &Check::Passed).told(), [""; 0], "{story} {failure:?}");
}

/// The story's containers expose 80, 3000 and 8080.
#[test]
fn failed_check_is_told_with_a_way_out() {
    let at = |port: u16, rest: &str| {
        format!("container web (00c0ffee0000): connection refused at 172.17.0.2:{port}; {rest}")
    };
    check(
        "web 172.17.0.2 glue_http_81_host=a.test",
        &Failure::Refused,
        &[&at(81, "the container exposes 80, 3000, 8080: is it glue_http_80_…?")],
    );
    check(
        "web 172.17.0.2 glue_http_80_host=a.test",
        &Failure::Refused,
        &[&at(
            80,
            "nothing listens on port 80 of the container, or it listens on 127.0.0.1 only and has to on \
             0.0.0.0; the container exposes 3000, 8080 too: is it glue_http_3000_…?",
        )],
    );
    // One port, however many routes lead there.
    check(
        "web 172.17.0.2 glue_http_81_host=a.test,b.test,c.test",
        &Failure::Refused,
        &[&at(81, "the container exposes 80, 3000, 8080: is it glue_http_80_…?")],
    );
    // On the host's network there is no other address.
    check(
        "web - host glue_http_80_host=a.test",
        &Failure::Refused,
        &[
            "container web (00c0ffee0000): connection refused at 127.0.0.1:80; nothing listens on port 80 of \
           the container; the container exposes 3000, 8080 too: is it glue_http_3000_…?",
        ],
    );
    let checked = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_check=/healthz";
    let told = |text: &str| format!("container web (00c0ffee0000): {text}");
    check(
        checked,
        &Failure::Status(404),
        &[&told(
            "GET /healthz is answered by 404 at 172.17.0.2:80; HAProxy's check wants 2xx or 3xx, so name a \
             path that gives one in glue_http_80_check, or check the connection alone (tcp)",
        )],
    );
    check(
        checked,
        &Failure::NoAnswer,
        &[&told(
            "GET /healthz is not answered in time at 172.17.0.2:80; HAProxy's check waits for 2 s at most, \
             so check a path that answers sooner, or the connection alone (tcp)",
        )],
    );
    check(
        checked,
        &Failure::NotHttp,
        &[&told(
            "GET /healthz at 172.17.0.2:80 is not answered by HTTP/1.1; the connection ends without an \
             answer, or another protocol is spoken there",
        )],
    );
    check(
        checked,
        &Failure::NoConnection,
        &[&told(
            "connections to 172.17.0.2:80 time out or find no route; is the machine gone, the network \
             another one (glue_network names it), or a firewall in between?",
        )],
    );
    check(
        checked,
        &Failure::Other("Connection reset".to_owned()),
        &[&told("HAProxy's check fails at 172.17.0.2:80: Connection reset")],
    );
    // Who is told to stop may refuse what it likes, and who is out gets no checks.
    check("web 172.17.0.2 leaving glue_http_80_host=a.test", &Failure::Refused, &[]);
    check("web 172.17.0.2 paused glue_http_80_host=a.test", &Failure::Refused, &[]);
}

#[test]
fn failing_check_is_a_problem_after_a_while() {
    let refused = failed(Failure::Refused);
    let mut case = Case::of("web 172.17.0.2 glue_http_80_host=a.test");
    case.check("web", &refused).pass(FAILS_FOR / 2).check("web", &refused);
    assert_eq!(case.told(), [""; 0]);
    // One that has begun to listen, and fails anew.
    case.check("web", &Check::Passed).pass(SECOND).check("web", &refused);
    assert_eq!(case.told(), [""; 0]);
    case.pass(FAILS_FOR);
    assert_eq!(case.told().len(), 1);
    // What comes next is told in its place.
    case.check("web", &failed(Failure::NoConnection));
    assert!(case.told()[0].contains("time out"), "{:?}", case.told());
    // A container that has gone takes along what was said of it.
    let Case { mut diagnosis, now, .. } = case;
    let other = Case::of("other 172.17.0.3 glue_http_80_host=a.test");
    diagnosis.follow(&other.config, ["a.test:80"], now);
    assert!(diagnosis.problems(&other.config, &other.routes, &other.memory, now).is_empty());
}

#[test]
fn requests_end_once_connections_have_timed_out_for_a_while() {
    let lost = |case: &mut Case| {
        let lost = case.diagnosis.lost(case.now);
        lost.into_iter().map(|it| (it.server.1, it.is_news)).collect::<Vec<_>>()
    };
    let timed_out = failed(Failure::NoConnection);
    let mut case = Case::of("web 172.17.0.2 glue_http_80_host=a.test");
    let server = case.servers("web").remove(0).1;
    case.check("web", &timed_out).pass(LOST_AFTER / 2).check("web", &timed_out);
    assert_eq!(lost(&mut case), []);
    case.pass(LOST_AFTER / 2).check("web", &timed_out);
    assert_eq!(lost(&mut case), [(server.clone(), true)]);
    // Those that came later, and are as lost.
    assert_eq!(lost(&mut case), []);
    case.pass(LOST_AFTER).check("web", &timed_out);
    assert_eq!(lost(&mut case), [(server, false)]);
    // One that refuses connections may well answer what it has.
    case.check("web", &failed(Failure::Refused)).pass(10 * LOST_AFTER);
    case.check("web", &failed(Failure::Refused));
    assert_eq!(lost(&mut case), []);
    case.check("web", &timed_out);
    assert_eq!(lost(&mut case), []);
    // One that is back has them all.
    case.pass(LOST_AFTER).check("web", &Check::Passed);
    assert_eq!(lost(&mut case), []);
}

#[test]
fn quiet_system_is_left_alone() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test\nwww 172.17.0.3 glue_http_80_host=b.test";
    let deaf = Hearing::Deaf { servers: 2 };
    let mut case = Case::of(story);
    // New servers are asked about soon, unless their checks are heard to pass.
    assert_eq!(case.due(Hearing::Heard), 1000);
    let asked = |backends: &[&str]| Question {
        backends: Some(backends.iter().map(ToString::to_string).collect()),
        refusals: None,
    };
    assert_eq!(case.diagnosis.question(Hearing::Heard), asked(&["a.test:80", "b.test:80"]));
    case.hear("web", true);
    assert_eq!(case.diagnosis.question(Hearing::Heard), asked(&["b.test:80"]));
    case.check("www", &Check::Passed);
    assert_eq!(case.due(Hearing::Heard), 30000);
    assert_eq!(case.due(deaf), 5000);
    assert_eq!(case.due(Hearing::Deaf { servers: 5000 }), 15000);
    // What is heard to fail is asked about at once, then often, then less so, and when it is heard to pass.
    case.hear("web", false);
    assert_eq!(case.due(Hearing::Heard), 100);
    case.check("web", &failed(Failure::Refused));
    assert_eq!(case.due(Hearing::Heard), 1000);
    case.pass(Duration::from_secs(20)).check("web", &failed(Failure::Refused));
    assert_eq!(case.due(Hearing::Heard), 5000);
    case.hear("web", true);
    assert_eq!(case.due(Hearing::Heard), 100);
    case.check("web", &Check::Passed);
    assert_eq!(case.due(Hearing::Heard), 30000);
    // Who looks has it asked, but not twice a second.
    assert!(case.diagnosis.is_fresh(case.now));
    case.pass(SECOND);
    assert!(!case.diagnosis.is_fresh(case.now));
    case.diagnosis.hurry(case.now);
    assert_eq!(case.due(Hearing::Heard), 0);
    case.diagnosis.unanswered(case.now);
    assert_eq!(case.due(Hearing::Heard), 30000);
    // Who is not heard is asked about all.
    assert_eq!(case.diagnosis.question(deaf).backends, None);
}

#[test]
fn many_that_fail_are_asked_about_at_once_and_less_often() {
    use std::fmt::Write as _;
    let story = (0..500).fold(String::new(), |mut story, n| {
        writeln!(story, "web{n} 172.17.{}.{} glue_http_80_host=h{n}.test", n / 250, n % 250 + 2)
            .unwrap();
        story
    });
    let mut case = Case::of(&story);
    assert_eq!(case.diagnosis.question(Hearing::Heard).backends, None);
    case.check("web", &failed(Failure::Refused));
    assert_eq!(case.due(Hearing::Heard), 1500);
}

const WEB: &str = "web 172.17.0.2 glue_http_80_host=a.test";

#[test]
fn response_that_is_none_is_told_until_better_ones_came() {
    let bad = "container web (00c0ffee0000): a request to 172.17.0.2:80 was answered by 502, as its \
               response is no HTTP/1.1: ";
    for (nonsense, expected) in [
        (
            Response::Http2,
            "the container speaks HTTP/2 only (gRPC, h2c); have it take HTTP/1.1 too, as HAProxy asks so",
        ),
        (
            Response::Tls,
            "the container speaks TLS; have it serve plain HTTP, or name the port where it does",
        ),
        (
            Response::Other("SSH-2.0-OpenSSH_".to_owned()),
            "it begins with \"SSH-2.0-OpenSSH_\"; is another port the right one?",
        ),
        (Response::Header("Bad".to_owned()), "its header field \"Bad\" is malformed"),
        (Response::StatusLine, "its first line is malformed"),
        (Response::Body, "its body is not as its header says"),
    ] {
        let mut case = Case::of(WEB);
        let said = Some(case.response(nonsense));
        case.count((7, 0, 0), None).pass(SECOND).count((7, 1, 0), said.clone());
        assert_eq!(case.told(), [format!("{bad}{expected}")]);
        // It stays for as long as there are no better ones, and a while.
        case.pass(Duration::from_hours(1)).count((7, 1, 0), said.clone());
        assert_eq!(case.told().len(), 1);
        case.count((8, 1, 0), said.clone());
        assert_eq!(case.told(), [""; 0]);
        // HAProxy still has what was made up for.
        case.pass(SECOND).count((9, 1, 0), said.clone());
        assert_eq!(case.told(), [""; 0]);
        // Again, by another worker.
        case.pass(SECOND).count((0, 2, 0), said.clone());
        assert_eq!(case.told().len(), 1);
        case.pass(SECOND).count((1, 2, 0), said.clone());
        assert_eq!(case.told().len(), 1);
        case.pass(10 * SECOND).count((1, 2, 0), said);
        assert_eq!(case.told(), [""; 0]);
    }
}

#[test]
fn response_that_never_came_is_told() {
    let told = "container web (00c0ffee0000): a request to 172.17.0.2:80 was answered by 502 or 504, as the \
                container ended the connection or let time pass (glue_http_…_timeout says how much it has); \
                its own log may say why";
    let mut case = Case::of(WEB);
    case.count((0, 0, 0), None).count((0, 1, 0), None);
    assert_eq!(case.told(), [told]);
    // Of one that has answered before it takes two, with none that was well in between.
    let mut case = Case::of(WEB);
    case.count((7, 0, 0), None).count((7, 1, 0), None);
    assert_eq!(case.told(), [""; 0]);
    case.count((7, 2, 0), None);
    assert_eq!(case.told(), [told]);
    // What HAProxy keeps of one before is not said of it.
    let mut case = Case::of(WEB);
    let old = Captured { age: Duration::from_mins(1), what: case.response(Response::Tls) };
    case.count((0, 0, 0), None).pass(SECOND);
    let servers = [(case.servers("web").remove(0), health(Check::Passed, 0, 1, 0))].into();
    case.learn(&Round { servers, captured: Some(vec![old]), ..Round::default() });
    assert_eq!(case.told(), [told]);
    // One among many that are well is nobody's concern.
    let mut case = Case::of(WEB);
    case.count((7, 1, 0), None).count((90, 2, 0), None);
    assert_eq!(case.told(), [""; 0]);
}

#[test]
fn connection_that_failed_is_told_where_no_check_tells() {
    let mut case = Case::of(WEB);
    case.count((0, 0, 0), None).count((0, 0, 3), None);
    assert_eq!(case.told(), [""; 0]);
    let mut case = Case::of(&format!("{WEB} glue_http_80_check=off"));
    case.count((0, 0, 0), None).count((0, 0, 3), None);
    let told = "container web (00c0ffee0000): a request got no connection to 172.17.0.2:80 and was answered by \
                503, and its check is off; nothing listens on port 80 of the container, or it listens on \
                127.0.0.1 only and has to on 0.0.0.0; the container exposes 3000, 8080 too: is it \
                glue_http_3000_…?";
    assert_eq!(case.told(), [told]);
}

/// What a check met with is kept by HAProxy too, and is told of the check.
#[test]
fn answer_to_a_check_that_is_no_http_is_named() {
    let case = Case::of(&format!("{WEB} glue_http_80_check=/x"));
    let name = case.servers("web").remove(0);
    let said = case.response(Response::Http2);
    let told = "container web (00c0ffee0000): GET /x at 172.17.0.2:80 is not answered by HTTP/1.1: the \
                container speaks HTTP/2 only (gRPC, h2c); have it take HTTP/1.1 too, as HAProxy asks so";
    // Releases of HAProxy have different failures for it.
    for failure in [Failure::NotHttp, Failure::NoAnswer, Failure::Other("SOCKERR".to_owned())] {
        let mut case = Case::of(&format!("{WEB} glue_http_80_check=/x"));
        let round = Round {
            servers: [(name.clone(), health(failed(failure), 0, 0, 0))].into(),
            captured: Some(vec![Captured { age: Duration::ZERO, what: said.clone() }]),
            ..Round::default()
        };
        case.learn(&round).pass(FAILS_FOR).learn(&round);
        assert_eq!(case.told(), [told]);
    }
}

#[test]
fn request_that_is_none_is_a_hint_of_its_listener() {
    let mut case = Case::of(WEB);
    let request = |nonsense, client: &str| Captured {
        age: SECOND,
        what: Message::Request {
            frontend: "http-80".to_owned(),
            client: Some(client.parse().unwrap()),
            nonsense,
        },
    };
    let round = |captured| Round {
        frontends: BTreeMap::from([("http-80".to_owned(), Refusals::default())]),
        captured: Some(captured),
        ..Round::default()
    };
    case.learn(&round(vec![request(Request::Tls, "192.0.2.1")]));
    // The same from another client is nothing new.
    case.learn(&round(vec![request(Request::Tls, "192.0.2.2")]));
    case.learn(&round(vec![request(Request::Target, "2001:db8::1")]));
    let told = |what: &str, client: &str| {
        format!(
            "listener http :80: a request was answered by 400, as it is no HTTP/1.1: {what} (the first one \
             from {client})"
        )
    };
    let expected = [
        told("it was TLS, and this port takes http:// only", "192.0.2.1"),
        told(
            "its path has a character (a space, #, or one beyond ASCII) that the client has to write as %XX",
            "2001:db8::1",
        ),
    ];
    assert_eq!(case.told(), expected);
    let Case { config, routes, memory, diagnosis, now } = &case;
    let problems = diagnosis.problems(config, routes, memory, *now);
    assert!(problems.iter().all(|it| it.reason.severity() == Severity::Hint));
    case.pass(Duration::from_mins(11)).learn(&round(Vec::new()));
    assert_eq!(case.told(), [""; 0]);
}
