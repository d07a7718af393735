//! A world described in lines of text:
//!
//! ```text
//! network back overlay
//! wp1 172.17.0.2 glue_http_80_host=wp1.example.com
//! wp2 172.17.0.3 paused unhealthy glue_http_80_host=wp2.example.com
//! db  172.17.0.4 publishes=5432 on=back
//! ```

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary takes what it needs of these"
)]

use docker_glue::{
    haproxy::{
        config::{Config, ExistingWorker},
        config_builder::ConfigBuilder,
        error_pages::ErrorPages,
        layout::Layout,
        observed::ObservedState,
        provisioning::Provisioning,
        render::{
            BaseConfig, Bind, ChallengeAnswer, DEFAULT_CONNECT_TIMEOUT, Http3Mode, RenderContext,
            SystemCas, WorkerPrivilege,
        },
        requeue::Requeue,
        tls::CertificateDirectory,
        user_check::UserCheck,
        version::{Build, OLDEST, Version},
    },
    label::LabelLimits,
    model::{
        ca_index::{CaIndex, CaPurpose},
        certificate::{
            Certificate, CertificateDigest, CertificateIndex, CertificateName, CertificateOrigin,
            KeyType,
        },
        container::{
            Container, ContainerId, ContainerState, Health, NetworkEndpoint, NetworkMode,
            PublishedPort, Transport,
        },
        problem::UnmatchedClients,
        route::{Listener, Routes},
        source_name::SourceName,
        tls::TlsPolicy,
        world::{Network, Vantage, World},
    },
    routing::decide::{DecideState, Rules, SourceRules, decide},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Returns the story's world. A container's age is the position of its line: the first line is the oldest.
pub fn parse_world(story: &str) -> World {
    let mut world = World::default();
    let networks = world.networks.entry(SourceName::NONE).or_default();
    networks.insert("bridge".into(), Network { driver: "bridge".into(), ..Network::default() });
    let lines =
        story.lines().map(str::trim).filter(|text| !text.is_empty() && !text.starts_with('#'));
    for (number, line) in lines.enumerate() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["network", name, driver] = words[..] {
            let networks = world.networks.entry(SourceName::NONE).or_default();
            networks.insert(name.into(), Network { driver: driver.into(), ..Network::default() });
        } else {
            let container = container(i64::try_from(number).unwrap(), &words);
            world.containers.insert(container.id.clone(), Arc::new(container));
        }
    }
    world
}

/// Returns the story's world. Containers that are unchanged since the world before are shared with it.
pub fn parse_next_world(before: &World, story: &str) -> World {
    let mut world = parse_world(story);
    for (id, container) in &mut world.containers {
        if let Some(existing) = before.containers.get(id).filter(|existing| *existing == container)
        {
            *container = Arc::clone(existing);
        }
    }
    world
}

fn id(number: i64) -> ContainerId {
    ContainerId::new(format!("{:012x}{}", 0xc0_ffee_0000 + number, "0".repeat(52)))
}

fn container(number: i64, words: &[&str]) -> Container {
    let mut container = Container {
        id: id(number),
        name: words[0].to_owned(),
        image: "whoami".to_owned(),
        created: 1_700_000_000 + number,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: Arc::default(),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed: [80, 3000, 8080].into(),
        published: Vec::new(),
        stop_config: None,
        stopping: false,
        started: None,
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
    };
    let mut network = "bridge";
    for word in &words[2..] {
        match (*word, word.split_once('=')) {
            (_, Some(("on", name))) => network = name,
            (_, Some(("shares", number))) => {
                container.network_mode = NetworkMode::Container(id(number.parse().unwrap()));
            }
            (_, Some(("publishes", port))) => {
                container.published.push(published_port(port.parse().unwrap()));
            }
            (_, Some((key, value))) => {
                Arc::make_mut(&mut container.labels).insert(key.into(), value.replace("␠", " "));
            }
            ("paused", _) => container.state = ContainerState::Paused,
            ("exited", _) => container.state = ContainerState::Exited,
            ("leaving", _) => container.stopping = true,
            ("lost", _) => container.is_lost = true,
            ("expected", _) => container.state = ContainerState::Expected,
            ("starting", _) => container.health = Health::Starting,
            ("healthy", _) => container.health = Health::Healthy,
            ("unhealthy", _) => container.health = Health::Unhealthy,
            ("host", _) => container.network_mode = NetworkMode::Host,
            _ => panic!("the story says {word:?}, which means nothing"),
        }
    }
    let at =
        NetworkEndpoint { ipv4: words[1].parse().ok(), ipv6: words[1].parse().ok(), gateway: None };
    Arc::make_mut(&mut container.networks).insert(network.to_owned(), at);
    container
}

fn published_port(port: u16) -> PublishedPort {
    let host_ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    PublishedPort { transport: Transport::Tcp, container_port: port, host_port: port, host_ip }
}

pub fn default_rules() -> Rules {
    Rules {
        base: SourceRules {
            label_limits: LabelLimits::default(),
            network: None,
            vantage: Vantage::Host,
            silent_since: None,
            clock_skew: None,
            allowed_addresses: Vec::new(),
            is_not_manager: false,
        },
        sources: BTreeMap::new(),
        hold: Duration::from_mins(1),
        port_map: BTreeMap::new(),
        permanent_listeners: BTreeSet::new(),
        certificates: Arc::new(default_certificates()),
        spare_tcp_ports: BTreeSet::new(),
        http3: false,
        unmatched_clients: UnmatchedClients::Refused,
        acme_tokens: BTreeMap::new(),
        auth_servers: BTreeMap::new(),
        acme_certificates: BTreeMap::new(),
        cas: Arc::new(default_cas()),
        policy_fault: None,
        error_page_faults: Vec::new(),
    }
}

/// Returns the CAs that labels of stories may name.
fn default_cas() -> CaIndex {
    let mut cas = CaIndex::default();
    for purpose in [CaPurpose::Backend, CaPurpose::Client] {
        cas.insert(purpose, "internal".parse().unwrap(), CertificateDigest::of_pem("internal"));
    }
    cas
}

/// Returns certificates for some hosts of stories.
fn default_certificates() -> CertificateIndex {
    let certificates = ["secure.test", "*.shop.test", "x.test"].map(|text| {
        let name = match text.strip_prefix("*.") {
            Some(parent) => CertificateName::Wildcard(parent.parse().unwrap()),
            None => CertificateName::Exact(text.parse().unwrap()),
        };
        Arc::new(Certificate {
            digest: CertificateDigest::of_pem(text),
            names: vec![name],
            not_before: 0,
            not_after: i64::MAX / 2,
            key_type: KeyType::Ecdsa,
            issuer: "Test CA".to_owned(),
            origin: CertificateOrigin::File { path: format!("/etc/certs/{text}.pem").into() },
            name: text.replace("*.", "wildcard."),
            pem_bytes: 2000,
        })
    });
    CertificateIndex::build(certificates.into(), 1)
}

/// A fixed key in place of the one in a state directory.
const KEY: u64 = 7;

pub fn default_frame() -> RenderContext {
    RenderContext {
        provisioning: Provisioning::Spares,
        base: BaseConfig::BuiltIn { drop_to: Some(("haproxy".into(), "haproxy".into())) },
        stats_socket: PathBuf::from("/run/docker-glue/haproxy.sock"),
        socket_for_group: false,
        generations: PathBuf::from("/var/lib/docker-glue/gen"),
        bind: vec![Bind::Everywhere],
        certificates: CertificateDirectory::new("/var/lib/docker-glue/certs"),
        default_host: None,
        tls_policy: TlsPolicy::default(),
        acme: ChallengeAnswer::None,
        passthrough: false,
        verifies_clients: false,
        http3: Http3Mode::Off,
        worker_privilege: WorkerPrivilege::LowPorts,
        trusted: Vec::new(),
        proxy_protocol_from: Vec::new(),
        log: Some("stdout format raw daemon".into()),
        exporter: None,
        exporter_names: Vec::new(),
        wait: Duration::from_secs(10),
        connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        key: KEY,
        requeue: Requeue::of(
            Build { version: OLDEST, has_lua: true, has_quic: false },
            &BaseConfig::BuiltIn { drop_to: None },
            KEY,
        ),
        users: UserCheck::of(
            Build { version: OLDEST, has_lua: true, has_quic: false },
            &BaseConfig::BuiltIn { drop_to: None },
            Path::new("/run/docker-glue/users.sock"),
        ),
        system_cas: SystemCas::Present,
        hard_stop_after: Duration::from_mins(30),
        error_pages: ErrorPages::default(),
    }
}

/// Returns the routes that the story requires without any history.
pub fn parse_routes(story: &str) -> Routes {
    decide(&parse_world(story), DecideState::default(), Instant::now(), &default_rules()).routes
}

/// Returns the context for an HAProxy that can add backends at run time (3.4 and later), or for one that needs spare
/// ones.
pub fn frame_for(adds: bool) -> RenderContext {
    let newest = Version { major: 3, minor: 4 };
    let base = default_frame().base;
    let growth = if adds { Provisioning::for_version(newest, &base) } else { Provisioning::Spares };
    RenderContext { provisioning: growth, ..default_frame() }
}

/// Returns the configuration that HAProxy would be started with.
pub fn build_config(routes: &Routes) -> Config {
    config_at_start(routes, 1, false)
}

/// Returns the same with this number of spare backends, or with none if HAProxy can add backends.
pub fn config_at_start(routes: &Routes, stock: usize, adds: bool) -> Config {
    let layout = Layout::for_new_worker(routes, if adds { 0 } else { stock });
    config_with_layout(routes, layout, adds, None)
}

/// Returns the configuration of the running HAProxy, and the number of routes without a backend in it.
pub fn config_within(routes: &Routes, observed: &ObservedState) -> (Config, usize) {
    let (layout, homeless) = Layout::for_running_worker(routes, observed, &BTreeSet::new());
    let existing = ExistingWorker::new(observed, &Config::default());
    (
        config_with_layout(routes, layout, observed.can_add_backends(), Some(&existing)),
        homeless.len(),
    )
}

/// Returns the same in this context.
pub fn config_in_frame(routes: &Routes, stock: usize, frame: &RenderContext) -> Config {
    let (rules, layout) = (default_rules(), Layout::for_new_worker(routes, stock));
    builder(&rules, frame, &BTreeSet::new(), &BTreeSet::new()).build_config(routes, layout, None)
}

fn config_with_layout(
    routes: &Routes,
    layout: Layout,
    adds: bool,
    existing: Option<&ExistingWorker>,
) -> Config {
    let (rules, frame) = (default_rules(), frame_for(adds));
    let nothing = (BTreeSet::new(), BTreeSet::new());
    builder(&rules, &frame, &nothing.0, &nothing.1).build_config(routes, layout, existing)
}

/// Returns a builder of configurations with these rules.
pub fn builder<'a>(
    rules: &'a Rules,
    context: &'a RenderContext,
    unavailable: &'a BTreeSet<Listener>,
    draining: &'a BTreeSet<String>,
) -> ConfigBuilder<'a> {
    ConfigBuilder { rules, context, unavailable, spare_count: 0, draining }
}
