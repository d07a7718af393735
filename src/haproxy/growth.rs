//! How a route that comes while HAProxy runs gets its backend.
//!
//! Pure. HAProxy 3.4 adds one that inherits all its settings from a named `defaults` section, whatever
//! shape it is of (Management Guide, section 9.3, `add backend`); earlier ones need a stock of spares.

use super::{render::Base, version::Version};

/// The first that adds backends.
const ADDS: Version = Version { major: 3, minor: 4 };
/// The end of a skeleton that says so.
const MARK: &str = " adds-backends";
/// Our own `defaults` section, where it needs a name.
const OWN: &str = "docker-glue";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// It takes a spare one.
    Spares,
    /// One is added; `defaults` is the section that all others inherit from.
    Added { defaults: String },
}

impl Growth {
    /// An administrator's own `defaults` can be inherited from where they have a name.
    pub fn of(version: Version, base: &Base) -> Self {
        let defaults = match base {
            _ if version < ADDS => None,
            Base::BuiltIn { .. } => Some(OWN),
            Base::File { text, .. } => last_defaults(text),
        };
        defaults.map_or(Self::Spares, |name| Self::Added { defaults: name.to_owned() })
    }

    /// Whether the HAProxy that runs with this skeleton adds backends.
    pub fn adds(skeleton: &str) -> bool {
        skeleton.ends_with(MARK)
    }

    pub(super) fn is_added(&self) -> bool {
        *self != Self::Spares
    }

    pub(super) fn mark(&self) -> &'static str {
        if self.is_added() { MARK } else { "" }
    }

    /// Of the section that all others inherit from, with a blank before it; empty where it has none.
    pub(super) fn defaults(&self) -> String {
        match self {
            Self::Spares => String::new(),
            Self::Added { defaults } => format!(" {defaults}"),
        }
    }

    /// What follows the name of a frontend, and of a backend without servers.
    pub(super) fn parent(&self) -> String {
        if self.is_added() { format!(" from{}", self.defaults()) } else { String::new() }
    }
}

/// Sections inherit from the last one before them (configuration manual, section 4).
fn last_defaults(text: &str) -> Option<&str> {
    let words = text.lines().map(|line| line.split_whitespace());
    let mut named = words.filter_map(|mut words| (words.next()? == "defaults").then_some(words));
    named.next_back()?.next().filter(|name| !name.starts_with('#') && *name != "from")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_added_where_there_is_something_to_inherit_from() {
        let file = |text: &str| Base::File { path: "base.cfg".into(), text: text.to_owned() };
        for (version, base, expected) in [
            ((2, 6), Base::BuiltIn { drop_to: None }, ""),
            ((3, 3), Base::BuiltIn { drop_to: None }, ""),
            ((3, 4), Base::BuiltIn { drop_to: None }, " docker-glue"),
            ((4, 0), file("global\ndefaults mine\n  mode http\n"), " mine"),
            ((3, 4), file("defaults a\ndefaults  b # two\nlisten x\n"), " b"),
            ((3, 4), file("defaults a\ndefaults\n"), ""),
            ((3, 4), file("defaults # no name\n"), ""),
            ((3, 4), file("defaults from a\n"), ""),
            ((3, 4), file("global\n"), ""),
        ] {
            let version = Version { major: version.0, minor: version.1 };
            assert_eq!(Growth::of(version, &base).defaults(), expected, "{version} {base:?}");
        }
    }
}
