//! Builds a configuration from routes, and decides whether the runtime API or a reload is needed to reach it.
//!
//! Pure. Used by each reconcile pass and by `docker-balancer plan`.

use crate::{
    haproxy::{
        check_timing::CheckTiming,
        config::{Config, ExistingWorker, Frontend, FrontendState, ListenerRules, MapName, Mode},
        features::HeaderNames,
        layout::Layout,
        name,
        observed::ObservedState,
        provisioning::Provisioning,
        reload_reason::ReloadReason,
        render::{self, Http3Mode, RenderContext},
        requeue::Requeue,
        tls::{self, DefaultCertificate, TlsContext},
    },
    model::{
        http::forward_auth::AuthServer,
        route::{Listener, Protocol, Routes},
    },
    routing::decide::Rules,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

/// Inputs of a configuration besides the routes.
#[derive(Debug, Clone, Copy)]
pub struct ConfigBuilder<'a> {
    pub rules: &'a Rules,
    pub context: &'a RenderContext,
    /// Listeners that HAProxy cannot have at the moment.
    pub unavailable: &'a BTreeSet<Listener>,
    /// How many spare backends of each shape a new worker gets.
    pub spare_count: usize,
    /// Backends in which requests of an earlier route may still wait.
    pub draining: &'a BTreeSet<String>,
}

impl ConfigBuilder<'_> {
    /// Builds the configuration of a worker that is not started yet.
    pub fn build_fresh(&self, routes: &Routes) -> Config {
        let spare_count =
            if self.context.provisioning == Provisioning::Spares { self.spare_count } else { 0 };
        let mut layout = Layout::for_new_worker(routes, spare_count);
        if self.context.passthrough || !self.rules.spare_tcp_ports.is_empty() {
            layout.add_spares(Mode::Tcp, spare_count);
        }
        self.build_config(routes, layout, None)
    }

    /// Builds a configuration of the `existing` worker, or of a new one.
    pub fn build_config(
        &self,
        routes: &Routes,
        layout: Layout,
        existing: Option<&ExistingWorker>,
    ) -> Config {
        let listeners = ListenerRules {
            permanent: &self.permanent_listeners(),
            existing,
            spare_tcp_ports: &self.spare_tcp_ports(),
            passthrough: self.context.passthrough,
            port_map: &self.rules.port_map,
        };
        let timing = self.check_timing(routes);
        let mut config = Config::new(routes, layout, &listeners, timing, self.tls_context());
        config.requeue = self.context.requeue.map(Requeue::key);
        config.cookie_key = self.context.cookie_key();
        config.maps.acme.clone_from(&self.rules.acme_tokens);
        config.maps.auth_servers.clone_from(&self.rules.auth_servers);
        config.resolves_names = existing.is_some_and(|existing| existing.resolves_names)
            || self.rules.auth_servers.values().any(AuthServer::is_resolved);
        config.asks_over_tls = existing.is_some_and(|existing| existing.asks_over_tls)
            || self.rules.auth_servers.values().any(AuthServer::has_tls);
        if self.context.acme.is_certificate() {
            let directory = &self.context.certificates;
            let line = |(host, digest): (&_, &_)| tls::challenge_line(host, *digest, directory);
            let lines = self.rules.acme_certificates.iter().map(line).collect();
            config.tls.insert(tls::CHALLENGE_LIST.to_owned(), lines);
        }
        config.default_certificate = DefaultCertificate::new(
            self.context.default_host.as_ref(),
            &self.rules.certificates,
            &self.context.certificates,
        );
        config.fingerprint = render::static_fingerprint(&config, self.context);
        config
    }

    /// Returns the times of the checks of a configuration with all of these routes.
    pub(super) fn check_timing(&self, routes: &Routes) -> CheckTiming {
        CheckTiming::new(routes, self.context.wait)
    }

    /// Builds the part of a configuration that belongs to these routes. `timing` is that of the whole configuration.
    pub(super) fn build_part(
        &self,
        routes: &Routes,
        layout: Layout,
        timing: CheckTiming,
    ) -> Config {
        let listeners = ListenerRules {
            permanent: &BTreeSet::new(),
            existing: None,
            spare_tcp_ports: &BTreeSet::new(),
            passthrough: false,
            port_map: &BTreeMap::new(),
        };
        Config::new(routes, layout, &listeners, timing, self.tls_context())
    }

    pub(super) fn permanent_listeners(&self) -> BTreeSet<Listener> {
        self.rules.permanent_listeners.difference(self.unavailable).copied().collect()
    }

    /// Returns the spare ports that HAProxy can have.
    fn spare_tcp_ports(&self) -> BTreeSet<NonZeroU16> {
        let ports = self.rules.spare_tcp_ports.iter().copied();
        let listener = |port: &NonZeroU16| Listener { protocol: Protocol::Tcp, port: *port };
        ports.filter(|port| !self.unavailable.contains(&listener(port))).collect()
    }

    pub(super) fn tls_context(&self) -> TlsContext<'_> {
        TlsContext {
            certificates: &self.rules.certificates,
            cas: &self.rules.cas,
            directory: &self.context.certificates,
            policy: self.context.tls_policy,
            http3: self.context.http3 == Http3Mode::On,
            has_default: self.context.default_host.is_some(),
        }
    }

    /// Builds the configuration of the running worker, and returns the reason if it takes a reload. `previous` is the
    /// configuration that HAProxy was given before; the reason names what differs from it.
    pub fn build_for_running(
        &self,
        routes: &Routes,
        observed: &ObservedState,
        previous: &Config,
    ) -> (Config, Option<ReloadReason>) {
        let (layout, unplaced) = Layout::for_running_worker(routes, observed, self.draining);
        let existing = ExistingWorker::new(observed, previous);
        let config = self.build_config(routes, layout, Some(&existing));
        let no_spare = unplaced.first().map(|(_, shape)| ReloadReason::NoSpare(*shape));
        let reason = if config.fingerprint == observed.fingerprint {
            no_spare
        } else if previous.fingerprint == observed.fingerprint {
            Some(ReloadReason::from_diff(previous, &config))
        } else {
            // HAProxy has the configuration of another program or of an earlier docker-balancer, with unknown ports.
            Some(ReloadReason::Settings)
        };
        (config, reason)
    }
}

impl ExistingWorker {
    /// Returns what the running worker has. `previous` is the configuration that HAProxy was given before.
    pub fn new(observed: &ObservedState, previous: &Config) -> Self {
        let frontends = if previous.fingerprint == observed.fingerprint {
            previous.frontends.clone()
        } else {
            // Another docker-balancer started it, or another program loaded the files.
            observed.frontends.iter().filter_map(parse_frontend).collect()
        };
        let headers = observed.map_entries(MapName::Headers).map(|(key, _)| key);
        // What was needed stays until the next reload.
        let has_word = |word| {
            let mut servers = observed.map_entries(MapName::AuthServers);
            servers.any(|(_, server)| AuthServer::entry_has(server, word))
        };
        let (resolves_names, asks_over_tls) =
            (has_word(AuthServer::NAME), has_word(AuthServer::TLS));
        let header_names = HeaderNames::of_worker(headers);
        Self { frontends, header_names, resolves_names, asks_over_tls }
    }
}

fn parse_frontend((name, state): (&String, &FrontendState)) -> Option<Frontend> {
    let (listener, has_passthrough) = name::parse_frontend(name)?;
    let (name, port) = (name::frontend_name(listener), listener.port);
    let (bound, state, is_spare) = (port, *state, false);
    Some(Frontend { listener, name, port, bound, has_passthrough, state, is_spare })
}
