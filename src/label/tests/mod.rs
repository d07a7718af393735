//! Label parsing, by rows of labels, requests and problems.

mod foreign_syntax;
mod host;
mod https;
mod limits;
mod near_miss;
mod option;
mod participation;
mod path;
mod policy;
mod properties;
mod protection;
mod stream;

use super::{
    Constraint, LabelLimits, MAX_ROUTES, RouteRequest, has_our_labels, parse_labels, participates,
};
use crate::model::{
    container::{Container, ContainerId, ContainerState, Health, NetworkMode},
    label_option::{LabelOption, OptionValue},
    option_value::{
        CheckMethod, CheckPath, HealthPolicy, Host, HostMatch, MAX_SEGMENTS, PathPrefix,
    },
    problem::{Reason, Severity},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Labels as `key=value` between blanks; `+` in a value is a blank.
fn check(labels: &str, requests: &[&str], problems: &[&str]) {
    check_limited(&LabelLimits::default(), &labelled(labels), requests, problems);
}

/// Like [`check`], for any container and with limits.
fn check_limited(
    limits: &LabelLimits,
    container: &Container,
    requests: &[&str],
    problems: &[&str],
) {
    let parsed = parse_labels(container, limits);
    assert_eq!(
        parsed.requests.iter().map(request_text).collect::<Vec<_>>(),
        requests,
        "{:?}",
        container.labels
    );
    let actual: Vec<_> = parsed.problems.iter().map(ToString::to_string).collect();
    let whole: Vec<_> =
        problems.iter().map(|text| format!("container web (c0ffee): {text}")).collect();
    assert_eq!(actual, whole, "{:?}", container.labels);
    assert_eq!(parsed, parse_labels(container, limits));
}

/// `host:public/prefix -> port`, and what differs from the defaults.
fn request_text(request: &RouteRequest) -> String {
    let mut text = format!("{} -> {}", request.key, request.port);
    for value in request.options.iter().chain(request.policy.iter()) {
        match value {
            OptionValue::StripPrefix(_) => text += " strip",
            OptionValue::Check(CheckMethod::Off) => text += " unchecked",
            OptionValue::Timeout(time) => write!(text, " timeout {}ms", time.as_millis()).unwrap(),
            value => write!(text, " {} {value}", value.option().name()).unwrap(),
        }
    }
    match request.health_policy {
        HealthPolicy::Obey => text,
        HealthPolicy::Require => text + " require",
        HealthPolicy::Ignore => text + " ignore",
    }
}

fn labelled(labels: &str) -> Container {
    from_labels(labels.split_whitespace().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.replace('+', " "))
    }))
}

fn from_labels(labels: impl IntoIterator<Item = (String, String)>) -> Container {
    Container {
        id: ContainerId::new("c0ffee"),
        name: "web".into(),
        image: "web:1".into(),
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: std::sync::Arc::new(labels.into_iter().collect()),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: std::sync::Arc::default(),
        exposed: [80, 81, 8080, 3000].into(),
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

fn single_label(key: &str, value: &str) -> Container {
    from_labels([(key.to_owned(), value.to_owned())])
}

fn port_set(ports: &[u16]) -> BTreeSet<std::num::NonZeroU16> {
    ports.iter().map(|&port| port.try_into().unwrap()).collect()
}

fn allowed_hosts(patterns: &[&str]) -> LabelLimits {
    let parse_allowed = |text: &&str| crate::settings::value::parse_host_fence(text).unwrap();
    let hosts = patterns.iter().map(parse_allowed).collect();
    LabelLimits { allowed_hosts: hosts, ..LabelLimits::default() }
}
