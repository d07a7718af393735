//! Labels of EasyHAProxy.
//!
//! Pure. A definition for port 80 and one for HTTPS with the same hosts become one route.

use super::{
    ServiceInput, Translation,
    draft::{PathMatch, RouteDraft, ServiceDraft, check_host, origin},
    text,
};
use crate::model::label_option::LabelProtocol;
use std::collections::{BTreeMap, BTreeSet};

/// Options of one definition: name → label and value.
type Options<'a> = BTreeMap<&'a str, (&'a str, &'a str)>;

/// A definition that is read.
struct Definition<'a> {
    name: &'a str,
    options: Options<'a>,
    hosts: BTreeSet<String>,
    port: String,
    local_port: String,
    secure: bool,
}

pub(super) fn translate(services: &[ServiceInput]) -> Translation {
    let mut translation = Translation::default();
    for service in services {
        let mut draft = ServiceDraft::new(service);
        translate_service(service, &mut draft);
        draft.finish(&mut translation);
    }
    translation
}

fn translate_service(service: &ServiceInput, draft: &mut ServiceDraft) {
    let mut all: BTreeMap<&str, Options<'_>> = BTreeMap::new();
    for (key, value) in &service.labels {
        let Some(name) = key.strip_prefix("easyhaproxy.") else { continue };
        match name.split_once('.') {
            Some((definition, option)) if !matches!(definition, "plugins" | "plugin") => {
                all.entry(definition).or_default().insert(option, (key, value.trim()));
            }
            _ => draft.note_loss(&origin(key, value), "this label has no counterpart"),
        }
    }
    let mut definitions = Vec::new();
    for (name, options) in all {
        definitions.extend(Definition::read(name, options, draft));
    }
    while !definitions.is_empty() {
        let first = definitions.remove(0);
        let is_sibling = |other: &Definition<'_>| {
            !first.is_tcp()
                && !other.is_tcp()
                && other.hosts == first.hosts
                && other.secure != first.secure
                && (other.local_port == first.local_port || other.redirects() || first.redirects())
        };
        let sibling = definitions.iter().position(is_sibling).map(|at| definitions.remove(at));
        let (secure, plain) = match (first.secure, sibling) {
            (true, sibling) => (Some(first), sibling),
            (false, sibling) => (sibling, Some(first)),
        };
        add_route(secure.as_ref(), plain.as_ref(), draft);
    }
}

impl<'a> Definition<'a> {
    fn read(name: &'a str, options: Options<'a>, draft: &mut ServiceDraft) -> Option<Self> {
        let value = |option: &str| options.get(option).map(|(_, value)| *value);
        let is_on = |option: &str| value(option).is_some_and(text::is_on);
        let Some((key, hosts)) = options.get("host") else {
            let (key, value) = options.values().next()?;
            draft.note_loss(&origin(key, value), "the definition has no host");
            return None;
        };
        let mut found = BTreeSet::new();
        for host in text::list_members(hosts) {
            match check_host(host) {
                Ok(()) => drop(found.insert(host.to_owned())),
                Err(reason) => draft.note_loss(&origin(key, hosts), format!("{host}: {reason}")),
            }
        }
        let port =
            |option: &str| value(option).filter(|text| !text.is_empty()).unwrap_or("80").to_owned();
        let is_fastcgi = value("proto") == Some("fcgi") || options.contains_key("socket");
        if is_fastcgi {
            let text = "HAProxy does not speak FastCGI here, so the route is left out: put a web server in front of the program";
            draft.note_loss(&origin(key, hosts), text);
            return None;
        }
        let secure = is_on("ssl") || value("sslcert").is_some_and(|text| !text.is_empty());
        let (port, local_port) = (port("port"), port("localport"));
        (!found.is_empty()).then_some(Self {
            name,
            options,
            hosts: found,
            port,
            local_port,
            secure,
        })
    }

    fn is_tcp(&self) -> bool {
        self.value("mode") == Some("tcp")
    }

    /// Whether it is for plain HTTP only, and no request reaches the container.
    fn redirects(&self) -> bool {
        !self.secure && self.switch("redirect_ssl").is_some()
    }

    fn value(&self, option: &str) -> Option<&'a str> {
        self.options.get(option).map(|(_, value)| *value)
    }

    /// Returns the origin of a switch that is on.
    fn switch(&self, option: &str) -> Option<String> {
        self.options
            .get(option)
            .filter(|(_, value)| text::is_on(value))
            .map(|(key, value)| origin(key, value))
    }

    fn origin(&self, option: &str) -> String {
        self.options.get(option).map(|(key, value)| origin(key, value)).unwrap_or_default()
    }
}

/// Adds the route of a definition, or of one for each scheme.
fn add_route(
    secure: Option<&Definition<'_>>,
    plain: Option<&Definition<'_>>,
    draft: &mut ServiceDraft,
) {
    let Some(main) = secure.or(plain) else { return };
    let mut route = RouteDraft::http(main.name, &main.local_port, main.origin("host"));
    route.hosts.clone_from(&main.hosts);
    if main.is_tcp() {
        return add_tcp(main, route, draft);
    }
    set_tls(&mut route, secure, plain);
    if let Some(plain) = plain
        && let Ok(port) = plain.port.parse()
    {
        let option = if plain.options.contains_key("port") { "port" } else { "host" };
        route.bind_plain(&[port], &plain.origin(option));
    }
    for definition in [secure, plain].into_iter().flatten() {
        add_options(definition, &mut route, draft);
    }
    add_denied_pages(main, &route, draft);
    draft.routes.push(route);
}

fn add_tcp(definition: &Definition<'_>, mut route: RouteDraft, draft: &mut ServiceDraft) {
    if definition.secure {
        let text =
            "HAProxy passes TLS of TCP to the container: the container needs the certificate";
        return draft.note_loss(&definition.origin("host"), text);
    }
    route.protocol = LabelProtocol::Tcp;
    // EasyHAProxy sends all connections of the port to the container.
    route.hosts.clear();
    route.set("bind", &definition.port, &definition.origin("host"));
    draft.routes.push(route);
}

fn set_tls(
    route: &mut RouteDraft,
    secure: Option<&Definition<'_>>,
    plain: Option<&Definition<'_>>,
) {
    let either = |option: &str| {
        plain.and_then(|d| d.switch(option)).or_else(|| secure.and_then(|d| d.switch(option)))
    };
    let redirect = either("redirect_ssl");
    let certbot = either("certbot");
    let certificate = secure.map(|definition| match definition.switch("ssl") {
        Some(origin) => origin,
        // The certificate is not repeated.
        None => definition.options.get("sslcert").map_or("", |(key, _)| key).to_owned(),
    });
    let origin = [certificate, certbot.clone(), either("clone_to_ssl"), redirect.clone()];
    let origin = origin.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let is_cloned = certbot.is_some() || either("clone_to_ssl").is_some();
    let mode = match (secure, plain) {
        _ if redirect.is_some() => "on",
        (Some(_), Some(_)) => "both",
        _ if is_cloned => "both",
        (Some(_), None) => "only",
        _ => return,
    };
    route.set("tls", mode, &origin);
    if let Some(secure) =
        secure.filter(|definition| !matches!(definition.port.as_str(), "80" | "443"))
    {
        route.set("tls_bind", &secure.port, &secure.origin("port"));
    }
    if let Some(origin) = certbot {
        route.set("cert", "acme", &origin);
    }
}

/// Adds the other options.
#[allow(clippy::match_same_arms, reason = "an arm for each option, in their order")]
fn add_options(definition: &Definition<'_>, route: &mut RouteDraft, draft: &mut ServiceDraft) {
    for (option, (key, value)) in &definition.options {
        let origin = origin(key, value);
        match *option {
            "host" | "port" | "localport" | "mode" | "ssl" | "certbot" | "redirect_ssl"
            | "clone_to_ssl" | "ssl-check" => {}
            "sslcert" if value.is_empty() => {}
            "sslcert" => {
                let text = "put the certificate into a file of --certificates";
                draft.note_loss(key, text);
            }
            "redirect" if value.is_empty() => {}
            "redirect" => add_redirects(&origin, value, route, draft),
            "balance" if *value == "roundrobin" => {}
            "balance" => draft.note_loss(&origin, "requests are shared round robin, by weight"),
            "proto" if value.is_empty() => {}
            "proto" if *value == "h2" => route.set("scheme", "h2c", &origin),
            "plugins" => add_plugins(definition, &origin, value, route, draft),
            "plugin.ip_whitelist.allowed_ips" => route.set("allow", *value, &origin),
            name if name.starts_with("plugin.") => {}
            _ => draft.note_loss(&origin, "this option has no counterpart"),
        }
    }
}

/// Closes the route for plugins that may protect it and have no counterpart.
fn add_plugins(
    definition: &Definition<'_>,
    origin: &str,
    plugins: &str,
    route: &mut RouteDraft,
    draft: &mut ServiceDraft,
) {
    for plugin in text::list_members(plugins) {
        match plugin {
            "ip_whitelist" if definition.value("plugin.ip_whitelist.allowed_ips").is_some() => {}
            "deny_pages" => {}
            "cleanup" => draft.note_advice(origin, "HAProxy's sessions end by their timeouts"),
            "cloudflare" => {
                let text = "cloudflare: give the networks of Cloudflare to --trusted-proxies";
                draft.note_advice(origin, text);
            }
            _ => {
                let policy = text::to_name(plugin);
                route.set("use", &policy, origin);
                draft.add_policy(&policy, origin, &[]);
                let text = format!(
                    "{plugin}: there are no plugins: write the policy, or remove the label that uses it. Until then the route is closed"
                );
                draft.note_loss(origin, text);
            }
        }
    }
}

/// Adds a route for the paths that the plugin `deny_pages` refuses.
fn add_denied_pages(definition: &Definition<'_>, route: &RouteDraft, draft: &mut ServiceDraft) {
    let option = "plugin.deny_pages.paths";
    let Some(paths) = definition.value(option) else { return };
    let mut denied = RouteDraft { name: "denied".to_owned(), ..route.clone() };
    denied.origin = definition.origin(option);
    denied.path =
        PathMatch::Prefixes(text::list_members(paths).into_iter().map(str::to_owned).collect());
    denied.set("deny", "0.0.0.0/0,::/0", &denied.origin.clone());
    draft.routes.push(denied);
}

/// Adds redirects of hosts, a JSON object of host and target.
fn add_redirects(origin: &str, json: &str, route: &mut RouteDraft, draft: &mut ServiceDraft) {
    let Ok(redirects) = serde_json::from_str::<BTreeMap<String, String>>(json) else {
        return draft.note_loss(origin, "it is no JSON object of hosts and targets");
    };
    let first = route.hosts.iter().find(|host| !host.starts_with('*')).cloned();
    let is_own = |target: &str| {
        let host = target.trim_start_matches("https://").trim_start_matches("http://");
        first.as_deref() == Some(host.trim_end_matches('/'))
    };
    let (own, others): (Vec<_>, Vec<_>) = redirects.iter().partition(|(_, target)| is_own(target));
    if !own.is_empty() {
        let from: Vec<_> = own.into_iter().map(|(host, _)| host.as_str()).collect();
        route.set("redirect_from", from.join(","), origin);
        route.set("redirect_status", "301", origin);
    }
    for (number, (host, target)) in others.into_iter().enumerate() {
        let mut redirect =
            RouteDraft::http(&format!("redirect-{}", number + 1), &route.port, origin.to_owned());
        redirect.hosts.insert(host.clone());
        let target =
            if target.contains("://") { target.clone() } else { format!("http://{target}") };
        redirect.set("redirect", target, origin);
        redirect.set("redirect_status", "301", origin);
        redirect.bind_plain(&[80], origin);
        draft.routes.push(redirect);
    }
}
