//! The image of `packaging/Dockerfile`, run with `examples/compose.yaml`. `make packages-test` first builds the files
//! that the image contains.

use crate::common::{
    self, Docker,
    balancer::{Answer, Request, free_port},
    certificates::whoami_outcome,
    engine::make_certificates,
    systemd, unique_name, wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A Compose project. Dropping it also removes its image and volume.
struct Project {
    docker: Docker,
    name: String,
    port: u16,
    https_port: u16,
    /// A further Compose file, with variables for both.
    further: Option<(PathBuf, Vec<(&'static str, String)>)>,
}

impl Project {
    fn up(docker: &Docker) -> Self {
        Self::up_with(docker, None)
    }

    fn up_with(docker: &Docker, further: Option<(PathBuf, Vec<(&'static str, String)>)>) -> Self {
        let (name, port, https_port) = (unique_name("compose"), free_port(), free_port());
        let project = Self { docker: docker.clone(), name, port, https_port, further };
        let (base, image) = (format!("BASE={}", systemd::build_systemd_image()), project.image());
        let words =
            ["build", "--file", "packaging/Dockerfile", "--build-arg", &base, "--tag", &image, "."];
        docker.run_docker(&words);
        project.compose(&["up", "--detach"]);
        project
    }

    fn image(&self) -> String {
        format!("{}:test", self.name)
    }

    /// Returns the Compose command: the plugin if it is installed, else docker-compose.
    fn command(&self) -> Command {
        let plugin = Command::new("docker").args(["compose", "version"]).output().unwrap();
        let mut command = if plugin.status.success() {
            let mut command = Command::new("docker");
            command.arg("compose");
            command
        } else {
            Command::new("docker-compose")
        };
        let sockets = self.docker.socket().canonicalize().unwrap();
        command.args(["--file", "examples/compose.yaml"]);
        if let Some((file, variables)) = &self.further {
            command.arg("--file").arg(file).envs(variables.iter().cloned());
        }
        command
            .args(["--project-name", &self.name])
            .env("BALANCER_IMAGE", self.image())
            .env("WHOAMI_IMAGE", common::build_whoami_image())
            .env("HTTP_PORT", format!("127.0.0.1:{}", self.port))
            .env("HTTPS_PORT", format!("127.0.0.1:{}", self.https_port))
            .env("DOCKER_SOCKET_DIR", sockets.parent().unwrap())
            .env("DOCKER_GLUE_CONSTRAINT", format!("com.docker.compose.project={}", self.name));
        command
    }

    fn compose(&self, words: &[&str]) {
        let output = self.command().args(words).output().expect("there is no docker-compose");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker-compose {}: {text}", words.join(" "));
    }

    /// Returns the id of a service's container.
    fn container(&self, service: &str) -> String {
        let [project, service] = [("project", self.name.as_str()), ("service", service)]
            .map(|(key, value)| format!("label=com.docker.compose.{key}={value}"));
        self.docker.run_docker(&["ps", "--quiet", "--filter", &project, "--filter", &service])
    }

    fn inspect(&self, service: &str, format: &str) -> String {
        self.docker.run_docker(&["inspect", "--format", format, &self.container(service)])
    }

    fn get(&self, path: &str) -> std::io::Result<Answer> {
        let addr = SocketAddr::from(([127, 0, 0, 1], self.port));
        Request::new(addr, "GET", "app.example.com", path).send()
    }

    /// Waits until the answer to a GET of this path satisfies the condition.
    fn until(&self, path: &str, what: &str, right: impl Fn(&Answer) -> bool) {
        wait_for(what, || self.get(path).is_ok_and(|answer| right(&answer)).then_some(()));
    }

    fn is_healthy(&self) -> bool {
        let check = ["exec", &self.container("balancer"), "/usr/libexec/docker-glue/healthcheck"];
        self.docker.command(&check).output().unwrap().status.success()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.command().arg("logs").output().unwrap();
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let _ = self.command().args(["down", "--volumes", "--timeout", "1"]).output();
        let _ = self.docker.command(&["image", "rm", &self.image()]).output();
    }
}

#[test]
#[ignore = "make packages-test builds the program first"]
fn services_are_served_through_a_filtered_docker_socket() {
    let docker = common::find_docker_as_root().expect("a Docker engine, and root");
    let project = Project::up(&docker);
    project.until("/x", "the host's service", |reply| {
        reply.status == 200 && reply.body.contains("path: /x\n")
    });
    project
        .until("/api/users", "the prefix's service", |reply| reply.body.contains("path: /users\n"));

    // The process runs as the intended user, and the image has the intended labels and stop signal.
    let status = ["exec", &project.container("balancer"), "cat", "/proc/1/status"];
    let status = docker.run_docker(&status);
    for line in ["Uid:\t10001\t10001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let label =
        "{{index .Config.Labels \"org.opencontainers.image.licenses\"}} {{.Config.StopSignal}}";
    assert_eq!(project.inspect("balancer", label), "MIT SIGTERM");

    // A hanging docker-balancer is unhealthy.
    wait_for("Docker's own look at its health", || {
        (project.inspect("balancer", "{{.State.Health.Status}}") == "healthy").then_some(())
    });
    assert!(project.is_healthy());
    let first = project.inspect("balancer", "{{.State.Pid}}").parse().unwrap();
    kill(Pid::from_raw(first), Signal::SIGSTOP).unwrap();
    let hanging = project.is_healthy();
    kill(Pid::from_raw(first), Signal::SIGCONT).unwrap();
    assert!(!hanging);

    // Events arrive, also those of Compose: the service is stopped and started again.
    project.compose(&["stop", "--timeout", "1", "api"]);
    project.until("/api/users", "503 without the service", |reply| reply.status == 503);
    project.compose(&["start", "api"]);
    project.until("/api/users", "the service again", |reply| reply.body.contains("path: /users\n"));

    // Both services exit when they are stopped. 137 would mean SIGKILL after the stop timeout.
    for service in ["docker", "balancer"] {
        let id = project.container(service);
        project.compose(&["stop", service]);
        let status = docker.run_docker(&["inspect", "--format", "{{.State.ExitCode}}", &id]);
        assert_ne!(status, "137", "{service}");
    }
    project.compose(&["start", "docker", "balancer"]);
    project.until("/x", "served again", |reply| reply.status == 200);
}

#[test]
#[ignore = "make packages-test builds the program first"]
fn socket_proxy_rejects_changing_requests() {
    let docker = common::find_docker_as_root().expect("a Docker engine, and root");
    let project = Project::up(&docker);
    let addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address: Ipv4Addr = project.inspect("docker", addresses).parse().unwrap();
    let app = project.container("app");
    let image = project.inspect("app", "{{.Image}}");
    let status = |method: &str, path: &str| {
        let path = path.replace("APP", &app);
        Request::new((address, 2375).into(), method, "docker", &path).send().unwrap().status
    };
    wait_for("the socket proxy", || {
        std::net::TcpStream::connect((address, 2375)).is_ok().then_some(())
    });
    for path in [
        "/_ping",
        "/version",
        "/info",
        "/v1.41/containers/json?all=true",
        "/containers/APP/json",
        &format!("/v1.41/images/{image}/json"),
        "/v1.41/networks",
        "/networks/bridge",
        "/events?until=1",
    ] {
        assert_eq!(status("GET", path), 200, "{path}");
        assert_eq!(status("POST", path), 403, "POST {path}");
    }
    for (method, path) in [
        ("POST", "/containers/create"),
        ("POST", "/v1.41/containers/APP/stop"),
        ("POST", "/containers/APP/exec"),
        ("PUT", "/containers/APP/archive?path=/"),
        ("DELETE", "/containers/APP"),
        ("GET", "/containers/APP/logs?stdout=1"),
        ("GET", "/containers/APP/archive?path=/whoami"),
        ("GET", "/containers/APP/export"),
        ("GET", "/containers/APP/attach/ws"),
        ("GET", "/containers/../images/json"),
        ("GET", "/containers/APP%2flogs/json"),
        ("GET", "//containers/json"),
        ("GET", "/images/json"),
        ("GET", "/images/docker-glue-whoami/json"),
        ("GET", &format!("/images/{image}/history")),
        ("GET", "/secrets"),
        ("GET", "/v1.41/../images/json"),
    ] {
        assert_eq!(status(method, path), 403, "{method} {path}");
    }
}

/// A CA on the network of the services, for which the host's name leads to docker-balancer. A stranger sets the same
/// variables, with the URL of a public CA.
const PEBBLE: &str = r#"
services:
  pebble:
    image: docker-glue-pebble:test
    command: ["-strict=false", "-dnsserver", "127.0.0.11:53", "-config", "/etc/pebble/pebble.json"]
    environment:
      PEBBLE_VA_NOSLEEP: "1"
    volumes: ["FOLDER:/etc/pebble:ro"]
    networks: [web]
  balancer:
    environment:
      DOCKER_GLUE_ACME_CA_FILE: /etc/pebble-ca.pem
    volumes: ["FOLDER/ca.pem:/etc/pebble-ca.pem:ro"]
    networks:
      web:
        aliases: [app.example.com]
"#;

/// Writes the files of a CA that listens in its container. Returns the Compose file.
fn write_pebble(folder: &tempfile::TempDir) -> PathBuf {
    let path = |name: &str| folder.path().join(name);
    make_certificates(folder.path());
    let config = serde_json::json!({ "pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/etc/pebble/cert.pem",
        "privateKey": "/etc/pebble/key.pem",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
        "retryAfter": { "authz": 1, "order": 1 },
        "profiles": { "default": { "description": "the default", "validityPeriod": 7_776_000 } },
    } });
    fs::write(path("pebble.json"), config.to_string()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let text = PEBBLE.replace("FOLDER", &folder.path().display().to_string());
    fs::write(path("pebble.yaml"), text).unwrap();
    path("pebble.yaml")
}

#[test]
#[ignore = "make packages-test builds the program first"]
fn hosts_get_certificates_of_an_acme_ca() {
    let docker = common::find_docker_as_root().expect("a Docker engine, and root");
    let made = Command::new("sh").args(["tests/pebble-image.sh", "test"]).status().unwrap();
    assert!(made.success(), "tests/pebble-image.sh failed");
    let folder = tempfile::tempdir().unwrap();
    let variables = vec![
        ("ACME", "https://pebble:14000/dir".to_owned()),
        ("ACME_EMAIL", "you@example.com".to_owned()),
        ("TLS", "on".to_owned()),
    ];
    let project = Project::up_with(&docker, Some((write_pebble(&folder), variables)));
    let curl = |path: &str| {
        let target = format!("app.example.com:443:127.0.0.1:{}", project.https_port);
        let options = ["--silent", "--fail", "--insecure", "--max-time", "20", "--connect-to"];
        let url = format!("https://app.example.com{path}");
        let output = Command::new("curl").args(options).args([&target, &url]).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let answer = wait_for("the host's service over HTTPS", || curl("/x"));
    assert!(whoami_outcome(&answer).ends_with(" saw /x"), "{answer}");
    let answer = curl("/api/users").expect("the prefix's service");
    assert!(whoami_outcome(&answer).ends_with(" saw /users"), "{answer}");
    let address = format!("127.0.0.1:{}", project.https_port);
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "app.example.com"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Pebble Intermediate CA"), "{text}");
    project.until("/x", "a redirect to HTTPS", |reply| reply.status == 308);

    // The certificate and the account are in the volume.
    let served = ["exec", &project.container("balancer"), "docker-balancer", "certificates"];
    let text = docker.run_docker(&served);
    assert!(text.contains("app.example.com") && text.contains("CA https://pebble"), "{text}");
    project.compose(&["up", "--detach", "--force-recreate", "balancer"]);
    wait_for("the same after an upgrade", || curl("/x"));
}
