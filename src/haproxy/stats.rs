//! HAProxy's counters: requests, sessions and errors of its frontends, backends and servers.
//!
//! Read with `show stat` (Management Guide, section 9.1).

use super::{
    refusals::{self, Refusals, parse_refusals},
    socket::WorkerSocket,
};
use std::{collections::BTreeMap, io, path::PathBuf};

/// Reads the counters from HAProxy.
#[derive(Debug, Clone)]
pub struct StatsClient {
    pub(super) socket: WorkerSocket,
}

/// All counters of the worker that serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// By name, like `backends`.
    pub frontends: BTreeMap<String, StatsRow>,
    pub backends: BTreeMap<String, StatsRow>,
    /// By backend, then by name.
    pub servers: BTreeMap<String, BTreeMap<String, StatsRow>>,
    /// Workers that a reload has replaced and that still finish their requests.
    pub old_workers: usize,
}

/// One line of `show stat`. A field that the line leaves empty is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsRow {
    /// `UP`, `DOWN`, `no check`, `MAINT`, `DRAIN`, `UP 1/2`, `OPEN`, …
    pub status: String,
    /// Requests in flight.
    pub sessions: u64,
    /// Since the worker started.
    pub requests: u64,
    /// Requests in the last second.
    pub rate: u64,
    /// Failed connections, and responses that were cut off or invalid.
    pub errors: u64,
    /// Responses with a status of 500 to 599.
    pub server_errors: u64,
    /// Seconds since the status changed.
    pub since: u64,
}

impl StatsClient {
    /// A client for one stats socket. Old workers are not counted.
    pub fn for_socket(stats: PathBuf) -> Self {
        Self { socket: stats.into() }
    }

    /// # Errors
    /// When HAProxy does not answer, or answers with something else.
    pub async fn fetch_counters(&self) -> io::Result<Counters> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
        let counters =
            parse_stats(&self.socket.send_command("show stat").await?).ok_or_else(invalid)?;
        Ok(Counters { old_workers: self.count_old_workers().await, ..counters })
    }

    /// Returns the refused requests; `None` if HAProxy does not answer.
    pub async fn fetch_refusals(&self) -> Option<Refusals> {
        let answer = self.socket.send_command(&format!("show table {}", refusals::TABLE)).await;
        answer.ok().map(|answer| parse_refusals(&answer))
    }

    /// Returns the number of workers that a reload has replaced; 0 if it is unknown.
    pub async fn count_old_workers(&self) -> usize {
        let Some(master) = &self.socket.master else { return 0 };
        master.list_processes().await.map_or(0, |procs| procs.old_workers.len())
    }
}

impl Counters {
    pub fn server(&self, backend: &str, server: &str) -> Option<&StatsRow> {
        self.servers.get(backend)?.get(server)
    }
}

/// Returns `None` if this is not an answer to `show stat`.
pub fn parse_stats(answer: &str) -> Option<Counters> {
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(answer.as_bytes());
    let header = rows.headers().ok()?.clone();
    let column = |name: &str| header.iter().position(|text| text.trim_start_matches("# ") == name);
    let (proxy, name, status) = (column("pxname")?, column("svname")?, column("status")?);
    let (current, total, rate) = (column("scur")?, column("stot")?, column("rate")?);
    let errors = ["econ", "eresp"].map(column);
    let (server_errors, since, requests) =
        (column("hrsp_5xx"), column("lastchg"), column("req_tot"));
    let mut counters = Counters::default();
    for row in rows.records() {
        let row = row.ok()?;
        let cell = |at: usize| row.get(at).unwrap_or_default();
        let number = |at: Option<usize>| at.and_then(|at| cell(at).parse().ok()).unwrap_or(0);
        let sum = |all: &[Option<usize>]| all.iter().map(|at| number(*at)).sum();
        let count = StatsRow {
            status: cell(status).to_owned(),
            sessions: number(Some(current)),
            // For a server, a session is a request; a session of a frontend may contain many requests.
            requests: number(requests.filter(|at| !cell(*at).is_empty()).or(Some(total))),
            rate: number(Some(rate)),
            errors: sum(&errors),
            server_errors: number(server_errors),
            since: number(since),
        };
        let proxy = cell(proxy).to_owned();
        match cell(name) {
            "FRONTEND" => drop(counters.frontends.insert(proxy, count)),
            "BACKEND" => drop(counters.backends.insert(proxy, count)),
            server => {
                counters.servers.entry(proxy).or_default().insert(server.to_owned(), count);
            }
        }
    }
    Some(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\
# pxname,svname,qcur,scur,smax,stot,econ,eresp,status,lastchg,rate,hrsp_5xx,req_tot,last_chk,
http-80,FRONTEND,,3,9,40,,,OPEN,,7,1,55,,
a.test:80,web-0123456789ab:80,0,2,3,30,1,2,UP,12,5,1,,\"L4OK, \"\"well\"\"\",
a.test:80,BACKEND,0,2,3,31,1,2,UP,12,5,1,31,,
";

    #[test]
    fn show_stat_rows_are_sorted_by_frontend_backend_and_server() {
        let counters = parse_stats(ANSWER).unwrap();
        assert_eq!(counters.frontends["http-80"].requests, 55);
        let server = counters.server("a.test:80", "web-0123456789ab:80").unwrap();
        let expected = StatsRow {
            status: "UP".to_owned(),
            sessions: 2,
            requests: 30,
            rate: 5,
            errors: 3,
            server_errors: 1,
            since: 12,
        };
        assert_eq!(server, &expected);
        assert_eq!(counters.backends["a.test:80"].requests, 31);
        assert_eq!(parse_stats("Unknown command.\n"), None);
    }
}
