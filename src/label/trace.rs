//! Back from a route to the labels that ask for it.
//!
//! Pure. Nobody keeps this: the container is read anew when somebody wants to know.

use super::{
    Fences,
    key::Choice,
    read::{Choices, Port, Reader, Written, fit},
    value::{self, Check, HostMatch, Obedience, PathPrefix, Retry, Timeout, Weight},
};
use crate::{
    container::Container,
    problem::Reason,
    route::{Match, RouteKey, Strip},
};
use std::str::FromStr;

/// Where a container says what one of its ports asks for. What it does not say is a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    choices: [Option<Place>; Choice::ALL.len()],
    /// `glue_http_ports`, where it names the port.
    pub ports: Option<Place>,
}

/// A label, or the variable that stands for one, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub key: String,
    pub value: String,
    pub written_in: WrittenIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenIn {
    Label,
    Environment,
}

/// `None` where this port of the container asks for no such route.
pub fn trace(container: &Container, fences: &Fences, key: &RouteKey, port: u16) -> Option<Trace> {
    let (ports, _) = Reader::new(container, fences).sort();
    let port = ports.iter().find(|it| it.number.get() == port)?;
    let unnamed =
        port.is_route().then_some(Spot { port, choices: &port.base, listed: port.listed });
    let named = port.named.values().map(|choices| Spot { port, choices, listed: None });
    // What came first counts where it asks twice.
    unnamed.into_iter().chain(named).find(|spot| spot.asks(key)).map(|spot| spot.trace(container))
}

impl Trace {
    pub fn get(&self, choice: Choice) -> Option<&Place> {
        self.choices[choice as usize].as_ref()
    }

    /// What names the public port: the bind label, else the port in the name of another.
    pub fn listener(&self) -> Option<&Place> {
        self.get(Choice::Bind).or(self.ports.as_ref()).or_else(|| self.host())
    }

    /// What names the host; for any host what is there instead.
    pub fn host(&self) -> Option<&Place> {
        self.get(Choice::Host).or(self.get(Choice::Prefix)).or(self.ports.as_ref())
    }
}

/// Where a port asks for routes: in its own labels, or in those of one name.
struct Spot<'a> {
    port: &'a Port<'a>,
    choices: &'a Choices<'a>,
    listed: Option<Written<'a>>,
}

impl<'a> Spot<'a> {
    fn asks(&self, key: &RouteKey) -> bool {
        let Match::Http { host, prefix } = &key.rule;
        let own = |choice| self.choices.get(choice);
        let has_place = own(Choice::Prefix).or(self.listed).is_some();
        let host = match own(Choice::Host) {
            Some(written) => has(written, HostMatch::from_str, host),
            None => has_place && *host == HostMatch::Any,
        };
        let prefix = match own(Choice::Prefix) {
            Some(written) => has(written, PathPrefix::from_str, prefix),
            None => *prefix == PathPrefix::default(),
        };
        let port = match own(Choice::Bind).or(self.port.base.get(Choice::Bind)) {
            Some(written) => has(written, value::port, &key.listener.port),
            None => key.listener.port == self.port.number,
        };
        host && prefix && port
    }

    fn trace(&self, container: &Container) -> Trace {
        let place = |Written { key, value }: Written<'_>| {
            let labelled = container.labels.contains_key(key);
            let written_in = if labelled { WrittenIn::Label } else { WrittenIn::Environment };
            Place { key: key.to_owned(), value: value.to_owned(), written_in }
        };
        let mut trace = Trace { ports: self.listed.map(place), ..Trace::default() };
        for (_, choice) in Choice::ALL {
            trace.choices[choice as usize] = self.written(choice).map(place);
        }
        trace
    }

    /// What counts: a named route takes from its port what it does not say itself, host and prefix aside.
    fn written(&self, choice: Choice) -> Option<Written<'a>> {
        let own = self.choices.get(choice);
        match choice {
            Choice::Host | Choice::Prefix => own,
            Choice::Bind => own.or(self.port.base.get(choice)),
            _ => [own, self.port.base.get(choice)]
                .into_iter()
                .flatten()
                .find(|it| is_understood(choice, it.value)),
        }
    }
}

fn has<T: PartialEq>(
    written: Written<'_>,
    parse: impl Fn(&str) -> Result<T, Reason>,
    wanted: &T,
) -> bool {
    let members = fit(written.value).unwrap_or_default().split(',');
    members.map(str::trim).any(|it| !it.is_empty() && parse(it).as_ref() == Ok(wanted))
}

/// Of what a route cannot do without, whatever of it is understood counts.
fn is_understood(choice: Choice, value: &str) -> bool {
    let Ok(text) = fit(value) else { return false };
    match choice {
        Choice::Host | Choice::Prefix | Choice::Bind => true,
        Choice::StripPrefix => Strip::from_str(text).is_ok(),
        Choice::Weight => Weight::from_str(text).is_ok(),
        Choice::Check => Check::from_str(text).is_ok(),
        Choice::Health => Obedience::from_str(text).is_ok(),
        Choice::Timeout => Timeout::from_str(text).is_ok(),
        Choice::Retry => Retry::from_str(text).is_ok(),
    }
}
