//! Routes → configuration, and whether the runtime API or a reload leads there.
//!
//! Pure. A pass goes this way, and `docker-balancer plan` says that it would.

use crate::{
    decide::Rules,
    haproxy::{
        config::Config, growth::Growth, layout::Layout, observed::Observed, render, render::Frame,
        requeue::Requeue,
    },
    reload::Why,
    route::Routes,
};
use std::collections::BTreeSet;

/// What a configuration is made with, besides routes.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    pub rules: &'a Rules,
    pub frame: &'a Frame,
    /// How many spare backends of each shape a new worker gets.
    pub stock: usize,
    /// Backends in which requests of an earlier route may still wait.
    pub resting: &'a BTreeSet<String>,
}

impl Maker<'_> {
    /// For a worker that is yet to be started.
    pub fn fresh(&self, routes: &Routes) -> Config {
        let stock = if self.frame.growth == Growth::Spares { self.stock } else { 0 };
        self.config(routes, Layout::fresh(routes, stock))
    }

    pub fn config(&self, routes: &Routes, layout: Layout) -> Config {
        let bound = |listener| self.rules.bound(listener);
        let mut config = Config::new(routes, layout, bound, self.frame.wait);
        config.requeue = self.frame.requeue.map(Requeue::key);
        config.skeleton = render::skeleton(&config, self.frame);
        config
    }

    /// For the worker that runs, and why that would take a reload, if it would. `had` is what it was
    /// given before, for saying what is different.
    pub fn within(
        &self,
        routes: &Routes,
        observed: &Observed,
        had: &Config,
    ) -> (Config, Option<Why>) {
        let (layout, homeless) = Layout::within(routes, observed, self.resting);
        let config = self.config(routes, layout);
        let why = match homeless.first() {
            _ if config.skeleton != observed.skeleton => Some(Why::new_skeleton(had, &config)),
            Some((_, shape)) => Some(Why::NoSpare(*shape)),
            None => None,
        };
        (config, why)
    }
}
