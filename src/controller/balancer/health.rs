//! Health of servers: reads it from HAProxy and logs its problems.

use super::Balancer;
use crate::{
    controller::problem_log::ProblemLog,
    haproxy::{
        diagnosis::{CheckReporting, Diagnosis, HealthQuery, LossCause, LostServer},
        health::HealthReport,
        health_query,
        stderr_log::CheckResultChange,
    },
    model::problem_set::ProblemSet,
};
use std::{io, mem, time::Instant};
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::{debug, warn};

/// Known health of the servers, and the requesters that wait for an update.
#[derive(Debug, Default)]
pub(crate) struct HealthMonitor {
    diagnosis: Diagnosis,
    problem_log: ProblemLog,
    query: Option<JoinHandle<io::Result<HealthReport>>>,
    waiters: Vec<oneshot::Sender<()>>,
}

impl HealthMonitor {
    pub(crate) fn problems(&self) -> &ProblemSet {
        self.problem_log.problems()
    }

    /// Waits for HAProxy's answer; forever if no query is running. May be dropped and called again.
    pub(crate) async fn wait_for_report(&mut self) -> io::Result<HealthReport> {
        let Some(handle) = &mut self.query else { return std::future::pending().await };
        let result = handle.await;
        self.query = None;
        result.unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    pub(crate) fn is_query_running(&self) -> bool {
        self.query.is_some()
    }
}

impl Balancer {
    /// Answers once the health of the servers was read from HAProxy, or at once if that was just now.
    pub fn examine_servers(&mut self, answer: oneshot::Sender<()>) {
        let now = Instant::now();
        if self.health_monitor.diagnosis.is_fresh(now) || self.live.observed.is_none() {
            // The requester may be gone.
            let _ = answer.send(());
            return;
        }
        self.health_monitor.waiters.push(answer);
        if !self.health_monitor.is_query_running() {
            self.health_monitor.diagnosis.request_now(now);
        }
    }

    /// Returns when to read the health of the servers next.
    pub(crate) fn next_health_query(&self) -> Option<Instant> {
        let is_running = self.live.observed.is_some();
        (is_running || !self.health_monitor.waiters.is_empty())
            .then(|| self.health_monitor.diagnosis.next_query_at(self.check_reporting()))
            .flatten()
    }

    fn check_reporting(&self) -> CheckReporting {
        if self.proxy.reports_checks() {
            return CheckReporting::Pushed;
        }
        let backends = self.live.config.backends.values();
        CheckReporting::Polled { servers: backends.map(|backend| backend.servers.len()).sum() }
    }

    pub(crate) fn start_health_query(&mut self) {
        let HealthQuery { backends, frontend_errors: refusals } =
            self.health_monitor.diagnosis.next_query(self.check_reporting());
        let ask = health_query::fetch_health(self.proxy.worker_socket(), backends, refusals);
        self.health_monitor.query = Some(tokio::spawn(ask));
    }

    pub(crate) fn on_health_report(&mut self, found: io::Result<HealthReport>) {
        let now = Instant::now();
        match found {
            Ok(round) => {
                self.health_monitor.diagnosis.apply_report(&round, &self.live.config, now);
                self.end_lost_requests(now);
            }
            Err(error) => {
                debug!("could not read the state of servers from HAProxy: {error}");
                self.health_monitor.diagnosis.on_no_answer(now);
            }
        }
        self.update_health_problems(now);
        for waiter in mem::take(&mut self.health_monitor.waiters) {
            let _ = waiter.send(());
        }
    }

    /// Closes the requests to lost servers, whose connections time out or whose machines are lost, so that clients do not have to wait for the
    /// time limit of the route.
    fn end_lost_requests(&mut self, now: Instant) {
        let lost = self.health_monitor.diagnosis.take_lost_servers(now, &self.memory);
        if lost.is_empty() {
            return;
        }
        for LostServer { server: (backend, server), cause, .. } in
            lost.iter().filter(|server| server.is_new)
        {
            match cause {
                LossCause::Timeouts => {
                    warn!(
                        "connections to server {backend}/{server} time out; closing its requests"
                    );
                }
                LossCause::Machine => {
                    warn!("the machine of server {backend}/{server} is lost; closing its requests");
                }
            }
        }
        let servers = lost.into_iter().map(|server| server.server).collect();
        let ending = self.proxy.end_sessions(servers);
        tokio::spawn(async move {
            if let Err(error) = ending.await {
                debug!("could not end requests of deleted servers: {error}");
            }
        });
    }

    pub(crate) fn on_check_result(&mut self, change: &CheckResultChange) {
        let worker = self.live.observed.as_ref().and_then(|state| state.worker);
        if worker.is_none_or(|n| n == change.worker) {
            self.health_monitor.diagnosis.on_check_result(change, Instant::now());
        }
    }

    /// Updates the health of the routes with these keys, whose servers may have changed.
    pub(crate) fn on_servers_changed(&mut self, keys: &[String]) {
        let now = Instant::now();
        let config = &self.live.config;
        let backends = keys.iter().filter_map(|key| config.maps.backend_at(key));
        self.health_monitor.diagnosis.update_backends(config, backends, now);
        self.update_health_problems(now);
    }

    fn update_health_problems(&mut self, now: Instant) {
        let config = &self.live.config;
        let problems =
            self.health_monitor.diagnosis.problems(config, &self.served_routes, &self.memory, now);
        self.health_monitor.problem_log.log_changes(problems);
    }
}
