//! The first letters of a handler with `at_start=yes`, and what it was told, kept on disk.

use super::{
    Work,
    mailbox::{Letter, Mailbox},
    replay::{self, Record, Records},
    state::State,
};
use crate::{container::ContainerId, docker::Happened};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::info;

/// Its folder in the handler's state: a file for each container.
const FOLDER: &str = "containers";

/// What it missed, which comes before all else. The agent's first letter to it brings the containers.
pub async fn first_letters(work: &Work, mailbox: &mut Mailbox) -> VecDeque<Letter> {
    let mut first = VecDeque::new();
    if !work.handler.at_start {
        return first;
    }
    let roster = match mailbox.recv().await {
        Some(Letter::Begin(roster)) => roster,
        other => return other.into_iter().collect(),
    };
    let state = State::new(&work.settings, &work.handler);
    let records = state.read_all::<Record>(FOLDER).await;
    let records: Records =
        records.into_iter().map(|(id, record)| (ContainerId::new(id), record)).collect();
    let missed = replay::missed(&records, &roster, &work.handler.wanted, now());
    let starts = missed.iter().filter(|it| it.action == "start").count();
    let handler = &work.handler.name;
    info!(
        handler,
        "containers that run: {starts}; events of others that have ended: {}",
        missed.len() - starts
    );
    first.extend(missed.into_iter().map(|it| Letter::Replayed(Arc::new(it))));
    first
}

/// That the handler is told of this: on disk before a start is told, and when an end was told.
#[derive(Debug)]
pub struct Remembering<'a> {
    work: &'a Work,
    state: Option<State>,
}

impl<'a> Remembering<'a> {
    pub fn new(work: &'a Work) -> Self {
        let state = work.handler.at_start.then(|| State::new(&work.settings, &work.handler));
        Self { work, state }
    }

    pub async fn before(&self, letter: &Letter) {
        if let Some(happened) = letter.happened().filter(|it| !replay::is_end(&it.action)) {
            self.remember(happened).await;
        }
    }

    pub async fn after(&self, letter: &Letter) {
        if let Some(happened) = letter.happened().filter(|it| replay::is_end(&it.action)) {
            self.remember(happened).await;
        }
    }

    async fn remember(&self, happened: &Happened) {
        let Some(state) = &self.state else { return };
        let name = format!("{FOLDER}/{}", happened.id.as_str());
        let before = state.read::<Record>(&name).await;
        let after = Record::after(before.as_ref(), happened, &self.work.handler.wanted);
        match after {
            _ if after == before => {}
            Some(record) => state.write(&name, &record).await,
            None => state.remove(&name).await,
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
