//! Parses one container's labels: groups them by port and route, then builds the requests of each route.
//!
//! Pure. An invalid label is reported, and the other labels still apply as far as possible.

use super::{
    HostNetwork, LabelLimits, ParsedLabels, RouteRequest,
    key::{self, LabelKey},
};
use crate::model::{
    backend_tls::{Scheme, Verification},
    client_certificate::ClientCertificate,
    container::{Container, NetworkMode},
    label_option::{
        InvalidValue, LabelOption, OPTIONS, OptionPlace, OptionValue, OptionValues, TypedOption,
    },
    label_text,
    option_value::{self, CheckMethod, HostMatch, PathPrefix},
    problem::{LabelText, Problem, ProblemSubject, Reason},
    route::{Listener, Match, Protocol, RouteKey},
    tls::{self, TlsBind, TlsMode},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    ops::Bound::{Included, Unbounded},
    str::FromStr,
};

/// Maximum number of routes of one container. Hosts, prefixes and public ports multiply.
pub const MAX_ROUTES: usize = 1024;

/// Maximum number of servers of one container in one route, so that a container with many ports does not get most of
/// the requests.
pub const MAX_SERVERS: usize = 8;

/// Maximum number of public ports of one container. Each uses file descriptors of HAProxy and makes a reload slower.
const MAX_LISTENERS: usize = 32;

/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Maximum number of problems of one container that are listed.
pub const MAX_PROBLEMS: usize = 50;

/// Maximum number of problems that are collected, from which the listed ones are selected.
const MAX_GATHERED_PROBLEMS: usize = 1000;

/// Maximum number of invalid members of one list that are reported, so that one label does not fill the log.
const MAX_REPORTED_MEMBERS: usize = 16;

/// A label, or an environment variable that is read like one.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawLabel<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// The labels of one route, by option.
#[derive(Debug, Default)]
pub(super) struct OptionSet<'a>([Option<RawLabel<'a>>; OPTIONS.len()]);

#[derive(Debug)]
pub(super) struct PortLabels<'a> {
    pub(super) number: NonZeroU16,
    pub(super) base_options: OptionSet<'a>,
    pub(super) named_routes: BTreeMap<&'a str, OptionSet<'a>>,
    /// `glue_http_ports`, if it contains this port.
    pub(super) ports_label: Option<RawLabel<'a>>,
    /// An option without which the port must not be served, if a label looks like a misspelling of it.
    misspelled: Option<LabelOption>,
}

/// Options that a named route inherits from its port.
#[derive(Debug, Default)]
struct RouteOptions {
    /// `None` means the container's port.
    bind: Option<Vec<NonZeroU16>>,
    values: OptionValues,
    /// Options with an invalid value without which the port must not be served.
    invalid: BTreeSet<LabelOption>,
}

#[derive(Debug)]
pub(super) struct LabelParser<'a> {
    container: &'a Container,
    limits: &'a LabelLimits,
    requests: Vec<RouteRequest>,
    /// The public ports of `requests`.
    listeners: BTreeSet<NonZeroU16>,
    problems: Vec<Problem>,
    /// Number of problems that were not collected.
    dropped_problems: usize,
}

impl<'a> LabelParser<'a> {
    pub(super) fn new(container: &'a Container, limits: &'a LabelLimits) -> Self {
        let (requests, listeners, problems, dropped) = Default::default();
        Self { container, limits, requests, listeners, problems, dropped_problems: dropped }
    }

    pub(super) fn parse(mut self) -> ParsedLabels {
        if let Some(why) = &self.container.label_fault {
            self.report_problem(None, Reason::ImageUnknown { why: why.to_string() });
            return ParsedLabels { problems: self.problems, ..ParsedLabels::default() };
        }
        let on_host = self.container.network_mode == NetworkMode::Host;
        if on_host && self.limits.host_network == HostNetwork::Off {
            self.report_problem(None, Reason::HostNetworkNotAllowed);
            return ParsedLabels { problems: self.problems, ..ParsedLabels::default() };
        }
        let (ports, network) = self.group_by_port();
        for port in &ports {
            self.parse_port(port);
        }
        let network_text = network.map(|network| self.checked_text(network));
        if network_text == Some(None) {
            self.requests.clear();
        }
        self.finish();
        let network = network_text.flatten().map(str::to_owned);
        // The requests stay in memory as long as the container exists.
        self.requests.shrink_to_fit();
        ParsedLabels { requests: self.requests, network, problems: self.problems }
    }

    /// Groups the labels by port. Also returns `glue_network`.
    pub(super) fn group_by_port(&mut self) -> (Vec<PortLabels<'a>>, Option<RawLabel<'a>>) {
        // Nearly all containers have one port.
        let mut ports: Vec<PortLabels<'a>> = Vec::with_capacity(1);
        let (mut ports_label, mut network) = (None, None);
        let mut misspelled = Vec::new();
        for label in collect_labels(self.container) {
            match key::parse_key(label.key) {
                None => {}
                Some(Err(reason)) => {
                    misspelled.extend(misspelled_protection(&reason));
                    self.report_problem(Some(label), reason);
                }
                Some(Ok(LabelKey::Container(LabelOption::Network))) => network = Some(label),
                Some(Ok(LabelKey::Container(_))) => ports_label = Some(label),
                Some(Ok(LabelKey::Http { port, option, route })) => {
                    // Labels are sorted by name, so those of one port are adjacent.
                    if ports.last().is_none_or(|last| last.number != port) {
                        ports.push(PortLabels::new(port));
                    }
                    let last = ports.last_mut().expect("one was put there");
                    last.options_for(route).0[option as usize] = Some(label);
                }
            }
        }
        ports.sort_by_key(|port| port.number);
        for (number, option) in misspelled {
            if let Ok(at) = ports.binary_search_by_key(&number, |port| port.number) {
                ports[at].misspelled = Some(option);
            }
        }
        for number in ports_label
            .map(|ports_label| self.parse_list(ports_label, option_value::parse_port))
            .unwrap_or_default()
        {
            let at = ports.binary_search_by_key(&number, |port| port.number).unwrap_or_else(|at| {
                ports.insert(at, PortLabels::new(number));
                at
            });
            ports[at].ports_label = ports_label;
        }
        (ports, network)
    }

    fn parse_port(&mut self, port: &PortLabels<'a>) {
        let number = port.number.get();
        let has_own_network = !matches!(
            self.container.network_mode,
            NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_)
        );
        if has_own_network && !self.container.exposed.contains(&number) {
            self.report_problem(None, self.unexposed_reason(number));
        }
        let base = self.parse_options(port, &port.base_options, &self.default_options(port));
        if port.is_route() {
            let no_match_reason = Reason::PortWithoutMatch { port: number };
            self.add_requests(port, &port.base_options, port.ports_label, &base, no_match_reason);
        }
        for (name, option_set) in &port.named_routes {
            let options = self.parse_options(port, option_set, &base);
            let no_match_reason =
                Reason::RouteWithoutMatch { port: number, route: (*name).to_owned() };
            self.add_requests(port, option_set, None, &options, no_match_reason);
        }
    }

    /// Returns the options of a port without labels for them.
    fn default_options(&self, port: &PortLabels<'_>) -> RouteOptions {
        let values = OptionValues::default().with(self.limits.tls);
        RouteOptions { values, invalid: port.misspelled.iter().copied().collect(), bind: None }
    }

    /// Returns the hint about a port that the container does not expose. It may be the host's port of a published one.
    fn unexposed_reason(&self, port: u16) -> Reason {
        let mut published = self.container.published.iter();
        match published.find(|published_port| {
            published_port.host_port == port && published_port.container_port != port
        }) {
            Some(published) => {
                Reason::PublishedPort { port, container_port: published.container_port }
            }
            None => Reason::NotExposed { port },
        }
    }

    fn parse_options(
        &mut self,
        port: &PortLabels<'_>,
        option_set: &OptionSet<'_>,
        from: &RouteOptions,
    ) -> RouteOptions {
        let bind = option_set
            .get(LabelOption::Bind)
            .map(|label| self.parse_public_ports(port, label))
            .or_else(|| from.bind.clone());
        let (mut values, mut invalid) = (from.values.clone(), from.invalid.clone());
        for spec in &OPTIONS {
            let Some(label) = option_set.get(spec.option) else { continue };
            let value = match spec.option {
                LabelOption::TlsBind => {
                    TlsBind::new(self.parse_public_ports(port, label)).map(TypedOption::into_value)
                }
                option => self.parse_value(label, option),
            };
            match (value, spec.invalid) {
                (Some(value), _) => {
                    values.set(value);
                    invalid.remove(&spec.option);
                }
                (None, InvalidValue::ExcludesPort) => drop(invalid.insert(spec.option)),
                (None, InvalidValue::Ignored) => {}
            }
        }
        RouteOptions { bind, values, invalid }
    }

    fn parse_public_ports(
        &mut self,
        port: &PortLabels<'_>,
        label: RawLabel<'_>,
    ) -> Vec<NonZeroU16> {
        let limits = self.limits;
        self.parse_required_list(port, label, |text| match option_value::parse_port(text)? {
            port if limits.is_port_allowed(port) => Ok(port),
            port => Err(Reason::PortNotAllowed(port.get())),
        })
    }

    /// Adds a request for each combination of public port, host and prefix. Without a host label the host is any, if
    /// there is a prefix label or `ports_label`; else `no_match_reason` is reported.
    fn add_requests(
        &mut self,
        port: &PortLabels<'_>,
        option_set: &OptionSet<'_>,
        ports_label: Option<RawLabel<'_>>,
        options: &RouteOptions,
        no_match_reason: Reason,
    ) {
        let prefix = option_set.get(LabelOption::Prefix);
        let prefixes = prefix.map(|label| self.parse_prefixes(port, label));
        let Some(hosts) = (match option_set.get(LabelOption::Host) {
            Some(label) => Some(self.parse_hosts(port, label)),
            None => prefix.or(ports_label).map(|label| self.check_any_host(port, label)),
        }) else {
            return self.report_problem(None, no_match_reason);
        };
        let prefixes = prefixes.unwrap_or_else(|| vec![PathPrefix::default()]);
        if hosts.is_empty() || prefixes.is_empty() {
            return;
        }
        if let Some(reason) = exclusion_reason(port, option_set, options) {
            return self.report_problem(None, reason);
        }
        let is_passed = options.values.get::<TlsMode>() == TlsMode::Pass;
        if is_passed && let Some(reason) = unused_with_pass(port, options) {
            self.report_problem(None, reason);
        }
        let listeners = self.requested_listeners(port, options);
        let requested = hosts.len() * prefixes.len() * listeners.len();
        if MAX_ROUTES - self.requests.len() < requested {
            let port = port.number.get();
            return self
                .report_problem(None, Reason::TooManyRoutes { port, requested, most: MAX_ROUTES });
        }
        let listeners = self.add_listeners(port, listeners);
        let [policy, terms, server_options] =
            [OptionPlace::Policy, OptionPlace::Terms, OptionPlace::Server]
                .map(|place| options.values.select(place));
        self.requests.reserve(requested);
        let rule = |host: &HostMatch, prefix: &PathPrefix| {
            if is_passed {
                Match::Tcp { server_name: host.clone() }
            } else {
                Match::Http { host: host.clone(), prefix: prefix.clone() }
            }
        };
        for &listener in &listeners {
            for host in &hosts {
                self.requests.extend(prefixes.iter().map(|prefix| RouteRequest {
                    key: RouteKey { listener, rule: rule(host, prefix) },
                    policy: policy.clone(),
                    terms: terms.clone(),
                    port: port.number.get(),
                    options: server_options.clone(),
                    health_policy: options.values.get(),
                }));
            }
        }
    }

    /// Returns the plain and the HTTPS listeners of a route.
    fn requested_listeners(
        &mut self,
        port: &PortLabels<'_>,
        options: &RouteOptions,
    ) -> Vec<Listener> {
        let mode = options.values.get::<TlsMode>();
        let mut listeners = Vec::new();
        if mode.has_plain() {
            let default = if mode.has_https() { tls::HTTP_PORT } else { port.number };
            let ports = options.bind.clone().unwrap_or_else(|| self.allowed_port(default));
            let plain = |port| Listener { protocol: Protocol::Http, port };
            listeners.extend(ports.into_iter().map(plain));
        }
        if mode.has_https() {
            let ports = options.values.get::<TlsBind>();
            let allowed = ports.ports().iter().flat_map(|port| self.allowed_port(*port));
            let https = |port| Listener { protocol: Protocol::Https, port };
            listeners.extend(allowed.map(https));
        }
        listeners
    }

    /// Drops the listeners above the limit. The first ones remain.
    fn add_listeners(
        &mut self,
        port: &PortLabels<'_>,
        mut listeners: Vec<Listener>,
    ) -> Vec<Listener> {
        let requested = listeners.len();
        listeners.retain(|listener| {
            let fits =
                self.listeners.len() < MAX_LISTENERS || self.listeners.contains(&listener.port);
            if fits {
                self.listeners.insert(listener.port);
            }
            fits
        });
        if listeners.len() < requested {
            let (port, kept) = (port.number.get(), requested - listeners.len());
            self.report_problem(
                None,
                Reason::TooManyListeners { port, requested, left: kept, most: MAX_LISTENERS },
            );
        }
        listeners
    }

    fn parse_hosts(&mut self, port: &PortLabels<'_>, label: RawLabel<'_>) -> Vec<HostMatch> {
        let limits = self.limits;
        let container = self.container;
        let hosts = self.parse_required_list(port, label, |text| {
            let host = text.parse()?;
            match limits.check_host(&host, container) {
                Ok(()) => Ok(host),
                Err(Reason::HostNotAllowed(_)) => Err(Reason::HostNotAllowed(text.to_owned())),
                Err(reason) => Err(reason),
            }
        });
        // `app.${DOMAIN}` with an empty DOMAIN.
        let cut = |text: &str| text.strip_suffix('.').is_some_and(|name| !name.contains('.'));
        self.report_suspicious(label, |text| {
            let cut = cut(text) && text.parse::<HostMatch>().is_ok();
            cut.then(|| Reason::HostEndsWithDot(text.to_owned()))
        });
        hosts
    }

    fn parse_prefixes(&mut self, port: &PortLabels<'_>, label: RawLabel<'_>) -> Vec<PathPrefix> {
        let prefixes = self.parse_required_list(port, label, PathPrefix::from_str);
        self.report_suspicious(label, |text| {
            let prefix = PathPrefix::from_str(text).ok()?;
            let text = text.to_owned();
            if let Some((first, _)) = prefix.as_str().split_once(";/") {
                return Some(Reason::ListWithoutCommas { instead: text.replace(';', ","), text })
                    .filter(|_| !first.is_empty());
            }
            let instead = crate::model::prefix::literal_prefix(&text)?;
            Some(Reason::PrefixLikePattern { text, instead })
        });
        prefixes
    }

    /// Reports members that are valid but probably not meant as written.
    fn report_suspicious(
        &mut self,
        label: RawLabel<'_>,
        find_reason: impl Fn(&str) -> Option<Reason>,
    ) {
        let Ok(text) = check_text(label.value) else { return };
        let find_reason =
            text.split(',').map(str::trim).filter_map(find_reason).take(MAX_REPORTED_MEMBERS);
        find_reason.for_each(|reason| self.report_problem(Some(label), reason));
    }

    /// Returns the hosts of a route without a host label. `label` is the one that requests the route.
    fn check_any_host(&mut self, port: &PortLabels<'_>, label: RawLabel<'_>) -> Vec<HostMatch> {
        let Err(reason) = self.limits.check_host(&HostMatch::Any, self.container) else {
            return vec![HostMatch::Any];
        };
        self.report_problem(Some(label), reason);
        self.report_problem(Some(label), Reason::NoValidValues { port: port.number.get() });
        Vec::new()
    }

    /// Returns the public port if containers may use it.
    fn allowed_port(&mut self, port: NonZeroU16) -> Vec<NonZeroU16> {
        if self.limits.is_port_allowed(port) {
            return vec![port];
        }
        self.report_problem(None, Reason::PortNotAllowed(port.get()));
        Vec::new()
    }

    /// Returns `None` if the value is invalid, or if the option has no value type.
    fn parse_value(&mut self, label: RawLabel<'_>, option: LabelOption) -> Option<OptionValue> {
        option.default_value()?;
        match option.parse_value(self.checked_text(label)?)? {
            Ok((value, reported)) => {
                if let Some(reason) = reported {
                    self.report_problem(Some(label), reason);
                }
                Some(value)
            }
            Err(reason) => {
                self.report_problem(Some(label), reason);
                None
            }
        }
    }

    /// Parses a list without which the route is not requested.
    fn parse_required_list<T: Ord>(
        &mut self,
        port: &PortLabels<'_>,
        label: RawLabel<'_>,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<T> {
        let members = self.parse_list(label, parse);
        if members.is_empty() {
            self.report_problem(Some(label), Reason::NoValidValues { port: port.number.get() });
        }
        members
    }

    /// Returns the valid members, sorted, without duplicates.
    fn parse_list<T: Ord>(
        &mut self,
        label: RawLabel<'_>,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<T> {
        let Some(text) = self.checked_text(label) else { return Vec::new() };
        if let Some(instead) = split_brackets(text) {
            let text = text.to_owned();
            self.report_problem(Some(label), Reason::BracketedList { text, instead });
            return Vec::new();
        }
        let (mut members, mut reported) = (Vec::new(), 0);
        for member in text.split(',').map(str::trim) {
            match if member.is_empty() { Err(Reason::EmptyMember) } else { parse(member) } {
                Ok(member) => members.push(member),
                Err(_) if reported == MAX_REPORTED_MEMBERS => {}
                Err(reason) => {
                    reported += 1;
                    self.report_problem(
                        Some(label),
                        diagnose_separators(member, &parse).unwrap_or(reason),
                    );
                }
            }
        }
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Returns the trimmed value, or reports why it cannot be parsed.
    fn checked_text<'w>(&mut self, label: RawLabel<'w>) -> Option<&'w str> {
        check_text(label.value).map_err(|reason| self.report_problem(Some(label), reason)).ok()
    }

    fn report_problem(&mut self, label: Option<RawLabel<'_>>, reason: Reason) {
        if MAX_GATHERED_PROBLEMS <= self.problems.len() {
            self.dropped_problems += 1;
            return;
        }
        self.problems.push(Problem {
            subject: ProblemSubject::Container(self.container.to_ref()),
            label: label.map(|RawLabel { key, value }| LabelText::new(key, value)),
            reason: reason.truncate_texts(),
        });
    }

    /// Drops the requests above the limit of servers in one route. Expects `requests` to be sorted.
    fn cap_servers(&mut self) {
        let requests = std::mem::take(&mut self.requests);
        let (mut kept, mut shared) = (Vec::with_capacity(requests.len()), Vec::new());
        for same in requests.chunk_by(|one, other| one.key == other.key) {
            let (route, ports, most) = (&same[0].key, same.len(), MAX_SERVERS);
            if most < ports {
                let route = route.to_string();
                self.report_problem(None, Reason::TooManyServers { route, ports, most });
            } else if 1 < ports {
                shared.push((route, ports));
            }
            kept.extend(same.iter().take(most).cloned());
        }
        if let Some((route, ports)) = shared.first() {
            let (route, ports, dropped) = (route.to_string(), *ports, shared.len() - 1);
            self.report_problem(None, Reason::SeveralServers { route, ports, more: dropped });
        }
        self.requests = kept;
    }

    /// Drops the problems above the limit, hints first. The rest is sorted.
    fn cap_problems(&mut self) {
        let dropped = self.dropped_problems + self.problems.len().saturating_sub(MAX_PROBLEMS);
        if dropped == 0 {
            return;
        }
        self.problems.sort_by_key(|problem| Reverse(problem.reason.severity()));
        self.problems.truncate(MAX_PROBLEMS);
        self.report_problem(None, Reason::MoreProblems { more: dropped });
        self.problems.sort_unstable();
        self.problems.shrink_to_fit();
    }

    /// Sorts requests and problems, and applies the limits. If one port requests a route twice, the first request
    /// applies.
    fn finish(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        requests.sort_by(|one, other| (&one.key, one.port).cmp(&(&other.key, other.port)));
        requests.dedup_by(|later, first| {
            let again = (&later.key, later.port) == (&first.key, first.port);
            if again && later != first {
                let route = later.key.to_string();
                self.report_problem(None, Reason::DuplicateRoute { port: later.port, route });
            }
            again
        });
        self.requests = requests;
        self.cap_servers();
        self.problems.sort_unstable();
        self.problems.dedup();
        self.cap_problems();
    }
}

/// Returns why the port must not be served, or cannot be.
fn exclusion_reason(
    port: &PortLabels<'_>,
    option_set: &OptionSet<'_>,
    options: &RouteOptions,
) -> Option<Reason> {
    let port = port.number.get();
    let invalid = options.invalid.first();
    let invalid = invalid.map(|option| Reason::PortExcluded { port, option: *option });
    let without_tls = || {
        let option = option_without_tls(&options.values)?;
        Some(Reason::OptionNeedsTls { port, option })
    };
    let not_passed = || {
        let option = option_against_pass(option_set, &options.values)?;
        Some(Reason::NotPassedThrough { port, option })
    };
    invalid.or_else(without_tls).or_else(not_passed)
}

/// Returns an option because of which TLS cannot be passed through, although it should be.
fn option_against_pass(option_set: &OptionSet<'_>, values: &OptionValues) -> Option<LabelOption> {
    let verifies_clients = values.get::<ClientCertificate>() != ClientCertificate::Off;
    match values.get::<TlsMode>() {
        TlsMode::Pass if option_set.get(LabelOption::Host).is_none() => Some(LabelOption::Host),
        TlsMode::Pass if option_set.get(LabelOption::Prefix).is_some() => Some(LabelOption::Prefix),
        TlsMode::Pass if verifies_clients => Some(LabelOption::ClientCert),
        _ => None,
    }
}

/// Options that apply to requests, or to a connection that HAProxy decrypts.
const OPTIONS_OF_REQUESTS: [LabelOption; 9] = [
    LabelOption::StripPrefix,
    LabelOption::Timeout,
    LabelOption::Retry,
    LabelOption::Cert,
    LabelOption::TlsPolicy,
    LabelOption::Hsts,
    LabelOption::Scheme,
    LabelOption::Verify,
    LabelOption::ServerName,
];

/// Returns the hint about options that are set and have no effect, because TLS is passed through.
fn unused_with_pass(port: &PortLabels<'_>, options: &RouteOptions) -> Option<Reason> {
    let is_set = |option: &LabelOption| options.values.find(*option).is_some();
    let mut unused: Vec<_> = OPTIONS_OF_REQUESTS.into_iter().filter(is_set).collect();
    let checks_requests = matches!(options.values.get(), CheckMethod::Http(_));
    unused.extend(checks_requests.then_some(LabelOption::Check));
    unused.extend(options.bind.is_some().then_some(LabelOption::Bind));
    let port = port.number.get();
    (!unused.is_empty()).then_some(Reason::UnusedWithPass { port, options: unused })
}

/// Returns an option that protects the port, if it has no effect because TLS is off.
fn option_without_tls(options: &OptionValues) -> Option<LabelOption> {
    let is_verified = options.get::<Verification>() != Verification::Off;
    let is_verified = is_verified && !options.get::<Scheme>().has_tls();
    let has_certificates = options.get::<ClientCertificate>() != ClientCertificate::Off;
    let has_plain = matches!(options.get(), TlsMode::Off | TlsMode::Both);
    let verify = is_verified.then_some(LabelOption::Verify);
    verify.or((has_certificates && has_plain).then_some(LabelOption::ClientCert))
}

/// Returns the port and the option that an unknown label probably means, if the port must not be served without it.
fn misspelled_protection(reason: &Reason) -> Option<(NonZeroU16, LabelOption)> {
    let Reason::UnknownLabel { nearest: Some(nearest) } = reason else { return None };
    match key::parse_key(nearest)? {
        Ok(LabelKey::Http { port, option, .. })
            if option.spec().invalid == InvalidValue::ExcludesPort =>
        {
            Some((port, option))
        }
        _ => None,
    }
}

impl<'a> PortLabels<'a> {
    fn new(number: NonZeroU16) -> Self {
        Self {
            number,
            base_options: OptionSet::default(),
            named_routes: BTreeMap::new(),
            ports_label: None,
            misspelled: None,
        }
    }

    fn options_for(&mut self, route: Option<&'a str>) -> &mut OptionSet<'a> {
        match route {
            None => &mut self.base_options,
            Some(route) => self.named_routes.entry(route).or_default(),
        }
    }

    /// Whether the port has an unnamed route. A port without hosts and prefixes of its own may have only named routes.
    pub(super) fn is_route(&self) -> bool {
        self.base_options.has_match_label()
            || self.ports_label.is_some()
            || self.named_routes.is_empty()
    }
}

impl<'a> OptionSet<'a> {
    pub(super) fn get(&self, option: LabelOption) -> Option<RawLabel<'a>> {
        self.0[option as usize]
    }

    fn has_match_label(&self) -> bool {
        self.get(LabelOption::Host).or(self.get(LabelOption::Prefix)).is_some()
    }
}

/// Returns the trimmed value, or why it cannot be parsed.
pub(super) fn check_text(value: &str) -> Result<&str, Reason> {
    match value.trim() {
        "" => Err(Reason::Empty),
        text if MAX_VALUE_BYTES < text.len() => Err(Reason::TooLong),
        text if text.contains(char::is_control) => Err(Reason::ControlCharacter),
        text if is_quoted(text) => Err(Reason::QuotedValue(text.to_owned())),
        text => Ok(text),
    }
}

/// Whether the value is quoted, as `"a.test"`. In a list of a compose file, quotes after the `=` become part of the
/// value.
fn is_quoted(text: &str) -> bool {
    let mut chars = text.chars();
    let (first, last) = (chars.next(), chars.next_back());
    let both = first.zip(last);
    both.is_some_and(|(first, last)| {
        label_text::QUOTES.contains(&first) && label_text::QUOTES.contains(&last)
    })
}

/// Converts a list as in YAML or JSON, `[a.test, "b.test"]`, to the form with commas alone.
fn split_brackets(text: &str) -> Option<String> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    if inside.contains("::") || inside.contains(['[', ']']) {
        return None;
    }
    let bare = |text: &str| text.trim().trim_matches(label_text::QUOTES).to_owned();
    Some(inside.split(',').map(bare).collect::<Vec<_>>().join(","))
}

/// Returns the problem of several members that are separated by something other than commas.
fn diagnose_separators<T>(
    member: &str,
    parse: impl Fn(&str) -> Result<T, Reason>,
) -> Option<Reason> {
    let pieces = member.split(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '&'));
    let pieces: Vec<_> = pieces.filter(|text| !text.is_empty() && *text != "or").collect();
    // `/other path` is one path that contains a blank.
    let rooted = pieces.iter().filter(|text| text.starts_with('/')).count();
    let shared = 1 < pieces.len()
        && (rooted == 0 || rooted == pieces.len())
        && pieces.iter().all(|text| parse(text).is_ok());
    shared.then(|| Reason::ListWithoutCommas { text: member.to_owned(), instead: pieces.join(",") })
}

/// Returns the labels and environment variables that start with `glue_`, sorted by name. A label overrides the
/// variable of the same name.
fn collect_labels(container: &Container) -> Vec<RawLabel<'_>> {
    let mut entries: Vec<_> = our_labels(&container.labels).collect();
    if !container.environment.is_empty() {
        let hidden = |label: &RawLabel<'_>| container.labels.contains_key(label.key);
        entries.extend(our_labels(&container.environment).filter(|label| !hidden(label)));
        entries.sort_unstable_by_key(|label| label.key);
    }
    entries
}

fn our_labels(texts: &BTreeMap<String, String>) -> impl Iterator<Item = RawLabel<'_>> {
    texts
        .range::<str, _>((Included("glue_"), Unbounded))
        .map(|(key, value)| RawLabel { key, value })
        .take_while(|label| label.key.starts_with("glue_"))
}
