use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Each step: seconds since the last one, whether it is up, whether it is leaving → seconds held.
fn check(steps: &[(u32, bool, bool, Option<u32>)]) {
    let id = ContainerId::new("c0ffee");
    let mut lives = Lives::default();
    let mut now = Instant::now();
    for (number, (pause, up, leaving, held)) in steps.iter().enumerate() {
        now += SECOND * *pause;
        lives.see([(id.clone(), up.then_some(*leaving))], now);
        let expected = held.map(|seconds| now + SECOND * seconds);
        assert_eq!(lives.held(now).get(&id).copied(), expected, "step {number} of {steps:?}");
    }
}

#[test]
fn the_first_crash_is_forgiven_and_each_further_one_doubles_the_pause() {
    check(&[
        (0, true, false, None),
        (1, false, false, None),
        (1, true, false, None),
        (1, false, false, None),
        (1, true, false, Some(1)),
        (2, false, false, None),
        (1, true, false, Some(2)),
        (1, true, false, Some(1)),
        (1, true, false, None),
    ]);
}

#[test]
fn the_pause_ends_at_a_minute() {
    let crash = [(1, true, false, None), (1, false, false, None)];
    let mut steps: Vec<_> = crash.into_iter().cycle().take(20).collect();
    for (number, step) in steps.iter_mut().enumerate().filter(|(number, _)| number % 2 == 0) {
        let crashes = u32::try_from(number / 2).unwrap();
        step.3 = crashes.checked_sub(2).map(|doublings| (1 << doublings).min(60));
    }
    check(&steps);
}

#[test]
fn who_was_told_to_stop_did_not_crash() {
    check(&[
        (0, true, false, None),
        (1, true, true, None),
        (1, false, false, None),
        (1, true, true, None),
        (1, false, false, None),
        (1, true, true, None),
        (1, false, false, None),
        (1, true, false, None),
    ]);
}

#[test]
fn a_long_life_makes_good() {
    check(&[
        (0, true, false, None),
        (1, false, false, None),
        (1, true, false, None),
        (1, false, false, None),
        (1, true, false, Some(1)),
        (90, true, false, None),
        (1, false, false, None),
        (1, true, false, None),
    ]);
}
