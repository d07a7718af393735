//! Request bodies. They are read to the end, so that the next request on the
//! connection is found, and counted.

use std::io::{self, BufRead, Read};

use tungstenite::http::StatusCode;

use crate::request::{Reject, Request};

const BAD: Reject = Reject::Bad(StatusCode::BAD_REQUEST);
/// The longest line: a chunk's size with its extensions, or a trailer.
const MAX_LINE: u64 = 8 * 1024;

/// How the end of a body is determined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

impl Framing {
    pub(crate) fn of(request: &Request) -> Result<Self, Reject> {
        if request.header("transfer-encoding").is_some() {
            let chunked = request.has_token("transfer-encoding", "chunked");
            return chunked.then_some(Self::Chunked).ok_or(BAD);
        }
        let length = request.header("content-length").unwrap_or("0");
        length.parse().map(Self::Length).map_err(|_| BAD)
    }

    pub(crate) fn expects_more(self) -> bool {
        self != Self::Length(0)
    }

    /// Reads the body and returns its size.
    pub(crate) fn drain(self, reader: &mut impl BufRead) -> Result<u64, Reject> {
        match self {
            Self::Length(size) => skip(reader, size),
            Self::Chunked => chunks(reader),
        }
    }
}

fn skip(reader: &mut impl BufRead, size: u64) -> Result<u64, Reject> {
    match io::copy(&mut reader.by_ref().take(size), &mut io::sink())? {
        read if read == size => Ok(size),
        _ => Err(Reject::Gone(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn chunks(reader: &mut impl BufRead) -> Result<u64, Reject> {
    let mut total = 0;
    loop {
        match chunk_size(&line(reader)?)? {
            0 => break,
            size => total += skip(reader, size)?,
        }
        if !line(reader)?.is_empty() {
            return Err(BAD);
        }
    }
    // The trailers, which end with an empty line like a head.
    while !line(reader)?.is_empty() {}
    Ok(total)
}

fn chunk_size(line: &str) -> Result<u64, Reject> {
    let digits = line.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| BAD)
}

fn line(reader: &mut impl BufRead) -> Result<String, Reject> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(BAD);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_comes_from_the_headers() {
        for (name, value, framing) in [
            ("Accept", "*/*", Some(Framing::Length(0))),
            ("Content-Length", "12", Some(Framing::Length(12))),
            ("content-length", "x", None),
            ("Transfer-Encoding", "gzip, Chunked", Some(Framing::Chunked)),
            ("Transfer-Encoding", "gzip", None),
        ] {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let request = Request { headers, ..Request::default() };
            assert_eq!(Framing::of(&request).ok(), framing, "{name}: {value}");
        }
    }

    #[test]
    fn bodies_are_read_to_their_end() {
        for (framing, text, size) in [
            (Framing::Length(3), "abcGET", Some(3)),
            (Framing::Chunked, "0\r\n\r\nGET", Some(0)),
            (Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET", Some(3)),
            (Framing::Chunked, "A;x\r\n0123456789\r\n0\r\nT: t\r\n\r\nGET", Some(10)),
            (Framing::Chunked, "3\r\nabcd\r\n0\r\n\r\n", None),
            (Framing::Chunked, "x\r\n", None),
            (Framing::Length(9), "short", None),
        ] {
            let mut bytes = text.as_bytes();
            assert_eq!(framing.drain(&mut bytes).ok(), size, "{text}");
            assert!(size.is_none() || bytes == b"GET", "{text}");
        }
    }
}
