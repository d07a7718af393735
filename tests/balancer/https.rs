//! HTTPS with a real engine and a real HAProxy: certificates come and go while it runs, without a reload.

use crate::common::{
    self, Run,
    balancer::{Balancer, BalancerPlan},
    certificates::{TestCa, whoami_outcome},
    wait_for,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use docker_glue::{model::certificate::CertificateDigest, report::history::GenerationStatus};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// A balancer with a directory of certificates, and a CA that clients trust.
pub(crate) struct Site {
    pub(crate) ca: TestCa,
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { ca: TestCa::new(), folder: tempfile::tempdir().unwrap() };
        fs::create_dir(site.certificates()).unwrap();
        fs::write(site.ca_file(), site.ca.pem()).unwrap();
        site
    }

    fn certificates(&self) -> PathBuf {
        self.folder.path().join("certificates")
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate for these hosts to a file, and returns its PEM text.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> String {
        self.write(name, self.ca.issue(hosts))
    }

    fn issue_expired(&self, name: &str, hosts: &[&str]) -> String {
        self.write(name, self.ca.issue_expired(hosts))
    }

    fn write(&self, name: &str, pem: String) -> String {
        let mut file = tempfile::Builder::new().tempfile_in(self.folder.path()).unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        file.persist(self.certificates().join(name)).unwrap();
        pem
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.certificates().join(file)).unwrap();
    }

    pub(crate) fn plan(&self, plan: BalancerPlan) -> BalancerPlan {
        let directory = self.certificates();
        plan.ports(&[80, 443]).option(&["--certificates", directory.to_str().unwrap()])
    }

    /// Returns the outcome of a request: `NAME saw PATH`, `status → URL`, or `refused`. Options of curl may follow.
    pub(crate) fn outcome(&self, balancer: &BalancerPlan, url: &str, options: &[&str]) -> String {
        let (scheme, remainder) = url.split_once("://").unwrap();
        let host = remainder.split('/').next().unwrap();
        let public = if scheme == "https" { 443 } else { 80 };
        let target = format!("{host}:{public}:127.0.0.1:{}", balancer.bound_port(public));
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "20", "--connect-to", &target, "--cacert"])
            .arg(self.ca_file())
            .args(["--write-out", "\n%{http_code} %{redirect_url}", url])
            .args(options)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        match status.trim() {
            "000" => "refused".to_owned(),
            "200" => whoami_outcome(body),
            status => status.replacen(' ', " → ", 1),
        }
    }

    pub(crate) fn wait_until(&self, balancer: &Balancer, url: &str, expected: &str) {
        let mut last = String::new();
        wait_for(&format!("{url}: {expected}"), || {
            last = self.outcome(balancer, url, &[]);
            (last == expected).then_some(())
        });
    }
}

pub(super) fn https_run(plan: &BalancerPlan, name: &str, host: &str) -> Run {
    plan.run(name).labels(&format!("glue_http_80_host={host} glue_http_80_tls=on"))
}

pub(crate) fn assert_no_reload(balancer: &Balancer) {
    let log = balancer.log();
    assert!(!log.contains("reloaded HAProxy"), "{log}");
}

#[test]
fn host_with_certificate_is_served_over_https_and_redirected() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    site.issue("wild.pem", &["*.shop.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let _containers = common::start_all(vec![
        https_run(&plan, "a", "a.test"),
        https_run(&plan, "shop", "x.shop.test"),
        plan.run("both").labels("glue_http_80_host=b.shop.test glue_http_80_tls=both"),
        plan.run("only").labels("glue_http_80_host=o.shop.test glue_http_80_tls=only"),
        plan.run("old").labels(
            "glue_http_80_host=old.shop.test glue_http_80_tls=on glue_http_80_tls_policy=modern",
        ),
        // What acts on requests acts on those over HTTPS.
        plan.run("guarded").labels(
            "glue_http_80_host=g.shop.test glue_http_80_tls=on glue_http_80_prefix=/team \
             glue_http_80_strip_prefix=on glue_http_80_add_prefix=/v2 glue_http_80_secure_headers=on \
             glue_http_80_users=alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        ),
    ]);
    let balancer = plan.start().wait_until_started();
    for (url, expected) in [
        ("https://a.test/x", "a saw /x"),
        ("http://a.test/x?q=1", "308 → https://a.test/x?q=1"),
        ("http://g.shop.test/team/x?q=1", "308 → https://g.shop.test/team/x?q=1"),
        ("https://g.shop.test/team/x", "401"),
        ("https://x.shop.test/", "shop saw /"),
        ("http://b.shop.test/", "both saw /"),
        ("https://b.shop.test/", "both saw /"),
        ("https://o.shop.test/", "only saw /"),
        ("http://o.shop.test/", "404"),
        ("https://old.shop.test/", "old saw /"),
        // Its certificate is for the parent's direct subdomains only.
        ("https://unknown.test/", "refused"),
    ] {
        assert_eq!(site.outcome(&balancer, url, &[]), expected, "{url}");
    }
    for (host, options, expected) in [
        ("a.test", &["--http1.1"][..], "a saw /"),
        ("a.test", &["--tls-max", "1.2"][..], "a saw /"),
        ("old.shop.test", &["--tls-max", "1.2"][..], "refused"),
        ("a.test", &["--tls-max", "1.1"][..], "refused"),
    ] {
        let url = format!("https://{host}/");
        assert_eq!(site.outcome(&balancer, &url, options), expected, "{host} {options:?}");
    }
}

#[test]
fn host_waits_for_certificate_which_is_loaded_without_reload() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let plan = site.plan(Balancer::plan(&docker));
    let _containers =
        common::start_all(vec![https_run(&plan, "a", "a.test"), https_run(&plan, "b", "b.test")]);
    let balancer = plan.start().wait_until_started();
    assert_eq!(site.outcome(&balancer, "https://a.test/", &[]), "refused");
    assert_eq!(site.outcome(&balancer, "http://a.test/", &[]), "503");
    balancer.wait_for_log(&["a.test has no certificate"]);

    site.issue("a.pem", &["a.test"]);
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    site.wait_until(&balancer, "http://a.test/", "308 → https://a.test/");
    // A wildcard certificate comes later, and then the host's own one, which is better.
    site.issue("b.pem", &["b.test", "*.b.test"]);
    site.wait_until(&balancer, "https://b.test/", "b saw /");
    // The certificate of a removed file serves until it expires.
    site.remove("a.pem");
    balancer.wait_for_log(&["a.pem: the file does not exist any more"]);
    assert_eq!(site.outcome(&balancer, "https://a.test/", &[]), "a saw /");
    assert_no_reload(&balancer);
}

#[test]
fn replaced_certificate_fails_no_handshake() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let _container = https_run(&plan, "a", "a.test").start();
    let balancer = plan.start().wait_until_started();
    let stop = AtomicBool::new(false);
    let serial = || balancer.ask_haproxy("show ssl crt-list tls-443.list");
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut outcomes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                outcomes.push(site.outcome(&balancer, "https://a.test/", &[]));
            }
            outcomes
        });
        for _ in 0..5 {
            let before = serial();
            site.issue("a.pem", &["a.test"]);
            wait_for("another certificate", || (serial() != before).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        let outcomes = client.join().unwrap();
        assert!(outcomes.iter().all(|outcome| outcome == "a saw /"), "{outcomes:?}");
    });
    assert_no_reload(&balancer);
    // The old ones are deleted.
    wait_for("one certificate", || {
        let answer = balancer.ask_haproxy("show ssl cert");
        (answer.matches("/certs/").count() == 1).then_some(())
    });
}

#[test]
fn file_of_unused_certificate_is_removed_after_a_while() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["--leave-running"]);
    let _container = https_run(&plan, "a", "a.test").start();
    let mut balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    let [first] = &walk(&balancer.state().join("certs"))[..] else { panic!("one certificate") };
    let old = Command::new("touch").args(["-d", "1 hour ago"]).arg(first).status().unwrap();
    assert!(old.success());
    balancer.stop_with(Signal::SIGTERM);
    site.issue("a.pem", &["a.test"]);
    balancer.start_again();
    wait_for("the file of the replaced certificate is removed", || {
        let files = walk(&balancer.state().join("certs"));
        (files.len() == 1 && files[0] != *first).then_some(())
    });
    site.wait_until(&balancer, "https://a.test/", "a saw /");
}

/// States in which a balancer that is killed between two commands leaves HAProxy.
#[test]
fn interrupted_load_of_certificate_is_completed() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["--leave-running"]);
    let _containers =
        common::start_all(vec![https_run(&plan, "a", "a.test"), https_run(&plan, "b", "b.test")]);
    let mut balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    let stored = |balancer: &Balancer| -> Vec<String> {
        let files = fs::read_dir(balancer.state().join("certs")).unwrap();
        files.map(|file| file.unwrap().path().display().to_string()).collect()
    };
    for interrupted in ["new", "set", "commit"] {
        let before = stored(&balancer);
        balancer.signal(Signal::SIGKILL);
        balancer.wait_for_exit();
        // The next balancer loads this certificate; the killed one had begun to.
        site.issue("b.pem", &["b.test"]);
        balancer.start_again();
        let numbered_line = |balancer: &Balancer, file: &str| {
            let lines = balancer.ask_haproxy("show ssl crt-list -n tls-443.list");
            let line = lines.lines().find(|line| line.starts_with(file))?;
            Some(line.split(' ').next()?.to_owned())
        };
        let file = wait_for("the new certificate in HAProxy", || {
            let file = stored(&balancer).into_iter().find(|file| !before.contains(file))?;
            numbered_line(&balancer, &file).map(|_| file)
        });
        let old = "the old certificate";
        wait_for(old, || {
            let lines = balancer.ask_haproxy("show ssl crt-list tls-443.list");
            (lines.matches(" b.test").count() == 1).then_some(())
        });
        balancer.signal(Signal::SIGKILL);
        balancer.wait_for_exit();
        // HAProxy may still run a command of the killed balancer, and refuses others until it has ended.
        wait_for("its line is deleted", || {
            // The number of a line changes when another one is deleted.
            if let Some(line) = numbered_line(&balancer, &file) {
                balancer.ask_haproxy(&format!("del ssl crt-list tls-443.list {line}"));
            }
            let remaining = balancer.ask_haproxy("show ssl crt-list tls-443.list");
            (!remaining.contains(&file) && !remaining.contains("locked")).then_some(())
        });
        wait_for("it is deleted", || {
            balancer.ask_haproxy(&format!("del ssl cert {file}"));
            let remaining = balancer.ask_haproxy("show ssl cert");
            (!remaining.contains(&file) && !remaining.contains("locked")).then_some(())
        });
        let pem = fs::read_to_string(&file).unwrap();
        let commands = [
            format!("new ssl cert {file}"),
            format!("set ssl cert {file} <<\n{pem}\n"),
            format!("commit ssl cert {file}"),
        ];
        for command in &commands {
            balancer.ask_haproxy(command);
            if command.starts_with(interrupted) {
                break;
            }
        }
        assert_eq!(site.outcome(&balancer, "https://b.test/", &[]), "refused", "{interrupted}");
        balancer.start_again();
        site.wait_until(&balancer, "https://b.test/", "b saw /");
        assert_eq!(site.outcome(&balancer, "https://a.test/", &[]), "a saw /");
    }
    assert_no_reload(&balancer);
}

#[test]
fn restarted_balancer_changes_no_certificate() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["--leave-running"]);
    let _container = https_run(&plan, "a", "a.test").start();
    let mut balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    let lines = balancer.ask_haproxy("show ssl crt-list -n tls-443.list");
    balancer.stop_with(Signal::SIGTERM);
    balancer.start_again();
    balancer.wait_for_log(&["adopted the running HAProxy"]);
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    assert_eq!(balancer.ask_haproxy("show ssl crt-list -n tls-443.list"), lines);
    assert_no_reload(&balancer);
}

/// Runs a subcommand. Returns its exit status and its output.
pub(super) fn run_command(balancer: &Balancer, words: &[&str]) -> (Option<i32>, String) {
    let output = balancer.command().args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn explanation_agrees_with_what_clients_get() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    site.issue("shop.pem", &["*.shop.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let both = plan.run("shop").labels("glue_http_80_host=*.shop.test glue_http_80_tls=both");
    let unencrypted = plan.run("plain").labels("glue_http_80_host=plain.test");
    let _containers = common::start_all(vec![
        https_run(&plan, "a", "a.test"),
        https_run(&plan, "none", "none.test"),
        both,
        unencrypted,
    ]);
    let balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    site.wait_until(&balancer, "http://plain.test/", "plain saw /");
    for (url, actual, outcome) in [
        ("https://a.test/x", "a saw /x", "served"),
        ("http://a.test/x?y=1", "308 → https://a.test/x?y=1", "redirected"),
        ("https://b.shop.test/", "shop saw /", "served"),
        ("http://b.shop.test/", "shop saw /", "served"),
        ("https://none.test/", "refused", "tls-refused"),
        ("http://none.test/", "503", "unavailable"),
        ("https://plain.test/", "refused", "tls-refused"),
        ("https://c.b.shop.test/", "refused", "tls-refused"),
        ("http://a.test/%00", "400", "refused"),
    ] {
        assert_eq!(site.outcome(&balancer, url, &[]).trim(), actual, "{url}");
        let (_, json) = run_command(&balancer, &["explain", url, "--format", "json"]);
        let explained: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(explained["outcome"], outcome, "{url}: {json}");
    }
    let (status, text) = run_command(&balancer, &["certificates"]);
    assert_eq!(status, Some(1), "{text}");
    for line in ["a.test ", "*.shop.test ", "none.test ", "no certificate", "file a.pem, ECDSA"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (status, text) = run_command(&balancer, &["certificate", "renew", "a.test"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("--acme is not set"), "{text}");
}

#[test]
fn host_with_own_ca_is_trusted_by_clients_that_have_it() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let plan = Balancer::plan(&docker).ports(&[80, 443]);
    let labels = "glue_http_80_host=nas.lan glue_http_80_tls=on glue_http_80_cert=self";
    let _container = plan.run("nas").labels(labels).start();
    let mut balancer = plan.start().wait_until_started();
    let ca = wait_for("the CA", || {
        let (status, text) = run_command(&balancer, &["certificate", "ca"]);
        (status == Some(0)).then_some(text)
    });
    fs::write(site.ca_file(), &ca).unwrap();
    site.wait_until(&balancer, "https://nas.lan/", "nas saw /");
    let (status, text) = run_command(&balancer, &["certificates"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("own CA, ECDSA"), "{text}");

    balancer.stop_with(Signal::SIGTERM);
    balancer.start_again();
    site.wait_until(&balancer, "https://nas.lan/", "nas saw /");
    assert_eq!(run_command(&balancer, &["certificate", "ca"]), (Some(0), ca));
    assert!(!balancer.log().contains("PRIVATE KEY"));
}

/// No later pass could load a certificate that the first one did not have.
#[test]
fn single_run_serves_hosts_with_own_ca() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let own = |name: &str| {
        let labels = format!("glue_http_80_host={name}.lan glue_http_80_tls=on");
        plan.run(name).labels(&labels).label("glue_http_80_cert", "self").start()
    };
    let run_once = || {
        // HAProxy keeps running, with these as its output.
        let log = site.folder.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = plan.command();
        let status = command.arg("-1").stdout(Stdio::null()).stderr(file).status().unwrap();
        let text = fs::read_to_string(log).unwrap();
        assert!(status.success(), "{text}");
        text
    };
    let _containers = (https_run(&plan, "a", "a.test").start(), own("nas"));
    run_once();
    let root = fs::read(plan.state().join("own-ca/ca.pem")).unwrap();
    fs::write(site.ca_file(), [root.as_slice(), site.ca.pem().as_bytes()].concat()).unwrap();
    assert_eq!(site.outcome(&plan, "https://a.test/", &[]), "a saw /");
    assert_eq!(site.outcome(&plan, "https://nas.lan/", &[]), "nas saw /");

    let lines = plan.ask_haproxy("show ssl crt-list -n tls-443.list");
    let _another = own("wiki");
    let log = run_once();
    assert!(!log.contains("reloaded HAProxy"), "{log}");
    for (url, expected) in [
        ("https://nas.lan/", "nas saw /"),
        ("https://wiki.lan/", "wiki saw /"),
        ("http://wiki.lan/", "308 → https://wiki.lan/"),
    ] {
        assert_eq!(site.outcome(&plan, url, &[]), expected, "{url}: {log}");
    }
    let now = plan.ask_haproxy("show ssl crt-list -n tls-443.list");
    for line in lines.lines().filter(|line| line.contains("nas.lan")) {
        let (entry, _) = line.split_once(':').unwrap();
        assert!(now.contains(entry), "the first certificate is kept: {now}");
    }
}

#[test]
fn certificates_of_traefik_are_imported_once() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let base64 = |text: &str| BASE64_STANDARD.encode(text);
    let entry = |main: &str, pem: &str| {
        let (certificate, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").unwrap());
        let (certificate, key) = (base64(certificate), base64(key));
        serde_json::json!({"domain": {"main": main}, "certificate": certificate, "key": key})
    };
    let entries = [
        entry("a.test", &site.ca.issue(&["a.test"])),
        entry("*.shop.test", &site.ca.issue(&["*.shop.test"])),
    ];
    let file = site.folder.path().join("acme.json");
    let json = serde_json::json!({"le": {"Account": null, "Certificates": entries}, "empty": {"Certificates": null}});
    fs::write(&file, json.to_string()).unwrap();
    let plan = site.plan(Balancer::plan(&docker));
    let _container = https_run(&plan, "a", "a.test").start();
    let balancer = plan.start().wait_until_started();
    let directory = site.certificates();
    let import =
        ["certificate", "import", file.to_str().unwrap(), "--to", directory.to_str().unwrap()];
    for word in ["wrote", "kept"] {
        let (status, text) = run_command(&balancer, &import);
        assert_eq!(status, Some(0), "{text}");
        assert_eq!(text.matches(&format!(": {word} ")).count(), 2, "{text}");
    }
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    for name in ["a.test.pem", "wildcard.shop.test.pem"] {
        let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    fs::write(&file, "{\"le\": 5}").unwrap();
    let (status, text) = run_command(&balancer, &import);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("not an acme.json"), "{text}");
}

/// Returns the generations, each with the signs and hosts of its changes of certificates, and their digests. Before the
/// balancer answers there are none.
fn certificate_history(balancer: &Balancer) -> Vec<(u64, String)> {
    let (_, json) = run_command(balancer, &["history", "--json"]);
    let generations: Vec<GenerationStatus> = serde_json::from_str(&json).unwrap_or_default();
    let line = |generation: &GenerationStatus| {
        let changes = generation.certificates.iter().map(|change| {
            let digests = change.certificates.iter().map(|facts| &facts.digest[..8]);
            let digests = digests.collect::<Vec<_>>().join(" ");
            format!("{} {} {digests}", change.change.sign(), change.host)
        });
        (generation.generation, changes.collect::<Vec<_>>().join(", "))
    };
    generations.iter().map(line).collect()
}

/// Waits until the last generation has this change of a certificate, and returns its number.
fn wait_for_change(balancer: &Balancer, expected: &str) -> u64 {
    wait_for(expected, || {
        let (number, change) = certificate_history(balancer).pop()?;
        (change == expected).then_some(number)
    })
}

#[test]
fn history_names_certificates_which_a_rollback_does_not_change() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let digest = |pem: &str| CertificateDigest::of_pem(pem).to_string()[..8].to_owned();
    let first = site.issue_expired("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let _first = https_run(&plan, "a", "a.test").start();
    let mut balancer = plan.start().wait_until_started();
    let earlier = wait_for_change(&balancer, &format!("+ a.test:443 {}", digest(&first)));

    let second = site.issue("a.pem", &["a.test"]);
    wait_for_change(&balancer, &format!("~ a.test:443 {}", digest(&second)));
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    let (_, text) = run_command(&balancer, &["history"]);
    let line = format!("certificate {} of file a.pem", digest(&second));
    assert!(text.contains(&line), "{text}");
    assert!(text.contains(&format!("instead of {}", digest(&first))), "{text}");

    // The expired certificate of that generation does not return.
    let lines = balancer.ask_haproxy("show ssl crt-list -n tls-443.list");
    let (status, text) = run_command(&balancer, &["rollback", &earlier.to_string()]);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(site.outcome(&balancer, "https://a.test/", &[]), "a saw /");
    assert_eq!(balancer.ask_haproxy("show ssl crt-list -n tls-443.list"), lines);
    let (status, text) = run_command(&balancer, &["rollback", "--release"]);
    assert_eq!(status, Some(0), "{text}");

    // A restart repeats nothing, and what changed before it is recorded after it.
    let before = certificate_history(&balancer);
    balancer.stop_with(Signal::SIGTERM);
    let third = site.issue("a.pem", &["a.test"]);
    balancer.start_again();
    wait_for_change(&balancer, &format!("~ a.test:443 {}", digest(&third)));
    let after = certificate_history(&balancer);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
    assert_no_reload(&balancer);
}

/// No key and no part of one is in what the balancer prints or stores, except in its store.
#[test]
fn key_is_only_in_store() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let plan = site.plan(Balancer::plan(&docker)).option(&["-vv"]);
    let _container = https_run(&plan, "a", "a.test").start();
    let balancer = plan.start().wait_until_started();
    site.issue("b.pem", &["b.test"]);
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    wait_for("both certificates", || {
        let stored = walk(&balancer.state().join("certs")).len();
        (2 <= stored).then_some(())
    });
    let keys = ["a.pem", "b.pem"].map(|file| {
        let pem = fs::read_to_string(site.certificates().join(file)).unwrap();
        let key = pem.split("PRIVATE KEY-----").nth(1).unwrap().trim().lines().next().unwrap();
        key.to_owned()
    });
    let mut printed = vec![balancer.log(), balancer.stdout()];
    let files = [walk(&balancer.state()), walk(&balancer.runtime())].concat();
    assert!(files.contains(&balancer.runtime().join("certificates.json")));
    for file in files {
        let text = fs::read(&file).unwrap_or_default();
        if !file.starts_with(balancer.state().join("certs")) {
            printed.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    for key in &keys {
        assert!(printed.iter().all(|text| !text.contains(key)), "a key was printed");
    }
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
