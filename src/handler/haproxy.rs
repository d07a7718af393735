//! docker-balancer as a handler: the same code, its options as `[params]`.

use super::{
    Work,
    ini::{Mistake, Section},
};
use crate::{
    api,
    serve::serve,
    settings::{Command, GlueSettings, Settings, place},
};
use anyhow::Result;
use std::{future::pending, path::Path, time::Duration};
use tokio::{sync::oneshot, time::sleep};
use tracing::{error, warn};

/// Until it is tried again, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

#[derive(Debug, Clone, PartialEq)]
pub struct Haproxy {
    watch: Box<Settings>,
}

impl Haproxy {
    pub fn read(params: &Section, settings: &GlueSettings) -> Result<Self, Mistake> {
        let all = params.all().map(|(key, value)| (key, value, key.to_owned()));
        let read = Settings::of_params(all, Command::Watch, &settings.machine);
        let mut watch = read.map_err(|error| {
            let text = format!("{error:#}");
            params.mistake(text.split(':').next().unwrap_or_default(), &text)
        })?;
        if params.get("docker-url").is_none() {
            watch.docker.clone_from(&settings.docker);
        }
        Ok(Self { watch: Box::new(watch) })
    }

    pub fn state_dir(&self) -> &Path {
        &self.watch.state_dir
    }

    pub async fn run(self, mut work: Work) {
        let settings = Settings { command: work.command, ..*self.watch };
        for note in &settings.notes {
            warn!(handler = work.handler.name, "{note}");
        }
        if work.command == Command::Once {
            match Box::pin(apply(settings, pending())).await {
                Ok(()) => work.tally.succeed(),
                Err(error) => drop(fail(&work, &error)),
            }
            return;
        }
        let mut pause = RETRY.0;
        loop {
            let (stop, stopped) = oneshot::channel::<()>();
            let serving = apply(settings.clone(), async { drop(stopped.await) });
            let mut serving = std::pin::pin!(serving);
            let ended = tokio::select! {
                ended = &mut serving => ended,
                () = told_all(&mut work) => {
                    drop(stop);
                    serving.await
                }
            };
            match ended {
                Ok(()) => return,
                Err(error) => drop(fail(&work, &error)),
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(RETRY.1),
                () = told_all(&mut work) => return,
            }
        }
    }
}

/// It looks at Docker itself, and needs no letters.
async fn told_all(work: &mut Work) {
    while let Some(letter) = work.mailbox.recv().await {
        work.finished(&letter);
    }
}

async fn apply(settings: Settings, stop: impl Future<Output = ()>) -> Result<()> {
    place::make(&settings.state_dir)?;
    place::make_private(&settings.runtime_dir, nix::unistd::geteuid().as_raw())?;
    serve(settings, api::start, stop).await
}

fn fail(work: &Work, error: &anyhow::Error) -> u64 {
    let failures = work.tally.fail();
    error!(handler = work.handler.name, failures, "{error:#}");
    failures
}
