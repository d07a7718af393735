//! The task that renders the page for connected viewers and sends them what changed.

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

/// How often HAProxy's counters are read.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest pause between two updates, however often the state changes.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// How many updates may be queued for a viewer before it is disconnected.
pub(crate) const MAX_QUEUED_UPDATES: usize = 16;

/// A comment in the event stream, which browsers ignore.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// A browser that shows the page.
#[derive(Debug)]
pub(crate) struct Viewer {
    /// Events in the format of the event stream.
    pub(crate) events: mpsc::Sender<Bytes>,
    /// Closes the connection. A viewer that does not read cannot be closed through its events.
    pub(crate) disconnect: mpsc::Sender<ViewerSignal>,
    pub(crate) is_synced: bool,
}

/// A signal without content: it is sent, or its sender is dropped.
#[derive(Debug)]
pub(crate) struct ViewerSignal;

/// Sends updates to all viewers until the event loop or the server ends.
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
        // If rendering took long, the next update starts later.
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

/// Returns the current state, and no counters if HAProxy does not answer.
pub(crate) async fn fetch_state(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<(StateSnapshot, Option<Counters>), ApiError> {
    let LiveSnapshot { state: picture, stat } = request::fetch_snapshot(orders).await?;
    Ok((picture, stat.fetch_counters().await.ok()))
}

/// Runs the work on another thread, because thousands of routes take some time.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|_| ApiError::Stopping)
}

/// Sends each viewer an update. Viewers that are too slow or disconnected are removed. A comment is sent if nothing
/// changed, because a closed connection is only detected by writing to it.
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

/// Formats a server-sent event. JSON on one line contains no line break.
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
        // The request is dropped, as when the event loop ends, so the updates end as well.
        painter.await.unwrap();
        drop(reads);
    }
}
