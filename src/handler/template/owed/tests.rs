//! What is owed, from failure to failure.

use super::*;

fn restart() -> Notification {
    Notification::Restart("web".into())
}

#[test]
fn failed_notifications_are_owed_with_growing_pauses() {
    let now = Instant::now();
    let mut owed = Owed::default();
    owed.new_text();
    let pauses: Vec<_> = (0..7).map(|_| owed.failed(owed.debt(), now).unwrap().as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(owed.due(), Some(now + Duration::from_secs(30)));
    assert!(owed.settled(&owed.debt()));
    assert_eq!((owed.due(), owed.given()), (None, None));
}

#[test]
fn notifications_given_are_remembered_one_by_one() {
    let mut owed = Owed::default();
    owed.new_text();
    let mut debt = owed.debt();
    debt.given.give(&Notification::Command);
    debt.given.give_one(&restart(), "a");
    owed.failed(debt, Instant::now());
    let text = serde_json::to_string(owed.given().unwrap()).unwrap();
    assert_eq!(text, r#"["notify","restart web a"]"#);
    let owed = Owed::since_before(serde_json::from_str(&text).unwrap());
    let Debt { given, .. } = owed.debt();
    assert!(given.has(&Notification::Command) && !given.has(&restart()));
    assert!(given.has_one(&restart(), "a") && !given.has_one(&restart(), "b"));
}

#[test]
fn notifications_of_an_older_text_settle_nothing() {
    let mut owed = Owed::default();
    owed.new_text();
    let mut older = owed.debt();
    older.given.give(&Notification::Command);
    owed.new_text();
    assert!(!owed.settled(&older));
    assert_eq!(owed.failed(older, Instant::now()), None);
    assert_eq!(owed.given(), Some(&Given::default()));
}
