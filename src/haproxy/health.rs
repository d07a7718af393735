//! Health of servers according to HAProxy: each one's last check, its response counts, and the messages that HAProxy
//! could not parse.
//!
//! Pure. Parses `show stat` and `show errors` of HAProxy's Management Guide, section 9.3.

use super::name;
use crate::model::malformed_http;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Backend and server.
pub type ServerKey = (String, String);

/// Result of one query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthReport {
    pub frontends: BTreeMap<String, FrontendErrorCounts>,
    /// The queried servers.
    pub servers: BTreeMap<ServerKey, ServerHealth>,
    /// Whether all servers were queried.
    pub is_complete: bool,
    /// `None` if this was not queried.
    pub captures: Option<Vec<CapturedMessage>>,
}

/// Counts of a frontend's errors: invalid requests, and responses with a status of 500 to 599. A change means that
/// there may be a new problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrontendErrorCounts {
    pub requests: u64,
    pub server_errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    pub check: CheckResult,
    /// Valid responses.
    pub responses: u64,
    /// Requests without a valid response, including timeouts.
    pub response_errors: u64,
    /// Requests for which no connection was established.
    pub connection_errors: u64,
}

/// Result of the last check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    /// No check yet, no checks at all, or unknown while the next check is in progress.
    None,
    Passed,
    Failed(CheckFailure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFailure {
    Refused,
    /// The connection timed out, or there is no route to the host.
    Unreachable,
    /// The connection was established, but there was no answer in time.
    Timeout,
    Status(u16),
    NotHttp,
    /// The container does not use TLS, or its certificate is not valid.
    TlsHandshake,
    /// HAProxy's text.
    Other(String),
}

/// The last message of a proxy that HAProxy could not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedMessage {
    pub age: Duration,
    pub message: InvalidMessage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidMessage {
    Request {
        frontend: String,
        client: Option<IpAddr>,
        malformed: malformed_http::MalformedRequest,
    },
    Response {
        server: ServerKey,
        malformed: malformed_http::MalformedResponse,
    },
}

const MAX_TEXT_LENGTH: usize = 80;

/// Parses `show stat` of frontends and servers. Returns `None` if this is not such an answer.
pub fn parse_stat(answer: &str) -> Option<HealthReport> {
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(answer.as_bytes());
    let header = rows.headers().ok()?.clone();
    let column = |name: &str| header.iter().position(|text| text.trim_start_matches("# ") == name);
    let (proxy, name, status) = (column("pxname")?, column("svname")?, column("check_status")?);
    let (code, text) = (column("check_code"), column("last_chk"));
    let (requests, server_errors) = (column("ereq"), column("hrsp_5xx"));
    let (responses, connections) = (column("eresp"), column("econ"));
    let response_columns =
        ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];
    let response_columns = response_columns.map(column);
    let mut round = HealthReport::default();
    for row in rows.records() {
        let row = row.ok()?;
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let number = |at| cell(at).parse().unwrap_or(0);
        let backend = cell(Some(proxy)).to_owned();
        match cell(Some(name)) {
            "FRONTEND" => {
                let (requests, server_errors) = (number(requests), number(server_errors));
                round.frontends.insert(backend, FrontendErrorCounts { requests, server_errors });
            }
            "BACKEND" => {}
            server => {
                let health = ServerHealth {
                    check: CheckResult::from_columns(cell(Some(status)), cell(code), cell(text)),
                    responses: response_columns.iter().map(|at| number(*at)).sum(),
                    response_errors: number(responses),
                    connection_errors: number(connections),
                };
                round.servers.insert((backend, server.to_owned()), health);
            }
        }
    }
    Some(round)
}

impl CheckResult {
    /// Parses a check's columns: `L7STS`, `404`, and a text by HAProxy, or by the container if that was its answer.
    fn from_columns(status: &str, code: &str, text: &str) -> Self {
        // While a check is in progress, the previous result follows a star. HAProxy 2.6 may have cleared its code and
        // text by then.
        let in_progress = status.starts_with("* ");
        Self::Failed(match status.trim_start_matches("* ") {
            "" | "UNK" | "INI" | "HANA" => return Self::None,
            passed if passed.ends_with("OK") || passed == "L7OKC" => return Self::Passed,
            "L7STS" if in_progress && code == "0" => return Self::None,
            "L4TOUT" => CheckFailure::Unreachable,
            "L4CON" if text.contains("refused") => CheckFailure::Refused,
            "L4CON" if ["nreachable", "o route"].iter().any(|str| text.contains(str)) => {
                CheckFailure::Unreachable
            }
            "L6TOUT" | "L7TOUT" => CheckFailure::Timeout,
            "L7STS" => match code.parse() {
                Ok(code) => CheckFailure::Status(code),
                Err(_) => CheckFailure::NotHttp,
            },
            "L6RSP" => CheckFailure::TlsHandshake,
            "L7RSP" => CheckFailure::NotHttp,
            _ if in_progress && text.is_empty() => return Self::None,
            other => CheckFailure::Other(sanitize_text(if text.is_empty() { other } else { text })),
        })
    }
}

fn sanitize_text(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(MAX_TEXT_LENGTH).map(plain).collect()
}

/// Parses `show sess`. Returns the ids of the sessions of these servers, for `shutdown session`. A worker of an earlier
/// version may have other names for the servers.
pub fn find_sessions<'a>(answer: &'a str, servers: &[ServerKey]) -> Vec<&'a str> {
    find_sessions_by(answer, |backend, server| {
        let server = name::current_server_name(server);
        servers.iter().any(|pair| pair.0 == backend && pair.1 == server)
    })
}

/// Does the same for all servers of a container, given by its short id.
pub fn find_container_sessions<'a>(answer: &'a str, id: &str) -> Vec<&'a str> {
    find_sessions_by(answer, |_, server| name::container_id(server) == Some(id))
}

fn find_sessions_by(answer: &str, is_found: impl Fn(&str, &str) -> bool) -> Vec<&str> {
    let session = |line| {
        let word = |name: &str| str::split(line, ' ').find_map(|word| word.strip_prefix(name));
        let (id, _) = str::split_once(line, ':').filter(|(id, _)| id.starts_with("0x"))?;
        is_found(word("be=")?, word("srv=")?).then_some(id)
    };
    answer.lines().filter_map(session).collect()
}

/// Parses `show errors`: a heading with the time, then for each message some header lines and a dump.
pub fn parse_errors(answer: &str) -> Vec<CapturedMessage> {
    let Some(now) = answer.lines().next().and_then(parse_time) else { return Vec::new() };
    let mut messages: Vec<Vec<&str>> = Vec::new();
    for line in answer.lines().skip(1) {
        match messages.last_mut() {
            _ if line.starts_with('[') => messages.push(vec![line]),
            Some(message) => message.push(line),
            None => {}
        }
    }
    messages.iter().filter_map(|lines| parse_message(lines, now)).collect()
}

/// Parses one message. Its header has two lines: `[<time>] backend b (#3): invalid response`, and `  frontend f (#2),
/// server s (#1), event #27, src 127.0.0.1:43752`.
fn parse_message(lines: &[&str], now: Duration) -> Option<CapturedMessage> {
    let head = lines.first()?;
    let age = now.saturating_sub(parse_time(head)?);
    let (_, head) = head.split_once("] ")?;
    let (proxy, kind) = head.split_once("): ")?;
    let (side, proxy) = proxy.split_once(' ')?;
    let (proxy, _) = proxy.rsplit_once(" (#")?;
    let second = lines.get(1)?;
    let position = lines.iter().find_map(|line| line.split_once("error at position "))?.1;
    let (bytes, at) = (decode_dump(lines), position.trim().parse().ok()?);
    let what = match (side, kind) {
        ("frontend", "invalid request") => {
            let (_, client) = second.rsplit_once("src ")?;
            let client = client.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok());
            let malformed = malformed_http::MalformedRequest::from_bytes(&bytes, at);
            InvalidMessage::Request { frontend: proxy.to_owned(), client, malformed }
        }
        ("backend", "invalid response") => {
            let (_, server) = second.split_once(", server ")?;
            let (server, _) = server.split_once(" (#")?;
            let malformed = malformed_http::MalformedResponse::from_bytes(&bytes, at);
            InvalidMessage::Response { server: (proxy.to_owned(), server.to_owned()), malformed }
        }
        _ => return None,
    };
    Some(CapturedMessage { age, message: what })
}

/// Decodes lines such as `  00018+ text`: printable characters are unchanged, others are `\n`, `\x15` and the like.
fn decode_dump(lines: &[&str]) -> Vec<u8> {
    let line = |line: &str| {
        let remaining = line.strip_prefix("  ")?;
        let (at, text) = (remaining.get(..5)?, remaining.get(7..)?);
        let is_text = at.bytes().all(|byte| byte.is_ascii_digit());
        is_text.then(|| unescape_dump(text))
    };
    lines.iter().filter_map(|text| line(text)).flatten().collect()
}

fn unescape_dump(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut remaining = text.as_bytes();
    loop {
        match remaining {
            [] => return bytes,
            [b'\\', b'x', high, low, after @ ..] => {
                let digit =
                    |byte: &u8| char::from(*byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
                bytes.extend(digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low));
                remaining = after;
            }
            [b'\\', escaped, after @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'e' => 0x1b,
                    other => *other,
                });
                remaining = after;
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                remaining = after;
            }
        }
    }
}

/// Parses the first time of a line, such as `[28/Nov/2026:02:48:49.623]`. Only for comparison with other times of the
/// same answer: every month counts as 31 days, which makes no message appear younger than it is.
fn parse_time(line: &str) -> Option<Duration> {
    let (_, text) = line.split_once('[')?;
    let (text, _) = text.split_once(']')?;
    let (date, clock) = text.split_once(':')?;
    let [day, month, year] = date.split('/').collect::<Vec<_>>()[..] else { return None };
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|text| *text == month)?;
    // Each part is small in HAProxy's output; larger ones could overflow the sums below.
    let number = |text: &str| text.parse::<u16>().ok().map(u64::from);
    let days = (number(year)? * 12 + u64::try_from(month).ok()?) * 31 + number(day)?;
    let (clock, millis) = clock.split_once('.')?;
    let [hours, minutes, seconds] = clock.split(':').collect::<Vec<_>>()[..] else { return None };
    let seconds = (number(hours)? * 60 + number(minutes)?) * 60 + number(seconds)?;
    Some(Duration::from_millis((days * 86_400 + seconds) * 1000 + number(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_columns_parse_to_check_result() {
        let other = |text: &str| CheckResult::Failed(CheckFailure::Other(text.to_owned()));
        for (status, code, text, expected) in [
            ("", "", "", CheckResult::None),
            ("INI", "", "", CheckResult::None),
            ("L4OK", "", "", CheckResult::Passed),
            ("* L7OK", "200", "OK", CheckResult::Passed),
            ("L4CON", "", "Connection refused", CheckResult::Failed(CheckFailure::Refused)),
            (
                "L4CON",
                "",
                "ECONNREFUSED returned by OS (Connection refused)",
                CheckResult::Failed(CheckFailure::Refused),
            ),
            ("* L4CON", "", "No route to host", CheckResult::Failed(CheckFailure::Unreachable)),
            ("L4CON", "", "Network is unreachable", CheckResult::Failed(CheckFailure::Unreachable)),
            ("L4CON", "", "Connection reset by peer", other("Connection reset by peer")),
            ("L4TOUT", "", "", CheckResult::Failed(CheckFailure::Unreachable)),
            ("L7TOUT", "", "", CheckResult::Failed(CheckFailure::Timeout)),
            ("* L7STS", "404", "Not Found", CheckResult::Failed(CheckFailure::Status(404))),
            ("* L7STS", "0", "", CheckResult::None),
            ("* L4CON", "", "", CheckResult::None),
            ("* L7TOUT", "", "", CheckResult::Failed(CheckFailure::Timeout)),
            ("L7RSP", "", "", CheckResult::Failed(CheckFailure::NotHttp)),
            ("SOCKERR", "", "", other("SOCKERR")),
            ("SOCKERR", "", "a\nb\u{1b}", other("a?b?")),
        ] {
            assert_eq!(
                CheckResult::from_columns(status, code, text),
                expected,
                "{status} {code} {text}"
            );
        }
    }

    #[test]
    fn show_sess_yields_ids_of_given_server_only() {
        const ANSWER: &str = "\
0x561d4f2140c0: proto=tcpv4 src=127.0.0.1:55390 fe=f be=a.test:80 srv=web-01:80 ts=00 epoch=0
0x561d4f2140d0: proto=tcpv4 src=127.0.0.1:55392 fe=f be=a.test:80 srv=web-01:80:alone ts=00 epoch=0
0x561d4f2140e0: proto=tcpv4 src=127.0.0.1:55394 fe=f be=b.test:80 srv=web-01:80 ts=00 epoch=0
0x561d4f335ab0: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0
";
        for (server, expected) in [
            ("web-01:80", vec!["0x561d4f2140c0"]),
            // An earlier version has named this server.
            ("web-01:80:single", vec!["0x561d4f2140d0"]),
            ("web-02:80", vec![]),
        ] {
            let server = ("a.test:80".to_owned(), server.to_owned());
            assert_eq!(find_sessions(ANSWER, std::slice::from_ref(&server)), expected);
            assert_eq!(find_sessions("Permission denied\n", &[server]), [""; 0]);
        }
        let all = ["0x561d4f2140c0", "0x561d4f2140d0", "0x561d4f2140e0"];
        assert_eq!(find_container_sessions(ANSWER, "01"), all);
        assert_eq!(find_container_sessions(ANSWER, "02"), [""; 0]);
    }

    #[test]
    fn escaped_dump_decodes_to_bytes() {
        assert_eq!(unescape_dump("a \\x15\\r\\n\\t\\e\\\\b"), b"a \x15\r\n\t\x1b\\b");
        assert_eq!(unescape_dump("\\xZZ\\"), b"\\");
    }

    #[test]
    fn capture_times_differ_by_elapsed_milliseconds() {
        let between = |a: &str, b: &str| Some(parse_time(b)?.saturating_sub(parse_time(a)?));
        let of = |text: &str| format!("[{text}] frontend");
        for (a, b, expected) in [
            ("28/Nov/2026:02:48:49.623", "28/Nov/2026:02:48:50.123", Some(500)),
            ("31/Dec/2026:23:59:59.000", "01/Jan/2027:00:00:00.000", Some(1000)),
            ("28/Nov/2026:02:48:49.623", "yesterday", None),
            ("28/Nov/2026", "28/Nov/2026:02:48:50.123", None),
            ("28/Nov/18446744073709551615:02:48:49.623", "28/Nov/2026:02:48:50.123", None),
        ] {
            let between = between(&of(a), &of(b));
            assert_eq!(between, expected.map(Duration::from_millis), "{a} {b}");
        }
    }
}
