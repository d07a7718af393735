//! Rust text as words and punctuation, each with its line. Comments and literals are left out.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// A word, a number, `::`, or a single other character.
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// Returns the tokens of a file without those of its test modules.
pub(crate) fn read_code(text: &str) -> Vec<Token<'_>> {
    drop_test_modules(&read_tokens(text))
}

fn read_tokens(text: &str) -> Vec<Token<'_>> {
    let (mut remaining, mut line, mut tokens) = (text, 1, Vec::new());
    while !remaining.is_empty() {
        let (length, is_code) = measure_token(remaining);
        let (token, after) = remaining.split_at(length);
        if is_code {
            tokens.push(Token { text: token.trim_start_matches("r#"), line });
        }
        line += token.matches('\n').count();
        remaining = after;
    }
    tokens
}

/// Returns the length of the token, blank, comment or literal at the start of the text, and whether it is code.
fn measure_token(text: &str) -> (usize, bool) {
    let skipped = measure_comment(text)
        .or_else(|| measure_raw_string(text))
        .or_else(|| measure_string(text))
        .or_else(|| measure_quoted(text));
    if let Some(length) = skipped {
        return (length, false);
    }
    let first = text.chars().next().map_or(0, char::len_utf8);
    match text.strip_prefix("r#").map_or(0, measure_word) {
        0 if text.starts_with("::") => (2, true),
        0 if text.starts_with(char::is_whitespace) => (first, false),
        0 => (measure_word(text).max(first), true),
        raw => (raw + 2, true),
    }
}

fn measure_word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Measures a comment. Block comments nest.
fn measure_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.strip_prefix("/*")?;
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < text.len() {
        let remaining = &text[at..];
        let step = if remaining.starts_with("*/") || remaining.starts_with("/*") { 2 } else { 1 };
        depth += i32::from(remaining.starts_with("/*")) - i32::from(remaining.starts_with("*/"));
        at += if step == 2 { 2 } else { remaining.chars().next().map_or(1, char::len_utf8) };
    }
    Some(at)
}

fn measure_raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        let remaining = text.strip_prefix(prefix);
        remaining.is_some_and(|remaining| remaining.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = text[prefix.len()..].find('"')?;
    let start = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[start..].find(&end).map_or(text.len(), |length| start + length + end.len()))
}

fn measure_string(text: &str) -> Option<usize> {
    let prefix = ["\"", "b\"", "c\""].into_iter().find(|prefix| text.starts_with(prefix))?;
    Some(measure_until(text, prefix.len(), '"'))
}

/// Measures a character literal or a lifetime.
fn measure_quoted(text: &str) -> Option<usize> {
    let prefix = ["'", "b'"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let mut inner = text[prefix.len()..].chars();
    match (inner.next()?, inner.next()) {
        ('\\', _) => Some(measure_until(text, prefix.len(), '\'')),
        (c, Some('\'')) => Some(prefix.len() + c.len_utf8() + 1),
        _ => Some(prefix.len() + measure_word(&text[prefix.len()..])),
    }
}

/// Returns the length up to and including the quote that ends a literal. A quote after `\` does not end it.
fn measure_until(text: &str, start: usize, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text[start..].char_indices() {
        if c == quote && !is_escaped {
            return start + at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

fn drop_test_modules<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if let Some(body) = find_test_module(&tokens[at..]) {
            at += body;
            at += measure_block(&tokens[at..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Returns where the block of a test module begins, if the tokens begin with a test module.
fn find_test_module(tokens: &[Token<'_>]) -> Option<usize> {
    let mut at = match_texts(tokens, &["#", "[", "cfg", "(", "test", ")", "]"])?;
    while tokens.get(at)?.text == "#" {
        at += tokens[at..].iter().position(|token| token.text == "]")? + 1;
    }
    at += match_texts(&tokens[at..], &["mod"])?;
    (tokens.get(at + 1)?.text == "{").then_some(at + 1)
}

fn match_texts(tokens: &[Token<'_>], texts: &[&str]) -> Option<usize> {
    let start = tokens.get(..texts.len())?;
    start.iter().map(|token| token.text).eq(texts.iter().copied()).then_some(texts.len())
}

/// Returns the number of tokens from a `{` to its matching `}`.
fn measure_block(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        depth += i32::from(token.text == "{") - i32::from(token.text == "}");
        depth == 0
    });
    end.map_or(tokens.len(), |end| end + 1)
}
