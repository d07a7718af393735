//! Random routes and requests, the same in each run.

use super::{answerer::container_address, asker::DrawnRequest};
use crate::common::story;
use docker_glue::{
    haproxy::config::Server,
    model::{
        option_value::{HostMatch, PathRule},
        route::{RouteKey, Routes},
    },
    routing::decide::{DecideState, decide},
};
use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};
use std::{fmt::Write as _, time::Instant};

/// The maximum number of containers that listen. Containers from this number on do not listen.
pub(crate) const MOST_CONTAINERS: usize = 450;
/// The number of routes with one container that listens and one that does not.
const HALF_DEAD: usize = 12;
/// The number of containers that have just been removed.
const GONE: usize = 25;

const HOSTS: [&str; 16] = [
    "app.example.com",
    "api.example.com",
    "a.b.example.com",
    "example.com",
    "a.test",
    "x.a.test",
    "under_score.test",
    "bücher.test",
    "xn--bcher-kva.test",
    "10.0.0.1",
    "local",
    "*.example.com",
    "*.b.example.com",
    "*.a.test",
    "*.test",
    "*.0.0.1",
];

const SEGMENTS: [&str; 28] = [
    "api", "API", "apiary", "ap", "v1", "v2", "app", "x", "y", "%61pi", "%2F", "%2f", "a;b", "a'b",
    "$x", "(y)", "~u", "a=b", "a+b", "a@b", "a:b", "a*b", "a!b", "a&b", "...", "a.b", "_", "-",
];

/// What follows a prefix in a path. Some of these do not begin a new segment.
const TAILS: [&str; 44] = [
    "",
    "",
    "/",
    "//",
    "/x",
    "/x/y/",
    "//x",
    "x",
    ".",
    "%20",
    "?",
    "?q=1",
    "?/a?b",
    "/?a=/b",
    "/../z",
    "/./z",
    "/%2e%2e/z",
    "/..",
    "/../..",
    "/.%2E/api",
    "/..;x/api",
    "/..%2fapi",
    "/..%5Capi",
    "/x/y/../../z/../api",
    "/1/2/3/4/5/6/7/8/9/../../../../../../../../../api",
    "//../api",
    "/.",
    ";p=1/x",
    ";p=%2Fx/api",
    "%3Bp/x",
    "/caf%c3%a9/%7e%2C",
    "/%25%32%65",
    "/%zz",
    "/%4",
    "/%00",
    "/%2F",
    "/;p=1",
    "/a|b",
    "/{x}",
    "/\"q\"",
    "/<x>",
    "/^`",
    "/\\x",
    "/a/b/c/d/e/f/g/h/i/j/k/l",
];

/// Options that act on requests, whose client is 127.0.0.1. One of the networks does not exist.
const FEATURES: [(&str, &[&str]); 14] = [
    ("backup", &["1"]),
    ("check_interval", &["500ms", "1m"]),
    ("allow", &["private", "127.0.0.0/8", "10.0.0.0/8", "127.0.0.1,10.1.2.3", "nowhere"]),
    ("deny", &["127.0.0.1", "192.168.0.0/16", "127.7.0.0/16"]),
    ("redirect", &["https", "https://new.test", "http://new.test:8080", "https://new.test/x?y=1"]),
    ("redirect_status", &["301", "308"]),
    ("add_prefix", &["/in", "/in/side"]),
    ("response_header_X-Test", &["a;b", "%[src]"]),
    ("request_header_X-Test", &["1"]),
    ("max_body", &["1k"]),
    // No such container: the route answers 503.
    ("forward_auth", &["http://nowhere:9091/"]),
    ("log", &["off"]),
    ("sticky", &["cookie"]),
    ("cors", &["https://a.test", "*"]),
];

#[derive(Debug)]
pub(crate) struct Drawn(TestRng);

pub(crate) fn is_dead(server: &Server) -> bool {
    server.name.starts_with("dead")
}

impl Drawn {
    pub(crate) fn new() -> Self {
        Self(TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, all: usize) -> bool {
        self.below(all) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Returns the story before and the current one, which has at least that many routes.
    pub(crate) fn stories(&mut self, port: u16, routes: usize) -> (String, String) {
        let mut now = String::new();
        let mut number = 0;
        while number < HALF_DEAD {
            let labels =
                format!("glue_http_{port}_bind=80 glue_http_{port}_host=half{number}.test");
            writeln!(now, "half{number} {} {labels}", container_address(number)).unwrap();
            writeln!(now, "dead{number} {} {labels}", container_address(MOST_CONTAINERS + number))
                .unwrap();
            number += 1;
        }
        let mut before = now.clone();
        for _ in 0..GONE {
            writeln!(before, "gone{number} {} {}", container_address(number), self.labels(port))
                .unwrap();
            number += 1;
        }
        loop {
            for _ in 0..10 {
                let (address, state) = (container_address(number), self.state());
                let line = format!("c{number} {address} {state} {}", self.labels(port));
                writeln!(now, "{line}").unwrap();
                number += 1;
            }
            assert!(number < MOST_CONTAINERS, "too few containers");
            let decided = decide(
                &story::parse_world(&now),
                DecideState::default(),
                Instant::now(),
                &story::default_rules(),
            );
            if routes <= decided.routes.0.len() {
                return (before, now);
            }
        }
    }

    fn state(&mut self) -> &'static str {
        self.of(&[
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "healthy",
            "paused",
            "leaving",
            "unhealthy",
            "starting",
        ])
    }

    fn labels(&mut self, port: u16) -> String {
        let bind = self.of(&["80", "80,8080", "9000"]);
        let mut labels = format!("glue_http_{port}_bind={bind}");
        let hosts: Vec<_> = (0..=self.below(2)).map(|_| self.host()).collect();
        let prefixes: Vec<_> = (0..=self.below(2)).map(|_| self.prefix()).collect();
        let (no_host, no_prefix) = (self.one_in(8), self.one_in(5));
        // A route for every request would prevent any 404 on its port.
        if no_host && no_prefix && bind == "9000" {
            write!(labels, " glue_http_ports={port}").unwrap();
        } else if no_host {
            write!(labels, " glue_http_{port}_prefix={}", prefixes.join(",")).unwrap();
        } else {
            write!(labels, " glue_http_{port}_host={}", hosts.join(",")).unwrap();
        }
        if !no_host && !no_prefix {
            write!(labels, " glue_http_{port}_prefix={}", prefixes.join(",")).unwrap();
        }
        if !no_host && self.one_in(3) {
            let slash = self.of(&["", "", "/"]);
            let paths =
                [self.prefix() + slash, self.of(&["/", "/api", "/x/y", "/%61pi/"]).to_owned()];
            write!(labels, " glue_http_{port}_path={}", paths.join(",")).unwrap();
        }
        for (key, values) in [
            ("strip_prefix", &["yes", "yes", "no", "/api"][..]),
            ("weight", &["0", "1", "25", "256"]),
            ("health", &["require", "ignore"]),
            ("retry", &["all", "off"]),
            ("timeout", &["5s", "2m"]),
            ("check", &["off", "/well"]),
        ] {
            if self.one_in(3) {
                write!(labels, " glue_http_{port}_{key}={}", self.of(values)).unwrap();
            }
        }
        for (key, values) in FEATURES {
            if self.one_in(8) {
                write!(labels, " glue_http_{port}_{key}={}", self.of(values)).unwrap();
            }
        }
        labels
    }

    fn host(&mut self) -> String {
        match self.below(3) {
            0 => format!("h{}.example.com", self.below(60)),
            _ => self.of(&HOSTS).to_owned(),
        }
    }

    /// Returns a prefix. Short ones are frequent, so that one is often the beginning of another.
    fn prefix(&mut self) -> String {
        let most = self.of(&[1, 1, 2, 2, 3, 8]);
        let segment = |this: &mut Self| if this.one_in(2) { "api" } else { this.of(&SEGMENTS) };
        let mut prefix = String::new();
        for _ in 0..=self.below(most) {
            prefix.extend(["/", segment(self)]);
        }
        prefix
    }

    /// Returns a request. Most are for an existing route, or nearly so.
    pub(crate) fn request(&mut self, routes: &Routes) -> DrawnRequest {
        let at = self.below(routes.0.len());
        let key = routes.0.keys().nth(at).unwrap();
        let absolute = self.one_in(12);
        let host_port = self.of(&["", "", "", "", ":", ":80", ":8080", ":65535"]).to_owned();
        let (host, path) = (self.requested_host(key), self.requested_path(key));
        let port = if self.one_in(10) { self.other_port(routes) } else { key.listener.port };
        let path = if absolute && self.one_in(6) { String::new() } else { path };
        let method = self.of(&["GET", "GET", "GET", "POST", "DELETE", "OPTIONS", "PROPFIND"]);
        let mut headers = Vec::new();
        if method == "OPTIONS" || self.one_in(8) {
            headers.extend([self.of(&["Origin: https://a.test", "Origin: https://evil.test"])]);
            let is_preflight = self.one_in(2);
            headers.extend(is_preflight.then_some("Access-Control-Request-Method: PUT"));
        }
        DrawnRequest { method, port, host, host_port, path, absolute, headers }
    }

    fn other_port(&mut self, routes: &Routes) -> std::num::NonZeroU16 {
        let at = self.below(routes.0.len());
        routes.0.keys().nth(at).unwrap().listener.port
    }

    fn requested_host(&mut self, key: &RouteKey) -> String {
        let own = match key.host() {
            HostMatch::Exact(host) => host.to_string(),
            HostMatch::Any => self.host().replace("*.", "").replace('ü', "xn--"),
            HostMatch::Wildcard(above) => {
                let label = self.of(&["w", "w", "any-1", "app", "two.labels"]);
                if self.one_in(12) { above.to_string() } else { format!("{label}.{above}") }
            }
        };
        let host = match self.below(16) {
            0 => format!("sub.{own}"),
            1 => own.split_once('.').map_or(own.clone(), |(_, remaining)| remaining.to_owned()),
            2 => self
                .of(&[
                    "nobody.test",
                    "no.where",
                    "127.0.0.1",
                    "x",
                    "_",
                    "app.example.com.evil.test",
                ])
                .to_owned(),
            3 => format!(".{own}"),
            4 => own.replacen('.', "..", 1),
            _ => own,
        };
        let host = if self.one_in(4) { self.in_capitals(&host) } else { host };
        let dots = self.of(&["", "", "", "", ".", ".."]);
        format!("{host}{dots}")
    }

    pub(crate) fn in_capitals(&mut self, text: &str) -> String {
        text.chars().map(|c| if self.one_in(2) { c.to_ascii_uppercase() } else { c }).collect()
    }

    /// Returns another spelling of the prefix. HAProxy normalizes most of them to the prefix.
    fn in_another_spelling(&mut self, prefix: &str) -> String {
        let between = self.of(&["/", "//", "/./", "/x/../", "/%2e/", "/;/", "%2F", "%2f%2F", "\\"]);
        let mut path = prefix.replacen('/', between, 1 + self.below(2));
        if self.one_in(3) && !path.contains('%') {
            let at = self.below(path.len().max(1));
            let coded = path.as_bytes().get(at).map_or_else(String::new, |c| format!("%{c:02x}"));
            path.replace_range(at..path.len().min(at + 1), &coded);
        }
        if self.one_in(4) { format!("{path};v=1") } else { path }
    }

    fn requested_path(&mut self, key: &RouteKey) -> String {
        let prefix = key.path().map_or_else(String::new, PathRule::to_string);
        let prefix = prefix.as_str();
        let base = match self.below(14) {
            0 => prefix.rsplit_once('/').map_or("", |(shorter, _)| shorter).to_owned(),
            1 => self.in_capitals(prefix),
            2 => format!("/{prefix}"),
            3 => self.prefix(),
            4 => prefix.replacen("api", "%61pi", 1),
            5 => format!("{prefix}{}", self.prefix()),
            6 | 7 => self.in_another_spelling(prefix),
            _ => prefix.to_owned(),
        };
        // Of an exact path, most requests have no tail.
        let is_exact = key.path().is_some_and(PathRule::is_exact) && !self.one_in(3);
        let path = if is_exact { base } else { format!("{base}{}", self.of(&TAILS)) };
        if path.starts_with('/') { path } else { format!("/{path}") }
    }
}
