//! Names of sources of containers.
//!
//! Pure.

use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

/// The greatest length of a name.
const MAX_LENGTH: usize = 16;

/// The name of a source of containers, such as a Docker engine: 1 to 16 lower-case letters, digits and `_`. The only
/// source of a program has none. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SourceName(Option<Arc<str>>);

/// Why a text is not the name of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name of 1 to {MAX_LENGTH} of the characters a-z, 0-9 and _")]
pub struct SourceNameError(String);

impl SourceName {
    /// The name of the only source.
    pub const NONE: Self = Self(None);

    /// Returns the name; an empty text for the only source.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether this is the only source of the program.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl Default for SourceName {
    fn default() -> Self {
        Self::NONE
    }
}

impl Ord for SourceName {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Some(one), Some(two)) if Arc::ptr_eq(one, two) => Ordering::Equal,
            (one, two) => one.cmp(two),
        }
    }
}

impl PartialOrd for SourceName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<SourceName> for String {
    fn from(name: SourceName) -> Self {
        name.as_str().to_owned()
    }
}

impl TryFrom<String> for SourceName {
    type Error = SourceNameError;

    fn try_from(text: String) -> Result<Self, SourceNameError> {
        text.parse()
    }
}

impl FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, SourceNameError> {
        let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_');
        if text.is_empty() || MAX_LENGTH < text.len() || !text.chars().all(is_allowed) {
            return Err(SourceNameError(text.chars().take(64).collect()));
        }
        Ok(Self(Some(text.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::SourceName;

    #[test]
    fn name_has_few_characters() {
        for (text, is_name) in [
            ("node2", true),
            ("eu_west_1", true),
            ("0123456789abcdef", true),
            ("0123456789abcdefg", false),
            ("", false),
            ("Node2", false),
            ("node-2", false),
            ("node.2", false),
            ("nöde", false),
        ] {
            assert_eq!(text.parse::<SourceName>().is_ok(), is_name, "{text}");
        }
    }

    #[test]
    fn only_source_comes_before_others() {
        let name: SourceName = "a".parse().unwrap();
        assert!(SourceName::NONE < name);
        assert_eq!(SourceName::NONE.as_str(), "");
    }
}
