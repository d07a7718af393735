use super::{Duration, Instant, Outage, Tell};

#[test]
fn an_outage_is_told_once_and_the_pauses_grow_up_to_five_seconds() {
    let (mut outage, start) = (Outage::none(), Instant::now());
    let heard: Vec<_> = (0..8).map(|_| outage.failed(start)).collect();
    let pauses: Vec<_> = heard.iter().map(|(_, pause)| pause.as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(heard.iter().filter(|(tell, _)| *tell == Tell::Loud).count(), 1);

    let later = start + Duration::from_secs(12);
    assert_eq!(outage.over(later), Some(Duration::from_secs(12)));
    assert_eq!(outage.over(later), None);
    assert_eq!(outage.failed(later), (Tell::Loud, Duration::from_millis(100)));
}
