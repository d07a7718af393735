//! `docker-balancer plan` with the machine's engine and a real HAProxy: what it predicts, and that the prediction is
//! right.

use crate::common::{
    self, CONSTRAINT,
    balancer::{Balancer, BalancerPlan, free_port},
    wait_for,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::SystemTime,
};

fn run_plan(plan: &BalancerPlan, words: &[&str]) -> Output {
    plan.command().arg("plan").args(words).output().unwrap()
}

fn exit_status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout_text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the exit status and the JSON object.
fn plan_json(plan: &BalancerPlan, words: &[&str]) -> (i32, Value) {
    let output = run_plan(plan, &[words, &["--format", "json"]].concat());
    let text = stdout_text(&output);
    let error = String::from_utf8_lossy(&output.stderr);
    (
        exit_status(&output),
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{error}")),
    )
}

fn field_texts(object: &Value, list: &str, field: &str) -> Vec<String> {
    let all = object[list].as_array().unwrap().iter();
    all.map(|value| value[field].as_str().unwrap().to_owned()).collect()
}

fn assert_nothing_planned(plan: &BalancerPlan, words: &[&str], when: &str) {
    let (status, object) = plan_json(plan, words);
    assert_eq!(status, 0, "{when}: {object:#}");
    assert_eq!(object["result"], "nothing", "{when}");
    assert_eq!(object["before"], "haproxy", "{when}");
    assert_eq!(
        stdout_text(&run_plan(plan, &[words, &["--format", "text"]].concat())),
        "",
        "{when}"
    );
    let human = stdout_text(&run_plan(plan, words));
    assert!(
        human.contains("Nothing would change: HAProxy has all routes of the labels."),
        "{human}"
    );
}

/// Returns every file below the folder, with its time and content.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            found.extend(files_below(&path));
        }
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path, (meta.modified().unwrap(), content));
    }
    found
}

#[test]
fn plan_after_apply_is_empty() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let web = balancer.run("web").label("glue_http_80_host", "a.test").start();
    balancer.wait_until_serves("a.test/", "web saw /");
    // A route in a spare backend over the runtime API, with a check of its own path.
    let labels = "glue_http_80_host=b.test glue_http_80_prefix=x glue_http_80_strip_prefix=yes";
    let api = balancer.run("api").labels(labels).label("glue_http_80_check", "/").start();
    balancer.wait_until_serves("b.test/x/y", "api saw /y");
    let map = balancer.ask_haproxy("show map routes.map");
    assert!(
        map.contains("spare-http-001")
            || balancer.ask_haproxy("show info").contains("adds-backends")
    );
    assert_nothing_planned(&balancer, &[], "after two containers came");

    let before = files_below(&balancer.state());
    assert_nothing_planned(&balancer, &[], "once more");
    assert_eq!(files_below(&balancer.state()), before, "a plan writes nothing");

    let drain = balancer.command().args(["drain", &web.id]).output().unwrap();
    assert!(drain.status.success());
    assert_nothing_planned(&balancer, &[], "with a drained container");
    let human = stdout_text(&run_plan(&balancer, &[]));
    assert!(human.contains("gets no new requests (drained"), "{human}");

    api.docker(&["pause"]);
    balancer.wait_for_log(&[&format!("- {}", api.name)]);
    assert_nothing_planned(&balancer, &[], "with a paused container");
    let died = format!("die {}", api.name);
    drop(api);
    balancer.wait_for_log(&["updated HAProxy over the runtime API", &died]);
    assert_nothing_planned(&balancer, &[], "with a route that is held");
}

#[test]
fn metrics_listener_is_no_difference_taken_or_free() {
    let Some(docker) = common::find_docker() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [free_port(), taken.local_addr().unwrap().port()] {
        let address = format!("127.0.0.1:{port}");
        let balancer = Balancer::plan(&docker).option(&["--haproxy-metrics", &address]).start();
        let _web = balancer.run("web").label("glue_http_80_host", "a.test").start();
        balancer.wait_until_serves("a.test/", "web saw /");
        assert_nothing_planned(&balancer, &[], &address);
    }
}

#[test]
fn plan_without_daemon_matches_the_later_apply() {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).option(&["--leave-running"]).start();
    let web = balancer.run("web").label("glue_http_80_host", "a.test").start();
    balancer.wait_until_serves("a.test/", "web saw /");
    balancer.stop_with(nix::sys::signal::Signal::SIGTERM);
    assert_nothing_planned(&balancer, &[], "with an HAProxy that was left running");

    let api = balancer.run("api").label("glue_http_80_host", "b.test").start();
    let two = balancer.run("two").label("glue_http_80_host", "a.test").start();
    let (status, object) = plan_json(&balancer, &[]);
    assert_eq!(status, 3, "{object:#}");
    assert_eq!(
        (&object["result"], &object["before"], &object["how"]),
        (&"changes".into(), &"haproxy".into(), &"runtime".into())
    );
    let foretold = field_texts(&object, "routes", "text");
    let (name, other) = (&api.name, &two.name);
    assert_eq!(foretold, [format!("~ a.test:80/: + {other}"), format!("+ b.test:80/ → {name}")]);
    let commands: Vec<_> = object["commands"].as_array().unwrap().iter().collect();
    let added = |value: &&&Value| value.as_str().unwrap().starts_with("add server ");
    // The route of web has two servers now, so their checks differ and web becomes a new server.
    assert_eq!(commands.iter().filter(added).count(), 3, "{commands:?}");
    let maps = field_texts(&object, "files", "diff").join("\n");
    assert!(maps.contains("\n+b.test:80/ spare-tcp-001 0 60000 safe b.test:80"), "{maps}");

    let human = run_plan(&balancer, &[]);
    assert_eq!(human.status.code(), Some(3));
    for part in ["Routes\n", "HAProxy is updated without a reload: ", "Files\n  --- "] {
        assert!(stdout_text(&human).contains(part), "{part}: {}", stdout_text(&human));
    }

    let before = balancer.log().len();
    balancer.start_again();
    balancer.wait_until_serves("b.test/", "api saw /");
    // The log has the same lines.
    for line in &foretold[1..] {
        balancer.wait_for_log(&[line]);
    }
    assert!(before < balancer.log().len());
    assert_nothing_planned(&balancer, &[], "after it was applied");

    // A new public port needs a reload, and the plan says so.
    balancer.stop_with(nix::sys::signal::Signal::SIGTERM);
    drop(web);
    let late = balancer.run("late").labels("glue_http_80_host=c.test glue_http_80_bind=81").start();
    let (status, object) = plan_json(&balancer, &[]);
    assert_eq!(status, 3);
    assert_eq!((&object["how"], &object["why"]), (&"reload".into(), &"new public port 81".into()));
    drop(late);
}

#[test]
fn plan_without_prior_state_is_all_new_and_writes_nothing() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let (status, object) = plan_json(&plan, &[]);
    assert_eq!(status, 3);
    assert_eq!((&object["before"], &object["how"]), (&"nothing".into(), &"start".into()));
    assert_eq!(field_texts(&object, "routes", "text"), [format!("+ a.test:80/ → {}", web.name)]);
    assert!(!plan.state().exists() && !plan.runtime().exists());
    let human = stdout_text(&run_plan(&plan, &[]));
    assert!(
        human.contains("everything is shown as new") && human.contains("HAProxy is started"),
        "{human}"
    );
    let patch = stdout_text(&run_plan(&plan, &["--format", "text"]));
    assert!(patch.starts_with("--- /dev/null\n+++ "), "{patch}");
    assert!(patch.contains("\n+a.test:80/ a.test:80 0 60000 safe a.test:80\n"), "{patch}");
    assert!(!plan.state().exists() && !plan.runtime().exists());

    // After `--once` HAProxy runs without a docker-balancer, and nothing would change.
    assert!(plan.command().arg("--once").output().unwrap().status.success());
    assert_nothing_planned(&plan, &[], "after --once");
    drop(web);
    let (status, object) = plan_json(&plan, &[]);
    assert_eq!(
        (status, field_texts(&object, "routes", "text")),
        (3, vec!["- a.test:80/".to_owned()])
    );

    // If HAProxy is not running, the previous state is read from its files.
    let pid = plan.master_pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(-pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    wait_for("the end of HAProxy", || plan.find_master().is_none().then_some(()));
    let (status, object) = plan_json(&plan, &[]);
    assert_eq!((status, &object["before"]), (3, &"files".into()));
    assert_eq!(field_texts(&object, "routes", "text"), ["- a.test:80/"]);
}

#[test]
fn plan_without_docker_exits_with_status_4() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
        let nowhere = format!("unix://{}", at("none.sock"));
        command.args(["--docker-url", &nowhere, "--state-dir", &at("state")]);
        command.args(["--runtime-dir", &at("run")]).args(words).output().unwrap()
    };
    for words in [&["plan"][..], &["diff", "--format", "json"]] {
        let output = run(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((exit_status(&output), stdout_text(&output).as_str()), (4, ""), "{error}");
        assert!(error.starts_with("docker-balancer: Docker does not answer: "), "{error}");
    }
    let output = run(&["plan", "--compose", &at("none.yaml")]);
    assert_eq!(exit_status(&output), 1);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("cannot read") && error.contains("none.yaml"), "{error}");
}

/// A compose file in the balancer's folder, and the containers that Compose would start from it.
struct Shop<'a> {
    balancer: &'a Balancer,
    file: PathBuf,
}

impl Shop<'_> {
    fn write(&self, services: &str) {
        let constraint = self.constraint();
        let services = services.replace("CONSTRAINT", &format!("{CONSTRAINT}: {constraint}"));
        let image = common::build_whoami_image();
        let text = format!(
            "name: shop\nservices:\n{}networks:\n  default:\n    name: bridge\n    external: true\n",
            services.replace("IMAGE", image)
        );
        fs::write(&self.file, text).unwrap();
    }

    fn constraint(&self) -> String {
        let words: Vec<_> = self
            .balancer
            .command()
            .get_args()
            .map(|text| text.to_string_lossy().into_owned())
            .collect();
        let at = words.iter().position(|word| word == "--constraint").unwrap();
        words[at + 1].split_once('=').unwrap().1.to_owned()
    }

    fn words(&self) -> Vec<String> {
        vec!["--compose".to_owned(), self.file.display().to_string()]
    }

    fn plan(&self) -> (i32, Value) {
        let words = self.words();
        plan_json(self.balancer, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts a container with the labels that Compose sets.
    fn up(&self, service: &str, number: u8, labels: &str) -> common::Container {
        let run = self.balancer.run(service).labels(labels);
        let run = run.label("com.docker.compose.project", "shop");
        let run = run.label("com.docker.compose.service", service);
        run.label("com.docker.compose.container-number", number).start()
    }
}

#[test]
fn plan_of_a_compose_file_matches_the_later_apply() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let _other = balancer.run("other").label("glue_http_80_host", "other.test").start();
    balancer.wait_until_serves("other.test/", "other saw /");
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop { balancer: &balancer, file: folder.path().join("compose.yaml") };
    shop.write("  web:\n    image: IMAGE\n    scale: 2\n    labels:\n      CONSTRAINT\n      glue_http_80_host: ${SHOP:-shop.test}\n  db:\n    image: none/such\n");
    let (status, object) = shop.plan();
    assert_eq!(status, 3, "{object:#}");
    assert_eq!(object["how"], "runtime");
    let text = "+ shop.test:80/ → shop-web-1 (not running yet), shop-web-2 (not running yet)";
    assert_eq!(field_texts(&object, "routes", "text"), [text]);
    let servers = object["routes"][0]["servers"].as_array().unwrap();
    for server in servers {
        assert_eq!((&server["id"], &server["address"]), (&Value::Null, &Value::Null));
        assert_eq!((&server["port"], &server["weight"]), (&80.into(), &100.into()));
    }
    let whole = object.to_string();
    assert!(
        whole.contains(
            "add server spare-tcp-001/shop-web-1-<id>:80 <shop-web-1>:80 id <number> weight 100"
        ),
        "{object:#}"
    );
    for invented in ["planned", " 0.1"] {
        assert!(!whole.contains(invented), "{invented} in {object:#}");
    }
    assert!(
        whole.contains(
            "could not read image none/such of service db, so its labels and ports are unknown: \
             Docker does not have the image"
        ),
        "{whole}"
    );
    let words = shop.words();
    let patch = stdout_text(&run_plan(&balancer, &[&words[0], &words[1], "--format", "text"]));
    assert!(patch.contains("+  server shop-web-1-<id>:80 <shop-web-1>:80"), "{patch}");
    assert!(!patch.contains("planned"), "{patch}");

    // One of the two containers runs: the plan only adds the other one.
    let first = shop.up("web", 1, "glue_http_80_host=shop.test");
    balancer.wait_until_serves("shop.test/", "web saw /");
    let (_, object) = shop.plan();
    assert_eq!(
        field_texts(&object, "routes", "text"),
        ["~ shop.test:80/: + shop-web-2 (not running yet)"]
    );
    let servers = object["routes"][0]["servers"].as_array().unwrap();
    assert!(
        servers
            .iter()
            .any(|value| value["container"] == first.name.as_str() && value["address"].is_string())
    );

    // Both run as predicted, and nothing is left to do.
    let second = shop.up("web", 2, "glue_http_80_host=shop.test");
    let value = wait_for("both to serve", || {
        let (status, object) = shop.plan();
        (status == 0).then_some(object)
    });
    assert_eq!(value["routes"], Value::Array(Vec::new()));
    let has = balancer.ask_haproxy("show servers state spare-tcp-001");
    for container in [&first, &second] {
        let server = format!("{}-{}:80", container.name, &container.id[..12]);
        assert!(has.contains(&server), "{has}");
    }

    // Changed labels lead to new containers. A service that was removed from the file stays.
    shop.write("  web:\n    image: IMAGE\n    labels:\n      CONSTRAINT\n      glue_http_80_host: shop.test\n      glue_http_80_weight: 10\n      glue_http_80_hots: x\n");
    let (status, object) = shop.plan();
    assert_eq!(status, 3);
    let text = format!(
        "~ shop.test:80/: + shop-web-1 (not running yet), - {}, - {}",
        first.name, second.name
    );
    assert_eq!(field_texts(&object, "routes", "text"), [text]);
    assert_eq!(object["routes"][0]["servers"][0]["weight"], 10);
    let problems = field_texts(&object, "problems", "text");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("container shop-web-1 (not running yet): label glue_http_80_hots"),
        "{problems:?}"
    );
    shop.write("  other:\n    image: IMAGE\n");
    assert_eq!(shop.plan().0, 0);
}

#[test]
fn configuration_rejected_by_haproxy_is_reported() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.cfg");
    fs::write(&base, "defaults\n  mode http\n  timeout nonsense 5s\n").unwrap();
    let plan = Balancer::plan(&docker).option(&["--base-file", base.to_str().unwrap()]);
    let _web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let output = run_plan(&plan, &[]);
    assert_eq!(exit_status(&output), 1);
    let string = stdout_text(&output);
    assert!(
        string.contains("HAProxy would refuse the configuration: ") && string.contains("nonsense"),
        "{string}"
    );
    assert_eq!(plan_json(&plan, &[]).1["result"], "refused");
}

/// The plan runs in the balancer's container, because HAProxy's networks are known only there. The file comes over
/// standard input.
#[test]
fn plan_inside_the_balancer_container_sees_its_networks() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let (ours, other) = (docker.network("ours"), docker.network("other"));
    let plan = Balancer::plan(&docker).in_container(&ours.name);
    let near = plan.run("near").network(&ours).label("glue_http_80_host", "near.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("near.test/", "near saw /");
    let words: Vec<_> =
        balancer.command().get_args().map(|text| text.to_string_lossy().into_owned()).collect();
    let constraint = words.iter().find(|text| text.starts_with(CONSTRAINT)).unwrap().clone();
    let exec = |more: &[&str], text: &str| {
        let mut command = docker.command(&["exec", "--interactive", &balancer.container().id]);
        command.arg("/usr/bin/docker-balancer").args(&words).arg("plan").args(more);
        command.args(["--format", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        (exit_status(&output), object)
    };
    assert_eq!(exec(&[], "").0, 0);
    let service = |name: &str, network: &str| {
        format!(
            "  {name}:\n    labels: [{constraint}, glue_http_80_host={name}.test]\n    networks: [{network}]\n"
        )
    };
    let network = |name: &str, network: &common::Network| {
        format!("  {name}: {{external: true, name: {}}}\n", network.name)
    };
    let text = format!(
        "name: shop\nservices:\n{}{}networks:\n{}{}",
        service("in", "ours"),
        service("out", "other"),
        network("ours", &ours),
        network("other", &other)
    );
    let (status, object) = exec(&["--compose", "-"], &text);
    assert_eq!(status, 3, "{object:#}");
    assert_eq!(
        field_texts(&object, "routes", "text"),
        ["+ in.test:80/ → shop-in-1 (not running yet)"]
    );
    let out = format!(
        "container shop-out-1 (not running yet): HAProxy cannot reach the container; connect it to \
         HAProxy's network {}",
        ours.name
    );
    assert_eq!(field_texts(&object, "problems", "text"), [out]);
    drop(near);
}

#[test]
fn plan_during_rollback_is_of_the_rolled_back_routes() {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).option(&["--leave-running"]).start();
    let web = balancer.run("web").label("glue_http_80_host", "a.test").start();
    balancer.wait_until_serves("a.test/", "web saw /");
    let late = balancer.run("late").label("glue_http_80_host", "late.test").start();
    balancer.wait_until_serves("late.test/", "late saw /");
    let history = balancer.command().args(["history", "--json"]).output().unwrap();
    let history: Vec<Value> = serde_json::from_slice(&history.stdout).unwrap();
    let came = |value: &&Value| value["changes"].to_string().contains(&web.name);
    let good = history.iter().find(came).unwrap()["generation"].to_string();
    let turn = |word: &str| {
        let output = balancer.command().args(["rollback", word]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    turn(&good);
    balancer.wait_until_serves("late.test/", "404");

    let string = format!("rollback to generation {good} is active since ");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yaml");
    let shop = Shop { balancer: &balancer, file };
    shop.write("  shop:\n    image: IMAGE\n    labels:\n      CONSTRAINT\n      glue_http_80_host: shop.test\n");
    let words = shop.words();
    let on_hold = |balancer: &BalancerPlan| {
        for (words, part) in [
            (&[][..], "; newer containers are not served until docker-balancer rollback --release"),
            (
                &words,
                "; the planned containers are not served until docker-balancer rollback --release",
            ),
        ] {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let (status, object) = plan_json(balancer, &words);
            assert_eq!((status, &object["result"]), (0, &"nothing".into()), "{object:#}");
            let notes = object["notes"].to_string();
            assert!(notes.contains(&string) && notes.contains(part), "{notes}");
            assert!(stdout_text(&run_plan(balancer, &words)).contains(&string));
        }
    };
    on_hold(&balancer);
    balancer.stop_with(nix::sys::signal::Signal::SIGTERM);
    on_hold(&balancer);

    balancer.start_again();
    wait_for("the release, once it knows the containers", || {
        let output = balancer.command().args(["rollback", "--release"]).output().unwrap();
        output.status.success().then_some(())
    });
    balancer.wait_until_serves("late.test/", "late saw /");
    assert_nothing_planned(&balancer, &[], "after the release");
    drop(late);
}

/// Docker still reports the container as running, and its labels do not tell. Only the running docker-balancer knows
/// that the container is stopping.
#[test]
fn stopping_container_stays_excluded_from_the_plan() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let web = balancer.run("web").label("glue_http_80_host", "a.test").start();
    let two = balancer.run("two").label("glue_http_80_host", "a.test");
    let two = two.env("WHOAMI_IGNORE_TERM", "1").start();
    balancer.wait_until_shared("a.test/", &["web", "two"]);
    two.docker(&["kill", "--signal", "TERM"]);
    balancer.wait_until_shared("a.test/", &["web"]);
    assert_nothing_planned(&balancer, &[], "while one of two is stopping");
    drop((web, two));
}

#[test]
fn host_of_another_owner_is_not_foretold_where_the_state_directory_says_whose_it_is() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--own-hosts-by", "team"]);
    let labels = |team: &str, more: &str| format!("glue_http_80_host=app.test team={team} {more}");
    let first = plan.run("first").labels(&labels("a", "")).start();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("app.test/", "first saw /");
    let _evil = balancer.run("evil").labels(&labels("b", "glue_http_80_prefix=login")).start();
    balancer.wait_for_log(&["WARN", "-evil (", "team=a"]);
    // This container is younger than the one that waits.
    let _second = balancer.run("second").labels(&labels("a", "")).start();
    balancer.wait_until_shared("app.test/", &["first", "second"]);
    drop(first);
    balancer.wait_until_shared("app.test/", &["second"]);
    let owners = balancer.state().join("hosts.json");
    let kept = || fs::read_to_string(&owners).is_ok_and(|text| text.contains("team=a"));
    wait_for("who has the host, on disk", || kept().then_some(()));
    assert_nothing_planned(&balancer, &[], "beside the docker-balancer");
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    let (_, object) = plan_json(&balancer, &[]);
    let changes = object["routes"].to_string();
    assert!(!changes.contains("login"), "{changes}");
    let problems = object["problems"].to_string();
    assert!(problems.contains("team=a"), "{problems}");
}
