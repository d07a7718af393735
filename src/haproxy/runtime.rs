//! The runtime API of the worker that serves now: reads its state and sends commands.

use super::{
    command::{Escaped, RuntimeCommand},
    config::MapName,
    observed::{self, ObservedState, ServersByBackend},
    server_setting::ServerSetting,
    server_usage::ServerUsage,
    socket::{CliSession, WorkerSocket},
    tls::{self, CaList, ObservedTls, TlsLine, TlsLists},
    tls_commands::TlsCommands,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    time::Duration,
};
use strum::{IntoStaticStr, VariantNames};

/// If more backends or entries than this, and more than an eighth of all, are needed, all are read at once.
const BULK_THRESHOLD: usize = 16;

/// Longer lists are not read back after each change.
const MAX_VERIFIED_LINES: usize = 1000;

/// A client that lists certificates holds their lock for milliseconds.
const PAUSE_IF_LOCKED: Duration = Duration::from_millis(20);
const MAX_ATTEMPTS_IF_LOCKED: u32 = 50;

fn needs_bulk_query(requested: usize, total: usize) -> bool {
    BULK_THRESHOLD.max(total / 8) < requested
}

#[derive(Debug, thiserror::Error, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum RuntimeError {
    #[error("HAProxy does not answer on {}: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("HAProxy refused `{command}`: {answer}")]
    Refused { command: String, answer: String },
    #[error("HAProxy refused the certificate {certificate}: {answer}")]
    CertificateRefused { certificate: String, answer: String },
    /// Another client holds the lock for too long: the program that reads its answer has stopped, for example.
    #[error(
        "HAProxy did not run `{command}`: another client of its runtime API uses the certificates"
    )]
    CertificatesLocked { command: String },
    #[error("cannot read the certificate {certificate}: {source}")]
    CertificateUnreadable { certificate: String, source: io::Error },
    /// A paused frontend cannot be resumed. All of it stays paused.
    #[error("HAProxy cannot resume {frontend}: another program uses its port")]
    PortTaken { frontend: String },
    #[error("HAProxy did not apply all commands")]
    Differs,
}

impl RuntimeError {
    /// All values of [`Self::kind`].
    pub const KINDS: &'static [&'static str] = Self::VARIANTS;

    /// Returns the kind as one word for programs: a closed set.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

/// One connection to the stats socket. Each pass opens its own: after a reload, an open connection would still lead to
/// the old worker.
#[derive(Debug)]
pub struct RuntimeClient {
    socket: PathBuf,
    session: CliSession,
}

impl RuntimeClient {
    pub async fn connect(socket: impl Into<WorkerSocket>) -> Result<Self, RuntimeError> {
        let socket = socket.into();
        let session = socket.connect().await;
        let socket = socket.stats;
        match session {
            Ok(session) => Ok(Self { socket, session }),
            Err(source) => Err(RuntimeError::Unreachable { socket, source }),
        }
    }

    /// Whether the worker is reached through its master, because its socket's file is missing.
    pub fn is_via_master(&self) -> bool {
        self.session.is_via_master()
    }

    /// Reads the whole state.
    pub async fn read_state(&mut self) -> Result<ObservedState, RuntimeError> {
        let info = self.send_command("show info").await?;
        let mut observed = ObservedState {
            worker: observed::parse_worker_pid(&info),
            fingerprint: observed::parse_fingerprint(&info).unwrap_or_default().to_owned(),
            frontends: observed::parse_frontends(&self.send_command("show stat -1 1 -1").await?),
            backends: observed::parse_backends(&self.send_command("show backend").await?),
            servers: observed::parse_servers(&self.send_command("show servers state").await?),
            ..ObservedState::default()
        };
        if observed.can_add_backends() {
            observed.unpublished =
                observed::parse_unpublished(&self.send_command("show stat -1 2 -1").await?);
        }
        if ServerSetting::of_statistics().next().is_some() {
            let statistics = self.send_command("show stat -1 4 -1").await?;
            observed::apply_statistics(&statistics, &mut observed.servers);
        }
        for map in MapName::ALL {
            observed.maps.insert(
                map,
                observed::parse_map(&self.send_command(&format!("show map {map}")).await?),
            );
        }
        observed.tls = self.read_tls().await?;
        Ok(observed)
    }

    /// Reads the certificates of HTTPS listeners. An HAProxy without any answers two short queries.
    async fn read_tls(&mut self) -> Result<ObservedTls, RuntimeError> {
        let CaList { cas, empty: empty_cas, .. } =
            tls::parse_cas(&self.send_command("show ssl ca-file").await?);
        let names = tls::parse_lists(&self.send_command("show ssl crt-list").await?);
        if names.is_empty() {
            return Ok(ObservedTls { cas, empty_cas, ..ObservedTls::default() });
        }
        let mut lists = TlsLists::new();
        for name in names {
            let lines = self.read_lines(&name).await?.into_keys().collect();
            lists.insert(name, lines);
        }
        let (certificates, _) = tls::parse_certificates(&self.send_command("show ssl cert").await?);
        Ok(ObservedTls { cas, empty_cas, ..ObservedTls::new(lists, certificates) })
    }

    pub(super) async fn read_lines(
        &mut self,
        list: &str,
    ) -> Result<BTreeMap<TlsLine, u32>, RuntimeError> {
        Ok(tls::parse_lines(&self.send_command(&format!("show ssl crt-list -n {list}")).await?))
    }

    /// Whether the same worker answers as when `observed` was read.
    pub async fn is_same_worker(&mut self, observed: &ObservedState) -> Result<bool, RuntimeError> {
        Ok(observed::parse_worker_pid(&self.send_command("show info").await?) == observed.worker)
    }

    /// Sends the commands in order, and applies each to `observed`. A server that cannot be deleted yet remains.
    pub async fn execute_commands(
        &mut self,
        plan: &[RuntimeCommand],
        observed: &mut ObservedState,
    ) -> Result<(), RuntimeError> {
        let mut tls = TlsCommands::default();
        let mut usage = ServerUsage::default();
        for command in plan {
            match command {
                RuntimeCommand::SetState { .. } => usage = ServerUsage::default(),
                RuntimeCommand::DelServer { backend, name }
                    if !usage.is_unused(self, backend, name).await? =>
                {
                    continue;
                }
                _ => {}
            }
            let line = command.to_string();
            let answer = match command {
                RuntimeCommand::DelCertificate { .. } => {
                    tls.close_transaction(self).await?;
                    self.send_command(&line).await?
                }
                RuntimeCommand::DelCa { .. } => {
                    tls.close_ca_transaction(self).await?;
                    self.send_command(&line).await?
                }
                RuntimeCommand::LoadCertificate { certificate } => {
                    tls.load_certificate(self, certificate).await?
                }
                RuntimeCommand::SetDefaultCertificate { certificate } => {
                    tls.replace_default(self, certificate).await?
                }
                RuntimeCommand::LoadCa { ca } => tls.load_ca(self, ca).await?,
                RuntimeCommand::AddTlsLine { list, line } => {
                    let add = format!("add ssl crt-list {list}");
                    self.send_payload(&add, &line.to_string()).await?
                }
                RuntimeCommand::DelTlsLine { list, line } => {
                    tls.delete_line(self, list, line).await?
                }
                _ => self.send_command(&line).await?,
            };
            if command.expected_reply().matches(&answer) {
                observed.apply_command(command);
            } else if let RuntimeCommand::LoadCertificate { certificate }
            | RuntimeCommand::SetDefaultCertificate { certificate }
            | RuntimeCommand::LoadCa { ca: certificate } = command
            {
                let certificate = certificate.clone();
                return Err(RuntimeError::CertificateRefused { certificate, answer });
            } else if let RuntimeCommand::EnableFrontend { frontend } = command
                && answer.contains("Failed to resume frontend")
            {
                return Err(RuntimeError::PortTaken { frontend: frontend.clone() });
            } else if !command.may_be_refused() {
                return Err(RuntimeError::Refused { command: line, answer });
            }
        }
        Ok(())
    }

    /// Reads what the plan has changed from HAProxy, because a sent command may not have had its effect.
    pub async fn read_back(
        &mut self,
        plan: &[RuntimeCommand],
        expected: &mut ObservedState,
    ) -> Result<(), RuntimeError> {
        let same = self.verify_servers(plan, expected).await?
            & self.verify_frontends(plan, expected).await?
            & self.verify_maps(plan, expected).await?
            & self.verify_lists(plan, expected).await?;
        if same { Ok(()) } else { Err(RuntimeError::Differs) }
    }

    async fn verify_servers(
        &mut self,
        plan: &[RuntimeCommand],
        expected: &mut ObservedState,
    ) -> Result<bool, RuntimeError> {
        let backends: BTreeSet<_> = plan.iter().filter_map(RuntimeCommand::backend).collect();
        if needs_bulk_query(backends.len(), expected.servers.len()) {
            let mut found =
                observed::parse_servers(&self.send_command("show servers state").await?);
            self.read_statistics("-1", expected, &mut found).await?;
            return Ok(expected.replace_servers(found));
        }
        let mut same = true;
        for backend in backends {
            let mut found = observed::parse_servers(
                &self.send_command(&format!("show servers state {backend}")).await?,
            );
            self.read_statistics(backend, expected, &mut found).await?;
            same &= expected.replace_backend(backend, found);
        }
        Ok(same)
    }

    async fn verify_frontends(
        &mut self,
        plan: &[RuntimeCommand],
        expected: &mut ObservedState,
    ) -> Result<bool, RuntimeError> {
        let mut same = true;
        for name in plan.iter().filter_map(RuntimeCommand::frontend) {
            let found = self.send_command(&format!("show stat {name} 1 -1")).await?;
            let found = observed::parse_frontends(&found).remove(name);
            same &= expected.replace_frontend(name, found);
        }
        Ok(same)
    }

    /// Queries `show stat` only if a server should have a setting of it: most have none, and the answer is long.
    async fn read_statistics(
        &mut self,
        backend: &str,
        expected: &ObservedState,
        found: &mut ServersByBackend,
    ) -> Result<(), RuntimeError> {
        let servers = found.keys().filter_map(|name| expected.servers.get(name));
        if servers.flat_map(BTreeMap::values).any(|server| server.settings.needs_statistics()) {
            let statistics = self.send_command(&format!("show stat {backend} 4 -1")).await?;
            observed::apply_statistics(&statistics, found);
        }
        Ok(())
    }

    async fn verify_maps(
        &mut self,
        plan: &[RuntimeCommand],
        expected: &mut ObservedState,
    ) -> Result<bool, RuntimeError> {
        let entries: BTreeSet<_> = plan.iter().filter_map(RuntimeCommand::map_entry).collect();
        let mut same = true;
        let total = expected.maps.values().map(BTreeMap::len).sum();
        if needs_bulk_query(entries.len(), total) {
            for map in entries.iter().map(|(map, _)| *map).collect::<BTreeSet<_>>() {
                let found =
                    observed::parse_map(&self.send_command(&format!("show map {map}")).await?);
                same &= expected.maps.insert(map, found.clone()) == Some(found);
            }
            return Ok(same);
        }
        let by_address = |(map, _): &(MapName, &str)| *map == MapName::ClientNetworks;
        if entries.iter().any(by_address) {
            // `get map` looks up an address, and not a network.
            let map = MapName::ClientNetworks;
            let found = observed::parse_map(&self.send_command(&format!("show map {map}")).await?);
            same &= expected.maps.insert(map, found.clone()) == Some(found);
        }
        for (map, key) in entries.into_iter().filter(|entry| !by_address(entry)) {
            let answer = self.send_command(&format!("get map {map} {}", Escaped(key))).await?;
            same &= expected.replace_entry(map, key, observed::parse_entry(&answer, key));
        }
        Ok(same)
    }

    /// Reads the lists that the plan has changed. Long ones are read with the whole state only: HAProxy 2.6 takes 36 ms
    /// for 10,000 lines.
    async fn verify_lists(
        &mut self,
        plan: &[RuntimeCommand],
        expected: &mut ObservedState,
    ) -> Result<bool, RuntimeError> {
        let mut same = true;
        for list in plan.iter().filter_map(RuntimeCommand::tls_list).collect::<BTreeSet<_>>() {
            let expected = expected.tls.lists.entry(list.to_owned()).or_default();
            if expected.len() <= MAX_VERIFIED_LINES {
                let found: BTreeSet<_> = self.read_lines(list).await?.into_keys().collect();
                same &= *expected == found;
                *expected = found;
            }
        }
        Ok(same)
    }

    /// Sends a command with further lines. They must not contain an empty line, which ends them.
    pub(super) async fn send_payload(
        &mut self,
        command: &str,
        payload: &str,
    ) -> Result<String, RuntimeError> {
        self.send(command, Some(payload)).await
    }

    pub(super) async fn send_command(&mut self, command: &str) -> Result<String, RuntimeError> {
        self.send(command, None).await
    }

    /// Repeats a command that HAProxy did not run because another client used the certificates.
    async fn send(&mut self, command: &str, payload: Option<&str>) -> Result<String, RuntimeError> {
        for _ in 0..MAX_ATTEMPTS_IF_LOCKED {
            let answer = match payload {
                Some(payload) => self.session.send_payload(command, payload).await,
                None => self.session.send_command(command).await,
            };
            let answer = answer.map_err(|source| RuntimeError::Unreachable {
                socket: self.socket.clone(),
                source,
            })?;
            if !is_locked(command, &answer) {
                return Ok(answer);
            }
            tokio::time::sleep(PAUSE_IF_LOCKED).await;
        }
        Err(RuntimeError::CertificatesLocked { command: command.to_owned() })
    }
}

/// Whether HAProxy did not run the command because another client held the lock of the certificates. A client holds it
/// until it has read the whole answer, `show ssl cert` included (`src/ssl_ckch.c` of 2.6).
fn is_locked(command: &str, answer: &str) -> bool {
    command.contains(" ssl ") && answer.contains("Operations on certificates are currently locked!")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::{
        config::{AdminState, FrontendState},
        server_setting::ServerSettings,
    };
    use std::{
        io::{BufRead, BufReader, Write},
        os::unix::net::UnixListener,
        path::Path,
        thread::JoinHandle,
    };

    /// Starts a HAProxy that gives these answers, in turn. Returns its socket, and what it receives.
    fn start_haproxy(
        folder: &Path,
        answers: &[&'static str],
    ) -> (PathBuf, JoinHandle<Vec<String>>) {
        let socket = folder.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = answers.to_owned();
        let haproxy = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let answer = |(text, line): (&str, io::Result<String>)| {
                write!(&stream, "{text}\n> ").unwrap();
                line.unwrap()
            };
            answers.into_iter().zip(lines).map(answer).collect()
        });
        (socket, haproxy)
    }

    #[tokio::test]
    async fn locked_certificates_delay_command() {
        let folder = tempfile::tempdir().unwrap();
        let locked = "Can't delete!\nOperations on certificates are currently locked!\n";
        let (socket, haproxy) =
            start_haproxy(folder.path(), &["", locked, locked, "Entry deleted.\n"]);
        let mut client = RuntimeClient::connect(socket).await.unwrap();
        let command = "del ssl crt-list a b";
        assert_eq!(client.send_command(command).await.unwrap(), "Entry deleted.");
        assert_eq!(haproxy.join().unwrap(), ["prompt", command, command, command]);
    }

    #[tokio::test]
    async fn server_is_deleted_only_if_nothing_refers_to_it() {
        let idle = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max\n\
                    a:80/web:80 5/1 10.0.0.2 80 - 5000 0 3\na:80/new:80 5/1 10.0.0.3 80 - 5000 1 3\n";
        let used = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max\n\
                    a:80/web:80 5/1 10.0.0.2 80 - 5000 1 3\n";
        let request = "0x7f1c: proto=tcpv4 src=127.0.0.1:5 fe=http-80 be=a:80 srv=web:80 ts=00\n";
        let other = "0x7f1c: proto=tcpv4 src=127.0.0.1:5 fe=http-80 be=a:80 srv=new:80 ts=00\n";
        let delete = "del server a:80/web:80";
        for (answers, is_deleted) in [
            (&["", used][..], false),
            (&["", idle, request], false),
            (&["", idle, other, "Server deleted.\n"], true),
            (&["", idle, "\n", "Server still has connections attached to it.\n"], false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (socket, haproxy) = start_haproxy(folder.path(), answers);
            let mut client = RuntimeClient::connect(socket).await.unwrap();
            let server = observed::ObservedServer {
                address: "10.0.0.2:80".parse().unwrap(),
                settings: ServerSettings::default(),
                admin: AdminState::Maintenance,
                up: false,
            };
            let servers = BTreeMap::from([("web:80".to_owned(), server)]);
            let mut observed = ObservedState {
                servers: BTreeMap::from([("a:80".to_owned(), servers)]),
                ..ObservedState::default()
            };
            let (backend, name) = ("a:80".to_owned(), "web:80".to_owned());
            let plan = [RuntimeCommand::DelServer { backend, name }];
            client.execute_commands(&plan, &mut observed).await.unwrap();
            let remains = observed.servers.values().any(|servers| !servers.is_empty());
            assert_eq!(remains, !is_deleted, "{answers:?}");
            let expected = ["prompt", "show servers conn a:80", "show sess", delete];
            assert_eq!(haproxy.join().unwrap(), expected[..answers.len()], "{answers:?}");
        }
    }

    #[tokio::test]
    async fn answer_shows_whether_frontend_is_resumed() {
        for (answer, expected) in [
            ("", None),
            ("All sockets are already enabled.\n", None),
            (
                "Failed to resume frontend, check logs for precise cause (port conflict?).\n",
                Some("port_taken"),
            ),
            ("No such frontend.\n", Some("refused")),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (socket, haproxy) = start_haproxy(folder.path(), &["", answer]);
            let mut client = RuntimeClient::connect(socket).await.unwrap();
            let plan = [RuntimeCommand::EnableFrontend { frontend: "http-80".to_owned() }];
            let mut observed = ObservedState::default();
            let result = client.execute_commands(&plan, &mut observed).await;
            assert_eq!(result.as_ref().err().map(RuntimeError::kind), expected, "{answer:?}");
            let is_open = observed.frontends.get("http-80") == Some(&FrontendState::Open);
            assert_eq!(is_open, expected.is_none(), "{answer:?}");
            assert_eq!(haproxy.join().unwrap(), ["prompt", "enable frontend http-80"]);
        }
    }

    #[test]
    fn text_of_map_is_not_taken_for_lock() {
        let text = "Operations on certificates are currently locked!";
        assert!(is_locked("show ssl cert", text));
        assert!(!is_locked("show map a", text));
    }
}
