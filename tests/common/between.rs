//! A proxy between the balancer and one of HAProxy's sockets. It passes lines on, and injects one fault.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "this is a test")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fmt, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::{
        fs::MetadataExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

/// What happens to one line of the balancer.
pub enum Fault {
    /// The balancer gets this answer, and HAProxy does not get the line.
    Answer(&'static str),
    /// The connection is closed.
    Close,
    /// This connection gets no answers any more.
    Hang,
    /// The balancer is killed just before the line is passed on. Its connection ends completely.
    Kill(Pid),
    /// Something else happens just before the line is passed on.
    Meanwhile(Box<dyn FnOnce() + Send>),
}

/// The proxy, in place of HAProxy's socket, which was moved. HAProxy replaces the proxy's socket when it starts.
#[derive(Debug)]
pub struct FaultProxy {
    moved: PathBuf,
    place: PathBuf,
    rule: Arc<Mutex<Option<Rule>>>,
    /// The inode of the proxy's socket, by which it is recognized.
    ours: Option<u64>,
}

struct Rule {
    /// The number of commands that are passed on before the fault. The further lines of a command are not counted.
    after: usize,
    fault: Fault,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {}", self.after)
    }
}

impl FaultProxy {
    pub fn replace_socket(group: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let moved = group.with_extension(format!("moved{number}"));
        let waiting = group.with_extension(format!("waiting{number}"));
        let listener = UnixListener::bind(&waiting).unwrap();
        // A hard link first, so that the path always exists.
        fs::hard_link(group, &moved).unwrap();
        fs::rename(&waiting, group).unwrap();
        let rule: Arc<Mutex<Option<Rule>>> = Arc::default();
        let (to, armed) = (moved.clone(), Arc::clone(&rule));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), to, armed) = (client, to.clone(), Arc::clone(&armed)) else {
                    return;
                };
                thread::spawn(move || pass_on(&client, &to, &armed));
            }
        });
        Self { moved, place: group.to_owned(), rule, ours: inode(group) }
    }

    pub fn inject_after(&self, after: usize, fault: Fault) {
        *self.rule.lock().unwrap() = Some(Rule { after, fault });
    }

    pub fn has_fired(&self) -> bool {
        self.rule.lock().unwrap().is_none()
    }

    /// Cancels the fault. Returns whether it had occurred.
    pub fn cancel(&self) -> bool {
        self.rule.lock().unwrap().take().is_none()
    }

    /// Returns HAProxy's own answer. A worker that did not inherit the sockets has created its own in place of the
    /// proxy's. Nothing listens on the moved one then.
    pub fn ask_haproxy(&self, command: &str) -> io::Result<String> {
        let moved = UnixStream::connect(&self.moved);
        let mut socket = moved.or_else(|_| UnixStream::connect(&self.place))?;
        socket.write_all(format!("{command}\n").as_bytes())?;
        socket.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Moves HAProxy's socket back, unless HAProxy has replaced the proxy's.
impl Drop for FaultProxy {
    fn drop(&mut self) {
        if inode(&self.place) == self.ours {
            let _ = fs::rename(&self.moved, &self.place);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Passes lines on until the balancer closes its connection or is killed. Then HAProxy's ends, too: it accepts few
/// connections at a time.
fn pass_on(client: &UnixStream, to: &Path, rule: &Mutex<Option<Rule>>) -> io::Result<()> {
    let server = UnixStream::connect(to)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    let is_killed = pass_lines(client, &server, rule).unwrap_or(true);
    server.shutdown(if is_killed { Shutdown::Both } else { Shutdown::Write })
}

/// Returns whether the connection is to end at once.
fn pass_lines(
    client: &UnixStream,
    server: &UnixStream,
    rule: &Mutex<Option<Rule>>,
) -> io::Result<bool> {
    let (mut client_out, mut server_out) = (client.try_clone()?, server.try_clone()?);
    let (mut is_payload, mut is_killed) = (false, false);
    for line in BufReader::new(client).lines() {
        let line = line?;
        let fault = if is_payload { None } else { take_due_fault(rule) };
        is_payload = if is_payload { !line.is_empty() } else { line.ends_with("<<") };
        match fault {
            None => {}
            Some(Fault::Answer(text)) => {
                client_out.write_all(format!("{text}\n> ").as_bytes())?;
                continue;
            }
            Some(Fault::Close) => {
                client.shutdown(Shutdown::Both)?;
                return Ok(true);
            }
            Some(Fault::Hang) => {
                io::copy(&mut client_out, &mut io::sink())?;
                return Ok(true);
            }
            Some(Fault::Kill(pid)) => {
                kill(pid, Signal::SIGKILL)?;
                is_killed = true;
            }
            Some(Fault::Meanwhile(act)) => act(),
        }
        server_out.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(is_killed)
}

fn take_due_fault(rule: &Mutex<Option<Rule>>) -> Option<Fault> {
    let mut rule = rule.lock().unwrap();
    match rule.take() {
        Some(Rule { after: 0, fault }) => Some(fault),
        Some(Rule { after, fault }) => {
            *rule = Some(Rule { after: after - 1, fault });
            None
        }
        None => None,
    }
}
