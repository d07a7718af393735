//! STATE/history.jsonl, STATE/rollback.json and STATE/hosts.json: the applied generations, the active rollback, and the
//! owner of each host, for the next run.
//!
//! A thread behind a queue writes them: a slow or full disk never delays traffic after an event, and never fails a
//! pass. A failure is logged once and retried until it succeeds.

use crate::{
    model::route::{OwnedName, Routes},
    report::{
        certificate_history::ServedCertificates,
        history::{GenerationRecord, History},
        history_file,
    },
    routing::{rollback::Rollback, route_table::HostOwner},
    support::durable,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tracing::{error, info, warn};

/// Limit of messages that wait for the disk.
const QUEUE_CAPACITY: usize = 10_000;
/// How long to wait before a failed write is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How long the stop of the program waits for the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The file is rewritten when it has grown by its size after the last rewrite, and by at least this many bytes.
const MIN_REWRITE_GROWTH: usize = 1024 * 1024;

/// State of an earlier run.
#[derive(Debug, Default)]
pub struct StoredState {
    pub history: History,
    /// The routes that it served last; `None` if no history was stored.
    pub served: Option<Routes>,
    /// The certificates that hosts had last.
    pub certificates: ServedCertificates,
    pub rollback: Option<Rollback>,
    /// The owner of each host.
    pub owners: BTreeMap<OwnedName, Arc<str>>,
}

type HostOwners = Arc<BTreeMap<OwnedName, HostOwner>>;

/// Handle of the writing thread.
#[derive(Debug)]
pub struct Journal {
    /// `None` after the history is no longer written.
    sender: Option<SyncSender<JournalMessage>>,
    thread: JoinHandle<()>,
}

enum JournalMessage {
    Owners(HostOwners),
    Generation(Arc<GenerationRecord>),
    /// Answered with whether the state is on disk.
    Rollback(RollbackState, oneshot::Sender<bool>),
}

/// State of the writing thread.
struct JournalWriter {
    history_path: PathBuf,
    rollback_path: PathBuf,
    owners_path: PathBuf,
    /// Not on disk yet.
    owners: Option<HostOwners>,
    /// The routes that were served before the first generation, and the certificates.
    base: Routes,
    base_certificates: ServedCertificates,
    history: History,
    /// Not in the file yet.
    pending: Vec<Arc<GenerationRecord>>,
    /// `None`: the file must be rewritten.
    file: Option<AppendFile>,
    /// Not on disk yet.
    rollback_state: Option<RollbackState>,
    /// The last failure, which is logged once.
    last_error: Option<String>,
}

/// Whether a rollback is active.
enum RollbackState {
    Active(Rollback),
    Inactive,
}

struct AppendFile {
    file: File,
    /// How many bytes the file may still grow before it is rewritten.
    remaining: usize,
}

impl Journal {
    /// Reads the stored state. A file that cannot be read is logged and ignored. Starts the writing thread in the
    /// runtime's pool of blocking threads.
    pub fn open(state: &Path) -> (Self, StoredState) {
        let history_path = state.join("history.jsonl");
        let rollback_path = state.join("rollback.json");
        let owners_path = state.join("hosts.json");
        let text = read_history(&history_path);
        let read = text.as_deref().map(history_file::parse_history).unwrap_or_default();
        if let Some((line, why)) = &read.error {
            let path = history_path.display();
            warn!("{path}, line {line}: {why}; ignoring the rest of the file");
        }
        let past = StoredState {
            history: read.history.clone(),
            served: text.is_some().then_some(read.served),
            certificates: read.certificates,
            rollback: read_rollback(&rollback_path),
            owners: read_owners(&owners_path),
        };
        let file = match (&read.error, text) {
            (None, Some(text)) => open_append(&history_path, text.len()).ok(),
            _ => None,
        };
        let writer = JournalWriter {
            history_path,
            rollback_path,
            owners_path,
            owners: None,
            base: read.base,
            base_certificates: read.base_certificates,
            history: read.history,
            pending: Vec::new(),
            file,
            rollback_state: None,
            last_error: None,
        };
        let (channel, received) = mpsc::sync_channel(QUEUE_CAPACITY);
        let thread = tokio::task::spawn_blocking(move || writer.run(&received));
        (Self { sender: Some(channel), thread }, past)
    }

    /// Stores a generation, without waiting for the disk.
    pub fn add_generation(&mut self, generation: Arc<GenerationRecord>) {
        self.send_message(JournalMessage::Generation(generation));
    }

    /// Stores the active rollback; answered with whether it is on disk.
    pub fn set_rollback(&mut self, rollback: Option<Rollback>) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let rollback_state = rollback.map_or(RollbackState::Inactive, RollbackState::Active);
        self.send_message(JournalMessage::Rollback(rollback_state, answer));
        answered
    }

    /// Stores the owner of each host.
    pub fn set_owners(&mut self, owners: HostOwners) {
        self.send_message(JournalMessage::Owners(owners));
    }

    /// Waits until everything is on disk, at most `FLUSH_TIMEOUT`.
    pub async fn finish(self) {
        drop(self.sender);
        if timeout(FLUSH_TIMEOUT, self.thread).await.is_err() {
            error!(
                "could not write the history before the stop: the disk did not respond in time; \
                 the latest entries are lost"
            );
        }
    }

    /// After the first loss nothing more is written, because a gap would make the rest of the history wrong.
    fn send_message(&mut self, message: JournalMessage) {
        let sent = self.sender.as_ref().map(|channel| channel.try_send(message));
        if let Some(Err(error)) = sent {
            let why = match error {
                TrySendError::Full(_) => "the disk does not respond",
                TrySendError::Disconnected(_) => "the writing thread has ended",
            };
            error!(
                "stopped writing the history to disk: {why}; it is written again after the next \
                 start"
            );
            self.sender = None;
        }
    }
}

impl JournalWriter {
    fn run(mut self, channel: &Receiver<JournalMessage>) {
        loop {
            let message = match self.last_error {
                None => channel.recv().map_err(RecvTimeoutError::from),
                Some(_) => channel.recv_timeout(RETRY_INTERVAL),
            };
            let end = message.as_ref().is_err_and(|error| *error == RecvTimeoutError::Disconnected);
            let mut answers = Vec::new();
            for message in message.into_iter().chain(channel.try_iter()) {
                answers.extend(self.accept_message(message));
            }
            let written = self.write_pending();
            for answer in answers {
                // The requester may be gone.
                let _ = answer.send(written.is_ok());
            }
            self.log_result(written);
            if end {
                return;
            }
        }
    }

    fn accept_message(&mut self, message: JournalMessage) -> Option<oneshot::Sender<bool>> {
        match message {
            JournalMessage::Generation(generation) => {
                for dropped in self.history.push_generation(Arc::clone(&generation)) {
                    dropped.delta.apply_to(&mut self.base);
                    dropped.certificates.apply_to(&mut self.base_certificates);
                }
                self.pending.push(generation);
                None
            }
            JournalMessage::Owners(owners) => {
                self.owners = Some(owners);
                None
            }
            JournalMessage::Rollback(rollback_state, answer) => {
                self.rollback_state = Some(rollback_state);
                Some(answer)
            }
        }
    }

    /// Writes the rollback first: it is small, and more depends on it.
    fn write_pending(&mut self) -> Result<()> {
        if let Some(rollback_state) = &self.rollback_state {
            let path = &self.rollback_path;
            let result = match rollback_state {
                RollbackState::Active(rollback) => {
                    replace_file(path, &history_file::format_rollback(rollback))
                }
                RollbackState::Inactive => durable::remove(path).map_err(Into::into),
            };
            result.with_context(|| format!("cannot write {}", path.display()))?;
            self.rollback_state = None;
        }
        if let Some(owners) = &self.owners {
            let path = &self.owners_path;
            let result = replace_file(path, &history_file::format_owners(owners));
            result.with_context(|| format!("cannot write {}", path.display()))?;
            self.owners = None;
        }
        if !self.pending.is_empty() {
            let path = self.history_path.clone();
            self.write_history().with_context(|| format!("cannot write {}", path.display()))?;
            self.pending.clear();
        }
        Ok(())
    }

    fn write_history(&mut self) -> Result<()> {
        let new: String =
            self.pending.iter().map(|files| history_file::format_generation(files)).collect();
        if let Some(mut to) = self.file.take().filter(|file| new.len() <= file.remaining) {
            // If this fails, a part may have been written: the next attempt rewrites the whole file.
            to.file.write_all(new.as_bytes())?;
            to.remaining -= new.len();
            self.file = Some(to);
            return Ok(());
        }
        let first =
            self.history.generations().next().map_or(0, |files| files.number.saturating_sub(1));
        let lines = self.history.generations().map(|files| history_file::format_generation(files));
        let base = history_file::format_base(first, &self.base, &self.base_certificates);
        let text: String = [base].into_iter().chain(lines).collect();
        replace_file(&self.history_path, &text)?;
        self.file = Some(open_append(&self.history_path, text.len())?);
        Ok(())
    }

    fn log_result(&mut self, written: Result<()>) {
        match written {
            Err(error) if self.last_error.is_none() => {
                error!("could not write the history to disk: {error:#}; retrying");
                self.last_error = Some(error.to_string());
            }
            Ok(()) if self.last_error.take().is_some() => info!("history written to disk again"),
            _ => {}
        }
    }
}

fn read_history(path: &Path) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            warn!("cannot read {}: {error}; starting a new history", path.display());
            None
        }
    }
}

fn read_rollback(path: &Path) -> Option<Rollback> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            error!("cannot read {}: {error}; rollback discarded", path.display());
            return None;
        }
    };
    let log_error = |why| error!("{}: {why}; rollback discarded", path.display());
    history_file::parse_rollback(&text).map_err(log_error).ok()
}

fn read_owners(path: &Path) -> BTreeMap<OwnedName, Arc<str>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            error!(
                "cannot read {}: {error}; assigning hosts to the owners of the oldest containers",
                path.display()
            );
            return BTreeMap::new();
        }
    };
    history_file::parse_owners(&text).unwrap_or_else(|why| {
        error!("{}: {why}; assigning hosts to the owners of the oldest containers", path.display());
        BTreeMap::new()
    })
}

fn open_append(path: &Path, length: usize) -> Result<AppendFile> {
    let file = OpenOptions::new().append(true).mode(0o600).open(path)?;
    Ok(AppendFile { file, remaining: length.max(MIN_REWRITE_GROWTH) })
}

/// Replaces a file atomically; only the owner can read it.
fn replace_file(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".history-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    Ok(durable::replace(file, path)?)
}
