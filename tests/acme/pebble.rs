//! pebble, a small CA, and its DNS server, on the loopback interface. Both end, and their folder is removed, when the
//! value is dropped.

use crate::common::{self, balancer::free_port, engine::make_certificates};
use docker_glue::sources::acme::AcmeSettings;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};
use tempfile::TempDir;

pub(crate) struct Pebble {
    folder: TempDir,
    /// The port on which pebble expects tokens.
    pub(crate) http_port: u16,
    /// The port on which pebble expects certificates for challenges.
    pub(crate) tls_port: u16,
    port: u16,
    management_port: u16,
    dns_management_port: u16,
    processes: Vec<Child>,
}

/// What differs from a plain pebble.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// The part of valid nonces that is rejected, in percent.
    pub(crate) nonce_reject: u8,
    pub(crate) eab: bool,
    /// The name server for TXT records, in place of pebble's own.
    pub(crate) name_server: Option<SocketAddr>,
}

/// The key identifier and the key of the external account that pebble knows.
pub(crate) const EAB: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

impl Pebble {
    /// Starts pebble. Returns `None` and records the skip if it cannot be had, which fails if CI is set.
    pub(crate) fn start(options: Options) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("docker-glue-pebble-").tempdir().unwrap();
        make_certificates(folder.path());
        let ports: Vec<_> = (0..6).map(|_| free_port()).collect();
        let mut pebble = Self {
            folder,
            http_port: ports[0],
            tls_port: ports[5],
            port: ports[1],
            management_port: ports[2],
            dns_management_port: ports[3],
            processes: Vec::new(),
        };
        let dns = format!("127.0.0.1:{}", ports[4]);
        let ca_dns = options.name_server.map_or_else(|| dns.clone(), |server| server.to_string());
        fs::write(pebble.path("pebble.json"), pebble.config(options)).unwrap();
        let management = format!("127.0.0.1:{}", pebble.dns_management_port);
        let mut server = Command::new(programs.join("pebble-challtestsrv"));
        server.args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
        ]);
        server.args(["-tlsalpn01", "", "-doh", "", "-dnsserver", &dns, "-management", &management]);
        pebble.spawn(server, "dns.log");
        let mut ca = Command::new(programs.join("pebble"));
        ca.args(["-strict=false", "-dnsserver", &ca_dns, "-config", "pebble.json"]);
        ca.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        ca.env("PEBBLE_WFE_NONCEREJECT", options.nonce_reject.to_string());
        pebble.spawn(ca, "pebble.log");
        pebble.wait_until_ready();
        Some(pebble)
    }

    /// Settings for this CA, with the state in a folder.
    pub(crate) fn settings(&self, state: &TempDir) -> AcmeSettings {
        let folder = state.path().join("acme");
        let mut settings = AcmeSettings::new(self.url().parse().unwrap(), folder);
        settings.ca_file = Some(self.path("ca.pem"));
        settings
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Returns the root certificate of what pebble issues, as PEM.
    #[allow(dead_code, reason = "the benchmark needs it")]
    pub(crate) fn root_pem(&self) -> String {
        let url = format!("https://localhost:{}/roots/0", self.management_port);
        let output = self.curl().arg(url).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns pebble's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("pebble.log")).unwrap()
    }

    /// Sends JSON to the management of pebble's DNS server.
    pub(crate) fn set_dns(&self, path: &str, json: &serde_json::Value) {
        self.post(&format!("http://127.0.0.1:{}/{path}", self.dns_management_port), json);
    }

    /// Sends JSON to pebble's management.
    pub(crate) fn manage(&self, path: &str, json: &serde_json::Value) {
        self.post(&format!("https://localhost:{}/{path}", self.management_port), json);
    }

    pub(crate) fn dns_management(&self) -> String {
        format!("http://127.0.0.1:{}", self.dns_management_port)
    }

    fn post(&self, url: &str, json: &serde_json::Value) {
        let mut command = self.curl();
        let output = command.args(["-d", &json.to_string(), url]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{url}: {error}");
    }

    fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--fail-with-body", "-sS", "--max-time", "10", "--cacert"]);
        command.arg(self.path("ca.pem"));
        command
    }

    fn config(&self, options: Options) -> String {
        let keys = serde_json::Map::from_iter([(EAB.0.to_owned(), EAB.1.into())]);
        serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management_port),
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.eab,
            "externalAccountMACKeys": keys,
            "retryAfter": { "authz": 1, "order": 1 },
            "profiles": {
                "default": { "description": "the default", "validityPeriod": 7_776_000 },
                "shortlived": { "description": "a short one", "validityPeriod": 518_400 },
            },
        } })
        .to_string()
    }

    fn spawn(&mut self, mut command: Command, log: &str) {
        let log = File::create(self.path(log)).unwrap();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(command.spawn().unwrap());
    }

    fn wait_until_ready(&self) {
        common::wait_for(&format!("pebble answers; {}", self.log()), || {
            let output = self.curl().arg(self.url()).output().unwrap();
            output.status.success().then_some(())
        });
        common::wait_for("the DNS server answers", || {
            let port = self.dns_management_port;
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            println!("pebble:\n{}", self.log());
        }
    }
}

/// Returns the folder of pebble's programs.
fn programs() -> Option<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let made = Command::new("sh").arg("tests/pebble.sh").output().unwrap();
        let text = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        if made.status.success() { Ok(text.into()) } else { Err(error) }
    });
    folder
        .as_ref()
        .map_err(|error| common::record_skip(&format!("no pebble: {error}")))
        .ok()
        .cloned()
}
