//! A compose file before anything of it runs: its services as the containers that they will be.
//!
//! Read here, and never by `docker compose config`: that is not everywhere, does not say on which line a
//! label stands, and asks for more of the machine than labels need. What this does not read
//! (`include`, several files) that command puts together, and `--compose -` takes it from there.
//!
//! ```text
//! text ─yaml─▶ nodes ─interpolate, extend─▶ nodes ─service─▶ Service ─planned─▶ Container
//! ```

mod extend;
pub mod interpolate;
pub mod planned;
mod port;
mod project;
mod service;
mod variables;
mod yaml;

#[cfg(test)]
mod tests;

pub use project::Project;
pub use service::{Mode, Service};
pub use yaml::Place;

use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use yaml::Node;

/// What has to be said instead of reading on.
const WAY_OUT: &str =
    "have docker compose put it together: docker compose config | docker-balancer … --compose -";

/// Reads the file (`-`: standard input) and those that it names; `environment` is the shell's.
///
/// # Errors
/// Says the file, and mostly the line.
pub fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Project> {
    let (name, folder) = match path.to_str() {
        Some("-") => ("(standard input)".to_owned(), PathBuf::from(".")),
        _ => (path.display().to_string(), folder(path)),
    };
    let text = match path.to_str() {
        Some("-") => io::read_to_string(io::stdin()),
        _ => fs::read_to_string(path),
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let outside = Outside { folder, environment: environment.clone() };
    Project::read(&name, &text, &outside)
}

fn folder(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// What a file is read with: other files are beside it.
#[derive(Debug, Clone)]
pub struct Outside {
    pub folder: PathBuf,
    /// The shell's.
    pub environment: BTreeMap<String, String>,
}

impl Outside {
    /// `None` where there is none.
    fn file(&self, name: &str) -> Result<Option<String>> {
        let path = self.folder.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The shell's variables, and below them those of `.env`.
    fn variables(&self) -> Result<BTreeMap<String, String>> {
        let Some(text) = self.file(".env")? else { return Ok(self.environment.clone()) };
        let mut all = variables::read(&text, &self.environment)
            .with_context(|| self.folder.join(".env").display().to_string())?;
        all.extend(self.environment.clone());
        Ok(all)
    }
}

/// Parses a file and fills in its variables.
fn parse(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Result<Node> {
    let mut root = yaml::parse(name, text)?;
    if root.get("include").is_some() {
        bail!("{name}: include is not read here; {WAY_OUT}");
    }
    root.texts(&mut |text, place| {
        interpolate::fill(text, variables).map_err(|mistake| anyhow::anyhow!("{place}: {mistake}"))
    })?;
    Ok(root)
}
