//! `rollback` and `rollback --release`.

use super::CommandOutput;
use crate::api::control::{RollbackRequest, RollbackResponse, client::post};
use anyhow::Result;
use std::{path::Path, time::Duration};

pub(crate) async fn start_rollback(socket: &Path, generation: u64) -> Result<CommandOutput> {
    let response: RollbackResponse =
        post(socket, "/rollback", &RollbackRequest { generation }, Duration::ZERO).await?;
    let text = format!(
        "rolled back to generation {}: its routes are served again by its containers that still \
         exist; `docker-balancer rollback --release` ends the rollback",
        response.generation
    );
    Ok((text + &persistence_note(response.kept, "lasts only until docker-balancer stops")).into())
}

pub(crate) async fn release_rollback(socket: &Path) -> Result<CommandOutput> {
    let nothing = serde_json::json!({});
    let response: RollbackResponse = post(socket, "/release", &nothing, Duration::ZERO).await?;
    let text =
        format!("rollback to generation {} ended; following containers again", response.generation);
    Ok((text
        + &persistence_note(
            response.kept,
            "may become active again when docker-balancer restarts",
        ))
        .into())
}

fn persistence_note(kept: bool, otherwise: &str) -> String {
    if kept {
        String::new()
    } else {
        format!(
            "\nthe rollback could not be saved to disk, so it \
                                              {otherwise}"
        )
    }
}
