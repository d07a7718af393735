//! Routes of one service while they are collected, and the labels that they become.
//!
//! Pure. A port with one route gets labels without a route's name. If it has several, a label without a name would
//! apply to all of them, so only what they have in common is written without one.

use super::{
    Label, LabelPlace, Note, NoteKind, Policy, ServiceInput, ServiceTranslation, Translation, text,
};
use crate::{
    model::{
        http::forward_auth::{AuthHost, ForwardAuth},
        label_option::{InvalidValue, LabelOption, LabelProtocol},
        option_value::{self, ExactPath, HostMatch, PathPrefix},
        problem::Reason,
    },
    support::escape::{SingleLine, Truncated},
};
use std::collections::{BTreeMap, BTreeSet};

/// An option of a route or policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) option: String,
    pub(super) value: String,
    pub(super) origin: String,
}

/// Paths of the requests of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathMatch {
    #[default]
    Whole,
    Prefixes(BTreeSet<String>),
    Exact(BTreeSet<String>),
}

/// A route of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteDraft {
    /// The name that the route gets if its port has several.
    pub(super) name: String,
    pub(super) protocol: LabelProtocol,
    /// Port of the container, possibly a variable.
    pub(super) port: String,
    /// Empty: any host.
    pub(super) hosts: BTreeSet<String>,
    pub(super) path: PathMatch,
    /// Origin of the hosts and paths.
    pub(super) origin: String,
    pub(super) settings: Vec<Setting>,
}

/// What is collected of one service.
#[derive(Debug)]
pub(super) struct ServiceDraft {
    input: usize,
    name: String,
    place: LabelPlace,
    pub(super) routes: Vec<RouteDraft>,
    container_labels: Vec<Label>,
    notes: Vec<Note>,
    policies: BTreeMap<String, Policy>,
}

/// Options whose values are lists.
const LISTS: [&str; 9] = [
    "use",
    "allow",
    "deny",
    "users",
    "forward_auth_headers",
    "cors",
    "redirect_from",
    "drop_request_headers",
    "drop_response_headers",
];

impl Setting {
    pub(super) fn new(option: &str, value: impl Into<String>, origin: &str) -> Self {
        Self { option: option.to_owned(), value: value.into(), origin: origin.to_owned() }
    }
}

/// Whether the URL of an authentication server has the name of a container as its host. The path may have variables.
pub(super) fn names_container(url: &str) -> bool {
    let server = url.strip_prefix("http://").unwrap_or_default();
    let server = server.split(['/', '?']).next().unwrap_or_default();
    let ForwardAuth(url) = format!("http://{server}").parse().unwrap_or_default();
    url.is_some_and(|url| matches!(url.host(), AuthHost::Name(name) if !name.contains('.')))
}

/// Returns the text of an origin: a label with its value, on one line.
pub(super) fn origin(key: &str, value: &str) -> String {
    SingleLine(Truncated(&format!("{key}={value}"))).to_string()
}

/// Adds an option. Values of lists are joined, except those of which each restricts further.
pub(super) fn add_setting(settings: &mut Vec<Setting>, setting: Setting) {
    let Some(present) = settings.iter_mut().find(|other| other.option == setting.option) else {
        return settings.push(setting);
    };
    if present.value == setting.value {
        return;
    }
    if LISTS.contains(&setting.option.as_str()) {
        present.value = format!("{},{}", present.value, setting.value);
        present.origin = format!("{}; {}", present.origin, setting.origin);
    } else {
        *present = setting;
    }
}

/// Checks a host that has no variables.
pub(super) fn check_host(host: &str) -> Result<(), String> {
    if text::has_variable(host) {
        return Ok(());
    }
    host.parse::<HostMatch>().map(drop).map_err(|reason| reason.to_string())
}

/// Returns the prefix without a slash at its end; `None` for the whole host.
pub(super) fn parse_prefix(prefix: &str) -> Result<Option<String>, String> {
    let trimmed = prefix.trim().trim_end_matches('/');
    if trimmed.is_empty() {
        return Ok(None);
    }
    if !text::has_variable(trimmed) {
        trimmed.parse::<PathPrefix>().map_err(|reason| reason.to_string())?;
    }
    Ok(Some(escape_comma(trimmed)))
}

/// Checks an exact path that has no variables.
pub(super) fn parse_exact(path: &str) -> Result<String, String> {
    let path = path.trim();
    if !text::has_variable(path) {
        path.parse::<ExactPath>().map_err(|reason| reason.to_string())?;
    }
    Ok(escape_comma(path))
}

/// A comma separates the members of a list in a label.
fn escape_comma(path: &str) -> String {
    path.replace(',', "%2C")
}

impl PathMatch {
    /// Returns the value of `strip_prefix` that strips one of the paths from every path of the route. The paths have no
    /// slash at their end. `None` if there is none.
    pub(super) fn strip_value(&self, stripped: &BTreeSet<String>) -> Option<String> {
        let (Self::Prefixes(paths) | Self::Exact(paths)) = self else { return None };
        let mut paths = paths.iter().map(|path| path.trim_end_matches('/'));
        if paths.clone().all(|path| stripped.contains(path)) {
            return Some("on".to_owned());
        }
        let part = stripped.first().filter(|_| stripped.len() == 1)?;
        paths.all(|path| path.starts_with(&format!("{part}/"))).then(|| part.clone())
    }

    pub(super) fn prefix(prefix: Option<String>) -> Self {
        prefix.map_or(Self::Whole, |prefix| Self::Prefixes([prefix].into()))
    }
}

impl RouteDraft {
    pub(super) fn http(name: &str, port: &str, origin: String) -> Self {
        Self {
            name: text::to_name(name),
            protocol: LabelProtocol::Http,
            port: port.to_owned(),
            hosts: BTreeSet::new(),
            path: PathMatch::Whole,
            origin,
            settings: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, option: &str, value: impl Into<String>, origin: &str) {
        add_setting(&mut self.settings, Setting::new(option, value, origin));
    }

    pub(super) fn setting(&self, option: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.option == option)
    }

    /// Sets the public port if it is not the one without a label.
    pub(super) fn bind_plain(&mut self, ports: &[u16], origin: &str) {
        let has_https = self.setting("tls").is_some_and(|tls| tls.value != "off");
        let default = if has_https { "80" } else { &self.port };
        let ports = join_ports(ports);
        if ports != *default {
            self.set("bind", ports, origin);
        }
    }

    fn prefix(&self) -> String {
        format!("glue_{}_{}", self.protocol, self.port)
    }

    /// Returns the labels that match requests.
    fn match_settings(&self) -> Vec<Setting> {
        // Requests are redirected to the first host, which must not be a wildcard.
        let join = |texts: &BTreeSet<String>| {
            let (wildcards, others): (Vec<_>, Vec<_>) =
                texts.iter().map(String::as_str).partition(|text| text.starts_with('*'));
            [others, wildcards].concat().join(",")
        };
        let mut settings = Vec::new();
        let mut add = |option: &str, texts: &BTreeSet<String>| {
            if !texts.is_empty() {
                settings.push(Setting::new(option, join(texts), &self.origin));
            }
        };
        add("host", &self.hosts);
        match &self.path {
            PathMatch::Whole => {}
            PathMatch::Prefixes(prefixes) => add("prefix", prefixes),
            PathMatch::Exact(paths) => add("path", paths),
        }
        settings
    }

    /// Returns the public ports of plain HTTP and of HTTPS, or of streams.
    fn public_ports(&self) -> BTreeSet<&str> {
        let ports = |option, default| {
            text::list_members(self.setting(option).map_or(default, |setting| &setting.value))
        };
        let tls = self.setting("tls").map_or("off", |setting| &setting.value);
        let plain = match tls {
            "off" => ports("bind", &self.port),
            "only" => Vec::new(),
            _ => ports("bind", "80"),
        };
        let secure = if tls == "off" { Vec::new() } else { ports("tls_bind", "443") };
        plain.into_iter().chain(secure).collect()
    }

    /// Whether both match some requests, and neither has a longer path.
    fn is_tied_with(&self, other: &Self) -> bool {
        let same_hosts = if self.hosts.is_empty() || other.hosts.is_empty() {
            self.hosts.is_empty() && other.hosts.is_empty()
        } else {
            !self.hosts.is_disjoint(&other.hosts)
        };
        let same_paths = match (&self.path, &other.path) {
            (PathMatch::Prefixes(one), PathMatch::Prefixes(other))
            | (PathMatch::Exact(one), PathMatch::Exact(other)) => !one.is_disjoint(other),
            (one, other) => one == other,
        };
        same_hosts && same_paths && !self.public_ports().is_disjoint(&other.public_ports())
    }

    fn matches_all(&self) -> bool {
        self.protocol == LabelProtocol::Http
            && self.hosts.is_empty()
            && self.path == PathMatch::Whole
    }
}

/// Returns sorted ports, comma-separated.
pub(super) fn join_ports(ports: &[u16]) -> String {
    let ports: BTreeSet<_> = ports.iter().collect();
    ports.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl ServiceDraft {
    pub(super) fn new(service: &ServiceInput) -> Self {
        let (routes, container_labels, notes, policies) = Default::default();
        let (name, place) = (service.name.clone(), service.place);
        let input = service.input;
        Self { input, name, place, routes, container_labels, notes, policies }
    }

    /// Notes that something has no counterpart.
    pub(super) fn note_loss(&mut self, origin: &str, text: impl Into<String>) {
        self.add_note(NoteKind::Loss, origin, text.into());
    }

    pub(super) fn note_advice(&mut self, origin: &str, text: impl Into<String>) {
        self.add_note(NoteKind::Advice, origin, text.into());
    }

    fn add_note(&mut self, kind: NoteKind, origin: &str, text: String) {
        let note = Note { kind, origin: origin.to_owned(), text };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a label of the whole container.
    pub(super) fn add_container_label(&mut self, key: &str, value: &str, origin: &str) {
        let (key, value, origin) = (key.to_owned(), value.to_owned(), origin.to_owned());
        self.container_labels.push(Label { key, value, origin });
    }

    /// Adds a policy. One that has options already keeps them.
    pub(super) fn add_policy(&mut self, name: &str, origin: &str, options: &[Setting]) {
        let entry = self.policies.entry(name.to_owned()).or_default();
        if entry.origin.is_empty() {
            origin.clone_into(&mut entry.origin);
        }
        if entry.options.is_empty() {
            entry.options = options.iter().map(|setting| setting.to_label(String::new())).collect();
        }
    }

    /// Whether anything was found.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
            && self.container_labels.is_empty()
            && self.notes.is_empty()
            && self.policies.is_empty()
    }

    /// Adds the service to the translation, unless it is empty.
    pub(super) fn finish(mut self, translation: &mut Translation) {
        if self.is_empty() {
            return;
        }
        let mut labels = self.port_labels();
        for (name, policy) in std::mem::take(&mut self.policies) {
            self.hand_over_policy(name, policy, translation);
        }
        // The network alone does nothing.
        if !labels.is_empty() {
            labels.extend(std::mem::take(&mut self.container_labels));
        }
        let Self { input, name, place, notes, .. } = self;
        translation.services.push(ServiceTranslation { input, name, place, labels, notes });
    }

    /// Adds a policy to the translation, unless another service has one with this name and other options.
    fn hand_over_policy(&mut self, name: String, policy: Policy, translation: &mut Translation) {
        let values = |policy: &Policy| -> Vec<_> {
            let options = policy.options.iter();
            options.map(|option| (option.key.clone(), option.value.clone())).collect()
        };
        match translation.policies.get(&name) {
            Some(other) if policy.options.is_empty() || values(other) == values(&policy) => {}
            Some(other) if !other.options.is_empty() => {
                let text = format!(
                    "the policy {name} is that of {}, which differs: give one of both another name",
                    other.origin
                );
                self.note_loss(&policy.origin, text);
            }
            _ => drop(translation.policies.insert(name, policy)),
        }
    }

    fn port_labels(&mut self) -> Vec<Label> {
        let mut ports: Vec<(String, Vec<RouteDraft>)> = Vec::new();
        let routes = std::mem::take(&mut self.routes);
        let routes: Vec<_> =
            routes.into_iter().filter_map(|route| self.check_route(route)).collect();
        for route in merge_routes(routes) {
            let prefix = route.prefix();
            match ports.iter_mut().find(|(other, _)| *other == prefix) {
                Some((_, routes)) => routes.push(route),
                None => ports.push((prefix, vec![route])),
            }
        }
        ports
            .into_iter()
            .flat_map(|(prefix, routes)| self.labels_of_port(&prefix, routes))
            .collect()
    }

    /// Removes options that docker-balancer would not read. Returns `None` if the route would be served with less
    /// protection, or has no port.
    fn check_route(&mut self, mut route: RouteDraft) -> Option<RouteDraft> {
        if let Err(reason) = check_ports(&route.port) {
            let text = format!("{}: {reason}, so the route is left out", route.port);
            self.note_loss(&route.origin, text);
            return None;
        }
        let settings = std::mem::take(&mut route.settings);
        let settings: Vec<_> =
            settings.into_iter().map(|setting| self.admit_setting(setting)).collect();
        for setting in join_check_port(settings) {
            let Err(reason) = check_setting(route.protocol, &setting) else {
                route.settings.push(setting);
                continue;
            };
            let open = LabelOption::from_open_name(route.protocol, &setting.option);
            let option = LabelOption::from_port_name(route.protocol, &setting.option);
            let option = open.map(|(option, _)| option).or(option);
            let protects =
                option.is_some_and(|option| option.spec().invalid != InvalidValue::Ignored);
            let left_out = if protects { ", so the route is left out" } else { "" };
            // Some reasons begin with the option.
            let name = option.map(|option| format!("{option}: ")).unwrap_or_default();
            let reason = reason.to_string();
            let reason = reason.strip_prefix(&name).unwrap_or(&reason);
            self.note_loss(&setting.origin, format!("{}: {reason}{left_out}", setting.option));
            if protects {
                return None;
            }
        }
        Some(route)
    }

    /// Replaces an authentication server that labels may not name by a policy. The route answers 503 until the settings
    /// file has it.
    fn admit_setting(&mut self, setting: Setting) -> Setting {
        if setting.option != LabelOption::ForwardAuth.name() {
            return setting;
        }
        if names_container(&setting.value) {
            let text =
                "the container needs a route for this port; else write the URL into a policy";
            self.note_advice(&setting.origin, text);
            return setting;
        }
        let server = setting.value.split_once("://").map_or("", |(_, server)| server);
        let policy = text::to_name(server);
        self.note_loss(&setting.origin, Self::policy_of_server(&policy));
        self.add_policy(&policy, &setting.origin.clone(), std::slice::from_ref(&setting));
        Setting::new("use", policy, &setting.origin)
    }

    /// Returns the text about an authentication server that labels may not name.
    pub(super) fn policy_of_server(policy: &str) -> String {
        format!(
            "only a policy may name this server, so the route answers 503 until the settings file has [policy.{policy}]"
        )
    }

    /// Notes routes of one port of which docker-balancer would use only one.
    fn note_ties(&mut self, routes: &[RouteDraft]) {
        for (at, later) in routes.iter().enumerate() {
            // Of several routes for all requests, one becomes labels.
            let is_tied = |first: &&RouteDraft| !later.matches_all() && first.is_tied_with(later);
            if let Some(first) = routes[..at].iter().find(is_tied) {
                let text = format!(
                    "{} matches the same requests, with other options: remove the labels of one of both",
                    first.origin
                );
                self.note_loss(&later.origin, text);
            }
        }
    }

    /// Returns the labels of the routes of one port.
    fn labels_of_port(&mut self, prefix: &str, mut routes: Vec<RouteDraft>) -> Vec<Label> {
        self.note_ties(&routes);
        let common: Vec<_> = match routes.as_slice() {
            [_] => Vec::new(),
            [first, others @ ..] => {
                let is_common = |setting: &&Setting| {
                    others.iter().all(|route| {
                        route.setting(&setting.option).is_some_and(|own| own.value == setting.value)
                    })
                };
                first.settings.iter().filter(is_common).cloned().collect()
            }
            [] => return Vec::new(),
        };
        let is_common =
            |setting: &Setting| common.iter().any(|other| other.option == setting.option);
        // The first route that has nothing of its own needs no name. One for all requests cannot have one.
        let unnamed = match routes.iter().position(RouteDraft::matches_all) {
            None if routes.len() == 1 => Some(0),
            None => routes.iter().position(|route| route.settings.iter().all(is_common)),
            some => some,
        };
        let unnamed = unnamed.map(|at| routes.remove(at));
        if let Some(route) = &unnamed {
            self.note_inherited(route, &routes);
        }
        let has_unnamed = unnamed.is_some();
        let mut labels = Vec::new();
        let mut names = BTreeSet::new();
        for (at, route) in unnamed.into_iter().chain(routes).enumerate() {
            let is_unnamed = has_unnamed && at == 0;
            let suffix = if is_unnamed {
                String::new()
            } else {
                format!(".{}", unique_name(&route.name, &mut names))
            };
            match (route.matches_all(), is_unnamed) {
                (true, true) => {
                    let (key, value) = ("glue_http_ports".to_owned(), route.port.clone());
                    labels.push(Label { key, value, origin: route.origin.clone() });
                }
                (true, false) => {
                    let text = "another route of this port already answers for every host";
                    self.note_loss(&route.origin, text);
                    continue;
                }
                (false, _) => {}
            }
            let matches = route.match_settings().into_iter();
            labels.extend(matches.map(|setting| setting.to_label_of(prefix, &suffix)));
            if at == 0 {
                let of_all = route.settings.iter().filter(|setting| is_common(setting));
                labels.extend(of_all.map(|setting| setting.to_label_of(prefix, "")));
            }
            let own = route.settings.iter().filter(|setting| !is_common(setting));
            labels.extend(own.map(|setting| setting.to_label_of(prefix, &suffix)));
        }
        labels
    }

    /// Notes options of the unnamed route that other routes of the port would inherit.
    fn note_inherited(&mut self, unnamed: &RouteDraft, others: &[RouteDraft]) {
        for setting in &unnamed.settings {
            if others.iter().any(|route| route.setting(&setting.option).is_none()) {
                let text = format!(
                    "{} also applies to the other routes of the port, unless they set it",
                    setting.option
                );
                self.note_loss(&setting.origin, text);
            }
        }
    }
}

/// Checks ports, comma-separated, that have no variables.
fn check_ports(text: &str) -> Result<(), Reason> {
    let ports = text::list_members(text).into_iter().filter(|port| !text::has_variable(port));
    ports.map(option_value::parse_port).try_for_each(|port| port.map(drop))
}

/// Checks a name and a value that have no variables.
fn check_setting(protocol: LabelProtocol, setting: &Setting) -> Result<(), Reason> {
    let value = text::literal(&setting.value);
    if let Some((option, tail)) = LabelOption::from_open_name(protocol, &setting.option)
        && let Some(tail) = text::literal(tail)
    {
        // The name is checked in any case.
        return option.parse_open_value(&tail, value.as_deref().unwrap_or("x")).map(drop);
    }
    let Some((option, value)) = LabelOption::from_port_name(protocol, &setting.option).zip(value)
    else {
        return Ok(());
    };
    match option {
        LabelOption::Bind | LabelOption::TlsBind => check_ports(&value),
        _ => option.parse_value(&value).map_or(Ok(()), |parsed| parsed.map(drop)),
    }
}

impl Setting {
    fn to_label_of(&self, prefix: &str, suffix: &str) -> Label {
        self.to_label(format!("{prefix}_{}{suffix}", self.option))
    }

    fn to_label(&self, key: String) -> Label {
        let key = if key.is_empty() { self.option.clone() } else { key };
        Label { key, value: self.value.clone(), origin: self.origin.clone() }
    }
}

/// Makes the port of a check a part of its label: `8008`, `8008/ready`.
fn join_check_port(settings: Vec<Setting>) -> Vec<Setting> {
    let (ports, settings): (Vec<_>, Vec<_>) =
        settings.into_iter().partition(|setting| setting.option == "check_port");
    let mut joined = Vec::new();
    for setting in settings {
        add_setting(&mut joined, setting);
    }
    let Some(port) = ports.into_iter().next_back() else { return joined };
    match joined.iter_mut().find(|setting| setting.option == "check") {
        Some(check) if check.value.starts_with('/') => {
            check.value.insert_str(0, &port.value);
            check.origin = format!("{}; {}", check.origin, port.origin);
        }
        Some(_) => {}
        None => joined.push(Setting { option: "check".to_owned(), ..port }),
    }
    joined
}

fn unique_name(name: &str, names: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.to_owned()).chain(numbered);
    let found = candidates.find(|candidate| !names.contains(candidate)).unwrap_or_default();
    names.insert(found.clone());
    found
}

/// Merges routes that differ in their hosts only.
fn merge_routes(routes: Vec<RouteDraft>) -> Vec<RouteDraft> {
    let mut merged: Vec<RouteDraft> = Vec::new();
    for route in routes {
        let is_same = |other: &&mut RouteDraft| {
            let values = |route: &RouteDraft| -> Vec<_> {
                let values = route.settings.iter();
                values.map(|setting| (setting.option.clone(), setting.value.clone())).collect()
            };
            other.prefix() == route.prefix()
                && other.path == route.path
                && values(other) == values(&route)
                && other.hosts.is_empty() == route.hosts.is_empty()
        };
        match merged.iter_mut().find(is_same) {
            Some(other) => {
                if other.origin != route.origin {
                    other.origin = format!("{}; {}", other.origin, route.origin);
                }
                other.hosts.extend(route.hosts);
            }
            None => merged.push(route),
        }
    }
    merged
}
