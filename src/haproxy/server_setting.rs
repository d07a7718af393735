//! Table of the numbers that HAProxy keeps for a server: how each is written, read back and changed.
//!
//! Pure. A label option that is such a number needs a variant and a row here, and nothing else in `haproxy/`.

use crate::model::label_option::{LabelOption, OptionValues};
use std::fmt;

/// A number of a server that can be changed while HAProxy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerSetting {
    Weight,
    Maxconn,
}

/// Row of the table.
#[derive(Debug)]
pub struct SettingSpec {
    pub setting: ServerSetting,
    /// Option with the value. Its number in JSON is HAProxy's number.
    pub option: LabelOption,
    /// Keyword on a `server` line and in `add server`.
    pub keyword: &'static str,
    /// Value that HAProxy uses without the keyword. `None` if the keyword is always written.
    pub omitted: Option<u32>,
    pub source: SettingSource,
    /// Writes the command that changes the value of `BACKEND/NAME`.
    pub command: fn(&mut fmt::Formatter<'_>, &str, u32) -> fmt::Result,
    /// Kind of the command in metrics.
    pub command_kind: &'static str,
}

/// Answer of HAProxy that has the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingSource {
    /// Column of `show servers state` (Management Guide, section 9.3).
    State(usize),
    /// Column of `show stat`, by name (Management Guide, section 9.1).
    Statistics(&'static str),
}

/// All settings, in the order of [`ServerSetting`].
pub const SETTINGS: [SettingSpec; 2] = [
    SettingSpec {
        setting: ServerSetting::Weight,
        option: LabelOption::Weight,
        keyword: "weight",
        omitted: None,
        source: SettingSource::State(7),
        command: |f, server, value| write!(f, "set server {server} weight {value}"),
        command_kind: "set_weight",
    },
    SettingSpec {
        setting: ServerSetting::Maxconn,
        option: LabelOption::Maxconn,
        keyword: "maxconn",
        omitted: Some(0),
        source: SettingSource::Statistics("slim"),
        command: |f, server, value| write!(f, "set maxconn server {server} {value}"),
        command_kind: "set_maxconn",
    },
];

/// Values of a server's settings, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerSettings([u32; SETTINGS.len()]);

impl ServerSetting {
    /// Returns the setting's row.
    pub fn spec(self) -> &'static SettingSpec {
        const { &SETTINGS }.get(self as usize).expect("each setting has a row")
    }

    /// Iterates over the settings that are read from `show stat`, with the names of their columns.
    pub fn of_statistics() -> impl Iterator<Item = (Self, &'static str)> {
        const { &SETTINGS }.iter().filter_map(|spec| match spec.source {
            SettingSource::State(_) => None,
            SettingSource::Statistics(column) => Some((spec.setting, column)),
        })
    }
}

impl ServerSettings {
    pub fn from_options(options: &OptionValues) -> Self {
        let number = |spec: &SettingSpec| {
            let value = options.value(spec.option)?.to_json().as_u64()?;
            u32::try_from(value).ok()
        };
        Self(SETTINGS.each_ref().map(|spec| number(spec).unwrap_or_default()))
    }

    /// Returns the options with these values. `None` if a value is not one that a label can have.
    pub fn to_options(self) -> Option<OptionValues> {
        let mut options = OptionValues::default();
        for (spec, value) in SETTINGS.iter().zip(self.0) {
            if spec.omitted != Some(value) {
                options.set(spec.option.parse_json(&value.into())?);
            }
        }
        Some(options)
    }

    /// Parses the words that follow the address on a `server` line.
    pub fn parse_line(words: &[&str]) -> Option<Self> {
        Self::parse(|spec| match words.iter().skip_while(|word| **word != spec.keyword).nth(1) {
            Some(word) => word.parse().ok(),
            None => spec.omitted,
        })
    }

    /// Parses a line of `show servers state`. Settings of `show stat` are as without their keyword.
    pub fn parse_state(columns: &[&str]) -> Option<Self> {
        Self::parse(|spec| match spec.source {
            SettingSource::State(column) => columns.get(column)?.parse().ok(),
            SettingSource::Statistics(_) => Some(spec.omitted.unwrap_or_default()),
        })
    }

    fn parse(number: impl Fn(&SettingSpec) -> Option<u32>) -> Option<Self> {
        let mut settings = Self::default();
        for (spec, value) in SETTINGS.iter().zip(&mut settings.0) {
            *value = number(spec)?;
        }
        Some(settings)
    }

    pub fn get(&self, setting: ServerSetting) -> u32 {
        self.0[setting as usize]
    }

    pub fn set(&mut self, setting: ServerSetting, value: u32) {
        self.0[setting as usize] = value;
    }

    /// Iterates over the settings that differ from `desired`, with the desired values.
    pub fn changes_to(self, desired: Self) -> impl Iterator<Item = (ServerSetting, u32)> {
        let rows = const { &SETTINGS }.iter().zip(self.0.into_iter().zip(desired.0));
        rows.filter(|(_, (value, desired))| value != desired)
            .map(|(spec, (_, desired))| (spec.setting, desired))
    }

    /// Whether a setting of `show stat` has a value.
    pub fn needs_statistics(self) -> bool {
        ServerSetting::of_statistics()
            .any(|(setting, _)| setting.spec().omitted != Some(self.get(setting)))
    }
}

/// Settings of a server whose container has no labels for them.
impl Default for ServerSettings {
    fn default() -> Self {
        Self::from_options(&OptionValues::default())
    }
}

/// Writes words of a `server` line, each with the space before it.
impl fmt::Display for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = SETTINGS.iter().zip(self.0);
        for (spec, value) in rows.filter(|(spec, value)| spec.omitted != Some(*value)) {
            write!(f, " {} {value}", spec.keyword)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_of_their_variants() {
        for spec in &SETTINGS {
            assert_eq!(spec.setting.spec().keyword, spec.keyword);
        }
    }

    #[test]
    fn line_and_options_yield_same_settings() {
        for (text, expected) in [
            ("id 7 weight 25 check", Some(" weight 25")),
            ("id 7 check", None),
            ("weight x", None),
            ("id 7 weight 25 maxconn 3 check", Some(" weight 25 maxconn 3")),
            ("weight 25 maxconn x", None),
        ] {
            let words: Vec<_> = text.split(' ').collect();
            let settings = ServerSettings::parse_line(&words);
            assert_eq!(
                settings.map(|settings| settings.to_string()).as_deref(),
                expected,
                "{text}"
            );
            let options = settings.map(|settings| settings.to_options().unwrap());
            assert_eq!(options.as_ref().map(ServerSettings::from_options), settings, "{text}");
        }
        let mut settings = ServerSettings::default();
        settings.set(ServerSetting::Weight, 257);
        assert_eq!(settings.to_options(), None);
    }
}
