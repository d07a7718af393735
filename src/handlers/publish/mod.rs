//! Publishes containers in etcd: `<prefix>/<node>/containers/<id>` is the output of `docker inspect` for one
//! container, `<prefix>/<node>/served/<id>` what docker-balancer needs of it, and `<prefix>/<node>/alive` the node's sign
//! of life.
//!
//! The list of containers is authoritative, and events only signal that it changed: all changes that arrive while
//! etcd is slow or unreachable are written as one change. All keys belong to a lease that expires unless it is
//! renewed, so the keys of a dead node are removed.

mod literal;
mod local_state;
mod params;
mod remote_state;
mod session;

use super::{
    HandlerContext,
    ini::{IniError, Section},
    mailbox::{HandlerMessage, Mailbox},
};
use crate::{
    settings::{GlueSettings, RunMode},
    support::outage::{FailureReport, Outage},
};
use session::{Publisher, WriteReport};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

pub use params::Publish;

impl Publish {
    pub fn from_params(params: &Section, _settings: &GlueSettings) -> Result<Self, IniError> {
        Self::parse_params(params)
    }

    /// Returns a description of where its keys are, to detect two handlers with the same keys.
    pub fn key_location(&self) -> String {
        let mut endpoints = self.access.endpoints.clone();
        endpoints.sort();
        let node = self.node.as_deref().unwrap_or("this machine");
        format!("{}{node} at {}", self.prefix, endpoints.join(", "))
    }

    pub async fn run(self, mut work: HandlerContext) {
        let name = work.handler.name.clone();
        if self.access.sends_password_unencrypted() {
            warn!(
                handler = name,
                "the password is sent to etcd without TLS and can be read on the network"
            );
        }
        let publisher = Publisher::new(self, &work);
        match work.command {
            RunMode::Once => publish_once(publisher, &mut work).await,
            RunMode::Watch => publish_changes(publisher, &mut work).await,
        }
    }
}

/// The lease is not renewed afterwards, so the keys remain for `ttl`.
async fn publish_once(mut publisher: Publisher, work: &mut HandlerContext) {
    if work.mailbox.recv().await.is_none() {
        return;
    }
    let handler = &work.handler.name;
    match publisher.publish_changes().await {
        Ok(written) => {
            work.stats.record_success();
            info!(handler, "{written}");
        }
        Err(error) => {
            let failures = work.stats.record_failure();
            error!(handler, failures, "could not publish: {error:#}");
        }
    }
}

async fn publish_changes(mut publisher: Publisher, work: &mut HandlerContext) {
    // A reader must not lose the keys because of a pause after an outage of etcd.
    let mut outage = Outage::with_longest_pause(publisher.ttl() / 4);
    let mut pending = None;
    let mut due: Option<Instant> = None;
    loop {
        tokio::select! {
            message = work.mailbox.recv() => {
                let Some(message) = message else { break };
                merge_message(&mut pending, message);
                // While etcd is unreachable, new messages do not cause a retry; the backoff does.
                if !outage.is_active() {
                    due = Some(Instant::now());
                }
                continue;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        let handled = pending.take();
        let pass =
            run_while_receiving(publisher.publish_changes(), &mut work.mailbox, &mut pending).await;
        let Some(result) = pass else { break };
        due = Some(match result {
            Ok(written) => {
                log_success(&written, handled.is_some(), work, &mut outage);
                if pending.is_some() { Instant::now() } else { publisher.next_deadline() }
            }
            Err(error) => log_failure(&error, work, &mut outage),
        });
        if let Some(pending) = handled {
            work.trigger_none_event(&pending);
        }
    }
    publisher.shut_down().await;
}

/// Keeps one message, because one is enough to know that something changed. An event is kept rather than another
/// message, because it may have to trigger `none`.
fn merge_message(pending: &mut Option<HandlerMessage>, message: HandlerMessage) {
    if !matches!(pending, Some(HandlerMessage::Event(_))) {
        *pending = Some(message);
    }
}

/// Runs `work` while the mailbox is emptied. Returns `None` if the mailbox was closed, so the work must end too.
async fn run_while_receiving<T>(
    work: impl Future<Output = T>,
    mailbox: &mut Mailbox,
    pending: &mut Option<HandlerMessage>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            message = mailbox.recv() => merge_message(pending, message?),
        }
    }
}

fn log_success(
    written: &WriteReport,
    was_requested: bool,
    work: &HandlerContext,
    outage: &mut Outage,
) {
    let handler = &work.handler.name;
    if let Some(away) = outage.finish(Instant::now().into_std()) {
        info!(handler, "connected to etcd again after {}s", away.as_secs());
    }
    if was_requested || !written.is_empty() {
        work.stats.record_success();
    }
    if written.is_empty() {
        debug!(handler, "{written}");
    } else {
        info!(handler, "{written}");
    }
}

/// Logs a failure. Returns when to retry.
fn log_failure(error: &anyhow::Error, work: &HandlerContext, outage: &mut Outage) -> Instant {
    let now = Instant::now();
    let handler = &work.handler.name;
    let failures = work.stats.record_failure();
    let (tell, pause) = outage.record_failure(now.into_std());
    match tell {
        FailureReport::First => {
            warn!(handler, failures, "could not publish: {error:#}; retrying");
        }
        FailureReport::Repeat => debug!(handler, failures, "still could not publish: {error:#}"),
    }
    now + pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_message_is_kept_over_later_messages() {
        use crate::{model::container::ContainerId, sources::ContainerEvent};
        let happened = HandlerMessage::Event(std::sync::Arc::new(ContainerEvent {
            id: ContainerId::new("a"),
            name: "a".into(),
            action: "start".into(),
            time_nano: 0,
            attributes: std::collections::BTreeMap::new(),
            description: None,
        }));
        let mut pending = None;
        merge_message(&mut pending, HandlerMessage::ContainersChanged);
        merge_message(&mut pending, happened);
        merge_message(&mut pending, HandlerMessage::NoneEvent);
        assert_eq!(pending.unwrap().action(), "start");
    }
}
