//! Users of routes with a real HAProxy and the socket on which it asks about passwords: who reaches the container, and
//! what the container gets.

use crate::common::{
    balancer::{Answer, Request},
    haproxy::HAProxy,
    spawn_task, story,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use docker_glue::{
    api::users::UserServer,
    controller::user_sets::UserSets,
    haproxy::{
        config::Config,
        user_check::{UserSocket, UserSocketAccess},
    },
    model::route::Routes,
};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::oneshot,
};

/// Hashes of `secret`, as `htpasswd` and `mkpasswd` write them.
const BCRYPT: &str = "$2y$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO";
const SHA512: &str = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";
const SHA256: &str = "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.";
const APR1: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";
const SHA1: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
/// Of cost 12.
const SLOW: &str = "$2y$12$NhF8G1lzzSkyqYDrXqRPfermZokx9zMEnNyJ6nyAAfDt.ssLWM1nG";

/// HAProxy with routes to one container, and the server for its questions.
struct Scene {
    haproxy: HAProxy,
    config: Config,
    container: u16,
    sets: UserSets,
    /// Dropping it closes the socket.
    server: Option<oneshot::Sender<()>>,
}

impl Scene {
    /// Starts it with routes: a host each, with the labels `users` and others of its port.
    async fn set(routes: &[(&str, String)]) -> Option<Self> {
        let container = start_container();
        let routes = parse_routes(container, routes);
        let config = story::build_config(&routes);
        let haproxy = HAProxy::start(&config).await?;
        let mut scene =
            Self { haproxy, config, container, sets: UserSets::default(), server: None };
        scene.sets.add_routes(&routes);
        scene.start_server().await;
        Some(scene)
    }

    async fn start_server(&mut self) {
        let (path, access) = (self.haproxy.user_socket(), UserSocketAccess::Owner);
        let sets = self.sets.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (opened, is_open) = oneshot::channel();
        spawn_task(async move {
            let _server = UserServer::open(&UserSocket { path, access }, sets).unwrap();
            opened.send(()).unwrap();
            let _ = stopped.await;
        });
        is_open.await.unwrap();
        self.server = Some(stop);
    }

    /// Reloads HAProxy with other routes.
    async fn reload(&mut self, routes: &[(&str, String)]) {
        let routes = parse_routes(self.container, routes);
        self.sets.add_routes(&routes);
        self.config = story::build_config(&routes);
        self.haproxy.reload(&self.config).await;
    }

    fn address(&self) -> SocketAddr {
        let port = self.haproxy.bound(NonZeroU16::new(80).unwrap());
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn request(&self, host: &str, credential: &str) -> Request {
        let request = Request::new(self.address(), "GET", host, "/");
        match credential {
            "" => request,
            _ => request.header("Authorization", &basic(credential)),
        }
    }

    fn get(&self, host: &str, credential: &str) -> Answer {
        self.request(host, credential).send().unwrap()
    }

    /// Returns the status, or the user for whom the container answered.
    fn outcome(&self, host: &str, credential: &str) -> String {
        let answer = self.get(host, credential);
        match answer.seen.get("remote-user") {
            Some(user) if answer.status == 200 => user,
            _ => answer.status.to_string(),
        }
    }
}

fn basic(credential: &str) -> String {
    format!("Basic {}", STANDARD.encode(credential))
}

fn parse_routes(container: u16, routes: &[(&str, String)]) -> Routes {
    let line = |(at, (host, labels)): (usize, &(&str, String))| {
        let labels: Vec<_> = labels
            .split(' ')
            .filter(|label| !label.is_empty())
            .map(|label| format!("glue_http_{container}_{label}"))
            .collect();
        let start = format!("c{at} 127.9.0.{} glue_http_{container}_bind=80", at + 1);
        format!("{start} glue_http_{container}_host={host} {}\n", labels.join(" "))
    };
    story::parse_routes(&routes.iter().enumerate().map(line).collect::<String>())
}

/// Starts the containers, which answer with the headers that they got, as examples/whoami does.
fn start_container() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || drop(answer_connection(&stream)));
        }
    });
    port
}

fn answer_connection(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut body = String::from("name: web\npath: /\n");
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            body.extend(["header: ", line.trim_end(), "\n"]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes())?;
    }
}

#[tokio::test]
async fn password_of_each_kind_opens_its_own_route_only() {
    let users =
        format!("users=alice:{BCRYPT},bob:{SHA512},carol:{SHA256},dave:{APR1},e@x.test:{SHA1}");
    let routes = [
        ("a.test", users),
        ("b.test", format!("users=frank:{SHA1}")),
        ("open.test", String::new()),
    ];
    let Some(scene) = Scene::set(&routes).await else { return };
    for (host, credential, expected) in [
        ("a.test", "alice:secret", "alice"),
        ("a.test", "alice:secret", "alice"),
        ("a.test", "bob:secret", "bob"),
        ("a.test", "carol:secret", "carol"),
        ("a.test", "dave:secret", "dave"),
        ("a.test", "e@x.test:secret", "e@x.test"),
        ("b.test", "frank:secret", "frank"),
        ("a.test", "", "401"),
        ("a.test", "alice:Secret", "401"),
        ("a.test", "alice:", "401"),
        ("a.test", "alice", "401"),
        ("a.test", "frank:secret", "401"),
        ("b.test", "alice:secret", "401"),
        ("b.test", ":secret", "401"),
    ] {
        assert_eq!(scene.outcome(host, credential), expected, "{host} {credential}");
    }
    let refusal = scene.get("a.test", "");
    let challenge = refusal.headers.get("www-authenticate").unwrap();
    assert_eq!(challenge, r#"Basic realm="a.test", charset="UTF-8""#);
    let open = scene.get("open.test", "alice:secret");
    assert_eq!(open.seen.get("authorization"), Some(basic("alice:secret")));
    for header in [
        "Bearer abc",
        "Basic",
        "Basic  ",
        "Basic !!!",
        "Basic YWxpY2U6c2VjcmV0 x",
        "Basic YWxpY2U6c2VjcmV0\u{1}",
        &format!("Basic {}", "A".repeat(3000)),
    ] {
        let request = scene.request("a.test", "").header("Authorization", header);
        let status = request.send().map_or(400, |answer| answer.status);
        assert!(matches!(status, 400 | 401), "{header:.40}: {status}");
    }
}

#[tokio::test]
async fn container_gets_verified_name_and_no_password() {
    let routes = [("a.test", format!("users=alice:{SHA1}"))];
    let Some(scene) = Scene::set(&routes).await else { return };
    let request = scene
        .request("a.test", "alice:secret")
        .header("Remote-User", "root")
        .header("REMOTE-USER", "root")
        .header("Remote_User", "root");
    let answer = request.send().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.seen.get("remote-user").as_deref(), Some("alice"));
    assert_eq!(answer.seen.get("remote_user"), None);
    assert_eq!(answer.seen.get("authorization"), None);
    // Of several headers one counts, for the password and for the name.
    let (root, alice) = (basic("root:x"), basic("alice:secret"));
    for (first, second, expected) in
        [(&root, &alice, "401"), (&alice, &root, "alice"), (&format!("{alice}, x"), &alice, "401")]
    {
        let request = scene.request("a.test", "").header("Authorization", first);
        let answer = request.header("Authorization", second).send().unwrap();
        let user = answer.seen.get("remote-user").filter(|_| answer.status == 200);
        assert_eq!(user.unwrap_or(answer.status.to_string()), expected, "{first} {second}");
    }
    // An unusual spelling of a path does not lead around the users.
    let odd = Request::new(scene.address(), "GET", "a.test", "//x/../y").send().unwrap();
    assert_eq!(odd.status, 400);
}

#[tokio::test]
async fn preflight_needs_no_password_and_refusal_is_readable_for_page() {
    let labels = format!("users=alice:{SHA1} cors=https://app.test");
    let Some(scene) = Scene::set(&[("a.test", labels)]).await else { return };
    let preflight = Request::new(scene.address(), "OPTIONS", "a.test", "/")
        .header("Origin", "https://app.test")
        .header("Access-Control-Request-Method", "PUT");
    assert_eq!(preflight.send().unwrap().status, 204);
    let refusal = scene.request("a.test", "").header("Origin", "https://app.test").send().unwrap();
    assert_eq!(refusal.status, 401);
    let origin = refusal.headers.get("access-control-allow-origin");
    assert_eq!(origin.as_deref(), Some("https://app.test"));
    let plain = Request::new(scene.address(), "OPTIONS", "a.test", "/");
    assert_eq!(plain.send().unwrap().status, 401);
}

#[tokio::test]
async fn known_users_stay_while_nobody_verifies() {
    let routes = [("a.test", format!("users=alice:{SHA1},bob:{SHA1}")), ("b.test", String::new())];
    let Some(mut scene) = Scene::set(&routes).await else { return };
    assert_eq!(scene.outcome("a.test", "alice:secret"), "alice");
    scene.server = None;
    std::fs::remove_file(scene.haproxy.user_socket()).unwrap();
    for (credential, expected) in
        [("alice:secret", "alice"), ("bob:secret", "503"), ("bob:wrong", "503"), ("", "401")]
    {
        assert_eq!(scene.outcome("a.test", credential), expected, "{credential}");
    }
    assert_eq!(scene.get("b.test", "").status, 200);
    scene.start_server().await;
    let end = Instant::now() + Duration::from_secs(20);
    while scene.outcome("a.test", "bob:secret") != "bob" {
        assert!(Instant::now() < end, "bob is not verified");
        thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn changed_password_counts_at_once() {
    let routes = |hash: &str| [("a.test", format!("users=alice:{hash}"))];
    let Some(mut scene) = Scene::set(&routes(SHA1)).await else { return };
    assert_eq!(scene.outcome("a.test", "alice:secret"), "alice");
    // A reload forgets all credentials, which are verified again.
    scene.reload(&routes(SHA1)).await;
    assert_eq!(scene.outcome("a.test", "alice:secret"), "alice");
    // Of `other`.
    scene.reload(&routes("{SHA}0JQeaNqPOBUf+Gph/Fn3xc+fyqI=")).await;
    assert_eq!(scene.outcome("a.test", "alice:secret"), "401");
    assert_eq!(scene.outcome("a.test", "alice:other"), "alice");
}

#[tokio::test]
async fn client_with_many_wrong_passwords_is_refused_for_a_while() {
    let routes = [("a.test", format!("users=alice:{SHA1},bob:{SHA1}"))];
    let Some(scene) = Scene::set(&routes).await else { return };
    assert_eq!(scene.outcome("a.test", "alice:secret"), "alice");
    for n in 0..10 {
        assert_eq!(scene.outcome("a.test", &format!("alice:{n}")), "401");
    }
    let refusal = scene.get("a.test", "alice:10");
    assert_eq!((refusal.status, refusal.headers.get("retry-after").as_deref()), (429, Some("30")));
    assert_eq!(scene.outcome("a.test", "bob:secret"), "429");
    assert_eq!(scene.outcome("a.test", "alice:secret"), "alice");
}

#[tokio::test]
async fn route_with_users_is_closed_without_lua() {
    let container = start_container();
    let users = [("a.test", format!("users=alice:{SHA1}")), ("b.test", String::new())];
    let config = story::build_config(&parse_routes(container, &users));
    let Some(haproxy) = HAProxy::start_without_lua(&config).await else { return };
    let port = haproxy.bound(NonZeroU16::new(80).unwrap());
    for (host, expected) in [("a.test", 503), ("b.test", 200)] {
        let request = Request::new((Ipv4Addr::LOCALHOST, port).into(), "GET", host, "/")
            .header("Authorization", &basic("alice:secret"));
        assert_eq!(request.send().unwrap().status, expected, "{host}");
    }
}

/// Measures another route while clients send 500 wrong passwords a second to one with hashes of cost 12. Not run by
/// itself, because it takes a minute and asserts no times: `-- --ignored --nocapture users::flood`.
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is the result")]
async fn flood_of_wrong_passwords_and_latency_of_another_route() {
    let routes = [("slow.test", format!("users=alice:{SLOW}")), ("open.test", String::new())];
    let Some(scene) = Scene::set(&routes).await else { return };
    let address = scene.address();
    println!("without: {}", measure_latency(address));
    for clients in [1_u32, 10_000] {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicUsize; 4]> = Arc::default();
        let flood = spawn_flood(address, clients, &stop, &counts);
        thread::sleep(Duration::from_secs(2));
        let latency = measure_latency(address);
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        let [wrong, limited, busy, others] =
            [0, 1, 2, 3].map(|at: usize| counts[at].load(Ordering::Relaxed));
        println!(
            "{clients} clients: {latency}; 401: {wrong}, 429: {limited}, 503: {busy}, other: {others}"
        );
    }
}

/// Sends 500 requests with wrong passwords a second, from this number of addresses.
fn spawn_flood(
    address: SocketAddr,
    clients: u32,
    stop: &Arc<AtomicBool>,
    counts: &Arc<[AtomicUsize; 4]>,
) -> thread::JoinHandle<()> {
    let (stop, counts) = (Arc::clone(stop), Arc::clone(counts));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pace = tokio::time::interval(Duration::from_millis(2));
            for n in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                pace.tick().await;
                let counts = Arc::clone(&counts);
                let client = Ipv4Addr::from(0x7f20_0001 + n % clients);
                tokio::spawn(async move {
                    let status = send_wrong(address, client, n).await.unwrap_or_default();
                    let at = ["401", "429", "503"].iter().position(|known| status == *known);
                    counts[at.unwrap_or(3)].fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    })
}

async fn send_wrong(address: SocketAddr, client: Ipv4Addr, n: u32) -> std::io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((client, 0).into())?;
    let mut stream = socket.connect(address).await?;
    let credential = basic(&format!("alice:{n}"));
    let head = format!(
        "GET / HTTP/1.1\r\nHost: slow.test\r\nAuthorization: {credential}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.get(9..12).unwrap_or_default().to_owned())
}

/// Returns percentiles of 2,000 requests, 200 a second, each on a connection of its own.
fn measure_latency(address: SocketAddr) -> String {
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            let begun = Instant::now();
            let answer = Request::new(address, "GET", "open.test", "/").send().unwrap();
            assert_eq!(answer.status, 200);
            let took = begun.elapsed();
            thread::sleep(Duration::from_millis(5).saturating_sub(took));
            took
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 1000].as_micros();
    format!("p50 {} us, p99 {} us, p99.9 {} us", at(500), at(990), at(999))
}
