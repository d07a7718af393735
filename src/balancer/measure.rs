//! What is counted of passes, and how things stand for who counts.

use super::{Balancer, Did};
use crate::{
    metrics::{Count, Metrics},
    view::{
        How,
        census::{self, Census},
    },
};
use std::time::{Duration, Instant};

/// Events that wait for their pass; more of them at once tell nothing new.
const MOST_HEARD: usize = 1000;

impl Balancer {
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Events were heard then, and the next pass follows them.
    pub fn heard(&mut self, moments: impl IntoIterator<Item = Instant>) {
        let room = MOST_HEARD.saturating_sub(self.heard.len());
        self.heard.extend(moments.into_iter().take(room));
    }

    /// They changed nothing that a pass would follow.
    pub fn heard_in_vain(&mut self) {
        self.heard.clear();
    }

    /// How things stand. `docker`: whether its events are heard, and how long ago the last one was.
    pub fn count(&self, docker: (bool, Duration)) -> Count {
        let observed = self.running.observed.as_ref();
        let config = &self.running.config;
        let (routes, servers) = census::count(&self.served, &self.memory, config, observed);
        let (docker_is_there, stream_age) = docker;
        let census = Census {
            routes,
            servers,
            problems: census::kinds(
                self.told.problems().iter().chain(self.patrol.problems().iter()),
            ),
            containers: self.memory.containers(),
            rollback_holds: self.memory.rollback.is_some(),
            docker_is_there,
            stream_age,
            haproxy_answers: observed.is_some(),
            budget: self.budget,
            now: Instant::now(),
        };
        Count { census, stat: self.proxy.stat(), metrics: self.metrics.clone() }
    }

    /// HAProxy has all that it should have. Events that changed nothing say nothing of how long it takes.
    pub(super) fn succeeded(&mut self, did: &Did) {
        self.metrics.succeeded();
        let heard = std::mem::take(&mut self.heard);
        if did.how().is_some() {
            for at in heard {
                self.metrics.followed(at.elapsed());
            }
        }
    }

    /// The way that a pass took.
    pub(super) fn measure(&self, did: &Did) {
        let Some(how) = did.how() else { return };
        self.metrics.applied(&how);
        if let (How::Reloaded { .. }, Did::Loaded(_, why)) = (&how, did) {
            self.metrics.reloaded(why);
        }
    }
}
