//! `rollback` and its end.

use super::CommandOutput;
use crate::api::control::{RollbackRequest, RollbackResponse, client::post};
use anyhow::Result;
use std::{path::Path, time::Duration};

pub(crate) async fn start_rollback(socket: &Path, generation: u64) -> Result<CommandOutput> {
    let response: RollbackResponse =
        post(socket, "/rollback", &RollbackRequest { generation }, Duration::ZERO).await?;
    let text = format!(
        "held at generation {}: what it served is served again, by those of its containers that are \
         there; `docker-balancer rollback --release` follows the containers again",
        response.generation
    );
    Ok((text + &persistence_note(response.kept, "holds only until docker-balancer ends")).into())
}

pub(crate) async fn release_rollback(socket: &Path) -> Result<CommandOutput> {
    let nothing = serde_json::json!({});
    let response: RollbackResponse = post(socket, "/release", &nothing, Duration::ZERO).await?;
    let text =
        format!("released from generation {}: containers are followed again", response.generation);
    Ok((text
        + &persistence_note(response.kept, "may hold again when docker-balancer is started anew"))
        .into())
}

fn persistence_note(kept: bool, otherwise: &str) -> String {
    if kept { String::new() } else { format!("\nthe disk did not take it, so it {otherwise}") }
}
