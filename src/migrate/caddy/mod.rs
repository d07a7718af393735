//! Labels of caddy-docker-proxy.
//!
//! Pure. A site becomes routes, one for each `reverse_proxy`. What is imported from a snippet among the labels is
//! resolved; a snippet of a Caddyfile becomes a policy that the administrator writes.

mod directive;
mod matcher;
mod proxy;
mod setting;

use super::{
    ServiceInput, Translation,
    draft::{PathMatch, RouteDraft, ServiceDraft, Setting, check_host, origin},
    text,
};
use directive::{Directive, Site, read_sites};
use matcher::{Matcher, NamedMatchers, read_matchers, split_matcher};
use std::collections::{BTreeMap, BTreeSet};

/// Limit of blocks in blocks, and of imports in snippets.
const MAX_DEPTH: usize = 16;

/// Options at the top of a Caddyfile, without those of plugins, which may do anything.
const GLOBAL_OPTIONS: [&str; 35] = [
    "acme_ca",
    "acme_ca_root",
    "acme_dns",
    "acme_eab",
    "admin",
    "auto_https",
    "cert_issuer",
    "cert_lifetime",
    "debug",
    "default_bind",
    "default_sni",
    "dns",
    "ech",
    "email",
    "events",
    "fallback_sni",
    "filesystem",
    "grace_period",
    "http_port",
    "https_port",
    "key_type",
    "local_certs",
    "log",
    "metrics",
    "ocsp_interval",
    "ocsp_stapling",
    "on_demand_tls",
    "order",
    "persist_config",
    "pki",
    "preferred_chains",
    "servers",
    "shutdown_delay",
    "skip_install_trust",
    "storage",
];

/// Snippets by name.
type Snippets = BTreeMap<String, Vec<Directive>>;

/// Hosts of a site that have one scheme and port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    hosts: BTreeSet<String>,
    secure: bool,
    port: u16,
}

/// Where the walk through the directives is.
#[derive(Debug, Clone)]
struct Place<'a> {
    service: &'a ServiceInput,
    addresses: &'a [Address],
    snippets: &'a Snippets,
    name: String,
    origin: String,
    path: PathMatch,
    settings: Vec<Setting>,
    matchers: NamedMatchers,
    depth: usize,
}

pub(super) fn translate(services: &[ServiceInput]) -> Translation {
    let all: Vec<_> = services.iter().map(|service| read_sites(&service.labels)).collect();
    let mut snippets = Snippets::new();
    for site in all.iter().flatten() {
        let name = site.address.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        snippets.extend(name.map(|name| (name.to_owned(), site.directives.clone())));
    }
    let mut translation = Translation::default();
    for (service, sites) in services.iter().zip(&all) {
        let mut draft = ServiceDraft::new(service);
        if let Some(network) = service.labels.get("caddy_ingress_network") {
            draft.add_container_label(
                "glue_network",
                network,
                &origin("caddy_ingress_network", network),
            );
        }
        for site in sites {
            translate_site(service, site, &snippets, &mut draft);
        }
        draft.finish(&mut translation);
    }
    translation
}

fn translate_site(
    service: &ServiceInput,
    site: &Site,
    snippets: &Snippets,
    draft: &mut ServiceDraft,
) {
    if site.address.is_empty() {
        return site.directives.iter().for_each(|directive| note_without_site(directive, draft));
    }
    let site_origin = origin(&site.key, &site.address);
    if site.address.starts_with('(') {
        return draft.note_advice(&site_origin, "a snippet; sites that import it have its options");
    }
    let addresses = read_addresses(&site.address, &site_origin, draft);
    if addresses.is_empty() {
        return;
    }
    let before = draft.routes.len();
    let place = Place {
        service,
        addresses: &addresses,
        snippets,
        name: text::to_name(site.key.trim_start_matches("caddy_")),
        origin: site_origin.clone(),
        path: PathMatch::Whole,
        settings: Vec::new(),
        matchers: NamedMatchers::new(),
        depth: 0,
    };
    walk(place, &site.directives, draft);
    if draft.routes.len() == before {
        draft.note_loss(
            &site_origin,
            "no container of the input answers for the site, so it has no route",
        );
    }
}

/// Notes a directive of a group of labels without an address.
fn note_without_site(directive: &Directive, draft: &mut ServiceDraft) {
    if GLOBAL_OPTIONS.contains(&directive.name.as_str()) {
        let text = "a global option of Caddy; see the options of docker-balancer";
        return draft.note_advice(&directive.origin(), text);
    }
    let text = "the labels name no site, so there is no route: add the host, as in glue_http_80_host=app.example.com";
    draft.note_loss(&directive.origin(), text);
}

/// Reads `example.com, http://www.example.com:8080`, grouped by scheme and port.
fn read_addresses(text: &str, origin: &str, draft: &mut ServiceDraft) -> Vec<Address> {
    let mut addresses: Vec<Address> = Vec::new();
    for word in text::split_outside(text, |c| c == ',' || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        let (plain, rest) = match (word.strip_prefix("http://"), word.strip_prefix("https://")) {
            (Some(rest), _) => (true, rest.to_owned()),
            (_, Some(rest)) => (false, rest.to_owned()),
            _ => inner_scheme(word, origin, draft),
        };
        let rest = rest.trim_end_matches('/');
        let parts = text::split_outside(rest, |c| c == ':');
        let (host, port) = match parts.as_slice() {
            [host, port] => (*host, port.parse::<u16>().ok()),
            [host] => (*host, Some(if plain { 80 } else { 443 })),
            _ => (rest, None),
        };
        let Some(port) = port else {
            draft.note_loss(origin, format!("{word}: the port is no number"));
            continue;
        };
        let secure = !plain && port != 80;
        if !matches!(host, "" | "*")
            && let Err(reason) = check_host(host)
        {
            draft.note_loss(origin, format!("{host}: {reason}"));
            continue;
        }
        let hosts = Some(host.to_owned()).filter(|host| !matches!(host.as_str(), "" | "*"));
        let is_same = |other: &&mut Address| {
            (other.secure, other.port) == (secure, port)
                && other.hosts.is_empty() == hosts.is_none()
        };
        match addresses.iter_mut().find(is_same) {
            Some(address) => address.hosts.extend(hosts),
            None => addresses.push(Address { hosts: hosts.into_iter().collect(), secure, port }),
        }
    }
    addresses
}

/// Takes the scheme off the default of a variable: `${HOST:-http://a.test}`. Returns whether it is plain HTTP.
fn inner_scheme(word: &str, origin: &str, draft: &mut ServiceDraft) -> (bool, String) {
    if !word.contains("://") {
        return (false, word.to_owned());
    }
    let text = "the variable must have hosts without a scheme, comma-separated";
    draft.note_loss(origin, text);
    (word.contains("http://"), word.replace("https://", "").replace("http://", ""))
}

/// Adds the routes of directives. What applies to all of them is read first.
fn walk(mut place: Place<'_>, directives: &[Directive], draft: &mut ServiceDraft) {
    if place.depth == MAX_DEPTH {
        return draft.note_loss(&place.origin, "the site has too many nested blocks");
    }
    place.depth += 1;
    place.matchers.extend(read_matchers(directives));
    let (routing, settings): (Vec<_>, Vec<_>) =
        directives.iter().partition(|directive| is_routing(&directive.name));
    for directive in settings {
        setting::apply(&mut place, directive, draft);
    }
    for directive in routing {
        match directive.name.as_str() {
            "reverse_proxy" => proxy::add_proxy(&place, directive, draft),
            "redir" => proxy::add_redirect(&place, directive, draft),
            name => enter_block(&place, name, directive, draft),
        }
    }
}

fn is_routing(name: &str) -> bool {
    matches!(name, "reverse_proxy" | "redir" | "handle" | "handle_path" | "route")
}

/// Adds the routes of `handle`, `handle_path` or `route`.
fn enter_block(place: &Place<'_>, name: &str, directive: &Directive, draft: &mut ServiceDraft) {
    let (matcher, _) = split_matcher(&directive.words(), &place.matchers);
    let Some(mut inside) = place.narrow(&matcher, directive, draft) else { return };
    if name == "handle_path" {
        inside.settings.push(Setting::new("strip_prefix", "on", &directive.origin()));
    }
    walk(inside, &directive.inside, draft);
}

impl Place<'_> {
    /// Returns the place for the requests of a matcher; `None` if docker-balancer has no such match.
    fn narrow(
        &self,
        matcher: &Matcher,
        directive: &Directive,
        draft: &mut ServiceDraft,
    ) -> Option<Self> {
        let mut place = self.clone();
        match matcher {
            Matcher::All => {}
            Matcher::Path(path) if self.path == PathMatch::Whole || self.path == *path => {
                place.path = path.clone();
                place.origin = format!("{}; {}", self.origin, directive.origin());
                if let PathMatch::Prefixes(paths) | PathMatch::Exact(paths) = path
                    && let Some(first) = paths.first()
                {
                    place.name = text::to_name(first);
                }
            }
            Matcher::Clients { networks, is_negated: false } => {
                place.settings.push(Setting::new("allow", networks.join(","), &directive.origin()));
                draft.note_advice(&directive.origin(), "other clients get 403");
            }
            _ => {
                let text = "routes differ by host and path only, so this block is left out";
                draft.note_loss(&directive.origin(), text);
                return None;
            }
        }
        Some(place)
    }

    /// Returns the drafts of a route to a port of the container, one for each scheme and port of the site.
    fn routes(&self, port: &str) -> Vec<RouteDraft> {
        let route = |address: &Address| {
            let mut route = RouteDraft::http(&self.name, port, self.origin.clone());
            route.hosts.clone_from(&address.hosts);
            route.path = self.path.clone();
            if address.secure {
                route.set("tls", "on", &self.origin);
                if address.port != 443 {
                    route.set("tls_bind", address.port.to_string(), &self.origin);
                }
            } else {
                route.bind_plain(&[address.port], &self.origin);
            }
            for setting in &self.settings {
                let needs_tls = matches!(setting.option.as_str(), "cert" | "hsts" | "client_cert");
                if address.secure || !needs_tls {
                    super::draft::add_setting(&mut route.settings, setting.clone());
                }
            }
            route
        };
        self.addresses.iter().map(route).collect()
    }
}
