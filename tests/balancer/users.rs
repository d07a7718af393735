//! Users of a route with the whole program: who gets in, what happens without docker-balancer, and that no output
//! contains a hash or a password.

use crate::common::{
    balancer::{Answer, Balancer, BalancerPlan},
    find_docker, wait_for,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::sys::signal::Signal;
use std::{fs, path::Path, process::Command};

/// Of `secret`.
const HASH: &str = "$2y$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO";
/// Of `other`.
const OTHER: &str = "{SHA}0JQeaNqPOBUf+Gph/Fn3xc+fyqI=";

fn get(balancer: &Balancer, host: &str, credential: &str) -> Answer {
    let value = format!("Basic {}", STANDARD.encode(credential));
    let request = balancer.request("GET", host).header("Authorization", &value);
    request.send().unwrap_or_default()
}

/// Waits until a request with the credential has the status.
fn wait_until_status(balancer: &Balancer, host: &str, credential: &str, status: u16) {
    wait_for(&format!("{status} for {credential}"), || {
        (get(balancer, host, credential).status == status).then_some(())
    });
}

#[test]
fn users_of_label_get_in_also_while_docker_balancer_is_away() {
    let Some(docker) = find_docker() else { return };
    // The route is reserved for the first container for this long.
    let plan = Balancer::plan(&docker).option(&["--hold", "1s"]);
    let run = |users: &str| {
        let web = plan.run("web").label("glue_http_80_host", "a.test");
        web.label("glue_http_80_users", users).start()
    };
    let first = run(&format!("alice:{HASH},bob:{HASH}"));
    let mut balancer = plan.start().wait_until_started();
    wait_until_status(&balancer, "a.test", "alice:secret", 200);
    let answer = get(&balancer, "a.test", "alice:secret");
    assert_eq!(answer.seen.get("remote-user").as_deref(), Some("alice"));
    assert_eq!(get(&balancer, "a.test", "alice:wrong").status, 401);
    assert_eq!(balancer.get("a.test").status, 401);

    balancer.stop_with(Signal::SIGKILL);
    for (credential, status) in [("alice:secret", 200), ("bob:secret", 503), ("alice:wrong", 503)] {
        assert_eq!(get(&balancer, "a.test", credential).status, status, "{credential}");
    }
    balancer.start_again();
    wait_until_status(&balancer, "a.test", "bob:secret", 200);

    // Another password takes effect with the container that has it.
    drop(first);
    let _second = {
        let web = balancer.run("web").label("glue_http_80_host", "a.test");
        web.label("glue_http_80_users", format!("alice:{OTHER}")).start()
    };
    wait_until_status(&balancer, "a.test", "alice:other", 200);
    for credential in ["alice:secret", "bob:secret"] {
        let status = get(&balancer, "a.test", credential).status;
        // Until then the password was wrong, so that the client may have used up its attempts.
        assert!([401, 429].contains(&status), "{credential}: {status}");
    }
}

fn run_command(plan: &BalancerPlan, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").args(words);
    let output = command.arg("--runtime-dir").arg(plan.runtime()).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Returns the text of all files below a directory.
fn read_files(directory: &Path) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.fold(String::new(), |texts, entry| {
        let path = entry.path();
        let text = if path.is_dir() {
            read_files(&path)
        } else {
            fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        };
        texts + &text
    })
}

#[test]
fn no_output_contains_hash_or_password() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let run = |name: &str, label: &str, value: &str| {
        let web = plan.run(name).label("glue_http_80_host", format!("{name}.test"));
        web.label(&format!("glue_http_80_{label}"), value).start()
    };
    let _containers = [
        run("right", "users", &format!("alice:{HASH}")),
        run("plain", "users", "alice:hunter2"),
        run("quoted", "users", "\"alice:hunter2\""),
        run("mistyped", "uesrs", "alice:hunter2"),
        run("foreign", "basicauth", &format!("alice:{HASH}")),
        run("doubled", "hots", "alice:$$2y$$04$$NhF8G1lzzSkyqYDrXqRPfe"),
    ];
    let balancer = plan.start().wait_until_started();
    wait_until_status(&balancer, "right.test", "alice:secret", 200);
    // What is not understood closes its route.
    for host in ["plain.test", "quoted.test", "mistyped.test", "foreign.test"] {
        assert_eq!(get(&balancer, host, "alice:hunter2").status, 503, "{host}");
        assert_eq!(balancer.get(host).status, 503, "{host}");
    }
    let mut outputs = vec![("log".to_owned(), balancer.log())];
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["routes", "--json"],
        &["problems"],
        &["problems", "--json"],
        &["history", "--json"],
        &["explain", "http://right.test/"],
        &["explain", "http://right.test/", "--json"],
        &["explain", "http://plain.test/"],
        &["explain", "http://mistyped.test/", "--json"],
    ] {
        outputs.push((words.join(" "), run_command(&balancer, words)));
    }
    for words in [&["plan"][..], &["plan", "--format", "json"], &["check"], &["check", "--json"]] {
        let output = balancer.command().args(words).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        outputs.push((words.join(" "), text));
    }
    outputs.push(("state".to_owned(), read_files(&balancer.state())));
    outputs.push(("runtime".to_owned(), read_files(&balancer.runtime())));
    for (name, text) in &outputs {
        for secret in ["hunter2", "NhF8G1lzzSkyqYDrXqRPfe"] {
            assert!(!text.contains(secret), "{name} contains {secret}:\n{text}");
        }
    }
    let status = &outputs.iter().find(|(name, _)| name == "status --json").unwrap().1;
    assert!(status.contains("sha256:"), "{status}");
}
