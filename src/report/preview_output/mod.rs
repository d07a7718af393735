//! What is foretold, as it is said: to people, as a patch, to programs.
//!
//! Pure. Of containers that do not run yet nothing is said that nobody knows.

mod human;
mod json;

use super::preview::{PlanPreview, StateSource};
use crate::sources::compose::planned_container::Placeholders;
use std::{path::PathBuf, time::Duration};

/// An outlook, and what goes with it.
#[derive(Debug)]
pub struct PreviewOutput {
    pub preview: PlanPreview,
    pub placeholders: Placeholders,
    /// HAProxy's, where it was asked.
    pub socket: PathBuf,
    /// How long a route without containers answers 503.
    pub hold: Duration,
    /// HAProxy would not take it, in its words, and does not say which route is to blame.
    pub rejection: Option<String>,
    /// What else is to be said.
    pub notes: Vec<String>,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewResult {
    Nothing,
    Changes,
    Refused,
}

impl PreviewOutput {
    pub fn result(&self) -> PreviewResult {
        match &self.rejection {
            Some(_) => PreviewResult::Refused,
            None if self.preview.is_empty() => PreviewResult::Nothing,
            None => PreviewResult::Changes,
        }
    }

    /// Routes, commands, files, problems; with colours.
    pub fn to_text(&self) -> String {
        human::render_text(self)
    }

    /// One object.
    pub fn to_json(&self) -> String {
        json::render_json(self)
    }

    /// All files, one after the other.
    pub fn to_patch(&self) -> String {
        self.masked_patches().map(|(_, diff)| diff).collect()
    }

    /// Places and differences, with nothing in them that nobody knows yet.
    fn masked_patches(&self) -> impl Iterator<Item = (String, String)> {
        let generation = &self.preview.files.generation.name;
        self.preview.patches.iter().map(move |patch| {
            if self.placeholders.is_empty() {
                return (patch.path.clone(), patch.diff.clone());
            }
            let nameless = |text: &str| text.replace(generation, "<generation>");
            (nameless(&patch.path), self.placeholders.mask_config(&nameless(&patch.diff)))
        })
    }

    fn masked_commands(&self) -> impl Iterator<Item = String> {
        self.preview
            .commands
            .iter()
            .map(|command| self.placeholders.mask_config(&command.to_string()))
    }

    /// From where it is known what was before, if not from HAProxy.
    fn source_note(&self) -> Option<String> {
        let socket = self.socket.display();
        match self.preview.source {
            StateSource::HAProxy => None,
            StateSource::Files => Some(format!(
                "HAProxy does not answer on {socket}; comparing with the files of the last applied \
                 state"
            )),
            StateSource::Nothing => Some(format!(
                "HAProxy does not answer on {socket}, and there are no files of an earlier state; \
                 everything is shown as new"
            )),
        }
    }
}
