//! Interpolation: `$NAME`, `${NAME}` and the forms with a default, an error or a replacement; `$$`
//! is a literal dollar.
//!
//! Pure.

use crate::support::escape::{EscapedText, QuotedText};
use std::{collections::BTreeMap, fmt};

/// Limit of nested variables: deeper than in real files.
const MAX_DEPTH: usize = 32;

/// The longest result of one text, in bytes. A label has at most 4096.
const MAX_TEXT_BYTES: usize = 1 << 18;

/// A text after its variables are substituted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilledText {
    pub text: String,
    /// Variables that were substituted by nothing, in the order of the text.
    pub empty_variables: Vec<EmptyVariable>,
}

/// A variable that was substituted by nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EmptyVariable {
    pub name: String,
    pub cause: EmptyCause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EmptyCause {
    /// `${NAME}` of a variable that is not set. Docker Compose warns about it too.
    Unset,
    /// The variable is set to an empty text.
    Empty,
    /// `${NAME:-}`: the author of the file wants an empty default.
    Default,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterpolationError {
    /// A dollar that starts no variable, or an unclosed brace.
    Format(String),
    /// `${NAME:?text}`.
    Required {
        name: String,
        text: String,
    },
    TooDeep,
    TooLong,
}

/// Substitutes the variables of a text. Unset variables are empty unless the text gives another
/// form.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn fill_variables(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<FilledText, InterpolationError> {
    fill_with(text, &|name| variables.get(name).map(String::as_str))
}

/// Same as [`fill_variables`], with a lookup function.
pub(crate) fn fill_with<'v>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<&'v str>,
) -> Result<FilledText, InterpolationError> {
    let mut filler = Filler { lookup, whole: text, filled: FilledText::default() };
    filler.fill_text(text, 0)?;
    Ok(filler.filled)
}

struct Filler<'a, 'v> {
    lookup: &'a dyn Fn(&str) -> Option<&'v str>,
    whole: &'a str,
    filled: FilledText,
}

impl Filler<'_, '_> {
    fn fill_text(&mut self, text: &str, depth: usize) -> Result<(), InterpolationError> {
        if MAX_DEPTH < depth {
            return Err(InterpolationError::TooDeep);
        }
        let mut remaining = text;
        while let Some((before, after)) = remaining.split_once('$') {
            self.push_text(before)?;
            remaining = match after.chars().next() {
                Some('$') => {
                    self.push_text("$")?;
                    &after[1..]
                }
                Some('{') => {
                    let (inside, after) = split_braces(after).ok_or_else(|| self.format_error())?;
                    self.expand_braces(inside, depth)?;
                    after
                }
                _ => {
                    let (name, after) = split_name(after);
                    if name.is_empty() {
                        return Err(self.format_error());
                    }
                    self.put_variable(name)?;
                    after
                }
            };
        }
        self.push_text(remaining)
    }

    fn push_text(&mut self, text: &str) -> Result<(), InterpolationError> {
        if MAX_TEXT_BYTES < self.filled.text.len() + text.len() {
            return Err(InterpolationError::TooLong);
        }
        self.filled.text.push_str(text);
        Ok(())
    }

    /// Substitutes a variable without a default or another form.
    fn put_variable(&mut self, name: &str) -> Result<(), InterpolationError> {
        match (self.lookup)(name) {
            None => self.note_empty(name, EmptyCause::Unset),
            Some("") => self.note_empty(name, EmptyCause::Empty),
            Some(value) => return self.push_text(value),
        }
        Ok(())
    }

    fn note_empty(&mut self, name: &str, cause: EmptyCause) {
        self.filled.empty_variables.push(EmptyVariable { name: name.to_owned(), cause });
    }

    /// Substitutes what is between braces.
    fn expand_braces(&mut self, inside: &str, depth: usize) -> Result<(), InterpolationError> {
        let (name, form) = split_name(inside);
        if name.is_empty() {
            return Err(self.format_error());
        }
        if form.is_empty() {
            return self.put_variable(name);
        }
        let current = (self.lookup)(name);
        let (form, value) = match form.strip_prefix(':') {
            Some(form) => (form, current.filter(|value| !value.is_empty())),
            None => (form, current),
        };
        match (form.chars().next(), value) {
            (Some('-' | '?'), Some("")) => self.note_empty(name, EmptyCause::Empty),
            (Some('-' | '?'), Some(value)) => self.push_text(value)?,
            (Some('-'), None) if form.len() == 1 => {
                self.note_empty(
                    name,
                    if current.is_some() { EmptyCause::Empty } else { EmptyCause::Default },
                );
            }
            (Some('-'), None) | (Some('+'), Some(_)) => self.fill_text(&form[1..], depth + 1)?,
            (Some('+'), None) => {}
            (Some('?'), None) => {
                let mut text = Filler { filled: FilledText::default(), ..*self };
                text.fill_text(&form[1..], depth + 1)?;
                return Err(InterpolationError::Required {
                    name: name.to_owned(),
                    text: text.filled.text,
                });
            }
            _ => return Err(self.format_error()),
        }
        Ok(())
    }

    fn format_error(&self) -> InterpolationError {
        InterpolationError::Format(self.whole.to_owned())
    }
}

/// Splits a text that starts with a brace: returns the text up to the matching brace, and the text
/// after it.
fn split_braces(text: &str) -> Option<(&str, &str)> {
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

fn split_name(text: &str) -> (&str, &str) {
    let fits = |(at, c): (usize, char)| {
        c == '_' || c.is_ascii_alphabetic() || (0 < at && c.is_ascii_digit())
    };
    let end = text.char_indices().find(|pair| !fits(*pair)).map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// A quoted text that would fill the screen is truncated.
impl fmt::Display for InterpolationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(text) => {
                write!(
                    f,
                    "{} has a $ that does not start a variable such as ${{NAME}} or \
                     ${{NAME:-default}}; write a literal dollar as $$",
                    QuotedText(text)
                )
            }
            Self::Required { name, text } if text.is_empty() => {
                write!(f, "the variable {name} must be set")
            }
            Self::Required { name, text } => {
                write!(f, "the variable {name} must be set: {}", EscapedText(text))
            }
            Self::TooDeep => write!(f, "variables are nested more than {MAX_DEPTH} deep"),
            Self::TooLong => {
                write!(f, "the value is longer than {MAX_TEXT_BYTES} bytes after substitution")
            }
        }
    }
}

impl fmt::Display for EmptyVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            EmptyCause::Unset | EmptyCause::Default => {
                write!(f, "the variable {} is not set", self.name)
            }
            EmptyCause::Empty => write!(f, "the variable {} is empty", self.name),
        }
    }
}
