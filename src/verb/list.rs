//! `routes`, `problems` and `history`.

use super::{Told, screen::width};
use crate::{
    control::client::get,
    view::{
        history::GenerationStatus,
        show,
        status::{ProblemStatus, Status},
    },
};
use anyhow::Result;
use serde_json::value::RawValue;
use std::path::Path;

pub(super) async fn routes(socket: &Path) -> Result<Told> {
    let status: Status = get(socket, "/status").await?;
    Ok(show::routes(&status, width()).into())
}

/// 1 where there is more than hints.
pub(super) async fn problems(socket: &Path, json: bool) -> Result<Told> {
    let text: Box<RawValue> = get(socket, "/problems").await?;
    let all: Vec<ProblemStatus> = serde_json::from_str(text.get())?;
    let status = u8::from(all.iter().any(|it| !it.hint));
    let text = if json { text.get().to_owned() } else { show::problems(&all, width()) };
    Ok(Told { text, status })
}

pub(super) async fn history(socket: &Path, last: usize) -> Result<Told> {
    let all: Vec<GenerationStatus> = get(socket, "/history").await?;
    Ok(show::history(&all, last, width()).into())
}
