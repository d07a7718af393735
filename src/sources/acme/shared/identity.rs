//! This program, as other balancers see it.

use super::record::{Identity, MemberId};
use nix::unistd::gethostname;
use std::{
    hash::{BuildHasher as _, RandomState},
    process,
};

impl Identity {
    /// Returns an identity that no other balancer has, and that orders from a CA.
    pub(super) fn new(ca: &str) -> Self {
        // The keys of `RandomState` are from the system's random numbers.
        let half = || u128::from(RandomState::new().hash_one(process::id()));
        let id = MemberId::new(half() << 64 | half());
        let host = gethostname().ok().and_then(|name| name.into_string().ok());
        Self { id, host: host.unwrap_or_default(), pid: process::id(), ca: ca.to_owned() }
    }
}
