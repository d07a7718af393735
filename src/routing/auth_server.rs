//! Finds the authentication servers that routes name.
//!
//! Pure. A name is Docker's name of a container, which is unique on its engine, or the service of a compose file whose
//! name is also in the container's name. If it means a container and another service, HAProxy asks neither. The labels of
//! an image may say that it is some service, but an image cannot choose a container's name.

use super::{
    address::resolve_address,
    decide::{Rules, SourceRules},
};
use crate::{
    label,
    model::{
        client_certificate::ClientCertificate,
        container::{Container, ContainerState, Health, Transport},
        container_ref::ContainerRef,
        http::forward_auth::{
            AuthAuthor, AuthHost, AuthPlace, AuthServer, AuthServerFault, AuthUrl, ForwardAuth,
        },
        http::{redirect::Redirect, rewrite::AddPrefix},
        label_option::{InvalidValue, LabelOption, OptionValue},
        option_value::PathRule,
        path::NormalizedPath,
        problem::{Problem, ProblemSubject, Reason},
        route::{Route, RouteKey, Routes, Strip},
        world::World,
    },
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// By the key that routes have.
pub type AuthServers = BTreeMap<String, AuthServer>;

/// Returns where HAProxy reaches the authentication servers of these routes, and a problem for each that is not found:
/// the routes that name it answer 503.
pub fn find_auth_servers(
    routes: &Routes,
    world: &World,
    rules: &Rules,
) -> (AuthServers, Vec<Problem>) {
    let (mut servers, mut problems) = (AuthServers::new(), Vec::new());
    for (key, (url, routes_with_it)) in named_servers(routes) {
        match find_server(&url, routes, world, rules) {
            Ok(place) => {
                servers.insert(key, AuthServer { scheme: url.scheme(), place });
            }
            Err(why) => {
                let reason = Reason::AuthServerUnknown { url: url.to_string(), why };
                let problem = |container| Problem {
                    subject: ProblemSubject::Container(container),
                    label: None,
                    reason: reason.clone(),
                };
                problems.extend(routes_with_it.into_iter().map(problem));
            }
        }
    }
    (servers, problems)
}

/// Returns the URLs of all routes by the keys of their servers, with the containers of the routes.
fn named_servers(routes: &Routes) -> BTreeMap<String, (AuthUrl, Vec<ContainerRef>)> {
    let mut named = BTreeMap::<_, (AuthUrl, Vec<_>)>::new();
    for route in routes.0.values() {
        let Some(OptionValue::ForwardAuth(ForwardAuth(Some(url)))) =
            route.policy.find(LabelOption::ForwardAuth)
        else {
            continue;
        };
        let (_, containers) =
            named.entry(url.server_key()).or_insert_with(|| (url.clone(), Vec::new()));
        containers.extend(route.endpoints.iter().map(|endpoint| endpoint.container.clone()));
    }
    for (_, containers) in named.values_mut() {
        containers.sort_unstable();
        containers.dedup();
    }
    named
}

fn find_server(
    url: &AuthUrl,
    routes: &Routes,
    world: &World,
    rules: &Rules,
) -> Result<AuthPlace, AuthServerFault> {
    let name = match url.host() {
        AuthHost::Address(address) => {
            return Ok(AuthPlace::Address(SocketAddr::new(*address, url.port().get())));
        }
        AuthHost::Name(name) => name,
    };
    let may_be_outside = url.author() == AuthAuthor::Policy && name.contains('.');
    let Some(container) = find_container(name, world, rules)? else {
        if may_be_outside {
            return Ok(AuthPlace::Name { name: name.clone(), port: url.port() });
        }
        return Err(AuthServerFault::NoContainer { name: name.clone() });
    };
    let port = url.port().get();
    let path = url.bare_path();
    if url.author() == AuthAuthor::Label && !is_served_to_all(container, (port, path), routes) {
        let (container, path) = (container.name.clone(), path.to_owned());
        return Err(AuthServerFault::NotServed { container, port, path });
    }
    let reached = reach(container, port, world, rules.of_source(container.id.source()));
    reached.map(AuthPlace::Address).map_err(|reason| AuthServerFault::NotReached {
        container: container.name.clone(),
        reason: Box::new(reason),
    })
}

/// Finds the container that is the server: of several with the name one that is likely to answer, then the oldest.
fn find_container<'a>(
    name: &str,
    world: &'a World,
    rules: &Rules,
) -> Result<Option<&'a Container>, AuthServerFault> {
    let usable = world.containers.values().map(Arc::as_ref).filter(|container| {
        let limits = &rules.of_source(container.id.source()).label_limits;
        // A source whose containers may only have certain hosts must not answer for others.
        container.is_up() && limits.allowed_hosts.is_empty()
    });
    let (mut named, mut of_service) = (Vec::new(), Vec::new());
    for container in usable {
        if container.name == name {
            named.push(container);
        } else if is_of_service(container, name) {
            of_service.push(container);
        }
    }
    let mut services: Vec<_> = of_service.iter().map(|one| label::service_name(one)).collect();
    if !of_service.is_empty() {
        // Anyone who starts a container can name it like a service.
        services.extend(named.iter().map(|one| label::service_name(one)));
    }
    services.sort_unstable();
    services.dedup();
    let all = if named.is_empty() { &of_service } else { &named };
    if 1 < services.len() {
        let containers = named.iter().chain(&of_service);
        let containers = containers.map(|container| container.name.clone()).collect();
        return Err(AuthServerFault::Ambiguous { name: name.to_owned(), containers });
    }
    Ok(all.iter().copied().min_by_key(|container| rank(container)))
}

/// Whether the container is one of a service of this name: `PROJECT-SERVICE-1`, `SERVICE.1.TASK`.
fn is_of_service(container: &Container, service: &str) -> bool {
    let name = &container.name;
    let has_name = name.match_indices(service).any(|(at, _)| {
        let (start, end) = (&name[..at], &name[at + service.len()..]);
        (start.is_empty() || start.ends_with(['-', '_'])) && end.starts_with(['-', '_', '.'])
    });
    has_name
        && label::service_name(container).is_some_and(|full| {
            full == service || full.rsplit_once('/').is_some_and(|(_, name)| name == service)
        })
}

fn rank(container: &Container) -> impl Ord + '_ {
    let is_doubtful = matches!(container.health, Health::Starting | Health::Unhealthy);
    let is_paused = container.state == ContainerState::Paused;
    (is_paused, container.stopping, is_doubtful, container.created, &container.id)
}

/// Whether every client can reach this path of the container's port over a route of HTTP.
fn is_served_to_all(container: &Container, (port, path): (u16, &str), routes: &Routes) -> bool {
    // The container may interpret another spelling as a protected path.
    if !NormalizedPath::from_request(path).is_ok_and(|normalized| normalized.path == path) {
        return false;
    }
    let serves = |route: &Route| {
        let mut endpoints = route.endpoints.iter();
        endpoints.any(|endpoint| {
            endpoint.port == port && endpoint.container.id() == container.id.short()
        })
    };
    let is_open = |route: &Route| {
        let guards = |value: &OptionValue| {
            let is_guard = value.option().spec().invalid == InvalidValue::ClosesRoute;
            is_guard || value.option() == LabelOption::Closed
        };
        !route.policy.iter().any(guards)
            && route.policy.get::<Redirect>() == Redirect::Off
            && route.terms.get::<ClientCertificate>() == ClientCertificate::Off
    };
    routes.0.iter().any(|(key, route)| {
        let leads = |path: &String| !routes.0.keys().any(|other| precedes(other, key, path));
        serves(route)
            && is_open(route)
            && !route.redirects(key.listener)
            && public_path(key, route, path).as_ref().is_some_and(leads)
    })
}

/// Returns the path of a request that reaches the container as `path` over a route of HTTP. `None` if there is none.
fn public_path(key: &RouteKey, route: &Route, path: &str) -> Option<String> {
    let rule = key.path()?;
    let AddPrefix(added) = route.policy.get();
    let rest = path.strip_prefix(added.as_str()).filter(|rest| rest.starts_with('/'))?;
    let depth = route.policy.get::<Strip>().depth(rule.segments());
    let stripped = rule.segments().as_str().split('/').skip(1).take(depth);
    let public = stripped.fold(String::new(), |text, segment| text + "/" + segment) + rest;
    rule.matches(&public).then_some(public)
}

/// Whether requests for this path are led to `other`, not to `key`, which matches it, too.
fn precedes(other: &RouteKey, key: &RouteKey, path: &str) -> bool {
    let rank = |rule: &PathRule| (rule.is_exact(), rule.segments().depth());
    let (Some(rule), Some(than)) = (other.path(), key.path()) else { return false };
    (other.listener, other.host()) == (key.listener, key.host())
        && rule.matches(path)
        && rank(than) < rank(rule)
}

fn reach(
    container: &Container,
    port: u16,
    world: &World,
    rules: &SourceRules,
) -> Result<SocketAddr, Reason> {
    let required = container.labels.get(label::NETWORK_LABEL).map(String::as_str);
    let SourceRules { network, vantage, .. } = rules;
    let port = (Transport::Tcp, port);
    let address = resolve_address(container, port, required, network.as_deref(), world, vantage)?;
    rules.check_allowed(address)?;
    Ok(address)
}
