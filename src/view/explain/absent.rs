//! Containers that would take part in answering a request and do not, and why.
//!
//! Pure.

use super::{
    Absence, Absent, Source,
    contest::{matching, place},
    outcome::taken,
    request::Url,
    seconds,
    source::Asker,
};
use crate::{
    claim::{Claim, Standing},
    container::{Container, ContainerId, State},
    label::{self, key::Choice},
    origin::Origin,
    problem::{About, Problem, Reason, Severity},
    rollback::RELEASE,
    route::{Endpoint, Readiness, RouteKey},
    view::{Picture, out::Out},
};

/// Of one route, then of better ones that are not served, then of containers that ask for nothing that could be had.
pub(super) fn absent(url: &Url, picture: &Picture, winner: Option<&RouteKey>) -> Vec<Absent> {
    let look = Look { url, picture, winner };
    let mut absent = Vec::new();
    absent.extend(winner.into_iter().flat_map(|key| look.of_route(key)));
    absent.extend(look.better_routes().into_iter().flat_map(|key| look.of_missing_route(key)));
    absent.extend(look.of_others());
    let mut seen = Vec::new();
    absent.retain(|it: &Absent| {
        let new = !seen.contains(&(it.id.clone(), it.text.clone()));
        seen.push((it.id.clone(), it.text.clone()));
        new
    });
    absent
}

struct Look<'a> {
    url: &'a Url,
    picture: &'a Picture,
    winner: Option<&'a RouteKey>,
}

impl<'a> Look<'a> {
    fn claims(&self, key: &RouteKey) -> &'a [Claim] {
        self.picture.memory.board().claims().get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Of those that ask for the route that answers.
    fn of_route(&self, key: &RouteKey) -> Vec<Absent> {
        let shared = self.picture.routes.0.get(key);
        let endpoints = shared.map(|it| &it.endpoints[..]).unwrap_or_default();
        let why = |claim: &Claim| match endpoints.iter().find(|it| is_of(it, claim)) {
            None => self.conflict(claim).or_else(|| self.rolled_back(claim)),
            Some(it) if it.readiness == Readiness::Out => Some(self.out(claim)),
            Some(it) if it.weight.get() == 0 => {
                let text = "its weight is 0".to_owned();
                // That of a generation that is held is not the label's.
                let label = self.later().is_none().then_some(Choice::Weight);
                Some(self.one(claim, Absence::Weightless, text, label))
            }
            Some(_) => None,
        };
        self.claims(key).iter().filter_map(why).collect()
    }

    /// Routes that are asked for, are not served, and would answer if they were.
    fn better_routes(&self) -> Vec<&'a RouteKey> {
        let best = self.winner.and_then(|key| place(self.url, key));
        let mut found = matching(self.url, self.picture.memory.board().routes().0.keys());
        found.retain(|key| !self.picture.routes.0.contains_key(*key));
        found.retain(|key| best.is_none_or(|best| place(self.url, key) < Some(best)));
        found
    }

    fn of_missing_route(&self, key: &RouteKey) -> Vec<Absent> {
        let refused = self.picture.memory.refused.get(key);
        let (why, text) = match (taken(self.picture, key.listener), refused) {
            (Some(why), _) => (Absence::PortTaken, format!("port {} is {why}", key.listener.port)),
            (None, Some((_, text))) => {
                (Absence::Refused, format!("HAProxy refused its route {key}: {text}"))
            }
            (None, None) => self.later().unwrap_or_else(|| {
                (Absence::NotApplied, format!("its route {key} is not applied yet"))
            }),
        };
        let one = |claim: &Claim| self.one(claim, why, text.clone(), None);
        self.claims(key).iter().map(one).collect()
    }

    /// Why who came after the generation that is held is not served, where one is.
    fn later(&self) -> Option<(Absence, String)> {
        let rollback = self.picture.memory.rollback.as_ref()?;
        Some((Absence::RolledBack, format!("not served: {rollback}; {RELEASE}")))
    }

    fn rolled_back(&self, claim: &Claim) -> Option<Absent> {
        let (why, text) = self.later()?;
        Some(self.one(claim, why, text, None))
    }

    /// Of containers that have no claim: they are not there, cannot be reached, or were not understood.
    fn of_others(&self) -> Vec<Absent> {
        let Some(world) = &self.picture.world else { return Vec::new() };
        let away = world.containers.values().filter_map(|it| self.away(it));
        let known = |id: &str| {
            let mut from_there = world.containers.range(ContainerId::new(id)..);
            from_there.next().map(|(_, it)| it).filter(|it| it.id.short() == id)
        };
        let troubled = self.picture.problems.iter().filter_map(|problem| match &problem.about {
            About::Container(origin) => Some((known(origin.id())?, problem)),
            About::Listener(_) | About::Option(_) => None,
        });
        let related = troubled.filter(|(container, problem)| self.is_related(container, problem));
        away.chain(related.map(|(container, problem)| refused(container, problem))).collect()
    }

    fn away(&self, container: &Container) -> Option<Absent> {
        let (why, text) = if label::is_one_off(container) {
            (Absence::OneOff, "it is a one-off of docker compose run")
        } else if matches!(container.state, State::Running | State::Paused) {
            return None;
        } else {
            (Absence::Stopped, "it does not run")
        };
        let asker = self.would_answer(container)?;
        Some(absent_of(container, why, text.to_owned(), asker.host()))
    }

    /// As one that would have to be asked if it were there.
    fn would_answer<'c>(&self, container: &'c Container) -> Option<Asker<'c>> {
        let best = self.winner.and_then(|key| place(self.url, key));
        let reading = label::read(container, &self.picture.rules.fences);
        let fits = |key: &RouteKey| match (place(self.url, key), best) {
            (None, _) => false,
            (it, best) => best.is_none() || it <= best,
        };
        let ask = reading.asks.iter().find(|ask| fits(&ask.key))?;
        Asker::new(self.picture, container, &ask.key, ask.port)
    }

    /// Whether the request would have to do with the container, were it not for the problem.
    fn is_related(&self, container: &Container, problem: &Problem) -> bool {
        match problem.reason {
            _ if problem.reason.severity() == Severity::Hint => false,
            Reason::Conflict { .. }
            | Reason::Kept { .. }
            | Reason::HostOwned { .. }
            | Reason::Refused { .. }
            | Reason::AskedTwice { .. }
            // What was wrong is told beside it.
            | Reason::NoneLeft { .. }
            | Reason::PortTaken { .. } => false,
            Reason::NotOnNetwork { .. }
            | Reason::NoAddress { .. }
            | Reason::NoListenerLeft { .. }
            | Reason::NotLoaded { .. } => {
                self.would_answer(container).is_some()
            }
            _ => !self.serves(container) && self.is_meant(container, problem),
        }
    }

    fn serves(&self, container: &Container) -> bool {
        let Some(key) = self.winner else { return false };
        self.claims(key).iter().any(|claim| claim.seniority.1 == container.id)
    }

    /// Its labels name the host, understood or not; where nothing answers, also those that may have meant any.
    fn is_meant(&self, container: &Container, problem: &Problem) -> bool {
        let (host, above) = (self.url.host(), self.url.parent().map(|it| format!("*.{it}")));
        let ours = || {
            let all = container.labels.iter().chain(&container.environment);
            all.filter(|(key, _)| label::speaks([key.as_str()]))
        };
        // Whatever stands around it: a scheme, a port, a path, other hosts.
        let names = |value: &String| {
            let of_a_host = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
            let value = value.to_ascii_lowercase();
            let mut words = value.split(|c| !of_a_host(c)).map(|word| word.trim_end_matches('.'));
            words.any(|word| !word.is_empty() && (word == host || Some(word) == above.as_deref()))
        };
        let says_a_host = || ours().any(|(key, _)| key.contains("_host"));
        let key = problem.label.as_ref().map_or("", |label| label.key.as_str());
        let any = key.is_empty() || key.contains("_prefix") || key == "glue_http_ports";
        let may_mean_any = || self.winner.is_none() && any && !says_a_host();
        ours().any(|(_, value)| names(value)) || may_mean_any()
    }

    fn conflict(&self, claim: &Claim) -> Option<Absent> {
        let key = claim.key.to_string();
        let problems = self.picture.memory.board().conflicts();
        let mut mine = problems.filter(|it| is_about(it, &claim.origin));
        let (text, over) = mine.find_map(|it| match &it.reason {
            Reason::Conflict { route, with, over } if *route == key => {
                let text =
                    format!("{with} was first, with another {over}; it waits until they agree");
                Some((text, *over))
            }
            Reason::Kept { route, party, over } if *route == key => {
                let text = format!(
                    "{party} had it until just now, with another {over}; it waits for a while"
                );
                Some((text, *over))
            }
            Reason::HostOwned { route, holder } if *route == key => Some((
                format!(
                    "its host is one of {}; it waits until none is left",
                    holder.escape_debug()
                ),
                "host",
            )),
            _ => None,
        })?;
        let choice = Choice::ALL.iter().find(|(name, _)| *name == over).map(|(_, it)| *it);
        Some(self.one(claim, Absence::Conflict, text, choice))
    }

    /// It shares the route and is not fit to serve.
    fn out(&self, claim: &Claim) -> Absent {
        let Picture { world, memory, now, .. } = self.picture;
        let of_health = |how| match claim.standing {
            Standing::Reserve => format!("{how}, and others are well"),
            _ => format!("{how}, and it requires that"),
        };
        let (why, text) = match Out::of(claim, world.as_deref(), memory, *now) {
            Out::Paused => (Absence::Paused, "it is paused".to_owned()),
            Out::Stopping => (Absence::Stopping, "it is stopping".to_owned()),
            Out::Drained => {
                let back = format!("docker-balancer undrain {}", claim.origin.name());
                (Absence::Drained, format!("it was drained, until it is stopped or {back}"))
            }
            Out::Crashing => {
                let until = memory.crashing(&claim.seniority.1, *now).unwrap_or(*now);
                let left = seconds(until.saturating_duration_since(*now));
                (Absence::Crashing, format!("it crashes over and over; next try in {left}"))
            }
            Out::Starting => (Absence::Starting, of_health("its HEALTHCHECK has not passed yet")),
            Out::Unhealthy => (Absence::Unhealthy, of_health("its HEALTHCHECK fails")),
        };
        let of_health = matches!(why, Absence::Starting | Absence::Unhealthy);
        self.one(claim, why, text, of_health.then_some(Choice::Health))
    }

    fn one(&self, claim: &Claim, why: Absence, text: String, choice: Option<Choice>) -> Absent {
        let asker = Asker::of_claim(self.picture, claim);
        Absent {
            container: claim.origin.name().to_owned(),
            id: claim.origin.id().to_owned(),
            why,
            text,
            label: choice.and_then(|it| asker?.choice(it)),
        }
    }
}

fn is_of(endpoint: &Endpoint, claim: &Claim) -> bool {
    endpoint.origin == claim.origin && endpoint.port == claim.port
}

fn is_about(problem: &Problem, origin: &Origin) -> bool {
    matches!(&problem.about, About::Container(about) if about == origin)
}

/// By a problem of its own.
fn refused(container: &Container, problem: &Problem) -> Absent {
    let why = match problem.reason {
        Reason::HostFenced(_)
        | Reason::HostReserved { .. }
        | Reason::PortFenced(_)
        | Reason::PortOfHost { .. }
        | Reason::HostNetworkFenced
        | Reason::ImageUnknown { .. } => Absence::Fenced,
        Reason::NotOnNetwork { .. } | Reason::NoAddress { .. } => Absence::NoAddress,
        _ => Absence::Label,
    };
    let label = problem.label.as_ref().map(|label| Source {
        container: container.name.clone(),
        id: container.id.short().to_owned(),
        key: label.key.clone(),
        value: label.value.clone(),
        environment: !container.labels.contains_key(&label.key),
    });
    absent_of(container, why, problem.reason.to_string(), label)
}

fn absent_of(container: &Container, why: Absence, text: String, label: Option<Source>) -> Absent {
    let (name, id) = (container.name.clone(), container.id.short().to_owned());
    Absent { container: name, id, why, text, label }
}
