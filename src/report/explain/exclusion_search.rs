//! Finds containers that could serve a request but do not, and the reasons.
//!
//! Pure.

use super::{
    ExcludedContainer, ExclusionReason, LabelSource, format_seconds,
    label_source::Requester,
    outcome::port_conflict,
    request::Url,
    route_match::{match_rank, matching_routes},
};
use crate::{
    label,
    model::{
        container::{Container, ContainerId, ContainerState},
        container_ref::ContainerRef,
        label_option::{LabelOption, LabelProtocol},
        problem::{Problem, ProblemSubject, Reason, Severity},
        route::{Endpoint, Readiness, RouteKey},
    },
    report::{StateSnapshot, exclusion::Exclusion},
    routing::{
        rollback::RELEASE_COMMAND,
        route_table::{Claim, Eligibility},
    },
    support::escape::EscapedText,
};

/// Searches the route that answers, then better routes that are not served, then containers without a claim.
pub(crate) fn find_excluded(
    url: &Url,
    snapshot: &StateSnapshot,
    winner: Option<&RouteKey>,
) -> Vec<ExcludedContainer> {
    let search = ExclusionSearch { url, snapshot, winner };
    let mut excluded = Vec::new();
    excluded.extend(winner.into_iter().flat_map(|key| search.excluded_on_route(key)));
    excluded.extend(
        search.better_routes().into_iter().flat_map(|key| search.excluded_on_missing_route(key)),
    );
    excluded.extend(search.excluded_without_claim());
    let mut reported = Vec::new();
    excluded.retain(|container: &ExcludedContainer| {
        let new = !reported.contains(&(container.id.clone(), container.text.clone()));
        reported.push((container.id.clone(), container.text.clone()));
        new
    });
    excluded
}

struct ExclusionSearch<'a> {
    url: &'a Url,
    snapshot: &'a StateSnapshot,
    winner: Option<&'a RouteKey>,
}

impl<'a> ExclusionSearch<'a> {
    fn claims_on(&self, key: &RouteKey) -> &'a [Claim] {
        self.snapshot
            .decide_state
            .route_table()
            .claims()
            .get(key)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Returns excluded containers that request the route that answers.
    fn excluded_on_route(&self, key: &RouteKey) -> Vec<ExcludedContainer> {
        let shared = self.snapshot.routes.0.get(key);
        let endpoints = shared.map(|route| &route.endpoints[..]).unwrap_or_default();
        let why = |claim: &Claim| match endpoints.iter().find(|view| is_endpoint_of(view, claim)) {
            None => self.conflict_exclusion(claim).or_else(|| self.rollback_exclusion(claim)),
            Some(view) if view.readiness == Readiness::Out => Some(self.readiness_exclusion(claim)),
            Some(view) if view.weight().get() == 0 => {
                let text = "its weight is 0".to_owned();
                // The weight of a rollback's generation does not come from a label.
                let label = self.rollback_reason().is_none().then_some(LabelOption::Weight);
                Some(self.build_exclusion(claim, ExclusionReason::ZeroWeight, text, label))
            }
            Some(_) => None,
        };
        self.claims_on(key).iter().filter_map(why).collect()
    }

    /// Returns routes that are requested but not served, and that would answer if they were served.
    fn better_routes(&self) -> Vec<&'a RouteKey> {
        let best = self.winner.and_then(|key| match_rank(self.url, key));
        let mut found =
            matching_routes(self.url, self.snapshot.decide_state.route_table().routes().0.keys());
        found.retain(|key| !self.snapshot.routes.0.contains_key(*key));
        found.retain(|key| best.is_none_or(|best| match_rank(self.url, key) < Some(best)));
        found
    }

    fn excluded_on_missing_route(&self, key: &RouteKey) -> Vec<ExcludedContainer> {
        let refusal = self.snapshot.decide_state.refused_routes.get(key);
        let (why, text) = match (port_conflict(self.snapshot, key.listener), refusal) {
            (Some(why), _) => {
                (ExclusionReason::PortTaken, format!("port {} is {why}", key.listener.port))
            }
            (None, Some((_, text))) => {
                (ExclusionReason::Refused, format!("HAProxy refused its route {key}: {text}"))
            }
            (None, None) => self.rollback_reason().unwrap_or_else(|| {
                (ExclusionReason::NotApplied, format!("its route {key} is not applied yet"))
            }),
        };
        let one = |claim: &Claim| self.build_exclusion(claim, why, text.clone(), None);
        self.claims_on(key).iter().map(one).collect()
    }

    /// If a rollback is active, returns the reason why containers that are newer than its generation are not served.
    fn rollback_reason(&self) -> Option<(ExclusionReason, String)> {
        let rollback = self.snapshot.decide_state.rollback.as_ref()?;
        Some((
            ExclusionReason::RolledBack,
            format!("not served: {rollback}; end it with {RELEASE_COMMAND}"),
        ))
    }

    fn rollback_exclusion(&self, claim: &Claim) -> Option<ExcludedContainer> {
        let (why, text) = self.rollback_reason()?;
        Some(self.build_exclusion(claim, why, text, None))
    }

    /// Returns containers without a claim: they do not run, cannot be reached, or have invalid labels.
    fn excluded_without_claim(&self) -> Vec<ExcludedContainer> {
        let Some(world) = &self.snapshot.world else { return Vec::new() };
        let stopped = world.containers.values().filter_map(|container| self.not_running(container));
        let find_container = |id: &str| {
            let mut from_there = world.containers.range(ContainerId::first_with_short(id)..);
            from_there
                .next()
                .map(|(_, container)| container)
                .filter(|container| container.id.short() == id)
        };
        let with_problems =
            self.snapshot.problems.iter().filter_map(|problem| match &problem.subject {
                ProblemSubject::Container(origin) => Some((find_container(origin.id())?, problem)),
                ProblemSubject::Listener(_) | ProblemSubject::Option(_) => None,
            });
        let related =
            with_problems.filter(|(container, problem)| self.is_related(container, problem));
        stopped
            .chain(related.map(|(container, problem)| problem_exclusion(container, problem)))
            .collect()
    }

    fn not_running(&self, container: &Container) -> Option<ExcludedContainer> {
        let (why, text) = if label::is_one_off(container) {
            (ExclusionReason::OneOff, "it is a one-off container of docker compose run")
        } else if matches!(container.state, ContainerState::Running | ContainerState::Paused) {
            return None;
        } else {
            (ExclusionReason::Stopped, "it is not running")
        };
        let requester = self.matching_requester(container)?;
        Some(excluded_container(container, why, text.to_owned(), requester.host_source()))
    }

    /// Returns the container as a requester of a route that would answer if the container had a claim.
    fn matching_requester<'c>(&self, container: &'c Container) -> Option<Requester<'c>> {
        let best = self.winner.and_then(|key| match_rank(self.url, key));
        let limits = &self.snapshot.rules.of_source(container.id.source()).label_limits;
        let labels = label::parse_labels(container, limits);
        let fits = |key: &RouteKey| match (match_rank(self.url, key), best) {
            (None, _) => false,
            (pair, best) => best.is_none() || pair <= best,
        };
        let request = labels.requests.iter().find(|request| fits(&request.key))?;
        Requester::new(self.snapshot, container, &request.key, request.port)
    }

    /// Whether the container would be relevant to the request without the problem.
    fn is_related(&self, container: &Container, problem: &Problem) -> bool {
        match problem.reason {
            _ if problem.reason.severity() == Severity::Hint => false,
            Reason::Conflict { .. }
            | Reason::RouteReserved { .. }
            | Reason::HostOwned { .. }
            | Reason::RouteRefused { .. }
            | Reason::DuplicateRoute { .. }
            // The label's own problem is reported as well.
            | Reason::NoValidValues { .. }
            | Reason::PortTaken { .. } => false,
            Reason::NotOnNetwork { .. }
            | Reason::NoAddress { .. }
            | Reason::NoListenerLeft { .. }
            | Reason::PortsNotLoaded { .. } => {
                self.matching_requester(container).is_some()
            }
            _ => !self.has_claim(container) && self.may_concern(container, problem),
        }
    }

    fn has_claim(&self, container: &Container) -> bool {
        let Some(key) = self.winner else { return false };
        self.claims_on(key).iter().any(|claim| claim.seniority.1 == container.id)
    }

    /// Whether the problem may be about labels of the request's protocol, and about those that may have been meant for
    /// the request.
    fn may_concern(&self, container: &Container, problem: &Problem) -> bool {
        let protocol = self.url.listener().protocol.label_protocol();
        let start = |protocol: LabelProtocol| format!("glue_{protocol}_");
        let key = problem.label.as_ref().map(|label| label.key.as_str());
        let of_other = |key: &str| {
            let mut others = LabelProtocol::ALL.into_iter().filter(|other| *other != protocol);
            others.any(|other| key.starts_with(&start(other)))
        };
        if key.is_some_and(of_other) {
            return false;
        }
        if protocol == LabelProtocol::Http {
            return self.names_host(container, problem);
        }
        let mut keys = container.labels.keys().chain(container.environment.keys());
        self.winner.is_none() && keys.any(|key| key.starts_with(&start(protocol)))
    }

    /// Whether a label of the container contains the host, even if the label is invalid. If no route answers, also
    /// labels that may have been meant for any host.
    fn names_host(&self, container: &Container, problem: &Problem) -> bool {
        let (host, above) = (self.url.host(), self.url.parent().map(|text| format!("*.{text}")));
        let ours = || {
            let all = container.labels.iter().chain(&container.environment);
            all.filter(|(key, _)| label::has_our_labels([key.as_str()]))
        };
        // Finds the host anywhere in the value: next to a scheme, a port, a path or other hosts.
        let names = |value: &String| {
            let of_a_host = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
            let value = value.to_ascii_lowercase();
            let mut words = value.split(|c| !of_a_host(c)).map(|word| word.trim_end_matches('.'));
            words.any(|word| !word.is_empty() && (word == host || Some(word) == above.as_deref()))
        };
        let says_a_host = || ours().any(|(key, _)| key.contains("_host"));
        let key = problem.label.as_ref().map_or("", |label| label.key.as_str());
        let is_place = |key: &str| {
            ["_prefix", "_path"].iter().any(|option| key.contains(option))
                || key == "glue_http_ports"
        };
        let any = key.is_empty() || is_place(key);
        let may_mean_any = || self.winner.is_none() && any && !says_a_host();
        ours().any(|(_, value)| names(value)) || may_mean_any()
    }

    fn conflict_exclusion(&self, claim: &Claim) -> Option<ExcludedContainer> {
        let key = claim.key.to_string();
        let problems = self.snapshot.decide_state.route_table().conflicts();
        let mut mine = problems.filter(|problem| is_about(problem, &claim.container));
        let (text, option) = mine.find_map(|problem| match &problem.reason {
            Reason::Conflict { route, with, over } if *route == key => {
                let text = format!(
                    "the older container {with} has a different {over}; waiting until they are \
                     equal"
                );
                Some((text, *over))
            }
            Reason::RouteReserved { route, party, over } if *route == key => {
                let text = format!(
                    "the route is reserved for {party}, which has a different {over}; waiting"
                );
                Some((text, *over))
            }
            Reason::HostOwned { route, holder } if *route == key => Some((
                format!(
                    "its host belongs to {}; waiting until that owner has no more containers",
                    EscapedText(holder)
                ),
                LabelOption::Host,
            )),
            _ => None,
        })?;
        Some(self.build_exclusion(claim, ExclusionReason::Conflict, text, Some(option)))
    }

    /// Returns the reason why a container that shares the route is not eligible to serve it.
    fn readiness_exclusion(&self, claim: &Claim) -> ExcludedContainer {
        let StateSnapshot { world, decide_state: memory, now, .. } = self.snapshot;
        let of_health = |condition| match claim.eligibility {
            Eligibility::Doubtful => format!("{condition}, and other containers are healthy"),
            _ => format!("{condition}, and its health label requires it"),
        };
        let (why, text) = match Exclusion::from_claim(claim, world.as_deref(), memory, *now) {
            Exclusion::Paused => (ExclusionReason::Paused, "it is paused".to_owned()),
            Exclusion::Stopping => (ExclusionReason::Stopping, "it is stopping".to_owned()),
            Exclusion::Drained => {
                let command =
                    format!("docker-balancer undrain {}", claim.container.qualified_name());
                (
                    ExclusionReason::Drained,
                    format!("it is drained until it stops, or until {command}"),
                )
            }
            Exclusion::Crashing => {
                let until = memory.crash_delay_until(&claim.seniority.1, *now).unwrap_or(*now);
                let remaining = format_seconds(until.saturating_duration_since(*now));
                (
                    ExclusionReason::Crashing,
                    format!("it crashes repeatedly; next attempt in {remaining}"),
                )
            }
            Exclusion::Starting => {
                (ExclusionReason::Starting, of_health("its HEALTHCHECK has not passed yet"))
            }
            Exclusion::Unhealthy => {
                (ExclusionReason::Unhealthy, of_health("its HEALTHCHECK fails"))
            }
            Exclusion::Backup => {
                let text = "it is a backup, and another container of the route is fit to serve";
                (ExclusionReason::Backup, text.to_owned())
            }
        };
        let option = match why {
            ExclusionReason::Starting | ExclusionReason::Unhealthy => Some(LabelOption::Health),
            ExclusionReason::Backup => Some(LabelOption::Backup),
            _ => None,
        };
        self.build_exclusion(claim, why, text, option)
    }

    fn build_exclusion(
        &self,
        claim: &Claim,
        why: ExclusionReason,
        text: String,
        option: Option<LabelOption>,
    ) -> ExcludedContainer {
        let requester = Requester::from_claim(self.snapshot, claim);
        ExcludedContainer {
            container: claim.container.qualified_name().into_owned(),
            id: claim.container.id().to_owned(),
            why,
            text,
            label: option.and_then(|option| requester?.option_source(option)),
        }
    }
}

fn is_endpoint_of(endpoint: &Endpoint, claim: &Claim) -> bool {
    endpoint.container == claim.container && endpoint.port == claim.port
}

fn is_about(problem: &Problem, origin: &ContainerRef) -> bool {
    matches!(&problem.subject, ProblemSubject::Container(about) if about == origin)
}

/// Returns an exclusion because of a problem of the container.
fn problem_exclusion(container: &Container, problem: &Problem) -> ExcludedContainer {
    let why = match problem.reason {
        Reason::HostNotAllowed(_)
        | Reason::HostReserved { .. }
        | Reason::PortNotAllowed(_)
        | Reason::PortNotNamed { .. }
        | Reason::HostPortReserved { .. }
        | Reason::HostNetworkNotAllowed
        | Reason::ImageUnknown { .. } => ExclusionReason::NotAllowed,
        Reason::NotOnNetwork { .. } | Reason::NoAddress { .. } => ExclusionReason::NoAddress,
        _ => ExclusionReason::Label,
    };
    let label = problem.label.as_ref().map(|label| LabelSource {
        container: container.name.clone(),
        id: container.id.short().to_owned(),
        key: label.key.clone(),
        value: label.value.clone(),
        environment: !container.labels.contains_key(&label.key),
    });
    excluded_container(container, why, problem.reason.to_string(), label)
}

fn excluded_container(
    container: &Container,
    why: ExclusionReason,
    text: String,
    label: Option<LabelSource>,
) -> ExcludedContainer {
    let (name, id) = (container.name.clone(), container.id.short().to_owned());
    ExcludedContainer { container: name, id, why, text, label }
}
