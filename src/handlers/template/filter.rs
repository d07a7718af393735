//! Which containers a template sees: `only_exposed`, `only_published`, `include_stopped`, `filter`.
//!
//! Pure. Filters have docker's syntax, `KEY=VALUE`: if a key is given several times, any value may match, but for
//! labels all must match. Different keys must all match.

use super::value::{Dict, ValueList};
use crate::{
    handlers::ini::{IniError, Section},
    support::suggest::suggest,
};
use minijinja::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TemplateFilter {
    only_exposed: bool,
    only_published: bool,
    include_stopped: bool,
    criteria: BTreeMap<String, Vec<String>>,
}

const FILTERS: &[&str] = &[
    "ancestor", "expose", "health", "id", "label", "name", "network", "publish", "status", "volume",
];

impl TemplateFilter {
    pub(crate) fn from_params(params: &Section) -> Result<Self, IniError> {
        let mut criteria: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in params.split_list("filter") {
            let Some((key, value)) = word.split_once('=') else {
                let text = format!("a filter must be KEY=VALUE such as label=web, not {word:?}");
                return Err(params.error_at("filter", text));
            };
            let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
            if !FILTERS.contains(&key.as_str()) {
                let text = match suggest(&key, FILTERS) {
                    Some(near) => format!("unknown filter {key}; did you mean {near}?"),
                    None => {
                        format!("unknown filter {key}; the filters are {}", FILTERS.join(", "))
                    }
                };
                return Err(params.error_at("filter", text));
            }
            criteria.entry(key).or_default().push(value);
        }
        Ok(Self {
            only_exposed: params.parse_bool("only-exposed", false)?,
            only_published: params.parse_bool("only-published", false)?,
            include_stopped: params.parse_bool("include-stopped", false)?,
            criteria,
        })
    }

    /// `containers`: the running containers, or all if stopped ones are included.
    pub(crate) fn matches(&self, container: &Value) -> bool {
        let Some(dict) = container.downcast_object_ref::<Dict>() else { return false };
        // docker-gen and docker-pygen list what `docker ps` lists, which includes paused containers.
        let runs = dict.find_value("running").is_some_and(Value::is_true);
        (self.includes_stopped() || runs) && self.matches_criteria(dict)
    }

    /// Whether containers that do not run are included.
    pub(crate) fn includes_stopped(&self) -> bool {
        self.include_stopped || self.criteria.contains_key("status")
    }

    /// `all_containers`: containers in any state.
    pub(crate) fn matches_any_state(&self, container: &Value) -> bool {
        container.downcast_object_ref::<Dict>().is_some_and(|dict| self.matches_criteria(dict))
    }

    fn matches_criteria(&self, dict: &Dict) -> bool {
        (!self.only_exposed || matches_key(dict, "expose", ""))
            && (!self.only_published || matches_key(dict, "publish", ""))
            && self.criteria.iter().all(|(key, values)| match key.as_str() {
                "label" => values.iter().all(|value| matches_key(dict, key, value)),
                _ => values.iter().any(|value| matches_key(dict, key, value)),
            })
    }
}

fn matches_key(dict: &Dict, key: &str, value: &str) -> bool {
    let word = |name: &str| dict.text(name).unwrap_or_default();
    match key {
        "id" => word("id").starts_with(value),
        "name" => name_matches(word("name"), value),
        "status" => word("status") == value,
        "health" => word("health") == if value == "none" { "unknown" } else { value },
        "ancestor" => image_matches(word("image"), value),
        "label" => has_label(dict, value),
        "network" => any_item(dict, "networks", |dict| {
            dict.text("name") == Some(value) || dict.text("id") == Some(value)
        }),
        "volume" => any_item(dict, "mounts", |dict| {
            ["name", "source", "destination"].iter().any(|part| dict.text(part) == Some(value))
        }),
        "expose" => any_item(dict, "addresses", |dict| port_matches(dict, value)),
        "publish" => any_item(dict, "addresses", |dict| {
            dict.find_value("host_port").is_some_and(Value::is_true) && port_matches(dict, value)
        }),
        _ => false,
    }
}

fn any_item(dict: &Dict, list: &str, is: impl Fn(&Dict) -> bool) -> bool {
    let list = dict.find_value(list).and_then(Value::downcast_object_ref::<ValueList>);
    let dicts = list.into_iter().flat_map(|list| &list.items);
    dicts.filter_map(Value::downcast_object_ref::<Dict>).any(is)
}

/// Matches a part of the name; `^` and `$` anchor it to the beginning and the end.
fn name_matches(name: &str, pattern: &str) -> bool {
    let (from, start) =
        pattern.strip_prefix('^').map_or((pattern, false), |remaining| (remaining, true));
    let (part, end) = from.strip_suffix('$').map_or((from, false), |remaining| (remaining, true));
    match (start, end) {
        (true, true) => name == part.trim_start_matches('/'),
        (true, false) => name.starts_with(part.trim_start_matches('/')),
        (false, true) => name.ends_with(part),
        (false, false) => name.contains(part),
    }
}

fn image_matches(image: &str, ancestor: &str) -> bool {
    image == ancestor || image.strip_suffix(":latest") == Some(ancestor) || {
        let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
        name == ancestor && !ancestor.contains(':')
    }
}

fn has_label(dict: &Dict, criteria: &str) -> bool {
    let labels = dict.find_value("labels");
    let get = |key: &str| labels.and_then(|value| value.get_item(&Value::from(key)).ok());
    match criteria.split_once('=') {
        Some((key, value)) => {
            get(key).is_some_and(|quoted_value| quoted_value.as_str() == Some(value))
        }
        None => get(criteria).is_some_and(|value| !value.is_undefined()),
    }
}

/// Matches `80`, `80/tcp`, `8000-9000/tcp`; an empty criterion matches any port.
fn port_matches(dict: &Dict, criteria: &str) -> bool {
    let (range, protocol) = criteria.split_once('/').unwrap_or((criteria, ""));
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let port = dict.find_value("port").and_then(Value::as_i64).unwrap_or_default();
    let within = match (from.parse::<i64>(), to.parse::<i64>()) {
        (Ok(from), Ok(to)) => from <= port && port <= to,
        _ => range.is_empty(),
    };
    within && (protocol.is_empty() || dict.text("proto") == Some(protocol))
}
