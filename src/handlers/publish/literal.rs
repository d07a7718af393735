//! Parses Python literals, which include nearly all of JSON: `{"host": (("10.0.0.2", 4001),)}`.
//!
//! Pure. The `publisher.ini` of Docker Glue contains tuples, which JSON does not have: a JSON parser would reject the
//! files that users already have.

use serde_json::{Map, Number, Value};

/// The deepest nesting; more than any handler file needs.
const MAX_DEPTH: usize = 16;

/// Parses a value. A tuple becomes a list.
///
/// # Errors
/// What was expected, and at which character, counted from 1. The text itself is not repeated, because it may contain
/// a password.
pub(crate) fn parse_literal(text: &str) -> Result<Value, String> {
    let mut reader = LiteralParser { remaining: text, length: text.chars().count() };
    let value = reader.parse_value(0)?;
    reader.skip_spaces();
    if reader.remaining.is_empty() { Ok(value) } else { Err(reader.expected_error("the end")) }
}

struct LiteralParser<'a> {
    remaining: &'a str,
    length: usize,
}

impl LiteralParser<'_> {
    fn parse_value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip_spaces();
        if depth == MAX_DEPTH {
            return Err(self.expected_error("less nesting"));
        }
        match self.remaining.chars().next() {
            Some('{') => self.parse_map(depth + 1),
            Some('[') => Ok(Value::Array(self.parse_list(']', depth + 1)?.0)),
            Some('(') => Ok(match self.parse_list(')', depth + 1)? {
                // Parentheses around one value without a comma are not a tuple.
                (mut one, false) if one.len() == 1 => one.remove(0),
                (all, _) => Value::Array(all),
            }),
            Some('"' | '\'') => self.parse_text().map(Value::String),
            Some('u') if self.remaining[1..].starts_with(['"', '\'']) => {
                self.remaining = &self.remaining[1..];
                self.parse_text().map(Value::String)
            }
            _ => self.parse_word(),
        }
    }

    fn parse_map(&mut self, depth: usize) -> Result<Value, String> {
        self.take_char('{');
        let mut map = Map::new();
        loop {
            self.skip_spaces();
            if self.take_char('}') {
                return Ok(Value::Object(map));
            }
            let Value::String(key) = self.parse_value(depth)? else {
                return Err(self.expected_error("a quoted name before this"));
            };
            self.require_char(':')?;
            map.insert(key, self.parse_value(depth)?);
            self.skip_spaces();
            if !self.take_char(',') && !self.remaining.starts_with('}') {
                return Err(self.expected_error("a , or }"));
            }
        }
    }

    /// Returns the items, and whether the list contained a comma.
    fn parse_list(&mut self, end: char, depth: usize) -> Result<(Vec<Value>, bool), String> {
        self.remaining = &self.remaining[1..];
        let (mut all, mut comma) = (Vec::new(), false);
        loop {
            self.skip_spaces();
            if self.take_char(end) {
                return Ok((all, comma));
            }
            all.push(self.parse_value(depth)?);
            self.skip_spaces();
            if self.take_char(',') {
                comma = true;
            } else if !self.remaining.starts_with(end) {
                return Err(self.expected_error(&format!("a , or {end}")));
            }
        }
    }

    fn parse_text(&mut self) -> Result<String, String> {
        let mut chars = self.remaining.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            match chars.next() {
                None => return Err(self.expected_error("the end of the quoted text that starts")),
                end if end == quote => break,
                Some('\\') => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c @ ('\\' | '\'' | '"' | '/')) => text.push(c),
                    _ => {
                        return Err(self.expected_error("one of \\\\, \\', \\\", \\n and \\t"));
                    }
                },
                Some(c) => text.push(c),
            }
        }
        self.remaining = chars.as_str();
        Ok(text)
    }

    fn parse_word(&mut self) -> Result<Value, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        let end = self.remaining.find(|c| !is_word(c)).unwrap_or(self.remaining.len());
        let (word, remaining) = self.remaining.split_at(end);
        let value = match word {
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            "None" | "null" => Value::Null,
            number => match (number.parse::<i64>(), number.parse::<f64>()) {
                (Ok(whole), _) => whole.into(),
                (_, Ok(other)) => Number::from_f64(other).map_or(Value::Null, Value::Number),
                _ => return Err(self.expected_error("a value")),
            },
        };
        self.remaining = remaining;
        Ok(value)
    }

    fn skip_spaces(&mut self) {
        self.remaining = self.remaining.trim_start();
    }

    fn take_char(&mut self, c: char) -> bool {
        let remaining = self.remaining.strip_prefix(c);
        self.remaining = remaining.unwrap_or(self.remaining);
        remaining.is_some()
    }

    fn require_char(&mut self, c: char) -> Result<(), String> {
        self.skip_spaces();
        if self.take_char(c) { Ok(()) } else { Err(self.expected_error(&format!("a {c}"))) }
    }

    fn expected_error(&self, what: &str) -> String {
        let position = self.length - self.remaining.chars().count() + 1;
        format!("{what} is expected at character {position}")
    }
}

#[cfg(test)]
mod tests {
    use super::parse_literal;

    #[test]
    fn python_literal_is_parsed_to_json() {
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
            assert_eq!(parse_literal(text).unwrap().to_string(), json, "{text}");
        }
    }

    #[test]
    fn invalid_literal_is_reported_by_position_without_its_text() {
        let deep = "[".repeat(100);
        for (text, expected) in [
            ("", "a value is expected at character 1"),
            ("{'a' 1}", "a : is expected at character 6"),
            ("{'a': secret}", "a value is expected at character 7"),
            ("{a: 1}", "a value is expected at character 2"),
            ("{1: 1}", "a quoted name before this is expected at character 3"),
            ("['a' 'b']", "a , or ] is expected at character 6"),
            ("'secret", "the end of the quoted text that starts is expected at character 1"),
            ("1 2", "the end is expected at character 3"),
            ("é é", "a value is expected at character 1"),
            (&deep, "less nesting is expected at character 17"),
        ] {
            assert_eq!(parse_literal(text).unwrap_err(), expected, "{text}");
        }
    }
}
