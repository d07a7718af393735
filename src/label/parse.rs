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
    container::{Container, NetworkMode, Transport},
    http::{
        closed::Closed,
        forward_auth::ForwardAuth,
        header::{self, HeaderName},
        redirect::{Redirect, RedirectStatus},
    },
    label_option::{
        InvalidValue, LabelOption, LabelProtocol, OPTIONS, OptionPlace, OptionValue, OptionValues,
        ParsedValue, TypedOption,
    },
    label_text,
    option_value::{self, CheckMethod, ExactPath, HostMatch, PathPrefix, PathRule, PortRange},
    policy_book::{self, GivenValues, PolicyName},
    problem::{LabelText, Problem, ProblemSubject, Reason},
    route::{Listener, Match, Policy, Protocol, RouteKey},
    stream::ProxyHeader,
    tls::{self, TlsBind, TlsMode},
};
use crate::support::suggest::suggest;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    ops::Bound::{Included, Unbounded},
    str::FromStr,
    sync::Arc,
};

/// Maximum number of routes of one container. Hosts, prefixes and public ports multiply.
pub const MAX_ROUTES: usize = 1024;

/// Maximum number of servers of one container in one route, so that a container with many ports does not get most of
/// the requests.
pub const MAX_SERVERS: usize = 8;

/// Maximum number of public ports of one container. Each uses file descriptors of HAProxy and makes a reload slower.
const MAX_LISTENERS: usize = 32;

/// Maximum number of public ports of one container that labels request by ranges, in addition to single ones.
const MAX_RANGE_LISTENERS: usize = 256;

/// Maximum number of ports of one container that ranges in the names of labels, and in its lists of ports, add.
pub const MAX_RANGE_PORTS: usize = 256;

/// Maximum number of named routes of one container that ranges in the names of labels add.
const MAX_RANGE_ROUTES: usize = MAX_ROUTES;

/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Maximum number of names of headers of one container. HAProxy has rules for each name, which all
/// routes with headers use: a request takes 0.16 ms longer with 1,000 names.
const MAX_HEADER_NAMES: usize = 64;

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
    /// The ports in the name, if they are a range.
    pub(super) range: Option<PortRange>,
}

/// A label with a range of ports in its name.
#[derive(Debug, Clone, Copy)]
struct RangeLabel<'a> {
    label: RawLabel<'a>,
    protocol: LabelProtocol,
    ports: PortRange,
    option: LabelOption,
    route: Option<&'a str>,
}

/// The labels of one route, by option.
#[derive(Debug)]
pub(super) struct OptionSet<'a> {
    labels: [Option<RawLabel<'a>>; OPTIONS.len()],
    /// Labels of options whose names have a free part, with that part. `labels` has only one of each option.
    open: Vec<(LabelOption, &'a str, RawLabel<'a>)>,
}

#[derive(Debug)]
pub(super) struct PortLabels<'a> {
    pub(super) protocol: LabelProtocol,
    pub(super) number: NonZeroU16,
    pub(super) base_options: OptionSet<'a>,
    pub(super) named_routes: BTreeMap<&'a str, OptionSet<'a>>,
    /// `glue_http_ports` or that of another protocol, if it contains this port.
    pub(super) ports_label: Option<RawLabel<'a>>,
    /// The range because of which the port has labels, if no label names it alone.
    range: Option<PortRange>,
    /// An option without which the port must not be served, if a label looks like a misspelling of it.
    misspelled: Option<LabelOption>,
}

/// Options that a named route inherits from its port.
#[derive(Debug, Clone, Default)]
struct RouteOptions {
    /// `None` means the container's port.
    bind: Option<PublicPorts>,
    /// Those that the labels set, in the order of precedence.
    given: GivenValues,
    /// The policies that the labels name.
    used: Vec<PolicyName>,
    /// The values of all policies and labels.
    values: OptionValues,
    /// Options with an invalid value without which the port must not be served, or the route answers 503.
    invalid: BTreeSet<LabelOption>,
}

/// Public ports that a label requests.
#[derive(Debug, Clone)]
struct PublicPorts {
    ports: Vec<NonZeroU16>,
    origin: PortOrigin,
}

/// A public port. Those of UDP are independent of the others.
type PublicPort = (bool, NonZeroU16);

/// Whether a label names the port alone, or by a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortOrigin {
    Single,
    Range,
}

#[derive(Debug)]
pub(super) struct LabelParser<'a> {
    container: &'a Container,
    limits: &'a LabelLimits,
    requests: Vec<RouteRequest>,
    /// The public ports of `requests`, and whether a range requests them.
    listeners: BTreeMap<PublicPort, PortOrigin>,
    /// The names of headers in the labels, with their option.
    header_names: BTreeSet<(LabelOption, HeaderName)>,
    problems: Vec<Problem>,
    /// Number of problems that were not collected.
    dropped_problems: usize,
}

impl<'a> LabelParser<'a> {
    pub(super) fn new(container: &'a Container, limits: &'a LabelLimits) -> Self {
        let (requests, listeners, header_names, problems, dropped_problems) = Default::default();
        Self { container, limits, requests, listeners, header_names, problems, dropped_problems }
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

    /// Groups the labels by protocol and port. Also returns `glue_network`.
    pub(super) fn group_by_port(&mut self) -> (Vec<PortLabels<'a>>, Option<RawLabel<'a>>) {
        // Nearly all containers have one port.
        let mut ports: Vec<PortLabels<'a>> = Vec::with_capacity(1);
        let (mut lists, mut ranges, mut network) = (Vec::new(), Vec::new(), None);
        let mut misspelled = Vec::new();
        for label in collect_labels(self.container) {
            match key::parse_key(label.key) {
                None => {}
                Some(Err(reason)) => {
                    misspelled.extend(misspelled_protection(&reason));
                    self.report_problem(Some(label), reason);
                }
                Some(Ok(LabelKey::Container(option))) => match option.listed_protocol() {
                    Some(protocol) => lists.push((protocol, label)),
                    None => network = Some(label),
                },
                Some(Ok(LabelKey::Port { protocol, ports: range, option, tail, route })) => {
                    let Some(number) = range.single() else {
                        let label = RawLabel { range: Some(range), ..label };
                        ranges.push(RangeLabel { label, protocol, ports: range, option, route });
                        continue;
                    };
                    // Labels are sorted by name, so those of one port are adjacent.
                    if ports.last().is_none_or(|last| last.id() != (protocol, number)) {
                        ports.push(PortLabels::new(protocol, number, None));
                    }
                    let last = ports.last_mut().expect("one was put there");
                    last.options_for(route).add(option, tail, label);
                }
            }
        }
        ports.sort_by_key(PortLabels::id);
        for (number, option) in misspelled {
            let id = (LabelProtocol::Http, number);
            if let Ok(at) = ports.binary_search_by_key(&id, PortLabels::id) {
                ports[at].misspelled = Some(option);
            }
        }
        let mut budget = RangeBudget::default();
        self.add_ranges(&mut ports, ranges, &mut budget);
        for (protocol, label) in lists {
            self.add_listed_ports(&mut ports, protocol, label, &mut budget);
        }
        (ports, network)
    }

    /// Adds the labels with ranges of ports. A label with a shorter range, or with one port, overrides them.
    fn add_ranges(
        &mut self,
        ports: &mut Vec<PortLabels<'a>>,
        mut labels: Vec<RangeLabel<'a>>,
        budget: &mut RangeBudget,
    ) {
        labels.sort_by_key(|label| label.ports.count());
        for RangeLabel { label, protocol, ports: range, option, route } in labels {
            if !budget.add_ports(ports, protocol, range) {
                let (text, most) = (range.to_string(), MAX_RANGE_PORTS);
                self.report_problem(Some(label), Reason::TooManyPorts { text, most });
                continue;
            }
            for number in range.ports() {
                let Ok(at) = ports.binary_search_by_key(&(protocol, number), PortLabels::id) else {
                    continue;
                };
                let is_new = route.is_some_and(|route| !ports[at].named_routes.contains_key(route));
                if is_new && !budget.add_route() {
                    let (port, requested) = (number.get(), range.count());
                    let reason = Reason::TooManyRoutes { port, requested, most: MAX_ROUTES };
                    self.report_problem(Some(label), reason);
                    break;
                }
                ports[at].options_for(route).labels[option as usize].get_or_insert(label);
            }
        }
    }

    /// Adds the ports of `glue_http_ports`, `glue_tcp_ports` or `glue_udp_ports`.
    fn add_listed_ports(
        &mut self,
        ports: &mut Vec<PortLabels<'a>>,
        protocol: LabelProtocol,
        label: RawLabel<'a>,
        budget: &mut RangeBudget,
    ) {
        let parse = |text: &str| match protocol {
            LabelProtocol::Http => option_value::parse_port(text).map(PortRange::from),
            LabelProtocol::Tcp | LabelProtocol::Udp => text.parse(),
        };
        for range in self.parse_list(label, parse) {
            let has_room = range.single().is_some() || budget.add_ports(ports, protocol, range);
            if !has_room {
                let (text, most) = (range.to_string(), MAX_RANGE_PORTS);
                self.report_problem(Some(label), Reason::TooManyPorts { text, most });
                continue;
            }
            for number in range.ports() {
                let id = (protocol, number);
                let at = ports.binary_search_by_key(&id, PortLabels::id).unwrap_or_else(|at| {
                    ports.insert(at, PortLabels::new(protocol, number, None));
                    at
                });
                ports[at].ports_label = Some(label);
            }
        }
    }

    fn parse_port(&mut self, port: &PortLabels<'a>) {
        self.report_unexposed(port);
        let base = self.parse_options(port, &port.base_options, &self.default_options(port));
        if port.is_route() {
            self.add_requests(port, None, &port.base_options, port.ports_label, &base);
        }
        for (name, option_set) in &port.named_routes {
            let options = self.parse_options(port, option_set, &base);
            self.add_requests(port, Some(name), option_set, None, &options);
        }
    }

    fn report_unexposed(&mut self, port: &PortLabels<'_>) {
        let has_own_network = !matches!(
            self.container.network_mode,
            NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_)
        );
        // One hint for a range: a container that exposes none of its ports would have hundreds.
        let is_reported = port.range.is_none_or(|range| range.first() == port.number);
        let number = port.number.get();
        let is_exposed = self.container.exposed.of(port.protocol.into()).contains(&number);
        // A manager of a Swarm does not know what images expose.
        let is_known = !super::is_listed_by_manager(self.container);
        if has_own_network && is_reported && is_known && !is_exposed {
            self.report_problem(None, self.unexposed_reason(port.protocol, number));
        }
    }

    /// Returns the options of a port without labels for them.
    fn default_options(&self, port: &PortLabels<'_>) -> RouteOptions {
        RouteOptions {
            values: self.default_values(port.protocol),
            invalid: port.misspelled.iter().copied().collect(),
            ..RouteOptions::default()
        }
    }

    /// Returns the values of options that neither labels nor policies set.
    fn default_values(&self, protocol: LabelProtocol) -> OptionValues {
        match protocol {
            LabelProtocol::Http => OptionValues::default().with(self.limits.tls),
            LabelProtocol::Tcp | LabelProtocol::Udp => OptionValues::default(),
        }
    }

    /// Returns the hint about a port that the container does not expose. It may be the host's port of a published one.
    fn unexposed_reason(&self, protocol: LabelProtocol, port: u16) -> Reason {
        let transport = Transport::from(protocol);
        let mut published = self.container.published.iter();
        match published.find(|published_port| {
            published_port.transport == transport
                && published_port.host_port == port
                && published_port.container_port != port
        }) {
            Some(published) => {
                let container_port = published.container_port;
                Reason::PublishedPort { protocol, port, container_port }
            }
            None => Reason::NotExposed { transport, port },
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
            .map(|label| self.parse_bind(port, label))
            .or_else(|| from.bind.clone());
        let (mut given, mut invalid) = (from.given.clone(), from.invalid.clone());
        let used = match option_set.get(LabelOption::Use) {
            Some(label) => self.parse_policies(label, &mut invalid),
            None => from.used.clone(),
        };
        for spec in &OPTIONS {
            let Some(label) = option_set.get(spec.option) else { continue };
            let value = match spec.option {
                LabelOption::Use => continue,
                option if option.open_name().is_some() => continue,
                LabelOption::TlsBind => {
                    TlsBind::new(self.parse_public_ports(port, label)).map(TypedOption::into_value)
                }
                option => self.parse_value(port.protocol, label, option),
            };
            let value = value.filter(|value| self.admit_header_names(label, value));
            match (value, spec.invalid) {
                (Some(value), _) => {
                    given.push(value);
                    invalid.remove(&spec.option);
                }
                (None, InvalidValue::ExcludesPort | InvalidValue::ClosesRoute) => {
                    invalid.insert(spec.option);
                }
                (None, InvalidValue::Ignored) => {}
            }
        }
        given.extend(self.parse_headers(option_set));
        let mut values = self.default_values(port.protocol);
        let book = &self.limits.policies;
        let policies = used.iter().filter_map(|name| book.policies.get(name)).flatten();
        policies.chain(&given).for_each(|value| policy_book::give(&mut values, value));
        RouteOptions { bind, given, used, values, invalid }
    }

    /// Returns the policies of a `use` label that exist. If one does not, the option is invalid.
    fn parse_policies(
        &mut self,
        label: RawLabel<'_>,
        invalid: &mut BTreeSet<LabelOption>,
    ) -> Vec<PolicyName> {
        let book = Arc::clone(&self.limits.policies);
        let mut names = Vec::new();
        invalid.remove(&LabelOption::Use);
        let text = self.checked_text(label);
        invalid.extend(text.is_none().then_some(LabelOption::Use));
        for name in text.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
            if let Some((name, _)) = book.policies.get_key_value(name) {
                names.push(name.clone());
                continue;
            }
            invalid.insert(LabelOption::Use);
            let nearest = suggest(name, book.policies.keys().map(PolicyName::as_str));
            let (name, nearest) = (name.to_owned(), nearest.map(str::to_owned));
            self.report_problem(Some(label), Reason::UnknownPolicy { name, nearest });
        }
        names
    }

    /// Returns the values of the labels with a header's name in their name.
    fn parse_headers(&mut self, option_set: &OptionSet<'_>) -> GivenValues {
        let mut counts = BTreeMap::new();
        let mut values = Vec::new();
        for (option, name, label) in &option_set.open {
            let count: &mut usize = counts.entry(*option).or_default();
            *count += 1;
            if header::MAX_HEADERS < *count {
                let (option, most) = (*option, header::MAX_HEADERS);
                self.report_problem(Some(*label), Reason::TooManyLabels { option, most });
                continue;
            }
            let Some(text) = self.checked_text(*label) else { continue };
            match option.parse_open_value(name, text) {
                Ok(value) if self.admit_header_names(*label, &value) => values.push(value),
                Ok(_) => {}
                Err(reason) => self.report_problem(Some(*label), reason),
            }
        }
        values
    }

    /// Whether the container may use the names of headers in the value, too. Reports the label if not.
    fn admit_header_names(&mut self, label: RawLabel<'_>, value: &OptionValue) -> bool {
        let names = header::names_of(value);
        let names: Vec<_> = names.into_iter().map(|name| (value.option(), name.clone())).collect();
        let new = names.iter().filter(|name| !self.header_names.contains(*name)).count();
        let fits = new == 0 || self.header_names.len() + new <= MAX_HEADER_NAMES;
        if fits {
            self.header_names.extend(names);
        } else {
            let most = MAX_HEADER_NAMES;
            self.report_problem(Some(label), Reason::TooManyHeaderNames { most });
        }
        fits
    }

    fn parse_bind(&mut self, port: &PortLabels<'_>, label: RawLabel<'_>) -> PublicPorts {
        if port.protocol == LabelProtocol::Http {
            let ports = self.parse_public_ports(port, label);
            return PublicPorts { ports, origin: PortOrigin::Single };
        }
        let members = match label.range {
            Some(range) => self.paired_port(port, label, range),
            None => self.parse_port_ranges(label),
        };
        let is_range = label.range.is_some() || members.iter().any(|range| range.count() != 1);
        let origin = if is_range { PortOrigin::Range } else { PortOrigin::Single };
        let mut ports: Vec<_> = members.into_iter().flat_map(PortRange::ports).collect();
        ports.sort_unstable();
        ports.dedup();
        self.retain_allowed(port, Some(label), &mut ports);
        PublicPorts { ports, origin }
    }

    /// Returns the public port of a port in a range: the first one of the value for the first one of the name.
    fn paired_port(
        &mut self,
        port: &PortLabels<'_>,
        label: RawLabel<'_>,
        range: PortRange,
    ) -> Vec<PortRange> {
        let Ok(text) = check_text(label.value) else {
            self.checked_text(label);
            return Vec::new();
        };
        if let Some(public) = pair_port(range, port.number, text) {
            return vec![public.into()];
        }
        self.report_problem(Some(label), Reason::UnequalRanges { ports: range.count() });
        Vec::new()
    }

    /// Returns the valid members of a list of ports and ranges, up to a limit.
    fn parse_port_ranges(&mut self, label: RawLabel<'_>) -> Vec<PortRange> {
        let mut left = MAX_RANGE_LISTENERS;
        let mut members = self.parse_list(label, PortRange::from_str);
        members.retain(|range| {
            let fits = range.count() <= left;
            if fits {
                left -= range.count();
            } else {
                let (text, most) = (range.to_string(), MAX_RANGE_LISTENERS);
                self.report_problem(Some(label), Reason::TooManyPorts { text, most });
            }
            fits
        });
        members
    }

    /// Removes the public ports that containers may not use.
    fn retain_allowed(
        &mut self,
        port: &PortLabels<'_>,
        label: Option<RawLabel<'_>>,
        ports: &mut Vec<NonZeroU16>,
    ) {
        let limits = self.limits;
        ports.retain(|public| {
            let is_allowed = limits.is_port_allowed(port.protocol, *public);
            if !is_allowed {
                self.report_problem(label, Reason::PortNotAllowed(public.get()));
            }
            is_allowed
        });
        if ports.is_empty() && label.is_some_and(|label| label.range.is_none()) {
            self.report_problem(label, Reason::NoValidValues { port: port.number.get() });
        }
    }

    fn parse_public_ports(
        &mut self,
        port: &PortLabels<'_>,
        label: RawLabel<'_>,
    ) -> Vec<NonZeroU16> {
        let limits = self.limits;
        self.parse_required_list(port, label, |text| match option_value::parse_port(text)? {
            public if limits.is_port_allowed(port.protocol, public) => Ok(public),
            public => Err(Reason::PortNotAllowed(public.get())),
        })
    }

    /// Adds a request for each combination of public port, host and path. Without a host label the host is any, if
    /// there is a prefix label, a path label or `ports_label`; else this is reported. `name` is that of a
    /// named route.
    fn add_requests(
        &mut self,
        port: &PortLabels<'_>,
        name: Option<&str>,
        option_set: &OptionSet<'_>,
        ports_label: Option<RawLabel<'_>>,
        options: &RouteOptions,
    ) {
        if port.protocol != LabelProtocol::Http {
            return self.add_stream_requests(port, option_set, options);
        }
        let paths = self.parse_paths(port, option_set);
        let Some(hosts) = (match option_set.get(LabelOption::Host) {
            Some(label) => Some(self.parse_hosts(port, label)),
            None => option_set
                .path_label()
                .or(ports_label)
                .map(|label| self.check_any_host(port, label)),
        }) else {
            let (port, route) = (port.number.get(), name.map(str::to_owned));
            let reason = match route {
                Some(route) => Reason::RouteWithoutMatch { port, route },
                None => Reason::PortWithoutMatch { port },
            };
            return self.report_problem(None, reason);
        };
        let Some(paths) = paths.filter(|_| !hosts.is_empty()) else { return };
        if let Some(reason) = exclusion_reason(port, option_set, options) {
            return self.report_problem(None, reason);
        }
        let is_passed = options.values.get::<TlsMode>() == TlsMode::Pass;
        if is_passed && let Some(reason) = unused_with_pass(port, options) {
            self.report_problem(None, reason);
        }
        let options = &self.close_invalid(port, name, options);
        let listeners = self.requested_listeners(port, options);
        if let Some(label) = option_set.get(LabelOption::RedirectFrom).filter(|_| !is_passed) {
            self.add_redirects(port, option_set, label, &listeners, options);
        }
        let rules = hosts.iter().flat_map(|host| {
            paths.iter().map(move |path| {
                if is_passed {
                    Match::Tcp { server_name: host.clone() }
                } else {
                    Match::Http { host: host.clone(), path: path.clone() }
                }
            })
        });
        let rules: Vec<_> = rules.collect();
        self.request_routes(port, &listeners, PortOrigin::Single, &rules, options);
    }

    /// Adds a request for each public port and server name. Without a host label the server name is any.
    fn add_stream_requests(
        &mut self,
        port: &PortLabels<'_>,
        option_set: &OptionSet<'_>,
        options: &RouteOptions,
    ) {
        let hosts = option_set.get(LabelOption::Host).map(|label| self.parse_hosts(port, label));
        let hosts = hosts.unwrap_or_else(|| vec![HostMatch::Any]);
        let PublicPorts { mut ports, origin } = if let Some(bind) = &options.bind {
            bind.clone()
        } else {
            let mut ports = vec![port.number];
            self.retain_allowed(port, None, &mut ports);
            let range = port.range.map(|_| PortOrigin::Range);
            PublicPorts { ports, origin: range.unwrap_or(PortOrigin::Single) }
        };
        if hosts.contains(&HostMatch::Any) {
            self.retain_named(port, &mut ports);
        }
        let protocol = match port.protocol {
            LabelProtocol::Udp => Protocol::Udp,
            LabelProtocol::Http | LabelProtocol::Tcp => Protocol::Tcp,
        };
        let rules = hosts.into_iter().map(|server_name| match protocol {
            Protocol::Udp => Match::Udp,
            _ => Match::Tcp { server_name },
        });
        let rules: Vec<_> = rules.collect();
        let listeners: Vec<_> = ports.into_iter().map(|port| Listener { protocol, port }).collect();
        self.request_routes(port, &listeners, origin, &rules, options);
    }

    /// Removes the public ports that a route for all clients must not have: with `--allow-hosts`, those that the
    /// administrator did not name with the protocol. Else a container could avoid the limit of the hosts.
    fn retain_named(&mut self, port: &PortLabels<'_>, ports: &mut Vec<NonZeroU16>) {
        let limits = self.limits;
        if limits.check_host(&HostMatch::Any, self.container).is_ok() {
            return;
        }
        ports.retain(|public| {
            let is_named = limits.is_port_named(port.protocol, *public);
            if !is_named {
                let (protocol, port) = (port.protocol, public.get());
                self.report_problem(None, Reason::PortNotNamed { protocol, port });
            }
            is_named
        });
    }

    /// Adds a request for each listener and rule.
    fn request_routes(
        &mut self,
        port: &PortLabels<'_>,
        listeners: &[Listener],
        origin: PortOrigin,
        rules: &[Match],
        options: &RouteOptions,
    ) {
        let requested = rules.len() * listeners.len();
        if MAX_ROUTES - self.requests.len() < requested {
            let port = port.number.get();
            return self
                .report_problem(None, Reason::TooManyRoutes { port, requested, most: MAX_ROUTES });
        }
        let listeners = self.add_listeners(port, listeners, origin);
        self.requests.reserve(requested);
        for rule in rules {
            let Some(values) = self.required_values(rule, &options.values) else { continue };
            let [policy, terms, server_options] =
                [OptionPlace::Policy, OptionPlace::Terms, OptionPlace::Server]
                    .map(|place| values.select(place));
            self.requests.extend(listeners.iter().map(|listener| RouteRequest {
                key: RouteKey { listener: *listener, rule: rule.clone() },
                policy: policy_on(*listener, &policy),
                terms: terms.clone(),
                port: port.number.get(),
                options: server_options.clone(),
                health_policy: values.get(),
            }));
        }
    }

    /// Returns the values with those that the settings require for the host. `None` if the route cannot have them.
    fn required_values(&mut self, rule: &Match, values: &OptionValues) -> Option<OptionValues> {
        let book = &self.limits.policies;
        if book.requirements.is_empty() && self.limits.no_user_check.is_none() {
            return Some(values.clone());
        }
        match rule {
            Match::Http { host, .. } => {
                let mut values = values.clone();
                book.require(host, &mut values);
                self.close_unverified(&mut values);
                Some(values)
            }
            Match::Tcp { server_name }
                if *server_name != HostMatch::Any && book.requires(server_name) =>
            {
                let host = server_name.to_string();
                self.report_problem(None, Reason::PolicyNeedsRequests { host });
                None
            }
            Match::Tcp { .. } | Match::Udp => Some(values.clone()),
        }
    }

    /// Closes a route with users, or with an authentication server, if HAProxy cannot ask about them.
    fn close_unverified(&mut self, values: &mut OptionValues) {
        let Some(why) = self.limits.no_user_check else { return };
        for option in [LabelOption::Users, LabelOption::ForwardAuth] {
            if values.find(option).is_some() && why.applies_to(option) {
                self.report_problem(None, Reason::UsersNotVerified { option, why });
                values.set(Closed(Some(option)).into_value());
            }
        }
    }

    /// Returns the options of a route that answers 503 if a protection is invalid.
    fn close_invalid(
        &mut self,
        port: &PortLabels<'_>,
        name: Option<&str>,
        options: &RouteOptions,
    ) -> RouteOptions {
        let mut options = options.clone();
        if let Some(option) = options.invalid.iter().copied().find(|option| closes_route(*option)) {
            let (port, route) = (port.number.get(), name.map(str::to_owned));
            self.report_problem(None, Reason::RouteClosed { port, route, option });
            options.values.set(Closed(Some(option)).into_value());
        }
        options
    }

    /// Requests routes that redirect the hosts of the label to the first host.
    fn add_redirects(
        &mut self,
        port: &PortLabels<'_>,
        option_set: &OptionSet<'_>,
        label: RawLabel<'_>,
        listeners: &[Listener],
        options: &RouteOptions,
    ) {
        let first =
            option_set.get(LabelOption::Host).and_then(|label| label.value.split(',').next());
        let Some(Ok(HostMatch::Exact(to))) = first.map(str::parse) else {
            return self.report_problem(Some(label), Reason::RedirectWithoutHost);
        };
        let hosts = self.parse_hosts(port, label);
        let rules = hosts.into_iter().filter(|host| *host != HostMatch::Exact(to.clone()));
        let rules = rules.map(|host| Match::Http { host, path: PathRule::default() });
        let rules: Vec<_> = rules.collect();
        let (mode, tls_bind): (TlsMode, TlsBind) = (options.values.get(), options.values.get());
        for listener in listeners {
            let redirect = if listener.is_https() {
                let public = Some(listener.port).filter(|port| *port != tls::HTTPS_PORT);
                Redirect::to_host("https", &to, public)
            } else if mode == TlsMode::On {
                let public = Some(tls_bind.redirect_port()).filter(|port| *port != tls::HTTPS_PORT);
                Redirect::to_host("https", &to, public)
            } else {
                let public = Some(listener.port).filter(|port| *port != tls::HTTP_PORT);
                Redirect::to_host("http", &to, public)
            };
            let values = OptionValues::default()
                .with(mode)
                .with(tls_bind.clone())
                .with(redirect)
                .with(options.values.get::<RedirectStatus>())
                .with(options.values.get::<Closed>());
            let options = RouteOptions { values, ..RouteOptions::default() };
            self.request_routes(port, &[*listener], PortOrigin::Single, &rules, &options);
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
            let bind = options.bind.as_ref().map(|bind| bind.ports.clone());
            let ports = bind.unwrap_or_else(|| self.allowed_port(default));
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
        listeners: &[Listener],
        origin: PortOrigin,
    ) -> Vec<Listener> {
        let most = match origin {
            PortOrigin::Single => MAX_LISTENERS,
            PortOrigin::Range => MAX_RANGE_LISTENERS,
        };
        let mut count = self.listeners.values().filter(|other| **other == origin).count();
        let mut kept = listeners.to_vec();
        kept.retain(|listener| {
            let public = (listener.is_udp(), listener.port);
            let is_new = !self.listeners.contains_key(&public);
            if is_new && count < most {
                self.listeners.insert(public, origin);
                count += 1;
                return true;
            }
            !is_new
        });
        if kept.len() < listeners.len() {
            let (port, requested) = (port.number.get(), listeners.len());
            let left = requested - kept.len();
            self.report_problem(None, Reason::TooManyListeners { port, requested, left, most });
        }
        kept
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

    /// Returns the paths of a route: those of its labels, else the whole host. `None` if one of the labels has no valid
    /// value: without it the route would have other requests than its author meant.
    fn parse_paths(
        &mut self,
        port: &PortLabels<'_>,
        option_set: &OptionSet<'_>,
    ) -> Option<Vec<PathRule>> {
        let prefixes =
            option_set.get(LabelOption::Prefix).map(|label| self.parse_prefixes(port, label));
        let exact =
            option_set.get(LabelOption::Path).map(|label| self.parse_exact_paths(port, label));
        if prefixes.is_none() && exact.is_none() {
            return Some(vec![PathRule::default()]);
        }
        if prefixes.as_ref().is_some_and(Vec::is_empty) || exact.as_ref().is_some_and(Vec::is_empty)
        {
            return None;
        }
        let prefixes = prefixes.into_iter().flatten().map(PathRule::Prefix);
        Some(prefixes.chain(exact.into_iter().flatten().map(PathRule::Exact)).collect())
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

    fn parse_exact_paths(&mut self, port: &PortLabels<'_>, label: RawLabel<'_>) -> Vec<ExactPath> {
        let paths = self.parse_required_list(port, label, ExactPath::from_str);
        self.report_suspicious(label, |text| {
            ExactPath::from_str(text).ok()?;
            let instead = crate::model::prefix::literal_prefix(text)?;
            Some(Reason::PathLikePattern { text: text.to_owned(), instead })
        });
        paths
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
        if self.limits.is_port_allowed(LabelProtocol::Http, port) {
            return vec![port];
        }
        self.report_problem(None, Reason::PortNotAllowed(port.get()));
        Vec::new()
    }

    /// Returns `None` if the value is invalid, or if the option has no value type.
    fn parse_value(
        &mut self,
        protocol: LabelProtocol,
        label: RawLabel<'_>,
        option: LabelOption,
    ) -> Option<OptionValue> {
        option.default_value()?;
        match parse_option(protocol, option, self.checked_text(label)?)? {
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
            label: label.map(|label| LabelText::of_problem(label.key, label.value, &reason)),
            reason: reason.truncate_texts(label.map(|label| label.key)),
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
    let invalid = options.invalid.iter().find(|option| !closes_route(**option));
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

/// Returns the policy of a route on the listener: over HTTPS, `redirect=https` would lead to the same URL again.
fn policy_on(listener: Listener, policy: &Policy) -> Policy {
    if listener.is_https() && policy.get::<Redirect>() == Redirect::Https {
        return policy.clone().with(Redirect::Off);
    }
    policy.clone()
}

/// Whether a route with an invalid value of the option answers 503.
fn closes_route(option: LabelOption) -> bool {
    option.spec().invalid == InvalidValue::ClosesRoute
}

/// Returns an option because of which TLS cannot be passed through, although it should be.
fn option_against_pass(option_set: &OptionSet<'_>, values: &OptionValues) -> Option<LabelOption> {
    let verifies_clients = values.get::<ClientCertificate>() != ClientCertificate::Off;
    match values.get::<TlsMode>() {
        TlsMode::Pass if option_set.get(LabelOption::Host).is_none() => Some(LabelOption::Host),
        TlsMode::Pass if option_set.get(LabelOption::Prefix).is_some() => Some(LabelOption::Prefix),
        TlsMode::Pass if option_set.get(LabelOption::Path).is_some() => Some(LabelOption::Path),
        TlsMode::Pass if verifies_clients => Some(LabelOption::ClientCert),
        TlsMode::Pass => OPTIONS.iter().map(|spec| spec.option).find(|option| {
            closes_route(*option)
                && (option_set.get(*option).is_some() || values.find(*option).is_some())
        }),
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
    let Reason::UnknownLabel { .. } = reason else { return None };
    match key::parse_key(reason.suggested_label()?)? {
        Ok(LabelKey::Port { ports, option, .. })
            if option.spec().invalid != InvalidValue::Ignored =>
        {
            Some((ports.single()?, option))
        }
        _ => None,
    }
}

/// Returns the public port of a port in a range of the same length as the value. `None` if the value is no such range.
pub(super) fn pair_port(range: PortRange, port: NonZeroU16, value: &str) -> Option<NonZeroU16> {
    let public = PortRange::from_str(value).ok()?;
    let offset = port.get().checked_sub(range.first().get())?;
    (public.count() == range.count()).then_some(())?;
    public.first().checked_add(offset)
}

/// Parses the value of an option for a port of the protocol. `None` for options without a value type.
pub(super) fn parse_option(
    protocol: LabelProtocol,
    option: LabelOption,
    text: &str,
) -> Option<ParsedValue> {
    let parsed = option.parse_value(text)?;
    Some(parsed.and_then(|(value, reported)| match (protocol, &value) {
        (LabelProtocol::Udp, OptionValue::Proxy(ProxyHeader::V1)) => Err(Reason::ProxyHeaderOfText),
        (_, OptionValue::ForwardAuth(ForwardAuth(Some(url)))) if url.has_address() => {
            Err(Reason::InvalidValue {
                option,
                text: text.to_owned(),
                expected: "a URL with the name of a container; only a policy of the settings file may have an address",
            })
        }
        _ => Ok((value, reported)),
    }))
}

/// Number of ports and named routes that ranges have added. A label with a range is copied to each port, so ranges are
/// limited more than the labels themselves.
#[derive(Debug, Default)]
struct RangeBudget {
    ports: usize,
    routes: usize,
}

impl RangeBudget {
    /// Adds the ports of the range that do not exist. Returns false if there are too many.
    fn add_ports(
        &mut self,
        ports: &mut Vec<PortLabels<'_>>,
        protocol: LabelProtocol,
        range: PortRange,
    ) -> bool {
        if MAX_RANGE_PORTS < range.count() {
            return false;
        }
        let has_port = |number: &NonZeroU16| {
            ports.binary_search_by_key(&(protocol, *number), PortLabels::id).is_ok()
        };
        let new: Vec<_> = range.ports().filter(|number| !has_port(number)).collect();
        if MAX_RANGE_PORTS < self.ports + new.len() {
            return false;
        }
        if !new.is_empty() {
            self.ports += new.len();
            ports.extend(
                new.into_iter().map(|number| PortLabels::new(protocol, number, Some(range))),
            );
            ports.sort_by_key(PortLabels::id);
        }
        true
    }

    fn add_route(&mut self) -> bool {
        self.routes += 1;
        self.routes <= MAX_RANGE_ROUTES
    }
}

impl<'a> PortLabels<'a> {
    fn new(protocol: LabelProtocol, number: NonZeroU16, range: Option<PortRange>) -> Self {
        Self {
            protocol,
            number,
            range,
            base_options: OptionSet::default(),
            named_routes: BTreeMap::new(),
            ports_label: None,
            misspelled: None,
        }
    }

    pub(super) fn id(&self) -> (LabelProtocol, NonZeroU16) {
        (self.protocol, self.number)
    }

    fn options_for(&mut self, route: Option<&'a str>) -> &mut OptionSet<'a> {
        match route {
            None => &mut self.base_options,
            Some(route) => self.named_routes.entry(route).or_default(),
        }
    }

    /// Whether the port has an unnamed route. A port without hosts and paths of its own may have only named routes.
    pub(super) fn is_route(&self) -> bool {
        self.base_options.has_match_label()
            || self.ports_label.is_some()
            || self.named_routes.is_empty()
    }
}

impl Default for OptionSet<'_> {
    fn default() -> Self {
        Self { labels: [None; OPTIONS.len()], open: Vec::new() }
    }
}

impl<'a> OptionSet<'a> {
    pub(super) fn get(&self, option: LabelOption) -> Option<RawLabel<'a>> {
        self.labels[option as usize]
    }

    fn add(&mut self, option: LabelOption, tail: Option<&'a str>, label: RawLabel<'a>) {
        self.labels[option as usize] = Some(label);
        self.open.extend(tail.map(|tail| (option, tail, label)));
    }

    pub(super) fn first(&self) -> Option<RawLabel<'a>> {
        self.labels.iter().flatten().next().copied()
    }

    /// Returns the label that sets prefixes, else the one that sets exact paths.
    pub(super) fn path_label(&self) -> Option<RawLabel<'a>> {
        self.get(LabelOption::Prefix).or(self.get(LabelOption::Path))
    }

    fn has_match_label(&self) -> bool {
        self.get(LabelOption::Host).or(self.path_label()).is_some()
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
        .map(|(key, value)| RawLabel { key, value, range: None })
        .take_while(|label| label.key.starts_with("glue_"))
}
