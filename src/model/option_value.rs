//! Types of label values. Text is checked once, when it is parsed into one of these types.
//!
//! Pure. Values contain only printable ASCII without blanks, restricted to the characters that each type permits.

pub use super::{
    host::{Host, HostMatch},
    prefix::{CheckPath, ExactPath, MAX_SEGMENTS, PathPrefix, PathRule},
};
use crate::model::{label_option::LabelOption, problem::Reason, route::Strip};
use serde_json::Value;
use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration};

/// Value of a label. Its display and its JSON parse to the same value, if a label can have it.
pub trait OptionType: Clone + Default + PartialEq + fmt::Display + FromStr<Err = Reason> {
    /// Returns the value, and a hint about it if it is not used as written.
    fn parse_reporting(text: &str) -> Result<(Self, Option<Reason>), Reason> {
        Ok((text.parse()?, None))
    }

    /// Returns the value as the member of a JSON object.
    fn to_json(&self) -> Value {
        Value::String(self.to_string())
    }

    /// Parses the member of a JSON object.
    fn from_json(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

/// A container's share of the route's requests, 0 to 256. With 0 it gets no new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

/// How long a container may take to answer: 1 ms to 24 h, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(Duration);

/// After which time without data an upgraded connection, such as a WebSocket, ends: 1 s to 24 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TunnelTimeout(Duration);

/// Whether requests are in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Log(pub bool);

/// Limit of the requests that a container gets at once, 1 to 65535. The default is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Maxconn(Option<NonZeroU16>);

/// Whether a container serves only while no other container of its route is fit to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backup(pub bool);

/// How often HAProxy checks a container: 500 ms to 1 h, in whole milliseconds. The default grows with the number of
/// servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckInterval(Option<Duration>);

/// HAProxy's own health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckMethod {
    /// A connection to the container's port.
    #[default]
    Tcp,
    Off,
    /// A request to the container's port.
    Http(CheckPath),
    /// A connection to another port of the container. Only for routes of TCP, as is the next one.
    TcpOn(NonZeroU16),
    /// A request by HTTP to another port of the container.
    HttpOn(NonZeroU16, CheckPath),
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16,
}

/// What Docker's HEALTHCHECK means for traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthPolicy {
    /// Starting and unhealthy containers serve only while the route has no healthy one.
    #[default]
    Obey,
    /// Starting and unhealthy containers do not serve, except one that served until now if no other container is ready.
    Require,
    Ignore,
}

/// Which failed requests are sent to a container again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// Requests that did not reach a container; GET, HEAD and OPTIONS also if the container failed during them.
    #[default]
    Safe,
    All,
    Off,
}

impl Weight {
    pub const MAX: Self = Self(256);

    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl Timeout {
    const MAX: Duration = Duration::from_hours(24);

    pub fn duration(self) -> Duration {
        self.0
    }

    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).expect("a day has fewer milliseconds")
    }
}

impl CheckInterval {
    /// The time until a server that is down is checked again is half of it.
    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_hours(1);

    /// Returns the interval, if the container has one of its own.
    pub fn duration(self) -> Option<Duration> {
        self.0
    }
}

impl CheckMethod {
    /// Returns the path, if the check is a request by HTTP.
    pub fn path(&self) -> Option<&CheckPath> {
        match self {
            Self::Http(path) | Self::HttpOn(_, path) => Some(path),
            Self::Tcp | Self::Off | Self::TcpOn(_) => None,
        }
    }

    /// Returns the port, if it is another one than that of the route.
    pub fn port(&self) -> Option<NonZeroU16> {
        match self {
            Self::TcpOn(port) | Self::HttpOn(port, _) => Some(*port),
            Self::Tcp | Self::Off | Self::Http(_) => None,
        }
    }
}

impl PortRange {
    pub fn first(self) -> NonZeroU16 {
        self.first
    }

    /// Returns the number of ports, at least 1.
    pub fn count(self) -> usize {
        usize::from(self.last.get() - self.first.get()) + 1
    }

    /// Returns the port, if there is only one.
    pub fn single(self) -> Option<NonZeroU16> {
        (self.first == self.last).then_some(self.first)
    }

    pub fn ports(self) -> impl Iterator<Item = NonZeroU16> {
        (self.first.get()..=self.last.get()).filter_map(NonZeroU16::new)
    }
}

impl From<NonZeroU16> for PortRange {
    fn from(port: NonZeroU16) -> Self {
        Self { first: port, last: port }
    }
}

/// Parses `80`, or `8000-8010`.
impl FromStr for PortRange {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (parse_port(first)?, parse_port(last)?);
        if last < first {
            return Err(Reason::NotARange(text.to_owned()));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(port) => port.fmt(f),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self(Duration::from_mins(1))
    }
}

impl TunnelTimeout {
    /// The longest that HAProxy accepts.
    const MAX: Duration = Duration::from_hours(24 * 24);

    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Default for TunnelTimeout {
    fn default() -> Self {
        Self(Duration::from_hours(1))
    }
}

impl FromStr for TunnelTimeout {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let time = humantime::parse_duration(text.trim()).ok();
        let is_possible = |time: &Duration| (Duration::from_secs(1)..=Self::MAX).contains(time);
        time.filter(is_possible).map(|time| Self(Duration::from_secs(time.as_secs()))).ok_or_else(
            || Reason::InvalidValue {
                option: LabelOption::TunnelTimeout,
                text: text.to_owned(),
                expected: "a duration from 1s to 24days with a unit, such as 30s or 8h",
            },
        )
    }
}

impl fmt::Display for TunnelTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl OptionType for TunnelTimeout {}

impl Default for Log {
    fn default() -> Self {
        Self(true)
    }
}

impl FromStr for Log {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        parse_switch(text).map(Self)
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}

impl OptionType for Log {
    fn to_json(&self) -> Value {
        self.0.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool().map(Self)
    }
}

impl OptionType for Weight {
    fn parse_reporting(text: &str) -> Result<(Self, Option<Reason>), Reason> {
        if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
            return Err(Reason::NotAWeight);
        }
        // A number that does not fit into 16 bits is above 256 too.
        match text.parse().unwrap_or(u16::MAX) {
            weight if weight <= Self::MAX.0 => Ok((Self(weight), None)),
            _ => Ok((Self::MAX, Some(Reason::WeightTooHigh))),
        }
    }

    fn to_json(&self) -> Value {
        self.0.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let weight = u16::try_from(value.as_u64()?).ok()?;
        (weight <= Self::MAX.0).then_some(Self(weight))
    }
}

impl OptionType for Timeout {
    fn to_json(&self) -> Value {
        self.as_millis().into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        format!("{}ms", value.as_u64()?).parse().ok()
    }
}

/// As in HAProxy's configuration, 0 means no limit.
impl OptionType for Maxconn {
    fn to_json(&self) -> Value {
        self.0.map_or(0, NonZeroU16::get).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let limit = u16::try_from(value.as_u64()?).ok()?;
        Some(Self(NonZeroU16::new(limit)))
    }
}

impl OptionType for Backup {
    fn to_json(&self) -> Value {
        self.0.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool().map(Self)
    }
}

impl OptionType for CheckInterval {
    fn to_json(&self) -> Value {
        let millis = |time: Duration| u64::try_from(time.as_millis()).ok();
        self.0.and_then(millis).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        format!("{}ms", value.as_u64()?).parse().ok()
    }
}

impl OptionType for CheckMethod {}

impl OptionType for HealthPolicy {}

impl OptionType for Retry {}

impl OptionType for Strip {
    fn to_json(&self) -> Value {
        match self {
            Self::Keep => false.into(),
            Self::Prefix => true.into(),
            Self::Part(part) => part.to_single().into(),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(true) => Some(Self::Prefix),
            Value::Bool(false) => Some(Self::Keep),
            value => value.as_str()?.parse().ok(),
        }
    }
}

/// A weight above 256 becomes 256.
impl FromStr for Weight {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        Self::parse_reporting(text.trim()).map(|(weight, _)| weight)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Maxconn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("no limit"),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "1" } else { "0" })
    }
}

impl fmt::Display for CheckInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => humantime::format_duration(time).fmt(f),
            None => f.write_str("computed"),
        }
    }
}

impl fmt::Display for CheckMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Off => f.write_str("off"),
            Self::Http(path) => f.write_str(path.as_str()),
            Self::TcpOn(port) => port.fmt(f),
            Self::HttpOn(port, path) => write!(f, "{port}{path}"),
        }
    }
}

impl fmt::Display for HealthPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Obey => "obey",
            Self::Require => "require",
            Self::Ignore => "ignore",
        })
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safe => "safe",
            Self::All => "all",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for Strip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("0"),
            Self::Prefix => f.write_str("1"),
            Self::Part(part) => f.write_str(&part.to_single()),
        }
    }
}

impl FromStr for Maxconn {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let limit = parse_port(text.trim()).map_err(|_| Reason::NotAMaxconn)?;
        Ok(Self(Some(limit)))
    }
}

impl FromStr for Timeout {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let time = humantime::parse_duration(text.trim()).map_err(|_| Reason::NotATimeout)?;
        // Truncated to whole milliseconds, because HAProxy has no smaller unit.
        match u64::try_from(time.as_millis()) {
            Ok(millis) if 0 < millis && time <= Self::MAX => {
                Ok(Self(Duration::from_millis(millis)))
            }
            _ => Err(Reason::NotATimeout),
        }
    }
}

impl FromStr for Backup {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        parse_switch(text).map(Self)
    }
}

impl FromStr for CheckInterval {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let time = humantime::parse_duration(text.trim()).ok();
        let is_possible = |time: &Duration| (Self::MIN..=Self::MAX).contains(time);
        let millis = time.filter(is_possible).and_then(|time| u64::try_from(time.as_millis()).ok());
        match millis {
            Some(millis) => Ok(Self(Some(Duration::from_millis(millis)))),
            None => Err(Reason::InvalidValue {
                option: LabelOption::CheckInterval,
                text: text.to_owned(),
                expected: "a duration from 500ms to 1h with a unit, such as 5s or 1m",
            }),
        }
    }
}

impl FromStr for CheckMethod {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        if let Some(method) = match_word(text, &[("tcp", Self::Tcp), ("off", Self::Off)]) {
            return Ok(method);
        }
        let text = text.trim();
        let (port, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let port = || parse_port(port).map_err(|_| Reason::NotACheck);
        match path {
            "" => port().map(Self::TcpOn),
            path if path.len() == text.len() => path.parse().map(Self::Http),
            path => Ok(Self::HttpOn(port()?, path.parse()?)),
        }
    }
}

impl FromStr for HealthPolicy {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match_word(
            text,
            &[("obey", Self::Obey), ("require", Self::Require), ("ignore", Self::Ignore)],
        )
        .ok_or(Reason::InvalidHealth)
    }
}

impl FromStr for Retry {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match_word(text, &[("safe", Self::Safe), ("all", Self::All), ("off", Self::Off)])
            .ok_or(Reason::NotARetry)
    }
}

impl FromStr for Strip {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text.trim() {
            path if path.len() > 1 && path.starts_with('/') => {
                let part = PathPrefix::parse_single(path)?;
                // Encoded slashes alone are no part.
                if part.as_str().is_empty() {
                    Err(Reason::NotASwitch)
                } else {
                    Ok(Self::Part(part))
                }
            }
            text => parse_switch(text).map(|on| if on { Self::Prefix } else { Self::Keep }),
        }
    }
}

/// Parses a switch, as users write it in YAML.
pub(super) fn parse_switch(text: &str) -> Result<bool, Reason> {
    let on = ["1", "true", "yes", "on"].map(|on| (on, true));
    let off = ["0", "false", "no", "off"].map(|off| (off, false));
    match_word(text, &on).or_else(|| match_word(text, &off)).ok_or(Reason::NotASwitch)
}

/// Parses a port: digits without a sign or a leading zero.
pub fn parse_port(text: &str) -> Result<NonZeroU16, Reason> {
    let plain = !text.starts_with(['+', '0']);
    match text.parse() {
        Ok(port) if plain => Ok(port),
        _ => Err(Reason::NotAPort(text.to_owned())),
    }
}

/// Ignores case, because YAML and users write `True` as well as `true`.
pub(super) fn match_word<T: Clone>(text: &str, words: &[(&str, T)]) -> Option<T> {
    let text = text.trim();
    words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| value.clone())
}
