//! A simulated HAProxy behind two sockets, the stats socket of its worker and the master's, with the quirks that were
//! measured on real ones; and a program that accepts every configuration.
//!
//! The test decides about changes by other programs and about every failure. A reload reads the files that are on disk.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "this is a test")]

use docker_glue::haproxy::{
    config::FrontendState,
    name,
    observed::{self, ObservedState},
    settings::{ProxyMode, ProxySettings, ReloadVia},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// How the master answers `reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// The master does not answer. The reload is complete after this number of `show proc` commands: 2.6.
    Asynchronous(u32),
    /// The master answers when the reload is complete: 2.7 and later.
    Synchronous,
}

#[derive(Debug)]
pub struct FakeHaproxy {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub struct State {
    pub worker: Worker,
    pub master: Master,
    pid: u32,
    pub reloads: u32,
    pending: Option<u32>,
    failed: u32,
    /// This number of the next reloads fails.
    pub broken: u32,
    /// The connection is lost after this number of commands, and whether the last one was executed.
    pub cut: Option<(usize, bool)>,
    /// This number of the next deletions is refused, as if connections remained.
    pub busy: u32,
    /// The stats socket does not answer.
    pub mute: bool,
    /// Until the next reload commands are acknowledged but not executed.
    pub deaf: bool,
    config: PathBuf,
}

/// The state of a worker. Of several map entries with one key the first applies.
#[derive(Debug, Clone, Default)]
pub struct Worker {
    skeleton: String,
    /// Frontends that bind a port.
    pub frontends: BTreeMap<String, FrontendState>,
    pub backends: BTreeMap<String, BTreeMap<String, Server>>,
    pub unpublished: BTreeSet<String>,
    pub maps: BTreeMap<String, Vec<(String, String)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    id: String,
    address: (String, String),
    weight: String,
    maxconn: String,
    admin: u32,
    up: bool,
}

impl FakeHaproxy {
    pub fn start(master: Master) -> Self {
        let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "state"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("haproxy"), "#!/bin/sh\necho HAProxy version 2.6.12\n").unwrap();
        fs::set_permissions(at("haproxy"), fs::Permissions::from_mode(0o755)).unwrap();
        let state = Arc::new(Mutex::new(State {
            worker: Worker::default(),
            master,
            pid: 100,
            reloads: 0,
            pending: None,
            failed: 0,
            broken: 0,
            cut: None,
            busy: 0,
            deaf: false,
            mute: false,
            config: at("haproxy.cfg"),
        }));
        for (name, interactive) in [("state/haproxy.sock", true), ("master.sock", false)] {
            let listener = UnixListener::bind(at(name)).unwrap();
            tokio::spawn(accept_connections(listener, Arc::clone(&state), interactive));
        }
        Self { folder, state }
    }

    pub fn settings(&self) -> ProxySettings {
        ProxySettings {
            mode: ProxyMode::Service {
                reload: ReloadVia::MasterSocket(self.path("master.sock")),
                stats_socket: None,
            },
            bin: self.path("haproxy"),
            config: self.path("haproxy.cfg"),
            state_dir: self.path("state"),
            runtime_dir: self.path("run"),
            check_options: vec![],
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Returns the state of the worker.
    pub fn observe(&self) -> ObservedState {
        self.with_state(|state| state.worker.observe())
    }

    /// Returns the state that a reload would lead to.
    pub fn stored(&self) -> ObservedState {
        Worker::from_config(&self.path("haproxy.cfg")).observe()
    }
}

async fn accept_connections(listener: UnixListener, state: Arc<Mutex<State>>, is_worker: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, Arc::clone(&state), is_worker));
    }
}

/// Serves one connection. It accepts further commands only after `prompt`.
async fn serve_connection(
    stream: UnixStream,
    state: Arc<Mutex<State>>,
    is_worker: bool,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    // A connection stays with the worker that it was opened to.
    let pid = state.lock().unwrap().pid;
    let mut prompt = "";
    while let Some(line) = lines.next_line().await? {
        let answer = if line == "prompt" && !state.lock().unwrap().mute {
            prompt = "> ";
            Some(String::new())
        } else {
            state.lock().unwrap().handle_line(&line, is_worker, pid)
        };
        let Some(answer) = answer else { return Ok(()) };
        write.write_all(format!("{answer}\n{prompt}").as_bytes()).await?;
        if prompt.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

impl State {
    /// Returns `None` if the connection is lost.
    fn handle_line(&mut self, line: &str, is_worker: bool, pid: u32) -> Option<String> {
        if !is_worker {
            return self.handle_master_line(line);
        }
        if self.mute {
            return None;
        }
        if let Some((left, obeyed)) = self.cut {
            if left == 0 {
                self.cut = None;
                if obeyed {
                    self.handle_command(line, pid);
                }
                return None;
            }
            self.cut = Some((left - 1, obeyed));
        }
        Some(self.handle_command(line, pid))
    }

    fn handle_master_line(&mut self, line: &str) -> Option<String> {
        match line {
            "show proc" => {
                if let Some(left) = self.pending {
                    self.pending = left.checked_sub(1);
                    if left == 0 {
                        self.reload_from_disk();
                    }
                }
                let (pid, reloads, failed) = (self.pid, self.reloads, self.failed);
                Some(format!(
                    "1 master {reloads} [failed: {failed}] 0d 2.6\n# workers\n{pid} worker 0 0d 2.6\n"
                ))
            }
            "reload" => match self.master {
                Master::Asynchronous(after) => {
                    self.pending = Some(after);
                    None
                }
                Master::Synchronous => {
                    self.reload_from_disk();
                    let success = u32::from(self.failed == 0);
                    Some(format!("Success={success}\n--\n[ALERT] (1) : something\n"))
                }
            },
            other => panic!("the master is asked {other:?}"),
        }
    }

    /// Starts a new worker with the files on disk. Commands on the old worker's connections have no effect.
    pub fn reload_from_disk(&mut self) {
        self.reloads += 1;
        if 0 < self.broken {
            self.broken -= 1;
            self.failed += 1;
            return;
        }
        (self.failed, self.deaf) = (0, false);
        self.pid += 1;
        self.worker = Worker::from_config(&self.config);
    }

    fn handle_command(&mut self, line: &str, pid: u32) -> String {
        let mut no_worker = self.worker.clone();
        let is_command = !line.starts_with("show ") && !line.starts_with("get ");
        let hears = pid == self.pid && !(self.deaf && is_command);
        let worker = if hears { &mut self.worker } else { &mut no_worker };
        let words = split_words(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        if let ["del", "server" | "backend", ..] = words[..]
            && 0 < self.busy
        {
            self.busy -= 1;
            return "Server still has connections attached to it, cannot remove it.\n".into();
        }
        worker.apply_command(&words).unwrap_or_else(|refused| format!("{refused}\n"))
    }
}

/// Splits a command at blanks. A backslash escapes the next character. A `;` would begin another command.
fn split_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.push(String::new()),
            '\\' => words.last_mut().unwrap().extend(chars.next()),
            ';' => panic!("two commands: {line}"),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words
}

pub type Answer = Result<String, &'static str>;

/// Whether the simulation answers the command with nothing and changes nothing.
fn is_without_effect(words: &[&str]) -> bool {
    matches!(
        words,
        ["show", "sess"]
            | ["show", "ssl", "ca-file" | "crt-list"]
            | ["set", "dynamic-cookie-key", "backend", _, _]
    )
}

impl Worker {
    pub fn apply_command(&mut self, words: &[&str]) -> Answer {
        match words {
            ["show", "info"] => Ok(format!("Name: HAProxy\ndescription: {}\n", self.skeleton)),
            ["show", "backend"] => {
                Ok(self.backends.keys().fold("# name\n".to_owned(), |all, name| all + name + "\n"))
            }
            ["show", "stat", "-1", "2", "-1"] => {
                let line = |name: &String| {
                    let more = if self.unpublished.contains(name) { " (UNPUB)" } else { "" };
                    format!("{name},BACKEND,0,UP{more},\n")
                };
                Ok("# pxname,svname,scur,status,\n".to_owned()
                    + &self.backends.keys().map(line).collect::<String>())
            }
            ["show", "stat", only, "1", "-1"] => Ok(self.show_frontends(only)),
            ["enable", "frontend", name] => self.set_frontend(name, FrontendState::Open),
            ["disable", "frontend", name] => self.set_frontend(name, FrontendState::Paused),
            ["show", "stat", _, "4", "-1"] => Ok(self.statistics()),
            ["set", "maxconn", "server", at, maxconn] => {
                (*maxconn).clone_into(&mut self.server(at)?.maxconn);
                Ok(String::new())
            }
            ["add", "backend", name, "from", defaults] => {
                assert!(self.adds_backends() && defaults.starts_with("docker-glue-"), "{words:?}");
                if self.backends.contains_key(*name) {
                    return Err("Error during backend creation : name is already used");
                }
                self.backends.insert((*name).to_owned(), BTreeMap::new());
                self.unpublished.insert((*name).to_owned());
                Ok("New backend registered.\n".to_owned())
            }
            ["publish", "backend", name] => {
                self.backends.get(*name).ok_or("No such backend.")?;
                self.unpublished.remove(*name);
                Ok("Backend published.\n".to_owned())
            }
            ["unpublish", "backend", name] => {
                self.backends.get(*name).ok_or("No such backend.")?;
                self.unpublished.insert((*name).to_owned());
                Ok("Backend unpublished.\n".to_owned())
            }
            ["del", "backend", name] => {
                let servers = self.backends.get(*name).ok_or("No such backend.")?;
                if !servers.is_empty() {
                    return Err("Only a backend without server can be deleted.");
                }
                if !self.unpublished.remove(*name) {
                    return Err("Backend must be unpublished prior to its deletion.");
                }
                self.backends.remove(*name);
                Ok("a server is going DOWN for maintenance.\nBackend deleted.\n".to_owned())
            }
            // No request is under way, here and below.
            ["show", "servers", "conn", _] => {
                Ok("# bkname/svname bkid/svid addr port - purge_delay used_cur\n".to_owned())
            }
            ["show", "servers", "state"] => Ok(self.show_servers_state("")),
            ["show", "servers", "state", backend] => {
                let flag = self.backends.contains_key(*backend);
                if flag { Ok(self.show_servers_state(backend)) } else { Err("Can't find backend.") }
            }
            ["show", "map", map] => self.map(map).map(|entries| {
                entries
                    .iter()
                    .fold(String::new(), |all, (key, value)| format!("{all}0x55 {key} {value}\n"))
            }),
            ["get", "map", map, key] => self.map(map).map(|entries| longest_match(entries, key)),
            ["add", "server", at, address, "id", id, "weight", weight, words @ ..] => {
                let server = Server { maxconn: limit(words), ..parse_server(address, id, weight) };
                self.add_server(at, Server { admin: 1, up: !words.contains(&"check"), ..server })
            }
            ["del", "server", at] => {
                let (backend, name) = at.split_once('/').unwrap();
                if self.server(at)?.admin & 0x63 == 0 {
                    return Err("Only servers in maintenance mode can be deleted.");
                }
                self.backends.get_mut(backend).unwrap().remove(name);
                Ok("Server deleted.\n".to_owned())
            }
            ["enable", "health", at] | ["shutdown", "sessions", "server", at] => {
                self.server(at).map(|_| String::new())
            }
            ["set", "server", at, what, value @ ..] => self.set_server(at, what, value),
            ["add", "map", map, key, value] => {
                self.map(map)?.push(((*key).to_owned(), (*value).to_owned()));
                Ok(String::new())
            }
            ["set", "map", map, key, value] => {
                let entries = self.map(map)?.iter_mut().filter(|pair| pair.0 == *key);
                let changed = entries.map(|pair| (*value).clone_into(&mut pair.1)).count();
                if changed == 0 { Err("entry not found.") } else { Ok(String::new()) }
            }
            ["del", "map", map, key] => {
                let entries = self.map(map)?;
                let before = entries.len();
                entries.retain(|pair| pair.0 != *key);
                if entries.len() == before { Err("Key not found.") } else { Ok(String::new()) }
            }
            words if is_without_effect(words) => Ok(String::new()),
            _ => panic!("HAProxy is told {words:?}"),
        }
    }

    fn show_frontends(&self, only: &str) -> String {
        let shown = self.frontends.iter().filter(|(name, _)| only == "-1" || *name == only);
        let line = |(name, state): (&String, &FrontendState)| {
            let state = if *state == FrontendState::Open { "OPEN" } else { "PAUSED" };
            format!("{name},FRONTEND,0,{state},\n")
        };
        "# pxname,svname,scur,status,\n".to_owned() + &shown.map(line).collect::<String>()
    }

    fn set_frontend(&mut self, name: &str, state: FrontendState) -> Answer {
        let before = self.frontends.get_mut(name).ok_or("No such frontend.")?;
        if *before == state {
            return Err(match state {
                FrontendState::Open => "All sockets are already enabled.",
                FrontendState::Paused => "All sockets are already disabled.",
            });
        }
        *before = state;
        Ok(String::new())
    }

    fn add_server(&mut self, at: &str, server: Server) -> Answer {
        let (backend, name) = at.split_once('/').unwrap();
        let servers = self.backends.get_mut(backend).ok_or("No such backend.")?;
        if servers.contains_key(name) {
            return Err("Already exists a server with the same name in backend.");
        }
        if servers.values().any(|other| other.id == server.id) {
            return Err("This server's custom id is already used.");
        }
        servers.insert(name.to_owned(), server);
        Ok("New server registered.\n".to_owned())
    }

    fn set_server(&mut self, at: &str, what: &str, value: &[&str]) -> Answer {
        let server = self.server(at)?;
        match (what, value) {
            ("state", ["ready"]) => {
                (server.admin, server.up) = (server.admin & !0x19, true);
            }
            ("state", ["maint"]) => server.admin |= 1,
            ("state", ["drain"]) => server.admin = server.admin & !1 | 8,
            // Has no effect in maintenance.
            ("health", [health]) => server.up = *health == "up" || server.admin & 1 != 0,
            ("weight", [weight]) => (*weight).clone_into(&mut server.weight),
            ("addr", [ip, "port", port]) => {
                server.address = ((*ip).to_owned(), (*port).to_owned());
                return Ok("IP changed from 'x' to 'y' by 'stats socket command'\n".to_owned());
            }
            _ => panic!("HAProxy is told to set {what} {value:?}"),
        }
        Ok(String::new())
    }

    fn server(&mut self, at: &str) -> Result<&mut Server, &'static str> {
        let (backend, name) = at.split_once('/').unwrap();
        let servers = self.backends.get_mut(backend).ok_or("No such backend.")?;
        servers.get_mut(name).ok_or("No such server.")
    }

    fn map(&mut self, map: &str) -> Result<&mut Vec<(String, String)>, &'static str> {
        self.maps.get_mut(map).ok_or("Unknown map identifier. Please use #<id> or <file>.")
    }

    fn adds_backends(&self) -> bool {
        self.skeleton.ends_with(" adds-backends")
    }

    fn show_servers_state(&self, only: &str) -> String {
        let mut text = "1\n# be_id be_name srv_id …\n".to_owned();
        for (backend, servers) in
            self.backends.iter().filter(|item| only.is_empty() || item.0 == only)
        {
            for (name, server) in servers {
                let Server { id, address: (ip, port), weight, admin, up, .. } = server;
                let up = if *up { 2 } else { 0 };
                let line = format_args!(
                    "4 {backend} {id} {name} {ip} {up} {admin} {weight} {weight} 0 6 3 3 6 0 0 1 - {port} - 0 0 - - 0"
                );
                writeln!(text, "{line}").unwrap();
            }
        }
        text
    }

    fn statistics(&self) -> String {
        let line = |backend: &String, (name, server): (&String, &Server)| {
            format!("{backend},{name},{},\n", server.maxconn)
        };
        let servers = self
            .backends
            .iter()
            .flat_map(|(backend, servers)| servers.iter().map(move |server| line(backend, server)));
        "# pxname,svname,slim,\n".to_owned() + &servers.collect::<String>()
    }

    fn observe(&self) -> ObservedState {
        let mut servers = observed::parse_servers(&self.show_servers_state(""));
        observed::apply_statistics(&self.statistics(), &mut servers);
        let mut observed = ObservedState {
            fingerprint: self.skeleton.clone(),
            frontends: self.frontends.clone(),
            unpublished: self.unpublished.clone(),
            backends: self.backends.keys().cloned().collect(),
            servers,
            ..ObservedState::default()
        };
        for map in docker_glue::haproxy::config::MapName::ALL {
            let text =
                self.clone().apply_command(&["show", "map", &map.to_string()]).unwrap_or_default();
            observed.maps.insert(map, observed::parse_map(&text));
        }
        observed
    }

    /// Reads the configuration and the generation that it refers to.
    fn from_config(config: &Path) -> Self {
        let text = fs::read_to_string(config).unwrap_or_default();
        let mut worker = Self::default();
        let mut backend = String::new();
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["description", ..] => {
                    line.trim().trim_start_matches("description ").clone_into(&mut worker.skeleton);
                }
                ["default-path", "origin", generation] => worker.read_maps(Path::new(generation)),
                ["frontend", name, ..] if name::parse_frontend(name).is_some() => {
                    worker.frontends.insert(name.to_owned(), FrontendState::Open);
                }
                ["backend", name, ..] => {
                    name.clone_into(&mut backend);
                    worker.backends.insert(backend.clone(), BTreeMap::new());
                }
                ["server", name, address, "id", id, "weight", weight, ref words @ ..] => {
                    let admin = if line.contains(" disabled") { 5 } else { 0 };
                    let server = Server {
                        admin,
                        maxconn: limit(words),
                        ..parse_server(address, id, weight)
                    };
                    worker.backends.get_mut(&backend).unwrap().insert(name.to_owned(), server);
                }
                _ => {}
            }
        }
        worker
    }

    fn read_maps(&mut self, generation: &Path) {
        for map in docker_glue::haproxy::config::MapName::ALL {
            // A configuration without TCP has no maps for it.
            let Ok(text) = fs::read_to_string(generation.join(map.to_string())) else { continue };
            let entries = text.lines().filter_map(|line| line.split_once(' '));
            let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned()));
            self.maps.insert(map.to_string(), entries.collect());
        }
    }
}

fn parse_server(address: &str, id: &str, weight: &str) -> Server {
    // HAProxy shows a Unix socket, which has no IP address, in this form.
    let (ip, port) = address.rsplit_once(':').unwrap_or(("-", "0"));
    let ip = ip.trim_matches(['[', ']']);
    let address = (ip.to_owned(), port.to_owned());
    let (id, weight, maxconn) = (id.to_owned(), weight.to_owned(), String::new());
    Server { id, address, weight, maxconn, admin: 0, up: true }
}

fn limit(words: &[&str]) -> String {
    words
        .iter()
        .skip_while(|word| **word != "maxconn")
        .nth(1)
        .copied()
        .unwrap_or_default()
        .to_owned()
}

/// Returns the entry with the longest key that is a prefix of the question.
fn longest_match(entries: &[(String, String)], question: &str) -> String {
    let fit = entries.iter().rev().filter(|(key, _)| question.starts_with(key.as_str()));
    match fit.max_by_key(|(key, _)| key.len()) {
        Some((key, value)) => format!(
            "type=beg, case=sensitive, found=yes, idx=tree, key=\"{key}\", value=\"{value}\", type=\"str\"\n"
        ),
        None => "type=beg, case=sensitive, found=no\n".to_owned(),
    }
}
