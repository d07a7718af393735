//! Request matchers of Caddy: `/path/*`, and named ones such as `@api`.
//!
//! Pure.

use super::{
    super::{
        draft::{PathMatch, check_host, parse_exact, parse_prefix},
        text,
    },
    directive::Directive,
};
use std::collections::{BTreeMap, BTreeSet};

/// Requests that a directive applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Matcher {
    All,
    Path(PathMatch),
    Hosts(BTreeSet<String>),
    /// Clients in one of the networks, or in none of them.
    Clients {
        networks: Vec<String>,
        is_negated: bool,
    },
    /// Docker-balancer has no such match.
    Unsupported,
}

/// Named matchers, by name with `@`.
pub(super) type NamedMatchers = BTreeMap<String, Matcher>;

/// Reads the named matchers among directives.
pub(super) fn read_matchers(directives: &[Directive]) -> NamedMatchers {
    let named = directives.iter().filter(|directive| directive.name.starts_with('@'));
    named.map(|directive| (directive.name.clone(), read_named(directive))).collect()
}

fn read_named(directive: &Directive) -> Matcher {
    let words = directive.words();
    let mut conditions: Vec<(String, Vec<String>)> = Vec::new();
    if let Some((kind, arguments)) = words.split_first() {
        conditions.push((kind.clone(), arguments.to_vec()));
    }
    conditions.extend(directive.inside.iter().map(|inside| (inside.name.clone(), inside.words())));
    let not = directive.find("not").map(|not| not.inside.as_slice());
    match (conditions.as_slice(), not) {
        ([(kind, arguments)], None | Some([])) => match (kind.as_str(), arguments.split_first()) {
            ("not", Some((kind, arguments))) => read_condition(kind, arguments, true),
            _ => read_condition(kind, arguments, false),
        },
        ([_], Some([inside])) => read_condition(&inside.name, &inside.words(), true),
        _ => Matcher::Unsupported,
    }
}

fn read_condition(kind: &str, arguments: &[String], is_negated: bool) -> Matcher {
    match kind {
        "path" if !is_negated => read_paths(arguments).map_or(Matcher::Unsupported, Matcher::Path),
        "host" if !is_negated && arguments.iter().all(|host| check_host(host).is_ok()) => {
            Matcher::Hosts(arguments.iter().cloned().collect())
        }
        "remote_ip" | "client_ip" => {
            let names = arguments.iter().filter(|text| *text != "forwarded");
            let networks = names.map(|text| text.replace("private_ranges", "private")).collect();
            Matcher::Clients { networks, is_negated }
        }
        _ => Matcher::Unsupported,
    }
}

/// Returns prefixes for `/a /a/*`, exact paths for `/a /b`; `None` for others.
fn read_paths(patterns: &[String]) -> Option<PathMatch> {
    let (mut prefixes, mut exact) = (BTreeSet::new(), BTreeSet::new());
    for pattern in patterns {
        match pattern.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') && prefix.starts_with('/') => {
                match parse_prefix(prefix).ok()? {
                    None => return Some(PathMatch::Whole),
                    Some(prefix) => drop(prefixes.insert(prefix)),
                }
            }
            None if pattern.starts_with('/') && !pattern.contains('*') => {
                exact.insert(parse_exact(pattern).ok()?);
            }
            _ => return None,
        }
    }
    let is_covered = |path: &&String| {
        prefixes.iter().any(|prefix| *path == prefix || path.starts_with(&format!("{prefix}/")))
    };
    if prefixes.is_empty() {
        Some(PathMatch::Exact(exact)).filter(|_| !patterns.is_empty())
    } else {
        exact.iter().all(|path| is_covered(&path)).then_some(PathMatch::Prefixes(prefixes))
    }
}

/// Splits the matcher from the other arguments of a directive.
pub(super) fn split_matcher(words: &[String], named: &NamedMatchers) -> (Matcher, Vec<String>) {
    let Some((first, rest)) = words.split_first() else { return (Matcher::All, Vec::new()) };
    let matcher = match first.chars().next() {
        Some('*') if first == "*" => Matcher::All,
        Some('/') => {
            read_paths(std::slice::from_ref(first)).map_or(Matcher::Unsupported, Matcher::Path)
        }
        Some('@') => named.get(first).cloned().unwrap_or(Matcher::Unsupported),
        _ if text::has_variable(first) && first.starts_with("${") && rest.is_empty() => {
            return (Matcher::All, words.to_vec());
        }
        _ => return (Matcher::All, words.to_vec()),
    };
    (matcher, rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_prefixes_or_exact_paths() {
        let set = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        for (patterns, path) in [
            (&["/a", "/a/*"][..], Some(PathMatch::Prefixes(set(&["/a"])))),
            (&["/a*"], Some(PathMatch::Prefixes(set(&["/a"])))),
            (&["/a", "/b"], Some(PathMatch::Exact(set(&["/a", "/b"])))),
            (&["/*"], Some(PathMatch::Whole)),
            (&["/a/*", "/b"], None),
            (&["*.php"], None),
            (&[], None),
        ] {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            assert_eq!(read_paths(&patterns), path, "{patterns:?}");
        }
    }
}
