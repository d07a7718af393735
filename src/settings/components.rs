//! The settings of each component of docker-balancer.

use super::{
    AccessLog, HaproxyMode, HaproxyUser, OnOff, RunMode, Settings, SourceKind, SourceOption,
    SourceSettings, resolve::named_sources,
};
use crate::{
    haproxy::{
        name,
        process::Stdout,
        provisioning::Provisioning,
        render::{
            BaseConfig, ChallengeAnswer, DEFAULT_CONNECT_TIMEOUT, Http3Mode, RenderContext,
            SystemCas, WorkerPrivilege,
        },
        requeue::Requeue,
        settings::{ProxyMode, ProxySettings},
        tls::CertificateDirectory,
        user_check::{UserCheck, UserSocket, UserSocketAccess},
        version::Build,
    },
    label,
    model::{
        ca_index::CaPurpose,
        problem::UnmatchedClients,
        route::{Listener, Protocol},
        tls,
        world::Vantage,
    },
    routing::decide::{Rules, SourceRules},
    sources::{ContainerFilter, OwnLabels, certificate::CaDirectories, compose::Deployment},
};
use anyhow::{Context as _, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};
use tracing::info;

impl Settings {
    /// Returns the sources of containers: one without a name, or some with names.
    pub fn sources(&self) -> Vec<SourceSettings> {
        if self.named_sources.is_empty() {
            vec![self.unnamed_source()]
        } else {
            self.named_sources.clone()
        }
    }

    /// Returns how compose files are deployed: to a Swarm, if a source is one.
    pub fn deployment(&self) -> Deployment {
        let mut sources = self.named_sources.iter();
        if sources.any(|source| source.kind == SourceKind::Swarm) {
            Deployment::Swarm
        } else {
            Deployment::Compose
        }
    }

    /// Replaces the sources with names.
    pub fn set_sources(&mut self, sources: Vec<SourceOption>) {
        self.named_sources = named_sources(sources, &self.unnamed_source());
    }

    fn unnamed_source(&self) -> SourceSettings {
        let (engine, network) = (self.docker.clone(), self.network.clone());
        SourceSettings::of_engine(engine, network, self.address, self.fences.clone())
    }

    /// Returns which containers and labels of a source are kept, for a HAProxy at `vantage`.
    pub fn container_filter(&self, source: &SourceSettings, vantage: &Vantage) -> ContainerFilter {
        ContainerFilter {
            source: source.engine.source.clone(),
            has_our_labels: |labels| label::has_our_labels(labels.keys().map(String::as_str)),
            is_used_label: label::is_relevant_label,
            named: source.fences.labels().map(str::to_owned).collect(),
            required_labels: source
                .fences
                .constraints
                .iter()
                .map(|constraint| (constraint.label.clone(), constraint.value.clone()))
                .collect(),
            reads_environment: self.include_env,
            matches_all: false,
            own_labels: self.own_labels(),
            own_container: match vantage {
                Vantage::Inside(own) => Some(own.clone()),
                Vantage::Host
                | Vantage::Published(_)
                | Vantage::Remote { .. }
                | Vantage::Swarm { .. } => None,
            },
        }
    }

    /// Returns the function that removes the labels that a container has from its image; `None` if labels of images
    /// count.
    pub fn own_labels(&self) -> Option<OwnLabels> {
        match self.image_labels {
            OnOff::On => None,
            OnOff::Off => Some(label::keep_own),
        }
    }

    /// Returns what containers may claim, and how long routes are held. HAProxy's vantages are those of a HAProxy on
    /// each source's host.
    pub fn rules(&self) -> Rules {
        let rules = |source: &SourceSettings| SourceRules {
            label_limits: source.fences.clone(),
            network: source.network.clone(),
            vantage: Vantage::Host,
            silent_since: None,
            clock_skew: None,
            allowed_addresses: source.allowed_addresses.clone(),
            is_not_manager: false,
        };
        let named = self.named_sources.iter();
        Rules {
            base: SourceRules {
                label_limits: self.fences.clone(),
                network: self.network.clone(),
                vantage: Vantage::Host,
                silent_since: None,
                clock_skew: None,
                allowed_addresses: Vec::new(),
                is_not_manager: false,
            },
            sources: named.map(|source| (source.engine.source.clone(), rules(source))).collect(),
            hold: self.hold,
            policy_fault: None,
            error_page_faults: self.error_pages.faults.clone(),
            port_map: self.port_map.clone(),
            permanent_listeners: self.permanent_listeners(),
            certificates: Arc::default(),
            spare_tcp_ports: self.tcp_ports.clone(),
            http3: self.http3,
            unmatched_clients: match self.default_certificate {
                Some(_) => UnmatchedClients::GetDefault,
                None => UnmatchedClients::Refused,
            },
            acme_tokens: BTreeMap::new(),
            auth_servers: BTreeMap::new(),
            acme_certificates: BTreeMap::new(),
            cas: Arc::default(),
        }
    }

    /// Returns the standard ports, if HTTPS is configured: no container needs a reload for them.
    fn permanent_listeners(&self) -> BTreeSet<Listener> {
        let is_configured =
            self.fences.tls.has_https() || !self.certificates.is_empty() || self.acme.is_some();
        let standard = [(Protocol::Http, tls::HTTP_PORT), (Protocol::Https, tls::HTTPS_PORT)];
        let listeners = standard.map(|(protocol, port)| Listener { protocol, port });
        listeners.into_iter().filter(|_| is_configured).collect()
    }

    /// Returns the directories of CAs.
    pub fn ca_directories(&self) -> CaDirectories {
        let directories =
            [(CaPurpose::Backend, &self.backend_ca), (CaPurpose::Client, &self.client_ca)];
        let directories = directories.into_iter();
        directories.filter_map(|(purpose, path)| Some((purpose, path.clone()?))).collect()
    }

    /// Returns who manages HAProxy, and where its files are.
    pub fn proxy(&self) -> ProxySettings {
        ProxySettings {
            mode: match &self.haproxy {
                HaproxyMode::Managed { stop_timeout, .. } => ProxyMode::Managed {
                    stop_timeout: *stop_timeout,
                    stdout: match (self.command, &self.access_log) {
                        (RunMode::Watch, AccessLog::Stdout) => Stdout::Inherit,
                        _ => Stdout::Null,
                    },
                },
                HaproxyMode::Service { reload, stats_socket, .. } => ProxyMode::Service {
                    reload: reload.clone(),
                    stats_socket: stats_socket.clone(),
                },
            },
            bin: self.haproxy_bin.clone(),
            config: self.config_file.clone(),
            state_dir: self.state_dir.clone(),
            runtime_dir: self.runtime_dir.clone(),
            check_options: self.haproxy_arguments.clone(),
        }
    }

    /// Returns everything that the configuration of this HAProxy depends on, except routes.
    ///
    /// # Errors
    /// If the base file cannot be read, or `--haproxy-user` does not exist.
    pub fn render_context(&self, build: Build) -> Result<RenderContext> {
        let base = read_base_config(self)?;
        if let BaseConfig::File { path, .. } = &base {
            info!(
                "using global and defaults from {}; a stats socket is added to global",
                path.display()
            );
        }
        let key = key(&self.state_dir);
        Ok(RenderContext {
            provisioning: Provisioning::for_version(build.version, &base),
            key,
            requeue: Requeue::of(build, &base, key),
            users: UserCheck::of(build, &base, &self.proxy().user_socket()),
            system_cas: find_system_cas(),
            connect_timeout: match base {
                BaseConfig::BuiltIn { .. } => self.connect_timeout,
                BaseConfig::File { .. } => DEFAULT_CONNECT_TIMEOUT,
            },
            base,
            socket_for_group: matches!(
                &self.haproxy,
                HaproxyMode::Service { stats_socket: Some(_), .. }
            ),
            stats_socket: self.proxy().stats_socket(),
            generations: self.state_dir.join("gen"),
            certificates: CertificateDirectory::new(self.state_dir.join("certs")),
            default_host: self.default_certificate.clone(),
            tls_policy: self.tls_policy,
            acme: self.challenge_answer(),
            passthrough: self.passthrough
                || self.challenge_answer() == ChallengeAnswer::Certificate,
            verifies_clients: self.client_ca.is_some(),
            http3: Http3Mode::Off,
            worker_privilege: worker_privilege(&self.haproxy),
            bind: self.bind.clone(),
            trusted: self.trusted_proxies.clone(),
            proxy_protocol_from: self.proxy_protocol_from.clone(),
            log: match &self.access_log {
                AccessLog::Off => None,
                AccessLog::Stdout => Some("stdout format raw daemon".to_owned()),
                AccessLog::To(address) => Some(format!("{address} daemon")),
            },
            exporter: None,
            exporter_names: self.metrics_hosts.clone(),
            wait: self.wait_for_start,
            hard_stop_after: self.hard_stop_after,
            error_pages: self.error_pages.pages.clone(),
        })
    }
}

impl Settings {
    /// Returns the socket on which HAProxy asks about users, and who HAProxy is.
    ///
    /// # Errors
    /// If the base file cannot be read, or names a user that does not exist.
    pub fn user_socket(&self) -> Result<UserSocket> {
        let access = match &self.haproxy {
            HaproxyMode::Service { .. } => UserSocketAccess::Group,
            HaproxyMode::Managed { .. } if !nix::unistd::geteuid().is_root() => {
                UserSocketAccess::Owner
            }
            HaproxyMode::Managed { .. } => worker_access(&read_base_config(self)?)?,
        };
        Ok(UserSocket { path: self.proxy().user_socket(), access })
    }
}

/// Returns the access of the workers of a master that runs as root.
fn worker_access(base: &BaseConfig) -> Result<UserSocketAccess> {
    let Some(name) = base.worker_user() else { return Ok(UserSocketAccess::Owner) };
    let user = nix::unistd::User::from_name(&name).ok().flatten();
    let user = user.with_context(|| format!("HAProxy's user {name} does not exist"))?;
    Ok(UserSocketAccess::Worker { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

/// Returns a hash that identifies the state directory of one docker-balancer. The device and inode are included,
/// because the path may be the same in another container that shares the host's network.
fn key(state: &Path) -> u64 {
    let entry = std::fs::metadata(state).map(|metadata| (metadata.dev(), metadata.ino()));
    name::hash(&format!("{} {:?}", state.display(), entry.unwrap_or_default()))
}

/// Directories of CAs of the systems for which there are packages.
const CA_DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// HAProxy refuses a configuration that needs CAs if it does not find any.
fn find_system_cas() -> SystemCas {
    let has_entries =
        |path: &str| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    let is_present = CA_DIRECTORIES.into_iter().any(has_entries);
    if is_present { SystemCas::Present } else { SystemCas::Missing }
}

fn read_base_config(settings: &Settings) -> Result<BaseConfig> {
    let Some(path) = &settings.base_file else {
        return Ok(BaseConfig::BuiltIn { drop_to: worker_account(&settings.haproxy)? });
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the base file {}", path.display()))?;
    Ok(BaseConfig::File { path: path.clone(), text })
}

/// Returns the user and group that HAProxy's workers switch to, so that only the master is root.
fn worker_account(haproxy: &HaproxyMode) -> Result<Option<(String, String)>> {
    match haproxy {
        HaproxyMode::Managed { .. } if !nix::unistd::geteuid().is_root() => Ok(None),
        HaproxyMode::Service { user: Some(HaproxyUser::Same), .. } => Ok(None),
        HaproxyMode::Service { user: Some(HaproxyUser::Named(name)), .. } => {
            let missing = || format!("--haproxy-user: unknown user {name}");
            find_account(name).with_context(missing).map(Some)
        }
        // The account that distributions create for HAProxy.
        HaproxyMode::Managed { .. } | HaproxyMode::Service { user: None, .. } => {
            Ok(find_account("haproxy"))
        }
    }
}

/// Returns what workers can keep. A managed HAProxy inherits the capabilities of this process; a service that starts as
/// root has all of them.
fn worker_privilege(haproxy: &HaproxyMode) -> WorkerPrivilege {
    let may_bind = |sets: CapabilitySets| sets.effective.contains(CapabilitySet::NET_BIND_SERVICE);
    match haproxy {
        HaproxyMode::Managed { .. } if !capabilities(None).is_ok_and(may_bind) => {
            WorkerPrivilege::None
        }
        HaproxyMode::Managed { .. } | HaproxyMode::Service { .. } => WorkerPrivilege::LowPorts,
    }
}

fn find_account(name: &str) -> Option<(String, String)> {
    let user = nix::unistd::User::from_name(name).ok()??;
    let group = nix::unistd::Group::from_gid(user.gid).ok()??;
    Some((user.name, group.name))
}
