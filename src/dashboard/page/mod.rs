//! What the page says: a status in groups, rows and words.
//!
//! Pure. Templates print what is here; what is said, and how, is decided here.

mod group;
mod head;
mod mark;
mod pass;
mod problems;
mod row;

pub use group::Group;
pub use head::{Head, Held, Light, Port};
pub use mark::Mark;
pub use pass::{Line, Pass, Sign};
pub use problems::{Problems, Trouble};
pub use row::{Path, Row};

use super::words::count;
use crate::{
    haproxy::stat::Counters,
    view::{
        Picture,
        status::{LastApply, Status},
    },
};

/// Of the last passes.
const MOST_RECENT: usize = 20;

/// All of it, from top to bottom.
#[derive(Debug, Clone)]
pub struct Page {
    pub head: Head,
    pub problems: Problems,
    pub welcome: Option<Welcome>,
    pub recent: Vec<Pass>,
    pub groups: Vec<Group>,
}

/// Why there is nothing to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Docker was not heard yet.
    Waiting,
    NoRoutes,
}

impl Page {
    /// Without `counters` where HAProxy does not say them.
    pub fn of_picture(picture: &Picture, counters: Option<&Counters>, wanted: &str) -> Self {
        let recent = picture.history.generations().rev().map(|it| LastApply::from(it.as_ref()));
        Self::of(&Status::of(picture, counters), recent, wanted)
    }

    /// `recent` has the newest first. Groups in which `wanted` does not occur are hidden.
    pub fn of(status: &Status, recent: impl Iterator<Item = LastApply>, wanted: &str) -> Self {
        let pass = |it: LastApply| Pass::of(&it, status.at_ms);
        let groups = group::groups(status, &wanted.trim().to_lowercase());
        Self {
            head: Head::of(status),
            problems: Problems::of(&status.problems),
            welcome: welcome(status, &groups),
            recent: recent.take(MOST_RECENT).map(pass).collect(),
            groups,
        }
    }
}

fn welcome(status: &Status, groups: &[Group]) -> Option<Welcome> {
    match (groups.is_empty(), status.docker.containers) {
        (false, _) => None,
        (true, None) => Some(Welcome::Waiting),
        (true, Some(_)) => Some(Welcome::NoRoutes),
    }
}

/// Whether HAProxy counts.
#[derive(Debug, Clone, Copy)]
struct Counted(bool);

impl Counted {
    fn say(self, number: u64) -> String {
        if self.0 { count(number) } else { "–".to_owned() }
    }
}
