//! docker-balancer as a handler: the same code, with its options in `[params]`.

use super::{
    HandlerContext,
    ini::{IniError, Section},
    source::GlueSource,
};
use crate::{
    api::start::start,
    controller::event_loop::run_command,
    settings::{GlueSettings, RunMode, Settings, paths},
    sources::Source,
    support::backoff::Backoff,
};
use anyhow::Result;
use std::{future::pending, path::Path, time::Duration};
use tokio::{sync::oneshot, time::sleep};
use tracing::{error, warn};

/// The first and the longest pause before a retry.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

#[derive(Debug, Clone, PartialEq)]
pub struct HaproxyHandler {
    settings: Box<Settings>,
}

impl HaproxyHandler {
    pub fn from_params(params: &Section, settings: &GlueSettings) -> Result<Self, IniError> {
        let all = params.iter().map(|(key, value)| (key, value, key.to_owned()));
        let read = Settings::from_params(all, RunMode::Watch, &settings.machine);
        let mut watch = read.map_err(|error| {
            let text = format!("{error:#}");
            params.error_at(text.split(':').next().unwrap_or_default(), &text)
        })?;
        if params.get("docker-url").is_none() && params.get("source").is_none() {
            if let Some(engine) = settings.first_engine() {
                watch.docker.clone_from(engine);
            }
            watch.set_sources(settings.source_options.clone());
        }
        Ok(Self { settings: Box::new(watch) })
    }

    pub fn state_dir(&self) -> &Path {
        &self.settings.state_dir
    }

    /// Returns the file in which the balancer lists its certificates.
    pub fn certificate_list(&self) -> &Path {
        &self.settings.certificate_list
    }

    pub async fn run(self, mut work: HandlerContext) {
        let settings = Settings { command: work.command, ..*self.settings };
        for note in &settings.notes {
            warn!(handler = work.handler.name, "{note}");
        }
        if work.command == RunMode::Once {
            match Box::pin(serve_until_stopped(settings, Vec::new(), pending())).await {
                Ok(()) => work.stats.record_success(),
                Err(error) => drop(log_failure(&work, &error)),
            }
            return;
        }
        // Sources that docker-glue does not follow are followed by this handler itself.
        let is_ours = |ours: &&GlueSource| {
            settings.sources().iter().any(|source| ours.settings.follows(source))
        };
        let followed: Vec<_> =
            work.sources.iter().filter(is_ours).map(|ours| ours.source.clone()).collect();
        let mut backoff = Backoff::new(RETRY_BACKOFF);
        loop {
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async { drop(stopped.await) };
            let serving = serve_until_stopped(settings.clone(), followed.clone(), stopped);
            let mut serving = std::pin::pin!(serving);
            let ended = tokio::select! {
                ended = &mut serving => ended,
                () = drain_mailbox(&mut work) => {
                    drop(stop);
                    serving.await
                }
            };
            match ended {
                Ok(()) => return,
                Err(error) => drop(log_failure(&work, &error)),
            }
            tokio::select! {
                () = sleep(backoff.next_pause()) => {}
                () = drain_mailbox(&mut work) => return,
            }
        }
    }
}

/// Discards messages. The balancer reads snapshots of Docker instead.
async fn drain_mailbox(work: &mut HandlerContext) {
    while let Some(message) = work.mailbox.recv().await {
        work.trigger_none_event(&message);
    }
}

async fn serve_until_stopped(
    settings: Settings,
    followed: Vec<Source>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    paths::create_dir(&settings.state_dir)?;
    paths::create_private_dir(&settings.runtime_dir, nix::unistd::geteuid().as_raw())?;
    run_command(settings, followed, start, stop, None).await
}

fn log_failure(work: &HandlerContext, error: &anyhow::Error) -> u64 {
    let failures = work.stats.record_failure();
    error!(handler = work.handler.name, failures, "{error:#}");
    failures
}
