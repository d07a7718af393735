//! Normalizes the path of a request for routing: all spellings that a container may treat as equal become one.
//!
//! Pure. Implements in Rust what `templates/frontend.cfg` does in HAProxy; `tests/haproxy/explain_agrees/` checks that
//! both agree.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use std::borrow::Cow;

/// Number of passes that resolve `..`: one for each level of `..` in a row.
pub const MAX_PARENT_LEVELS: usize = 8;

/// Maximum length of a path whose normalized form may differ, in bytes. Normalization needs a buffer of three times the
/// length, and HAProxy's have 16,384 bytes (`tune.bufsize`).
pub const MAX_AMBIGUOUS_PATH: usize = 4096;

/// Bytes that are written as %XX: all except slashes and RFC 3986's pchar. `;` is escaped too, because it starts a
/// parameter.
const ESCAPED_BYTES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A normalized path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedPath {
    /// In its normalized form: starts with a slash, and has no double slash, no segment `.` or `..`, no parameter, and
    /// no `%XX` that does not need to be encoded.
    pub path: String,
    /// With the segments that were sent, and percent-decoded except for separators.
    pub literal: String,
    /// Whether the path had segments `.` or `..`, in any spelling.
    pub has_dot_segments: bool,
}

/// Why HAProxy answers a path with status 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path must be printable ASCII without #; write other bytes as %XX")]
    Byte,
    #[error(
        "a % in a path must be followed by two hexadecimal digits; write the character itself as \
         %25"
    )]
    Percent,
    #[error("a path must not contain %00")]
    Nul,
    #[error("more than {MAX_PARENT_LEVELS} levels of .. in a row")]
    Dots,
    #[error(
        "a path with unusual characters or encodings must have at most {MAX_AMBIGUOUS_PATH} bytes"
    )]
    Length,
}

impl NormalizedPath {
    /// Parameters are removed before percent-decoding, as servlet containers do, and again after it.
    pub fn from_request(path: &str) -> Result<Self, PathError> {
        check_path(path)?;
        if MAX_AMBIGUOUS_PATH < path.len() && is_ambiguous(path) {
            return Err(PathError::Length);
        }
        let bytes: Vec<u8> = percent_decode(&strip_parameters(path.as_bytes())).collect();
        let flat =
            merge_slashes(&percent_encode(&strip_parameters(&bytes), ESCAPED_BYTES).to_string());
        let literal =
            percent_encode(&decode_within_segments(path.as_bytes()), ESCAPED_BYTES).to_string();
        let path = remove_dot_segments(&flat)?;
        Ok(Self { has_dot_segments: path != flat, path, literal })
    }
}

/// Whether the normalized form may differ.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    let is_usual = |c: u8| c.is_ascii_alphanumeric() || b"!$%&'()*+,-./:=@_~".contains(&c);
    let is_usual_escape = |after: &str| match after.as_bytes() {
        [b'2', b'0', ..] => true,
        [a, b, ..] => {
            matches!(a, b'8' | b'9' | b'A'..=b'F') && matches!(b, b'0'..=b'9' | b'A'..=b'F')
        }
        _ => false,
    };
    !path.bytes().all(is_usual)
        || path.contains("//")
        || path.split('/').any(|segment| [".", ".."].contains(&segment))
        || !path.split('%').skip(1).all(is_usual_escape)
}

/// `/a;b=c/d` → `/a/d`
fn strip_parameters(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b';') {
        return Cow::Borrowed(path);
    }
    let mut inside = false;
    let outside = path.iter().copied().filter(|c| {
        inside = *c != b'/' && (inside || *c == b';');
        !inside
    });
    Cow::Owned(outside.collect())
}

/// Percent-decodes, except for encoded slashes, backslashes and semicolons, whose percent sign is kept as a literal
/// one.
fn decode_within_segments(path: &[u8]) -> Vec<u8> {
    let mut text = path.to_vec();
    for at in (0..path.len().saturating_sub(2)).rev() {
        let code = path[at..at + 3].to_ascii_uppercase();
        if matches!(&code[..], b"%2F" | b"%3B" | b"%5C") {
            text.splice(at..=at, *b"%25");
        }
    }
    percent_decode(&text).collect()
}

fn check_path(path: &str) -> Result<(), PathError> {
    if !path.bytes().all(|c| c.is_ascii_graphic() && c != b'#') {
        return Err(PathError::Byte);
    }
    for after in path.split('%').skip(1) {
        match after.as_bytes() {
            [b'0', b'0', ..] => return Err(PathError::Nul),
            [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
            _ => return Err(PathError::Percent),
        }
    }
    Ok(())
}

/// Some servers treat a backslash as a slash.
fn merge_slashes(path: &str) -> String {
    let mut text = path.replace("%5C", "/");
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    text
}

/// Resolves `.` and `..`. A path above the root is the root.
fn remove_dot_segments(path: &str) -> Result<String, PathError> {
    let mut all: Vec<_> = path.split('/').skip(1).collect();
    if all.last() == Some(&".") {
        all.pop();
        all.push("");
    }
    all.retain(|segment| *segment != ".");
    for _ in 0..MAX_PARENT_LEVELS {
        all = remove_parent_segments_once(&all);
    }
    let up = all.iter().take_while(|segment| **segment == "..").count();
    all.drain(..up);
    if all.contains(&"..") {
        return Err(PathError::Dots);
    }
    Ok(format!("/{}", all.join("/")))
}

/// One pass: removes `a/..`, except where the slash before it was removed with the previous pair.
fn remove_parent_segments_once<'a>(segments: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::with_capacity(segments.len());
    let mut remaining = segments;
    while let [first, more @ ..] = remaining {
        remaining = more;
        let (true, ["..", more @ ..]) = (*first != "..", remaining) else {
            kept.push(*first);
            continue;
        };
        // The removed pair includes the slash before the next segment, which is therefore kept. At the end, that slash
        // remains.
        kept.push(more.first().copied().unwrap_or_default());
        remaining = more.get(1..).unwrap_or_default();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_path(path: &str, expected: &str) {
        let actual = match NormalizedPath::from_request(path) {
            Ok(NormalizedPath { path, has_dot_segments: true, .. }) => format!("{path} dotted"),
            Ok(NormalizedPath { path, has_dot_segments: false, .. }) => path,
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(actual, expected, "{path}");
    }

    #[test]
    fn plain_path_is_unchanged() {
        for path in [
            "/",
            "/a/b.html",
            "/a/",
            "/.well-known/x",
            "/a/..b/.../.c",
            "/%20/caf%C3%A9",
            "/-._~!$&'()*+,=:@",
        ] {
            check_path(path, path);
        }
    }

    #[test]
    fn equivalent_spellings_are_normalized() {
        for (path, expected) in [
            ("//admin", "/admin"),
            ("/a///b//", "/a/b/"),
            ("/./admin", "/admin dotted"),
            ("/a/././b/.", "/a/b/ dotted"),
            ("/x/../admin", "/admin dotted"),
            ("/x/%2e%2E/admin", "/admin dotted"),
            ("/x/.%2e/admin/..", "/ dotted"),
            ("/x/..;p=1/admin", "/admin dotted"),
            ("/x%2f..%2Fadmin", "/admin dotted"),
            ("/x\\..%5cadmin", "/admin dotted"),
            ("/../../admin", "/admin dotted"),
            ("/a/..", "/ dotted"),
            ("/..", "/ dotted"),
            ("/a/b/c/../../../admin", "/admin dotted"),
            ("/a/../b/../c/../admin", "/admin dotted"),
            ("/a//../b", "/b dotted"),
            ("/%61dm%69n", "/admin"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%7Eu/%40v/%2c", "/~u/@v/,"),
            ("/admin;x=1/y;z", "/admin/y"),
            ("/admin%3Bx", "/admin"),
            ("/x;p=%2Fq/admin", "/x/admin"),
            ("/;/admin", "/admin"),
            ("/a|b<c>", "/a%7Cb%3Cc%3E"),
            ("/%2561", "/%2561"),
            ("/%25%32%65", "/%252e"),
        ] {
            check_path(path, expected);
        }
    }

    #[test]
    fn literal_path_decodes_only_non_separators() {
        for (path, expected) in [
            ("/%61dm%69n/x", "/admin/x"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("//admin", "//admin"),
            ("/admin;x", "/admin%3Bx"),
            ("/admin%3bx", "/admin%253Bx"),
            ("/admin%2Fx", "/admin%252Fx"),
            ("/a\\b%5c", "/a%5Cb%255C"),
        ] {
            let actual = NormalizedPath::from_request(path).unwrap().literal.to_ascii_uppercase();
            assert_eq!(actual, expected.to_ascii_uppercase(), "{path}");
        }
    }

    #[test]
    fn malformed_path_is_refused() {
        for (path, expected) in [
            ("/caf\u{e9}", "Byte"),
            ("/a b", "Byte"),
            ("/a#b", "Byte"),
            ("/%", "Percent"),
            ("/%4", "Percent"),
            ("/%zz", "Percent"),
            ("/a;%zz", "Percent"),
            ("/a%00", "Nul"),
            ("/1/2/3/4/5/6/7/8/../../../../../../../..", "/ dotted"),
            ("/1/2/3/4/5/6/7/8/9/../../../../../../../../..", "Dots"),
        ] {
            check_path(path, expected);
        }
    }
}
