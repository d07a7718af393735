//! The head of a request.

use std::io::{self, BufRead, Read};

use tungstenite::http::StatusCode;

/// Far more than a proxy accepts.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// The minor version: the second 1 of HTTP/1.1.
    pub(crate) minor: u8,
    pub(crate) headers: Vec<(String, String)>,
}

/// Why a request cannot be answered as it should.
#[derive(Debug)]
pub(crate) enum Reject {
    Gone(io::Error),
    Bad(StatusCode),
}

impl From<io::Error> for Reject {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Request {
    pub(crate) fn read(reader: &mut impl BufRead) -> Result<Self, Reject> {
        Self::parse(&read_head(reader)?)
    }

    fn parse(head: &[u8]) -> Result<Self, Reject> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => Ok(Self::from_parsed(&parsed)),
            Err(httparse::Error::TooManyHeaders) => {
                Err(Reject::Bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
            }
            _ => Err(Reject::Bad(StatusCode::BAD_REQUEST)),
        }
    }

    fn from_parsed(parsed: &httparse::Request<'_, '_>) -> Self {
        let target = parsed.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let header = |h: &httparse::Header<'_>| (h.name.to_owned(), text(h.value));
        Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            minor: parsed.version.unwrap_or_default(),
            headers: parsed.headers.iter().map(header).collect(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let desired = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().find(desired).map(|(_, value)| value.as_str())
    }

    /// Returns whether a header with a comma-separated list, which may be
    /// repeated, contains `token`.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    /// Returns whether the connection stays open: by default in HTTP/1.1, only
    /// on request in HTTP/1.0.
    pub(crate) fn keeps_alive(&self) -> bool {
        match self.minor {
            0 => self.has_token("connection", "keep-alive"),
            _ => !self.has_token("connection", "close"),
        }
    }

    /// Returns a number of the query, such as 5 for `ms` in `?ms=5`.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse().ok())
    }
}

/// Reads up to and including the empty line that ends a head.
fn read_head(reader: &mut impl BufRead) -> Result<Vec<u8>, Reject> {
    let mut head = Vec::new();
    loop {
        let start = head.len();
        let room = u64::try_from(MAX_HEAD - start).unwrap_or(0);
        reader.by_ref().take(room).read_until(b'\n', &mut head)?;
        match &head[start..] {
            // Empty lines before a request are ignored.
            b"\r\n" | b"\n" if start == 0 => head.clear(),
            b"\r\n" | b"\n" => return Ok(head),
            [.., b'\n'] => {}
            _ => return Err(cut_short(head.len())),
        }
    }
}

fn cut_short(size: usize) -> Reject {
    if size < MAX_HEAD {
        return Reject::Gone(io::ErrorKind::UnexpectedEof.into());
    }
    Reject::Bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Reject> {
        Request::read(&mut text.as_bytes())
    }

    #[test]
    fn target_is_path_and_query() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("/a%20b?x=1", "/a%20b", "x=1"),
            ("/a?b?c", "/a", "b?c"),
            ("*", "*", ""),
        ] {
            let request = read(&format!("\r\nGET {target} HTTP/1.1\r\n\r\n")).unwrap();
            assert_eq!((&*request.path, &*request.query), (path, query));
        }
    }

    #[test]
    fn keep_alive_depends_on_version() {
        for (minor, header, keeps) in [
            (1, "", true),
            (1, "Connection: close\r\n", false),
            (1, "connection: Upgrade, Close\r\n", false),
            (0, "", false),
            (0, "Connection: keep-alive\r\n", true),
        ] {
            let request = read(&format!("GET / HTTP/1.{minor}\r\n{header}\r\n")).unwrap();
            assert_eq!(request.keeps_alive(), keeps, "1.{minor} {header}");
        }
    }

    #[test]
    fn bad_heads_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
        for (text, status) in [("nonsense\r\n\r\n", 400), (&long, 431), (&many, 431)] {
            assert!(matches!(read(text), Err(Reject::Bad(s)) if s == status));
        }
        assert!(matches!(read("GET / HT"), Err(Reject::Gone(_))));
    }

    #[test]
    fn numbers_come_from_the_query() {
        let request = read("GET /?a=1&ms=25&b HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(request.number("ms"), Some(25));
        assert_eq!(request.number("b"), None);
    }
}
