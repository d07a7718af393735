use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Each step: seconds since the last one, whether it is up, whether it is stopping, and the expected delay in seconds.
fn check(steps: &[(u32, bool, bool, Option<u32>)]) {
    let id = ContainerId::new("c0ffee");
    let mut tracker = CrashTracker::default();
    let mut now = Instant::now();
    for (number, (pause, up, stopping, delay)) in steps.iter().enumerate() {
        now += SECOND * *pause;
        tracker.record_changes([(id.clone(), up.then_some(*stopping))], now);
        let expected = delay.map(|seconds| now + SECOND * seconds);
        assert_eq!(
            tracker.delayed_containers(now).get(&id).copied(),
            expected,
            "step {number} of {steps:?}"
        );
    }
}

#[test]
fn repeated_crash_doubles_delay_after_second() {
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
fn delay_is_capped_at_one_minute() {
    let crash = [(1, true, false, None), (1, false, false, None)];
    let mut steps: Vec<_> = crash.into_iter().cycle().take(20).collect();
    for (number, step) in steps.iter_mut().enumerate().filter(|(number, _)| number % 2 == 0) {
        let crashes = u32::try_from(number / 2).unwrap();
        step.3 = crashes.checked_sub(2).map(|doublings| (1 << doublings).min(60));
    }
    check(&steps);
}

#[test]
fn stopped_container_is_not_delayed() {
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
fn long_running_container_resets_crash_count() {
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
