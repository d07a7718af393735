//! Escaping of text from outside (labels, names, requests) for the place where it is printed.
//!
//! Pure. One rule per medium:
//!
//! | medium | rule |
//! |---|---|
//! | a cell or line on a terminal, a whole line of the log | [`SingleLine`]: unprintable characters are escaped |
//! | text inside a sentence | [`QuotedText`], [`EscapedText`]: quotes and backslashes too; long text is truncated |
//! | HTML | [`SingleLine`], then askama, which escapes markup |

use std::fmt::{self, Write as _};

/// The longest text that is printed in full, and the length to which a longer one is truncated, in characters.
pub const MAX_TEXT_CHARS: usize = 120;
const TRUNCATED_CHARS: usize = 80;

/// Returns whether a character controls a line or a terminal instead of being visible in it: control characters, and
/// characters without a width or a meaning, which can hide text or reverse its direction.
///
/// These are the characters that Rust's `Debug` escapes in the middle of a string, except quotes and backslashes.
pub fn is_unprintable(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // A combining character is printable only after another character.
    let mut buffer = [b'a'; 5];
    let length = c.encode_utf8(&mut buffer[1..]).len();
    let text = std::str::from_utf8(&buffer[..=length]).unwrap_or_default();
    text.escape_debug().nth(1) != Some(c)
}

/// Text on one line: unprintable characters are escaped, for example as `
/// ` or `\u{202e}`.
#[derive(Debug)]
pub struct SingleLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for SingleLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(f), "{}", self.0)
    }
}

struct EscapingWriter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_unprintable) {
            match part.chars().next_back().filter(|c| is_unprintable(*c)) {
                None => self.0.write_str(part)?,
                Some(c) => {
                    let plain = &part[..part.len() - c.len_utf8()];
                    write!(self.0, "{plain}{}", c.escape_default())?;
                }
            }
        }
        Ok(())
    }
}

/// Text that is truncated if it is too long, followed by its original length. It is not escaped.
#[derive(Debug)]
pub struct Truncated<'a>(pub &'a str);

impl fmt::Display for Truncated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ends = self.0.char_indices().map(|(at, _)| at);
        match (ends.clone().nth(MAX_TEXT_CHARS), ends.nth(TRUNCATED_CHARS)) {
            (Some(_), Some(end)) => write!(f, "{}… ({} bytes)", &self.0[..end], self.0.len()),
            _ => f.write_str(self.0),
        }
    }
}

/// Text inside a sentence, without quotes.
#[derive(Debug)]
pub struct EscapedText<'a>(pub &'a str);

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Truncated(self.0).to_string().escape_debug())
    }
}

/// Text inside a sentence, between double quotes.
#[derive(Debug)]
pub struct QuotedText<'a>(pub &'a str);

impl fmt::Display for QuotedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Truncated(self.0).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, test_runner::Config};

    #[test]
    fn single_line_escapes_unprintable_characters_only() {
        for (text, expected) in [
            ("back", "back"),
            ("a\"b\\c'", "a\"b\\c'"),
            ("a\r\n\tWARN forged", "a\\r\\n\\tWARN forged"),
            ("\u{1b}[31m\u{7f}\u{9b}", "\\u{1b}[31m\\u{7f}\\u{9b}"),
            ("\u{202e}live\u{2066}\u{200b}\u{feff}", "\\u{202e}live\\u{2066}\\u{200b}\\u{feff}"),
            ("b\u{fc}cher u\u{308}ber \u{1f40b}", "b\u{fc}cher u\u{308}ber \u{1f40b}"),
        ] {
            assert_eq!(SingleLine(text).to_string(), expected);
        }
    }

    #[test]
    fn text_in_a_sentence_is_escaped_and_cut() {
        let long = "e".repeat(MAX_TEXT_CHARS + 1);
        let cut = format!("{}… (121 bytes)", "e".repeat(TRUNCATED_CHARS));
        for (text, expected) in [("a\"\n", "a\\\"\\n"), (&long, &cut)] {
            assert_eq!(EscapedText(text).to_string(), expected);
            assert_eq!(QuotedText(text).to_string(), format!("\"{expected}\""));
        }
    }

    /// Text with many of the special characters.
    fn any_text() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            '\n',
            '\r',
            '\t',
            '\0',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{61c}',
            '\u{ad}',
            '\u{200b}',
            '\u{200f}',
            '\u{2028}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{e0001}',
            '"',
            '\\',
        ]);
        let character = prop_oneof![any::<char>(), odd, prop::char::range(' ', '~')];
        prop::collection::vec(character, 0..200).prop_map(|text| text.into_iter().collect())
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn printed_text_has_no_unprintable_character(text in any_text()) {
            let printed = [
                SingleLine(&text).to_string(),
                EscapedText(&text).to_string(),
                QuotedText(&text).to_string(),
            ];
            for line in printed {
                prop_assert!(!line.contains(is_unprintable), "{line:?}");
                prop_assert!(!line.contains(char::is_control) && line.lines().count() <= 1);
            }
        }

        #[test]
        fn printable_text_is_printed_unchanged(text in any_text()) {
            let printable = text.replace(is_unprintable, "");
            prop_assert_eq!(SingleLine(&printable).to_string(), printable);
        }

        #[test]
        fn quoted_text_ends_at_its_last_quote_only(text in any_text()) {
            let quoted = QuotedText(&text).to_string();
            let inside = quoted[1..quoted.len() - 1].replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!inside.contains('"'), "{quoted}");
        }

        #[test]
        fn truncated_text_has_a_bounded_length(text in any_text()) {
            let cut = Truncated(&text).to_string();
            prop_assert!(cut.chars().count() <= MAX_TEXT_CHARS);
            prop_assert_eq!(Truncated(&cut).to_string(), cut);
        }
    }
}
