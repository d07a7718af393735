//! Which containers a template gets to see: `only_exposed`, `only_published`, `include_stopped`, `filter`.
//!
//! Pure. A filter is docker's own, `KEY=VALUE`: several of a key mean any of them, of different keys all of
//! them, and labels all of them.

use super::value::{Dict, List};
use crate::handler::ini::{Mistake, Section, near};
use minijinja::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    exposed: bool,
    published: bool,
    stopped: bool,
    wanted: BTreeMap<String, Vec<String>>,
}

const KNOWN: &[&str] = &[
    "ancestor", "expose", "health", "id", "label", "name", "network", "publish", "status", "volume",
];

impl Filter {
    pub(super) fn read(params: &Section) -> Result<Self, Mistake> {
        let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in params.list("filter") {
            let Some((key, value)) = word.split_once('=') else {
                let text = format!("a filter is KEY=VALUE such as label=web, not {word:?}");
                return Err(params.mistake("filter", text));
            };
            let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
            if !KNOWN.contains(&key.as_str()) {
                let text = match near(&key, KNOWN) {
                    Some(near) => format!("there is no filter {key}; did you mean {near}?"),
                    None => format!("there is no filter {key}; there are {}", KNOWN.join(", ")),
                };
                return Err(params.mistake("filter", text));
            }
            wanted.entry(key).or_default().push(value);
        }
        Ok(Self {
            exposed: params.switch("only-exposed", false)?,
            published: params.switch("only-published", false)?,
            stopped: params.switch("include-stopped", false)?,
            wanted,
        })
    }

    /// `containers`: of all those the ones that run, unless stopped ones are asked for.
    pub(super) fn takes(&self, container: &Value) -> bool {
        let Some(it) = container.downcast_object_ref::<Dict>() else { return false };
        // docker-gen and docker-pygen list what `docker ps` lists: a paused container is there.
        let runs = it.find("running").is_some_and(Value::is_true);
        (self.takes_all() || runs) && self.all(it)
    }

    /// Whether those that do not run are among them.
    pub(super) fn takes_all(&self) -> bool {
        self.stopped || self.wanted.contains_key("status")
    }

    /// `all_containers`
    pub(super) fn takes_stopped(&self, container: &Value) -> bool {
        container.downcast_object_ref::<Dict>().is_some_and(|it| self.all(it))
    }

    fn all(&self, it: &Dict) -> bool {
        (!self.exposed || is_there(it, "expose", ""))
            && (!self.published || is_there(it, "publish", ""))
            && self.wanted.iter().all(|(key, values)| match key.as_str() {
                "label" => values.iter().all(|value| is_there(it, key, value)),
                _ => values.iter().any(|value| is_there(it, key, value)),
            })
    }
}

fn is_there(it: &Dict, key: &str, value: &str) -> bool {
    let word = |name: &str| it.word(name).unwrap_or_default();
    match key {
        "id" => word("id").starts_with(value),
        "name" => is_named(word("name"), value),
        "status" => word("status") == value,
        "health" => word("health") == if value == "none" { "unknown" } else { value },
        "ancestor" => is_of_image(word("image"), value),
        "label" => has_label(it, value),
        "network" => {
            any(it, "networks", |it| it.word("name") == Some(value) || it.word("id") == Some(value))
        }
        "volume" => any(it, "mounts", |it| {
            ["name", "source", "destination"].iter().any(|part| it.word(part) == Some(value))
        }),
        "expose" => any(it, "addresses", |it| is_port(it, value)),
        "publish" => any(it, "addresses", |it| {
            it.find("host_port").is_some_and(Value::is_true) && is_port(it, value)
        }),
        _ => false,
    }
}

fn any(it: &Dict, list: &str, is: impl Fn(&Dict) -> bool) -> bool {
    let list = it.find(list).and_then(Value::downcast_object_ref::<List>);
    let dicts = list.into_iter().flat_map(|list| &list.items);
    dicts.filter_map(Value::downcast_object_ref::<Dict>).any(is)
}

/// A part of the name, or with `^` and `$` its beginning and its end.
fn is_named(name: &str, pattern: &str) -> bool {
    let (from, start) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
    let (part, end) = from.strip_suffix('$').map_or((from, false), |rest| (rest, true));
    match (start, end) {
        (true, true) => name == part.trim_start_matches('/'),
        (true, false) => name.starts_with(part.trim_start_matches('/')),
        (false, true) => name.ends_with(part),
        (false, false) => name.contains(part),
    }
}

fn is_of_image(image: &str, ancestor: &str) -> bool {
    image == ancestor || image.strip_suffix(":latest") == Some(ancestor) || {
        let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
        name == ancestor && !ancestor.contains(':')
    }
}

fn has_label(it: &Dict, wanted: &str) -> bool {
    let labels = it.find("labels");
    let get = |key: &str| labels.and_then(|it| it.get_item(&Value::from(key)).ok());
    match wanted.split_once('=') {
        Some((key, value)) => get(key).is_some_and(|it| it.as_str() == Some(value)),
        None => get(wanted).is_some_and(|it| !it.is_undefined()),
    }
}

/// `80`, `80/tcp`, `8000-9000/tcp`; nothing is any.
fn is_port(it: &Dict, wanted: &str) -> bool {
    let (range, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let port = it.find("port").and_then(Value::as_i64).unwrap_or_default();
    let within = match (from.parse::<i64>(), to.parse::<i64>()) {
        (Ok(from), Ok(to)) => from <= port && port <= to,
        _ => range.is_empty(),
    };
    within && (protocol.is_empty() || it.word("proto") == Some(protocol))
}
