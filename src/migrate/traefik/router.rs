//! Traefik's routers of HTTP.
//!
//! Pure.

use super::{
    super::{
        ServiceInput,
        draft::{PathMatch, RouteDraft, ServiceDraft, Setting, add_setting, join_ports},
        text,
    },
    Context,
    middleware::{MiddlewareTranslator, Middlewares, Scope, Target},
    objects::{Field, TraefikLabels, find},
    rule::{ParsedRule, RequestMatch, parse_rule},
    service_option::ContainerPort,
    static_config::{EntryPoint, EntryPointKind},
};

/// A router, with everything but its middlewares resolved.
struct Router<'a> {
    name: &'a str,
    fields: &'a [Field],
    rule: &'a Field,
    parsed: ParsedRule,
    /// The container's port, with its options.
    port: ContainerPort,
    listeners: Listeners,
}

/// Where a router listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Listeners {
    plain: Vec<u16>,
    secure: Vec<u16>,
    /// Whether an entry point redirects plain requests.
    redirects: bool,
    /// Origin of HTTPS.
    tls_origin: String,
    /// Origin of ordered certificates.
    resolver: Option<String>,
    /// Middlewares of the entry points, with their origins.
    middlewares: Vec<(String, String)>,
}

pub(super) fn add_routes(
    context: &Context,
    service: &ServiceInput,
    labels: &TraefikLabels,
    draft: &mut ServiceDraft,
) {
    let mut routers: Vec<Router<'_>> = Vec::new();
    for (name, fields) in &labels.routers {
        if let Some(origin) = find_internal(labels, fields) {
            let text = "this is a part of Traefik itself; docker-balancer has --dashboard";
            draft.note_advice(&origin, text);
            continue;
        }
        routers.extend(read_router(context, service, labels, name, fields, draft));
    }
    while !routers.is_empty() {
        let first = routers.remove(0);
        // The router of the other scheme with the same rule and port.
        let is_sibling = |other: &Router<'_>| {
            other.parsed == first.parsed
                && other.port == first.port
                && other.listeners.secure.is_empty() != first.listeners.secure.is_empty()
        };
        let sibling = routers.iter().position(is_sibling).map(|at| routers.remove(at));
        let (secure, plain) = match sibling {
            Some(sibling) if first.listeners.secure.is_empty() => (sibling, Some(first)),
            sibling => (first, sibling),
        };
        add_pair(context, labels, &secure, plain.as_ref(), draft);
    }
}

/// Returns the origin of a router that leads to a part of Traefik, or redirects to such a router with the same rule.
fn find_internal(labels: &TraefikLabels, fields: &[Field]) -> Option<String> {
    let target = find(fields, "service").filter(|target| target.value.ends_with("@internal"));
    if let Some(target) = target {
        return Some(target.origin());
    }
    let rule = find(fields, "rule").filter(|_| find(fields, "service").is_none())?;
    let is_twin = |other: &&Vec<Field>| {
        // A router to `noop@internal` only redirects.
        let is_page =
            |target: &Field| target.value.ends_with("@internal") && target.value != "noop@internal";
        find(other, "service").is_some_and(is_page)
            && find(other, "rule").is_some_and(|other| other.value == rule.value)
    };
    labels.routers.values().find(is_twin).map(|_| rule.origin())
}

/// Reads a router. Returns `None` if it leads to nothing that docker-balancer serves.
fn read_router<'a>(
    context: &Context,
    service: &ServiceInput,
    labels: &'a TraefikLabels,
    name: &'a str,
    fields: &'a [Field],
    draft: &mut ServiceDraft,
) -> Option<Router<'a>> {
    let Some(rule) = find(fields, "rule") else {
        let origin = fields.first().map(Field::origin).unwrap_or_default();
        let text = "the router has no rule, so Traefik takes its default one, which is not among the labels: add the host";
        draft.note_loss(&origin, text);
        return None;
    };
    let mut parsed = parse_rule(&rule.value);
    let entry_points = entry_points(fields);
    parsed.resolve_excluded(|host, path| {
        context.routes.iter().any(|(other, matched)| {
            *other == entry_points && matched.hosts.contains(host) && matched.path == *path
        })
    });
    for loss in &parsed.losses {
        draft.note_loss(&rule.origin(), loss);
    }
    note_precedence(fields, rule, &parsed, draft);
    note_other_fields(fields, draft);
    let listeners = read_listeners(context, fields, rule, draft);
    let port = ContainerPort::find(context, service, labels, find(fields, "service"), rule, draft)?;
    Some(Router { name, fields, rule, parsed, port, listeners })
}

/// Notes routes that may win in Traefik, and lose against those of an exact host here.
fn note_precedence(fields: &[Field], rule: &Field, parsed: &ParsedRule, draft: &mut ServiceDraft) {
    let has_priority = find(fields, "priority").is_some();
    for matched in parsed.matches.iter().filter(|matched| matched.path != PathMatch::Whole) {
        let wildcard = matched.hosts.iter().find(|host| host.starts_with('*'));
        let hosts = match wildcard {
            Some(host) => host.as_str(),
            None if matched.hosts.is_empty() && has_priority => "any host",
            None => continue,
        };
        let text = format!(
            "a route of an exact host wins over this one of {hosts}, whatever the path; in Traefik this one may win: list the hosts in host"
        );
        draft.note_loss(&rule.origin(), text);
    }
}

fn note_other_fields(fields: &[Field], draft: &mut ServiceDraft) {
    for field in fields {
        match field.name.as_str() {
            "rule" | "service" | "entrypoints" | "middlewares" | "tls" | "tls.certresolver" => {}
            "priority" => {
                let text = "there are no priorities: the exact host wins, then the longest prefix";
                draft.note_advice(&field.origin(), text);
            }
            "tls.options" => {
                let text = "TLS versions are set by tls_policy or --tls-policy, certificates of clients by client_cert";
                draft.note_loss(&field.origin(), text);
            }
            name if name.starts_with("tls.domains") => {
                let text = "certificates are ordered for the hosts of the route; see --wildcard for one with *.";
                draft.note_advice(&field.origin(), text);
            }
            name if name.starts_with("observability") => {}
            "rulesyntax" => {}
            _ => draft.note_loss(&field.origin(), "this option of a router has no counterpart"),
        }
    }
}

/// Returns all matches of the routers of a service, with their entry points. Routers to Traefik itself are none here.
pub(super) fn read_matches(labels: &TraefikLabels) -> Vec<(String, RequestMatch)> {
    let is_served = |fields: &&Vec<Field>| find_internal(labels, fields).is_none();
    let routers = labels.routers.values().filter(is_served);
    let matches_of = |fields: &Vec<Field>| {
        let parsed = find(fields, "rule").map(|rule| parse_rule(&rule.value)).unwrap_or_default();
        let matches = parsed.matches.into_iter();
        let matches =
            matches.filter(|matched| matched.clients.is_empty() && matched.excluded.is_empty());
        matches.map(|matched| (entry_points(fields), matched)).collect::<Vec<_>>()
    };
    routers.flat_map(matches_of).collect()
}

/// Returns the entry points as the label has them.
fn entry_points(fields: &[Field]) -> String {
    find(fields, "entrypoints").map(|field| field.value.clone()).unwrap_or_default()
}

fn read_listeners(
    context: &Context,
    fields: &[Field],
    rule: &Field,
    draft: &mut ServiceDraft,
) -> Listeners {
    let mut listeners = Listeners::default();
    let tls = fields.iter().filter(|field| field.name == "tls" || field.name.starts_with("tls."));
    let tls =
        tls.clone().find(|field| field.name == "tls.certresolver").or_else(|| tls.clone().next());
    let tls = tls.filter(|field| field.name != "tls" || text::is_on(&field.value));
    listeners.resolver = find(fields, "tls.certresolver").map(Field::origin);
    if let Some(field) = tls {
        listeners.tls_origin = field.origin();
    }
    let Some(entry_points) = find(fields, "entrypoints") else {
        listeners.add_defaults(context, tls.is_some(), rule, draft);
        return listeners;
    };
    for name in text::list_members(&entry_points.value) {
        match context.config.entry_point(name) {
            EntryPointKind::Configured(entry) => {
                listeners.add_entry(entry, tls.is_some(), &entry_points.origin());
            }
            EntryPointKind::Plain if tls.is_some() => {}
            EntryPointKind::Plain => listeners.plain.push(80),
            EntryPointKind::Secure => listeners.add_secure(443, &entry_points.origin()),
            EntryPointKind::Unknown => {
                let (port, option) = if tls.is_some() { (443, "tls_bind") } else { (80, "bind") };
                if tls.is_some() { &mut listeners.secure } else { &mut listeners.plain }.push(port);
                let text = format!(
                    "the port of the entry point {name} is not in the input: {port} is assumed; another one is set with {option}"
                );
                draft.note_loss(&entry_points.origin(), text);
            }
        }
    }
    if listeners.plain.is_empty() && listeners.secure.is_empty() {
        listeners.add_secure(443, &entry_points.origin());
    }
    listeners
}

impl Listeners {
    /// Adds the entry points of a router that names none.
    fn add_defaults(
        &mut self,
        context: &Context,
        has_tls: bool,
        rule: &Field,
        draft: &mut ServiceDraft,
    ) {
        let entries = context.config.defaults();
        for entry in &entries {
            self.add_entry(entry, has_tls, "an entry point of Traefik with TLS");
        }
        // A router with TLS answers TLS on each entry point.
        if has_tls {
            self.plain.clear();
            self.secure.retain(|port| *port != 80);
        }
        let (port, remedy) = if has_tls { (443, "") } else { (80, "; if one has TLS, set tls=on") };
        if self.plain.is_empty() && self.secure.is_empty() {
            if has_tls { &mut self.secure } else { &mut self.plain }.push(port);
        }
        if entries.is_empty() {
            let text = format!(
                "the router has Traefik's default entry points, which are not in the input: {port} is assumed{remedy}"
            );
            draft.note_advice(&rule.origin(), text);
        }
    }

    fn add_entry(&mut self, entry: &EntryPoint, router_has_tls: bool, origin: &str) {
        let Some(port) = entry.port else { return };
        self.middlewares.extend(entry.middlewares.iter().cloned());
        self.redirects |= entry.redirects;
        if entry.resolver.is_some() && self.resolver.is_none() {
            self.resolver.clone_from(&entry.resolver);
        }
        if entry.tls || router_has_tls {
            // Plain HTTP on the port of an entry point that redirects.
            if !(port == 80 || entry.redirects) {
                self.add_secure(port, origin);
            }
        } else {
            self.plain.push(port);
        }
    }

    fn add_secure(&mut self, port: u16, origin: &str) {
        if self.tls_origin.is_empty() {
            origin.clone_into(&mut self.tls_origin);
        }
        self.secure.push(port);
    }
}

/// Adds the routes of a router, and of the one for plain HTTP with the same rule.
fn add_pair(
    context: &Context,
    labels: &TraefikLabels,
    router: &Router<'_>,
    plain: Option<&Router<'_>>,
    draft: &mut ServiceDraft,
) {
    for matched in &router.parsed.matches {
        let own = read_middlewares(context, labels, router, matched, draft);
        let Some(plain) = plain else {
            let mode = Mode::of_one(&router.listeners, own.to_https.as_ref());
            add_route(router, matched, own, &mode, draft);
            continue;
        };
        let other = read_middlewares(context, labels, plain, matched, draft);
        let origin = format!("{}; {}", router.listeners.tls_origin, plain.rule.origin());
        let redirect = other.to_https.as_ref().map(|setting| setting.origin.clone());
        let redirects =
            redirect.is_some() || plain.listeners.redirects || router.listeners.redirects;
        if redirects {
            let origin = match redirect {
                Some(redirect) => format!("{}; {redirect}", router.listeners.tls_origin),
                None => router.listeners.tls_origin.clone(),
            };
            let mode = Mode::new("on", &origin, plain.listeners.plain.clone(), &router.listeners);
            add_route(router, matched, own, &mode, draft);
        } else if other.settings == own.settings {
            let mode = Mode::new("both", &origin, plain.listeners.plain.clone(), &router.listeners);
            add_route(router, matched, own, &mode, draft);
        } else {
            let only =
                Mode::new("only", &router.listeners.tls_origin, Vec::new(), &router.listeners);
            add_route(router, matched, own, &only, draft);
            let off = Mode::of_one(&plain.listeners, None);
            add_route(plain, matched, other, &off, draft);
        }
    }
}

fn read_middlewares(
    context: &Context,
    labels: &TraefikLabels,
    router: &Router<'_>,
    matched: &RequestMatch,
    draft: &mut ServiceDraft,
) -> Middlewares {
    let mut found = Middlewares::default();
    let scope = Scope { hosts: &matched.hosts, path: &matched.path };
    let mut translator = MiddlewareTranslator {
        own: &labels.middlewares,
        all: &context.middlewares,
        target: Target::Route,
        draft,
    };
    for (name, origin) in &router.listeners.middlewares {
        translator.add_reference(name, origin, scope, &mut found);
    }
    if let Some(field) = find(router.fields, "middlewares") {
        for name in text::list_members(&field.value) {
            translator.add_reference(name, &field.origin(), scope, &mut found);
        }
    }
    if !matched.clients.is_empty() {
        let setting = Setting::new("allow", matched.clients.join(","), &router.rule.origin());
        add_setting(&mut found.settings, setting);
        let text = "other clients get 403; in Traefik another router may answer them";
        translator.draft.note_advice(&router.rule.origin(), text);
    }
    found
}

/// What a route's `tls`, `bind` and `tls_bind` become.
struct Mode {
    /// `None`: plain HTTP only.
    tls: Option<(&'static str, String)>,
    plain: Vec<u16>,
    secure: Vec<u16>,
    resolver: Option<String>,
}

impl Mode {
    fn new(tls: &'static str, origin: &str, plain: Vec<u16>, listeners: &Listeners) -> Self {
        let (secure, resolver) = (listeners.secure.clone(), listeners.resolver.clone());
        Self { tls: Some((tls, origin.to_owned())), plain, secure, resolver }
    }

    /// Returns the mode of a router alone.
    fn of_one(listeners: &Listeners, redirect: Option<&Setting>) -> Self {
        if listeners.secure.is_empty() {
            let plain = listeners.plain.clone();
            return Self { tls: None, plain, secure: Vec::new(), resolver: None };
        }
        let redirects = listeners.redirects || redirect.is_some() || listeners.plain.is_empty();
        let tls = if redirects { "on" } else { "both" };
        Self::new(tls, &listeners.tls_origin, listeners.plain.clone(), listeners)
    }
}

fn add_route(
    router: &Router<'_>,
    matched: &RequestMatch,
    middlewares: Middlewares,
    mode: &Mode,
    draft: &mut ServiceDraft,
) {
    if let (Some(redirect), None) = (&middlewares.to_https, &mode.tls)
        && matched.hosts.is_empty()
    {
        let text = "tls=on redirects plain requests of each host, so this router is not needed";
        return draft.note_advice(&redirect.origin, text);
    }
    let mut route = RouteDraft::http(router.name, &router.port.port, router.rule.origin());
    route.hosts = &matched.hosts - &middlewares.redirected;
    if route.hosts.is_empty() {
        // A route without hosts would be one for all.
        route.hosts.clone_from(&matched.hosts);
    }
    route.path = matched.path.clone();
    if let Some((tls, origin)) = &mode.tls {
        route.set("tls", *tls, origin);
        if !mode.secure.is_empty() && join_ports(&mode.secure) != "443" {
            route.set("tls_bind", join_ports(&mode.secure), origin);
        }
        if let Some(origin) = &mode.resolver {
            route.set("cert", "acme", origin);
        }
    }
    if !mode.plain.is_empty() {
        let origin = find(router.fields, "entrypoints").map(Field::origin);
        let origin = origin.unwrap_or_else(|| "Traefik's entry points".to_owned());
        route.bind_plain(&mode.plain, &origin);
    }
    for setting in router.port.settings.iter().cloned() {
        add_setting(&mut route.settings, setting);
    }
    for setting in middlewares.settings {
        add_setting(&mut route.settings, setting);
    }
    if let (Some(redirect), None) = (middlewares.to_https, &mode.tls) {
        add_setting(&mut route.settings, redirect);
    }
    draft.routes.push(route);
}
