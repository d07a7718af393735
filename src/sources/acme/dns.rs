//! Runs the program that publishes TXT records, in the protocol of lego's `exec` provider:
//! `PROGRAM present|cleanup FQDN VALUE`, where FQDN ends with a dot.

use super::{
    error::{AcmeError, FailureKind},
    settings::DnsProgram,
};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;
use tracing::warn;

/// The longest run of the program.
const RUN_TIMEOUT: Duration = Duration::from_mins(2);

/// Publishes a record, and waits until the name servers have it.
pub(super) async fn present(
    program: &DnsProgram,
    name: &str,
    value: &str,
) -> Result<(), AcmeError> {
    run(program, ["present", name, value]).await?;
    tokio::time::sleep(program.propagation).await;
    Ok(())
}

/// Removes a record. A failure is logged, because the record has no effect any more.
pub(super) async fn clean_up(program: &DnsProgram, name: &str, value: &str) {
    if let Err(error) = run(program, ["cleanup", name, value]).await {
        warn!("could not remove the record {name}: {}", error.text);
    }
}

/// The program's output may contain credentials of the DNS provider, so only its last line of errors is kept.
async fn run(program: &DnsProgram, words: [&str; 3]) -> Result<(), AcmeError> {
    let path = program.path.display();
    let failed = |text: String| AcmeError::new(FailureKind::Challenge, text);
    let mut command = Command::new(&program.path);
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
