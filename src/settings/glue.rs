//! docker-glue's options as they are meant.

use super::{Command, DockerAccess, Machine, Note, Refusal, layer, meaning, place};
use crate::{
    cli::glue::{Options, Verb},
    log,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What docker-glue's command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlueTask {
    Serve(Command),
    Run(Verb),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueSettings {
    pub docker: DockerAccess,
    /// Folders of `*.ini` files.
    pub handler_paths: Vec<PathBuf>,
    /// Nobody has named them: those that are not there are passed over.
    pub handler_paths_are_default: bool,
    pub script_paths: Vec<PathBuf>,
    pub plugin_paths: Vec<PathBuf>,
    /// Those of all of these in the folder where we were started, and that nobody has named.
    here: Vec<PathBuf>,
    /// `None`: nobody says where, and nothing outlives a restart.
    pub state_dir: Option<PathBuf>,
    pub log: log::Settings,
    pub machine: Machine,
    /// To be told once.
    pub notes: Vec<Note>,
}

impl GlueTask {
    /// From the command line, with the environment and the settings file below it.
    pub fn read(args: &[OsString], machine: Machine) -> Result<(Self, GlueSettings), Refusal> {
        let (options, verb) = layer::options::<Options>(args, &machine)?;
        let task = match (verb, options.once, options.watch) {
            (Some(verb), ..) => Self::Run(verb),
            (None, true, _) => Self::Serve(Command::Once),
            (None, false, true) => Self::Serve(Command::Watch),
            (None, false, false) => {
                return Err(Refusal::nothing_to_do::<Options>("run each handler once and exit"));
            }
        };
        Ok((task, GlueSettings::new(options, machine)))
    }
}

impl GlueSettings {
    /// Whether code is taken from a folder. What is in the folder where we were started may be anybody's, who then waits for root to
    /// come by: unless it was named, it counts where it is ours and nobody else may write to it.
    ///
    /// # Errors
    /// Why not.
    pub fn trusts(&self, folder: &Path) -> Result<(), String> {
        if !self.here.iter().any(|here| here == folder) {
            return Ok(());
        }
        let ours = place::is_ours(folder, (self.machine.uid, nix::unistd::getegid().as_raw()));
        ours.map_err(|why| format!("nobody has named it, and {why}"))
    }

    /// Those of them that are trusted.
    pub fn trusted(&self, folders: &[PathBuf]) -> Vec<PathBuf> {
        folders.iter().filter(|folder| self.trusts(folder).is_ok()).cloned().collect()
    }

    /// What is said of something that is in none of the trusted ones, with why others were not looked at.
    pub fn absent(&self, text: String, folders: &[PathBuf]) -> String {
        let passed_over = folders.iter().filter_map(|folder| {
            let why = self.trusts(folder).err()?;
            Some(format!("{} is passed over: {why}", folder.display()))
        });
        std::iter::once(text).chain(passed_over).collect::<Vec<_>>().join("; ")
    }
}

impl GlueSettings {
    fn new(options: Options, machine: Machine) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let home = program.parent().map(PathBuf::from).unwrap_or_default();
        let mut here = Vec::new();
        let mut or = |given: Vec<PathBuf>, known: Vec<PathBuf>| {
            if !given.is_empty() {
                return given;
            }
            here.extend(known.iter().filter(|folder| folder.starts_with(".")).cloned());
            known
        };
        let handlers = [home.join("../etc"), home.join("../../etc"), "/etc".into(), ".".into()];
        let handlers = handlers.into_iter().map(|folder| folder.join("docker-glue.d"));
        let handlers = handlers.chain(["/etc/docker-glue/docker-glue.d".into()]).collect();
        let scripts = vec![
            home.join("../libexec/docker-glue"),
            home.join("../../libexec/docker-glue"),
            "/usr/libexec/docker-glue".into(),
            "./handler-scripts".into(),
        ];
        let plugins = vec!["/usr/lib/docker-glue/plugins".into(), "./plugins".into()];
        let handler_paths_are_default = options.handler_paths.is_empty();
        let handler_paths = or(options.handler_paths, handlers);
        let script_paths = or(options.script_paths, scripts);
        let plugin_paths = or(options.plugin_paths, plugins);
        Self {
            notes: meaning::of_machine::<Options>(options.docker_url.as_deref(), &machine),
            docker: DockerAccess::new(options.docker_url, &machine),
            handler_paths_are_default,
            handler_paths,
            script_paths,
            plugin_paths,
            here,
            state_dir: options.state_dir.or_else(|| place::state(&machine).ok()),
            log: log::Settings {
                format: options.log_format,
                filter: meaning::filter(options.verbose, options.quiet, &machine),
            },
            machine,
        }
    }
}
