//! `rollback` and its end.

use super::Told;
use crate::control::{Rollback, Rolled, client::post};
use anyhow::Result;
use std::{path::Path, time::Duration};

pub(super) async fn rollback(socket: &Path, generation: u64) -> Result<Told> {
    let it: Rolled = post(socket, "/rollback", &Rollback { generation }, Duration::ZERO).await?;
    let text = format!(
        "held at generation {}: what it served is served again, by those of its containers that are \
         there; `docker-balancer rollback --release` follows the containers again",
        it.generation
    );
    Ok((text + &kept(it.kept, "holds only until docker-balancer ends")).into())
}

pub(super) async fn release(socket: &Path) -> Result<Told> {
    let nothing = serde_json::json!({});
    let it: Rolled = post(socket, "/release", &nothing, Duration::ZERO).await?;
    let text = format!("released from generation {}: containers are followed again", it.generation);
    Ok((text + &kept(it.kept, "may hold again when docker-balancer is started anew")).into())
}

fn kept(kept: bool, otherwise: &str) -> String {
    if kept { String::new() } else { format!("\nthe disk did not take it, so it {otherwise}") }
}
