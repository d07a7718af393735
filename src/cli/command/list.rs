//! `routes`, `problems` and `history`.

use super::{CommandOutput, terminal::terminal_width};
use crate::{
    api::control::client::get,
    report::{
        history::GenerationStatus,
        status::{ProblemStatus, Status},
        text_report,
    },
};
use anyhow::Result;
use serde_json::value::RawValue;
use std::path::Path;

pub(crate) async fn list_routes(socket: &Path) -> Result<CommandOutput> {
    let status: Status = get(socket, "/status").await?;
    Ok(text_report::render_routes(&status, terminal_width()).into())
}

/// Lists the problems. The exit status is 1 if any of them is more than a hint.
pub(crate) async fn list_problems(socket: &Path, json: bool) -> Result<CommandOutput> {
    let text: Box<RawValue> = get(socket, "/problems").await?;
    let all: Vec<ProblemStatus> = serde_json::from_str(text.get())?;
    let status = u8::from(all.iter().any(|status| !status.hint));
    let text = if json {
        text.get().to_owned()
    } else {
        text_report::render_problems(&all, terminal_width())
    };
    Ok(CommandOutput { text, status })
}

pub(crate) async fn list_history(socket: &Path, last: usize) -> Result<CommandOutput> {
    let all: Vec<GenerationStatus> = get(socket, "/history").await?;
    Ok(text_report::render_history(&all, last, terminal_width()).into())
}
