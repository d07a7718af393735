//! Stories: what happens, and what is asked and shown of it.

use super::{Answer, Ask, Inspection, Known};
use crate::{
    container::{
        Attachment, Container, ContainerId, Health, Image, ImageId, NetworkMode, State, Stop,
    },
    docker::{
        details::Details,
        event::{About, Cause, Event, What},
        image_labels::ImageAnswer,
        interest::Interest,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

const RELIST: Duration = Duration::from_secs(30);

/// A `Known` with an engine that a test plays. Times are seconds from the start.
struct Story {
    known: Known,
    start: Instant,
    now: Instant,
    next_time: i64,
}

impl Story {
    fn new(change: impl FnOnce(&mut Interest)) -> Self {
        let mut interest = Interest {
            required: Vec::new(),
            speaks: |labels| labels.contains_key("glue"),
            reads: |label| label == "glue",
            environment: false,
            everything: false,
            named: BTreeSet::new(),
            own_labels: None,
            own: None,
        };
        change(&mut interest);
        let start = Instant::now();
        let known = Known::new(interest, RELIST, start);
        Self { known, start, now: start, next_time: 1 }
    }

    /// Connected, with this list settled and everything inspected.
    fn with(list: &[Container]) -> Self {
        let mut story = Self::new(|_| ());
        story.connects();
        story.ask_and_answer("all", list);
        story.at(1).ask_and_answer("all", list);
        while story.known.inspect().is_some_and(|id| story.tell(&id, "", None)) {}
        story.shown();
        story
    }

    fn connects(&mut self) -> &mut Self {
        self.known.connected(self.now);
        self
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = self.start + Duration::from_secs(seconds);
        self.known.tick(self.now);
        self
    }

    fn hear(&mut self, id: &str, action: &str) -> &mut Self {
        self.hear_with(id, action, &[])
    }

    fn hear_with(&mut self, id: &str, action: &str, more: &[(&str, &str)]) -> &mut Self {
        let attributes = map(more);
        let what = What::read(action, &attributes);
        let about = match action {
            "connect" | "disconnect" => About::Attachment(ContainerId::new(id)),
            _ if id.is_empty() => About::Network,
            _ => About::Container { id: ContainerId::new(id), what, attributes },
        };
        let (action, name) = (action.to_owned(), id.to_owned());
        let cause = Cause { action, name, time_nano: self.next_time, heard: None };
        self.next_time += 1;
        self.known.hear(Event { cause, about }, self.now);
        self
    }

    fn kill(&mut self, id: &str, signal: &str) -> &mut Self {
        self.hear_with(id, "kill", &[("signal", signal)])
    }

    /// The next question in a word: `all`, the ids, `+networks`; empty for none.
    fn ask(&mut self) -> String {
        self.known.ask(self.now).map(|ask| words(&ask)).unwrap_or_default()
    }

    fn answer(&mut self, asked: &str, list: &[Container]) -> &mut Self {
        let networks = (asked == "all").then(BTreeMap::new);
        let memory = self.known.remember();
        let containers = list.iter().cloned().map(|told| memory.recognize(told)).collect();
        let answer = Answer { containers, networks, odd: Vec::new() };
        let ask = match asked {
            "all" => Ask::All,
            ids => {
                Ask::Some { ids: ids.split(' ').map(ContainerId::new).collect(), networks: false }
            }
        };
        self.known.answered(&ask, answer, self.now);
        self
    }

    fn at_millis(&mut self, millis: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(millis);
        self.known.tick(self.now);
        self
    }

    fn ask_and_answer(&mut self, expected: &str, list: &[Container]) -> &mut Self {
        assert_eq!(self.ask(), expected);
        self.answer(expected, list)
    }

    fn tell(&mut self, id: &ContainerId, signal: &str, timeout: Option<i64>) -> bool {
        let signal = (!signal.is_empty()).then(|| signal.to_owned());
        self.inspected(id, &[], Stop { signal, timeout });
        true
    }

    fn inspected_at(&mut self, id: &ContainerId, started: i64) {
        let (created, environment, stop) = (None, map(&[]), Stop { signal: None, timeout: None });
        let (started, exposed, health) = (Some(started), BTreeSet::new(), Health::Unchecked);
        let network_mode = None;
        let details =
            Details { created, started, network_mode, environment, stop, exposed, health };
        self.known.inspected(id, Inspection::Told(details), self.now);
    }

    fn inspected(&mut self, id: &ContainerId, environment: &[(&str, &str)], stop: Stop) {
        let (environment, exposed) = (map(environment), BTreeSet::new());
        let (created, started, health) = (None, Some(0), Health::Unchecked);
        let network_mode = None;
        let details =
            Details { created, started, network_mode, environment, stop, exposed, health };
        self.known.inspected(id, Inspection::Told(details), self.now);
    }

    /// What is shown in words, with the action that caused it; empty for nothing.
    fn shown(&mut self) -> String {
        let Some(shown) = self.known.show() else { return String::new() };
        let word = |container: &std::sync::Arc<Container>| {
            let mut word = format!("{}={:?}", container.name, container.state).to_lowercase();
            if container.leaving {
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

    fn shows(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.shown(), expected);
        self
    }

    fn asks(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.ask(), expected);
        self
    }
}

fn words(ask: &Ask) -> String {
    match ask {
        Ask::All => "all".to_owned(),
        Ask::Some { ids, networks } => {
            let ids: Vec<_> = ids.iter().map(ContainerId::as_str).collect();
            format!("{}{}", ids.join(" "), if *networks { "+networks" } else { "" })
        }
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A running container with a label of ours; named by its id.
fn glue(id: &str) -> Container {
    Container { labels: map(&[("glue", "1")]).into(), ..plain(id) }
}

fn plain(id: &str) -> Container {
    Container {
        id: ContainerId::new(id),
        name: id.to_owned(),
        image: String::new(),
        created: 0,
        state: State::Running,
        health: Health::Unchecked,
        labels: Arc::default(),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed: BTreeSet::new(),
        published: Vec::new(),
        stop: None,
        leaving: false,
        started: None,
        image_id: None,
        label_fault: None,
    }
}

fn in_state(container: Container, state: State) -> Container {
    Container { state, ..container }
}

#[test]
fn the_first_answer_is_shown_though_it_is_empty() {
    let mut story = Story::new(|_| ());
    story.shows("").connects();
    story.asks("all").asks("").shows("");
    story.answer("all", &[]).shows("nothing").shows("");
}

#[test]
fn the_list_is_asked_again_soon_after_connecting_and_then_at_long_intervals() {
    let mut story = Story::new(|_| ());
    story.connects();
    story.ask_and_answer("all", &[glue("a")]).shows("a=running").asks("");
    story.at(1).ask_and_answer("all", &[glue("a")]).shows("").asks("");
    story.at(30).asks("").at(31).ask_and_answer("all", &[glue("a")]).shows("");
    assert_eq!(story.known.wake_at(), story.start + Duration::from_secs(61));
}

#[test]
fn an_event_says_where_to_look_and_the_answer_what_is_true() {
    let mut story = Story::with(&[glue("a"), glue("b")]);
    story.hear("a", "pause").shows("");
    story.ask_and_answer("a", &[in_state(glue("a"), State::Paused)]);
    story.shows("a=paused b=running <- pause").asks("");
    story.hear("b", "rename").ask_and_answer("b", &[glue("b")]).shows("");
}

#[test]
fn changes_during_a_question_are_one_next_question() {
    let mut story = Story::with(&[glue("a"), glue("b"), glue("c")]);
    story.hear("a", "update").asks("a");
    story.hear("b", "update").hear("c", "update").hear("b", "update").asks("");
    story.answer("a", &[glue("a")]).asks("b c");
}

#[test]
fn a_container_that_is_absent_from_its_answer_is_gone() {
    let mut story = Story::with(&[glue("a"), glue("b")]);
    story.hear("a", "destroy").ask_and_answer("a", &[]).shows("b=running <- destroy");
}

#[test]
fn a_container_that_starts_is_found_by_its_labels() {
    let mut story = Story::with(&[]);
    story.hear_with("a", "start", &[("glue", "1")]);
    story.ask_and_answer("a", &[glue("a")]).shows("a=running <- start");
}

#[test]
fn a_container_without_our_labels_costs_no_call_and_no_word() {
    let mut story = Story::with(&[glue("a"), plain("p")]);
    for action in ["create", "start", "die", "destroy", "health_status: healthy", "connect"] {
        story.hear("p", action).hear("q", action);
    }
    story.kill("p", "15").asks("").shows("");
}

#[test]
fn with_everything_interesting_each_event_counts() {
    let mut story = Story::new(|interest| interest.everything = true);
    story.connects();
    story.ask_and_answer("all", &[in_state(plain("p"), State::Exited)]).shows("p=exited");
    story.hear("p", "start").ask_and_answer("p", &[plain("p")]).shows("p=running <- start");
}

#[test]
fn stopped_containers_are_known_only_where_they_are_interesting() {
    let stopped = [in_state(glue("a"), State::Exited), in_state(plain("p"), State::Exited)];
    let mut story = Story::new(|_| ());
    story.connects();
    story.ask_and_answer("all", &stopped).shows("a=exited");
}

#[test]
fn the_lender_of_a_network_is_followed_as_its_user_is() {
    let user =
        Container { network_mode: NetworkMode::Container(ContainerId::new("p")), ..glue("a") };
    let mut story = Story::with(&[user, plain("p"), plain("q")]);
    story.hear("q", "connect").asks("").hear("p", "connect").asks("p");
}

/// With a label of ours, in the network of another container.
fn sharer(id: &str, owner: &str) -> Container {
    Container { network_mode: NetworkMode::Container(ContainerId::new(owner)), ..glue(id) }
}

#[test]
fn network_owner_that_dies_is_known_as_exited_and_followed_until_it_is_back() {
    let mut story = Story::with(&[sharer("a", "p"), plain("p")]);
    story.kill("p", "9").shows("a=running p=running/leaving <- kill");
    story.hear("p", "die").shows("a=running p=exited <- die");
    story.ask_and_answer("p", &[in_state(plain("p"), State::Exited)]).shows("");
    story.hear("p", "start").ask_and_answer("p", &[plain("p")]);
    story.shows("a=running p=running <- start");
    story.hear("p", "destroy").ask_and_answer("p", &[]).shows("a=running <- destroy");
}

#[test]
fn network_owner_is_asked_for_with_the_sharer_that_starts_and_followed_from_then_on() {
    let mut story = Story::with(&[]);
    story.hear("p", "start").asks("").hear_with("a", "start", &[("glue", "1")]).asks("a");
    let told = [sharer("a", "p")];
    let owners = story.known.remember().new_network_owners(&told);
    assert_eq!(owners, [ContainerId::new("p")].into());
    story.answer("a", &[sharer("a", "p"), plain("p")]).shows("a=running p=running <- start");
    // It may have died before anybody listened to it.
    story.at_millis(1010).ask_and_answer("p", &[in_state(plain("p"), State::Exited)]);
    story.shows("a=running p=exited <- start");
    story.hear("p", "start").asks("p");
}

#[test]
fn network_owner_that_was_not_followed_is_asked_for_though_it_is_known() {
    let mut story = Story::with(&[plain("p"), sharer("b", "q"), plain("q")]);
    let ask = |story: &Story, told: Container| {
        let owners = story.known.remember().new_network_owners(&[told]);
        owners.iter().map(ContainerId::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ask(&story, sharer("a", "p")), "p");
    assert_eq!(ask(&story, sharer("a", "q")), "");
    story.hear("p", "die").asks("");
}

#[test]
fn network_owner_of_a_network_owner_is_followed() {
    let middle = Container { labels: Arc::default(), ..sharer("p", "q") };
    let mut story = Story::with(&[sharer("a", "p"), middle, plain("q")]);
    story.hear("q", "die").shows("a=running p=running q=exited <- die");
}

#[test]
fn network_owner_that_nobody_needs_any_more_costs_no_call() {
    let mut story = Story::with(&[sharer("a", "p"), plain("p")]);
    story.hear("a", "destroy").ask_and_answer("a", &[]).shows("p=running <- destroy");
    story.hear("p", "die").hear("p", "start").asks("").shows("");
}

#[test]
fn idle_network_owner_is_known_for_as_long_as_it_is_needed() {
    let mut story = Story::with(&[sharer("a", "p"), in_state(plain("p"), State::Exited)]);
    story.hear("a", "update").ask_and_answer("a", &[sharer("a", "p")]).shows("");
    story.hear("a", "destroy").ask_and_answer("a", &[]).shows("<- destroy");
}

/// When a container started, where that matters: by an inspection, then by its events.
#[test]
fn start_of_sharer_and_network_owner_is_known_and_asked_for_once() {
    let mut story = Story::new(|_| ());
    story.connects();
    let list = [sharer("a", "p"), plain("p"), glue("b"), plain("q")];
    story.ask_and_answer("all", &list).shown();
    let mut inspected = Vec::new();
    while let Some(id) = story.known.inspect() {
        inspected.push(id.to_string());
        story.inspected_at(&id, 5);
    }
    assert_eq!(inspected, ["a", "b", "p"]);
    story.at(1).ask_and_answer("all", &list);
    assert_eq!(story.known.inspect(), None);
    let started =
        |story: &Story, id: &str| story.known.world.containers[&ContainerId::new(id)].started;
    assert_eq!([started(&story, "a"), started(&story, "p")], [Some(5), Some(5)]);
    story.next_time = 70;
    story.hear("p", "die").hear("p", "start").ask_and_answer("p", &[plain("p")]);
    assert_eq!((started(&story, "p"), story.known.inspect()), (Some(71), None));
    // Nobody told of that start.
    story.at(40).hear("p", "die").ask_and_answer("all", &list);
    story.at(50).ask_and_answer("p", &[plain("p")]);
    assert_eq!((started(&story, "p"), story.known.inspect()), (None, Some(ContainerId::new("p"))));
}

#[test]
fn the_container_we_run_in_is_followed_without_labels() {
    let mut story = Story::new(|interest| interest.own = Some(ContainerId::new("p")));
    story.connects();
    story.ask_and_answer("all", &[plain("p")]).hear("p", "disconnect").asks("p");
}

#[test]
fn a_stop_signal_is_believed_at_once_and_without_a_call() {
    let mut story = Story::with(&[glue("a")]);
    story.kill("a", "15").shows("a=running/leaving <- kill").asks("");
    story.hear("a", "die").shows("a=exited <- die").asks("a");
    story.answer("a", &[in_state(glue("a"), State::Exited)]).shows("");
}

#[test]
fn only_signals_that_end_a_container_make_it_leave() {
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
        let mut story = Story::with(&[glue("a")]);
        story.tell(&ContainerId::new("a"), own, None);
        story.shown();
        story.kill("a", sent).asks("");
        let expected = if leaves { "a=running/leaving <- kill" } else { "" };
        assert_eq!(story.shown(), expected, "{own} {sent}");
    }
}

#[test]
fn a_container_that_survives_its_stop_signal_comes_back() {
    for (timeout, back) in [(None, 13), (Some(3), 6), (Some(0), 3)] {
        let mut story = Story::with(&[glue("a")]);
        story.tell(&ContainerId::new("a"), "", timeout);
        story.shown();
        story.kill("a", "15").shows("a=running/leaving <- kill");
        assert_eq!(story.known.wake_at(), story.start + Duration::from_secs(back));
        story.at(back - 1).shows("").at(back).shows("a=running");
    }
}

#[test]
fn a_container_with_an_endless_stop_timeout_never_comes_back_by_itself() {
    let mut story = Story::with(&[glue("a")]);
    story.tell(&ContainerId::new("a"), "", Some(-1));
    story.shown();
    story.kill("a", "15").shows("a=running/leaving <- kill").at(3000).shows("");
    story.hear("a", "start").ask_and_answer("all", &[glue("a")]).shows("a=running <- start");
}

#[test]
fn an_answer_that_is_older_than_a_stop_signal_or_a_death_does_not_bring_it_back() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "update").asks("a").kill("a", "15").shows("a=running/leaving <- kill");
    story.answer("a", &[glue("a")]).shows("");
    story.hear("a", "update").asks("a").hear("a", "die").shows("a=exited <- die");
    story.answer("a", &[glue("a")]).shows("");
    story.ask_and_answer("a", &[in_state(glue("a"), State::Restarting)]);
    story.shows("a=restarting <- die");
}

#[test]
fn an_engine_whose_lists_are_late_is_asked_thrice_more() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "pause").ask_and_answer("a", &[glue("a")]).shows("").asks("");
    assert_eq!(story.known.wake_at(), story.start + Duration::from_millis(1010));
    story.at_millis(1009).asks("").at_millis(1010).ask_and_answer("a", &[glue("a")]).shows("");
    story.at_millis(1110).ask_and_answer("a", &[glue("a")]).shows("").at_millis(2109).asks("");
    story.at_millis(2110).ask_and_answer("a", &[in_state(glue("a"), State::Paused)]);
    story.shows("a=paused <- pause").at_millis(9000).asks("");
}

/// `event | answer | whether it is asked again`
#[test]
fn what_was_heard_is_asked_for_until_an_answer_shows_it() {
    let at = |address: &str| {
        let place = Attachment { ipv4: address.parse().ok(), ..Attachment::default() };
        Container { networks: BTreeMap::from([("bridge".to_owned(), place)]).into(), ..glue("a") }
    };
    let well = |health| Container { health, ..glue("a") };
    let on_host = Container { network_mode: NetworkMode::Host, ..glue("a") };
    for (action, told, again) in [
        ("start", Some(at("10.0.0.2")), false),
        ("start", Some(at("")), true),
        ("start", Some(on_host), false),
        ("start", Some(in_state(at("10.0.0.2"), State::Created)), true),
        ("start", None, false),
        ("pause", Some(in_state(glue("a"), State::Paused)), false),
        ("pause", Some(glue("a")), true),
        ("unpause", Some(in_state(at("10.0.0.2"), State::Paused)), true),
        ("unpause", Some(at("10.0.0.2")), false),
        ("die", Some(in_state(glue("a"), State::Exited)), false),
        ("die", Some(in_state(glue("a"), State::Restarting)), false),
        ("die", Some(glue("a")), true),
        ("destroy", Some(in_state(glue("a"), State::Exited)), true),
        ("destroy", None, false),
        ("health_status: healthy", Some(well(Health::Healthy)), false),
        ("health_status: healthy", Some(well(Health::Starting)), true),
        ("health_status: unhealthy", Some(well(Health::Unhealthy)), false),
        ("connect", Some(at("10.0.0.2")), true),
        ("rename", Some(at("10.0.0.2")), true),
    ] {
        let mut story = Story::with(&[glue("a")]);
        let list: Vec<_> = told.into_iter().collect();
        story.hear("a", action).ask_and_answer("a", &list).shown();
        story.at_millis(1010);
        assert_eq!(story.ask() == "a", again, "{action} {list:?}");
    }
}

#[test]
fn an_answer_to_an_older_question_shows_nothing_of_what_was_heard_since() {
    let mut story = Story::with(&[glue("a")]);
    let paused = [in_state(glue("a"), State::Paused)];
    story.hear("a", "update").asks("a").hear("a", "pause").answer("a", &paused);
    story.ask_and_answer("a", &[glue("a")]).shown();
    story.at_millis(1010).asks("a");
}

#[test]
fn a_start_is_one_question_and_one_inspection() {
    let started = Container { network_mode: NetworkMode::Host, ..glue("a") };
    let mut story = Story::with(&[]);
    story.hear("a", "connect").asks("").hear_with("a", "start", &[("glue", "1")]);
    story.ask_and_answer("a", &[started]).shows("a=running <- start").asks("");
    assert_eq!(story.known.inspect(), Some(ContainerId::new("a")));
    story.tell(&ContainerId::new("a"), "", None);
    story.at_millis(9000).asks("");
}

#[test]
fn networks_of_one_that_does_not_run_are_told_by_its_start() {
    let mut story = Story::with(&[in_state(glue("a"), State::Exited)]);
    story.hear("a", "connect").asks("").hear("a", "start").asks("a");
    story.hear("a", "connect").answer("a", &[]).asks("a");
}

#[test]
fn an_engine_whose_lists_are_late_does_not_wake_the_dead() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "die").shows("a=exited <- die");
    story.ask_and_answer("a", &[glue("a")]).shows("");
    story.at_millis(1010).ask_and_answer("a", &[in_state(glue("a"), State::Exited)]).shows("");
}

#[test]
fn a_death_is_not_believed_for_ever() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "die").ask_and_answer("a", &[glue("a")]).shows("a=exited <- die");
    for millis in [1010, 1110, 2110] {
        story.at_millis(millis).ask_and_answer("a", &[glue("a")]).shows("");
    }
    story.at(6).ask_and_answer("a", &[glue("a")]).shows("a=running");
}

#[test]
fn a_container_that_is_gone_is_not_looked_for_again() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "die").hear("a", "destroy").ask_and_answer("a", &[]).shows("<- destroy");
    story.at_millis(1010).asks("").at(20).asks("");
}

#[test]
fn a_restart_ends_the_leaving() {
    let mut story = Story::with(&[glue("a")]);
    story.kill("a", "15").hear("a", "die").shows("a=exited <- die");
    story.hear("a", "start").ask_and_answer("a", &[glue("a")]).shows("a=running <- start");
}

#[test]
fn a_list_that_lacks_much_is_believed_at_the_second_time_only() {
    for (list, doubted) in
        [(vec![], true), (vec![glue("a")], true), (vec![glue("a"), glue("b")], false)]
    {
        let mut story = Story::with(&[glue("a"), glue("b"), glue("c")]);
        story.at(40).ask_and_answer("all", &list);
        let after = story.shown();
        assert_eq!(after.is_empty(), doubted, "{after}");
        if doubted {
            story.asks("").at(41).ask_and_answer("all", &list);
            assert!(!story.shown().is_empty());
        }
    }
}

#[test]
fn containers_that_were_heard_dying_may_be_gone() {
    let mut story = Story::with(&[glue("a"), glue("b")]);
    story.hear("a", "die").hear("b", "die").shows("a=exited b=exited <- die");
    story.at(40).ask_and_answer("all", &[]).shows("<- die");
}

#[test]
fn a_single_last_container_that_vanishes_is_doubted_too() {
    let mut story = Story::with(&[glue("a")]);
    story.at(40).ask_and_answer("all", &[]).shows("").at(41).ask_and_answer("all", &[]);
    story.shows("nothing");
}

#[test]
fn an_outage_changes_nothing_but_the_word_connected() {
    let mut story = Story::with(&[glue("a")]);
    story.known.away();
    story.shows("a=running (away)").known.away();
    story.shows("").connects();
    story.shows("").ask_and_answer("all", &[glue("a")]).shows("a=running");
}

#[test]
fn engine_that_answers_no_ping_is_away_until_it_says_something() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "pause").asks("a").known.pinged(true);
    story.shows("").known.pinged(false);
    story.shows("a=running (away)").known.pinged(false);
    story.shows("").known.pinged(true);
    // What it was asked before is answered now.
    story.shows("a=running");
    story.answer("a", &[in_state(glue("a"), State::Paused)]).shows("a=paused <- pause");
}

#[test]
fn what_was_asked_before_an_outage_is_asked_again() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "pause").asks("a").known.away();
    story.shown();
    story.connects();
    story.ask_and_answer("all", &[in_state(glue("a"), State::Paused)]).shows("a=paused");
}

#[test]
fn a_list_that_tells_what_no_event_told_means_a_deaf_connection() {
    let mut story = Story::with(&[glue("a"), plain("p")]);
    let list = [glue("a"), in_state(plain("p"), State::Paused)];
    story.at(40).ask_and_answer("all", &list).shows("a=running p=paused");
    assert!(!story.known.is_deaf());
    let list = [in_state(glue("a"), State::Paused), plain("p")];
    story.at(80).hear("a", "pause").ask_and_answer("all", &list);
    assert!(!story.known.is_deaf());
    story.shown();
    story.at(120).ask_and_answer("all", &[glue("a"), plain("p")]).shows("a=running p=running");
    assert!(story.known.is_deaf());
}

#[test]
fn networks_are_asked_for_with_the_next_container() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("", "create").asks("").hear("a", "connect").asks("a+networks");
}

#[test]
fn interesting_containers_are_inspected_once() {
    let mut story = Story::new(|_| ());
    story.connects();
    story.ask_and_answer("all", &[glue("a"), plain("p")]).shows("a=running p=running");
    assert_eq!(story.known.inspect(), Some(ContainerId::new("a")));
    assert_eq!(story.known.inspect(), None);
    story.tell(&ContainerId::new("a"), "SIGQUIT", None);
    story.shows("a=running p=running").at(1).ask_and_answer("all", &[glue("a"), plain("p")]);
    assert_eq!(story.known.inspect(), None);
    story.shows("");
}

#[test]
fn a_container_that_vanished_before_its_inspection_is_looked_for() {
    let mut story = Story::new(|_| ());
    story.connects();
    story.ask_and_answer("all", &[glue("a"), glue("b")]).shows("a=running b=running");
    let id = story.known.inspect().unwrap();
    story.known.inspected(&id, Inspection::Gone, story.now);
    story.ask_and_answer("a", &[]).shows("b=running");
}

#[test]
fn a_paused_container_keeps_the_health_it_had() {
    let healthy = Container { health: Health::Healthy, ..glue("a") };
    let mut story = Story::with(&[healthy]);
    story.hear("a", "pause").ask_and_answer("a", &[in_state(glue("a"), State::Paused)]);
    story.shows("a=paused/healthy <- pause");
}

#[test]
fn with_environments_nothing_is_shown_before_it_was_inspected() {
    let mut story = Story::new(|interest| interest.environment = true);
    let none = Stop { signal: None, timeout: None };
    story.connects();
    story.ask_and_answer("all", &[plain("a"), plain("p")]).shows("");
    let (a, p) = (story.known.inspect().unwrap(), story.known.inspect().unwrap());
    story.inspected(&a, &[("glue", "1")], none.clone());
    story.shows("").inspected(&p, &[], none.clone());
    story.shows("a=running p=running");

    story.hear("n", "start").hear("p", "update").ask_and_answer("n", &[plain("n")]).shows("");
    let n = story.known.inspect().unwrap();
    story.inspected(&n, &[("glue", "1")], none);
    story.shows("a=running n=running p=running").hear("a", "pause").asks("a");
}

#[test]
fn a_failed_inspection_holds_nothing_back() {
    let mut story = Story::new(|interest| interest.environment = true);
    story.connects();
    story.ask_and_answer("all", &[plain("a")]);
    let a = story.known.inspect().unwrap();
    story.known.inspected(&a, Inspection::Failed, story.now);
    story.shows("a=running").at(1).ask_and_answer("all", &[plain("a")]).shows("");
    assert_eq!(story.known.inspect(), Some(a));
}

#[test]
fn an_event_that_was_asked_for_is_passed_on_without_a_call() {
    let mut story = Story::with(&[glue("a")]);
    story.hear("a", "exec_start: date").shows("a=running <- exec_start: date").asks("");
    story.hear("q", "exec_start: date").shows("");
}

#[test]
fn very_many_dirty_containers_are_asked_for_as_a_whole() {
    let many: Vec<_> = (0..101).map(|n| glue(&format!("c{n}"))).collect();
    let mut story = Story::with(&many);
    for container in &many {
        story.hear(container.id.as_str(), "update");
    }
    story.asks("all");
}

#[test]
fn labels_that_nobody_reads_are_not_kept() {
    let chatty = Container { labels: map(&[("long", "text")]).into(), ..plain("p") };
    let mut story = Story::new(|_| ());
    story.connects();
    let both = Container { labels: map(&[("long", "text"), ("glue", "1")]).into(), ..glue("a") };
    story.answer("all", &[chatty, both.clone()]);
    let labels = |story: &Story, id: &str| {
        let labels = &story.known.world.containers[&ContainerId::new(id)].labels;
        labels.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!((labels(&story, "a"), labels(&story, "p")), ("glue".to_owned(), String::new()));
    story.shown();
    story.hear("a", "update").ask_and_answer("a", &[both]).shows("");
    assert_eq!(labels(&story, "a"), "glue");

    let mut story = Story::new(|interest| interest.required = vec![("env".to_owned(), None)]);
    story.connects();
    story.answer(
        "all",
        &[Container {
            labels: map(&[("env", "x"), ("glue", "1"), ("long", "text")]).into(),
            ..glue("a")
        }],
    );
    assert_eq!(labels(&story, "a"), "env glue");
}

fn compare_image(interest: &mut Interest) {
    interest.own_labels = Some(crate::label::keep_own);
}

fn of_image(container: Container, image: &str) -> Container {
    Container { image_id: Some(ImageId::new(image)), ..container }
}

impl Story {
    /// The images to ask for; empty for none.
    fn asks_for_images(&mut self, expected: &str) -> &mut Self {
        let ids: Vec<_> = std::iter::from_fn(|| self.known.ask_image()).collect();
        let ids: Vec<_> = ids.iter().map(ImageId::as_str).collect();
        assert_eq!(ids.join(" "), expected);
        self
    }

    fn answer_image(&mut self, id: &str, labels: &[(&str, &str)]) -> &mut Self {
        let image = Image { labels: map(labels), ..Image::default() };
        self.known.answer_image(&ImageId::new(id), ImageAnswer::Found(Arc::new(image)));
        self
    }

    fn refuse_image(&mut self, id: &str, why: &str) -> &mut Self {
        self.known.answer_image(&ImageId::new(id), ImageAnswer::Failed(why.into()));
        self
    }

    /// The labels of a container of ours, or why it has none.
    fn has_labels(&mut self, id: &str, expected: &str) -> &mut Self {
        let known = &self.known.world.containers[&ContainerId::new(id)];
        let labels: Vec<_> =
            known.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fault = known.label_fault.as_deref().map(str::to_owned);
        assert_eq!(fault.unwrap_or_else(|| labels.join(" ")), expected, "{id}");
        self
    }
}

#[test]
fn first_world_waits_for_the_images_and_has_no_label_of_theirs() {
    let mut story = Story::new(compare_image);
    let list =
        [of_image(glue("a"), "x"), of_image(glue("b"), "y"), of_image(glue("c"), "y"), plain("d")];
    story.connects().ask_and_answer("all", &list).shows("").asks_for_images("x y");
    story.answer_image("y", &[("glue", "other")]).ask_and_answer("b c", &list[1..3]).shows("");
    story.answer_image("x", &[("glue", "1")]).shows("").ask_and_answer("a", &list[..1]);
    story.shows("a=running b=running c=running d=running");
    story.has_labels("a", "").has_labels("b", "glue=1").has_labels("c", "glue=1");
    // No further question, nor a change, nor a doubt whether events arrive.
    story.at(1).ask_and_answer("all", &list).shows("").asks_for_images("").asks("");
    story.at(31).ask_and_answer("all", &list).shows("").asks_for_images("");
    assert!(!story.known.is_deaf());
}

#[test]
fn container_of_a_known_image_waits_for_no_question() {
    let mut story = Story::new(compare_image);
    story.connects().ask_and_answer("all", &[of_image(glue("a"), "x")]).asks_for_images("x");
    story.answer_image("x", &[]).ask_and_answer("a", &[of_image(glue("a"), "x")]);
    story.shows("a=running").hear("a", "destroy").ask_and_answer("a", &[]).shows("<- destroy");
    story
        .hear_with("b", "start", &[("glue", "1")])
        .ask_and_answer("b", &[of_image(glue("b"), "x")]);
    story.shows("b=running <- start").has_labels("b", "glue=1").asks_for_images("");
}

#[test]
fn container_of_a_new_image_keeps_up_no_other_one_and_its_event_is_its_cause() {
    let mut story = Story::new(compare_image);
    story.connects().ask_and_answer("all", &[]).shows("nothing");
    story
        .hear_with("a", "start", &[("glue", "1")])
        .ask_and_answer("a", &[of_image(glue("a"), "x")]);
    story.shows("a=running <- start").has_labels("a", "").asks_for_images("x");
    story
        .hear_with("b", "start", &[("glue", "1")])
        .ask_and_answer("b", &[of_image(glue("b"), "x")]);
    story.asks_for_images("").hear("n", "update").asks("");
    story.answer_image("x", &[]).asks("a b");
    story.answer("a b", &[of_image(glue("a"), "x"), of_image(glue("b"), "x")]);
    story.shows("a=running b=running <- start").has_labels("a", "glue=1");
}

#[test]
fn label_of_an_image_that_cannot_be_had_counts_for_nothing_until_it_can() {
    let list = [of_image(glue("a"), "x")];
    let mut story = Story::new(compare_image);
    story.connects().ask_and_answer("all", &list).asks_for_images("x");
    story.refuse_image("x", "no such image").ask_and_answer("a", &list);
    story.shows("a=running").has_labels("a", "no such image");
    story.at(1).ask_and_answer("all", &list).shows("").asks_for_images("x");
    story.refuse_image("x", "no such image").asks("").shows("");
    story.at(31).ask_and_answer("all", &list).asks_for_images("x").has_labels("a", "no such image");
    story.answer_image("x", &[]).ask_and_answer("a", &list).has_labels("a", "glue=1");
    story.shows("a=running");
    assert!(!story.known.is_deaf());
}

#[test]
fn container_without_an_image_has_no_label_that_counts() {
    let mut story = Story::new(compare_image);
    story.connects().ask_and_answer("all", &[glue("a")]);
    story.has_labels("a", "Docker does not say which image it is of").asks_for_images("");
}

#[test]
fn image_that_is_asked_for_as_the_connection_ends_is_asked_for_again() {
    let list = [of_image(glue("a"), "x")];
    let mut story = Story::new(compare_image);
    story.connects().ask_and_answer("all", &list).asks_for_images("x");
    story.known.away();
    story.connects().asks_for_images("x");
}

#[test]
fn images_that_no_container_has_are_forgotten_where_they_are_many() {
    let mut story = Story::new(compare_image);
    story.connects().ask_and_answer("all", &[]);
    for at in 0..300 {
        let (id, image) = (format!("c{at}"), format!("i{at}"));
        let container = of_image(glue(&id), &image);
        story.hear_with(&id, "start", &[("glue", "1")]).ask_and_answer(&id, &[container]);
        story.asks_for_images(&image).answer_image(&image, &[]).ask_and_answer(&id, &[]);
    }
    // Those that were asked for since the last list are kept until the next one.
    story.at(1).ask_and_answer("all", &[]).at(31).ask_and_answer("all", &[]);
    story
        .hear_with("c", "start", &[("glue", "1")])
        .ask_and_answer("c", &[of_image(glue("c"), "i7")]);
    story.asks_for_images("i7");
}
