//! Workers of before a reload: they end what they have begun, and are told which containers have gone.

use super::{
    command::Command,
    config::{Config, MapName},
    master::Master,
    observed::{self, Observed},
    plan_old::Valid,
};
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::sync::watch;

/// Tells them in the background, the newest news only. Ends with the last of them.
#[derive(Debug)]
pub struct OldWorkers {
    news: watch::Sender<Arc<Config>>,
}

/// By their processes.
type Known = BTreeMap<u32, Old>;

#[derive(Debug)]
struct Old {
    /// What it had when it was met.
    had: Observed,
    /// Its map of routes by now.
    routes: BTreeMap<String, String>,
}

impl OldWorkers {
    pub fn accompany(master: Master, config: Arc<Config>) -> Self {
        let (news, mut heard) = watch::channel(config);
        heard.mark_changed();
        tokio::spawn(async move {
            let mut known = Known::new();
            while heard.changed().await.is_ok() {
                let config = Arc::clone(&heard.borrow_and_update());
                match tell(&master, &mut known, &config).await {
                    Ok(()) if known.is_empty() => break,
                    Ok(()) => {}
                    Err(error) => tracing::debug!("old workers of HAProxy: {error}"),
                }
            }
        });
        Self { news }
    }

    /// What HAProxy has from now on. `false`: there are no old workers any more.
    pub fn tell(&self, config: &Arc<Config>) -> bool {
        self.news.send_if_modified(|told| {
            let is_new = !Arc::ptr_eq(told, config);
            told.clone_from(config);
            is_new
        });
        !self.news.is_closed()
    }
}

async fn tell(master: &Master, known: &mut Known, config: &Config) -> io::Result<()> {
    let pids = master.procs().await?.ending();
    known.retain(|pid, _| pids.contains(pid));
    for pid in pids {
        let old = match known.remove(&pid) {
            Some(old) => Ok(old),
            None => Old::meet(master, pid).await,
        };
        match async { old?.follow(master, pid, config).await }.await {
            Ok(old) => drop(known.insert(pid, old)),
            // It has ended, most likely.
            Err(error) => tracing::debug!("old worker {pid} of HAProxy: {error}"),
        }
    }
    Ok(())
}

impl Old {
    async fn meet(master: &Master, pid: u32) -> io::Result<Self> {
        let servers = master.ask_worker(pid, "show servers state").await?;
        let map = MapName::Routes;
        let routes = observed::map(&master.ask_worker(pid, &format!("show map {map}")).await?);
        let servers = observed::servers(&servers);
        let had = Observed { servers, maps: [(map, routes.clone())].into(), ..Observed::default() };
        Ok(Self { had, routes })
    }

    async fn follow(mut self, master: &Master, pid: u32, config: &Config) -> io::Result<Self> {
        let valid = Valid::of(&self.had, config);
        let routes = valid.routes(&self.had);
        for (key, value) in
            routes.iter().filter(|(key, value)| self.routes.get(*key) != Some(value))
        {
            let (map, key, value) = (MapName::Routes, key.clone(), value.clone());
            let command = Command::SetMap { map, key, value };
            master.ask_worker(pid, &command.to_string()).await?;
        }
        let waiting = observed::waiting(&master.ask_worker(pid, "show sess").await?);
        for request in valid.stranded(&waiting) {
            master.ask_worker(pid, &format!("shutdown session {}", request.id)).await?;
        }
        self.routes = routes;
        Ok(self)
    }
}
