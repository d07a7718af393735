//! A socket in front of an engine's socket that writes down what is asked.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{UnixListener, UnixStream},
    sync::oneshot,
};

#[derive(Debug)]
pub struct Proxy {
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    /// Gone, it stops the proxy.
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    pub fn before(engine: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join("proxy.sock"));
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (engine, written) = (engine.to_owned(), Arc::clone(&asked));
        super::aside(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            tokio::select! {
                () = serve(listener, engine, written) => {}
                _ = stopped => {}
            }
        });
        Self { folder, asked, _stop: stop }
    }

    pub fn url(&self) -> String {
        format!("unix://{}/proxy.sock", self.folder.path().display())
    }

    /// The paths asked for so far, queries and all.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(listener: UnixListener, engine: PathBuf, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass_on(client, engine.clone(), Arc::clone(&asked)));
    }
}

/// One connection carries one question, as bollard keeps none open.
async fn pass_on(
    mut client: UnixStream,
    engine: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = vec![0; 16 * 1024];
    let length = client.read(&mut head).await?;
    let text = String::from_utf8_lossy(&head[..length]);
    if let Some(path) = text.split(' ').nth(1) {
        asked.lock().unwrap().push(path.to_owned());
    }
    let mut engine = UnixStream::connect(engine).await?;
    engine.write_all(&head[..length]).await?;
    copy_bidirectional(&mut client, &mut engine).await?;
    Ok(())
}
