//! Which container somebody means: a name, or an id or the beginning of it.
//!
//! Pure.

use super::failure::Failure;
use crate::container::Container;

/// A name is exact and wins; one id may begin so.
pub fn find<'a>(
    containers: impl Iterator<Item = &'a Container> + Clone,
    text: &str,
) -> Result<&'a Container, Failure> {
    let name = text.strip_prefix('/').unwrap_or(text);
    if let Some(exact) = containers.clone().find(|it| it.name == name || it.id.as_str() == text) {
        return Ok(exact);
    }
    let begins = |it: &&Container| !text.is_empty() && it.id.as_str().starts_with(text);
    match containers.clone().filter(begins).collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        [] => Err(Failure::Unknown { text: text.to_owned(), nearest: nearest(containers, name) }),
        ref several => Err(Failure::Ambiguous {
            text: text.to_owned(),
            names: several.iter().map(|it| format!("{} ({})", it.name, it.id)).collect(),
        }),
    }
}

fn nearest<'a>(containers: impl Iterator<Item = &'a Container>, name: &str) -> Option<String> {
    let likeness = |it: &'a Container| (strsim::jaro_winkler(&it.name, name), &it.name);
    let near = containers.map(likeness).filter(|(likeness, _)| 0.8 < *likeness);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name.clone())
}
