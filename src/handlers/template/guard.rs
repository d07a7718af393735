//! Tests and a filter for text from untrusted sources. Text that passes them cannot end the line or the word into
//! which a template puts it.
//!
//! Pure.

use super::jinja::reject_none;
use minijinja::{Environment, Error, Value};

/// The greatest length of a host name, and of one of its parts.
const MAX_HOSTNAME_LENGTHS: (usize, usize) = (253, 63);

pub(crate) fn add_guards(environment: &mut Environment<'static>) {
    environment.add_test("hostname", |value: Value| value.as_str().is_some_and(is_hostname));
    environment.add_test("path", |value: Value| value.as_str().is_some_and(is_path));
    environment.add_filter("one_line", |value: Value| {
        reject_none(&value)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok::<_, Error>(one_line(&text))
    });
}

/// Letters, digits, dashes and underscores, with dots between the parts.
fn is_hostname(text: &str) -> bool {
    text.len() <= MAX_HOSTNAME_LENGTHS.0 && text.split('.').all(is_hostname_part)
}

fn is_hostname_part(part: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=MAX_HOSTNAME_LENGTHS.1).contains(&part.len())
        && part.chars().all(is_plain)
        && !part.starts_with('-')
        && !part.ends_with('-')
}

/// Whether the text is a plain URL path: no spaces, quotes, brackets or semicolons, and no `..` segment.
fn is_path(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%+@:=,".contains(c);
    text.starts_with('/')
        && text.len() <= 1024
        && text.chars().all(is_plain)
        && !text.split('/').any(|segment| segment == "..")
}

/// Replaces characters that end a line, change its direction or control a terminal with spaces.
fn one_line(text: &str) -> String {
    let is_other = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_other(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_hostname, is_path, one_line};

    #[test]
    fn safe_names_are_hostnames_others_are_not() {
        let long = "a".repeat(63);
        for name in ["a", "a.test", "A-1_b.c.example.com", "10.0.0.1", "_srv.a", &long] {
            assert!(is_hostname(name), "{name}");
        }
        let (longer, longest) = ("a".repeat(64), [long.as_str(); 4].join("."));
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a.-b",
            "a b",
            "a;b",
            "a\n",
            "a\nb",
            "\ta",
            "a/b",
            "a:80",
            "*.a",
            "a{",
            "a}",
            "a#",
            "a$b",
            "a\"b",
            "ä.test",
            "a\u{2028}b",
            &longer,
            &longest,
        ] {
            assert!(!is_hostname(text), "{text:?}");
        }
    }

    #[test]
    fn url_paths_are_paths_others_are_not() {
        for path in ["/", "/api", "/a/b.c/~d", "/%61", "/a+b@c:d=e,f", "/...", "/a..b/"] {
            assert!(is_path(path), "{path}");
        }
        let long = format!("/{}", "a".repeat(1024));
        for text in [
            "", "a", "api/", "/a b", "/a;", "/a{", "/}", "/a\n", "/a\"", "/a'", "/$x", "/a#b",
            "/a?b", "/a\\b", "/(a)", "/a|b", "/..", "/a/../b", "/ä", &long,
        ] {
            assert!(!is_path(text), "{text:?}");
        }
    }

    #[test]
    fn one_line_replaces_line_breaks_and_control_characters() {
        for (text, expected) in [
            ("", ""),
            ("a; b {ä}", "a; b {ä}"),
            ("a\r\nb\tc\u{1b}[2J", "a  b c [2J"),
            ("a\u{85}b\u{2028}c\u{202e}d\u{7f}", "a b c d "),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
    }
}
