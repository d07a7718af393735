//! The engine that carries datagrams: one of two, which get the same commands and report the same listeners.

use super::{
    nft::{self, NftPlane},
    plane::Plane,
};
use crate::{
    support::durable,
    udp::{answer::UdpAnswer, command::UdpCommand, config::UdpListener},
};
use std::{path::Path, sync::Arc};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// The file in the state directory that shows that the kernel has rules of the nft engine. Like them, it is gone after a
/// reboot if the directory is.
const RULES_FILE: &str = "nft-rules";

/// What was found when the rules of the nft engine were to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesRemoval {
    Removed,
    NoRules,
}

#[derive(Debug)]
pub(super) enum DataPlane {
    /// Sockets of this program.
    User(Plane),
    /// Rules in the kernel, and when to compare them next.
    Nft(NftPlane, Instant),
}

impl DataPlane {
    pub(super) fn nft() -> Self {
        Self::Nft(NftPlane::new(), Instant::now() + nft::CHECK_INTERVAL)
    }

    /// Prepares the machine for this engine. The user engine deletes the rules of the nft engine, which would take its
    /// datagrams.
    pub(super) async fn take_over(&self, state_dir: &Path) {
        let file = state_dir.join(RULES_FILE);
        match self {
            Self::User(_) => {
                if let Err(error) = remove_rules(state_dir).await {
                    warn!(
                        "the kernel may still have the rules of --engine nft, which take the datagrams of this engine \
                         ({error}): run `docker-glue-udp --state-dir {} remove-rules` as root",
                        state_dir.display()
                    );
                }
            }
            Self::Nft(..) => {
                if let Err(error) = std::fs::write(&file, "") {
                    warn!(
                        "could not write {}: {error}; --engine user will not delete the rules",
                        file.display()
                    );
                }
            }
        }
    }

    /// Carries out commands. Returns the lines of each answer.
    pub(super) async fn execute(&mut self, commands: Vec<UdpCommand>) -> Vec<Vec<UdpAnswer>> {
        match self {
            Self::User(plane) => {
                let mut answers = Vec::with_capacity(commands.len());
                for command in commands {
                    answers.push(plane.execute(command).await);
                }
                answers
            }
            Self::Nft(plane, _) => plane.execute(commands).await,
        }
    }

    /// Loads the rules, also if there are no listeners: an earlier process may have left others.
    pub(super) async fn load(&mut self) {
        if let Self::Nft(plane, _) = self {
            plane.check().await;
        }
    }

    /// Waits until the engine has to be compared with what it should be.
    pub(super) async fn next_check(&self) {
        match self {
            Self::User(_) => std::future::pending().await,
            Self::Nft(_, due) => sleep_until(*due).await,
        }
    }

    pub(super) async fn check(&mut self) {
        if let Self::Nft(plane, due) = self {
            plane.check().await;
            *due = Instant::now() + nft::CHECK_INTERVAL;
        }
    }

    /// The number of changes since the start.
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::User(plane) => plane.revision(),
            Self::Nft(plane, _) => plane.revision(),
        }
    }

    pub(super) fn listeners(&self) -> Vec<Arc<UdpListener>> {
        match self {
            Self::User(plane) => plane.listeners(),
            Self::Nft(plane, _) => plane.listeners(),
        }
    }

    /// Ends the user engine with all its flows. The kernel continues to forward.
    pub(super) fn stop(self) {
        match self {
            Self::User(plane) => plane.stop(),
            Self::Nft(..) => {}
        }
    }
}

/// Deletes the rules of the nft engine, if a process with this state directory has set them.
///
/// # Errors
/// If the kernel may still have them.
pub(super) async fn remove_rules(state_dir: &Path) -> Result<RulesRemoval, String> {
    let file = state_dir.join(RULES_FILE);
    if !file.exists() {
        return Ok(RulesRemoval::NoRules);
    }
    nft::remove_rules().await?;
    durable::remove(&file).map_err(|error| format!("cannot remove {}: {error}", file.display()))?;
    Ok(RulesRemoval::Removed)
}
