//! The follower's files: the ledger, and certificates that are not written yet.

use super::{
    super::{
        blocking::run_blocking,
        client::unix_now,
        error::FailureKind,
        ledger::{Ledger, Pause},
        ledger_file::{read_ledger, write_ledger},
        store::join_pem,
    },
    Follower, STORAGE_PAUSE, WRITE_PAUSE,
};
use crate::support::atomic_file::{FileAccess, WriteError, create_directory};
use std::{fmt, path::PathBuf, sync::Arc};
use tracing::warn;

impl Follower {
    pub(super) fn ledger_path(&self) -> PathBuf {
        self.settings.store_folder().join("ledger.json")
    }

    /// Returns the ledger, which is read once.
    pub(super) async fn read_ledger(&mut self, now: i64) -> Option<Ledger> {
        if let Some(ledger) = &self.ledger {
            return Some(ledger.clone());
        }
        let (path, limits, folder) =
            (self.ledger_path(), self.settings.limits, self.settings.store_folder().to_owned());
        let read = run_blocking(move || {
            create_directory(&folder, FileAccess::Private)?;
            read_ledger(&path, &limits, now).map_err(|error| WriteError { path, why: error })
        });
        match read.await {
            Ok(mut ledger) => {
                ledger.recover(&self.pending, now);
                self.ledger = Some(ledger.clone());
                Some(ledger)
            }
            Err(error) => {
                self.pause_for_storage(&error, now);
                None
            }
        }
    }

    /// Writes the ledger if it changed. Returns whether the acts may begin.
    pub(super) async fn write_ledger(&mut self, ledger: &Ledger, now: i64) -> bool {
        let waits = !self.urgent && now < self.written_at + WRITE_PAUSE;
        if waits || self.written.as_ref() == Some(ledger) {
            return true;
        }
        if !self.confirm_lease().await {
            return false;
        }
        let (path, copy) = (self.ledger_path(), ledger.clone());
        match run_blocking(move || write_ledger(&path, &copy)).await {
            Ok(()) => {
                self.announce_ledger().await;
                self.written = Some(ledger.clone());
                (self.written_at, self.urgent) = (now, false);
                self.storage_pause = None;
                true
            }
            Err(error) => {
                self.pause_for_storage(&error, now);
                false
            }
        }
    }

    pub(super) fn pause_for_storage(&mut self, error: &dyn fmt::Display, now: i64) {
        if self.storage_pause.is_none() {
            warn!("ordering no certificates: {error}; trying again in {STORAGE_PAUSE}s");
        }
        let (kind, text) = (FailureKind::Storage, error.to_string());
        self.storage_pause = Some(Pause { until: now + STORAGE_PAUSE, kind, text });
    }

    /// Writes certificates that are not on disk yet. Each remains in memory until it is written: another order would
    /// count against the CA's limits.
    pub(super) async fn save(&mut self) {
        for (host, issued) in self.unsaved.clone() {
            let (store, directory) =
                (self.production.store.clone(), self.production.directory.clone());
            let (name, copy) = (host.clone(), Arc::clone(&issued));
            let written = run_blocking(move || {
                let pair = (copy.chain.as_str(), copy.key.as_str());
                let number = store.write_certificate(&name, pair, &directory)?;
                let _ = store.remove_pending(&name);
                Ok::<_, WriteError>(number)
            });
            match written.await {
                Ok(number) => {
                    self.unsaved.remove(&host);
                    if self.shared.is_some() {
                        let pem = join_pem(&issued.chain, &issued.key);
                        self.announce_certificate(host, number, &pem).await;
                    }
                }
                Err(error) => self.pause_for_storage(&error, unix_now()),
            }
        }
        self.read_pending().await;
    }

    pub(super) async fn read_pending(&mut self) {
        let store = self.production.store.clone();
        self.pending = run_blocking(move || store.pending_hosts()).await;
    }
}
