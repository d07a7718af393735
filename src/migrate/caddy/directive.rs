//! Labels of caddy-docker-proxy as the directives of a Caddyfile.
//!
//! Pure. `caddy_1.route.0_uri=strip_prefix /x` is the directive `uri` in `route` of the site `caddy_1`.

use super::super::{draft, text};
use std::collections::BTreeMap;

/// A directive with its arguments and what is inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directive {
    /// Without the number that gives its place.
    pub(super) name: String,
    pub(super) order: u32,
    /// The label; empty if only directives inside have one.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) inside: Vec<Directive>,
}

/// Site of a Caddyfile, a snippet, or global options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) key: String,
    /// Addresses, or the name of a snippet in parentheses. Empty for global options.
    pub(super) address: String,
    pub(super) directives: Vec<Directive>,
}

/// Reads the sites of a service.
pub(super) fn read_sites(labels: &BTreeMap<String, String>) -> Vec<Site> {
    let mut sites: BTreeMap<&str, Site> = BTreeMap::new();
    for (key, value) in labels {
        let parts = text::split_outside(key, |c| c == '.');
        let Some((group, names)) = parts.split_first().filter(|(group, _)| is_group(group)) else {
            continue;
        };
        let site = sites.entry(group).or_default();
        if names.is_empty() {
            (site.key, site.address) = (key.clone(), value.trim().to_owned());
        } else {
            add_directive(&mut site.directives, names, key, value);
        }
    }
    let mut sites: Vec<_> = sites.into_values().collect();
    for site in &mut sites {
        sort_directives(&mut site.directives);
    }
    sites
}

/// `caddy`, or `caddy_` and a number.
fn is_group(name: &str) -> bool {
    let number = name.strip_prefix("caddy_");
    name == "caddy"
        || number.is_some_and(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()))
}

fn add_directive(directives: &mut Vec<Directive>, names: &[&str], key: &str, value: &str) {
    let Some((first, rest)) = names.split_first() else { return };
    let (name, order) = split_order(first);
    let is_same = |other: &Directive| other.name == name && other.order == order;
    let at = directives.iter().position(is_same).unwrap_or_else(|| {
        directives.push(Directive { name: name.to_owned(), order, ..Directive::default() });
        directives.len() - 1
    });
    let directive = &mut directives[at];
    if rest.is_empty() {
        (directive.key, directive.value) = (key.to_owned(), value.trim().to_owned());
    } else {
        add_directive(&mut directive.inside, rest, key, value);
    }
}

/// Splits `0_uri` or `import_0` into the name and the number.
fn split_order(name: &str) -> (&str, u32) {
    let prefix = name.split_once('_').and_then(|(number, rest)| Some((rest, number.parse().ok()?)));
    let suffix =
        name.rsplit_once('_').and_then(|(rest, number)| Some((rest, number.parse().ok()?)));
    prefix.or(suffix).filter(|(rest, _)| !rest.is_empty()).unwrap_or((name, 0))
}

fn sort_directives(directives: &mut [Directive]) {
    directives.sort_by_key(|directive| directive.order);
    for directive in directives {
        sort_directives(&mut directive.inside);
    }
}

impl Directive {
    /// Returns the label with its value, or the first one inside.
    pub(super) fn origin(&self) -> String {
        if self.key.is_empty() {
            return self.inside.first().map(Self::origin).unwrap_or_default();
        }
        draft::origin(&self.key, &self.value)
    }

    pub(super) fn words(&self) -> Vec<String> {
        text::split_words(&self.value)
    }

    /// Returns the value of a directive inside.
    pub(super) fn find(&self, name: &str) -> Option<&Directive> {
        self.inside.iter().find(|directive| directive.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_gives_the_place() {
        for (name, expected) in [
            ("0_uri", ("uri", 0)),
            ("2_reverse_proxy", ("reverse_proxy", 2)),
            ("import_1", ("import", 1)),
            ("reverse_proxy", ("reverse_proxy", 0)),
            ("@match", ("@match", 0)),
        ] {
            assert_eq!(split_order(name), expected);
        }
    }
}
