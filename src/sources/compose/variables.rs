//! Files of variables such as `.env`: one `NAME=value` a line.
//!
//! Pure. Text in single quotes is literal; in all other values, variables of the shell and of earlier lines are
//! substituted.

use super::interpolate::{EmptyVariable, InterpolationError, fill_with};
use std::collections::BTreeMap;

/// Limit of all values of a file, in bytes: each value may contain the previous one twice.
const MAX_VALUES_BYTES: usize = 1 << 22;

/// The variables of a file, and the errors of its lines. A value with an error stays as written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct VariableFile {
    pub(crate) values: BTreeMap<String, String>,
    /// Name → variables that were substituted by nothing in the value.
    pub(crate) empty_variables: BTreeMap<String, Vec<EmptyVariable>>,
    pub(crate) errors: Vec<(usize, InterpolationError)>,
}

/// Returns the file's own variables; values may also refer to those in `environment`.
pub(crate) fn parse_variables(text: &str, environment: &BTreeMap<String, String>) -> VariableFile {
    let mut file = VariableFile::default();
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
        let value = match unquote_value(value.trim()) {
            QuotedValue::Literal(value) => value.to_owned(),
            QuotedValue::Template(value) => {
                let lookup = |name: &str| environment.get(name).or_else(|| file.values.get(name));
                match fill_with(&value, &|name| lookup(name).map(String::as_str)) {
                    Ok(filled) if length + filled.text.len() <= MAX_VALUES_BYTES => {
                        if !filled.empty_variables.is_empty() {
                            file.empty_variables.insert(name.clone(), filled.empty_variables);
                        }
                        filled.text
                    }
                    Ok(_) => {
                        file.errors.push((number + 1, InterpolationError::TooLong));
                        break;
                    }
                    Err(error) => {
                        file.errors.push((number + 1, error));
                        value
                    }
                }
            }
        };
        length += value.len();
        file.values.insert(name, value);
    }
    file
}

enum QuotedValue<'a> {
    Literal(&'a str),
    Template(String),
}

fn unquote_value(text: &str) -> QuotedValue<'_> {
    let within = |quote: char| {
        let text = text.strip_prefix(quote)?;
        let end = text.find(quote)?;
        Some(&text[..end])
    };
    if let Some(text) = within('\'') {
        return QuotedValue::Literal(text);
    }
    if let Some(text) = within('"') {
        return QuotedValue::Template(text.replace("\\n", "\n").replace("\\t", "\t"));
    }
    let end = text.find(" #").unwrap_or(text.len());
    QuotedValue::Template(text[..end].trim_end().to_owned())
}
