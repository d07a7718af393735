//! `HostRegexp` of Traefik as a host of docker-balancer: a literal host, `*.` and a host, or any host.
//!
//! Pure.

use super::super::text;

/// Hosts that a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    Host(String),
}

/// Expressions for one label or several in front of a host, in Traefik 3.
const LABEL_EXPRESSIONS: [&str; 13] = [
    ".+",
    ".*",
    "[^.]+",
    "[^.]*",
    "[^\\.]+",
    "\\w+",
    "[a-z]+",
    "[a-zA-Z]+",
    "[a-z0-9]+",
    "[a-z0-9-]+",
    "[a-zA-Z0-9-]+",
    "[a-zA-Z0-9]+",
    "[a-zA-Z0-9_-]+",
];

/// Parses the pattern of Traefik 2, `{name:regexp}.example.com`, or of Traefik 3, `^.+\.example\.com$`.
pub(super) fn parse_pattern(pattern: &str) -> Option<HostPattern> {
    let pattern = pattern.trim();
    if pattern.starts_with('{') && !pattern.starts_with("{{") {
        let rest = &pattern[end_of_braces(pattern)?..];
        return match rest.strip_prefix('.') {
            None if rest.is_empty() => Some(HostPattern::Any),
            Some(host) if is_plain(host) => Some(HostPattern::Host(format!("*.{host}"))),
            _ => None,
        };
    }
    let body = pattern.trim_start_matches('^');
    let body = body.strip_suffix("$$").or_else(|| body.strip_suffix('$')).unwrap_or(body);
    if matches!(body, ".+" | ".*" | "(.+)" | "(.*)") {
        return Some(HostPattern::Any);
    }
    let wildcard = LABEL_EXPRESSIONS.iter().find_map(|expression| {
        let after =
            [format!("{expression}\\."), format!("({expression})\\."), format!("{expression}.")];
        after.iter().find_map(|prefix| body.strip_prefix(prefix.as_str()))
    });
    let host = wildcard.unwrap_or(body).replace("\\.", ".");
    let host = wildcard.map_or(host.clone(), |_| format!("*.{host}"));
    is_plain(host.trim_start_matches("*.")).then_some(HostPattern::Host(host))
}

/// Returns where the first pair of braces ends.
fn end_of_braces(pattern: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in pattern.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether the text consists of literal labels and variables.
fn is_plain(host: &str) -> bool {
    let without_variables = text::split_outside(host, |c| c == '.');
    let is_label = |label: &&str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !label.is_empty() && (text::has_variable(label) || label.chars().all(legal))
    };
    without_variables.iter().all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_wildcard_or_left_out() {
        for (pattern, host) in [
            ("{subdomain:[a-z]+}.example.com", Some("*.example.com")),
            ("{sub:[a-z]{2,}}.${DOMAIN}", Some("*.${DOMAIN}")),
            ("{any:.+}", Some("*")),
            ("^.+\\.example\\.com$$", Some("*.example.com")),
            ("^[a-z0-9-]+\\.example\\.com$", Some("*.example.com")),
            ("(.+)\\.example\\.com", Some("*.example.com")),
            (".*", Some("*")),
            ("example\\.com", Some("example.com")),
            ("^(a|b)\\.example\\.com$", None),
            ("api-{name:.+}.example.com", None),
            ("{name:.+", None),
        ] {
            let expected = host.map(|host| match host {
                "*" => HostPattern::Any,
                host => HostPattern::Host(host.to_owned()),
            });
            assert_eq!(parse_pattern(pattern), expected, "{pattern}");
        }
    }
}
