//! What is foretold, as it is said: to people, as a patch, to programs.
//!
//! Pure. Of containers that do not run yet nothing is said that nobody knows.

mod human;
mod json;

use super::outlook::{Outlook, Source};
use crate::compose::planned::Masks;
use std::{path::PathBuf, time::Duration};

/// An outlook, and what goes with it.
#[derive(Debug)]
pub struct Foretold {
    pub outlook: Outlook,
    pub masks: Masks,
    /// HAProxy's, where it was asked.
    pub socket: PathBuf,
    /// How long a route without containers answers 503.
    pub hold: Duration,
    /// HAProxy would not take it, in its words, and does not say which route is to blame.
    pub refused: Option<String>,
    /// What else is to be said.
    pub notes: Vec<String>,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Nothing,
    Changes,
    Refused,
}

impl Foretold {
    pub fn result(&self) -> End {
        match &self.refused {
            Some(_) => End::Refused,
            None if self.outlook.is_empty() => End::Nothing,
            None => End::Changes,
        }
    }

    /// Routes, commands, files, problems; with colours.
    pub fn human(&self) -> String {
        human::text(self)
    }

    /// One object.
    pub fn json(&self) -> String {
        json::text(self)
    }

    /// All files, one after the other.
    pub fn patch(&self) -> String {
        self.patches().map(|(_, diff)| diff).collect()
    }

    /// Places and differences, with nothing in them that nobody knows yet.
    fn patches(&self) -> impl Iterator<Item = (String, String)> {
        let generation = &self.outlook.files.generation.name;
        self.outlook.patches.iter().map(move |patch| {
            if self.masks.is_empty() {
                return (patch.path.clone(), patch.diff.clone());
            }
            let nameless = |text: &str| text.replace(generation, "<generation>");
            (nameless(&patch.path), self.masks.in_text(&nameless(&patch.diff)))
        })
    }

    fn commands(&self) -> impl Iterator<Item = String> {
        self.outlook.commands.iter().map(|it| self.masks.in_text(&it.to_string()))
    }

    /// From where it is known what was before, if not from HAProxy.
    fn source(&self) -> Option<String> {
        let socket = self.socket.display();
        match self.outlook.source {
            Source::HAProxy => None,
            Source::Files => Some(format!(
                "HAProxy does not answer on {socket}; compared with the files of the last good state"
            )),
            Source::Nothing => Some(format!(
                "HAProxy does not answer on {socket}, and there are no files of an earlier state; everything is new"
            )),
        }
    }
}
