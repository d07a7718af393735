//! Files of variables, as `.env` is one: a `NAME=value` a line.
//!
//! Pure. Single quotes keep what is between them; else variables of the shell and of lines above are
//! filled in.

use super::interpolate::fill;
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;

/// The file's own; `environment` is what its values may name besides.
pub(super) fn read(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut own = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let known = || {
            let mut known: BTreeMap<String, String> = own.clone();
            known.extend(environment.clone());
            known
        };
        let value = match quoted(value.trim()) {
            Value::Kept(value) => value.to_owned(),
            Value::Filled(value) => {
                let wrong = |mistake| anyhow!("line {}: {mistake}", number + 1);
                fill(&value, &known()).map_err(wrong)?
            }
        };
        own.insert(name.trim().to_owned(), value);
    }
    Ok(own)
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
