//! The contract with users, cell by cell.

mod any;
mod fence;
mod habit;
mod host;
mod miss;
mod option;
mod part;
mod path;

use super::{
    Ask, Constraint, Fences, MOST_ROUTES, read, speaks, takes_part,
    value::{Check, CheckPath, Host, HostMatch, MOST_SEGMENTS, Obedience, PathPrefix, Retry},
    value::{Timeout, Weight},
};
use crate::{
    container::{Container, ContainerId, Health, NetworkMode, State},
    problem::{Reason, Severity},
    route::Strip,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Labels as `key=value` between blanks; `+` in a value is a blank.
fn check(labels: &str, asks: &[&str], problems: &[&str]) {
    check_fenced(&Fences::default(), &container(labels), asks, problems);
}

/// The same of a container that is not `container(labels)`, or behind fences.
fn check_fenced(fences: &Fences, container: &Container, asks: &[&str], problems: &[&str]) {
    let reading = read(container, fences);
    assert_eq!(reading.asks.iter().map(said).collect::<Vec<_>>(), asks, "{:?}", container.labels);
    let told: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
    let whole: Vec<_> =
        problems.iter().map(|text| format!("container web (c0ffee): {text}")).collect();
    assert_eq!(told, whole, "{:?}", container.labels);
    assert_eq!(reading, read(container, fences));
}

/// `host:public/prefix -> port`, and what differs from the defaults.
fn said(ask: &Ask) -> String {
    let mut text = format!("{} -> {}", ask.key, ask.port);
    if ask.weight != Weight::default() {
        write!(text, " weight {}", ask.weight.get()).unwrap();
    }
    if ask.policy.strip == Strip::Prefix {
        text += " strip";
    }
    match &ask.policy.check {
        Check::Tcp => {}
        Check::Off => text += " unchecked",
        Check::Http(path) => write!(text, " check {path}").unwrap(),
    }
    if ask.policy.timeout != Timeout::default() {
        write!(text, " timeout {}ms", ask.policy.timeout.millis()).unwrap();
    }
    match ask.policy.retry {
        Retry::Safe => {}
        Retry::All => text += " retry all",
        Retry::Off => text += " retry off",
    }
    match ask.obedience {
        Obedience::Obey => text,
        Obedience::Require => text + " require",
        Obedience::Ignore => text + " ignore",
    }
}

fn container(labels: &str) -> Container {
    with(labels.split_whitespace().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.replace('+', " "))
    }))
}

fn with(labels: impl IntoIterator<Item = (String, String)>) -> Container {
    Container {
        id: ContainerId::new("c0ffee"),
        name: "web".into(),
        image: "web:1".into(),
        created: 0,
        state: State::Running,
        health: Health::Unchecked,
        labels: std::sync::Arc::new(labels.into_iter().collect()),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: std::sync::Arc::default(),
        exposed: [80, 81, 8080, 3000].into(),
        published: Vec::new(),
        stop: None,
        leaving: false,
        started: None,
        image_id: None,
        label_fault: None,
    }
}

fn one(key: &str, value: &str) -> Container {
    with([(key.to_owned(), value.to_owned())])
}

fn ports(ports: &[u16]) -> BTreeSet<std::num::NonZeroU16> {
    ports.iter().map(|&port| port.try_into().unwrap()).collect()
}

fn hosts(patterns: &[&str]) -> Fences {
    let fence = |text: &&str| crate::settings::value::host_fence(text).unwrap();
    let hosts = patterns.iter().map(fence).collect();
    Fences { hosts, ..Fences::default() }
}
