//! Backends that a route has left and in which its requests may still wait for a container.
//!
//! Pure. Another route that took such a backend at once would answer them.

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

    /// Those that rest at that time.
    pub(crate) fn expire(&mut self, now: Instant) -> &BTreeSet<String> {
        let Self { until, names } = self;
        until.retain(|name, until| now < *until || !names.remove(name));
        names
    }

    /// Those that rested when it was last asked.
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }
}

#[cfg(test)]
mod tests;
