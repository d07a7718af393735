//! The runtime API of the worker that serves now: what it has, and what it is told.

use super::{
    command::{Command, Escaped},
    config::MapName,
    observed::{self, Observed},
    socket::{Session, WorkerSocket},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};
use strum::{IntoStaticStr, VariantNames};

/// Of more backends or entries than this, and than an eighth of all, all are asked for at once.
const MANY: usize = 16;

fn are_many(asked: usize, all: usize) -> bool {
    MANY.max(all / 8) < asked
}

#[derive(Debug, thiserror::Error, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum RuntimeError {
    #[error("HAProxy does not answer on {}: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("HAProxy refused `{command}`: {answer}")]
    Refused { command: String, answer: String },
    #[error("HAProxy does not have what it was told")]
    Differs,
}

impl RuntimeError {
    /// All there are of [`Self::kind`].
    pub const KINDS: &'static [&'static str] = Self::VARIANTS;

    /// One word for programs: a closed set.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

/// One connection to the stats socket. Each pass opens its own: a connection that stands would stay
/// with an old worker through a reload, and talk to the wall.
#[derive(Debug)]
pub struct Runtime {
    socket: PathBuf,
    session: Session,
}

impl Runtime {
    pub async fn open(socket: impl Into<WorkerSocket>) -> Result<Self, RuntimeError> {
        let socket = socket.into();
        let session = socket.open().await;
        let socket = socket.stats;
        match session {
            Ok(session) => Ok(Self { socket, session }),
            Err(source) => Err(RuntimeError::Unreachable { socket, source }),
        }
    }

    /// It is asked over its master, as its socket is gone.
    pub fn is_detour(&self) -> bool {
        self.session.is_detour()
    }

    /// All that it has.
    pub async fn observe(&mut self) -> Result<Observed, RuntimeError> {
        let info = self.ask("show info").await?;
        let mut observed = Observed {
            worker: observed::worker(&info),
            skeleton: observed::skeleton(&info).unwrap_or_default().to_owned(),
            backends: observed::backends(&self.ask("show backend").await?),
            servers: observed::servers(&self.ask("show servers state").await?),
            ..Observed::default()
        };
        if observed.adds_backends() {
            observed.unpublished = observed::unpublished(&self.ask("show stat -1 2 -1").await?);
        }
        for map in MapName::ALL {
            observed.maps.insert(map, observed::map(&self.ask(&format!("show map {map}")).await?));
        }
        Ok(observed)
    }

    /// Whether it is the worker that said this.
    pub async fn is_of(&mut self, observed: &Observed) -> Result<bool, RuntimeError> {
        Ok(observed::worker(&self.ask("show info").await?) == observed.worker)
    }

    /// Says the commands in order and keeps `observed` in step. A server that cannot be deleted yet
    /// stays.
    pub async fn obey(
        &mut self,
        plan: &[Command],
        observed: &mut Observed,
    ) -> Result<(), RuntimeError> {
        for command in plan {
            let line = command.to_string();
            let answer = self.ask(&line).await?;
            if command.obeyed().is(&answer) {
                observed.obey(command);
            } else if !command.may_be_refused() {
                return Err(RuntimeError::Refused { command: line, answer });
            }
        }
        Ok(())
    }

    /// Asks for what the plan touched. Nothing is believed because it was sent.
    pub async fn read_back(
        &mut self,
        plan: &[Command],
        believed: &mut Observed,
    ) -> Result<(), RuntimeError> {
        let same =
            self.servers_agree(plan, believed).await? & self.maps_agree(plan, believed).await?;
        if same { Ok(()) } else { Err(RuntimeError::Differs) }
    }

    async fn servers_agree(
        &mut self,
        plan: &[Command],
        believed: &mut Observed,
    ) -> Result<bool, RuntimeError> {
        let backends: BTreeSet<_> = plan.iter().filter_map(Command::backend).collect();
        if are_many(backends.len(), believed.servers.len()) {
            let found = observed::servers(&self.ask("show servers state").await?);
            return Ok(believed.replace_servers(found));
        }
        let mut same = true;
        for backend in backends {
            let found =
                observed::servers(&self.ask(&format!("show servers state {backend}")).await?);
            same &= believed.replace_backend(backend, found);
        }
        Ok(same)
    }

    async fn maps_agree(
        &mut self,
        plan: &[Command],
        believed: &mut Observed,
    ) -> Result<bool, RuntimeError> {
        let entries: BTreeSet<_> = plan.iter().filter_map(Command::entry).collect();
        let mut same = true;
        let all = believed.maps.values().map(BTreeMap::len).sum();
        if are_many(entries.len(), all) {
            for map in entries.iter().map(|(map, _)| *map).collect::<BTreeSet<_>>() {
                let found = observed::map(&self.ask(&format!("show map {map}")).await?);
                same &= believed.maps.insert(map, found.clone()) == Some(found);
            }
            return Ok(same);
        }
        for (map, key) in entries {
            let answer = self.ask(&format!("get map {map} {}", Escaped(key))).await?;
            same &= believed.replace_entry(map, key, observed::entry(&answer, key));
        }
        Ok(same)
    }

    async fn ask(&mut self, command: &str) -> Result<String, RuntimeError> {
        self.session
            .ask(command)
            .await
            .map_err(|source| RuntimeError::Unreachable { socket: self.socket.clone(), source })
    }
}
