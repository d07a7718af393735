//! Why a request to the balancer failed: all errors on one page.
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
    /// Containers of several sources have the name.
    SeveralSources {
        text: String,
        /// Each with its source.
        names: Vec<String>,
    },
    /// No HTTPS host has this name.
    UnknownHost {
        host: String,
        hosts: Vec<String>,
    },
    /// Why no certificate is ordered for the host.
    NotOrdered(String),
    /// The history does not contain the generation.
    NoGeneration(HistoryError),
    /// No rollback is active that could be released.
    NoRollback,
    DockerNotReady,
    NotApplied(String),
    CountFailed(String),
    CutFailed(String),
    /// This docker-balancer has no `--fleet`.
    NoFleet,
    /// The change applies here, but etcd does not have it yet.
    FleetSilent,
    Stopping,
    PathNotFound(String),
    /// The method that the path accepts.
    MethodNotAllowed(&'static str),
    InvalidBody(String),
    /// The query of a path is invalid.
    InvalidQuery(String),
}

impl ApiError {
    pub fn status_code(&self) -> StatusCode {
        match self {
            Self::UnknownContainer { .. }
            | Self::UnknownHost { .. }
            | Self::NoGeneration(_)
            | Self::NoFleet
            | Self::PathNotFound(_) => StatusCode::NOT_FOUND,
            Self::AmbiguousContainer { .. }
            | Self::SeveralSources { .. }
            | Self::NotOrdered(_)
            | Self::NoRollback => StatusCode::CONFLICT,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidBody(_) | Self::InvalidQuery(_) => StatusCode::BAD_REQUEST,
            Self::DockerNotReady
            | Self::NotApplied(_)
            | Self::CountFailed(_)
            | Self::CutFailed(_)
            | Self::FleetSilent
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownContainer { text, nearest: Some(nearest) } => {
                write!(
                    f,
                    "no container {text:?} with labels for this docker-balancer; did you mean \
                     {nearest}?"
                )
            }
            Self::UnknownContainer { text, nearest: None } => write!(
                f,
                "no container {text:?} with labels for this docker-balancer; give a name, an id, \
                 or the beginning of an id"
            ),
            Self::AmbiguousContainer { text, names } => {
                write!(
                    f,
                    "{text:?} matches several ids: {}; give more characters",
                    names.join(" and ")
                )
            }
            Self::SeveralSources { text, names } => {
                write!(
                    f,
                    "{text:?} is a container of several sources: write {}",
                    names.join(" or ")
                )
            }
            Self::UnknownHost { host, hosts } if hosts.is_empty() => {
                write!(f, "no certificate is ordered for {host:?}, or for any other host")
            }
            Self::UnknownHost { host, hosts } => {
                write!(f, "no certificate is ordered for {host:?}, only for {}", hosts.join(", "))
            }
            Self::NotOrdered(why) => f.write_str(why),
            Self::NoGeneration(why) => write!(f, "{why}"),
            Self::NoRollback => f.write_str("no rollback is active"),
            Self::DockerNotReady => {
                f.write_str("Docker has not answered yet, so no containers are known; try again")
            }
            Self::NotApplied(why) => {
                write!(f, "not applied yet: {why}; retrying")
            }
            Self::CountFailed(why) => write!(
                f,
                "the container gets no new requests, but what it still serves could not be counted: \
                 {why}"
            ),
            Self::CutFailed(why) => write!(
                f,
                "the container gets no new requests, but those in flight could not be ended: {why}"
            ),
            Self::NoFleet => f.write_str("this docker-balancer has no fleet; see --fleet"),
            Self::FleetSilent => f.write_str(
                "applied on this balancer, but the etcd of the fleet does not answer; the other \
                 balancers follow when it does",
            ),
            Self::Stopping => f.write_str("docker-balancer is stopping"),
            Self::PathNotFound(path) => {
                write!(f, "not found: {path:?}; docs/control.yaml lists all paths")
            }
            Self::MethodNotAllowed(method) => write!(f, "method not allowed; use {method}"),
            Self::InvalidBody(why) => write!(f, "invalid request body: {why}"),
            Self::InvalidQuery(why) => write!(f, "invalid query: {why}"),
        }
    }
}
