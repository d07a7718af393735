//! Scenarios of an engine with consumers of snapshots, handlers, or both.

use super::{EngineAnswer, EngineRequest, EngineState, ListAnswer};
use crate::{
    model::{
        container::{
            Container, ContainerId, ContainerState, ExposedPorts, Health, NetworkMode, StopConfig,
        },
        source_name::SourceName,
    },
    sources::{
        ContainerFilter, Description, EventCause, Snapshot, SnapshotConfig, Source,
        docker::{
            cache::{CacheQuery, CacheResponse, InspectOutcome},
            event::{Event, EventAction, EventSubject},
            inspect::InspectDetails,
            inspect_cache::InspectResult,
            replay::Replay,
        },
        source::Registration,
        update::ContainerUpdate,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// An engine whose running containers have their ids as names. Those in capitals have a docker-glue
/// label.
struct Scenario {
    source: Source,
    state: EngineState,
    start: Instant,
    now: Instant,
    running: Vec<&'static str>,
    /// The newest snapshot of each consumer.
    snapshots: BTreeMap<u64, String>,
    updates: Vec<String>,
}

impl Scenario {
    fn new(running: &[&'static str]) -> Self {
        let start = Instant::now();
        Self {
            source: Source::default(),
            state: EngineState::default(),
            start,
            now: start,
            running: running.to_vec(),
            snapshots: BTreeMap::new(),
            updates: Vec::new(),
        }
    }

    fn add_reader(&mut self) -> Registration {
        let filter = ContainerFilter {
            source: SourceName::NONE,
            has_our_labels: |labels| labels.contains_key("glue"),
            is_used_label: |label| label == "glue",
            named: BTreeSet::new(),
            required_labels: Vec::new(),
            reads_environment: false,
            matches_all: false,
            own_labels: None,
            own_container: None,
        };
        let updates = Arc::new(watch::channel(Snapshot::default()).0);
        let registration = self.source.publish_snapshots(SnapshotConfig::new(filter), updates);
        self.update_consumers();
        registration
    }

    fn add_handlers(&mut self) -> Registration {
        let registration = self.source.send_events(mpsc::channel(1).0);
        self.update_consumers();
        registration
    }

    fn update_consumers(&mut self) {
        let consumers = self.source.consumers();
        self.state.set_consumers(&consumers.borrow(), None, self.now);
    }

    fn connect(&mut self, replay: Replay) -> &mut Self {
        self.state.on_connect(replay, self.now);
        self
    }

    fn advance_to_millis(&mut self, millis: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(millis);
        self.state.on_tick(self.now);
        self
    }

    fn send_event(&mut self, action: &str, id: &str, time_nano: i64) -> &mut Self {
        let mut attributes = labels_of(id);
        if action == "kill" {
            attributes.insert("signal".to_owned(), "15".to_owned());
        }
        let what = EventAction::from_action(action, &attributes);
        let about = EventSubject::Container { id: ContainerId::new(id), what, attributes };
        let (action, name) = (action.to_owned(), id.to_owned());
        let cause = EventCause { action, name, time_nano, received_at: None };
        self.state.on_event(Event { cause, about }, self.now);
        self.publish();
        self
    }

    /// Returns the requests that are due.
    fn requests(&mut self) -> Vec<EngineRequest> {
        self.state.next_requests(self.now)
    }

    /// Answers all requests that are due until none is left, and returns them as text.
    fn answer_all(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            let requests = self.requests();
            if requests.is_empty() {
                return sent;
            }
            for request in requests {
                sent.push(request_text(&request));
                self.answer(request);
            }
        }
    }

    fn answer(&mut self, request: EngineRequest) {
        let answer = self.build_answer(request);
        self.state.on_answer(answer, self.now);
        self.publish();
    }

    fn build_answer(&self, request: EngineRequest) -> EngineAnswer {
        let running = || self.running.iter().map(|id| container(id));
        match request {
            EngineRequest::List { worlds, fingerprints } => {
                let worlds = worlds.into_iter().map(|(id, cached)| {
                    let containers = running().map(|one| cached.reuse_unchanged(one)).collect();
                    (id, CacheResponse { containers, networks: Some(BTreeMap::new()) })
                });
                let lines = running().map(|container| (container.id, "running".to_owned()));
                let fingerprints = fingerprints.then(|| lines.collect());
                EngineAnswer::List(ListAnswer {
                    worlds: worlds.collect(),
                    fingerprints,
                    warnings: Vec::new(),
                })
            }
            EngineRequest::Part { world, ids, networks, .. } => {
                let containers = running().filter(|container| ids.contains(&container.id));
                let containers = containers.map(Arc::new).collect();
                let response = CacheResponse { containers, networks: None };
                let query = CacheQuery::Ids { ids, networks };
                EngineAnswer::Part { world, query, response, warnings: Vec::new() }
            }
            EngineRequest::Details { world, id, .. } => {
                let outcome = InspectOutcome::Found(InspectDetails {
                    created: None,
                    started: Some(0),
                    network_mode: None,
                    environment: BTreeMap::new(),
                    stop: StopConfig { signal: None, timeout: None },
                    exposed: ExposedPorts::default(),
                    health: Health::Unchecked,
                });
                EngineAnswer::Details { world, id, outcome }
            }
            EngineRequest::Image { .. } => panic!("labels of images count"),
            EngineRequest::Description(id) => {
                let name = id.as_str().to_owned();
                let found = Description { id: id.clone(), name, json: "{}".into() };
                EngineAnswer::Description(id, InspectResult::Found(found))
            }
        }
    }

    fn publish(&mut self) {
        for (id, update) in self.state.take_snapshots() {
            let word = |container: &Arc<Container>| {
                let state = if container.stopping {
                    "stopping".to_owned()
                } else {
                    format!("{:?}", container.state).to_lowercase()
                };
                format!("{}={state}", container.name)
            };
            let words: Vec<_> = update.world.containers.values().map(word).collect();
            self.snapshots.insert(id, words.join(" "));
        }
        let updates = self.state.take_updates();
        self.updates.extend(updates.iter().filter_map(|update| match update {
            ContainerUpdate::Changed(containers) => {
                Some(format!("{} containers", containers.len()))
            }
            ContainerUpdate::Event(event, _) => Some(format!("{} {}", event.action, event.name)),
            ContainerUpdate::Stopping(_) | ContainerUpdate::Answering(_) => None,
        }));
    }

    fn snapshot(&self) -> &str {
        self.snapshots.values().next_back().map_or("", String::as_str)
    }
}

fn labels_of(id: &str) -> BTreeMap<String, String> {
    let labels = [("glue".to_owned(), "1".to_owned())];
    labels.into_iter().filter(|_| id.chars().all(char::is_uppercase)).collect()
}

fn container(id: &str) -> Container {
    Container {
        id: ContainerId::new(id),
        name: id.to_owned(),
        image: String::new(),
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels_of(id)),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
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

fn request_text(request: &EngineRequest) -> String {
    match request {
        EngineRequest::List { worlds, fingerprints } => {
            let handlers = if *fingerprints { " and handlers" } else { "" };
            format!("list for {}{handlers}", worlds.len())
        }
        EngineRequest::Part { ids, .. } => {
            let ids: Vec<_> = ids.iter().map(ContainerId::as_str).collect();
            format!("part {}", ids.join(" "))
        }
        EngineRequest::Details { id, .. } => format!("details {id}"),
        EngineRequest::Image { id, .. } => format!("image {}", id.as_str()),
        EngineRequest::Description(id) => format!("inspect {id}"),
    }
}

#[test]
fn one_list_serves_snapshots_and_handlers() {
    let mut scenario = Scenario::new(&["A", "b"]);
    let _all = (scenario.add_reader(), scenario.add_handlers());
    let requests = scenario.connect(Replay::default()).answer_all();
    assert_eq!(requests, ["list for 1 and handlers", "details A", "inspect A", "inspect b"]);
    assert_eq!(scenario.snapshot(), "A=running b=running");
    assert_eq!(scenario.updates, ["2 containers"]);
    assert!(scenario.state.is_current());
    // The second list confirms the first one; after that there is one every 30 s.
    for (millis, expected) in [(999, ""), (1000, "1"), (30_999, ""), (31_000, "1")] {
        let expected: Vec<_> =
            expected.split_terminator(' ').map(|n| format!("list for {n} and handlers")).collect();
        assert_eq!(scenario.advance_to_millis(millis).answer_all(), expected, "{millis}");
    }
}

#[test]
fn reader_of_snapshots_alone_inspects_its_own_containers_only() {
    let mut scenario = Scenario::new(&["A", "b", "c"]);
    let _reader = scenario.add_reader();
    assert_eq!(scenario.connect(Replay::default()).answer_all(), ["list for 1", "details A"]);
    assert!(scenario.send_event("start", "b", 1).answer_all().is_empty());
    assert_eq!(scenario.state.replay_start(), None, "nothing is to be sent again");
}

#[test]
fn handlers_alone_keep_no_snapshot() {
    let mut scenario = Scenario::new(&["A"]);
    let _handlers = scenario.add_handlers();
    let requests = scenario.connect(Replay::default()).answer_all();
    assert_eq!(requests, ["list for 0 and handlers", "inspect A"]);
    assert_eq!(scenario.send_event("die", "A", 1).answer_all(), ["inspect A"]);
    assert_eq!(scenario.updates, ["1 containers", "die A"]);
    assert!(scenario.snapshots.is_empty());
}

#[test]
fn readers_share_a_list_that_one_of_them_needs() {
    let mut scenario = Scenario::new(&["A"]);
    let first = scenario.add_reader();
    scenario.connect(Replay::default()).answer_all();
    scenario.advance_to_millis(1000).answer_all();
    // A consumer that registers later is served on the same connection.
    scenario.advance_to_millis(5000);
    let _second = scenario.add_reader();
    assert!(!scenario.state.is_current());
    assert_eq!(scenario.answer_all(), ["list for 2", "details A"]);
    assert!(scenario.state.is_current());
    assert_eq!(scenario.snapshot(), "A=running");
    // The list that confirms the second consumer's first one also serves the first consumer, whose
    // next list is later then.
    assert_eq!(scenario.advance_to_millis(6000).answer_all(), ["list for 2"]);
    assert!(scenario.advance_to_millis(35_999).answer_all().is_empty());
    assert_eq!(scenario.advance_to_millis(36_000).answer_all(), ["list for 2"]);
    drop(first);
    scenario.update_consumers();
    assert_eq!(scenario.advance_to_millis(66_000).answer_all(), ["list for 1"]);
}

#[test]
fn answer_for_a_reader_that_has_gone_is_dropped() {
    let mut scenario = Scenario::new(&["A"]);
    let reader = scenario.add_reader();
    let _handlers = scenario.add_handlers();
    let requests = scenario.connect(Replay::default()).requests();
    drop(reader);
    scenario.update_consumers();
    for request in requests {
        scenario.answer(request);
    }
    scenario.answer_all();
    assert_eq!(scenario.updates, ["1 containers"]);
    assert!(scenario.snapshots.is_empty() && scenario.state.is_current());
}

/// A container ends and starts again while the engine is disconnected.
#[test]
fn death_during_an_outage_is_sent_to_handlers_and_no_snapshot_shows_it() {
    let mut scenario = Scenario::new(&["A"]);
    let _all = (scenario.add_reader(), scenario.add_handlers());
    scenario.connect(Replay::default()).answer_all();
    scenario.send_event("start", "A", 5).answer_all();
    scenario.state.on_disconnect();
    assert_eq!(scenario.state.replay_start(), Some(5));
    scenario.connect(Replay::expect_until(Some(9)));
    for (action, time) in [("start", 5), ("kill", 6), ("die", 7)] {
        assert_eq!(scenario.send_event(action, "A", time).snapshot(), "A=running", "{action}");
    }
    scenario.send_event("start", "A", 8).answer_all();
    assert_eq!(scenario.snapshot(), "A=running");
    assert_eq!(scenario.updates[1..], ["start A", "kill A", "die A", "start A"]);
    // Later events apply at once.
    assert_eq!(scenario.send_event("die", "A", 10).snapshot(), "A=exited");
}

/// The engine repeats the last event even if its clock has changed.
#[test]
fn repeated_death_does_not_reach_a_snapshot() {
    let mut scenario = Scenario::new(&["A"]);
    let _all = (scenario.add_reader(), scenario.add_handlers());
    scenario.connect(Replay::default()).answer_all();
    scenario.send_event("die", "A", 500).send_event("start", "A", 501).answer_all();
    scenario.state.on_disconnect();
    scenario.connect(Replay::expect_until(Some(20))).answer_all();
    scenario.send_event("die", "A", 500);
    assert_eq!(scenario.snapshot(), "A=running");
    assert_eq!(scenario.updates[1..], ["die A", "start A"]);
    assert_eq!(scenario.send_event("die", "A", 21).snapshot(), "A=exited");
}

#[test]
fn failed_ping_makes_all_stale_until_something_arrives() {
    let mut scenario = Scenario::new(&["A"]);
    let _all = (scenario.add_reader(), scenario.add_handlers());
    scenario.connect(Replay::default()).answer_all();
    scenario.state.on_ping(false);
    assert!(!scenario.state.is_current());
    let connected = |scenario: &mut Scenario| {
        let updates = scenario.state.take_snapshots();
        updates.into_iter().map(|(_, update)| update.connected).collect::<Vec<_>>()
    };
    assert_eq!(connected(&mut scenario), [false]);
    scenario.state.on_ping(true);
    assert!(scenario.state.is_current());
    assert_eq!(connected(&mut scenario), [true]);
}
