//! The socket of the plane: reads commands, one a line, and writes their answers.
//!
//! Commands that have arrived together are carried out together: the nft engine runs a program for each change.

use crate::{
    support::durable,
    udp::{
        answer::UdpAnswer,
        command::{MAX_LINE_BYTES, UdpCommand, UdpCommandError},
    },
};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// The greatest number of connections. A further client waits until one ends.
const MAX_CONNECTIONS: usize = 64;
/// The time limit for the next command to arrive.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// The time limit for a client to read a line.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a failed accept, for example because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Space for lines that have arrived.
const BUFFER_BYTES: usize = 256 << 10;
/// The greatest number of commands that are carried out together. The client waits for the first answer.
const MAX_BATCH: usize = 500;

/// Commands with the channel for their answers: for each of them its lines.
#[derive(Debug)]
pub(super) struct PlaneRequest {
    pub commands: Vec<UdpCommand>,
    pub answer: oneshot::Sender<Vec<Vec<UdpAnswer>>>,
}

/// The socket, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct PlaneSocket {
    path: PathBuf,
    _server: JoinSet<()>,
}

impl PlaneSocket {
    /// Opens the socket for the user and the group.
    ///
    /// # Errors
    /// If another docker-glue-udp listens there, or the socket cannot be created.
    pub(super) fn open(path: &Path, requests: mpsc::Sender<PlaneRequest>) -> Result<Self> {
        if StdUnixStream::connect(path).is_ok() {
            bail!(
                "another docker-glue-udp listens on {}; stop it, or set --socket",
                path.display()
            );
        }
        let listener =
            bind_socket(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        let mut server = JoinSet::new();
        server.spawn(accept_clients(listener, requests));
        Ok(Self { path: path.to_owned(), _server: server })
    }
}

impl Drop for PlaneSocket {
    fn drop(&mut self) {
        if let Err(error) = durable::remove(&self.path) {
            debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Creates the socket in a private directory, so that no client connects before its mode is set. A socket that an
/// earlier process has left is replaced.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    durable::remove(path)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".udp-").tempdir_in(parent)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o660))?;
    fs::hard_link(&made, path)?;
    Ok(listener)
}

async fn accept_clients(listener: UnixListener, requests: mpsc::Sender<PlaneRequest>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                clients.spawn(async move {
                    let _slot = slot;
                    if let Err(error) = serve_client(stream, requests).await {
                        debug!("closed a connection to the control socket: {error}");
                    }
                });
            }
            Err(error) => {
                warn!("could not accept a connection to the control socket: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_client(stream: UnixStream, requests: mpsc::Sender<PlaneRequest>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    loop {
        let mut commands = Vec::new();
        while commands.is_empty()
            || (reader.buffer().contains(&b'\n') && commands.len() < MAX_BATCH)
        {
            let mut line = Vec::new();
            let mut bounded = (&mut reader).take(MAX_LINE_BYTES as u64);
            limit(IDLE_TIMEOUT, bounded.read_until(b'\n', &mut line)).await?;
            if line.last() != Some(&b'\n') {
                if line.len() == MAX_LINE_BYTES {
                    let long = format!("a command has at most {MAX_LINE_BYTES} bytes");
                    write_answers(&mut writer, &[UdpAnswer::Error(long)]).await?;
                }
                return Ok(());
            }
            commands.push(String::from_utf8_lossy(&line).parse());
        }
        for answers in run_commands(commands, &requests).await? {
            write_answers(&mut writer, &answers).await?;
        }
    }
}

/// Returns the answers to commands, in their order. Those that are none have errors.
async fn run_commands(
    commands: Vec<Result<UdpCommand, UdpCommandError>>,
    requests: &mpsc::Sender<PlaneRequest>,
) -> io::Result<Vec<Vec<UdpAnswer>>> {
    let (answer, answered) = oneshot::channel();
    let stopping = || io::Error::other("the plane stops");
    let valid = commands.iter().filter_map(|command| command.as_ref().ok()).cloned().collect();
    let sent = requests.send(PlaneRequest { commands: valid, answer }).await;
    sent.map_err(|_| stopping())?;
    let mut answers = answered.await.map_err(|_| stopping())?.into_iter();
    let answer = |command| match command {
        Ok(_) => answers.next().unwrap_or_default(),
        Err(error) => vec![UdpAnswer::Error(format!("{error:#}"))],
    };
    Ok(commands.into_iter().map(answer).collect())
}

async fn write_answers(
    writer: &mut (impl AsyncWriteExt + Unpin),
    answers: &[UdpAnswer],
) -> io::Result<()> {
    for answer in answers {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        limit(WRITE_TIMEOUT, writer.write_all(&line)).await?;
    }
    Ok(())
}

async fn limit<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
