//! A container that chooses the names of its labels, or the text of its answers.

use crate::common::{
    self,
    balancer::{Balancer, BalancerPlan, free_port},
    wait_for,
};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    thread,
};

/// Docker puts a container's labels among the attributes of its events. A label with an attribute's name replaces it.
#[test]
fn labels_named_like_event_attributes_affect_own_container_only() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let victim = balancer.run("victim").label("glue_http_80_host", "victim.test").start();
    balancer.wait_until_serves("victim.test/", "victim saw /");
    let run = |name: &str| {
        let run = balancer.run(name).label("glue_http_80_host", format!("{name}.test"));
        run.label("signal", 9)
            .label("exitCode", "\n0")
            .label("name", &victim.name)
            .label("container", &victim.id)
            .label("id", &victim.id)
            .label("image", "\u{1b}[31m")
            .label("type", "network")
            .label("execID", "x")
    };
    let (evil, second) = (run("evil").start(), run("second").start());
    balancer.wait_until_serves("evil.test/", "evil saw /");
    balancer.wait_until_serves("second.test/", "second saw /");
    // `wait` lets the container end; it cannot be started before.
    let verbs = [
        &["kill", "--signal", "TERM"][..],
        &["wait"],
        &["start"],
        &["pause"],
        &["unpause"],
        &["stop"],
    ];
    for verb in verbs {
        evil.docker(verb);
        balancer.assert_serves(&[("victim.test/", "victim saw /")]);
    }
    balancer.wait_until_serves("evil.test/", "503");
    drop(second);
    balancer.wait_until_serves("second.test/", "503");
    // Containers that start and stop after that are still noticed.
    let late = balancer.run("late").label("glue_http_80_host", "late.test").start();
    balancer.wait_until_serves("late.test/", "late saw /");
    drop(late);
    balancer.wait_until_serves("late.test/", "503");
    balancer.assert_serves(&[("victim.test/", "victim saw /")]);
    let log = balancer.log();
    assert!(!log.contains('\u{1b}') && !log.contains("panicked"), "{log}");
}

/// Answers every request with these bytes, like a program in a container on the host's network. Returns the port.
fn answer_all(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                if 0 < stream.read(&mut [0; 4096]).unwrap_or(0) {
                    let _ = stream.write_all(bytes);
                }
            });
        }
    });
    port
}

fn print(plan: &BalancerPlan, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").args(words);
    command.arg("--runtime-dir").arg(plan.runtime()).stdin(Stdio::null());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Returns a line that forges another line of output or contains terminal control characters.
fn find_forgery(text: &str) -> Option<&str> {
    let is_forged = |line: &&str| {
        line.trim_start().starts_with("FORGED")
            || line.contains(['\u{1b}', '\u{7}', '\u{8}', '\r', '\u{202e}', '\u{9b}'])
    };
    text.split('\n').find(is_forged)
}

#[test]
fn words_of_a_container_in_a_failed_check_are_one_plain_line() {
    let Some(docker) = common::find_docker() else { return };
    for bytes in [
        &b"HTTP/1.1 500 \x1b]0;evil\x07\x1b[2J\r\n\r\n"[..],
        b"HTTP/1.1 500 a\nFORGED b\rFORGED c\r\n\r\n",
        b"HTTP/1.1 500 \xe2\x80\xaeFORGED<script>alert(1)</script>\"'\\\r\n\r\n",
        b"HTTP/1.1 999999999999 x\r\n\r\n",
        b"HTTP/1.1 5\x1b[31m0 x\r\n\r\n",
        b"\x1b[2JFORGED\nFORGED\n",
        b"HTTP/1.1 200 OK\r\nX\x1b[31m: y\r\n\r\n",
    ] {
        let port = answer_all(bytes);
        let balancer = Balancer::plan(&docker).option(&["--log-format", "text"]).start();
        let evil = balancer.run("evil").bare().option(&["--network", "host"]);
        let evil = evil
            .arguments(&["--port", "0"])
            .label(&format!("glue_http_{port}_host"), "evil.test")
            .label(&format!("glue_http_{port}_bind"), 80)
            .label(&format!("glue_http_{port}_check"), "/")
            .start();
        let _good = balancer.run("good").label("glue_http_80_host", "good.test").start();
        balancer.wait_until_serves("good.test/", "good saw /");
        wait_for("the failed check among the problems", || {
            let _ = balancer.request_outcome("evil.test/");
            print(&balancer, &["problems"]).contains(&evil.name).then_some(())
        });
        let texts = [
            balancer.log(),
            balancer.stdout(),
            print(&balancer, &["problems"]),
            print(&balancer, &["status"]),
            print(&balancer, &["explain", "http://evil.test/"]),
            print(&balancer, &["routes"]),
        ];
        for text in texts {
            assert_eq!(find_forgery(&text), None, "{text}");
        }
        for words in [&["problems", "--json"][..], &["status", "--json"]] {
            let text = print(&balancer, words);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        balancer.assert_serves(&[("good.test/", "good saw /")]);
    }
}
