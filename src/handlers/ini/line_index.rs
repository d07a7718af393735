//! Finds the lines of sections and keys in an ini file, which the parser library does not report, and unusual
//! content.
//!
//! Pure. Lines are interpreted as the library interprets them.

use super::{DEFAULT_SECTION, normalize_key};
use crate::support::suggest::suggest;

/// A line number and a note about that line.
type LineNote = (usize, String);

#[derive(Debug, Default)]
pub(crate) struct LineIndex {
    sections: Vec<(String, usize)>,
    keys: Vec<KeyLine>,
}

#[derive(Debug)]
struct KeyLine {
    /// `None` before the first section.
    section: Option<String>,
    /// In lower case, as the library has it.
    name: String,
    line: usize,
}

/// Returns the text without a byte order mark, and notes about the mark and the line ends.
///
/// # Errors
/// If the lines end in CR alone, so that the whole file would be one line.
pub(crate) fn check_line_ends(text: &str) -> Result<(&str, Vec<LineNote>), LineNote> {
    let mut notes = Vec::new();
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    if bare.len() < text.len() {
        notes.push((1, "the file starts with a byte order mark, which is ignored".to_owned()));
    }
    let mut lines = (1..).zip(bare.split('\n'));
    if let Some((line, index)) = lines.find(|(_, line)| line.contains('\r')) {
        if index.trim_end_matches('\r').contains('\r') || !bare.contains('\n') {
            return Err((line, "the lines end in CR; save the file with LF line ends".to_owned()));
        }
        notes.push((line, "the lines end in CR LF, which is read as LF".to_owned()));
    }
    Ok((bare, notes))
}

impl LineIndex {
    /// # Errors
    /// If a continuation line of a value starts with `[`: the library would take it for a section.
    pub(crate) fn parse(text: &str) -> Result<Self, LineNote> {
        let mut index = Self::default();
        // The key whose value continues on lines with a greater indent than this.
        let mut open: Option<(String, usize)> = None;
        for (number, raw) in (1..).zip(text.lines()) {
            let line = raw.trim();
            let indent = raw.len() - raw.trim_start().len();
            let continued = open.as_ref().filter(|(_, least)| *least < indent);
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                if let Some((key, _)) = continued {
                    return Err((
                        number,
                        format!(
                            "a line of {key} starts with [ and would start a section; put the text \
                             into a file"
                        ),
                    ));
                }
                let name = name.rsplit_once(']').map_or(name, |(name, _)| name);
                index.sections.push((name.trim().to_lowercase(), number));
                open = None;
            } else if continued.is_none() {
                let key = line.split(['=', ':']).next().unwrap_or_default().trim().to_lowercase();
                let section = index.sections.last().map(|(name, _)| name.clone());
                open = Some((key.clone(), indent));
                index.keys.push(KeyLine { section, name: key, line: number });
            }
        }
        Ok(index)
    }

    pub(crate) fn line_of_key(&self, section: &str, key: &str) -> Option<usize> {
        let is_same = |event_key: &&KeyLine| {
            event_key.section.as_deref() == Some(section) && event_key.name == key
        };
        self.keys.iter().rfind(is_same).map(|key| key.line)
    }

    /// # Errors
    /// If a section or key is repeated, or a key is before the first section.
    pub(crate) fn check_duplicates(&self) -> Result<(), LineNote> {
        for (at, (name, line)) in self.sections.iter().enumerate() {
            if let Some((_, first)) = self.sections[..at].iter().find(|(text, _)| text == name) {
                return Err((*line, format!("section [{name}] already starts in line {first}")));
            }
        }
        for (at, KeyLine { section, name: key, line }) in self.keys.iter().enumerate() {
            if section.is_none() {
                return Err((*line, format!("{key} is set before the first section")));
            }
            let is_same = |event_key: &&KeyLine| {
                event_key.section == *section
                    && normalize_key(&event_key.name) == normalize_key(key)
            };
            if let Some(first) = self.keys[..at].iter().find(is_same) {
                return Err((*line, format!("{key} is already set in line {}", first.line)));
            }
        }
        Ok(())
    }

    /// Returns notes about sections. Unknown sections are accepted, because plugins may have their own.
    pub(crate) fn section_notes(&self) -> Vec<LineNote> {
        const SECTIONS: &[&str] = &["handler", "params"];
        let note = |(name, line): &(String, usize)| match name.as_str() {
            DEFAULT_SECTION => {
                Some((*line, "[DEFAULT] has default values for [handler] and [params]".to_owned()))
            }
            name if SECTIONS.contains(&name) => None,
            name => suggest(name, SECTIONS).map(|near| {
                (*line, format!("section [{name}] is ignored; did you mean [{near}]?"))
            }),
        };
        self.sections.iter().filter_map(note).collect()
    }
}
