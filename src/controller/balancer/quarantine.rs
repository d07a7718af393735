//! Finds what HAProxy refuses and leaves it out, so that the rest is applied.

use super::Balancer;
use crate::{
    haproxy::{
        check::ConfigRejection,
        config::Config,
        error::ApplyError,
        files::ConfigFiles,
        render::{self, BaseConfig},
        runtime::RuntimeError,
    },
    model::route::{RouteKey, Routes},
    routing::decide::{PortConflict, UnloadableListener},
};
use anyhow::{Context as _, Result, bail};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

impl Balancer {
    /// Leaves out the listeners whose ports other programs use, until they are tried again.
    pub(crate) fn exclude_taken_ports(
        &mut self,
        config: &Config,
        taken: BTreeMap<u16, String>,
        now: Instant,
    ) -> Result<()> {
        for (port, why) in taken {
            if self.release_exporter_port(port, &why, now) {
                continue;
            }
            let ours = config.frontends.iter().find(|frontend| frontend.bound.get() == port);
            let Some(frontend) = ours else {
                bail!(
                    "{}HAProxy cannot listen on port {port}: the port is {why}",
                    self.base_hint()
                );
            };
            self.memory.port_conflicts.insert(frontend.listener, PortConflict::new(why, now));
        }
        Ok(())
    }

    /// Does the same for the listener of a paused frontend that cannot be resumed. Returns `false` for another error.
    pub(crate) async fn exclude_taken_frontend(
        &mut self,
        config: &Config,
        error: &RuntimeError,
    ) -> bool {
        let RuntimeError::PortTaken { frontend } = error else { return false };
        let mut frontends = config.frontends.iter();
        let Some(taken) = frontends.find(|known| known.public_name() == *frontend) else {
            return false;
        };
        let reason = self.proxy.describe_port_owner(taken.bound.get()).await;
        let conflict = PortConflict::new(reason, Instant::now());
        self.memory.port_conflicts.insert(taken.listener, conflict);
        true
    }

    /// HAProxy accepted the configuration but could not load it because the machine lacks a resource, such as file
    /// descriptors. Leaves out new listeners: those of the half of the containers that request the most, so that a few
    /// attempts find how many can be loaded. Returns `false` if there are no new listeners.
    pub(crate) fn exclude_unloadable(
        &mut self,
        routes: &Routes,
        config: &Config,
        refusal: &ConfigRejection,
        now: Instant,
    ) -> bool {
        let bound = self.bound_listeners();
        let listeners = config.frontends.iter().map(|frontend| frontend.listener);
        let new: BTreeSet<_> = listeners.filter(|listener| !bound.contains(listener)).collect();
        let mut requesters: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (key, route) in routes.0.iter().filter(|(key, _)| new.contains(&key.listener)) {
            for endpoint in &route.endpoints {
                requesters.entry(endpoint.container.clone()).or_default().insert(key.listener);
            }
        }
        let created = |id: &str| self.memory.find_container(id).map(|container| container.created);
        let mut requesters: Vec<_> = requesters.into_iter().collect();
        requesters
            .sort_by_key(|(origin, requested)| Reverse((requested.len(), created(origin.id()))));
        requesters.truncate(requesters.len().div_ceil(2));
        let unloadable = &mut self.memory.unloadable_listeners;
        for listener in requesters.iter().flat_map(|(_, requested)| requested) {
            let before = unloadable.get(listener);
            let out = UnloadableListener::new(refusal.text.clone(), now, before);
            unloadable.insert(*listener, out);
        }
        !requesters.is_empty()
    }

    /// Leaves out the routes that HAProxy refuses, so that the others are applied.
    pub(crate) async fn exclude_refused(
        &mut self,
        routes: &Routes,
        config: &Config,
        files: &ConfigFiles,
        refusal: &ConfigRejection,
    ) -> Result<()> {
        let named =
            refusal.lines.iter().filter_map(|line| render::find_backend_at(&files.config, *line));
        let routes_of = named.filter_map(|name| Some(config.backends.get(name)?.route.clone()));
        let mut culprits: BTreeSet<_> = routes_of.collect();
        if culprits.is_empty() {
            culprits.extend(self.bisect_routes(routes).await?);
        }
        if culprits.is_empty() {
            bail!("{}HAProxy refuses the configuration: {}", self.base_hint(), refusal.text);
        }
        for key in culprits {
            let Some(route) = routes.0.get(&key) else { continue };
            self.memory.refused_routes.insert(key, (Arc::clone(route), refusal.text.clone()));
        }
        Ok(())
    }

    /// Returns one route that is refused even alone, if HAProxy did not report which one. `None` if the configuration
    /// is refused without any routes too, so that the cause is not a route.
    async fn bisect_routes(&self, routes: &Routes) -> Result<Option<RouteKey>> {
        if !self.passes_check(&Routes::default()).await? {
            return Ok(None);
        }
        let mut suspects = routes.clone();
        while 1 < suspects.0.len() {
            let middle = suspects.0.keys().nth(suspects.0.len() / 2).cloned();
            let middle = middle.context("a map of two has a second key")?;
            let upper = Routes(suspects.0.split_off(&middle));
            if self.passes_check(&suspects).await? {
                suspects = upper;
            }
        }
        let passes = self.passes_check(&suspects).await?;
        Ok(suspects.0.into_keys().next().filter(|_| !passes))
    }

    async fn passes_check(&self, routes: &Routes) -> Result<bool> {
        let files = render::render_files(&self.build_fresh_config(routes), &self.render_context);
        match self.proxy.check_files(&files).await {
            Ok(()) => Ok(true),
            Err(ApplyError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn base_hint(&self) -> String {
        match &self.render_context.base {
            BaseConfig::BuiltIn { .. } => String::new(),
            BaseConfig::File { path, .. } => format!("check {}: ", path.display()),
        }
    }
}
