//! The control socket, the state file, and starts and stops.

use crate::site::{CLIENT, DEADLINE, Site, listener, wait_until};
use docker_glue::udp::{
    answer::UdpAnswer,
    command::{MAX_LINE_BYTES, UdpCommand},
};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
    },
    process::Command,
};

const TO: &str = "10.99.1.1:53";

#[test]
fn listeners_are_set_shown_and_deleted() {
    let Some(site) = Site::start() else { return };
    let listeners = [listener("[::]:53 replies=1 | a@10.99.2.11:53"), listener("10.99.1.1:514")];
    for listener in &listeners {
        site.set(listener);
    }
    let (plane, reports) = site.read_all();
    let shown: Vec<_> = reports.into_iter().map(|report| report.listener).collect();
    assert_eq!((plane.protocol, plane.listeners, plane.revision), (2, 2, 2));
    assert_eq!(shown, [listeners[1].clone(), listeners[0].clone()]);
    // A repeated command changes nothing.
    site.set(&listeners[0]);
    let gone = UdpCommand::Delete("[::]:53".parse().unwrap());
    let answers = site.execute(&[gone.clone(), gone]);
    assert_eq!(answers, vec![UdpAnswer::Deleted("[::]:53".parse().unwrap()); 2]);
    let (plane, reports) = site.read_all();
    assert_eq!((plane.revision, reports.len()), (3, 1));
}

#[test]
fn port_of_another_program_is_refused() {
    let Some(site) = Site::start() else { return };
    let other = site.hold_port("0.0.0.0:53");
    let answer = site.command_line(r#"set {"bind":"0.0.0.0:53"}"#);
    assert_eq!(answer, r#"{"error":"cannot listen on 0.0.0.0:53: another program has the port"}"#);
    let answer = site.command_line(r#"set {"bind":"192.0.2.9:53"}"#);
    assert_eq!(
        answer,
        r#"{"error":"cannot listen on 192.0.2.9:53: this machine does not have the address"}"#
    );
    assert_eq!(site.read_all().0.listeners, 0);
    drop(other);
    // A program that another test starts may have the socket until it is executed.
    wait_until("the port is free", || {
        site.command_line(r#"set {"bind":"0.0.0.0:53"}"#).starts_with(r#"{"listener""#)
    });
}

#[test]
fn hostile_commands_are_refused_and_change_nothing() {
    let Some(site) = Site::start() else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let nested = format!("set {}", "[".repeat(100_000));
    for line in [
        "",
        "\0",
        "set",
        "set null",
        "del",
        "del 0.0.0.0",
        "SHOW",
        &nested,
        r#"set {"bind":"0.0.0.0:0"}"#,
        r#"set {"bind":"0.0.0.0:1","endpoints":[{"id":"a","address":"10.0.0.1:1","weight":-1}]}"#,
        r#"set {"bind":"0.0.0.0:1","idle_ms":0}"#,
    ] {
        let answer = site.command_line(line);
        assert!(answer.starts_with(r#"{"error":""#), "{line:.40}: {answer}");
    }
    // Neither a line without end, nor clients that say nothing, nor one that reads nothing disturb the others.
    let mut endless = UnixStream::connect(site.socket_path()).unwrap();
    let _ = endless.write_all(&vec![b'x'; MAX_LINE_BYTES + 1]);
    let mut answer = String::new();
    endless.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.contains("a command has at most"), "{answer}");
    let _silent: Vec<_> =
        (0..40).map(|_| UnixStream::connect(site.socket_path()).unwrap()).collect();
    let mut deaf = UnixStream::connect(site.socket_path()).unwrap();
    deaf.set_nonblocking(true).unwrap();
    while deaf.write(b"show\n").is_ok() {}
    assert_eq!(site.report().listener, listener("0.0.0.0:53 | a@10.99.2.11:53"));
    assert_eq!(site.client(&format!("{CLIENT}:4000")).ask_name(TO), "a");
}

#[test]
fn plane_serves_its_last_listeners_after_a_stop_and_a_kill() {
    let Some(site) = Site::start() else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    let client = site.client(&format!("{CLIENT}:4000"));
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let output = site.end_plane(Signal::SIGTERM);
    assert!(output.status.success(), "{output:?}");
    assert!(!site.socket_path().exists());
    site.start_plane();
    assert_eq!(client.ask_name(TO), "a");
    wait_until("the file is written", || site.state_file().exists());
    site.end_plane(Signal::SIGKILL);
    site.start_plane();
    assert_eq!(client.ask_name(TO), "a");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(site.state_file()), mode(site.socket_path())), (0o640, 0o660));
}

#[test]
fn damaged_state_file_is_reported_and_replaced() {
    for content in ["", "{", r#"{"format":2,"listeners":[]}"#, "\u{0}\u{1}"] {
        let Some(site) = Site::without_plane(&[]) else { return };
        fs::write(site.state_file(), content).unwrap();
        site.start_plane();
        let _a = site.echo("a", "10.99.2.11:53");
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        assert_eq!(site.client(&format!("{CLIENT}:4000")).ask_name(TO), "a");
        let output = site.end_plane(Signal::SIGTERM);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            log.contains("listeners.json") && log.contains("starting without listeners"),
            "{log}"
        );
        assert!(fs::read_to_string(site.state_file()).unwrap().contains("10.99.2.11:53"));
    }
}

#[test]
fn second_plane_on_the_same_socket_ends() {
    let Some(site) = Site::start() else { return };
    let output = site.plane_command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("another docker-glue-udp listens on"), "{log}");
    assert_eq!(site.read_all().0.listeners, 0);
}

#[test]
fn show_prints_what_the_plane_serves() {
    let Some(site) = Site::start() else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 replies=1 | a@10.99.2.11:53"));
    site.client(&format!("{CLIENT}:4000")).ask_name(TO);
    let show = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-glue-udp"));
        command.arg("show").args(words).arg("--socket").arg(site.socket_path()).output().unwrap()
    };
    let text = String::from_utf8(show(&[]).stdout).unwrap();
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..5], ["0.0.0.0:53", "serving", "0", "1", "1"], "{text}");
    assert_eq!(rows[2], ["a", "up", "100", "0", "1", "1", "0", "10.99.2.11:53"], "{text}");
    let json = String::from_utf8(show(&["--json"]).stdout).unwrap();
    let lines: Vec<UdpAnswer> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(&lines[..], [UdpAnswer::Plane(_), UdpAnswer::Listener(_)]), "{json}");
    site.end_plane(Signal::SIGTERM);
    let output = show(&[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not answer on"), "{output:?}");
}

#[test]
fn readiness_is_notified_after_the_listeners_of_the_last_run_are_served() {
    let Some(site) = Site::without_plane(&[]) else { return };
    let socket = site.state_file().with_file_name("notify");
    let notify = UnixDatagram::bind(&socket).unwrap();
    notify.set_read_timeout(Some(DEADLINE)).unwrap();
    fs::write(site.state_file(), r#"{"format":1,"listeners":[{"bind":"0.0.0.0:53"}]}"#).unwrap();
    site.start_plane_with(&[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    let mut buffer = [0; 256];
    let length = notify.recv(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), "READY=1\nSTATUS=1 listener\n");
}
