use super::SnapshotEvents;
use crate::{
    model::{
        container::{Container, ContainerId, ContainerState, Health},
        source_name::SourceName,
        world::World,
    },
    sources::{
        ContainerUpdate, EventCause, Snapshot,
        docker::convert,
        snapshot_events::tests::Fact::{Absent, Words},
    },
};
use bollard::models::ContainerSummary;
use std::{collections::BTreeMap, sync::Arc};

enum Fact<'a> {
    Absent,
    Words(&'a str),
}

/// Returns a container `web` in the state that the words say; it runs if they do not.
fn container(words: &str) -> Arc<Container> {
    let id = "0".repeat(64);
    let summary = ContainerSummary {
        id: Some(id.clone()),
        names: Some(vec!["/web".to_owned()]),
        image: Some("nginx".to_owned()),
        ..ContainerSummary::default()
    };
    let source: SourceName = "fleet".parse().unwrap();
    let mut container = convert::parse_container(summary, &source).unwrap();
    container.id = ContainerId::in_source(source, id);
    container.state = ContainerState::Running;
    for word in words.split_whitespace() {
        match word {
            "created" => container.state = ContainerState::Created,
            "paused" => container.state = ContainerState::Paused,
            "expected" => container.state = ContainerState::Expected,
            "stopping" => container.stopping = true,
            "lost" => container.is_lost = true,
            "healthy" => container.health = Health::Healthy,
            "unhealthy" => container.health = Health::Unhealthy,
            "again" => container.started = Some(2),
            "renamed" => "other".clone_into(&mut container.name),
            "labels" => container.labels = Arc::new([("a".to_owned(), "b".to_owned())].into()),
            _ => {}
        }
    }
    if container.started != Some(2) {
        container.started = Some(1);
    }
    Arc::new(container)
}

fn snapshot(fact: &Fact<'_>, connected: bool) -> Snapshot {
    let containers: BTreeMap<_, _> = match fact {
        Absent => BTreeMap::new(),
        Words(words) => {
            let container = container(words);
            [(container.id.clone(), container)].into()
        }
    };
    let world = Some(Arc::new(World { containers, ..World::default() }));
    Snapshot { world, connected, ..Snapshot::default() }
}

/// Writes updates as words: events by their names, `all` for a list.
fn text(updates: &[ContainerUpdate]) -> String {
    let word = |update: &ContainerUpdate| match update {
        ContainerUpdate::Changed(_) => "all".to_owned(),
        ContainerUpdate::Event(event, _) => event.action.clone(),
        ContainerUpdate::Answering(true) => "+".to_owned(),
        ContainerUpdate::Answering(false) => "-".to_owned(),
        ContainerUpdate::Stopping(_) => unreachable!(),
    };
    updates.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn differences_of_two_snapshots_are_events() {
    for (before, after, expected) in [
        (Absent, Words("created"), "create"),
        (Absent, Words(""), "create, start"),
        (Absent, Words("stopping"), "create, start, kill, all"),
        (Absent, Words("healthy"), "create, start, health_status: healthy"),
        (Absent, Words("paused"), "create, start, pause"),
        (Words("created"), Words(""), "start"),
        (Words(""), Words("stopping"), "kill, all"),
        (Words(""), Absent, "die, destroy"),
        (Words("stopping"), Absent, "die, stop, destroy"),
        (Words("created"), Absent, "destroy"),
        (Words(""), Words("again"), "die, start"),
        (Words("stopping"), Words("again"), "die, stop, start"),
        (Words(""), Words("paused"), "pause"),
        (Words("paused"), Words(""), "unpause"),
        (Words(""), Words("unhealthy"), "health_status: unhealthy"),
        (Words("unhealthy"), Words("healthy"), "health_status: healthy"),
        (Words(""), Words("renamed"), "rename"),
        // Those that have no name of their own.
        (Words(""), Words("labels"), "update, all"),
        (Words(""), Words("lost"), "update, all"),
        (Words("lost"), Words(""), "update, all"),
        (Words(""), Words(""), ""),
        // A service without tasks has no container.
        (Words("expected"), Words(""), "create, start"),
        (Words(""), Words("expected"), "die, destroy"),
        (Absent, Words("expected"), ""),
    ] {
        let mut events = SnapshotEvents::default();
        assert_eq!(text(&events.update(&snapshot(&before, true), 1)), "all, +");
        let found = text(&events.update(&snapshot(&after, true), 2));
        let (before, after) = (show(&before), show(&after));
        assert_eq!(found, expected, "{before:?} -> {after:?}");
    }
}

fn show<'a>(fact: &Fact<'a>) -> &'a str {
    match fact {
        Absent => "absent",
        Words(words) => words,
    }
}

#[test]
fn source_that_answers_again_sends_all_containers_again() {
    let mut events = SnapshotEvents::default();
    let mut update = |snapshot: Snapshot| text(&events.update(&snapshot, 1));
    // It has not answered yet.
    assert_eq!(update(Snapshot::default()), "");
    assert_eq!(update(snapshot(&Words(""), true)), "all, +");
    assert_eq!(update(snapshot(&Words(""), false)), "-");
    assert_eq!(update(snapshot(&Words(""), false)), "");
    assert_eq!(update(snapshot(&Words(""), true)), "all, +");
    assert_eq!(update(snapshot(&Words(""), false)), "-");
    assert_eq!(update(snapshot(&Absent, true)), "die, destroy, all, +");
}

#[test]
fn event_has_the_container_after_it_and_the_time_of_its_cause() {
    let mut events = SnapshotEvents::default();
    events.update(&snapshot(&Absent, true), 1);
    let cause = EventCause {
        action: "service update".to_owned(),
        name: "web".to_owned(),
        time_nano: 7,
        received_at: None,
    };
    let started = Snapshot { cause: Some(cause), ..snapshot(&Words("labels"), true) };
    let updates = events.update(&started, 2);
    let [ContainerUpdate::Event(..), ContainerUpdate::Event(start, containers)] = &updates[..]
    else {
        panic!("{updates:?}")
    };
    assert_eq!((start.action.as_str(), start.name.as_str(), start.time_nano), ("start", "web", 7));
    let attributes = [("a", "b"), ("image", "nginx"), ("name", "web")];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(start.attributes, attributes.into());
    assert_eq!(start.description.as_ref(), containers.get(&start.id));
    let updates = events.update(&snapshot(&Absent, true), 3);
    let [ContainerUpdate::Event(die, containers), ContainerUpdate::Event(..)] = &updates[..] else {
        panic!("{updates:?}")
    };
    assert_eq!((die.action.as_str(), die.time_nano, containers.len()), ("die", 3, 0));
    let json = &die.description.as_ref().unwrap().json;
    assert!(json.contains(r#""Running":false"#) && json.contains(r#""a":"b""#), "{json}");
}

#[test]
fn ends_come_before_starts() {
    let with_id = |id: &str| {
        let container = container("");
        let id = ContainerId::in_source(container.id.source().clone(), id.repeat(64));
        let container = Container { id: id.clone(), ..Container::clone(&container) };
        let world = World { containers: [(id, Arc::new(container))].into(), ..World::default() };
        Snapshot { world: Some(Arc::new(world)), connected: true, ..Snapshot::default() }
    };
    let mut events = SnapshotEvents::default();
    events.update(&with_id("b"), 1);
    let updates = events.update(&with_id("a"), 2);
    assert_eq!(text(&updates), "die, destroy, create, start");
}
