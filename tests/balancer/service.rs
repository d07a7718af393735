//! HAProxy as the distribution's service under systemd, with its own unit and configuration file, reloaded in either of
//! the two possible ways.

use crate::common::{self, Container, systemd::Machine, wait_for};
use serde_json::Value;

const MASTER: &str = "/run/haproxy-master.sock";

/// Checks that a container is served from the start, and that another one is added without a reload.
fn check_added_without_reload(machine: &Machine, reload: &[&str]) -> (Container, Container) {
    let first = machine.container("first").labels("glue_http_80_host=first.test").start();
    machine.start_balancer(reload);
    assert_eq!(machine.outcome(80, "first.test"), "first saw /", "{}", machine.log());
    let second = machine.container("second").labels("glue_http_80_host=second.test").start();
    machine.wait_until_serves(80, "second.test", "second saw /");
    assert_eq!(machine.log().matches("reloaded HAProxy").count(), 1, "{}", machine.log());
    (first, second)
}

/// Starts a container on a new public port, which needs a reload of HAProxy.
fn container_on_new_port(machine: &Machine) -> Container {
    let labels = "glue_http_80_host=third.test glue_http_80_bind=8080";
    machine.container("third").labels(labels).start()
}

#[test]
fn unit_reload_works_and_failed_reload_is_retried() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "unit") else { return };
    let _two = check_added_without_reload(&machine, &["--reload-unit", "haproxy.service"]);
    let kept = "/etc/haproxy/haproxy.cfg.before-docker-glue";
    machine.wait_for_log(&["it was saved as", kept]);
    assert!(machine.run(&["cat", kept]).contains("/run/haproxy/admin.sock"));

    let reloads_by = |program: &str| {
        let script = "mkdir -p /run/systemd/system/haproxy.service.d
            printf '[Service]\\nExecReload=\\nExecReload=%s\\n' \"$1\" \
                >/run/systemd/system/haproxy.service.d/broken.conf
            systemctl daemon-reload";
        machine.run(&["sh", "-euc", script, "sh", program]);
    };
    reloads_by("/bin/true");
    let _third = container_on_new_port(&machine);
    machine.wait_for_log(&["systemctl reload haproxy.service: HAProxy has no new worker"]);
    reloads_by("/bin/false");
    machine.wait_for_log(&["systemctl reload haproxy.service: Job for haproxy.service failed"]);
    assert_eq!(machine.outcome(80, "first.test"), "first saw /");

    let mended = "rm -r /run/systemd/system/haproxy.service.d; systemctl daemon-reload";
    machine.run(&["sh", "-euc", mended]);
    machine.wait_until_serves(8080, "third.test", "third saw /");

    machine.run(&["systemctl", "restart", "haproxy.service"]);
    machine.wait_until_serves(80, "second.test", "second saw /");
    assert_eq!(machine.outcome(8080, "third.test"), "third saw /");
}

#[test]
fn service_serves_after_reboot_before_docker_balancer() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "reboot") else { return };
    let reload = ["--reload-unit", "haproxy.service"];
    let two = check_added_without_reload(&machine, &reload);
    machine.reboot();
    machine.wait_until_serves(80, "first.test", "first saw /");
    machine.wait_until_serves(80, "second.test", "second saw /");
    machine.start_balancer(&reload);
    drop(two);
    machine.wait_until_serves(80, "second.test", "503");
}

#[test]
fn service_is_reloaded_over_its_units_master_socket() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "master") else { return };
    let _two = check_added_without_reload(&machine, &["--master-socket", MASTER]);

    // An administrator who stops the service wants it stopped: docker-balancer logs the failure and does not start
    // HAProxy.
    machine.run(&["systemctl", "stop", "haproxy.service"]);
    let _third = container_on_new_port(&machine);
    machine.wait_for_log(&["apply failed", MASTER]);
    machine.run(&["systemctl", "start", "haproxy.service"]);
    machine.wait_until_serves(8080, "third.test", "third saw /");
    machine.wait_until_serves(80, "first.test", "first saw /");
}

const BALANCER: &str = "docker-balancer.service";
const HAPROXY: &str = "docker-glue-haproxy.service";

#[test]
fn repeatedly_killed_haproxy_is_restarted() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "killed") else { return };
    machine.install_units();
    let _web = machine.container("web").labels("glue_http_80_host=web.test").start();
    machine.run(&["systemctl", "start", BALANCER]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    // More often and faster than systemd's default start limit of five starts in ten seconds.
    for _ in 0..7 {
        let pid = machine.show(HAPROXY, "MainPID");
        machine.run(&["systemctl", "kill", "--signal", "KILL", HAPROXY]);
        wait_for("another HAProxy", || {
            let state = machine.show(HAPROXY, "ActiveState");
            assert_ne!(state, "failed", "systemd has given up");
            (state == "active" && machine.show(HAPROXY, "MainPID") != pid).then_some(())
        });
    }
    machine.wait_until_serves(80, "web.test", "web saw /");

    machine.run(&["systemctl", "stop", HAPROXY]);
    let socket = "/run/docker-glue-haproxy/haproxy.sock";
    machine.wait_for_log(&[
        "HAProxy does not answer on",
        socket,
        "its service manager restarts it",
    ]);
    machine.run(&["systemctl", "start", HAPROXY]);
    machine.wait_for_log(&["HAProxy answers again"]);
    machine.wait_until_serves(80, "web.test", "web saw /");
}

/// The administrator's own sections, which contain a password.
const BASE: &str = r#"
    mkdir -p /etc/docker-glue
    {
        printf 'global\n  fd-hard-limit 10000\n'
        printf 'defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 250ms\n'
        printf 'userlist staff\n  user admin insecure-password open-sesame\n'
    } >/etc/docker-glue/base.cfg
    chown docker-balancer /etc/docker-glue/base.cfg
    chmod 600 /etc/docker-glue/base.cfg
    echo 'base_file = "/etc/docker-glue/base.cfg"' >/etc/docker-glue/settings.toml"#;

/// The state directory as earlier versions left it.
const EARLIER: &str = "
    cd /var/lib/docker-glue
    chmod 755 . && chmod 644 haproxy.cfg
    echo 1 >lock && chmod 644 lock && chown docker-balancer:docker-balancer lock";

#[test]
fn local_user_cannot_read_config_or_take_the_lock() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "local") else { return };
    machine.install_units();
    machine.run(&["sh", "-euc", BASE]);
    machine.run(&["sh", "-euc", EARLIER]);
    let _web = machine.container("web").labels("glue_http_80_host=web.test").start();
    machine.run(&["systemctl", "start", BALANCER]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    // The files are written after the change over the runtime API.
    let config = "/var/lib/docker-glue/haproxy.cfg";
    wait_for("the password", || {
        machine.run(&["cat", config]).contains("open-sesame").then_some(())
    });

    let modes = machine.run(&[
        "stat",
        "--format",
        "%a %U %G %n",
        "/var/lib/docker-glue",
        config,
        "/var/lib/docker-glue/gen",
        "/var/lib/docker-glue/lock",
        "/run/docker-glue",
        "/run/docker-glue-haproxy",
    ]);
    assert_eq!(
        modes,
        "750 docker-balancer docker-balancer /var/lib/docker-glue\n\
         640 docker-balancer docker-balancer /var/lib/docker-glue/haproxy.cfg\n\
         750 docker-balancer docker-balancer /var/lib/docker-glue/gen\n\
         600 docker-balancer docker-balancer /var/lib/docker-glue/lock\n\
         750 docker-balancer docker-balancer /run/docker-glue\n\
         750 docker-glue-haproxy docker-balancer /run/docker-glue-haproxy\n"
    );
    // Even if the folder is readable by all, its files must not be.
    machine.run(&["chmod", "755", "/var/lib/docker-glue"]);
    let texts = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for command in [
        &["cat", config][..],
        &["flock", "--nonblock", "/var/lib/docker-glue/lock", "true"],
        &["ls", "/run/docker-glue"],
        &["ls", "/run/docker-glue-haproxy"],
    ] {
        let output = machine.try_run(&[&texts, command].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("Permission denied"), "{command:?}: {error}");
    }
    machine.run(&["systemctl", "restart", BALANCER]);
    machine.wait_until_serves(80, "web.test", "web saw /");
    machine.run(&["systemctl", "reload", HAPROXY]);
    let late = machine.container("late").labels("glue_http_80_host=late.test").start();
    machine.wait_until_serves(80, "late.test", "late saw /");
    drop(late);
}

/// Returns the hardening lines of the packaged unit, from `CapabilityBoundingSet=` on.
fn hardening_lines() -> String {
    let unit = std::fs::read_to_string("systemd/docker-balancer.service").unwrap();
    let (_, remaining) = unit.split_once("CapabilityBoundingSet=").unwrap();
    let (remaining, _) = remaining.split_once("[Install]").unwrap();
    let all = format!("CapabilityBoundingSet={remaining}");
    // In this test root runs HAProxy, and owns its sockets and Docker's.
    all.replace("CapabilityBoundingSet=\n", "ReadWritePaths=/var/lib /run /etc\n")
}

#[test]
fn journal_has_log_fields_under_full_hardening() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "journal") else { return };
    let labels = "glue_http_80_host=web.test glue_http_80_weight=heavy";
    let web = machine.container("web").labels(labels).start();
    let hardening = hardening_lines();
    let lines = hardening.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
    // docker-balancer has to be root here, which it could not be without any capabilities.
    machine.start_balancer_with(&lines.collect::<Vec<_>>(), &["--reload-unit", "haproxy.service"]);
    machine.wait_until_serves(80, "web.test", "web saw /");

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
    assert!(problem["CODE_FILE"].as_str().unwrap().ends_with("problem_log.rs"), "{problem:#}");

    let route = line("DOCKER_GLUE_KIND", "route_added");
    assert_eq!(route["DOCKER_GLUE_ROUTE"], "web.test:80/");
    assert_eq!(route["PRIORITY"], "6");
    let reload = line("DOCKER_GLUE_CAUSE", "list");
    assert_eq!(reload["DOCKER_GLUE_ROUTES"], "1");
    // The text message also contains the fields.
    let message = reload["MESSAGE"].as_str().unwrap();
    assert!(message.starts_with("reloaded HAProxy: "), "{message}");
    assert!(message.contains(" cause=\"list\" routes=1 us="), "{message}");
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[test]
fn unreachable_journal_socket_falls_back_to_lines() {
    let Some(docker) = common::find_docker() else { return };
    let Some(machine) = Machine::boot(&docker, "lines") else { return };
    let _web = machine.container("web").labels("glue_http_80_host=web.test").start();
    let out_of_reach = ["InaccessiblePaths=/run/systemd/journal/socket"];
    machine.start_balancer_with(&out_of_reach, &["--reload-unit", "haproxy.service"]);
    machine.wait_for_log(&[" INFO reloaded HAProxy: ", " cause=\"list\" routes=1 us="]);
    let fields = machine.journal();
    assert!(fields.iter().all(|line| line["DOCKER_GLUE_CAUSE"].is_null()), "{fields:#?}");
}
