//! Parses a handler's ini file: `[handler]` and `[params]`, and the location of errors.
//!
//! Pure. Values are read as in Python's configparser, so that files for Docker Glue have the same meaning here: names
//! are case-insensitive, `=` and `:` separate keys and values, continuation lines are indented, a comment has its own
//! line, and `[DEFAULT]` contains defaults for the other sections. A duplicate key or section is an error, as in
//! Python 3.

mod line_index;

use crate::support::suggest::suggest;
use configparser::ini::{Ini as Parser, IniDefault};
use line_index::LineIndex;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// An error in a handler's file. The handler is ignored; other handlers still run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IniError {
    pub file: PathBuf,
    /// The line, counted from 1; `None` if no single line is wrong.
    pub line: Option<usize>,
    pub text: String,
}

/// The parsed content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ini {
    pub handler: Section,
    pub params: Section,
    /// Notes about unusual content that is accepted.
    pub notes: Vec<IniError>,
}

/// The keys and values of a section. Keys are in lower case, with `_` replaced by `-`: `keep_blank_lines` is
/// `keep-blank-lines`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    name: &'static str,
    file: PathBuf,
    entries: BTreeMap<String, IniEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct IniEntry {
    /// The key as it is written in the file.
    written_key: String,
    value: String,
    line: Option<usize>,
    /// Whether the entry comes from `[DEFAULT]`. A section may ignore such a key.
    is_default: bool,
}

/// Python's section with defaults for all other sections.
const DEFAULT_SECTION: &str = "default";

impl Ini {
    /// # Errors
    /// If a line is not valid in an ini file, or repeats a key or section.
    pub fn parse(file: impl Into<PathBuf>, text: &str) -> Result<Self, IniError> {
        let file = file.into();
        let at = |(line, text)| IniError { file: file.clone(), line: Some(line), text };
        let (text, mut notes) = line_index::check_line_ends(text).map_err(at)?;
        let lines = LineIndex::parse(text).map_err(at)?;
        notes.extend(lines.section_notes());
        let mut rules = IniDefault::default();
        rules.delimiters = vec!['=', ':'];
        rules.multiline = true;
        rules.enable_inline_comments = false;
        let mut parser = Parser::new_from_defaults(rules);
        let map = parser.read(text.to_owned()).map_err(|message| parser_error(&file, &message))?;
        let entries = |name: &str, is_default| -> Vec<_> {
            let entries = map.get(name).into_iter().flatten().map(|(key, value)| {
                let line = lines.line_of_key(name, key);
                let value = value.clone().unwrap_or_default();
                (normalize_key(key), IniEntry { written_key: key.clone(), value, line, is_default })
            });
            entries.collect()
        };
        let section = |name: &'static str| {
            let all = entries(DEFAULT_SECTION, true).into_iter().chain(entries(name, false));
            Section { name, file: file.clone(), entries: all.collect() }
        };
        let (handler, params) = (section("handler"), section("params"));
        if !map.contains_key("handler") {
            return Err(handler.error_at("class", "the section [handler] is missing"));
        }
        lines.check_duplicates().map_err(at)?;
        Ok(Self { handler, params, notes: notes.into_iter().map(at).collect() })
    }
}

/// Converts messages such as `line 3: Found opening bracket …` and `line 3:0: Key cannot be empty`.
fn parser_error(file: &std::path::Path, message: &str) -> IniError {
    let (str, text) = message.split_once(": ").unwrap_or(("", message));
    let number = str.trim_start_matches("line ").split(':').next();
    IniError {
        file: file.to_owned(),
        line: number.and_then(|number| number.parse().ok()),
        text: text.to_lowercase(),
    }
}

fn normalize_key(key: &str) -> String {
    key.replace('_', "-").to_lowercase()
}

impl Section {
    /// Returns the value without surrounding spaces; empty if nothing follows the `=`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(&normalize_key(key)).map(|entry| entry.value.as_str())
    }

    /// Returns all keys as they are written, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.values().map(|entry| (entry.written_key.as_str(), entry.value.as_str()))
    }

    /// # Errors
    /// If the key is missing or empty.
    pub fn require_value(&self, key: &str) -> Result<&str, IniError> {
        let name = self.name;
        let missing = || self.error_at(key, format!("the key {key} is missing in [{name}]"));
        self.get(key).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// Returns the folder that relative paths in the file start from.
    pub fn base_folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Returns the items of a comma-separated list.
    pub fn split_list(&self, key: &str) -> Vec<&str> {
        let all = self.get(key).unwrap_or_default().split([',', '\n']).map(str::trim);
        all.filter(|text| !text.is_empty()).collect()
    }

    /// Parses `1 yes true on` and `0 no false off`, as Python does.
    pub fn parse_bool(&self, key: &str, default: bool) -> Result<bool, IniError> {
        match self.get(key).map(str::to_lowercase).as_deref() {
            None | Some("") => Ok(default),
            Some("1" | "yes" | "true" | "on") => Ok(true),
            Some("0" | "no" | "false" | "off") => Ok(false),
            Some(other) => {
                Err(self.error_at(key, format!("{key} must be yes or no, not {other:?}")))
            }
        }
    }

    /// Parses `30s`, `5m`; a number without a unit is seconds.
    pub fn parse_duration(&self, key: &str, default: Duration) -> Result<Duration, IniError> {
        match self.get(key) {
            None | Some("") => Ok(default),
            Some(text) => parse_duration(text).ok_or_else(|| {
                self.error_at(key, format!("{key} must be a time such as 30s or 5m, not {text:?}"))
            }),
        }
    }

    /// Parses a value from its text, such as a number or an address.
    pub fn parse_value<T: FromStr>(
        &self,
        key: &str,
        what: &str,
        default: T,
    ) -> Result<T, IniError> {
        match self.get(key) {
            None | Some("") => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| self.error_at(key, format!("{key} must be {what}, not {text:?}"))),
        }
    }

    /// # Errors
    /// If a key is not in `valid_keys`; the message suggests a similar one.
    pub fn reject_unknown(&self, valid_keys: &[&str]) -> Result<(), IniError> {
        let is_valid = |key: &String| valid_keys.iter().any(|text| normalize_key(text) == *key);
        let is_other = |(key, entry): &(&String, &IniEntry)| !entry.is_default && !is_valid(key);
        let Some((other, _)) = self.entries.iter().find(is_other) else { return Ok(()) };
        let name = self.name;
        let text = match suggest(other, valid_keys) {
            Some(near) => format!("unknown key {other} in [{name}]; did you mean {near}?"),
            None => {
                format!("unknown key {other} in [{name}]; the keys are {}", valid_keys.join(", "))
            }
        };
        Err(self.error_at(other, text))
    }

    /// Returns an error at the line of the key, if the section contains it.
    pub fn error_at(&self, key: &str, text: impl Into<String>) -> IniError {
        let line = self.entries.get(&normalize_key(key)).and_then(|entry| entry.line);
        IniError { file: self.file.clone(), line, text: text.into() }
    }
}

/// The longest accepted time. All clocks can represent it, and a longer one is a mistake.
const MAX_DURATION: Duration = Duration::from_hours(24 * 366 * 100);

/// Parses `30s`, `5m`, `1h 30m`; a number without a unit is seconds and may have a fraction.
pub fn parse_duration(text: &str) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text.trim()).ok(),
    }
    .filter(|time| *time <= MAX_DURATION)
}

impl IniError {
    fn location(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file.display()),
            None => self.file.display().to_string(),
        }
    }
}

/// Prints for example `docker-glue.d/web.ini:3: events: …`.
impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A comment; not the template's.
[Handler]
Class = script
events: start, die

[params]
script=x.sh
keep_blank_lines=yes
template=# {{ a }}
  {{ b }}
timeout = 90
pause = 2m
url = http://etcd:2379/#x;y
empty =
";

    #[test]
    fn duration_beyond_maximum_is_rejected() {
        for (text, expected) in [
            ("1.5", Some(1500)),
            ("876600h", Some(876_600 * 3_600_000)),
            ("1e18", None),
            ("18446744073709551615s", None),
            ("-1", None),
            ("nan", None),
        ] {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn file_is_parsed_like_python_configparser() {
        let ini = Ini::parse("a.ini", TEXT).unwrap();
        assert_eq!(ini.handler.get("class"), Some("script"));
        assert_eq!(ini.handler.split_list("events"), ["start", "die"]);
        let params = &ini.params;
        assert_eq!(params.get("template"), Some("# {{ a }}\n{{ b }}"));
        assert_eq!(params.get("url"), Some("http://etcd:2379/#x;y"));
        assert_eq!(params.parse_bool("keep-blank-lines", false), Ok(true));
        assert_eq!(params.parse_duration("timeout", Duration::ZERO), Ok(Duration::from_secs(90)));
        assert_eq!(params.parse_duration("pause", Duration::ZERO), Ok(Duration::from_mins(2)));
        assert_eq!(params.parse_duration("empty", Duration::MAX), Ok(Duration::MAX));
        assert_eq!(params.get("absent"), None);
    }

    #[test]
    fn default_section_fills_missing_keys() {
        let text = "[DEFAULT]\nscript=all.sh\nmore=1\n[handler]\nclass=script\n[params]\nmore=2\n";
        let ini = Ini::parse("a.ini", text).unwrap();
        assert_eq!((ini.params.get("script"), ini.params.get("more")), (Some("all.sh"), Some("2")));
        assert_eq!(ini.handler.reject_unknown(&["class"]), Ok(()));
        assert_eq!(ini.params.error_at("script", "x").to_string(), "a.ini:2: x");
        let notes: Vec<_> = ini.notes.iter().map(ToString::to_string).collect();
        assert_eq!(notes, ["a.ini:1: [DEFAULT] has default values for [handler] and [params]"]);
    }

    #[test]
    fn odd_file_is_noted_with_its_line() {
        let plain = "[handler]\nclass=script\n[params]\na=1\n";
        let dos = plain.replace('\n', "\r\n");
        for (text, expected) in [
            (plain.to_owned(), ""),
            (
                format!("\u{feff}{plain}"),
                "a.ini:1: the file starts with a byte order mark, which is ignored",
            ),
            (dos, "a.ini:1: the lines end in CR LF, which is read as LF"),
            (
                plain.replace("class", "x=\r\nclass"),
                "a.ini:2: the lines end in CR LF, which is read as LF",
            ),
            (
                format!("{plain}[parms]\nb=2\n"),
                "a.ini:5: section [parms] is ignored; did you mean [params]?",
            ),
            (format!("{plain}[plugin-s-own]\nb=2\n"), ""),
        ] {
            let ini = Ini::parse("a.ini", &text).unwrap();
            assert_eq!(
                (ini.handler.get("class"), ini.params.get("a")),
                (Some("script"), Some("1"))
            );
            let notes: Vec<_> = ini.notes.iter().map(ToString::to_string).collect();
            assert_eq!(notes.join("; "), expected, "{text:?}");
        }
    }

    #[test]
    fn duplicate_key_is_an_error_at_its_second_line() {
        for (text, expected) in [
            ("[handler]\nclass=x\nevents=a\nclass=y\n", "a.ini:4: class is already set in line 2"),
            (
                "[handler]\nclass=x\n[params]\na_b=1\nA-B: 1\n",
                "a.ini:5: a-b is already set in line 4",
            ),
            (
                "[handler]\nclass=x\n[params]\na=1\n[Params]\nb=2\n",
                "a.ini:5: section [params] already starts in line 3",
            ),
            ("[own]\na=1\na=2\n[handler]\nclass=x\n", "a.ini:3: a is already set in line 2"),
            ("[DEFAULT]\na=1\na=2\n[handler]\nclass=x\n", "a.ini:3: a is already set in line 2"),
            ("a=1\n[handler]\nclass=x\n", "a.ini:1: a is set before the first section"),
            (
                "[handler]\rclass=x\r",
                "a.ini:1: the lines end in CR; save the file with LF line ends",
            ),
            (
                "[handler]\nclass=x\n[params]\ntemplate=# a\n  [b]\n  c=d\n",
                "a.ini:5: a line of template starts with [ and would start a section; put the text into a file",
            ),
        ] {
            let error = Ini::parse("a.ini", text).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text:?}");
        }
        // Continuation lines of a value are not keys.
        let text = "[handler]\nclass=x\n[params]\ntemplate=# a\n  b=1\n  b=1\nb=2\n";
        let ini = Ini::parse("a.ini", text).unwrap();
        assert_eq!(ini.params.error_at("b", "x").to_string(), "a.ini:7: x");
    }

    #[test]
    fn error_names_its_line() {
        let message = |text: &str, ask: fn(&Ini) -> Result<(), IniError>| {
            Ini::parse("a.ini", text).and_then(|ini| ask(&ini)).unwrap_err().to_string()
        };
        let pass: fn(&Ini) -> Result<(), IniError> = |_| Ok(());
        for (text, ask, expected) in [
            (
                "[handler]\n[params\n",
                pass,
                "a.ini:2: found opening bracket for section name but no closing bracket",
            ),
            ("class=x\n", pass, "a.ini: the section [handler] is missing"),
            (
                TEXT,
                |ini| ini.params.require_value("empty").map(drop),
                "a.ini:14: the key empty is missing in [params]",
            ),
            (
                TEXT,
                |ini| ini.params.require_value("absent").map(drop),
                "a.ini: the key absent is missing in [params]",
            ),
            (
                TEXT,
                |ini| ini.handler.parse_bool("events", true).map(drop),
                "a.ini:4: events must be yes or no, not \"start, die\"",
            ),
            (
                TEXT,
                |ini| ini.params.parse_duration("script", Duration::ZERO).map(drop),
                "a.ini:7: script must be a time such as 30s or 5m, not \"x.sh\"",
            ),
            (
                TEXT,
                |ini| ini.params.parse_value("script", "a whole number", 0_u16).map(drop),
                "a.ini:7: script must be a whole number, not \"x.sh\"",
            ),
            (
                TEXT,
                |ini| ini.handler.reject_unknown(&["class", "event"]),
                "a.ini:4: unknown key events in [handler]; did you mean event?",
            ),
            (
                TEXT,
                |ini| ini.handler.reject_unknown(&["class"]),
                "a.ini:4: unknown key events in [handler]; the keys are class",
            ),
        ] {
            assert_eq!(message(text, ask), expected);
        }
    }
}
