//! The events of certificates, with a real docker-balancer.

use crate::{
    common::{
        self, Docker,
        balancer::{Balancer, BalancerPlan},
        certificates::TestCa,
        glue::{Glue, GluePlan},
        unique_name, wait_for,
    },
    pebble::{Options, Pebble},
};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A directory of certificates.
struct Certificates {
    ca: TestCa,
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("certs")).unwrap();
        Self { ca: TestCa::new(), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// Writes a new certificate for these hosts, and returns its PEM text.
    fn issue(&self, name: &str, hosts: &[&str]) -> String {
        self.write(name, &self.ca.issue(hosts))
    }

    fn write(&self, name: &str, pem: &str) -> String {
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        file.persist(self.path().join(name)).unwrap();
        pem.to_owned()
    }

    fn balancer(&self, docker: &Docker) -> BalancerPlan {
        let directory = self.path();
        let plan = Balancer::plan(docker).ports(&[80, 443]);
        plan.option(&["--certificates", directory.to_str().unwrap()])
    }
}

/// Returns a docker-glue that reads the list of the balancer.
fn glue_plan(docker: &Docker, balancer: &BalancerPlan) -> GluePlan {
    let list = balancer.runtime().join("certificates.json");
    Glue::plan(docker).option(&["--certificate-list", list.to_str().unwrap()])
}

/// Appends a line for each event: the event, the arguments, and facts about the certificate.
const RECORD: &str = r#"#!/bin/sh
test ! -e ROOT/fail || exit 3
json=$(cat)
names=$(echo "$json" | grep -o '"names":\[[^]]*\]')
echo "$2|$3|$GLUE_CERTIFICATE_NAMES|${GLUE_CERTIFICATE_FILE##*/}|$names" >> ROOT/seen
"#;

fn record_handler(events: &str) -> String {
    format!("[handler]\nclass=script\nevents={events}\n[params]\nscript=record.sh\n")
}

fn seen_line(event: &str, names: &[&str], file: &str) -> String {
    let json = serde_json::to_string(names).unwrap();
    format!("certificate: {event}||{}|{file}|\"names\":{json}", names.join(" "))
}

fn wait_until_seen(glue: &GluePlan, expected: &[String]) {
    let mut seen = String::new();
    wait_for(&format!("{expected:?}"), || {
        seen = glue.read("seen");
        (expected.len() <= seen.lines().count()).then_some(())
    });
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn script_gets_each_change_of_a_certificate_once() {
    let Some(docker) = common::find_docker() else { return };
    let certificates = Certificates::new();
    certificates.write("old.pem", &certificates.ca.issue_expired(&["old.test"]));
    certificates.issue("a.pem", &["a.test", "b.test"]);
    let balancer = certificates.balancer(&docker).start().wait_until_started();
    let mut glue = glue_plan(&docker, &balancer)
        .file("record.ini", &record_handler("certificate"))
        .script("record.sh", RECORD)
        .start();
    let names = ["a.test", "b.test"];
    let mut expected =
        vec![seen_line("issued", &names, "a.pem"), seen_line("issued", &["old.test"], "old.pem")];
    wait_until_seen(&glue, &expected);

    certificates.issue("a.pem", &names);
    expected.push(seen_line("renewed", &names, "a.pem"));
    wait_until_seen(&glue, &expected);
    // One that is still valid would serve until it expires.
    fs::remove_file(certificates.path().join("old.pem")).unwrap();
    expected.push(seen_line("gone", &["old.test"], "old.pem"));
    wait_until_seen(&glue, &expected);

    // Only what changed while docker-glue was not running follows its next start.
    assert!(glue.stop_with(Signal::SIGTERM).success());
    certificates.issue("c.pem", &["c.test"]);
    wait_for("the list", || {
        let list = fs::read_to_string(balancer.runtime().join("certificates.json")).unwrap();
        list.contains("c.test").then_some(())
    });
    glue.start_again();
    expected.push(seen_line("issued", &["c.test"], "c.pem"));
    wait_until_seen(&glue, &expected);

    // An event that failed is sent again after a restart.
    glue.write_file("fail", "");
    certificates.issue("c.pem", &["c.test"]);
    glue.wait_for_log(&["ERROR", "certificate: renewed", "c.pem", "exit status 3"]);
    assert!(glue.stop_with(Signal::SIGTERM).success());
    fs::remove_file(glue.path("fail")).unwrap();
    glue.start_again();
    expected.push(seen_line("renewed", &["c.test"], "c.pem"));
    wait_until_seen(&glue, &expected);

    // docker-balancer's end says nothing about its certificates, and neither does its next start.
    drop(balancer);
    assert!(glue.stop_with(Signal::SIGTERM).success());
    let output = glue.run(&["-1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_until_seen(&glue, &expected);
}

#[test]
fn list_of_certificates_contains_no_key_and_is_readable_for_all() {
    use std::os::unix::fs::PermissionsExt;
    let Some(docker) = common::find_docker() else { return };
    let certificates = Certificates::new();
    let pem = certificates.issue("a.pem", &["a.test"]);
    let plan = certificates.balancer(&docker);
    let web = plan.run("nas").labels("glue_http_80_host=nas.lan glue_http_80_cert=self");
    let _web = web.label("glue_http_80_tls", "on").start();
    let balancer = plan.start().wait_until_started();
    let path = balancer.runtime().join("certificates.json");
    let text = wait_for("both certificates", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        (text.contains("nas.lan") && text.contains("a.test")).then_some(text)
    });
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!text.contains("PRIVATE") && !text.contains("BEGIN"), "{text}");
    let key = pem.split_once("PRIVATE KEY-----\n").unwrap().1.lines().next().unwrap();
    assert!(!text.contains(&key[..20]), "{text}");
    let own = format!("{}/own-ca/nas.lan.pem", balancer.state().display());
    assert!(text.contains(&own), "{text}");
    assert!(fs::read_to_string(own).unwrap().contains("PRIVATE KEY"));
}

#[test]
fn balancer_among_the_handlers_causes_events() {
    let Some(docker) = common::find_docker() else { return };
    let certificates = Certificates::new();
    certificates.issue("a.pem", &["a.test"]);
    let [http, https] = [(); 2].map(|()| common::balancer::free_port());
    let own = format!(
        "[handler]\nclass=haproxy\n[params]\nstate-dir=ROOT/lb\nruntime-dir=ROOT/run\n\
         map-port=80={http},443={https}\nconstraint={}={}\ncertificates={}\n",
        common::CONSTRAINT,
        unique_name("lb"),
        certificates.path().display()
    );
    let watcher = r#"
import json
from docker_glue import BaseHandler

class Watcher(BaseHandler):
    def handle(self, event, container_id):
        with open("ROOT/seen", "a") as file:
            print(event, container_id, " ".join(self.agent.event["certificate"]["names"]), file=file)
"#;
    let ini = "[handler]\nclass=python:watcher.Watcher\nevents=certificate: renewed\n";
    let glue = Glue::plan(&docker)
        .option(&["--certificate-list", "/nonexistent/certificates.json"])
        .file("lb.ini", &own)
        .file("watch.ini", ini)
        .plugin("watcher.py", watcher)
        .start();
    wait_for("the list", || glue.read("run/certificates.json").contains("a.test").then_some(()));
    certificates.issue("b.pem", &["b.test"]);
    wait_for("the list", || glue.read("run/certificates.json").contains("b.test").then_some(()));
    // The handler does not subscribe to issued certificates, but knows them when they are renewed.
    certificates.issue("b.pem", &["b.test"]);
    glue.wait_until_written("seen", &["b.test"]);
    assert_eq!(glue.read("seen"), "certificate: renewed  b.test\n");
}

const MAIL_HOST: &str = "mail.example.com";
/// As the page docker-glue/certificates.md of the book says.
const DOVECOT: &str = "\
protocols = imap
listen = *
log_path = /dev/stderr
ssl = required
ssl_cert = </acme/live/mail.example.com/fullchain.pem
ssl_key = </acme/live/mail.example.com/privkey.pem
passdb {
  driver = static
  args = nopassword
}
";

/// Returns the first certificate of a text.
fn leaf(text: &str) -> Option<&str> {
    let (_, text) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    Some(text.split_once("-----END CERTIFICATE-----")?.0)
}

/// Returns what openssl prints about a TLS server.
fn connect(address: &str) -> String {
    let server = ["20", "openssl", "s_client", "-connect", address, "-servername", MAIL_HOST];
    let output = Command::new("timeout").args(server).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the image of the mail server. Returns `None` and records the skip if it cannot be had.
fn dovecot_image() -> Option<&'static str> {
    let made = Command::new("sh").args(["tests/dovecot-image.sh", "test"]).output().unwrap();
    if made.status.success() {
        return Some("docker-glue-dovecot:test");
    }
    common::record_skip(&format!("no dovecot: {}", String::from_utf8_lossy(&made.stderr)));
    None
}

/// Returns the directory of the CA with the first certificate.
fn wait_for_ca_directory(balancer: &Balancer) -> PathBuf {
    wait_for("the certificate", || {
        let directories = fs::read_dir(balancer.state().join("acme")).ok()?;
        let mut directories = directories.map(|entry| entry.unwrap().path());
        directories.find(|path| path.join("live").join(MAIL_HOST).join("fullchain.pem").exists())
    })
}

/// docker-balancer orders the certificate, and later another one. The mail server has its files by bind mounts of
/// directories, and the example of a handler lets it read them again.
#[test]
fn mail_server_follows_renewal_by_acme() {
    let Some(docker) = common::find_docker() else { return };
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let Some(image) = dovecot_image() else { return };
    if !common::is_installed("openssl") {
        return;
    }
    let ca_file = pebble.path("ca.pem");
    let plan = Balancer::plan(&docker).ports(&[80, 443]).bind(80, pebble.http_port);
    let plan = plan.option(&["--acme", &pebble.url(), "--acme-ca-file", ca_file.to_str().unwrap()]);
    let page = plan.run("page").label("glue_http_80_host", MAIL_HOST);
    let _page = page.label("glue_http_80_tls", "on").start();
    let balancer = plan.start().wait_until_started();
    let acme = wait_for_ca_directory(&balancer);
    let fullchain = || fs::read_to_string(acme.join("live").join(MAIL_HOST).join("fullchain.pem"));
    let first = fullchain().unwrap();

    let target = unique_name("mail");
    let example = fs::read_to_string("examples/docker-glue.d/mail.ini.example").unwrap();
    let text = [("/var/lib/docker-glue-handlers", "ROOT"), ("mail:HUP", &format!("{target}:HUP"))];
    let text = text.iter().fold(example, |text, (from, to)| text.replace(from, to));
    let plan = glue_plan(&docker, &balancer)
        .file("mail.ini", &text)
        .file("record.ini", &record_handler("certificate"))
        .script("record.sh", RECORD);
    let settings = plan.write_file("dovecot.conf", DOVECOT);
    let archive = format!("archive/{MAIL_HOST}");
    let volumes = [
        format!("{}:/etc/dovecot/dovecot.conf:ro", settings.display()),
        format!("{}/live:/acme/live:ro", acme.display()),
        format!("{}/{archive}:/acme/{archive}:ro", acme.display()),
    ];
    let network = docker.network("mail");
    let run = docker.run("mail").image(image).network(&network).label("pygen.target", &target);
    let run = volumes.iter().fold(run, |run, volume| run.option(&["--volume", volume]));
    let server = run.start();
    let address = format!("{}:993", server.address(&network));
    let wait_until_presented = |pem: &str| {
        let expected = leaf(pem).expect("a certificate");
        wait_for("the certificate", || (leaf(&connect(&address)) == Some(expected)).then_some(()));
    };
    wait_until_presented(&first);
    let glue = plan.start();
    glue.wait_for_log(&[&format!("sent HUP to {}", server.name)]);
    let mut expected = vec![seen_line("issued", &[MAIL_HOST], "fullchain.pem")];
    wait_until_seen(&glue, &expected);

    let output = balancer.command().args(["certificate", "renew", MAIL_HOST]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let second = wait_for("another certificate", || fullchain().ok().filter(|pem| *pem != first));
    expected.push(seen_line("renewed", &[MAIL_HOST], "fullchain.pem"));
    wait_until_seen(&glue, &expected);
    wait_until_presented(&second);
}
