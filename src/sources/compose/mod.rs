//! A compose file before anything of it runs: its services as the containers that they will be.
//!
//! Read here, and never by `docker compose config`: that is not everywhere, does not say on which line a
//! label stands, and asks for more of the machine than labels need. What this does not read
//! (several files, files elsewhere) that command puts together, and `--compose -` takes it from there.
//! What labels do not need is at most a [`ComposeNote`].
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
mod yaml;

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

/// What has to be done where this does not read on.
const COMPOSE_CONFIG_HINT: &str =
    "let docker compose resolve it: docker compose config | docker-balancer … --compose -";

/// Reads the file (`-`: standard input) and those that it names; `environment` is the shell's.
///
/// # Errors
/// Says the file, and mostly the line.
pub fn read_project(path: &Path, environment: &BTreeMap<String, String>) -> Result<Project> {
    let (name, folder) = match path.to_str() {
        Some("-") => ("(standard input)".to_owned(), PathBuf::from(".")),
        _ => (path.display().to_string(), parent_folder(path)),
    };
    let text = match path.to_str() {
        Some("-") => loader::read_text(io::stdin()),
        _ => File::open(path).and_then(loader::read_text),
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    Project::parse_project(&name, &text, &ReadContext { folder, environment: environment.clone() })
}

fn parent_folder(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// What a file is read with: other files are beside it.
#[derive(Debug, Clone)]
pub struct ReadContext {
    pub folder: PathBuf,
    /// The shell's.
    pub environment: BTreeMap<String, String>,
}
