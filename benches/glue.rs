//! docker-glue under load: 1,000 events in a second from a simulated Docker engine, one handler that takes a second for
//! each event, and one that is fast. Measures whether the slow handler delays the fast one, and whether events are
//! lost.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]
#![allow(dead_code, reason = "the simulated engine can do more")]

#[path = "scale/engine.rs"]
mod engine;

use engine::{Engine, Simulated};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const GLUE: &str = env!("CARGO_BIN_EXE_docker-glue");
const EVENTS: usize = 1_000;
const DEADLINE: Duration = Duration::from_mins(2);

/// With 50 scripts in parallel, all events take 20 s, so that the end is reached.
const SLOW: &str =
    "[handler]\nclass=script\nevents=die\n[params]\nscript=slow.sh\nconcurrency=50\n";
const SLOW_SCRIPT: &str = "#!/bin/sh\nsleep 1\necho \"$3\" >>ROOT/slow.log\n";
const QUICK: &str = "[handler]\nclass=plugin\nevents=die\n[params]\ncommand=quick.py\n";
const QUICK_PLUGIN: &str = r#"#!/usr/bin/python3
import json, sys, time
print(json.dumps({"ready": True}), flush=True)
with open("ROOT/quick.log", "a") as log:
    for line in sys.stdin:
        print(time.time() - json.loads(line)["time"], file=log, flush=True)
        print(json.dumps({"ok": True}), flush=True)
"#;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["handlers", "scripts", "plugins"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    write_file(root, "handlers/slow.ini", SLOW);
    write_file(root, "handlers/quick.ini", QUICK);
    write_file(root, "scripts/slow.sh", SLOW_SCRIPT);
    write_file(root, "plugins/quick.py", QUICK_PLUGIN);

    let all = (0..EVENTS).map(|n| Simulated::new(n, format!("app{n}.example.com"), 80)).collect();
    let engine = Engine::start(&root.join("docker.sock"), all);
    let glue = start_glue(root);
    engine.wait_for_listener();
    // All containers are inspected before the first event is sent.
    sleep(Duration::from_secs(3));
    let idle = memory_mb(&glue, "VmRSS:");

    let begun = Instant::now();
    let pause = Duration::from_secs(1) / u32::try_from(EVENTS).unwrap();
    for n in 0..EVENTS {
        engine.die(n);
        sleep((pause * u32::try_from(n).unwrap()).saturating_sub(begun.elapsed()));
    }
    println!("\n{EVENTS} events in {:.1} s", begun.elapsed().as_secs_f64());
    let delays = wait_for_all(&root.join("quick.log"));
    let slow = wait_for_all(&root.join("slow.log"));
    let took = begun.elapsed();
    let mut delays: Vec<f64> = delays.iter().map(|line| line.parse().unwrap()).collect();
    delays.sort_by(f64::total_cmp);
    let at = |share: usize| 1000.0 * delays[(delays.len() - 1) * share / 100];
    let text = format!("{:.1} ms (p50), {:.1} ms (p99), {:.1} ms (worst)", at(50), at(99), at(100));
    print_row("quick handler: event → it has it", &text, "100 ms");
    print_row("quick handler: events", &delays.len().to_string(), &EVENTS.to_string());
    let different: BTreeSet<_> = slow.iter().collect();
    let text =
        format!("{}, {} different, {:.1} s", slow.len(), different.len(), took.as_secs_f64());
    print_row("slow handler, a second each, 50 at once: events", &text, &EVENTS.to_string());
    let most = memory_mb(&glue, "VmHWM:");
    print_row(
        "memory with 1,000 containers, before and at most",
        &format!("{idle} and {most} MB"),
        "",
    );
}

fn write_file(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::write(&path, text.replace("ROOT", root.to_str().unwrap())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Kills docker-glue on drop.
struct Glue(Child);

impl Drop for Glue {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_glue(root: &Path) -> Glue {
    let mut command = Command::new(GLUE);
    command.arg("-w").arg("-q").env("DOCKER_GLUE_SETTINGS", "/dev/null").stdin(Stdio::null());
    command.arg("--docker-url").arg(format!("unix://{}", root.join("docker.sock").display()));
    for (option, folder) in [
        ("--handler-paths", "handlers"),
        ("--script-paths", "scripts"),
        ("--plugin-paths", "plugins"),
    ] {
        command.arg(option).arg(root.join(folder));
    }
    Glue(command.spawn().unwrap())
}

/// Waits until the log has one line for each event.
fn wait_for_all(log: &Path) -> Vec<String> {
    let end = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if EVENTS <= text.lines().count() || end < Instant::now() {
            return text.lines().map(str::to_owned).collect();
        }
        sleep(Duration::from_millis(50));
    }
}

/// Returns a memory field of the process, in MB.
fn memory_mb(glue: &Glue, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", glue.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    format!("{:.1}", kilobytes / 1024.0)
}

fn print_row(what: &str, value: &str, goal: &str) {
    let goal = if goal.is_empty() { String::new() } else { format!("   (goal {goal})") };
    println!("{what:<52} {value}{goal}");
}
