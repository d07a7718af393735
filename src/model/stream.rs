//! Values of the label options for TCP.
//!
//! Pure. [`ProxyHeader`] is also an option of UDP.

use crate::model::{
    option_value::{self, OptionType},
    problem::Reason,
};
use serde_json::Value;
use std::{fmt, str::FromStr, time::Duration};

/// Which container gets a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Balance {
    /// The one with the fewest connections.
    #[default]
    Least,
    /// Each in turn.
    Round,
    /// The same one for each address of a client.
    Source,
}

/// After which time without data a connection ends: 1 s to 24 days, in whole milliseconds. The default is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Idle(Option<Duration>);

/// Version of the PROXY protocol's header, which tells the container the client's address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyHeader {
    /// No header.
    #[default]
    Off,
    /// One line of text. Only for TCP.
    V1,
    V2,
}

/// When the open connections to a container end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// When the container is gone.
    #[default]
    Gone,
    /// Also when HAProxy's check of it fails.
    Down,
}

/// Limits of the time without data. HAProxy stores times in milliseconds in 31 bits.
pub(super) const IDLE_RANGE: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_hours(24 * 24));

impl Idle {
    /// No limit.
    pub const OFF: Self = Self(None);

    /// Returns the time. `None` is no limit.
    pub fn duration(self) -> Option<Duration> {
        self.0
    }
}

/// Parses a duration between the limits. Truncated to whole milliseconds, because HAProxy has no smaller unit.
pub(super) fn parse_idle(text: &str) -> Option<Duration> {
    let (least, most) = IDLE_RANGE;
    let time = humantime::parse_duration(text.trim()).ok()?;
    let millis = u64::try_from(time.as_millis()).ok()?;
    (least..=most).contains(&time).then_some(Duration::from_millis(millis))
}

/// Returns whole milliseconds.
pub(super) fn to_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("24 days have fewer milliseconds")
}

impl OptionType for Balance {}

impl OptionType for ProxyHeader {}

impl OptionType for Cut {}

/// As in HAProxy's configuration, 0 means no limit.
impl OptionType for Idle {
    fn to_json(&self) -> Value {
        self.0.map_or(0, to_millis).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value.as_u64()? {
            0 => Some(Self(None)),
            millis => parse_idle(&format!("{millis}ms")).map(|time| Self(Some(time))),
        }
    }
}

impl FromStr for Balance {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words = [("least", Self::Least), ("round", Self::Round), ("source", Self::Source)];
        option_value::match_word(text, &words).ok_or(Reason::NotABalance)
    }
}

impl FromStr for Idle {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        option_value::match_word(text, &[("off", Self(None))])
            .or_else(|| parse_idle(text).map(|time| Self(Some(time))))
            .ok_or(Reason::NotAnIdle)
    }
}

impl FromStr for ProxyHeader {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words = [("off", Self::Off), ("v1", Self::V1), ("v2", Self::V2)];
        option_value::match_word(text, &words).ok_or(Reason::NotAProxyHeader)
    }
}

impl FromStr for Cut {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words = [("gone", Self::Gone), ("down", Self::Down)];
        option_value::match_word(text, &words).ok_or(Reason::NotACut)
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Least => "least",
            Self::Round => "round",
            Self::Source => "source",
        })
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => humantime::format_duration(time).fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl fmt::Display for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "gone",
            Self::Down => "down",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Balance, Cut, Idle, ProxyHeader};
    use crate::model::{
        flow::{FlowIdle, Replies, Sticky},
        option_value::{CheckMethod, OptionType},
    };

    /// Returns how the value is written, or the kind of its problem. Also checks that JSON keeps the value.
    fn parse<T: OptionType + std::fmt::Debug>(text: &str) -> String {
        let value = match text.parse::<T>() {
            Ok(value) => value,
            Err(reason) => return format!("{reason:?}"),
        };
        assert_eq!(T::from_json(&value.to_json()), Some(value.clone()), "{text}");
        value.to_string()
    }

    #[test]
    fn value_of_tcp_or_udp_option_parses_to_its_canonical_text() {
        for (parsed, expected) in [
            (parse::<Balance>(" Least "), "least"),
            (parse::<Balance>("round"), "round"),
            (parse::<Balance>("source"), "source"),
            (parse::<Balance>("leastconn"), "NotABalance"),
            (parse::<Idle>("off"), "off"),
            (parse::<Idle>("90s"), "1m 30s"),
            (parse::<Idle>("1s"), "1s"),
            (parse::<Idle>("24d"), "24days"),
            (parse::<Idle>("999ms"), "NotAnIdle"),
            (parse::<Idle>("25d"), "NotAnIdle"),
            (parse::<Idle>("24d 1ms"), "NotAnIdle"),
            (parse::<Idle>("0"), "NotAnIdle"),
            (parse::<Idle>("99999999999999999999y"), "NotAnIdle"),
            (parse::<ProxyHeader>("V2"), "v2"),
            (parse::<ProxyHeader>("v1"), "v1"),
            (parse::<ProxyHeader>("off"), "off"),
            (parse::<ProxyHeader>("on"), "NotAProxyHeader"),
            (parse::<Cut>("gone"), "gone"),
            (parse::<Cut>("down"), "down"),
            (parse::<Cut>("off"), "NotACut"),
            (parse::<Sticky>("Flow"), "flow"),
            (parse::<Sticky>("source"), "source"),
            (parse::<Sticky>("none"), "none"),
            (parse::<Sticky>("on"), "NotASticky"),
            (parse::<FlowIdle>("2m"), "2m"),
            (parse::<FlowIdle>("1500ms"), "1s 500ms"),
            (parse::<FlowIdle>("off"), "NotAFlowIdle"),
            (parse::<FlowIdle>("0s"), "NotAFlowIdle"),
            (parse::<Replies>("0"), "0"),
            (parse::<Replies>(" 1 "), "1"),
            (parse::<Replies>("65535"), "65535"),
            (parse::<Replies>("65536"), "NotReplies"),
            (parse::<Replies>("-1"), "NotReplies"),
            (parse::<Replies>("+1"), "NotReplies"),
            (parse::<Replies>("none"), "NotReplies"),
            (parse::<CheckMethod>("8008"), "8008"),
            (parse::<CheckMethod>("8008/ready?full=1"), "8008/ready?full=1"),
            (parse::<CheckMethod>("08/x"), "NotACheck"),
            (parse::<CheckMethod>("0"), "NotACheck"),
            (parse::<CheckMethod>("65536/x"), "NotACheck"),
            (parse::<CheckMethod>("8008/ö"), "NotACheck"),
            (parse::<CheckMethod>("8008 /x"), "NotACheck"),
        ] {
            assert_eq!(parsed, expected);
        }
    }
}
