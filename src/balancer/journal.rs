//! STATE/history.jsonl, STATE/rollback.json and STATE/hosts.json: what was applied, what holds, and who has which host,
//! for the next run.
//!
//! A thread writes them, behind a mailbox: a slow or full disk never stands between an event and the
//! traffic, nor fails a pass. It is told once, and tried again until it works.

use crate::{
    claim::HostOwner,
    durable,
    label::value::HostMatch,
    rollback::Rollback,
    route::Routes,
    view::{
        history::{Generation, History},
        record,
    },
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

/// Generations that wait for the disk.
const ROOM: usize = 10_000;
/// Until what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the end of the program waits for the disk.
const END: Duration = Duration::from_secs(5);
/// The file is written anew when it has grown by as much as it had then, and by no less than this.
const GROWTH: usize = 1024 * 1024;

/// What an earlier run left behind.
#[derive(Debug, Default)]
pub struct Past {
    pub history: History,
    /// What it served last; `None` where nothing was kept.
    pub served: Option<Routes>,
    pub rollback: Option<Rollback>,
    /// Who had which host.
    pub owners: BTreeMap<HostMatch, Arc<str>>,
}

type Owners = Arc<BTreeMap<HostMatch, HostOwner>>;

/// Where to hand over what is to be kept.
#[derive(Debug)]
pub struct Journal {
    /// `None` once nobody takes it any more.
    letters: Option<SyncSender<Letter>>,
    thread: JoinHandle<()>,
}

enum Letter {
    Owners(Owners),
    Generation(Arc<Generation>),
    /// Answered with whether it is on disk.
    Holds(Holds, oneshot::Sender<bool>),
}

/// The thread's side.
struct Writer {
    history_path: PathBuf,
    rollback_path: PathBuf,
    owners_path: PathBuf,
    /// What is not on disk yet.
    owners: Option<Owners>,
    /// What was served before the first of the generations.
    base: Routes,
    history: History,
    /// Not in the file yet.
    unwritten: Vec<Arc<Generation>>,
    /// `None`: it has to be written anew.
    file: Option<Appended>,
    /// What is not on disk yet.
    holds: Option<Holds>,
    /// The last failure, told once.
    trouble: Option<String>,
}

/// Whether a rollback does.
enum Holds {
    Rollback(Rollback),
    Nothing,
}

struct Appended {
    file: File,
    /// Bytes that it may grow by before it is written anew.
    left: usize,
}

impl Journal {
    /// Reads what is there; what cannot be read is told and left behind. Runs on a thread of the runtime.
    pub fn open(state: &Path) -> (Self, Past) {
        let history_path = state.join("history.jsonl");
        let rollback_path = state.join("rollback.json");
        let owners_path = state.join("hosts.json");
        let text = text(&history_path);
        let read = text.as_deref().map(record::read).unwrap_or_default();
        if let Some((line, why)) = &read.fault {
            let path = history_path.display();
            warn!("{path}, line {line}: {why}; the history goes on without what follows there");
        }
        let past = Past {
            history: read.history.clone(),
            served: text.is_some().then_some(read.served),
            rollback: stored_rollback(&rollback_path),
            owners: stored_owners(&owners_path),
        };
        let file = match (&read.fault, text) {
            (None, Some(text)) => appended(&history_path, text.len()).ok(),
            _ => None,
        };
        let writer = Writer {
            history_path,
            rollback_path,
            owners_path,
            owners: None,
            base: read.base,
            history: read.history,
            unwritten: Vec::new(),
            file,
            holds: None,
            trouble: None,
        };
        let (letters, received) = mpsc::sync_channel(ROOM);
        let thread = tokio::task::spawn_blocking(move || writer.run(&received));
        (Self { letters: Some(letters), thread }, past)
    }

    /// Without waiting for the disk.
    pub fn add(&mut self, generation: Arc<Generation>) {
        self.send(Letter::Generation(generation));
    }

    /// What holds from now on; answered with whether it is on disk.
    pub fn hold(&mut self, rollback: Option<Rollback>) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let holds = rollback.map_or(Holds::Nothing, Holds::Rollback);
        self.send(Letter::Holds(holds, answer));
        answered
    }

    /// Who has which host from now on.
    pub fn own(&mut self, owners: Owners) {
        self.send(Letter::Owners(owners));
    }

    /// Until all of it is on disk, or the disk has had its time.
    pub async fn finish(self) {
        drop(self.letters);
        if timeout(END, self.thread).await.is_err() {
            error!("the disk did not take the history in time; the last of it is lost");
        }
    }

    /// A gap in it would make what follows wrong, so after the first loss nothing is kept.
    fn send(&mut self, letter: Letter) {
        let sent = self.letters.as_ref().map(|letters| letters.try_send(letter));
        if let Some(Err(error)) = sent {
            let why = match error {
                TrySendError::Full(_) => "the disk hangs",
                TrySendError::Disconnected(_) => "its thread has ended",
            };
            error!("the history is not kept on disk any more, until the next start: {why}");
            self.letters = None;
        }
    }
}

impl Writer {
    fn run(mut self, letters: &Receiver<Letter>) {
        loop {
            let letter = match self.trouble {
                None => letters.recv().map_err(RecvTimeoutError::from),
                Some(_) => letters.recv_timeout(AGAIN),
            };
            let end = letter.as_ref().is_err_and(|it| *it == RecvTimeoutError::Disconnected);
            let mut answers = Vec::new();
            for letter in letter.into_iter().chain(letters.try_iter()) {
                answers.extend(self.take(letter));
            }
            let written = self.write();
            for answer in answers {
                // Who asked may be gone.
                let _ = answer.send(written.is_ok());
            }
            self.tell(written);
            if end {
                return;
            }
        }
    }

    fn take(&mut self, letter: Letter) -> Option<oneshot::Sender<bool>> {
        match letter {
            Letter::Generation(generation) => {
                for dropped in self.history.add(Arc::clone(&generation)) {
                    dropped.delta.redo(&mut self.base);
                }
                self.unwritten.push(generation);
                None
            }
            Letter::Owners(owners) => {
                self.owners = Some(owners);
                None
            }
            Letter::Holds(holds, answer) => {
                self.holds = Some(holds);
                Some(answer)
            }
        }
    }

    /// The rollback first: it is little, and more depends on it.
    fn write(&mut self) -> Result<()> {
        if let Some(holds) = &self.holds {
            let path = &self.rollback_path;
            let kept = match holds {
                Holds::Rollback(rollback) => replace(path, &record::rollback(rollback)),
                Holds::Nothing => durable::remove(path).map_err(Into::into),
            };
            kept.with_context(|| format!("cannot write {}", path.display()))?;
            self.holds = None;
        }
        if let Some(owners) = &self.owners {
            let path = &self.owners_path;
            let kept = replace(path, &record::owners(owners));
            kept.with_context(|| format!("cannot write {}", path.display()))?;
            self.owners = None;
        }
        if !self.unwritten.is_empty() {
            let path = self.history_path.clone();
            self.write_history().with_context(|| format!("cannot write {}", path.display()))?;
            self.unwritten.clear();
        }
        Ok(())
    }

    fn write_history(&mut self) -> Result<()> {
        let new: String = self.unwritten.iter().map(|it| record::generation(it)).collect();
        if let Some(mut to) = self.file.take().filter(|file| new.len() <= file.left) {
            // If this fails, a part may be there: the next try writes all of it anew.
            to.file.write_all(new.as_bytes())?;
            to.left -= new.len();
            self.file = Some(to);
            return Ok(());
        }
        let first = self.history.generations().next().map_or(0, |it| it.number.saturating_sub(1));
        let lines = self.history.generations().map(|it| record::generation(it));
        let text: String = [record::base(first, &self.base)].into_iter().chain(lines).collect();
        replace(&self.history_path, &text)?;
        self.file = Some(appended(&self.history_path, text.len())?);
        Ok(())
    }

    fn tell(&mut self, written: Result<()>) {
        match written {
            Err(error) if self.trouble.is_none() => {
                error!("the history is not on disk: {error:#}; trying again until it works");
                self.trouble = Some(error.to_string());
            }
            Ok(()) if self.trouble.take().is_some() => info!("the history is on disk again"),
            _ => {}
        }
    }
}

fn text(path: &Path) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            warn!("cannot read {}: {error}; the history begins anew", path.display());
            None
        }
    }
}

fn stored_rollback(path: &Path) -> Option<Rollback> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            error!("cannot read {}: {error}; its rollback holds no more", path.display());
            return None;
        }
    };
    let told = |why| error!("{}: {why}; its rollback holds no more", path.display());
    record::read_rollback(&text).map_err(told).ok()
}

fn stored_owners(path: &Path) -> BTreeMap<HostMatch, Arc<str>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            error!("cannot read {}: {error}; hosts belong to the oldest container", path.display());
            return BTreeMap::new();
        }
    };
    record::read_owners(&text).unwrap_or_else(|why| {
        error!("{}: {why}; hosts belong to the oldest container", path.display());
        BTreeMap::new()
    })
}

fn appended(path: &Path, length: usize) -> Result<Appended> {
    let file = OpenOptions::new().append(true).mode(0o600).open(path)?;
    Ok(Appended { file, left: length.max(GROWTH) })
}

/// Whole or not at all, for its owner alone.
fn replace(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".history-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    Ok(durable::replace(file, path)?)
}
