//! Stories of a fleet of which lb1 is this balancer. Each line is an event at a second, and what is known after it.

use super::*;

const OWN_LEASE: i64 = 7;

struct Story {
    keeper: FleetKeeper,
    begun: Instant,
}

impl Story {
    fn new() -> Self {
        let keeper = FleetKeeper::new("lb1".parse().unwrap(), "/p/");
        Self { keeper, begun: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.begun + Duration::from_secs(seconds)
    }

    /// Handles `lb2=a`, `lb2=` (deleted), `lb1=a` (the own one), `rival`, `gone`, or `lb2!` (an invalid record).
    fn handle(&mut self, seconds: u64, event: &str) {
        let now = self.at(seconds);
        let put = |name: &str, value: &str, lease| KeyEvent::Put(kv(name, value, lease));
        let delete = |name: &str| KeyEvent::Delete { key: key(name), revision: 0 };
        let event = match (event, event.split_once('=')) {
            ("rival", _) => put("lb1", "", OWN_LEASE + 1),
            ("gone", _) => delete("lb1"),
            (_, Some((name, ""))) => delete(name),
            (_, Some(("lb1", letter))) => return self.keeper.set_own(record(letter), now),
            (_, Some((name, letter))) => put(name, &record(letter).to_json(), 1),
            (name, None) => put(name.trim_end_matches('!'), "{}", 1),
        };
        self.keeper.on_events(&[event], OWN_LEASE, now);
    }

    /// Returns the balancers; those that differ have a `*`.
    fn text(&self, seconds: u64) -> String {
        let state = self.keeper.state(None, self.at(seconds));
        let member = |(name, member): (&BalancerName, &FleetMember)| {
            format!("{name}{}", if member.differs { "*" } else { "" })
        };
        let mut words: Vec<_> = state.members.iter().map(member).collect();
        words.extend(state.ignored.keys().map(|name| format!("{name}!")));
        words.extend(state.has_rival.then(|| "rival".to_owned()));
        words.join(" ")
    }
}

fn key(name: &str) -> Vec<u8> {
    format!("/p/balancers/{name}").into_bytes()
}

fn kv(name: &str, value: &str, lease: i64) -> KeyValue {
    KeyValue { key: key(name), value: value.into(), lease, ..KeyValue::default() }
}

fn record(letter: &str) -> BalancerRecord {
    let served = format!("{letter:0>16}").parse().unwrap();
    let mut record = BalancerRecord::new("1");
    record.served = served;
    record
}

fn check(story: &[(u64, &str, &str)]) {
    let mut told = Story::new();
    for (seconds, event, expected) in story {
        if !event.is_empty() {
            told.handle(*seconds, event);
        }
        assert_eq!(told.text(*seconds), *expected, "at {seconds}, after {event:?} of {story:?}");
    }
}

#[test]
fn balancers_are_those_with_a_record() {
    check(&[
        (0, "lb1=a", "lb1"),
        (0, "lb2=a", "lb1 lb2"),
        (1, "lb3!", "lb1 lb2 lb3!"),
        (2, "lb3=a", "lb1 lb2 lb3"),
        (3, "lb2=", "lb1 lb3"),
        (4, "lb3!", "lb1 lb3!"),
        (5, "lb3=", "lb1"),
    ]);
}

#[test]
fn difference_counts_after_five_seconds() {
    check(&[
        (0, "lb1=a", "lb1"),
        (0, "lb2=a", "lb1 lb2"),
        (0, "lb3=a", "lb1 lb2 lb3"),
        (10, "lb3=b", "lb1 lb2 lb3"),
        (14, "", "lb1 lb2 lb3"),
        (15, "", "lb1 lb2 lb3*"),
        (20, "lb2=b", "lb1 lb2 lb3"),
        // Now lb1 is the one that is alone.
        (25, "", "lb1* lb2 lb3"),
        (26, "lb1=b", "lb1 lb2 lb3"),
        (40, "", "lb1 lb2 lb3"),
    ]);
}

#[test]
fn of_two_balancers_the_second_differs() {
    check(&[(0, "lb1=a", "lb1"), (0, "lb2=b", "lb1 lb2"), (5, "", "lb1 lb2*")]);
}

#[test]
fn balancers_that_change_all_the_time_do_not_differ() {
    let mut told = Story::new();
    for second in 0..60 {
        // They never have the same hash at the same time.
        for name in ["lb1", "lb2", "lb3"] {
            told.handle(second, &format!("{name}={}", second * 10 + u64::from(name.as_bytes()[2])));
        }
        assert_eq!(told.text(second).matches('*').count(), 0, "{second}");
    }
}

#[test]
fn balancer_that_stays_behind_differs() {
    let mut told = Story::new();
    told.handle(0, "lb2=a");
    for second in 0..20 {
        for name in ["lb1", "lb3"] {
            told.handle(second, &format!("{name}={second}"));
        }
        let expected = if second < 5 { "lb1 lb2 lb3" } else { "lb1 lb2* lb3" };
        assert_eq!(told.text(second), expected, "{second}");
    }
}

#[test]
fn nothing_differs_while_etcd_is_silent() {
    let mut told = Story::new();
    told.handle(0, "lb1=a");
    told.handle(0, "lb2=b");
    let differs = |silent_since| {
        let state = told.keeper.state(silent_since, told.at(100));
        state.members.values().any(|member| member.differs)
    };
    assert!(differs(None) && !differs(Some(1)));
}

#[test]
fn rival_is_told_while_it_writes() {
    check(&[
        (0, "lb1=a", "lb1"),
        (1, "rival", "lb1 rival"),
        (15, "", "lb1 rival"),
        (16, "", "lb1"),
        (17, "rival", "lb1 rival"),
    ]);
}

#[test]
fn own_record_is_written_again_if_it_is_gone_or_of_a_rival() {
    for (event, expected) in [("gone", 1), ("rival", 6)] {
        let mut told = Story::new();
        told.handle(0, "lb1=a");
        assert!(!told.keeper.take_rewrite(told.at(0)));
        told.handle(1, event);
        assert_eq!(told.keeper.wake_at(told.at(1)), Some(told.at(expected)), "{event}");
        assert!(!told.keeper.take_rewrite(told.at(expected - 1)));
        assert!(told.keeper.take_rewrite(told.at(expected)), "{event}");
        assert!(!told.keeper.take_rewrite(told.at(100)), "{event}");
    }
}

#[test]
fn wake_is_when_a_difference_counts() {
    let mut told = Story::new();
    told.handle(0, "lb1=a");
    told.handle(2, "lb2=b");
    assert_eq!(told.keeper.wake_at(told.at(2)), Some(told.at(7)));
    assert_eq!(told.keeper.wake_at(told.at(7)), None);
}

#[test]
fn list_replaces_what_was_known() {
    let mut told = Story::new();
    let now = told.at(0);
    for event in ["lb1=a", "lb2=a", "lb3=a"] {
        told.handle(0, event);
    }
    let drain: DrainId = "0123456789ab".parse().unwrap();
    told.keeper.set_drain(&drain, Some(DrainRecord::new("lb2".parse().unwrap(), 0, false)));
    told.keeper.begin_list();
    for listed in [kv("lb1", "", 3), kv("lb3", &record("a").to_json(), 1)] {
        told.keeper.on_listed(&listed, now);
    }
    told.keeper.end_list(now);
    assert_eq!(told.text(0), "lb1 lb3");
    assert!(told.keeper.state(None, now).drains.is_empty());
    assert!(!told.keeper.take_rewrite(now), "its own key is there");
    told.keeper.begin_list();
    told.keeper.end_list(now);
    assert_eq!(told.text(0), "lb1");
    assert!(told.keeper.take_rewrite(now));
}

#[test]
fn drains_are_read_and_other_keys_ignored() {
    let mut keeper = Story::new().keeper;
    let value = DrainRecord::new("lb2".parse().unwrap(), 5, false).to_json();
    for (key, value, expected) in [
        ("/p/drains/0123456789ab.node2", value.as_str(), 1),
        ("/p/drains/alive", &value, 1),
        ("/p/drains/../x", &value, 1),
        ("/q/drains/aaaaaaaaaaaa", &value, 1),
        ("/p/balancers/a/b", &value, 1),
        ("/p/drains/aaaaaaaaaaaa", "{}", 1),
        ("/p/drains/aaaaaaaaaaaa", &value, 2),
        ("/p/drains/aaaaaaaaaaaa", "x", 1),
    ] {
        let kv = KeyValue { key: key.into(), value: value.into(), ..KeyValue::default() };
        keeper.on_events(&[KeyEvent::Put(kv)], OWN_LEASE, Instant::now());
        let state = keeper.state(None, Instant::now());
        assert_eq!(state.drains.len(), expected, "{key}");
        assert!(state.members.is_empty() && state.ignored.is_empty());
    }
}

#[test]
fn drain_waits_for_all_others() {
    let mut told = Story::new();
    let drain: DrainId = "0123456789ab".parse().unwrap();
    let report = |open: Option<u64>| {
        let drains = open.map(|open| (drain.clone(), open)).into_iter().collect();
        let mut record = record("a");
        record.drains = drains;
        record.to_json()
    };
    let others = |told: &Story| {
        let others = told.keeper.state(None, told.begun).others_with(&drain);
        let text = others.iter().map(|other| format!("{}:{:?}", other.balancer, other.open));
        text.collect::<Vec<_>>().join(" ")
    };
    told.handle(0, "lb1=a");
    assert_eq!(others(&told), "");
    told.keeper.set_drain(&drain, Some(DrainRecord::new("lb1".parse().unwrap(), 0, false)));
    for (name, open, expected) in [
        ("lb2", None, "lb2:None"),
        ("lb3", Some(2), "lb2:None lb3:Some(2)"),
        ("lb2", Some(0), "lb3:Some(2)"),
        ("lb3", Some(0), ""),
        // It has just started.
        ("lb4", None, "lb4:None"),
    ] {
        let event = KeyEvent::Put(kv(name, &report(open), 1));
        told.keeper.on_events(&[event], OWN_LEASE, told.begun);
        assert_eq!(others(&told), expected);
    }
    told.handle(1, "lb4=");
    assert_eq!(others(&told), "", "it is dead");
}

#[test]
fn drain_is_removed_by_its_writer_or_the_first_that_is_alive() {
    for (by, members, expected) in [
        ("lb1", &["lb1=a", "lb2=a"][..], true),
        ("lb2", &["lb1=a", "lb2=a"], false),
        ("lb2", &["lb1=a", "lb3=a"], true),
        ("lb2", &["lb0=a", "lb1=a"], false),
    ] {
        let mut told = Story::new();
        for member in members {
            told.handle(0, member);
        }
        let state = told.keeper.state(None, told.begun);
        let drain = DrainRecord::new(by.parse().unwrap(), 0, false);
        assert_eq!(state.is_responsible_for(&drain), expected, "{by} of {members:?}");
    }
}
