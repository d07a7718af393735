//! The answer for each path.

use std::net::SocketAddr;
use std::time::Duration;

use tungstenite::http::StatusCode;

use crate::facts::facts;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;

#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Reply),
    /// Switch to a websocket. The value is the client's key.
    Websocket(String),
    /// Close the connection without an answer.
    Hangup,
    /// Exit without an answer.
    Die,
}

pub(crate) fn answer(request: &Request, body: u64, local: SocketAddr, server: &Server) -> Answer {
    if let Some(key) = websocket_key(request) {
        return Answer::Websocket(key);
    }
    let text = || facts(&server.name, local, request, body);
    let ms = request.number("ms").unwrap_or(0);
    let segments: Vec<&str> = request.path.split('/').skip(1).collect();
    Answer::Reply(match segments.as_slice() {
        ["die"] => return Answer::Die,
        ["empty"] => return Answer::Hangup,
        ["healthz"] => health(server),
        ["healthy"] if request.method == "POST" => switch(server, true),
        ["unhealthy"] if request.method == "POST" => switch(server, false),
        ["slow"] => Reply::text(StatusCode::OK, text()).after(Duration::from_millis(ms)),
        ["status", code] => status(code, text()),
        ["bytes", size] => size.parse().map_or_else(|_| bad(), |n| Reply::filler(n, ms)),
        ["ws"] => Reply::text(StatusCode::UPGRADE_REQUIRED, "websockets only\n".to_owned()),
        _ => Reply::text(StatusCode::OK, text()),
    })
}

fn websocket_key(request: &Request) -> Option<String> {
    let flag = request.has_token("upgrade", "websocket");
    let key = request.header("sec-websocket-key")?;
    flag.then(|| key.to_owned())
}

fn health(server: &Server) -> Reply {
    if server.healthy() {
        return Reply::text(StatusCode::OK, "ok\n".to_owned());
    }
    Reply::text(StatusCode::SERVICE_UNAVAILABLE, "unhealthy\n".to_owned())
}

fn switch(server: &Server, healthy: bool) -> Reply {
    server.set_healthy(healthy);
    Reply::text(StatusCode::OK, "ok\n".to_owned())
}

/// Returns any final status. A status below 200 would require another one after
/// it.
fn status(code: &str, text: String) -> Reply {
    match StatusCode::from_bytes(code.as_bytes()) {
        Ok(status) if !status.is_informational() => Reply::text(status, text),
        _ => bad(),
    }
}

fn bad() -> Reply {
    Reply::text(StatusCode::BAD_REQUEST, "bad number\n".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn ask(server: &Server, method: &str, path: &str) -> String {
        let request =
            Request { method: method.to_owned(), path: path.to_owned(), ..Request::default() };
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        match answer(&request, 0, local, server) {
            Answer::Reply(reply) => reply.status.as_str().to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_have_their_answers() {
        let server = Server::new(Cli::parse_from(["whoami"]).settings).unwrap();
        for (method, path, answer) in [
            ("GET", "/", "200"),
            ("OPTIONS", "*", "200"),
            ("GET", "/any/thing", "200"),
            ("GET", "/status/418", "418"),
            ("GET", "/status/101", "400"),
            ("GET", "/status/x", "400"),
            ("GET", "/bytes/x", "400"),
            ("GET", "/ws", "426"),
            ("GET", "/empty", "Hangup"),
            ("GET", "/die", "Die"),
            ("GET", "/unhealthy", "200"),
            ("GET", "/healthz", "200"),
            ("POST", "/unhealthy", "200"),
            ("GET", "/healthz", "503"),
            ("POST", "/healthy", "200"),
            ("GET", "/healthz", "200"),
        ] {
            assert_eq!(ask(&server, method, path), answer, "{method} {path}");
        }
    }
}
