//! Labels of Traefik 1, 2 and 3.
//!
//! Pure. A router for HTTP and one for HTTPS with the same rule become one route. Middlewares of other services of the
//! input are found, because Traefik's names are global.

mod first;
mod headers;
mod host_pattern;
mod middleware;
mod objects;
mod redirect;
mod router;
mod rule;
mod service_option;
mod static_config;
mod stream;

use super::{
    ServiceInput, Translation,
    draft::{ServiceDraft, Setting},
    text,
};
use middleware::{MiddlewareTranslator, Middlewares, Scope, Target};
use objects::{Objects, TraefikLabels, find};
use rule::RequestMatch;
use static_config::StaticConfig;
use std::collections::{BTreeMap, BTreeSet};

/// What all services of the input know of each other.
struct Context {
    config: StaticConfig,
    middlewares: Objects,
    /// Name of a Traefik service → the container that has it.
    services: BTreeMap<String, String>,
    /// What routers match, with their entry points.
    routes: Vec<(String, RequestMatch)>,
    /// Middlewares that a router or chain of the input refers to, without providers.
    used: BTreeSet<String>,
}

pub(super) fn translate(services: &[ServiceInput]) -> Translation {
    let all: Vec<_> = services.iter().map(|service| TraefikLabels::read(&service.labels)).collect();
    let context = Context::new(services, &all);
    let mut translation = Translation::default();
    for (service, labels) in services.iter().zip(&all) {
        let mut draft = ServiceDraft::new(service);
        if !labels.is_empty() {
            translate_service(&context, service, labels, &mut draft);
        }
        draft.finish(&mut translation);
    }
    translation
}

impl Context {
    fn new(services: &[ServiceInput], all: &[TraefikLabels]) -> Self {
        let mut context = Self {
            config: StaticConfig::read(services),
            middlewares: Objects::new(),
            services: BTreeMap::new(),
            routes: Vec::new(),
            used: BTreeSet::new(),
        };
        for (service, labels) in services.iter().zip(all) {
            for (name, fields) in &labels.middlewares {
                context.middlewares.entry(name.clone()).or_insert_with(|| fields.clone());
            }
            if labels.disabled.is_none() {
                context.routes.extend(router::read_matches(labels));
            }
            for name in labels.services.keys() {
                context.services.entry(name.clone()).or_insert_with(|| service.name.clone());
            }
            let of_routers =
                labels.routers.values().filter_map(|fields| find(fields, "middlewares"));
            let chains = labels.middlewares.values();
            let of_chains = chains.filter_map(|fields| find(fields, "chain.middlewares"));
            let names =
                of_routers.chain(of_chains).flat_map(|field| text::list_members(&field.value));
            let names = names.filter_map(|name| name.split('@').next());
            context.used.extend(names.map(str::to_owned));
        }
        for entry in context.config.all() {
            let names = entry.middlewares.iter().filter_map(|(name, _)| name.split('@').next());
            context.used.extend(names.map(str::to_owned));
        }
        context
    }
}

fn translate_service(
    context: &Context,
    service: &ServiceInput,
    labels: &TraefikLabels,
    draft: &mut ServiceDraft,
) {
    if let Some(origin) = &labels.disabled {
        return draft
            .note_advice(origin, "a container without labels of docker-balancer is not served");
    }
    if let Some(field) = &labels.network {
        draft.add_container_label("glue_network", &field.value, &field.origin());
    }
    router::add_routes(context, service, labels, draft);
    stream::add_routes(&context.config, labels, draft);
    offer_unused_middlewares(context, labels, draft);
    let has_router = !labels.routers.is_empty()
        || !labels.tcp_routers.is_empty()
        || !labels.udp_routers.is_empty();
    let is_served = labels.enabled.is_some() || !labels.services.is_empty();
    let is_other = !labels.middlewares.is_empty() && labels.services.is_empty();
    if !has_router && is_served && !is_other {
        let origin = labels
            .enabled
            .clone()
            .or_else(|| labels.services.values().flatten().next().map(objects::Field::origin));
        let origin = origin.unwrap_or_default();
        if labels.is_off_by_default && labels.services.is_empty() {
            draft.note_advice(
                &origin,
                "Traefik does not serve the container unless the variable is set",
            );
        } else {
            let mut fields = labels.services.values().flatten();
            let port = fields.find(|field| field.name == "loadbalancer.server.port");
            let text = format!(
                "there is no rule, so Traefik takes its default one, which is not among the labels: add the host, as in glue_http_{}_host=app.example.com",
                port.map_or("80", |field| &field.value)
            );
            draft.note_loss(&origin, text);
        }
    } else if labels.is_off_by_default {
        let text = "docker-balancer serves a container that has labels, whatever the variable is";
        draft.note_advice(&labels.enabled.clone().unwrap_or_default(), text);
    }
    for field in &labels.unknown {
        draft.note_loss(&field.origin(), "this label has no counterpart");
    }
    for field in &labels.first {
        // Labels of this form select containers for Traefik.
        draft.note_advice(&field.origin(), "if it selects containers, see --constraint");
    }
}

/// Adds policies for middlewares that no router of the input uses: routers of other files may.
fn offer_unused_middlewares(context: &Context, labels: &TraefikLabels, draft: &mut ServiceDraft) {
    for (name, fields) in
        labels.middlewares.iter().filter(|(name, _)| !context.used.contains(*name))
    {
        let mut found = Middlewares::default();
        let scope = Scope { hosts: &BTreeSet::new(), path: &super::draft::PathMatch::Whole };
        let mut translator = MiddlewareTranslator {
            own: &labels.middlewares,
            all: &context.middlewares,
            target: Target::Policy,
            draft,
        };
        translator.add_fields(name, fields, scope, &mut found);
        let options: Vec<Setting> = found.settings.into_iter().chain(found.to_https).collect();
        let origin = fields.first().map(objects::Field::origin).unwrap_or_default();
        if !options.is_empty() && !options.iter().any(|setting| setting.option == "use") {
            draft.add_policy(&text::to_name(name), &origin, &options);
            draft.note_advice(
                &origin,
                format!(
                    "no router of the input uses it; others can with use={}",
                    text::to_name(name)
                ),
            );
        }
    }
}
