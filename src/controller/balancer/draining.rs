//! Backends that a route no longer uses and in which its requests may still wait for a container.
//!
//! Pure. If another route used such a backend at once, its servers would answer these requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

#[derive(Debug, Default)]
pub(crate) struct DrainingBackends {
    until: BTreeMap<String, Instant>,
    names: BTreeSet<String>,
}

impl DrainingBackends {
    pub(crate) fn add_backends(
        &mut self,
        backends: impl IntoIterator<Item = String>,
        until: Instant,
    ) {
        for backend in backends {
            self.names.insert(backend.clone());
            self.until.insert(backend, until);
        }
    }

    /// Removes the backends whose time is over, and returns those that are still draining.
    pub(crate) fn expire(&mut self, now: Instant) -> &BTreeSet<String> {
        let Self { until, names } = self;
        until.retain(|name, until| now < *until || !names.remove(name));
        names
    }

    /// Returns the backends that were draining at the last call of [`Self::expire`].
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }
}

#[cfg(test)]
mod tests;
