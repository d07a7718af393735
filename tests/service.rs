//! HAProxy as the distribution's service, under systemd: its own unit, its own configuration file,
//! reloaded over either of the two ways that there are.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Container, systemd::Machine, wait_for};
use serde_json::Value;

const MASTER: &str = "/run/haproxy-master.sock";

/// Served from the start, and a newcomer without a reload.
fn serves_what_comes(machine: &Machine, reload: &[&str]) -> (Container, Container) {
    let first = machine.container("first").labels("glue_http_80_host=first.test").start();
    machine.start_balancer(reload);
    assert_eq!(machine.outcome(80, "first.test"), "first saw /", "{}", machine.log());
    let second = machine.container("second").labels("glue_http_80_host=second.test").start();
    machine.until_serves(80, "second.test", "second saw /");
    assert_eq!(machine.log().matches("reloaded HAProxy").count(), 1, "{}", machine.log());
    (first, second)
}

/// A container on a public port that HAProxy has to be reloaded for.
fn on_another_port(machine: &Machine) -> Container {
    let labels = "glue_http_80_host=third.test glue_http_80_bind=8080";
    machine.container("third").labels(labels).start()
}

#[test]
fn a_unit_is_reloaded_and_a_reload_that_fails_is_told_and_tried_again() {
    let Some(docker) = common::docker() else { return };
    let Some(machine) = Machine::boot(&docker, "unit") else { return };
    let _two = serves_what_comes(&machine, &["--reload-unit", "haproxy.service"]);
    let kept = "/etc/haproxy/haproxy.cfg.before-docker-glue";
    machine.until_said(&["is kept as", kept]);
    assert!(machine.run(&["cat", kept]).contains("/run/haproxy/admin.sock"));

    let reloads_by = |program: &str| {
        let script = "mkdir -p /run/systemd/system/haproxy.service.d
            printf '[Service]\\nExecReload=\\nExecReload=%s\\n' \"$1\" \
                >/run/systemd/system/haproxy.service.d/broken.conf
            systemctl daemon-reload";
        machine.run(&["sh", "-euc", script, "sh", program]);
    };
    reloads_by("/bin/true");
    let _third = on_another_port(&machine);
    machine.until_said(&["systemctl reload haproxy.service: HAProxy has no new worker"]);
    reloads_by("/bin/false");
    machine.until_said(&["systemctl reload haproxy.service: Job for haproxy.service failed"]);
    assert_eq!(machine.outcome(80, "first.test"), "first saw /");

    let mended = "rm -r /run/systemd/system/haproxy.service.d; systemctl daemon-reload";
    machine.run(&["sh", "-euc", mended]);
    machine.until_serves(8080, "third.test", "third saw /");

    machine.run(&["systemctl", "restart", "haproxy.service"]);
    machine.until_serves(80, "second.test", "second saw /");
    assert_eq!(machine.outcome(8080, "third.test"), "third saw /");
}

#[test]
fn after_a_reboot_a_service_serves_before_docker_balancer_does() {
    let Some(docker) = common::docker() else { return };
    let Some(machine) = Machine::boot(&docker, "reboot") else { return };
    let reload = ["--reload-unit", "haproxy.service"];
    let two = serves_what_comes(&machine, &reload);
    machine.reboot();
    machine.until_serves(80, "first.test", "first saw /");
    machine.until_serves(80, "second.test", "second saw /");
    machine.start_balancer(&reload);
    drop(two);
    machine.until_serves(80, "second.test", "503");
}

#[test]
fn a_service_is_reloaded_over_the_master_socket_of_its_unit() {
    let Some(docker) = common::docker() else { return };
    let Some(machine) = Machine::boot(&docker, "master") else { return };
    let _two = serves_what_comes(&machine, &["--master-socket", MASTER]);

    // Whoever stops a service wants it stopped: it is told, and not started.
    machine.run(&["systemctl", "stop", "haproxy.service"]);
    let _third = on_another_port(&machine);
    machine.until_said(&["not applied", MASTER]);
    machine.run(&["systemctl", "start", "haproxy.service"]);
    machine.until_serves(8080, "third.test", "third saw /");
    machine.until_serves(80, "first.test", "first saw /");
}

/// What our unit forbids, from its first line of that on.
fn hardening() -> String {
    let unit = std::fs::read_to_string("systemd/docker-balancer.service").unwrap();
    let (_, rest) = unit.split_once("CapabilityBoundingSet=").unwrap();
    let (rest, _) = rest.split_once("[Install]").unwrap();
    let all = format!("CapabilityBoundingSet={rest}");
    // This test's HAProxy is root's, as are its sockets and Docker's.
    all.replace("CapabilityBoundingSet=\n", "ReadWritePaths=/var/lib /run /etc\n")
}

#[test]
fn the_journal_has_the_fields_of_what_is_logged_also_where_the_unit_forbids_all_else() {
    let Some(docker) = common::docker() else { return };
    let Some(machine) = Machine::boot(&docker, "journal") else { return };
    let labels = "glue_http_80_host=web.test glue_http_80_weight=heavy";
    let web = machine.container("web").labels(labels).start();
    let hardening = hardening();
    let lines = hardening.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
    // Unprivileged as it is it could not be root, whom the program has to be here.
    machine.start_balancer_with(&lines.collect::<Vec<_>>(), &["--reload-unit", "haproxy.service"]);
    machine.until_serves(80, "web.test", "web saw /");

    let line = |field: &str, value: &str| -> Value {
        wait_for(&format!("{field}={value} in the journal"), || {
            machine.journal().into_iter().find(|line| line[field] == value)
        })
    };
    let problem = line("DOCKER_GLUE_KIND", "not_a_weight");
    let short = &web.id[..12];
    for (field, value) in [
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "docker-balancer"),
        ("DOCKER_GLUE_CONTAINER", &web.name),
        ("DOCKER_GLUE_ID", short),
        ("DOCKER_GLUE_LABEL", "glue_http_80_weight"),
        ("DOCKER_GLUE_VALUE", "heavy"),
        ("_SYSTEMD_UNIT", "docker-balancer.service"),
    ] {
        assert_eq!(problem[field], value, "{problem:#}");
    }
    let sentence = format!(
        "container {} ({short}): label glue_http_80_weight=\"heavy\": \
         a weight is a whole number from 0 to 256",
        web.name
    );
    assert_eq!(problem["MESSAGE"], *sentence);
    assert!(problem["CODE_FILE"].as_str().unwrap().ends_with("told.rs"), "{problem:#}");

    let route = line("DOCKER_GLUE_KIND", "route_came");
    assert_eq!(route["DOCKER_GLUE_ROUTE"], "web.test:80/");
    assert_eq!(route["PRIORITY"], "6");
    let reload = line("DOCKER_GLUE_CAUSE", "list");
    assert_eq!(reload["DOCKER_GLUE_ROUTES"], "1");
    // Who reads lines gets what the sentence does not say.
    let message = reload["MESSAGE"].as_str().unwrap();
    assert!(message.starts_with("reloaded HAProxy: "), "{message}");
    assert!(message.contains(" cause=\"list\" routes=1 us="), "{message}");
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[test]
fn a_journal_whose_socket_is_out_of_reach_gets_the_lines() {
    let Some(docker) = common::docker() else { return };
    let Some(machine) = Machine::boot(&docker, "lines") else { return };
    let _web = machine.container("web").labels("glue_http_80_host=web.test").start();
    let out_of_reach = ["InaccessiblePaths=/run/systemd/journal/socket"];
    machine.start_balancer_with(&out_of_reach, &["--reload-unit", "haproxy.service"]);
    machine.until_said(&[" INFO reloaded HAProxy: ", " cause=\"list\" routes=1 us="]);
    let fields = machine.journal();
    assert!(fields.iter().all(|line| line["DOCKER_GLUE_CAUSE"].is_null()), "{fields:#?}");
}
