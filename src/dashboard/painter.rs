//! The task that draws the page for those who look at it, and tells them what is different.

use super::{
    fragment::{Painting, Update},
    page::Page,
    render,
};
use crate::{
    control::{
        failure::Failure,
        order::{self, Look, Order},
    },
    haproxy::stat::Counters,
    view::Picture,
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
const TICK: Duration = Duration::from_secs(1);
/// Between two looks, however much changes.
const PAUSE: Duration = Duration::from_millis(100);
/// So many updates a viewer may be behind.
pub(super) const QUEUE: usize = 16;

/// A comment, which browsers pass over.
const NOTHING: Bytes = Bytes::from_static(b":\n\n");

/// Somebody who looks.
#[derive(Debug)]
pub(super) struct Viewer {
    /// Events as they go over the wire.
    pub(super) events: mpsc::Sender<Bytes>,
    /// Ends the connection: one who does not read cannot be told otherwise.
    pub(super) cut: mpsc::Sender<Never>,
    pub(super) has_all: bool,
}

/// Nothing is said by it but its end.
#[derive(Debug)]
pub(super) struct Never;

/// Ends with the loop that is asked, or with the server.
pub(super) async fn paint(
    orders: mpsc::Sender<Order>,
    mut changed: watch::Receiver<()>,
    mut joining: mpsc::Receiver<Viewer>,
) {
    let mut viewers = Vec::new();
    let mut shown = Painting::default();
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
        let Ok(painting) = now(&orders).await else { return };
        tell(&mut viewers, &shown, &painting);
        shown = painting;
        // What took long is not asked for again at once.
        let next = Instant::now() + PAUSE.max(begun.elapsed());
        tick = next.max(begun + TICK);
        sleep_until(next).await;
    }
}

async fn now(orders: &mpsc::Sender<Order>) -> Result<Painting, Failure> {
    let (picture, counters) = look(orders).await?;
    aside(move || render::paint(&Page::of_picture(&picture, counters.as_ref(), ""))).await
}

/// What there is to see; no counters where HAProxy does not say them.
pub(super) async fn look(
    orders: &mpsc::Sender<Order>,
) -> Result<(Picture, Option<Counters>), Failure> {
    let Look { picture, stat } = order::look(orders).await?;
    Ok((picture, stat.ask().await.ok()))
}

/// On another thread, as thousands of routes take a while.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work).await.map_err(|_| Failure::Stopping)
}

/// Who is too far behind, or gone, is let go. Something is said each time, as a dead connection is found
/// so alone.
fn tell(viewers: &mut Vec<Viewer>, before: &Painting, after: &Painting) {
    let update = after.update(before).map_or(NOTHING, |update| event(&update));
    let new = viewers.iter().any(|it| !it.has_all);
    let whole = if new { event(&after.whole()) } else { NOTHING };
    viewers.retain_mut(|viewer| {
        let text = if viewer.has_all { &update } else { &whole };
        viewer.has_all = true;
        match viewer.events.try_send(text.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                debug!("a viewer of the dashboard does not keep up");
                let _ = viewer.cut.try_send(Never);
                false
            }
        }
    });
}

/// As server-sent events are written; JSON has no line break of its own.
fn event(update: &Update<'_>) -> Bytes {
    format!("data: {}\n\n", serde_json::to_string(update).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::{super::fragment::Fragment, *};

    fn painting(text: &str) -> Painting {
        Painting { fixed: vec![Fragment::new("a", text)], groups: Vec::new() }
    }

    #[test]
    fn who_does_not_keep_up_is_let_go() {
        let ((events, mut reads), (slow, _unread)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let ((cut, mut kept), (slow_cut, mut let_go)) = (mpsc::channel(1), mpsc::channel(1));
        let mut viewers = vec![
            Viewer { events, cut, has_all: false },
            Viewer { events: slow, cut: slow_cut, has_all: false },
        ];
        let mut before = Painting::default();
        for number in 0..=QUEUE {
            assert_eq!(viewers.len(), 2, "{number}");
            let after = painting(&number.to_string());
            tell(&mut viewers, &before, &after);
            before = after;
            assert!(reads.try_recv().unwrap().starts_with(b"data: {\"parts\":[{\"id\":\"a\","));
        }
        assert_eq!(viewers.len(), 1);
        assert!(let_go.try_recv().is_ok() && kept.try_recv().is_err());
        drop(reads);
        tell(&mut viewers, &before, &painting("x"));
        assert!(viewers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_while_nobody_looks() {
        let ((orders, mut asked), (passes, changed)) = (mpsc::channel(1), watch::channel(()));
        let (viewers, joining) = mpsc::channel(1);
        let painter = tokio::spawn(paint(orders, changed, joining));
        for _ in 0..100 {
            passes.send_replace(());
            tokio::time::sleep(TICK).await;
        }
        assert!(asked.try_recv().is_err());
        let ((events, reads), (cut, _)) = (mpsc::channel(QUEUE), mpsc::channel(1));
        viewers.send(Viewer { events, cut, has_all: false }).await.unwrap();
        assert!(matches!(asked.recv().await, Some(Order::Examine { .. })));
        // The answer went nowhere, as when the loop ends: so does this.
        painter.await.unwrap();
        drop(reads);
    }
}
