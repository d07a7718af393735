//! A round of questions about how servers are, and what is done about those that are gone.

use super::{
    health::{self, CheckFailure, CheckResult, FrontendErrorCounts, HealthReport, ServerKey},
    socket::{WorkerSocket, with_timeout},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

/// For all of them.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks about the servers of these backends, or of all; and about all, and what could not be read, where frontends have
/// refused something since `refusals`.
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
                // One that has gone since is no such proxy.
                if answer.starts_with('#') {
                    report.servers.append(&mut parse_report(answer).await?.servers);
                }
            }
        }
        // 3.0 waits for more of an answer that is no HTTP, 3.2 has a failure of another name for it.
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

/// Ends what these servers have under way, of the worker that serves, and of those that a reload has left.
pub(super) async fn end_sessions(socket: WorkerSocket, servers: Vec<ServerKey>) -> io::Result<()> {
    let mut session = socket.connect().await?;
    for (backend, server) in &servers {
        session.send_command(&format!("shutdown sessions server {backend}/{server}")).await?;
    }
    let Some(master) = &socket.master else { return Ok(()) };
    for pid in master.list_processes().await?.stopping_workers() {
        // One that has ended meanwhile has no requests either.
        let Ok(answer) = master.send_to_worker(pid, "show sess").await else { continue };
        // It refuses to end all sessions of a server, as its proxies are disabled by now.
        for id in health::find_sessions(&answer, &servers) {
            let _ = master.send_to_worker(pid, &format!("shutdown session {id}")).await;
        }
    }
    Ok(())
}

/// Of 10,000 servers it takes longer than a loop should wait.
async fn parse_report(answer: String) -> io::Result<HealthReport> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
    let read = tokio::task::spawn_blocking(move || health::parse_stat(&answer));
    read.await.ok().flatten().ok_or_else(invalid)
}
