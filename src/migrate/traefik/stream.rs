//! Traefik's routers of TCP and UDP.
//!
//! Pure.

use super::{
    super::{
        draft::{PathMatch, RouteDraft, ServiceDraft, Setting, check_host},
        text,
    },
    objects::{Field, Objects, TraefikLabels, find},
    rule::parse_rule,
    static_config::{EntryPointKind, StaticConfig},
};
use crate::model::label_option::LabelProtocol;

pub(super) fn add_routes(config: &StaticConfig, labels: &TraefikLabels, draft: &mut ServiceDraft) {
    for (name, fields) in &labels.tcp_routers {
        if let Some(target) = find_target(&labels.tcp_services, fields, draft) {
            add_tcp(config, name, fields, &target, draft);
        }
    }
    for (name, fields) in &labels.udp_routers {
        let Some(target) = find_target(&labels.udp_services, fields, draft) else { continue };
        let port = target.port;
        let mut route = RouteDraft::http(name, &port.value, port.origin());
        route.protocol = LabelProtocol::Udp;
        bind_entry_points(config, fields, port, &mut route, draft);
        draft.routes.push(route);
    }
}

/// Where a router leads.
struct StreamTarget<'a> {
    port: &'a Field,
    /// The header of the PROXY protocol.
    proxy: Option<Setting>,
}

/// Returns the port of the service that a router names, or of the only one.
fn find_target<'a>(
    services: &'a Objects,
    fields: &[Field],
    draft: &mut ServiceDraft,
) -> Option<StreamTarget<'a>> {
    let target = find(fields, "service").map(|field| field.value.as_str());
    let name = target.map(|target| target.split('@').next().unwrap_or_default());
    let service = match name {
        Some(name) => services.get(name),
        None => services.values().next().filter(|_| services.len() == 1),
    };
    let port = service.and_then(|fields| find(fields, "loadbalancer.server.port"));
    if port.is_none() {
        let origin = fields.first().map(Field::origin).unwrap_or_default();
        draft.note_loss(&origin, "the port of the container is not among the labels");
    }
    let mut proxy = None;
    let others = service.into_iter().flatten();
    for field in others.filter(|field| field.name != "loadbalancer.server.port") {
        match (field.name.as_str(), field.value.as_str()) {
            ("loadbalancer.proxyprotocol.version", "1" | "2") => {
                let version = format!("v{}", field.value);
                proxy = Some(Setting::new("proxy", version, &field.origin()));
            }
            ("loadbalancer.proxyprotocol", value) if !text::is_on(value) => {}
            ("loadbalancer.proxyprotocol", _) => {
                // Traefik's default.
                proxy = proxy.or_else(|| Some(Setting::new("proxy", "v2", &field.origin())));
            }
            (name, _) if name.starts_with("loadbalancer.proxyprotocol") => {
                draft.note_loss(&field.origin(), "set glue_tcp_<port>_proxy to v1 or v2");
            }
            _ => draft.note_loss(&field.origin(), "this option of a service has no counterpart"),
        }
    }
    port.map(|port| StreamTarget { port, proxy })
}

fn add_tcp(
    config: &StaticConfig,
    name: &str,
    fields: &[Field],
    target: &StreamTarget<'_>,
    draft: &mut ServiceDraft,
) {
    let port = target.port;
    let Some(rule) = find(fields, "rule") else { return };
    if let Some(field) = find(fields, "middlewares") {
        let text = "labels do not restrict connections of TCP, so the router is left out";
        return draft.note_loss(&field.origin(), text);
    }
    let has_tls = fields.iter().any(|field| {
        field.name == "tls" && text::is_on(&field.value) || field.name.starts_with("tls.")
    });
    let passes = find(fields, "tls.passthrough").is_some_and(|field| text::is_on(&field.value));
    let mut parsed = parse_rule(&rule.value);
    parsed.resolve_excluded(|_, _| false);
    for loss in &parsed.losses {
        draft.note_loss(&rule.origin(), loss);
    }
    for matched in parsed.matches {
        if matched.path != PathMatch::Whole || !matched.clients.is_empty() {
            draft.note_loss(
                &rule.origin(),
                "a route of TCP has a port and names only, so it is left out",
            );
            continue;
        }
        if has_tls && !passes {
            let text = "HAProxy passes TLS to the container, it does not end TLS of TCP: the container needs the certificate, or the router is one of HTTP";
            draft.note_loss(&rule.origin(), text);
            continue;
        }
        let mut route = RouteDraft::http(name, &port.value, rule.origin());
        let is_https = find(fields, "entrypoints").is_some_and(|field| {
            text::list_members(&field.value).iter().all(|entry| match config.entry_point(entry) {
                EntryPointKind::Configured(entry) => entry.port == Some(443),
                EntryPointKind::Secure => true,
                EntryPointKind::Plain | EntryPointKind::Unknown => false,
            })
        });
        route.hosts = matched.hosts;
        if let Some(reason) = route.hosts.iter().find_map(|host| check_host(host).err()) {
            draft.note_loss(&rule.origin(), reason);
            continue;
        }
        if passes && is_https && !route.hosts.is_empty() {
            // The port of HTTPS is shared with routes of HTTP.
            let origin = find(fields, "tls.passthrough").map(Field::origin).unwrap_or_default();
            route.set("tls", "pass", &origin);
            if let Some(proxy) = &target.proxy {
                let text = "a port of HTTPS has no header of the PROXY protocol: give the route a port of its own";
                draft.note_loss(&proxy.origin, text);
            }
        } else {
            route.protocol = LabelProtocol::Tcp;
            route.settings.extend(target.proxy.clone());
            bind_entry_points(config, fields, port, &mut route, draft);
        }
        draft.routes.push(route);
    }
}

/// Sets the public ports of a route.
fn bind_entry_points(
    config: &StaticConfig,
    fields: &[Field],
    port: &Field,
    route: &mut RouteDraft,
    draft: &mut ServiceDraft,
) {
    let Some(entry_points) = find(fields, "entrypoints") else {
        let text = "the router names no entry point: the container's port is assumed";
        draft.note_loss(&port.origin(), text);
        return route.set("bind", port.value.clone(), &port.origin());
    };
    let mut ports = Vec::new();
    for name in text::list_members(&entry_points.value) {
        match config.entry_point(name) {
            EntryPointKind::Configured(entry) => ports.extend(entry.port),
            EntryPointKind::Plain => ports.push(80),
            EntryPointKind::Secure => ports.push(443),
            EntryPointKind::Unknown => {
                let text = format!(
                    "the port of the entry point {name} is not in the input: the container's is assumed"
                );
                draft.note_loss(&entry_points.origin(), text);
            }
        }
    }
    let ports = match ports.as_slice() {
        [] => port.value.clone(),
        ports => super::super::draft::join_ports(ports),
    };
    route.set("bind", ports, &entry_points.origin());
}
