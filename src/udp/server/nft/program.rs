//! Runs `nft`, `iptables` and `ip6tables`.

use std::{io, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// The time limit of a program: 5,000 listeners take `nft` about a second.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Why a program did not do what it was run for. Completes "cannot …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("the program {program} is missing: install the package {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("{program} lacks a capability: start docker-glue-udp with CAP_NET_ADMIN")]
    Permission { program: &'static str },
    /// Without a status, the program did not run to its end.
    #[error("{program}: {message}")]
    Failed { program: &'static str, status: Option<i32>, message: String },
}

/// Runs a program with this input. Returns its output.
pub(super) async fn run(
    program: &'static str,
    arguments: &[String],
    input: &str,
) -> Result<String, ProgramError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ProgramError::Missing {
            program,
            package: if program == "nft" { "nftables" } else { "iptables" },
        },
        _ => ProgramError::Failed { program, status: None, message: error.to_string() },
    };
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let work = async {
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take();
        let write = async {
            if let Some(stdin) = &mut stdin {
                // A program that fails early does not read its input.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            drop(stdin);
        };
        tokio::join!(write, child.wait_with_output()).1
    };
    let output =
        timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let output = output.map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if text.contains("Operation not permitted") || text.contains("Permission denied") {
        return Err(ProgramError::Permission { program });
    }
    // The first line names the error, the others show where in the input.
    let message = text.lines().next().unwrap_or("it failed").chars().take(300).collect();
    Err(ProgramError::Failed { program, status: output.status.code(), message })
}
