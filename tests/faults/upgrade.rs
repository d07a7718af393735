//! A docker-balancer takes the place of an earlier version. The HAProxy that this has left running has names that are
//! not given any more, and serves on.

use crate::{
    asker::Asker,
    common::{self, Container, balancer::Balancer, wait_for},
    haproxy::write_wrapper,
};
use docker_glue::haproxy::name;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

const HOST: &str = "glue_http_80_host";
const OLD_FINGERPRINT: &str = "docker-balancer 0123456789abcdef";

/// A balancer that has ended, and its HAProxy, which serves as that of an earlier version would.
struct Upgrade {
    /// Its HAProxy refuses all configurations while this file is there.
    refuse: PathBuf,
    balancer: Balancer,
    /// The only one of a route whose requests are not sent again.
    once: Container,
    _others: [Container; 4],
    _folder: tempfile::TempDir,
}

impl Upgrade {
    fn prepare(docker: &common::Docker) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let refuse = folder.path().join("refuse");
        let script = format!("[ \"$1\" = -c ] && [ -e {} ] && exit 1", refuse.display());
        let wrapper = write_wrapper(folder.path(), &script);
        let plan = Balancer::plan(docker).option(&["--haproxy-bin", wrapper.to_str().unwrap()]);
        let plan = plan.option(&["--leave-running", "--wait-for-start", "1s"]);
        let run = |name: &str, host: &str| plan.run(name).label(HOST, host);
        let only = run("only", "only.test").start();
        let checked = run("checked", "checked.test").label("glue_http_80_check", "/").start();
        let others =
            [only, checked, run("one", "two.test").start(), run("two", "two.test").start()];
        let once = run("once", "once.test").label("glue_http_80_retry", "off").start();
        let on_hold = run("held", "held.test").start();
        let gone = run("gone", "gone.test").label("glue_http_80_retry", "off").start();
        let mut balancer = plan.start().wait_until_started();
        balancer.wait_until_all_serve(&[("held.test", "held saw /"), ("gone.test", "gone saw /")]);
        drop((on_hold, gone));
        balancer.wait_until_all_serve(&[("held.test", "503"), ("gone.test", "503")]);
        assert!(balancer.stop_with(Signal::SIGTERM).success());
        load_old_names(&balancer);
        Self { refuse, balancer, once, _others: others, _folder: folder }
    }

    fn begin_load(&self) -> [Asker; 6] {
        let requests = [
            ("GET", "only.test"),
            ("POST", "only.test"),
            ("GET", "checked.test"),
            ("GET", "two.test"),
            ("GET", "held.test"),
            ("GET", "gone.test"),
        ];
        let askers = requests.map(|(method, url)| Asker::begin_with(&self.balancer, method, url));
        askers[0].more(5);
        askers
    }

    /// No request was lost, and none is lost now.
    fn check_answers(&self, askers: [Asker; 6]) {
        for asker in &askers {
            asker.more(5);
        }
        let expected =
            ["only saw /", "only saw /", "checked saw /", "one saw /, two saw /", "503", "503"];
        let answers = askers.map(|asker| asker.end().join(", "));
        assert_eq!(answers, expected, "{}", self.balancer.log());
    }

    /// How often HAProxy was reloaded.
    fn reloads(&self) -> usize {
        self.balancer.log().matches("reloaded HAProxy").count()
    }

    fn servers(&self) -> String {
        self.balancer.ask_haproxy("show servers state")
    }
}

/// Has the running HAProxy load what is stored with the names of an earlier version.
fn load_old_names(balancer: &Balancer) {
    let path = balancer.state().join("haproxy.cfg");
    let config = fs::read_to_string(&path).unwrap();
    let find = |word: &str| {
        let (_, text) = config.split_once(&format!("{word} ")).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    let (generation, fingerprint) = (find("default-path origin"), find("description"));
    let old_generation = format!("{generation}-old");
    fs::create_dir(&old_generation).unwrap();
    for file in fs::read_dir(&generation).unwrap() {
        let file = file.unwrap();
        let to = Path::new(&old_generation).join(file.file_name());
        fs::write(to, with_old_names(&fs::read_to_string(file.path()).unwrap())).unwrap();
    }
    let old_fingerprint = match fingerprint.split_once(" adds") {
        Some((_, mark)) => format!("{OLD_FINGERPRINT} adds{mark}"),
        None => OLD_FINGERPRINT.to_owned(),
    };
    let config =
        config.replace(&generation, &old_generation).replace(&fingerprint, &old_fingerprint);
    fs::write(&path, with_old_names(&config)).unwrap();
    kill(Pid::from_raw(balancer.master_pid()), Signal::SIGUSR2).unwrap();
    wait_for("HAProxy with the old names", || {
        let answer = UnixStream::connect(balancer.runtime().join("haproxy.sock"));
        answer.ok().filter(|_| balancer.ask_haproxy("show backend").contains("nobody\n"))
    });
}

/// Servers have numbers that depend on their names.
fn with_old_names(text: &str) -> String {
    let rename = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let single = words.iter().find(|word| word.ends_with(":single"));
        let Some(new) = single else { return line.replace("no-server", "nobody") };
        let old = new.replace(":single", ":alone");
        let (id, old_id) = (name::server_id(new).to_string(), name::server_id(&old).to_string());
        line.replace(new, &old).replace(&format!(" {id} "), &format!(" {old_id} "))
    };
    text.split_inclusive('\n').map(rename).collect()
}

/// A connection of the worker that serves now: the rest of its request is sent later.
fn begin_request(balancer: &Balancer, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", balancer.bound_port(80))).unwrap();
    stream.set_read_timeout(Some(common::DEADLINE)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n").unwrap();
    stream
}

fn end_request(mut stream: TcpStream) -> String {
    stream.write_all(b"Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

fn ask_master(balancer: &Balancer, command: &str) -> String {
    let mut socket = UnixStream::connect(balancer.runtime().join("master.sock")).unwrap();
    socket.set_read_timeout(Some(common::DEADLINE)).unwrap();
    writeln!(socket, "{command}").unwrap();
    // It waits for more commands otherwise.
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// What the maps of the workers that a reload has replaced say of a route.
fn old_targets(balancer: &Balancer, route: &str) -> Vec<String> {
    let processes = ask_master(balancer, "show proc");
    let (_, old) = processes.split_once("# old workers").unwrap();
    let old = old.split("# programs").next().unwrap();
    let pids = old.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    let find = |pid| {
        let map = ask_master(balancer, &format!("@!{pid} show map routes.map"));
        let target = map.lines().find_map(|line| line.split_once(&format!("{route} ")))?.1;
        Some(target.split(' ').next().unwrap().to_owned())
    };
    pids.filter_map(find).collect()
}

#[test]
fn haproxy_with_names_of_an_earlier_version_is_adopted_with_one_reload_and_no_lost_request() {
    let Some(docker) = common::find_docker() else { return };
    let mut upgrade = Upgrade::prepare(&docker);
    let before = upgrade.servers();
    assert!(before.contains(":alone ") && !before.contains(":single "), "{before}");
    let askers = upgrade.begin_load();
    let slow = upgrade.balancer.request("GET", "only.test/slow?ms=15000").open().unwrap();
    let begun = begin_request(&upgrade.balancer, "once.test");
    upgrade.balancer.start_again();
    wait_for("the reload", || (upgrade.reloads() == 1).then_some(()));
    let after = upgrade.servers();
    assert!(!after.contains(":alone ") && after.contains(":single "), "{after}");

    // A worker of the version before knows the backend without a server by the old name alone.
    upgrade.once.docker(&["kill"]);
    wait_for("the old worker's route without a server", || {
        old_targets(&upgrade.balancer, "once.test:80/").contains(&"nobody".to_owned()).then_some(())
    });
    let answer = end_request(begun);
    // HAProxy waits 10 s for a request; a busy machine may take longer for all this.
    assert!(["HTTP/1.1 503", "HTTP/1.1 408"].contains(&&answer[..12]), "{answer}");
    let mut answer = String::new();
    { slow }.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let _late = upgrade.balancer.run("late").label(HOST, "late.test").start();
    upgrade.balancer.wait_until_serves("late.test", "late saw /");
    upgrade.check_answers(askers);
    assert_eq!(upgrade.reloads(), 1, "{}", upgrade.balancer.log());
    assert!(!upgrade.balancer.log().contains("ERROR"), "{}", upgrade.balancer.log());
}

#[test]
fn haproxy_with_names_of_an_earlier_version_is_changed_without_a_reload_while_none_can_be_had() {
    let Some(docker) = common::find_docker() else { return };
    let mut upgrade = Upgrade::prepare(&docker);
    fs::write(&upgrade.refuse, "").unwrap();
    let askers = upgrade.begin_load();
    upgrade.balancer.start_again();
    upgrade.balancer.wait_for_log(&["updated HAProxy over the runtime API"]);
    upgrade.once.docker(&["stop"]);
    wait_for("the route without a server", || {
        let map = upgrade.balancer.ask_haproxy("show map routes.map");
        map.contains(" once.test:80/ nobody ").then_some(())
    });
    upgrade.balancer.assert_serves(&[("once.test", "503")]);
    let _late = upgrade.balancer.run("late").label(HOST, "late.test").start();
    upgrade.balancer.wait_until_serves("late.test", "late saw /");
    for asker in &askers {
        asker.more(5);
    }
    assert_eq!(upgrade.reloads(), 0, "{}", upgrade.balancer.log());
    let backends = upgrade.balancer.ask_haproxy("show backend");
    assert!(backends.contains("nobody\n") && !backends.contains("no-server\n"), "{backends}");

    fs::remove_file(&upgrade.refuse).unwrap();
    wait_for("the reload", || (upgrade.reloads() == 1).then_some(()));
    upgrade.check_answers(askers);
    upgrade.balancer.assert_serves(&[("once.test", "503"), ("late.test", "late saw /")]);
    assert_eq!(upgrade.reloads(), 1, "{}", upgrade.balancer.log());
}
