//! Why servers are down and what was no HTTP: what HAProxy says of its servers, held against their containers.
//!
//! Pure: answers go in, problems and the time of the next question come out.
//!
//! HAProxy is asked about servers that are not known to be well: new ones, until a check of theirs has passed, and
//! those whose checks fail. It says by itself that a check fails, to who started it; else all servers are asked about
//! every few seconds. What clients were refused is looked at every half a minute, and when somebody looks.

use crate::{
    container::Container,
    decide::Memory,
    haproxy::{
        config::{Admin, Config},
        health::{Captured, Check, Failure, Health, Message, Refusals, Round, ServerName},
        name,
        said::Checked,
    },
    label::value,
    nonsense,
    problem::{About, Problem, Reason},
    problem_set::ProblemSet,
    route::{Endpoint, Listener, Policy, Routes},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

/// So long a check fails before that is a problem: a container that was just started may not listen yet.
pub const FAILS_FOR: Duration = Duration::from_secs(5);
/// So long connections time out before requests that a server has already are ended: its machine has gone, and would
/// answer none of them.
pub const LOST_AFTER: Duration = Duration::from_secs(5);
/// Of what changed so long ago it is often asked how it goes on.
const YOUNG: Duration = Duration::from_secs(15);
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(30);
/// What HAProxy says by itself is often said of several servers.
const AT_ONCE: Duration = Duration::from_millis(100);
/// So much time for each server that is asked about, so that questions take a thousandth of it at most.
const EACH: Duration = Duration::from_millis(3);
/// Of more backends than this all are asked about at once.
const MANY: usize = 16;
/// A server that says nothing of its checks for so long has none.
const SILENT: Duration = Duration::from_mins(1);
/// What made no sense is told for so long after the last time.
const RECENT: Duration = Duration::from_mins(10);
/// Good answers make up for a bad one that is older than this.
const MADE_UP: Duration = Duration::from_secs(10);

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// Servers that are not known to be well.
    suspects: BTreeMap<ServerName, Suspect>,
    /// Servers whose responses made no sense.
    faults: BTreeMap<ServerName, Fault>,
    /// What clients of a frontend said that made no sense.
    nonsense: BTreeMap<(String, nonsense::Request), Nonsense>,
    /// Of the last round; `None` before the first.
    refusals: Option<BTreeMap<String, Refusals>>,
    /// Of servers that counted errors.
    counted: BTreeMap<ServerName, Health>,
    asked: Option<Instant>,
    /// Not later than this, whatever else.
    soon: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Suspect {
    since: Instant,
    failing: Option<Failing>,
}

#[derive(Debug, Clone)]
struct Failing {
    since: Instant,
    failure: Failure,
    /// What it answered to the check.
    nonsense: Option<nonsense::Response>,
    /// Since when nothing but connections that time out was found.
    unreachable: Option<Instant>,
    /// Its requests were ended then.
    ended: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Fault {
    what: FaultKind,
    /// The last time.
    at: Instant,
    /// How many responses were understood by then.
    responses: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FaultKind {
    Nonsense(nonsense::Response),
    NoResponse,
    NoConnection,
}

#[derive(Debug, Clone, Copy)]
struct Nonsense {
    /// Who was the first.
    client: Option<IpAddr>,
    at: Instant,
}

/// A server that connections to have timed out for so long that its requests are to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub server: ServerName,
    /// It was not so until now.
    pub is_news: bool,
}

/// What HAProxy is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// About the servers of these backends; `None`: about all.
    pub backends: Option<BTreeSet<String>>,
    /// What was known of frontends: where they have something else, all is asked.
    pub refusals: Option<BTreeMap<String, Refusals>>,
}

/// Whether HAProxy says by itself that a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    Heard,
    /// And that many servers are asked about instead.
    Deaf {
        servers: usize,
    },
}

impl Diagnosis {
    /// These backends have other servers than before, or may have.
    pub fn follow<'a>(
        &mut self,
        config: &Config,
        changed: impl IntoIterator<Item = &'a str>,
        now: Instant,
    ) {
        for name in changed {
            let servers = config.backends.get(name).map(|it| &it.servers[..]).unwrap_or_default();
            for server in servers.iter().filter(|it| it.watch.is_checked()) {
                let name = (name.to_owned(), server.name.clone());
                self.suspects.entry(name).or_insert(Suspect { since: now, failing: None });
                self.not_later_than(now + OFTEN);
            }
        }
        self.forget_others(config);
    }

    /// What a check found, as HAProxy said by itself.
    pub fn hear(&mut self, checked: &Checked, now: Instant) {
        let name = (checked.backend.clone(), checked.server.clone());
        match (self.suspects.get(&name), checked.passed) {
            (None, true) => {}
            (Some(Suspect { failing: None, .. }), true) => drop(self.suspects.remove(&name)),
            (Some(_), true) => self.not_later_than(now + AT_ONCE),
            (suspect, false) => {
                if suspect.is_none() {
                    self.suspects.insert(name, Suspect { since: now, failing: None });
                }
                self.not_later_than(now + AT_ONCE);
            }
        }
    }

    /// Somebody looks.
    pub fn hurry(&mut self, now: Instant) {
        self.not_later_than(now);
    }

    fn not_later_than(&mut self, at: Instant) {
        self.soon = Some(self.soon.map_or(at, |soon| soon.min(at)));
    }

    /// Whether it was asked in the last second.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.soon.is_none() && self.asked.is_some_and(|asked| now < asked + OFTEN)
    }

    /// When to ask again; `None` before anything is served.
    pub fn due(&self, hearing: Hearing) -> Option<Instant> {
        let next = self.asked.map(|asked| asked + self.pause(asked, hearing));
        [next, self.soon].into_iter().flatten().min()
    }

    fn pause(&self, asked: Instant, hearing: Hearing) -> Duration {
        let young = |it: &Suspect| {
            let failing = it.failing.as_ref();
            let since = failing.map_or(it.since, |it| it.unreachable.unwrap_or(it.since));
            asked < since + YOUNG
        };
        let many = |servers: usize| EACH.saturating_mul(servers.try_into().unwrap_or(u32::MAX));
        let of_suspects = many(self.suspects.len());
        if self.suspects.values().any(young) {
            OFTEN.max(of_suspects)
        } else if !self.suspects.is_empty() || !self.faults.is_empty() {
            SELDOM.max(of_suspects)
        } else {
            match hearing {
                Hearing::Heard => QUIET,
                Hearing::Deaf { servers } => SELDOM.max(many(servers)).min(QUIET),
            }
        }
    }

    pub fn question(&self, hearing: Hearing) -> Question {
        let asked_about = self.suspects.keys().chain(self.faults.keys());
        let backends: BTreeSet<_> = asked_about.map(|(backend, _)| backend.clone()).collect();
        let all = MANY < backends.len() || hearing != Hearing::Heard;
        Question { backends: (!all).then_some(backends), refusals: self.refusals.clone() }
    }

    /// It was asked, and did not answer.
    pub fn unanswered(&mut self, now: Instant) {
        (self.asked, self.soon) = (Some(now), None);
    }

    pub fn learn(&mut self, round: &Round, config: &Config, now: Instant) {
        let captured = round.captured.as_deref().unwrap_or_default();
        for (name, health) in &round.servers {
            self.learn_check(name, &health.check, captured, now);
            self.learn_counts(name, health, captured, now);
        }
        (self.asked, self.soon) = (Some(now), None);
        self.suspects.retain(|_, it| it.failing.is_some() || now < it.since + SILENT);
        self.learn_requests(captured, now);
        self.refusals = Some(round.frontends.clone());
        self.forget_others(config);
    }

    fn learn_check(
        &mut self,
        name: &ServerName,
        check: &Check,
        captured: &[Captured],
        now: Instant,
    ) {
        let failure = match check {
            Check::None => return,
            Check::Passed => return drop(self.suspects.remove(name)),
            Check::Failed(failure) => failure.clone(),
        };
        let said = response(captured, name);
        let failure = match (failure, said) {
            (Failure::NoAnswer | Failure::Other(_), Some((age, _))) if age < MADE_UP => {
                Failure::NotHttp
            }
            (failure, _) => failure,
        };
        let suspect =
            self.suspects.entry(name.clone()).or_insert(Suspect { since: now, failing: None });
        let before = suspect.failing.take();
        let before = before.as_ref();
        let unreachable = match failure {
            Failure::NoConnection => before.and_then(|it| it.unreachable).or(Some(now)),
            _ => None,
        };
        let nonsense = match failure {
            Failure::NotHttp => {
                let said = said.map(|(_, it)| it.clone());
                said.or_else(|| before.and_then(|it| it.nonsense.clone()))
            }
            _ => None,
        };
        let since = before.map_or(now, |it| it.since);
        let ended = before.filter(|_| unreachable.is_some()).and_then(|it| it.ended);
        suspect.failing = Some(Failing { since, failure, nonsense, unreachable, ended });
    }

    /// Requests that got no response that made sense since the last round.
    fn learn_counts(
        &mut self,
        name: &ServerName,
        health: &Health,
        captured: &[Captured],
        now: Instant,
    ) {
        let before = self.counted.get(name);
        let is_new = |of: fn(&Health) -> u64| {
            let count = of(health);
            0 < count && before.map(of) != Some(count)
        };
        // What an earlier run may have seen is worth a word only where it can be said what it was.
        let nothing_good = self.refusals.is_some()
            && (health.responses == 0 || before.is_some_and(|it| it.responses == health.responses));
        // HAProxy keeps the last one, which may be older than what is new.
        let until = self.asked.map_or(RECENT, |asked| now.duration_since(asked) + OFTEN);
        let nonsense = response(captured, name).filter(|(age, _)| *age < until);
        let fault = match nonsense {
            _ if is_new(|it| it.connection_errors)
                && nothing_good
                && name::is_unchecked(&name.1) =>
            {
                Some((FaultKind::NoConnection, Duration::ZERO))
            }
            _ if !is_new(|it| it.response_errors) => None,
            Some((age, what)) => Some((FaultKind::Nonsense(what.clone()), age)),
            None => nothing_good.then_some((FaultKind::NoResponse, Duration::ZERO)),
        };
        if before.is_some() || 0 < health.response_errors + health.connection_errors {
            self.counted.insert(name.clone(), health.clone());
        }
        let responses = health.responses;
        if let Some((what, age)) = fault {
            let at = now.checked_sub(age).unwrap_or(now);
            self.faults.insert(name.clone(), Fault { what, at, responses });
        } else if let Some(fault) = self.faults.get(name)
            && fault.responses != responses
            && fault.at + MADE_UP < now
        {
            self.faults.remove(name);
        }
    }

    fn learn_requests(&mut self, captured: &[Captured], now: Instant) {
        for it in captured.iter().filter(|it| it.age < RECENT) {
            let Message::Request { frontend, client, nonsense } = &it.what else { continue };
            let at = now.checked_sub(it.age).unwrap_or(now);
            let first = Nonsense { client: *client, at };
            self.nonsense.entry((frontend.clone(), *nonsense)).or_insert(first).at = at;
        }
        self.nonsense.retain(|_, it| now < it.at + RECENT);
    }

    /// What there is no more, or gets no requests.
    fn forget_others(&mut self, config: &Config) {
        let is_there = |(backend, server): &ServerName| {
            let servers = config.backends.get(backend).map(|it| &it.servers);
            let mut servers = servers.into_iter().flatten();
            servers.any(|it| it.name == *server && it.admin == Admin::Ready)
        };
        self.suspects.retain(|name, _| is_there(name));
        self.faults.retain(|name, _| is_there(name));
        self.counted.retain(|name, _| is_there(name));
        let frontends = &config.frontends;
        self.nonsense.retain(|(name, _), _| frontends.iter().any(|it| it.name == *name));
    }

    /// Servers whose requests are to be ended now; those that go on timing out are told again, for the requests that came
    /// meanwhile.
    pub fn lost(&mut self, now: Instant) -> Vec<Lost> {
        let mut lost = Vec::new();
        for (server, suspect) in &mut self.suspects {
            let Some(failing) = &mut suspect.failing else { continue };
            let is_due = |since: Instant| since + LOST_AFTER <= now;
            if failing.unreachable.is_some_and(is_due) && failing.ended.is_none_or(is_due) {
                let is_news = failing.ended.replace(now).is_none();
                lost.push(Lost { server: server.clone(), is_news });
            }
        }
        lost
    }

    /// What is to be told.
    pub fn problems(
        &self,
        config: &Config,
        routes: &Routes,
        memory: &Memory,
        now: Instant,
    ) -> ProblemSet {
        let scene = Scene { config, routes, memory };
        let failing = self.suspects.iter().filter_map(|(name, it)| {
            let failing = it.failing.as_ref().filter(|it| it.since + FAILS_FOR <= now)?;
            scene.problem(name, |place| place.of_check(failing))
        });
        let faults = self.faults.iter();
        let faults =
            faults.filter_map(|(name, it)| scene.problem(name, |place| place.of_fault(it)));
        let requests = self.nonsense.iter().filter_map(|((frontend, what), it)| {
            let listener = scene.listener(frontend)?;
            let reason = Reason::BadRequest { what: *what, client: it.client };
            Some(Problem { about: About::Listener(listener), label: None, reason })
        });
        failing.chain(faults).chain(requests).collect()
    }
}

/// The youngest one of that server's.
fn response<'a>(
    captured: &'a [Captured],
    name: &ServerName,
) -> Option<(Duration, &'a nonsense::Response)> {
    captured.iter().find_map(|it| match &it.what {
        Message::Response { server, nonsense } if server == name => Some((it.age, nonsense)),
        _ => None,
    })
}

/// What HAProxy's names stand for.
struct Scene<'a> {
    config: &'a Config,
    routes: &'a Routes,
    memory: &'a Memory,
}

/// A server's container, and what it is to do.
struct Place<'a> {
    endpoint: &'a Endpoint,
    policy: &'a Policy,
    container: Option<&'a Container>,
}

impl<'a> Scene<'a> {
    fn problem(
        &self,
        name: &ServerName,
        why: impl FnOnce(&Place<'a>) -> Reason,
    ) -> Option<Problem> {
        let place = self.place(name)?;
        // It was told to stop, and may refuse what it likes.
        if place.container.is_some_and(|it| it.leaving) {
            return None;
        }
        let about = About::Container(place.endpoint.origin.clone());
        Some(Problem { about, label: None, reason: why(&place) })
    }

    fn place(&self, (backend, server): &ServerName) -> Option<Place<'a>> {
        let route = self.routes.0.get(&self.config.backends.get(backend)?.route)?;
        let (id, port) = name::place(server)?;
        let is_it = |it: &&Endpoint| it.origin.id() == id && it.port.to_string() == port;
        let endpoint = route.endpoints.iter().find(is_it)?;
        Some(Place { endpoint, policy: &route.policy, container: self.memory.container(id) })
    }

    fn listener(&self, frontend: &str) -> Option<Listener> {
        self.config.frontends.iter().find(|it| it.name == frontend).map(|it| it.listener)
    }
}

impl Place<'_> {
    fn of_check(&self, failing: &Failing) -> Reason {
        let Endpoint { address, port, .. } = *self.endpoint;
        let path = match &self.policy.check {
            value::Check::Http(path) => path.to_string(),
            _ => String::new(),
        };
        match &failing.failure {
            Failure::Refused => {
                Reason::ConnectionRefused { address, port, exposed: self.exposed() }
            }
            Failure::NoConnection => Reason::NoConnection { address },
            Failure::NoAnswer => Reason::CheckUnanswered { address, path },
            Failure::Status(code) => Reason::CheckStatus { address, port, path, code: *code },
            Failure::NotHttp => {
                let what = failing.nonsense.clone();
                Reason::CheckNotHttp { address, path, what }
            }
            Failure::Other(text) => Reason::CheckFails { address, text: text.clone() },
        }
    }

    fn of_fault(&self, fault: &Fault) -> Reason {
        let Endpoint { address, port, .. } = *self.endpoint;
        match &fault.what {
            FaultKind::Nonsense(what) => Reason::BadResponse { address, what: what.clone() },
            FaultKind::NoResponse => Reason::NoResponse { address },
            FaultKind::NoConnection => {
                Reason::Unconnected { address, port, exposed: self.exposed() }
            }
        }
    }

    fn exposed(&self) -> Vec<u16> {
        self.container.map(|it| it.exposed.iter().copied().collect()).unwrap_or_default()
    }
}
