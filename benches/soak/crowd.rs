//! The containers: starts, ends and records them; all are removed on drop.

use crate::{alone, chaos, load::to_micros, stream};
use bollard::{
    Docker,
    models::{ContainerCreateBody, EventMessage, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, EventsOptionsBuilder, KillContainerOptionsBuilder,
        RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use futures_util::StreamExt;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt,
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Notify, time::Instant};

const IMAGE: &str = "docker-glue-whoami:soak";
/// The services with clients of HTTPS. All others have only plain HTTP.
const HTTPS_SERVICES: [&str; 3] = [chaos::SERVICE, chaos::STILL, alone::SERVICE];

#[derive(Debug)]
pub(crate) struct ContainerFleet {
    docker: Docker,
    pub(crate) id: String,
    count: Cell<u32>,
    pub(crate) ends: RefCell<BTreeMap<String, End>>,
    /// The engine's time of each (container, action), in nanoseconds since 1970.
    events: RefCell<HashMap<(String, String), i64>>,
    news: Notify,
    /// Duration of each start, in microseconds.
    pub(crate) starts: RefCell<Vec<u32>>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Drained, then stopped; its program drops all requests at the stop signal.
    Drained,
    /// As `Drained`, but the draining failed because no balancer answered.
    Undrained,
    /// `docker stop`; its program finishes its requests.
    Stopped,
    Killed,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) fate: Fate,
    pub(crate) at: Instant,
}

impl ContainerFleet {
    pub(crate) fn new() -> Self {
        let id = format!("soak{}", std::process::id());
        Self {
            docker: Docker::connect_with_defaults().unwrap(),
            id,
            count: Cell::default(),
            ends: RefCell::default(),
            events: RefCell::default(),
            news: Notify::new(),
            starts: RefCell::default(),
        }
    }

    pub(crate) fn label(&self) -> String {
        format!("docker-glue.soak={}", self.id)
    }

    pub(crate) fn host(&self, service: &str) -> String {
        format!("{service}.{}.test", self.id)
    }

    pub(crate) async fn create(&self, service: &str, arguments: &[&str]) -> String {
        self.count.set(self.count.get() + 1);
        let name = format!("{}-{service}-{}", self.id, self.count.get());
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        // Each listener needs a backend of its own, and spare ones are limited.
        let tls = if HTTPS_SERVICES.contains(&service) { "both" } else { "off" };
        let mut labels = HashMap::from([
            label("docker-glue.soak", &self.id),
            label("glue_http_80_host", &self.host(service)),
            label("glue_http_80_tls", tls),
        ]);
        if let Some(port) = stream_port(service) {
            let bind = |protocol| format!("glue_{protocol}_{}_bind", stream::PORT);
            labels.extend(["tcp", "udp"].map(|protocol| (bind(protocol), port.to_string())));
        }
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            hostname: Some(name.clone()),
            cmd: Some(arguments.iter().map(ToString::to_string).collect()),
            env: Some(vec![format!("WHOAMI_ECHO={}", stream::PORT)]),
            labels: Some(labels),
            host_config: Some(HostConfig::default()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        self.docker.create_container(Some(options), body).await.unwrap();
        name
    }

    pub(crate) async fn start(&self, name: &str) {
        let begun = Instant::now();
        self.docker.start_container(name, None).await.unwrap();
        self.starts.borrow_mut().push(to_micros(begun.elapsed()));
    }

    pub(crate) async fn signal(&self, name: &str, signal: &str) {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.docker.kill_container(name, Some(options)).await.unwrap();
    }

    /// Ends a container, and records its fate for reading the access log.
    pub(crate) async fn end_container(&self, name: &str, fate: Fate) {
        let end = End { fate, at: Instant::now() };
        self.ends.borrow_mut().insert(name.to_owned(), end);
        match fate {
            Fate::Killed => self.signal(name, "KILL").await,
            Fate::Drained | Fate::Undrained | Fate::Stopped => self.stop(name, 10).await,
        }
        self.remove(name).await;
    }

    pub(crate) async fn restart(&self, name: &str) {
        self.docker.restart_container(name, None).await.unwrap();
    }

    /// Stops a container, which is killed if it still runs after this many seconds.
    pub(crate) async fn stop(&self, name: &str, timeout: i32) {
        let options = StopContainerOptionsBuilder::new().t(timeout).build();
        self.docker.stop_container(name, Some(options)).await.unwrap();
    }

    pub(crate) async fn remove(&self, name: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        self.docker.remove_container(name, Some(options)).await.unwrap();
    }

    /// Returns the address of the container's program on the default bridge.
    pub(crate) async fn address(&self, name: &str) -> SocketAddr {
        let inspected = self.docker.inspect_container(name, None).await.unwrap();
        let networks = inspected.network_settings.unwrap().networks.unwrap();
        let ip = networks["bridge"].ip_address.clone().unwrap();
        SocketAddr::new(ip.parse().unwrap(), 80)
    }

    /// Follows the engine's events forever.
    pub(crate) async fn follow_events(&self) {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), words(&["container"])),
            ("event".to_owned(), words(&["start", "kill"])),
            ("label".to_owned(), vec![self.label()]),
        ]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let mut events = Box::pin(self.docker.events(Some(options)));
        while let Some(event) = events.next().await {
            if let Ok(EventMessage {
                action: Some(action), actor: Some(actor), time_nano, ..
            }) = event
            {
                let name =
                    actor.attributes.and_then(|mut map| map.remove("name")).unwrap_or_default();
                let at = time_nano.unwrap_or_default();
                self.events.borrow_mut().entry((name, action)).or_insert(at);
                self.news.notify_waiters();
            }
        }
    }

    /// Returns the time of the event as the engine reports it.
    pub(crate) async fn event_time(&self, name: &str, action: &str) -> i64 {
        let key = (name.to_owned(), action.to_owned());
        let received = async {
            loop {
                let news = self.news.notified();
                if let Some(at) = self.events.borrow().get(&key) {
                    return *at;
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), received)
            .await
            .expect("the engine tells of it")
    }
}

impl Drop for ContainerFleet {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label());
        let mut list = Command::new("docker");
        list.args(["ps", "--all", "--quiet", "--filter", &filter]).stdin(Stdio::null());
        let Ok(list) = list.output() else { return };
        let list = String::from_utf8_lossy(&list.stdout);
        let names: Vec<_> = list.split_whitespace().collect();
        if !names.is_empty() {
            let mut remove = Command::new("docker");
            let _ = remove.args(["rm", "--force", "--volumes"]).args(names).output();
        }
    }
}

/// The public port of a service with clients of TCP and UDP.
pub(crate) fn stream_port(service: &str) -> Option<u16> {
    match service {
        chaos::SERVICE => Some(7001),
        chaos::STILL => Some(7002),
        _ => None,
    }
}

/// Returns nanoseconds since 1970; the engine's clock is the same, because it runs on this machine.
pub(crate) fn now_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drained => "drained",
            Self::Undrained => "not drained",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        })
    }
}
