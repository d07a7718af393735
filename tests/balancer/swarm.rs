//! The tasks of a Swarm of three managers, while they are updated, scaled, moved and lost.

#![allow(clippy::print_stdout, reason = "the figures of the load")]

use crate::common::{
    DEADLINE, Docker,
    balancer::{Balancer, BalancerPlan, Request, build_balancer_image},
    build_whoami_image, find_docker,
    swarm::SwarmBed,
    wait_for, wait_for_within,
};
use crate::https::run_command;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

/// A port of the node for each task: the balancer of these tests runs outside of the Swarm.
const PUBLISH: [&str; 2] = ["--publish", "mode=host,target=80"];

/// A task that aborts its requests at once when it gets its stop signal.
const DROP: [&str; 2] = ["--env", "WHOAMI_DROP_ON_TERM=1"];

fn start_bed() -> Option<(SwarmBed, BalancerPlan)> {
    let docker = find_docker()?;
    let bed = SwarmBed::start()?;
    let plan = Balancer::plan(&docker).option(&["--source", &bed.source()]);
    Some((bed, plan))
}

/// Ends the clients when it is dropped.
struct EndGuard<'a>(&'a AtomicBool);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests of many clients, and what they saw.
#[derive(Debug, Default)]
struct Load {
    sent: usize,
    failed: Vec<String>,
    longest: Duration,
    /// Those that took more than a second.
    slow: usize,
}

impl Load {
    /// Sends `rate` requests a second, each of which takes 200 ms, from one connection each, while `work` runs.
    fn during<T>(request: &Request, rate: usize, work: impl FnOnce() -> T) -> (Self, T) {
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            // One client sends at most two requests a second.
            let client = |number: usize| {
                let (request, ends) = (request.clone(), &ends);
                scope.spawn(move || run_client(&request, ends, number))
            };
            let clients: Vec<_> = (0..rate.div_ceil(2)).map(client).collect();
            // The clients also end if the work panics.
            let end = EndGuard(&ends);
            let result = work();
            drop(end);
            let loads = clients.into_iter().map(ScopedJoinHandle::join).map(Result::unwrap);
            (loads.fold(Self::default(), Self::merge), result)
        })
    }

    fn merge(mut self, other: Self) -> Self {
        self.sent += other.sent;
        self.failed.extend(other.failed);
        self.longest = self.longest.max(other.longest);
        self.slow += other.slow;
        self
    }

    fn assert_unharmed(&self, what: &str) {
        let Self { sent, failed, longest, .. } = self;
        println!("{what}: {sent} requests, {} failed, longest {longest:?}", failed.len());
        assert!(20 < *sent, "{what}: {self:?}");
        assert!(failed.is_empty(), "{what}: {self:?}");
    }
}

/// Sends two requests a second until `ends`.
fn run_client(request: &Request, ends: &AtomicBool, number: usize) -> Load {
    let mut load = Load::default();
    let mut next = Instant::now() + Duration::from_millis(number as u64 * 37 % 500);
    while !ends.load(Ordering::Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += Duration::from_millis(500);
        let begun = Instant::now();
        let outcome = match request.send() {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        load.sent += 1;
        load.slow += usize::from(Duration::from_secs(1) < begun.elapsed());
        load.longest = load.longest.max(begun.elapsed());
        load.failed.extend(outcome.err());
    }
    load
}

/// Changes a service, and waits until all of its tasks are replaced.
fn update(manager: &Docker, service: &str, options: &[&str]) {
    let words = ["service", "update", "--quiet", "--update-monitor", "1s"];
    manager.run_docker(&[&words, options, &[service]].concat());
}

/// Returns the names that answer, which is of all tasks in a state of rest.
fn wait_until_served_by(balancer: &Balancer, url: &str, count: usize) {
    wait_for(&format!("{count} tasks of {url}"), || {
        let names: BTreeSet<_> = (0..4 * count).map(|_| balancer.request_outcome(url)).collect();
        (names.len() == count && names.iter().all(|name| name.contains(" saw "))).then_some(())
    });
}

#[test]
fn updates_scaling_and_drains_lose_no_request() {
    let Some((bed, plan)) = start_bed() else { return };
    bed.create_service(&plan, "web", &[&["--replicas", "3"], &PUBLISH[..], &DROP].concat());
    let balancer = plan.start().wait_until_started();
    wait_until_served_by(&balancer, "web.test", 3);
    let (manager, post) = (bed.manager(), balancer.request("POST", "web.test/slow?ms=200"));
    for order in ["start-first", "stop-first"] {
        let options = ["--update-order", order, "--force"];
        let (load, ()) = Load::during(&post, 60, || update(&manager, "web", &options));
        load.assert_unharmed(order);
    }
    let (load, ()) = Load::during(&post, 60, || {
        for replicas in ["web=5", "web=3"] {
            manager.run_docker(&["service", "scale", replicas]);
            wait_until_served_by(&balancer, "web.test", replicas[4..].parse().unwrap());
        }
    });
    load.assert_unharmed("scale");
    let (load, ()) = Load::during(&post, 60, || {
        manager.run_docker(&["node", "update", "--availability", "drain", "node3"]);
        wait_for("the tasks have left the node", || {
            let tasks = ["node", "ps", "node3", "--filter", "desired-state=running", "--quiet"];
            manager.run_docker(&tasks).is_empty().then_some(())
        });
        wait_until_served_by(&balancer, "web.test", 3);
    });
    load.assert_unharmed("drain of a node");
}

#[test]
fn services_are_served_by_labels_that_change_live() {
    let Some((bed, plan)) = start_bed() else { return };
    let manager = bed.manager();
    bed.create_service(&plan, "web", &[&["--replicas", "2"], &PUBLISH[..]].concat());
    let balancer = plan.start().wait_until_started();
    wait_until_served_by(&balancer, "web.test", 2);

    let label = "glue_http_80_host=web.test,live.test";
    manager.run_docker(&["service", "update", "--detach", "--label-add", label, "web"]);
    balancer.wait_until_shared("live.test", &["web.1", "web.2"]);
    let restarts = ["service", "ps", "web", "--filter", "desired-state=shutdown", "--quiet"];
    assert_eq!(manager.run_docker(&restarts), "", "no task was replaced");

    let (_, status) = run_command(&balancer, &["status"]);
    let node = manager.run_docker(&["service", "ps", "web", "--format", "{{.Name}} on {{.Node}}"]);
    for line in node.lines() {
        let line = line.replacen(" on ", "@swarm on ", 1);
        assert!(status.contains(&line), "{line:?} in {status}");
    }
    assert!(status.contains("swarm (swarm+tcp://"), "{status}");
    let (_, explained) = run_command(&balancer, &["explain", "http://live.test/"]);
    assert!(explained.contains("web.1@swarm on node"), "{explained}");

    // No task, but the service is there.
    manager.run_docker(&["service", "scale", "web=0"]);
    balancer.wait_until_serves("web.test", "503");
    manager.run_docker(&["service", "scale", "web=1"]);
    balancer.wait_until_serves("web.test/x", "web.1 saw /x");

    // A crash costs no request that may be sent again.
    manager.run_docker(&["service", "scale", "web=3"]);
    wait_until_served_by(&balancer, "web.test", 3);
    let get = balancer.request("GET", "web.test/x");
    let (load, ()) = Load::during(&get, 60, || {
        for number in 1..=3 {
            let docker = bed.node(number).docker();
            let running = docker.run_docker(&["ps", "--quiet"]);
            if let Some(id) = running.lines().next() {
                docker.run_docker(&["kill", id]);
                break;
            }
        }
        wait_for("the successor of the task", || {
            let failed = ["service", "ps", "web", "--format", "{{.CurrentState}}"];
            manager.run_docker(&failed).contains("Failed").then_some(())
        });
        wait_until_served_by(&balancer, "web.test", 3);
    });
    assert!(load.failed.is_empty(), "{load:?}");

    // Nothing leads to it.
    bed.create_service(&balancer, "hidden", &[]);
    balancer.wait_for_log(&[
        "WARN",
        "hidden.1",
        "--publish mode=host,target=80",
        "overlay network",
    ]);
    manager.run_docker(&["service", "rm", "hidden", "web"]);
    balancer.wait_for_log(&["resolved: ", "hidden.1"]);
}

#[test]
fn lost_nodes_and_managers_cost_nothing_that_others_serve() {
    let Some((bed, plan)) = start_bed() else { return };
    bed.create_service(&plan, "web", &[&["--mode", "global"], &PUBLISH[..]].concat());
    let balancer = plan.start().wait_until_started();
    let (get, all) = (balancer.request("GET", "web.test/slow?ms=200"), bed.node(2).docker());
    wait_for("a task on each node", || {
        let (_, status) = run_command(&balancer, &["status"]);
        ["node1", "node2", "node3"].iter().all(|node| status.contains(node)).then_some(())
    });
    // The leader, which is the manager that docker-balancer asks, and a task.
    let (load, ()) = Load::during(&get, 40, || {
        bed.cut_off(1);
        wait_for("another leader", || {
            let output = all.command(&[
                "node",
                "ls",
                "--format",
                "{{.Hostname}} {{.Status}} {{.ManagerStatus}}",
            ]);
            let text = { output }.output().unwrap().stdout;
            let text = String::from_utf8_lossy(&text).into_owned();
            let is_leader = |line: &str| line.ends_with("Leader") && !line.starts_with("node1");
            text.lines().any(is_leader).then_some(())
        });
        let is_down = |line: &str| line.contains("node1") && line.contains("down");
        wait_for("HAProxy has lost the task", || {
            let (_, status) = run_command(&balancer, &["status"]);
            status.lines().any(is_down).then_some(())
        });
    });
    println!(
        "leader lost: {} requests, {} failed, longest {:?}",
        load.sent,
        load.failed.len(),
        load.longest
    );
    let (load, ()) = Load::during(&get, 40, || {
        // A manager that is left knows what changes.
        all.run_docker(&[
            "service",
            "update",
            "--detach",
            "--label-add",
            "glue_http_80_host=web.test,after.test",
            "web",
        ]);
        wait_for("the label is served", || {
            balancer.request_outcome("after.test/x").ends_with(" saw /x").then_some(())
        });
    });
    assert!(load.failed.is_empty(), "{load:?}");
    bed.connect(1);
    // Docker waits longer between its attempts, the longer the node was away.
    wait_for_within(4 * DEADLINE, "the node is back", || {
        let shown = ["node", "ls", "--format", "{{.Hostname}} {{.Status}}"];
        all.run_docker(&shown).contains("node1 Ready").then_some(())
    });
    let (load, ()) = Load::during(&get, 40, || {
        wait_for("a task on each node", || {
            let (_, status) = run_command(&balancer, &["status"]);
            ["node1", "node2", "node3"].iter().all(|node| status.contains(node)).then_some(())
        });
    });
    assert!(load.failed.is_empty(), "{load:?}");
}

/// The stack of `examples/swarm/`, as its comment says.
#[test]
fn stack_of_the_examples_serves_on_each_node() {
    let Some(bed) = SwarmBed::start() else { return };
    bed.load(build_balancer_image());
    let mut deploy = bed.manager().command(&[
        "stack",
        "deploy",
        "--compose-file",
        "examples/swarm/stack.yaml",
        "glue",
    ]);
    deploy.env("BALANCER_IMAGE", build_balancer_image()).env("WHOAMI_IMAGE", build_whoami_image());
    let output = deploy.env("DOCKER_SOCKET_DIR", "/run").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let get = |number: usize, path: &str| {
        let at = (bed.node(number).address, 80).into();
        Request::new(at, "GET", "app.example.com", path).send().ok()
    };
    for number in 1..=3 {
        for (path, seen) in [("/x", "/x"), ("/api/users", "/users")] {
            wait_for(&format!("{path} of node {number}"), || {
                get(number, path).filter(|answer| answer.status == 200 && answer.path == seen)
            });
        }
    }
    // HAProxy sends requests to the tasks' own addresses, also on other nodes.
    let addresses = |number: usize| {
        let answers = (0..8).filter_map(|_| get(number, "/x")?.address);
        answers.map(|address| address.ip().to_string()).collect::<BTreeSet<_>>()
    };
    for number in 1..=3 {
        let tasks = addresses(number);
        assert_eq!(tasks.len(), 2, "{tasks:?}");
        assert!(tasks.iter().all(|ip| ip.starts_with("10.215.")), "{tasks:?}");
    }
    // Updates lose nothing on an overlay network, either.
    let at = (bed.node(2).address, 80).into();
    let post = Request::new(at, "POST", "app.example.com", "/slow?ms=200");
    let (load, ()) = Load::during(&post, 40, || {
        for order in ["start-first", "stop-first"] {
            let options = ["--update-order", order, "--force", "--env-add", DROP[1]];
            update(&bed.manager(), "glue_app", &options);
        }
    });
    load.assert_unharmed("update of a service of the stack");
}

#[test]
fn engine_that_is_no_manager_is_a_problem() {
    let Some(docker) = find_docker() else { return };
    let url = docker.url();
    let sources = [format!("{url}?name=here"), format!("swarm+{url}?name=swarm")];
    let plan = sources
        .iter()
        .fold(Balancer::plan(&docker), |plan, source| plan.option(&["--source", source]));
    let balancer = plan.start();
    balancer.wait_for_log(&["WARN", "is not a manager of a Swarm; name managers"]);
    // The other source is served.
    let _web = balancer.run("web").label("glue_http_80_host", "a.test").start();
    balancer.wait_until_serves("a.test/", "web saw /");
    balancer.wait_for_log(&["WARN", "option --source: swarm is not a manager of a Swarm"]);
}

#[test]
fn only_source_that_is_no_manager_is_a_problem() {
    let Some(docker) = find_docker() else { return };
    let source = format!("swarm+{}?name=swarm", docker.url());
    let balancer = Balancer::plan(&docker).option(&["--source", &source]).start();
    wait_for("the problem in status", || {
        let (_, status) = run_command(&balancer, &["status"]);
        status.contains("option --source: swarm is not a manager of a Swarm").then_some(())
    });
    let (code, problems) = run_command(&balancer, &["problems", "--json"]);
    assert!(code == Some(1) && problems.contains("not_a_manager"), "{problems}");
}

/// What a balancer applies once, and what it would change, without following the Swarm; and a plain engine beside it.
#[test]
fn once_and_plan_read_a_swarm_beside_an_engine() {
    let Some((bed, plan)) = start_bed() else { return };
    let near = bed.node(1).docker();
    let plan = plan.option(&["--source", &format!("tcp://{}:2375?name=near", bed.node(1).address)]);
    bed.create_service(&plan, "web", &[&["--mode", "global"], &PUBLISH[..]].concat());
    bed.create_service(&plan, "idle", &[&["--replicas", "0"], &PUBLISH[..]].concat());
    let beside = plan.run_at(&near, "plain").option(&["--publish", "80"]);
    let beside = beside.label("glue_http_80_host", "plain.test").start();
    let run = |words: &[&str]| {
        let output = plan.command().args(words).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };

    let (code, planned) = run(&["plan"]);
    assert_eq!(code, Some(3), "{planned}");
    for part in ["web.test", "idle.test", "plain.test", "web.node2", "plain"] {
        assert!(planned.contains(part), "{part}: {planned}");
    }
    let (code, log) = run(&["--once"]);
    assert_eq!(code, Some(0), "{log}");
    // HAProxy runs already, so that it serves before docker-balancer answers.
    let balancer = plan.start();
    wait_for("docker-balancer answers", || {
        (run_command(&balancer, &["routes", "--json"]).0 == Some(0)).then_some(())
    });
    // The task of the engine that is a source, too, is served once.
    wait_until_served_by(&balancer, "web.test", 3);
    let (_, routes) = run_command(&balancer, &["routes", "--json"]);
    assert_eq!(routes.matches("\"web.node").count(), 3, "{routes}");
    balancer.wait_until_serves("plain.test/x", "plain saw /x");
    balancer.wait_until_serves("idle.test/", "503");
    let (code, planned) = run_command(&balancer, &["plan"]);
    assert_eq!(code, Some(0), "nothing would change: {planned}");

    beside.docker(&["stop"]);
    balancer.wait_until_serves("plain.test/x", "503");
}

/// Prints how many requests fail at 300 requests a second while services are updated 20 times in each order, scaled 10
/// times, and nodes are drained 5 times; and how long a label takes. `GLUE_SOAK_ROUNDS=2` is a tenth of that.
/// `GLUE_STALE=15` puts a proxy in between whose answers are up to 15 s old and which has no events: what a balancer sees
/// that asks every 15 s.
#[test]
#[ignore = "a benchmark, which takes six minutes"]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: usize = number("GLUE_SOAK_ROUNDS").unwrap_or(20);
    let rate: usize = number("GLUE_SOAK_RATE").unwrap_or(300);
    let (Some(docker), Some(bed)) = (find_docker(), SwarmBed::start()) else { return };
    let stale = number("GLUE_STALE").map(|seconds| {
        StaleManager::start(bed.node(1).address, Duration::from_secs(seconds as u64))
    });
    let source = stale.as_ref().map_or_else(|| bed.source(), StaleManager::source);
    let plan = Balancer::plan(&docker).option(&["--source", &source]);
    bed.create_service(&plan, "web", &[&["--replicas", "3"], &PUBLISH[..], &DROP].concat());
    let balancer = plan.start().wait_until_started();
    wait_until_served_by(&balancer, "web.test", 3);
    let (manager, post) = (bed.manager(), balancer.request("POST", "web.test/slow?ms=200"));
    let report = |what: &str, load: &Load| {
        let mut kinds: Vec<_> = load.failed.clone();
        kinds.sort();
        kinds.dedup();
        let Load { sent, failed, longest, slow } = load;
        println!(
            "{what}: {sent} POSTs, {} failed {kinds:?}, {slow} over 1 s, longest {longest:?}",
            failed.len()
        );
    };
    for order in ["start-first", "stop-first"] {
        let (load, ()) = Load::during(&post, rate, || {
            for _ in 0..rounds {
                update(&manager, "web", &["--update-order", order, "--force"]);
            }
        });
        report(&format!("{rounds} updates {order}"), &load);
    }
    let cycles = rounds.div_ceil(2);
    let (load, ()) = Load::during(&post, rate, || {
        for _ in 0..cycles {
            manager.run_docker(&["service", "scale", "--detach=false", "web=6"]);
            manager.run_docker(&["service", "scale", "--detach=false", "web=3"]);
            wait_for_stops(&manager, "web");
        }
    });
    report(&format!("{cycles} cycles 3 -> 6 -> 3"), &load);
    let drains = rounds.div_ceil(4);
    let (load, ()) = Load::during(&post, rate, || {
        for drain in 0..drains {
            let node = format!("node{}", 1 + drain % 3);
            manager.run_docker(&["node", "update", "--availability", "drain", &node]);
            wait_for_stops(&manager, "web");
            manager.run_docker(&["node", "update", "--availability", "active", &node]);
            update(&manager, "web", &["--update-order", "start-first", "--force"]);
        }
    });
    report(&format!("{drains} drains of a node"), &load);
    let mut times: Vec<_> = (0..10).map(|round| time_label(&bed, &balancer, round)).collect();
    times.sort();
    println!("event of a label -> served: p50 {:?}, longest {:?}", times[5], times[9]);
}

/// Waits until no task of the service is about to stop, and as many run as are to.
fn wait_for_stops(manager: &Docker, service: &str) {
    wait_for("the end of tasks", || {
        let words = ["service", "ps", service, "--format", "{{.DesiredState}} {{.CurrentState}}"];
        let tasks = manager.run_docker(&words);
        let is_done = |line: &str| {
            line.starts_with("Running Running") || {
                !line.starts_with("Running") && !line.contains(" Running ")
            }
        };
        tasks.lines().all(is_done).then_some(())
    });
}

/// Returns how long after the manager's event a label is served.
fn time_label(bed: &SwarmBed, balancer: &Balancer, round: usize) -> Duration {
    let host = format!("label{round}.test");
    let label = format!("glue_http_80_host=web.test,{host}");
    let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let words = ["service", "update", "--detach", "--label-add", &label, "web"];
    let asked = bed.manager().command(&words).spawn().unwrap();
    let end = wait_for(&host, || {
        let is_served = balancer.request_outcome(&host).contains(" saw ");
        is_served
            .then(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap())
    });
    { asked }.wait().unwrap();
    let (since, until) = (begun.as_secs().to_string(), (end.as_secs() + 2).to_string());
    let words = [
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "type=service",
        "--format",
        "{{.TimeNano}}",
    ];
    let events = bed.manager().run_docker(&words);
    let times =
        events.lines().filter_map(|line| line.parse::<u64>().ok().map(Duration::from_nanos));
    let event = times.filter(|time| begun <= *time && *time <= end).min();
    end.saturating_sub(event.unwrap_or(begun))
}

/// A manager whose answers are old, and which sends no events.
struct StaleManager {
    port: u16,
}

type StaleAnswers = Arc<Mutex<BTreeMap<String, (Instant, Vec<u8>)>>>;

impl StaleManager {
    fn start(manager: Ipv4Addr, age: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = StaleAnswers::default();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answers = Arc::clone(&answers);
                thread::spawn(move || serve_stale(stream, manager, age, &answers));
            }
        });
        Self { port }
    }

    fn source(&self) -> String {
        format!("swarm+tcp://127.0.0.1:{}?name=swarm", self.port)
    }
}

/// Answers the one request of a connection.
fn serve_stale(
    mut client: TcpStream,
    manager: Ipv4Addr,
    age: Duration,
    answers: &StaleAnswers,
) -> Option<()> {
    let mut head = vec![0; 16 * 1024];
    let length = client.read(&mut head).ok()?;
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let path = text.split(' ').nth(1)?.to_owned();
    if path.contains("/events") {
        client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
        // Until docker-balancer closes it.
        let _ = client.read(&mut head);
        return None;
    }
    // One lock for all paths, so that the answers belong to one moment.
    let mut answers = answers.lock().unwrap();
    let is_old = |(at, _): &(Instant, Vec<u8>)| age < at.elapsed();
    if answers.values().any(is_old) {
        answers.clear();
    }
    if !answers.contains_key(&path) {
        let mut engine = TcpStream::connect((manager, 2375)).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        engine.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        engine.read_to_end(&mut answer).ok()?;
        answers.insert(path.clone(), (Instant::now(), answer));
    }
    client.write_all(&answers[&path].1).ok()
}
