//! The users of the services: docker-balancer's own user keeps keys from the scripts of handlers. The upgrade from a
//! version whose services shared a user, in `tests/packages/earlier`, separates their files.

use super::debian::{
    BALANCER, GLUE, HAPROXY, PURGE, START, assert_nothing_is_left, install_package, package_file,
    prepare_machine, show_property, type_commands, under_load,
};
use crate::common::{
    self, CONSTRAINT, Run,
    certificates::{TestCa, whoami_outcome},
    systemd::Machine,
    wait_for,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A machine with certificates and handlers.
struct Site {
    machine: Machine,
    ca: TestCa,
    folder: TempDir,
}

/// Prints each attempt that succeeds, of those that a handler's script must not be able to do.
const SPY: &str = r#"#!/bin/sh
try() { "$@" >/dev/null 2>&1 && echo "$*"; }
pid=$(cat /srv/pid)
for key in $(cat /srv/keys); do
    try cat "$key"
    try cat "/proc/$pid/root$key"
done
try cat "/proc/$pid/root/var/lib/docker-glue/haproxy.cfg"
try cat "/proc/$pid/environ"
try ls /var/lib/docker-glue/certs
try docker-balancer status --runtime-dir /run/docker-glue
try ls /run/docker-glue
try ls /run/docker-glue-haproxy
try ls /run/docker-glue-udp
echo done
"#;

const SETTINGS: &str = r#"
    mkdir -p /etc/docker-glue/certificates
    sed -i 's/^allow_ports.*/allow_ports = [80, 443, 8081]/' /etc/docker-glue/settings.toml
    echo 'certificates = ["/etc/docker-glue/certificates"]' >>/etc/docker-glue/settings.toml
    chmod 755 /srv/spy.sh
    cd /etc/docker-glue/docker-glue.d
    printf '[handler]\nclass=script\nevents=start\n[params]\nscript=/srv/write-spied.sh\n' >spy.ini
    printf '#!/bin/sh\ncd /var/lib/docker-glue && /srv/spy.sh >spied.part && mv spied.part spied\n' \
        >/srv/write-spied.sh
    chmod 755 /srv/write-spied.sh
    printf '[handler]\nclass=template\nevents=start,die\n[params]\n' >list.ini
    printf 'template=# {%% for it in containers %%}{{ it.name }} {%% endfor %%}\n' >>list.ini
    echo 'target=/var/lib/docker-glue/list' >>list.ini
"#;

impl Site {
    fn new(name: &str) -> Self {
        let docker = common::find_docker().expect("no Docker engine answers");
        let machine = Machine::boot(&docker, name).expect("no machine can be made");
        let site = Self { machine, ca: TestCa::new(), folder: tempfile::tempdir().unwrap() };
        fs::write(site.folder.path().join("ca.pem"), site.ca.pem()).unwrap();
        site
    }

    fn run(&self, script: &str) -> String {
        self.machine.run(&["sh", "-euc", script])
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.folder.path().join("file");
        fs::write(&file, text).unwrap();
        self.machine.copy(&file, path);
    }

    /// Sets docker-balancer's options and three handlers, before the services start.
    fn configure(&self, state: &str) {
        prepare_machine(&self.machine);
        self.write("/srv/spy.sh", SPY);
        self.run(SETTINGS);
        let handler = fs::read_to_string("examples/docker-glue.d/lb.ini.example").unwrap();
        let handler = handler.replace("/var/lib/docker-glue-handlers/lb", &format!("{state}/lb"));
        let handler = format!("{handler}constraint={}-handler\n", self.machine.constraint());
        self.write("/etc/docker-glue/docker-glue.d/lb.ini", &handler);
        self.issue("a", "a.test");
    }

    fn issue(&self, name: &str, host: &str) {
        let pem = self.ca.issue(&[host]);
        self.write(&format!("/etc/docker-glue/certificates/{name}.pem"), &pem);
    }

    fn https_run(&self, name: &str) -> Run {
        let labels = format!("glue_http_80_host={name}.test glue_http_80_tls=on");
        self.machine.container(name).labels(&labels)
    }

    /// Returns a container that the handler `haproxy` serves, on port 8080.
    fn handler_run(&self, name: &str) -> Run {
        let constraint = self.machine.constraint();
        let (_, value) = constraint.split_once('=').unwrap();
        let run = self.machine.container(name).label(CONSTRAINT, format!("{value}-handler"));
        run.label("glue_http_80_host", format!("{name}.test"))
    }

    fn wait_until_https(&self, name: &str) {
        let target = format!("{name}.test:443:{}", self.machine.address_of_port(443));
        wait_for(&format!("https://{name}.test/"), || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--max-time", "20", "--connect-to", &target, "--cacert"]);
            let url = format!("https://{name}.test/");
            let output = curl.arg(self.folder.path().join("ca.pem")).arg(url).output().unwrap();
            let text = whoami_outcome(&String::from_utf8_lossy(&output.stdout));
            (text == format!("{name} saw /")).then_some(())
        });
    }

    /// Writes what [`SPY`] needs: the pid of docker-balancer and the files with keys.
    fn prepare_spy(&self) {
        let pid = show_property(&self.machine, BALANCER, "MainPID");
        let list = "find /var/lib/docker-glue/certs /etc/docker-glue/certificates -name '*.pem' \
                    -not -name [ab].pem >/srv/keys; grep -q certs/ /srv/keys";
        self.run(&format!("echo {pid} >/srv/pid; {list}"));
    }

    /// Returns the attempts that succeed for a process of a user and group.
    fn spy_as(&self, user: &str, group: &str) -> String {
        self.prepare_spy();
        let user = format!("setpriv --reuid {user} --regid {group} --clear-groups /srv/spy.sh");
        self.run(&user)
    }

    /// Returns the attempts that succeed for a script of docker-glue.service, which the start of a container runs.
    fn spy_in_handler(&self) -> String {
        self.prepare_spy();
        self.run("rm -f /var/lib/docker-glue-handlers/spied");
        let _container = self.machine.container("event").start();
        let read = ["cat", "/var/lib/docker-glue-handlers/spied"];
        wait_for("the script of the handler", || {
            let output = self.machine.try_run(&read);
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        })
    }

    fn reloads(&self) -> usize {
        self.machine.log().matches("reloaded HAProxy").count()
    }

    fn assert_owners(&self, expected: &str) {
        let paths = expected.lines().map(|line| line.rsplit_once(' ').unwrap().1);
        let paths = paths.collect::<Vec<_>>().join(" ");
        assert_eq!(self.run(&format!("stat --format '%a %U %G %n' {paths}")), expected);
    }
}

/// Makes the package of an earlier version, whose services run as the user docker-glue.
fn earlier_package(folder: &Path) -> PathBuf {
    let script = r#"
        cd "$1"
        dpkg-deb --raw-extract "$2" root
        cp "$3"/*.service root/usr/lib/systemd/system/
        cp "$3"/sysusers.conf root/usr/lib/sysusers.d/docker-glue.conf
        cp "$3"/tmpfiles.conf root/usr/lib/tmpfiles.d/docker-glue.conf
        rm root/DEBIAN/preinst root/DEBIAN/md5sums root/usr/libexec/docker-glue/migrate-state
        cp "$3"/postinst "$3"/postrm "$3"/prerm root/DEBIAN/
        sed -i 's/^Version: .*/Version: 0.0.9-1/' root/DEBIAN/control
        dpkg-deb --root-owner-group -Zgzip --build root docker-glue_0.0.9-1_amd64.deb"#;
    let earlier = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/earlier");
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(folder).arg(package_file("0-1_amd64.deb"));
    let output = command.arg(earlier).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("docker-glue_0.0.9-1_amd64.deb")
}

/// Returns the block of commands of a page below a line with these words.
fn page_commands(page: &str, words: &str) -> String {
    let text = fs::read_to_string(page).unwrap();
    let (_, below) = text.split_once(words).unwrap_or_else(|| panic!("{words} in {page}"));
    let (_, block) = below.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.replace("sudo ", "")
}

const STATE_OWNERS: &str = "\
    750 docker-balancer docker-balancer /var/lib/docker-glue\n\
    640 docker-balancer docker-balancer /var/lib/docker-glue/haproxy.cfg\n\
    750 docker-balancer docker-balancer /var/lib/docker-glue/gen\n\
    750 docker-balancer docker-balancer /var/lib/docker-glue/certs\n\
    600 docker-balancer docker-balancer /var/lib/docker-glue/lock\n\
    600 docker-balancer docker-balancer /var/lib/docker-glue/history.jsonl\n\
    750 docker-glue docker-glue /var/lib/docker-glue-handlers\n\
    750 docker-balancer docker-balancer /run/docker-glue\n\
    600 docker-balancer docker-balancer /run/docker-glue/control.sock\n\
    755 docker-balancer docker-balancer /run/docker-glue-certificates\n";

#[test]
#[ignore = "make packages-test builds the packages first"]
fn handler_script_cannot_read_keys_haproxy_can() {
    let site = Site::new("users");
    let machine = &site.machine;
    install_package(machine, &package_file("0-1_amd64.deb"));
    site.configure("/var/lib/docker-glue-handlers");
    let _web = site.https_run("a").start();
    let _handler = site.handler_run("lb").start();
    type_commands(machine, START);
    machine.run(&["systemctl", "start", GLUE]);
    site.wait_until_https("a");
    machine.wait_until_serves(8080, "lb.test", "lb saw /");
    let written =
        ["/var/lib/docker-glue/history.jsonl", "/run/docker-glue-certificates/certificates.json"];
    for path in written {
        wait_for(path, || machine.try_run(&["test", "-s", path]).status.success().then_some(()));
    }
    site.assert_owners(STATE_OWNERS);
    let list = "/run/docker-glue-certificates/certificates.json";
    site.assert_owners(&format!("644 docker-balancer docker-balancer {list}\n"));
    site.assert_owners("750 docker-glue-haproxy docker-balancer /run/docker-glue-haproxy\n");
    site.assert_owners("750 docker-glue-udp docker-glue-udp /run/docker-glue-udp\n");

    assert_eq!(site.spy_as("docker-glue", "docker-glue"), "done\n");
    assert_eq!(site.spy_in_handler(), "done\n");
    // The attempts themselves work, for a user with access.
    assert!(site.spy_as("docker-glue-haproxy", "docker-balancer").contains("cat /var/lib/"));
    assert!(site.spy_as("root", "root").contains("docker-balancer status"));
    for unit in [BALANCER, HAPROXY, GLUE] {
        let limits = format!("/proc/{}/limits", show_property(machine, unit, "MainPID"));
        let limits = machine.run(&["cat", &limits]);
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{unit}");
    }

    // certbot's directories, which only root can enter, and the hook that copies from them.
    let page = "docs/src/guide/https.md";
    let lineage = "/etc/letsencrypt/live/c.test";
    site.run(&format!(
        "mkdir -p /etc/letsencrypt/renewal-hooks/deploy; mkdir -p -m 700 {lineage}
         chmod 700 /etc/letsencrypt/live; rm -r /etc/docker-glue/certificates"
    ));
    site.run(&page_commands(page, "With the packages its user"));
    site.run(&page_commands(page, "by a deploy hook"));
    let _host = site.https_run("c").start();
    let pem = site.ca.issue(&["c.test"]);
    let (chain, key) = pem.split_at(pem.find("-----BEGIN PRIVATE KEY").unwrap());
    site.write(&format!("{lineage}/fullchain.pem"), chain);
    site.write(&format!("{lineage}/privkey.pem"), key);
    site.run(&format!("chmod 600 {lineage}/privkey.pem"));
    let hook = page_commands(page, "that exists already");
    site.run(&hook.replace("app.example.com", "c.test"));
    site.wait_until_https("c");
    site.assert_owners(
        "640 root docker-balancer /etc/docker-glue/certificates/c.test/privkey.pem\n",
    );
    assert_eq!(site.spy_as("docker-glue", "docker-glue"), "done\n");

    machine.run(&["dpkg", "--remove", "docker-glue"]);
    let kept = machine.run(&["ls", "/var/lib/docker-glue", "/var/lib/docker-glue-handlers"]);
    assert!(kept.contains("certs\n") && kept.contains("list\n"), "{kept}");
    site.run("rm -r /etc/docker-glue/certificates /etc/docker-glue/docker-glue.d /etc/letsencrypt");
    type_commands(machine, PURGE);
    assert_nothing_is_left(machine);
}

#[test]
#[ignore = "make packages-test builds the packages first"]
fn upgrade_separates_users_without_a_lost_request() {
    let site = Site::new("separate");
    let machine = &site.machine;
    let earlier = earlier_package(site.folder.path());
    install_package(machine, &earlier);
    site.configure("/var/lib/docker-glue");
    let _hosts = common::start_all(vec![
        site.https_run("a"),
        site.handler_run("lb"),
        machine.container("web").labels("glue_http_80_host=web.test"),
    ]);
    type_commands(machine, START);
    machine.run(&["systemctl", "start", GLUE]);
    site.wait_until_https("a");
    machine.wait_until_serves(8080, "lb.test", "lb saw /");
    machine.wait_until_serves(80, "web.test", "web saw /");
    let state = "cd /var/lib/docker-glue; sha256sum certs/*; head -n 1 history.jsonl";
    let kept = wait_for("all files", || {
        let output = machine.try_run(&["sh", "-euc", state]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success()
            && text.ends_with("}\n")
            && site.run("cat /var/lib/docker-glue/list").contains("web"))
        .then_some(text)
    });
    let (haproxy, reloads) = (show_property(machine, HAPROXY, "MainPID"), site.reloads());

    let current = package_file("0-1_amd64.deb");
    let outcomes = under_load(machine, || install_package(machine, &current));
    assert_eq!(outcomes, BTreeSet::from(["web saw /".to_owned()]));
    site.wait_until_https("a");
    assert_eq!(site.run(state), kept);
    assert_eq!(site.reloads(), reloads);
    site.assert_owners(STATE_OWNERS);
    machine.wait_until_serves(8080, "lb.test", "lb saw /");

    // HAProxy still runs with its earlier group. It takes certificates, and reloads.
    assert_eq!(site.spy_in_handler(), "done\n");
    assert_eq!(site.spy_as("docker-glue", "docker-glue"), "done\n");
    site.issue("b", "b.test");
    let b = site.https_run("b").start();
    site.wait_until_https("b");
    let labels = "glue_http_80_host=port.test glue_http_80_bind=8081";
    let _port = machine.container("port").labels(labels).start();
    machine.wait_until_serves(8081, "port.test", "port saw /");
    assert_eq!(site.reloads(), reloads + 1);
    for name in ["a", "b"] {
        site.wait_until_https(name);
    }
    assert_eq!(show_property(machine, HAPROXY, "MainPID"), haproxy);

    // The handlers go on with their files, which other programs find at both places.
    for place in ["/var/lib/docker-glue/list", "/var/lib/docker-glue-handlers/list"] {
        wait_for("the template's target", || {
            machine.run(&["cat", place]).contains(&b.name).then_some(())
        });
    }
    machine.run(&["systemctl", "restart", HAPROXY]);
    site.wait_until_https("a");
    assert_eq!(site.spy_as("docker-glue", "docker-glue"), "done\n");

    // Back to the earlier version, by the commands of the book, and forth again.
    site.run(&page_commands("docs/src/install/upgrade.md", "To return to"));
    install_from(machine, &earlier);
    machine.run(&["systemctl", "start", HAPROXY, BALANCER, GLUE]);
    site.wait_until_https("a");
    assert_eq!(site.run("stat --format %U /var/lib/docker-glue/lock"), "docker-glue\n");
    assert!(site.spy_as("docker-glue", "docker-glue").contains("cat /var/lib/docker-glue/certs/"));
    install_package(machine, &current);
    site.wait_until_https("b");
    site.assert_owners(STATE_OWNERS);
    machine.wait_until_serves(8080, "lb.test", "lb saw /");
    assert_eq!(
        site.run("head -n 1 /var/lib/docker-glue/history.jsonl"),
        kept.lines().last().unwrap().to_owned() + "\n"
    );
}

/// Installs a package that is older than the installed one.
fn install_from(machine: &Machine, deb: &Path) {
    machine.copy(deb, "/srv/older.deb");
    machine.run(&["dpkg", "--install", "/srv/older.deb"]);
}

/// A state directory of an earlier version, with files of handlers and of the administrator.
const EARLIER_STATE: &str = r#"
    rm -rf /var/lib/docker-glue /var/lib/docker-glue-handlers /var/lib/docker-glue-handlers.part
    mkdir -p -m 750 /var/lib/docker-glue; cd /var/lib/docker-glue
    mkdir -p certs gen/a acme/ca handlers/list lb/gen .ssh 'two words'
    for file in haproxy.cfg history.jsonl lock certs/1.pem gen/a/routes.map acme/ca/account.json .ssh/id \
        handlers/list/pending.json lb/haproxy.cfg hosts 'two words/a b'; do
        echo "content of $file" >"$file"
        chmod 640 "$file"
    done
    chmod 600 acme/ca/account.json
    ln -s hosts link
    chown -hR docker-glue:docker-glue .
    echo base >base.cfg"#;

/// Kills the script at one of its commands that change files: the one whose number is in /srv/stop.
const KILLER: &str = r#"#!/bin/sh
n=$(($(cat /srv/count) + 1))
echo $n >/srv/count
[ $n -ne "$(cat /srv/stop)" ] || kill -KILL $PPID
PATH=${PATH#*:} exec "${0##*/}" "$@"
"#;

/// Functions of the test's scripts.
const FUNCTIONS: &str = "
    migrate() { echo 0 >/srv/count; echo $1 >/srv/stop; PATH=/srv/bin:$PATH sh /srv/migrate-state 2>/srv/errors; }
    tree() { find /var/lib/docker-glue /var/lib/docker-glue-handlers -printf '%u %g %m %p %l\\n' | sort; }";

/// Interrupts the script at each command, runs it twice more, and prints what differs from the tree in /srv/expected.
const INTERRUPT: &str = "
    n=1
    while [ $n -le $count ]; do
        earlier
        if migrate $n; then echo \"$n: not interrupted\"; fi
        migrate 0
        tree | diff /srv/expected - || echo \"$n: another tree\"
        migrate 0
        [ $(cat /srv/count) = 0 ] || echo \"$n: something was left to do\"
        n=$((n + 1))
    done";

#[test]
#[ignore = "make packages-test runs it with the other tests of packages"]
fn interrupted_migration_is_continued() {
    let site = Site::new("killed");
    site.machine.copy(Path::new("packaging/migrate-state"), "/srv/migrate-state");
    site.machine.copy(Path::new("packaging/sysusers.conf"), "/usr/lib/sysusers.d/docker-glue.conf");
    site.write("/srv/killer", KILLER);
    site.run(
        "systemd-sysusers docker-glue.conf; mkdir /srv/bin; chmod 755 /srv/killer
         for name in cp chgrp chmod chown ln mkdir mv rm sync; do ln -s /srv/killer /srv/bin/$name; done",
    );
    let functions = format!("{FUNCTIONS}\n    earlier() {{ {EARLIER_STATE}\n    }}\n");
    let all = format!(
        "{functions} earlier; migrate 0; tree | tee /srv/expected; cat /srv/count >/srv/all"
    );
    let expected = site.run(&all);
    for line in [
        "docker-balancer docker-balancer 600 /var/lib/docker-glue/acme/ca/account.json",
        "docker-balancer docker-balancer 640 /var/lib/docker-glue/.ssh/id",
        "docker-glue docker-glue 640 /var/lib/docker-glue-handlers/.ssh/id",
        "docker-glue docker-glue 640 /var/lib/docker-glue-handlers/handlers/list/pending.json",
        "docker-glue docker-glue 640 /var/lib/docker-glue-handlers/two words/a b",
        "root root 777 /var/lib/docker-glue/lb /var/lib/docker-glue-handlers/lb",
        "root root 644 /var/lib/docker-glue/base.cfg",
    ] {
        assert!(expected.lines().any(|found| found.trim_end() == line), "{line} in {expected}");
    }
    let count: u32 = site.run("cat /srv/all").trim().parse().unwrap();
    assert!(10 < count, "{count}");
    assert_eq!(site.run(&format!("{functions} count={count}; {INTERRUPT}")), "");
}
