//! An engine whose answers contain values that bollard does not know. Each one affects at most the container it belongs
//! to.
//!
//! The engine is a socket of the test, and its containers are listeners in the test's process.

use crate::common::{
    CONSTRAINT, Docker,
    balancer::{Balancer, BalancerPlan},
    find_docker,
    glue::Glue,
    is_installed, wait_for,
};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// An engine whose containers are the entries of its list.
#[derive(Debug)]
struct OddEngine {
    folder: TempDir,
    world: Arc<Mutex<World>>,
}

#[derive(Debug, Default)]
struct World {
    list: Vec<Value>,
    networks: Value,
    /// The time by its clock; none is reported if it is empty.
    system_time: String,
    /// The subscribers to events.
    listeners: Vec<mpsc::Sender<String>>,
}

impl OddEngine {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let world = Arc::new(Mutex::new(World {
            networks: json!([{"Name": "bridge", "Driver": "bridge"}]),
            ..World::default()
        }));
        let served = Arc::clone(&world);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let world = Arc::clone(&served);
                thread::spawn(move || answer_request(client, &world));
            }
        });
        Self { folder, world }
    }

    fn docker(&self) -> Docker {
        Docker::at(format!("unix://{}/engine.sock", self.folder.path().display()))
    }

    fn set(&self, list: impl IntoIterator<Item = Value>) {
        self.world.lock().unwrap().list = list.into_iter().collect();
    }

    /// Sends an event unchanged.
    fn tell(&self, event: &Value) {
        let listeners = &mut self.world.lock().unwrap().listeners;
        listeners.retain(|sender| sender.send(format!("{event}\n")).is_ok());
    }
}

/// Answers the one request of a connection.
fn answer_request(mut client: UnixStream, world: &Mutex<World>) -> io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let Some(question) = lines.next().transpose()? else { return Ok(()) };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let target = question.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = target.split('?').next().unwrap_or_default();
    let (tell, events) = mpsc::channel();
    let value = {
        let mut world = world.lock().unwrap();
        match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
            ["containers", "json"] => Some(Value::Array(filter_list(&world.list, &target))),
            ["containers", id, "json"] => inspect_json(&world.list, id),
            ["networks"] => Some(world.networks.clone()),
            ["info"] if !world.system_time.is_empty() => {
                Some(json!({"SystemTime": world.system_time}))
            }
            ["events"] => {
                world.listeners.push(tell);
                None
            }
            _ => Some(json!({})),
        }
    };
    if path == "/events" {
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")?;
        return events.iter().try_for_each(|event| client.write_all(event.as_bytes()));
    }
    let (status, body) = value.map_or((404, "{}".to_owned()), |value| (200, value.to_string()));
    write!(
        client,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Returns the list filtered by id. Other filters and pages are not supported.
fn filter_list(list: &[Value], target: &str) -> Vec<Value> {
    let id = |value: &Value| value["Id"].as_str().unwrap_or("?").to_owned();
    let by_id = target.contains("%22id%22");
    list.iter().filter(|value| !by_id || target.contains(&id(value))).cloned().collect()
}

fn inspect_json(list: &[Value], id: &str) -> Option<Value> {
    let entry = list.iter().find(|value| value["Id"] == id)?;
    Some(json!({
        "Id": id, "Name": entry["Names"][0], "Created": "2026-01-01T00:00:00Z",
        "State": {"Status": entry["State"], "Running": entry["State"] == "running", "Health": entry["Health"]},
        "Config": {"Labels": entry["Labels"], "Image": "example", "Env": ["A=b"]},
        "HostConfig": entry["HostConfig"], "NetworkSettings": entry["NetworkSettings"],
    }))
}

/// Starts a listener that answers with `name`, and returns the list entry of its running container.
fn container_json(digit: u8, name: &str, plan: &BalancerPlan) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = name.to_owned();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = client.read(&mut head);
            let length = text.len();
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
        }
    });
    let mut labels = json!({CONSTRAINT: plan.constraint()});
    labels[format!("glue_http_{port}_host")] = json!(format!("{name}.test"));
    labels[format!("glue_http_{port}_bind")] = json!("80");
    list_entry(digit, name, &labels)
}

fn list_entry(digit: u8, name: &str, labels: &Value) -> Value {
    json!({
        "Id": digit.to_string().repeat(64), "Names": [format!("/{name}")], "Image": "example",
        "Created": 1_700_000_000, "State": "running", "Status": "Up 1 second", "Labels": labels,
        "Ports": [{"PrivatePort": 80, "Type": "tcp"}], "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "127.0.0.1"}}},
    })
}

/// Returns the entry with the value at the pointer replaced.
fn with_value(mut entry: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { &mut entry } else { entry.pointer_mut(parent).unwrap() };
    match parent {
        Value::Array(entries) => entries[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    entry
}

/// Values of an entry that the library refuses: those of `tests/cases`, and further ones.
fn odd_values() -> Vec<(&'static str, Value)> {
    vec![
        ("/State", json!("stopped")),
        ("/State", json!("initialized")),
        ("/State", json!({"Status": "running"})),
        ("/Health", json!({"Status": "dizzy"})),
        ("/Ports", json!([{"PrivatePort": 80, "Type": "icmp"}])),
        ("/Ports", json!([{"PrivatePort": 80, "Type": "quic"}])),
        ("/Ports", json!([{"PrivatePort": 70000, "Type": "tcp"}])),
        ("/Ports", json!([null])),
        ("/Created", json!(1e300)),
        ("/Created", json!(1.5)),
        ("/Created", json!("2026-01-01T00:00:00Z")),
        ("/Names", json!([null])),
        ("/Names", json!("web")),
        ("/Labels", json!(null)),
        ("/Labels", json!([])),
        ("/Labels/x", json!(null)),
        ("/Labels/x", json!(7)),
        ("/NetworkSettings", json!(null)),
        ("/NetworkSettings/Networks", json!(null)),
        ("/NetworkSettings/Networks/bridge", json!(null)),
        ("/NetworkSettings/Networks/bridge", json!({"IPAddress": 7})),
        ("/HostConfig", json!("default")),
        ("/Id", json!(null)),
        ("/Id", json!(7)),
    ]
}

fn start_event(entry: &Value) -> Value {
    let attributes = with_value(entry["Labels"].clone(), "/x", json!(null));
    json!({"Type": "container", "Action": "start", "Actor": {"ID": entry["Id"], "Attributes": attributes},
        "time": 1e300, "timeNano": 1_700_000_001_000_000_000_i64})
}

#[test]
fn container_with_unknown_state_is_served() {
    if !is_installed("haproxy") {
        return;
    }
    let engine = OddEngine::start();
    let plan = Balancer::plan(&engine.docker());
    let good = container_json(1, "good", &plan);
    let stopped = with_value(container_json(2, "odd", &plan), "/State", json!("stopped"));
    let late = container_json(3, "late", &plan);
    engine.set([good.clone(), stopped.clone()]);
    let balancer = plan.start();
    until_answers(&balancer, "good.test", "good");
    assert_eq!(balancer.get("odd.test/").status, 404);
    balancer.wait_for_log(&["not understood", "\"odd\": State is \"stopped\""]);
    // Changes still arrive, even with events that bollard cannot parse.
    engine.set([good, stopped, late.clone()]);
    engine.tell(&json!({"Type": "pod", "Action": "start", "Actor": {"ID": "x"}}));
    engine.tell(&json!([null]));
    engine.tell(&start_event(&late));
    until_answers(&balancer, "late.test", "late");
    assert!(!balancer.log().contains("connection to Docker"), "{}", balancer.log());
}

#[test]
fn odd_containers_do_not_affect_others() {
    if !is_installed("haproxy") {
        return;
    }
    let engine = OddEngine::start();
    let plan = Balancer::plan(&engine.docker());
    let good = container_json(1, "good", &plan);
    let odd = odd_values().into_iter().enumerate().map(|(at, (pointer, value))| {
        let name = format!("odd{at}");
        let id = json!(format!("{at:064}"));
        with_value(with_value(list_entry(0, &name, &json!({"a": "b"})), "/Id", id), pointer, value)
    });
    let nothing = [json!(null), json!(7), json!([]), json!("x"), json!({})];
    engine.set(odd.chain([good]).chain(nothing));
    engine.world.lock().unwrap().networks =
        json!([null, {"Name": "bridge", "Id": 7, "IPAM": "x", "Labels": {"a": null}}, 5]);
    let balancer = plan.start();
    until_answers(&balancer, "good.test", "good");
    assert!(!balancer.log().contains("connection to Docker"), "{}", balancer.log());
}

#[test]
fn odd_field_of_a_served_container_is_ignored() {
    if !is_installed("haproxy") {
        return;
    }
    let engine = OddEngine::start();
    let plan = Balancer::plan(&engine.docker());
    let cases = [
        ("/Created", json!(1e300)),
        ("/Created", json!(1.5)),
        ("/Ports", json!([{"PrivatePort": 70000, "Type": "quic"}])),
        ("/Health", json!({"Status": "dizzy"})),
        ("/Labels/x", json!(null)),
        ("/NetworkSettings/Networks/second", json!(null)),
    ];
    let names: Vec<_> = (0..cases.len()).map(|at| format!("web{at}")).collect();
    engine.set((1..).zip(&names).zip(cases).map(|((digit, name), (pointer, value))| {
        with_value(container_json(digit, name, &plan), pointer, value)
    }));
    let balancer = plan.start();
    for name in &names {
        until_answers(&balancer, &format!("{name}.test"), name);
    }
}

#[test]
fn render_with_odd_containers_prints_the_others() {
    let engine = OddEngine::start();
    let odd = odd_values().into_iter().enumerate().map(|(at, (pointer, value))| {
        let id = json!(format!("{at:064}"));
        with_value(with_value(list_entry(0, "odd", &json!({"a": "b"})), "/Id", id), pointer, value)
    });
    let good = list_entry(1, "good", &json!({"say": "hello"}));
    engine.set(odd.chain([good, json!(null)]));
    let glue = Glue::plan(&engine.docker());
    let template = "# {{ containers.matching('good').first.labels.say }}";
    let output = glue.run(&["render", template]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "{error}");
}

fn until_answers(balancer: &Balancer, host: &str, body: &str) {
    wait_for(&format!("{host} answered by {body}"), || {
        balancer
            .try_get(&format!("{host}/"))
            .ok()
            .filter(|reply| reply.status == 200 && reply.body == body)
    });
}

fn named_source(engine: &OddEngine, name: &str) -> String {
    format!("{}?name={name}", engine.docker().url())
}

#[test]
fn source_with_another_clock_is_reported() {
    let Some(docker) = find_docker() else { return };
    let (ahead, right) = (OddEngine::start(), OddEngine::start());
    ahead.world.lock().unwrap().system_time = "2100-01-01T00:00:00Z".to_owned();
    let balancer = Balancer::plan(&docker)
        .option(&["--source", &named_source(&ahead, "ahead")])
        .option(&["--source", &named_source(&right, "right")])
        .start()
        .wait_until_started();
    balancer.wait_for_log(&["WARN", "the clock of ahead is 7", "ahead of this machine's"]);
    assert!(!balancer.log().contains("the clock of right"), "{}", balancer.log());
}

#[test]
fn flood_of_events_on_one_source_hides_no_event_of_another() {
    let Some(docker) = find_docker() else { return };
    let (flooded, quiet) = (OddEngine::start(), OddEngine::start());
    let plan = Balancer::plan(&docker)
        .option(&["--source", &named_source(&flooded, "flooded")])
        .option(&["--source", &named_source(&quiet, "quiet")]);
    let busy = container_json(1, "busy", &plan);
    flooded.set([busy.clone()]);
    let balancer = plan.start().wait_until_started();
    let flooding = Arc::new(AtomicBool::new(true));
    let flood = {
        let (flooding, event) = (Arc::clone(&flooding), start_event(&busy));
        let world = Arc::clone(&flooded.world);
        thread::spawn(move || {
            while flooding.load(Ordering::Relaxed) {
                let lines = format!("{event}\n").repeat(100);
                let mut world = world.lock().unwrap();
                world.listeners.retain(|sender| sender.send(lines.clone()).is_ok());
                drop(world);
                // About 20,000 events a second: the channel has no limit.
                thread::sleep(Duration::from_millis(5));
            }
        })
    };
    for digit in 2..6 {
        let late = container_json(digit, &format!("late{digit}"), &balancer);
        quiet.set([late.clone()]);
        quiet.tell(&start_event(&late));
        // Its address is not one of a container, which is said in the pass that its event caused.
        balancer.wait_for_log(&["WARN", &format!("container late{digit} ("), "cannot reach"]);
    }
    flooding.store(false, Ordering::Relaxed);
    flood.join().unwrap();
}
