//! `check`: what is wrong with labels, of containers that run, of a compose file, or of an image.
//!
//! A file is judged by itself: no Docker is asked, so that it is the same everywhere. What depends on the
//! machine (ports that are taken, networks that HAProxy does not reach) is `plan`'s to say.

use super::{
    Told,
    asked::{self, DockerAway},
};
use crate::{
    compose::{
        self, Mode, Note, Place, Project, Service,
        note::Plain,
        planned::{self, Planned},
    },
    container::{Container, ContainerId, Health, Image, NetworkMode, State},
    decide::{Memory, Rules, decide},
    docker::Interest,
    label::{self, Constraint},
    problem::{About, Label, Problem, Reason, Seen, Severity},
    serve,
    settings::{BindAddress, Settings},
    view::paint::{BAD, DOUBT, PLACE, paint},
    world::{Vantage, World},
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

pub(super) async fn check(
    compose: Option<&Path>,
    image: Option<&str>,
    settings: &Settings,
) -> Result<Told> {
    let found = match (compose, image) {
        (Some(file), _) => {
            let environment = std::env::vars().collect();
            of_project(&compose::read(file, &environment)?, settings)
        }
        (None, Some(image)) => of_image(image, settings).await?,
        (None, None) => of_containers(settings).await?,
    };
    Ok(Told { status: found.status(), text: found.text() })
}

/// All that is to be said.
struct Found {
    findings: BTreeSet<Finding>,
    /// Of what so many carry labels of ours: `container`.
    kind: &'static str,
    speaking: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    place: Option<Place>,
    severity: Severity,
    text: String,
}

async fn of_containers(settings: &Settings) -> Result<Found> {
    // All of each, as what is not for us may have been meant to be.
    let widen = |interest| Interest { everything: true, environment: true, ..interest };
    let (mut world, rules) = asked::world(settings, widen).await?;
    world.containers.retain(|_, it| matches!(it.state, State::Running | State::Paused));
    let mut hinted = Vec::new();
    for container in world.containers.values_mut() {
        if settings.fences.admit(container) {
            hinted.extend(hints(container, settings));
        }
        if !settings.include_env {
            Arc::make_mut(container).environment.clear();
        }
    }
    let takes_part = |it: &&Arc<Container>| label::takes_part(it, &settings.fences);
    let speaking = world.containers.values().filter(takes_part).count();
    let decided = decide(&world, Memory::default(), Instant::now(), &rules);
    let findings = decided.problems.iter().cloned().chain(hinted).map(|it| Finding::of(&it));
    Ok(Found { findings: findings.collect(), kind: "container", speaking })
}

/// What is not for us, and may have been meant to be.
fn hints(container: &Container, settings: &Settings) -> Vec<Problem> {
    let unread = label::in_environment(container).filter(|_| !settings.include_env);
    label::misspelt(container).chain(label::foreign(container)).chain(unread).collect()
}

async fn of_image(name: &str, settings: &Settings) -> Result<Found> {
    let engine = asked::engine(settings).await?;
    let image = engine.image(name).await.context(DockerAway)?;
    let image = image.with_context(|| {
        format!("Docker has no image {name}; get it with docker pull {name}, or build it")
    })?;
    let mut container = container(name, image);
    // What of its environment is meant for us is for whoever runs it to say.
    let hinted = label::misspelt(&container).chain(label::foreign(&container));
    let hinted: Vec<_> = hinted.collect();
    if !settings.include_env {
        container.environment.clear();
    }
    let speaking = usize::from(label::takes_part(&container, &label::Fences::default()));
    let problems = label::read(&container, &settings.fences).problems;
    let findings = problems
        .into_iter()
        .chain(hinted)
        .map(|it| Finding { text: said(&format!("image {name}"), &it), ..Finding::of(&it) });
    Ok(Found { findings: findings.collect(), kind: "image", speaking })
}

/// One that would be made of it, with nothing else said.
fn container(name: &str, image: Image) -> Container {
    let Image { labels, environment, exposed } = image;
    Container {
        id: ContainerId::new(""),
        name: name.to_owned(),
        image: name.to_owned(),
        created: 0,
        state: State::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment,
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed,
        published: Vec::new(),
        stop: None,
        leaving: false,
        started: None,
        image_id: None,
        label_fault: None,
    }
}

fn of_project(project: &Project, settings: &Settings) -> Found {
    let mut findings: BTreeSet<_> = project.notes.iter().map(Finding::of_note).collect();
    let mut project = project.clone();
    let services = project.services.iter_mut().chain(&mut project.inactive);
    // One container says what all of a service would; one without any is judged as well.
    services.for_each(|it| it.scale = 1);
    let inactive = Project { services: project.inactive.clone(), ..project.clone() };
    findings.extend(of_inactive(&inactive, settings));

    let mut planned = planned::containers(&project, &BTreeMap::new());
    let mut problems: Vec<_> =
        planned.iter().flat_map(|it| hints(&it.container, settings)).collect();
    if !settings.include_env {
        for it in &mut planned {
            it.container.environment.clear();
        }
    }
    let takes_part = planned.iter().filter(|it| label::takes_part(&it.container, &settings.fences));
    let speaking = takes_part.count();
    let (world, masks) = planned::onto(&World::default(), &project, planned.clone());
    let rules = serve::rules(settings, Vantage::Host);
    let decided = decide(&world, Memory::default(), Instant::now(), &rules);
    problems.extend(decided.problems.iter().cloned());
    problems.extend(takers(&planned, settings, &rules));
    let services: BTreeMap<_, _> =
        planned.iter().map(|it| (it.container.id.short().to_owned(), it.service)).collect();
    for problem in problems {
        let origin = match &problem.about {
            About::Container(origin) => origin,
            About::Option(_) => {
                findings.insert(Finding::of(&problem));
                continue;
            }
            About::Listener(_) => continue,
        };
        if let Some(service) = services.get(origin.id()).filter(|it| is_the_files(&problem, it)) {
            let finding = Finding::of_service(service, &problem);
            findings.insert(Finding { text: masks.in_words(&finding.text), ..finding });
        }
    }
    findings.extend(left_out(&planned, settings));
    Found { findings, kind: "service", speaking }
}

/// Services of a profile that is not active: each by itself, as they need not be meant to run together.
fn of_inactive(project: &Project, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for it in planned::containers(project, &BTreeMap::new()) {
        let mut container = it.container;
        let mut problems = hints(&container, settings);
        if !settings.include_env {
            container.environment.clear();
        }
        problems.extend(label::read(&container, &settings.fences).problems);
        let ours = problems.iter().filter(|problem| is_the_files(problem, it.service));
        findings.extend(ours.map(|problem| Finding::of_service(it.service, problem)));
    }
    findings
}

/// Services with labels that publish a port of the host on which HAProxy is to listen for one of them.
fn takers(planned: &[Planned<'_>], settings: &Settings, rules: &Rules) -> Vec<Problem> {
    let ours = planned.iter().filter(|it| label::takes_part(&it.container, &settings.fences));
    let mut listeners = BTreeMap::new();
    for it in ours.clone() {
        for ask in label::read(&it.container, &settings.fences).asks {
            let port = rules.bound(ask.key.listener).get();
            listeners.entry(port).or_insert_with(|| ask.key.to_string());
        }
    }
    let mut problems = Vec::new();
    for it in ours.filter(|it| !is_a_balancer(it.service)) {
        let own = label::read(&it.container, &settings.fences).asks;
        for published in &it.container.published {
            let port = published.host_port;
            // That the label has the wrong port is said already.
            if own.iter().any(|ask| ask.port == port) && !it.container.exposed.contains(&port) {
                continue;
            }
            let meets = settings.bind.iter().any(|bind| match bind {
                BindAddress::Everywhere => true,
                BindAddress::At(ip) => {
                    ip.is_unspecified()
                        || published.host_ip.is_unspecified()
                        || *ip == published.host_ip
                }
            });
            let Some(other) = listeners.get(&port).filter(|_| meets) else { continue };
            let own = own.iter().find(|ask| rules.bound(ask.key.listener).get() == port);
            let route = own.map_or_else(|| other.clone(), |ask| ask.key.to_string());
            problems.push(Problem {
                about: About::Container(it.container.origin()),
                label: None,
                reason: Reason::PublishesListener { port, route },
            });
        }
    }
    problems
}

/// It publishes HAProxy's ports because HAProxy is in it.
fn is_a_balancer(service: &Service) -> bool {
    let names = [Some(&service.name), service.image.as_ref(), service.container_name.as_ref()];
    let words = ["balancer", "docker-glue", "haproxy"];
    names.into_iter().flatten().any(|name| words.iter().any(|it| name.contains(it)))
}

/// Services that have labels, and not the one that the administrator asks for.
fn left_out(planned: &[Planned<'_>], settings: &Settings) -> Vec<Finding> {
    let finding = |it: &Planned<'_>| {
        let lacks = |constraint: &&Constraint| !constraint.holds(&it.container);
        let speaks = label::speaks(it.container.labels.keys().map(String::as_str));
        let constraint = settings.fences.constraints.iter().find(lacks).filter(|_| speaks)?;
        let name = &it.service.name;
        let text =
            format!("service {name}: it is left out, as --constraint {constraint} does not hold");
        Some(Finding { place: Some(it.service.place.clone()), severity: Severity::Hint, text })
    };
    planned.iter().filter_map(finding).collect()
}

/// Whether it is so on every machine, and whatever image the service has; and is not said already.
fn is_the_files(problem: &Problem, service: &Service) -> bool {
    let blank = |label: &Label| service.blanks.contains_key(&label.key);
    match &problem.reason {
        Reason::NotExposed { .. } => false,
        Reason::HostCutShort(_) => !problem.label.as_ref().is_some_and(blank),
        Reason::NoAddress { .. } => service.mode == Mode::None,
        _ => true,
    }
}

/// The problem, told of somebody else than a container.
fn said(who: &str, problem: &Problem) -> String {
    match &problem.label {
        Some(label) => format!("{who}: label {label}: {}", problem.reason),
        None => format!("{who}: {}", problem.reason),
    }
}

impl Found {
    fn status(&self) -> u8 {
        u8::from(self.count(Severity::Problem) != 0)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|it| it.severity == severity).count()
    }

    fn text(&self) -> String {
        let mut lines: Vec<_> = self.findings.iter().map(Finding::line).collect();
        let Self { kind, speaking, .. } = self;
        let (problems, hints) = (self.count(Severity::Problem), self.count(Severity::Hint));
        let of = match speaking {
            0 => {
                return [lines, vec![format!("no {kind} has labels for docker-balancer")]]
                    .concat()
                    .join("\n");
            }
            n => format!("{} with labels for docker-balancer", many(*n, kind)),
        };
        let hints = if hints == 0 { String::new() } else { format!(", {}", many(hints, "hint")) };
        let problems =
            if problems == 0 { "no problem".to_owned() } else { many(problems, "problem") };
        lines.push(format!("{of}: {problems}{hints}"));
        lines.join("\n")
    }
}

fn many(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl Finding {
    fn of(problem: &Problem) -> Self {
        Self { place: None, severity: problem.reason.severity(), text: problem.to_string() }
    }

    fn of_note(note: &Note) -> Self {
        let place = Some(note.place.clone());
        Self { place, severity: note.severity(), text: note.to_string() }
    }

    fn of_service(service: &Service, problem: &Problem) -> Self {
        let label = problem.label.as_ref().and_then(|label| service.lines.get(&label.key));
        let ports = matches!(
            problem.reason,
            Reason::PublishesListener { .. } | Reason::PublishedPort { .. }
        );
        let place = label.or(service.ports_at.as_ref().filter(|_| ports));
        let text = said(&format!("service {}", Plain(&service.name)), problem);
        let place = Some(place.unwrap_or(&service.place).clone());
        Self { place, ..Self { text, ..Self::of(problem) } }
    }

    fn line(&self) -> String {
        let place =
            self.place.as_ref().map(|it| format!("{} ", paint(PLACE, format!("{}:", Seen(it)))));
        let (style, word) = match self.severity {
            Severity::Problem => (BAD, "problem:"),
            Severity::Hint => (DOUBT, "hint:"),
        };
        format!("{}{} {}", place.unwrap_or_default(), paint(style, word), Seen(&self.text))
    }
}
