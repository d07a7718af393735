//! Why the balancer did not do what it was asked, on one page.
//!
//! Pure.

use crate::view::history::NotKept;
use hyper::StatusCode;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Unknown {
        text: String,
        nearest: Option<String>,
    },
    Ambiguous {
        text: String,
        names: Vec<String>,
    },
    /// The history does not have it.
    NoGeneration(NotKept),
    /// There is no rollback to be released.
    NotHeld,
    NoDocker,
    NotApplied(String),
    NotCounted(String),
    Stopping,
    NoSuchPath(String),
    /// The method that the path takes.
    NotSo(&'static str),
    NotRead(String),
    /// What is asked for in the query of a path.
    NotAsked(String),
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unknown { .. } | Self::NoGeneration(_) | Self::NoSuchPath(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Ambiguous { .. } | Self::NotHeld => StatusCode::CONFLICT,
            Self::NotSo(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotRead(_) | Self::NotAsked(_) => StatusCode::BAD_REQUEST,
            Self::NoDocker | Self::NotApplied(_) | Self::NotCounted(_) | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { text, nearest: Some(nearest) } => {
                write!(f, "no container {text:?} takes part; did you mean {nearest}?")
            }
            Self::Unknown { text, nearest: None } => write!(
                f,
                "no container {text:?} takes part; give a name, or the beginning of an id, \
                 of one that has labels for this balancer"
            ),
            Self::Ambiguous { text, names } => {
                write!(f, "{text:?} begins the ids of {}; give more of it", names.join(" and "))
            }
            Self::NoGeneration(why) => write!(f, "{why}"),
            Self::NotHeld => f.write_str("no rollback holds; containers are followed"),
            Self::NoDocker => {
                f.write_str("docker has not answered yet, so no container is known; try again")
            }
            Self::NotApplied(why) => {
                write!(f, "not applied yet: {why}; it is tried again until it works")
            }
            Self::NotCounted(why) => write!(
                f,
                "it gets no new requests, but HAProxy could not be asked how many are under way: {why}"
            ),
            Self::Stopping => f.write_str("docker-balancer is stopping"),
            Self::NoSuchPath(path) => {
                write!(f, "there is no {path:?}; docs/control.yaml lists what there is")
            }
            Self::NotSo(method) => write!(f, "the method is {method}"),
            Self::NotRead(why) => write!(f, "the body was not understood: {why}"),
            Self::NotAsked(why) => write!(f, "the query was not understood: {why}"),
        }
    }
}
