//! The difference of two files as a patch.
//!
//! Pure. The only file that uses the crate `similar`.

use super::preview::DiskState;
use crate::haproxy::{config::MapName, files::ConfigFiles};
use similar::TextDiff;

/// Context lines around a difference.
const CONTEXT: usize = 3;

/// The patch of one file that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePatch {
    /// The path of the file after the change.
    pub path: String,
    /// A unified diff, with the paths before and after in its header.
    pub diff: String,
}

impl DiskState {
    /// Returns the differences of the configuration and the maps. The other files of a generation (error pages, initial
    /// server states) show only as a change of its name.
    pub(crate) fn diff_files(&self, files: &ConfigFiles) -> Vec<FilePatch> {
        let target = self.target.display().to_string();
        let config = diff_file((&target, self.config.as_deref()), (&target, &files.config));
        let maps = MapName::ALL.iter().filter_map(|map| {
            let name = map.to_string();
            let text = files.generation.files.get(&name)?;
            let generation_path = self.generations.join(&files.generation.name).join(&name);
            let (old, before) = self.files.get(&name).map_or_else(
                || (String::new(), None),
                |(path, text)| (path.display().to_string(), Some(text.as_str())),
            );
            diff_file((&old, before), (&generation_path.display().to_string(), text))
        });
        config.into_iter().chain(maps).collect()
    }
}

/// Returns `None` if both are equal. A file that does not exist yet counts as empty.
fn diff_file(
    (from, before): (&str, Option<&str>),
    (path, after): (&str, &str),
) -> Option<FilePatch> {
    if before.unwrap_or_default() == after {
        return None;
    }
    let from = if before.is_some() { from } else { "/dev/null" };
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after);
    let diff = diff.unified_diff().context_radius(CONTEXT).header(from, path).to_string();
    Some(FilePatch { path: path.to_owned(), diff })
}
