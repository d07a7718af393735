//! Finds the labels that request a route.
//!
//! Pure. Traces are not stored; the container's labels are parsed again when one is needed.

use super::{
    LabelLimits,
    parse::{LabelParser, OptionSet, PortLabels, RawLabel, check_text, pair_port, parse_option},
};
use crate::model::{
    container::Container,
    label_option::{InvalidValue, LabelOption, LabelProtocol, OPTIONS, OptionScope},
    option_value::{self, ExactPath, HostMatch, PathPrefix, PathRule, PortRange},
    problem::Reason,
    route::{Protocol, RouteKey},
    tls::{self, TlsMode},
};
use std::str::FromStr;

/// The labels behind one port's request for a route. An option without a label has its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelTrace {
    options: [Option<OptionSource>; OPTIONS.len()],
    /// `glue_http_ports` or that of another protocol, if it contains the port.
    pub ports: Option<OptionSource>,
    /// Whether the route is on an HTTPS listener.
    is_https: bool,
    /// Whether the route redirects a host of `redirect_from`.
    is_redirect: bool,
    /// Whether the route has an exact path.
    is_exact: bool,
}

/// A label, or an environment variable that is read like one, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionSource {
    pub key: String,
    pub value: String,
    pub origin: LabelOrigin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOrigin {
    Label,
    Environment,
}

/// Returns `None` if this port of the container does not request the route.
pub fn trace_labels(
    container: &Container,
    limits: &LabelLimits,
    key: &RouteKey,
    port: u16,
) -> Option<LabelTrace> {
    let (ports, _) = LabelParser::new(container, limits).group_by_port();
    let protocol = key.listener.protocol.label_protocol();
    let is_port =
        |labels: &&PortLabels<'_>| labels.protocol == protocol && labels.number.get() == port;
    let port = ports.iter().find(is_port)?;
    let base_scope = port.is_route().then_some(RouteScope {
        port,
        options: &port.base_options,
        ports_label: port.ports_label,
        default_tls: limits.tls,
    });
    let named_scopes = port.named_routes.values().map(|options| RouteScope {
        port,
        options,
        ports_label: None,
        default_tls: limits.tls,
    });
    // If the port requests the route twice, the first request applies.
    base_scope
        .into_iter()
        .chain(named_scopes)
        .find(|scope| scope.requests_route(key))
        .map(|scope| scope.build_trace(container, key))
}

impl Default for LabelTrace {
    fn default() -> Self {
        Self {
            options: [const { None }; OPTIONS.len()],
            ports: None,
            is_https: false,
            is_redirect: false,
            is_exact: false,
        }
    }
}

impl LabelTrace {
    pub fn get(&self, option: LabelOption) -> Option<&OptionSource> {
        self.options[option as usize].as_ref()
    }

    /// Returns the label that sets the public port: the bind label, else another one that contains the port. For HTTPS
    /// the label of its ports, else the one that switches it on.
    pub fn listener_source(&self) -> Option<&OptionSource> {
        let bind = if self.is_https {
            self.get(LabelOption::TlsBind).or(self.get(LabelOption::Tls))
        } else {
            self.get(LabelOption::Bind)
        };
        bind.or(self.ports.as_ref()).or_else(|| self.host_source()).or_else(|| self.first_source())
    }

    /// Returns any label of the port. Each makes a port of TCP or UDP take part.
    fn first_source(&self) -> Option<&OptionSource> {
        self.options.iter().flatten().next()
    }

    /// Returns the label that sets the host. For any host, returns the label of the path or `glue_http_ports`.
    pub fn host_source(&self) -> Option<&OptionSource> {
        if self.is_redirect {
            return self.get(LabelOption::RedirectFrom);
        }
        self.get(LabelOption::Host).or_else(|| self.path_source()).or(self.ports.as_ref())
    }

    /// Returns the label that sets the path. `None` if the route is that of the whole host.
    pub fn path_source(&self) -> Option<&OptionSource> {
        let (prefix, path) = (self.get(LabelOption::Prefix), self.get(LabelOption::Path));
        if self.is_exact { path } else { prefix }
    }
}

/// The labels of a port's unnamed route, or of one of its named routes.
struct RouteScope<'a> {
    port: &'a PortLabels<'a>,
    options: &'a OptionSet<'a>,
    ports_label: Option<RawLabel<'a>>,
    /// The mode of routes without a label for it.
    default_tls: TlsMode,
}

impl<'a> RouteScope<'a> {
    fn requests_route(&self, key: &RouteKey) -> bool {
        if self.port.protocol != LabelProtocol::Http {
            return self.requests_name(key.host()) && self.requests_public_port(key);
        }
        let host = key.host();
        let own = |option| self.options.get(option);
        let has_place = self.options.path_label().or(self.ports_label).is_some();
        if self.redirects_host(host) {
            return key.path().is_some_and(PathRule::is_whole_host) && self.requests_listener(key);
        }
        let host = match own(LabelOption::Host) {
            Some(label) => contains_member(label, HostMatch::from_str, host),
            None => has_place && *host == HostMatch::Any,
        };
        let (prefixes, paths) = (own(LabelOption::Prefix), own(LabelOption::Path));
        let path = match key.path() {
            Some(rule) if rule.is_whole_host() && self.options.path_label().is_none() => true,
            Some(PathRule::Prefix(prefix)) => {
                prefixes.is_some_and(|label| contains_member(label, PathPrefix::from_str, prefix))
            }
            Some(PathRule::Exact(path)) => {
                paths.is_some_and(|label| contains_member(label, ExactPath::from_str, path))
            }
            None => self.options.path_label().is_none(),
        };
        host && path && self.requests_listener(key)
    }

    /// Whether the host is one of `redirect_from`.
    fn redirects_host(&self, host: &HostMatch) -> bool {
        let from = self.options.get(LabelOption::RedirectFrom);
        from.is_some_and(|label| contains_member(label, HostMatch::from_str, host))
    }

    /// Whether connections for the name are requested. Without a host label these are all connections.
    fn requests_name(&self, name: &HostMatch) -> bool {
        match self.options.get(LabelOption::Host) {
            Some(label) => contains_member(label, HostMatch::from_str, name),
            None => *name == HostMatch::Any,
        }
    }

    /// Whether the public port of a TCP or UDP listener is requested.
    fn requests_public_port(&self, key: &RouteKey) -> bool {
        let (public, own) = (key.listener.port, self.port.number);
        let base = self.port.base_options.get(LabelOption::Bind);
        let Some(label) = self.options.get(LabelOption::Bind).or(base) else {
            return public == own;
        };
        let text = check_text(label.value).unwrap_or_default();
        if let Some(range) = label.range {
            return pair_port(range, own, text) == Some(public);
        }
        let ranges = text.split(',').filter_map(|text| PortRange::from_str(text.trim()).ok());
        ranges.flat_map(PortRange::ports).any(|port| port == public)
    }

    fn requests_listener(&self, key: &RouteKey) -> bool {
        let listener = key.listener;
        let mode = self.effective_label(LabelOption::Tls);
        let mode =
            mode.and_then(|label| label.value.trim().parse().ok()).unwrap_or(self.default_tls);
        let (option, default, has_listener) = match listener.protocol {
            Protocol::Https => (LabelOption::TlsBind, tls::HTTPS_PORT, mode.has_https()),
            Protocol::Http if mode.has_https() => {
                (LabelOption::Bind, tls::HTTP_PORT, mode.has_plain())
            }
            Protocol::Http => (LabelOption::Bind, self.port.number, true),
            Protocol::Tcp | Protocol::Udp => return false,
        };
        let label = self.options.get(option).or(self.port.base_options.get(option));
        has_listener
            && key.is_tcp() == (mode == TlsMode::Pass)
            && match label {
                Some(label) => contains_member(label, option_value::parse_port, &listener.port),
                None => listener.port == default,
            }
    }

    fn build_trace(&self, container: &Container, key: &RouteKey) -> LabelTrace {
        let to_source = |RawLabel { key, value, .. }: RawLabel<'_>| {
            let is_label = container.labels.contains_key(key);
            let origin = if is_label { LabelOrigin::Label } else { LabelOrigin::Environment };
            OptionSource { key: key.to_owned(), value: value.to_owned(), origin }
        };
        let mut trace = LabelTrace {
            ports: self.ports_label.map(to_source),
            is_https: key.listener.is_https(),
            is_redirect: self.redirects_host(key.host()),
            is_exact: key.path().is_some_and(PathRule::is_exact),
            ..LabelTrace::default()
        };
        for option in LabelOption::of_ports() {
            trace.options[option as usize] = self.effective_label(option).map(to_source);
        }
        // A port of TCP or UDP takes part by any of its labels, also by one whose value is not used.
        let is_unexplained = trace.ports.is_none() && trace.options.iter().all(Option::is_none);
        if is_unexplained && self.port.protocol != LabelProtocol::Http {
            trace.ports = self.options.first().map(to_source);
        }
        trace
    }

    /// Returns the label that sets the option. A named route inherits from its port the options that it does not set,
    /// except host, prefix and path.
    fn effective_label(&self, option: LabelOption) -> Option<RawLabel<'a>> {
        let own = self.options.get(option);
        let inherited = match option.spec().scope {
            OptionScope::Port => self.port.base_options.get(option),
            OptionScope::Container | OptionScope::Route | OptionScope::Derived => None,
        };
        let protocol = self.port.protocol;
        own.into_iter().chain(inherited).find(|label| is_valid(protocol, option, label.value))
    }
}

fn contains_member<T: PartialEq>(
    label: RawLabel<'_>,
    parse: impl Fn(&str) -> Result<T, Reason>,
    value: &T,
) -> bool {
    let members = check_text(label.value).unwrap_or_default().split(',');
    members.map(str::trim).any(|text| !text.is_empty() && parse(text).as_ref() == Ok(value))
}

/// Whether the value is used. Options without a value type always are: the valid members of their lists apply.
fn is_valid(protocol: LabelProtocol, option: LabelOption, value: &str) -> bool {
    let is_value = |text| parse_option(protocol, option, text).is_none_or(|parsed| parsed.is_ok());
    // What is valid depends on the header in the name.
    let has_open_name = option.open_name().is_some();
    // An invalid value of these closes the route.
    let closes = option.spec().invalid == InvalidValue::ClosesRoute;
    closes
        || has_open_name
        || option.default_value().is_none()
        || check_text(value).is_ok_and(is_value)
}
