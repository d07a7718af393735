use super::*;
use crate::sources::acme::shared::record::Identity;
use std::time::Duration;

/// A store in memory, and a clock.
struct World {
    leases: Vec<Vec<u8>>,
    start: Instant,
    seconds: u64,
}

/// A balancer that can be suspended between what it decides and what it does.
struct Balancer {
    identity: Identity,
    lease: Lease,
    beat: u64,
}

impl World {
    fn new() -> Self {
        Self { leases: Vec::new(), start: Instant::now(), seconds: 0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    fn newest(&self) -> Option<(u64, Vec<u8>)> {
        let text = self.leases.last()?.clone();
        Some((u64::try_from(self.leases.len()).unwrap(), text))
    }

    fn create(&mut self, term: u64, text: String) -> bool {
        let is_next = term == u64::try_from(self.leases.len()).unwrap() + 1;
        if is_next {
            self.leases.push(text.into_bytes());
        }
        is_next
    }

    fn write(&mut self, term: u64, text: String) {
        self.leases[usize::try_from(term).unwrap() - 1] = text.into_bytes();
    }
}

impl Balancer {
    fn new() -> Self {
        let identity = Identity::new("ca");
        let lease = Lease::new(identity.id.clone(), SharedTimes::default());
        Self { identity, lease, beat: 0 }
    }

    fn text(&mut self, released: bool) -> String {
        self.beat += 1;
        let (owner, challenges) = (self.identity.clone(), [].into());
        LeaseRecord { owner, beat: self.beat, released, certificates: 0, ledger: 0, challenges }
            .to_text()
    }

    fn look(&mut self, world: &World) -> LeaseAct {
        self.lease.observe(world.newest(), world.now())
    }

    fn act(&mut self, act: LeaseAct, world: &mut World) {
        match act {
            LeaseAct::Create { term } => {
                if world.create(term, self.text(false)) {
                    self.lease.record_renewal(term, world.now());
                }
            }
            LeaseAct::Renew { term } => {
                world.write(term, self.text(false));
                self.lease.record_renewal(term, world.now());
            }
            LeaseAct::Follow | LeaseAct::Keep { .. } | LeaseAct::StepDown => {}
        }
    }

    fn poll(&mut self, world: &mut World) -> LeaseAct {
        let act = self.look(world);
        self.act(act, world);
        act
    }

    /// Whether it makes orders: it is the leader by its own clock.
    fn orders(&self, world: &World) -> bool {
        self.lease.tenure().is_some_and(|(_, until)| world.now() < until)
    }

    fn term(&self) -> Option<u64> {
        self.lease.tenure().map(|(term, _)| term)
    }
}

/// Lets balancers poll each second.
fn run(world: &mut World, seconds: u64, balancers: &mut [&mut Balancer]) {
    for _ in 0..seconds {
        world.seconds += 1;
        for balancer in &mut *balancers {
            balancer.poll(world);
        }
    }
}

#[test]
fn first_of_several_takers_leads_and_stays() {
    let (mut world, mut one, mut other) = (World::new(), Balancer::new(), Balancer::new());
    // Both look before one of them acts.
    let (first, second) = (one.look(&world), other.look(&world));
    assert_eq!((first, second), (LeaseAct::Create { term: 1 }, LeaseAct::Create { term: 1 }));
    one.act(first, &mut world);
    other.act(second, &mut world);
    for _ in 0..100 {
        run(&mut world, 1, &mut [&mut one, &mut other]);
        assert_eq!((one.orders(&world), other.orders(&world)), (true, false));
    }
    assert_eq!(world.leases.len(), 1);
}

#[test]
fn silent_leader_stops_before_another_one_begins() {
    let (mut world, mut one, mut other) = (World::new(), Balancer::new(), Balancer::new());
    one.poll(&mut world);
    run(&mut world, 7, &mut [&mut one, &mut other]);
    let died = world.seconds;
    let (mut stopped, mut begun) = (None, None);
    while begun.is_none() {
        run(&mut world, 1, &mut [&mut other]);
        assert!(!(one.orders(&world) && other.orders(&world)), "two leaders");
        stopped = stopped.or((!one.orders(&world)).then_some(world.seconds));
        begun = other.orders(&world).then_some(world.seconds);
    }
    assert!(stopped.unwrap() <= died + 10, "{stopped:?}");
    assert!((died + 13..=died + 16).contains(&begun.unwrap()), "{begun:?} after {died}");
    // It was suspended, and goes on.
    assert_eq!(one.poll(&mut world), LeaseAct::StepDown);
    run(&mut world, 100, &mut [&mut one, &mut other]);
    assert_eq!((one.term(), other.term()), (None, Some(2)));
}

#[test]
fn suspended_taker_does_not_take_the_lease_of_the_next_leader() {
    let mut world = World::new();
    let [mut one, mut slow, mut other] = [(); 3].map(|()| Balancer::new());
    one.poll(&mut world);
    run(&mut world, 15, &mut [&mut slow, &mut other]);
    world.seconds += 1;
    let decided = slow.look(&world);
    assert_eq!(decided, LeaseAct::Create { term: 2 });
    // It is suspended now.
    assert_eq!(other.poll(&mut world), LeaseAct::Create { term: 2 });
    run(&mut world, 20, &mut [&mut other]);
    slow.act(decided, &mut world);
    assert_eq!((slow.term(), other.term()), (None, Some(2)));
    assert_eq!(slow.poll(&mut world), LeaseAct::Follow);
    assert_eq!(world.leases.len(), 2);
}

#[test]
fn sign_of_life_of_a_former_leader_changes_nothing() {
    let (mut world, mut one, mut other) = (World::new(), Balancer::new(), Balancer::new());
    one.poll(&mut world);
    world.seconds += 5;
    // It looks, and is suspended before it gives its sign of life.
    let decided = one.look(&world);
    assert_eq!(decided, LeaseAct::Renew { term: 1 });
    run(&mut world, 20, &mut [&mut other]);
    one.act(decided, &mut world);
    assert_eq!(one.poll(&mut world), LeaseAct::StepDown);
    run(&mut world, 50, &mut [&mut one, &mut other]);
    assert_eq!((one.term(), other.term()), (None, Some(2)));
}

#[test]
fn released_lease_is_taken_over_at_once() {
    let (mut world, mut one, mut other) = (World::new(), Balancer::new(), Balancer::new());
    one.poll(&mut world);
    run(&mut world, 3, &mut [&mut one, &mut other]);
    let text = one.text(true);
    world.write(1, text);
    run(&mut world, 1, &mut [&mut other]);
    assert_eq!(other.term(), Some(2));
}

#[test]
fn damaged_lease_counts_as_content_that_becomes_stale() {
    for text in [&b""[..], b"{", b"\0\0", b"{\"id\":1}"] {
        let (mut world, mut one) = (World::new(), Balancer::new());
        world.leases.push(text.to_vec());
        let mut acts = Vec::new();
        for second in 0..=15 {
            world.seconds = second;
            acts.push(one.look(&world));
        }
        assert_eq!(acts[..15], [LeaseAct::Follow; 15], "{text:?}");
        assert_eq!(acts[15], LeaseAct::Create { term: 2 }, "{text:?}");
        // Damage that changes is a sign of life, as a file that is just being written.
        let (mut world, mut one) = (World::new(), Balancer::new());
        for second in 0..30 {
            world.seconds = second;
            world.leases = vec![vec![u8::try_from(second / 10).unwrap()]];
            assert_eq!(one.look(&world), LeaseAct::Follow);
        }
    }
}

#[test]
fn leader_whose_lease_is_damaged_or_missing_stops() {
    for text in [None, Some(&b"damaged"[..])] {
        let (mut world, mut one) = (World::new(), Balancer::new());
        one.poll(&mut world);
        match text {
            Some(text) => world.leases[0] = text.to_vec(),
            None => world.leases.clear(),
        }
        assert_eq!(one.poll(&mut world), LeaseAct::StepDown);
        assert!(!one.orders(&world));
    }
}

#[test]
fn store_that_cannot_be_read_ends_the_tenure_after_ten_seconds() {
    let (mut world, mut one) = (World::new(), Balancer::new());
    one.poll(&mut world);
    let mut acts = Vec::new();
    for second in 1..=11 {
        world.seconds = second;
        acts.push(one.lease.observe_failure(world.now()));
    }
    assert_eq!(acts[..9], [LeaseAct::Keep { term: 1 }; 9]);
    assert_eq!(acts[9..], [LeaseAct::StepDown, LeaseAct::Follow]);
    // It was not replaced, so it begins again, in a term of its own.
    assert_eq!(one.poll(&mut world), LeaseAct::Create { term: 2 });
    assert!(one.orders(&world));
}
