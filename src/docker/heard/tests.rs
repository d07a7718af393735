//! How long a stop is believed.

use super::*;

#[test]
fn stop_timeout_is_waited_for_and_a_huge_or_negative_one_has_no_end() {
    let now = Instant::now();
    for (timeout, seconds) in [
        (None, Some(12)),
        (Some(0), Some(2)),
        (Some(60), Some(62)),
        (Some(-1), None),
        (Some(i64::MIN), None),
        (Some(i64::MAX), None),
        (Some(i64::MAX / 1_000_000_000), Some(i64::MAX as u64 / 1_000_000_000 + 2)),
    ] {
        let stop = Stop { signal: None, timeout };
        let expected = seconds.map(|seconds| now + Duration::from_secs(seconds));
        assert_eq!(stays_until(Some(&stop), now), expected, "{timeout:?}");
    }
}

#[test]
fn stop_signal_of_a_container_with_a_huge_timeout_is_believed_for_ever() {
    let (mut heard, now, id) = (Heard::default(), Instant::now(), ContainerId::new("a"));
    let stop = Stop { signal: None, timeout: Some(i64::MAX) };
    assert!(heard.signal(&id, Some(&stop), Some(signal::TERM), now));
    assert_eq!(heard.wake_at(), None);
    assert!(heard.late(now + Duration::from_hours(24 * 365)).stayed.is_empty());
}
