//! `drain` and `undrain`.

use super::Told;
use crate::control::{Drain, Standing, Undrain, client::post};
use anyhow::{Result, bail};
use std::{path::Path, time::Duration};

pub(super) async fn drain(socket: &Path, container: &str, wait: Duration) -> Result<Told> {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let asked = Drain { container: container.to_owned(), wait_ms };
    let it: Standing = post(socket, "/drain", &asked, wait).await?;
    let (name, wait) = (named(&it), humantime::format_duration(wait));
    match it.sessions {
        _ if it.drained => Ok(format!("{name} is drained{}", unserved(&it)).into()),
        Some(1) => bail!(
            "{name} gets no new requests, and of the old 1 is left after {wait}{}",
            unserved(&it)
        ),
        left => {
            let left = left.unwrap_or_default();
            bail!(
                "{name} gets no new requests, and of the old {left} are left after {wait}{}",
                unserved(&it)
            )
        }
    }
}

pub(super) async fn undrain(socket: &Path, container: &str) -> Result<Told> {
    let asked = Undrain { container: container.to_owned() };
    let it: Standing = post(socket, "/undrain", &asked, Duration::ZERO).await?;
    Ok(format!("{} gets requests again", named(&it)).into())
}

/// What the drain costs, where it took the last container of a route.
fn unserved(it: &Standing) -> String {
    if it.unserved.is_empty() {
        return String::new();
    }
    let routes = it.unserved.join(", ");
    format!("; no other container serves {routes}: requests wait for one, then get 503")
}

fn named(it: &Standing) -> String {
    format!("container {} ({})", it.container, it.id.get(..12).unwrap_or(&it.id))
}
