//! Values as a Python file has them, of which JSON is nearly a part: `{"host": (("10.0.0.2", 4001),)}`.
//!
//! Pure.

use serde_json::{Map, Number, Value};

/// More than any file of handlers nests.
const DEEPEST: usize = 16;

/// A tuple becomes a list.
///
/// # Errors
/// What was expected, and where, in characters from 1. The text itself is not repeated: it may hold a password.
pub(super) fn literal(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text, length: text.chars().count() };
    let value = reader.value(0)?;
    reader.skip_spaces();
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.expected("an end")) }
}

struct Reader<'a> {
    rest: &'a str,
    length: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip_spaces();
        if depth == DEEPEST {
            return Err(self.expected("no deeper nesting"));
        }
        match self.rest.chars().next() {
            Some('{') => self.map(depth + 1),
            Some('[') => Ok(Value::Array(self.list(']', depth + 1)?.0)),
            Some('(') => Ok(match self.list(')', depth + 1)? {
                // Without a comma they are only parentheses.
                (mut one, false) if one.len() == 1 => one.remove(0),
                (all, _) => Value::Array(all),
            }),
            Some('"' | '\'') => self.text().map(Value::String),
            Some('u') if self.rest[1..].starts_with(['"', '\'']) => {
                self.rest = &self.rest[1..];
                self.text().map(Value::String)
            }
            _ => self.word(),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, String> {
        self.take('{');
        let mut map = Map::new();
        loop {
            self.skip_spaces();
            if self.take('}') {
                return Ok(Value::Object(map));
            }
            let Value::String(key) = self.value(depth)? else {
                return Err(self.expected("a name in quotes before this"));
            };
            self.need(':')?;
            map.insert(key, self.value(depth)?);
            self.skip_spaces();
            if !self.take(',') && !self.rest.starts_with('}') {
                return Err(self.expected("a , or }"));
            }
        }
    }

    /// And whether a comma was in it.
    fn list(&mut self, end: char, depth: usize) -> Result<(Vec<Value>, bool), String> {
        self.rest = &self.rest[1..];
        let (mut all, mut comma) = (Vec::new(), false);
        loop {
            self.skip_spaces();
            if self.take(end) {
                return Ok((all, comma));
            }
            all.push(self.value(depth)?);
            self.skip_spaces();
            if self.take(',') {
                comma = true;
            } else if !self.rest.starts_with(end) {
                return Err(self.expected(&format!("a , or {end}")));
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let mut chars = self.rest.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            match chars.next() {
                None => return Err(self.expected("an end of the quoted text that begins")),
                end if end == quote => break,
                Some('\\') => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c @ ('\\' | '\'' | '"' | '/')) => text.push(c),
                    _ => return Err(self.expected("only \\\\, \\', \\\", \\n and \\t in the text")),
                },
                Some(c) => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(text)
    }

    fn word(&mut self) -> Result<Value, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value = match word {
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            "None" | "null" => Value::Null,
            number => match (number.parse::<i64>(), number.parse::<f64>()) {
                (Ok(whole), _) => whole.into(),
                (_, Ok(other)) => Number::from_f64(other).map_or(Value::Null, Value::Number),
                _ => return Err(self.expected("a value")),
            },
        };
        self.rest = rest;
        Ok(value)
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn need(&mut self, c: char) -> Result<(), String> {
        self.skip_spaces();
        if self.take(c) { Ok(()) } else { Err(self.expected(&format!("a {c}"))) }
    }

    fn expected(&self, what: &str) -> String {
        let place = self.length - self.rest.chars().count() + 1;
        format!("{what} is expected at its character {place}")
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn what_python_writes_is_read() {
        for (text, json) in [
            (
                r#"{"host": (("10.0.0.2", 4001), ("10.0.0.3", 4001))}"#,
                r#"{"host":[["10.0.0.2",4001],["10.0.0.3",4001]]}"#,
            ),
            ("{'host': 'a', 'port': 2379,}", r#"{"host":"a","port":2379}"#),
            ("{'a': True, 'b': None, 'c': false}", r#"{"a":true,"b":null,"c":false}"#),
            (r#"[u"x", ('y'), ('z',), (), -1, 1.5]"#, r#"["x","y",["z"],[],-1,1.5]"#),
            (r"'it\'s \\ \n'", r#""it's \\ \n""#),
            ("{\n  'a':\n  1\n}", r#"{"a":1}"#),
        ] {
            assert_eq!(literal(text).unwrap().to_string(), json, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_told_by_its_place_and_not_repeated() {
        let deep = "[".repeat(100);
        for (text, told) in [
            ("", "a value is expected at its character 1"),
            ("{'a' 1}", "a : is expected at its character 6"),
            ("{'a': secret}", "a value is expected at its character 7"),
            ("{a: 1}", "a value is expected at its character 2"),
            ("{1: 1}", "a name in quotes before this is expected at its character 3"),
            ("['a' 'b']", "a , or ] is expected at its character 6"),
            ("'secret", "an end of the quoted text that begins is expected at its character 1"),
            ("1 2", "an end is expected at its character 3"),
            ("é é", "a value is expected at its character 1"),
            (&deep, "no deeper nesting is expected at its character 17"),
        ] {
            assert_eq!(literal(text).unwrap_err(), told, "{text}");
        }
    }
}
