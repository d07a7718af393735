//! How a route that comes while HAProxy runs gets its backend.
//!
//! Pure. HAProxy 3.4 adds one that inherits all its settings from a named `defaults` section, whatever
//! shape it is of (Management Guide, section 9.3, `add backend`); earlier ones need a stock of spares.

use super::{render::BaseConfig, version::Version};

/// The first that adds backends.
const MIN_DYNAMIC_VERSION: Version = Version { major: 3, minor: 4 };
/// The end of a skeleton that says so.
const DYNAMIC_MARK: &str = " adds-backends";
/// Our own `defaults` section, where it needs a name.
const DEFAULTS_NAME: &str = "docker-glue";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioning {
    /// It takes a spare one.
    Spares,
    /// One is added; `defaults` is the section that all others inherit from.
    Dynamic { defaults: String },
}

impl Provisioning {
    /// An administrator's own `defaults` can be inherited from where they have a name.
    pub fn for_version(version: Version, base: &BaseConfig) -> Self {
        let defaults = match base {
            _ if version < MIN_DYNAMIC_VERSION => None,
            BaseConfig::BuiltIn { .. } => Some(DEFAULTS_NAME),
            BaseConfig::File { text, .. } => last_defaults_name(text),
        };
        defaults.map_or(Self::Spares, |name| Self::Dynamic { defaults: name.to_owned() })
    }

    /// Whether the HAProxy that runs with this skeleton adds backends.
    pub fn is_dynamic_worker(fingerprint: &str) -> bool {
        fingerprint.ends_with(DYNAMIC_MARK)
    }

    pub(super) fn is_dynamic(&self) -> bool {
        *self != Self::Spares
    }

    pub(super) fn fingerprint_suffix(&self) -> &'static str {
        if self.is_dynamic() { DYNAMIC_MARK } else { "" }
    }

    /// Of the section that all others inherit from, with a blank before it; empty where it has none.
    pub(super) fn defaults(&self) -> String {
        match self {
            Self::Spares => String::new(),
            Self::Dynamic { defaults } => format!(" {defaults}"),
        }
    }

    /// What follows the name of a frontend, and of a backend without servers.
    pub(super) fn parent(&self) -> String {
        if self.is_dynamic() { format!(" from{}", self.defaults()) } else { String::new() }
    }
}

/// Sections inherit from the last one before them (configuration manual, section 4).
fn last_defaults_name(text: &str) -> Option<&str> {
    let words = text.lines().map(|line| line.split_whitespace());
    let mut named = words.filter_map(|mut words| (words.next()? == "defaults").then_some(words));
    named.next_back()?.next().filter(|name| !name.starts_with('#') && *name != "from")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_dynamic_from_3_4_with_named_defaults() {
        let file = |text: &str| BaseConfig::File { path: "base.cfg".into(), text: text.to_owned() };
        for (version, base, expected) in [
            ((2, 6), BaseConfig::BuiltIn { drop_to: None }, ""),
            ((3, 3), BaseConfig::BuiltIn { drop_to: None }, ""),
            ((3, 4), BaseConfig::BuiltIn { drop_to: None }, " docker-glue"),
            ((4, 0), file("global\ndefaults mine\n  mode http\n"), " mine"),
            ((3, 4), file("defaults a\ndefaults  b # two\nlisten x\n"), " b"),
            ((3, 4), file("defaults a\ndefaults\n"), ""),
            ((3, 4), file("defaults # no name\n"), ""),
            ((3, 4), file("defaults from a\n"), ""),
            ((3, 4), file("global\n"), ""),
        ] {
            let version = Version { major: version.0, minor: version.1 };
            assert_eq!(
                Provisioning::for_version(version, &base).defaults(),
                expected,
                "{version} {base:?}"
            );
        }
    }
}
