//! PostgreSQL behind a TCP port. Its clients keep connections open for hours, so a connection must survive what happens
//! to other containers, to HAProxy's configuration and to docker-balancer.

use super::{SERVERS, docker_and_image, wait_until_servers};
use crate::common::{
    Container, DEADLINE, Docker, Run,
    balancer::{Balancer, BalancerPlan},
    wait_for,
};
use nix::sys::signal::Signal;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
};

const PORT: u16 = 5432;
const URL: &str = "tcp://:5432";
/// The server's arguments, without the name that its clients see.
pub(super) const POSTGRES: [&str; 8] = [
    "postgres",
    "-D/var/lib/postgresql/data",
    "-k/tmp",
    "-clisten_addresses=*",
    "-cfsync=off",
    "-cshared_buffers=1MB",
    "-cmax_connections=20",
    "-clog_min_messages=fatal",
];

fn database(plan: &BalancerPlan, image: &str, name: &str) -> Run {
    let run = plan.run(name).image(image).label(&format!("glue_tcp_{PORT}_bind"), PORT);
    let run = run.option(&["--user", "postgres"]).arguments(&POSTGRES);
    run.arguments(&[&format!("-ccluster_name={name}")])
}

/// A container with programs of clients, on the host's network.
pub(super) fn client_container(docker: &Docker, image: &str) -> Container {
    docker.run("psql").image(image).bare().option(&["--network", "host"]).start()
}

/// A psql with an open connection, and transactions as its user types them.
#[derive(Debug)]
pub(super) struct Session {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Session {
    /// `conninfo` names the server.
    pub(super) fn open(docker: &Docker, client: &Container, conninfo: &str) -> Self {
        let words = ["exec", "-i", &client.id, "psql", "-XAtq", "-vON_ERROR_STOP=1", conninfo];
        let mut command = docker.command(&words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, input, lines }
    }

    fn send(&mut self, statement: &str) -> std::io::Result<()> {
        writeln!(self.input, "{statement};")
    }

    /// Returns the lines of the answer, or `None` if the connection or the statement has failed.
    pub(super) fn try_query(&mut self, statement: &str) -> Option<String> {
        self.send(statement).and_then(|()| writeln!(self.input, "\\echo END")).ok()?;
        let mut answer = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if line == "END" => return Some(answer.join("\n")),
                Ok(line) => answer.push(line),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("no answer to {statement}"),
            }
        }
    }

    pub(super) fn query(&mut self, statement: &str) -> String {
        self.try_query(statement).unwrap_or_else(|| panic!("the connection ended: {statement}"))
    }

    /// Waits for the end of the connection.
    fn wait_for_end(&mut self) {
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the connection is open still"),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = writeln!(self.input, "\\q");
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The clients of one balancer.
struct Clients<'a> {
    docker: &'a Docker,
    container: Container,
    conninfo: String,
}

impl<'a> Clients<'a> {
    fn new(docker: &'a Docker, image: &str, balancer: &BalancerPlan) -> Self {
        let port = balancer.bound_port(PORT);
        let conninfo = format!("host=127.0.0.1 port={port} user=postgres");
        Self { docker, container: client_container(docker, image), conninfo }
    }

    /// Opens a connection, and returns it with the name of its server.
    fn try_open(&self) -> Option<(Session, String)> {
        let mut session = Session::open(self.docker, &self.container, &self.conninfo);
        let name = session.try_query("SHOW cluster_name")?;
        Some((session, name))
    }

    fn open(&self) -> (Session, String) {
        wait_for("a connection", || self.try_open())
    }

    /// Opens a connection to this server.
    fn open_to(&self, name: &str) -> Session {
        wait_for(&format!("a connection to {name}"), || {
            self.try_open().filter(|(_, server)| server == name).map(|(session, _)| session)
        })
    }

    /// Checks that new connections have this server at once.
    fn assert_all_reach(&self, name: &str) {
        let names = (0..5).map(|_| self.try_open().map(|(_, name)| name));
        let names: Vec<_> = names.collect();
        assert!(names.iter().all(|server| server.as_deref() == Some(name)), "{name}: {names:?}");
    }
}

fn begin(session: &mut Session, number: u32) {
    session.query("CREATE TABLE IF NOT EXISTS journal (number int)");
    session.query("BEGIN");
    session.query(&format!("INSERT INTO journal VALUES ({number})"));
}

/// Commits what `begin` began, and checks that it is there.
fn commit(session: &mut Session, number: u32) {
    session.query("COMMIT");
    let count = format!("SELECT count(*) FROM journal WHERE number = {number}");
    assert_eq!(session.query(&count), "1");
}

#[test]
fn transaction_goes_on_over_deployments_reload_and_restart() {
    let Some((docker, image)) = docker_and_image(SERVERS) else { return };
    let plan = Balancer::plan(&docker).ports(&[80, PORT, 8080]);
    let first = database(&plan, &image, "first").start();
    let second = database(&plan, &image, "second").start();
    let mut balancer = plan.start().wait_until_started();
    let clients = Clients::new(&docker, &image, &balancer);
    let (mut stays, mut leaves) = (clients.open_to("first"), clients.open_to("second"));
    let process = stays.query("SELECT pg_backend_pid()");
    begin(&mut stays, 1);
    begin(&mut leaves, 2);

    // A deployment: PostgreSQL stops when its clients have left, and gets no new ones.
    let third = database(&balancer, &image, "third").start();
    wait_until_servers(&balancer, URL, &[&first, &second, &third]);
    thread::scope(|scope| {
        let stop = scope.spawn(|| second.docker(&["stop", "--time", "60"]));
        wait_until_servers(&balancer, URL, &[&first, &third]);
        for (_, name) in (0..4).map(|_| clients.open()) {
            assert_ne!(name, "second");
        }
        commit(&mut leaves, 2);
        drop(leaves);
        stop.join().unwrap();
    });
    let state = second.docker(&["inspect", "--format", "{{.State.ExitCode}}"]);
    assert_eq!(state, "0", "it was not killed");

    // A deployment that drains.
    let mut leaves = clients.open_to("third");
    begin(&mut leaves, 3);
    thread::scope(|scope| {
        let mut drain = balancer.command();
        drain.args(["drain", &third.name, "--wait", "60s"]);
        let drain = scope.spawn(move || drain.output().unwrap());
        wait_until_servers(&balancer, URL, &[&first]);
        clients.assert_all_reach("first");
        commit(&mut leaves, 3);
        drop(leaves);
        let output = drain.join().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && text.contains("is drained"), "{text}");
    });
    drop((second, third));

    // A reload, and a restart.
    let page = balancer.run("page").labels("glue_http_80_host=a.test glue_http_80_bind=8080");
    let _page = page.start();
    balancer.wait_until_serves("a.test:8080/", "page saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    balancer.stop_with(Signal::SIGKILL);
    balancer.start_again();
    let late = balancer.run("late").labels("glue_http_80_host=b.test glue_http_80_bind=8080");
    let _late = late.start();
    balancer.wait_until_serves("b.test:8080/", "late saw /");
    assert_eq!(stays.query("SELECT pg_backend_pid()"), process, "the same connection");
    commit(&mut stays, 1);
    let _ = first;
}

#[test]
fn connections_of_killed_database_end_and_new_ones_reach_the_other() {
    let Some((docker, image)) = docker_and_image(SERVERS) else { return };
    let plan = Balancer::plan(&docker).ports(&[80, PORT]);
    let first = database(&plan, &image, "first").start();
    let _second = database(&plan, &image, "second").start();
    let balancer = plan.start().wait_until_started();
    let clients = Clients::new(&docker, &image, &balancer);
    let (mut ends, mut stays) = (clients.open_to("first"), clients.open_to("second"));
    begin(&mut stays, 1);
    ends.send("SELECT pg_sleep(600)").unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    let mut observer = clients.open_to("first");
    wait_for("the query", || (observer.query(running) == "1").then_some(()));
    first.docker(&["kill"]);
    ends.wait_for_end();
    clients.assert_all_reach("second");
    commit(&mut stays, 1);
}

/// As with Patroni: all databases answer on the public port, and an HTTP server next to each says which one is the
/// primary. The connections of one that is no longer the primary end (`cut=down`).
#[test]
fn clients_follow_primary_that_http_check_names() {
    const ROLE: &str = "mkdir -p /tmp/www && busybox httpd -p 8008 -h /tmp/www";
    let Some((docker, image)) = docker_and_image(SERVERS) else { return };
    let plan = Balancer::plan(&docker).ports(&[80, PORT]);
    let start = |name: &str, role: &str| {
        let server = POSTGRES.map(|word| format!("'{word}'")).join(" ");
        let script = format!("{ROLE} && {role} && exec {server} -ccluster_name={name}");
        let run = plan.run(name).image(&image).option(&["--user", "postgres"]);
        let run = run.label(&format!("glue_tcp_{PORT}_check"), "8008/primary");
        run.label(&format!("glue_tcp_{PORT}_cut"), "down").arguments(&["sh", "-c", &script]).start()
    };
    let first = start("first", "touch /tmp/www/primary");
    let second = start("second", "true");
    let balancer = plan.start().wait_until_started();
    let clients = Clients::new(&docker, &image, &balancer);
    let mut session = clients.open_to("first");
    wait_for("one primary", || {
        let names = (0..5).map(|_| clients.try_open().map(|(_, name)| name));
        names.flatten().all(|name| name == "first").then_some(())
    });
    session.send("SELECT pg_sleep(600)").unwrap();

    docker.run_docker(&["exec", &first.id, "rm", "/tmp/www/primary"]);
    session.wait_for_end();
    docker.run_docker(&["exec", &second.id, "touch", "/tmp/www/primary"]);
    drop(clients.open_to("second"));
    clients.assert_all_reach("second");
}
