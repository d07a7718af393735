//! Paths: prefixes and exact paths that decide which of a host's requests a route serves, and paths of health checks.
//!
//! Pure. All consist of printable ASCII: no space, quote `"`, backslash, `#`, comma or control character. They may
//! contain `;` and `'`, which separate and quote on HAProxy's command line; commands pass these in a payload or with a
//! backslash.

use super::{host::is_placeholder, label_text, path::NormalizedPath, problem::Reason};
use std::{fmt, str::FromStr, sync::Arc};

/// A limit, because a request costs one map look-up for each segment.
pub const MAX_SEGMENTS: usize = 8;

/// A path prefix of whole segments, at most eight; no segments match the whole host. Contains `/a/b` without a trailing
/// slash, or nothing, in the same normalized form as paths of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

/// The whole path of a request, such as `/health`, in its normalized form. `/health/` is another path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExactPath {
    segments: PathPrefix,
    /// Always set if there are no segments.
    ends_with_slash: bool,
}

/// The paths that a route matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathRule {
    /// The path is the prefix, or below it.
    Prefix(PathPrefix),
    Exact(ExactPath),
}

/// The path (and query) of a health check, as in the request line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckPath(Arc<str>);

impl PathPrefix {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses a value that is one path. A comma separates paths in lists, so here it is a mistake; `%2C` stands for it.
    ///
    /// # Errors
    /// As of its [`FromStr`], or if there is a comma.
    pub fn parse_single(text: &str) -> Result<Self, Reason> {
        if text.contains(',') {
            Err(Reason::NotAPrefix(text.trim().to_owned()))
        } else {
            text.parse()
        }
    }

    /// Returns the text that [`Self::parse_single`] reads as this prefix; empty for the whole host.
    pub fn to_single(&self) -> String {
        self.0.replace(',', "%2C")
    }

    /// Whether the other prefix is a leading part of this one.
    pub fn starts_with(&self, part: &Self) -> bool {
        let rest = self.0.strip_prefix(&*part.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the number of segments.
    pub fn depth(&self) -> usize {
        self.0.bytes().filter(|&c| c == b'/').count()
    }
}

impl PathRule {
    /// Returns the segments of the prefix, or of the exact path.
    pub fn segments(&self) -> &PathPrefix {
        match self {
            Self::Prefix(prefix) => prefix,
            Self::Exact(path) => &path.segments,
        }
    }

    /// Whether the normalized path of a request matches. Whole segments are compared, so that `/api` is not a prefix of
    /// `/apiary`.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => {
                let below = path.strip_prefix(prefix.as_str());
                below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            }
            Self::Exact(exact) => exact.to_string() == path,
        }
    }

    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Whether all paths of the host match.
    pub fn is_whole_host(&self) -> bool {
        *self == Self::default()
    }
}

impl CheckPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPrefix {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        parse_path(text.trim()).map(|(prefix, _)| prefix)
    }
}

impl FromStr for ExactPath {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let (segments, ends_with_slash) =
            parse_path(text.trim()).map_err(|reason| match reason {
                Reason::PrefixPattern { text, instead } => Reason::PathPattern { text, instead },
                reason => reason,
            })?;
        Ok(Self { segments, ends_with_slash })
    }
}

impl FromStr for CheckPath {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let legal =
            path.starts_with('/') && is_pchar_text(path, b"/") && is_pchar_text(query, b"/?");
        if legal { Ok(Self(text.into())) } else { Err(Reason::NotACheck) }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ExactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.segments, if self.ends_with_slash { "/" } else { "" })
    }
}

/// Writes the prefix without a slash at its end, or the exact path.
impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Exact(path) => path.fmt(f),
        }
    }
}

/// The whole host.
impl Default for PathRule {
    fn default() -> Self {
        Self::Prefix(PathPrefix::default())
    }
}

impl fmt::Display for CheckPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the segments of a path, and whether a slash follows them.
fn parse_path(text: &str) -> Result<(PathPrefix, bool), Reason> {
    let body = text.strip_prefix('/').unwrap_or(text);
    let (body, slash) = match body.strip_suffix('/') {
        _ if text.is_empty() => return Err(Reason::Empty),
        _ if body.is_empty() => return Ok((PathPrefix::default(), true)),
        Some(shorter) => (shorter, true),
        None => (body, false),
    };
    if !body.split('/').all(is_segment) {
        return Err(diagnose_prefix(text));
    }
    let path = normalize_prefix(body).map_err(|reason| reason(text.to_owned()))?;
    let segments = path.trim_end_matches('/');
    let slash = slash || segments.len() < path.len();
    let segments = PathPrefix(segments.into());
    if MAX_SEGMENTS < segments.depth() {
        return Err(Reason::PrefixTooDeep(text.to_owned()));
    }
    Ok((segments, slash))
}

/// Returns what is wrong with a prefix.
fn diagnose_prefix(text: &str) -> Reason {
    let whole = text.to_owned();
    match literal_prefix(text) {
        _ if is_placeholder(text) && !text.contains('<') => Reason::VariableInValue(whole),
        _ if text.starts_with(label_text::QUOTES) || text.ends_with(label_text::QUOTES) => {
            Reason::QuotedValue(whole)
        }
        Some(instead) => Reason::PrefixPattern { text: whole, instead },
        None => Reason::NotAPrefix(whole),
    }
}

/// If the text looks like a pattern of another program, returns the literal segments at its start. docker-balancer
/// matches every character literally, so no client would request such a path.
pub(crate) fn literal_prefix(text: &str) -> Option<String> {
    let body = text.trim().trim_start_matches(['^', '~', '=', ' ', '/']);
    let anchored = text.starts_with(['^', '~', '=']) || text.ends_with('$');
    let segments: Vec<_> = body.split('/').collect();
    let first = segments.iter().position(|text| is_pattern(text));
    if first.is_none() && !anchored {
        return None;
    }
    let literal = &segments[..first.unwrap_or(segments.len())];
    let literal: Vec<_> = literal.iter().map(|text| text.trim_end_matches('$')).collect();
    // For `/api*`: the text before the star.
    let partial = first
        .and_then(|at| segments[at].split_once('*'))
        .filter(|(_, after_star)| after_star.is_empty());
    let partial = partial.map(|(partial, _)| partial).filter(|partial| !is_pattern(partial));
    let literal = literal.into_iter().chain(partial).filter(|text| is_segment(text));
    let literal: Vec<_> = literal.collect();
    Some(format!("/{}", literal.join("/")))
}

/// `*`, `.*`, `(…)`, `:id`, `{id}`, `<id>`, `[a-z]`, `a|b`, `x$`, `\d`.
fn is_pattern(segment: &str) -> bool {
    let parameter =
        segment.strip_prefix(':').is_some_and(|text| text.starts_with(char::is_alphabetic));
    let group = segment.starts_with('(') && segment.contains(')');
    parameter
        || group
        || segment.contains(['*', '{', '}', '[', ']', '<', '>', '|', '^'])
        || [".+", "(?", ")?", "(.", ")+", "\\d", "\\w", "\\."]
            .iter()
            .any(|text| segment.contains(text))
}

/// Normalizes a prefix in the same way as the path of a request.
fn normalize_prefix(body: &str) -> Result<String, fn(String) -> Reason> {
    let path = format!("/{body}");
    if !path.contains(['%', ';']) {
        return Ok(path);
    }
    if path.contains(';') || path.contains("%3B") || path.contains("%3b") {
        return Err(Reason::PrefixParameter);
    }
    match NormalizedPath::from_request(&path) {
        Ok(NormalizedPath { path, has_dot_segments: false, .. }) => Ok(path),
        _ => Err(Reason::NotAPrefix),
    }
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && is_pchar_text(segment, b",")
}

/// Whether the text is RFC 3986's pchar without the comma; `%` only before two digits.
fn is_pchar_text(text: &str, also: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    bytes.iter().enumerate().all(|(at, c)| match c {
        b'%' => hex(at + 1) && hex(at + 2),
        c => c.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:@".contains(c) || also.contains(c),
    })
}
