//! docker-glue's options as checked values.

use super::{
    HostEnv, RunMode, SettingsError, SettingsNote, SourceKind, SourceOption, SourceSettings, layer,
    paths, resolve,
};
use crate::{
    model::source_name::SourceName,
    settings::options::glue::{GlueCommand, GlueOptions},
    sources::{
        certificate::ListFile,
        docker::{EngineSettings, swarm},
        registry::RegistrySettings,
    },
    support::log,
};
use anyhow::Result;
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
    /// The sources whose containers handlers see; at least one. Docker engines come first, and of these, those of this
    /// machine.
    pub sources: Vec<GlueSourceSettings>,
    /// `--source`, with the parameters that only docker-balancer reads.
    pub source_options: Vec<SourceOption>,
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

/// A source whose containers handlers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueSourceSettings {
    pub kind: GlueSourceKind,
    /// How the engine is reached, or the managers of the Swarm. Of a registry, the name and the URL count.
    pub engine: EngineSettings,
    /// Where its published ports are: the parameter `host`, else the host of its URL. Empty for a socket, and for sources
    /// of several machines, each of which has an address of its own.
    pub host: String,
    /// Whether it has a name and is reached on another machine.
    pub is_elsewhere: bool,
    /// How long its containers are kept while it does not answer. `None`: until it answers.
    pub forget: Option<Duration>,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlueSourceKind {
    Engine,
    Swarm,
    Registry(Box<RegistrySettings>),
}

impl GlueSourceSettings {
    pub fn name(&self) -> &SourceName {
        &self.engine.source
    }

    pub fn is_engine(&self) -> bool {
        self.kind == GlueSourceKind::Engine
    }

    /// Whether this is how docker-balancer follows a source.
    pub fn follows(&self, other: &SourceSettings) -> bool {
        let is_same = match (&self.kind, other.kind) {
            (GlueSourceKind::Engine, SourceKind::Engine)
            | (GlueSourceKind::Swarm, SourceKind::Swarm) => true,
            (GlueSourceKind::Registry(settings), SourceKind::Registry) => {
                **settings == other.to_registry()
            }
            _ => false,
        };
        is_same && self.engine == other.engine
    }

    /// Why single containers of the source are not notified; `None` if they are.
    pub fn notify_refusal(&self) -> Option<&'static str> {
        match self.kind {
            GlueSourceKind::Engine => None,
            GlueSourceKind::Swarm => Some(
                "a manager notifies no single containers; restart=SERVICE restarts a service, and \
                 the engines of the nodes may be sources, too",
            ),
            GlueSourceKind::Registry(_) => Some(
                "nothing is notified over etcd; the engine of the machine may be a source, too",
            ),
        }
    }

    /// Returns the engines that may be managers of a Swarm.
    pub fn managers(&self) -> Vec<EngineSettings> {
        match self.kind {
            GlueSourceKind::Engine => vec![self.engine.clone()],
            GlueSourceKind::Swarm => swarm::manager_settings(&self.engine),
            GlueSourceKind::Registry(_) => Vec::new(),
        }
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
    /// Returns the engine that handlers use which need only one. `None` if no source is an engine.
    pub fn first_engine(&self) -> Option<&EngineSettings> {
        self.sources.first().filter(|source| source.is_engine()).map(|source| &source.engine)
    }

    /// Returns the source of this name.
    pub fn find_source(&self, name: &str) -> Option<&GlueSourceSettings> {
        self.sources.iter().find(|source| !name.is_empty() && source.name().as_str() == name)
    }

    fn new(options: GlueOptions, machine: HostEnv) -> Result<Self, SettingsError> {
        let sources = glue_sources(&options, &machine).map_err(SettingsError::Invalid)?;
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
            sources,
            source_options: options.source,
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

fn glue_sources(options: &GlueOptions, machine: &HostEnv) -> Result<Vec<GlueSourceSettings>> {
    resolve::check_sources(options.docker_url.as_deref(), &options.source)?;
    if options.source.is_empty() {
        return Ok(vec![GlueSourceSettings {
            kind: GlueSourceKind::Engine,
            engine: resolve::docker_settings(options.docker_url.clone(), machine),
            host: String::new(),
            is_elsewhere: false,
            forget: None,
        }]);
    }
    let sources: Result<Vec<_>> = options.source.iter().map(glue_source).collect();
    let mut sources = sources?;
    sources.sort_by_key(|source| (!source.is_engine(), source.is_elsewhere));
    Ok(sources)
}

fn glue_source(source: &SourceOption) -> Result<GlueSourceSettings> {
    let engine = resolve::engine_settings(source);
    let is_other = |host: Option<String>| host.is_some_and(|host| !is_loopback(&host));
    let (mut host, mut forget) = (String::new(), source.forget);
    let (kind, is_elsewhere) = match source.kind {
        SourceKind::Engine => {
            let url_host = engine.machine()?;
            let given = source.host.map(|host| host.to_string());
            host = given.or_else(|| url_host.clone()).unwrap_or_default();
            (GlueSourceKind::Engine, is_other(url_host))
        }
        SourceKind::Swarm => {
            let managers = swarm::manager_settings(&engine);
            let hosts: Result<Vec<_>> = managers.iter().map(EngineSettings::machine).collect();
            (GlueSourceKind::Swarm, hosts?.into_iter().any(is_other))
        }
        SourceKind::Registry => {
            let registry = RegistrySettings {
                source: source.name.clone(),
                access: source.registry.etcd.clone(),
                prefix: source.registry.prefix.clone(),
                // It is the machines of a registry that are forgotten.
                forget: forget.take(),
                allowed_addresses: source.allow_addresses.clone(),
            };
            (GlueSourceKind::Registry(Box::new(registry)), true)
        }
    };
    Ok(GlueSourceSettings { kind, engine, host, is_elsewhere, forget })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{GlueSettings, GlueTask, HostEnv};
    use crate::settings::{GlueSourceKind, Settings};

    fn settings(sources: &[&str]) -> GlueSettings {
        let options = sources.iter().flat_map(|source| ["--source", source]);
        let args = ["docker-glue"].into_iter().chain(options).chain(["check"]);
        let args: Vec<_> = args.map(Into::into).collect();
        GlueTask::from_args(&args, HostEnv::default()).unwrap().1
    }

    #[test]
    fn engines_of_this_machine_come_first_and_other_kinds_last() {
        for (sources, order, first) in [
            (&["tcp://10.0.0.2?name=far", "unix:///a?name=here"][..], "here far-", "here"),
            (
                &["etcd://10.0.0.2?name=fleet", "swarm+unix:///a?name=own", "tcp://h?name=far"],
                "far- own fleet-",
                "far",
            ),
            (&["swarm+tcp://127.0.0.1,10.0.0.2?name=s", "etcd://127.0.0.1?name=e"], "s- e-", ""),
            (&["swarm+tcp://localhost:2375,127.0.0.1?name=s"], "s", ""),
            (&["swarm+ssh://me@manager?name=s"], "s-", ""),
            (&[], "", ""),
        ] {
            let settings = settings(sources);
            let word =
                |name: &str, is_elsewhere| format!("{name}{}", if is_elsewhere { "-" } else { "" });
            let all = settings.sources.iter();
            let all: Vec<_> =
                all.map(|source| word(source.name().as_str(), source.is_elsewhere)).collect();
            assert_eq!(all.join(" "), order, "{sources:?}");
            let engine = settings.first_engine().map(|engine| engine.source.as_str().to_owned());
            assert_eq!(engine.unwrap_or_default(), first, "{sources:?}");
        }
    }

    #[test]
    fn source_is_followed_for_a_balancer_that_has_the_same() {
        for (source, other, expected) in [
            ("tcp://h?name=a", "tcp://h?name=a&network=web", true),
            ("tcp://h?name=a", "tcp://other?name=a", false),
            ("swarm+tcp://h?name=a", "swarm+tcp://h?name=a&forget=1h", true),
            ("etcd://h?name=a", "etcd://h?name=a&network=web", true),
            ("etcd://h?name=a", "etcd://h/other?name=a", false),
            ("etcd://h?name=a", "etcd://h?name=a&allow_addresses=10.0.0.0/8", false),
        ] {
            let ours = settings(&[source]).sources.remove(0);
            let args = ["docker-balancer", "-w", "--source", other].map(Into::into);
            let balancer = Settings::from_args(&args, &HostEnv::default()).unwrap();
            assert_eq!(ours.follows(&balancer.sources()[0]), expected, "{source} {other}");
        }
        let [registry] = settings(&["etcd://h?name=a&forget=1h"]).sources.try_into().unwrap();
        let GlueSourceKind::Registry(settings) = &registry.kind else { panic!("{registry:?}") };
        assert_eq!(
            (settings.forget.map(|time| time.as_secs()), registry.forget),
            (Some(3600), None)
        );
    }
}
