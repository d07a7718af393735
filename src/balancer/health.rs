//! How servers are: HAProxy is asked, and what is wrong with them is told.

use super::Balancer;
use crate::{
    diagnosis::{Diagnosis, Hearing, Lost, Question},
    haproxy::{health::Round, patrol, said::Checked},
    problem_set::ProblemSet,
    told::Told,
};
use std::{io, mem, time::Instant};
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::{debug, warn};

/// What is known of servers, and who waits to know more.
#[derive(Debug, Default)]
pub(super) struct Patrol {
    diagnosis: Diagnosis,
    told: Told,
    asking: Option<JoinHandle<io::Result<Round>>>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Patrol {
    pub(super) fn problems(&self) -> &ProblemSet {
        self.told.problems()
    }

    /// What HAProxy answered; for ever where nothing is being asked. May be dropped and called again.
    pub(super) async fn answered(&mut self) -> io::Result<Round> {
        let Some(handle) = &mut self.asking else { return std::future::pending().await };
        let answered = handle.await;
        self.asking = None;
        answered.unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }
}

impl Balancer {
    /// Answered once HAProxy was asked how its servers are, or at once where it was just now.
    pub fn examine(&mut self, answer: oneshot::Sender<()>) {
        let now = Instant::now();
        if self.patrol.diagnosis.is_fresh(now) || self.running.observed.is_none() {
            // Who asked may be gone.
            let _ = answer.send(());
            return;
        }
        self.patrol.waiting.push(answer);
        if !self.patrol.is_asking() {
            self.patrol.diagnosis.hurry(now);
        }
    }

    /// When HAProxy is to be asked how its servers are.
    pub(super) fn patrol_due(&self) -> Option<Instant> {
        let there_is_one = self.running.observed.is_some();
        (there_is_one || !self.patrol.waiting.is_empty())
            .then(|| self.patrol.diagnosis.due(self.hearing()))
            .flatten()
    }

    fn hearing(&self) -> Hearing {
        if self.proxy.is_heard() {
            return Hearing::Heard;
        }
        let backends = self.running.config.backends.values();
        Hearing::Deaf { servers: backends.map(|it| it.servers.len()).sum() }
    }

    pub(super) fn go_on_patrol(&mut self) {
        let Question { backends, refusals } = self.patrol.diagnosis.question(self.hearing());
        let ask = patrol::ask(self.proxy.socket(), backends, refusals);
        self.patrol.asking = Some(tokio::spawn(ask));
    }

    pub(super) fn came_back(&mut self, found: io::Result<Round>) {
        let now = Instant::now();
        match found {
            Ok(round) => {
                self.patrol.diagnosis.learn(&round, &self.running.config, now);
                self.end_lost_requests(now);
            }
            Err(error) => {
                debug!("HAProxy does not say how its servers are: {error}");
                self.patrol.diagnosis.unanswered(now);
            }
        }
        self.tell_health(now);
        for waiting in mem::take(&mut self.patrol.waiting) {
            let _ = waiting.send(());
        }
    }

    /// Whoever waits for a machine that has gone is told so, instead of waiting for the time limit of its route.
    fn end_lost_requests(&mut self, now: Instant) {
        let lost = self.patrol.diagnosis.lost(now);
        if lost.is_empty() {
            return;
        }
        for Lost { server: (backend, server), .. } in lost.iter().filter(|it| it.is_news) {
            warn!(
                "connections to server {backend}/{server} time out; the requests that it has are ended"
            );
        }
        let servers = lost.into_iter().map(|it| it.server).collect();
        let ending = self.proxy.end_sessions(servers);
        tokio::spawn(async move {
            if let Err(error) = ending.await {
                debug!("requests of servers that are gone: {error}");
            }
        });
    }

    pub(super) fn heard_of_check(&mut self, checked: &Checked) {
        let worker = self.running.observed.as_ref().and_then(|it| it.worker);
        if worker.is_none_or(|it| it == checked.worker) {
            self.patrol.diagnosis.hear(checked, Instant::now());
        }
    }

    /// The routes of these keys may have other servers than before.
    pub(super) fn servers_changed(&mut self, keys: &[String]) {
        let now = Instant::now();
        let config = &self.running.config;
        let targets = keys.iter().filter_map(|key| config.maps.routes.get(key));
        let backends = targets.map(|target| target.backend.as_str());
        self.patrol.diagnosis.follow(config, backends, now);
        self.tell_health(now);
    }

    fn tell_health(&mut self, now: Instant) {
        let config = &self.running.config;
        let problems = self.patrol.diagnosis.problems(config, &self.served, &self.memory, now);
        self.patrol.told.tell(problems);
    }
}
