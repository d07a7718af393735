//! Old workers, from before a reload: they finish their requests, and are updated when containers are removed.

use super::{
    command::RuntimeCommand,
    config::{Config, MapName},
    master::Master,
    observed::{self, ObservedState},
    old_worker_plan::{self, ReachableServers},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How often to look for requests in workers whose time is over.
const LIMIT_INTERVAL: Duration = Duration::from_secs(30);

/// Updates the old workers in the background, with the newest configuration only. Ends with the last of them.
#[derive(Debug)]
pub struct OldWorkers {
    config_sender: watch::Sender<Arc<Config>>,
}

/// By pid.
type OldWorkersByPid = BTreeMap<u32, OldWorker>;

#[derive(Debug)]
struct OldWorker {
    /// The state when the worker was found.
    initial: ObservedState,
    /// The current map of routes.
    routes: BTreeMap<String, String>,
    /// The servers whose connections were ended, each with its backend.
    ended: BTreeSet<(String, String)>,
    /// When its requests are ended.
    limit: Instant,
}

impl OldWorkers {
    /// `hard_stop_after` is how long a worker may serve requests. HAProxy's setting of this name would also end the
    /// connections of TCP listeners, so HAProxy does not have it if it has such listeners.
    pub fn follow(master: Master, config: Arc<Config>, hard_stop_after: Duration) -> Self {
        let (config_sender, mut config_receiver) = watch::channel(config);
        config_receiver.mark_changed();
        tokio::spawn(async move {
            let mut workers = OldWorkersByPid::new();
            loop {
                let next_limit = workers.values().map(|worker| worker.limit).min();
                tokio::select! {
                    changed = config_receiver.changed() => if changed.is_err() { break },
                    () = sleep_until(next_limit.unwrap_or_else(Instant::now)), if next_limit.is_some() => {}
                }
                let config = Arc::clone(&config_receiver.borrow_and_update());
                match update_workers(&master, &mut workers, &config, hard_stop_after).await {
                    Ok(()) if workers.is_empty() => break,
                    Ok(()) => {}
                    Err(error) => {
                        tracing::debug!("could not update old workers of HAProxy: {error}");
                    }
                }
            }
        });
        Self { config_sender }
    }

    /// Sets the configuration that HAProxy has from now on. Returns `false` if there are no old workers any more.
    pub fn update_config(&self, config: &Arc<Config>) -> bool {
        self.config_sender.send_if_modified(|current| {
            let is_new = !Arc::ptr_eq(current, config);
            current.clone_from(config);
            is_new
        });
        !self.config_sender.is_closed()
    }
}

async fn update_workers(
    master: &Master,
    workers: &mut OldWorkersByPid,
    config: &Config,
    hard_stop_after: Duration,
) -> io::Result<()> {
    let pids = master.list_processes().await?.stopping_workers();
    workers.retain(|pid, _| pids.contains(pid));
    for pid in pids {
        let old = match workers.remove(&pid) {
            Some(old) => Ok(old),
            None => OldWorker::inspect(master, pid, hard_stop_after).await,
        };
        match async { old?.apply_config(master, pid, config).await }.await {
            Ok(old) => drop(workers.insert(pid, old)),
            // The worker has probably exited.
            Err(error) => tracing::debug!("could not update old worker {pid} of HAProxy: {error}"),
        }
    }
    Ok(())
}

impl OldWorker {
    async fn inspect(master: &Master, pid: u32, hard_stop_after: Duration) -> io::Result<Self> {
        let servers = master.send_to_worker(pid, "show servers state").await?;
        let map = MapName::Routes;
        let routes =
            observed::parse_map(&master.send_to_worker(pid, &format!("show map {map}")).await?);
        let servers = observed::parse_servers(&servers);
        let backends = observed::parse_backends(&master.send_to_worker(pid, "show backend").await?);
        let initial = ObservedState {
            backends,
            servers,
            maps: [(map, routes.clone())].into(),
            ..ObservedState::default()
        };
        let limit = Instant::now() + hard_stop_after;
        Ok(Self { initial, routes, ended: BTreeSet::new(), limit })
    }

    async fn apply_config(
        mut self,
        master: &Master,
        pid: u32,
        config: &Config,
    ) -> io::Result<Self> {
        let reachable = ReachableServers::from_observed(&self.initial, config);
        let routes = reachable.updated_routes(&self.initial);
        for (key, value) in
            routes.iter().filter(|(key, value)| self.routes.get(*key) != Some(value))
        {
            let (map, key, value) = (MapName::Routes, key.clone(), value.clone());
            let command = RuntimeCommand::SetMap { map, key, value };
            master.send_to_worker(pid, &command.to_string()).await?;
        }
        for (backend, server) in old_worker_plan::orphaned_servers(&self.initial, config) {
            if self.ended.insert((backend.to_owned(), server.to_owned())) {
                let (backend, name) = (backend.to_owned(), server.to_owned());
                let command = RuntimeCommand::EndSessions { backend, name };
                master.send_to_worker(pid, &command.to_string()).await?;
            }
        }
        let sessions = master.send_to_worker(pid, "show sess").await?;
        let queued = observed::parse_queued(&sessions);
        let mut ended: Vec<_> =
            reachable.stale_requests(&queued).map(|request| request.id.clone()).collect();
        let now = Instant::now();
        if self.limit <= now {
            ended.extend(observed::parse_http_sessions(&sessions));
            self.limit = now + LIMIT_INTERVAL;
        }
        for id in ended {
            master.send_to_worker(pid, &format!("shutdown session {id}")).await?;
        }
        self.routes = routes;
        Ok(self)
    }
}
