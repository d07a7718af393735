//! Finds out why servers are down, and which messages were not HTTP: compares HAProxy's answers with the containers.
//!
//! Pure: takes answers, and returns problems and the time of the next query.
//!
//! Servers that are not known to be up are queried: new ones until a check has succeeded, and those whose checks fail.
//! HAProxy reports a failed check by itself, but only to the process that started it; without these reports all servers
//! are queried every few seconds. The error counts of clients' requests are queried every half minute, and when a user
//! asks for the status.

use crate::{
    haproxy::{
        config::{AdminState, Config},
        health::{
            CapturedMessage, CheckFailure, CheckResult, FrontendErrorCounts, HealthReport,
            InvalidMessage, ServerHealth, ServerKey,
        },
        name,
        stderr_log::CheckResultChange,
    },
    model::{
        backend_tls::Verification,
        container::Container,
        malformed_http, option_value,
        problem::{Problem, ProblemSubject, Reason},
        problem_set::ProblemSet,
        route::{Endpoint, Listener, Policy, Routes},
    },
    routing::decide::DecideState,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long a check fails before that is a problem: a container that was just started may not listen yet.
pub const FAILURE_DELAY: Duration = Duration::from_secs(5);
/// How long connections time out before the requests that a server already has are ended: its machine is lost, and
/// would answer none of them.
pub const LOST_DELAY: Duration = Duration::from_secs(2);
/// A server that changed more recently than this is queried at the fast interval.
const RECENT_CHANGE: Duration = Duration::from_secs(15);
const FAST_INTERVAL: Duration = Duration::from_secs(1);
const SLOW_INTERVAL: Duration = Duration::from_secs(5);
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// HAProxy often reports several servers at once, so a query waits for this long.
const REPORT_DELAY: Duration = Duration::from_millis(100);
/// Minimum interval per queried server, so that queries take at most a thousandth of the time.
const TIME_PER_SERVER: Duration = Duration::from_millis(3);
/// With more backends than this, all servers are queried at once.
const MAX_QUERIED_BACKENDS: usize = 16;
/// A server without a check result for this long has no checks.
const NO_CHECK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an invalid message is reported after its last occurrence.
const MALFORMED_TTL: Duration = Duration::from_mins(10);
/// A fault older than this is cleared by a valid response.
const FAULT_TTL: Duration = Duration::from_secs(10);

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// Servers that are not known to be up.
    suspects: BTreeMap<ServerKey, Suspect>,
    /// Servers that sent an invalid response or none.
    faults: BTreeMap<ServerKey, ServerFault>,
    /// Invalid requests from clients of a frontend.
    client_faults: BTreeMap<(String, malformed_http::MalformedRequest), ClientFault>,
    /// From the last query; `None` before the first.
    frontend_errors: Option<BTreeMap<String, FrontendErrorCounts>>,
    /// Last counts of servers that have counted errors.
    last_counts: BTreeMap<ServerKey, ServerHealth>,
    queried_at: Option<Instant>,
    /// The next query is not later than this.
    query_by: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Suspect {
    since: Instant,
    failing: Option<FailingCheck>,
}

#[derive(Debug, Clone)]
struct FailingCheck {
    since: Instant,
    failure: CheckFailure,
    /// The server's invalid response to the check.
    malformed: Option<malformed_http::MalformedResponse>,
    /// When connections began to time out; `None` if the last check had another result.
    unreachable_since: Option<Instant>,
    /// When the server's requests were last ended.
    ended_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct ServerFault {
    what: FaultKind,
    /// When it last occurred.
    at: Instant,
    /// How many valid responses the server had sent by then.
    responses: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FaultKind {
    MalformedResponse(malformed_http::MalformedResponse),
    NoResponse,
    NoConnection,
}

#[derive(Debug, Clone, Copy)]
struct ClientFault {
    /// The first client that sent it.
    client: Option<IpAddr>,
    at: Instant,
}

/// A server to which connections have timed out for so long that its requests have to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostServer {
    pub server: ServerKey,
    /// Whether the server was not lost before.
    pub is_new: bool,
    pub cause: LossCause,
}

/// Why a server counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// Connections to it time out.
    Timeouts,
    /// Its checks fail, and its machine shows no sign of life.
    Machine,
}

/// What to query from HAProxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthQuery {
    /// Backends whose servers are queried; `None` means all.
    pub backends: Option<BTreeSet<String>>,
    /// Known error counts of the frontends: if HAProxy's differ, everything is queried.
    pub frontend_errors: Option<BTreeMap<String, FrontendErrorCounts>>,
}

/// Whether HAProxy reports failed checks by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckReporting {
    Pushed,
    /// No, so this many servers are queried instead.
    Polled {
        servers: usize,
    },
}

impl Diagnosis {
    /// Records that the servers of these backends have changed, or may have.
    pub fn update_backends<'a>(
        &mut self,
        config: &Config,
        changed: impl IntoIterator<Item = &'a str>,
        now: Instant,
    ) {
        for name in changed {
            let servers =
                config.backends.get(name).map(|backend| &backend.servers[..]).unwrap_or_default();
            for server in servers.iter().filter(|server| server.check_mode.is_checked()) {
                let name = (name.to_owned(), server.name.clone());
                self.suspects.entry(name).or_insert(Suspect { since: now, failing: None });
                self.schedule_by(now + FAST_INTERVAL);
            }
        }
        self.remove_unknown(config);
    }

    /// Records a check result that HAProxy reported by itself.
    pub fn on_check_result(&mut self, change: &CheckResultChange, now: Instant) {
        let name = (change.backend.clone(), change.server.clone());
        match (self.suspects.get(&name), change.passed) {
            (None, true) => {}
            (Some(Suspect { failing: None, .. }), true) => drop(self.suspects.remove(&name)),
            (Some(_), true) => self.schedule_by(now + REPORT_DELAY),
            (suspect, false) => {
                if suspect.is_none() {
                    self.suspects.insert(name, Suspect { since: now, failing: None });
                }
                self.schedule_by(now + REPORT_DELAY);
            }
        }
    }

    /// Requests a query at once, because a user asks for the status.
    pub fn request_now(&mut self, now: Instant) {
        self.schedule_by(now);
    }

    fn schedule_by(&mut self, at: Instant) {
        self.query_by = Some(self.query_by.map_or(at, |query_by| query_by.min(at)));
    }

    /// Whether HAProxy was queried in the last second, and no query is due.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.query_by.is_none()
            && self.queried_at.is_some_and(|queried_at| now < queried_at + FAST_INTERVAL)
    }

    /// Returns the time of the next query; `None` before anything is served.
    pub fn next_query_at(&self, reporting: CheckReporting) -> Option<Instant> {
        let next = self
            .queried_at
            .map(|queried_at| queried_at + self.query_interval(queried_at, reporting));
        [next, self.query_by].into_iter().flatten().min()
    }

    fn query_interval(&self, queried_at: Instant, reporting: CheckReporting) -> Duration {
        let is_recent = |suspect: &Suspect| {
            let failing = suspect.failing.as_ref();
            let since = failing
                .map_or(suspect.since, |check| check.unreachable_since.unwrap_or(check.since));
            queried_at < since + RECENT_CHANGE
        };
        let many =
            |servers: usize| TIME_PER_SERVER.saturating_mul(servers.try_into().unwrap_or(u32::MAX));
        let of_suspects = many(self.suspects.len());
        if self.suspects.values().any(is_recent) {
            FAST_INTERVAL.max(of_suspects)
        } else if !self.suspects.is_empty() || !self.faults.is_empty() {
            SLOW_INTERVAL.max(of_suspects)
        } else {
            match reporting {
                CheckReporting::Pushed => IDLE_INTERVAL,
                CheckReporting::Polled { servers } => {
                    SLOW_INTERVAL.max(many(servers)).min(IDLE_INTERVAL)
                }
            }
        }
    }

    pub fn next_query(&self, reporting: CheckReporting) -> HealthQuery {
        let queried = self.suspects.keys().chain(self.faults.keys());
        let backends: BTreeSet<_> = queried.map(|(backend, _)| backend.clone()).collect();
        let all = MAX_QUERIED_BACKENDS < backends.len() || reporting != CheckReporting::Pushed;
        HealthQuery {
            backends: (!all).then_some(backends),
            frontend_errors: self.frontend_errors.clone(),
        }
    }

    /// Records that HAProxy did not answer the query.
    pub fn on_no_answer(&mut self, now: Instant) {
        (self.queried_at, self.query_by) = (Some(now), None);
    }

    pub fn apply_report(&mut self, report: &HealthReport, config: &Config, now: Instant) {
        let captured = report.captures.as_deref().unwrap_or_default();
        for (name, health) in &report.servers {
            self.apply_check(name, &health.check, captured, now);
            self.apply_counts(name, health, captured, now);
        }
        (self.queried_at, self.query_by) = (Some(now), None);
        self.suspects.retain(|_, suspect| {
            suspect.failing.is_some() || now < suspect.since + NO_CHECK_TIMEOUT
        });
        self.apply_captures(captured, now);
        self.frontend_errors = Some(report.frontends.clone());
        self.remove_unknown(config);
    }

    fn apply_check(
        &mut self,
        name: &ServerKey,
        check: &CheckResult,
        captured: &[CapturedMessage],
        now: Instant,
    ) {
        let failure = match check {
            CheckResult::None => return,
            CheckResult::Passed => return drop(self.suspects.remove(name)),
            CheckResult::Failed(failure) => failure.clone(),
        };
        let response = find_response(captured, name);
        let failure = match (failure, response) {
            (CheckFailure::Timeout | CheckFailure::Other(_), Some((age, _))) if age < FAULT_TTL => {
                CheckFailure::NotHttp
            }
            (failure, _) => failure,
        };
        let suspect =
            self.suspects.entry(name.clone()).or_insert(Suspect { since: now, failing: None });
        let before = suspect.failing.take();
        let before = before.as_ref();
        let unreachable_since = match failure {
            CheckFailure::Unreachable => {
                before.and_then(|check| check.unreachable_since).or(Some(now))
            }
            _ => None,
        };
        let malformed = match failure {
            CheckFailure::NotHttp => {
                let response = response.map(|(_, response)| response.clone());
                response.or_else(|| before.and_then(|check| check.malformed.clone()))
            }
            _ => None,
        };
        let since = before.map_or(now, |check| check.since);
        let ended_at = before.and_then(|check| check.ended_at);
        suspect.failing =
            Some(FailingCheck { since, failure, malformed, unreachable_since, ended_at });
    }

    /// Records requests that got no valid response since the last query.
    fn apply_counts(
        &mut self,
        name: &ServerKey,
        health: &ServerHealth,
        captured: &[CapturedMessage],
        now: Instant,
    ) {
        let before = self.last_counts.get(name);
        let is_new = |of: fn(&ServerHealth) -> u64| {
            let count = of(health);
            0 < count && before.map(of) != Some(count)
        };
        // An error of an earlier run is only reported if its cause is known.
        let has_no_success = self.frontend_errors.is_some()
            && (health.responses == 0
                || before.is_some_and(|server_health| server_health.responses == health.responses));
        // HAProxy keeps the last invalid message, which may be older than the new errors.
        let until = self
            .queried_at
            .map_or(MALFORMED_TTL, |queried_at| now.duration_since(queried_at) + FAST_INTERVAL);
        let malformed = find_response(captured, name).filter(|(age, _)| *age < until);
        let fault = match malformed {
            _ if is_new(|health| health.connection_errors)
                && has_no_success
                && name::is_unchecked(&name.1) =>
            {
                Some((FaultKind::NoConnection, Duration::ZERO))
            }
            _ if !is_new(|health| health.response_errors) => None,
            Some((age, what)) => Some((FaultKind::MalformedResponse(what.clone()), age)),
            None => has_no_success.then_some((FaultKind::NoResponse, Duration::ZERO)),
        };
        if before.is_some() || 0 < health.response_errors + health.connection_errors {
            self.last_counts.insert(name.clone(), health.clone());
        }
        let responses = health.responses;
        if let Some((what, age)) = fault {
            let at = now.checked_sub(age).unwrap_or(now);
            self.faults.insert(name.clone(), ServerFault { what, at, responses });
        } else if let Some(fault) = self.faults.get(name)
            && fault.responses != responses
            && fault.at + FAULT_TTL < now
        {
            self.faults.remove(name);
        }
    }

    fn apply_captures(&mut self, captured: &[CapturedMessage], now: Instant) {
        for message in captured.iter().filter(|message| message.age < MALFORMED_TTL) {
            let InvalidMessage::Request { frontend, client, malformed } = &message.message else {
                continue;
            };
            let at = now.checked_sub(message.age).unwrap_or(now);
            let first = ClientFault { client: *client, at };
            self.client_faults.entry((frontend.clone(), *malformed)).or_insert(first).at = at;
        }
        self.client_faults.retain(|_, fault| now < fault.at + MALFORMED_TTL);
    }

    /// Removes servers and frontends that no longer exist, and servers that get no requests.
    fn remove_unknown(&mut self, config: &Config) {
        let is_there = |(backend, server): &ServerKey| {
            let servers = config.backends.get(backend).map(|backend| &backend.servers);
            let mut servers = servers.into_iter().flatten();
            servers.any(|s| s.name == *server && s.admin == AdminState::Ready)
        };
        self.suspects.retain(|name, _| is_there(name));
        self.faults.retain(|name, _| is_there(name));
        self.last_counts.retain(|name, _| is_there(name));
        let frontends = &config.frontends;
        self.client_faults
            .retain(|(name, _), _| frontends.iter().any(|frontend| frontend.name == *name));
    }

    /// Returns the servers whose requests have to be ended now: connections time out, or checks fail and the source says
    /// that the machine is lost. A server that continues so is returned again, because of the requests that have arrived
    /// in the meantime.
    pub fn take_lost_servers(&mut self, now: Instant, memory: &DecideState) -> Vec<LostServer> {
        let is_on_lost_machine = |(_, server): &ServerKey| {
            let id = name::parse_container_port(server).map(|(id, _)| id);
            id.and_then(|id| memory.find_container(id)).is_some_and(|container| container.is_lost)
        };
        let mut lost = Vec::new();
        for (server, suspect) in &mut self.suspects {
            let Some(failing) = &mut suspect.failing else { continue };
            let is_due = |since: Instant| since + LOST_DELAY <= now;
            let is_lost = failing.unreachable_since.is_some_and(is_due)
                || is_due(failing.since) && is_on_lost_machine(server);
            if is_lost && failing.ended_at.is_none_or(is_due) {
                let is_new = failing.ended_at.replace(now).is_none();
                let times_out = failing.unreachable_since.is_some();
                let cause = if times_out { LossCause::Timeouts } else { LossCause::Machine };
                lost.push(LostServer { server: server.clone(), is_new, cause });
            }
        }
        lost
    }

    /// Returns the problems to report.
    pub fn problems(
        &self,
        config: &Config,
        routes: &Routes,
        memory: &DecideState,
        now: Instant,
    ) -> ProblemSet {
        let resolver = NameResolver { config, routes, memory };
        let failing = self.suspects.iter().filter_map(|(name, suspect)| {
            let failing =
                suspect.failing.as_ref().filter(|check| check.since + FAILURE_DELAY <= now)?;
            resolver.build_problem(name, |server| server.check_reason(failing))
        });
        let faults = self.faults.iter();
        let faults = faults.filter_map(|(name, fault)| {
            resolver.build_problem(name, |server| server.fault_reason(fault))
        });
        let requests = self.client_faults.iter().filter_map(|((frontend, what), fault)| {
            let listener = resolver.find_listener(frontend)?;
            let reason = Reason::BadRequest { what: *what, client: fault.client };
            Some(Problem { subject: ProblemSubject::Listener(listener), label: None, reason })
        });
        failing.chain(faults).chain(requests).collect()
    }
}

/// Returns the server's latest invalid response.
fn find_response<'a>(
    captured: &'a [CapturedMessage],
    name: &ServerKey,
) -> Option<(Duration, &'a malformed_http::MalformedResponse)> {
    captured.iter().find_map(|message| match &message.message {
        InvalidMessage::Response { server, malformed } if server == name => {
            Some((message.age, malformed))
        }
        _ => None,
    })
}

/// Resolves HAProxy's names to containers and listeners.
struct NameResolver<'a> {
    config: &'a Config,
    routes: &'a Routes,
    memory: &'a DecideState,
}

/// A server's endpoint and container, and its route's policy.
struct ServerContext<'a> {
    endpoint: &'a Endpoint,
    policy: &'a Policy,
    container: Option<&'a Container>,
}

impl<'a> NameResolver<'a> {
    fn build_problem(
        &self,
        name: &ServerKey,
        why: impl FnOnce(&ServerContext<'a>) -> Reason,
    ) -> Option<Problem> {
        let server = self.resolve_server(name)?;
        // A stopping container may refuse connections.
        if server.container.is_some_and(|container| container.stopping) {
            return None;
        }
        let about = ProblemSubject::Container(server.endpoint.container.clone());
        Some(Problem { subject: about, label: None, reason: why(&server) })
    }

    fn resolve_server(&self, (backend, server): &ServerKey) -> Option<ServerContext<'a>> {
        let route = self.routes.0.get(&self.config.backends.get(backend)?.route)?;
        let (id, port) = name::parse_container_port(server)?;
        let is_same = |view: &&Endpoint| view.container.id() == id && view.port.to_string() == port;
        let endpoint = route.endpoints.iter().find(is_same)?;
        Some(ServerContext {
            endpoint,
            policy: &route.policy,
            container: self.memory.find_container(id),
        })
    }

    fn find_listener(&self, frontend: &str) -> Option<Listener> {
        self.config.frontends.iter().find(|f| f.name == frontend).map(|frontend| frontend.listener)
    }
}

impl ServerContext<'_> {
    fn check_reason(&self, failing: &FailingCheck) -> Reason {
        let Endpoint { address, port, .. } = *self.endpoint;
        let path = match self.policy.get() {
            option_value::CheckMethod::Http(path) => path.to_string(),
            _ => String::new(),
        };
        match &failing.failure {
            CheckFailure::Refused => {
                Reason::ConnectionRefused { address, port, exposed: self.exposed_ports() }
            }
            CheckFailure::Unreachable => Reason::NoConnection { address },
            CheckFailure::Timeout => Reason::CheckUnanswered { address, path },
            CheckFailure::Status(code) => Reason::CheckStatus { address, port, path, code: *code },
            CheckFailure::NotHttp => {
                let what = failing.malformed.clone();
                Reason::CheckNotHttp { address, path, what }
            }
            CheckFailure::TlsHandshake => {
                let verification = self.policy.get::<Verification>().to_string();
                Reason::TlsHandshakeFailed { address, verification }
            }
            CheckFailure::Other(text) => Reason::CheckFails { address, text: text.clone() },
        }
    }

    fn fault_reason(&self, fault: &ServerFault) -> Reason {
        let Endpoint { address, port, .. } = *self.endpoint;
        match &fault.what {
            FaultKind::MalformedResponse(what) => {
                Reason::BadResponse { address, what: what.clone() }
            }
            FaultKind::NoResponse => Reason::NoResponse { address },
            FaultKind::NoConnection => {
                Reason::ConnectFailed { address, port, exposed: self.exposed_ports() }
            }
        }
    }

    fn exposed_ports(&self) -> Vec<u16> {
        self.container
            .map(|container| container.exposed.tcp.iter().copied().collect())
            .unwrap_or_default()
    }
}
