//! The watcher and a real engine: whatever happens to containers is seen as a change of the world.

#![allow(clippy::unwrap_used)]

mod common;

use common::{DEADLINE, engine::Engine, podman::Podman, proxy::Proxy, unique, until};
use docker_glue::{
    address::address,
    container::{Container, ContainerId, Health, State},
    docker::{
        Access, Engine as Client, Interest, Patience, Reach, Seen, Watching, list_once, vantage,
        watch,
    },
    world::{Vantage, World},
};
use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, time::Duration};

const LABEL: &str = "glue_test";

fn interest() -> Interest {
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key(LABEL);
    Interest {
        speaks,
        reads: |_| true,
        required: Vec::new(),
        environment: false,
        everything: false,
        named: std::collections::BTreeSet::new(),
        own_labels: None,
        own: None,
    }
}

fn access(url: impl Into<String>) -> Access {
    Access { url: Some(url.into()), ..Access::default() }
}

/// A watcher at work, and what it published last.
struct Eyes {
    seen: tokio::sync::watch::Receiver<Seen>,
}

impl Eyes {
    fn open(access: Access, interest: Interest) -> Self {
        let relist = Duration::from_hours(1);
        Self::watch(access, Watching { relist, ..Watching::new(interest) })
    }

    fn watch(access: Access, watching: Watching) -> Self {
        let (updates, seen) = tokio::sync::watch::channel(Seen::default());
        common::aside(async move { watch(&access, &watching, &updates).await });
        Self { seen }
    }

    /// Waits for something to be published that fits.
    async fn see<T>(&mut self, what: &str, fits: impl Fn(&Seen) -> Option<T>) -> T {
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

    async fn see_world(&mut self, what: &str, fits: impl Fn(&World) -> bool) {
        let fits = |seen: &Seen| seen.world.as_ref().filter(|world| fits(world)).map(|_| ());
        self.see(what, fits).await;
    }

    async fn see_container(&mut self, what: &str, id: &str, fits: impl Fn(&Container) -> bool) {
        let id = ContainerId::new(id);
        self.see_world(what, |world| world.containers.get(&id).is_some_and(|it| fits(it))).await;
    }
}

#[tokio::test]
async fn a_containers_life_is_seen() {
    let Some(docker) = common::docker() else { return };
    let (net, other) = (docker.network("net"), docker.network("other"));
    let mut eyes = Eyes::open(access(docker.url()), interest());
    eyes.see("the first answer", |seen| seen.connected.then_some(())).await;

    let web = docker.run("web").label(LABEL, 1).network(&net).option(&["-p", "127.0.0.1::80"]);
    let web = web.option(&["--stop-signal", "SIGQUIT", "--stop-timeout", "7"]).start();
    let address = web.address(&net);
    eyes.see_container("it runs", &web.id, |it| {
        let published = it.published.iter().any(|port| port.container_port == 80);
        it.state == State::Running
            && it.name == web.name
            && it.networks[&net.name].ipv4 == Some(address)
            && published
            && it.exposed.contains(&80)
    })
    .await;
    eyes.see_container("it is inspected", &web.id, |it| {
        it.stop.as_ref().is_some_and(|stop| {
            stop.signal.as_deref() == Some("SIGQUIT") && stop.timeout == Some(7)
        })
    })
    .await;

    web.docker(&["pause"]);
    eyes.see_container("it pauses", &web.id, |it| it.state == State::Paused).await;
    web.docker(&["unpause"]);
    eyes.see_container("it goes on", &web.id, |it| it.state == State::Running).await;

    other.connect(&web);
    eyes.see_container("it joins", &web.id, |it| it.networks.contains_key(&other.name)).await;
    eyes.see_world("its network", |world| world.networks.contains_key(&other.name)).await;
    other.disconnect(&web);
    eyes.see_container("it parts", &web.id, |it| !it.networks.contains_key(&other.name)).await;

    let renamed = unique("renamed");
    docker.cli(&["rename", &web.id, &renamed]);
    eyes.see_container("its new name", &web.id, |it| it.name == renamed).await;

    docker.cli(&["kill", "--signal", "KILL", &web.id]);
    eyes.see_container("its death", &web.id, |it| it.state == State::Exited && !it.leaving).await;
    docker.cli(&["start", &web.id]);
    eyes.see_container("its return", &web.id, |it| it.state == State::Running).await;
    docker.cli(&["rm", "--force", &web.id]);
    let id = ContainerId::new(web.id.as_str());
    eyes.see_world("its end", |world| !world.containers.contains_key(&id)).await;
}

#[tokio::test]
async fn network_owner_that_ends_or_starts_again_takes_the_address_of_its_sharer() {
    let Some(docker) = common::docker() else { return };
    let net = docker.network("net");
    let mut eyes = Eyes::open(access(docker.url()), interest());
    eyes.see("the first answer", |seen| seen.connected.then_some(())).await;

    let vpn = docker.run("vpn").network(&net).start();
    let app = docker
        .run("app")
        .label(LABEL, 1)
        .option(&["--network", &format!("container:{}", vpn.name)]);
    // Port 80 of the network is the owner's: the sharer would end for want of it.
    let app = app.env("WHOAMI_PORT", 81).bare().start();
    let id = ContainerId::new(app.id.as_str());
    let said = |world: &World| {
        let container = world.containers.get(&id)?;
        Some(match address(container, 80, None, None, world, &Vantage::Host) {
            Ok(address) => address.to_string(),
            Err(reason) => reason.to_string(),
        })
    };
    let here = |vpn: &common::Container| format!("{}:80", vpn.address(&net));
    let expected = here(&vpn);
    eyes.see_world("the owner's address", |world| said(world).as_ref() == Some(&expected)).await;

    let is = |world: &World, part: &str| said(world).is_some_and(|said| said.contains(part));
    vpn.docker(&["restart", "--time", "0"]);
    eyes.see_world("it started after it", |world| is(world, "restart it: container")).await;
    app.docker(&["restart", "--time", "0"]);
    let expected = here(&vpn);
    eyes.see_world("its address again", |world| said(world).as_ref() == Some(&expected)).await;

    vpn.docker(&["kill"]);
    eyes.see_world("no address", |world| is(world, "start container")).await;
    let stranger = docker.run("stranger").network(&net).start();
    drop(vpn);
    eyes.see_world("the owner is gone", |world| is(world, "is gone")).await;
    drop(stranger);
}

#[tokio::test]
async fn a_stop_signal_is_seen_before_the_death_and_a_harmless_one_is_not() {
    let Some(docker) = common::docker() else { return };
    let net = docker.network("net");
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key("glue_test_stop");
    let mut eyes = Eyes::open(access(docker.url()), Interest { speaks, ..interest() });
    let web = docker.run("web").label("glue_test_stop", 1).network(&net);
    let web = web.env("WHOAMI_IGNORE_TERM", 1).start();
    eyes.see_container("it runs", &web.id, |it| it.state == State::Running).await;

    // The harmless signal comes first, so it would be the cause that is seen.
    let (id, name) = (web.id.clone(), web.name.clone());
    let killing = tokio::task::spawn_blocking(move || {
        web.docker(&["kill", "--signal", "CONT"]);
        web.docker(&["kill", "--signal", "TERM"]);
        web
    });
    let leaving = eyes.see("it leaves", |seen| {
        let it = seen.world.as_ref()?.containers.get(&ContainerId::new(id.as_str()))?;
        it.leaving.then(|| (it.state, seen.cause.clone()))
    });
    let (state, cause) = leaving.await;
    assert_eq!(state, State::Running);
    let cause = cause.unwrap();
    assert_eq!((cause.action, cause.name), ("kill".to_owned(), name));
    assert!(1_600_000_000_000_000_000 < cause.time_nano);

    let web = killing.await.unwrap();
    web.docker(&["kill", "--signal", "KILL"]);
    eyes.see_container("its death", &id, |it| it.state == State::Exited && !it.leaving).await;
}

#[tokio::test]
async fn health_is_seen() {
    let Some(docker) = common::docker() else { return };
    let net = docker.network("net");
    let mut eyes = Eyes::open(access(docker.url()), interest());
    let web = docker.run("web").image(&format!("{}-health", common::image())).network(&net);
    let web = web.label(LABEL, 1).env("WHOAMI_HEALTHY_AFTER", "2s").start();
    eyes.see_container("sick", &web.id, |it| it.health == Health::Unhealthy).await;
    eyes.see_container("well", &web.id, |it| it.health == Health::Healthy).await;
    web.docker(&["pause"]);
    eyes.see_container("paused", &web.id, |it| {
        it.state == State::Paused && it.health != Health::Unchecked
    })
    .await;
}

#[tokio::test]
async fn containers_that_vanish_half_way_leave_nothing_behind() {
    let Some(docker) = common::docker() else { return };
    let net = docker.network("net");
    let mut eyes = Eyes::open(access(docker.url()), interest());
    let job = || docker.run("job").label(LABEL, 1).network(&net);
    let gone: Vec<_> =
        (0..5).map(|_| job().option(&["--rm"]).arguments(&["healthcheck"]).start()).collect();
    let last = docker.run("last").label(LABEL, 1).network(&net).start();
    eyes.see_container("the last", &last.id, |it| it.stop.is_some()).await;
    let ids: Vec<_> = gone.iter().map(|job| ContainerId::new(job.id.as_str())).collect();
    eyes.see_world("the jobs are gone", |world| {
        ids.iter().all(|id| !world.containers.contains_key(id))
    })
    .await;
}

#[tokio::test]
async fn containers_without_our_labels_cost_no_call() {
    // One of its own: containers of other tests that end in numbers make a list doubtful, and it is
    // asked for again.
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    let net = docker.network("net");
    let proxy = Proxy::before(&engine.docker().socket());
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key("glue_test_alone");
    let watching = Watching {
        relist: Duration::from_hours(1),
        ..Watching::new(Interest { speaks, ..interest() })
    };
    let mut eyes = Eyes::watch(access(proxy.url()), watching);
    let lists = || proxy.asked().iter().filter(|path| path.contains("/containers/json")).count();
    until("both first lists are asked for", async || (lists() == 2).then_some(())).await;

    let silent = docker.run("silent").network(&net).start();
    silent.docker(&["pause"]);
    silent.docker(&["unpause"]);
    let id = silent.id.clone();
    drop(silent);
    let web = docker.run("web").label("glue_test_alone", 1).network(&net).start();
    eyes.see_container("the labelled", &web.id, |it| it.stop.is_some()).await;

    let asked = proxy.asked();
    assert!(asked[0].contains("/events"), "subscribed first: {asked:#?}");
    assert!(!asked.iter().any(|path| path.contains(&id)), "{asked:#?}");
    let narrow = |path: &&String| path.contains("/containers/json") && path.contains("filters");
    assert!(asked.iter().filter(narrow).all(|path| path.contains(&web.id)), "{asked:#?}");
    assert_eq!(lists(), 2 + asked.iter().filter(narrow).count(), "{asked:#?}");
}

/// Where the host reaches port 80 of a container.
fn place(world: &World, id: &str) -> Option<String> {
    let it = world.containers.get(&ContainerId::new(id))?;
    address(it, 80, None, None, world, &Vantage::Host).ok().map(|it| it.to_string())
}

#[tokio::test]
async fn containers_life_on_podman_is_seen_by_its_events() {
    let Some(podman) = Podman::start() else { return };
    let docker = podman.docker();
    let proxy = Proxy::before(&docker.socket());
    let mut eyes = Eyes::open(access(proxy.url()), interest());
    let lists = || proxy.asked().iter().filter(|path| path.contains("/containers/json")).count();
    until("both first lists are asked for", async || (lists() == 2).then_some(())).await;

    let web = docker.run("web").label(LABEL, 1).start();
    let on_default =
        |world: &World| place(world, &web.id).is_some_and(|it| it.starts_with("10.88."));
    eyes.see_world("its address on the default network", on_default).await;
    web.docker(&["pause"]);
    eyes.see_container("it pauses", &web.id, |it| it.state == State::Paused).await;
    web.docker(&["unpause"]);
    eyes.see_container("it goes on", &web.id, |it| it.state == State::Running).await;
    web.docker(&["stop"]);
    eyes.see_container("its stop", &web.id, |it| !it.is_up()).await;
    web.docker(&["start"]);
    eyes.see_world("its return", on_default).await;
    let renamed = unique("renamed");
    docker.cli(&["rename", &web.id, &renamed]);
    eyes.see_container("its new name", &web.id, |it| it.name == renamed).await;

    let net = docker.network("net");
    net.connect(&web);
    eyes.see_container("it joins", &web.id, |it| it.networks.contains_key(&net.name)).await;
    net.disconnect(&web);
    eyes.see_container("it parts", &web.id, |it| !it.networks.contains_key(&net.name)).await;
    let other = docker.run("other").label(LABEL, 1).network(&net).start();
    eyes.see_world("an address on a network made since", |world| place(world, &other.id).is_some())
        .await;

    let on_host = docker.run("host").label(LABEL, 1).bare().option(&["--network", "host"]).start();
    eyes.see_world("on the host's network", |world| {
        place(world, &on_host.id).as_deref() == Some("127.0.0.1:80")
    })
    .await;
    let sharer = docker.run("sharer").label(LABEL, 1).env("WHOAMI_PORT", 81).bare();
    let sharer = sharer.option(&["--network", &format!("container:{}", other.id)]).start();
    eyes.see_world("the address of another", |world| {
        place(world, &sharer.id).is_some() && place(world, &sharer.id) == place(world, &other.id)
    })
    .await;

    docker.cli(&["rm", "--force", &web.id]);
    let id = ContainerId::new(web.id.as_str());
    eyes.see_world("its end", |world| !world.containers.contains_key(&id)).await;
    let asked = proxy.asked();
    let whole = |path: &&String| path.contains("/containers/json") && !path.contains("filters");
    assert_eq!(asked.iter().filter(whole).count(), 2, "only events told it: {asked:#?}");
}

#[tokio::test]
async fn an_engine_that_comes_late_and_goes_and_hangs_is_followed() {
    let Some(mut engine) = Engine::new() else { return };
    let patience = Patience { list: Duration::from_secs(1), ..Patience::default() };
    // A hung engine is noticed by the next list.
    let watching = Watching { relist: Duration::from_secs(1), ..Watching::new(interest()) };
    let mut eyes = Eyes::watch(Access { patience, ..access(engine.url()) }, watching);
    assert!(eyes.seen.borrow().world.is_none());
    engine.start();
    eyes.see("an empty world", |seen| seen.world.as_ref().filter(|_| seen.connected).map(|_| ()))
        .await;
    engine.load_image();
    let docker = engine.docker();
    let net = docker.network("net");
    let web = docker.run("web").label(LABEL, 1).network(&net).start();
    eyes.see_container("it runs", &web.id, |it| it.state == State::Running).await;

    let id = ContainerId::new(web.id.as_str());
    let runs = |seen: &Seen| seen.world.as_ref().is_some_and(|it| it.containers.contains_key(&id));
    engine.stop();
    eyes.see("away", |seen| (!seen.connected && runs(seen)).then_some(())).await;
    engine.start();
    eyes.see("back", |seen| (seen.connected && runs(seen)).then_some(())).await;

    engine.hang();
    eyes.see("away again", |seen| (!seen.connected && runs(seen)).then_some(())).await;
    engine.go_on();
    eyes.see("back again", |seen| (seen.connected && runs(seen)).then_some(())).await;
    drop(web);
    eyes.see_world("its end", |world| world.containers.is_empty()).await;
}

#[tokio::test]
async fn an_engine_is_reached_by_tls_with_a_certificate_only() {
    let Some(mut engine) = Engine::new() else { return };
    let url = engine.with_tls();
    engine.start();
    let cert_path = Some(engine.folder().to_owned());
    let trusted = Access { tls_verify: true, cert_path, ..access(url.as_str()) };
    assert_eq!(list_once(&trusted, &interest()).await.unwrap().containers.len(), 0);
    let mut eyes = Eyes::open(trusted, interest());
    eyes.see("a world by TLS", |seen| seen.connected.then_some(())).await;

    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(engine.folder().join("ca.pem"), elsewhere.path().join("ca.pem")).unwrap();
    let cert_path = Some(elsewhere.path().to_owned());
    let stranger = Access { tls_verify: true, cert_path, ..access(url.as_str()) };
    let error = format!("{:#}", list_once(&stranger, &interest()).await.unwrap_err());
    assert!(error.contains(&url), "{error}");
    let plain = list_once(&access(url.as_str()), &interest()).await.unwrap_err();
    assert!(format!("{plain:#}").contains(&url), "{plain:#}");
}

#[tokio::test]
async fn the_world_is_listed_once_with_environments_when_wanted() {
    let Some(docker) = common::docker() else { return };
    let net = docker.network("net");
    let web = docker.run("web").env(LABEL, "x").env("SECRET", "y").network(&net).start();
    let id = ContainerId::new(web.id.as_str());
    let with = Interest { environment: true, ..interest() };
    let world = list_once(&access(docker.url()), &with).await.unwrap();
    let read = &world.containers[&id].environment;
    assert_eq!(read, &[(LABEL.to_owned(), "x".to_owned())].into());
    let world = list_once(&access(docker.url()), &interest()).await.unwrap();
    assert!(world.containers[&id].environment.is_empty());
    assert_eq!(world.networks[&net.name].driver, "bridge");
}

#[tokio::test]
async fn here_we_are_on_the_host() {
    let Some(docker) = common::docker() else { return };
    let access = access(docker.url());
    let client = Client::connect(&access).await.unwrap();
    let stands = vantage(&client, &access, Reach::Networks).await.unwrap();
    if !Path::new("/.dockerenv").exists() {
        assert_eq!(stands, Vantage::Host);
    }
    let stands = vantage(&client, &access, Reach::Published).await.unwrap();
    assert_eq!(stands, Vantage::Published(Ipv4Addr::LOCALHOST.into()));
}
