//! What HAProxy will not have: found and left out, so that the rest goes live.

use super::Balancer;
use crate::{
    decide::{Taken, Unloadable},
    haproxy::{
        check::Refusal,
        config::Config,
        error::ApplyError,
        files::Files,
        render::{self, Base},
    },
    route::{RouteKey, Routes},
};
use anyhow::{Context as _, Result, bail};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

impl Balancer {
    /// The listeners of ports that somebody else has are left out until they are tried again.
    pub(super) fn give_up(
        &mut self,
        config: &Config,
        taken: BTreeMap<u16, String>,
        now: Instant,
    ) -> Result<()> {
        for (port, why) in taken {
            if self.exporter_gives_up(port, &why, now) {
                continue;
            }
            let ours = config.frontends.iter().find(|frontend| frontend.bound.get() == port);
            let Some(frontend) = ours else {
                bail!("{}HAProxy cannot listen on port {port}, which is {why}", self.base_hint());
            };
            self.memory.taken.insert(frontend.listener, Taken::new(why, now));
        }
        Ok(())
    }

    /// HAProxy has accepted the configuration and could not load it, for want of a resource of the machine, file
    /// descriptors say. New listeners are left out: those of the half of the containers that ask for most of
    /// them, so that a few tries find what there is room for. `false` where there are none.
    pub(super) fn leave_out_listeners(
        &mut self,
        routes: &Routes,
        config: &Config,
        refusal: &Refusal,
        now: Instant,
    ) -> bool {
        let bound = self.bound();
        let listeners = config.frontends.iter().map(|frontend| frontend.listener);
        let new: BTreeSet<_> = listeners.filter(|listener| !bound.contains(listener)).collect();
        let mut askers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (key, route) in routes.0.iter().filter(|(key, _)| new.contains(&key.listener)) {
            for endpoint in &route.endpoints {
                askers.entry(endpoint.origin.clone()).or_default().insert(key.listener);
            }
        }
        let created = |id: &str| self.memory.container(id).map(|container| container.created);
        let mut askers: Vec<_> = askers.into_iter().collect();
        askers.sort_by_key(|(origin, asked)| Reverse((asked.len(), created(origin.id()))));
        askers.truncate(askers.len().div_ceil(2));
        let unloadable = &mut self.memory.unloadable;
        for listener in askers.iter().flat_map(|(_, asked)| asked) {
            let before = unloadable.get(listener);
            let out = Unloadable::new(refusal.text.clone(), now, before);
            unloadable.insert(*listener, out);
        }
        !askers.is_empty()
    }

    /// The routes that HAProxy will not have are left out, so that the rest goes live.
    pub(super) async fn leave_out(
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
            self.memory.refused.insert(key, (Arc::clone(route), refusal.text.clone()));
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
        let files = render::render(&self.fresh(routes), &self.frame);
        match self.proxy.try_out(&files).await {
            Ok(()) => Ok(true),
            Err(ApplyError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn base_hint(&self) -> String {
        match &self.frame.base {
            Base::BuiltIn { .. } => String::new(),
            Base::File { path, .. } => format!("look at {}: ", path.display()),
        }
    }
}
