//! The command lines of `notify` and `check`: words, for which no shell is started.

use crate::{
    handler::{
        ini::{Mistake, Section},
        script,
    },
    settings::GlueSettings,
};
use std::path::{Path, PathBuf};

/// # Errors
/// A quote is not closed; it is meant for a shell; or there is no such program.
pub(super) fn read(
    params: &Section,
    key: &str,
    settings: &GlueSettings,
) -> Result<Option<Vec<String>>, Mistake> {
    let Some(text) = params.get(key).filter(|it| !it.is_empty()) else { return Ok(None) };
    let Some(words) = shlex::split(text).filter(|words| !words.is_empty()) else {
        return Err(params.mistake(key, format!("a quote is not closed in {text:?}")));
    };
    if let Some(sign) = of_a_shell(text) {
        let quoted = shlex::try_quote(text).unwrap_or_default();
        let told = format!(
            "{sign} is for a shell, and none is started: {key}=sh -c {quoted}, or quote it where it is meant as it stands"
        );
        return Err(params.mistake(key, told));
    }
    let well = program(&words[0], settings);
    well.map_err(|told| params.mistake(key, told)).map(|()| Some(words))
}

/// What a shell would not take as it stands: an operator, a variable, a home, a pattern. In quotes it may stand, but
/// for what double ones leave to the shell.
fn of_a_shell(text: &str) -> Option<String> {
    let assigned = text.split_whitespace().next().and_then(|word| word.split_once('='));
    if let Some((name, _)) = assigned
        && is_name(name)
    {
        return Some(format!("{name}=… before a command"));
    }
    let mut quote = None;
    let mut before = ' ';
    let mut signs = text.char_indices();
    while let Some((at, c)) = signs.next() {
        let rest = &text[at..];
        match (quote, c) {
            (None | Some('"'), '\\') => drop(signs.next()),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => {}
            (_, '$') if is_expanded(&rest[1..]) => return Some(word(rest)),
            (_, '`') => return Some("`".to_owned()),
            (None, '&' | '|' | ';' | '<' | '>') => {
                let end = rest.find(|other| other != c).unwrap_or(rest.len());
                return Some(rest[..end].to_owned());
            }
            (None, '~') if before.is_whitespace() => return Some(word(rest)),
            (None, '*') => return Some("*".to_owned()),
            // A shell's comment.
            (None, '#') if before.is_whitespace() => return Some("#".to_owned()),
            _ => {}
        }
        before = c;
    }
    None
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `$VAR`, `${VAR}`, `$(command)`, `$1`; not the `$` at an expression's end.
fn is_expanded(after: &str) -> bool {
    after.starts_with(|c: char| c.is_ascii_alphanumeric() || "_{(?!#@$".contains(c))
}

fn word(rest: &str) -> String {
    let end = rest.find(|c: char| c.is_whitespace() || "\"';&|".contains(c));
    rest[..end.unwrap_or(rest.len())].to_owned()
}

/// One of PATH, unless it is a path. Where no PATH is known, nothing is.
fn program(name: &str, settings: &GlueSettings) -> Result<(), String> {
    let Some(path) = settings.machine.env.get("PATH") else { return Ok(()) };
    let folders: Vec<_> = if name.contains('/') {
        vec![PathBuf::from(".")]
    } else {
        std::env::split_paths(path).collect()
    };
    script::find(Path::new(name), &folders).map(drop)
}

#[cfg(test)]
mod tests {
    use super::of_a_shell;

    #[test]
    fn signs_of_a_shell_are_seen_where_a_shell_would_see_them() {
        for (text, expected) in [
            ("nginx -s reload", ""),
            ("nginx -t && nginx -s reload", "&&"),
            ("a||b", "||"),
            ("a; b", ";"),
            ("a;b", ";"),
            ("a | b", "|"),
            ("a &", "&"),
            ("echo x >> /tmp/file", ">>"),
            ("echo x >/tmp/file", ">"),
            ("a 2>&1", ">"),
            ("a < b", "<"),
            ("kill $PID", "$PID"),
            ("curl http://${HOST}/x", "${HOST}/x"),
            ("curl \"http://$HOST/\"", "$HOST/"),
            ("a $(b c)", "$(b"),
            ("a `b`", "`"),
            ("a \"`b`\"", "`"),
            ("~/bin/x y", "~/bin/x"),
            ("cp ~root/x y", "~root/x"),
            ("rm /tmp/*.conf", "*"),
            ("A=b c", "A=… before a command"),
            ("a # b", "#"),
            ("sh -c 'nginx -t && echo $X > ~/y; a|b'", ""),
            ("sh -c \"nginx -t && nginx -s reload\"", ""),
            ("awk '$1 == \"*\"' x", ""),
            ("grep 'a\\b' \"x\\$y\" \\$z \\* a\\;b", ""),
            ("grep x$ file~ a~b a#b {}", ""),
            ("x --env=a=b A=b", ""),
            ("curl http://a.test/?x=1", ""),
            ("a 'it'\\''s' && b", "&&"),
        ] {
            assert_eq!(of_a_shell(text).unwrap_or_default(), expected, "{text}");
        }
    }
}
