//! Values of a route's or a server's options, also as members of JSON objects.
//!
//! Pure.

use super::{LabelOption, LabelProtocol, OPTIONS, OptionPlace, OptionValue, TypedOption};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Deref;

/// Set of option values, sorted by option. Defaults are not stored, so that sets with the same meaning are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OptionValues(Vec<OptionValue>);

impl OptionValues {
    /// Returns the value, or the default.
    pub fn get<T: TypedOption>(&self) -> T {
        self.find(T::OPTION).and_then(T::from_value).cloned().unwrap_or_default()
    }

    /// Returns the set with `value` in it.
    #[must_use]
    pub fn with(mut self, value: impl TypedOption) -> Self {
        self.set(value.into_value());
        self
    }

    /// Replaces the option's value.
    pub fn set(&mut self, value: OptionValue) {
        let at = self.0.binary_search_by_key(&value.option(), OptionValue::option);
        match (at, value.is_default()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Ok(at), false) => self.0[at] = value,
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, value),
        }
    }

    /// Iterates over the values that are not the default.
    pub fn iter(&self) -> impl Iterator<Item = &OptionValue> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of an option if it is not the default.
    pub fn find(&self, option: LabelOption) -> Option<&OptionValue> {
        self.0.iter().find(|value| value.option() == option)
    }

    /// Returns the value or the default of an option. `None` for options without a value type.
    pub fn value(&self, option: LabelOption) -> Option<OptionValue> {
        self.find(option).cloned().or_else(|| option.default_value())
    }

    /// Returns the values that become part of `place`.
    #[must_use]
    pub fn select(&self, place: OptionPlace) -> Self {
        let goes_there = |value: &&OptionValue| value.option().spec().place == place;
        Self(self.0.iter().filter(goes_there).cloned().collect())
    }

    /// Returns the first option, in the order of the table, whose values differ.
    pub fn first_difference(&self, other: &Self) -> Option<LabelOption> {
        let mut options = OPTIONS.iter().map(|spec| spec.option);
        options.find(|option| self.find(*option) != other.find(*option))
    }
}

/// Options of a route of a protocol. As JSON, the members of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolPolicy {
    pub protocol: LabelProtocol,
    pub values: OptionValues,
}

impl Deref for ProtocolPolicy {
    type Target = OptionValues;

    fn deref(&self) -> &OptionValues {
        &self.values
    }
}

impl Serialize for ProtocolPolicy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        json::serialize(OptionPlace::Policy, Some(self.protocol), &self.values, to)
    }
}

/// The protocol follows from the members: each has one that no other has.
impl<'a> Deserialize<'a> for ProtocolPolicy {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        json::deserialize_policy(from)
    }
}

/// Members of a JSON object, for serde's `with`.
pub mod json {
    use super::{LabelOption, LabelProtocol, OptionPlace, OptionValues, ProtocolPolicy};
    use crate::model::label_option::JsonPresence;
    use serde::{Deserialize, Deserializer, Serializer, de::Error, ser::SerializeMap};
    use serde_json::{Map, Value};

    /// Options of a host on an HTTPS listener.
    pub mod terms {
        use super::{Deserializer, OptionPlace, OptionValues, Serializer};

        pub fn serialize<S: Serializer>(values: &OptionValues, to: S) -> Result<S::Ok, S::Error> {
            super::serialize(OptionPlace::Terms, None, values, to)
        }

        pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<OptionValues, D::Error> {
            super::deserialize(OptionPlace::Terms, from)
        }
    }

    /// Options of a server.
    pub mod server {
        use super::{Deserializer, OptionPlace, OptionValues, Serializer};

        pub fn serialize<S: Serializer>(values: &OptionValues, to: S) -> Result<S::Ok, S::Error> {
            super::serialize(OptionPlace::Server, None, values, to)
        }

        pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<OptionValues, D::Error> {
            super::deserialize(OptionPlace::Server, from)
        }
    }

    /// Writes the options of all protocols if `protocol` is `None`.
    pub(super) fn serialize<S: Serializer>(
        place: OptionPlace,
        protocol: Option<LabelProtocol>,
        values: &OptionValues,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for option in of_place(place, protocol) {
            let value = match option.spec().presence {
                JsonPresence::Always => values.value(option),
                JsonPresence::IfSet => values.find(option).cloned(),
            };
            if let Some(value) = value {
                map.serialize_entry(option.spec().json, &value.to_json())?;
            }
        }
        map.end()
    }

    /// Ignores other members. They belong to other fields, or to options of a later version.
    fn deserialize<'a, D: Deserializer<'a>>(
        place: OptionPlace,
        from: D,
    ) -> Result<OptionValues, D::Error> {
        let members = Map::deserialize(from)?;
        parse_members(place, None, &members).map_err(D::Error::custom)
    }

    pub(super) fn deserialize_policy<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<ProtocolPolicy, D::Error> {
        let members = Map::deserialize(from)?;
        let has = |option: LabelOption| members.contains_key(option.spec().json);
        let protocol = match () {
            () if has(LabelOption::Sticky) => LabelProtocol::Udp,
            () if has(LabelOption::Balance) => LabelProtocol::Tcp,
            () => LabelProtocol::Http,
        };
        let values = parse_members(OptionPlace::Policy, Some(protocol), &members);
        Ok(ProtocolPolicy { protocol, values: values.map_err(D::Error::custom)? })
    }

    fn of_place(
        place: OptionPlace,
        protocol: Option<LabelProtocol>,
    ) -> impl Iterator<Item = LabelOption> {
        LabelOption::of_place(place).filter(move |option| {
            protocol.is_none_or(|protocol| option.spec().protocols.contains(&protocol))
        })
    }

    fn parse_members(
        place: OptionPlace,
        protocol: Option<LabelProtocol>,
        members: &Map<String, Value>,
    ) -> Result<OptionValues, String> {
        let mut values = OptionValues::default();
        for option in of_place(place, protocol) {
            let name = option.spec().json;
            match members.get(name) {
                Some(value) => {
                    values.set(
                        option
                            .parse_json(value)
                            .ok_or_else(|| format!("invalid {name} {value}"))?,
                    );
                }
                None if option.spec().presence == JsonPresence::IfSet => {}
                None => return Err(format!("missing field `{name}`")),
            }
        }
        Ok(values)
    }
}
