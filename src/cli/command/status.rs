//! `status`, once or every second.

use super::{CommandOutput, terminal::AltScreen};
use crate::{
    api::control::client::get,
    report::{fleet::FleetStatus, status::Status, text_report},
};
use anyhow::Result;
use serde_json::value::RawValue;
use std::{path::Path, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn show_status(socket: &Path) -> Result<CommandOutput> {
    let status: Status = get(socket, "/status").await?;
    Ok(text_report::render_status(&status, super::terminal::terminal_width()).into())
}

pub(crate) async fn show_fleet(socket: &Path) -> Result<CommandOutput> {
    let fleet: FleetStatus = get(socket, "/fleet").await?;
    Ok(text_report::render_fleet(&fleet, super::terminal::terminal_width()).into())
}

/// Prints the response of docker-balancer unchanged.
pub(crate) async fn fetch_json(socket: &Path, path: &str) -> Result<CommandOutput> {
    let text: Box<RawValue> = get(socket, path).await?;
    Ok(text.get().to_owned().into())
}

/// Shows the status until a signal. If docker-balancer stops answering later, the last status stays and the request
/// is retried.
pub(crate) async fn watch_status(socket: &Path) -> Result<CommandOutput> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut status: Status = get(socket, "/status").await?;
    let mut screen = AltScreen::open()?;
    let mut ticks = interval(REFRESH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let work = async {
            ticks.tick().await;
            get::<Status>(socket, "/status").await
        };
        let response = tokio::select! {
            () = any_signal(&mut signals) => return Ok(String::new().into()),
            response = work => response,
        };
        let notice = match response {
            Ok(new) => {
                status = new;
                String::new()
            }
            Err(error) => format!("! {error:#}; showing the last known status\n\n"),
        };
        screen.draw_page(|width| notice + &text_report::render_status(&status, width))?;
    }
}

async fn any_signal(signals: &mut [tokio::signal::unix::Signal]) {
    let all = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(all).await;
}
