//! Tests README.md and the book as they are: the commands are run, the files are checked, and the log lines are
//! compared with the real log. tests/docs/tour.rs does the same with blocks of kind `console`.

use crate::common::{
    DEADLINE,
    balancer::free_port,
    find_docker,
    pages::{self, Page, all, book, container, readme},
    proxy::RecordingSocket,
    unique_name, wait_until,
};
use docker_glue::{
    label::{self, LabelLimits},
    settings::{HostEnv, Settings},
    sources::acme::dns::DnsUpdate,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BALANCER: &str = env!("CARGO_BIN_EXE_docker-balancer");
const GLUE: &str = env!("CARGO_BIN_EXE_docker-glue");

/// The blocks that are not run in a session. Each is run in another test.
const ELSEWHERE: [&str; 26] = [
    // The keeper's tests have a node that is removed for good; the block needs a fleet.
    "etcdctl put /docker-glue/web-7/alive '{\"v\":1,\"state\":\"left\",\"addresses\":[]}'\n\
     etcdctl del --prefix /docker-glue/web-7/\n",
    // tests/balancer/swarm.rs has a Swarm of three managers, and deploys the stack of the examples.
    "docker-balancer --watch --source 'swarm+tcp://10.0.0.1:2376,10.0.0.2:2376?name=swarm&cert_path=/etc/docker-glue/swarm'\n",
    "docker service create --name web --replicas 3 --network front --label glue_http_80_host=app.example.com nginx\n",
    "docker stack deploy --compose-file examples/swarm/stack.yaml edge\n",
    // tests/balancer/sources.rs starts three engines, and drains a container of one.
    "docker-balancer --watch --source 'unix:///var/run/docker.sock?name=here' \\\n    \
     --source 'tcp://10.0.0.2:2376?name=node2&cert_path=/etc/docker-glue/node2'\n",
    "docker-balancer drain web@node2\n",
    // tests/balancer/elsewhere.rs has an engine on another machine.
    "docker run --detach --label glue_http_80_host=app.example.com --publish 10.0.0.2::80 nginx\n",
    // tests/acme/shared_whole.rs does the same with a CA of its own.
    "docker-balancer --watch --acme letsencrypt --acme-store /srv/docker-glue-acme\n",
    // tests/acme/whole.rs does the same with a CA of its own, and tests/balancer/https.rs with files.
    "docker-balancer --watch --acme letsencrypt-staging\n",
    "docker run -d -l glue_http_3000_host=app.example.com -l glue_http_3000_tls=on my-app\n",
    "docker-balancer --watch --certificates /etc/docker-glue/certificates\n",
    // tests/balancer/https.rs does both, and src/sources/certificate/tests.rs reads the layouts of both programs.
    "docker-balancer certificate ca > ca.pem\n",
    "docker-balancer certificate import acme.json --to /etc/docker-glue/certificates\n",
    "docker-balancer --watch --certificates /etc/letsencrypt/live\n",
    "docker-balancer --watch --certificates /srv/nginx-proxy/certs\n",
    // tests/balancer/passthrough.rs starts such a container.
    "docker run -d -l glue_http_8443_host=vault.example.com -l glue_http_8443_tls=pass my-vault\n",
    // tests/packages/compose.rs does the same with its own image.
    "make image\nsh tests/whoami-image.sh demo\ndocker compose -f examples/compose.yaml up --detach\n\
     curl -H 'Host: app.example.com' http://127.0.0.1/api/users\n",
    "ACME=letsencrypt-staging TLS=on docker compose -f examples/compose.yaml up --detach\n",
    // tests/packages/users.rs runs the commands after these lines.
    "sudo install -d -m 750 -g docker-balancer /etc/docker-glue/certificates\n",
    "sudo ln -s /usr/libexec/docker-glue/certbot-hook \
     /etc/letsencrypt/renewal-hooks/deploy/docker-balancer\n",
    "sudo RENEWED_LINEAGE=/etc/letsencrypt/live/app.example.com \
     /usr/libexec/docker-glue/certbot-hook\n",
    "sudo systemctl stop docker-balancer docker-glue docker-glue-haproxy\n\
     sudo find /var/lib/docker-glue -maxdepth 1 -type l -delete\n\
     sudo cp -a /var/lib/docker-glue-handlers/. /var/lib/docker-glue/\n\
     sudo chown -hR docker-glue:docker-glue /var/lib/docker-glue\n",
    // tests/packages/debian.rs runs both.
    "sudo apt install -y ./docker-glue_*.deb\nsudo systemctl enable --now docker-balancer\n",
    "sudo apt purge -y docker-glue\n",
    "make demo\n", // `make_demo_shows_what_it_promises`
    "make test\n", // runs all tests, including these
];

/// The docker command of the session. It puts `$NAME` before names and into labels, replaces the images of the first
/// example by the demo's, and lets whoami say which container it is. A balancer in a container sees only the session's
/// containers. It rejects verbs that the pages do not use.
const DOCKER: &str = r#"#!/bin/bash
set -eu
verb=$1
shift
case $verb in
run)
    options=(--label "readme=$NAME" --env DOCKER_GLUE_CONSTRAINT)
    while [ $# -gt 0 ]; do
        case $1 in
        --name)
            options+=(--name "$NAME-$2" --env "WHOAMI_NAME=$2")
            shift
            ;;
        --network)
            options+=(--network "$NAME-$2")
            shift
            ;;
        mywordpress | myhorizon) options+=(docker-glue-whoami:demo) ;;
        *) options+=("$1") ;;
        esac
        shift
    done
    exec "$DOCKER" run "${options[@]}"
    ;;
stop) exec "$DOCKER" stop "$NAME-$1" ;;
network) exec "$DOCKER" network "$1" --label "readme=$NAME" "$NAME-$2" ;;
exec) exec "$DOCKER" exec "$NAME-$1" "$2" "$3" "$NAME-$4" ;;
*)
    echo "tests/docs/readme.rs does not know what docker $verb is for" >&2
    exit 64
    ;;
esac
"#;

/// Records the process of `-w`, so that the session can end it. Container names get the test's prefix.
const SHIM: &str = r#"#!/bin/sh
case $1 in
drain | undrain) set -- "$1" "$NAME-$2" ;;
-w) echo $$ >"$BALANCER_PID" ;;
esac
exec "$BALANCER" "$@"
"#;

const GLUE_SHIM: &str = "#!/bin/sh\nexec \"$GLUE\" \"$@\"\n";

/// The balancer ends with the session, however the session ends. HAProxy ends with the balancer.
const SESSION: &str = r#"set -eu
end() {
    if [ -f "$BALANCER_PID" ]; then
        kill -TERM "$(cat "$BALANCER_PID")" || true
        wait
    fi
}
trap end EXIT
trap 'exit 130' INT TERM
"#;

/// Host, path, the container that answers at the end of a session, and the path that it sees.
type Answer = (&'static str, &'static str, &'static str, &'static str);

const QUICK_START: [Answer; 4] = [
    ("wp1.example.com", "/x", "wp1", "/x"),
    ("openstack.example.com", "/dashboard/login", "os-ui1", "/dashboard/login"),
    ("hello.example.com", "/", "hello2", "/"),
    ("hello.example.com", "/api/users", "api", "/users"),
];
const GUIDE: [Answer; 3] = [
    ("shop.example.com", "/", "shop", "/"),
    ("admin.example.com", "/shop/orders", "shop", "/shop/orders"),
    ("blog.example.com", "/", "blog", "/"),
];

#[tokio::test]
async fn commands_of_readme_run_as_they_stand() {
    type_commands(&[readme()], &QUICK_START).await;
}

#[tokio::test]
async fn commands_of_the_book_run_as_they_stand() {
    type_commands(&book(), &[&QUICK_START[..], &GUIDE[..]].concat()).await;
}

/// Runs all commands of the pages in one session, in their order.
async fn type_commands(pages: &[Page], answers: &[Answer]) {
    let Some(docker) = find_docker() else { return };
    let blocks = pages::blocks(pages, "sh").into_iter();
    let blocks = blocks.filter(|block| !ELSEWHERE.contains(&block.as_str()));
    let commands: String = blocks.collect();
    assert!(commands.contains("docker-balancer -w") && !commands.contains("make "));
    run_program("sh", &["tests/whoami-image.sh", "demo"]);
    run_program("sh", &["tests/balancer-image.sh", "demo", BALANCER]);
    let dir = Place::new();
    dir.write_handler();
    // A filtering proxy, reduced to what matters here: it records the balancer's requests to Docker.
    let engine = Path::new("/var/run/docker.sock");
    let proxy = engine.exists().then(|| RecordingSocket::in_front_of(engine));

    // At this point a person would look at the result: the session waits for a line of input.
    let commands = SESSION.to_owned() + &commands + "echo done\nread -r _ || true\n";
    let mut session = dir.session(&commands, proxy.as_ref().map(RecordingSocket::url));
    // Each command that prints has the deadline for itself.
    let mut seen = 0;
    let mut is_done = false;
    while !is_done {
        is_done = wait_until("the session prints more", async || {
            let ended = session.try_wait().unwrap().is_some();
            let output = dir.output();
            assert!(!ended, "a command failed:\n{output}");
            let is_longer = std::mem::replace(&mut seen, output.len()) < output.len();
            is_longer.then(|| output.lines().any(|line| line == "done"))
        })
        .await;
    }
    for (host, path, name, seen) in answers {
        let expected = format!("name: {name}\n");
        let answer = wait_until(&format!("{name} answers at {host}{path}"), async || {
            dir.get(host, path).filter(|answer| answer.contains(&expected))
        })
        .await;
        assert!(answer.contains(&format!("path: {seen}\n")), "{host}{path}: {answer}");
    }
    drop(session.stdin.take());
    assert!(session.wait().unwrap().success(), "{}", dir.output());
    assert!(dir.output().contains("GET /api/users"), "the access log:\n{}", dir.output());
    assert_eq!(dir.haproxy(), None, "it stopped with the balancer:\n{}", dir.output());

    let flat_map = proxy.iter().flat_map(RecordingSocket::requested_paths);
    let strange: Vec<_> = flat_map.filter(|path| !is_allowed(path)).collect();
    assert!(strange.is_empty(), "guide/security.md lists what is asked of Docker: {strange:?}");

    // "To apply once and leave HAProxy running"
    let map = format!("80={}", dir.port);
    let once = dir.command(BALANCER).args(["-1", "--map-port", &map]).output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    assert!(dir.get("hello.example.com", "/").unwrap().contains("name: hello2\n"));
    assert!(dir.haproxy().is_some());
    drop(docker);
}

/// "needs only GET of `/events`, `/containers` and `/networks`", and `/_ping` of a silent engine.
fn is_allowed(path: &str) -> bool {
    let path = path.split('/').skip_while(|part| part.is_empty() || part.starts_with('v'));
    let first = path.take(1).collect::<String>();
    let first = first.split('?').next().unwrap_or_default();
    ["events", "containers", "networks", "_ping"].contains(&first)
        && Page::read("docs/src/guide/security.md").text.contains(&format!("`/{first}`"))
}

#[test]
fn make_demo_shows_what_it_promises() {
    if find_docker().is_none() {
        return;
    }
    let port = free_port().to_string();
    let demo = Command::new("make")
        .arg("demo")
        .current_dir(ROOT)
        .env("DEMO_PORT", port)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let cow = String::from_utf8_lossy(&demo.stdout);
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{cow}\n{errors}");
    assert!(cow.contains("All responses were correct."), "{cow}");
    for container in ["wp1", "wp2", "os-ui1", "os-id1"] {
        assert!(cow.contains(&format!("{container}\u{1b}[0m answered")), "{container}: {cow}");
    }
}

#[test]
fn every_fenced_block_has_a_tested_kind() {
    let kinds = all().iter().flat_map(Page::blocks).map(|block| block.kind).collect();
    // tests/docs/tour.rs runs the blocks of kind "console".
    let tested = ["console", "ini", "listing", "python", "sh", "text", "toml", "yaml"];
    let tested = tested.map(str::to_owned);
    assert_eq!(BTreeSet::from(tested), kinds);
    for text in ELSEWHERE {
        assert!(blocks_of_kind("sh").iter().any(|block| block == text), "{text:?} is on a page");
    }
    for block in blocks_of_kind("sh").iter().filter(|block| !ELSEWHERE.contains(&block.as_str())) {
        for line in block.lines().filter(|line| !line.starts_with(' ')) {
            let program = line.split(' ').next().unwrap();
            let flag = ["docker", "docker-balancer", "docker-glue", "curl"].contains(&program);
            assert!(flag, "say in tests/docs/readme.rs how this is tested: {line}");
        }
    }
}

/// The handler files are valid, and the plugins are valid Python.
#[test]
fn readme_files_are_valid() {
    let dir = Place::new();
    let folder = dir.path("docker-glue.d");
    fs::create_dir(&folder).unwrap();
    // A file that two pages show is written once.
    let shown: BTreeSet<_> = blocks_of_kind("ini").into_iter().collect();
    for (number, block) in shown.into_iter().enumerate() {
        // A path of the reader's machine is replaced.
        let block = block.replace("/etc/docker-glue/etcd/", &format!("{}/", folder.display()));
        fs::write(folder.join(format!("{number}.ini")), block).unwrap();
    }
    fs::write(folder.join("password"), "secret\n").unwrap();
    fs::write(folder.join("nginx.tmpl"), "# {{ containers|length }}\n").unwrap();
    run_program(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=readme",
            "-keyout",
            "/dev/null",
            "-out",
            folder.join("ca.pem").to_str().unwrap(),
        ],
    );
    let check =
        dir.command(GLUE).arg("check").arg("--handler-paths").arg(&folder).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    for block in blocks_of_kind("python") {
        let file = dir.path("greeter.py");
        fs::write(&file, block).unwrap();
        run_program("python3", &["-m", "py_compile", file.to_str().unwrap()]);
    }
}

/// The settings files, which may be fragments, and the file of `--acme-dns rfc2136:FILE`.
#[test]
fn settings_are_read_without_a_note() {
    let dir = Place::new();
    for (number, block) in blocks_of_kind("toml").into_iter().enumerate() {
        if block.contains("\nsecret = ") {
            DnsUpdate::parse(&block).unwrap();
            continue;
        }
        let file = dir.path(&format!("{number}.toml"));
        fs::write(&file, &block).unwrap();
        let args = ["docker-balancer".into(), "--watch".into(), "--settings".into(), file.into()];
        let machine = HostEnv { uid: 0, env: BTreeMap::new(), ipv6: true };
        let settings =
            Settings::from_args(&args, &machine).unwrap_or_else(|e| panic!("{block}: {e:?}"));
        assert!(settings.notes.is_empty(), "{block}: {:?}", settings.notes);
    }
}

/// The compose files, or the labels of one service, have no problems.
#[test]
fn compose_files_have_no_problems() {
    let dir = Place::new();
    let blocks = blocks_of_kind("yaml");
    assert!(!blocks.is_empty());
    for block in blocks {
        let service = "services:\n  example:\n    image: example\n";
        let is_whole = block.starts_with("services:");
        let text = if is_whole { block } else { format!("{service}{block}") };
        let file = dir.path("compose.yaml");
        fs::write(&file, &text).unwrap();
        let mut check = dir.command(BALANCER);
        // The policies that labels of the pages name.
        let settings = Path::new(ROOT).join("examples/features/settings.toml");
        check.env("DOCKER_GLUE_SETTINGS", settings).env_remove("DOCKER_GLUE_CONSTRAINT");
        check.args(["check", "--compose"]).arg(file);
        let check = check.output().unwrap();
        let output = String::from_utf8_lossy(&check.stdout);
        assert!(check.status.success() && output.contains(": no problems"), "{text}\n{output}");
    }
}

/// Each warning is a problem's text as it appears in a service manager's log, without the time.
#[test]
fn readme_warnings_match_problem_texts() {
    let lines: Vec<_> =
        blocks_of_kind("text").iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    assert!(!lines.is_empty());
    let mut labels = BTreeMap::from([("glue_http_80_host".to_owned(), "shop.test".to_owned())]);
    for line in &lines {
        let (key, remaining) = line.split_once("label ").unwrap().1.split_once("=\"").unwrap();
        labels.insert(key.to_owned(), remaining.split_once('"').unwrap().0.to_owned());
    }
    let problems = label::parse_labels(&container(labels), &LabelLimits::default()).problems;
    let logged: BTreeSet<_> = problems.iter().map(|problem| format!("WARN {problem}")).collect();
    assert_eq!(logged, lines.into_iter().collect());
}

/// The list of certificates is that of tests/core/https.rs.
#[test]
fn listing_is_that_of_the_snapshot() {
    let snapshot = Path::new(ROOT).join("tests/core/snapshots/core__https__certificates.snap");
    let text = fs::read_to_string(snapshot).unwrap();
    let listing = text.splitn(3, "---\n").nth(2).unwrap();
    assert_eq!(blocks_of_kind("listing"), [listing]);
}

/// Returns the blocks of README.md and the book.
fn blocks_of_kind(kind: &str) -> Vec<String> {
    pages::blocks(&all(), kind)
}

fn run_program(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let status = command.args(arguments).current_dir(ROOT).stdin(Stdio::null()).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

/// A machine without docker-glue, as far as its directories and names are concerned.
struct Place {
    folder: TempDir,
    name: String,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("readme-").tempdir().unwrap();
        let dir = Self { folder, name: unique_name("readme"), port: free_port() };
        fs::create_dir(dir.path("bin")).unwrap();
        for (program, text) in
            [("docker", DOCKER), ("docker-balancer", SHIM), ("docker-glue", GLUE_SHIM)]
        {
            let path = dir.path("bin").join(program);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the first handler of the pages, with a target in this place and without its signal.
    fn write_handler(&self) {
        let shown = blocks_of_kind("ini").swap_remove(0).replace("signal=dnsmasq:HUP\n", "");
        let shown = shown
            .replace("/var/lib/docker-glue-handlers", &self.folder.path().display().to_string());
        fs::create_dir(self.path("docker-glue.d")).unwrap();
        fs::write(self.path("docker-glue.d/hosts.ini"), shown).unwrap();
    }

    fn output(&self) -> String {
        fs::read_to_string(self.path("told")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap();
        command
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}:/usr/sbin", self.path("bin").display()))
            .env("HOME", self.folder.path())
            .env("DOCKER", find_program("docker"))
            .env("NAME", &self.name)
            .env("BALANCER", BALANCER)
            .env("BALANCER_PID", self.path("pid"))
            .env("GLUE", GLUE)
            .env("DOCKER_GLUE_SETTINGS", "/dev/null")
            .env("DOCKER_GLUE_CONSTRAINT", format!("readme={}", self.name))
            .env("DOCKER_GLUE_STATE_DIR", self.path("state"))
            .env("DOCKER_GLUE_RUNTIME_DIR", self.path("run"))
            .stdin(Stdio::null());
        command
    }

    /// Starts bash with these commands; their ports are replaced by free ones.
    fn session(&self, commands: &str, docker: Option<String>) -> Session {
        let commands = commands.replace("8080", &self.port.to_string());
        let commands = commands.replace("8081", &free_port().to_string());
        let file = fs::File::create(self.path("told")).unwrap();
        let mut command = self.command("bash");
        command.envs(docker.map(|url| ("DOCKER_GLUE_DOCKER_URL", url)));
        command
            .args(["-c", &commands])
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        Session(command.spawn().unwrap())
    }

    fn get(&self, host: &str, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let host = format!("Host: {host}");
        let mut curl = Command::new("curl");
        let answer = curl.args(["-sSf", "--max-time", "5", "-H", &host, &url]).output().unwrap();
        answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// Returns the pid of HAProxy's master process while it runs.
    fn haproxy(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.path("run/haproxy.pid")).ok()?.trim().parse().ok()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.contains(self.folder.path().to_str()?).then_some(pid)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let end = Instant::now() + DEADLINE;
        while let Some(pid) = self.haproxy() {
            let signal = if Instant::now() < end { "-TERM" } else { "-KILL" };
            let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
            std::thread::sleep(Duration::from_millis(20));
        }
        let label = format!("label=readme={}", self.name);
        let mut list = Command::new("docker");
        let list = list.args(["ps", "--all", "--quiet", "--filter", &label]).output();
        for id in
            String::from_utf8_lossy(&list.map(|output| output.stdout).unwrap_or_default()).lines()
        {
            let _ = Command::new("docker").args(["rm", "--force", id]).output();
        }
        let prune = ["network", "prune", "--force", "--filter", &label];
        let _ = Command::new("docker").args(prune).output();
    }
}

/// Ends the session's balancer even if the session is interrupted.
struct Session(Child);

impl std::ops::Deref for Session {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Signals the whole group: a hanging command must not delay bash's cleanup.
            let group = format!("-{}", self.0.id());
            let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
            let _ = self.0.wait();
        }
    }
}

fn find_program(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    places.find(|path| path.is_file()).unwrap()
}
