//! The difference of two files as a patch.
//!
//! Pure. The only file that names similar.

use super::outlook::Disk;
use crate::haproxy::{config::MapName, files::Files};
use similar::TextDiff;

/// Lines around a difference.
const CONTEXT: usize = 3;

/// One file that would be another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Its place afterwards.
    pub path: String,
    /// Unified, with the places before and after in its head.
    pub diff: String,
}

impl Disk {
    /// What of the configuration and the maps would be different. The other files of a generation
    /// (error pages, states that servers begin with) show in its name.
    pub(super) fn patches(&self, files: &Files) -> Vec<Patch> {
        let target = self.target.display().to_string();
        let config = patch((&target, self.config.as_deref()), (&target, &files.config));
        let maps = MapName::ALL.iter().filter_map(|map| {
            let name = map.to_string();
            let text = files.generation.files.get(&name)?;
            let place = self.generations.join(&files.generation.name).join(&name);
            let (old, before) = self.files.get(&name).map_or_else(
                || (String::new(), None),
                |(path, text)| (path.display().to_string(), Some(text.as_str())),
            );
            patch((&old, before), (&place.display().to_string(), text))
        });
        config.into_iter().chain(maps).collect()
    }
}

/// `None` where both are the same; a file that is not there yet is empty.
fn patch((from, before): (&str, Option<&str>), (path, after): (&str, &str)) -> Option<Patch> {
    if before.unwrap_or_default() == after {
        return None;
    }
    let from = if before.is_some() { from } else { "/dev/null" };
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after);
    let diff = diff.unified_diff().context_radius(CONTEXT).header(from, path).to_string();
    Some(Patch { path: path.to_owned(), diff })
}
