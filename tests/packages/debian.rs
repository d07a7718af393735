//! The packages on a small Debian with systemd: installed, upgraded under load, rebooted, removed. `make packages-test`
//! builds them first; `GLUE_PACKAGES` is their folder.

#![allow(clippy::print_stdout, reason = "this is a test")]

use crate::common::{
    self,
    balancer::Request,
    engine::Engine,
    systemd::{self, Machine},
    wait_for,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

const WHY: &str = "make packages-test builds the packages first";
pub(super) const BALANCER: &str = "docker-balancer.service";
pub(super) const GLUE: &str = "docker-glue.service";
pub(super) const HAPROXY: &str = "docker-glue-haproxy.service";
pub(super) const UDP: &str = "docker-glue-udp.service";

/// Returns the only file of the packages' folder with this suffix.
pub(super) fn package_file(suffix: &str) -> PathBuf {
    let folder = std::env::var_os("GLUE_PACKAGES").expect(WHY);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|file| file.to_str().unwrap().ends_with(suffix));
    let file = files.next().unwrap_or_else(|| panic!("there is no package *{suffix}"));
    assert_eq!(files.next(), None, "there is more than one *{suffix}");
    file
}

/// Writes drop-ins with Docker's socket and the constraint to this machine's containers.
pub(super) fn prepare_machine(machine: &Machine) {
    let script = format!(
        "gid=$(stat -Lc %g {socket}); getent group $gid >/dev/null || groupadd -g $gid dockerhost
         for unit in {BALANCER} {GLUE}; do
         mkdir -p /etc/systemd/system/$unit.d
         printf '[Service]\\nSupplementaryGroups=%s\\nEnvironment=DOCKER_HOST=unix://{socket} DOCKER_GLUE_CONSTRAINT={constraint}\\n' \
             $(getent group $gid | cut -d: -f1) >/etc/systemd/system/$unit.d/test.conf
         done
         systemctl daemon-reload",
        socket = machine.socket(),
        constraint = machine.constraint(),
    );
    machine.run(&["sh", "-euc", &script]);
}

/// The commands of docs/src/install/packages.md.
const INSTALL: &str = "sudo apt install -y ./docker-glue_*.deb\n";
pub(super) const START: &str = "sudo systemctl enable --now docker-balancer\n";
pub(super) const PURGE: &str = "sudo apt purge -y docker-glue\n";

/// Runs the commands as root in the folder of the package.
pub(super) fn type_commands(machine: &Machine, commands: &str) {
    machine.run(&["sh", "-euc", &format!("cd /srv/downloads; {}", commands.replace("sudo ", ""))]);
}

pub(super) fn install_package(machine: &Machine, deb: &Path) {
    machine.run(&["sh", "-euc", "rm -rf /srv/downloads; mkdir /srv/downloads"]);
    let name = deb.file_name().unwrap().to_str().unwrap();
    machine.copy(deb, &format!("/srv/downloads/{name}"));
    type_commands(machine, INSTALL);
}

#[test]
fn the_book_says_what_is_typed_here() {
    let page = std::fs::read_to_string("docs/src/install/packages.md").unwrap();
    assert!(page.contains(&format!("```sh\n{INSTALL}{START}```\n")));
    assert!(page.contains(&format!("```sh\n{PURGE}```\n")));
}

pub(super) fn show_property(machine: &Machine, unit: &str, property: &str) -> String {
    machine.run(&["systemctl", "show", unit, "--value", "--property", property]).trim().to_owned()
}

/// Returns the state of the distribution's own HAProxy and of its configuration files.
fn distribution_haproxy(machine: &Machine) -> String {
    let script = "sha256sum /etc/haproxy/* /etc/default/haproxy 2>/dev/null || true; \
                  systemctl is-enabled haproxy; systemctl is-active haproxy";
    machine.run(&["sh", "-c", script])
}

#[test]
#[ignore = "make packages-test builds the packages first"]
fn package_installs_upgrades_reboots_and_purges() {
    let docker = common::find_docker().expect("no Docker engine answers");
    let machine = Machine::boot(&docker, "deb").expect("no machine can be made");
    let before = distribution_haproxy(&machine);
    install_package(&machine, &package_file("0-1_amd64.deb"));
    assert_eq!(
        show_property(&machine, BALANCER, "ActiveState"),
        "inactive",
        "nobody asked for it to start"
    );
    prepare_machine(&machine);
    let _web = machine.container("web").labels("glue_http_80_host=web.test").start();
    type_commands(&machine, START);
    machine.wait_until_serves(80, "web.test", "web saw /");
    assert!(
        show_property(&machine, BALANCER, "StatusText").contains("1 route"),
        "{}",
        machine.log()
    );
    assert_eq!(distribution_haproxy(&machine), before);

    // Labels may use HTTP's ports, and other ports only if the administrator allows them.
    let labels = "glue_http_80_host=other.test glue_http_80_bind=8080";
    let other = machine.container("other").labels(labels).start();
    machine.wait_for_log(&[&other.name, "8080"]);
    assert_ne!(machine.outcome(8080, "other.test"), "other saw /");
    drop(other);
    let notices = machine.run(&["cat", "/usr/share/doc/docker-glue/third-party-notices.txt"]);
    assert!(notices.contains("\ntokio 1"), "{notices}");

    // The users and capabilities of the services.
    for (unit, user, capabilities) in [
        (BALANCER, "docker-balancer", "0000000000000000"),
        (HAPROXY, "docker-glue-haproxy", "0000000000000400"),
        (UDP, "docker-glue-udp", "0000000000000400"),
    ] {
        let pid = show_property(&machine, unit, "MainPID");
        let status = machine.run(&["cat", &format!("/proc/{pid}/status")]);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(field("CapEff:"), capabilities, "{unit}");
        assert_eq!(machine.run(&["id", "-un", &field("Uid:")]).trim(), user, "{unit}");
        machine.run(&[
            "systemd-analyze",
            "verify",
            "--man=no",
            "--man=no",
            &format!("/usr/lib/systemd/system/{unit}"),
        ]);
    }
    machine.run(&[
        "systemd-analyze",
        "verify",
        "--man=no",
        "--man=no",
        "/usr/lib/systemd/system/docker-glue.service",
    ]);
    // The threshold is in tenths: 1.4. HAProxy compiles regular expressions at run time, also when it checks a file.
    let score = ["systemd-analyze", "security", "--no-pager", "--threshold=14", BALANCER];
    let score = machine.run(&score);
    println!("{}", score.lines().last().unwrap_or_default());

    // docker-balancer's user can connect to the UDP plane.
    let show = "runuser -u docker-balancer -- docker-glue-udp show --socket /run/docker-glue-udp/control.sock";
    assert!(machine.run(&["sh", "-c", show]).starts_with("no listeners"));
    let score = ["systemd-analyze", "security", "--no-pager", "--threshold=20", UDP];
    machine.run(&score);

    // HAProxy is restarted, and then killed.
    machine.run(&["systemctl", "restart", HAPROXY]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    machine.run(&["systemctl", "kill", "--signal", "KILL", HAPROXY]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    let late = machine.container("late").labels("glue_http_80_host=late.test").start();
    machine.wait_until_serves(80, "late.test", "late saw /");
    drop(late);

    // A handler is enabled from its example.
    let handlers = "cd /etc/docker-glue/docker-glue.d; cp test.ini.example test.ini";
    machine.run(&["sh", "-euc", handlers]);
    machine.run(&["systemctl", "start", GLUE]);
    let container = machine.container("said").start();
    let journal = || machine.run(&["journalctl", "--no-pager", "--output", "cat", "--unit", GLUE]);
    let line = format!("event=[start] container_id=[{}", container.id);
    wait_for("the handler's line", || journal().contains(&line).then_some(()));
    drop(container);
    machine.run(&["rm", "/etc/docker-glue/docker-glue.d/test.ini"]);
    machine.run(&["systemctl", "reload", GLUE]);
    wait_for("the handler's end", || journal().contains("stopped:").then_some(()));

    // Upgrade to a second build while clients send requests.
    let pids = |unit| show_property(&machine, unit, "MainPID");
    let (haproxy, balancer, udp) = (pids(HAPROXY), pids(BALANCER), pids(UDP));
    let outcomes =
        under_load(&machine, || install_package(&machine, &package_file("+second-1_amd64.deb")));
    assert_eq!(outcomes, BTreeSet::from(["web saw /".to_owned()]));
    assert_eq!((pids(HAPROXY), pids(UDP)), (haproxy, udp));
    assert_ne!(pids(BALANCER), balancer);

    machine.reboot();
    machine.wait_until_serves(80, "web.test", "web saw /");
    wait_for("the balancer after a reboot", || {
        (show_property(&machine, BALANCER, "ActiveState") == "active").then_some(())
    });

    machine.run(&["dpkg", "--remove", "docker-glue"]);
    assert_ne!(machine.outcome(80, "web.test"), "web saw /");
    assert!(machine.run(&["ls", "/var/lib/docker-glue"]).contains("haproxy.cfg"));
    type_commands(&machine, PURGE);
    assert_nothing_is_left(&machine);
    assert_eq!(distribution_haproxy(&machine), before);
}

/// Checks that neither files nor users of the package are left.
pub(super) fn assert_nothing_is_left(machine: &Machine) {
    let script = "find / -xdev \\( -name '*docker-glue*' -o -name '*docker-balancer*' \\) -not -path '/proc/*' \
                  -not -path '/srv/*' -not -path '/var/lib/dpkg/*' -not -path '/var/log/*'; \
                  getent passwd | grep -e docker-glue -e docker-balancer; \
                  getent group | grep -e docker-glue -e docker-balancer; true";
    assert_eq!(machine.run(&["sh", "-c", script]), "");
}

/// Returns the outcomes of all requests that were sent one after the other while `work` ran.
pub(super) fn under_load(machine: &Machine, work: impl FnOnce()) -> BTreeSet<String> {
    let (over, outcomes) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                outcomes.lock().unwrap().insert(machine.outcome(80, "web.test"));
                n += 1;
            }
            n
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        assert!(20 < asker.join().unwrap(), "hardly anybody asked");
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    outcomes.into_inner().unwrap()
}

/// The test's own engine, whose containers survive its restart: the machine is one of them.
#[test]
#[ignore = "make packages-test builds the packages first"]
fn units_survive_a_docker_restart() {
    let mut engine = Engine::new().expect("no engine can be started");
    engine.start();
    engine.load(systemd::build_systemd_image());
    engine.load_image();
    let docker = engine.docker();
    let machine = Machine::boot(&docker, "outage").expect("no machine can be made");
    install_package(&machine, &package_file("0-1_amd64.deb"));
    prepare_machine(&machine);
    let beside = |name: &str, port: u16| {
        let labels = format!("glue_http_{port}_host={name}.test glue_http_{port}_bind=80");
        machine.run_in_its_network(name, port).labels(&labels).start()
    };
    let _web = beside("web", 8000);
    type_commands(&machine, START);
    machine.wait_until_serves(80, "web.test", "web saw /");
    let units = || [BALANCER, HAPROXY].map(|unit| show_property(&machine, unit, "MainPID"));
    let (before, at) = (units(), machine.address_of_port(80));
    let ask = || Request::new(at, "GET", "web.test", "/").send().map(|reply| reply.to_string());

    engine.stop();
    for _ in 0..20 {
        assert_eq!(ask().unwrap(), "web saw /", "while not connected to Docker");
    }
    engine.start();

    let _late = beside("late", 8001);
    machine.wait_until_serves(80, "late.test", "late saw /");
    assert_eq!(ask().unwrap(), "web saw /");
    assert_eq!(units(), before, "nothing was started anew");
    for unit in [BALANCER, HAPROXY] {
        assert_eq!(show_property(&machine, unit, "ActiveState"), "active");
        assert_eq!(show_property(&machine, unit, "NRestarts"), "0");
    }
    machine.wait_for_log(&["lost connection to Docker"]);
}

#[test]
#[ignore = "make packages-test builds the packages first"]
fn drop_in_controls_the_distributions_haproxy() {
    let docker = common::find_docker().expect("no Docker engine answers");
    let machine = Machine::boot(&docker, "dropin").expect("no machine can be made");
    install_package(&machine, &package_file("0-1_amd64.deb"));
    let before = distribution_haproxy(&machine);
    let own = machine.run(&["cat", "/etc/haproxy/haproxy.cfg"]);
    prepare_machine(&machine);
    let _web = machine.container("web").labels("glue_http_80_host=web.test").start();
    machine.run(&["systemctl", "enable", "--quiet", BALANCER]);
    machine.run(&["sh", "-euc", &example_commands(HAPROXY_EXAMPLE, "Uses the distribution's")]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    assert_eq!(show_property(&machine, "haproxy.service", "ActiveState"), "active");
    assert_eq!(show_property(&machine, HAPROXY, "ActiveState"), "inactive");
    let kept = machine.run(&["cat", "/etc/haproxy/haproxy.cfg.before-docker-glue"]);
    assert_eq!(kept, own);
    let pid = show_property(&machine, BALANCER, "MainPID");
    let status = machine.run(&["cat", &format!("/proc/{pid}/status")]);
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");

    // The other way to reload, through systemd, as on Fedora.
    let drop_in = format!("/etc/systemd/system/{BALANCER}.d/haproxy-service.conf");
    let other = "sed -i -e '/MASTER_SOCKET/d' -e 's/^#Environment/Environment/' \"$1\" && systemctl daemon-reload";
    machine.run(&["sh", "-euc", other, "sh", &drop_in]);
    machine.run(&["systemctl", "restart", BALANCER]);
    let labels = "glue_http_80_host=third.test glue_http_80_bind=443";
    let _third = machine.container("third").labels(labels).start();
    machine.wait_until_serves(443, "third.test", "third saw /");

    machine.reboot();
    machine.wait_until_serves(80, "web.test", "web saw /");
    machine.run(&["sh", "-euc", &example_commands(HAPROXY_EXAMPLE, "To undo this")]);
    machine.run(&["systemctl", "start", BALANCER]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    assert_eq!(show_property(&machine, HAPROXY, "ActiveState"), "active");
    machine.run(&["dpkg", "--purge", "docker-glue"]);
    assert_eq!(distribution_haproxy(&machine), before);
}

const HAPROXY_EXAMPLE: &str = "docker-balancer-haproxy-service.conf";

/// Returns the commands of an example below the line with these words.
pub(super) fn example_commands(example: &str, words: &str) -> String {
    let text = std::fs::read_to_string(format!("examples/{example}")).unwrap();
    let below = text.lines().skip_while(|line| !line.contains(words));
    let commands = below.skip_while(|line| !line.starts_with("#   "));
    let commands = commands.map_while(|line| line.strip_prefix("#   ")).collect::<Vec<_>>();
    assert!(!commands.is_empty(), "{words}");
    commands.join("\n")
}

#[test]
#[ignore = "make packages-test builds the packages first"]
fn rpm_has_the_files_of_the_deb_and_valid_scripts() {
    let (rpm, deb) = (package_file("-1.x86_64.rpm"), package_file("0-1_amd64.deb"));
    let words = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (rpm, deb) = (rpm.to_str().unwrap(), deb.to_str().unwrap());
    let requires = words("rpm", &["-qp", "--requires", rpm]);
    assert!(
        requires.contains("haproxy >= 2.6") && requires.contains("glibc >= 2.34"),
        "{requires}"
    );

    let root = tempfile::tempdir().unwrap();
    let str = root.path().to_str().unwrap();
    let database = ["--root", str, "--dbpath", "/var/lib/rpm"];
    words("rpm", &[&database[..], &["--initdb"]].concat());
    words("rpm", &[&database[..], &["-i", "--nodeps", "--noscripts", rpm]].concat());
    let files = |text: String| -> BTreeSet<String> {
        // Files whose paths differ between the two distributions.
        let own = ["/doc/", "/licenses/", "/zsh/", "/lintian/"];
        let lines = text.lines().map(|line| line.trim_start_matches('.').to_owned());
        lines
            .filter(|line| !line.ends_with('/') && !own.iter().any(|text| line.contains(text)))
            .collect()
    };
    let unpacked =
        words("find", &[str, "-type", "f", "-not", "-path", "*/var/*", "-printf", "/%P\n"]);
    let listed = words("sh", &["-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -t", "sh", deb]);
    assert_eq!(files(unpacked), files(listed));

    for script in words(
        "rpm",
        &["-qp", "--queryformat", "%{PREIN}\u{1}%{POSTIN}\u{1}%{PREUN}\u{1}%{POSTUN}", rpm],
    )
    .split('\u{1}')
    {
        assert!(!script.trim().is_empty());
        words("sh", &["-n", "-c", script]);
    }
}

#[test]
#[ignore = "make packages-test builds the packages first"]
fn lintian_and_rpmlint_report_only_justified_findings() {
    let (rpm, deb) = (package_file("-1.x86_64.rpm"), package_file("0-1_amd64.deb"));
    for (program, arguments, clean) in [
        ("lintian", vec!["--fail-on", "warning,error"], ""),
        ("rpmlint", vec!["--config", "packaging/rpm/rpmlint.toml"], "0 errors, 0 warnings"),
    ] {
        let file = if program == "lintian" { &deb } else { &rpm };
        let output = Command::new(program).args(arguments).arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(clean), "{program}: {text}");
    }
}
