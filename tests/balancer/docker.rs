//! The watcher with a real engine: every change of a container changes the world.

use crate::common::{
    self, DEADLINE, engine::Engine, podman::Podman, proxy::RecordingSocket, unique_name, wait_until,
};
use docker_glue::{
    model::{
        container::{Container, ContainerId, ContainerState, Health, Transport},
        source_name::SourceName,
        world::{Vantage, World},
    },
    routing::address::resolve_address,
    sources::{
        ContainerFilter, Registration, Snapshot, SnapshotConfig, Source,
        docker::{
            AddressKind, Engine as Client, EngineSettings, Timeouts, detect_vantage, follow,
            list_once,
        },
    },
};
use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, time::Duration};

const LABEL: &str = "glue_test";

fn test_interest() -> ContainerFilter {
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key(LABEL);
    ContainerFilter {
        source: SourceName::NONE,
        has_our_labels: speaks,
        is_used_label: |_| true,
        required_labels: Vec::new(),
        reads_environment: false,
        matches_all: false,
        named: std::collections::BTreeSet::new(),
        own_labels: None,
        own_container: None,
    }
}

fn engine_access(url: impl Into<String>) -> EngineSettings {
    EngineSettings { url: Some(url.into()), ..EngineSettings::default() }
}

/// A running watcher and its latest snapshot.
struct WorldWatcher {
    seen: tokio::sync::watch::Receiver<Snapshot>,
    _registration: Registration,
}

impl WorldWatcher {
    fn start(access: EngineSettings, interest: ContainerFilter) -> Self {
        let relist = Duration::from_hours(1);
        Self::watch(
            access,
            SnapshotConfig { relist_interval: relist, ..SnapshotConfig::new(interest) },
        )
    }

    fn watch(access: EngineSettings, watching: SnapshotConfig) -> Self {
        let (updates, seen) = tokio::sync::watch::channel(Snapshot::default());
        let source = Source::default();
        let registration = source.publish_snapshots(watching, updates.into());
        common::spawn_task(async move { follow(&access, &source).await });
        Self { seen, _registration: registration }
    }

    /// Waits for a snapshot that satisfies the condition.
    async fn wait_for_change<T>(&mut self, what: &str, fits: impl Fn(&Snapshot) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = fits(&self.seen.borrow_and_update()) {
                    return found;
                }
                self.seen.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(DEADLINE, found).await;
        found.unwrap_or_else(|_| panic!("not seen: {what}; but {:#?}", self.seen.borrow()))
    }

    async fn wait_for_world(&mut self, what: &str, fits: impl Fn(&World) -> bool) {
        let fits = |seen: &Snapshot| seen.world.as_ref().filter(|world| fits(world)).map(|_| ());
        self.wait_for_change(what, fits).await;
    }

    async fn wait_for_container(
        &mut self,
        what: &str,
        id: &str,
        fits: impl Fn(&Container) -> bool,
    ) {
        let id = ContainerId::new(id);
        self.wait_for_world(what, |world| {
            world.containers.get(&id).is_some_and(|container| fits(container))
        })
        .await;
    }
}

#[tokio::test]
async fn container_lifecycle_changes_the_world() {
    let Some(docker) = common::find_docker() else { return };
    let (net, other) = (docker.network("net"), docker.network("other"));
    let mut eyes = WorldWatcher::start(engine_access(docker.url()), test_interest());
    eyes.wait_for_change("the first answer", |seen| seen.connected.then_some(())).await;

    let web = docker.run("web").label(LABEL, 1).network(&net).option(&["-p", "127.0.0.1::80"]);
    let web = web.option(&["--stop-signal", "SIGQUIT", "--stop-timeout", "7"]).start();
    let address = web.address(&net);
    eyes.wait_for_container("it runs", &web.id, |container| {
        let published = container.published.iter().any(|port| port.container_port == 80);
        container.state == ContainerState::Running
            && container.name == web.name
            && container.networks[&net.name].ipv4 == Some(address)
            && published
            && container.exposed.tcp.contains(&80)
    })
    .await;
    eyes.wait_for_container("it is inspected", &web.id, |container| {
        container.stop_config.as_ref().is_some_and(|stop| {
            stop.signal.as_deref() == Some("SIGQUIT") && stop.timeout == Some(7)
        })
    })
    .await;

    web.docker(&["pause"]);
    eyes.wait_for_container("it pauses", &web.id, |container| {
        container.state == ContainerState::Paused
    })
    .await;
    web.docker(&["unpause"]);
    eyes.wait_for_container("it goes on", &web.id, |container| {
        container.state == ContainerState::Running
    })
    .await;

    other.connect(&web);
    eyes.wait_for_container("it joins", &web.id, |container| {
        container.networks.contains_key(&other.name)
    })
    .await;
    eyes.wait_for_world("its network", |world| {
        world.networks[&SourceName::NONE].contains_key(&other.name)
    })
    .await;
    other.disconnect(&web);
    eyes.wait_for_container("it parts", &web.id, |container| {
        !container.networks.contains_key(&other.name)
    })
    .await;

    let renamed = unique_name("renamed");
    docker.run_docker(&["rename", &web.id, &renamed]);
    eyes.wait_for_container("its new name", &web.id, |container| container.name == renamed).await;

    docker.run_docker(&["kill", "--signal", "KILL", &web.id]);
    eyes.wait_for_container("its death", &web.id, |container| {
        container.state == ContainerState::Exited && !container.stopping
    })
    .await;
    docker.run_docker(&["start", &web.id]);
    eyes.wait_for_container("its return", &web.id, |container| {
        container.state == ContainerState::Running
    })
    .await;
    docker.run_docker(&["rm", "--force", &web.id]);
    let id = ContainerId::new(web.id.as_str());
    eyes.wait_for_world("its end", |world| !world.containers.contains_key(&id)).await;
}

#[tokio::test]
async fn network_sharer_loses_its_address_when_the_owner_stops_or_restarts() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let mut eyes = WorldWatcher::start(engine_access(docker.url()), test_interest());
    eyes.wait_for_change("the first answer", |seen| seen.connected.then_some(())).await;

    let vpn = docker.run("vpn").network(&net).start();
    let app = docker
        .run("app")
        .label(LABEL, 1)
        .option(&["--network", &format!("container:{}", vpn.name)]);
    // The container shares the owner's network, where port 80 is in use: listening there would fail.
    let app = app.env("WHOAMI_PORT", 81).bare().start();
    let id = ContainerId::new(app.id.as_str());
    let output = |world: &World| {
        let container = world.containers.get(&id)?;
        Some(
            match resolve_address(
                container,
                (Transport::Tcp, 80),
                None,
                None,
                world,
                &Vantage::Host,
            ) {
                Ok(address) => address.to_string(),
                Err(reason) => reason.to_string(),
            },
        )
    };
    let here = |vpn: &common::Container| format!("{}:80", vpn.address(&net));
    let expected = here(&vpn);
    eyes.wait_for_world("the owner's address", |world| output(world).as_ref() == Some(&expected))
        .await;

    let is = |world: &World, part: &str| output(world).is_some_and(|text| text.contains(part));
    vpn.docker(&["restart", "--time", "0"]);
    eyes.wait_for_world("it started after it", |world| {
        is(world, "restart this container: container")
    })
    .await;
    app.docker(&["restart", "--time", "0"]);
    let expected = here(&vpn);
    eyes.wait_for_world("its address again", |world| output(world).as_ref() == Some(&expected))
        .await;

    vpn.docker(&["kill"]);
    eyes.wait_for_world("no address", |world| is(world, "start container")).await;
    let stranger = docker.run("stranger").network(&net).start();
    drop(vpn);
    eyes.wait_for_world("the owner is gone", |world| is(world, "no longer exists")).await;
    drop(stranger);
}

#[tokio::test]
async fn stop_signal_marks_container_before_exit_other_signals_do_not() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key("glue_test_stop");
    let mut eyes = WorldWatcher::start(
        engine_access(docker.url()),
        ContainerFilter { has_our_labels: speaks, ..test_interest() },
    );
    let web = docker.run("web").label("glue_test_stop", 1).network(&net);
    let web = web.env("WHOAMI_IGNORE_TERM", 1).start();
    eyes.wait_for_container("it runs", &web.id, |container| {
        container.state == ContainerState::Running
    })
    .await;

    // The harmless signal comes first. If it marked the container, it would be the recorded cause.
    let (id, name) = (web.id.clone(), web.name.clone());
    let killing = tokio::task::spawn_blocking(move || {
        web.docker(&["kill", "--signal", "CONT"]);
        web.docker(&["kill", "--signal", "TERM"]);
        web
    });
    let leaving = eyes.wait_for_change("it leaves", |seen| {
        let container = seen.world.as_ref()?.containers.get(&ContainerId::new(id.as_str()))?;
        container.stopping.then(|| (container.state, seen.cause.clone()))
    });
    let (state, cause) = leaving.await;
    assert_eq!(state, ContainerState::Running);
    let cause = cause.unwrap();
    assert_eq!((cause.action, cause.name), ("kill".to_owned(), name));
    assert!(1_600_000_000_000_000_000 < cause.time_nano);

    let web = killing.await.unwrap();
    web.docker(&["kill", "--signal", "KILL"]);
    eyes.wait_for_container("its death", &id, |container| {
        container.state == ContainerState::Exited && !container.stopping
    })
    .await;
}

#[tokio::test]
async fn health_change_updates_the_world() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let mut eyes = WorldWatcher::start(engine_access(docker.url()), test_interest());
    let web =
        docker.run("web").image(&format!("{}-health", common::build_whoami_image())).network(&net);
    let web = web.label(LABEL, 1).env("WHOAMI_HEALTHY_AFTER", "2s").start();
    eyes.wait_for_container("sick", &web.id, |container| container.health == Health::Unhealthy)
        .await;
    eyes.wait_for_container("well", &web.id, |container| container.health == Health::Healthy).await;
    web.docker(&["pause"]);
    eyes.wait_for_container("paused", &web.id, |container| {
        container.state == ContainerState::Paused && container.health != Health::Unchecked
    })
    .await;
}

#[tokio::test]
async fn containers_removed_during_listing_are_not_in_the_world() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let mut eyes = WorldWatcher::start(engine_access(docker.url()), test_interest());
    let job = || docker.run("job").label(LABEL, 1).network(&net);
    let gone: Vec<_> =
        (0..5).map(|_| job().option(&["--rm"]).arguments(&["healthcheck"]).start()).collect();
    let last = docker.run("last").label(LABEL, 1).network(&net).start();
    eyes.wait_for_container("the last", &last.id, |container| container.stop_config.is_some())
        .await;
    let ids: Vec<_> = gone.iter().map(|job| ContainerId::new(job.id.as_str())).collect();
    eyes.wait_for_world("the jobs are gone", |world| {
        ids.iter().all(|id| !world.containers.contains_key(id))
    })
    .await;
}

#[tokio::test]
async fn unlabelled_container_causes_no_engine_request() {
    // An engine of its own: if several containers of other tests stop at once, a list looks suspiciously short and is
    // requested again.
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    let net = docker.network("net");
    let proxy = RecordingSocket::in_front_of(&engine.docker().socket());
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key("glue_test_alone");
    let watching = SnapshotConfig {
        relist_interval: Duration::from_hours(1),
        ..SnapshotConfig::new(ContainerFilter { has_our_labels: speaks, ..test_interest() })
    };
    let mut eyes = WorldWatcher::watch(engine_access(proxy.url()), watching);
    let lists =
        || proxy.requested_paths().iter().filter(|path| path.contains("/containers/json")).count();
    wait_until("both first lists are asked for", async || (lists() == 2).then_some(())).await;

    let silent = docker.run("silent").network(&net).start();
    silent.docker(&["pause"]);
    silent.docker(&["unpause"]);
    let id = silent.id.clone();
    drop(silent);
    let web = docker.run("web").label("glue_test_alone", 1).network(&net).start();
    eyes.wait_for_container("the labelled", &web.id, |container| container.stop_config.is_some())
        .await;

    let texts = proxy.requested_paths();
    // The first list may overtake the subscription, which is sent on another connection.
    let first = |word| texts.iter().position(|path| path.contains(word));
    let confirming = texts.iter().rposition(|path| path.contains("all=true&limit"));
    assert!(first("/events") < confirming, "{texts:#?}");
    assert!(!texts.iter().any(|path| path.contains(&id)), "{texts:#?}");
    let narrow = |path: &&String| path.contains("/containers/json") && path.contains("filters");
    assert!(texts.iter().filter(narrow).all(|path| path.contains(&web.id)), "{texts:#?}");
    assert_eq!(lists(), 2 + texts.iter().filter(narrow).count(), "{texts:#?}");
}

/// Returns the address by which the host reaches port 80 of a container.
fn published_address(world: &World, id: &str) -> Option<String> {
    let container = world.containers.get(&ContainerId::new(id))?;
    resolve_address(container, (Transport::Tcp, 80), None, None, world, &Vantage::Host)
        .ok()
        .map(|addr| addr.to_string())
}

#[tokio::test]
async fn podman_container_lifecycle_changes_the_world() {
    let Some(podman) = Podman::start() else { return };
    let docker = podman.docker();
    let proxy = RecordingSocket::in_front_of(&docker.socket());
    let mut eyes = WorldWatcher::start(engine_access(proxy.url()), test_interest());
    let lists =
        || proxy.requested_paths().iter().filter(|path| path.contains("/containers/json")).count();
    wait_until("both first lists are asked for", async || (lists() == 2).then_some(())).await;

    let web = docker.run("web").label(LABEL, 1).start();
    let on_default = |world: &World| {
        published_address(world, &web.id).is_some_and(|text| text.starts_with("10.88."))
    };
    eyes.wait_for_world("its address on the default network", on_default).await;
    web.docker(&["pause"]);
    eyes.wait_for_container("it pauses", &web.id, |container| {
        container.state == ContainerState::Paused
    })
    .await;
    web.docker(&["unpause"]);
    eyes.wait_for_container("it goes on", &web.id, |container| {
        container.state == ContainerState::Running
    })
    .await;
    web.docker(&["stop"]);
    eyes.wait_for_container("its stop", &web.id, |container| !container.is_up()).await;
    web.docker(&["start"]);
    eyes.wait_for_world("its return", on_default).await;
    let renamed = unique_name("renamed");
    docker.run_docker(&["rename", &web.id, &renamed]);
    eyes.wait_for_container("its new name", &web.id, |container| container.name == renamed).await;

    let net = docker.network("net");
    net.connect(&web);
    eyes.wait_for_container("it joins", &web.id, |container| {
        container.networks.contains_key(&net.name)
    })
    .await;
    net.disconnect(&web);
    eyes.wait_for_container("it parts", &web.id, |container| {
        !container.networks.contains_key(&net.name)
    })
    .await;
    let other = docker.run("other").label(LABEL, 1).network(&net).start();
    eyes.wait_for_world("an address on a network made since", |world| {
        published_address(world, &other.id).is_some()
    })
    .await;

    let on_host = docker.run("host").label(LABEL, 1).bare().option(&["--network", "host"]).start();
    eyes.wait_for_world("on the host's network", |world| {
        published_address(world, &on_host.id).as_deref() == Some("127.0.0.1:80")
    })
    .await;
    let sharer = docker.run("sharer").label(LABEL, 1).env("WHOAMI_PORT", 81).bare();
    let sharer = sharer.option(&["--network", &format!("container:{}", other.id)]).start();
    eyes.wait_for_world("the address of another", |world| {
        published_address(world, &sharer.id).is_some()
            && published_address(world, &sharer.id) == published_address(world, &other.id)
    })
    .await;

    docker.run_docker(&["rm", "--force", &web.id]);
    let id = ContainerId::new(web.id.as_str());
    eyes.wait_for_world("its end", |world| !world.containers.contains_key(&id)).await;
    let texts = proxy.requested_paths();
    let whole = |path: &&String| path.contains("/containers/json") && !path.contains("filters");
    assert_eq!(texts.iter().filter(whole).count(), 2, "only events told it: {texts:#?}");
}

#[tokio::test]
async fn watch_survives_late_stopped_and_hanging_engine() {
    let Some(mut engine) = Engine::new() else { return };
    let timeouts = Timeouts { list: Duration::from_secs(1), ..Timeouts::default() };
    // The next list detects a hung engine.
    let watching = SnapshotConfig {
        relist_interval: Duration::from_secs(1),
        ..SnapshotConfig::new(test_interest())
    };
    let mut eyes =
        WorldWatcher::watch(EngineSettings { timeouts, ..engine_access(engine.url()) }, watching);
    assert!(eyes.seen.borrow().world.is_none());
    engine.start();
    eyes.wait_for_change("an empty world", |seen| {
        seen.world.as_ref().filter(|_| seen.connected).map(|_| ())
    })
    .await;
    engine.load_image();
    let docker = engine.docker();
    let net = docker.network("net");
    let web = docker.run("web").label(LABEL, 1).network(&net).start();
    eyes.wait_for_container("it runs", &web.id, |container| {
        container.state == ContainerState::Running
    })
    .await;

    let id = ContainerId::new(web.id.as_str());
    let runs = |seen: &Snapshot| {
        seen.world.as_ref().is_some_and(|world| world.containers.contains_key(&id))
    };
    engine.stop();
    eyes.wait_for_change("away", |seen| (!seen.connected && runs(seen)).then_some(())).await;
    engine.start();
    eyes.wait_for_change("back", |seen| (seen.connected && runs(seen)).then_some(())).await;

    let paused = engine.pause_daemon();
    eyes.wait_for_change("away again", |seen| (!seen.connected && runs(seen)).then_some(())).await;
    drop(paused);
    eyes.wait_for_change("back again", |seen| (seen.connected && runs(seen)).then_some(())).await;
    drop(web);
    eyes.wait_for_world("its end", |world| world.containers.is_empty()).await;
}

#[tokio::test]
async fn tls_engine_requires_a_client_certificate() {
    let Some(mut engine) = Engine::new() else { return };
    let url = engine.with_tls();
    engine.start();
    let cert_path = Some(engine.folder().to_owned());
    let trusted = EngineSettings { tls_verify: true, cert_path, ..engine_access(url.as_str()) };
    assert_eq!(list_once(&trusted, &test_interest()).await.unwrap().containers.len(), 0);
    let mut eyes = WorldWatcher::start(trusted, test_interest());
    eyes.wait_for_change("a world by TLS", |seen| seen.connected.then_some(())).await;

    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(engine.folder().join("ca.pem"), elsewhere.path().join("ca.pem")).unwrap();
    let cert_path = Some(elsewhere.path().to_owned());
    let stranger = EngineSettings { tls_verify: true, cert_path, ..engine_access(url.as_str()) };
    let error = format!("{:#}", list_once(&stranger, &test_interest()).await.unwrap_err());
    assert!(error.contains(&url), "{error}");
    let plain = list_once(&engine_access(url.as_str()), &test_interest()).await.unwrap_err();
    assert!(format!("{plain:#}").contains(&url), "{plain:#}");
}

#[tokio::test]
async fn list_once_includes_environment_on_request() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let web = docker.run("web").env(LABEL, "x").env("SECRET", "y").network(&net).start();
    let id = ContainerId::new(web.id.as_str());
    let with = ContainerFilter { reads_environment: true, ..test_interest() };
    let world = list_once(&engine_access(docker.url()), &with).await.unwrap();
    let read = &world.containers[&id].environment;
    assert_eq!(read, &[(LABEL.to_owned(), "x".to_owned())].into());
    let world = list_once(&engine_access(docker.url()), &test_interest()).await.unwrap();
    assert!(world.containers[&id].environment.is_empty());
    assert_eq!(world.networks[&SourceName::NONE][&net.name].driver, "bridge");
}

#[tokio::test]
async fn vantage_outside_containers_is_host() {
    let Some(docker) = common::find_docker() else { return };
    let access = engine_access(docker.url());
    let client = Client::connect(&access).await.unwrap();
    let stands = detect_vantage(&client, &access, AddressKind::Networks).await.unwrap();
    if !Path::new("/.dockerenv").exists() {
        assert_eq!(stands, Vantage::Host);
    }
    let stands = detect_vantage(&client, &access, AddressKind::Published).await.unwrap();
    assert_eq!(stands, Vantage::Published(Ipv4Addr::LOCALHOST.into()));
}
