//! A container that helps an attacker: it parses requests as leniently as possible, and records each request that
//! HAProxy did not parse as a separate request.

use crate::common::{haproxy::HAProxy, story};
use std::{
    io::{self, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    num::NonZeroU16,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// A request that arrives as a part of another request.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[derive(Debug, Default)]
struct Record {
    requests: Vec<String>,
    violations: Vec<String>,
}

pub(crate) struct FarEnd {
    haproxy: HAProxy,
    record: Arc<Mutex<Record>>,
}

impl FarEnd {
    /// Starts the container and HAProxy. Returns `None` and records the skip if there is no HAProxy.
    pub(crate) async fn start() -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Mutex::new(Record::default()));
        let recorded = Arc::clone(&record);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let record = Arc::clone(&recorded);
                thread::spawn(move || serve_requests(stream, &record));
            }
        });
        let story = format!("web 127.8.9.1 glue_http_{port}_host=a.test glue_http_{port}_bind=80");
        let haproxy = HAProxy::start(&story::build_config(&story::parse_routes(&story))).await?;
        Some(Self { haproxy, record })
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let port = self.haproxy.bound(NonZeroU16::new(80).unwrap());
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Checks after an attack that other requests get their own answers, and that the container received only requests
    /// that HAProxy parsed.
    pub(crate) fn assert_unharmed(&self, attack: &str) {
        for path in ["/after", "/again"] {
            let mut stream = self.connect();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{attack}: {answer}");
            assert!(
                answer.ends_with(&format!("\r\n\r\nGET {path} HTTP/1.1")),
                "{attack}: {answer}"
            );
        }
        let record = self.record.lock().unwrap();
        assert!(record.violations.is_empty(), "{attack}: {:#?}", record.violations);
    }

    /// Returns the number of requests that arrived.
    pub(crate) fn count(&self) -> usize {
        self.record.lock().unwrap().requests.len()
    }
}

fn serve_requests(stream: TcpStream, record: &Mutex<Record>) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        let Some(first) = head.first().cloned() else { return Ok(()) };
        let violations = find_violations(&head);
        {
            let mut record = record.lock().unwrap();
            record.requests.push(first.clone());
            record.violations.extend(violations);
        }
        read_body(&mut reader, &head)?;
        let length = first.len();
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{first}")?;
    }
}

/// Reads a head. A line may end with a line feed only; empty lines before a request are skipped.
fn read_head(reader: &mut impl io::BufRead) -> io::Result<Vec<String>> {
    let mut head = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(Vec::new());
        }
        let line: String = line.iter().map(|byte| char::from(*byte)).collect();
        let line = line.trim_end_matches(['\r', '\n']);
        match (line.is_empty(), head.is_empty()) {
            (true, true) => {}
            (true, false) => return Ok(head),
            (false, _) => head.push(line.to_owned()),
        }
    }
}

fn values<'a>(head: &'a [String], name: &str) -> Vec<&'a str> {
    let lines = head.iter().skip(1).filter_map(|line| line.split_once(':'));
    let named = lines.filter(|(text, _)| text.trim().eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

/// Returns signs that HAProxy did not parse and rewrite this request.
fn find_violations(head: &[String]) -> Vec<String> {
    let lengths = values(head, "content-length").len() + values(head, "transfer-encoding").len();
    // NUL is allowed: HAProxy 2.6 passes it on in header values.
    let strange = |line: &String| line.contains('\r') || line.starts_with([' ', '\t']);
    let rules = [
        ("it was not read by HAProxy", values(head, "x-forwarded-for") != ["127.0.0.1"]),
        ("it has two lengths", lengths > 1),
        ("it has two hosts", values(head, "host").len() > 1),
        ("its host is another one", values(head, "host").iter().any(|host| *host != "a.test")),
        ("a line of it is strange", head.iter().any(strange)),
        ("its first line is strange", head[0].split(' ').count() != 3),
    ];
    rules.iter().filter(|(_, is)| *is).map(|(rule, _)| format!("{rule}: {head:?}")).collect()
}

fn read_body(reader: &mut impl io::BufRead, head: &[String]) -> io::Result<()> {
    if values(head, "transfer-encoding").iter().any(|value| value.contains("chunked")) {
        return read_chunks(reader);
    }
    let length = values(head, "content-length").first().and_then(|value| value.parse().ok());
    io::copy(&mut reader.take(length.unwrap_or(0)), &mut io::sink()).map(drop)
}

fn read_chunks(reader: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let digits = line.trim().split(';').next().unwrap_or_default().trim().to_owned();
        let length = u64::from_str_radix(&digits, 16).map_err(io::Error::other)?;
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        if length == 0 {
            // Skips the trailers, up to an empty line.
            while reader.read_line(&mut line)? > 2 {
                if line.ends_with("\n\r\n") {
                    break;
                }
            }
            return Ok(());
        }
        reader.read_line(&mut line)?;
    }
}
