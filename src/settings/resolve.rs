//! Turns the options as written into settings for this machine.

use super::{
    AccessLog, AtExit, ErrorPageDirectory, FleetOption, HaproxyMode, HostEnv, PolicyFile, RunMode,
    Settings, SettingsNote, SourceOption, SourceSettings, acme, haproxy_options, layer, paths,
    value::PortSet,
};
use crate::{
    haproxy::{
        render::{Bind, DEFAULT_CONNECT_TIMEOUT},
        settings::ReloadVia,
    },
    label::{AllowedHost, AllowedPorts, Constraint, HostNetwork, LabelLimits},
    settings::options::{
        AcmeChallenge, AcmeKey, AddressMode, HaproxyModeArg, OnOff, Options, Program,
    },
    sources::docker::{AddressKind, EngineSettings, Timeouts},
    support::log,
    udp::engine::Engine,
};
use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    sync::Arc,
};

/// Ports that labels may use only if `--allow-ports` names them: SSH, Docker's API, Docker Swarm. The ports of the
/// dashboard and of both metrics servers are added.
const RESERVED_PORTS: [u16; 6] = [22, 2375, 2376, 2377, 4789, 7946];

/// The same for ports of UDP: DHCP, which answers for the machine's own networks, the time, and Docker Swarm. A
/// container with one of them could change the machine's address or clock.
const RESERVED_UDP_PORTS: [u16; 5] = [67, 68, 123, 4789, 7946];

/// Maximum number of ports of `--tcp-ports`. Each costs HAProxy two file descriptors and about 20 kB.
pub(super) const MAX_SPARE_PORTS: usize = 1000;

impl Settings {
    pub(super) fn new(options: Options, command: RunMode, machine: &HostEnv) -> Result<Self> {
        let mut notes = option_notes(&options, command);
        notes.extend(reversed_port_maps(&options.map_port));
        notes.extend(host_notes::<Options>(options.docker_url.as_deref(), machine));
        check_sources(options.docker_url.as_deref(), &options.source)?;
        let haproxy = haproxy_mode(&options)?;
        let acme = acme::acme_options(&options)?;
        let (metrics, haproxy_metrics) = (options.metrics, options.haproxy_metrics);
        check_metrics(metrics, haproxy_metrics)?;
        let own = own_ports([metrics, haproxy_metrics, options.dashboard]);
        let state_dir = options.state_dir.map_or_else(|| paths::default_state_dir(machine), Ok)?;
        let runtime_dir =
            options.runtime_dir.unwrap_or_else(|| paths::default_runtime_dir(machine));
        acme::check_store(acme.as_ref(), &state_dir)?;
        let certificate_list = options
            .certificate_list
            .unwrap_or_else(|| paths::default_certificate_list(&runtime_dir));
        let error_page_directory = ErrorPageDirectory(options.error_pages);
        let policy_file = PolicyFile::new(options.settings);
        let fences = LabelLimits {
            policies: Arc::new(policy_file.read()?),
            reserved_ports: reserved_ports(&own),
            reserved_udp_ports: to_ports(&RESERVED_UDP_PORTS),
            own_ports: own,
            own_hosts_by: options.own_hosts_by,
            tls: options.tls,
            host_network: host_network(options.host_network),
            ..label_limits(options.allow_hosts, options.allow_ports, options.constraint)
        };
        let address = address_kind(options.address);
        let engine = docker_settings(options.docker_url, machine);
        let common = SourceSettings::of_engine(engine, options.network, address, fences);
        Ok(Self {
            command,
            named_sources: named_sources(options.source, &common),
            docker: common.engine,
            include_env: options.include_env,
            watch_set: options.watch_set.iter().flat_map(|set| split_words(set)).collect(),
            network: common.network,
            address: common.address,
            fences: common.fences,
            policy_file,
            image_labels: options.image_labels,
            bind: bind_addresses(options.bind_address, machine),
            port_map: build_port_map(options.map_port)?,
            trusted_proxies: options.trusted_proxies,
            tcp_ports: spare_ports(options.tcp_ports)?,
            proxy_protocol_from: options.proxy_protocol_from,
            default_certificate: options.default_certificate,
            tls_policy: options.tls_policy,
            http3: options.http3,
            certificates: options.certificates,
            acme,
            udp_engine: options.udp_engine,
            udp_socket: options.udp_socket.or_else(|| match options.haproxy {
                HaproxyModeArg::Managed => None,
                HaproxyModeArg::Service => Some(paths::default_udp_socket(machine)),
            }),
            passthrough: options.passthrough,
            wildcards: options.wildcard.into_iter().collect(),
            backend_ca: options.backend_ca,
            client_ca: options.client_ca,
            access_log: options
                .access_log
                .unwrap_or_else(|| default_access_log(options.haproxy, command)),
            haproxy,
            haproxy_bin: paths::find_program(options.haproxy_bin, machine),
            haproxy_arguments: haproxy_arguments(options.haproxy_options_file, options.haproxy)?,
            config_file: options.config_file.unwrap_or_else(|| match options.haproxy {
                HaproxyModeArg::Managed => state_dir.join("haproxy.cfg"),
                HaproxyModeArg::Service => "/etc/haproxy/haproxy.cfg".into(),
            }),
            base_file: options.base_file,
            error_pages: error_page_directory.read(),
            error_page_directory,
            state_dir: match options.haproxy {
                HaproxyModeArg::Managed => state_dir,
                HaproxyModeArg::Service => paths::check_socket_length("--state-dir", state_dir)?,
            },
            runtime_dir: paths::check_socket_length("--runtime-dir", runtime_dir)?,
            certificate_list,
            hold: options.hold,
            spare_backends: options.spare_backends,
            wait_for_start: options.wait_for_start,
            connect_timeout: options.connect_timeout,
            hard_stop_after: options.hard_stop_after,
            fleet: options.fleet.map(FleetOption::into_settings),
            dashboard: options.dashboard,
            dashboard_hosts: options.dashboard_host,
            metrics,
            haproxy_metrics,
            metrics_hosts: options.metrics_host,
            log: log::Settings {
                format: options.log_format,
                filter: log_filter(options.verbose, options.quiet, machine),
            },
            notes,
        })
    }
}

fn check_metrics(metrics: Option<SocketAddr>, haproxy: Option<SocketAddr>) -> Result<()> {
    if metrics.is_some() && metrics == haproxy {
        bail!(
            "--metrics and --haproxy-metrics need different ports: docker-balancer serves one, HAProxy \
             the other"
        );
    }
    Ok(())
}

/// # Errors
/// If there is a `--docker-url` besides sources, or two sources have one name.
pub(super) fn check_sources(docker_url: Option<&str>, sources: &[SourceOption]) -> Result<()> {
    if docker_url.is_some() && !sources.is_empty() {
        bail!("--docker-url and --source exclude each other: give each engine as a --source");
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = sources.iter().find(|source| !names.insert(&source.name)) {
        bail!("--source: two sources have the name {}", twice.name);
    }
    Ok(())
}

/// Returns the ports of these addresses.
fn own_ports(addresses: [Option<SocketAddr>; 3]) -> BTreeSet<NonZeroU16> {
    let addresses = addresses.into_iter().flatten();
    addresses.filter_map(|address| NonZeroU16::new(address.port())).collect()
}

fn host_network(switch: OnOff) -> HostNetwork {
    match switch {
        OnOff::On => HostNetwork::On,
        OnOff::Off => HostNetwork::Off,
    }
}

fn address_kind(mode: Option<AddressMode>) -> AddressKind {
    match mode {
        None => AddressKind::Auto,
        Some(AddressMode::Container) => AddressKind::Networks,
        Some(AddressMode::Published) => AddressKind::Published,
    }
}

/// Adds to each source what the options say of all. Hosts and ports that the source allows replace those of all;
/// constraints are added.
pub(super) fn named_sources(
    sources: Vec<SourceOption>,
    common: &SourceSettings,
) -> Vec<SourceSettings> {
    sources.into_iter().map(|source| source_settings(source, common)).collect()
}

/// Returns how the engine of a source is reached.
pub(super) fn engine_settings(source: &SourceOption) -> EngineSettings {
    EngineSettings {
        source: source.name.clone(),
        url: Some(source.url.clone()),
        tls_verify: false,
        cert_path: source.cert_path.clone(),
        timeouts: Timeouts::for_several(),
    }
}

fn source_settings(source: SourceOption, common: &SourceSettings) -> SourceSettings {
    let engine = engine_settings(&source);
    let own = label_limits(source.allow_hosts, source.allow_ports, source.constraint);
    let mut fences = common.fences.clone();
    if !own.allowed_hosts.is_empty() {
        fences.allowed_hosts = own.allowed_hosts;
    }
    fences.allowed_ports = own.allowed_ports.or(fences.allowed_ports);
    fences.constraints.extend(own.constraints);
    SourceSettings {
        kind: source.kind,
        engine,
        network: source.network.or_else(|| common.network.clone()),
        address: source.address.map_or(common.address, |mode| address_kind(Some(mode))),
        host: source.host,
        fences,
        forget: source.forget,
        allowed_addresses: source.allow_addresses,
        registry: source.registry,
    }
}

fn haproxy_mode(options: &Options) -> Result<HaproxyMode> {
    let reload = match (options.haproxy, &options.master_socket, &options.reload_unit) {
        (HaproxyModeArg::Managed, _, _) => {
            let at_exit = if options.leave_running { AtExit::LeaveRunning } else { AtExit::Stop };
            return Ok(HaproxyMode::Managed { stop_timeout: options.stop_timeout, at_exit });
        }
        (HaproxyModeArg::Service, Some(socket), _) => ReloadVia::MasterSocket(socket.clone()),
        (HaproxyModeArg::Service, None, Some(unit)) => ReloadVia::Unit(unit.clone()),
        (HaproxyModeArg::Service, None, None) => bail!(
            "--haproxy service needs a way to reload HAProxy: set --master-socket SOCKET \
             (HAProxy's -S) or --reload-unit UNIT (such as haproxy.service)"
        ),
    };
    let (stats_socket, user) = (options.stats_socket.clone(), options.haproxy_user.clone());
    Ok(HaproxyMode::Service { reload, stats_socket, user })
}

fn option_notes(options: &Options, command: RunMode) -> Vec<SettingsNote> {
    let managed = options.haproxy == HaproxyModeArg::Managed;
    let template = |option| SettingsNote::TemplatesAreCompiledIn { option };
    let for_service = |option| SettingsNote::OnlyForService { option };
    let needs_acme = |is_set: bool, option| {
        let is_idle = is_set && options.acme.is_none();
        is_idle.then_some(SettingsNote::OnlyWith { option, with: "--acme" })
    };
    let idle = [
        options.template_dir.is_some().then(|| template("--template-dir")),
        options.template_file.is_some().then(|| template("--template-file")),
        (managed && options.master_socket.is_some()).then(|| for_service("--master-socket")),
        (managed && options.reload_unit.is_some()).then(|| for_service("--reload-unit")),
        (managed && options.stats_socket.is_some()).then(|| for_service("--stats-socket")),
        (managed && options.haproxy_user.is_some()).then(|| for_service("--haproxy-user")),
        (!managed && options.leave_running)
            .then_some(SettingsNote::OnlyForManaged { option: "--leave-running" }),
        (options.udp_engine != Engine::User && (!managed || options.udp_socket.is_some()))
            .then_some(SettingsNote::OnlyForManaged { option: "--udp-engine" }),
        (options.base_file.is_some() && options.connect_timeout != DEFAULT_CONNECT_TIMEOUT)
            .then_some(SettingsNote::InBaseFile {
                option: "--connect-timeout",
                keyword: "timeout connect",
            }),
        (command == RunMode::Once && options.dashboard.is_some())
            .then_some(SettingsNote::OnlyWith { option: "--dashboard", with: "--watch" }),
        (options.dashboard.is_none() && !options.dashboard_host.is_empty())
            .then_some(SettingsNote::OnlyWith { option: "--dashboard-host", with: "--dashboard" }),
        (command == RunMode::Once && options.metrics.is_some())
            .then_some(SettingsNote::OnlyWith { option: "--metrics", with: "--watch" }),
        (command == RunMode::Once && options.fleet.is_some())
            .then_some(SettingsNote::OnlyWith { option: "--fleet", with: "--watch" }),
        needs_acme(options.acme_email.is_some(), "--acme-email"),
        needs_acme(options.acme_challenge != AcmeChallenge::Http, "--acme-challenge"),
        needs_acme(options.acme_dns.is_some(), "--acme-dns"),
        needs_acme(options.acme_eab.is_some(), "--acme-eab"),
        needs_acme(options.acme_profile.is_some(), "--acme-profile"),
        needs_acme(options.acme_key != AcmeKey::Ecdsa, "--acme-key"),
        needs_acme(options.acme_ca_file.is_some(), "--acme-ca-file"),
        needs_acme(options.acme_store.is_some(), "--acme-store"),
        needs_acme(!options.wildcard.is_empty(), "--wildcard"),
        (command == RunMode::Once && options.acme.is_some())
            .then_some(SettingsNote::OnlyWith { option: "--acme", with: "--watch" }),
        (options.metrics.is_none()
            && options.haproxy_metrics.is_none()
            && !options.metrics_host.is_empty())
        .then_some(SettingsNote::OnlyWith {
            option: "--metrics-host",
            with: "--metrics or --haproxy-metrics",
        }),
        options
            .haproxy_options_file
            .clone()
            .filter(|path| !path.exists())
            .map(SettingsNote::MissingOptionsFile),
    ];
    idle.into_iter().flatten().collect()
}

/// A mapping moves a port below 1024 to one above. A mapping the other way round is probably reversed.
fn reversed_port_maps(
    pairs: &[(NonZeroU16, NonZeroU16)],
) -> impl Iterator<Item = SettingsNote> + use<'_> {
    let wrong = pairs.iter().map(|(public, ours)| (public.get(), ours.get()));
    let wrong = wrong.filter(|(public, ours)| 1024 <= *public && *ours < 1024);
    wrong.map(|(public, ours)| SettingsNote::ReversedPortMap { public, ours })
}

/// Returns notes about variables of the environment and settings of the docker command that are not used here.
pub(super) fn host_notes<P: Program>(url: Option<&str>, machine: &HostEnv) -> Vec<SettingsNote> {
    let mut notes = layer::unknown_variables::<P>(machine);
    let set = |name| machine.env.get(name).filter(|value: &&String| !value.is_empty());
    // In the order in which the docker command looks for a context.
    if url.is_none() && set("DOCKER_HOST").is_none() {
        let variable = set("DOCKER_CONTEXT").map(|name| (name.clone(), "DOCKER_CONTEXT"));
        let context = variable.or_else(|| Some((docker_context(machine)?, "docker's config.json")));
        let other = context.filter(|(name, _)| name != "default");
        notes.extend(other.map(|(name, source)| SettingsNote::DockerContext { name, source }));
    }
    notes
}

/// Returns the context that `docker context use` selected.
fn docker_context(machine: &HostEnv) -> Option<String> {
    let home = || Some(machine.absolute_dir("HOME")?.join(".docker"));
    let folder = machine.absolute_dir("DOCKER_CONFIG").or_else(home)?;
    let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    let name = config.get("currentContext")?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns the connection settings that Docker's own client would use.
pub(super) fn docker_settings(url: Option<String>, machine: &HostEnv) -> EngineSettings {
    let set = |name| machine.env.get(name).filter(|value| !value.is_empty()).cloned();
    let tls_verify = set("DOCKER_TLS_VERIFY").is_some();
    let home =
        || machine.absolute_dir("HOME").filter(|_| tls_verify).map(|home| home.join(".docker"));
    EngineSettings {
        url: url.or_else(|| set("DOCKER_HOST")),
        tls_verify,
        cert_path: set("DOCKER_CERT_PATH").map(PathBuf::from).or_else(home),
        ..EngineSettings::default()
    }
}

fn split_words(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned)
}

fn label_limits(
    hosts: Vec<AllowedHost>,
    ports: Vec<AllowedPorts>,
    constraints: Vec<Constraint>,
) -> LabelLimits {
    let ports = ports.into_iter().reduce(|mut all, more| {
        all.any.extend(more.any);
        all.named.extend(more.named);
        all
    });
    LabelLimits {
        allowed_hosts: hosts,
        allowed_ports: ports,
        constraints,
        ..LabelLimits::default()
    }
}

fn reserved_ports(own: &BTreeSet<NonZeroU16>) -> BTreeSet<NonZeroU16> {
    &to_ports(&RESERVED_PORTS) | own
}

fn to_ports(ports: &[u16]) -> BTreeSet<NonZeroU16> {
    ports.iter().copied().filter_map(NonZeroU16::new).collect()
}

fn spare_ports(lists: Vec<PortSet>) -> Result<PortSet> {
    let ports: PortSet = lists.into_iter().flatten().collect();
    if MAX_SPARE_PORTS < ports.len() {
        bail!("--tcp-ports: {} ports are too many; give at most {MAX_SPARE_PORTS}", ports.len());
    }
    Ok(ports)
}

/// `::` alone also accepts IPv4. Together with 0.0.0.0, each accepts its own family only.
fn bind_addresses(addresses: Vec<IpAddr>, machine: &HostEnv) -> Vec<Bind> {
    let parted = addresses.contains(&Ipv4Addr::UNSPECIFIED.into());
    let meant = |address| match address {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if !parted => Bind::Everywhere,
        address => Bind::At(address),
    };
    match addresses.is_empty() {
        false => addresses.into_iter().map(meant).collect::<BTreeSet<_>>().into_iter().collect(),
        true if machine.ipv6 => vec![Bind::Everywhere],
        true => vec![Bind::At(Ipv4Addr::UNSPECIFIED.into())],
    }
}

fn build_port_map(
    pairs: Vec<(NonZeroU16, NonZeroU16)>,
) -> Result<BTreeMap<NonZeroU16, NonZeroU16>> {
    let mut map = BTreeMap::new();
    for (public, ours) in pairs {
        if let Some((other, _)) =
            map.iter().find(|(other, taken)| **other != public && **taken == ours)
        {
            bail!("--map-port: {other} and {public} cannot both be mapped to {ours}");
        }
        if map.insert(public, ours).is_some_and(|before| before != ours) {
            bail!("--map-port: {public} is mapped to two ports; give one");
        }
    }
    Ok(map)
}

fn default_access_log(haproxy: HaproxyModeArg, command: RunMode) -> AccessLog {
    match (haproxy, command) {
        (HaproxyModeArg::Service, _) => AccessLog::To("/dev/log".into()),
        (HaproxyModeArg::Managed, RunMode::Watch) => AccessLog::Stdout,
        (HaproxyModeArg::Managed, RunMode::Once) => AccessLog::Off,
    }
}

/// A file given with `--haproxy-options-file` is read in both modes. A default file is read only for `--haproxy service`.
fn haproxy_arguments(file: Option<PathBuf>, haproxy: HaproxyModeArg) -> Result<Vec<String>> {
    let found = || {
        haproxy_options::find_default_file()
            .filter(|_| haproxy == HaproxyModeArg::Service)
            .map(PathBuf::from)
    };
    match file.or_else(found).filter(|path| path.exists()) {
        Some(path) => haproxy_options::read_arguments(&path),
        None => Ok(Vec::new()),
    }
}

pub(super) fn log_filter(verbose: u8, quiet: bool, machine: &HostEnv) -> String {
    let level = match (quiet, verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "docker_glue=debug,info",
        (false, _) => "trace",
    };
    let own = machine.env.get("RUST_LOG").filter(|filter| !filter.is_empty());
    own.map_or(level, String::as_str).to_owned()
}
