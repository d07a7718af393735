//! Runs the program that publishes TXT records, in the protocol of lego's `exec` provider:
//! `PROGRAM present|cleanup FQDN VALUE`, where FQDN ends with a dot.

use super::message::dns_error;
use crate::sources::acme::error::AcmeError;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// The longest run of the program.
const RUN_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs the program. Its output may contain credentials of the DNS provider, so an error has only the last line of
/// its errors.
pub(super) async fn run(program: &Path, words: [&str; 3]) -> Result<(), AcmeError> {
    let (path, failed) = (program.display(), dns_error::<String>);
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN_TIMEOUT, command.stderr(Stdio::piped()).output()).await;
    let output = output.map_err(|_| failed(format!("{path} did not end in {RUN_TIMEOUT:?}")))?;
    let output = output.map_err(|error| failed(format!("cannot run {path}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(failed(format!("{path} {}: {}: {last}", words[0], output.status)))
}
