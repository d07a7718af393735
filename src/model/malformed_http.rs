//! What a peer sent in place of HTTP/1.1, guessed from its bytes.
//!
//! Pure. Of these bytes only the first word of a protocol and the name of a header are kept, because the rest may be
//! secret.

/// What came in place of a response.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MalformedResponse {
    Http2,
    Tls,
    /// The first line is malformed.
    StatusLine,
    /// A header field is malformed; contains as much of its name as is valid.
    Header(String),
    /// The body, which follows the headers, is malformed.
    Body,
    /// Another protocol; contains its first word.
    Other(String),
}

/// What came in place of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MalformedRequest {
    Tls,
    ProxyProtocol,
    /// The path contains an invalid character, for example a space.
    Target,
    Header,
    Body,
    Other,
}

const MAX_WORD: usize = 16;
const MAX_NAME: usize = 40;

impl MalformedResponse {
    /// `at` is the position where HAProxy found the error.
    pub fn from_bytes(bytes: &[u8], at: usize) -> Self {
        if is_http2_frame(bytes) {
            return Self::Http2;
        }
        if is_tls(bytes) {
            return Self::Tls;
        }
        if !bytes.starts_with(b"HTTP/1.") {
            return Self::Other(take_word(bytes, MAX_WORD, |c| c.is_ascii_graphic()));
        }
        match locate_error(bytes, at) {
            MessagePart::FirstLine => Self::StatusLine,
            MessagePart::Header(line) => {
                let is_name_char = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                Self::Header(take_word(line, MAX_NAME, is_name_char))
            }
            MessagePart::Body => Self::Body,
        }
    }
}

impl MalformedRequest {
    pub fn from_bytes(bytes: &[u8], at: usize) -> Self {
        if is_tls(bytes) {
            return Self::Tls;
        }
        if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
            return Self::ProxyProtocol;
        }
        let space = bytes.iter().position(|byte| *byte == b' ');
        let has_method = space.is_some_and(|end| bytes[..end].iter().all(u8::is_ascii_uppercase));
        match locate_error(bytes, at) {
            MessagePart::FirstLine if has_method && space.is_some_and(|end| end < at) => {
                Self::Target
            }
            MessagePart::FirstLine => Self::Other,
            MessagePart::Header(_) => Self::Header,
            MessagePart::Body => Self::Body,
        }
    }
}

enum MessagePart<'a> {
    FirstLine,
    /// Contains the text from this header line on.
    Header(&'a [u8]),
    Body,
}

fn locate_error(bytes: &[u8], at: usize) -> MessagePart<'_> {
    let before = &bytes[..at.min(bytes.len())];
    if before.windows(4).any(|bytes| bytes == b"\r\n\r\n")
        || before.windows(2).any(|bytes| bytes == b"\n\n")
    {
        return MessagePart::Body;
    }
    match before.iter().rposition(|byte| *byte == b'\n') {
        None => MessagePart::FirstLine,
        Some(end) => MessagePart::Header(&bytes[end + 1..]),
    }
}

/// The first frame of an HTTP/2 server is SETTINGS or GOAWAY, on stream 0.
fn is_http2_frame(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, 4 | 7, _, 0, 0, 0, 0, ..])
}

fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
}

fn take_word(bytes: &[u8], longest: usize, is_allowed: impl Fn(char) -> bool) -> String {
    let chars = bytes.iter().map(|byte| char::from(*byte));
    chars.take(longest).take_while(|c| is_allowed(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_http_response_is_classified_by_its_bytes() {
        let header = |name: &str| MalformedResponse::Header(name.to_owned());
        let other = |word: &str| MalformedResponse::Other(word.to_owned());
        let head = b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n5\r\n";
        for (bytes, at, expected) in [
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0d"[..], 0, MalformedResponse::Http2),
            (b"\0\0\x08\x07\0\0\0\0\0", 0, MalformedResponse::Http2),
            (b"\x15\x03\x01\0\x02\x02F", 0, MalformedResponse::Tls),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", 3, other("SSH-2.0-OpenSSH_")),
            (b"220 mail.example.com ESMTP", 0, other("220")),
            (b"\0\x01", 0, other("")),
            (b"", 0, other("")),
            (b"HTTP/1.1 2x0 OK\r\n", 10, MalformedResponse::StatusLine),
            (head, 20, header("Bad")),
            (head, 33, MalformedResponse::Body),
            (head, 3300, MalformedResponse::Body),
        ] {
            assert_eq!(
                MalformedResponse::from_bytes(bytes, at),
                expected,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn non_http_request_is_classified_by_its_bytes() {
        for (bytes, at, expected) in [
            (&b"\x16\x03\x01\x02\0\x01"[..], 0, MalformedRequest::Tls),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 5, MalformedRequest::ProxyProtocol),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", 4, MalformedRequest::ProxyProtocol),
            (b"GET /a b HTTP/1.1\r\n", 7, MalformedRequest::Target),
            (b"GET /\xc3\xa4 HTTP/1.1\r\n", 5, MalformedRequest::Target),
            (b"\x05\x01\0 x", 0, MalformedRequest::Other),
            (b"hello world\r\n", 6, MalformedRequest::Other),
            (b"GET / HTTP/1.1\r\nA b: c\r\n", 17, MalformedRequest::Header),
            (b"GET / HTTP/1.1\r\nA: c\r\n\r\nzz", 24, MalformedRequest::Body),
        ] {
            assert_eq!(
                MalformedRequest::from_bytes(bytes, at),
                expected,
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
