//! What another program says in JSON, read as far as it is understood.
//!
//! Pure. A list is read entry by entry, and of an entry all but the fields that are not of their type: a word that only the
//! engine of next year has costs that word, not the container, nor the list.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeSet;

/// A struct has fewer fields; what has more is a map, whose entries do not need each other.
const MOST_FIELDS: usize = 64;
/// Of an entry no more is told.
const MOST_TOLD: usize = 5;
/// Of an engine no more is told.
const MOST_KNOWN: usize = 1000;

/// Something that was left out, in words.
pub(super) type Oddity = String;

/// What a list told, and what of it was left out.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) entries: Vec<T>,
    pub(super) odd: Vec<Oddity>,
    /// How many entries were left out as a whole.
    pub(super) lost: usize,
}

impl<T> List<T> {
    pub(super) fn filter_map<U>(self, convert: impl FnMut(T) -> Option<U>) -> List<U> {
        let told = self.entries.len() + self.lost;
        let entries: Vec<_> = self.entries.into_iter().filter_map(convert).collect();
        let lost = told - entries.len();
        List { entries, odd: self.odd, lost }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), odd: Vec::new(), lost: 0 }
    }
}

/// What was left out, each told once.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    told: BTreeSet<Oddity>,
    new: Vec<Oddity>,
}

impl Oddities {
    pub(super) fn add<'a>(&mut self, odd: impl Iterator<Item = &'a Oddity>) {
        for odd in odd {
            if self.told.len() < MOST_KNOWN && self.told.insert(odd.clone()) {
                self.new.push(odd.clone());
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Oddity> {
        std::mem::take(&mut self.new)
    }
}

/// The entries of a list. An error where it is no list at all.
pub(super) fn read_list<T: DeserializeOwned>(text: &[u8]) -> Result<List<T>, serde_json::Error> {
    let entries: Vec<&RawValue> = serde_json::from_slice(text)?;
    let mut list = List::default();
    list.entries.reserve(entries.len());
    for entry in entries {
        let (read, mut odd) = read(entry.get());
        list.lost += usize::from(read.is_none());
        list.entries.extend(read);
        list.odd.append(&mut odd);
    }
    Ok(list)
}

/// One entry; `None` where nothing of it is understood.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Oddity>) {
    let error = match serde_json::from_str(text) {
        Ok(read) => return (Some(read), Vec::new()),
        Err(error) => error,
    };
    let mut odd = Vec::new();
    let whole: Option<Value> = serde_json::from_str(text).ok().filter(Value::is_object);
    let name = name(whole.as_ref().unwrap_or(&Value::Null));
    let accepts = |value: &Value| T::deserialize(value).is_ok();
    let read = whole.and_then(|whole| prune(whole, &accepts, "", &mut odd));
    let read = read.and_then(|pruned| serde_json::from_value(pruned).ok());
    if read.is_none() {
        odd = vec![format!("the whole entry ({error})")];
    }
    let more = odd.len().saturating_sub(MOST_TOLD);
    odd.truncate(MOST_TOLD);
    if 0 < more {
        odd.push(format!("{more} more"));
    }
    (read, odd.into_iter().map(|it| format!("{name}: {it}")).collect())
}

/// The value without what makes it unacceptable; `None` if nothing is left.
fn prune(
    value: Value,
    accepts: &dyn Fn(&Value) -> bool,
    path: &str,
    odd: &mut Vec<Oddity>,
) -> Option<Value> {
    if accepts(&value) {
        return Some(value);
    }
    let said = cut(&value);
    let before = odd.len();
    let pruned = match value {
        Value::Object(fields) => Value::Object(prune_fields(fields, accepts, path, odd)),
        Value::Array(entries) => {
            let accepts_in_list = |it: &Value| accepts(&Value::Array(vec![it.clone()]));
            let entries = entries.into_iter().enumerate();
            let kept = entries
                .filter_map(|(at, it)| prune(it, &accepts_in_list, &format!("{path}/{at}"), odd));
            Value::Array(kept.collect())
        }
        _ => Value::Null,
    };
    if !pruned.is_null() && accepts(&pruned) {
        return Some(pruned);
    }
    odd.truncate(before);
    odd.push(format!("{} is {said}", path.trim_start_matches('/')));
    None
}

/// Those that are fine by themselves first; the others may need these.
fn prune_fields(
    fields: Map<String, Value>,
    accepts: &dyn Fn(&Value) -> bool,
    path: &str,
    odd: &mut Vec<Oddity>,
) -> Map<String, Value> {
    let with = |others: &Map<String, Value>, key: &str, value: &Value| {
        let mut fields = others.clone();
        fields.insert(key.to_owned(), value.clone());
        accepts(&Value::Object(fields))
    };
    let none = Map::new();
    let is_struct = fields.len() <= MOST_FIELDS;
    let (mut kept, others): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(key, value)| with(&none, key, value));
    for (key, value) in others {
        let base = if is_struct { kept.clone() } else { Map::new() };
        let accepts = |it: &Value| with(&base, &key, it);
        if let Some(pruned) = prune(value, &accepts, &format!("{path}/{key}"), odd) {
            kept.insert(key, pruned);
        }
    }
    kept
}

/// Who it is about.
fn name(entry: &Value) -> String {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let first = entry.pointer("/Names/0").and_then(Value::as_str);
    let id = text("Id").or(text("ID")).map(|id| id.get(..12).unwrap_or(id));
    let name = first.or(text("Name")).map(|name| name.trim_start_matches('/')).or(id);
    format!("{:?}", name.unwrap_or("one without a name").chars().take(80).collect::<String>())
}

fn cut(value: &Value) -> String {
    let text = match value {
        Value::Object(_) => "{…}".to_owned(),
        Value::Array(_) => "[…]".to_owned(),
        other => other.to_string(),
    };
    text.escape_debug().to_string().replace("\\\"", "\"").chars().take(80).collect()
}

#[cfg(test)]
mod tests;
