//! How long a stop signal applies.

use super::*;

#[test]
fn huge_or_negative_stop_timeout_has_no_deadline() {
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
        let stop = StopConfig { signal: None, timeout };
        let expected = seconds.map(|seconds| now + Duration::from_secs(seconds));
        assert_eq!(stop_deadline(Some(&stop), now), expected, "{timeout:?}");
    }
}

#[test]
fn stop_signal_with_huge_timeout_never_expires() {
    let (mut pending, now, id) = (PendingEvents::default(), Instant::now(), ContainerId::new("a"));
    let stop = StopConfig { signal: None, timeout: Some(i64::MAX) };
    assert!(pending.on_signal(&id, Some(&stop), Some(signal::TERM), now));
    assert_eq!(pending.wake_at(), None);
    assert!(pending.take_expired(now + Duration::from_hours(24 * 365)).still_running.is_empty());
}
