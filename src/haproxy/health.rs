//! How servers are, as HAProxy says it: the last check of each, what it counted of their responses, and what
//! it could not read.
//!
//! Pure. Reads `show stat` and `show errors` of HAProxy's Management Guide, section 9.3.

use crate::nonsense;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Backend and server.
pub type ServerName = (String, String);

/// What was found in one round of questions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    pub frontends: BTreeMap<String, Refusals>,
    /// Those that were asked about.
    pub servers: BTreeMap<ServerName, Health>,
    /// All servers were asked about.
    pub all: bool,
    /// `None` where that was not asked.
    pub captured: Option<Vec<Captured>>,
}

/// What clients of a frontend were refused: requests that made no sense, and answers of 500 to 599. A change
/// says that there is something to be found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    pub requests: u64,
    pub server_errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub check: Check,
    /// Responses that were understood.
    pub responses: u64,
    /// Requests that got none that was, a timeout included.
    pub response_errors: u64,
    /// Requests that got no connection.
    pub connection_errors: u64,
}

/// The last check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// There was none yet, or there are none.
    None,
    Passed,
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Refused,
    /// It timed out, or there is no route.
    NoConnection,
    /// Connected, it did not answer in time.
    NoAnswer,
    Status(u16),
    NotHttp,
    /// In HAProxy's words.
    Other(String),
}

/// The last message of a proxy that HAProxy could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub age: Duration,
    pub what: Message,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Request { frontend: String, client: Option<IpAddr>, nonsense: nonsense::Request },
    Response { server: ServerName, nonsense: nonsense::Response },
}

const LONGEST_TEXT: usize = 80;

/// `show stat` of frontends and of servers; `None` where this is no such answer.
pub fn stat(answer: &str) -> Option<Round> {
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(answer.as_bytes());
    let heading = rows.headers().ok()?.clone();
    let column = |name: &str| heading.iter().position(|it| it.trim_start_matches("# ") == name);
    let (proxy, name, status) = (column("pxname")?, column("svname")?, column("check_status")?);
    let (code, text) = (column("check_code"), column("last_chk"));
    let (requests, server_errors) = (column("ereq"), column("hrsp_5xx"));
    let (responses, connections) = (column("eresp"), column("econ"));
    let understood = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];
    let understood = understood.map(column);
    let mut round = Round::default();
    for row in rows.records() {
        let row = row.ok()?;
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let number = |at| cell(at).parse().unwrap_or(0);
        let backend = cell(Some(proxy)).to_owned();
        match cell(Some(name)) {
            "FRONTEND" => {
                let (requests, server_errors) = (number(requests), number(server_errors));
                round.frontends.insert(backend, Refusals { requests, server_errors });
            }
            "BACKEND" => {}
            server => {
                let health = Health {
                    check: Check::of(cell(Some(status)), cell(code), cell(text)),
                    responses: understood.iter().map(|at| number(*at)).sum(),
                    response_errors: number(responses),
                    connection_errors: number(connections),
                };
                round.servers.insert((backend, server.to_owned()), health);
            }
        }
    }
    Some(round)
}

impl Check {
    /// `L7STS`, `404`, and words of HAProxy's, or of the container's where that is what it answered.
    fn of(status: &str, code: &str, text: &str) -> Self {
        // One that is under way has a star before the result of the last one.
        Self::Failed(match status.trim_start_matches("* ") {
            "" | "UNK" | "INI" | "HANA" => return Self::None,
            passed if passed.ends_with("OK") || passed == "L7OKC" => return Self::Passed,
            "L4TOUT" => Failure::NoConnection,
            "L4CON" if text.contains("refused") => Failure::Refused,
            "L4CON" if ["nreachable", "o route"].iter().any(|it| text.contains(it)) => {
                Failure::NoConnection
            }
            "L6TOUT" | "L7TOUT" => Failure::NoAnswer,
            "L7STS" => match code.parse() {
                Ok(code) => Failure::Status(code),
                Err(_) => Failure::NotHttp,
            },
            "L7RSP" | "L6RSP" => Failure::NotHttp,
            other => Failure::Other(printable(if text.is_empty() { other } else { text })),
        })
    }
}

fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(LONGEST_TEXT).map(plain).collect()
}

/// `show sess`: those of its lines that are of these servers, as `shutdown session` takes them.
pub fn sessions<'a>(answer: &'a str, servers: &[ServerName]) -> Vec<&'a str> {
    let session = |line: &'a str| {
        let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        let (id, _) = line.split_once(':').filter(|(id, _)| id.starts_with("0x"))?;
        let (backend, server) = (word("be=")?, word("srv=")?);
        servers.iter().any(|it| it.0 == backend && it.1 == server).then_some(id)
    };
    answer.lines().filter_map(session).collect()
}

/// `show errors`: a heading with the time, then for each message a head of lines and a dump.
pub fn captured(answer: &str) -> Vec<Captured> {
    let Some(now) = answer.lines().next().and_then(time) else { return Vec::new() };
    let mut messages: Vec<Vec<&str>> = Vec::new();
    for line in answer.lines().skip(1) {
        match messages.last_mut() {
            _ if line.starts_with('[') => messages.push(vec![line]),
            Some(message) => message.push(line),
            None => {}
        }
    }
    messages.iter().filter_map(|lines| message(lines, now)).collect()
}

/// The heads are two lines: `[<time>] backend b (#3): invalid response`, and
/// `  frontend f (#2), server s (#1), event #27, src 127.0.0.1:43752`.
fn message(lines: &[&str], now: Duration) -> Option<Captured> {
    let head = lines.first()?;
    let age = now.saturating_sub(time(head)?);
    let (_, head) = head.split_once("] ")?;
    let (proxy, kind) = head.split_once("): ")?;
    let (side, proxy) = proxy.split_once(' ')?;
    let (proxy, _) = proxy.rsplit_once(" (#")?;
    let second = lines.get(1)?;
    let position = lines.iter().find_map(|line| line.split_once("error at position "))?.1;
    let (bytes, at) = (dump(lines), position.trim().parse().ok()?);
    let what = match (side, kind) {
        ("frontend", "invalid request") => {
            let (_, client) = second.rsplit_once("src ")?;
            let client = client.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok());
            let nonsense = nonsense::Request::of(&bytes, at);
            Message::Request { frontend: proxy.to_owned(), client, nonsense }
        }
        ("backend", "invalid response") => {
            let (_, server) = second.split_once(", server ")?;
            let (server, _) = server.split_once(" (#")?;
            let nonsense = nonsense::Response::of(&bytes, at);
            Message::Response { server: (proxy.to_owned(), server.to_owned()), nonsense }
        }
        _ => return None,
    };
    Some(Captured { age, what })
}

/// What stands in `  00018+ text`: printable characters as they are, else `\n`, `\x15` and the like.
fn dump(lines: &[&str]) -> Vec<u8> {
    let line = |line: &str| {
        let rest = line.strip_prefix("  ")?;
        let (at, text) = (rest.get(..5)?, rest.get(7..)?);
        let is_text = at.bytes().all(|it| it.is_ascii_digit());
        is_text.then(|| unescape(text))
    };
    lines.iter().filter_map(|it| line(it)).flatten().collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return bytes,
            [b'\\', b'x', high, low, after @ ..] => {
                let digit =
                    |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
                bytes.extend(digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'e' => 0x1b,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
}

/// The first `[28/Nov/2026:02:48:49.623]` of a line, as a time that others of the same answer can be held
/// against: months are not of one length, which makes what is weeks old no younger than it is.
fn time(line: &str) -> Option<Duration> {
    let (_, text) = line.split_once('[')?;
    let (text, _) = text.split_once(']')?;
    let (date, clock) = text.split_once(':')?;
    let [day, month, year] = date.split('/').collect::<Vec<_>>()[..] else { return None };
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|it| *it == month)?;
    // Each part is small in what HAProxy prints; with larger ones the sums below could overflow.
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
    fn the_result_of_a_check_is_read() {
        let other = |text: &str| Check::Failed(Failure::Other(text.to_owned()));
        for (status, code, text, expected) in [
            ("", "", "", Check::None),
            ("INI", "", "", Check::None),
            ("L4OK", "", "", Check::Passed),
            ("* L7OK", "200", "OK", Check::Passed),
            ("L4CON", "", "Connection refused", Check::Failed(Failure::Refused)),
            (
                "L4CON",
                "",
                "ECONNREFUSED returned by OS (Connection refused)",
                Check::Failed(Failure::Refused),
            ),
            ("* L4CON", "", "No route to host", Check::Failed(Failure::NoConnection)),
            ("L4CON", "", "Network is unreachable", Check::Failed(Failure::NoConnection)),
            ("L4CON", "", "Connection reset by peer", other("Connection reset by peer")),
            ("L4TOUT", "", "", Check::Failed(Failure::NoConnection)),
            ("L7TOUT", "", "", Check::Failed(Failure::NoAnswer)),
            ("* L7STS", "404", "Not Found", Check::Failed(Failure::Status(404))),
            ("L7RSP", "", "", Check::Failed(Failure::NotHttp)),
            ("SOCKERR", "", "", other("SOCKERR")),
            ("SOCKERR", "", "a\nb\u{1b}", other("a?b?")),
        ] {
            assert_eq!(Check::of(status, code, text), expected, "{status} {code} {text}");
        }
    }

    #[test]
    fn sessions_of_a_server_are_found() {
        const ANSWER: &str = "\
0x561d4f2140c0: proto=tcpv4 src=127.0.0.1:55390 fe=f be=a.test:80 srv=web-01:80 ts=00 epoch=0
0x561d4f2140d0: proto=tcpv4 src=127.0.0.1:55392 fe=f be=a.test:80 srv=web-01:80:alone ts=00 epoch=0
0x561d4f2140e0: proto=tcpv4 src=127.0.0.1:55394 fe=f be=b.test:80 srv=web-01:80 ts=00 epoch=0
0x561d4f335ab0: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0
";
        let server = ("a.test:80".to_owned(), "web-01:80".to_owned());
        assert_eq!(sessions(ANSWER, std::slice::from_ref(&server)), ["0x561d4f2140c0"]);
        assert_eq!(sessions("Permission denied\n", &[server]), [""; 0]);
    }

    #[test]
    fn what_is_escaped_is_read() {
        assert_eq!(unescape("a \\x15\\r\\n\\t\\e\\\\b"), b"a \x15\r\n\t\x1b\\b");
        assert_eq!(unescape("\\xZZ\\"), b"\\");
    }

    #[test]
    fn times_are_held_against_each_other() {
        let between = |a: &str, b: &str| Some(time(b)?.saturating_sub(time(a)?));
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
