//! Labels of Traefik 1 (`traefik.frontend.rule=Host:a.example.com`), as those of later versions.
//!
//! Pure. `traefik.<segment>.frontend.rule` makes a further route of the container.

use super::{
    super::text,
    objects::{Field, TraefikLabels},
};
use std::collections::BTreeMap;

/// Options of Traefik 1 that belong to a frontend or backend, by their first part.
const SEGMENT_OPTIONS: [&str; 6] = ["frontend", "backend", "port", "protocol", "weight", "domain"];

/// Moves the labels of Traefik 1 to the routers, services and middlewares that they correspond to.
pub(super) fn translate_labels(labels: &mut TraefikLabels) {
    if !labels.routers.is_empty() || !labels.tcp_routers.is_empty() {
        // Later versions ignore them.
        let is_old =
            |field: &Field| SEGMENT_OPTIONS.iter().any(|option| is_part(&field.name, option));
        labels.first.retain(|field| !is_old(field));
        return;
    }
    let mut segments: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for field in std::mem::take(&mut labels.first) {
        let (first, rest) = field.raw_name.split_once('.').unwrap_or((&field.raw_name, ""));
        if SEGMENT_OPTIONS.contains(&first.to_ascii_lowercase().as_str()) {
            segments.entry(String::new()).or_default().push(field);
        } else if SEGMENT_OPTIONS
            .contains(&rest.split('.').next().unwrap_or_default().to_ascii_lowercase().as_str())
        {
            let (segment, own) = (first.to_owned(), field.derive(rest, field.value.clone()));
            segments.entry(segment).or_default().push(own);
        } else {
            labels.first.push(field);
        }
    }
    let base = segments.remove("").unwrap_or_default();
    if segments.is_empty() {
        add_segment(labels, "app", &base);
        return;
    }
    for (name, own) in &segments {
        let is_set = |field: &&Field| own.iter().any(|other| other.name == field.name);
        let inherited = base.iter().filter(|field| !is_set(field)).cloned();
        let fields: Vec<_> = own.iter().cloned().chain(inherited).collect();
        add_segment(labels, name, &fields);
    }
}

fn is_part(name: &str, option: &str) -> bool {
    name.split('.').any(|part| part == option)
}

fn add_segment(labels: &mut TraefikLabels, name: &str, fields: &[Field]) {
    let mut middlewares = Vec::new();
    for field in fields {
        let service = |option: &str| (option.to_owned(), field.value.clone());
        let (option, value) = match field.name.as_str() {
            "frontend.rule" => {
                add_rule(labels, name, field, &mut middlewares);
                continue;
            }
            "frontend.entrypoints" => {
                let router = labels.routers.entry(name.to_owned()).or_default();
                router.push(field.derive("entrypoints", field.value.clone()));
                continue;
            }
            "frontend.priority" => {
                let router = labels.routers.entry(name.to_owned()).or_default();
                router.push(field.derive("priority", field.value.clone()));
                continue;
            }
            "port" => service("loadbalancer.server.port"),
            "protocol" => service("loadbalancer.server.scheme"),
            "weight" => service("loadbalancer.server.weight"),
            "backend.loadbalancer.stickiness" | "backend.loadbalancer.sticky" => {
                service("loadbalancer.sticky.cookie")
            }
            "backend.healthcheck.path" => service("loadbalancer.healthcheck.path"),
            "backend.healthcheck.interval" => service("loadbalancer.healthcheck.interval"),
            "backend.healthcheck.port" => service("loadbalancer.healthcheck.port"),
            "frontend.passhostheader" => service("loadbalancer.passhostheader"),
            // Names and defaults without an effect on a single container.
            "backend" | "domain" => continue,
            _ => {
                let Some(option) = middleware_option(field) else {
                    labels.unknown.push(field.clone());
                    continue;
                };
                let kind = option.split('.').next().unwrap_or_default().to_ascii_lowercase();
                let middleware = format!("{name}-{kind}");
                let fields = labels.middlewares.entry(middleware.clone()).or_default();
                fields.push(field.derive(&option, field.value.clone()));
                if !middlewares.iter().any(|(_, other)| *other == middleware) {
                    middlewares.push((field.clone(), middleware));
                }
                continue;
            }
        };
        let service = labels.services.entry(name.to_owned()).or_default();
        service.push(field.derive(&option, value));
    }
    let has_entry_points = fields.iter().any(|field| field.name == "frontend.entrypoints");
    if let Some(field) = fields.iter().find(|field| !has_entry_points && redirects_to_https(field))
    {
        let router = labels.routers.entry(name.to_owned()).or_default();
        router.push(field.derive("entrypoints", "http,https"));
    }
    let has_service = labels.services.contains_key(name);
    if let Some(rule) = fields.iter().find(|field| field.name == "frontend.rule" && has_service) {
        let router = labels.routers.entry(name.to_owned()).or_default();
        router.push(rule.derive("service", name));
    }
    if let Some((field, _)) = middlewares.first() {
        let names: Vec<_> = middlewares.iter().map(|(_, middleware)| middleware.as_str()).collect();
        let field = field.derive("middlewares", names.join(","));
        labels.routers.entry(name.to_owned()).or_default().push(field);
    }
}

/// Whether the frontend is also one for HTTPS, to which it redirects.
fn redirects_to_https(field: &Field) -> bool {
    match field.name.as_str() {
        "frontend.redirect.entrypoint" => field.value.eq_ignore_ascii_case("https"),
        "frontend.headers.sslredirect"
        | "frontend.headers.ssltemporaryredirect"
        | "frontend.headers.sslforcehost" => text::is_on(&field.value),
        _ => false,
    }
}

/// Returns the option of a middleware that a frontend's option corresponds to.
fn middleware_option(field: &Field) -> Option<String> {
    let option = match field.name.strip_prefix("frontend.")? {
        "auth.basic" | "auth.basic.users" => "basicauth.users",
        "auth.basic.usersfile" => "basicauth.usersfile",
        "auth.digest.users" => "digestauth.users",
        "auth.forward.address" => "forwardauth.address",
        "auth.forward.authresponseheaders" => "forwardauth.authresponseheaders",
        "auth.forward.trustforwardheader" => "forwardauth.trustforwardheader",
        "whitelist.sourcerange" | "whitelistsourcerange" => "ipallowlist.sourcerange",
        "redirect.entrypoint" => "redirectscheme.scheme",
        "redirect.permanent" => "redirectscheme.permanent",
        "redirect.regex" => "redirectregex.regex",
        "redirect.replacement" => "redirectregex.replacement",
        name => {
            let headers = name.strip_prefix("headers.")?;
            // Names of headers keep their case.
            let raw = &field.raw_name[field.raw_name.len() - headers.len()..];
            return Some(format!("headers.{raw}"));
        }
    };
    Some(option.to_owned())
}

/// Adds `Host:a,b;PathPrefixStrip:/x` as a rule, and as middlewares for what the rule changes.
fn add_rule(
    labels: &mut TraefikLabels,
    name: &str,
    field: &Field,
    middlewares: &mut Vec<(Field, String)>,
) {
    let mut conditions = Vec::new();
    for part in field.value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((matcher, arguments)) = part.split_once(':') else {
            conditions.push(part.to_owned());
            continue;
        };
        let matcher = matcher.trim();
        let arguments: Vec<_> = arguments.split(',').map(str::trim).collect();
        let quoted = arguments.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(",");
        let mut change = |option: &str, value: String| {
            let middleware = format!("{name}-{}", option.split('.').next().unwrap_or_default());
            let fields = labels.middlewares.entry(middleware.clone()).or_default();
            fields.push(field.derive(option, value));
            middlewares.push((field.clone(), middleware));
        };
        match matcher.to_ascii_lowercase().as_str() {
            "pathprefixstrip" => {
                conditions.push(format!("PathPrefix({quoted})"));
                change("stripprefix.prefixes", arguments.join(","));
            }
            "pathstrip" => {
                conditions.push(format!("Path({quoted})"));
                change("stripprefix.prefixes", arguments.join(","));
            }
            "addprefix" => change("addprefix.prefix", arguments.join(",")),
            "replacepath" => change("replacepath.path", arguments.join(",")),
            _ => conditions.push(format!("{matcher}({quoted})")),
        }
    }
    let router = labels.routers.entry(name.to_owned()).or_default();
    router.push(field.derive("rule", conditions.join(" && ")));
}
