//! `$NAME`, `${NAME}` and its forms with a default, a complaint or a replacement; `$$` is a dollar.
//!
//! Pure.

use std::{collections::BTreeMap, fmt};

/// More than anybody nests.
const DEEPEST: usize = 32;

/// The longest text that comes of one, in bytes: a label has at most 4096.
const LONGEST: usize = 1 << 18;

/// What a text is once its variables are filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filled {
    pub text: String,
    /// Variables that left nothing, in the order of the text.
    pub blanks: Vec<Blank>,
}

/// A variable in whose place nothing stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blank {
    pub name: String,
    pub cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// `${NAME}`, and nobody sets it. Docker Compose warns of it too.
    Unset,
    /// It is set to nothing.
    Empty,
    /// `${NAME:-}`: the author of the file means it so.
    Default,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// A dollar that begins nothing, or a brace that does not end.
    Format(String),
    /// `${NAME:?text}`.
    Required {
        name: String,
        text: String,
    },
    TooDeep,
    TooLong,
}

/// Variables that are not set are empty, unless the text says otherwise.
///
/// # Errors
/// Says what is wrong with the text.
pub fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<Filled, Mistake> {
    fill_with(text, &|name| variables.get(name).map(String::as_str))
}

/// The same, with variables that are looked up.
pub(super) fn fill_with<'v>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<&'v str>,
) -> Result<Filled, Mistake> {
    let mut filler = Filler { lookup, whole: text, filled: Filled::default() };
    filler.fill(text, 0)?;
    Ok(filler.filled)
}

struct Filler<'a, 'v> {
    lookup: &'a dyn Fn(&str) -> Option<&'v str>,
    whole: &'a str,
    filled: Filled,
}

impl Filler<'_, '_> {
    fn fill(&mut self, text: &str, depth: usize) -> Result<(), Mistake> {
        if DEEPEST < depth {
            return Err(Mistake::TooDeep);
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            self.push(before)?;
            rest = match after.chars().next() {
                Some('$') => {
                    self.push("$")?;
                    &after[1..]
                }
                Some('{') => {
                    let (inside, after) = braced(after).ok_or_else(|| self.format())?;
                    self.expand(inside, depth)?;
                    after
                }
                _ => {
                    let (name, after) = name(after);
                    if name.is_empty() {
                        return Err(self.format());
                    }
                    self.put(name)?;
                    after
                }
            };
        }
        self.push(rest)
    }

    fn push(&mut self, text: &str) -> Result<(), Mistake> {
        if LONGEST < self.filled.text.len() + text.len() {
            return Err(Mistake::TooLong);
        }
        self.filled.text.push_str(text);
        Ok(())
    }

    /// The variable as it is.
    fn put(&mut self, name: &str) -> Result<(), Mistake> {
        match (self.lookup)(name) {
            None => self.blank(name, Cause::Unset),
            Some("") => self.blank(name, Cause::Empty),
            Some(value) => return self.push(value),
        }
        Ok(())
    }

    fn blank(&mut self, name: &str, cause: Cause) {
        self.filled.blanks.push(Blank { name: name.to_owned(), cause });
    }

    /// What is between braces.
    fn expand(&mut self, inside: &str, depth: usize) -> Result<(), Mistake> {
        let (name, form) = name(inside);
        if name.is_empty() {
            return Err(self.format());
        }
        if form.is_empty() {
            return self.put(name);
        }
        let set = (self.lookup)(name);
        let (form, value) = match form.strip_prefix(':') {
            Some(form) => (form, set.filter(|value| !value.is_empty())),
            None => (form, set),
        };
        match (form.chars().next(), value) {
            (Some('-' | '?'), Some("")) => self.blank(name, Cause::Empty),
            (Some('-' | '?'), Some(value)) => self.push(value)?,
            (Some('-'), None) if form.len() == 1 => {
                self.blank(name, if set.is_some() { Cause::Empty } else { Cause::Default });
            }
            (Some('-'), None) | (Some('+'), Some(_)) => self.fill(&form[1..], depth + 1)?,
            (Some('+'), None) => {}
            (Some('?'), None) => {
                let mut text = Filler { filled: Filled::default(), ..*self };
                text.fill(&form[1..], depth + 1)?;
                return Err(Mistake::Required { name: name.to_owned(), text: text.filled.text });
            }
            _ => return Err(self.format()),
        }
        Ok(())
    }

    fn format(&self) -> Mistake {
        Mistake::Format(self.whole.to_owned())
    }
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

/// The text that it is of is cut where it would fill a screen.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(text) => {
                let cut: String = text.chars().take(60).collect();
                let more = if cut.len() < text.len() { "…" } else { "" };
                write!(
                    f,
                    "\"{}{more}\" has a $ that begins no variable such as ${{NAME}} or \
                     ${{NAME:-default}}; a dollar itself is $$",
                    cut.escape_debug()
                )
            }
            Self::Required { name, text } if text.is_empty() => {
                write!(f, "the variable {name} has to be set")
            }
            Self::Required { name, text } => {
                write!(f, "the variable {name} has to be set: {}", text.escape_debug())
            }
            Self::TooDeep => write!(f, "variables are nested more than {DEEPEST} deep"),
            Self::TooLong => {
                write!(f, "its variables make it longer than {LONGEST} bytes")
            }
        }
    }
}

impl fmt::Display for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Unset | Cause::Default => write!(f, "the variable {} is not set", self.name),
            Cause::Empty => write!(f, "the variable {} is empty", self.name),
        }
    }
}
