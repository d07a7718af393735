//! docker-glue's options as they are meant.

use super::{Command, DockerAccess, Log, Machine, Note, Refusal, layer, meaning, place};
use crate::cli::glue::{Options, Verb};
use std::{ffi::OsString, path::PathBuf};

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
    /// `None`: nobody says where, and nothing outlives a restart.
    pub state_dir: Option<PathBuf>,
    pub log: Log,
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
    fn new(options: Options, machine: Machine) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let home = program.parent().map(PathBuf::from).unwrap_or_default();
        let or =
            |given: Vec<PathBuf>, known: Vec<PathBuf>| if given.is_empty() { known } else { given };
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
        Self {
            notes: meaning::of_machine::<Options>(options.docker_url.as_deref(), &machine),
            docker: DockerAccess::new(options.docker_url, &machine),
            handler_paths_are_default: options.handler_paths.is_empty(),
            handler_paths: or(options.handler_paths, handlers),
            script_paths: or(options.script_paths, scripts),
            plugin_paths: or(options.plugin_paths, plugins),
            state_dir: options.state_dir.or_else(|| place::state(&machine).ok()),
            log: Log {
                format: options.log_format,
                filter: meaning::filter(options.verbose, options.quiet, &machine),
            },
            machine,
        }
    }
}
