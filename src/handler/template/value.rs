//! What templates hold in their hands: maps and lists that know a little more than Jinja's.
//!
//! Pure. The names and the manners are docker-pygen's: attributes in any case, a missing one is none and no
//! mistake, `first`, `last` and `first_value` of every list, `matching` of those that have an id.

use crate::docker::Description;
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Enumerator, Object, ObjectRepr, Serde, from_args},
};
use std::{borrow::Cow, fmt, sync::Arc};

type Entry = (Cow<'static, str>, Value);

/// A map in the order in which it was made.
#[derive(Debug)]
pub(super) struct Dict {
    entries: Vec<Entry>,
    missing: Missing,
    raw: Raw,
}

/// What an attribute is that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Of what we have named ourselves: `HostPort` is `host_port`.
    None,
    /// Of labels and of environments.
    Empty,
}

/// All that the engine says of it.
pub(super) enum Raw {
    Nothing,
    /// Read when a template asks for it: few do, and it is large.
    Text(Arc<Description>),
    Json(serde_json::Value),
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raw")
    }
}

impl Dict {
    pub(super) fn record<const N: usize>(fields: [(&'static str, Value); N], raw: Raw) -> Value {
        let entries = fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value));
        Value::from_object(Self { entries: entries.collect(), missing: Missing::None, raw })
    }

    /// Labels, or an environment.
    pub(super) fn words(pairs: impl IntoIterator<Item = (String, String)>) -> Value {
        let entries = pairs.into_iter().map(|(key, value)| (Cow::Owned(key), Value::from(value)));
        let entries = entries.collect();
        Value::from_object(Self { entries, missing: Missing::Empty, raw: Raw::Nothing })
    }

    /// As it is written, else in any case.
    pub(super) fn find(&self, name: &str) -> Option<&Value> {
        let exact = self.entries.iter().find(|(key, _)| key == name);
        let alike = || self.entries.iter().find(|(key, _)| self.alike(key, name));
        exact.or_else(alike).map(|(_, value)| value)
    }

    fn alike(&self, key: &str, name: &str) -> bool {
        match self.missing {
            Missing::Empty => key.eq_ignore_ascii_case(name),
            Missing::None => {
                let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
                key.len().abs_diff(name.len()) < 4 && plain(key) == plain(name)
            }
        }
    }

    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(Value::as_str)
    }

    fn raw(&self) -> Option<Value> {
        let json = match &self.raw {
            Raw::Nothing => return None,
            Raw::Text(said) => serde_json::from_str(&said.json).ok()?,
            Raw::Json(said) => Value::from(Serde(said)),
        };
        let mut own = self.entries.clone();
        own.retain(|(name, _)| OF_DOCKER_PY.contains(&&**name));
        let settings = json.get_attr("NetworkSettings").and_then(|it| it.get_attr("Ports"));
        own.extend(settings.ok().filter(|it| !it.is_undefined()).map(|it| ("ports".into(), it)));
        Some(Value::from_object(Said { json, own }))
    }
}

/// What docker-py's objects have beside `attrs`.
const OF_DOCKER_PY: &[&str] = &["health", "id", "labels", "name", "short_id", "status", "version"];

/// The engine's own words, and by docker-py's names, which docker-pygen's `raw` has: `raw.attrs.Config`, `raw.name`.
#[derive(Debug)]
struct Said {
    json: Value,
    own: Vec<Entry>,
}

impl Object for Said {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let said = self.json.get_item(key).ok().filter(|it| !it.is_undefined());
        let own = || self.own.iter().find(|(name, _)| key.as_str() == Some(name));
        said.or_else(|| (key.as_str() == Some("attrs")).then(|| self.json.clone()))
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
        self.find(name).cloned().or_else(|| self.raw().filter(|_| name == "raw"))
    }

    /// An attribute; what `in` asks for is the value above, and that may be missing.
    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let found = self.find(name).cloned();
        Some(found.unwrap_or_else(|| match self.missing {
            Missing::Empty => Value::from(""),
            Missing::None if name.eq_ignore_ascii_case("raw") => self.raw().into(),
            Missing::None => Value::from(()),
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

/// What a list is of decides what it matches by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Anything,
    Containers,
    Services,
    Tasks,
    Nodes,
    Networks,
}

#[derive(Debug)]
pub(super) struct List {
    pub(super) of: Of,
    pub(super) items: Vec<Value>,
    /// The container that we run in.
    own: Option<Arc<str>>,
}

impl List {
    pub(super) fn value(of: Of, items: Vec<Value>) -> Value {
        Value::from_object(Self { of, items, own: None })
    }

    pub(super) fn with_own(of: Of, items: Vec<Value>, own: Option<Arc<str>>) -> Value {
        Value::from_object(Self { of, items, own })
    }

    /// Some of a list, which stays what it was.
    pub(super) fn some_of(list: &Value, items: Vec<Value>) -> Value {
        match list.downcast_object_ref::<Self>() {
            Some(it) => Self::with_own(it.of, items, it.own.clone()),
            None => Self::value(Of::Anything, items),
        }
    }

    fn filtered(&self, mut keep: impl FnMut(&Value) -> bool) -> Value {
        let items = self.items.iter().filter(|it| keep(it)).cloned().collect();
        Self::with_own(self.of, items, self.own.clone())
    }

    fn places(&self, target: &Value) -> Vec<usize> {
        let dicts: Vec<_> = self.items.iter().map(Value::downcast_object_ref).collect();
        match (target.as_str(), self.of) {
            (Some(text), of) => places(&dicts, text, of),
            (None, Of::Networks) => {
                let ids = network_ids(target);
                let shared = |it: Option<&Dict>| {
                    it.and_then(|it| it.word("id")).is_some_and(|id| ids.iter().any(|it| it == id))
                };
                (0..dicts.len()).filter(|at| shared(dicts[*at])).collect()
            }
            _ => Vec::new(),
        }
    }

    fn matching(&self, target: &Value) -> Value {
        let items = self.places(target).into_iter().map(|at| self.items[at].clone()).collect();
        Self::with_own(self.of, items, self.own.clone())
    }

    fn with_word(&self, attribute: &str, wanted: &str) -> Value {
        self.filtered(|it| {
            let dict = it.downcast_object_ref::<Dict>();
            dict.and_then(|it| it.word(attribute)).is_some_and(|it| it.eq_ignore_ascii_case(wanted))
        })
    }

    fn own(&self) -> Value {
        let own = self.own.as_deref().map(|own| self.matching(&Value::from(own)));
        own.and_then(|list| list.downcast_object_ref::<Self>()?.items.first().cloned()).into()
    }
}

/// Which of them a target means, none twice: what names it, then what begins with it as an id, then
/// what belongs to a service of that name.
pub(super) fn places(all: &[Option<&Dict>], target: &str, of: Of) -> Vec<usize> {
    if target.is_empty() {
        return Vec::new();
    }
    let within = |it: &Dict, map: &str, key: &str, text: &str| {
        let map = it.find(map).and_then(Value::downcast_object_ref::<Dict>);
        map.and_then(|map| map.word(key)) == Some(text)
    };
    let label = |it: &Dict, key: &str, text: &str| within(it, "labels", key, text);
    let stacked = |it: &Dict, name: Option<&str>| {
        let rest = name.and_then(|name| name.strip_suffix(target)?.strip_suffix('_'));
        rest.is_some_and(|stack| label(it, "com.docker.stack.namespace", stack))
    };
    let service = "com.docker.swarm.service.name";
    let service_of = |it: &Dict| {
        let labels = it.find("labels").and_then(Value::downcast_object_ref::<Dict>);
        labels.and_then(|labels| labels.word(service)).map(str::to_owned)
    };
    let named = |it: &Dict| {
        it.word("id") == Some(target)
            || it.word("name") == Some(target)
            || label(it, "pygen.target", target)
            || within(it, "env", "PYGEN_TARGET", target)
    };
    let begins = |it: &Dict| it.word("id").is_some_and(|id| id.starts_with(target));
    let belongs = |it: &Dict| match of {
        Of::Containers => {
            label(it, service, target)
                || label(it, "com.docker.compose.service", target)
                || stacked(it, service_of(it).as_deref())
        }
        Of::Services => stacked(it, it.word("name")),
        Of::Tasks => {
            it.word("container_id") == Some(target)
                || it.word("service_id") == Some(target)
                || label(it, service, target)
                || stacked(it, service_of(it).as_deref())
        }
        Of::Anything | Of::Nodes | Of::Networks => false,
    };
    let mut found = Vec::new();
    let rounds: [&dyn Fn(&Dict) -> bool; 3] = [&named, &begins, &belongs];
    for round in rounds {
        for (at, it) in all.iter().enumerate() {
            if it.is_some_and(round) && !found.contains(&at) {
                found.push(at);
            }
        }
    }
    found
}

/// Of a network, of what is on networks, or of a list of networks.
fn network_ids(target: &Value) -> Vec<String> {
    let id = |it: &Value| {
        it.downcast_object_ref::<Dict>().and_then(|it| it.word("id")).map(str::to_owned)
    };
    let list = |it: &Value| {
        it.downcast_object_ref::<List>().map(|list| list.items.iter().filter_map(id).collect())
    };
    let networks = target.downcast_object_ref::<Dict>().and_then(|it| it.find("networks"));
    list(target)
        .or_else(|| networks.and_then(list))
        .unwrap_or_else(|| id(target).into_iter().collect())
}

impl Object for List {
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
        let at = |it: Option<&Value>| Value::from(it.cloned());
        match name.to_ascii_lowercase().replace('_', "").as_str() {
            "first" => Some(at(self.items.first())),
            "last" => Some(at(self.items.last())),
            "firstvalue" => Some(at(self.items.iter().find(|it| it.is_true()))),
            "healthy" if self.of == Of::Containers => Some(self.with_word("health", "healthy")),
            "self" if self.of != Of::Networks && self.of != Of::Anything => Some(self.own()),
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
        match (method, self.of) {
            ("matching", _) => {
                let (target,): (&Value,) = from_args(args)?;
                Ok(self.matching(target))
            }
            ("not_matching", _) => {
                let (target,): (&Value,) = from_args(args)?;
                let left_out = self.places(target);
                let kept = (0..self.items.len()).filter(|at| !left_out.contains(at));
                let items = kept.map(|at| self.items[at].clone()).collect();
                Ok(Self::with_own(self.of, items, self.own.clone()))
            }
            ("with_health", Of::Containers) => {
                let (health,): (&str,) = from_args(args)?;
                Ok(self.with_word("health", health))
            }
            ("with_status", Of::Tasks | Of::Containers) => {
                let (status,): (&str,) = from_args(args)?;
                Ok(self.with_word("status", status))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
