//! Named policies: sets of options that an administrator defines and labels use, and those that hosts must have.
//!
//! Pure.

use super::{
    host::HostMatch,
    http::{
        clients::{Allow, Deny},
        closed::Closed,
        header::{Headers, RequestHeaders, ResponseHeaders},
    },
    label_option::{LabelOption, OptionValue, OptionValues, TypedOption},
};
use std::{borrow::Borrow, collections::BTreeMap, fmt, str::FromStr};

/// Name of a policy: 1 to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyName(String);

/// Why a text is not the name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name of 1 to 64 letters, digits, \"-\" and \"_\"")]
pub struct PolicyNameError(String);

/// Values of options in the order in which they were given. A later one of the same option replaces the earlier one.
pub type GivenValues = Vec<OptionValue>;

/// All policies of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyBook {
    pub policies: BTreeMap<PolicyName, GivenValues>,
    pub requirements: Vec<Requirement>,
}

/// Policies that routes of certain hosts have, whatever their labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub hosts: Vec<HostMatch>,
    /// Names in the book.
    pub policies: Vec<PolicyName>,
}

impl PolicyName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyName {
    type Err = PolicyNameError;

    fn from_str(text: &str) -> Result<Self, PolicyNameError> {
        let is_legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if (1..=64).contains(&text.len()) && text.bytes().all(is_legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(PolicyNameError(text.to_owned()))
    }
}

impl Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PolicyBook {
    /// Whether routes of the host must have policies.
    pub fn requires(&self, host: &HostMatch) -> bool {
        self.required_values(host).next().is_some()
    }

    /// Adds what the host must have. Clients then have to be allowed by all policies and labels; of other options the
    /// required value applies.
    pub fn require(&self, host: &HostMatch, values: &mut OptionValues) {
        for value in self.required_values(host) {
            match value {
                OptionValue::Allow(Allow(required)) => {
                    let Allow(own) = values.get();
                    let both =
                        if own.is_empty() { required.clone() } else { own.intersection(required) };
                    if both.is_empty() {
                        // Without any network, every client would be allowed.
                        values.set(Closed(Some(LabelOption::Allow)).into_value());
                    } else {
                        values.set(Allow(both).into_value());
                    }
                }
                OptionValue::Deny(Deny(required)) => {
                    let Deny(own) = values.get();
                    values.set(Deny(own.union(required)).into_value());
                }
                value => give(values, value),
            }
        }
    }

    fn required_values<'a>(&'a self, host: &'a HostMatch) -> impl Iterator<Item = &'a OptionValue> {
        let applies = |requirement: &&Requirement| {
            requirement.hosts.iter().any(|pattern| pattern.overlaps(host))
        };
        let requirements = self.requirements.iter().filter(applies);
        let policies = requirements.flat_map(|requirement| &requirement.policies);
        policies.filter_map(|name| self.policies.get(name)).flatten()
    }
}

/// Gives an option a value. Header fields are added to those that the option has.
pub fn give(values: &mut OptionValues, value: &OptionValue) {
    let merged = |new: &Headers, old: Headers| {
        let mut headers = new.clone();
        headers.add_missing(&old);
        headers
    };
    values.set(match value {
        OptionValue::RequestHeader(RequestHeaders(new)) => {
            RequestHeaders(merged(new, values.get::<RequestHeaders>().0)).into_value()
        }
        OptionValue::ResponseHeader(ResponseHeaders(new)) => {
            ResponseHeaders(merged(new, values.get::<ResponseHeaders>().0)).into_value()
        }
        value => value.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::label_option::LabelProtocol;

    fn given(text: &str) -> GivenValues {
        let value = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            LabelOption::parse_named(LabelProtocol::Http, name, value).unwrap().unwrap()
        };
        text.split_whitespace().map(value).collect()
    }

    fn merged(text: &str) -> OptionValues {
        let mut values = OptionValues::default();
        for value in given(text) {
            give(&mut values, &value);
        }
        values
    }

    fn book(policies: &[(&str, &str)], requirements: &[(&str, &str)]) -> PolicyBook {
        let names = |text: &str| text.split(',').map(|name| name.parse().unwrap()).collect();
        PolicyBook {
            policies: policies
                .iter()
                .map(|(name, values)| (name.parse().unwrap(), given(values)))
                .collect(),
            requirements: requirements
                .iter()
                .map(|(hosts, policies)| Requirement {
                    hosts: hosts.split(',').map(|host| host.parse().unwrap()).collect(),
                    policies: names(policies),
                })
                .collect(),
        }
    }

    #[test]
    fn requirement_of_host_cannot_be_taken_off() {
        let book = book(
            &[
                ("lan", "allow=10.0.0.0/8,192.168.0.0/16"),
                ("quiet", "deny=10.9.0.0/16 response_header_X-A=1 rate=5/s"),
            ],
            &[("*.in.test", "lan"), ("*.in.test,b.test", "quiet")],
        );
        for (host, own, expected) in [
            ("a.test", "allow=8.8.8.8", "allow=8.8.8.8"),
            (
                "b.test",
                "rate=100/s response_header_X-A=2 response_header_X-B=3",
                "deny=10.9.0.0/16 response_header_X-A=1 response_header_X-B=3 rate=5/s",
            ),
            (
                "a.in.test",
                "allow=10.1.0.0/16,8.8.8.8 deny=10.1.1.1",
                "allow=10.1.0.0/16 deny=10.1.1.1,10.9.0.0/16 response_header_X-A=1 rate=5/s",
            ),
            (
                "a.in.test",
                "allow=0.0.0.0/0,::/0",
                "allow=10.0.0.0/8,192.168.0.0/16 deny=10.9.0.0/16 response_header_X-A=1 rate=5/s",
            ),
            // Any host includes those that have requirements.
            (
                "*",
                "",
                "allow=10.0.0.0/8,192.168.0.0/16 deny=10.9.0.0/16 response_header_X-A=1 rate=5/s",
            ),
        ] {
            let host = host.parse().unwrap();
            let (mut values, wanted) = (merged(own), merged(expected));
            book.require(&host, &mut values);
            assert_eq!(values, wanted, "{host} with {own}");
        }
    }

    #[test]
    fn requirement_without_common_client_closes_route() {
        let book = book(&[("lan", "allow=10.0.0.0/8")], &[("a.test", "lan")]);
        let mut values = merged("allow=8.8.8.8");
        book.require(&"a.test".parse().unwrap(), &mut values);
        assert_eq!(values.get::<Closed>(), Closed(Some(LabelOption::Allow)));
    }
}
