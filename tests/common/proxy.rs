//! A socket in front of an engine's socket that records requests. It can close all connections, refuse new ones for a
//! while, and return an empty container list once.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{UnixListener, UnixStream},
    sync::{Notify, oneshot},
};

#[derive(Debug)]
pub struct RecordingSocket {
    folder: TempDir,
    shared: Arc<Shared>,
    /// Dropping this stops the proxy.
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    requested: Mutex<Vec<String>>,
    cut: Notify,
    refuses: AtomicBool,
    /// The number of the next whole lists that will be empty, and the number that were.
    to_forget: AtomicUsize,
    forgotten: AtomicUsize,
}

impl RecordingSocket {
    pub fn in_front_of(engine: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join("proxy.sock"));
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            requested: Mutex::default(),
            cut: Notify::new(),
            refuses: AtomicBool::new(false),
            to_forget: AtomicUsize::new(0),
            forgotten: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        super::spawn_task(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            tokio::select! {
                () = serve(listener, serving) => {}
                _ = stopped => {}
            }
        });
        Self { folder, shared, _stop: stop }
    }

    pub fn url(&self) -> String {
        format!("unix://{}/proxy.sock", self.folder.path().display())
    }

    /// Returns the paths of all requests so far, with their queries.
    pub fn requested_paths(&self) -> Vec<String> {
        self.shared.requested.lock().unwrap().clone()
    }

    /// Closes all current connections.
    pub fn close_connections(&self) {
        self.shared.cut.notify_waiters();
    }

    /// Sets whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Makes the next whole list of containers empty.
    pub fn return_empty_list_once(&self) {
        self.shared.to_forget.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns how many lists were empty.
    pub fn empty_lists(&self) -> usize {
        self.shared.forgotten.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn forgets(&self, path: &str) -> bool {
        let whole = path.contains("/containers/json") && !path.contains("filters");
        let less = |left: usize| left.checked_sub(1);
        let forgets =
            whole && self.to_forget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        if forgets {
            self.forgotten.fetch_add(1, Ordering::SeqCst);
        }
        forgets
    }
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                _ = pass_on(client, &shared) => {}
                () = shared.cut.notified() => {}
            }
        });
    }
}

const EMPTY_LIST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 3\r\nConnection: close\r\n\r\n[]\n";

/// Answers the one request of a connection, because bollard keeps no connection open.
async fn pass_on(mut client: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = vec![0; 16 * 1024];
    let length = client.read(&mut head).await?;
    let text = String::from_utf8_lossy(&head[..length]);
    if let Some(path) = text.split(' ').nth(1) {
        shared.requested.lock().unwrap().push(path.to_owned());
        if shared.forgets(path) {
            return client.write_all(EMPTY_LIST).await;
        }
    }
    let mut engine = UnixStream::connect(&shared.engine).await?;
    engine.write_all(&head[..length]).await?;
    copy_bidirectional(&mut client, &mut engine).await?;
    Ok(())
}
