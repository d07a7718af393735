//! Limits of what clients may send.

use super::not;
use crate::model::{label_option::LabelOption, option_value::OptionType, problem::Reason};
use std::{fmt, num::NonZeroU32, str::FromStr};

/// Limit of the requests of one client in a time: of an IPv4 address, or of a /64 network of IPv6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RateLimit(pub Option<Rate>);

/// A number of requests in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// 1 to 1,000,000.
    pub requests: NonZeroU32,
    pub period: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    Second,
    Minute,
    Hour,
}

/// Limit of the requests of one client that are under way at once: 1 to 65535.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtOnce(pub Option<NonZeroU32>);

/// Limit of the size of a request's body in bytes: 1 to 1 TiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxBody(pub Option<u64>);

const MAX_REQUESTS: u32 = 1_000_000;
const MAX_AT_ONCE: u32 = 65_535;
const MAX_BODY: u64 = 1 << 40;

/// Letters of the multiples of a byte.
const UNITS: [(char, u64); 3] = [('k', 1 << 10), ('m', 1 << 20), ('g', 1 << 30)];

impl Period {
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    /// Returns the letter after the slash.
    pub fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
        }
    }

    pub fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

/// Parses digits without a sign or a leading zero.
fn parse_count(text: &str, most: u32) -> Option<NonZeroU32> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|count: &NonZeroU32| plain && count.get() <= most)
}

impl OptionType for RateLimit {}

impl FromStr for RateLimit {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        let rate = text.split_once('/').and_then(|(requests, period)| {
            let period =
                Period::ALL.into_iter().find(|unit| period == unit.letter().to_string())?;
            Some(Rate { requests: parse_count(requests, MAX_REQUESTS)?, period })
        });
        rate.map(|rate| Self(Some(rate))).ok_or_else(|| {
            not(
                LabelOption::Rate,
                text,
                "a number of requests per second, minute or hour: 10/s, 100/m or 1000/h",
            )
        })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Rate { requests, period }) => write!(f, "{requests}/{}", period.letter()),
            None => f.write_str("no limit"),
        }
    }
}

impl OptionType for AtOnce {}

impl FromStr for AtOnce {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        parse_count(text, MAX_AT_ONCE)
            .map(|count| Self(Some(count)))
            .ok_or_else(|| not(LabelOption::AtOnce, text, "a number of requests from 1 to 65535"))
    }
}

impl fmt::Display for AtOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => count.fmt(f),
            None => f.write_str("no limit"),
        }
    }
}

impl OptionType for MaxBody {}

impl FromStr for MaxBody {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let number = lower.strip_suffix('b').unwrap_or(&lower);
        let unit =
            UNITS.iter().find_map(|(letter, size)| Some((number.strip_suffix(*letter)?, *size)));
        let (digits, size) = unit.unwrap_or((number, 1));
        let plain = digits.bytes().all(|c| c.is_ascii_digit());
        let bytes = digits.parse::<u64>().ok().filter(|_| plain);
        let bytes = bytes.and_then(|count| count.checked_mul(size));
        bytes
            .filter(|bytes| (1..=MAX_BODY).contains(bytes))
            .map(|bytes| Self(Some(bytes)))
            .ok_or_else(|| not(LabelOption::MaxBody, text, "a size such as 512k, 10m or 1g"))
    }
}

/// In the largest unit that is exact.
impl fmt::Display for MaxBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return f.write_str("no limit") };
        match UNITS.iter().rev().find(|(_, size)| bytes % size == 0) {
            Some((letter, size)) => write!(f, "{}{letter}", bytes / size),
            None => bytes.fmt(f),
        }
    }
}
