//! Files of variables, as `.env` is one: a `NAME=value` a line.
//!
//! Pure. Single quotes keep what is between them; else variables of the shell and of lines above are
//! filled in.

use super::interpolate::{Blank, Mistake, fill_with};
use std::collections::BTreeMap;

/// What all values of a file come to, in bytes: each may name the one before twice.
const LONGEST: usize = 1 << 22;

/// What a file says, and the lines that could not be filled in: their values are as they were written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) own: BTreeMap<String, String>,
    /// By name: variables that left nothing in the value.
    pub(super) blanks: BTreeMap<String, Vec<Blank>>,
    pub(super) mistakes: Vec<(usize, Mistake)>,
}

/// The file's own; `environment` is what its values may name besides.
pub(super) fn read(text: &str, environment: &BTreeMap<String, String>) -> Read {
    let mut read = Read::default();
    let mut length = 0;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
        let name = name.trim().to_owned();
        let value = match quoted(value.trim()) {
            Value::Kept(value) => value.to_owned(),
            Value::Filled(value) => {
                let known = |name: &str| environment.get(name).or_else(|| read.own.get(name));
                match fill_with(&value, &|name| known(name).map(String::as_str)) {
                    Ok(filled) if length + filled.text.len() <= LONGEST => {
                        if !filled.blanks.is_empty() {
                            read.blanks.insert(name.clone(), filled.blanks);
                        }
                        filled.text
                    }
                    Ok(_) => {
                        read.mistakes.push((number + 1, Mistake::TooLong));
                        break;
                    }
                    Err(mistake) => {
                        read.mistakes.push((number + 1, mistake));
                        value
                    }
                }
            }
        };
        length += value.len();
        read.own.insert(name, value);
    }
    read
}

enum Value<'a> {
    Kept(&'a str),
    Filled(String),
}

fn quoted(text: &str) -> Value<'_> {
    let within = |quote: char| {
        let text = text.strip_prefix(quote)?;
        let end = text.find(quote)?;
        Some(&text[..end])
    };
    if let Some(text) = within('\'') {
        return Value::Kept(text);
    }
    if let Some(text) = within('"') {
        return Value::Filled(text.replace("\\n", "\n").replace("\\t", "\t"));
    }
    let end = text.find(" #").unwrap_or(text.len());
    Value::Filled(text[..end].trim_end().to_owned())
}
