//! The task that draws the page for those who look at it, and tells them what is different.

use super::{
    fragment::{Fragments, PageUpdate},
    page::PageView,
    render,
};
use crate::{
    controller::{
        control_error::ApiError,
        request::{self, ControlRequest, LiveSnapshot},
    },
    haproxy::stats::Counters,
    report::StateSnapshot,
};
use hyper::body::Bytes;
use std::time::Duration;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tracing::debug;

/// Between two counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks, however much changes.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// So many updates a viewer may be behind.
pub(crate) const MAX_QUEUED_UPDATES: usize = 16;

/// A comment, which browsers pass over.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// Somebody who looks.
#[derive(Debug)]
pub(crate) struct Viewer {
    /// Events as they go over the wire.
    pub(crate) events: mpsc::Sender<Bytes>,
    /// Ends the connection: one who does not read cannot be told otherwise.
    pub(crate) disconnect: mpsc::Sender<ViewerSignal>,
    pub(crate) is_synced: bool,
}

/// Nothing is said by it but its end.
#[derive(Debug)]
pub(crate) struct ViewerSignal;

/// Ends with the loop that is asked, or with the server.
pub(crate) async fn run_updates(
    orders: mpsc::Sender<ControlRequest>,
    mut changed: watch::Receiver<()>,
    mut joining: mpsc::Receiver<Viewer>,
) {
    let mut viewers = Vec::new();
    let mut shown = Fragments::default();
    let mut tick = Instant::now();
    loop {
        tokio::select! {
            joined = joining.recv() => match joined {
                Some(viewer) => viewers.push(viewer),
                None => return,
            },
            Ok(()) = changed.changed(), if !viewers.is_empty() => {}
            () = sleep_until(tick), if !viewers.is_empty() => {}
        }
        viewers.retain(|viewer: &Viewer| !viewer.events.is_closed());
        if viewers.is_empty() {
            continue;
        }
        let begun = Instant::now();
        changed.mark_unchanged();
        let Ok(fragments) = current_fragments(&orders).await else { return };
        send_updates(&mut viewers, &shown, &fragments);
        shown = fragments;
        // What took long is not asked for again at once.
        let next = Instant::now() + MIN_INTERVAL.max(begun.elapsed());
        tick = next.max(begun + COUNT_INTERVAL);
        sleep_until(next).await;
    }
}

async fn current_fragments(orders: &mpsc::Sender<ControlRequest>) -> Result<Fragments, ApiError> {
    let (state, counters) = fetch_state(orders).await?;
    run_blocking(move || {
        render::render_fragments(&PageView::from_snapshot(&state, counters.as_ref(), ""))
    })
    .await
}

/// What there is to see; no counters where HAProxy does not say them.
pub(crate) async fn fetch_state(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<(StateSnapshot, Option<Counters>), ApiError> {
    let LiveSnapshot { state: picture, stat } = request::fetch_snapshot(orders).await?;
    Ok((picture, stat.fetch_counters().await.ok()))
}

/// On another thread, as thousands of routes take a while.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|_| ApiError::Stopping)
}

/// Who is too far behind, or gone, is let go. Something is said each time, as a dead connection is found
/// so alone.
fn send_updates(viewers: &mut Vec<Viewer>, before: &Fragments, after: &Fragments) {
    let update = after.diff_from(before).map_or(KEEP_ALIVE, |update| sse_event(&update));
    let new = viewers.iter().any(|viewer| !viewer.is_synced);
    let whole = if new { sse_event(&after.full_update()) } else { KEEP_ALIVE };
    viewers.retain_mut(|viewer| {
        let text = if viewer.is_synced { &update } else { &whole };
        viewer.is_synced = true;
        match viewer.events.try_send(text.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                debug!("closing the connection of a dashboard viewer that is too slow");
                let _ = viewer.disconnect.try_send(ViewerSignal);
                false
            }
        }
    });
}

/// As server-sent events are written; JSON has no line break of its own.
fn sse_event(update: &PageUpdate<'_>) -> Bytes {
    format!("data: {}\n\n", serde_json::to_string(update).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::dashboard::fragment::Fragment;

    fn fragments_of(text: &str) -> Fragments {
        Fragments { fixed: vec![Fragment::new("a", text)], groups: Vec::new() }
    }

    #[test]
    fn slow_viewer_is_disconnected() {
        let ((events, mut reads), (slow, _unread)) =
            (mpsc::channel(MAX_QUEUED_UPDATES), mpsc::channel(MAX_QUEUED_UPDATES));
        let ((disconnect, mut kept), (slow_disconnect, mut disconnected)) =
            (mpsc::channel(1), mpsc::channel(1));
        let mut viewers = vec![
            Viewer { events, disconnect, is_synced: false },
            Viewer { events: slow, disconnect: slow_disconnect, is_synced: false },
        ];
        let mut before = Fragments::default();
        for number in 0..=MAX_QUEUED_UPDATES {
            assert_eq!(viewers.len(), 2, "{number}");
            let after = fragments_of(&number.to_string());
            send_updates(&mut viewers, &before, &after);
            before = after;
            assert!(reads.try_recv().unwrap().starts_with(b"data: {\"parts\":[{\"id\":\"a\","));
        }
        assert_eq!(viewers.len(), 1);
        assert!(disconnected.try_recv().is_ok() && kept.try_recv().is_err());
        drop(reads);
        send_updates(&mut viewers, &before, &fragments_of("x"));
        assert!(viewers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn state_is_not_fetched_without_viewers() {
        let ((orders, mut receiver), (passes, changed)) = (mpsc::channel(1), watch::channel(()));
        let (viewers, joining) = mpsc::channel(1);
        let painter = tokio::spawn(run_updates(orders, changed, joining));
        for _ in 0..100 {
            passes.send_replace(());
            tokio::time::sleep(COUNT_INTERVAL).await;
        }
        assert!(receiver.try_recv().is_err());
        let ((events, reads), (disconnect, _)) =
            (mpsc::channel(MAX_QUEUED_UPDATES), mpsc::channel(1));
        viewers.send(Viewer { events, disconnect, is_synced: false }).await.unwrap();
        assert!(matches!(receiver.recv().await, Some(ControlRequest::RefreshHealth { .. })));
        // The answer went nowhere, as when the loop ends: so does this.
        painter.await.unwrap();
        drop(reads);
    }
}
