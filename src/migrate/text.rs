//! Texts as a compose file has them: `${NAME}` stands for a variable, `$$` for a dollar.
//!
//! Pure.

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

/// Returns the name of a route or policy: letters, digits, `-` and `_`, at most 40 of them.
pub(super) fn to_name(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = text.chars().map(|c| if legal(c) { c } else { '-' }).collect();
    let parts = name.split('-').filter(|part| !part.is_empty());
    let name: String = parts.collect::<Vec<_>>().join("-").chars().take(40).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "route".to_owned() } else { name.to_owned() }
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
        for (text, name) in
            [("app", "app"), ("a b.c", "a-b-c"), ("${X:-y}-z", "X-y-z"), ("…", "route")]
        {
            assert_eq!(to_name(text), name);
        }
    }
}
