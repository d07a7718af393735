//! Knot DNS on the loopback interface, with the zone example.com, which a key may update. The processes end, and their
//! folder is removed, when the value is dropped.

use crate::common::{self, balancer::free_port};
use docker_glue::sources::acme::{
    dns::DnsUpdate,
    settings::{Challenge, DnsLookup, DnsPublisher},
};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};
use tempfile::TempDir;

/// A secret of 32 bytes, and another one.
pub(crate) const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
pub(crate) const WRONG_SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDI=";

/// The zone: aliases of names of challenges in the same zone, for one name and for all names below another one.
const ZONE: &str = "\
$ORIGIN example.com.
$TTL 60
@ SOA ns1 admin 1 2 2 600 60
@ NS ns1
ns1 A 127.0.0.1
ns2 A 127.0.0.2
_acme-challenge TXT another-record
_acme-challenge.alias CNAME alias.challenges
*.wild CNAME web
web A 127.0.0.1
";

pub(crate) struct Knot {
    folder: TempDir,
    port: u16,
    processes: Vec<Child>,
}

/// Whether the zone has a second name server, and from where it has the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    None,
    /// It asks the first one for changes every two seconds.
    Polls,
    /// It has the zone of the start for ever.
    Stale,
}

impl Knot {
    /// Starts a name server. Returns `None` and records the skip if it cannot be had, which fails if CI is set.
    pub(crate) fn start(second: Second) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("docker-glue-knot-").tempdir().unwrap();
        let mut knot = Self { folder, port: free_port(), processes: Vec::new() };
        let ns2 = if second == Second::None { "" } else { "@ NS ns2\n" };
        let zone = format!("{ZONE}{ns2}");
        knot.spawn(&programs, 1, Some(&zone));
        match second {
            Second::None => {}
            Second::Polls => knot.spawn(&programs, 2, None),
            Second::Stale => knot.spawn(&programs, 2, Some(&zone)),
        }
        Some(knot)
    }

    /// Returns the address of the first or second name server.
    pub(crate) fn address(&self, number: u8) -> SocketAddr {
        ([127, 0, 0, number], self.port).into()
    }

    /// Returns how to update the first name server, with other lines in the file.
    pub(crate) fn challenge(&self, secret: &str, lines: &str) -> Challenge {
        let server = self.address(1);
        let key = if lines.contains("key =") { "" } else { "key = \"balancer\"" };
        let text = format!("server = \"{server}\"\nsecret = \"{secret}\"\n{key}\n{lines}\n");
        Challenge::Dns(DnsPublisher::Update(Box::new(DnsUpdate::parse(&text).unwrap())))
    }

    /// Returns how to look up names at these name servers.
    pub(crate) fn lookup(&self) -> DnsLookup {
        let resolvers = Some(vec![self.address(1)]);
        DnsLookup { resolvers, port: self.port, pause: Duration::ZERO, ..DnsLookup::default() }
    }

    /// Returns the values of a TXT record at the first name server.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let mut command = Command::new(programs().unwrap().join("knotc"));
        command.args(["-s", self.folder.path().join("1/knot.sock").to_str().unwrap()]);
        let output = command.args(["zone-read", "example.com", name, "TXT"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let values = text.lines().filter_map(|line| line.split('"').nth(1));
        values.map(str::to_owned).collect()
    }

    pub(crate) fn log(&self, number: u8) -> String {
        fs::read_to_string(self.path(number).join("log")).unwrap_or_default()
    }

    fn path(&self, number: u8) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    /// Starts a name server with a zone, or with one that it copies from the first name server.
    fn spawn(&mut self, programs: &Path, number: u8, zone: Option<&str>) {
        let folder = self.path(number);
        fs::create_dir(&folder).unwrap();
        let origin = match zone {
            Some(zone) => fs::write(folder.join("zone"), zone).map(|()| "").unwrap(),
            None => "    master: first\n",
        };
        fs::write(folder.join("knot.conf"), self.config(number, origin)).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let mut command = Command::new(programs.join("knotd"));
        command.arg("-c").arg(folder.join("knot.conf")).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(command.spawn().unwrap());
        common::wait_for("knot serves the zone", || {
            let log = self.log(number);
            (log.contains("serial none -> 1") && log.contains("server started")).then_some(())
        });
    }

    fn config(&self, number: u8, origin: &str) -> String {
        let (path, port) = (self.path(number), self.port);
        let path = path.display();
        format!(
            "\
server:
    rundir: {path}
    listen: 127.0.0.{number}@{port}
log:
  - target: stderr
    any: info
database:
    storage: {path}
key:
  - id: balancer
    algorithm: hmac-sha256
    secret: {SECRET}
  - id: long
    algorithm: hmac-sha512
    secret: {SECRET}
  - id: reader
    algorithm: hmac-sha256
    secret: {SECRET}
remote:
  - id: first
    address: 127.0.0.1@{port}
acl:
  - id: update
    key: [balancer, long]
    action: update
  - id: copy
    address: 127.0.0.0/8
    action: transfer
template:
  - id: default
    storage: {path}
zone:
  - domain: example.com
    file: zone
    acl: [update, copy]
{origin}"
        )
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            println!("knot:\n{}\nsecond:\n{}", self.log(1), self.log(2));
        }
    }
}

/// Returns the folder of Knot's programs.
fn programs() -> Option<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let made = Command::new("sh").arg("tests/knot.sh").output().unwrap();
        let text = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        if made.status.success() { Ok(text.into()) } else { Err(error) }
    });
    folder
        .as_ref()
        .map_err(|error| common::record_skip(&format!("no name server: {error}")))
        .ok()
        .cloned()
}
