//! The grammar that users write: labels of a container → what it asks for, and what was not understood.
//!
//! Pure: never fails. What is not understood is a [`Problem`].

pub mod value;

use crate::{
    container::Container,
    problem::Problem,
    route::{Policy, RouteKey},
};
use std::{collections::BTreeSet, num::NonZeroU16};
use value::{HostMatch, Obedience, Weight};

/// One route that one port of the container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub key: RouteKey,
    pub policy: Policy,
    /// The container's port.
    pub port: u16,
    pub weight: Weight,
    pub obedience: Obedience,
}

/// What a container's labels say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    pub asks: Vec<Ask>,
    /// `glue_network`.
    pub network: Option<String>,
    pub problems: Vec<Problem>,
}

/// What an administrator lets containers claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fences {
    /// Empty: every host.
    pub hosts: Vec<HostMatch>,
    /// `None`: every port but `reserved`.
    pub ports: Option<BTreeSet<NonZeroU16>>,
    /// Ports that no container gets unless `ports` names them: SSH's, Docker's API's, our own.
    pub reserved: BTreeSet<NonZeroU16>,
    /// Every one must hold, else the container is not ours.
    pub constraints: Vec<Constraint>,
}

/// `label` or `label=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    pub label: String,
    pub value: Option<String>,
}

/// Whether anything in these names speaks to us at all; the cheap question before [`read`].
pub fn speaks<'a>(keys: impl IntoIterator<Item = &'a str>) -> bool {
    keys.into_iter().any(|key| key.starts_with("glue_"))
}

/// What the container asks for. Does not look at its state or its addresses.
pub fn read(_container: &Container, _fences: &Fences) -> Reading {
    Reading::default()
}
