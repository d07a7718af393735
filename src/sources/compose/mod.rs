//! Reads a compose file before any of it runs: its services as the containers that they will become.
//!
//! The file is parsed here and not by `docker compose config`: that command is not installed everywhere, does not
//! report the line of a label, and requires more of the machine than labels do. What this parser does not read (several
//! files, remote files) can be resolved by that command and passed to `--compose -`. Problems in parts of the file that
//! labels do not need produce at most a [`ComposeNote`].
//!
//! ```text
//! text ─yaml─▶ nodes ─interpolate, include, extend─▶ nodes ─service─▶ Service ─planned─▶ Container
//! ```

mod extend;
pub mod interpolate;
mod loader;
pub mod note;
pub mod planned_container;
mod port;
mod project;
mod service;
mod variables;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

pub use note::ComposeNote;
pub use project::Project;
pub use service::{Service, ServiceNetwork};
pub use yaml::Position;

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// What the user can do when this parser does not read a file.
const COMPOSE_CONFIG_HINT: &str =
    "let docker compose resolve it: docker compose config | docker-balancer … --compose -";

/// How a file is deployed, which decides who gets the labels under `deploy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deployment {
    /// By `docker compose`, which gives them to nobody.
    #[default]
    Compose,
    /// By `docker stack deploy`. They are the labels of services, which are laid over those of the containers.
    Swarm,
}

/// What happens to the variables in labels and in the environment of services. All others are filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VariableMode {
    /// They are filled in, as compose does.
    #[default]
    Fill,
    /// They stay as written, and so does `$$`. What is read from other files, where a dollar is literal, is written so.
    Keep,
}

/// Reads the file (`-`: standard input) and the files that it refers to; `environment` is the shell's.
///
/// # Errors
/// The error names the file and usually the line.
pub fn read_project(
    path: &Path,
    environment: &BTreeMap<String, String>,
    deployment: Deployment,
) -> Result<Project> {
    read_project_with(path, environment, deployment, VariableMode::Fill)
}

/// Like [`read_project`], with a choice for the variables.
///
/// # Errors
/// As those of [`read_project`].
pub fn read_project_with(
    path: &Path,
    environment: &BTreeMap<String, String>,
    deployment: Deployment,
    variables: VariableMode,
) -> Result<Project> {
    let (name, folder) = match path.to_str() {
        Some("-") => ("(standard input)".to_owned(), PathBuf::from(".")),
        _ => (path.display().to_string(), parent_folder(path)),
    };
    let text = match path.to_str() {
        Some("-") => loader::read_text(io::stdin()),
        _ => File::open(path).and_then(loader::read_text),
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let environment = environment.clone();
    Project::parse_project(
        &name,
        &text,
        &ReadContext { folder, environment, deployment, variables },
    )
}

fn parent_folder(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Context that a file is read with: the folder of other files, and the shell's variables.
#[derive(Debug, Clone)]
pub struct ReadContext {
    pub folder: PathBuf,
    /// The shell's environment.
    pub environment: BTreeMap<String, String>,
    pub deployment: Deployment,
    pub variables: VariableMode,
}
