//! `drain` and `undrain`.

use super::CommandOutput;
use crate::{
    api::control::{DrainRequest, DrainStatus, UndrainRequest, client::post},
    support::format::format_duration,
};
use anyhow::{Result, bail};
use std::{path::Path, time::Duration};

pub(crate) async fn drain_container(
    socket: &Path,
    container: &str,
    wait: Duration,
) -> Result<CommandOutput> {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let request = DrainRequest { container: container.to_owned(), wait_ms };
    let eligibility: DrainStatus = post(socket, "/drain", &request, wait).await?;
    let (name, wait) = (container_name(&eligibility), format_duration(wait));
    match eligibility.sessions {
        _ if eligibility.drained => {
            Ok(format!("{name} is drained{}", unserved_note(&eligibility)).into())
        }
        Some(1) => bail!(
            "{name} gets no new requests, but 1 request is still in flight after {wait}{}",
            unserved_note(&eligibility)
        ),
        left => {
            let left = left.unwrap_or_default();
            bail!(
                "{name} gets no new requests, but {left} requests are still in flight after \
                 {wait}{}",
                unserved_note(&eligibility)
            )
        }
    }
}

pub(crate) async fn undrain_container(socket: &Path, container: &str) -> Result<CommandOutput> {
    let request = UndrainRequest { container: container.to_owned() };
    let eligibility: DrainStatus = post(socket, "/undrain", &request, Duration::ZERO).await?;
    Ok(format!("{} gets new requests again", container_name(&eligibility)).into())
}

/// Returns a note if the drained container was the last one of a route.
fn unserved_note(eligibility: &DrainStatus) -> String {
    if eligibility.unserved.is_empty() {
        return String::new();
    }
    let routes = eligibility.unserved.join(", ");
    format!("; no other container serves {routes}: requests wait for a container, then get 503")
}

fn container_name(eligibility: &DrainStatus) -> String {
    format!(
        "container {} ({})",
        eligibility.container,
        eligibility.id.get(..12).unwrap_or(&eligibility.id)
    )
}
