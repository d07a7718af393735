//! A status as a shape.
//!
//! Pure.

use crate::report::{
    exclusion::Exclusion,
    status::{ServerState, ServerStatus},
};

/// A shape that shows a status without relying on colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusIcon {
    Up,
    ZeroWeight,
    Backup,
    Excluded,
    Partly,
    Down,
}

impl StatusIcon {
    /// Returns the icon of a server, and the word for its state.
    pub(crate) fn for_server(server: &ServerStatus) -> (Self, &'static str) {
        match server.state {
            ServerState::Up => (Self::Up, "up"),
            ServerState::Down => (Self::Down, "down"),
            ServerState::ZeroWeight => (Self::ZeroWeight, "weight 0"),
            ServerState::Backup => (Self::Backup, "backup"),
            ServerState::Excluded => {
                (Self::Excluded, server.why.map_or("excluded", Exclusion::as_str))
            }
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::ZeroWeight => "zero-weight",
            Self::Backup => "backup",
            Self::Excluded => "excluded",
            Self::Partly => "partly",
        }
    }
}
