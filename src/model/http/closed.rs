//! Routes that answer 503, because a protection that their labels ask for is not understood.

use crate::model::{
    label_option::{LabelOption, LabelProtocol},
    option_value::OptionType,
    problem::Reason,
};
use std::{fmt, str::FromStr};

/// The first option whose value is invalid, if the route is closed because of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed(pub Option<LabelOption>);

impl OptionType for Closed {}

impl FromStr for Closed {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let option = LabelOption::from_port_name(LabelProtocol::Http, text);
        option.map(|option| Self(Some(option))).ok_or(Reason::Empty)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |option| f.write_str(option.name()))
    }
}
