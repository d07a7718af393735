//! Commands of docker-balancer to docker-glue-udp: one line of text each.
//!
//! Pure. The answers are in [`super::answer`].

use super::config::{MAX_TEXT_BYTES, UdpListener, UdpListenerError, is_legal_text};
use std::{fmt, net::SocketAddr, str::FromStr};

/// The version of the protocol. A plane of an older version refuses what it does not know, so that a newer
/// docker-balancer is never served differently from what it requested. It changes when a command or a field of
/// [`UdpListener`] is added.
pub const PROTOCOL: u32 = 2;

/// The greatest length of a command or of a line of an answer, in bytes, with the line end.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// A command, whose `Display` is its line without the line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpCommand {
    /// Serve this listener, in place of the one with the same address and port.
    Set(Box<UdpListener>),
    /// Stop serving the listener with this address and port. It is not an error if there is none.
    Delete(SocketAddr),
    /// Report the plane and all its listeners.
    Show,
    /// Report the plane without its listeners.
    Totals,
    /// Report the flows of all endpoints whose identifier begins with this text.
    Flows(String),
}

/// Why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UdpCommandError {
    #[error(
        "unknown command {0:?}; this is protocol {PROTOCOL} with set, del, show, totals and flows"
    )]
    Unknown(String),
    #[error("set: {0}")]
    Json(String),
    #[error(transparent)]
    Listener(#[from] UdpListenerError),
    #[error("del: {0:?} is not an address and port such as [::]:53")]
    Address(String),
    #[error(
        "flows: {0:?} cannot start an identifier, which has at most {MAX_TEXT_BYTES} bytes without control characters"
    )]
    Start(String),
}

impl fmt::Display for UdpCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Only strings, numbers and lists are printed, which cannot fail. JSON has no line ends inside.
            Self::Set(listener) => {
                let json = serde_json::to_string(listener).map_err(|_| fmt::Error)?;
                write!(f, "set {json}")
            }
            Self::Delete(bind) => write!(f, "del {bind}"),
            Self::Show => f.write_str("show"),
            Self::Totals => f.write_str("totals"),
            Self::Flows(start) => write!(f, "flows {start}"),
        }
    }
}

impl FromStr for UdpCommand {
    type Err = UdpCommandError;

    fn from_str(line: &str) -> Result<Self, UdpCommandError> {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match (word, rest.trim()) {
            ("set", json) => Self::parse_set(json),
            ("del", bind) => match bind.parse() {
                Ok(bind) => Ok(Self::Delete(bind)),
                Err(_) => Err(UdpCommandError::Address(excerpt(bind))),
            },
            ("show", "") => Ok(Self::Show),
            ("totals", "") => Ok(Self::Totals),
            ("flows", start) if !start.is_empty() && !is_legal_text(start) => {
                Err(UdpCommandError::Start(excerpt(start)))
            }
            ("flows", start) if !start.is_empty() => Ok(Self::Flows(start.to_owned())),
            _ => Err(UdpCommandError::Unknown(excerpt(line))),
        }
    }
}

impl UdpCommand {
    /// Returns the command without its JSON, for messages: `set [::]:53`.
    pub fn summary(&self) -> String {
        match self {
            Self::Set(listener) => format!("set {}", listener.bind),
            Self::Delete(_) | Self::Show | Self::Totals | Self::Flows(_) => self.to_string(),
        }
    }

    fn parse_set(json: &str) -> Result<Self, UdpCommandError> {
        let listener: UdpListener = serde_json::from_str(json)
            .map_err(|error| UdpCommandError::Json(excerpt(&error.to_string())))?;
        listener.check()?;
        Ok(Self::Set(Box::new(listener)))
    }
}

/// Returns the start of a text that another program sent.
fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}
