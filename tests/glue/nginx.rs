//! nginx in a container follows containers that are selected by a label. No request fails while they start and stop.
//! dnsmasq accepts the hosts file of the example.

#![allow(clippy::print_stdout, reason = "this is a test")]

use crate::common::{
    self, CONSTRAINT, Docker, Network, balancer::Request, glue::Glue, unique_name, wait_for,
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Clients, each with a request every 10 ms: some hundred requests a second.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn build_nginx_image() -> &'static str {
    let made = Command::new("sh").args(["tests/nginx-image.sh", "test"]).status().unwrap();
    assert!(made.success(), "tests/nginx-image.sh failed");
    "docker-glue-nginx:test"
}

fn is_installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "PATH=$PATH:/usr/sbin:/sbin; command -v \"$0\"", program])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        crate::common::record_skip(&format!("no {program}"));
    }
    found
}

fn run_web(docker: &Docker, network: &Network, mark: &str, name: &str) -> common::Run {
    let run = docker.run(name).network(network).label(CONSTRAINT, mark);
    run.label("com.ameyalokare.type", "web").arguments(&["--name", name])
}

#[test]
fn nginx_updates_cause_no_failed_request() {
    if !is_installed("nginx") {
        return;
    }
    let Some(docker) = common::find_docker() else { return };
    let (mark, target) = (unique_name("mark"), unique_name("nginx"));
    let network = docker.network("net");
    let plan = Glue::plan(&docker).file(
        "nginx.ini",
        &format!(
            "[handler]\nclass=template\n[params]\ntemplate={}/examples/templates/nginx-label.tmpl\n\
             target=ROOT/conf.d/web.conf\nfilter=label={CONSTRAINT}={mark}\nsignal={target}:HUP\n\
             interval=0.1 1\n",
            env!("CARGO_MANIFEST_DIR")
        ),
    );
    let folder = plan.write_file("conf.d/.keep", "").parent().unwrap().display().to_string();
    let mut fleet = vec![run_web(&docker, &network, &mark, "web-0").start()];
    let glue = plan.start();
    glue.wait_until_written("conf.d/web.conf", &[&fleet[0].name]);
    let nginx = docker
        .run("nginx")
        .image(build_nginx_image())
        .network(&network)
        .label("pygen.target", &target);
    let nginx = nginx.option(&["--volume", &format!("{folder}:/etc/nginx/conf.d:ro")]).start();
    let addr = SocketAddr::from((nginx.address(&network), 80));
    let ask = || Request::new(addr, "GET", "a.test", "/").send();
    wait_for("nginx answers", || ask().ok().filter(|reply| reply.status == 200));

    let (stop, usize) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    let seen = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    match ask() {
                        Ok(answer) if answer.status == 200 => {
                            seen.lock().unwrap().insert(answer.name);
                        }
                        Ok(answer) => failed.lock().unwrap().push(answer.status.to_string()),
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                    usize.fetch_add(1, Relaxed);
                    thread::sleep(PAUSE);
                }
            });
        }
        // Ends the clients even if the test fails.
        let _end = OnDrop(&stop);
        let until_serves = |expected: &[&str]| {
            wait_for(&format!("{expected:?} and no others answer"), || {
                seen.lock().unwrap().clear();
                let before = usize.load(Relaxed);
                wait_for("requests", || (before + 40 < usize.load(Relaxed)).then_some(()));
                let seen: Vec<_> = seen.lock().unwrap().iter().cloned().collect();
                (seen == expected).then_some(())
            });
        };
        until_serves(&["web-0"]);
        for _ in 0..3 {
            fleet.push(run_web(&docker, &network, &mark, "web-a").start());
            fleet.push(run_web(&docker, &network, &mark, "web-b").start());
            until_serves(&["web-0", "web-a", "web-b"]);
            fleet.pop().unwrap().docker(&["stop"]);
            until_serves(&["web-0", "web-a"]);
            fleet.pop().unwrap().docker(&["stop"]);
            until_serves(&["web-0"]);
        }
    });
    let failed = failed.into_inner().unwrap();
    let n = usize.into_inner();
    println!("{n} requests, {} reloads", glue.log().matches("sent HUP").count());
    assert!(failed.is_empty(), "{} of {n} failed: {failed:?}", failed.len());
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn nginx_accepts_the_second_example() {
    if !is_installed("nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["nginx", "nginx-attacked", "nginx-label-attacked"] {
        let conf = folder.path().join(name);
        std::fs::write(&conf, expected_text(name)).unwrap();
        assert_accepted("sh", &["examples/handler-scripts/check-nginx.sh", conf.to_str().unwrap()]);
    }
    let bad = folder.path().join("bad");
    std::fs::write(&bad, "server { listen 80; nonsense; }").unwrap();
    let output =
        run_program("sh", &["examples/handler-scripts/check-nginx.sh", bad.to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("nonsense"), "{error}");
}

#[test]
fn dnsmasq_accepts_the_hosts_file() {
    if !is_installed("dnsmasq") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string("examples/docker-glue.d/hosts.ini.example").unwrap();
    let check = example.lines().find_map(|line| line.strip_prefix("check=")).unwrap();
    for name in ["hosts", "hosts-attacked"] {
        let hosts = folder.path().join(name);
        std::fs::write(&hosts, expected_text(name)).unwrap();
        assert_accepted("dnsmasq", &["--test", "--addn-hosts", hosts.to_str().unwrap()]);
        assert_accepted("sh", &["-c", &check.replace("{}", hosts.to_str().unwrap())]);
    }
    let bad = folder.path().join("bad");
    std::fs::write(&bad, "# ok\n10.0.0.1 a\n6.6.6.6 a; b\n").unwrap();
    assert!(
        !run_program("sh", &["-c", &check.replace("{}", bad.to_str().unwrap())]).status.success()
    );
}

/// Returns the output that `tests/core/template.rs` expects.
fn expected_text(name: &str) -> String {
    let text = std::fs::read_to_string(format!("tests/template/snapshots/{name}.snap")).unwrap();
    text.splitn(3, "---\n").nth(2).unwrap().to_owned()
}

fn run_program(program: &str, arguments: &[&str]) -> std::process::Output {
    let script = "PATH=$PATH:/usr/sbin:/sbin; exec \"$0\" \"$@\"";
    Command::new("sh").args(["-c", script, program]).args(arguments).output().unwrap()
}

fn assert_accepted(program: &str, arguments: &[&str]) {
    let output = run_program(program, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
