//! HAProxy as the distribution's service, under systemd: its own unit, its own configuration file,
//! reloaded over either of the two ways that there are.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Container, systemd::Machine};

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
