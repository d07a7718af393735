//! `status`, once or every second.

use super::{Told, screen::Screen};
use crate::{
    control::client::get,
    view::{show, status::Status},
};
use anyhow::Result;
use serde_json::value::RawValue;
use std::{path::Path, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn status(socket: &Path) -> Result<Told> {
    let status: Status = get(socket, "/status").await?;
    Ok(show::status(&status, super::screen::width()).into())
}

/// What the daemon says, byte for byte.
pub(super) async fn json(socket: &Path, path: &str) -> Result<Told> {
    let text: Box<RawValue> = get(socket, path).await?;
    Ok(text.get().to_owned().into())
}

/// Until a signal. A daemon that is away, once one was there, is waited for.
pub(super) async fn watch(socket: &Path) -> Result<Told> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut status: Status = get(socket, "/status").await?;
    let mut screen = Screen::open()?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let work = async {
            ticks.tick().await;
            get::<Status>(socket, "/status").await
        };
        let asked = tokio::select! {
            () = any(&mut signals) => return Ok(String::new().into()),
            asked = work => asked,
        };
        let away = match asked {
            Ok(new) => {
                status = new;
                String::new()
            }
            Err(error) => format!("! {error:#}; what is below is the last that was heard\n\n"),
        };
        screen.show(|width| away + &show::status(&status, width))?;
    }
}

async fn any(signals: &mut [tokio::signal::unix::Signal]) {
    let all = signals.iter_mut().map(|it| Box::pin(it.recv()));
    futures_util::future::select_all(all).await;
}
