//! Back from a route to the labels that ask for it.
//!
//! Pure. Nobody keeps this: the container is read anew when somebody wants to know.

use super::{
    LabelLimits,
    parse::{LabelParser, OptionSet, PortLabels, RawLabel, check_text},
};
use crate::model::{
    container::Container,
    label_option::{LabelOption, OPTIONS, OptionScope},
    option_value::{self, HostMatch, PathPrefix},
    problem::Reason,
    route::{Match, RouteKey},
};
use std::str::FromStr;

/// Where a container says what one of its ports asks for. What it does not say is a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelTrace {
    options: [Option<OptionSource>; OPTIONS.len()],
    /// `glue_http_ports`, where it names the port.
    pub ports: Option<OptionSource>,
}

/// A label, or the variable that stands for one, as it was written.
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

/// `None` where this port of the container asks for no such route.
pub fn trace_labels(
    container: &Container,
    limits: &LabelLimits,
    key: &RouteKey,
    port: u16,
) -> Option<LabelTrace> {
    let (ports, _) = LabelParser::new(container, limits).group_by_port();
    let port = ports.iter().find(|labels| labels.number.get() == port)?;
    let base_scope = port.is_route().then_some(RouteScope {
        port,
        options: &port.base_options,
        ports_label: port.ports_label,
    });
    let named_scopes =
        port.named_routes.values().map(|options| RouteScope { port, options, ports_label: None });
    // What came first counts where it asks twice.
    base_scope
        .into_iter()
        .chain(named_scopes)
        .find(|scope| scope.requests_route(key))
        .map(|scope| scope.build_trace(container))
}

impl LabelTrace {
    pub fn get(&self, option: LabelOption) -> Option<&OptionSource> {
        self.options[option as usize].as_ref()
    }

    /// What names the public port: the bind label, else the port in the name of another.
    pub fn listener_source(&self) -> Option<&OptionSource> {
        self.get(LabelOption::Bind).or(self.ports.as_ref()).or_else(|| self.host_source())
    }

    /// What names the host; for any host what is there instead.
    pub fn host_source(&self) -> Option<&OptionSource> {
        self.get(LabelOption::Host).or(self.get(LabelOption::Prefix)).or(self.ports.as_ref())
    }
}

/// Where a port asks for routes: in its own labels, or in those of one name.
struct RouteScope<'a> {
    port: &'a PortLabels<'a>,
    options: &'a OptionSet<'a>,
    ports_label: Option<RawLabel<'a>>,
}

impl<'a> RouteScope<'a> {
    fn requests_route(&self, key: &RouteKey) -> bool {
        let Match::Http { host, prefix } = &key.rule;
        let own = |option| self.options.get(option);
        let has_place = own(LabelOption::Prefix).or(self.ports_label).is_some();
        let host = match own(LabelOption::Host) {
            Some(label) => contains_member(label, HostMatch::from_str, host),
            None => has_place && *host == HostMatch::Any,
        };
        let prefix = match own(LabelOption::Prefix) {
            Some(label) => contains_member(label, PathPrefix::from_str, prefix),
            None => *prefix == PathPrefix::default(),
        };
        let port = match own(LabelOption::Bind).or(self.port.base_options.get(LabelOption::Bind)) {
            Some(label) => contains_member(label, option_value::parse_port, &key.listener.port),
            None => key.listener.port == self.port.number,
        };
        host && prefix && port
    }

    fn build_trace(&self, container: &Container) -> LabelTrace {
        let to_source = |RawLabel { key, value }: RawLabel<'_>| {
            let is_label = container.labels.contains_key(key);
            let origin = if is_label { LabelOrigin::Label } else { LabelOrigin::Environment };
            OptionSource { key: key.to_owned(), value: value.to_owned(), origin }
        };
        let mut trace =
            LabelTrace { ports: self.ports_label.map(to_source), ..LabelTrace::default() };
        for option in LabelOption::of_ports() {
            trace.options[option as usize] = self.effective_label(option).map(to_source);
        }
        trace
    }

    /// What counts: a named route takes from its port what it does not say itself, host and prefix aside.
    fn effective_label(&self, option: LabelOption) -> Option<RawLabel<'a>> {
        let own = self.options.get(option);
        let inherited = match option.spec().scope {
            OptionScope::Port => self.port.base_options.get(option),
            OptionScope::Container | OptionScope::Route => None,
        };
        own.into_iter().chain(inherited).find(|label| is_valid(option, label.value))
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

/// Of what a route cannot do without, whatever of it is understood counts.
fn is_valid(option: LabelOption, value: &str) -> bool {
    let is_value = |text| option.parse_value(text).is_none_or(|parsed| parsed.is_ok());
    option.default_value().is_none() || check_text(value).is_ok_and(is_value)
}
