//! One pass: the world → what is decided → what HAProxy does. The only file that knows both neighbours.

use crate::{
    change,
    decide::{self, Decided, Memory, Rules, Taken},
    haproxy::{
        check::Refusal,
        config::Config,
        error::ApplyError,
        files::Files,
        proxy::{Applied, How, Proxy},
        render::{self, Base, Frame},
    },
    route::{RouteKey, Routes},
    told::Told,
    world::{Vantage, World},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use tracing::{info, warn};

/// How often in one pass HAProxy may find something impossible.
const MOST_TRIES: usize = 32;

/// From worlds to a running HAProxy.
#[derive(Debug)]
pub struct Balancer {
    pub proxy: Proxy,
    rules: Rules,
    frame: Frame,
    memory: Memory,
    told: Told,
    served: Routes,
}

impl Balancer {
    /// Remembers the routes that an earlier run has left behind.
    pub fn new(proxy: Proxy, rules: Rules, frame: Frame) -> Self {
        let stored = proxy.stored("routes.map").unwrap_or_default();
        let keys = stored.lines().filter_map(|line| line.split(' ').next()?.parse().ok());
        let memory = Memory::of_routes(keys, Instant::now());
        let (told, served) = Default::default();
        Self { proxy, rules, frame, memory, told, served }
    }

    /// From where HAProxy looks at the containers.
    pub fn stand_at(&mut self, vantage: Vantage) {
        self.rules.vantage = vantage;
    }

    /// How many routes are served.
    pub fn routes(&self) -> usize {
        self.served.0.len()
    }

    /// Makes HAProxy do what the world asks for, less what turns out to be impossible: that is told.
    /// Returns when to look again though nothing changes.
    ///
    /// # Errors
    /// When nothing could be applied; what ran before runs on.
    pub async fn pass(&mut self, world: &World, cause: &str) -> Result<Option<Instant>> {
        let begun = Instant::now();
        for _ in 0..MOST_TRIES {
            let decided = decide::decide(world, &self.memory, begun, &self.rules);
            let (config, files) = self.draw(&decided.routes);
            match self.proxy.apply(&files).await {
                Ok(applied) => {
                    let wake_at = decided.wake_at;
                    self.done(decided, applied, cause, begun);
                    return Ok(wake_at);
                }
                Err(ApplyError::Refused(refusal)) => {
                    self.leave_out(&decided.routes, &config, &files, &refusal).await?;
                }
                Err(ApplyError::Bind(taken)) => self.give_up(&config, taken, begun)?,
                Err(error) => return Err(error.into()),
            }
        }
        bail!("HAProxy refused {MOST_TRIES} versions of the configuration")
    }

    fn draw(&self, routes: &Routes) -> (Config, Files) {
        let config = Config::new(routes, |listener| self.rules.bound(listener), self.frame.wait);
        let files = render::render(&config, &self.frame);
        (config, files)
    }

    /// The listeners of ports that somebody else has are left out until they are tried again.
    fn give_up(
        &mut self,
        config: &Config,
        taken: BTreeMap<u16, String>,
        now: Instant,
    ) -> Result<()> {
        for (port, why) in taken {
            let ours = config.frontends.iter().find(|frontend| frontend.bound.get() == port);
            let Some(frontend) = ours else {
                bail!("{}HAProxy cannot listen on port {port}, which is {why}", self.base_hint());
            };
            self.memory.taken.insert(frontend.listener, Taken::new(why, now));
        }
        Ok(())
    }

    /// The routes that HAProxy will not have are left out, so that the rest goes live.
    async fn leave_out(
        &mut self,
        routes: &Routes,
        config: &Config,
        files: &Files,
        refusal: &Refusal,
    ) -> Result<()> {
        let named =
            refusal.lines.iter().filter_map(|line| render::backend_at(&files.config, *line));
        let routes_of = named.filter_map(|name| Some(config.backends.get(name)?.route.clone()));
        let mut culprits: BTreeSet<_> = routes_of.collect();
        if culprits.is_empty() {
            culprits.extend(self.halve(routes).await?);
        }
        if culprits.is_empty() {
            bail!("{}HAProxy refuses the configuration: {}", self.base_hint(), refusal.text);
        }
        for key in culprits {
            let Some(route) = routes.0.get(&key) else { continue };
            self.memory.refused.insert(key, (route.clone(), refusal.text.clone()));
        }
        Ok(())
    }

    /// One route that is refused even alone, where HAProxy did not say which. None if it is not for
    /// the routes: what surrounds them is refused without any.
    async fn halve(&self, routes: &Routes) -> Result<Option<RouteKey>> {
        if !self.is_fine(&Routes::default()).await? {
            return Ok(None);
        }
        let mut suspects = routes.clone();
        while 1 < suspects.0.len() {
            let middle = suspects.0.keys().nth(suspects.0.len() / 2).cloned();
            let middle = middle.context("a map of two has a second key")?;
            let upper = Routes(suspects.0.split_off(&middle));
            if self.is_fine(&suspects).await? {
                suspects = upper;
            }
        }
        let fine = self.is_fine(&suspects).await?;
        Ok(suspects.0.into_keys().next().filter(|_| !fine))
    }

    async fn is_fine(&self, routes: &Routes) -> Result<bool> {
        let (_, files) = self.draw(routes);
        match self.proxy.try_out(&files).await {
            Ok(()) => Ok(true),
            Err(ApplyError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn base_hint(&self) -> String {
        match &self.frame.base {
            Base::BuiltIn { .. } => String::new(),
            Base::File { path, .. } => format!("look at {}: ", path.display()),
        }
    }

    fn done(&mut self, decided: Decided, applied: Applied, cause: &str, begun: Instant) {
        self.memory = decided.memory;
        self.told.tell(decided.problems);
        if let Some(backup) = applied.backup {
            warn!("the configuration that was there is kept as {}", backup.display());
        }
        for change in change::changes(&self.served, &decided.routes) {
            info!("{change}");
        }
        self.served = decided.routes;
        let how = match applied.how {
            How::Unchanged => return,
            How::Started => "started HAProxy",
            How::Reloaded => "reloaded HAProxy",
        };
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(cause, routes = self.routes(), ms, "{how}");
    }
}
