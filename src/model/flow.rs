//! Values of the label options for UDP. A flow is the datagrams between one address and port of a client and a listener.
//!
//! Pure.

use crate::model::{
    option_value::{self, OptionType},
    problem::Reason,
    stream,
};
use serde_json::Value;
use std::{fmt, str::FromStr, time::Duration};

/// Which datagrams reach the same container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sticky {
    /// Those of one address and port of a client.
    #[default]
    Flow,
    /// Those of one address of a client.
    Source,
    /// Each datagram by itself.
    None,
}

/// After which time without datagrams a flow is forgotten: 1 s to 24 days, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowIdle(Duration);

/// After how many datagrams from the container a flow is forgotten, 0 to 65535. The default is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replies(Option<u16>);

impl FlowIdle {
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Default for FlowIdle {
    fn default() -> Self {
        Self(Duration::from_mins(2))
    }
}

impl Replies {
    /// Returns the number. `None` is no limit, and 0 means that the container does not answer.
    pub fn get(self) -> Option<u16> {
        self.0
    }
}

impl OptionType for Sticky {}

impl OptionType for FlowIdle {
    fn to_json(&self) -> Value {
        stream::to_millis(self.0).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        format!("{}ms", value.as_u64()?).parse().ok()
    }
}

impl OptionType for Replies {
    fn to_json(&self) -> Value {
        self.0.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() {
            return Some(Self(None));
        }
        u16::try_from(value.as_u64()?).ok().map(|replies| Self(Some(replies)))
    }
}

impl FromStr for Sticky {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words = [("flow", Self::Flow), ("source", Self::Source), ("none", Self::None)];
        option_value::match_word(text, &words).ok_or(Reason::NotASticky)
    }
}

impl FromStr for FlowIdle {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        stream::parse_idle(text).map(Self).ok_or(Reason::NotAFlowIdle)
    }
}

impl FromStr for Replies {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let digits = text.trim();
        let is_plain = digits.bytes().all(|c| c.is_ascii_digit());
        digits
            .parse()
            .ok()
            .filter(|_| is_plain)
            .map(|replies| Self(Some(replies)))
            .ok_or(Reason::NotReplies)
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flow => "flow",
            Self::Source => "source",
            Self::None => "none",
        })
    }
}

impl fmt::Display for FlowIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(replies) => replies.fmt(f),
            None => f.write_str("no limit"),
        }
    }
}
