//! Texts as a compose file has them: `${NAME}` stands for a variable, `$$` for a dollar.
//!
//! Pure.

use crate::haproxy::name::hash;

/// Longest name of a route or policy.
const MAX_NAME: usize = 40;

/// Limit of variables in variables.
const MAX_DEPTH: usize = 16;

/// Returns whether a variable is part of the text.
pub(super) fn has_variable(text: &str) -> bool {
    text.replace("$$", "").contains('$')
}

/// Returns the text that the program gets, if no variable is part of it.
pub(super) fn literal(text: &str) -> Option<String> {
    (!has_variable(text)).then(|| text.replace("$$", "$"))
}

/// Writes a literal text as a compose file has it.
pub(super) fn escape_dollars(text: &str) -> String {
    text.replace('$', "$$")
}

/// Splits at a separator that is not part of `${…}`.
pub(super) fn split_outside(text: &str, is_separator: impl Fn(char) -> bool) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '$' if matches!(characters.peek(), Some((_, '$'))) => drop(characters.next()),
            '$' if matches!(characters.peek(), Some((_, '{'))) => {
                characters.next();
                depth += 1;
            }
            '}' if 0 < depth => depth -= 1,
            _ if depth == 0 && is_separator(c) => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Returns the members of a list, without blanks around them and without empty ones.
pub(super) fn list_members(text: &str) -> Vec<&str> {
    let members = split_outside(text, |c| c == ',').into_iter().map(str::trim);
    members.filter(|member| !member.is_empty()).collect()
}

/// Returns the words between blanks. A text in double quotes or backticks is one word, without the quotes.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut depth) = (Vec::new(), String::new(), None, 0_usize);
    let mut is_word = false;
    let mut before = ' ';
    for c in text.chars() {
        match (c, quote) {
            (c, Some(end)) if c == end => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '`', None) => (quote, is_word) = (Some(c), true),
            (c, None) if c.is_whitespace() && depth == 0 => {
                if is_word || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            (c, None) => {
                match c {
                    '{' if before == '$' => depth += 1,
                    '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                word.push(c);
            }
        }
        before = c;
    }
    if is_word || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Returns whether a switch of another program is on. A variable counts as on.
pub(super) fn is_on(text: &str) -> bool {
    !matches!(text.trim().to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off" | "f" | "n")
}

/// Returns the name of a route or policy: letters, digits, `-` and `_`, at most 40 of them. A variable has its default.
pub(super) fn to_name(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = fill_defaults(text);
    let name: String = name.chars().map(|c| if legal(c) { c } else { '-' }).collect();
    let parts = name.split('-').filter(|part| !part.is_empty());
    let name = parts.collect::<Vec<_>>().join("-");
    match name.len() {
        0 => "route".to_owned(),
        1..=MAX_NAME => name,
        // Two long names may differ at their ends only.
        _ => format!("{}-{:08x}", &name[..MAX_NAME - 9], hash(&name) >> 32),
    }
}

/// Replaces each variable by its default, or by its name if there is none.
pub(super) fn fill_defaults(text: &str) -> String {
    replace_variables(text, &|name, operator, word| match operator {
        "-" | ":-" if !word.is_empty() => fill_defaults(word),
        _ => name.to_owned(),
    })
}

/// Removes messages for variables that are not set: `${NAME?message}` and `${NAME}` are the same.
pub(super) fn remove_messages(text: &str) -> String {
    replace_variables(text, &|name, operator, word| match operator {
        "?" | ":?" => format!("${{{name}}}"),
        _ => format!("${{{name}{operator}{}}}", remove_messages(word)),
    })
}

/// Replaces each `${NAME…}`, of which the function gets the name, the operator and the word after it.
fn replace_variables(text: &str, replace: &dyn Fn(&str, &str, &str) -> String) -> String {
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        replaced.push_str(&rest[..at]);
        let after = &rest[at..];
        let (variable, others) = after.split_at(variable_length(after));
        match variable.strip_prefix("${").and_then(|text| text.strip_suffix('}')) {
            Some(inside) => {
                let (name, operator, word) = split_variable(inside);
                replaced.push_str(&replace(name, operator, word));
            }
            None => replaced.push_str(variable),
        }
        rest = others;
    }
    replaced + rest
}

/// Returns the length of `${…}` or `$$` at the start; 1 for another dollar.
fn variable_length(text: &str) -> usize {
    if text.starts_with("$$") {
        return 2;
    }
    if !text.starts_with("${") {
        return 1;
    }
    let (mut depth, mut before) = (0_usize, ' ');
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' && depth == MAX_DEPTH => return 1,
            '{' if before == '$' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    1
}

/// Splits `NAME:-word` into the name, the operator and the word.
fn split_variable(inside: &str) -> (&str, &str, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest) = inside.split_at(inside.find(|c| !is_name(c)).unwrap_or(inside.len()));
    let operators = [":-", ":?", ":+", "-", "?", "+"];
    let operator = operators.into_iter().find(|operator| rest.starts_with(operator)).unwrap_or("");
    (name, operator, &rest[operator.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separator_in_variable_does_not_split() {
        for (text, parts) in [
            ("a.b", &["a", "b"][..]),
            ("${A:-x.y}.b", &["${A:-x.y}", "b"]),
            ("${A:-${B:-c.d}}.e", &["${A:-${B:-c.d}}", "e"]),
            ("$${a.b}", &["$${a", "b}"]),
            ("$A.b", &["$A", "b"]),
        ] {
            assert_eq!(split_outside(text, |c| c == '.'), parts, "{text}");
        }
    }

    #[test]
    fn words_keep_quoted_blanks_and_variables() {
        for (text, words) in [
            ("a  b", &["a", "b"][..]),
            ("\"a b\" c", &["a b", "c"]),
            ("${A:-b c} d", &["${A:-b c}", "d"]),
            ("{{upstreams 80}}", &["{{upstreams", "80}}"]),
            ("\"\"", &[""]),
        ] {
            assert_eq!(split_words(text), words, "{text}");
        }
    }

    #[test]
    fn name_has_legal_characters_only() {
        for (text, name) in [
            ("app", "app"),
            ("a b.c", "a-b-c"),
            ("${X:-y}-z", "y-z"),
            ("${X:-${Y:-a.b}}", "a-b"),
            ("${X:-}-z", "X-z"),
            ("${X:?not set}-$Y", "X-Y"),
            ("…", "route"),
        ] {
            assert_eq!(to_name(text), name);
        }
    }

    #[test]
    fn long_names_stay_different() {
        let [first, second] = ["x", "y"].map(|end| to_name(&format!("{}{end}", "a".repeat(60))));
        assert_ne!(first, second);
        assert_eq!([first.len(), second.len()], [MAX_NAME; 2]);
    }

    #[test]
    fn message_of_variable_is_removed() {
        for (text, expected) in [
            ("${A?no. A}-x", "${A}-x"),
            ("${A:?no}", "${A}"),
            ("${A:-${B?no}}", "${A:-${B}}"),
            ("$$${A}$B", "$$${A}$B"),
            ("${A", "${A"),
            ("€${", "€${"),
        ] {
            assert_eq!(remove_messages(text), expected);
        }
    }
}
