use super::*;
use crate::sources::registry::record::{ALIVE_KEY, SERVED_FOLDER};
use proptest::{collection::vec, prelude::*};

const FORGET: u64 = 300;

/// A keeper with an etcd, as a story tells it.
struct Story {
    keeper: Keeper,
    start: Moment,
    seconds: u64,
    revision: i64,
    cluster: u64,
    /// What etcd has.
    keys: BTreeMap<String, (String, i64)>,
    served: BTreeMap<ContainerId, Arc<Container>>,
    report: NodeReport,
    causes: Vec<String>,
}

fn settings() -> KeeperSettings {
    KeeperSettings {
        source: "fleet".parse().unwrap(),
        prefix: "/docker-glue/".into(),
        forget: Some(Duration::from_secs(FORGET)),
        allowed_addresses: Vec::new(),
        own_addresses: ["10.0.0.1".parse().unwrap()].into(),
    }
}

impl Story {
    fn new() -> Self {
        let start = Moment { instant: Instant::now(), unix_time: 0 };
        Self {
            keeper: Keeper::new(settings(), None, start),
            start,
            seconds: 0,
            revision: 1,
            cluster: 7,
            keys: BTreeMap::new(),
            served: BTreeMap::new(),
            report: NodeReport::default(),
            causes: Vec::new(),
        }
    }

    fn now(&self) -> Moment {
        let later = Duration::from_secs(self.seconds);
        Moment { instant: self.start.instant + later, unix_time: self.seconds }
    }

    fn state(&self) -> StoreState {
        StoreState { cluster_id: self.cluster, revision: self.revision }
    }

    fn kv(&self, key: &str) -> KeyValue {
        let (value, revision) = &self.keys[key];
        KeyValue {
            key: format!("/docker-glue/{key}").into(),
            value: value.as_bytes().to_vec(),
            mod_revision: *revision,
            ..KeyValue::default()
        }
    }

    /// Changes keys in one revision. Returns the events, which the watch may lose.
    fn change(&mut self, words: &str) -> Vec<KeyEvent> {
        self.revision += 1;
        let revision = self.revision;
        let mut events = Vec::new();
        for word in words.split_whitespace() {
            let (sign, key) = word.split_at(1);
            if sign == "+" {
                let (key, value) = entry(key);
                self.keys.insert(key.clone(), (value, revision));
                events.push(KeyEvent::Put(self.kv(&key)));
                continue;
            }
            let prefix = entry_key(key);
            let gone: Vec<_> =
                self.keys.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
            for key in gone {
                self.keys.remove(&key);
                let key = format!("/docker-glue/{key}").into_bytes();
                events.push(KeyEvent::Delete { key, revision });
            }
        }
        events
    }

    fn list(&mut self) {
        self.keeper.begin_list(self.cluster);
        let keys: Vec<_> = self.keys.keys().cloned().collect();
        for key in keys {
            let kv = self.kv(&key);
            self.keeper.on_listed(&kv);
        }
        let (state, now) = (self.state(), self.now());
        self.keeper.end_list(state, now);
    }

    fn take(&mut self) {
        let Some(changes) = self.keeper.take_changes() else { return };
        for (id, container) in changes.containers {
            match container {
                Some(container) => drop(self.served.insert(id, container)),
                None => drop(self.served.remove(&id)),
            }
        }
        self.report = NodeReport::clone(&changes.report);
        self.causes.extend(changes.cause.map(|cause| format!("{} {}", cause.action, cause.name)));
    }

    /// Runs one step: `+a` and `+a/1` write a sign of life and a container, `+a/1!` one that is leaving, `-a` deletes all
    /// keys of a node, `-a/1` one. `list` reads all keys, `lost: …` changes keys without the watch, `rebuilt` empties
    /// etcd, `after N` lets seconds pass. The result is what is served: `?` is lost, `!` leaving.
    fn step(&mut self, step: &str) -> String {
        let now = match step.split_once(' ') {
            Some(("after", seconds)) => {
                self.seconds += seconds.parse::<u64>().unwrap();
                self.keeper.forget_lost(self.now().instant);
                None
            }
            Some(("lost:", words)) => {
                self.change(words);
                None
            }
            _ if step == "list" => {
                self.list();
                None
            }
            _ if step == "rebuilt" => {
                self.keys.clear();
                (self.cluster, self.revision) = (self.cluster + 1, 1);
                assert_eq!(self.keeper.resume_after(self.state()), None);
                None
            }
            _ => Some(self.now()),
        };
        if let Some(now) = now {
            let events = self.change(step);
            let state = self.state();
            self.keeper.on_events(state, &events, now);
        }
        self.take();
        self.shown()
    }

    fn shown(&self) -> String {
        let show = |container: &Arc<Container>| {
            let (node, number) = (container.node.as_deref().unwrap(), &container.name);
            let lost = if container.is_lost { "?" } else { "" };
            let leaving = if container.stopping { "!" } else { "" };
            format!("{node}/{number}{lost}{leaving}")
        };
        let shown: Vec<_> = self.served.values().map(show).collect();
        shown.join(" ")
    }
}

/// Returns the key that a word of a story names; for a node, what all its keys begin with.
fn entry_key(word: &str) -> String {
    match word.trim_end_matches(['!', '~']).split_once('/') {
        Some((node, number)) => format!("{node}/{SERVED_FOLDER}{number:0>12}"),
        None => format!("{word}/"),
    }
}

fn entry(word: &str) -> (String, String) {
    let Some((node, number)) = word.trim_end_matches('!').split_once('/') else {
        let (node, state) = match word.strip_suffix('~') {
            Some(node) => (node, NodeState::Left),
            None => (word, NodeState::Up),
        };
        let address = if node == "self" { "10.0.0.1" } else { "10.0.0.2" };
        let alive = AliveRecord::new(vec![address.parse().unwrap()], String::new());
        return (format!("{node}/{ALIVE_KEY}"), alive.with_state(state).to_json());
    };
    let leaving = word.ends_with('!');
    let value = format!(
        r#"{{"v":1,"name":"{number}","created":1,"state":"running","health":"none","labels":{{}},"mode":"own","leaving":{leaving}}}"#
    );
    (format!("{node}/{SERVED_FOLDER}{number:0>12}"), value)
}

#[track_caller]
fn check(steps: &[(&str, &str)]) {
    let mut story = Story::new();
    for (number, (step, expected)) in steps.iter().enumerate() {
        assert_eq!(story.step(step), *expected, "step {number}: {step}");
    }
}

#[test]
fn containers_follow_their_keys() {
    check(&[
        ("list", ""),
        // Without a sign of life, the publisher is not done.
        ("+a/1 +a/2", ""),
        ("+a", "a/1 a/2"),
        ("+a/1!", "a/1! a/2"),
        ("-a/1", "a/2"),
        ("+b/3", "a/2"),
        ("+b", "a/2 b/3"),
    ]);
}

#[test]
fn clean_stop_removes_what_a_lost_node_keeps_until_it_is_forgotten() {
    check(&[
        ("list", ""),
        ("+a/1 +a", "a/1"),
        ("+b/2 +b", "a/1 b/2"),
        ("+c/3 +c", "a/1 b/2 c/3"),
        ("+d/4 +d", "a/1 b/2 c/3 d/4"),
        ("+a~", "b/2 c/3 d/4"),
        ("-a", "b/2 c/3 d/4"),
        ("-b", "b/2? c/3 d/4"),
        ("after 299", "b/2? c/3 d/4"),
        ("after 1", "c/3 d/4"),
        ("-c", "c/3? d/4"),
        ("+c/3 +c", "c/3 d/4"),
        ("after 1000", "c/3 d/4"),
    ]);
}

#[test]
fn more_than_a_third_of_the_nodes_lost_at_once_are_not_forgotten() {
    check(&[
        ("list", ""),
        ("+a/1 +a +b/2 +b +c/3 +c +d/4 +d +e/5 +e", "a/1 b/2 c/3 d/4 e/5"),
        ("-a -b", "a/1? b/2? c/3 d/4 e/5"),
        ("after 1000", "a/1? b/2? c/3 d/4 e/5"),
        // One of five is no reason to doubt etcd.
        ("+b/2 +b", "a/1? b/2 c/3 d/4 e/5"),
        ("after 0", "b/2 c/3 d/4 e/5"),
        ("-b -c -d -e", "b/2? c/3? d/4? e/5?"),
        ("after 1000", "b/2? c/3? d/4? e/5?"),
        // An operator says that a node is gone for good.
        ("+b~", "c/3? d/4? e/5?"),
    ]);
}

#[test]
fn rebuilt_etcd_loses_nothing_while_publishers_write_again() {
    check(&[
        ("list", ""),
        ("+a/1 +a/2 +a +b/3 +b", "a/1 a/2 b/3"),
        ("rebuilt", "a/1 a/2 b/3"),
        ("list", "a/1? a/2? b/3?"),
        ("+a/2", "a/1? a/2? b/3?"),
        ("after 1000", "a/1? a/2? b/3?"),
        // What it has not written before its sign of life is gone.
        ("+a", "a/2 b/3?"),
        ("+b/3 +b", "a/2 b/3"),
    ]);
}

#[test]
fn list_shows_what_the_watch_did_not_report() {
    check(&[
        ("list", ""),
        ("+a/1 +a/2 +a +b/3 +b", "a/1 a/2 b/3"),
        ("lost: -a/1 +a/4 -b", "a/1 a/2 b/3"),
        ("list", "a/2 b/3? a/4"),
    ]);
    let mut story = Story::new();
    for step in ["list", "+a/1 +a/2 +a +b/3 +b"] {
        story.step(step);
    }
    for (step, expected) in [
        ("+a/1", false),
        ("lost: +b/3", true),
        ("list", false),
        ("lost: -b/3", true),
        ("list", false),
        ("lost: +c", true),
        ("list", false),
    ] {
        story.step(step);
        story.keeper.begin_comparison();
        let keys = story.keys.iter();
        let listed = keys
            .map(|(key, (_, revision))| (format!("/docker-glue/{key}").into_bytes(), *revision));
        let listed: BTreeMap<_, _> = listed.collect();
        assert_eq!(story.keeper.differs_from(&listed), expected, "{step}");
    }
}

#[test]
fn older_changes_do_not_undo_later_ones() {
    let mut story = Story::new();
    story.step("list");
    story.step("+a/1 +a");
    let late = story.change("+a/1!");
    let last = story.change("+a/1");
    let deleted = story.change("-a/1");
    let again = story.change("+a/1");
    let (state, now) = (story.state(), story.now());
    for events in [&last, &late, &again, &deleted] {
        story.keeper.on_events(state, events, now);
        story.take();
        assert_eq!(story.shown(), "a/1");
    }
}

#[test]
fn stored_containers_are_lost_until_etcd_has_them() {
    let mut story = Story::new();
    story.step("list");
    story.step("+a/1 +a/2 +a +b/3 +b +c/4 +c +d/5 +d");
    let world = World { containers: story.served.clone(), ..World::default() };
    story.keeper = Keeper::new(settings(), Some(&world), story.start);
    assert_eq!(story.keeper.resume_after(story.state()), None);
    assert_eq!(story.keeper.take_changes(), None, "nothing before the first list");
    story.step("lost: -b");
    story.step("lost: -a/1");
    assert_eq!(story.step("list"), "a/2 b/3? c/4 d/5");
    assert_eq!(story.step(&format!("after {FORGET}")), "a/2 c/4 d/5");
}

#[test]
fn faulty_record_is_reported_and_its_container_goes() {
    let mut story = Story::new();
    story.step("list");
    story.step("+a/1 +a/2 +a");
    let faults = |story: &Story| {
        let faults = story.report.faults.iter();
        faults.map(|fault| format!("{}: {}", fault.key, fault.why)).collect::<Vec<_>>()
    };
    let key = "a/served/000000000001";
    story.keys.insert(key.into(), ("{}".into(), 50));
    let event = KeyEvent::Put(story.kv(key));
    story.keeper.on_events(story.state(), &[event], story.now());
    story.take();
    assert_eq!(story.shown(), "a/2");
    assert_eq!(
        faults(&story),
        [format!("{key}: it is not a record: missing field `v` at line 1 column 2")]
    );
    story.revision = 60;
    assert_eq!(story.step("+a/1"), "a/1 a/2");
    assert_eq!(faults(&story), [] as [String; 0]);
    // The machines are copies: one container of both is served.
    assert_eq!(story.step("+b/2 +b"), "a/1 a/2");
    assert_eq!(
        faults(&story),
        ["b/served/000000000002: a has a container of the same id, which is served"]
    );
    assert_eq!(story.step("-a/2"), "a/1 b/2");
    assert_eq!(faults(&story), [] as [String; 0]);
}

#[test]
fn only_addresses_of_other_machines_that_are_allowed_are_used() {
    let own = "10.0.0.1";
    for (addresses, allowed, expected) in [
        ("10.0.0.2", "", Some("10.0.0.2")),
        ("10.0.0.1 10.0.0.2", "", Some("10.0.0.2")),
        (
            "127.0.0.1 ::1 0.0.0.0 :: 169.254.1.1 fe80::1 224.0.0.1 ff02::1 255.255.255.255",
            "",
            None,
        ),
        ("::ffff:127.0.0.1 ::ffff:10.0.0.1", "", None),
        ("192.0.2.1 10.0.0.2", "10.0.0.0/8", Some("10.0.0.2")),
        ("192.0.2.1", "10.0.0.0/8 fd00::/8", None),
        ("fd00::2", "10.0.0.0/8 fd00::/8", Some("fd00::2")),
    ] {
        let parse = |text: &str| text.parse().unwrap();
        let settings = KeeperSettings {
            allowed_addresses: allowed
                .split_whitespace()
                .map(|text| text.parse().unwrap())
                .collect(),
            own_addresses: [parse(own)].into(),
            ..settings()
        };
        let addresses = addresses.split_whitespace().map(parse).collect();
        let host = settings.choose_host(&AliveRecord::new(addresses, String::new()));
        assert_eq!(host, expected.map(parse), "{allowed}");
    }
}

#[test]
fn report_names_lost_nodes_and_causes_name_what_changed() {
    let mut story = Story::new();
    for step in ["list", "+a/1 +a +b +c", "-a", "+a/1!", "+a/1 +a", "+a/1!", "-a/1"] {
        story.seconds += 1;
        story.step(step);
        let lost: Vec<_> =
            story.report.lost.iter().map(|(node, at)| format!("{node} {at}")).collect();
        let expected: &[&str] =
            if step == "-a" || (step == "+a/1!" && story.seconds == 4) { &["a 3"] } else { &[] };
        assert_eq!(lost, expected, "{step} at {}", story.seconds);
    }
    assert_eq!(story.causes, ["start 1", "lost a", "kill 1", "update 1", "kill 1", "die 1"]);
}

proptest! {
    /// Whatever was missed: after a list, the containers of all nodes that are up are those in etcd.
    #[test]
    fn list_shows_what_etcd_has(
        steps in vec((0..6_u8, 0..3_u8, 0..4_u8, any::<bool>()), 0..40),
    ) {
        let mut story = Story::new();
        story.step("list");
        for (what, node, number, is_lost) in steps {
            let node = ["a", "b", "c"][usize::from(node)];
            let step = match what {
                0 => format!("+{node}/{}{number}", node.len() + usize::from(node.as_bytes()[0] - b'a')),
                1 => format!("-{node}/{}{number}", node.len() + usize::from(node.as_bytes()[0] - b'a')),
                2 => format!("+{node}"),
                3 => format!("-{node}"),
                4 => "rebuilt".to_owned(),
                _ => "list".to_owned(),
            };
            match is_lost && what < 4 {
                true => story.step(&format!("lost: {step}")),
                false if what == 4 => story.step("rebuilt"),
                // A watch is opened only after a list of the same cluster.
                false if story.keeper.resume_after(story.state()).is_none() => story.step("list"),
                false => story.step(&step),
            };
        }
        story.step("list");
        let is_up = |node: &str| story.keys.contains_key(&format!("{node}/{ALIVE_KEY}"));
        let keys = story.keys.keys().filter_map(|key| key.split_once("/served/"));
        let mut expected: Vec<_> = keys
            .filter(|(node, _)| is_up(node))
            .map(|(node, id)| format!("{node}/{}", id.trim_start_matches('0')))
            .collect();
        expected.sort();
        let shown = story.shown();
        let mut shown: Vec<_> = shown.split_whitespace().filter(|word| !word.ends_with('?')).map(str::to_owned).collect();
        shown.sort();
        prop_assert_eq!(&shown, &expected);
        // What was taken in parts is what a new reader gets.
        prop_assert_eq!(&story.keeper.all_served(), &story.served);
        prop_assert_eq!(story.report.up, ["a", "b", "c"].iter().filter(|node| is_up(node)).count());
    }
}
