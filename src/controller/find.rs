//! Finds the container that a request names: by its name, its id, or the beginning of its id, each with `@SOURCE` or
//! without.
//!
//! Pure.

use super::control_error::ApiError;
use crate::{
    model::{container::Container, source_name::SourceName},
    support::suggest::suggest,
};

/// Returns the container. An exact name or id wins, if only one source has it; otherwise exactly one id may begin with
/// the text.
pub fn find_container<'a>(
    containers: impl Iterator<Item = &'a Container> + Clone,
    text: &str,
) -> Result<&'a Container, ApiError> {
    let (text, source) = match text.rsplit_once('@') {
        Some((text, source)) => (text, source.parse::<SourceName>().ok()),
        None => (text, None),
    };
    let containers = containers
        .filter(move |one| source.as_ref().is_none_or(|source| one.id.source() == source));
    let name = text.strip_prefix('/').unwrap_or(text);
    let is_exact = |container: &&Container| container.name == name || container.id.as_str() == text;
    match containers.clone().filter(is_exact).collect::<Vec<_>>()[..] {
        [] => {}
        [exact] => return Ok(exact),
        ref several => {
            let with_source = |one: &&Container| format!("{}@{}", one.name, one.id.source());
            return Err(ApiError::SeveralSources {
                text: text.to_owned(),
                names: several.iter().map(with_source).collect(),
            });
        }
    }
    let begins =
        |container: &&Container| !text.is_empty() && container.id.as_str().starts_with(text);
    match containers.clone().filter(begins).collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        [] => Err(ApiError::UnknownContainer {
            text: text.to_owned(),
            nearest: suggest(name, containers.map(|container| &container.name)).cloned(),
        }),
        ref several => Err(ApiError::AmbiguousContainer {
            text: text.to_owned(),
            names: several
                .iter()
                .map(|container| format!("{} ({})", container.name, container.id))
                .collect(),
        }),
    }
}
