//! What another program says in JSON, read as far as it is understood.
//!
//! Pure. A list is read entry by entry, and of an entry all but the fields that are not of their type: a word that only the
//! engine of next year has costs that word, not the container, nor the list.

use crate::support::escape::{QuotedText, SingleLine, Truncated};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeSet;

/// A struct has fewer fields; what has more is a map, whose entries do not need each other.
const MAX_STRUCT_FIELDS: usize = 64;
/// Of an entry no more is told.
const MAX_WARNINGS_PER_ENTRY: usize = 5;
/// Of an engine no more is told.
const MAX_LOGGED_WARNINGS: usize = 1000;

/// Something that was left out, in words.
pub(crate) type ParseWarning = String;

/// What a list told, and what of it was left out.
#[derive(Debug)]
pub(crate) struct LenientList<T> {
    pub(crate) entries: Vec<T>,
    pub(crate) warnings: Vec<ParseWarning>,
    /// How many entries were left out as a whole.
    pub(crate) dropped: usize,
}

impl<T> LenientList<T> {
    pub(crate) fn filter_map<U>(self, convert: impl FnMut(T) -> Option<U>) -> LenientList<U> {
        let total = self.entries.len() + self.dropped;
        let entries: Vec<_> = self.entries.into_iter().filter_map(convert).collect();
        let dropped = total - entries.len();
        LenientList { entries, warnings: self.warnings, dropped }
    }
}

impl<T> Default for LenientList<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), warnings: Vec::new(), dropped: 0 }
    }
}

/// What was left out, each told once.
#[derive(Debug, Default)]
pub(crate) struct WarningLog {
    logged: BTreeSet<ParseWarning>,
    unlogged: Vec<ParseWarning>,
}

impl WarningLog {
    pub(crate) fn add<'a>(&mut self, warnings: impl Iterator<Item = &'a ParseWarning>) {
        for warnings in warnings {
            if self.logged.len() < MAX_LOGGED_WARNINGS && self.logged.insert(warnings.clone()) {
                self.unlogged.push(warnings.clone());
            }
        }
    }

    pub(crate) fn take_unlogged(&mut self) -> Vec<ParseWarning> {
        std::mem::take(&mut self.unlogged)
    }
}

/// The entries of a list. An error where it is no list at all.
pub(crate) fn parse_list<T: DeserializeOwned>(
    text: &[u8],
) -> Result<LenientList<T>, serde_json::Error> {
    let entries: Vec<&RawValue> = serde_json::from_slice(text)?;
    let mut list = LenientList::default();
    list.entries.reserve(entries.len());
    for entry in entries {
        let (read, mut warnings) = parse_entry(entry.get());
        list.dropped += usize::from(read.is_none());
        list.entries.extend(read);
        list.warnings.append(&mut warnings);
    }
    Ok(list)
}

/// One entry; `None` where nothing of it is understood.
pub(crate) fn parse_entry<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<ParseWarning>) {
    let error = match serde_json::from_str(text) {
        Ok(read) => return (Some(read), Vec::new()),
        Err(error) => error,
    };
    let mut warnings = Vec::new();
    let whole: Option<Value> = serde_json::from_str(text).ok().filter(Value::is_object);
    let name = entry_name(whole.as_ref().unwrap_or(&Value::Null));
    let accepts = |value: &Value| T::deserialize(value).is_ok();
    let read = whole.and_then(|whole| prune_value(whole, &accepts, "", &mut warnings));
    let read = read.and_then(|pruned| serde_json::from_value(pruned).ok());
    if read.is_none() {
        warnings = vec![format!("the whole entry ({error})")];
    }
    let more = warnings.len().saturating_sub(MAX_WARNINGS_PER_ENTRY);
    warnings.truncate(MAX_WARNINGS_PER_ENTRY);
    if 0 < more {
        warnings.push(format!("{more} more"));
    }
    (read, warnings.into_iter().map(|text| format!("{name}: {text}")).collect())
}

/// The value without what makes it unacceptable; `None` if nothing is left.
fn prune_value(
    value: Value,
    accepts: &dyn Fn(&Value) -> bool,
    path: &str,
    warnings: &mut Vec<ParseWarning>,
) -> Option<Value> {
    if accepts(&value) {
        return Some(value);
    }
    let shortened = shorten_value(&value);
    let before = warnings.len();
    let pruned = match value {
        Value::Object(fields) => Value::Object(prune_fields(fields, accepts, path, warnings)),
        Value::Array(entries) => {
            let accepts_in_list = |value: &Value| accepts(&Value::Array(vec![value.clone()]));
            let entries = entries.into_iter().enumerate();
            let kept = entries.filter_map(|(at, value)| {
                prune_value(value, &accepts_in_list, &format!("{path}/{at}"), warnings)
            });
            Value::Array(kept.collect())
        }
        _ => Value::Null,
    };
    if !pruned.is_null() && accepts(&pruned) {
        return Some(pruned);
    }
    warnings.truncate(before);
    warnings.push(format!("{} is {shortened}", path.trim_start_matches('/')));
    None
}

/// Those that are fine by themselves first; the others may need these.
fn prune_fields(
    fields: Map<String, Value>,
    accepts: &dyn Fn(&Value) -> bool,
    path: &str,
    warnings: &mut Vec<ParseWarning>,
) -> Map<String, Value> {
    let with = |others: &Map<String, Value>, key: &str, value: &Value| {
        let mut fields = others.clone();
        fields.insert(key.to_owned(), value.clone());
        accepts(&Value::Object(fields))
    };
    let none = Map::new();
    let is_struct = fields.len() <= MAX_STRUCT_FIELDS;
    let (mut kept, others): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(key, value)| with(&none, key, value));
    for (key, value) in others {
        let base = if is_struct { kept.clone() } else { Map::new() };
        let accepts = |value: &Value| with(&base, &key, value);
        if let Some(pruned) = prune_value(value, &accepts, &format!("{path}/{key}"), warnings) {
            kept.insert(key, pruned);
        }
    }
    kept
}

/// Who it is about.
fn entry_name(entry: &Value) -> String {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let first = entry.pointer("/Names/0").and_then(Value::as_str);
    let id = text("Id").or(text("ID")).map(|id| id.get(..12).unwrap_or(id));
    let name = first.or(text("Name")).map(|name| name.trim_start_matches('/')).or(id);
    QuotedText(name.unwrap_or("(unnamed)")).to_string()
}

fn shorten_value(value: &Value) -> String {
    let text = match value {
        Value::Object(_) => "{…}".to_owned(),
        Value::Array(_) => "[…]".to_owned(),
        other => other.to_string(),
    };
    SingleLine(Truncated(&text)).to_string()
}

#[cfg(test)]
mod tests;
