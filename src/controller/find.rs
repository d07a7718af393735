//! Finds the container that a request names: by its name, its id, or the beginning of its id.
//!
//! Pure.

use super::control_error::ApiError;
use crate::{model::container::Container, support::suggest::suggest};

/// Returns the container. An exact name or id wins; otherwise exactly one id may begin with the
/// text.
pub fn find_container<'a>(
    containers: impl Iterator<Item = &'a Container> + Clone,
    text: &str,
) -> Result<&'a Container, ApiError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    if let Some(exact) =
        containers.clone().find(|container| container.name == name || container.id.as_str() == text)
    {
        return Ok(exact);
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
