//! The last passes that changed something, for those who look.
//!
//! Pure. A copy costs a pointer each.

use super::Applied;
use std::{collections::VecDeque, sync::Arc};

/// Older ones are forgotten.
const MOST: usize = 50;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent(VecDeque<Arc<Applied>>);

impl Recent {
    pub fn add(&mut self, applied: Applied) {
        self.0.push_front(Arc::new(applied));
        self.0.truncate(MOST);
    }

    /// The newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Applied> {
        self.0.iter().map(AsRef::as_ref)
    }
}
