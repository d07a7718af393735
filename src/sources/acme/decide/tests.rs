use super::*;
use crate::sources::acme::{
    bucket::BucketLimit,
    error::{AcmeError, FailureKind},
    ledger::RenewalWindow,
};
use proptest::{prelude::*, test_runner::Config};

const NOW: i64 = 1_800_000_000;
const READY: Connection = Connection::Ready { renewal_info: true };
const PUBLIC: NameRules = NameRules { public_ca: true, dns: false, addresses: false };

fn host(name: &str) -> AcmeHost {
    name.parse().unwrap()
}

/// A follower without the outside world.
#[derive(Clone)]
struct Scene {
    requested: BTreeSet<AcmeHost>,
    issued: BTreeMap<AcmeHost, CertificateSummary>,
    running: BTreeSet<AcmeHost>,
    asking: BTreeSet<AcmeHost>,
    pending: BTreeSet<AcmeHost>,
    production: Connection,
    staging: Option<Connection>,
    limits: Limits,
    ledger: Ledger,
    now: i64,
}

impl Scene {
    fn new(requested: &[&str]) -> Self {
        Self {
            requested: requested.iter().map(|name| host(name)).collect(),
            issued: BTreeMap::new(),
            running: BTreeSet::new(),
            asking: BTreeSet::new(),
            pending: BTreeSet::new(),
            production: READY,
            staging: Some(READY),
            limits: Limits::default(),
            ledger: Ledger::default(),
            now: NOW,
        }
    }

    fn decide(&self) -> Decision {
        let view = View {
            requested: &self.requested,
            issued: &self.issued,
            running: &self.running,
            asking: &self.asking,
            pending: &self.pending,
            production: &self.production,
            staging: self.staging.as_ref(),
            rules: PUBLIC,
            limits: &self.limits,
            now: self.now,
        };
        decide(&view, &self.ledger)
    }

    /// Decides, and begins the acts.
    fn step(&mut self) -> Vec<Act> {
        let decision = self.decide();
        self.ledger = decision.ledger;
        for act in &decision.acts {
            if let Act::Order(order) = act {
                self.running.insert(order.host.clone());
            }
        }
        decision.acts
    }

    /// Steps, and returns the orders as `host`, `host staging`, `host replaces`.
    fn orders(&mut self) -> Vec<String> {
        let text = |act| match act {
            Act::Order(order) => {
                let staging = if order.staging { " staging" } else { "" };
                let replaces = if order.replaces.is_some() { " replaces" } else { "" };
                Some(format!("{}{staging}{replaces}", order.host))
            }
            _ => None,
        };
        self.step().into_iter().filter_map(text).collect()
    }

    fn hold(&mut self, name: &str, age: i64, life: i64) {
        let not_before = self.now - age;
        let ari_id = Some("aki.serial".to_owned());
        let issued = CertificateSummary { not_before, not_after: not_before + life, ari_id };
        self.issued.insert(host(name), issued);
        self.ledger.record_mut(&host(name)).ask_window_at = i64::MAX;
    }

    fn finish(&mut self, name: &AcmeHost, staging: bool, error: Option<&AcmeError>) {
        self.running.remove(name);
        let Some(error) = error else { return self.succeed(name, staging) };
        let at = (self.now, self.staging.is_some());
        self.ledger.record_failure(name, error, staging, at);
    }

    fn succeed(&mut self, name: &AcmeHost, staging: bool) {
        let renewed_at = self.issued.contains_key(name).then_some(self.now);
        self.ledger.record_success(name, staging, renewed_at);
        if !staging {
            self.hold(&name.to_string(), 0, 90 * schedule::DAY);
        }
    }

    fn fail(&mut self, name: &str, staging: bool, kind: FailureKind) {
        self.finish(&host(name), staging, Some(&AcmeError::new(kind, "no")));
    }

    fn state(&self, name: &str) -> String {
        self.decide().hosts[&host(name)].state.to_string()
    }
}

#[test]
fn requested_host_is_ordered_once() {
    let mut scene = Scene::new(&["a.example.com"]);
    assert_eq!(scene.orders(), ["a.example.com"]);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com"), "ordering");
    scene.finish(&host("a.example.com"), false, None);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com"), "issued");
    let wake = scene.decide().wake_at.unwrap() - NOW;
    assert!((57 * schedule::DAY..63 * schedule::DAY).contains(&wake), "{wake}");
}

const BOTH: [&str; 2] = ["a.example.com", "a.example.com+rsa"];

#[test]
fn second_key_type_is_ordered_after_the_first_certificate() {
    let mut scene = Scene::new(&BOTH);
    assert_eq!(scene.orders(), ["a.example.com"]);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com+rsa"), "missing");
    scene.finish(&host("a.example.com"), false, None);
    assert_eq!(scene.orders(), ["a.example.com+rsa"]);
    scene.finish(&host("a.example.com+rsa"), false, None);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com+rsa"), "issued");
}

#[test]
fn failing_name_is_tried_once_for_both_key_types() {
    let mut scene = Scene::new(&BOTH);
    scene.staging = None;
    for _ in 0..5 {
        assert_eq!(scene.orders(), ["a.example.com"]);
        scene.fail("a.example.com", false, FailureKind::Unauthorized);
        assert_eq!(scene.orders(), [""; 0]);
        scene.now = scene.decide().wake_at.unwrap();
    }
}

#[test]
fn certificates_of_both_key_types_are_renewed_one_after_the_other() {
    let mut scene = Scene::new(&BOTH);
    for name in BOTH {
        scene.hold(name, 80 * schedule::DAY, 90 * schedule::DAY);
    }
    let first = scene.orders();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(scene.orders(), [""; 0]);
    let order = host(first[0].strip_suffix(" replaces").unwrap());
    scene.finish(&order, false, None);
    assert_eq!(scene.orders(), [format!("{} replaces", order.sibling())]);
}

#[test]
fn unfinished_order_of_one_key_type_is_not_continued_by_the_other() {
    for (pending, expected) in
        [("a.example.com", [""; 0].to_vec()), ("a.example.com+rsa", vec!["a.example.com+rsa"])]
    {
        let mut scene = Scene::new(&BOTH);
        scene.hold("a.example.com", 0, 90 * schedule::DAY);
        scene.pending.insert(host(pending));
        assert_eq!(scene.orders(), expected, "{pending}");
    }
}

#[test]
fn second_key_type_takes_no_permit_for_a_new_name() {
    let mut scene = Scene::new(&BOTH);
    scene.limits.names = BucketLimit { capacity: 1, refill: 86_400 };
    assert_eq!(scene.orders(), ["a.example.com"]);
    scene.finish(&host("a.example.com"), false, None);
    assert_eq!(scene.orders(), ["a.example.com+rsa"]);
}

#[test]
fn refused_name_is_not_ordered() {
    let mut scene = Scene::new(&["nas.local"]);
    assert_eq!(scene.orders(), [""; 0]);
    let view = scene.decide().hosts.remove(&host("nas.local")).unwrap();
    assert_eq!(view.state, HostState::Refused);
    assert_eq!(view.refusal, Some(NameRefusal::PrivateDomain("local")));
}

#[test]
fn failed_host_waits_then_tries_staging_then_production() {
    let mut scene = Scene::new(&["a.example.com"]);
    assert_eq!(scene.orders(), ["a.example.com"]);
    scene.fail("a.example.com", false, FailureKind::Unauthorized);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com"), "failed");
    for pause in [60, 600, 6000] {
        scene.now = scene.decide().wake_at.unwrap();
        assert_eq!(scene.orders(), ["a.example.com staging"], "after {pause}");
        scene.fail("a.example.com", true, FailureKind::Unauthorized);
        assert_eq!(scene.orders(), [""; 0]);
    }
    scene.now = scene.decide().wake_at.unwrap();
    assert_eq!(scene.orders(), ["a.example.com staging"]);
    scene.finish(&host("a.example.com"), true, None);
    assert_eq!(scene.orders(), ["a.example.com"]);
}

#[test]
fn retry_after_delays_next_try() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.orders();
    let error = AcmeError::new(FailureKind::RateLimited, "no").with_retry_after(Some(7200));
    scene.finish(&host("a.example.com"), false, Some(&error));
    assert_eq!(scene.decide().wake_at, Some(NOW + 7200));
}

#[test]
fn account_failure_pauses_all_hosts() {
    let mut scene = Scene::new(&["a.example.com", "b.example.com"]);
    scene.hold("b.example.com", 80 * schedule::DAY, 90 * schedule::DAY);
    let error = AcmeError::new(FailureKind::RateLimited, "no").with_retry_after(Some(3600));
    scene.ledger.record_account_failure(&error, NOW);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com"), "paused");
    assert_eq!(scene.state("b.example.com"), "issued");
    assert_eq!(scene.decide().wake_at, Some(NOW + 3600));
    scene.now += 3600;
    assert_eq!(scene.orders(), ["b.example.com replaces", "a.example.com"]);
}

#[test]
fn account_is_needed_before_an_order() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.production = Connection::None;
    assert_eq!(scene.step(), [Act::Connect { staging: false }]);
    scene.production = Connection::Connecting;
    assert_eq!(scene.step(), []);
    scene.production = READY;
    assert_eq!(scene.orders(), ["a.example.com"]);
}

#[test]
fn due_certificate_is_renewed_and_names_its_predecessor() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.hold("a.example.com", 80 * schedule::DAY, 90 * schedule::DAY);
    assert_eq!(scene.orders(), ["a.example.com replaces"]);
    assert_eq!(scene.state("a.example.com"), "renewing");
    scene.fail("a.example.com", false, FailureKind::AlreadyReplaced);
    assert_eq!(scene.orders(), ["a.example.com"]);
}

#[test]
fn window_of_ca_decides_when_to_renew() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.hold("a.example.com", 0, 90 * schedule::DAY);
    let past = RenewalWindow { start: NOW - 1000, end: NOW - 500 };
    assert_eq!(scene.orders(), [""; 0]);
    scene.ledger.record_window(&host("a.example.com"), Some(past), i64::MAX);
    assert_eq!(scene.orders(), ["a.example.com replaces"]);
}

#[test]
fn window_that_is_always_past_renews_once_a_day() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.hold("a.example.com", 0, 90 * schedule::DAY);
    let past = RenewalWindow { start: NOW - 1000, end: NOW - 500 };
    for _ in 0..3 {
        scene.ledger.record_window(&host("a.example.com"), Some(past), i64::MAX);
        assert_eq!(scene.orders(), ["a.example.com replaces"]);
        scene.finish(&host("a.example.com"), false, None);
        scene.ledger.record_window(&host("a.example.com"), Some(past), i64::MAX);
        assert_eq!(scene.orders(), [""; 0]);
        let wake = scene.decide().wake_at.unwrap();
        assert_eq!(wake - scene.now, schedule::DAY);
        scene.now = wake;
    }
}

#[test]
fn due_window_is_queried() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.hold("a.example.com", 0, 90 * schedule::DAY);
    scene.ledger.record_window(&host("a.example.com"), None, NOW);
    assert_eq!(scene.step(), [Act::AskWindow(host("a.example.com"))]);
    scene.production = Connection::None;
    assert_eq!(scene.step(), [Act::Connect { staging: false }]);
    scene.production = Connection::Ready { renewal_info: false };
    assert_eq!(scene.step(), []);
}

#[test]
fn windows_of_many_certificates_are_queried_in_turn() {
    let mut scene = Scene::new(&[]);
    for n in 0..15 {
        let name = format!("h{n}.example.com");
        scene.requested.insert(host(&name));
        scene.hold(&name, 0, 90 * schedule::DAY);
        scene.ledger.record_window(&host(&name), None, NOW);
    }
    assert_eq!(scene.step().len(), scene.limits.running);
    scene.asking = scene.requested.iter().take(4).cloned().collect();
    let acts = scene.step();
    assert_eq!(acts.len(), scene.limits.running - 4);
    assert!(scene.asking.iter().all(|host| !acts.contains(&Act::AskWindow(host.clone()))));
    assert_eq!(scene.state("h0.example.com"), "issued");
}

#[test]
fn operator_forces_a_renewal_once() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.hold("a.example.com", 0, 90 * schedule::DAY);
    scene.ledger.force(&host("a.example.com"));
    assert_eq!(scene.orders(), ["a.example.com replaces"]);
    scene.finish(&host("a.example.com"), false, None);
    assert_eq!(scene.orders(), [""; 0]);
}

#[test]
fn unwanted_certificate_is_archived_and_taken_up_again() {
    let mut scene = Scene::new(&[]);
    scene.hold("a.example.com", 0, 90 * schedule::DAY);
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com"), "issued");
    scene.now += 70 * schedule::DAY;
    assert_eq!(scene.orders(), [""; 0]);
    assert_eq!(scene.state("a.example.com"), "archived");
    let mut back = scene.clone();
    back.requested.insert(host("a.example.com"));
    assert_eq!(back.orders(), ["a.example.com replaces"]);
    scene.now += 20 * schedule::DAY;
    assert_eq!(scene.step(), [Act::Remove(host("a.example.com"))]);
}

#[test]
fn interrupted_order_continues_without_a_permit() {
    let mut scene = Scene::new(&["a.example.com"]);
    scene.limits.orders = BucketLimit { capacity: 1, refill: 1000 };
    scene.orders();
    scene.running.clear();
    scene.pending.insert(host("a.example.com"));
    scene.ledger.recover(&scene.pending, NOW);
    assert_eq!(scene.orders(), ["a.example.com"]);
    scene.running.clear();
    scene.pending.clear();
    scene.ledger.recover(&scene.pending, NOW);
    assert_eq!(scene.orders(), [""; 0], "neither a pause nor a permit");
}

#[test]
fn renewals_and_staging_take_no_permit() {
    let mut scene = Scene::new(&["a.example.com", "b.example.com", "c.example.com"]);
    scene.limits.orders = BucketLimit { capacity: 1, refill: 1000 };
    scene.hold("a.example.com", 80 * schedule::DAY, 90 * schedule::DAY);
    scene.ledger.record_mut(&host("b.example.com")).staging = true;
    let orders = scene.orders();
    assert_eq!(orders, ["a.example.com replaces", "b.example.com staging", "c.example.com"]);
}

/// What happens to the orders of a step.
#[derive(Debug, Clone)]
struct Event {
    requested: BTreeSet<u8>,
    pause: i64,
    outcomes: Vec<u8>,
    restart: bool,
}

fn any_event() -> impl Strategy<Value = Event> {
    let pause = prop_oneof![0i64..50, 0i64..10_000, 0i64..10_000_000];
    let outcomes = prop::collection::vec(0u8..8, 1..8);
    (prop::collection::btree_set(0u8..24, 0..24), pause, outcomes, prop::bool::weighted(0.2))
        .prop_map(|(requested, pause, outcomes, restart)| Event {
            requested,
            pause,
            outcomes,
            restart,
        })
}

/// Returns the names of an event's hosts, below three parent domains.
fn names(event: &Event) -> BTreeSet<AcmeHost> {
    event.requested.iter().map(|n| host(&format!("h{n}.example{}.com", n % 3))).collect()
}

fn outcome(outcome: u8) -> Option<AcmeError> {
    let kind = match outcome {
        0..3 => return None,
        3 => FailureKind::Unauthorized,
        4 => FailureKind::RateLimited,
        5 => FailureKind::Timeout,
        6 => FailureKind::AlreadyReplaced,
        _ => FailureKind::Dns,
    };
    Some(AcmeError::new(kind, "no").with_retry_after((outcome == 4).then_some(500)))
}

/// Returns the longest run of moments that breaks a limit: more than its capacity and its refill permit.
fn breaks(taken: &[i64], limit: BucketLimit) -> Option<(i64, i64)> {
    let permitted =
        |from: i64, to: i64| i64::from(limit.capacity) + (to - from) / i64::from(limit.refill);
    for (i, from) in taken.iter().enumerate() {
        for (j, to) in taken.iter().enumerate().skip(i) {
            if permitted(*from, *to) < i64::try_from(j - i + 1).unwrap() {
                return Some((*from, *to));
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_history_breaks_limit_or_orders_issued_certificate(events in prop::collection::vec(any_event(), 1..60)) {
        let mut scene = Scene::new(&[]);
        scene.limits = Limits {
            running: 3,
            orders: BucketLimit { capacity: 6, refill: 40 },
            names: BucketLimit { capacity: 3, refill: 1000 },
        };
        let mut orders = Vec::new();
        let mut by_parent: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for event in &events {
            scene.requested = names(event);
            let again = scene.decide();
            prop_assert_eq!(&scene.decide(), &again);
            let text = serde_json::to_string(&scene.ledger).unwrap();
            let mut restarted = scene.clone();
            restarted.ledger = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&restarted.decide(), &again);
            let before = scene.clone();
            let acts = scene.step();
            prop_assert!(scene.running.len() <= scene.limits.running);
            let begun: Vec<_> = acts.iter().filter_map(|act| match act {
                Act::Order(order) => Some(order.clone()),
                _ => None,
            }).collect();
            for order in &begun {
                let issued = before.issued.get(&order.host);
                if let Some(issued) = issued {
                    let record = before.ledger.record(&order.host);
                    let life = (issued.not_before, issued.not_after);
                    let at = schedule::renew_at(&order.host, life, record.window);
                    prop_assert!(at <= scene.now, "{} is held and not due", order.host);
                }
                prop_assert!(before.ledger.record(&order.host).next_try <= scene.now);
                if !order.staging && order.replaces.is_none() {
                    orders.push(scene.now);
                    if issued.is_none() {
                        by_parent.entry(order.host.parent().to_owned()).or_default().push(scene.now);
                    }
                }
            }
            if event.restart {
                scene.running.clear();
                scene.ledger.recover(&BTreeSet::new(), scene.now);
            } else {
                for (order, n) in begun.iter().zip(event.outcomes.iter().cycle()) {
                    scene.finish(&order.host, order.staging, outcome(*n).as_ref());
                }
            }
            scene.now += event.pause;
        }
        prop_assert_eq!(breaks(&orders, scene.limits.orders), None);
        for taken in by_parent.values() {
            prop_assert_eq!(breaks(taken, scene.limits.names), None);
        }
    }

    /// Hosts that fail a few times get a certificate at last: whenever nothing runs, a decision says when to decide again.
    #[test]
    fn every_requested_host_gets_certificate(requested in prop::collection::btree_set(0u8..24, 1..24), failing in prop::collection::vec((0usize..5, 3u8..8), 24)) {
        let mut scene = Scene::new(&[]);
        scene.limits.running = 3;
        scene.requested = names(&Event { requested, pause: 0, outcomes: Vec::new(), restart: false });
        let mut failing: Vec<_> = failing.into_iter().map(|(times, kind)| vec![kind; times]).collect();
        for _ in 0..2000 {
            let acts = scene.step();
            let busy = acts.iter().any(|act| matches!(act, Act::Order(_)));
            for act in acts {
                let Act::Order(order) = act else { continue };
                let index = scene.requested.iter().position(|host| *host == order.host).unwrap();
                let error = failing[index].pop().and_then(outcome);
                scene.finish(&order.host, order.staging, error.as_ref());
            }
            if scene.requested.iter().all(|host| scene.issued.contains_key(host)) {
                return Ok(());
            }
            if !busy {
                let wake = scene.decide().wake_at.expect("nothing runs, and nothing wakes");
                prop_assert!(scene.now < wake, "no progress");
                scene.now = wake;
            }
        }
        prop_assert!(false, "not held: {:?}", scene.requested.difference(&scene.issued.into_keys().collect()));
    }
}
