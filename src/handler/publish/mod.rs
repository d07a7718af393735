//! Containers in etcd: `<prefix>/<node>/containers/<id>` is what `docker inspect` says of one.
//!
//! The roster is the truth, and events only say that it is another one: what comes while etcd is slow or away
//! is one change. All keys hang on a lease that ends by itself when nobody keeps it alive, so that those of a
//! dead node go.

mod etcd;
mod held;
mod literal;
mod params;
mod session;
mod wanted;

use super::{
    Work,
    ini::{Mistake, Section},
    mailbox::{Letter, Mailbox},
};
use crate::{
    outage::{Outage, Tell},
    settings::{Command, GlueSettings},
};
use session::{Publisher, Written};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

pub use params::Publish;

impl Publish {
    pub fn read(params: &Section, _settings: &GlueSettings) -> Result<Self, Mistake> {
        Self::of(params)
    }

    /// Where its keys are.
    pub fn place(&self) -> String {
        let mut endpoints = self.access.endpoints.clone();
        endpoints.sort();
        let node = self.node.as_deref().unwrap_or("this machine");
        format!("{}{node} at {}", self.prefix, endpoints.join(", "))
    }

    pub async fn run(self, mut work: Work) {
        let name = work.handler.name.clone();
        if self.access.is_overheard() {
            warn!(handler = name, "the password goes to etcd without TLS: who listens can read it");
        }
        let publisher = Publisher::new(self, &work);
        match work.command {
            Command::Once => once(publisher, &mut work).await,
            Command::Watch => follow(publisher, &mut work).await,
        }
    }
}

/// Nobody keeps the lease alive after that: the keys stay for `ttl`.
async fn once(mut publisher: Publisher, work: &mut Work) {
    if work.mailbox.recv().await.is_none() {
        return;
    }
    let handler = &work.handler.name;
    match publisher.pass().await {
        Ok(written) => {
            work.tally.succeed();
            info!(handler, "{written}");
        }
        Err(error) => {
            let failures = work.tally.fail();
            error!(handler, failures, "not published: {error:#}");
        }
    }
}

async fn follow(mut publisher: Publisher, work: &mut Work) {
    let mut outage = Outage::none();
    let mut letter = None;
    let mut due: Option<Instant> = None;
    loop {
        tokio::select! {
            heard = work.mailbox.recv() => {
                let Some(heard) = heard else { break };
                keep(&mut letter, heard);
                // What happens meanwhile is no reason to ask an etcd that is away.
                if !outage.lasts() {
                    due = Some(Instant::now());
                }
                continue;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        let dealt = letter.take();
        let pass = beside(publisher.pass(), &mut work.mailbox, &mut letter).await;
        let Some(result) = pass else { break };
        due = Some(match result {
            Ok(written) => {
                well(&written, dealt.is_some(), work, &mut outage);
                if letter.is_some() { Instant::now() } else { publisher.due() }
            }
            Err(error) => failed(&error, work, &mut outage),
        });
        if let Some(letter) = dealt {
            work.finished(&letter);
        }
    }
    publisher.leave().await;
}

/// One is enough to know that something is different; an event's is owed an answer.
fn keep(letter: &mut Option<Letter>, heard: Letter) {
    if !matches!(letter, Some(Letter::Happened(_))) {
        *letter = Some(heard);
    }
}

/// The mailbox stays empty meanwhile. `None`: it ended, and so must the work.
async fn beside<T>(
    work: impl Future<Output = T>,
    mailbox: &mut Mailbox,
    letter: &mut Option<Letter>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            heard = mailbox.recv() => keep(letter, heard?),
        }
    }
}

fn well(written: &Written, asked: bool, work: &Work, outage: &mut Outage) {
    let handler = &work.handler.name;
    if let Some(away) = outage.over(Instant::now().into_std()) {
        info!(handler, "etcd is back after {}s", away.as_secs());
    }
    if asked || !written.is_nothing() {
        work.tally.succeed();
    }
    if written.is_nothing() {
        debug!(handler, "{written}");
    } else {
        info!(handler, "{written}");
    }
}

/// When to try again.
fn failed(error: &anyhow::Error, work: &Work, outage: &mut Outage) -> Instant {
    let now = Instant::now();
    let handler = &work.handler.name;
    let failures = work.tally.fail();
    let (tell, pause) = outage.failed(now.into_std());
    match tell {
        Tell::Loud => {
            warn!(handler, failures, "not published: {error:#}; trying again until it is");
        }
        Tell::Quiet => debug!(handler, failures, "still not published: {error:#}"),
    }
    now + pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_s_letter_is_not_forgotten_for_another_one() {
        use crate::{container::ContainerId, docker::Happened};
        let happened = Letter::Happened(std::sync::Arc::new(Happened {
            id: ContainerId::new("a"),
            name: "a".into(),
            action: "start".into(),
            time_nano: 0,
            attributes: std::collections::BTreeMap::new(),
            description: None,
        }));
        let mut letter = None;
        keep(&mut letter, Letter::Changed);
        keep(&mut letter, happened);
        keep(&mut letter, Letter::None);
        assert_eq!(letter.unwrap().action(), "start");
    }
}
