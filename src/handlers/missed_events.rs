//! The first messages to a handler with `at_start=yes`, and the records on disk of the events that were delivered to
//! it.

use super::{
    HandlerContext,
    mailbox::{HandlerMessage, Mailbox},
    replay::{self, DeliveryRecord, DeliveryRecords},
    state::HandlerState,
};
use crate::{model::container::ContainerId, sources::ContainerEvent};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::info;

/// The folder in the handler's state directory, with one file per container.
const RECORDS_FOLDER: &str = "containers";

/// Returns the events that the handler missed; they are handled first. The dispatcher's first message to the handler
/// contains the containers.
pub async fn initial_messages(
    work: &HandlerContext,
    mailbox: &mut Mailbox,
) -> VecDeque<HandlerMessage> {
    let mut first = VecDeque::new();
    if !work.handler.at_start {
        return first;
    }
    let roster = match mailbox.recv().await {
        Some(HandlerMessage::InitialContainers(roster)) => roster,
        other => return other.into_iter().collect(),
    };
    let state = HandlerState::new(&work.settings, &work.handler);
    let records = state.read_folder::<DeliveryRecord>(RECORDS_FOLDER).await;
    let records: DeliveryRecords =
        records.into_iter().map(|(id, record)| (ContainerId::from(id), record)).collect();
    let missed = replay::missed_events(&records, &roster, &work.handler.events, now_nanos());
    let starts = missed.iter().filter(|event| event.action == "start").count();
    let handler = &work.handler.name;
    info!(
        handler,
        "replaying {starts} running containers and {} events of containers that ended",
        missed.len() - starts
    );
    first.extend(missed.into_iter().map(|event| HandlerMessage::ReplayedEvent(Arc::new(event))));
    first
}

/// Records on disk which events are delivered to the handler: a start before its delivery, an end after it.
#[derive(Debug)]
pub struct DeliveryRecorder<'a> {
    work: &'a HandlerContext,
    state: Option<HandlerState>,
}

impl<'a> DeliveryRecorder<'a> {
    pub fn new(work: &'a HandlerContext) -> Self {
        let state = work.handler.at_start.then(|| HandlerState::new(&work.settings, &work.handler));
        Self { work, state }
    }

    pub async fn record_before(&self, message: &HandlerMessage) {
        if let Some(event) = message.event().filter(|event| !replay::is_end_action(&event.action)) {
            self.update_record(event).await;
        }
    }

    pub async fn record_after(&self, message: &HandlerMessage) {
        if let Some(event) = message.event().filter(|event| replay::is_end_action(&event.action)) {
            self.update_record(event).await;
        }
    }

    async fn update_record(&self, event: &ContainerEvent) {
        let Some(state) = &self.state else { return };
        let name = format!("{RECORDS_FOLDER}/{}", String::from(event.id.clone()));
        let before = state.read_value::<DeliveryRecord>(&name).await;
        let after = DeliveryRecord::after_event(before.as_ref(), event, &self.work.handler.events);
        match after {
            _ if after == before => {}
            Some(record) => state.write_value(&name, &record).await,
            None => state.remove_value(&name).await,
        }
    }
}

fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
