//! The values of templates: maps and lists with more features than Jinja's.
//!
//! Pure. Names and behaviour are docker-pygen's: attributes are case-insensitive, a missing attribute is none instead
//! of an error, every list has `first`, `last` and `first_value`, and lists of objects with an id have `matching`.

use crate::sources::Description;
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Enumerator, Object, ObjectRepr, Serde, from_args},
};
use std::{borrow::Cow, fmt, sync::Arc};

type DictEntry = (Cow<'static, str>, Value);

/// A map that keeps the order of insertion.
#[derive(Debug)]
pub(crate) struct Dict {
    entries: Vec<DictEntry>,
    missing: MissingKey,
    raw: RawObject,
}

/// The value of a missing attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MissingKey {
    /// For fields that this program has named: `HostPort` also finds `host_port`.
    None,
    /// For labels and environment variables.
    Empty,
}

/// The complete JSON of the engine.
pub(crate) enum RawObject {
    Nothing,
    /// Parsed only when a template uses it: few do, and it is large.
    Text(Arc<Description>),
    Json(serde_json::Value),
}

impl fmt::Debug for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raw")
    }
}

impl Dict {
    pub(crate) fn from_fields<const N: usize>(
        fields: [(&'static str, Value); N],
        raw: RawObject,
    ) -> Value {
        let entries = fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value));
        Value::from_object(Self { entries: entries.collect(), missing: MissingKey::None, raw })
    }

    /// Makes a map of labels or environment variables.
    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Value {
        let entries = pairs.into_iter().map(|(key, value)| (Cow::Owned(key), Value::from(value)));
        let entries = entries.collect();
        Value::from_object(Self { entries, missing: MissingKey::Empty, raw: RawObject::Nothing })
    }

    /// Finds a value by its exact name, or else by its name in any case.
    pub(crate) fn find_value(&self, name: &str) -> Option<&Value> {
        let exact = self.entries.iter().find(|(key, _)| key == name);
        let alike = || self.entries.iter().find(|(key, _)| self.key_matches(key, name));
        exact.or_else(alike).map(|(_, value)| value)
    }

    fn key_matches(&self, key: &str, name: &str) -> bool {
        match self.missing {
            MissingKey::Empty => key.eq_ignore_ascii_case(name),
            MissingKey::None => {
                let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
                key.len().abs_diff(name.len()) < 4 && plain(key) == plain(name)
            }
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.find_value(name).and_then(Value::as_str)
    }

    fn raw_value(&self) -> Option<Value> {
        let json = match &self.raw {
            RawObject::Nothing => return None,
            RawObject::Text(found) => serde_json::from_str(&found.json).ok()?,
            RawObject::Json(found) => Value::from(Serde(found)),
        };
        let mut own = self.entries.clone();
        own.retain(|(name, _)| DOCKER_PY_FIELDS.contains(&&**name));
        let settings = json.get_attr("NetworkSettings").and_then(|value| value.get_attr("Ports"));
        own.extend(
            settings
                .ok()
                .filter(|value| !value.is_undefined())
                .map(|value| ("ports".into(), value)),
        );
        Some(Value::from_object(RawView { json, own }))
    }
}

/// The attributes that docker-py's objects have besides `attrs`.
const DOCKER_PY_FIELDS: &[&str] =
    &["health", "id", "labels", "name", "short_id", "status", "version"];

/// The engine's JSON with docker-py's names added, like `raw` in docker-pygen: `raw.attrs.Config`, `raw.name`.
#[derive(Debug)]
struct RawView {
    json: Value,
    own: Vec<DictEntry>,
}

impl Object for RawView {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self.json.get_item(key).ok().filter(|value| !value.is_undefined());
        let own = || self.own.iter().find(|(name, _)| key.as_str() == Some(name));
        found
            .or_else(|| (key.as_str() == Some("attrs")).then(|| self.json.clone()))
            .or_else(|| own().map(|(_, value)| value.clone()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json.try_iter() {
            Ok(keys) => Enumerator::Iter(Box::new(keys.collect::<Vec<_>>().into_iter())),
            Err(_) => Enumerator::NonEnumerable,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.json.len()
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        self.find_value(name).cloned().or_else(|| self.raw_value().filter(|_| name == "raw"))
    }

    /// Looks up an attribute. The operator `in` uses `get_value` above instead, where a name may be missing.
    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let found = self.find_value(name).cloned();
        Some(found.unwrap_or_else(|| match self.missing {
            MissingKey::Empty => Value::from(""),
            MissingKey::None if name.eq_ignore_ascii_case("raw") => self.raw_value().into(),
            MissingKey::None => Value::from(()),
        }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| Value::from(&**key)).collect();
        Enumerator::Iter(Box::new(keys.into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// The kind of a list decides what its items are matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind {
    Anything,
    Containers,
    Services,
    Tasks,
    Nodes,
    Networks,
}

#[derive(Debug)]
pub(crate) struct ValueList {
    pub(crate) kind: ListKind,
    pub(crate) items: Vec<Value>,
    /// The container that docker-glue runs in.
    own_container_id: Option<Arc<str>>,
}

impl ValueList {
    pub(crate) fn from_items(of: ListKind, items: Vec<Value>) -> Value {
        Value::from_object(Self { kind: of, items, own_container_id: None })
    }

    pub(crate) fn with_own_container(
        of: ListKind,
        items: Vec<Value>,
        own: Option<Arc<str>>,
    ) -> Value {
        Value::from_object(Self { kind: of, items, own_container_id: own })
    }

    /// Makes a list of some items that keeps the kind of the original.
    pub(crate) fn with_same_kind(list: &Value, items: Vec<Value>) -> Value {
        match list.downcast_object_ref::<Self>() {
            Some(list) => Self::with_own_container(list.kind, items, list.own_container_id.clone()),
            None => Self::from_items(ListKind::Anything, items),
        }
    }

    fn filter_items(&self, mut keep: impl FnMut(&Value) -> bool) -> Value {
        let items = self.items.iter().filter(|value| keep(value)).cloned().collect();
        Self::with_own_container(self.kind, items, self.own_container_id.clone())
    }

    fn matching_positions(&self, target: &Value) -> Vec<usize> {
        let dicts: Vec<_> = self.items.iter().map(Value::downcast_object_ref).collect();
        match (target.as_str(), self.kind) {
            (Some(text), of) => find_matching(&dicts, text, of),
            (None, ListKind::Networks) => {
                let ids = network_ids(target);
                let shared = |dict: Option<&Dict>| {
                    dict.and_then(|dict| dict.text("id"))
                        .is_some_and(|id| ids.iter().any(|text| text == id))
                };
                (0..dicts.len()).filter(|at| shared(dicts[*at])).collect()
            }
            _ => Vec::new(),
        }
    }

    fn matching_items(&self, target: &Value) -> Value {
        let items =
            self.matching_positions(target).into_iter().map(|at| self.items[at].clone()).collect();
        Self::with_own_container(self.kind, items, self.own_container_id.clone())
    }

    fn with_text(&self, attribute: &str, expected: &str) -> Value {
        self.filter_items(|value| {
            let dict = value.downcast_object_ref::<Dict>();
            dict.and_then(|dict| dict.text(attribute))
                .is_some_and(|text| text.eq_ignore_ascii_case(expected))
        })
    }

    fn own_item(&self) -> Value {
        let own =
            self.own_container_id.as_deref().map(|own| self.matching_items(&Value::from(own)));
        own.and_then(|list| list.downcast_object_ref::<Self>()?.items.first().cloned()).into()
    }
}

/// Returns the positions of the items that match a target, each once: first by id or name, then by the beginning of
/// an id, then by the service to which the item belongs.
pub(crate) fn find_matching(all: &[Option<&Dict>], target: &str, of: ListKind) -> Vec<usize> {
    if target.is_empty() {
        return Vec::new();
    }
    let within = |dict: &Dict, map: &str, key: &str, text: &str| {
        let map = dict.find_value(map).and_then(Value::downcast_object_ref::<Dict>);
        map.and_then(|map| map.text(key)) == Some(text)
    };
    let label = |dict: &Dict, key: &str, text: &str| within(dict, "labels", key, text);
    let stacked = |dict: &Dict, name: Option<&str>| {
        let stack_name = name.and_then(|name| name.strip_suffix(target)?.strip_suffix('_'));
        stack_name.is_some_and(|stack| label(dict, "com.docker.stack.namespace", stack))
    };
    let service = "com.docker.swarm.service.name";
    let service_of = |dict: &Dict| {
        let labels = dict.find_value("labels").and_then(Value::downcast_object_ref::<Dict>);
        labels.and_then(|labels| labels.text(service)).map(str::to_owned)
    };
    let named = |dict: &Dict| {
        dict.text("id") == Some(target)
            || dict.text("name") == Some(target)
            || label(dict, "pygen.target", target)
            || within(dict, "env", "PYGEN_TARGET", target)
    };
    let begins = |dict: &Dict| dict.text("id").is_some_and(|id| id.starts_with(target));
    let belongs = |dict: &Dict| match of {
        ListKind::Containers => {
            label(dict, service, target)
                || label(dict, "com.docker.compose.service", target)
                || stacked(dict, service_of(dict).as_deref())
        }
        ListKind::Services => stacked(dict, dict.text("name")),
        ListKind::Tasks => {
            dict.text("container_id") == Some(target)
                || dict.text("service_id") == Some(target)
                || label(dict, service, target)
                || stacked(dict, service_of(dict).as_deref())
        }
        ListKind::Anything | ListKind::Nodes | ListKind::Networks => false,
    };
    let mut found = Vec::new();
    let rounds: [&dyn Fn(&Dict) -> bool; 3] = [&named, &begins, &belongs];
    for round in rounds {
        for (at, dict) in all.iter().enumerate() {
            if dict.is_some_and(round) && !found.contains(&at) {
                found.push(at);
            }
        }
    }
    found
}

/// Returns the ids of a network, of an object with networks, or of a list of networks.
fn network_ids(target: &Value) -> Vec<String> {
    let id = |value: &Value| {
        value.downcast_object_ref::<Dict>().and_then(|dict| dict.text("id")).map(str::to_owned)
    };
    let list = |value: &Value| {
        value
            .downcast_object_ref::<ValueList>()
            .map(|list| list.items.iter().filter_map(id).collect())
    };
    let networks =
        target.downcast_object_ref::<Dict>().and_then(|dict| dict.find_value("networks"));
    list(target)
        .or_else(|| networks.and_then(list))
        .unwrap_or_else(|| id(target).into_iter().collect())
}

impl Object for ValueList {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some(name) => self.get_value_by_str(name),
            None => self.items.get(key.as_usize()?).cloned(),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let at = |value: Option<&Value>| Value::from(value.cloned());
        match name.to_ascii_lowercase().replace('_', "").as_str() {
            "first" => Some(at(self.items.first())),
            "last" => Some(at(self.items.last())),
            "firstvalue" => Some(at(self.items.iter().find(|value| value.is_true()))),
            "healthy" if self.kind == ListKind::Containers => {
                Some(self.with_text("health", "healthy"))
            }
            "self" if self.kind != ListKind::Networks && self.kind != ListKind::Anything => {
                Some(self.own_item())
            }
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match (method, self.kind) {
            ("matching", _) => {
                let (target,): (&Value,) = from_args(args)?;
                Ok(self.matching_items(target))
            }
            ("not_matching", _) => {
                let (target,): (&Value,) = from_args(args)?;
                let left_out = self.matching_positions(target);
                let kept = (0..self.items.len()).filter(|at| !left_out.contains(at));
                let items = kept.map(|at| self.items[at].clone()).collect();
                Ok(Self::with_own_container(self.kind, items, self.own_container_id.clone()))
            }
            ("with_health", ListKind::Containers) => {
                let (health,): (&str,) = from_args(args)?;
                Ok(self.with_text("health", health))
            }
            ("with_status", ListKind::Tasks | ListKind::Containers) => {
                let (status,): (&str,) = from_args(args)?;
                Ok(self.with_text("status", status))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
