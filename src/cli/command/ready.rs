//! `ready`: whether HAProxy can serve clients.

use super::CommandOutput;
use crate::{haproxy::readiness::check_readiness, settings::Settings};
use anyhow::Result;

pub(crate) async fn report_readiness(settings: &Settings) -> Result<CommandOutput> {
    check_readiness(&settings.proxy().worker_socket()).await?;
    Ok("ready".to_owned().into())
}
