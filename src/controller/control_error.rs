//! Why the balancer did not do what it was asked, on one page.
//!
//! Pure.

use crate::report::history::HistoryError;
use hyper::StatusCode;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    UnknownContainer {
        text: String,
        nearest: Option<String>,
    },
    AmbiguousContainer {
        text: String,
        names: Vec<String>,
    },
    /// The history does not have it.
    NoGeneration(HistoryError),
    /// There is no rollback to be released.
    NoRollback,
    DockerNotReady,
    NotApplied(String),
    CountFailed(String),
    Stopping,
    PathNotFound(String),
    /// The method that the path takes.
    MethodNotAllowed(&'static str),
    InvalidBody(String),
    /// What is asked for in the query of a path.
    InvalidQuery(String),
}

impl ApiError {
    pub fn status_code(&self) -> StatusCode {
        match self {
            Self::UnknownContainer { .. } | Self::NoGeneration(_) | Self::PathNotFound(_) => {
                StatusCode::NOT_FOUND
            }
            Self::AmbiguousContainer { .. } | Self::NoRollback => StatusCode::CONFLICT,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidBody(_) | Self::InvalidQuery(_) => StatusCode::BAD_REQUEST,
            Self::DockerNotReady | Self::NotApplied(_) | Self::CountFailed(_) | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownContainer { text, nearest: Some(nearest) } => {
                write!(f, "no container {text:?} takes part; did you mean {nearest}?")
            }
            Self::UnknownContainer { text, nearest: None } => write!(
                f,
                "no container {text:?} takes part; give a name, or the beginning of an id, \
                 of one that has labels for this balancer"
            ),
            Self::AmbiguousContainer { text, names } => {
                write!(f, "{text:?} begins the ids of {}; give more of it", names.join(" and "))
            }
            Self::NoGeneration(why) => write!(f, "{why}"),
            Self::NoRollback => f.write_str("no rollback holds; containers are followed"),
            Self::DockerNotReady => {
                f.write_str("docker has not answered yet, so no container is known; try again")
            }
            Self::NotApplied(why) => {
                write!(f, "not applied yet: {why}; it is tried again until it works")
            }
            Self::CountFailed(why) => write!(
                f,
                "it gets no new requests, but HAProxy could not be asked how many are under way: {why}"
            ),
            Self::Stopping => f.write_str("docker-balancer is stopping"),
            Self::PathNotFound(path) => {
                write!(f, "there is no {path:?}; docs/control.yaml lists what there is")
            }
            Self::MethodNotAllowed(method) => write!(f, "the method is {method}"),
            Self::InvalidBody(why) => write!(f, "the body was not understood: {why}"),
            Self::InvalidQuery(why) => write!(f, "the query was not understood: {why}"),
        }
    }
}
