//! Scripts: a program that runs for each event as `SCRIPT INI EVENT CONTAINER-ID`, without a shell.
//!
//! Its standard input is the container's description, the JSON object of `docker inspect`; for a removed container
//! the last known one. For an event of a certificate it is the certificate's description. It is empty for `none`. The
//! main facts are in its environment too, and are empty if they are not known:
//!
//! | variable | value |
//! |---|---|
//! | `GLUE_HANDLER` | the handler's name: its file name without `.ini` |
//! | `GLUE_EVENT` | the second argument: `start`, `health_status: healthy`, … |
//! | `GLUE_CONTAINER_ID` | the third argument, all 64 digits |
//! | `GLUE_SOURCE` | the name of the container's source; not set if it has none |
//! | `GLUE_CONTAINER_NAME`, `GLUE_CONTAINER_IMAGE` | as given to `docker run` |
//! | `GLUE_CONTAINER_PID` | the container's first process, while it runs: `/proc/PID/ns/net` is its network |
//! | `GLUE_CONTAINER_NETWORK` | the container's network mode: `bridge`, `none`, `host`, or the name of a network |
//! | `GLUE_CERTIFICATE_ID`, `GLUE_CERTIFICATE_NAMES` | the certificate of an event `certificate`, and its hosts, with blanks between them |
//! | `GLUE_CERTIFICATE_FILE`, `GLUE_CERTIFICATE_KEY_FILE` | paths of its files |
//! | `GLUE_CERTIFICATE_EXPIRES` | when it expires, in Unix seconds |
//! | `GLUE_PARAM_MY_OPTION` | `my-option=` of `[params]`, and so on for each |
//! | `GLUE_REPLAYED` | `1` for an event from before docker-glue started (`at_start=yes`), otherwise not set |
//!
//! Labels are only in the description: the name of a label may not be valid as a variable name, and a value may be
//! too long for the environment. The working directory is the script's folder. Processes that the script leaves
//! running when it ends keep running; processes that run at the timeout are killed with it.

use super::{
    HandlerContext,
    certificate_change::CertificateChange,
    certificate_tracker::{CertificateTracker, record_delivery, record_unsubscribed},
    ini::{IniError, Section},
    mailbox::HandlerMessage,
    missed_events::{DeliveryRecorder, initial_messages},
    ordered_queue::{PendingMessages, run_in_order},
    process_group::{self, ProcessGroup},
};
use crate::{settings::GlueSettings, sources::ContainerEvent};
use nix::unistd::{AccessFlags, access};
use serde_json::Value;
use std::{
    borrow::Cow,
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf, absolute},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, Command},
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{error, info};

const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// How long to wait for the last lines of a script that has ended: a process that it left running may keep its output
/// open.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

const CONTAINER_VARIABLES: &[(&str, &str)] = &[
    ("GLUE_CONTAINER_IMAGE", "/Config/Image"),
    ("GLUE_CONTAINER_PID", "/State/Pid"),
    ("GLUE_CONTAINER_NETWORK", "/HostConfig/NetworkMode"),
];

#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Absolute, because the working directory is the script's folder.
    program: PathBuf,
    environment: Vec<(String, String)>,
    timeout: Duration,
    concurrency: NonZeroUsize,
}

/// How a run failed.
#[derive(Debug, thiserror::Error)]
enum ScriptError {
    #[error("cannot start: {0}")]
    Start(String),
    #[error("{}", process_group::exit_reason(*.0))]
    Status(ExitStatus),
    #[error("not finished after {0:?}; killed with all its child processes")]
    TimedOut(Duration),
    #[error("could not watch the process: {0}")]
    Io(#[from] io::Error),
}

impl Script {
    pub fn from_params(params: &Section, settings: &GlueSettings) -> Result<Self, IniError> {
        let name = params.require_value("script")?;
        // The folder of the handler's file is searched too.
        let own = Path::new(".").join(params.base_folder());
        let own = absolute(&own).unwrap_or(own);
        let mut folders = settings.trusted_folders(&settings.script_paths);
        folders.push(own);
        let program = find_program(Path::new(name), &folders).map_err(|text| {
            params.error_at("script", settings.missing_message(text, &settings.script_paths))
        })?;
        let timeout = parse_timeout(params)?;
        let number = "a whole number of at least 1";
        let concurrency = params.parse_value("concurrency", number, NonZeroUsize::MIN)?;
        Ok(Self { program, environment: param_variables(params), timeout, concurrency })
    }

    pub async fn run(self, mut work: HandlerContext) {
        let mut mailbox = work.take_mailbox();
        let tally = Arc::clone(&work.stats);
        let first = initial_messages(&work, &mut mailbox).await;
        let recorder = DeliveryRecorder::new(&work);
        let tracker = CertificateTracker::load(&work).await;
        let pending = PendingMessages::new(first, &mut mailbox, &tally).with_tracker(tracker);
        let run = |message| self.handle(&work, &recorder, message);
        run_in_order(pending, self.concurrency, run).await;
    }

    async fn handle(
        &self,
        work: &HandlerContext,
        recorder: &DeliveryRecorder<'_>,
        message: HandlerMessage,
    ) {
        if record_unsubscribed(work, &message).await {
            return;
        }
        recorder.record_before(&message).await;
        let (handler, event) = (&work.handler.name, message.action());
        let (container, certificate) = (container_with_id(&message), certificate_id(&message));
        let began = Instant::now();
        let ended = self.run_once(work, &message).await;
        let took = format!("{:.1?}", began.elapsed());
        match ended {
            Ok(()) => {
                work.stats.record_success();
                info!(handler, event, container, certificate, took, "done");
                record_delivery(work, &message).await;
            }
            Err(error) => {
                let late = matches!(error, ScriptError::TimedOut(_));
                let failures =
                    if late { work.stats.record_timeout() } else { work.stats.record_failure() };
                error!(handler, event, container, certificate, took, failures, "{error}");
            }
        }
        recorder.record_after(&message).await;
        work.trigger_none_event(&message);
    }

    async fn run_once(
        &self,
        work: &HandlerContext,
        message: &HandlerMessage,
    ) -> Result<(), ScriptError> {
        let mut command = self.build_command(work, message);
        let mut group = ProcessGroup::spawn(&mut command)
            .map_err(|error| ScriptError::Start(start_error(&self.program, &error)))?;
        let mut output =
            spawn_log_tasks(&mut group, &work.handler.name, container_with_id(message));
        let input = group.child.stdin.take();
        let described = write_description(input, message);
        let status =
            timeout(self.timeout, process_group::run_alongside(group.wait(), described)).await;
        if status.is_err() {
            group.kill().await;
        }
        let all = async { while output.join_next().await.is_some() {} };
        let _ = timeout(OUTPUT_GRACE, all).await;
        // The output of processes that still run is still logged.
        output.detach_all();
        match status {
            Err(_) => Err(ScriptError::TimedOut(self.timeout)),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(status)) if !status.success() => Err(ScriptError::Status(status)),
            Ok(Ok(_)) => Ok(()),
        }
    }

    fn build_command(&self, work: &HandlerContext, message: &HandlerMessage) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(ini_path(work)).arg(message.action()).arg(message.container_id());
        command.current_dir(self.program.parent().unwrap_or(Path::new("/")));
        let event = message.event();
        command.envs(self.environment.iter().cloned());
        command.env("GLUE_HANDLER", &work.handler.name);
        command.env("GLUE_EVENT", message.action());
        command.env("GLUE_CONTAINER_ID", message.container_id());
        command.env("GLUE_CONTAINER_NAME", event.map_or("", |event| &event.name));
        let source = event.map(|event| event.id.source()).filter(|source| !source.is_none());
        command.envs(source.map(|source| ("GLUE_SOURCE", source.as_str())));
        command.envs(container_variables(event));
        command.envs(message.certificate_change().map(certificate_variables).unwrap_or_default());
        if let HandlerMessage::ReplayedEvent(_) = message {
            command.env("GLUE_REPLAYED", "1");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Returns the absolute path of the handler's file, because scripts and plugins have another working directory.
pub fn ini_path(work: &HandlerContext) -> PathBuf {
    absolute(&work.handler.file).unwrap_or_else(|_| work.handler.file.clone())
}

/// Turns `my-option=` into `GLUE_PARAM_MY_OPTION`.
pub fn param_variables(params: &Section) -> Vec<(String, String)> {
    let message = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name = |key: &str| format!("GLUE_PARAM_{}", key.chars().map(message).collect::<String>());
    params.iter().map(|(key, value)| (name(key), value.to_owned())).collect()
}

/// Parses `timeout=`, one minute by default.
pub fn parse_timeout(params: &Section) -> Result<Duration, IniError> {
    let limit = params.parse_duration("timeout", DEFAULT_TIMEOUT)?;
    if limit.is_zero() {
        return Err(
            params.error_at("timeout", "timeout must be a time such as 30s or 5m, and more than 0")
        );
    }
    Ok(limit)
}

/// Finds a program: an absolute path as it is, any other name in the first folder that has an executable file of that
/// name.
pub fn find_program(name: &Path, folders: &[PathBuf]) -> Result<PathBuf, String> {
    let places: Vec<_> = if name.is_absolute() {
        vec![name.to_owned()]
    } else {
        folders.iter().map(|folder| folder.join(name)).collect()
    };
    if let Some(found) = places.iter().find(|path| is_program(path)) {
        return absolute(found).map_err(|error| error.to_string());
    }
    let is_absolute = name.is_absolute();
    let name = name.display();
    Err(match places.iter().find(|path| path.exists()) {
        Some(path) if path.is_dir() => format!("{} is a directory", path.display()),
        Some(path) => format!("{0} is not executable (chmod +x {0})", path.display()),
        None if is_absolute => format!("no such file: {name}"),
        None => format!("no {name} in {}", join_paths(folders)),
    })
}

/// Returns for example `a, b, c`.
pub fn join_paths(folders: &[PathBuf]) -> String {
    folders.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// Returns the system's error, with a hint if the file exists and its first line is the likely cause.
pub fn start_error(program: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if program.exists() => {
            " (check that the program of its #! line exists)"
        }
        _ if error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32) => {
            " (its first line has no #!)"
        }
        _ => "",
    };
    format!("{}: {error}{hint}", program.display())
}

/// Returns the container as it is named in the log.
pub fn container_with_id(message: &HandlerMessage) -> Option<String> {
    message.event().map(|event| format!("{} ({})", event.name, event.id))
}

fn container_variables(event: Option<&ContainerEvent>) -> Vec<(&'static str, String)> {
    let description = event.and_then(|event| event.description.as_ref());
    let json =
        description.and_then(|description| serde_json::from_str::<Value>(&description.json).ok());
    // A container that has ended has no process, although its last description contains one.
    let ended = event.is_some_and(|event| matches!(event.action.as_str(), "die" | "destroy"));
    let fact = |pointer| match json.as_ref().and_then(|json| json.pointer(pointer)) {
        Some(Value::String(text)) => text.clone(),
        // 0 means no process.
        Some(Value::Number(number)) if number.as_i64() != Some(0) && !ended => number.to_string(),
        _ => String::new(),
    };
    CONTAINER_VARIABLES.iter().map(|(name, pointer)| (*name, fact(pointer))).collect()
}

/// Returns the variables of an event of a certificate; other events have none of them.
fn certificate_variables(change: &CertificateChange) -> Vec<(&'static str, String)> {
    let certificate = &change.certificate;
    let file = |path: &Option<String>| path.clone().unwrap_or_default();
    vec![
        ("GLUE_CERTIFICATE_ID", certificate.id.clone()),
        ("GLUE_CERTIFICATE_NAMES", certificate.names.join(" ")),
        ("GLUE_CERTIFICATE_FILE", file(&certificate.certificate_file)),
        ("GLUE_CERTIFICATE_KEY_FILE", file(&certificate.key_file)),
        ("GLUE_CERTIFICATE_EXPIRES", certificate.not_after.to_string()),
    ]
}

/// Returns the id of the certificate as it is named in the log.
pub fn certificate_id(message: &HandlerMessage) -> Option<&str> {
    message.certificate_change().map(|change| change.certificate.id.as_str())
}

/// Logs the output of the script.
fn spawn_log_tasks(
    group: &mut ProcessGroup,
    handler: &str,
    container: Option<String>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(pipe) = group.child.stdout.take() {
        tasks.spawn(process_group::log_output(pipe, handler.to_owned(), container.clone()));
    }
    if let Some(pipe) = group.child.stderr.take() {
        tasks.spawn(process_group::log_output(pipe, handler.to_owned(), container));
    }
    tasks
}

/// Writes the description. A script that does not read its input may close it early, so errors are ignored.
async fn write_description(input: Option<ChildStdin>, message: &HandlerMessage) {
    if let (Some(mut input), Some(json)) = (input, description_json(message)) {
        let _ = input.write_all(json.as_bytes()).await;
        let _ = input.write_all(b"\n").await;
    }
}

/// Returns the description of the container or the certificate on one line.
fn description_json(message: &HandlerMessage) -> Option<Cow<'_, str>> {
    if let Some(change) = message.certificate_change() {
        return serde_json::to_string(&change.certificate).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(&message.event()?.description.as_ref()?.json))
}

#[cfg(test)]
mod tests;
