//! Paths that containers get in place of the clients'.

use crate::model::{option_value::OptionType, prefix::PathPrefix, problem::Reason};
use std::{fmt, str::FromStr};

/// What is put in front of the path, after a prefix was stripped.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddPrefix(pub PathPrefix);

impl OptionType for AddPrefix {}

impl FromStr for AddPrefix {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        PathPrefix::parse_single(text).map(Self)
    }
}

impl fmt::Display for AddPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(prefix) = self;
        if prefix.as_str().is_empty() { f.write_str("/") } else { f.write_str(&prefix.to_single()) }
    }
}
