//! What is told once at the start about options that do nothing here.
//!
//! Pure.

use crate::support::escape::EscapedText;
use std::{fmt, path::PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsNote {
    TemplatesAreCompiledIn {
        option: &'static str,
    },
    OnlyForService {
        option: &'static str,
    },
    OnlyForManaged {
        option: &'static str,
    },
    OnlyWith {
        option: &'static str,
        with: &'static str,
    },
    MissingOptionsFile(PathBuf),
    /// Of the environment: it looks like an option, and is none.
    UnknownVariable {
        name: String,
        near: Option<String>,
    },
    /// A context of the docker command, which is not read here.
    DockerContext {
        name: String,
        source: &'static str,
    },
    /// `--map-port` moves a port above 1023 to one below.
    ReversedPortMap {
        public: u16,
        ours: u16,
    },
}

impl SettingsNote {
    /// Whether it matters to a command, which does one thing and ends, as well.
    pub fn concerns_commands(&self) -> bool {
        matches!(self, Self::UnknownVariable { .. } | Self::DockerContext { .. })
    }
}

impl fmt::Display for SettingsNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemplatesAreCompiledIn { option } => write!(
                f,
                "{option} does nothing: templates are compiled in; \
                 --base-file FILE puts your own global and defaults sections in place of the built-in ones"
            ),
            Self::OnlyForService { option } => {
                write!(f, "{option} does nothing: it is for --haproxy service")
            }
            Self::OnlyForManaged { option } => {
                write!(f, "{option} does nothing: it is for --haproxy managed")
            }
            Self::OnlyWith { option, with } => {
                write!(f, "{option} does nothing: it goes with {with}")
            }
            Self::MissingOptionsFile(path) => write!(f, "--rc: there is no {}", path.display()),
            Self::UnknownVariable { name, near: Some(near) } => {
                let name = EscapedText(name);
                write!(f, "{name} is no option, and not read; did you mean {near}?")
            }
            Self::UnknownVariable { name, near: None } => write!(
                f,
                "{} is no option, and not read; --help lists those there are: --map-port is DOCKER_GLUE_MAP_PORT",
                EscapedText(name)
            ),
            Self::DockerContext { name, source: said_by } => {
                let name = EscapedText(name);
                write!(
                    f,
                    "{said_by} names the context {name}, and contexts are the docker command's: the Docker here is \
                     asked; for that one give --docker-url what this prints: \
                     docker context inspect {name} --format '{{{{.Endpoints.docker.Host}}}}'"
                )
            }
            Self::ReversedPortMap { public, ours } => write!(
                f,
                "--map-port {public}={ours}: HAProxy listens on {ours} for labels that say {public}; for labels \
                 that say {ours} it is {ours}={public}, the label's port first"
            ),
        }
    }
}
