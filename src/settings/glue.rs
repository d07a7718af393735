//! docker-glue's options as they are meant.

use super::{HostEnv, RunMode, SettingsError, SettingsNote, layer, paths, resolve};
use crate::{
    settings::options::glue::{GlueCommand, GlueOptions},
    sources::docker::EngineSettings,
    support::log,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What docker-glue's command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlueTask {
    Serve(RunMode),
    Run(GlueCommand),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueSettings {
    pub docker: EngineSettings,
    /// Folders of `*.ini` files.
    pub handler_paths: Vec<PathBuf>,
    /// Nobody has named them: those that are not there are passed over.
    pub handler_paths_are_default: bool,
    pub script_paths: Vec<PathBuf>,
    pub plugin_paths: Vec<PathBuf>,
    /// Those of all of these in the folder where we were started, and that nobody has named.
    default_local_folders: Vec<PathBuf>,
    /// `None`: nobody says where, and nothing outlives a restart.
    pub state_dir: Option<PathBuf>,
    pub log: log::Settings,
    pub machine: HostEnv,
    /// To be told once.
    pub notes: Vec<SettingsNote>,
}

impl GlueTask {
    /// From the command line, with the environment and the settings file below it.
    pub fn from_args(
        args: &[OsString],
        machine: HostEnv,
    ) -> Result<(Self, GlueSettings), SettingsError> {
        let (options, verb) = layer::load_options::<GlueOptions>(args, &machine)?;
        let task = match (verb, options.once, options.watch) {
            (Some(verb), ..) => Self::Run(verb),
            (None, true, _) => Self::Serve(RunMode::Once),
            (None, false, true) => Self::Serve(RunMode::Watch),
            (None, false, false) => {
                return Err(SettingsError::nothing_to_do::<GlueOptions>(
                    "run each handler once and exit",
                ));
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
    pub fn check_trusted(&self, folder: &Path) -> Result<(), String> {
        if !self.default_local_folders.iter().any(|local_folders| local_folders == folder) {
            return Ok(());
        }
        let ours = paths::check_owner(folder, (self.machine.uid, nix::unistd::getegid().as_raw()));
        ours.map_err(|why| format!("it is only a default directory, and {why}"))
    }

    /// Those of them that are trusted.
    pub fn trusted_folders(&self, folders: &[PathBuf]) -> Vec<PathBuf> {
        folders.iter().filter(|folder| self.check_trusted(folder).is_ok()).cloned().collect()
    }

    /// What is said of something that is in none of the trusted ones, with why others were not looked at.
    pub fn missing_message(&self, text: String, folders: &[PathBuf]) -> String {
        let untrusted = folders.iter().filter_map(|folder| {
            let why = self.check_trusted(folder).err()?;
            Some(format!("{} is ignored: {why}", folder.display()))
        });
        std::iter::once(text).chain(untrusted).collect::<Vec<_>>().join("; ")
    }
}

impl GlueSettings {
    fn new(options: GlueOptions, machine: HostEnv) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let home = program.parent().map(PathBuf::from).unwrap_or_default();
        let mut local_folders = Vec::new();
        let mut given_or_default = |given: Vec<PathBuf>, defaults: Vec<PathBuf>| {
            if !given.is_empty() {
                return given;
            }
            local_folders.extend(defaults.iter().filter(|folder| folder.starts_with(".")).cloned());
            defaults
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
        let handler_paths = given_or_default(options.handler_paths, handlers);
        let script_paths = given_or_default(options.script_paths, scripts);
        let plugin_paths = given_or_default(options.plugin_paths, plugins);
        Self {
            notes: resolve::host_notes::<GlueOptions>(options.docker_url.as_deref(), &machine),
            docker: resolve::docker_settings(options.docker_url, &machine),
            handler_paths_are_default,
            handler_paths,
            script_paths,
            plugin_paths,
            default_local_folders: local_folders,
            state_dir: options.state_dir.or_else(|| paths::default_state_dir(&machine).ok()),
            log: log::Settings {
                format: options.log_format,
                filter: resolve::log_filter(options.verbose, options.quiet, &machine),
            },
            machine,
        }
    }
}
