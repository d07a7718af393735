//! Parses the command lines of `notify` and `check`, which are run without a shell.

use crate::{
    handlers::{
        ini::{IniError, Section},
        script,
    },
    settings::GlueSettings,
};
use std::path::{Path, PathBuf};

/// # Errors
/// If a quote is not closed, the command needs a shell, or the program does not exist.
pub(crate) fn parse_command(
    params: &Section,
    key: &str,
    settings: &GlueSettings,
) -> Result<Option<Vec<String>>, IniError> {
    let Some(text) = params.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    let Some(words) = shlex::split(text).filter(|words| !words.is_empty()) else {
        return Err(params.error_at(key, format!("a quote is not closed in {text:?}")));
    };
    if let Some(sign) = find_shell_syntax(text) {
        let quoted = shlex::try_quote(text).unwrap_or_default();
        let message = format!(
            "{sign} needs a shell, but no shell is used: write {key}=sh -c {quoted}, or quote it \
             if it is meant literally"
        );
        return Err(params.error_at(key, message));
    }
    let checked = check_program(&words[0], settings);
    checked.map_err(|message| params.error_at(key, message)).map(|()| Some(words))
}

/// Returns the first part that only a shell would interpret: an operator, a variable, a home directory, a pattern.
/// Such characters are accepted in quotes, except those that a shell interprets in double quotes.
fn find_shell_syntax(text: &str) -> Option<String> {
    let assigned = text.split_whitespace().next().and_then(|word| word.split_once('='));
    if let Some((name, _)) = assigned
        && is_variable_name(name)
    {
        return Some(format!("{name}=… before a command"));
    }
    let mut quote = None;
    let mut before = ' ';
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        let remaining = &text[at..];
        match (quote, c) {
            (None | Some('"'), '\\') => drop(chars.next()),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => {}
            (_, '$') if is_expansion(&remaining[1..]) => return Some(leading_word(remaining)),
            (_, '`') => return Some("`".to_owned()),
            (None, '&' | '|' | ';' | '<' | '>') => {
                let end = remaining.find(|other| other != c).unwrap_or(remaining.len());
                return Some(remaining[..end].to_owned());
            }
            (None, '~') if before.is_whitespace() => return Some(leading_word(remaining)),
            (None, '*') => return Some("*".to_owned()),
            // The start of a comment in a shell.
            (None, '#') if before.is_whitespace() => return Some("#".to_owned()),
            _ => {}
        }
        before = c;
    }
    None
}

fn is_variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether `$` is followed by an expansion: `$VAR`, `${VAR}`, `$(command)`, `$1`; but not a `$` at the end of an
/// expression.
fn is_expansion(after: &str) -> bool {
    after.starts_with(|c: char| c.is_ascii_alphanumeric() || "_{(?!#@$".contains(c))
}

fn leading_word(remaining: &str) -> String {
    let end = remaining.find(|c: char| c.is_whitespace() || "\"';&|".contains(c));
    remaining[..end.unwrap_or(remaining.len())].to_owned()
}

/// Checks that a program exists: a path, or a name in PATH. Without a PATH nothing is checked.
fn check_program(name: &str, settings: &GlueSettings) -> Result<(), String> {
    let Some(path) = settings.machine.env.get("PATH") else { return Ok(()) };
    let folders: Vec<_> = if name.contains('/') {
        vec![PathBuf::from(".")]
    } else {
        std::env::split_paths(path).collect()
    };
    script::find_program(Path::new(name), &folders).map(drop)
}

#[cfg(test)]
mod tests {
    use super::find_shell_syntax;

    #[test]
    fn shell_syntax_is_found_where_a_shell_would_apply_it() {
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
            assert_eq!(find_shell_syntax(text).unwrap_or_default(), expected, "{text}");
        }
    }
}
