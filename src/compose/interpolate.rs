//! `$NAME`, `${NAME}` and its forms with a default, a complaint or a replacement; `$$` is a dollar.
//!
//! Pure.

use std::{collections::BTreeMap, fmt};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// A dollar that begins nothing, or a brace that does not end.
    Format(String),
    /// `${NAME:?text}`.
    Required { name: String, text: String },
}

/// Variables that are not set are empty, unless the text says otherwise.
pub fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Mistake> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        rest = match after.chars().next() {
            Some('$') => {
                filled.push('$');
                &after[1..]
            }
            Some('{') => {
                let (inside, after) = braced(after).ok_or_else(|| Mistake::format(text))?;
                filled.push_str(&expanded(inside, variables, text)?);
                after
            }
            _ => {
                let (name, after) = name(after);
                if name.is_empty() {
                    return Err(Mistake::format(text));
                }
                filled.push_str(variables.get(name).map_or("", String::as_str));
                after
            }
        };
    }
    filled.push_str(rest);
    Ok(filled)
}

/// What is between the brace that it begins with and the one that belongs to it, and what follows.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[1..at], &text[at + 1..]));
        }
    }
    None
}

fn name(text: &str) -> (&str, &str) {
    let fits = |(at, c): (usize, char)| {
        c == '_' || c.is_ascii_alphabetic() || (0 < at && c.is_ascii_digit())
    };
    let end = text.char_indices().find(|it| !fits(*it)).map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

fn expanded(
    inside: &str,
    variables: &BTreeMap<String, String>,
    whole: &str,
) -> Result<String, Mistake> {
    let (name, form) = name(inside);
    let set = variables.get(name);
    let full = set.filter(|value| !value.is_empty());
    let of = |value: Option<&String>| value.cloned().unwrap_or_default();
    let (form, value) = match form.strip_prefix(':') {
        _ if name.is_empty() => return Err(Mistake::format(whole)),
        Some(form) => (form, full),
        None => (form, set),
    };
    match (form.chars().next(), value) {
        (None, _) if inside.len() == name.len() => Ok(of(set)),
        (Some('-' | '?'), Some(value)) => Ok(value.clone()),
        (Some('-'), None) | (Some('+'), Some(_)) => fill(&form[1..], variables),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let text = fill(&form[1..], variables)?;
            Err(Mistake::Required { name: name.to_owned(), text })
        }
        _ => Err(Mistake::format(whole)),
    }
}

impl Mistake {
    fn format(text: &str) -> Self {
        Self::Format(text.to_owned())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(text) => write!(
                f,
                "{text:?} has a $ that begins no variable such as ${{NAME}} or ${{NAME:-default}}; \
                 a dollar itself is $$"
            ),
            Self::Required { name, text } if text.is_empty() => {
                write!(f, "the variable {name} has to be set")
            }
            Self::Required { name, text } => write!(f, "the variable {name} has to be set: {text}"),
        }
    }
}
