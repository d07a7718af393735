//! How a route that appears while HAProxy runs gets its backend.
//!
//! Pure. HAProxy 3.4 can add a backend of any shape, which inherits all its settings from a named `defaults` section
//! (Management Guide, section 9.3, `add backend`). Earlier versions need a stock of spare backends.

use super::{render::BaseConfig, version::Version};

/// The first version that can add backends.
const MIN_DYNAMIC_VERSION: Version = Version { major: 3, minor: 4 };
/// The suffix of a fingerprint of a worker that can add backends.
const DYNAMIC_MARK: &str = " adds-backends";
/// The name of the generated `defaults` section, where it needs one.
const DEFAULTS_NAME: &str = "docker-glue";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioning {
    /// The route takes a spare backend.
    Spares,
    /// A backend is added; `defaults` is the section that all others inherit from.
    Dynamic { defaults: String },
}

impl Provisioning {
    /// Backends can inherit from an administrator's own `defaults` section only if it has a name.
    pub fn for_version(version: Version, base: &BaseConfig) -> Self {
        let defaults = match base {
            _ if version < MIN_DYNAMIC_VERSION => None,
            BaseConfig::BuiltIn { .. } => Some(DEFAULTS_NAME),
            BaseConfig::File { text, .. } => last_defaults_name(text),
        };
        defaults.map_or(Self::Spares, |name| Self::Dynamic { defaults: name.to_owned() })
    }

    /// Whether the HAProxy that runs with this fingerprint can add backends.
    pub fn is_dynamic_worker(fingerprint: &str) -> bool {
        fingerprint.ends_with(DYNAMIC_MARK)
    }

    pub(super) fn is_dynamic(&self) -> bool {
        *self != Self::Spares
    }

    pub(super) fn fingerprint_suffix(&self) -> &'static str {
        if self.is_dynamic() { DYNAMIC_MARK } else { "" }
    }

    /// Returns the name of the `defaults` section that all others inherit from, after a space; empty if it has no name.
    pub(super) fn defaults(&self) -> String {
        match self {
            Self::Spares => String::new(),
            Self::Dynamic { defaults } => format!(" {defaults}"),
        }
    }

    /// Returns what follows the name of a frontend, and of a backend without servers.
    pub(super) fn parent(&self) -> String {
        if self.is_dynamic() { format!(" from{}", self.defaults()) } else { String::new() }
    }
}

/// A section inherits from the last `defaults` section before it (Configuration Manual, section 4).
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
