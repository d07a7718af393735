//! Plugins: a program that runs as long as its handler and receives events one after the other.
//!
//! `class=python:MODULE.CLASS`, or a dotted name such as `DockerGlue.handlers.demo.DemoHandler`, is a Python class of
//! a module in the plugin path; `docker_glue.runner` runs it. `class=plugin` with `command=` is any program. Params
//! that are not named here are passed to the plugin. Both kinds use this protocol:
//!
//! 1. The plugin writes `{"ready": true}` when it can begin.
//! 2. For each event it reads one line from its standard input, a JSON object:
//!    `event` (`start`, `health_status: healthy`, `none`, …), `container_id` (64 digits), `container_name`, `time`
//!    (seconds since 1970, with a fraction, by Docker's clock), `attributes` (Docker's, including the labels) and
//!    `description` (the output of `docker inspect`; for a removed container the last known one). For `none`, the
//!    names are empty, and `time` and `description` are null. The events of certificates (`certificate: issued`,
//!    `certificate: renewed`, `certificate: gone`) have the certificate as the object `certificate` in addition.
//!    With `at_start=yes`, events from before docker-glue started come first, with `"replayed": true`.
//! 3. It writes one line to its standard output: `{"ok": true}`, or `{"error": "what went wrong"}`. Then the next
//!    event follows.
//! 4. Its standard input is closed when it should exit.
//!
//! Other lines on its standard output, and everything on its standard error, are logged. `command=` is split as a
//! shell does it, but no shell runs it. The first word is searched in the plugin path, then in PATH. The working
//! directory is the folder of that program, and for a Python class the folder of its module.
//! In its environment, `GLUE_HANDLER` and `GLUE_INI` are the handler's name and file, and
//! `GLUE_PARAM_MY_OPTION` is `my-option=` of `[params]`.
//!
//! A plugin that does not answer within `timeout` (one minute by default) is killed. However it ended, it is
//! restarted after a pause that doubles until an event succeeds. The event in progress counts as failed: it is not
//! sent again, because it is not known how much of it was done. Later events wait.

mod instance;
mod protocol;
mod python;

use super::{
    HandlerContext,
    certificate_tracker::CertificateTracker,
    ini::{IniError, Section},
    mailbox::Mailbox,
    missed_events::initial_messages,
    ordered_queue::PendingMessages,
    script::{self, find_program, parse_timeout},
};
use crate::{
    settings::{GlueSettings, RunMode as Task},
    support::backoff::Backoff,
};
use instance::PluginInstance;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use tracing::error;

/// The first and the longest pause before a restart.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));
/// How often a pause checks whether the handler should end.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// The working directory.
    folder: PathBuf,
    environment: Vec<(String, OsString)>,
    timeout: Duration,
}

impl Plugin {
    pub fn from_sections(
        head: &Section,
        params: &Section,
        settings: &GlueSettings,
    ) -> Result<Self, IniError> {
        let timeout = parse_timeout(params)?;
        let class = head.require_value("class")?;
        if class != "plugin" {
            return python::plugin_from_class(class, head, settings).map(|mut plugin| {
                plugin.environment.extend(param_variables(params));
                Self { timeout, ..plugin }
            });
        }
        let text = params.require_value("command")?;
        let error_at_command = |text: String| params.error_at("command", text);
        let words =
            shlex::split(text).ok_or_else(|| error_at_command("a quote is not closed".into()))?;
        let mut words = words.into_iter();
        let program =
            words.next().ok_or_else(|| error_at_command("the program is missing".into()))?;
        let program = find_plugin_program(&program, settings).map_err(error_at_command)?;
        Ok(Self {
            folder: program.parent().unwrap_or(Path::new("/")).to_owned(),
            program,
            arguments: words.map(Into::into).collect(),
            environment: param_variables(params),
            timeout,
        })
    }

    pub async fn run(self, mut work: HandlerContext) {
        let mut mailbox = work.take_mailbox();
        let tally = Arc::clone(&work.stats);
        let first = initial_messages(&work, &mut mailbox).await;
        let tracker = CertificateTracker::load(&work).await;
        let mut pending = PendingMessages::new(first, &mut mailbox, &tally).with_tracker(tracker);
        let mut backoff = Backoff::new(RESTART_BACKOFF);
        loop {
            let mut instance = PluginInstance::new(&self, &work);
            let Err(exit) = instance.run_until_end(&mut pending).await else { return };
            if instance.has_succeeded {
                backoff.reset();
            }
            let (handler, failures) = (&work.handler.name, exit.record_failure(&tally));
            let (event, container, error) = (&exit.event, &exit.container, &exit.error);
            if work.command == Task::Once {
                error!(handler, event, container, failures, "{error}");
                return;
            }
            let pause = backoff.next_pause();
            error!(handler, event, container, failures, "{error}; restarting in {pause:?}");
            if is_closed_after(pause, pending.mailbox).await {
                return;
            }
        }
    }

    fn build_command(&self, work: &HandlerContext) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        command.envs(self.environment.iter().cloned());
        command.env("GLUE_HANDLER", &work.handler.name).env("GLUE_INI", script::ini_path(work));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn param_variables(params: &Section) -> Vec<(String, OsString)> {
    script::param_variables(params).into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Waits for a pause, or until the handler should end. Returns whether the mailbox is closed.
async fn is_closed_after(pause: Duration, mailbox: &Mailbox) -> bool {
    let until = Instant::now() + pause;
    while !mailbox.is_closed() && Instant::now() < until {
        sleep(POLL_INTERVAL.min(until - Instant::now())).await;
    }
    mailbox.is_closed()
}

/// Finds a program in the plugin path, or else in PATH.
fn find_plugin_program(name: &str, settings: &GlueSettings) -> Result<PathBuf, String> {
    let name = Path::new(name);
    let trusted = settings.trusted_folders(&settings.plugin_paths);
    let found = find_program(name, &trusted)
        .map_err(|text| settings.missing_message(text, &settings.plugin_paths));
    let is_there = trusted.iter().any(|folder| folder.join(name).exists());
    if found.is_ok() || is_there || name.components().count() != 1 {
        return found;
    }
    let path = settings.machine.env.get("PATH");
    let folders: Vec<_> = path.into_iter().flat_map(std::env::split_paths).collect();
    find_program(name, &folders).or_else(|_| found.map_err(|text| format!("{text} or in PATH")))
}

#[cfg(test)]
mod tests;
