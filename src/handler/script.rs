//! A program that is run for each event: `SCRIPT INI EVENT CONTAINER-ID`, with no shell in between.
//!
//! Its standard input is the container's description as `docker inspect` has it, one JSON object, the last that
//! was known where the container is gone; it is empty where there is none, as for `none`. The main facts are in
//! its environment too, empty where they are not known:
//!
//! | variable | is |
//! |---|---|
//! | `GLUE_HANDLER` | the handler's name: its file without `.ini` |
//! | `GLUE_EVENT` | the second argument: `start`, `health_status: healthy`, … |
//! | `GLUE_CONTAINER_ID` | the third argument, all 64 digits |
//! | `GLUE_CONTAINER_NAME`, `GLUE_CONTAINER_IMAGE` | as they were given to `docker run` |
//! | `GLUE_CONTAINER_PID` | its first process, while it runs: `/proc/PID/ns/net` is its network |
//! | `GLUE_CONTAINER_NETWORK` | its network mode: `bridge`, `none`, `host`, a network's name |
//! | `GLUE_PARAM_MY_OPTION` | `my-option=` of `[params]`, and so on for each |
//! | `GLUE_REPLAYED` | `1` for what happened before docker-glue began (`at_start=yes`), else not set |
//!
//! Labels are in the description only: a name of a label is no name of a variable, and a value may be
//! longer than an environment takes. It runs in its own folder. What it leaves running when it ends goes
//! on; what runs when its time is over is killed with it.

use super::{
    Work,
    child::{self, Group},
    in_order::{Rest, in_order},
    ini::{Mistake, Section},
    mailbox::Letter,
    missed::{Remembering, first_letters},
};
use crate::{docker::Happened, settings::GlueSettings};
use nix::unistd::{AccessFlags, access};
use serde_json::Value;
use std::{
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

const TIMEOUT: Duration = Duration::from_mins(1);
/// For the last lines of one that has ended: whoever it left running may keep its output open.
const LAST_LINES: Duration = Duration::from_millis(200);

const FACTS: &[(&str, &str)] = &[
    ("GLUE_CONTAINER_IMAGE", "/Config/Image"),
    ("GLUE_CONTAINER_PID", "/State/Pid"),
    ("GLUE_CONTAINER_NETWORK", "/HostConfig/NetworkMode"),
];

#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Absolute, as it runs in its own folder.
    program: PathBuf,
    environment: Vec<(String, String)>,
    timeout: Duration,
    concurrency: NonZeroUsize,
}

/// How one run went wrong.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot be started: {0}")]
    Start(String),
    #[error("{}", child::reason(*.0))]
    Status(ExitStatus),
    #[error("not done after {0:?}: killed, with all that it had started")]
    Late(Duration),
    #[error("lost sight of it: {0}")]
    Io(#[from] io::Error),
}

impl Script {
    pub fn read(params: &Section, settings: &GlueSettings) -> Result<Self, Mistake> {
        let name = params.require("script")?;
        // Beside its own file, too.
        let own = Path::new(".").join(params.folder());
        let own = absolute(&own).unwrap_or(own);
        let mut folders = settings.trusted(&settings.script_paths);
        folders.push(own);
        let program = find(Path::new(name), &folders).map_err(|text| {
            params.mistake("script", settings.absent(text, &settings.script_paths))
        })?;
        let timeout = limit(params)?;
        let number = "a whole number from 1 on";
        let concurrency = params.value("concurrency", number, NonZeroUsize::MIN)?;
        Ok(Self { program, environment: environment(params), timeout, concurrency })
    }

    pub async fn run(self, mut work: Work) {
        let mut mailbox = work.take_mailbox();
        let tally = Arc::clone(&work.tally);
        let first = first_letters(&work, &mut mailbox).await;
        let remembering = Remembering::new(&work);
        let run = |letter| self.handle(&work, &remembering, letter);
        in_order(Rest::new(first, &mut mailbox, &tally), self.concurrency, run).await;
    }

    async fn handle(&self, work: &Work, remembering: &Remembering<'_>, letter: Letter) {
        remembering.before(&letter).await;
        let (handler, event) = (&work.handler.name, letter.action());
        let container = called(&letter);
        let began = Instant::now();
        let ended = self.once(work, &letter).await;
        let took = format!("{:.1?}", began.elapsed());
        match ended {
            Ok(()) => {
                work.tally.succeed();
                info!(handler, event, container, took, "done");
            }
            Err(why) => {
                let late = matches!(why, Failure::Late(_));
                let failures = if late { work.tally.time_out() } else { work.tally.fail() };
                error!(handler, event, container, took, failures, "{why}");
            }
        }
        remembering.after(&letter).await;
        work.finished(&letter);
    }

    async fn once(&self, work: &Work, letter: &Letter) -> Result<(), Failure> {
        let mut command = self.command(work, letter);
        let mut group = Group::start(&mut command)
            .map_err(|error| Failure::Start(why(&self.program, &error)))?;
        let mut output = listen(&mut group, &work.handler.name, called(letter));
        let input = group.child.stdin.take();
        let described = describe(input, letter);
        let status = timeout(self.timeout, child::beside(group.ended(), described)).await;
        if status.is_err() {
            group.kill().await;
        }
        let all = async { while output.join_next().await.is_some() {} };
        let _ = timeout(LAST_LINES, all).await;
        // Who still talks goes on being heard.
        output.detach_all();
        match status {
            Err(_) => Err(Failure::Late(self.timeout)),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(status)) if !status.success() => Err(Failure::Status(status)),
            Ok(Ok(_)) => Ok(()),
        }
    }

    fn command(&self, work: &Work, letter: &Letter) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(ini(work)).arg(letter.action()).arg(letter.container());
        command.current_dir(self.program.parent().unwrap_or(Path::new("/")));
        let happened = letter.happened();
        command.envs(self.environment.iter().cloned());
        command.env("GLUE_HANDLER", &work.handler.name);
        command.env("GLUE_EVENT", letter.action());
        command.env("GLUE_CONTAINER_ID", letter.container());
        command.env("GLUE_CONTAINER_NAME", happened.map_or("", |it| &it.name));
        command.envs(facts(happened));
        if let Letter::Replayed(_) = letter {
            command.env("GLUE_REPLAYED", "1");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The handler's file, for who runs elsewhere.
pub fn ini(work: &Work) -> PathBuf {
    absolute(&work.handler.file).unwrap_or_else(|_| work.handler.file.clone())
}

/// `my-option=` is `GLUE_PARAM_MY_OPTION`.
pub fn environment(params: &Section) -> Vec<(String, String)> {
    let letter = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_uppercase() } else { '_' };
    let name = |key: &str| format!("GLUE_PARAM_{}", key.chars().map(letter).collect::<String>());
    params.all().map(|(key, value)| (name(key), value.to_owned())).collect()
}

/// `timeout=`, which is a minute unless it is said.
pub fn limit(params: &Section) -> Result<Duration, Mistake> {
    let limit = params.time("timeout", TIMEOUT)?;
    if limit.is_zero() {
        return Err(params.mistake(
            "timeout",
            "timeout is a time such as 30s or 5m, and no time at all is too short",
        ));
    }
    Ok(limit)
}

/// An absolute path as it is, another one in the first of the folders that has it as a program.
pub fn find(name: &Path, folders: &[PathBuf]) -> Result<PathBuf, String> {
    let places: Vec<_> = if name.is_absolute() {
        vec![name.to_owned()]
    } else {
        folders.iter().map(|folder| folder.join(name)).collect()
    };
    if let Some(found) = places.iter().find(|place| is_program(place)) {
        return absolute(found).map_err(|error| error.to_string());
    }
    let is_absolute = name.is_absolute();
    let name = name.display();
    Err(match places.iter().find(|place| place.exists()) {
        Some(place) if place.is_dir() => format!("{} is a folder", place.display()),
        Some(place) => format!("{0} is not executable (chmod +x {0})", place.display()),
        None if is_absolute => format!("there is no {name}"),
        None => format!("there is no {name} in {}", listed(folders)),
    })
}

/// `a, b, c`
pub fn listed(folders: &[PathBuf]) -> String {
    folders.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// What the system says of a program that is there, and means its first line.
pub fn why(program: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if program.exists() => " (is the program of its #! line there?)",
        _ if error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32) => {
            " (its first line says no #!)"
        }
        _ => "",
    };
    format!("{}: {error}{hint}", program.display())
}

/// As the log calls a container.
pub fn called(letter: &Letter) -> Option<String> {
    letter.happened().map(|it| format!("{} ({})", it.name, it.id))
}

fn facts(happened: Option<&Happened>) -> Vec<(&'static str, String)> {
    let description = happened.and_then(|it| it.description.as_ref());
    let json = description.and_then(|it| serde_json::from_str::<Value>(&it.json).ok());
    // One that has ended has none, whatever was known of it last.
    let ended = happened.is_some_and(|it| matches!(it.action.as_str(), "die" | "destroy"));
    let fact = |pointer| match json.as_ref().and_then(|json| json.pointer(pointer)) {
        Some(Value::String(text)) => text.clone(),
        // No process.
        Some(Value::Number(number)) if number.as_i64() != Some(0) && !ended => number.to_string(),
        _ => String::new(),
    };
    FACTS.iter().map(|(name, pointer)| (*name, fact(pointer))).collect()
}

/// To the log with what it says.
fn listen(group: &mut Group, handler: &str, container: Option<String>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(pipe) = group.child.stdout.take() {
        tasks.spawn(child::log(pipe, handler.to_owned(), container.clone()));
    }
    if let Some(pipe) = group.child.stderr.take() {
        tasks.spawn(child::log(pipe, handler.to_owned(), container));
    }
    tasks
}

/// One that does not care for it may close its input early.
async fn describe(input: Option<ChildStdin>, letter: &Letter) {
    let description = letter.happened().and_then(|it| it.description.as_ref());
    if let (Some(mut input), Some(description)) = (input, description) {
        let _ = input.write_all(description.json.as_bytes()).await;
        let _ = input.write_all(b"\n").await;
    }
}

#[cfg(test)]
mod tests;
