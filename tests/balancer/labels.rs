//! The label contract with a real engine and a real HAProxy: which container answers a request to labelled containers,
//! and which path it sees.

use crate::common::{
    self, Run,
    balancer::{Answer, Balancer, BalancerPlan, free_port},
    engine::Engine,
    six::Ipv6Driver,
    wait_for,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
};

type Rows = &'static [(&'static str, &'static str)];

/// Starts these containers, then the balancer, and checks the outcomes of these requests.
fn check_requests(ports: &[u16], containers: Rows, requests: Rows) {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(ports);
    let run =
        |(name, labels): &(&str, &str)| plan.run(name).labels(labels).env("WHOAMI_PORT", "80,3000");
    let _containers = common::start_all(containers.iter().map(run).collect());
    plan.start().wait_until_started().assert_serves(requests);
}

#[test]
fn host_routes_to_its_container() {
    check_requests(
        &[80, 3000],
        &[
            ("several", "glue_http_80_host=one.test,two.test"),
            ("wild", "glue_http_80_host=*.wild.test"),
            ("upper", "glue_http_80_host=Upper.TEST."),
            ("under", "glue_http_80_host=a_b.test"),
            ("books", "glue_http_80_host=bücher.test"),
            ("open", "glue_http_80_prefix=open"),
            ("every", "glue_http_ports=3000"),
        ],
        &[
            ("one.test/x", "several saw /x"),
            ("two.test/", "several saw /"),
            ("three.test/", "404"),
            ("sub.one.test/", "404"),
            ("x.wild.test/", "wild saw /"),
            ("wild.test/", "404"),
            ("y.x.wild.test/", "404"),
            (".wild.test/", "404"),
            ("upper.test/", "upper saw /"),
            ("UPPER.test/", "upper saw /"),
            ("upper.test./", "upper saw /"),
            ("upper.test:80/", "upper saw /"),
            ("Upper.test.:8888/", "upper saw /"),
            ("a_b.test/", "under saw /"),
            ("xn--bcher-kva.test/", "books saw /"),
            ("nobody.test/open/x", "open saw /open/x"),
            ("one.test/open/x", "several saw /open/x"),
            ("nobody.test:3000/x", "every saw /x"),
            ("one.test:3000/", "every saw /"),
        ],
    );
}

#[test]
fn longest_whole_segment_prefix_wins() {
    check_requests(
        &[80],
        &[
            ("paths", "glue_http_80_host=a.test glue_http_80_prefix=api,/v2/,/%7Eme"),
            ("deep", "glue_http_80_host=a.test glue_http_80_prefix=api/deep"),
            ("eight", "glue_http_80_host=a.test glue_http_80_prefix=1/2/3/4/5/6/7/8"),
        ],
        &[
            ("a.test/api", "paths saw /api"),
            ("a.test/api/", "paths saw /api/"),
            ("a.test/api/x", "paths saw /api/x"),
            ("a.test/api?q=/x", "paths saw /api?q=/x"),
            ("a.test/apiary", "404"),
            ("a.test/API", "404"),
            ("a.test/v2", "paths saw /v2"),
            ("a.test/v2/x", "paths saw /v2/x"),
            ("a.test/%7Eme/x", "paths saw /%7Eme/x"),
            ("a.test/", "404"),
            ("a.test/x/api", "404"),
            ("a.test/api/deep", "deep saw /api/deep"),
            ("a.test/api/deep/x", "deep saw /api/deep/x"),
            ("a.test/api/deeper", "paths saw /api/deeper"),
            ("a.test/api/x/deep", "paths saw /api/x/deep"),
            ("a.test/1/2/3/4/5/6/7/8", "eight saw /1/2/3/4/5/6/7/8"),
            ("a.test/1/2/3/4/5/6/7/8/9", "eight saw /1/2/3/4/5/6/7/8/9"),
            ("a.test/1/2/3/4/5/6/7", "404"),
        ],
    );
}

#[test]
fn prefix_is_stripped_on_request() {
    check_requests(
        &[80],
        &[
            (
                "strip",
                "glue_http_80_host=strip.test glue_http_80_strip_prefix=yes \
                 glue_http_80_prefix=/app/,1/2/3/4/5/6/7/8",
            ),
            (
                "keep",
                "glue_http_80_host=keep.test glue_http_80_prefix=app glue_http_80_strip_prefix=off",
            ),
            ("whole", "glue_http_80_host=whole.test glue_http_80_strip_prefix=1"),
        ],
        &[
            ("strip.test/app", "strip saw /"),
            ("strip.test/app/", "strip saw /"),
            ("strip.test/app/x", "strip saw /x"),
            ("strip.test/app/x/", "strip saw /x/"),
            ("strip.test/app/x//y", "strip saw /x//y"),
            ("strip.test/app/app/x", "strip saw /app/x"),
            ("strip.test/app?q=1&r=/app", "strip saw /?q=1&r=/app"),
            ("strip.test/app/x?q=1", "strip saw /x?q=1"),
            ("strip.test/application", "404"),
            ("strip.test/1/2/3/4/5/6/7/8", "strip saw /"),
            ("strip.test/1/2/3/4/5/6/7/8/9/10?q", "strip saw /9/10?q"),
            ("strip.test/1/2/3/4/5/6/7/x", "404"),
            ("keep.test/app/x?q=1", "keep saw /app/x?q=1"),
            ("whole.test/app/x", "whole saw /app/x"),
        ],
    );
}

#[test]
fn bind_sets_public_ports_of_a_route() {
    check_requests(
        &[80, 3000, 8080, 8081],
        &[
            ("moved", "glue_http_3000_host=moved.test glue_http_3000_bind=8080"),
            ("twice", "glue_http_80_host=twice.test glue_http_80_bind=80,8081"),
            ("plain", "glue_http_3000_host=plain.test"),
            (
                "named",
                "glue_http_80_host=shop.test glue_http_80_strip_prefix=1 \
                 glue_http_80_host.admin=admin.test glue_http_80_prefix.admin=ui \
                 glue_http_80_prefix.raw=raw glue_http_80_strip_prefix.raw=0 \
                 glue_http_80_host.far=far.test glue_http_80_bind.far=8081",
            ),
        ],
        &[
            ("moved.test:8080/", "moved saw /"),
            ("moved.test:3000/", "404"),
            ("moved.test:80/", "404"),
            ("twice.test:80/", "twice saw /"),
            ("twice.test:8081/", "twice saw /"),
            ("twice.test:8080/", "404"),
            ("plain.test:3000/", "plain saw /"),
            ("shop.test/ui/x", "named saw /ui/x"),
            ("admin.test/ui/x", "named saw /x"),
            ("admin.test/", "404"),
            ("nobody.test/raw/x", "named saw /raw/x"),
            ("nobody.test/ui/x", "404"),
            ("far.test:8081/", "named saw /"),
            ("far.test:80/", "404"),
        ],
    );
}

#[test]
fn exact_host_wins_over_wildcard_over_any_before_prefix_length() {
    check_requests(
        &[80],
        &[
            ("exact", "glue_http_80_host=x.a.test glue_http_80_prefix=e"),
            ("wildcard", "glue_http_80_host=*.a.test glue_http_80_prefix=e,w"),
            ("any", "glue_http_80_prefix=e/long,e,w,a"),
        ],
        &[
            ("x.a.test/e", "exact saw /e"),
            ("x.a.test/e/long", "exact saw /e/long"),
            ("x.a.test/w", "wildcard saw /w"),
            ("x.a.test/a", "any saw /a"),
            ("x.a.test/n", "404"),
            ("y.a.test/e", "wildcard saw /e"),
            ("y.a.test/e/long", "wildcard saw /e/long"),
            ("y.a.test/a", "any saw /a"),
            ("y.a.test/n", "404"),
            ("a.test/e", "any saw /e"),
        ],
    );
}

#[test]
fn requests_are_shared_by_weight() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let run = |name: &str, host: &str, weight: &str| {
        let run = plan.run(name).label("glue_http_80_host", host);
        run.label("glue_http_80_weight", weight)
    };
    let _containers = common::start_all(vec![
        run("four", "shared.test", "100"),
        run("one", "shared.test", "25"),
        run("none", "shared.test", "0"),
        run("most", "heavy.test", "256"),
        run("more", "heavy.test", "1000"),
        run("drained", "drained.test", "0"),
    ]);
    let balancer = plan.start().wait_until_started();
    for (url, requests, expected) in [
        ("shared.test/", 50, [("four", 40), ("one", 10)]),
        ("heavy.test/", 20, [("most", 10), ("more", 10)]),
    ] {
        let expected: BTreeMap<_, _> =
            expected.map(|(name, count)| (name.to_owned(), count)).into();
        assert_eq!(balancer.count_answers(url, requests), expected, "{url}");
    }
    balancer.assert_serves(&[("drained.test/", "503")]);
    balancer.wait_for_log(&["WARN", "-more (", "glue_http_80_weight=\"1000\"", "256 is used"]);
}

/// A container that also serves `<name>.direct.test` regardless of its health, so that a request there can change its
/// behaviour.
fn run_with_direct_host(plan: &BalancerPlan, name: &str) -> Run {
    plan.run(name)
        .label("glue_http_80_host.direct", format!("{name}.direct.test"))
        .labels("glue_http_80_check.direct=off glue_http_80_health.direct=ignore")
}

fn set_behaviour(balancer: &Balancer, name: &str, what: &str) {
    let url = format!("{name}.direct.test/{what}");
    assert_eq!(balancer.request("POST", &url).send().unwrap().status, 200, "{url}");
}

#[test]
fn server_failing_its_check_gets_no_requests() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let run = |name| {
        run_with_direct_host(&plan, name).labels(
            "glue_http_80_host=path.test glue_http_80_check=/healthz \
             glue_http_80_host.tcp=tcp.test glue_http_80_check.tcp=tcp",
        )
    };
    let _containers = common::start_all(vec![run("one"), run("two")]);
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("path.test/", &["one", "two"]);
    set_behaviour(&balancer, "one", "unhealthy");
    balancer.wait_until_shared("path.test/", &["two"]);
    balancer.wait_until_shared("tcp.test/", &["one", "two"]);
    set_behaviour(&balancer, "two", "unhealthy");
    balancer.wait_until_serves("path.test/", "503");
    set_behaviour(&balancer, "one", "healthy");
    balancer.wait_until_shared("path.test/", &["one"]);
}

#[test]
fn docker_health_is_obeyed_required_or_ignored() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--wait-for-start", "1s"]);
    let run = |name| {
        run_with_direct_host(&plan, name).image("docker-glue-whoami:test-health").labels(
            "glue_http_80_host=obey.test \
             glue_http_80_host.must=must.test glue_http_80_health.must=require \
             glue_http_80_host.any=any.test glue_http_80_health.any=ignore",
        )
    };
    let starting =
        run("starting").env("WHOAMI_HEALTHY_AFTER", "1h").option(&["--health-start-period", "1h"]);
    let _containers = common::start_all(vec![run("one"), run("two"), starting]);
    let balancer = plan.start().wait_until_started();

    balancer.wait_until_shared("must.test/", &["one", "two"]);
    balancer.wait_until_shared("obey.test/", &["one", "two"]);
    balancer.wait_until_shared("any.test/", &["one", "two", "starting"]);
    set_behaviour(&balancer, "one", "unhealthy");
    balancer.wait_until_shared("must.test/", &["two"]);
    balancer.wait_until_shared("obey.test/", &["two"]);
    set_behaviour(&balancer, "two", "unhealthy");
    balancer.wait_until_shared("obey.test/", &["one", "two", "starting"]);
    // The last container that was ready continues to serve.
    balancer.wait_until_shared("must.test/", &["two"]);
    balancer.wait_until_shared("any.test/", &["one", "two", "starting"]);
    set_behaviour(&balancer, "one", "healthy");
    balancer.wait_until_shared("must.test/", &["one"]);
    balancer.wait_until_shared("obey.test/", &["one"]);
}

#[test]
fn response_beyond_timeout_is_504() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _web = plan
        .run("web")
        .labels("glue_http_80_host=patient.test")
        .labels("glue_http_80_host.hasty=hasty.test glue_http_80_timeout.hasty=300ms")
        .start();
    plan.start().wait_until_started().assert_serves(&[
        ("hasty.test/slow?ms=3600000", "504"),
        ("hasty.test/x", "web saw /x"),
        ("patient.test/slow?ms=600", "web saw /slow?ms=600"),
    ]);
}

#[test]
fn request_of_a_dying_container_is_retried_if_retry_allows() {
    let Some(docker) = common::find_docker() else { return };
    let labels = "glue_http_80_host.safe=get.test,head.test,options.test,post.test \
                  glue_http_80_host.all=post-all.test glue_http_80_retry.all=all \
                  glue_http_80_host.off=get-off.test glue_http_80_retry.off=off";
    let plan = Balancer::plan(&docker);
    // One container answers at once, the other holds its requests until it is killed.
    let calm = plan.run("calm").labels(labels);
    let mute = plan.run("mute").labels(labels).env("WHOAMI_DELAY", "1h");
    // A third container does not listen, and its check is off.
    let never = "glue_http_80_host.never=never.test glue_http_80_check.never=off";
    let closed = plan.run("closed").labels(never).env("WHOAMI_PORT", "81");
    let containers = common::start_all(vec![calm.labels(never), mute, closed]);
    let balancer = plan.start().wait_until_started();
    for _ in 0..4 {
        assert_eq!(balancer.request("POST", "never.test").send().unwrap().name, "calm");
    }
    let rows = [
        ("GET", "get.test", "200"),
        ("HEAD", "head.test", "200"),
        ("OPTIONS", "options.test", "200"),
        ("POST", "post.test", "502"),
        ("POST", "post-all.test", "200"),
        ("GET", "get-off.test", "502"),
    ];
    let send = |(method, host, _): &(&str, &str, &str)| {
        balancer.request(method, host).send().unwrap().status.to_string()
    };
    std::thread::scope(|scope| {
        let both = rows.map(|row| [(); 2].map(|()| scope.spawn(move || send(&row))));
        wait_for("each route has a request at the container that is mute", || {
            (count_waiting_requests(&balancer, "-mute") == rows.len()).then_some(())
        });
        containers[1].docker(&["kill"]);
        for ((method, host, other), got) in rows.into_iter().zip(both) {
            let mut got = got.map(|handle| handle.join().unwrap());
            got.sort();
            assert_eq!(got, ["200", other], "{method} {host}");
        }
    });
}

/// Returns the number of routes on which a container has an unanswered request.
fn count_waiting_requests(balancer: &Balancer, name: &str) -> usize {
    let stat = balancer.ask_haproxy("show stat");
    let rows = stat.lines().map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row.len() > 4 && row[1].contains(name) && row[4] == "1").count()
}

#[test]
fn request_waits_until_the_only_container_listens() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _other = plan.run("other").label("glue_http_80_host", "other.test").start();
    let balancer = plan.start().wait_until_started();
    let late = balancer.run("late").env("WHOAMI_LISTEN_AFTER", "2s");
    let _late = late.label("glue_http_80_host", "late.test").start();
    let first = wait_for("the route is known", || {
        Some(balancer.request_outcome("late.test/")).filter(|outcome| outcome != "404")
    });
    assert_eq!(first, "late saw /");
}

/// An old worker does not check servers, so it would never detect that a container is ready again.
#[test]
fn request_that_waits_during_a_reload_is_answered_after_it() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 8080]).option(&["--wait-for-start", "1m"]);
    let web = plan.run("web").label("glue_http_80_host", "web.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("web.test/", "web saw /")]);
    web.docker(&["stop", "--time", "0"]);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| balancer.request_outcome("web.test/"));
        wait_for("the request waits", || {
            let stat = balancer.ask_haproxy("show stat");
            let rows = stat.lines().map(|line| line.split(',').collect::<Vec<_>>());
            let mut backends = rows.filter(|row| row.len() > 4 && row[1] == "BACKEND");
            backends.any(|row| row[4] == "1").then_some(())
        });
        let public = "glue_http_80_host=other.test glue_http_80_bind=8080";
        let _other = balancer.run("other").labels(public).start();
        balancer.wait_until_serves("other.test:8080/", "other saw /");
        web.docker(&["start"]);
        assert_eq!(answer.join().unwrap(), "web saw /");
    });
}

#[test]
fn only_running_labelled_containers_are_served() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--wait-for-start", "1s"]);
    let host = |run: Run, host: &str| run.label("glue_http_80_host", host);
    // A request may reach the container just before HAProxy gets its pause.
    let web = host(plan.run("web"), "web.test").label("glue_http_80_timeout", "1s").start();
    let deaf = host(plan.run("deaf"), "deaf.test").env("WHOAMI_IGNORE_TERM", "1").start();
    let oneoff = host(plan.run("oneoff"), "oneoff.test");
    let _oneoff = oneoff.label("com.docker.compose.oneoff", "True").start();
    let _created = host(plan.run("created"), "created.test").create();
    let _stranger = host(docker.run("stranger"), "stranger.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[
        ("web.test/", "web saw /"),
        ("deaf.test/", "deaf saw /"),
        ("oneoff.test/", "404"),
        ("created.test/", "404"),
        ("stranger.test/", "404"),
    ]);
    for (verb, outcome) in [
        ("pause", "503"),
        ("unpause", "web saw /"),
        ("stop", "503"),
        ("start", "web saw /"),
        ("kill", "503"),
        ("restart", "web saw /"),
    ] {
        web.docker(&[verb]);
        balancer.wait_until_serves("web.test/", outcome);
    }
    // The container got its stop signal. It serves only until another container does, although it still answers.
    deaf.docker(&["kill", "--signal", "TERM"]);
    let _heir = host(balancer.run("heir"), "deaf.test").start();
    balancer.wait_until_shared("deaf.test/", &["heir"]);
    assert_eq!(deaf.docker(&["inspect", "--format", "{{.State.Running}}"]), "true");
}

#[test]
fn route_without_containers_answers_503_then_404() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--wait-for-start", "1s"]);
    let short = Balancer::plan(&docker).option(&["--wait-for-start", "1s", "--hold", "1s"]);
    for (plan, outcome) in [(plan, "503"), (short, "404")] {
        let _other = plan.run("other").label("glue_http_80_host", "other.test").start();
        let web = plan.run("web").label("glue_http_80_host", "web.test").start();
        let balancer = plan.start().wait_until_started();
        balancer.assert_serves(&[("web.test/", "web saw /"), ("other.test/", "other saw /")]);
        drop(web);
        balancer.wait_until_serves("web.test/", outcome);
        assert_page(&balancer.get("web.test/"));
        assert_page(&balancer.get("nobody.test/"));
    }
}

/// Checks that the page explains the status and does not mention containers.
fn assert_page(answer: &Answer) {
    let (title, retry) = match answer.status {
        404 => ("Not found", None),
        503 => ("Temporarily unavailable", Some("2".to_owned())),
        status => panic!("{status}"),
    };
    assert!(answer.body.contains(title), "{}", answer.body);
    assert_eq!(answer.headers.get("Retry-After"), retry);
    assert_eq!(answer.headers.get("Content-Type").unwrap(), "text/html; charset=utf-8");
    for secret in ["docker", "container", "haproxy", "web"] {
        assert!(!answer.body.to_lowercase().contains(secret), "{secret}: {}", answer.body);
    }
}

#[test]
fn conflicting_container_waits_for_that_route_only() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--hold", "1s"]);
    let label = "glue_http_80_host=shared.test glue_http_80_timeout";
    let first = plan.run("first").labels(&format!("{label}=10s")).start();
    let name = first.name.clone();
    let second = plan.run("second").labels(&format!("{label}=20s"));
    let _second = second.label("glue_http_80_host.own", "own.test").start();
    let third = plan.run("third").labels(&format!("{label}=10000ms")).start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("own.test/", "second saw /")]);
    balancer.wait_until_shared("shared.test/", &["first", "third"]);
    let parts = ["shared.test:80/", &name, "-second (", "timeout", "waits until"];
    balancer.wait_for_log(&[&["WARN"][..], &parts].concat());
    drop((first, third));
    balancer.wait_for_log(&[
        "shared.test:80/ was last served by container",
        "-second (",
        "reserved for it",
    ]);
    balancer.wait_until_shared("shared.test/", &["second"]);
    balancer.wait_for_log(&[&["resolved: "][..], &parts].concat());
}

#[test]
fn label_limits_and_environment_labels_select_routes() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 8080]);
    let plan = plan.option(&["--allow-hosts", "*.ok.test", "--allow-hosts", "also.test"]);
    let plan = plan.option(&["--allow-ports", "80", "--include-env"]);
    let _containers = common::start_all(vec![
        plan.run("env").env("glue_http_80_host", "env.ok.test"),
        plan.run("both")
            .env("glue_http_80_host", "env2.ok.test")
            .label("glue_http_80_host", "label.ok.test"),
        plan.run("hosts").labels("glue_http_80_host=a.ok.test,b.a.ok.test,also.test,bad.test"),
        plan.run("ports").labels("glue_http_80_host=p.ok.test glue_http_80_bind=80,8080"),
        plan.run("out").labels("glue_http_80_host=out.ok.test glue_http_80_bind=8080"),
        plan.run("any").labels("glue_http_80_prefix=any"),
    ]);
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[
        ("env.ok.test/", "env saw /"),
        ("env2.ok.test/", "404"),
        ("label.ok.test/", "both saw /"),
        ("a.ok.test/", "hosts saw /"),
        ("also.test/", "hosts saw /"),
        ("b.a.ok.test/", "404"),
        ("bad.test/", "404"),
        ("p.ok.test/", "ports saw /"),
        ("out.ok.test/", "404"),
        ("x.ok.test/any", "404"),
    ]);
    assert!(TcpStream::connect(("127.0.0.1", balancer.bound_port(8080))).is_err());
    balancer.wait_for_log(&["WARN", "-hosts (", "\"bad.test\"", "--allow-hosts"]);
    balancer.wait_for_log(&["WARN", "-ports (", "8080", "--allow-ports"]);
    balancer.wait_for_log(&["WARN", "-out (", "no value of the label is valid"]);
}

#[test]
fn ipv6_only_container_is_served() {
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    let driver = Ipv6Driver::start();
    let net = driver.network(&docker);
    let plan = Balancer::plan(&docker);
    let other = plan.run("other").label("glue_http_80_host", "other.test").start();
    let mut balancer = plan.start().wait_until_started();
    let six = balancer.run("six").label("glue_http_80_host", "six.test").network(&net);
    let six = six.label("glue_network", &net.name).start();
    assert_eq!(six.network_field(&net, "IPAddress"), "");
    // HAProxy gets the address first over the runtime API, then from its file.
    for how in ["updated HAProxy over the runtime API", "serves the last good configuration"] {
        balancer.wait_until_serves("six.test/x", "six saw /x");
        let at = SocketAddr::new(driver.address().into(), 80);
        assert_eq!(balancer.get("six.test").address, Some(at));
        balancer.wait_for_log(&[how]);
        balancer.stop_with(Signal::SIGTERM);
        balancer.start_again();
    }
    assert!(!balancer.log().contains("reload"), "{}", balancer.log());
    drop(other);
}

#[test]
fn container_is_reached_on_its_named_network() {
    let Some(docker) = common::find_docker() else { return };
    let mut networks = [docker.network("a"), docker.network("b")];
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    let [first, second] = &networks;
    let options = [vec![], vec!["--network", &second.name]];
    for (options, unsaid_on) in options.into_iter().zip([first, second]) {
        let plan = Balancer::plan(&docker).option(&options);
        let run = |name: &str, network: Option<&String>| {
            let run = plan.run(name).label("glue_http_80_host", format!("{name}.test"));
            network
                .into_iter()
                .fold(run, |run, text| run.label("glue_network", text))
                .network(second)
        };
        let containers = common::start_all(vec![
            run("unsaid", None),
            run("one", Some(&first.name)),
            run("two", Some(&second.name)),
            run("lost", Some(&"nowhere".to_owned())),
        ]);
        std::thread::scope(|scope| {
            for container in containers.iter() {
                scope.spawn(|| first.connect(container));
            }
        });
        let [unsaid, one, two, _] = &containers[..] else { panic!("four were started") };
        let balancer = plan.start().wait_until_started();
        for (url, address) in [
            ("unsaid.test", unsaid.address(unsaid_on)),
            ("one.test", one.address(first)),
            ("two.test", two.address(second)),
        ] {
            assert_eq!(balancer.get(url).address.unwrap().ip(), address, "{url}");
        }
        balancer.assert_serves(&[("lost.test", "404")]);
        balancer.wait_for_log(&["WARN", "-lost (", "\"nowhere\"", &first.name, &second.name]);
    }
}

#[test]
fn container_on_a_shared_or_host_network_is_reached() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let port = free_port().to_string();
    let host = plan.run("host").option(&["--network", "host"]).env("WHOAMI_PORT", &port);
    let host = host.label(&format!("glue_http_{port}_host"), "host.test");
    let _host = host.label(&format!("glue_http_{port}_bind"), 80).start();
    // The owner has no labels; docker-balancer knows it only as the owner of a shared network.
    let owner = docker.run("owner").start();
    let guest = plan.run("guest").env("WHOAMI_PORT", "81").bare();
    let guest = guest.option(&["--network", &format!("container:{}", owner.name)]);
    let _guest = guest.labels("glue_http_81_host=guest.test glue_http_81_bind=80").start();
    let none = plan.run("none").option(&["--network", "none"]);
    let _none = none.label("glue_http_80_host", "none.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[
        ("host.test/", "host saw /"),
        ("guest.test/", "guest saw /"),
        ("none.test/", "404"),
    ]);
    balancer.wait_for_log(&["WARN", "-none (", "HAProxy cannot reach the container"]);
}

#[test]
fn address_published_uses_published_ports_only() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--address", "published"]);
    let labels = |name: &str| plan.run(name).label("glue_http_80_host", format!("{name}.test"));
    let published = labels("published").option(&["--publish", "127.0.0.1::80"]).start();
    let _private = labels("private").start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("published.test/", "published saw /"), ("private.test/", "404")]);
    balancer.wait_for_log(&["WARN", "-private (", "publish its port 80"]);
    let text = published.docker(&["port"]);
    let text = text.split_whitespace().last().unwrap().replace(':', " ");
    assert!(balancer.ask_haproxy("show servers conn").contains(&text), "{text}");
}

#[test]
fn forwarded_headers_name_the_client() {
    let Some(docker) = common::find_docker() else { return };
    let trusting = Balancer::plan(&docker).option(&["--trusted-proxies", "127.0.0.1/32"]);
    for (plan, claimed) in [
        (Balancer::plan(&docker), ["127.0.0.1", "http", "a.test", "BOUND"]),
        (trusting, ["192.0.2.7, 127.0.0.1", "https", "shop.test", "443"]),
    ] {
        let _web = plan.run("web").label("glue_http_80_host", "a.test").start();
        let balancer = plan.start().wait_until_started();
        let names = ["For", "Proto", "Host", "Port"].map(|name| format!("X-Forwarded-{name}"));
        let plain = balancer.request("GET", "a.test");
        let claims = ["192.0.2.7", "https", "shop.test", "443"];
        let claiming = names.iter().zip(claims);
        let claiming =
            claiming.fold(plain.clone(), |request, (name, value)| request.header(name, value));
        for (request, expected) in
            [(plain, ["127.0.0.1", "http", "a.test", "BOUND"]), (claiming, claimed)]
        {
            // X-Forwarded-Port is the port that the client used, which --map-port binds.
            let bound = balancer.bound_port(80).to_string();
            let expected = expected.map(|word| if word == "BOUND" { bound.as_str() } else { word });
            let seen = request.send().unwrap().seen;
            let seen: Vec<_> = names.iter().map(|name| seen.get(name).unwrap()).collect();
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn websocket_is_proxied_and_request_logged_with_its_route() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--access-log", "stdout"]);
    let _web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let balancer = plan.start().wait_until_started();

    let stream = TcpStream::connect(("127.0.0.1", balancer.bound_port(80))).unwrap();
    stream.set_read_timeout(Some(common::DEADLINE)).unwrap();
    let (mut socket, _) = tungstenite::client("ws://a.test/ws", stream).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "name: web");
    socket.send("hello".into()).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "hello");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}

    balancer.get("a.test/logged?q=1");
    balancer.get("nobody.test/nothing");
    for parts in [["GET /logged?q=1 HTTP/1.1", "a.test", " 200 "], ["GET /nothing", "-", " 404 "]] {
        wait_for(&format!("{parts:?} in the access log"), || {
            let has = |line: &str| parts.iter().all(|part| line.contains(part));
            balancer.stdout().lines().any(has).then_some(())
        });
    }
}

#[test]
fn label_problems_are_logged_once_and_again_when_resolved() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let clumsy = [
        ("glue_http_80_host", "ok.test,http://a.test,b.test/x,c.test:80", "is a URL"),
        ("glue_http_80_stripprefix", "1", "did you mean glue_http_80_strip_prefix?"),
        ("glue_http_80_weight", "heavy", "a weight is a whole number"),
        ("glue_http_80_timeout", "30", "a timeout is a duration"),
        ("glue_http_80_check", "often", "a check is tcp, off"),
        ("glue_http_80_health", "maybe", "health is obey, require or ignore"),
        ("glue_http_80_retry", "never", "retry is safe, all or off"),
        ("glue_http_80_maxconn", "0", "maxconn is a whole number from 1 to 65535"),
        ("glue_http_80_strip_prefix", "perhaps", "a switch is one of"),
        ("glue_http_70000_host", "far.test", "is not a port"),
        ("glue_http_80_host.empty", "", "the value is empty"),
        ("glue_http_80_host.evil", "a.test\n  bind :1", "a control character"),
        ("glue_http_81_prefix.deep", "1/2/3/4/5/6/7/8/9", "more than 8 segments"),
        ("glue_tcp_5432_prefix", "x", "prefix is an option of glue_http_ labels"),
        ("glue_udp_53_replies", "many", "replies"),
    ];
    let run = clumsy.iter().fold(plan.run("clumsy"), |run, (key, value, _)| run.label(key, value));
    let container = run.start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[
        ("ok.test/", "clumsy saw /"),
        ("a.test/", "404"),
        ("b.test/x", "404"),
        ("c.test/", "404"),
    ]);
    // Another pass does not repeat the log.
    let _other = balancer.run("other").label("glue_http_80_host", "other.test").start();
    balancer.wait_until_serves("other.test/", "other saw /");
    let report = |beginning: &str, key: &str, reason: &str| {
        let log = balancer.log();
        let has = |line: &&str| {
            line.contains(beginning) && line.contains(&format!("{key}=")) && line.contains(reason)
        };
        log.lines().filter(has).count()
    };
    for (key, _, reason) in clumsy {
        assert_eq!(report(" WARN container", key, reason), 1, "{key}");
        assert_eq!(report("resolved: ", key, reason), 0, "{key}");
    }
    drop(container);
    for (key, _, reason) in clumsy {
        balancer.wait_for_log(&["resolved: ", key, reason]);
        assert_eq!(report("resolved: ", key, reason), 1, "{key}");
    }
}

/// HAProxy's counts of the servers of a route: `smax` is how many requests one had at once, `slim` its limit.
fn server_columns(balancer: &Balancer, backend: &str) -> Vec<[String; 2]> {
    let answer = balancer.ask_haproxy(&format!("show stat {backend} 4 -1"));
    let rows = answer.lines().filter(|line| line.starts_with(backend) && !line.contains(",hold,"));
    let columns =
        |line: &str| [5, 6].map(|at| line.split(',').nth(at).unwrap_or_default().to_owned());
    rows.map(columns).collect()
}

#[test]
fn requests_beyond_maxconn_wait_and_changed_maxconn_takes_no_reload() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let run = |name: &str, maxconn: &str| {
        let run = plan.run(name).label("glue_http_80_host", "slow.test");
        run.label("glue_http_80_maxconn", maxconn)
    };
    let (first, second) = (run("first", "1"), run("second", "3"));
    let first = first.start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("slow.test/x", "first saw /x");
    std::thread::scope(|scope| {
        let get = || balancer.get("slow.test/slow?ms=300").status;
        let requests: Vec<_> = (0..4).map(|_| scope.spawn(get)).collect();
        for request in requests {
            assert_eq!(request.join().unwrap(), 200);
        }
    });
    assert_eq!(server_columns(&balancer, "slow.test:80"), [["1", "1"]]);

    let worker = balancer.ask_haproxy("show info");
    drop(first);
    let _second = second.start();
    balancer.wait_until_serves("slow.test/x", "second saw /x");
    wait_for("the new limit, and no other server", || {
        (server_columns(&balancer, "slow.test:80") == [["1", "3"]]).then_some(())
    });
    let pid = |info: &str| info.lines().find(|line| line.starts_with("Pid: ")).map(str::to_owned);
    assert_eq!(pid(&balancer.ask_haproxy("show info")), pid(&worker), "HAProxy was reloaded");
}

/// How many requests of a route wait in HAProxy's queues.
fn count_queued(balancer: &Balancer, backend: &str) -> u32 {
    let answer = balancer.ask_haproxy(&format!("show stat {backend} 6 -1"));
    let rows = answer.lines().filter(|line| line.starts_with(backend));
    rows.filter_map(|line| line.split(',').nth(2)?.parse::<u32>().ok()).sum()
}

#[test]
fn queued_requests_are_served_by_next_container() {
    let Some(docker) = common::find_docker() else { return };
    // A busy machine may take longer than 10 s to start a container.
    let plan = Balancer::plan(&docker).option(&["--wait-for-start", "60s"]);
    let run = |name: &str| {
        let run = plan.run(name).label("glue_http_80_host", "slow.test");
        run.label("glue_http_80_maxconn", "1")
    };
    let (first, second) = (run("first").start(), run("second"));
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("slow.test/x", "first saw /x");
    std::thread::scope(|scope| {
        let get = || balancer.get("slow.test/slow?ms=500").status;
        let requests: Vec<_> = (0..4).map(|_| scope.spawn(get)).collect();
        wait_for("requests in the queue", || {
            (2 <= count_queued(&balancer, "slow.test:80")).then_some(())
        });
        drop(first);
        let _second = second.start();
        for request in requests {
            assert_eq!(request.join().unwrap(), 200);
        }
        balancer.assert_serves(&[("slow.test/x", "second saw /x")]);
    });
}
