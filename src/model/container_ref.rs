//! The container that something came from, for printing; never parsed.
//!
//! Pure.

use std::{fmt, sync::Arc};

/// The container that requested something, in a form that is safe to print anywhere: only letters, digits and `_ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerRef {
    name: Arc<str>,
    id: Arc<str>,
}

impl ContainerRef {
    pub fn new(name: &str, id: &str) -> Self {
        Self { name: sanitize_text(name).into(), id: sanitize_text(id).into() }
    }

    /// The container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The container's short id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// Replaces other characters than those that Docker allows in names; another source or a modified engine may allow
/// more.
fn sanitize_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.chars().take(128).map(|c| if plain(c) { c } else { '_' }).collect()
}
