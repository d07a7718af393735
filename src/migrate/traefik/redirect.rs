//! Middlewares of Traefik that redirect.
//!
//! Pure.

use super::{
    super::{
        draft::{ServiceDraft, Setting, add_setting, check_host},
        text,
    },
    middleware::{Middlewares, Scope},
    objects::{Field, find},
};
use std::collections::BTreeSet;

pub(super) fn add_redirect(
    draft: &mut ServiceDraft,
    fields: &[Field],
    scope: Scope<'_>,
    into: &mut Middlewares,
) {
    if let Some(scheme) = find(fields, "redirectscheme.scheme") {
        add_scheme(draft, fields, scheme, into);
    }
    if let (Some(regex), Some(replacement)) =
        (find(fields, "redirectregex.regex"), find(fields, "redirectregex.replacement"))
    {
        let hosts = regex_hosts(&regex.value);
        let target = replacement_target(&replacement.value);
        let (Some(hosts), Some(target)) = (hosts, target) else {
            let text = "only redirects of hosts have a counterpart: redirect, redirect_from";
            return draft.note_loss(&regex.origin(), text);
        };
        let origin = format!("{}; {}", regex.origin(), replacement.origin());
        let is_plain = regex.value.trim_start_matches('^').starts_with("http://");
        if is_plain && target.strip_prefix("https://").is_some_and(|host| hosts.contains(host)) {
            into.to_https = Some(Setting::new("redirect", "https", &origin));
            return;
        }
        match redirect_of_hosts(scope.hosts, &hosts, &target) {
            Ok((option, value)) => {
                add_setting(&mut into.settings, Setting::new(option, value, &origin));
                if option == "redirect_from" {
                    into.redirected.extend(hosts);
                }
            }
            Err(loss) => return draft.note_loss(&regex.origin(), loss),
        }
        if let Some(field) = is_permanent(fields, "redirectregex.permanent") {
            let status = Setting::new("redirect_status", "301", &field.origin());
            add_setting(&mut into.settings, status);
        }
    }
}

/// Returns the option and the value that redirect some hosts to a target. The route has all hosts of `scope`.
fn redirect_of_hosts(
    scope: &BTreeSet<String>,
    redirected: &BTreeSet<String>,
    target: &str,
) -> Result<(&'static str, String), String> {
    let (_, target_host) = target.split_once("://").unwrap_or(("", target));
    if redirected.contains(target_host) {
        return Err("it redirects a host to itself; tls=on redirects to HTTPS".to_owned());
    }
    if !scope.is_empty() && scope.is_subset(redirected) {
        return Ok(("redirect", target.to_owned()));
    }
    let from = redirected.iter().cloned().collect::<Vec<_>>().join(",");
    let mut others = scope.iter().filter(|host| !redirected.contains(*host));
    match others.find(|host| !host.starts_with('*')) {
        Some(first) if first != target_host => Err(format!(
            "redirect_from leads to {first}: give {from} a route of its own with redirect={target}"
        )),
        _ => Ok(("redirect_from", from)),
    }
}

fn is_permanent<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    find(fields, name).filter(|field| text::is_on(&field.value))
}

fn add_scheme(draft: &mut ServiceDraft, fields: &[Field], scheme: &Field, into: &mut Middlewares) {
    if !matches!(scheme.value.to_ascii_lowercase().as_str(), "https" | "websecure") {
        return draft.note_loss(&scheme.origin(), "only redirects to HTTPS have a counterpart");
    }
    into.to_https = Some(Setting::new("redirect", "https", &scheme.origin()));
    if let Some(port) = find(fields, "redirectscheme.port").filter(|port| port.value != "443") {
        draft.note_advice(&port.origin(), "the redirect leads to the lowest port of tls_bind");
    }
}

/// Returns the literal hosts of `^https?://(www\.)?example\.com/(.*)`.
fn regex_hosts(regex: &str) -> Option<BTreeSet<String>> {
    let regex = regex.replace("$$", "$").replace("\\\\", "\\");
    let rest = regex.trim_start_matches('^');
    let schemes = [
        "https?://",
        "http://",
        "https://",
        "http[s]?://",
        "http(s)?://",
        "(https?)://",
        "https?:\\/\\/",
    ];
    let rest = schemes.iter().find_map(|scheme| rest.strip_prefix(scheme))?;
    let (host, path) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => rest
            .rsplit_once('(')
            .filter(|(_, after)| after.starts_with('.') || after.is_empty())
            .map_or((rest, ""), |(host, _)| (host, "(.*)")),
    };
    let is_any_path = matches!(
        path.trim_end_matches('$').trim_start_matches('/'),
        "" | "(.*)" | "?(.*)" | ".*" | "(.+)" | "(.*)?" | "?"
    );
    if !is_any_path {
        return None;
    }
    let host = host.trim_end_matches('$');
    let hosts: Vec<String> =
        match host.strip_prefix("(www\\.)?").or_else(|| host.strip_prefix("(?:www\\.)?")) {
            Some(host) => vec![host.to_owned(), format!("www.{host}")],
            None => vec![host.to_owned()],
        };
    let hosts = hosts.into_iter().map(|host| host.replace("\\.", "."));
    let hosts: BTreeSet<_> = hosts.collect();
    let is_literal = |host: &String| {
        text::has_variable(host) && !host.contains(['(', '*', '[', '^'])
            || !text::has_variable(host) && !host.ends_with('.') && check_host(host).is_ok()
    };
    hosts.iter().all(is_literal).then_some(hosts)
}

/// Returns the target of `https://example.com/${1}`: a host, whose path and query stay.
fn replacement_target(replacement: &str) -> Option<String> {
    let target = replacement.trim();
    let end = ["/$${1}", "/$$1", "/${1}", "/$1", "$${1}", "$$1", "/$${2}", "/$$2", "/${2}", "/$2"]
        .iter()
        .find_map(|end| target.strip_suffix(end))
        .unwrap_or(target.trim_end_matches('/'));
    let host = end.strip_prefix("https://").or_else(|| end.strip_prefix("http://"))?;
    let is_host = !host.is_empty()
        && text::split_outside(host, |c| c == '/').len() == 1
        && !host.contains("$$");
    is_host.then(|| end.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regex_of_hosts_is_read() {
        for (regex, hosts) in [
            ("^https?://www\\.a\\.test/(.*)", Some(&["www.a.test"][..])),
            ("^https?://(www\\.)?old\\.test/(.*)$$", Some(&["old.test", "www.old.test"])),
            ("^http://a.test", Some(&["a.test"])),
            ("https://www.${DOMAIN}/(.*)", Some(&["www.${DOMAIN}"])),
            ("^https?://(.*)/old$", None),
            ("^https?://www\\.(.+)", None),
            ("^/old", None),
        ] {
            let expected = hosts.map(|hosts| hosts.iter().map(ToString::to_string).collect());
            assert_eq!(regex_hosts(regex), expected, "{regex}");
        }
    }

    #[test]
    fn redirect_leads_to_the_first_host() {
        let set = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        for (scope, redirected, expected) in [
            (&["a.test"][..], &["www.a.test"][..], Some("redirect_from")),
            (&["a.test", "www.a.test"], &["www.a.test"], Some("redirect_from")),
            (&["www.a.test"], &["www.a.test"], Some("redirect")),
            (&[], &["www.a.test"], Some("redirect_from")),
            (&["0.test", "a.test"], &["www.a.test"], None),
            (&["a.test"], &["a.test"], None),
        ] {
            let found = redirect_of_hosts(&set(scope), &set(redirected), "https://a.test");
            assert_eq!(found.ok().map(|(option, _)| option), expected, "{scope:?}");
        }
    }

    #[test]
    fn replacement_is_a_host() {
        for (replacement, target) in [
            ("https://a.test/$${1}", Some("https://a.test")),
            ("https://a.test", Some("https://a.test")),
            ("https://${DOMAIN}/$${1}", Some("https://${DOMAIN}")),
            ("https://a.test/x/$${1}", None),
            ("https://$${1}", None),
            ("/new", None),
        ] {
            assert_eq!(replacement_target(replacement).as_deref(), target, "{replacement}");
        }
    }
}
