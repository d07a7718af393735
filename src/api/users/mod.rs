//! The socket on which HAProxy asks whether a user's password is right: one line for a question, and one for the answer.

mod budget;
mod question;
mod verifier;

use crate::{
    controller::user_sets::UserSets,
    haproxy::user_check::{UserSocket, UserSocketAccess},
    support::supervise::supervise,
};
use anyhow::{Context as _, Result};
use question::Question;
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::debug;
use verifier::{Answer, Verifier};
use zeroize::Zeroizing;

/// Longest time until a question has arrived, or an answer is written.
const LINE_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_LINE_BYTES: u64 = 4096;
/// HAProxy's workers ask one question on each connection.
const MAX_CONNECTIONS: usize = 512;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The open socket, served until this is dropped.
#[derive(Debug)]
pub struct UserServer {
    _task: JoinSet<()>,
}

impl UserServer {
    /// Opens the socket. The caller holds the lock of the state directory, so an existing socket was left behind by a
    /// docker-balancer that no longer runs.
    ///
    /// # Errors
    /// If the socket cannot be created.
    pub fn open(socket: &UserSocket, sets: UserSets) -> Result<Self> {
        let path = &socket.path;
        let listener =
            bind_socket(socket).with_context(|| format!("cannot listen on {}", path.display()))?;
        let (listener, verifier) = (Arc::new(listener), Verifier::new(sets));
        let mut task = JoinSet::new();
        task.spawn(supervise("user socket", move || {
            serve(Arc::clone(&listener), verifier.clone())
        }));
        Ok(Self { _task: task })
    }
}

/// Creates the socket in a private directory, and moves it to its path when only HAProxy can connect to it.
fn bind_socket(socket: &UserSocket) -> io::Result<UnixListener> {
    let parent = socket.path.parent().unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".users-").tempdir_in(parent)?;
    let staged = private.path().join("s");
    let listener = UnixListener::bind(&staged)?;
    let mode = match socket.access {
        UserSocketAccess::Owner => 0o600,
        UserSocketAccess::Group => 0o660,
        UserSocketAccess::Worker { uid, gid } => {
            chown(&staged, Some(uid), None)?;
            // The group may go through the directory, and not list it.
            chown(parent, None, Some(gid))?;
            fs::set_permissions(parent, Permissions::from_mode(0o710))?;
            0o600
        }
    };
    fs::set_permissions(&staged, Permissions::from_mode(mode))?;
    fs::rename(staged, &socket.path)?;
    Ok(listener)
}

async fn serve(listener: Arc<UnixListener>, verifier: Verifier) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let verifier = verifier.clone();
                connections.spawn(async move {
                    if let Err(error) = serve_connection(stream, &verifier).await {
                        debug!("a question of HAProxy was not answered: {error}");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                debug!("cannot accept a connection of HAProxy: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: UnixStream, verifier: &Verifier) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Zeroizing::new(String::with_capacity(256));
    let mut reader = BufReader::new(reader.take(MAX_LINE_BYTES));
    timeout(LINE_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match line.strip_suffix('\n').and_then(Question::parse) {
        Some(question) => verifier.answer(question).await,
        None => Answer::Wrong,
    };
    let text: &str = answer.into();
    timeout(LINE_TIMEOUT, writer.write_all(format!("{text}\n").as_bytes())).await??;
    Ok(())
}
