//! Scenarios: events and answers, and the resulting queries and publications.

use super::{CacheQuery, CacheResponse, ContainerCache, InspectOutcome};
use crate::{
    model::{
        container::{
            Container, ContainerId, ContainerState, ExposedPorts, Health, Image, ImageId,
            NetworkEndpoint, NetworkMode, StopConfig,
        },
        source_name::SourceName,
    },
    sources::{
        ContainerFilter, EventCause,
        docker::{
            event::{Event, EventAction, EventSubject},
            image_labels::ImageAnswer,
            inspect::InspectDetails,
        },
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

const RELIST: Duration = Duration::from_secs(30);

/// A `ContainerCache` with an engine that the test simulates. Times are seconds from the start.
struct Scenario {
    cache: ContainerCache,
    start: Instant,
    now: Instant,
    next_time_nano: i64,
}

impl Scenario {
    fn new(change: impl FnOnce(&mut ContainerFilter)) -> Self {
        let mut filter = ContainerFilter {
            source: SourceName::NONE,
            required_labels: Vec::new(),
            has_our_labels: |labels| labels.contains_key("glue"),
            is_used_label: |label| label == "glue",
            reads_environment: false,
            matches_all: false,
            named: BTreeSet::new(),
            own_labels: None,
            own_container: None,
        };
        change(&mut filter);
        let start = Instant::now();
        let cache = ContainerCache::new(filter, RELIST, start);
        Self { cache, start, now: start, next_time_nano: 1 }
    }

    /// Creates a connected cache with this list, after all inspections.
    fn from_list(list: &[Container]) -> Self {
        let mut scenario = Self::new(|_| ());
        scenario.connect();
        scenario.ask_and_answer("all", list);
        scenario.advance_to(1).ask_and_answer("all", list);
        while scenario
            .cache
            .next_inspection()
            .is_some_and(|id| scenario.answer_inspection(&id, "", None))
        {}
        scenario.published_text();
        scenario
    }

    fn connect(&mut self) -> &mut Self {
        self.cache.on_connect(self.now);
        self
    }

    fn advance_to(&mut self, seconds: u64) -> &mut Self {
        self.now = self.start + Duration::from_secs(seconds);
        self.cache.on_tick(self.now);
        self
    }

    fn send_event(&mut self, id: &str, action: &str) -> &mut Self {
        self.send_event_with(id, action, &[])
    }

    fn send_event_with(&mut self, id: &str, action: &str, more: &[(&str, &str)]) -> &mut Self {
        let attributes = string_map(more);
        let what = EventAction::from_action(action, &attributes);
        let about = match action {
            "connect" | "disconnect" => EventSubject::Attachment(ContainerId::new(id)),
            _ if id.is_empty() => EventSubject::Network,
            _ => EventSubject::Container { id: ContainerId::new(id), what, attributes },
        };
        let (action, name) = (action.to_owned(), id.to_owned());
        let cause = EventCause { action, name, time_nano: self.next_time_nano, received_at: None };
        self.next_time_nano += 1;
        self.cache.on_event(Event { cause, about }, self.now);
        self
    }

    fn send_kill(&mut self, id: &str, signal: &str) -> &mut Self {
        self.send_event_with(id, "kill", &[("signal", signal)])
    }

    /// Returns the next query as text: `all`, the ids, `+networks`; empty if there is none.
    fn next_query(&mut self) -> String {
        self.cache.next_query(self.now).map(|ask| query_text(&ask)).unwrap_or_default()
    }

    fn answer_query(&mut self, query: &str, list: &[Container]) -> &mut Self {
        let networks = (query == "all").then(BTreeMap::new);
        let memory = self.cache.to_snapshot();
        let containers =
            list.iter().cloned().map(|received| memory.reuse_unchanged(received)).collect();
        let answer = CacheResponse { containers, networks };
        let ask = match query {
            "all" => CacheQuery::All,
            ids => CacheQuery::Ids {
                ids: ids.split(' ').map(ContainerId::new).collect(),
                networks: false,
            },
        };
        self.cache.on_response(&ask, answer, self.now);
        self
    }

    fn advance_to_millis(&mut self, millis: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(millis);
        self.cache.on_tick(self.now);
        self
    }

    fn ask_and_answer(&mut self, expected: &str, list: &[Container]) -> &mut Self {
        assert_eq!(self.next_query(), expected);
        self.answer_query(expected, list)
    }

    fn answer_inspection(&mut self, id: &ContainerId, signal: &str, timeout: Option<i64>) -> bool {
        let signal = (!signal.is_empty()).then(|| signal.to_owned());
        self.inspect_with_environment(id, &[], StopConfig { signal, timeout });
        true
    }

    fn inspect_with_start(&mut self, id: &ContainerId, started: i64) {
        let (created, environment, stop) =
            (None, string_map(&[]), StopConfig { signal: None, timeout: None });
        let (started, exposed, health) =
            (Some(started), ExposedPorts::default(), Health::Unchecked);
        let network_mode = None;
        let details =
            InspectDetails { created, started, network_mode, environment, stop, exposed, health };
        self.cache.on_inspection(id, InspectOutcome::Found(details), self.now);
    }

    fn inspect_with_environment(
        &mut self,
        id: &ContainerId,
        environment: &[(&str, &str)],
        stop: StopConfig,
    ) {
        let (environment, exposed) = (string_map(environment), ExposedPorts::default());
        let (created, started, health) = (None, Some(0), Health::Unchecked);
        let network_mode = None;
        let details =
            InspectDetails { created, started, network_mode, environment, stop, exposed, health };
        self.cache.on_inspection(id, InspectOutcome::Found(details), self.now);
    }

    /// Returns what is published as text, with the action that caused it; empty if nothing is
    /// published.
    fn published_text(&mut self) -> String {
        let Some(shown) = self.cache.take_update() else { return String::new() };
        let word = |container: &std::sync::Arc<Container>| {
            let mut word = format!("{}={:?}", container.name, container.state).to_lowercase();
            if container.stopping {
                word.push_str("/leaving");
            }
            if container.health != Health::Unchecked {
                word = format!("{word}/{:?}", container.health).to_lowercase();
            }
            word
        };
        let mut words: Vec<_> = shown.world.containers.values().map(word).collect();
        words.extend(shown.cause.map(|cause| format!("<- {}", cause.action)));
        if !shown.connected {
            words.push("(away)".to_owned());
        }
        if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
    }

    fn expect_published(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.published_text(), expected);
        self
    }

    fn expect_query(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.next_query(), expected);
        self
    }
}

fn query_text(ask: &CacheQuery) -> String {
    match ask {
        CacheQuery::All => "all".to_owned(),
        CacheQuery::Ids { ids, networks } => {
            let ids: Vec<_> = ids.iter().map(ContainerId::as_str).collect();
            format!("{}{}", ids.join(" "), if *networks { "+networks" } else { "" })
        }
    }
}

fn string_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A running container with a docker-glue label; its name is its id.
fn labelled_container(id: &str) -> Container {
    Container { labels: string_map(&[("glue", "1")]).into(), ..plain_container(id) }
}

fn plain_container(id: &str) -> Container {
    Container {
        id: ContainerId::new(id),
        name: id.to_owned(),
        image: String::new(),
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: Arc::default(),
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

fn with_state(container: Container, state: ContainerState) -> Container {
    Container { state, ..container }
}

#[test]
fn empty_first_list_is_published() {
    let mut scenario = Scenario::new(|_| ());
    scenario.expect_published("").connect();
    scenario.expect_query("all").expect_query("").expect_published("");
    scenario.answer_query("all", &[]).expect_published("nothing").expect_published("");
}

#[test]
fn list_is_repeated_soon_after_connecting_then_at_long_intervals() {
    let mut scenario = Scenario::new(|_| ());
    scenario.connect();
    scenario
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("a=running")
        .expect_query("");
    scenario
        .advance_to(1)
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("")
        .expect_query("");
    scenario
        .advance_to(30)
        .expect_query("")
        .advance_to(31)
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("");
    assert_eq!(scenario.cache.wake_at(), scenario.start + Duration::from_secs(61));
}

#[test]
fn event_marks_container_dirty_and_response_sets_state() {
    let mut scenario = Scenario::from_list(&[labelled_container("a"), labelled_container("b")]);
    scenario.send_event("a", "pause").expect_published("");
    scenario.ask_and_answer("a", &[with_state(labelled_container("a"), ContainerState::Paused)]);
    scenario.expect_published("a=paused b=running <- pause").expect_query("");
    scenario
        .send_event("b", "rename")
        .ask_and_answer("b", &[labelled_container("b")])
        .expect_published("");
}

#[test]
fn list_that_shows_an_event_during_it_gets_the_name_of_the_event() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    let paused = [with_state(labelled_container("a"), ContainerState::Paused)];
    scenario.advance_to(31).expect_query("all");
    scenario.send_event("a", "pause").expect_published("");
    scenario.answer_query("all", &paused).expect_published("a=paused <- pause");
    scenario.ask_and_answer("a", &paused).expect_published("");
}

#[test]
fn events_during_a_query_are_merged_into_one_next_query() {
    let mut scenario = Scenario::from_list(&[
        labelled_container("a"),
        labelled_container("b"),
        labelled_container("c"),
    ]);
    scenario.send_event("a", "update").expect_query("a");
    scenario
        .send_event("b", "update")
        .send_event("c", "update")
        .send_event("b", "update")
        .expect_query("");
    scenario.answer_query("a", &[labelled_container("a")]).expect_query("b c");
}

#[test]
fn container_missing_in_response_is_removed() {
    let mut scenario = Scenario::from_list(&[labelled_container("a"), labelled_container("b")]);
    scenario
        .send_event("a", "destroy")
        .ask_and_answer("a", &[])
        .expect_published("b=running <- destroy");
}

#[test]
fn started_container_with_our_labels_is_added() {
    let mut scenario = Scenario::from_list(&[]);
    scenario.send_event_with("a", "start", &[("glue", "1")]);
    scenario.ask_and_answer("a", &[labelled_container("a")]).expect_published("a=running <- start");
}

#[test]
fn container_without_our_labels_causes_no_query() {
    let mut scenario = Scenario::from_list(&[labelled_container("a"), plain_container("p")]);
    for action in ["create", "start", "die", "destroy", "health_status: healthy", "connect"] {
        scenario.send_event("p", action).send_event("q", action);
    }
    scenario.send_kill("p", "15").expect_query("").expect_published("");
}

#[test]
fn filter_matching_all_tracks_every_container() {
    let mut scenario = Scenario::new(|filter| filter.matches_all = true);
    scenario.connect();
    scenario
        .ask_and_answer("all", &[with_state(plain_container("p"), ContainerState::Exited)])
        .expect_published("p=exited");
    scenario
        .send_event("p", "start")
        .ask_and_answer("p", &[plain_container("p")])
        .expect_published("p=running <- start");
}

#[test]
fn stopped_container_without_our_labels_is_dropped() {
    let stopped = [
        with_state(labelled_container("a"), ContainerState::Exited),
        with_state(plain_container("p"), ContainerState::Exited),
    ];
    let mut scenario = Scenario::new(|_| ());
    scenario.connect();
    scenario.ask_and_answer("all", &stopped).expect_published("a=exited");
}

#[test]
fn network_owner_is_tracked_like_its_sharer() {
    let user = Container {
        network_mode: NetworkMode::Container(ContainerId::new("p")),
        ..labelled_container("a")
    };
    let mut scenario = Scenario::from_list(&[user, plain_container("p"), plain_container("q")]);
    scenario
        .send_event("q", "connect")
        .expect_query("")
        .send_event("p", "connect")
        .expect_query("p");
}

/// A container with a docker-glue label, in the network of another container.
fn network_sharer(id: &str, owner: &str) -> Container {
    Container {
        network_mode: NetworkMode::Container(ContainerId::new(owner)),
        ..labelled_container(id)
    }
}

#[test]
fn dead_network_owner_is_published_as_exited_and_tracked() {
    let mut scenario = Scenario::from_list(&[network_sharer("a", "p"), plain_container("p")]);
    scenario.send_kill("p", "9").expect_published("a=running p=running/leaving <- kill");
    scenario.send_event("p", "die").expect_published("a=running p=exited <- die");
    scenario
        .ask_and_answer("p", &[with_state(plain_container("p"), ContainerState::Exited)])
        .expect_published("");
    scenario.send_event("p", "start").ask_and_answer("p", &[plain_container("p")]);
    scenario.expect_published("a=running p=running <- start");
    scenario
        .send_event("p", "destroy")
        .ask_and_answer("p", &[])
        .expect_published("a=running <- destroy");
}

#[test]
fn network_owner_of_started_sharer_is_queried_and_tracked() {
    let mut scenario = Scenario::from_list(&[]);
    scenario
        .send_event("p", "start")
        .expect_query("")
        .send_event_with("a", "start", &[("glue", "1")])
        .expect_query("a");
    let received = [network_sharer("a", "p")];
    let owners = scenario.cache.to_snapshot().find_new_network_owners(&received);
    assert_eq!(owners, [ContainerId::new("p")].into());
    scenario
        .answer_query("a", &[network_sharer("a", "p"), plain_container("p")])
        .expect_published("a=running p=running <- start");
    // It may have died while its events were still ignored.
    scenario
        .advance_to_millis(1010)
        .ask_and_answer("p", &[with_state(plain_container("p"), ContainerState::Exited)]);
    scenario.expect_published("a=running p=exited <- start");
    scenario.send_event("p", "start").expect_query("p");
}

#[test]
fn untracked_cached_network_owner_is_queried() {
    let mut scenario = Scenario::from_list(&[
        plain_container("p"),
        network_sharer("b", "q"),
        plain_container("q"),
    ]);
    let ask = |scenario: &Scenario, received: Container| {
        let owners = scenario.cache.to_snapshot().find_new_network_owners(&[received]);
        owners.iter().map(ContainerId::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ask(&scenario, network_sharer("a", "p")), "p");
    assert_eq!(ask(&scenario, network_sharer("a", "q")), "");
    scenario.send_event("p", "die").expect_query("");
}

#[test]
fn network_owner_of_network_owner_is_tracked() {
    let middle = Container { labels: Arc::default(), ..network_sharer("p", "q") };
    let mut scenario =
        Scenario::from_list(&[network_sharer("a", "p"), middle, plain_container("q")]);
    scenario.send_event("q", "die").expect_published("a=running p=running q=exited <- die");
}

#[test]
fn unneeded_network_owner_is_no_longer_tracked() {
    let mut scenario = Scenario::from_list(&[network_sharer("a", "p"), plain_container("p")]);
    scenario
        .send_event("a", "destroy")
        .ask_and_answer("a", &[])
        .expect_published("p=running <- destroy");
    scenario.send_event("p", "die").send_event("p", "start").expect_query("").expect_published("");
}

#[test]
fn exited_network_owner_is_kept_while_sharer_exists() {
    let mut scenario = Scenario::from_list(&[
        network_sharer("a", "p"),
        with_state(plain_container("p"), ContainerState::Exited),
    ]);
    scenario
        .send_event("a", "update")
        .ask_and_answer("a", &[network_sharer("a", "p")])
        .expect_published("");
    scenario.send_event("a", "destroy").ask_and_answer("a", &[]).expect_published("<- destroy");
}

/// The start time, if it matters, comes from an inspection first and from events afterwards.
#[test]
fn start_time_of_sharer_and_owner_is_inspected_once() {
    let mut scenario = Scenario::new(|_| ());
    scenario.connect();
    let list = [
        network_sharer("a", "p"),
        plain_container("p"),
        labelled_container("b"),
        plain_container("q"),
    ];
    scenario.ask_and_answer("all", &list).published_text();
    let mut inspected = Vec::new();
    while let Some(id) = scenario.cache.next_inspection() {
        inspected.push(id.to_string());
        scenario.inspect_with_start(&id, 5);
    }
    assert_eq!(inspected, ["a", "b", "p"]);
    scenario.advance_to(1).ask_and_answer("all", &list);
    assert_eq!(scenario.cache.next_inspection(), None);
    let started = |scenario: &Scenario, id: &str| {
        scenario.cache.world.containers[&ContainerId::new(id)].started
    };
    assert_eq!([started(&scenario, "a"), started(&scenario, "p")], [Some(5), Some(5)]);
    scenario.next_time_nano = 70;
    scenario
        .send_event("p", "die")
        .send_event("p", "start")
        .ask_and_answer("p", &[plain_container("p")]);
    assert_eq!((started(&scenario, "p"), scenario.cache.next_inspection()), (Some(71), None));
    // No event reported that start.
    scenario.advance_to(40).send_event("p", "die").ask_and_answer("all", &list);
    scenario.advance_to(101).ask_and_answer("all", &list);
    assert_eq!(
        (started(&scenario, "p"), scenario.cache.next_inspection()),
        (None, Some(ContainerId::new("p")))
    );
}

#[test]
fn own_container_is_tracked_without_labels() {
    let mut scenario = Scenario::new(|filter| filter.own_container = Some(ContainerId::new("p")));
    scenario.connect();
    scenario
        .ask_and_answer("all", &[plain_container("p")])
        .send_event("p", "disconnect")
        .expect_query("p");
}

#[test]
fn stop_signal_marks_container_stopping_without_query() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.send_kill("a", "15").expect_published("a=running/leaving <- kill").expect_query("");
    scenario.send_event("a", "die").expect_published("a=exited <- die").expect_query("a");
    scenario
        .answer_query("a", &[with_state(labelled_container("a"), ContainerState::Exited)])
        .expect_published("");
}

#[test]
fn only_stop_signals_mark_container_stopping() {
    for (own, sent, leaves) in [
        ("", "15", true),
        ("", "9", true),
        ("", "1", false),
        ("", "3", false),
        ("", "", false),
        ("SIGQUIT", "3", true),
        ("SIGQUIT", "15", true),
        ("QUIT", "3", true),
        ("3", "3", true),
        ("RTMIN+3", "37", true),
        ("SIGWINCH", "28", true),
        ("SIGWINCH", "1", false),
    ] {
        let mut scenario = Scenario::from_list(&[labelled_container("a")]);
        scenario.answer_inspection(&ContainerId::new("a"), own, None);
        scenario.published_text();
        scenario.send_kill("a", sent).expect_query("");
        let expected = if leaves { "a=running/leaving <- kill" } else { "" };
        assert_eq!(scenario.published_text(), expected, "{own} {sent}");
    }
}

#[test]
fn container_alive_after_stop_timeout_is_running_again() {
    for (timeout, back) in [(None, 13), (Some(3), 6), (Some(0), 3)] {
        let mut scenario = Scenario::from_list(&[labelled_container("a")]);
        scenario.answer_inspection(&ContainerId::new("a"), "", timeout);
        scenario.published_text();
        scenario.send_kill("a", "15").expect_published("a=running/leaving <- kill");
        assert_eq!(scenario.cache.wake_at(), scenario.start + Duration::from_secs(back));
        scenario
            .advance_to(back - 1)
            .expect_published("")
            .advance_to(back)
            .expect_published("a=running");
    }
}

#[test]
fn container_with_endless_stop_timeout_stays_stopping() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.answer_inspection(&ContainerId::new("a"), "", Some(-1));
    scenario.published_text();
    scenario
        .send_kill("a", "15")
        .expect_published("a=running/leaving <- kill")
        .advance_to(3000)
        .expect_published("");
    scenario
        .send_event("a", "start")
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("a=running <- start");
}

#[test]
fn response_older_than_stop_signal_or_death_is_overridden() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .send_event("a", "update")
        .expect_query("a")
        .send_kill("a", "15")
        .expect_published("a=running/leaving <- kill");
    scenario.answer_query("a", &[labelled_container("a")]).expect_published("");
    scenario
        .send_event("a", "update")
        .expect_query("a")
        .send_event("a", "die")
        .expect_published("a=exited <- die");
    scenario.answer_query("a", &[labelled_container("a")]).expect_published("");
    scenario
        .ask_and_answer("a", &[with_state(labelled_container("a"), ContainerState::Restarting)]);
    scenario.expect_published("a=restarting <- die");
}

#[test]
fn late_list_is_rechecked_three_times() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .send_event("a", "pause")
        .ask_and_answer("a", &[labelled_container("a")])
        .expect_published("")
        .expect_query("");
    assert_eq!(scenario.cache.wake_at(), scenario.start + Duration::from_millis(1010));
    scenario
        .advance_to_millis(1009)
        .expect_query("")
        .advance_to_millis(1010)
        .ask_and_answer("a", &[labelled_container("a")])
        .expect_published("");
    scenario
        .advance_to_millis(1110)
        .ask_and_answer("a", &[labelled_container("a")])
        .expect_published("")
        .advance_to_millis(2109)
        .expect_query("");
    scenario
        .advance_to_millis(2110)
        .ask_and_answer("a", &[with_state(labelled_container("a"), ContainerState::Paused)]);
    scenario.expect_published("a=paused <- pause").advance_to_millis(9000).expect_query("");
}

/// `event | answer | whether the container is requested again`
#[test]
fn event_is_rechecked_until_response_confirms_it() {
    let at = |address: &str| {
        let endpoint = NetworkEndpoint { ipv4: address.parse().ok(), ..NetworkEndpoint::default() };
        Container {
            networks: BTreeMap::from([("bridge".to_owned(), endpoint)]).into(),
            ..labelled_container("a")
        }
    };
    let with_health = |health| Container { health, ..labelled_container("a") };
    let on_host = Container { network_mode: NetworkMode::Host, ..labelled_container("a") };
    for (action, received, again) in [
        ("start", Some(at("10.0.0.2")), false),
        ("start", Some(at("")), true),
        ("start", Some(on_host), false),
        ("start", Some(with_state(at("10.0.0.2"), ContainerState::Created)), true),
        ("start", None, false),
        ("pause", Some(with_state(labelled_container("a"), ContainerState::Paused)), false),
        ("pause", Some(labelled_container("a")), true),
        ("unpause", Some(with_state(at("10.0.0.2"), ContainerState::Paused)), true),
        ("unpause", Some(at("10.0.0.2")), false),
        ("die", Some(with_state(labelled_container("a"), ContainerState::Exited)), false),
        ("die", Some(with_state(labelled_container("a"), ContainerState::Restarting)), false),
        ("die", Some(labelled_container("a")), true),
        ("destroy", Some(with_state(labelled_container("a"), ContainerState::Exited)), true),
        ("destroy", None, false),
        ("health_status: healthy", Some(with_health(Health::Healthy)), false),
        ("health_status: healthy", Some(with_health(Health::Starting)), true),
        ("health_status: unhealthy", Some(with_health(Health::Unhealthy)), false),
        ("connect", Some(at("10.0.0.2")), true),
        ("rename", Some(at("10.0.0.2")), true),
    ] {
        let mut scenario = Scenario::from_list(&[labelled_container("a")]);
        let list: Vec<_> = received.into_iter().collect();
        scenario.send_event("a", action).ask_and_answer("a", &list).published_text();
        scenario.advance_to_millis(1010);
        assert_eq!(scenario.next_query() == "a", again, "{action} {list:?}");
    }
}

#[test]
fn response_to_older_query_does_not_confirm_newer_event() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    let paused = [with_state(labelled_container("a"), ContainerState::Paused)];
    scenario
        .send_event("a", "update")
        .expect_query("a")
        .send_event("a", "pause")
        .answer_query("a", &paused);
    scenario.ask_and_answer("a", &[labelled_container("a")]).published_text();
    scenario.advance_to_millis(1010).expect_query("a");
}

#[test]
fn started_container_costs_one_query_and_one_inspection() {
    let started = Container { network_mode: NetworkMode::Host, ..labelled_container("a") };
    let mut scenario = Scenario::from_list(&[]);
    scenario.send_event("a", "connect").expect_query("").send_event_with(
        "a",
        "start",
        &[("glue", "1")],
    );
    scenario
        .ask_and_answer("a", &[started])
        .expect_published("a=running <- start")
        .expect_query("");
    assert_eq!(scenario.cache.next_inspection(), Some(ContainerId::new("a")));
    scenario.answer_inspection(&ContainerId::new("a"), "", None);
    scenario.advance_to_millis(9000).expect_query("");
}

#[test]
fn network_event_of_stopped_container_causes_no_query() {
    let mut scenario =
        Scenario::from_list(&[with_state(labelled_container("a"), ContainerState::Exited)]);
    scenario.send_event("a", "connect").expect_query("").send_event("a", "start").expect_query("a");
    scenario.send_event("a", "connect").answer_query("a", &[]).expect_query("a");
}

#[test]
fn late_list_does_not_revive_dead_container() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.send_event("a", "die").expect_published("a=exited <- die");
    scenario.ask_and_answer("a", &[labelled_container("a")]).expect_published("");
    scenario
        .advance_to_millis(1010)
        .ask_and_answer("a", &[with_state(labelled_container("a"), ContainerState::Exited)])
        .expect_published("");
}

#[test]
fn death_contradicted_by_lists_expires() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .send_event("a", "die")
        .ask_and_answer("a", &[labelled_container("a")])
        .expect_published("a=exited <- die");
    for millis in [1010, 1110, 2110] {
        scenario
            .advance_to_millis(millis)
            .ask_and_answer("a", &[labelled_container("a")])
            .expect_published("");
    }
    scenario
        .advance_to(31)
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("")
        .advance_to(61)
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("a=running");
}

/// The start after the death may have been reported while there was no connection.
#[test]
fn death_before_new_connection_expires_after_five_seconds() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.send_event("a", "die").ask_and_answer("a", &[labelled_container("a")]);
    scenario.expect_published("a=exited <- die").advance_to(10);
    scenario.cache.on_disconnect();
    scenario.cache.on_connect(scenario.now);
    scenario.ask_and_answer("all", &[labelled_container("a")]).expect_published("a=exited");
    scenario
        .advance_to(15)
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("a=running <- die");
}

#[test]
fn removed_container_is_not_queried_again() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .send_event("a", "die")
        .send_event("a", "destroy")
        .ask_and_answer("a", &[])
        .expect_published("<- destroy");
    scenario.advance_to_millis(1010).expect_query("").advance_to(20).expect_query("");
}

#[test]
fn restarted_container_is_no_longer_stopping() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.send_kill("a", "15").send_event("a", "die").expect_published("a=exited <- die");
    scenario
        .send_event("a", "start")
        .ask_and_answer("a", &[labelled_container("a")])
        .expect_published("a=running <- start");
}

#[test]
fn suspiciously_short_list_is_accepted_when_repeated() {
    for (list, doubted) in [
        (vec![], true),
        (vec![labelled_container("a")], true),
        (vec![labelled_container("a"), labelled_container("b")], false),
    ] {
        let mut scenario = Scenario::from_list(&[
            labelled_container("a"),
            labelled_container("b"),
            labelled_container("c"),
        ]);
        scenario.advance_to(40).ask_and_answer("all", &list);
        let after = scenario.published_text();
        assert_eq!(after.is_empty(), doubted, "{after}");
        if doubted {
            scenario.expect_query("").advance_to(41).ask_and_answer("all", &list);
            assert!(!scenario.published_text().is_empty());
        }
    }
}

#[test]
fn containers_with_die_event_may_be_missing_from_list() {
    let mut scenario = Scenario::from_list(&[labelled_container("a"), labelled_container("b")]);
    scenario
        .send_event("a", "die")
        .send_event("b", "die")
        .expect_published("a=exited b=exited <- die");
    scenario.advance_to(40).ask_and_answer("all", &[]).expect_published("<- die");
}

#[test]
fn empty_list_after_one_container_is_suspect() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .advance_to(40)
        .ask_and_answer("all", &[])
        .expect_published("")
        .advance_to(41)
        .ask_and_answer("all", &[]);
    scenario.expect_published("nothing");
}

#[test]
fn outage_changes_only_the_connected_flag() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.cache.on_disconnect();
    scenario.expect_published("a=running (away)").cache.on_disconnect();
    scenario.expect_published("").connect();
    scenario
        .expect_published("")
        .ask_and_answer("all", &[labelled_container("a")])
        .expect_published("a=running");
}

#[test]
fn engine_without_ping_response_is_disconnected_until_it_responds() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.send_event("a", "pause").expect_query("a").cache.on_ping(true);
    scenario.expect_published("").cache.on_ping(false);
    scenario.expect_published("a=running (away)").cache.on_ping(false);
    scenario.expect_published("").cache.on_ping(true);
    // The earlier query is answered now.
    scenario.expect_published("a=running");
    scenario
        .answer_query("a", &[with_state(labelled_container("a"), ContainerState::Paused)])
        .expect_published("a=paused <- pause");
}

#[test]
fn query_lost_in_outage_is_repeated() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario.send_event("a", "pause").expect_query("a").cache.on_disconnect();
    scenario.published_text();
    scenario.connect();
    scenario
        .ask_and_answer("all", &[with_state(labelled_container("a"), ContainerState::Paused)])
        .expect_published("a=paused");
}

#[test]
fn list_with_missed_event_marks_stream_stale() {
    let mut scenario = Scenario::from_list(&[labelled_container("a"), plain_container("p")]);
    let list = [labelled_container("a"), with_state(plain_container("p"), ContainerState::Paused)];
    scenario.advance_to(40).ask_and_answer("all", &list).expect_published("a=running p=paused");
    assert!(!scenario.cache.is_stream_stale());
    let list = [with_state(labelled_container("a"), ContainerState::Paused), plain_container("p")];
    scenario.advance_to(80).send_event("a", "pause").ask_and_answer("all", &list);
    assert!(!scenario.cache.is_stream_stale());
    scenario.published_text();
    scenario
        .advance_to(120)
        .ask_and_answer("all", &[labelled_container("a"), plain_container("p")])
        .expect_published("a=running p=running");
    assert!(scenario.cache.is_stream_stale());
}

#[test]
fn changed_networks_are_queried_with_next_container() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .send_event("", "create")
        .expect_query("")
        .send_event("a", "connect")
        .expect_query("a+networks");
}

#[test]
fn labelled_container_is_inspected_once() {
    let mut scenario = Scenario::new(|_| ());
    scenario.connect();
    scenario
        .ask_and_answer("all", &[labelled_container("a"), plain_container("p")])
        .expect_published("a=running p=running");
    assert_eq!(scenario.cache.next_inspection(), Some(ContainerId::new("a")));
    assert_eq!(scenario.cache.next_inspection(), None);
    scenario.answer_inspection(&ContainerId::new("a"), "SIGQUIT", None);
    scenario
        .expect_published("a=running p=running")
        .advance_to(1)
        .ask_and_answer("all", &[labelled_container("a"), plain_container("p")]);
    assert_eq!(scenario.cache.next_inspection(), None);
    scenario.expect_published("");
}

#[test]
fn container_gone_at_inspection_is_queried() {
    let mut scenario = Scenario::new(|_| ());
    scenario.connect();
    scenario
        .ask_and_answer("all", &[labelled_container("a"), labelled_container("b")])
        .expect_published("a=running b=running");
    let id = scenario.cache.next_inspection().unwrap();
    scenario.cache.on_inspection(&id, InspectOutcome::Gone, scenario.now);
    scenario.ask_and_answer("a", &[]).expect_published("b=running");
}

#[test]
fn paused_container_keeps_its_health() {
    let healthy = Container { health: Health::Healthy, ..labelled_container("a") };
    let mut scenario = Scenario::from_list(&[healthy]);
    scenario
        .send_event("a", "pause")
        .ask_and_answer("a", &[with_state(labelled_container("a"), ContainerState::Paused)]);
    scenario.expect_published("a=paused/healthy <- pause");
}

#[test]
fn container_is_published_only_after_inspection_of_environment() {
    let mut scenario = Scenario::new(|filter| filter.reads_environment = true);
    let none = StopConfig { signal: None, timeout: None };
    scenario.connect();
    scenario
        .ask_and_answer("all", &[plain_container("a"), plain_container("p")])
        .expect_published("");
    let (a, p) =
        (scenario.cache.next_inspection().unwrap(), scenario.cache.next_inspection().unwrap());
    scenario.inspect_with_environment(&a, &[("glue", "1")], none.clone());
    scenario.expect_published("").inspect_with_environment(&p, &[], none.clone());
    scenario.expect_published("a=running p=running");

    scenario
        .send_event("n", "start")
        .send_event("p", "update")
        .ask_and_answer("n", &[plain_container("n")])
        .expect_published("");
    let n = scenario.cache.next_inspection().unwrap();
    scenario.inspect_with_environment(&n, &[("glue", "1")], none);
    scenario
        .expect_published("a=running n=running p=running")
        .send_event("a", "pause")
        .expect_query("a");
}

#[test]
fn failed_inspection_does_not_block_publishing() {
    let mut scenario = Scenario::new(|filter| filter.reads_environment = true);
    scenario.connect();
    scenario.ask_and_answer("all", &[plain_container("a")]);
    let a = scenario.cache.next_inspection().unwrap();
    scenario.cache.on_inspection(&a, InspectOutcome::Failed, scenario.now);
    scenario
        .expect_published("a=running")
        .advance_to(1)
        .ask_and_answer("all", &[plain_container("a")])
        .expect_published("");
    assert_eq!(scenario.cache.next_inspection(), Some(a));
}

#[test]
fn extra_event_is_published_without_query() {
    let mut scenario = Scenario::from_list(&[labelled_container("a")]);
    scenario
        .send_event("a", "exec_start: date")
        .expect_published("a=running <- exec_start: date")
        .expect_query("");
    scenario.send_event("q", "exec_start: date").expect_published("");
}

#[test]
fn more_than_100_dirty_containers_query_whole_list() {
    let many: Vec<_> = (0..101).map(|n| labelled_container(&format!("c{n}"))).collect();
    let mut scenario = Scenario::from_list(&many);
    for container in &many {
        scenario.send_event(container.id.as_str(), "update");
    }
    scenario.expect_query("all");
}

#[test]
fn unused_labels_are_dropped() {
    let chatty =
        Container { labels: string_map(&[("long", "text")]).into(), ..plain_container("p") };
    let mut scenario = Scenario::new(|_| ());
    scenario.connect();
    let both = Container {
        labels: string_map(&[("long", "text"), ("glue", "1")]).into(),
        ..labelled_container("a")
    };
    scenario.answer_query("all", &[chatty, both.clone()]);
    let labels = |scenario: &Scenario, id: &str| {
        let labels = &scenario.cache.world.containers[&ContainerId::new(id)].labels;
        labels.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (labels(&scenario, "a"), labels(&scenario, "p")),
        ("glue".to_owned(), String::new())
    );
    scenario.published_text();
    scenario.send_event("a", "update").ask_and_answer("a", &[both]).expect_published("");
    assert_eq!(labels(&scenario, "a"), "glue");

    let mut scenario =
        Scenario::new(|filter| filter.required_labels = vec![("env".to_owned(), None)]);
    scenario.connect();
    scenario.answer_query(
        "all",
        &[Container {
            labels: string_map(&[("env", "x"), ("glue", "1"), ("long", "text")]).into(),
            ..labelled_container("a")
        }],
    );
    assert_eq!(labels(&scenario, "a"), "env glue");
}

fn compare_image(filter: &mut ContainerFilter) {
    filter.own_labels = Some(crate::label::keep_own);
}

fn of_image(container: Container, image: &str) -> Container {
    Container { image_id: Some(ImageId::new(image)), ..container }
}

impl Scenario {
    /// The images to inspect; empty if there are none.
    fn asks_for_images(&mut self, expected: &str) -> &mut Self {
        let ids: Vec<_> = std::iter::from_fn(|| self.cache.ask_image()).collect();
        let ids: Vec<_> = ids.iter().map(ImageId::as_str).collect();
        assert_eq!(ids.join(" "), expected);
        self
    }

    fn answer_image(&mut self, id: &str, labels: &[(&str, &str)]) -> &mut Self {
        let image = Image { labels: string_map(labels), ..Image::default() };
        self.cache.answer_image(&ImageId::new(id), ImageAnswer::Found(Arc::new(image)));
        self
    }

    fn refuse_image(&mut self, id: &str, why: &str) -> &mut Self {
        self.cache.answer_image(&ImageId::new(id), ImageAnswer::Failed(why.into()));
        self
    }

    /// The labels of an interesting container, or the reason why it has none.
    fn has_labels(&mut self, id: &str, expected: &str) -> &mut Self {
        let cache = &self.cache.world.containers[&ContainerId::new(id)];
        let labels: Vec<_> =
            cache.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fault = cache.label_fault.as_deref().map(str::to_owned);
        assert_eq!(fault.unwrap_or_else(|| labels.join(" ")), expected, "{id}");
        self
    }
}

#[test]
fn first_world_waits_for_the_images_and_has_no_label_of_theirs() {
    let mut scenario = Scenario::new(compare_image);
    let list = [
        of_image(labelled_container("a"), "x"),
        of_image(labelled_container("b"), "y"),
        of_image(labelled_container("c"), "y"),
        plain_container("d"),
    ];
    scenario.connect().ask_and_answer("all", &list).expect_published("").asks_for_images("x y");
    scenario
        .answer_image("y", &[("glue", "other")])
        .ask_and_answer("b c", &list[1..3])
        .expect_published("");
    scenario
        .answer_image("x", &[("glue", "1")])
        .expect_published("")
        .ask_and_answer("a", &list[..1]);
    scenario.expect_published("a=running b=running c=running d=running");
    scenario.has_labels("a", "").has_labels("b", "glue=1").has_labels("c", "glue=1");
    // No further query and no change, and the event stream does not count as stale.
    scenario
        .advance_to(1)
        .ask_and_answer("all", &list)
        .expect_published("")
        .asks_for_images("")
        .expect_query("");
    scenario.advance_to(31).ask_and_answer("all", &list).expect_published("").asks_for_images("");
    assert!(!scenario.cache.is_stream_stale());
}

#[test]
fn container_of_a_known_image_waits_for_no_question() {
    let mut scenario = Scenario::new(compare_image);
    scenario
        .connect()
        .ask_and_answer("all", &[of_image(labelled_container("a"), "x")])
        .asks_for_images("x");
    scenario.answer_image("x", &[]).ask_and_answer("a", &[of_image(labelled_container("a"), "x")]);
    scenario
        .expect_published("a=running")
        .send_event("a", "destroy")
        .ask_and_answer("a", &[])
        .expect_published("<- destroy");
    scenario
        .send_event_with("b", "start", &[("glue", "1")])
        .ask_and_answer("b", &[of_image(labelled_container("b"), "x")]);
    scenario.expect_published("b=running <- start").has_labels("b", "glue=1").asks_for_images("");
}

#[test]
fn container_of_a_new_image_keeps_up_no_other_one_and_its_event_is_its_cause() {
    let mut scenario = Scenario::new(compare_image);
    scenario.connect().ask_and_answer("all", &[]).expect_published("nothing");
    scenario
        .send_event_with("a", "start", &[("glue", "1")])
        .ask_and_answer("a", &[of_image(labelled_container("a"), "x")]);
    scenario.expect_published("a=running <- start").has_labels("a", "").asks_for_images("x");
    scenario
        .send_event_with("b", "start", &[("glue", "1")])
        .ask_and_answer("b", &[of_image(labelled_container("b"), "x")]);
    scenario.asks_for_images("").send_event("n", "update").expect_query("");
    scenario.answer_image("x", &[]).expect_query("a b");
    scenario.answer_query(
        "a b",
        &[of_image(labelled_container("a"), "x"), of_image(labelled_container("b"), "x")],
    );
    scenario.expect_published("a=running b=running <- start").has_labels("a", "glue=1");
}

#[test]
fn label_of_an_image_that_cannot_be_had_counts_for_nothing_until_it_can() {
    let list = [of_image(labelled_container("a"), "x")];
    let mut scenario = Scenario::new(compare_image);
    scenario.connect().ask_and_answer("all", &list).asks_for_images("x");
    scenario.refuse_image("x", "no such image").ask_and_answer("a", &list);
    scenario.expect_published("a=running").has_labels("a", "no such image");
    scenario.advance_to(1).ask_and_answer("all", &list).expect_published("").asks_for_images("x");
    scenario.refuse_image("x", "no such image").expect_query("").expect_published("");
    scenario
        .advance_to(31)
        .ask_and_answer("all", &list)
        .asks_for_images("x")
        .has_labels("a", "no such image");
    scenario.answer_image("x", &[]).ask_and_answer("a", &list).has_labels("a", "glue=1");
    scenario.expect_published("a=running");
    assert!(!scenario.cache.is_stream_stale());
}

#[test]
fn container_without_an_image_has_no_label_that_counts() {
    let mut scenario = Scenario::new(compare_image);
    scenario.connect().ask_and_answer("all", &[labelled_container("a")]);
    scenario.has_labels("a", "Docker does not report the container's image").asks_for_images("");
}

#[test]
fn image_that_is_asked_for_as_the_connection_ends_is_asked_for_again() {
    let list = [of_image(labelled_container("a"), "x")];
    let mut scenario = Scenario::new(compare_image);
    scenario.connect().ask_and_answer("all", &list).asks_for_images("x");
    scenario.cache.on_disconnect();
    scenario.connect().asks_for_images("x");
}

#[test]
fn images_that_no_container_has_are_forgotten_where_they_are_many() {
    let mut scenario = Scenario::new(compare_image);
    scenario.connect().ask_and_answer("all", &[]);
    for at in 0..300 {
        let (id, image) = (format!("c{at}"), format!("i{at}"));
        let container = of_image(labelled_container(&id), &image);
        scenario.send_event_with(&id, "start", &[("glue", "1")]).ask_and_answer(&id, &[container]);
        scenario.asks_for_images(&image).answer_image(&image, &[]).ask_and_answer(&id, &[]);
    }
    // Images that were inspected since the last list are kept until the next one.
    scenario.advance_to(1).ask_and_answer("all", &[]).advance_to(31).ask_and_answer("all", &[]);
    scenario
        .send_event_with("c", "start", &[("glue", "1")])
        .ask_and_answer("c", &[of_image(labelled_container("c"), "i7")]);
    scenario.asks_for_images("i7");
}
