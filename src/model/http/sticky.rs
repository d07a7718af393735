//! Routes whose clients stay at one container.

use super::not;
use crate::model::{
    label_option::LabelOption,
    option_value::{self, OptionType},
    problem::Reason,
};
use std::{fmt, str::FromStr};

/// How HAProxy recognizes the container of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StickyCookie {
    /// It does not: requests are shared by weight.
    #[default]
    Off,
    /// By a cookie that it sets and removes itself.
    Cookie,
}

impl OptionType for StickyCookie {}

impl FromStr for StickyCookie {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words = [("cookie", Self::Cookie), ("off", Self::Off)];
        option_value::match_word(text, &words)
            .ok_or_else(|| not(LabelOption::StickyCookie, text, "cookie or off"))
    }
}

impl fmt::Display for StickyCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Cookie => "cookie",
        })
    }
}
