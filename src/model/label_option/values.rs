//! Values of a route's or a server's options, also as members of JSON objects.
//!
//! Pure.

use super::{LabelOption, OPTIONS, OptionPlace, OptionValue, TypedOption};

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

/// Members of a JSON object, for serde's `with`.
pub mod json {
    use super::{LabelOption, OptionPlace, OptionValues};
    use crate::model::label_option::JsonPresence;
    use serde::{Deserialize, Deserializer, Serializer, de::Error, ser::SerializeMap};
    use serde_json::{Map, Value};

    /// Options of a route.
    pub mod policy {
        use super::{Deserializer, OptionPlace, OptionValues, Serializer};

        pub fn serialize<S: Serializer>(values: &OptionValues, to: S) -> Result<S::Ok, S::Error> {
            super::serialize(OptionPlace::Policy, values, to)
        }

        pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<OptionValues, D::Error> {
            super::deserialize(OptionPlace::Policy, from)
        }
    }

    /// Options of a host on an HTTPS listener.
    pub mod terms {
        use super::{Deserializer, OptionPlace, OptionValues, Serializer};

        pub fn serialize<S: Serializer>(values: &OptionValues, to: S) -> Result<S::Ok, S::Error> {
            super::serialize(OptionPlace::Terms, values, to)
        }

        pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<OptionValues, D::Error> {
            super::deserialize(OptionPlace::Terms, from)
        }
    }

    /// Options of a server.
    pub mod server {
        use super::{Deserializer, OptionPlace, OptionValues, Serializer};

        pub fn serialize<S: Serializer>(values: &OptionValues, to: S) -> Result<S::Ok, S::Error> {
            super::serialize(OptionPlace::Server, values, to)
        }

        pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<OptionValues, D::Error> {
            super::deserialize(OptionPlace::Server, from)
        }
    }

    fn serialize<S: Serializer>(
        place: OptionPlace,
        values: &OptionValues,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for option in LabelOption::of_place(place) {
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
        parse_members(place, &members).map_err(D::Error::custom)
    }

    fn parse_members(
        place: OptionPlace,
        members: &Map<String, Value>,
    ) -> Result<OptionValues, String> {
        let mut values = OptionValues::default();
        for option in LabelOption::of_place(place) {
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
