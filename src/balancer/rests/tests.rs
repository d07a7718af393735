use super::*;
use std::time::Duration;

#[test]
fn backend_that_was_left_rests_until_its_time_is_over() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut rests = Rests::default();
    rests.begin(["a".to_owned(), "b".to_owned()], at(10));
    rests.begin(["b".to_owned()], at(20));
    for (seconds, expected) in [(0, &["a", "b"][..]), (9, &["a", "b"]), (10, &["b"]), (20, &[])] {
        assert_eq!(rests.at(at(seconds)).iter().collect::<Vec<_>>(), expected, "{seconds}");
        assert_eq!(rests.names().len(), expected.len());
    }
}
