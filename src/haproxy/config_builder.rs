//! Routes → configuration, and whether the runtime API or a reload leads there.
//!
//! Pure. A pass goes this way, and `docker-balancer plan` says that it would.

use crate::{
    haproxy::{
        config::Config,
        layout::Layout,
        observed::ObservedState,
        provisioning::Provisioning,
        reload_reason::ReloadReason,
        render::{self, RenderContext},
        requeue::Requeue,
    },
    model::route::Routes,
    routing::decide::Rules,
};
use std::collections::BTreeSet;

/// What a configuration is made with, besides routes.
#[derive(Debug, Clone, Copy)]
pub struct ConfigBuilder<'a> {
    pub rules: &'a Rules,
    pub context: &'a RenderContext,
    /// How many spare backends of each shape a new worker gets.
    pub spare_count: usize,
    /// Backends in which requests of an earlier route may still wait.
    pub draining: &'a BTreeSet<String>,
}

impl ConfigBuilder<'_> {
    /// For a worker that is yet to be started.
    pub fn build_fresh(&self, routes: &Routes) -> Config {
        let spare_count =
            if self.context.provisioning == Provisioning::Spares { self.spare_count } else { 0 };
        self.build_config(routes, Layout::for_new_worker(routes, spare_count))
    }

    pub fn build_config(&self, routes: &Routes, layout: Layout) -> Config {
        let bound = |listener| self.rules.bound_port(listener);
        let mut config = Config::new(routes, layout, bound, self.context.wait);
        config.requeue = self.context.requeue.map(Requeue::key);
        config.fingerprint = render::static_fingerprint(&config, self.context);
        config
    }

    /// For the worker that runs, and why that would take a reload, if it would. `had` is what it was
    /// given before, for saying what is different.
    pub fn build_for_running(
        &self,
        routes: &Routes,
        observed: &ObservedState,
        previous: &Config,
    ) -> (Config, Option<ReloadReason>) {
        let (layout, unplaced) = Layout::for_running_worker(routes, observed, self.draining);
        let config = self.build_config(routes, layout);
        let why = match unplaced.first() {
            _ if config.fingerprint != observed.fingerprint => {
                Some(ReloadReason::from_diff(previous, &config))
            }
            Some((_, shape)) => Some(ReloadReason::NoSpare(*shape)),
            None => None,
        };
        (config, why)
    }
}
