//! A round of questions about how servers are, and what is done about those that are gone.

use super::{
    health::{self, Check, Failure, Refusals, Round, ServerName},
    socket::{WorkerSocket, within},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

/// For all of them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks about the servers of these backends, or of all; and about all, and what could not be read, where frontends have
/// refused something since `refusals`.
///
/// # Errors
/// When HAProxy does not answer, or with something else.
pub async fn ask(
    socket: WorkerSocket,
    backends: Option<BTreeSet<String>>,
    refusals: Option<BTreeMap<String, Refusals>>,
) -> io::Result<Round> {
    within(PATIENCE, async move {
        let mut session = socket.open().await?;
        let mut round = read(session.ask("show stat -1 1 -1").await?).await?;
        let refused = refusals.is_none_or(|before| before != round.frontends);
        round.all = refused || backends.is_none();
        if round.all {
            round.servers = read(session.ask("show stat -1 4 -1").await?).await?.servers;
        } else {
            for backend in backends.into_iter().flatten() {
                let answer = session.ask(&format!("show stat {backend} 4 -1")).await?;
                // One that has gone since is no such proxy.
                if answer.starts_with('#') {
                    round.servers.append(&mut read(answer).await?.servers);
                }
            }
        }
        // 3.0 waits for more of an answer that is no HTTP, 3.2 has a failure of another name for it.
        let makes_no_sense = |it: &health::Health| {
            matches!(
                &it.check,
                Check::Failed(Failure::NotHttp | Failure::NoAnswer | Failure::Other(_))
            )
        };
        if refused || round.servers.values().any(makes_no_sense) {
            round.captured = Some(health::captured(&session.ask("show errors").await?));
        }
        Ok(round)
    })
    .await
}

/// Ends what these servers have under way, of the worker that serves, and of those that a reload has left.
pub(super) async fn end_sessions(socket: WorkerSocket, servers: Vec<ServerName>) -> io::Result<()> {
    let mut session = socket.open().await?;
    for (backend, server) in &servers {
        session.ask(&format!("shutdown sessions server {backend}/{server}")).await?;
    }
    let Some(master) = &socket.master else { return Ok(()) };
    for pid in master.procs().await?.ending() {
        // One that has ended meanwhile has no requests either.
        let Ok(answer) = master.ask_worker(pid, "show sess").await else { continue };
        // It refuses to end all sessions of a server, as its proxies are disabled by now.
        for id in health::sessions(&answer, &servers) {
            let _ = master.ask_worker(pid, &format!("shutdown session {id}")).await;
        }
    }
    Ok(())
}

/// Of 10,000 servers it takes longer than a loop should wait.
async fn read(answer: String) -> io::Result<Round> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
    let read = tokio::task::spawn_blocking(move || health::stat(&answer));
    read.await.ok().flatten().ok_or_else(strange)
}
