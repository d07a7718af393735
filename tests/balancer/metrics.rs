//! The metrics of docker-balancer and of its HAProxy, with a real engine and under load; and the examples for
//! Prometheus and Grafana.

#![allow(clippy::print_stdout, reason = "this is a test")]

use super::{
    features::Settings,
    forward_auth::{AuthServer, policies},
};
use crate::common::{
    self,
    balancer::{Balancer, BalancerPlan, free_port},
    engine::Engine,
    find_docker,
    prometheus::{self, Series, check_metrics, find_promtool, scrape, wait_until},
    wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Returns a balancer that serves its own metrics on the first port and HAProxy's on the second.
fn metrics_plan(docker: &common::Docker) -> (BalancerPlan, u16, u16) {
    let (own, haproxy) = (free_port(), free_port());
    let plan = Balancer::plan(docker).ports(&[80, 8080]).option(&["--access-log", "off"]);
    let plan = plan.option(&["--metrics", &own.to_string()]);
    (plan.option(&["--haproxy-metrics", &format!("127.0.0.1:{haproxy}")]), own, haproxy)
}

fn run_web(plan: &BalancerPlan, name: &str) -> common::Run {
    plan.run(name).label("glue_http_80_host", format!("{name}.test"))
}

#[test]
fn metrics_under_load_pass_promtool() {
    let (Some(docker), Some(promtool)) = (find_docker(), find_promtool()) else { return };
    let (plan, port, haproxy) = metrics_plan(&docker);
    let _web = run_web(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = || {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(balancer.request_outcome("web.test/x"), "web saw /x");
            }
        };
        let clients = [scope.spawn(client), scope.spawn(client)];
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..4 {
                let name = format!("guest-{round}");
                let guest = run_web(&balancer, &name).label("glue_http_80_weight", "heavy").start();
                check_metrics(promtool, &scrape(port).unwrap().body);
                balancer.wait_until_serves(&format!("{name}.test/x"), &format!("{name} saw /x"));
                check_metrics(promtool, &scrape(port).unwrap().body);
                let problems = "docker_glue_problems{kind=\"not_a_weight\"}";
                wait_until("its problem", port, |series| series.get(problems) >= 1.0);
                drop(guest);
                check_metrics(promtool, &scrape(port).unwrap().body);
            }
            // A new public port needs a reload.
            let _other = run_web(&balancer, "other").label("glue_http_80_bind", "8080").start();
            balancer.wait_until_serves("other.test:8080/x", "other saw /x");
            check_metrics(promtool, &scrape(port).unwrap().body);
        }));
        over.store(true, Ordering::Relaxed);
        let ended = clients.map(std::thread::ScopedJoinHandle::join);
        work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for client in ended {
            client.unwrap();
        }
    });

    let report = wait_until("the last container is gone", port, |series| {
        series.has_count("docker_glue_containers", 1)
            && series.has_count("docker_glue_routes{protocol=\"http\",state=\"held\"}", 5)
    });
    for (series, at_least) in [
        ("docker_glue_event_to_applied_seconds_count", 9.0),
        ("docker_glue_applies_total{method=\"runtime\"}", 8.0),
        ("docker_glue_applies_total{method=\"start\"}", 1.0),
        ("docker_glue_applies_total{method=\"reload\"}", 1.0),
        ("docker_glue_reloads_total{reason=\"ports\"}", 1.0),
        ("docker_glue_runtime_commands_total{command=\"add_server\"}", 4.0),
        ("docker_glue_runtime_commands_total{command=\"del_server\"}", 4.0),
        ("docker_glue_servers{state=\"up\"}", 1.0),
        ("docker_glue_routes{protocol=\"http\",state=\"served\"}", 1.0),
        ("docker_glue_docker_connected", 1.0),
        ("docker_glue_haproxy_answers", 1.0),
        ("docker_glue_reloads_left", 1.0),
        ("docker_glue_last_success_timestamp_seconds", 1e9),
        ("process_resident_memory_bytes", 1e6),
    ] {
        assert!(report.get(series) >= at_least, "{series} is {}", report.get(series));
    }
    for series in [
        "docker_glue_passes_failed_total",
        "docker_glue_drift_repaired_total",
        "docker_glue_runtime_errors_total{kind=\"refused\"}",
        "docker_glue_problems{kind=\"not_a_weight\"}",
    ] {
        assert!(report.has_count(series, 0), "{series} is {}", report.get(series));
    }
    // Each pass follows an event, and docker-balancer was started in this test, so no delay can exceed 10 s.
    let longest = report.get("docker_glue_event_to_applied_seconds_bucket{le=\"10\"}");
    assert!(longest >= report.get("docker_glue_event_to_applied_seconds_count"), "{longest}");

    let of_haproxy = scrape(haproxy).unwrap();
    assert_eq!(of_haproxy.status, 200);
    let requests = "haproxy_backend_http_requests_total{proxy=\"web.test:80\"}";
    assert!(Series::parse(&of_haproxy.body).get(requests) >= 1.0);
}

#[test]
fn list_of_metrics_matches_snapshot() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, _) = metrics_plan(&docker);
    let balancer = plan.start();
    let answer = wait_for("metrics", || scrape(port).ok());
    assert_eq!(answer.headers.get("content-type").unwrap(), "text/plain; version=0.0.4");
    insta::assert_snapshot!("all", without_values(&answer.body));

    // The control socket returns the same text.
    let mut stream = UnixStream::connect(balancer.runtime().join("control.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, text) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/plain"), "{head}");
    assert_eq!(without_values(text), without_values(&answer.body));

    for (method, path, status) in
        [("GET", "/", 404), ("POST", "/metrics", 405), ("GET", "/metrics/x", 404)]
    {
        assert_eq!(
            prometheus::send_request(port, method, path).unwrap().status,
            status,
            "{method} {path}"
        );
    }
}

/// Returns names, help texts and labels without values. The process metrics come from a library and are left out.
fn without_values(text: &str) -> String {
    let ours = text.lines().filter(|line| !line.contains("process_"));
    let line = |line: &str| {
        let is_series = !line.starts_with('#');
        line.rsplit_once(' ').filter(|_| is_series).map_or(line, |(series, _)| series).to_owned()
    };
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    let lines: Vec<_> = ours.map(line).collect();
    let text = lines.join("\n").replace(&version, "\"VERSION\"");
    let Some((before, after)) = text.split_once("haproxy_version=\"") else { return text };
    let (_, after) = after.split_once('"').unwrap();
    format!("{before}haproxy_version=\"VERSION\"{after}")
}

#[test]
fn no_metrics_port_without_option() {
    let Some(docker) = find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let web = run_web(&balancer, "web").start();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    let pid = balancer.pid().to_string();
    let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: BTreeSet<_> = sockets
        .filter_map(|result| std::fs::read_link(result.unwrap().path()).ok())
        .filter_map(|path| {
            Some(path.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
        // State 0A is LISTEN. The tenth word is the socket's inode.
        let listens = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words[3] == "0A" && open.contains(words[9])
        };
        assert_eq!(table.lines().skip(1).find(listens), None);
    }
    drop(web);
}

#[test]
fn taken_metrics_port_is_retried_and_delays_metrics_only() {
    let Some(docker) = find_docker() else { return };
    let port = free_port();
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let balancer = Balancer::plan(&docker).option(&["--metrics", &format!(":{port}")]).start();
    balancer.wait_for_log(&["WARN", "--metrics: cannot listen on 127.0.0.1:", "in use"]);
    let _web = run_web(&balancer, "web").start();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    drop(other);
    balancer.wait_for_log(&["serving metrics at http://127.0.0.1:"]);
    wait_until("metrics", port, |series| series.has_count("docker_glue_servers{state=\"up\"}", 1));
    assert_eq!(balancer.log().matches("cannot listen").count(), 1, "{}", balancer.log());
}

#[test]
fn failing_servers_are_counted_without_haproxy_query() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, _) = metrics_plan(&docker);
    let _sick = run_web(&plan, "sick").labels("glue_http_80_check=/status/500").start();
    let _light = run_web(&plan, "light").labels("glue_http_80_weight=0").start();
    let _balancer = plan.start().wait_until_started();
    wait_until("one fails, one has no weight", port, |series| {
        series.has_count("docker_glue_servers{state=\"down\"}", 1)
            && series.has_count("docker_glue_servers{state=\"zero_weight\"}", 1)
            && series.has_count("docker_glue_routes{protocol=\"http\",state=\"down\"}", 2)
    });
}

#[test]
fn server_state_metric_follows_haproxy_checks() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, _) = metrics_plan(&docker);
    let web = run_web(&plan, "web").label("glue_http_80_check", "/healthz").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    let network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = web.docker(&["inspect", "--format", network]);
    let servers = |up, down| {
        wait_until("its health", port, |series| {
            series.has_count("docker_glue_servers{state=\"up\"}", up)
                && series.has_count("docker_glue_servers{state=\"down\"}", down)
        });
    };
    for (ask, up, down) in [("unhealthy", 0, 1), ("healthy", 1, 0)] {
        // HAProxy sends no requests to an unhealthy container, so the request is sent directly.
        let mut stream = TcpStream::connect((address.trim(), 80)).unwrap();
        write!(stream, "POST /{ask} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        servers(up, down);
    }
}

/// Returns the status of the answer to a request with these headers.
fn status_of(port: u16, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn metrics_request_with_foreign_host_is_rejected() {
    let Some(docker) = find_docker() else { return };
    let (plan, own, haproxy) = metrics_plan(&docker);
    let plan = plan.option(&["--metrics-host", "web1.example.com"]);
    let balancer =
        plan.option(&["--metrics-host", "web2.example.com"]).start().wait_until_started();
    wait_until("metrics", own, |series| series.has_count("docker_glue_haproxy_answers", 1));
    for port in [own, haproxy] {
        for (headers, expected) in [
            ("Host: localhost\r\n".to_owned(), "200"),
            (String::new(), "200"),
            (format!("Host: 127.0.0.1:{port}\r\n"), "200"),
            (format!("Host: balancer:{port}\r\n"), "200"),
            ("Host: web1.example.com\r\n".to_owned(), "200"),
            (format!("Host: WEB2.example.com:{port}\r\n"), "200"),
            ("Host: web3.example.com\r\n".to_owned(), "421"),
            ("Host: web1.example.com.evil.example\r\n".to_owned(), "421"),
            ("Host: 127.0.0.1.evil.example\r\n".to_owned(), "421"),
            ("Host: localhost\r\nHost: evil.example\r\n".to_owned(), "400"),
            ("Host: evil.example\r\nHost: localhost\r\n".to_owned(), "400"),
        ] {
            assert_eq!(status_of(port, &headers), expected, "{headers:?} at {port}");
        }
    }
    drop(balancer);
}

#[test]
fn idle_connections_do_not_block_metrics() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, _) = metrics_plan(&docker);
    let page = free_port();
    let balancer = plan.option(&["--dashboard", &page.to_string()]).start().wait_until_started();
    wait_until("metrics", port, |series| series.has_count("docker_glue_haproxy_answers", 1));
    let connect = |port| move |_| TcpStream::connect(("127.0.0.1", port)).unwrap();
    let silent: Vec<_> = (0..100).flat_map(|n| [port, page].map(connect).map(|to| to(n))).collect();
    let mut took = Vec::new();
    for _ in 0..5 {
        let begin = std::time::Instant::now();
        assert_eq!(scrape(port).unwrap().status, 200);
        assert_eq!(prometheus::send_request(page, "GET", "/").unwrap().status, 200);
        took.push(begin.elapsed());
    }
    println!("beside 100 silent connections a scrape and a page take {took:?}");
    drop((silent, balancer));
}

/// Writes a wrapper script that runs before the real HAProxy.
fn write_wrapper(folder: &Path, script: &str) -> String {
    let path = folder.join("haproxy");
    let bin = std::env::var("HAPROXY_BIN").unwrap_or_else(|_| "haproxy".to_owned());
    let script = script.replace("HAPROXY", &bin);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\nexec {bin} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn failures_are_counted() {
    let Some(docker) = find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let moody = folder.path().join("moody");
    let script = format!("[ \"$1\" = -c ] && [ -e {} ] && exit 1", moody.display());
    let wrapper = write_wrapper(folder.path(), &script);
    let (plan, port, _) = metrics_plan(&docker);
    let named = |name: &str| plan.run(name).label("glue_http_80_host", "web.test");
    let three = common::start_all(["a", "b", "c"].map(named).into());
    let balancer = plan.option(&["--haproxy-bin", &wrapper]).start().wait_until_started();
    balancer.wait_until_shared("web.test/x", &["a", "b", "c"]);

    // Another program changes the weight. docker-balancer detects it when it changes the route.
    let server = format!("web.test:80/{}-{}:80", three[0].name, &three[0].id[..12]);
    balancer.ask_haproxy(&format!("set server {server} weight 7"));
    three[2].docker(&["pause"]);
    wait_until("drift", port, |series| series.get("docker_glue_drift_repaired_total") >= 1.0);
    wait_until("an error", port, |series| {
        series.get("docker_glue_runtime_errors_total{kind=\"differs\"}") >= 1.0
    });

    // A new public port needs a reload, and HAProxy rejects the configuration.
    std::fs::write(&moody, "").unwrap();
    let failed = "docker_glue_passes_failed_total";
    let _other = run_web(&balancer, "other").label("glue_http_80_bind", "8080").start();
    let report = wait_until("a pass that failed", port, |series| series.get(failed) >= 1.0);
    let last = "docker_glue_last_success_timestamp_seconds";
    let before = report.get(last);
    std::fs::remove_file(&moody).unwrap();
    balancer.wait_until_serves("other.test:8080/x", "other saw /x");
    wait_until("success", port, |series| series.get(last) > before);
}

#[test]
fn haproxy_exporter_starts_when_its_port_is_free() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, haproxy) = metrics_plan(&docker);
    let other = TcpListener::bind(("127.0.0.1", haproxy)).unwrap();
    let _web = run_web(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    balancer.wait_for_log(&["WARN", "option --haproxy-metrics: its port is used by "]);
    let taken = "docker_glue_problems{kind=\"port_taken\"}";
    wait_until("it is a problem", port, |series| series.has_count(taken, 1));
    drop(other);
    let answer = wait_for("HAProxy's numbers", || scrape(haproxy).ok());
    assert!(answer.body.contains("haproxy_process_"), "{}", answer.body);
    assert_eq!(prometheus::send_request(haproxy, "GET", "/").unwrap().status, 404);
    balancer.wait_for_log(&["resolved: option --haproxy-metrics"]);
    balancer.assert_serves(&[("web.test/x", "web saw /x")]);
    wait_until("no problems", port, |series| series.has_count(taken, 0));
}

#[test]
fn haproxy_without_exporter_is_a_problem_and_serves() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, haproxy) = metrics_plan(&docker);
    let folder = tempfile::tempdir().unwrap();
    let without = write_wrapper(folder.path(), "[ \"$1\" = -vv ] && exec HAPROXY -v");
    let plan = plan.option(&["--haproxy-bin", &without]);
    let _web = run_web(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    balancer.wait_for_log(&[
        "WARN",
        "option --haproxy-metrics: this HAProxy has no Prometheus exporter",
    ]);
    wait_until("it is a problem", port, |series| {
        series.has_count("docker_glue_problems{kind=\"no_exporter\"}", 1)
    });
    assert!(scrape(haproxy).is_err());
}

#[test]
fn example_rules_use_existing_metrics_and_pass_promtool() {
    let (Some(docker), Some(promtool)) = (find_docker(), find_promtool()) else { return };
    let folder = Path::new("examples/prometheus");
    for (words, file) in [
        (["check", "config"], "prometheus.yml"),
        (["check", "rules"], "alerts.yml"),
        (["test", "rules"], "alerts.test.yml"),
    ] {
        prometheus::run_promtool(
            promtool,
            &[words[0], words[1], folder.join(file).to_str().unwrap()],
        );
    }
    let expressions = dashboard_expressions();
    assert_parses(promtool, &expressions);

    let (plan, port, haproxy) = metrics_plan(&docker);
    let _web = run_web(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    let both = [port, haproxy].map(|port| Series::parse(&scrape(port).unwrap().body));
    let mut texts: BTreeSet<_> = both.iter().flat_map(Series::names).collect();
    // It has a series for each HTTPS host, and this balancer has none.
    texts.insert("docker_glue_certificate_expiry_timestamp_seconds");
    let alerts = std::fs::read_to_string(folder.join("alerts.yml")).unwrap();
    let text = expressions.join("\n") + &alerts;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = ["docker_glue_", "haproxy_", "process_"];
    let names =
        text.split(|c| !word(c)).filter(|text| ours.iter().any(|our| text.starts_with(our)));
    // `haproxy_version` is a label, not a metric.
    let names: BTreeSet<_> = names.filter(|text| *text != "haproxy_version").collect();
    assert!(names.len() > 15, "{names:?}");
    let unknown: Vec<_> = names.difference(&texts).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
}

/// Returns the dashboard's expressions, with Grafana's variables replaced.
fn dashboard_expressions() -> Vec<String> {
    let text = std::fs::read_to_string("examples/grafana/docker-glue.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|value| value["targets"].as_array()).flatten();
    let expression = |target: &serde_json::Value| target["expr"].as_str().unwrap().to_owned();
    let expressions: Vec<_> = targets.map(expression).collect();
    assert!(expressions.len() > 15, "{expressions:?}");
    let filled = |text: String| text.replace("$__rate_interval", "1m").replace("$instance", ".*");
    expressions.into_iter().map(filled).collect()
}

/// promtool parses the expressions as recording rules.
fn assert_parses(promtool: &str, expressions: &[String]) {
    let rule = |(number, expression): (usize, &String)| serde_json::json!({ "record": format!("panel:{number}"), "expr": expression });
    let rules: Vec<_> = expressions.iter().enumerate().map(rule).collect();
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    // JSON is valid YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(file.path(), groups.to_string()).unwrap();
    prometheus::run_promtool(promtool, &["check", "rules", file.path().to_str().unwrap()]);
}

#[test]
fn docker_outage_and_haproxy_crash_change_metrics() {
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    let (plan, port, _) = metrics_plan(&docker);
    let _web = run_web(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    let (connected, answers) = ("docker_glue_docker_connected", "docker_glue_haproxy_answers");
    wait_until("both are there", port, |series| {
        series.has_count(connected, 1) && series.has_count(answers, 1)
    });
    engine.stop();
    wait_until("lost connection to Docker", port, |series| series.has_count(connected, 0));
    // The known containers stay, and are still served.
    wait_until("the route", port, |series| {
        series.has_count("docker_glue_routes{protocol=\"http\",state=\"served\"}", 1)
    });
    let age = "docker_glue_docker_stream_age_seconds";
    let before = Series::parse(&scrape(port).unwrap().body).get(age);
    wait_until("the stream is silent", port, |series| series.get(age) > before);
    kill(Pid::from_raw(balancer.master_pid()), Signal::SIGKILL).unwrap();
    wait_until("another start", port, |series| {
        series.has_count("docker_glue_applies_total{method=\"start\"}", 2)
    });
    engine.start();
    wait_until("connected to Docker again", port, |series| {
        series.has_count(connected, 1) && series.has_count(answers, 1)
    });
}

#[test]
fn refused_requests_are_counted_by_route_and_status() {
    let Some(docker) = find_docker() else { return };
    let (plan, port, _) = metrics_plan(&docker);
    let server = AuthServer::start();
    let settings = Settings::new(&policies(&server, &["ok", "deny", "early"]));
    let plan = settings.plan(plan);
    let web = run_web(&plan, "web").label("glue_http_80_host.far", "far.test");
    let web = ["ok", "deny", "early"].iter().fold(web, |web, name| {
        web.label(&format!("glue_http_80_host.{name}"), format!("{name}.test"))
            .label(&format!("glue_http_80_use.{name}"), name)
    });
    let web = web.label("glue_http_80_allow.far", "192.0.2.1");
    let web = web.label("glue_http_80_host.users", "users.test");
    let web = web.label("glue_http_80_users.users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
    let web = web.label("glue_http_80_host.rate", "rate.test");
    let _web = web.label("glue_http_80_rate.rate", "1/h").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/", "web saw /");
    for (url, expected) in [
        ("web.test/", "web saw /"),
        ("far.test/", "403"),
        ("far.test/x", "403"),
        ("users.test/", "401"),
        ("rate.test/", "web saw /"),
        ("rate.test/", "429"),
        ("ok.test/", "web saw /"),
        ("deny.test/", "401"),
        ("early.test/", "403"),
        ("nobody.test/", "404"),
    ] {
        assert_eq!(balancer.request_outcome(url), expected, "{url}");
    }
    let retry = balancer.get("rate.test/").headers.get("Retry-After");
    assert_eq!(retry.as_deref(), Some("3600"));
    let name = "docker_glue_refused_requests_total";
    let count = |route: &str, status: u16, count| {
        (format!("{name}{{route=\"{route}\",status=\"{status}\"}}"), count)
    };
    let expected = [
        count("deny.test:80", 401, 1),
        count("early.test:80", 403, 1),
        count("far.test:80", 403, 2),
        count("rate.test:80", 429, 2),
        count("users.test:80", 401, 1),
    ];
    wait_until("the refused requests", port, |series| {
        expected.iter().all(|(name, count)| series.has_count(name, *count))
    });
    let text = scrape(port).unwrap().body;
    let series = text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series, expected.len(), "{text}");
}
