//! Rules of Traefik's routers, as hosts and paths.
//!
//! Pure. A rule is brought into the form of alternatives, each with conditions that all have to hold. An alternative
//! with a condition that docker-balancer does not have is left out: without the condition it would get more requests.

use super::{
    super::draft::{PathMatch, check_host, parse_exact, parse_prefix},
    host_pattern::{HostPattern, parse_pattern},
};
use std::collections::BTreeSet;

/// Limit of the alternatives of a rule.
const MAX_ALTERNATIVES: usize = 64;
/// Limit of nested parentheses.
const MAX_DEPTH: usize = 32;

/// Requests of one route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RequestMatch {
    /// Empty: any host.
    pub(super) hosts: BTreeSet<String>,
    pub(super) path: PathMatch,
    /// Networks of `ClientIP`.
    pub(super) clients: Vec<String>,
    /// Paths that are not part of it: `!PathPrefix`.
    pub(super) excluded: Vec<PathMatch>,
}

/// Routes of a rule, and why alternatives are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ParsedRule {
    pub(super) matches: Vec<RequestMatch>,
    pub(super) losses: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Condition(Condition),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    is_negated: bool,
    /// In lower case.
    name: String,
    arguments: Vec<String>,
}

/// Parses a rule of Traefik 2 or 3.
pub(super) fn parse_rule(rule: &str) -> ParsedRule {
    let mut parser = RuleParser { rest: rule, depth: 0 };
    let Some(expression) = parser.parse_whole() else {
        return ParsedRule {
            matches: Vec::new(),
            losses: vec!["the rule cannot be read".to_owned()],
        };
    };
    let Some(alternatives) = to_alternatives(&expression) else {
        let loss = format!("the rule has more than {MAX_ALTERNATIVES} alternatives");
        return ParsedRule { matches: Vec::new(), losses: vec![loss] };
    };
    let mut parsed = ParsedRule::default();
    for conditions in alternatives {
        match to_match(&conditions) {
            Ok(matched) => parsed.add_match(matched),
            Err(loss) => parsed.losses.push(loss),
        }
    }
    parsed
}

impl ParsedRule {
    /// Leaves out matches with paths that are not part of them, unless each is that of another route of the hosts.
    pub(super) fn resolve_excluded(&mut self, has_route: impl Fn(&str, &PathMatch) -> bool) {
        let is_resolved = |matched: &RequestMatch| {
            let has_routes =
                |path: &PathMatch| matched.hosts.iter().all(|host| has_route(host, path));
            matched.excluded.is_empty()
                || !matched.hosts.is_empty() && matched.excluded.iter().all(has_routes)
        };
        let (matches, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.matches).into_iter().partition(is_resolved);
        for mut matched in matches {
            matched.excluded.clear();
            self.add_match(matched);
        }
        let loss = "a path that is excluded with ! has no route of its own with this host, so this alternative is left out";
        self.losses.extend(others.iter().map(|_| loss.to_owned()));
    }

    /// Adds a match, or merges it into one that differs in the hosts or the paths only.
    fn add_match(&mut self, new: RequestMatch) {
        let same_rest = |other: &&mut RequestMatch| {
            other.clients == new.clients
                && other.excluded == new.excluded
                && other.path == new.path
                && other.hosts.is_empty() == new.hosts.is_empty()
        };
        if let Some(other) = self.matches.iter_mut().find(same_rest) {
            return other.hosts.extend(new.hosts);
        }
        for other in &mut self.matches {
            let differs = other.clients != new.clients || other.excluded != new.excluded;
            if differs || other.hosts != new.hosts {
                continue;
            }
            match (&mut other.path, &new.path) {
                (PathMatch::Prefixes(paths), PathMatch::Prefixes(more))
                | (PathMatch::Exact(paths), PathMatch::Exact(more)) => {
                    return paths.extend(more.iter().cloned());
                }
                _ => {}
            }
        }
        self.matches.push(new);
    }
}

struct RuleParser<'a> {
    rest: &'a str,
    depth: usize,
}

impl RuleParser<'_> {
    fn parse_whole(&mut self) -> Option<Expression> {
        let expression = self.parse_or(false)?;
        self.rest.trim().is_empty().then_some(expression)
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let after = rest.strip_prefix(token);
        self.rest = after.unwrap_or(rest);
        after.is_some()
    }

    fn parse_or(&mut self, is_negated: bool) -> Option<Expression> {
        let mut members = vec![self.parse_and(is_negated)?];
        while self.take("||") {
            members.push(self.parse_and(is_negated)?);
        }
        Some(join(members, if is_negated { Expression::And } else { Expression::Or }))
    }

    fn parse_and(&mut self, is_negated: bool) -> Option<Expression> {
        let mut members = vec![self.parse_unary(is_negated)?];
        while self.take("&&") {
            members.push(self.parse_unary(is_negated)?);
        }
        Some(join(members, if is_negated { Expression::Or } else { Expression::And }))
    }

    fn parse_unary(&mut self, is_negated: bool) -> Option<Expression> {
        if self.take("!") {
            return self.nested(|parser| parser.parse_unary(!is_negated));
        }
        if self.take("(") {
            let inside = self.nested(|parser| parser.parse_or(is_negated))?;
            return self.take(")").then_some(inside);
        }
        self.parse_condition(is_negated).map(Expression::Condition)
    }

    fn nested(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Option<Expression>,
    ) -> Option<Expression> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn parse_condition(&mut self, is_negated: bool) -> Option<Condition> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).filter(|end| 0 < *end)?;
        let name = rest[..end].to_ascii_lowercase();
        self.rest = &rest[end..];
        if !self.take("(") {
            return None;
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() && !self.take(",") {
                return None;
            }
            arguments.push(self.parse_argument()?);
        }
        Some(Condition { is_negated, name, arguments })
    }

    fn parse_argument(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '`' | '"' | '\''))?;
        let (argument, after) = rest[1..].split_once(quote)?;
        self.rest = after;
        Some(argument.trim().to_owned())
    }
}

fn join(mut members: Vec<Expression>, wrap: fn(Vec<Expression>) -> Expression) -> Expression {
    if members.len() == 1 { members.remove(0) } else { wrap(members) }
}

/// Returns the alternatives, each with its conditions; `None` if there are too many.
fn to_alternatives(expression: &Expression) -> Option<Vec<Vec<Condition>>> {
    let alternatives = match expression {
        Expression::Condition(condition) => vec![vec![condition.clone()]],
        Expression::Or(members) => {
            let all = members.iter().map(to_alternatives).collect::<Option<Vec<_>>>()?;
            all.into_iter().flatten().collect()
        }
        Expression::And(members) => {
            let mut all = vec![Vec::new()];
            for member in members {
                let more = to_alternatives(member)?;
                if MAX_ALTERNATIVES < all.len() * more.len() {
                    return None;
                }
                let combine = |before: &Vec<Condition>| {
                    let join = |after: &Vec<Condition>| [before.clone(), after.clone()].concat();
                    more.iter().map(join).collect::<Vec<_>>()
                };
                all = all.iter().flat_map(combine).collect();
            }
            all
        }
    };
    (alternatives.len() <= MAX_ALTERNATIVES).then_some(alternatives)
}

/// Returns the requests for which all conditions hold, or why docker-balancer has no such route.
fn to_match(conditions: &[Condition]) -> Result<RequestMatch, String> {
    let mut matched = RequestMatch::default();
    let mut has_host = false;
    for condition in conditions {
        if condition.is_negated {
            matched.excluded.push(read_excluded(condition)?);
            continue;
        }
        match condition.name.as_str() {
            "host" | "hostheader" | "hostregexp" | "hostsni" | "hostsniregexp" => {
                let hosts = parse_hosts(condition)?;
                matched.hosts = match (has_host, hosts.is_empty()) {
                    (false, _) => hosts,
                    (true, true) => matched.hosts,
                    (true, false) if matched.hosts.is_empty() => hosts,
                    (true, false) => {
                        return Err("several hosts in one alternative: it is left out".to_owned());
                    }
                };
                has_host = true;
            }
            "pathprefix" | "path" => matched.path = narrow_path(matched.path, condition)?,
            "clientip" if matched.clients.is_empty() => {
                matched.clients.clone_from(&condition.arguments);
            }
            name => {
                return Err(format!(
                    "{name} has no counterpart, so this alternative is left out: routes differ by host and path only"
                ));
            }
        }
    }
    Ok(matched)
}

/// Returns the paths of `!PathPrefix` or `!Path`.
fn read_excluded(condition: &Condition) -> Result<PathMatch, String> {
    match condition.name.as_str() {
        "pathprefix" | "path" => narrow_path(PathMatch::Whole, condition),
        name => Err(format!(
            "!{name} has no counterpart, so this alternative is left out: give what is excluded a route of its own"
        )),
    }
}

/// Returns the hosts; none for any host.
fn parse_hosts(condition: &Condition) -> Result<BTreeSet<String>, String> {
    let mut hosts = BTreeSet::new();
    let is_pattern = condition.name.ends_with("regexp");
    for argument in condition.arguments.iter().filter(|argument| !argument.is_empty()) {
        // Traefik 2 accepts commas inside of one argument.
        for host in super::super::text::list_members(argument) {
            let pattern = match host {
                "*" => Some(HostPattern::Any),
                host if is_pattern => parse_pattern(host),
                host => Some(HostPattern::Host(host.to_owned())),
            };
            match pattern {
                Some(HostPattern::Any) => return Ok(BTreeSet::new()),
                Some(HostPattern::Host(host)) => {
                    check_host(&host).map_err(|reason| format!("{host}: {reason}"))?;
                    hosts.insert(host);
                }
                None => {
                    return Err(format!(
                        "{host} is no host, nor *. and a host, so this alternative is left out"
                    ));
                }
            }
        }
    }
    if hosts.is_empty() {
        return Err("there is no host in it".to_owned());
    }
    Ok(hosts)
}

/// Returns the paths that match before and match the condition.
fn narrow_path(before: PathMatch, condition: &Condition) -> Result<PathMatch, String> {
    let mut paths = BTreeSet::new();
    for argument in &condition.arguments {
        if super::super::text::literal(argument).is_some_and(|text| text.contains(['{', '*'])) {
            return Err(format!("{argument} is a pattern, so this alternative is left out"));
        }
        let invalid = |reason| format!("{argument}: {reason}");
        if condition.name == "path" {
            paths.insert(parse_exact(argument).map_err(invalid)?);
            continue;
        }
        match parse_prefix(argument).map_err(invalid)? {
            None => return Ok(before),
            Some(path) => drop(paths.insert(path)),
        }
    }
    let new = match condition.name.as_str() {
        "path" => PathMatch::Exact(paths),
        _ => PathMatch::Prefixes(paths),
    };
    match (before, new) {
        (PathMatch::Whole, new) => Ok(new),
        (before, new) if before == new => Ok(new),
        _ => Err("several paths in one alternative: it is left out".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matches as `host,host /prefix,/prefix`, `=` before exact paths, `from` before clients; then losses.
    fn check(rule: &str, matches: &[&str], losses: usize) {
        let mut parsed = parse_rule(rule);
        parsed.resolve_excluded(|host, path| {
            host == "a.test" && *path == PathMatch::Prefixes(["/api".to_owned()].into())
        });
        let texts: Vec<_> = parsed.matches.iter().map(match_text).collect();
        assert_eq!(texts, matches, "{rule}: {:?}", parsed.losses);
        assert_eq!(parsed.losses.len(), losses, "{rule}: {:?}", parsed.losses);
    }

    fn match_text(matched: &RequestMatch) -> String {
        let join = |texts: &BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>().join(",");
        let hosts = if matched.hosts.is_empty() { "*".to_owned() } else { join(&matched.hosts) };
        let path = match &matched.path {
            PathMatch::Whole => String::new(),
            PathMatch::Prefixes(paths) => format!(" {}", join(paths)),
            PathMatch::Exact(paths) => format!(" ={}", join(paths)),
        };
        match matched.clients.as_slice() {
            [] => hosts + &path,
            clients => format!("{hosts}{path} from {}", clients.join(",")),
        }
    }

    #[test]
    fn rule_becomes_hosts_and_paths() {
        check("Host(`a.test`)", &["a.test"], 0);
        check("host(\"a.test\")", &["a.test"], 0);
        check("Host(`a.test`,`b.test`)", &["a.test,b.test"], 0);
        check(
            "Host(`a.test`, `b.test`) && PathPrefix(`/api/`, `/v1`)",
            &["a.test,b.test /api,/v1"],
            0,
        );
        check("Host(`a.test`) || Host(`b.test`)", &["a.test,b.test"], 0);
        check("Host(`a.test`) && (PathPrefix(`/x`) || PathPrefix(`/y`))", &["a.test /x,/y"], 0);
        check("Host(`a.test`) && PathPrefix(`/x`) || Host(`b.test`)", &["a.test /x", "b.test"], 0);
        check("(Host(`a.test`)||Host(`b.test`))&&Path(`/x`)", &["a.test,b.test =/x"], 0);
        check("PathPrefix(`/`)", &["*"], 0);
        check("Path(`/`)", &["* =/"], 0);
        check("Host(`${SUB}.${DOMAIN:-a.test}`)", &["${SUB}.${DOMAIN:-a.test}"], 0);
        check("HostRegexp(`{s:.+}.a.test`)", &["*.a.test"], 0);
        check("HostRegexp(`.+`) && PathPrefix(`/x`)", &["* /x"], 0);
        check("Host(`a.test`) && ClientIP(`10.0.0.0/8`)", &["a.test from 10.0.0.0/8"], 0);
        check("!(!Host(`a.test`))", &["a.test"], 0);
        check("Host(`a.test`) && !PathPrefix(`/api/`)", &["a.test"], 0);
    }

    #[test]
    fn alternative_with_unknown_condition_is_left_out() {
        check("Host(`a.test`) && Headers(`X`, `y`)", &[], 1);
        check("Host(`a.test`) || Method(`GET`)", &["a.test"], 1);
        check("Host(`a.test`) && !PathPrefix(`/x`)", &[], 1);
        check("Host(`a.test`,`b.test`) && !PathPrefix(`/api`)", &[], 1);
        check("Host(`a.test`) && !(PathPrefix(`/api`) || PathPrefix(`/x`))", &[], 1);
        check("!PathPrefix(`/api`)", &[], 1);
        check("Host(`a.test`) && !Path(`/api`)", &[], 1);
        check("!Host(`a.test`)", &[], 1);
        check("!(Host(`a.test`) || PathPrefix(`/x`))", &[], 1);
        check("Host(`a.test`) && Host(`b.test`)", &[], 1);
        check("Host(`a.test:80`)", &[], 1);
        check("Host()", &[], 1);
        check("PathPrefix(`/{id:[0-9]+}`)", &[], 1);
    }

    #[test]
    fn unreadable_rule_is_left_out() {
        for rule in
            ["", "Host", "Host(`a`", "Host(a)", "${RULE}", "Host:a.test", "Host(`a`) Host(`b`)"]
        {
            check(rule, &[], 1);
        }
        check(&"(".repeat(1000), &[], 1);
        check(&["(Host(`a`)||Host(`b`))"; 10].join("&&"), &[], 1);
    }
}
