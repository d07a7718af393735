//! docker-glue on the machine's engine, with its own folders for handler files, scripts and plugins.
//!
//! ```ignore
//! let Some(docker) = common::docker() else { return };
//! let glue = Glue::of(&docker)
//!     .file("say.ini", "[handler]\nclass=script\nevents=start\n[params]\nscript=say.sh\n")
//!     .script("say.sh", "#!/bin/sh\necho hello\n")
//!     .start();
//! let web = docker.run("web").start();
//! glue.until_said(&["hello", &web.name]);
//! ```
//!
//! docker-glue also gets the events of other tests' containers: look for your own container's name or id.

use super::{DEADLINE, Docker, POLL_INTERVAL, output_log::OutputLog, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Instant,
};
use tempfile::TempDir;

/// A docker-glue that has not been started.
#[derive(Debug)]
pub struct GluePlan {
    docker: Docker,
    folder: TempDir,
    options: Vec<String>,
    environment: Vec<(String, OsString)>,
}

/// A running docker-glue. Dropping it ends it by SIGTERM. Its log is printed if the test fails.
#[derive(Debug)]
pub struct Glue {
    plan: GluePlan,
    process: Option<Child>,
    log: OutputLog,
    stdout: OutputLog,
}

impl Glue {
    pub fn plan(docker: &Docker) -> GluePlan {
        let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        for name in ["docker-glue.d", "handler-scripts", "plugins"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        GluePlan { docker: docker.clone(), folder, options: Vec::new(), environment: Vec::new() }
    }
}

impl GluePlan {
    /// Adds a handler file. `ROOT` is replaced by the folder, here and in all other files.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.write_file(&format!("docker-glue.d/{name}"), text);
        self
    }

    /// Adds an executable script.
    pub fn script(self, name: &str, text: &str) -> Self {
        self.write_program(&format!("handler-scripts/{name}"), text);
        self
    }

    /// Adds an executable file of the plugin path.
    pub fn plugin(self, name: &str, text: &str) -> Self {
        self.write_program(&format!("plugins/{name}"), text);
        self
    }

    /// Adds a handler of examples/docker-glue.d with these replacements, and its script.
    pub fn example(self, name: &str, script: &str, changes: &[(&str, &str)]) -> Self {
        let example = |file: &str| fs::read_to_string(format!("examples/{file}")).unwrap();
        let text = example(&format!("docker-glue.d/{name}.ini.example"));
        let text = changes.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let script_text = example(&format!("handler-scripts/{script}"));
        self.file(&format!("{name}.ini"), &text).script(script, &script_text)
    }

    /// Adds options of docker-glue.
    pub fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(ToString::to_string));
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Writes a file in its folder, and returns its path.
    pub fn write_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.replace("ROOT", &self.root())).unwrap();
        path
    }

    fn write_program(&self, name: &str, text: &str) {
        let path = self.write_file(name, text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the content of a file in its folder; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits for a line that contains all of these in a file of its folder, and returns it.
    pub fn wait_until_written(&self, name: &str, parts: &[&str]) -> String {
        wait_for(&format!("{parts:?} in {name}"), || find_line(&self.read(name), parts))
    }

    pub fn root(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Returns a docker-glue command with these folders; the caller adds the mode.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-glue"));
        for (option, folder) in [
            ("--handler-paths", "docker-glue.d"),
            ("--script-paths", "handler-scripts"),
            ("--plugin-paths", "plugins"),
            ("--state-dir", "state"),
        ] {
            command.arg(option).arg(self.path(folder));
        }
        if let Some(host) = &self.docker.host {
            command.arg("--docker-url").arg(host);
        }
        command.env("NO_COLOR", "1").args(&self.options).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null());
        command
    }

    /// Runs it until it exits: `glue.run(&["-1"])`, `glue.run(&["check"])`.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command().args(words).output().unwrap()
    }

    /// Starts it with `-w`. docker-glue gets every event after this returns.
    pub fn start(self) -> Glue {
        let (log, stdout) = (OutputLog::default(), OutputLog::default());
        let mut glue = Glue { plan: self, process: None, log, stdout };
        glue.start_again();
        glue
    }
}

impl std::ops::Deref for Glue {
    type Target = GluePlan;

    fn deref(&self) -> &GluePlan {
        &self.plan
    }
}

impl Glue {
    /// Starts it again after its end, with the same log.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let follows = |log: &str| log.matches("INFO watching ").count();
        let before = follows(&self.log());
        let mut command = self.command();
        command.arg("-w").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        self.log.read_from(process.stderr.take().unwrap());
        self.stdout.read_from(process.stdout.take().unwrap());
        self.process = Some(process);
        wait_for("docker-glue at work", || (before < follows(&self.log())).then_some(()));
    }

    pub fn pid(&self) -> Pid {
        let pid = self.process.as_ref().unwrap().id();
        Pid::from_raw(pid.try_into().unwrap())
    }

    /// Returns its child processes, including zombies.
    pub fn children(&self) -> Vec<String> {
        let stats = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        // The format is PID (NAME) STATE PARENT …
        let parent = |stat: &String| {
            let remaining = stat.rsplit_once(") ").map_or("", |pair| pair.1);
            remaining.split(' ').nth(1) == Some(self.pid().to_string().as_str())
        };
        stats.filter(parent).collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Makes it read the handler files again.
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends a signal and waits for the end of the process.
    ///
    /// # Panics
    /// If the process does not end in time.
    pub fn stop_with(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let process = self.process.as_mut().unwrap();
        let status = wait_for("the end of docker-glue", || process.try_wait().unwrap());
        self.process = None;
        status
    }

    /// Returns the log (stderr) so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Returns the standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits for a line of the log that contains all of these, and returns it.
    pub fn wait_for_log(&self, parts: &[&str]) -> String {
        wait_for(&format!("{parts:?} in the log"), || find_line(&self.log(), parts))
    }
}

fn find_line(text: &str, parts: &[&str]) -> Option<String> {
    let has = |line: &&str| parts.iter().all(|part| line.contains(part));
    // The last line may be incomplete.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().find(has).map(str::to_owned)
}

impl Drop for Glue {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of docker-glue:\n{}", self.log());
        }
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(process.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let _ = process.kill();
        let _ = process.wait();
    }
}
