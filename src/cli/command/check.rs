//! `check`: reports what is wrong with the labels of running containers, of a compose file, or of an image.
//!
//! A file is checked without asking Docker, so the result is the same on every machine. What depends on the machine
//! (ports in use, networks that HAProxy cannot reach) is reported by `plan`.

use super::{
    CommandOutput,
    check_tls::{TlsInputs, find_tls_hints},
    inputs::{self, DockerQueryError},
};
use crate::{
    haproxy::render::Bind,
    label::{self, Constraint},
    model::{
        container::{
            Container, ContainerId, ContainerPort, ContainerState, Health, Image, NetworkMode,
        },
        problem::{LabelText, Problem, ProblemSubject, Reason, Severity},
        route::{Listener, RouteKey},
        source_name::SourceName,
        world::World,
    },
    report::style::{ERROR, LOCATION, WARN, apply_style},
    routing::decide::{DecideState, Rules, decide},
    settings::Settings,
    sources::{
        ContainerFilter, certificate,
        compose::{
            self, ComposeNote, Position, Project, Service, ServiceNetwork,
            planned_container::{self, PlannedContainer},
        },
    },
    support::{
        escape::{SingleLine, Truncated},
        format::format_plural,
    },
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

pub(crate) async fn run_check(
    compose: Option<&Path>,
    image: Option<&str>,
    settings: &Settings,
) -> Result<CommandOutput> {
    let report = match (compose, image) {
        (Some(file), _) => {
            let environment = std::env::vars().collect();
            check_project(
                &compose::read_project(file, &environment, settings.deployment())?,
                settings,
            )
        }
        (None, Some(image)) => check_image(image, settings).await?,
        (None, None) => check_containers(settings).await?,
    };
    Ok(CommandOutput { status: report.exit_status(), text: report.to_text() })
}

/// The result of a check.
struct CheckReport {
    findings: BTreeSet<CheckFinding>,
    /// The kind of the checked objects, such as `container`.
    kind: &'static str,
    labelled: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CheckFinding {
    place: Option<Position>,
    severity: Severity,
    text: String,
}

async fn check_containers(settings: &Settings) -> Result<CheckReport> {
    // All labels of all containers, because labels that are not ours may have been meant to be.
    let widen =
        |interest| ContainerFilter { matches_all: true, reads_environment: true, ..interest };
    let (mut world, rules) = inputs::load_world(settings, widen).await?;
    world.containers.retain(|_, container| {
        matches!(container.state, ContainerState::Running | ContainerState::Paused)
    });
    let mut hints_found = Vec::new();
    for container in world.containers.values_mut() {
        if settings.fences.matches_constraints(container) {
            hints_found.extend(near_miss_hints(container, settings));
        }
        if !settings.include_env {
            Arc::make_mut(container).environment.clear();
        }
    }
    let takes_part = |container: &&Arc<Container>| label::participates(container, &settings.fences);
    let labelled = world.containers.values().filter(takes_part).count();
    let participants = world.containers.values().filter(takes_part);
    let inputs = TlsInputs::Machine(&rules.certificates);
    hints_found.extend(participants.flat_map(|c| find_tls_hints(c, settings, inputs)));
    let decided = decide(&world, DecideState::default(), Instant::now(), &rules);
    let findings = decided
        .problems
        .iter()
        .cloned()
        .chain(hints_found)
        .map(|problem| CheckFinding::from_problem(&problem));
    Ok(CheckReport { findings: findings.collect(), kind: "container", labelled })
}

/// Returns hints about labels that are not for docker-balancer but may have been meant for it.
fn near_miss_hints(container: &Container, settings: &Settings) -> Vec<Problem> {
    let unread = label::environment_hints(container).filter(|_| !settings.include_env);
    label::near_misses(container).chain(label::foreign_hint(container)).chain(unread).collect()
}

async fn check_image(name: &str, settings: &Settings) -> Result<CheckReport> {
    let engine = inputs::connect_engine(settings).await?;
    let image = engine.inspect_image(name).await.context(DockerQueryError)?;
    let image = image.with_context(|| {
        format!("Docker has no image {name}; pull it with docker pull {name}, or build it")
    })?;
    let mut container = image_container(name, image);
    // Whoever runs the image decides whether its environment counts, so there are no hints about variables.
    let hints_found = label::near_misses(&container).chain(label::foreign_hint(&container));
    let hints_found: Vec<_> = hints_found.collect();
    if !settings.include_env {
        container.environment.clear();
    }
    let labelled = usize::from(label::participates(&container, &label::LabelLimits::default()));
    let problems = label::parse_labels(&container, &settings.fences).problems;
    let findings = problems.into_iter().chain(hints_found).map(|problem| CheckFinding {
        text: problem_text(&format!("image {name}"), &problem),
        ..CheckFinding::from_problem(&problem)
    });
    Ok(CheckReport { findings: findings.collect(), kind: "image", labelled })
}

/// Returns the container that the image would make without further options.
fn image_container(name: &str, image: Image) -> Container {
    let Image { labels, environment, exposed } = image;
    Container {
        id: ContainerId::new(""),
        name: name.to_owned(),
        image: name.to_owned(),
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment,
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed,
        published: Vec::new(),
        stop_config: None,
        stopping: false,
        started: None,
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
    }
}

fn check_project(project: &Project, settings: &Settings) -> CheckReport {
    let cas = certificate::read_cas(settings.ca_directories()).index;
    let inputs = TlsInputs::File(&cas);
    let mut findings: BTreeSet<_> = project.notes.iter().map(CheckFinding::from_note).collect();
    let mut project = project.clone();
    let services = project.services.iter_mut().chain(&mut project.inactive);
    // One container of a service is enough for all of them; a service that is scaled to zero is checked as well.
    services.for_each(|service| service.scale = 1);
    let inactive = Project { services: project.inactive.clone(), ..project.clone() };
    findings.extend(check_inactive(&inactive, settings, inputs));

    let mut planned = planned_container::plan_containers(&project, &BTreeMap::new());
    let mut problems: Vec<_> = planned
        .iter()
        .flat_map(|container| near_miss_hints(&container.container, settings))
        .collect();
    if !settings.include_env {
        for container in &mut planned {
            container.container.environment.clear();
        }
    }
    let takes_part = planned
        .iter()
        .filter(|container| label::participates(&container.container, &settings.fences));
    let labelled = takes_part.count();
    let (world, masks) = planned_container::merge_into_world(
        &World::default(),
        &project,
        planned.clone(),
        &SourceName::NONE,
    );
    let rules = settings.rules();
    let decided = decide(&world, DecideState::default(), Instant::now(), &rules);
    // Certificates and CAs are on the machine where the containers will run.
    let is_of_machine = |problem: &&Problem| {
        matches!(problem.reason, Reason::NoCertificate { .. } | Reason::UnknownCa { .. })
    };
    problems.extend(decided.problems.iter().filter(|problem| !is_of_machine(problem)).cloned());
    problems.extend(listener_port_conflicts(&planned, settings, &rules));
    let participants = planned
        .iter()
        .map(|container| &container.container)
        .filter(|container| label::participates(container, &settings.fences));
    problems.extend(participants.flat_map(|c| find_tls_hints(c, settings, inputs)));
    let services: BTreeMap<_, _> = planned
        .iter()
        .map(|container| (container.container.id.short().to_owned(), container.service))
        .collect();
    for problem in problems {
        let origin = match &problem.subject {
            ProblemSubject::Container(origin) => origin,
            ProblemSubject::Option(_) => {
                findings.insert(CheckFinding::from_problem(&problem));
                continue;
            }
            // Only two listeners of the file can be in conflict there.
            ProblemSubject::Listener(listener) => {
                let listeners = decided.routes.0.keys().map(|key| key.listener);
                let shares_port = |other: Listener| {
                    other.protocol.transport() == listener.protocol.transport()
                        && other.port == listener.port
                };
                if listener.is_tcp() && listeners.into_iter().any(shares_port) {
                    findings.insert(CheckFinding::from_problem(&problem));
                }
                continue;
            }
        };
        if let Some(service) =
            services.get(origin.id()).filter(|service| is_file_problem(&problem, service))
        {
            let finding = CheckFinding::from_service(service, &problem);
            findings.insert(CheckFinding { text: masks.mask_sentence(&finding.text), ..finding });
        }
    }
    findings.extend(excluded_services(&planned, settings));
    CheckReport { findings, kind: "service", labelled }
}

/// Checks services of an inactive profile, each by itself, because they may not be meant to run together.
fn check_inactive(
    project: &Project,
    settings: &Settings,
    inputs: TlsInputs<'_>,
) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    for planned_container in planned_container::plan_containers(project, &BTreeMap::new()) {
        let mut container = planned_container.container;
        let mut problems = near_miss_hints(&container, settings);
        if !settings.include_env {
            container.environment.clear();
        }
        problems.extend(label::parse_labels(&container, &settings.fences).problems);
        problems.extend(find_tls_hints(&container, settings, inputs));
        let ours =
            problems.iter().filter(|problem| is_file_problem(problem, planned_container.service));
        findings.extend(
            ours.map(|problem| CheckFinding::from_service(planned_container.service, problem)),
        );
    }
    findings
}

/// Returns the port of the host that is bound for a route.
fn bound_port(key: &RouteKey, rules: &Rules) -> ContainerPort {
    (key.listener.protocol.transport(), rules.bound_port(key.listener).get())
}

/// Returns a problem for each service with labels that publishes a host port on which HAProxy would listen for one of
/// the services.
fn listener_port_conflicts(
    planned: &[PlannedContainer<'_>],
    settings: &Settings,
    rules: &Rules,
) -> Vec<Problem> {
    let ours = planned
        .iter()
        .filter(|container| label::participates(&container.container, &settings.fences));
    let mut listeners = BTreeMap::new();
    for container in ours.clone() {
        for ask in label::parse_labels(&container.container, &settings.fences).requests {
            let port = bound_port(&ask.key, rules);
            listeners.entry(port).or_insert_with(|| ask.key.to_string());
        }
    }
    let mut problems = Vec::new();
    for container in ours.filter(|container| !is_balancer_service(container.service)) {
        let own = label::parse_labels(&container.container, &settings.fences).requests;
        for published in &container.container.published {
            let port = published.host_port;
            // Another problem already reports that the label has the wrong port.
            let exposed = container.container.exposed.of(published.transport);
            if own.iter().any(|ask| ask.port == port) && !exposed.contains(&port) {
                continue;
            }
            let meets = settings.bind.iter().any(|bind| match bind {
                Bind::Everywhere => true,
                Bind::At(ip) => {
                    ip.is_unspecified()
                        || published.host_ip.is_unspecified()
                        || *ip == published.host_ip
                }
            });
            let bound = (published.transport, port);
            let Some(other) = listeners.get(&bound).filter(|_| meets) else { continue };
            let own = own.iter().find(|ask| bound_port(&ask.key, rules) == bound);
            let route = own.map_or_else(|| other.clone(), |ask| ask.key.to_string());
            problems.push(Problem {
                subject: ProblemSubject::Container(container.container.to_ref()),
                label: None,
                reason: Reason::PublishesListener { port, route },
            });
        }
    }
    problems
}

/// Whether the service contains HAProxy, which is why it publishes HAProxy's ports.
fn is_balancer_service(service: &Service) -> bool {
    let names = [Some(&service.name), service.image.as_ref(), service.container_name.as_ref()];
    let words = ["balancer", "docker-glue", "haproxy"];
    names.into_iter().flatten().any(|name| words.iter().any(|text| name.contains(text)))
}

/// Returns services that have labels but do not match `--constraint`.
fn excluded_services(planned: &[PlannedContainer<'_>], settings: &Settings) -> Vec<CheckFinding> {
    let finding = |container: &PlannedContainer<'_>| {
        let lacks = |constraint: &&Constraint| !constraint.matches_container(&container.container);
        let has_our_labels =
            label::has_our_labels(container.container.labels.keys().map(String::as_str));
        let constraint =
            settings.fences.constraints.iter().find(lacks).filter(|_| has_our_labels)?;
        let name = &container.service.name;
        let text = format!(
            "service {name}: not served, because it does not match --constraint {constraint}"
        );
        Some(CheckFinding {
            place: Some(container.service.position.clone()),
            severity: Severity::Hint,
            text,
        })
    };
    planned.iter().filter_map(finding).collect()
}

/// Whether the problem exists on every machine and with any image, and no other finding reports it.
fn is_file_problem(problem: &Problem, service: &Service) -> bool {
    let blank = |label: &LabelText| service.empty_variables.contains_key(&label.key);
    match &problem.reason {
        Reason::NotExposed { .. } => false,
        Reason::HostEndsWithDot(_) => !problem.label.as_ref().is_some_and(blank),
        Reason::NoAddress { .. } => service.network == ServiceNetwork::None,
        _ => true,
    }
}

/// Returns the problem as text, with `who` instead of the container.
fn problem_text(who: &str, problem: &Problem) -> String {
    match &problem.label {
        Some(label) => format!("{who}: label {label}: {}", problem.reason),
        None => format!("{who}: {}", problem.reason),
    }
}

impl CheckReport {
    fn exit_status(&self) -> u8 {
        u8::from(self.count_findings(Severity::Problem) != 0)
    }

    fn count_findings(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|event| event.severity == severity).count()
    }

    fn to_text(&self) -> String {
        let mut lines: Vec<_> = self.findings.iter().map(CheckFinding::to_line).collect();
        let Self { kind, labelled: speaking, .. } = self;
        let (problems, hints) =
            (self.count_findings(Severity::Problem), self.count_findings(Severity::Hint));
        let of = match speaking {
            0 => {
                return [lines, vec![format!("no {kind} has labels for docker-balancer")]]
                    .concat()
                    .join("\n");
            }
            n => format!("{} with labels for docker-balancer", format_plural(*n, kind)),
        };
        let hints =
            if hints == 0 { String::new() } else { format!(", {}", format_plural(hints, "hint")) };
        let problems = if problems == 0 {
            "no problems".to_owned()
        } else {
            format_plural(problems, "problem")
        };
        lines.push(format!("{of}: {problems}{hints}"));
        lines.join("\n")
    }
}

impl CheckFinding {
    fn from_problem(problem: &Problem) -> Self {
        Self { place: None, severity: problem.reason.severity(), text: problem.to_string() }
    }

    fn from_note(note: &ComposeNote) -> Self {
        let dir = Some(note.position.clone());
        Self { place: dir, severity: note.severity(), text: note.to_string() }
    }

    fn from_service(service: &Service, problem: &Problem) -> Self {
        let label = problem.label.as_ref().and_then(|label| service.positions.get(&label.key));
        let ports = matches!(
            problem.reason,
            Reason::PublishesListener { .. } | Reason::PublishedPort { .. }
        );
        let dir = label.or(service.ports_at.as_ref().filter(|_| ports));
        let text =
            problem_text(&format!("service {}", SingleLine(Truncated(&service.name))), problem);
        let dir = Some(dir.unwrap_or(&service.position).clone());
        Self { place: dir, ..Self { text, ..Self::from_problem(problem) } }
    }

    fn to_line(&self) -> String {
        let option = self
            .place
            .as_ref()
            .map(|dir| format!("{} ", apply_style(LOCATION, format!("{}:", SingleLine(dir)))));
        let (style, word) = match self.severity {
            Severity::Problem => (ERROR, "problem:"),
            Severity::Hint => (WARN, "hint:"),
        };
        format!(
            "{}{} {}",
            option.unwrap_or_default(),
            apply_style(style, word),
            SingleLine(&self.text)
        )
    }
}
