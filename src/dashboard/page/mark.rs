//! How something is, as a shape.
//!
//! Pure.

use crate::view::{
    out::Out,
    status::{ServerState, ServerStatus},
};

/// A shape, that says without colour how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Up,
    Weightless,
    Reserve,
    Out,
    Partly,
    Down,
}

impl Mark {
    /// With the word for it.
    pub(super) fn of(server: &ServerStatus) -> (Self, &'static str) {
        match server.state {
            ServerState::Up => (Self::Up, "up"),
            ServerState::Down => (Self::Down, "down"),
            ServerState::Weightless => (Self::Weightless, "weight 0"),
            ServerState::Reserve => (Self::Reserve, "reserve"),
            ServerState::Out => (Self::Out, server.why.map_or("out", Out::word)),
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Weightless => "weightless",
            Self::Reserve => "reserve",
            Self::Out => "out",
            Self::Partly => "partly",
        }
    }
}
