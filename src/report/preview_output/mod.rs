//! Output of a preview: as text for people, as a patch, and as JSON.
//!
//! Pure. Values of containers that do not run yet and are therefore unknown are masked.

mod human;
mod json;

use super::preview::{PlanPreview, StateSource};
use crate::sources::compose::planned_container::Placeholders;
use std::{path::PathBuf, time::Duration};

/// A preview, and what its output needs.
#[derive(Debug)]
pub struct PreviewOutput {
    pub preview: PlanPreview,
    pub placeholders: Placeholders,
    /// HAProxy's socket that was queried.
    pub socket: PathBuf,
    /// How long a route without containers answers 503.
    pub hold: Duration,
    /// Why HAProxy would reject the configuration, if it does not name the route that causes it.
    pub rejection: Option<String>,
    /// Further notes.
    pub notes: Vec<String>,
}

/// The result of a preview.
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

    /// Returns routes, commands, files and problems as text with colours.
    pub fn to_text(&self) -> String {
        human::render_text(self)
    }

    /// Returns one JSON object.
    pub fn to_json(&self) -> String {
        json::render_json(self)
    }

    /// Returns the patches of all files, one after the other.
    pub fn to_patch(&self) -> String {
        self.masked_patches().map(|(_, diff)| diff).collect()
    }

    /// Returns paths and diffs, with values masked that are not known yet.
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

    /// Returns where the state before comes from, if not from HAProxy.
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
