//! Lenient parsing of another program's JSON: what is not understood is left out.
//!
//! Pure. A list is parsed entry by entry, and of an entry only the fields of an unexpected type are dropped: a value
//! that only a future engine has costs that value, not the container and not the list.

use crate::support::escape::{QuotedText, SingleLine, Truncated};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeSet;

/// Limit of the fields of a struct. An object with more fields is a map, whose entries are independent of each other.
const MAX_STRUCT_FIELDS: usize = 64;
/// Limit of the warnings that are reported for an entry.
const MAX_WARNINGS_PER_ENTRY: usize = 5;
/// Limit of the warnings that are logged for an engine.
const MAX_LOGGED_WARNINGS: usize = 1000;

/// Describes something that was left out.
pub(crate) type ParseWarning = String;

/// A parsed list, and what was left out of it.
#[derive(Debug)]
pub(crate) struct LenientList<T> {
    pub(crate) entries: Vec<T>,
    pub(crate) warnings: Vec<ParseWarning>,
    /// Number of entries that were left out as a whole.
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

/// What was left out, each logged once.
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

/// Parses the entries of a list. Returns an error if the text is not a list.
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

/// Parses one entry; `None` if nothing of it could be parsed.
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

/// Returns the value without the parts that make it unacceptable; `None` if nothing is left.
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

/// Prunes the fields that are not accepted on their own, after the others, which they may require.
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

/// Returns the name of the object that the entry is about.
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
