//! docker-glue's options as checked values.

use super::{
    HostEnv, RunMode, SettingsError, SettingsNote, SourceKind, SourceOption, layer, paths, resolve,
};
use crate::{
    model::source_name::SourceName,
    settings::options::glue::{GlueCommand, GlueOptions},
    sources::{certificate::ListFile, docker::EngineSettings},
    support::log,
};
use anyhow::{Result, bail};
use std::{
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the command line of docker-glue requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlueTask {
    Serve(RunMode),
    Run(GlueCommand),
}

#[derive(Debug, Clone, PartialEq)]
pub struct GlueSettings {
    /// The engines whose containers handlers see; at least one. The first one is on this machine, if one is.
    pub engines: Vec<GlueEngineSettings>,
    /// `--source`, with the parameters that only docker-balancer reads.
    pub sources: Vec<SourceOption>,
    /// Folders of `*.ini` files.
    pub handler_paths: Vec<PathBuf>,
    /// Whether no path was given: default folders that do not exist are skipped without a report.
    pub handler_paths_are_default: bool,
    pub script_paths: Vec<PathBuf>,
    pub plugin_paths: Vec<PathBuf>,
    /// The default folders of all kinds that are in the current directory.
    default_local_folders: Vec<PathBuf>,
    /// `None` if no directory is given or can be derived: no state is kept across restarts.
    pub state_dir: Option<PathBuf>,
    /// docker-balancer's list of certificates. In its default place, it has to belong to this user or root.
    pub certificate_list: ListFile,
    pub log: log::Settings,
    pub machine: HostEnv,
    /// Notes to log once at the start.
    pub notes: Vec<SettingsNote>,
}

/// An engine whose containers handlers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueEngineSettings {
    pub engine: EngineSettings,
    /// Where its published ports are: the parameter `host`, else the host of its URL. Empty for a socket.
    pub host: String,
    /// Whether it is an engine with a name on another machine.
    pub is_elsewhere: bool,
    /// How long its containers are kept while it does not answer. `None`: until it answers.
    pub forget: Option<Duration>,
}

impl GlueEngineSettings {
    pub fn name(&self) -> &SourceName {
        &self.engine.source
    }
}

impl GlueTask {
    /// Reads the command line, then the environment, then the settings file; the earlier one wins.
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
        Ok((task, GlueSettings::new(options, machine)?))
    }
}

impl GlueSettings {
    /// Checks whether code from a folder may be run. Any user may have created a folder in the current directory, in
    /// order to have root run its content. Such a default folder is trusted only if it belongs to this user or root
    /// and no other user can write to it.
    ///
    /// # Errors
    /// The reason why the folder is not trusted.
    pub fn check_trusted(&self, folder: &Path) -> Result<(), String> {
        if !self.default_local_folders.iter().any(|local_folders| local_folders == folder) {
            return Ok(());
        }
        let ours = paths::check_owner(folder, (self.machine.uid, nix::unistd::getegid().as_raw()));
        ours.map_err(|why| format!("it is only a default directory, and {why}"))
    }

    /// Returns the folders that are trusted.
    pub fn trusted_folders(&self, folders: &[PathBuf]) -> Vec<PathBuf> {
        folders.iter().filter(|folder| self.check_trusted(folder).is_ok()).cloned().collect()
    }

    /// Returns the message for something that is in none of the trusted folders, with the reasons why others were
    /// ignored.
    pub fn missing_message(&self, text: String, folders: &[PathBuf]) -> String {
        let untrusted = folders.iter().filter_map(|folder| {
            let why = self.check_trusted(folder).err()?;
            Some(format!("{} is ignored: {why}", folder.display()))
        });
        std::iter::once(text).chain(untrusted).collect::<Vec<_>>().join("; ")
    }
}

impl GlueSettings {
    /// Returns the engine that handlers use which need only one.
    pub fn first_engine(&self) -> &EngineSettings {
        &self.engines[0].engine
    }

    fn new(options: GlueOptions, machine: HostEnv) -> Result<Self, SettingsError> {
        let engines = glue_engines(&options, &machine).map_err(SettingsError::Invalid)?;
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
        let notes = if options.source.is_empty() {
            resolve::host_notes::<GlueOptions>(options.docker_url.as_deref(), &machine)
        } else {
            Vec::new()
        };
        Ok(Self {
            notes,
            engines,
            sources: options.source,
            handler_paths_are_default,
            handler_paths,
            script_paths,
            plugin_paths,
            default_local_folders: local_folders,
            state_dir: options
                .state_dir
                .or_else(|| paths::default_handlers_state_dir(&machine).ok()),
            certificate_list: match options.certificate_list {
                Some(path) => ListFile { path, owner: None },
                None => ListFile {
                    path: paths::default_certificate_list(&paths::default_runtime_dir(&machine)),
                    owner: Some(machine.uid),
                },
            },
            log: log::Settings {
                format: options.log_format,
                filter: resolve::log_filter(options.verbose, options.quiet, &machine),
            },
            machine,
        })
    }
}

/// Returns the engines of the options. Sources of other kinds are for docker-balancer, which reads the same settings
/// file.
fn glue_engines(options: &GlueOptions, machine: &HostEnv) -> Result<Vec<GlueEngineSettings>> {
    resolve::check_sources(options.docker_url.as_deref(), &options.source)?;
    if options.source.is_empty() {
        let engine = resolve::docker_settings(options.docker_url.clone(), machine);
        let (host, is_elsewhere, forget) = (String::new(), false, None);
        return Ok(vec![GlueEngineSettings { engine, host, is_elsewhere, forget }]);
    }
    let engines = options.source.iter().filter(|source| source.kind == SourceKind::Engine);
    let engines: Result<Vec<_>> = engines.map(glue_engine).collect();
    let mut engines = engines?;
    if engines.is_empty() {
        bail!("--source: docker-glue needs at least one Docker engine");
    }
    engines.sort_by_key(|engine| engine.is_elsewhere);
    Ok(engines)
}

fn glue_engine(source: &SourceOption) -> Result<GlueEngineSettings> {
    let engine = resolve::engine_settings(source);
    let url_host = engine.machine()?;
    let is_elsewhere = url_host.as_deref().is_some_and(|host| !is_loopback(host));
    let host = source.host.map(|host| host.to_string()).or(url_host).unwrap_or_default();
    Ok(GlueEngineSettings { engine, host, is_elsewhere, forget: source.forget })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
