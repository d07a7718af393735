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
        self, Mode, Place, Project, Service,
        planned::{self, Planned},
    },
    container::{Container, ContainerId, Health, Image, NetworkMode, State},
    decide::{Memory, decide},
    docker::Interest,
    label::{self, Constraint},
    problem::{About, Problem, Reason, Severity},
    serve,
    settings::Settings,
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
    let widen = |interest| Interest { speaks: may_speak, reads: may_be_read, ..interest };
    let (world, rules) = asked::world(settings, widen).await?;
    let runs = |it: &&Arc<Container>| matches!(it.state, State::Running | State::Paused);
    let takes_part = |it: &&Arc<Container>| label::takes_part(it, &settings.fences);
    let speaking = world.containers.values().filter(runs).filter(takes_part).count();
    let decided = decide(&world, Memory::default(), Instant::now(), &rules);
    let misspelt = world.containers.values().filter(runs).flat_map(|it| label::misspelt(it));
    let findings = decided.problems.into_iter().chain(misspelt).map(|it| Finding {
        place: None,
        severity: it.reason.severity(),
        text: it.to_string(),
    });
    Ok(Found { findings: findings.collect(), kind: "container", speaking })
}

async fn of_image(name: &str, settings: &Settings) -> Result<Found> {
    let engine = asked::engine(settings).await?;
    let image = engine.image(name).await.context(DockerAway)?;
    let image = image.with_context(|| {
        format!("Docker has no image {name}; get it with docker pull {name}, or build it")
    })?;
    let container = container(name, image, settings);
    let speaking = usize::from(label::takes_part(&container, &label::Fences::default()));
    let problems = label::read(&container, &settings.fences).problems;
    let problems = problems.into_iter().chain(label::misspelt(&container));
    let findings = problems.map(|it| Finding {
        place: None,
        severity: it.reason.severity(),
        text: said(&format!("image {name}"), &it),
    });
    Ok(Found { findings: findings.collect(), kind: "image", speaking })
}

/// One that would be made of it, with nothing else said.
fn container(name: &str, image: Image, settings: &Settings) -> Container {
    let Image { labels, environment, exposed } = image;
    Container {
        id: ContainerId::new(""),
        name: name.to_owned(),
        image: name.to_owned(),
        created: 0,
        state: State::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment: if settings.include_env { environment } else { BTreeMap::new() },
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed,
        published: Vec::new(),
        stop: None,
        leaving: false,
    }
}

/// Beside containers of ours, those that may have been meant to be.
fn may_speak(labels: &BTreeMap<String, String>) -> bool {
    labels.keys().any(|it| may_be_read(it))
}

fn may_be_read(label: &str) -> bool {
    label::is_read(label) || label::key::misspelt(label).is_some()
}

fn of_project(project: &Project, settings: &Settings) -> Found {
    let mut project = project.clone();
    if !settings.include_env {
        project.services.iter_mut().for_each(|it| it.environment.clear());
    }
    let planned = planned::containers(&project, &BTreeMap::new());
    let services: BTreeMap<_, _> =
        planned.iter().map(|it| (it.container.id.short().to_owned(), it.service)).collect();
    let takes_part = planned.iter().filter(|it| label::takes_part(&it.container, &settings.fences));
    let speaking: BTreeSet<_> = takes_part.map(|it| it.service.name.as_str()).collect();
    let speaking = speaking.len();
    let (world, masks) = planned::onto(&World::default(), &project, planned.clone());
    let rules = serve::rules(settings, Vantage::Host);
    let decided = decide(&world, Memory::default(), Instant::now(), &rules);
    let misspelt = planned.iter().flat_map(|it| label::misspelt(&it.container));
    let of_labels = decided.problems.into_iter().chain(misspelt).filter_map(|problem| {
        let About::Container(origin) = &problem.about else { return None };
        let service = services.get(origin.id()).filter(|it| is_the_files(&problem, it))?;
        let label = problem.label.as_ref().and_then(|label| service.lines.get(&label.key));
        Some(Finding {
            place: Some(label.unwrap_or(&service.place).clone()),
            severity: problem.reason.severity(),
            text: masks.in_words(&said(&format!("service {}", service.name), &problem)),
        })
    });
    let left_out = left_out(&planned, settings);
    let others = project.services.iter().flat_map(misplaced).chain(left_out);
    Found { findings: of_labels.chain(others).collect(), kind: "service", speaking }
}

/// Services that have labels, and not the one that the administrator asks for.
fn left_out(planned: &[Planned<'_>], settings: &Settings) -> Vec<Finding> {
    let finding = |it: &Planned<'_>| {
        let lacks = |constraint: &&Constraint| !constraint.holds(&it.container);
        let speaks = label::speaks(it.container.labels.keys().map(String::as_str));
        let Constraint { label, value } =
            settings.fences.constraints.iter().find(lacks).filter(|_| speaks)?;
        let value = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
        let name = &it.service.name;
        let text =
            format!("service {name}: it is left out, as --constraint {label}{value} does not hold");
        Some(Finding { place: Some(it.service.place.clone()), severity: Severity::Hint, text })
    };
    let mut findings: Vec<_> = planned.iter().filter_map(finding).collect();
    findings.dedup_by(|a, b| a.text == b.text);
    findings
}

/// Whether it is so on every machine, and whatever image the service has.
fn is_the_files(problem: &Problem, service: &Service) -> bool {
    match &problem.reason {
        Reason::NotExposed { .. } => false,
        Reason::NoAddress { .. } => service.mode == Mode::None,
        _ => true,
    }
}

fn misplaced(service: &Service) -> impl Iterator<Item = Finding> {
    service.misplaced.iter().map(|(key, place)| Finding {
        place: Some(place.clone()),
        severity: Severity::Problem,
        text: format!(
            "service {}: label {key}: labels under deploy are the Swarm service's, and no container gets them; \
             put it under the service's own labels",
            service.name
        ),
    })
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
    fn line(&self) -> String {
        let place = self.place.as_ref().map(|it| format!("{} ", paint(PLACE, format!("{it}:"))));
        let (style, word) = match self.severity {
            Severity::Problem => (BAD, "problem:"),
            Severity::Hint => (DOUBT, "hint:"),
        };
        format!("{}{} {}", place.unwrap_or_default(), paint(style, word), self.text)
    }
}
