use super::*;
use std::time::Duration;

#[test]
fn left_backend_drains_until_deadline() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut draining = DrainingBackends::default();
    draining.add_backends(["a".to_owned(), "b".to_owned()], at(10));
    draining.add_backends(["b".to_owned()], at(20));
    for (seconds, expected) in [(0, &["a", "b"][..]), (9, &["a", "b"]), (10, &["b"]), (20, &[])] {
        assert_eq!(draining.expire(at(seconds)).iter().collect::<Vec<_>>(), expected, "{seconds}");
        assert_eq!(draining.names().len(), expected.len());
    }
}
