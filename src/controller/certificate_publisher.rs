//! Writes the list of certificates for other programs. A slow or full disk delays nothing else.

use crate::{
    model::certificate::CertificateIndex, sources::certificate::PublicCertificateList,
    support::durable,
};
use anyhow::{Context, Result};
use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf, absolute},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{error, info};

/// All users may read the list, because docker-glue and its handlers run as another user. It contains no key.
const FILE_MODE: u32 = 0o644;
/// How long to wait before a failed write is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How long the stop of the program waits for the file.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Handle of the task that writes the list.
#[derive(Debug)]
pub(super) struct CertificatePublisher {
    /// `None` until all certificates were read.
    sender: watch::Sender<Option<Arc<CertificateIndex>>>,
    task: JoinHandle<()>,
}

/// The task that writes the list.
#[derive(Debug, Clone)]
struct ListWriter {
    path: PathBuf,
    /// The state directory, which contains the certificates of CAs.
    state_dir: PathBuf,
}

impl CertificatePublisher {
    /// Starts the task. It ends when the value is dropped or finished.
    pub(super) fn start(path: PathBuf, state_dir: PathBuf) -> Self {
        let (sender, receiver) = watch::channel(None);
        let writer = ListWriter { path, state_dir };
        Self { sender, task: tokio::spawn(writer.run(receiver)) }
    }

    /// Writes the list, without waiting for it.
    pub(super) fn publish(&self, index: &Arc<CertificateIndex>) {
        self.sender.send_replace(Some(Arc::clone(index)));
    }

    /// Waits until the list is written, at most `FLUSH_TIMEOUT`.
    pub(super) async fn finish(self) {
        drop(self.sender);
        // The task has logged why it could not write.
        let _ = timeout(FLUSH_TIMEOUT, self.task).await;
    }
}

impl ListWriter {
    async fn run(self, mut receiver: watch::Receiver<Option<Arc<CertificateIndex>>>) {
        let mut has_failed = false;
        while receiver.changed().await.is_ok() {
            loop {
                let index = receiver.borrow_and_update().clone();
                let Err(error) = self.write(index).await else { break };
                if !std::mem::replace(&mut has_failed, true) {
                    error!("{error:#}; handlers get no events of certificates; retrying");
                }
                tokio::select! {
                    changed = receiver.changed() => if changed.is_err() { return },
                    () = sleep(RETRY_INTERVAL) => {}
                }
            }
            if std::mem::take(&mut has_failed) {
                info!("list of certificates written to disk again");
            }
        }
    }

    async fn write(&self, index: Option<Arc<CertificateIndex>>) -> Result<()> {
        let Some(index) = index else { return Ok(()) };
        let Self { path, state_dir } = self.clone();
        let work = move || {
            let mut list = PublicCertificateList::from_index(&index, &state_dir);
            make_paths_absolute(&mut list);
            write_if_changed(&path, &list).with_context(|| {
                format!("cannot write the list of certificates {}", path.display())
            })
        };
        spawn_blocking(work).await?
    }
}

/// Programs that read the list have another working directory.
fn make_paths_absolute(list: &mut PublicCertificateList) {
    let files = list.certificates.iter_mut();
    let files = files.flat_map(|found| [&mut found.certificate_file, &mut found.key_file]);
    for path in files.flatten() {
        if let Ok(absolute) = absolute(&*path) {
            *path = absolute.display().to_string();
        }
    }
}

/// Without certificates, no file is created.
fn write_if_changed(path: &Path, list: &PublicCertificateList) -> Result<()> {
    let (text, present) = (list.to_json(), fs::read_to_string(path).ok());
    let is_unused = list.certificates.is_empty() && present.is_none();
    if is_unused || present.as_ref() == Some(&text) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".certificates-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(durable::replace(file, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::certificate::PublicCertificate;

    fn list_of(names: &[&str]) -> PublicCertificateList {
        let certificate =
            |name: &&str| PublicCertificate::sample(&format!("acme/{name}"), name, "");
        PublicCertificateList { certificates: names.iter().map(certificate).collect() }
    }

    #[test]
    fn list_is_readable_for_all_and_empty_only_after_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list.json");
        write_if_changed(&path, &list_of(&[])).unwrap();
        assert!(!path.exists());
        for names in [&["a.test"] as &[&str], &["a.test", "b.test"], &[]] {
            write_if_changed(&path, &list_of(names)).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(PublicCertificateList::parse(&text), Ok(list_of(names)));
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, FILE_MODE);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn same_list_is_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list.json");
        let inode = || std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        write_if_changed(&path, &list_of(&["a.test"])).unwrap();
        let before = inode();
        write_if_changed(&path, &list_of(&["a.test"])).unwrap();
        assert_eq!(inode(), before);
    }
}
