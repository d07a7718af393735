//! Notes that are logged once at the start about options without an effect.
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
    /// The base file sets this keyword itself.
    InBaseFile {
        option: &'static str,
        keyword: &'static str,
    },
    MissingOptionsFile(PathBuf),
    /// An environment variable that looks like an option but is not one.
    UnknownVariable {
        name: String,
        near: Option<String>,
    },
    /// A context of the docker command, which this program does not support.
    DockerContext {
        name: String,
        source: &'static str,
    },
    /// `--map-port` maps a port above 1023 to one below 1024.
    ReversedPortMap {
        public: u16,
        ours: u16,
    },
}

impl SettingsNote {
    /// Whether the note also matters to a command that runs once and exits.
    pub fn concerns_commands(&self) -> bool {
        matches!(self, Self::UnknownVariable { .. } | Self::DockerContext { .. })
    }
}

impl fmt::Display for SettingsNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemplatesAreCompiledIn { option } => write!(
                f,
                "{option} is ignored: templates are compiled in; use --base-file FILE for your own \
                 global and defaults sections"
            ),
            Self::OnlyForService { option } => {
                write!(f, "{option} is ignored: it applies only to --haproxy service")
            }
            Self::OnlyForManaged { option } => {
                write!(f, "{option} is ignored: it applies only to --haproxy managed")
            }
            Self::OnlyWith { option, with } => {
                write!(f, "{option} is ignored: it applies only with {with}")
            }
            Self::InBaseFile { option, keyword } => {
                write!(f, "{option} is ignored with --base-file: set {keyword} in that file")
            }
            Self::MissingOptionsFile(path) => {
                write!(f, "--haproxy-options-file: no such file: {}", path.display())
            }
            Self::UnknownVariable { name, near: Some(near) } => {
                write!(
                    f,
                    "{} is not an option and is ignored; did you mean {near}?",
                    EscapedText(name)
                )
            }
            Self::UnknownVariable { name, near: None } => write!(
                f,
                "{} is not an option and is ignored; --help lists all options: --map-port is \
                 DOCKER_GLUE_MAP_PORT",
                EscapedText(name)
            ),
            Self::DockerContext { name, source } => {
                let name = EscapedText(name);
                write!(
                    f,
                    "{source} selects the context {name}, but only the docker command supports \
                     contexts, so the local Docker is used; to use the context, set --docker-url to \
                     the output of: docker context inspect {name} --format \
                     '{{{{.Endpoints.docker.Host}}}}'"
                )
            }
            Self::ReversedPortMap { public, ours } => write!(
                f,
                "--map-port {public}={ours}: HAProxy listens on {ours} for labels with port \
                 {public}; for labels with port {ours} write {ours}={public}, the label's port \
                 first"
            ),
        }
    }
}
