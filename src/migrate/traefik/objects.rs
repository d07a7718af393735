//! Labels of one service as Traefik's routers, services and middlewares.
//!
//! Pure. Names of options do not depend on case, as in Traefik.

use super::super::{draft, text};
use std::collections::BTreeMap;

/// An option of a router, service or middleware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// In lower case: `loadbalancer.server.port`.
    pub(super) name: String,
    /// As written, because names of headers are part of it.
    pub(super) raw_name: String,
    pub(super) value: String,
    /// The label that the option is from.
    pub(super) key: String,
    /// The value of this label.
    pub(super) label_value: String,
}

/// Options by the name of the router, service or middleware.
pub(super) type Objects = BTreeMap<String, Vec<Field>>;

/// All labels of one service that are for Traefik.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TraefikLabels {
    /// The label that excludes the service.
    pub(super) disabled: Option<String>,
    /// Whether `traefik.enable` is set and on.
    pub(super) enabled: Option<String>,
    /// Whether this is a variable whose default is off.
    pub(super) is_off_by_default: bool,
    pub(super) network: Option<Field>,
    pub(super) routers: Objects,
    pub(super) services: Objects,
    pub(super) middlewares: Objects,
    pub(super) tcp_routers: Objects,
    pub(super) tcp_services: Objects,
    pub(super) udp_routers: Objects,
    pub(super) udp_services: Objects,
    /// Labels of Traefik 1, without `traefik.`.
    pub(super) first: Vec<Field>,
    /// Labels that are neither.
    pub(super) unknown: Vec<Field>,
}

/// Options that name a service or middlewares.
const REFERENCES: [&str; 3] = ["service", "middlewares", "chain.middlewares"];

impl Field {
    pub(super) fn new(name: &str, key: &str, value: &str) -> Self {
        Self {
            name: name.to_ascii_lowercase(),
            raw_name: name.to_owned(),
            value: value.trim().to_owned(),
            key: key.to_owned(),
            label_value: value.to_owned(),
        }
    }

    /// Returns a field with another name and value, made from the same label.
    pub(super) fn derive(&self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        Self { name: name.to_ascii_lowercase(), raw_name: name.to_owned(), value, ..self.clone() }
    }

    /// Returns the label and its value.
    pub(super) fn origin(&self) -> String {
        draft::origin(&self.key, &self.label_value)
    }
}

impl TraefikLabels {
    pub(super) fn read(labels: &BTreeMap<String, String>) -> Self {
        let mut all = Self::default();
        for (key, value) in labels {
            let is_traefik =
                key.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("traefik."));
            if is_traefik {
                all.add_label(key, value);
            }
        }
        super::first::translate_labels(&mut all);
        all
    }

    /// Whether there is no label for Traefik.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add_label(&mut self, key: &str, value: &str) {
        let name = &key[8..];
        let parts = text::split_outside(name, |c| c == '.');
        let lower: Vec<_> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        let lower: Vec<_> = lower.iter().map(String::as_str).collect();
        let mut add = |objects: fn(&mut Self) -> &mut Objects| {
            let rest = parts[3..].join(".");
            let mut field = Field::new(&rest, key, value);
            if REFERENCES.contains(&field.name.as_str()) {
                field.value = text::remove_messages(&field.value);
            }
            objects(self).entry(text::remove_messages(parts[2])).or_default().push(field);
        };
        match lower.as_slice() {
            ["enable"] if text::is_on(value) => {
                self.enabled = Some(draft::origin(key, value));
                self.is_off_by_default = value.trim().ends_with("-false}");
            }
            ["enable"] => self.disabled = Some(draft::origin(key, value)),
            ["docker" | "swarm", "network"] => self.network = Some(Field::new(name, key, value)),
            // With and without it, requests go to the containers.
            ["docker" | "swarm", "lbswarm"] => {}
            ["http", "routers", _, ..] => add(|all| &mut all.routers),
            ["http", "services", _, _, ..] => add(|all| &mut all.services),
            ["http", "middlewares", _, _, ..] => add(|all| &mut all.middlewares),
            ["tcp", "routers", _, ..] => add(|all| &mut all.tcp_routers),
            ["tcp", "services", _, _, ..] => add(|all| &mut all.tcp_services),
            ["udp", "routers", _, ..] => add(|all| &mut all.udp_routers),
            ["udp", "services", _, _, ..] => add(|all| &mut all.udp_services),
            ["http" | "tcp" | "udp" | "tls", ..] => self.unknown.push(Field::new(name, key, value)),
            _ => self.first.push(Field::new(name, key, value)),
        }
    }
}

/// Returns the value of an option.
pub(super) fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name == name)
}
