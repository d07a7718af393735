//! Tests of pending notifications across failures.

use super::*;

fn restart_web() -> Notification {
    Notification::Restart("web".into())
}

#[test]
fn failed_notifications_are_retried_with_growing_pauses() {
    let now = Instant::now();
    let mut pending = PendingNotifications::default();
    pending.start_new_text();
    let pauses: Vec<_> = (0..7)
        .map(|_| pending.schedule_retry(pending.snapshot(), now).unwrap().as_secs())
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(pending.retry_at(), Some(now + Duration::from_secs(30)));
    assert!(pending.mark_all_delivered(&pending.snapshot()));
    assert_eq!((pending.retry_at(), pending.delivered()), (None, None));
}

#[test]
fn delivered_notifications_are_stored_one_by_one() {
    let mut pending = PendingNotifications::default();
    pending.start_new_text();
    let mut snapshot = pending.snapshot();
    snapshot.delivered.mark_delivered(&Notification::Command);
    snapshot.delivered.mark_delivered_to(&restart_web(), "a");
    pending.schedule_retry(snapshot, Instant::now());
    let text = serde_json::to_string(pending.delivered().unwrap()).unwrap();
    assert_eq!(text, r#"["notify","restart web a"]"#);
    let pending = PendingNotifications::restore_from(serde_json::from_str(&text).unwrap());
    let PendingSnapshot { delivered: given, .. } = pending.snapshot();
    assert!(given.is_delivered(&Notification::Command) && !given.is_delivered(&restart_web()));
    assert!(
        given.is_delivered_to(&restart_web(), "a") && !given.is_delivered_to(&restart_web(), "b")
    );
}

#[test]
fn notifications_of_an_older_text_do_not_clear_pending_ones() {
    let mut pending = PendingNotifications::default();
    pending.start_new_text();
    let mut older = pending.snapshot();
    older.delivered.mark_delivered(&Notification::Command);
    pending.start_new_text();
    assert!(!pending.mark_all_delivered(&older));
    assert_eq!(pending.schedule_retry(older, Instant::now()), None);
    assert_eq!(pending.delivered(), Some(&DeliveredNotifications::default()));
}
