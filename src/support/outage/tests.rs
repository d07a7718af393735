use super::{Duration, FailureReport, Instant, Outage};

#[test]
fn only_first_failure_is_new_and_pauses_double_up_to_5s() {
    let (mut outage, start) = (Outage::inactive(), Instant::now());
    let failures: Vec<_> = (0..8).map(|_| outage.record_failure(start)).collect();
    let pauses: Vec<_> = failures.iter().map(|(_, pause)| pause.as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(failures.iter().filter(|(report, _)| *report == FailureReport::First).count(), 1);

    let later = start + Duration::from_secs(12);
    assert_eq!(outage.finish(later), Some(Duration::from_secs(12)));
    assert_eq!(outage.finish(later), None);
    assert_eq!(outage.record_failure(later), (FailureReport::First, Duration::from_millis(100)));
}
