//! The container that something came from, for printing; never parsed.
//!
//! Pure.

use super::container::SOURCE_SEPARATOR;
use std::{borrow::Cow, fmt, sync::Arc};

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

    /// The container's name, with the source if that has a name: `web@node2`. Commands accept this form.
    pub fn qualified_name(&self) -> Cow<'_, str> {
        match self.id.split_once(SOURCE_SEPARATOR) {
            Some((_, source)) => Cow::Owned(format!("{}@{source}", self.name)),
            None => Cow::Borrowed(&self.name),
        }
    }

    /// The container's short id, with the source if that has a name: `0123456789ab.node2`.
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
