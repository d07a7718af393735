//! Changes of certificates, lines and CAs in a real HAProxy, also if the program is killed on the way.

use crate::common::{
    self,
    balancer::{Balancer, BalancerPlan},
    between::{Fault, FaultProxy},
    certificates::{TestCa, whoami_outcome},
    haproxy::HAProxy,
    story,
    tls_change::CertificateFiles,
    wait_for,
};
use docker_glue::haproxy::{
    command::RuntimeCommand,
    config::Config,
    observed::ObservedState,
    plan::plan_commands,
    tls::{CaList, ObservedTls, TlsLine, parse_cas, parse_certificates, parse_lines},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::Command,
};

/// Changes of one HAProxy, of which every third is interrupted.
const CHANGES: usize = 40;

/// HTTPS listeners on the ports 443 and 8443.
const LISTENERS: &str = "
    web1 172.17.0.2 glue_http_80_host=secure.test glue_http_80_tls=only
    web2 172.17.0.3 glue_http_80_host=x.test glue_http_80_tls=only glue_http_80_tls_bind=8443";

#[tokio::test]
async fn random_changes_of_certificates_reach_planned_state() {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles::create(folder.path());
    let base = story::build_config(&story::parse_routes(LISTENERS));
    let mut runner = TestRunner::default();
    let strategy = (files.desired_strategy(), any::<prop::sample::Index>(), 0..3_usize);
    let mut draw = || strategy.new_tree(&mut runner).unwrap().current();
    let mut config = Config { tls: draw().0.0, ..base.clone() };
    for lines in config.tls.values_mut() {
        *lines = lines.iter().filter(|line| line.options.is_empty()).cloned().collect();
    }
    let Some(haproxy) = HAProxy::start(&config).await else { return };
    let mut observed = haproxy.observe().await;
    let worker = observed.worker;
    assert_eq!(observed.tls, arrived(&config));
    for number in 0..CHANGES {
        let ((tls, cas), cut, interrupted) = draw();
        config = Config { tls, cas, ..config };
        let commands = plan_commands(&observed, &config);
        let what = format!("change {number}: {commands:#?}");
        if number % 3 == 0 && !commands.is_empty() {
            let cut = cut.index(commands.len());
            let mut runtime = haproxy.runtime().await;
            runtime.execute_commands(&commands[..cut], &mut observed).await.expect(&what);
            interrupt(&haproxy, &commands[cut], interrupted);
            observed = haproxy.observe().await;
        }
        let commands = plan_commands(&observed, &config);
        let mut runtime = haproxy.runtime().await;
        runtime.execute_commands(&commands, &mut observed).await.expect(&what);
        runtime.read_back(&commands, &mut observed).await.expect(&what);
        assert_eq!(observed.tls, arrived(&config), "{what}");
        observed = haproxy.observe().await;
        assert_eq!(observed.tls, arrived(&config), "{what}");
        assert!(plan_commands(&observed, &config).is_empty(), "{what}");
    }
    assert_eq!(observed.worker, worker, "HAProxy was reloaded");
}

/// A CA and a certificate whose loading was interrupted after `new`, after `set` or after `commit` are loaded again, or
/// deleted.
#[tokio::test]
async fn interrupted_certificate_and_ca_are_loaded_or_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles::create(folder.path());
    let base = story::build_config(&story::parse_routes(LISTENERS));
    let empty = Config {
        tls: base.tls.keys().map(|list| (list.clone(), BTreeSet::new())).collect(),
        ..base
    };
    let Some(haproxy) = HAProxy::start(&empty).await else { return };
    let line = TlsLine {
        name: "a.test".to_owned(),
        certificate: files.certificate(0),
        options: [format!("ca-file {}", files.ca(0)), "verify required".to_owned()].into(),
    };
    let mut full = Config { cas: [files.ca(0)].into(), ..empty.clone() };
    full.tls.insert("tls-443.list".to_owned(), [line].into());
    for sent in 0..3 {
        for config in [&full, &empty] {
            for command in [
                RuntimeCommand::LoadCa { ca: files.ca(0) },
                RuntimeCommand::LoadCertificate { certificate: files.certificate(0) },
            ] {
                interrupt(&haproxy, &command, sent);
            }
            for config in [config, &empty] {
                let mut observed = haproxy.observe().await;
                let commands = plan_commands(&observed, config);
                haproxy.runtime().await.execute_commands(&commands, &mut observed).await.unwrap();
                assert_eq!(haproxy.observe().await.tls, arrived(config), "{sent}: {commands:#?}");
            }
        }
    }
}

fn arrived(config: &Config) -> ObservedTls {
    ObservedState::from_config(config).tls
}

/// Sends the first commands of those that load a certificate or a CA.
fn interrupt(haproxy: &HAProxy, command: &RuntimeCommand, sent: usize) {
    let (kind, name) = match command {
        RuntimeCommand::LoadCertificate { certificate } => ("cert", certificate),
        RuntimeCommand::LoadCa { ca } => ("ca-file", ca),
        _ => return,
    };
    let pem = fs::read_to_string(name).unwrap();
    let commands = [
        format!("new ssl {kind} {name}"),
        format!("set ssl {kind} {name} <<\n{}\n", pem.trim()),
        format!("commit ssl {kind} {name}"),
    ];
    for command in &commands[..=sent] {
        let mut socket = UnixStream::connect(haproxy.socket()).unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        io::copy(&mut socket, &mut io::sink()).unwrap();
    }
}

/// A balancer with certificates for two hosts. The clients of one of them need a certificate.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        for directory in ["certificates", "cas"] {
            fs::create_dir(site.path(directory)).unwrap();
        }
        let (server, staff) = (TestCa::new(), TestCa::new());
        for (file, text) in [
            ("server.pem", server.pem()),
            ("certificates/still.pem", server.issue(&["still.test"])),
            ("certificates/guest.pem", server.issue(&["guest.test"])),
            ("cas/staff.pem", staff.pem()),
            ("client.pem", staff.issue(&["client.test"])),
        ] {
            fs::write(site.path(file), text).unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn plan(&self, plan: BalancerPlan) -> BalancerPlan {
        let options = [
            "--certificates",
            &self.path("certificates"),
            "--client-ca",
            &self.path("cas"),
            "--leave-running",
            "--hold",
            "0s",
        ];
        plan.ports(&[80, 443]).option(&options)
    }

    /// Returns `NAME saw PATH`, a status, or `refused`.
    fn outcome(&self, balancer: &Balancer, host: &str) -> String {
        let target = format!("{host}:443:127.0.0.1:{}", balancer.bound_port(443));
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "20", "--connect-to", &target])
            .args(["--cacert", &self.path("server.pem"), "--cert", &self.path("client.pem")])
            .args(["--write-out", "\n%{http_code}", &format!("https://{host}/")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        match text.rsplit_once('\n').unwrap_or_default() {
            (_, "000") => "refused".to_owned(),
            (body, "200") => whoami_outcome(body),
            (_, status) => status.to_owned(),
        }
    }
}

/// Numbers of lines, certificates and CAs. `None` if a transaction is open or something is incomplete.
fn count_tls(between: &FaultProxy) -> Option<(usize, usize, usize)> {
    let ask = |command: &str| between.ask_haproxy(command).ok();
    let lines = parse_lines(&ask("show ssl crt-list -n tls-443.list")?);
    let (certificates, transaction) = parse_certificates(&ask("show ssl cert")?);
    let CaList { cas, empty, transaction: ca_transaction } = parse_cas(&ask("show ssl ca-file")?);
    let used: BTreeSet<_> = lines.keys().map(|line| &line.certificate).collect();
    let is_complete = transaction.is_none() && ca_transaction.is_none() && empty.is_empty();
    let ours = certificates.iter().filter(|name| name.contains("/certs/")).count();
    is_complete.then_some((lines.len(), ours.max(used.len()), cas.len()))
}

/// The balancer is killed before the first command of a change, before the second, and so on, while a host with a
/// certificate and a CA of its clients is added, and while it is removed.
#[test]
fn kill_between_any_commands_is_mended_by_next_start() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let plan = site.plan(Balancer::plan(&docker));
    let _still =
        plan.run("still").labels("glue_http_80_host=still.test glue_http_80_tls=on").start();
    let guest = plan
        .run("guest")
        .labels("glue_http_80_host=guest.test glue_http_80_tls=on glue_http_80_client_cert=staff");
    let guest = guest.create();
    let mut balancer = plan.start().wait_until_started();
    wait_for("the first host", || {
        (site.outcome(&balancer, "still.test") == "still saw /").then_some(())
    });
    let between = FaultProxy::replace_socket(&balancer.runtime().join("haproxy.sock"));
    let (mut kills, mut steps) = (0, [0, 0]);
    for step in 0.. {
        let mut is_late = true;
        for (direction, (verb, counts, expected)) in
            [("start", (2, 2, 1), "guest saw /"), ("stop", (1, 1, 0), "refused")]
                .into_iter()
                .enumerate()
        {
            between.inject_after(step, Fault::Kill(balancer.pid()));
            guest.docker(&[verb]);
            // The plan of a difference keeps a CA, which may be shared.
            let is_there = || {
                count_tls(&between).is_some_and(|found| {
                    (found.0, found.1) == (counts.0, counts.1) && counts.2 <= found.2
                })
            };
            wait_for("the change, or its interruption", || {
                (between.has_fired() || is_there()).then_some(())
            });
            if between.cancel() {
                (kills, steps[direction], is_late) = (kills + 1, step + 1, false);
                balancer.wait_for_exit();
                balancer.start_again();
                wait_for("the next start", || {
                    let adopted = balancer.log().matches("adopted the running HAProxy").count();
                    (adopted == kills).then_some(())
                });
            }
            let was_killed = steps[direction] == step + 1;
            wait_for(&format!("{counts:?} after {verb} with step {step}"), || {
                let is_exact = || count_tls(&between).is_some_and(|found| found == counts);
                (if was_killed { is_exact() } else { is_there() }).then_some(())
            });
            wait_for(expected, || {
                (site.outcome(&balancer, "guest.test") == expected).then_some(())
            });
            assert_eq!(site.outcome(&balancer, "still.test"), "still saw /");
        }
        if is_late {
            break;
        }
    }
    assert!(steps.iter().all(|steps| 5 <= *steps), "killed at {steps:?} commands only");
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
}
