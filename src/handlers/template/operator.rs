//! Jinja2's operators `%`, `~` and `+`, with length limits.
//!
//! Pure. minijinja's `%` only supports numbers, its `~` writes none as `None`, and its `+` has no length limit.
//! Operators cannot be overridden there, but filters can be added: `a % b` is rewritten to `(a)|_percent(b)` in the
//! source, on the same line.

use std::ops::Range;

pub(crate) const PERCENT: &str = "_percent";
pub(crate) const TILDE: &str = "_tilde";
pub(crate) const PLUS: &str = "_plus";

/// Returns the source with filters instead of these operators.
pub(crate) fn rewrite_operators(text: &str) -> String {
    let mut edits: Vec<TextEdit> = Vec::new();
    for tag in find_tags(text) {
        collect_edits(&tag.tokens, &mut edits);
    }
    edits.sort_by_key(|edit| edit.at);
    let mut written = String::with_capacity(text.len() + 16 * edits.len());
    let mut done = 0;
    for TextEdit { at, length, with } in edits {
        written.push_str(&text[done..at]);
        written.push_str(with);
        done = at + length;
    }
    written + &text[done..]
}

/// Returns the line of the first tag with more tokens than `most`.
pub(crate) fn find_long_tag(text: &str, most: usize) -> Option<usize> {
    let tag = find_tags(text).find(|tag| most < tag.tokens.len())?;
    Some(1 + text[..tag.inside.start].matches('\n').count())
}

/// Returns the content of the tag at this offset, as its author wrote it.
pub(crate) fn expression_at(rewritten: &str, offset: usize) -> Option<String> {
    let tag = find_tags(rewritten).find(|tag| tag.inside.contains(&offset))?;
    let inside = restore_operators(&rewritten[tag.inside]);
    let inside = inside.trim_matches(['-', '+']);
    Some(inside.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The inserted text contains a form feed, which no author writes and minijinja ignores.
const OPEN: &str = "(\x0c";
const CLOSE: &str = ")\x0c";
const PERCENT_OF: &str = ")\x0c|_percent(\x0c";
const TILDE_OF: &str = ")\x0c|_tilde(\x0c";
const PLUS_OF: &str = ")\x0c|_plus(\x0c";

fn restore_operators(rewritten: &str) -> String {
    let operators = rewritten.replace(PERCENT_OF, "%").replace(TILDE_OF, "~");
    let operators = operators.replace(PLUS_OF, "+");
    operators.replace(OPEN, "").replace(CLOSE, "")
}

/// A replacement in the source.
#[derive(Debug)]
struct TextEdit {
    at: usize,
    length: usize,
    with: &'static str,
}

impl TextEdit {
    fn insert(at: usize, with: &'static str) -> Self {
        Self { at, length: 0, with }
    }
}

/// A tag `{{ … }}` or `{% … %}`.
#[derive(Debug)]
struct TemplateTag {
    /// The range between its delimiters.
    inside: Range<usize>,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    /// A name, a number or a string.
    Operand,
    Open,
    Close,
    Percent,
    Tilde,
    /// `*`, `/` or `//`
    Product,
    /// `+`: an addition or a sign.
    Plus,
    /// `-`: a subtraction or a sign.
    Minus,
    /// `.`, `|`, `**`, `is`, and `not` after `is`: both sides form one operand.
    Bond,
    /// Anything that binds less tightly than all of these.
    Break,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

fn find_tags(text: &str) -> impl Iterator<Item = TemplateTag> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let (start, sign) = next_tag_start(text, from)?;
            from = match sign {
                '#' => start + 2 + text[start + 2..].find("#}").map_or(text.len(), |n| n + 2),
                '%' if tag_name(text, start) == "raw" => end_of_raw(text, start + 2),
                _ => {
                    let (tokens, end) = tokenize(text, start + 2, sign);
                    from = end;
                    return Some(TemplateTag { inside: start + 2..end, tokens });
                }
            };
            if text.len() <= from {
                return None;
            }
        }
    })
}

fn next_tag_start(text: &str, from: usize) -> Option<(usize, char)> {
    let starts = text.get(from..)?.match_indices('{');
    let mut signs = starts.filter_map(|(at, _)| {
        let sign = text[from + at + 1..].chars().next()?;
        "{%#".contains(sign).then_some((from + at, sign))
    });
    signs.next()
}

/// Returns for example `raw` for `{%- raw %}`.
fn tag_name(text: &str, start: usize) -> &str {
    let name = text[start + 2..].trim_start_matches(['-', '+']).trim_start();
    let end = name.find(|c: char| !is_word_char(c)).unwrap_or(name.len());
    &name[..end]
}

fn end_of_raw(text: &str, from: usize) -> usize {
    let mut ends = text[from..].match_indices("{%").map(|(at, _)| from + at);
    ends.find(|at| tag_name(text, *at) == "endraw").map_or(text.len(), |at| at + 2)
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the tokens up to the end of the tag, and the offset of that end.
fn tokenize(text: &str, from: usize, sign: char) -> (Vec<Token>, usize) {
    let close = if sign == '{' { "}}" } else { "%}" };
    let mut tokens: Vec<Token> = Vec::new();
    let mut depth = 0_usize;
    let mut at = from;
    while let Some(first) = text[at..].chars().next() {
        let remaining = &text[at..];
        let ends = remaining.strip_prefix(['-', '+']).unwrap_or(remaining).starts_with(close);
        if depth == 0 && ends {
            break;
        }
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (length, kind) = match first {
            '\'' | '"' => (quoted_length(remaining, first), TokenKind::Operand),
            _ if first.is_ascii_digit() => (number_length(remaining), TokenKind::Operand),
            _ if is_word_char(first) => {
                let word =
                    &remaining[..remaining.find(|c| !is_word_char(c)).unwrap_or(remaining.len())];
                (word.len(), kind_of_word(word, text, &tokens, sign))
            }
            '(' | '[' | '{' => (1, TokenKind::Open),
            ')' | ']' | '}' => (1, TokenKind::Close),
            _ if remaining.starts_with("**") => (2, TokenKind::Bond),
            _ if remaining.starts_with("//") => (2, TokenKind::Product),
            '*' | '/' => (1, TokenKind::Product),
            '%' => (1, TokenKind::Percent),
            '~' => (1, TokenKind::Tilde),
            '+' => (1, TokenKind::Plus),
            '-' => (1, TokenKind::Minus),
            '.' | '|' => (1, TokenKind::Bond),
            _ => (first.len_utf8(), TokenKind::Break),
        };
        match kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    (tokens, at)
}

fn kind_of_word(word: &str, text: &str, before: &[Token], sign: char) -> TokenKind {
    let word_before = |back: usize| {
        let token = before.len().checked_sub(back).and_then(|at| before.get(at));
        token.map(|reply| (reply.kind, &text[reply.start..reply.end]))
    };
    match (word_before(1), word) {
        // After these, any word is a name of an attribute, a filter or a test.
        (Some((TokenKind::Bond, "is")), "not") => TokenKind::Bond,
        (Some((TokenKind::Bond, _)), _) => TokenKind::Operand,
        (_, "is") => TokenKind::Bond,
        (_, "and" | "or" | "not" | "in" | "if" | "else") => TokenKind::Break,
        (None, _) if sign == '%' => TokenKind::Break,
        (_, "recursive" | "ignore" | "with" | "without" | "as" | "import") if sign == '%' => {
            TokenKind::Break
        }
        _ => TokenKind::Operand,
    }
}

fn quoted_length(remaining: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in remaining.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    remaining.len()
}

/// Matches `1`, `0x1f`, `1.5e-3`; in `1.name` the dot is not part of the number.
fn number_length(remaining: &str) -> usize {
    let mut length = 0;
    let mut before = ' ';
    for (at, c) in remaining.char_indices() {
        let next = remaining[at + c.len_utf8()..].chars().next().unwrap_or(' ');
        let goes_on = is_word_char(c)
            || (c == '.' && next.is_ascii_digit())
            || ("+-".contains(c)
                && "eE".contains(before)
                && next.is_ascii_digit()
                && !remaining.starts_with("0x"));
        if !goes_on {
            break;
        }
        (length, before) = (at + c.len_utf8(), c);
    }
    length
}

/// Where the operands inside one bracket start, and which operators wait for their right operand.
#[derive(Debug, Default)]
struct Operands {
    /// Of `+` and `-`.
    sum: Option<usize>,
    /// Of `~`.
    concat: Option<usize>,
    /// Of `%`, `*` and `/`.
    product: Option<usize>,
    open: Vec<TokenKind>,
}

impl Operands {
    fn start_operand(&mut self, at: usize) {
        self.sum.get_or_insert(at);
        self.concat.get_or_insert(at);
        self.product.get_or_insert(at);
    }

    /// Ends the right operand of an operator after this token. If there is no right operand, the bracket stays open
    /// and the template becomes invalid.
    fn close_operator(&mut self, kind: TokenKind, last: Token, edits: &mut Vec<TextEdit>) {
        if self.open.last() == Some(&kind) {
            self.open.pop();
            if last.kind != kind {
                edits.push(TextEdit::insert(last.end, CLOSE));
            }
        }
    }

    /// Ends a term of a sum.
    fn end_term(&mut self, last: Token, edits: &mut Vec<TextEdit>) {
        self.close_operator(TokenKind::Percent, last, edits);
        self.close_operator(TokenKind::Tilde, last, edits);
        self.close_operator(TokenKind::Plus, last, edits);
        (self.concat, self.product) = (None, None);
    }

    fn end_all(&mut self, last: Token, edits: &mut Vec<TextEdit>) {
        self.end_term(last, edits);
        *self = Self::default();
    }
}

fn collect_edits(tokens: &[Token], edits: &mut Vec<TextEdit>) {
    let mut brackets = vec![Operands::default()];
    let mut before = Token { kind: TokenKind::Break, start: 0, end: 0 };
    for token in tokens {
        let Token { kind, start, end } = *token;
        let Some(operands) = brackets.last_mut() else { return };
        let follows_operand = matches!(before.kind, TokenKind::Operand | TokenKind::Close);
        match kind {
            TokenKind::Operand => operands.start_operand(start),
            TokenKind::Open => {
                operands.start_operand(start);
                brackets.push(Operands::default());
            }
            TokenKind::Close => {
                operands.end_all(before, edits);
                brackets.pop();
            }
            // A sign of the following operand.
            TokenKind::Plus | TokenKind::Minus if !follows_operand => operands.start_operand(start),
            TokenKind::Break => operands.end_all(before, edits),
            TokenKind::Minus => operands.end_term(before, edits),
            TokenKind::Plus => {
                operands.end_term(before, edits);
                if let Some(first) = operands.sum {
                    edits.push(TextEdit::insert(first, OPEN));
                    edits.push(TextEdit { at: start, length: end - start, with: PLUS_OF });
                    operands.open.push(TokenKind::Plus);
                }
            }
            TokenKind::Product => operands.close_operator(TokenKind::Percent, before, edits),
            TokenKind::Percent => {
                operands.close_operator(TokenKind::Percent, before, edits);
                if let Some(first) = operands.product {
                    edits.push(TextEdit::insert(first, OPEN));
                    edits.push(TextEdit { at: start, length: end - start, with: PERCENT_OF });
                    operands.open.push(TokenKind::Percent);
                }
            }
            TokenKind::Tilde => {
                operands.close_operator(TokenKind::Percent, before, edits);
                operands.close_operator(TokenKind::Tilde, before, edits);
                if let Some(first) = operands.concat {
                    edits.push(TextEdit::insert(first, OPEN));
                    edits.push(TextEdit { at: start, length: end - start, with: TILDE_OF });
                    operands.open.push(TokenKind::Tilde);
                    operands.product = None;
                }
            }
            TokenKind::Bond => {}
        }
        before = *token;
    }
    if let Some(operands) = brackets.last_mut() {
        operands.end_all(before, edits);
    }
}

#[cfg(test)]
mod tests {
    use super::{expression_at, restore_operators, rewrite_operators};

    #[test]
    fn operators_are_rewritten_to_filters_by_precedence() {
        for (text, expected) in [
            ("a % b {{ c }} % {# {{ a % b }} #}", "a % b {{ c }} % {# {{ a % b }} #}"),
            ("{{ a % b }}", "{{ (a )|_percent( b) }}"),
            ("{{a%b}}", "{{(a)|_percent(b)}}"),
            ("{{ a ~ b ~ c }}", "{{ ((a )|_tilde( b) )|_tilde( c) }}"),
            ("{{ 2 * a % b }}", "{{ (2 * a )|_percent( b) }}"),
            ("{{ a % b * c }}", "{{ (a )|_percent( b) * c }}"),
            ("{{ a % b % c }}", "{{ ((a )|_percent( b) )|_percent( c) }}"),
            ("{{ x + a % b - c }}", "{{ (x )|_plus( (a )|_percent( b)) - c }}"),
            ("{{ a + b + c }}", "{{ ((a )|_plus( b) )|_plus( c) }}"),
            ("{{ a - b + c }}", "{{ (a - b )|_plus( c) }}"),
            (
                "{{ a + b ~ c % d + e }}",
                "{{ ((a )|_plus( (b )|_tilde( (c )|_percent( d))) )|_plus( e) }}",
            ),
            ("{{ a ~ b + c * d }}", "{{ ((a )|_tilde( b) )|_plus( c * d) }}"),
            ("{{ a + -b, +c + 1 }}", "{{ (a )|_plus( -b), (+c )|_plus( 1) }}"),
            ("{{ a[i + 1:] + [x] }}", "{{ (a[(i )|_plus( 1):] )|_plus( [x]) }}"),
            ("{%+ if a + b %}", "{%+ if (a )|_plus( b) %}"),
            ("{% set ns.x = ns.x + 1 +%}", "{% set ns.x = (ns.x )|_plus( 1) +%}"),
            ("{{ a ** -b + 1 == c }}", "{{ (a ** -b )|_plus( 1) == c }}"),
            ("{{ -7 % -3 }}", "{{ (-7 )|_percent( -3) }}"),
            ("{{ a ~ b % c ~ d }}", "{{ ((a )|_tilde( (b )|_percent( c)) )|_tilde( d) }}"),
            ("{{ a % b ~ c }}", "{{ ((a )|_percent( b) )|_tilde( c) }}"),
            ("{{ a % b|upper ** 2 }}", "{{ (a )|_percent( b|upper ** 2) }}"),
            ("{{ a % b is odd }}", "{{ (a )|_percent( b is odd) }}"),
            ("{{ a % b is not in c }}", "{{ (a )|_percent( b is not in c) }}"),
            ("{{ a % b in c and d }}", "{{ (a )|_percent( b) in c and d }}"),
            (
                "{{ a.in % f(x % y, k=z ~ 1) }}",
                "{{ (a.in )|_percent( f((x )|_percent( y), k=(z )|_tilde( 1))) }}",
            ),
            (
                "{{ (a, b)[0] % {'k': 'x' % 1}.k }}",
                "{{ ((a, b)[0] )|_percent( {'k': ('x' )|_percent( 1)}.k) }}",
            ),
            ("{{ 'a % b' % \"}}\\\"\" }}", "{{ ('a % b' )|_percent( \"}}\\\"\") }}"),
            ("{{ 1.5e-3 % 2 }}", "{{ (1.5e-3 )|_percent( 2) }}"),
            ("{%- if a % b -%}", "{%- if (a )|_percent( b) -%}"),
            ("{% set x = a\n % b %}", "{% set x = (a\n )|_percent( b) %}"),
            ("{% for x in a ~ b recursive %}", "{% for x in (a )|_tilde( b) recursive %}"),
            (
                "{% raw %}{{ a % b }}{% endraw %}{{ a % b }}",
                "{% raw %}{{ a % b }}{% endraw %}{{ (a )|_percent( b) }}",
            ),
            ("{{ a if b % c else d ~ e }}", "{{ a if (b )|_percent( c) else (d )|_tilde( e) }}"),
            ("{{ % }}{{ ~ b }}{{ a % ", "{{ % }}{{ ~ b }}{{ (a )|_percent( "),
            ("{{ ü % 'ä' }}ö", "{{ (ü )|_percent( 'ä') }}ö"),
            ("{{", "{{"),
            ("{% raw %}{{", "{% raw %}{{"),
            ("{{ a %}", "{{ (a )|_percent(}"),
        ] {
            let rewritten = rewrite_operators(text);
            assert_eq!(rewritten.replace('\x0c', ""), expected, "{text}");
            assert_eq!(restore_operators(&rewritten), text);
        }
    }

    #[test]
    fn expression_is_returned_as_written() {
        let text = rewrite_operators("a {{ b }} {%- if x % y\n ~ z -%} {{ c }}");
        let at = text.find('y').unwrap();
        assert_eq!(expression_at(&text, at).unwrap(), "if x % y ~ z");
        assert_eq!(expression_at(&text, text.rfind('c').unwrap()).unwrap(), "c");
        assert_eq!(expression_at(&text, 0), None);
    }
}
