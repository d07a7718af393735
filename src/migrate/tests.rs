//! Translations, by rows of labels, the labels that they become, and losses.

mod caddy;
mod easyhaproxy;
mod nginx_proxy;
mod output;
mod properties;
mod traefik;

use super::{ImagePorts, NoteKind, Program, ServiceInput, Translation, translate};
use crate::{
    label::{LabelLimits, parse_labels},
    model::{
        container::{Container, ContainerId, ContainerState, ExposedPorts, Health, NetworkMode},
        label_option::LabelOption,
        problem::{Reason, Severity},
    },
    sources::compose::interpolate::fill_variables,
};
use std::{collections::BTreeMap, sync::Arc};

/// Services, each after its name in brackets: lines are labels, variables after `env `, arguments after `run `, and
/// ports after `expose `, after `image-expose ` all that Docker knows, and after `publish ` those of host and container.
fn read_services(text: &str) -> Vec<ServiceInput> {
    let mut services: Vec<ServiceInput> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            services.push(ServiceInput { name: name.to_owned(), ..ServiceInput::default() });
            continue;
        }
        if services.is_empty() {
            services.push(ServiceInput { name: "web".to_owned(), ..ServiceInput::default() });
        }
        let service = services.last_mut().unwrap();
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        match line.split_once(' ') {
            Some(("env", variable)) => service.environment.extend([pair(variable)]),
            Some(("run", argument)) => service.command.push(argument.to_owned()),
            Some((kind @ ("expose" | "image-expose"), ports)) => {
                service.exposed.extend(ports.split(',').map(|port| port.parse::<u16>().unwrap()));
                if kind == "image-expose" {
                    service.image_ports = ImagePorts::Known;
                }
            }
            Some(("publish", ports)) => {
                let (host, container) = ports.split_once(':').unwrap();
                let [host, container] = [host, container].map(|port| port.parse().unwrap());
                service.published.insert(container, host);
            }
            Some(("image", image)) => image.clone_into(&mut service.image),
            _ => service.labels.extend([pair(line)]),
        }
    }
    services
}

/// Checks the labels, after the name of their service if it is not `web`, and a part of each loss.
fn check(program: Program, input: &str, labels: &[&str], losses: &[&str]) -> Translation {
    let translation = translate(program, &read_services(input));
    check_labels(&translation);
    let found = translation.services.iter().flat_map(|service| {
        let prefix = match service.name.as_str() {
            "web" => String::new(),
            name => format!("{name} "),
        };
        service.labels.iter().map(move |label| format!("{prefix}{}={}", label.key, label.value))
    });
    assert_eq!(found.collect::<Vec<_>>(), labels, "{input}\n{translation:#?}");
    let notes = translation.services.iter().flat_map(|service| &service.notes);
    let found = notes.filter(|note| note.kind == NoteKind::Loss);
    let found: Vec<_> = found.map(|note| format!("{}: {}", note.origin, note.text)).collect();
    assert_eq!(found.len(), losses.len(), "{input}\n{found:#?}");
    for loss in losses {
        assert!(found.iter().any(|text| text.contains(loss)), "{loss:?}\n{found:#?}");
    }
    translation
}

/// Checks that docker-balancer reads all labels, and that each has an origin.
fn check_labels(translation: &Translation) {
    for service in &translation.services {
        let mut labels = BTreeMap::new();
        for label in &service.labels {
            assert!(!label.origin.is_empty(), "{label:?} has an origin");
            let name = label.key.split(['_', '.']).nth(3).unwrap_or_default();
            let is_match = ["host", "prefix", "path", "bind"].contains(&name);
            let [key, value] = [&label.key, &label.value].map(|text| fill(text));
            let is_port = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
            let may_be_invalid = if label.key == "glue_http_ports" {
                !value.split(',').all(|port| is_port(port.trim()))
            } else {
                !is_match
            };
            if label.value.contains('$') && may_be_invalid {
                // Whether it is valid depends on the variable.
                continue;
            }
            if label.key.contains('$') && !key.split('_').nth(2).is_some_and(is_port) {
                // Likewise, whether its name has a port.
                continue;
            }
            labels.insert(key, value);
        }
        let parsed = parse_labels(&container(labels.clone()), &LabelLimits::default());
        // Policies are the administrator's. Without them the routes are closed.
        let is_about_policy = |reason: &Reason| {
            let unknown = matches!(reason, Reason::UnknownPolicy { .. });
            unknown || matches!(reason, Reason::RouteClosed { option: LabelOption::Use, .. })
        };
        // Two hosts may be equal only because of what a variable has.
        let has_variables = service.labels.iter().any(|label| label.value.contains('$'));
        let is_tie_noted =
            service.notes.iter().any(|note| note.text.contains("matches the same requests"));
        let is_same_host = |reason: &Reason| {
            let is_expected = has_variables || is_tie_noted;
            is_expected && matches!(reason, Reason::DuplicateRoute { .. })
        };
        let problems = parsed.problems.iter().filter(|problem| {
            let reason = &problem.reason;
            let is_expected = is_about_policy(reason) || is_same_host(reason);
            reason.severity() == Severity::Problem && !is_expected
        });
        let problems: Vec<_> = problems.map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{labels:#?}\n{problems:#?}\n{service:#?}");
        let is_match = |key: &String| {
            key == "glue_http_ports"
                || ["_host", "_prefix", "_path"].iter().any(|option| key.contains(option))
        };
        let has_match = labels.keys().any(is_match);
        assert!(!has_match || !parsed.requests.is_empty(), "{labels:#?}");
    }
}

/// Fills in variables as compose does: with their defaults, else with a number, which is a port and part of a host.
fn fill(text: &str) -> String {
    let mut variables = BTreeMap::new();
    loop {
        let filled = fill_variables(text, &variables).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let Some(empty) = filled.empty_variables.first() else { return filled.text };
        variables.insert(empty.name.clone(), "81".to_owned());
    }
}

fn container(labels: BTreeMap<String, String>) -> Container {
    Container {
        id: ContainerId::new("c0ffee"),
        name: "web".to_owned(),
        image: String::new(),
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Host,
        networks: Arc::default(),
        exposed: ExposedPorts::default(),
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
