//! Queries the health of servers, and ends the sessions of servers that were removed.

use super::{
    health::{self, CheckFailure, CheckResult, FrontendErrorCounts, HealthReport, ServerKey},
    socket::{WorkerSocket, with_timeout},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

/// For all commands of one query together.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Queries the servers of these backends; `None` means all. If the frontends' error counts differ from
/// `frontend_errors`, or if that is `None`, queries all servers, and also what HAProxy could not parse (`show errors`).
///
/// # Errors
/// When HAProxy does not answer, or with something else.
pub async fn fetch_health(
    socket: WorkerSocket,
    backends: Option<BTreeSet<String>>,
    frontend_errors: Option<BTreeMap<String, FrontendErrorCounts>>,
) -> io::Result<HealthReport> {
    with_timeout(QUERY_TIMEOUT, async move {
        let mut session = socket.connect().await?;
        let mut report = parse_report(session.send_command("show stat -1 1 -1").await?).await?;
        let has_new_errors = frontend_errors.is_none_or(|before| before != report.frontends);
        report.is_complete = has_new_errors || backends.is_none();
        if report.is_complete {
            report.servers =
                parse_report(session.send_command("show stat -1 4 -1").await?).await?.servers;
        } else {
            for backend in backends.into_iter().flatten() {
                let answer = session.send_command(&format!("show stat {backend} 4 -1")).await?;
                // A backend that was removed in the meantime is an unknown proxy to HAProxy.
                if answer.starts_with('#') {
                    report.servers.append(&mut parse_report(answer).await?.servers);
                }
            }
        }
        // For a check response that is not HTTP, 3.0 waits for more data, and 3.2 reports another failure.
        let is_unreadable = |health: &health::ServerHealth| {
            matches!(
                &health.check,
                CheckResult::Failed(
                    CheckFailure::NotHttp | CheckFailure::Timeout | CheckFailure::Other(_)
                )
            )
        };
        if has_new_errors || report.servers.values().any(is_unreadable) {
            report.captures =
                Some(health::parse_errors(&session.send_command("show errors").await?));
        }
        Ok(report)
    })
    .await
}

/// Ends the sessions of these servers, in the current worker and in the old workers that reloads left.
pub(super) async fn end_sessions(socket: WorkerSocket, servers: Vec<ServerKey>) -> io::Result<()> {
    let mut session = socket.connect().await?;
    for (backend, server) in &servers {
        session.send_command(&format!("shutdown sessions server {backend}/{server}")).await?;
    }
    let Some(master) = &socket.master else { return Ok(()) };
    for pid in master.list_processes().await?.stopping_workers() {
        // An old worker that has exited has no sessions either.
        let Ok(answer) = master.send_to_worker(pid, "show sess").await else { continue };
        // An old worker refuses to end all sessions of a server, because its proxies are already disabled. So each
        // session is ended by its id.
        for id in health::find_sessions(&answer, &servers) {
            let _ = master.send_to_worker(pid, &format!("shutdown session {id}")).await;
        }
    }
    Ok(())
}

/// Parses on a thread of its own: for 10,000 servers this would block the event loop for too long.
async fn parse_report(answer: String) -> io::Result<HealthReport> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
    let read = tokio::task::spawn_blocking(move || health::parse_stat(&answer));
    read.await.ok().flatten().ok_or_else(invalid)
}
