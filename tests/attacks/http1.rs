//! Requests whose end HAProxy and a container might see at different places (request smuggling).

use crate::far_end::{FarEnd, SMUGGLED};
use std::io::{Read as _, Write as _};

/// Each attack has the headers after `Host`, without the empty line, and the body.
const ATTACKS: [(&str, &str); 44] = [
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0", "0\r\n\r\n"),
    ("Content-Length: 0\r\nContent-Length: 40", ""),
    ("Content-Length: 40\r\nContent-Length: 0", ""),
    ("Content-Length: 0\r\nContent-Length: 0", ""),
    ("Content-Length: 0, 40", ""),
    ("Content-Length: 0,0", ""),
    ("Content-Length: +0", ""),
    ("Content-Length: -1", ""),
    ("Content-Length: 0x0", ""),
    ("Content-Length: 0 0", ""),
    ("Content-Length: 00", ""),
    ("Content-Length: 18446744073709551616", ""),
    ("Content-Length:", ""),
    ("Content-Length : 40", ""),
    ("Content-Length\t: 40", ""),
    (" Content-Length: 40", ""),
    ("X: y\r\n Content-Length: 40", ""),
    ("X: y\r\n\tTransfer-Encoding: chunked", ""),
    ("X: y\rContent-Length: 40", ""),
    ("X: y\nContent-Length: 40", ""),
    ("X: y\0\r\nContent-Length: 0", ""),
    ("X: y\n\nGET /smuggled HTTP/1.1\nHost: a.test", ""),
    ("Content_Length: 40", ""),
    (": y\r\nContent-Length: 0", ""),
    ("X\0Y: z", ""),
    ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    ("Transfer-Encoding: identity", ""),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    ("Transfer-Encoding: identity, chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
    ("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"),
    ("Transfer-Encoding : chunked", "0\r\n\r\n"),
    ("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "0;\r\n\r\n"),
    ("Transfer-Encoding: chunked", "0x0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "-0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "10000000000000000\r\n\r\n"),
    ("Transfer-Encoding: chunked", "1\r\nxx0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "2;a\n\r\nxx\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "0\r\nContent-Length: 40\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"),
    ("Expect: 100-continue\r\nContent-Length: 40", ""),
    ("Upgrade: websocket\r\nConnection: upgrade, content-length\r\nContent-Length: 40", ""),
];

const LINES: [&str; 12] = [
    "GET  /x HTTP/1.1",
    "GET /x  HTTP/1.1",
    "GET /x\tHTTP/1.1",
    "GET\t/x HTTP/1.1",
    " GET /x HTTP/1.1",
    "GET /x HTTP/1.1 HTTP/1.1",
    "GET /x HTTP/1.10",
    "GET /x HTTP/0.9",
    "GET /x",
    "GET /x\rHTTP/1.1",
    "GET /x\0 HTTP/1.1",
    "\r\n\r\n\nGET /x HTTP/1.1",
];

fn send(far_end: &FarEnd, text: &str) {
    let mut stream = far_end.connect();
    // Texts are Latin-1 here. HAProxy may answer and close the connection before everything was sent.
    let bytes: Vec<_> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

#[tokio::test]
async fn request_of_two_lengths_hides_no_other_request() {
    let Some(far_end) = FarEnd::start().await else { return };
    for (head, body) in ATTACKS {
        for method in ["POST", "GET"] {
            let request = format!(
                "{method} /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\n{head}\r\n\r\n{body}{SMUGGLED}"
            );
            send(&far_end, &request);
            far_end.assert_unharmed(&request);
        }
    }
    assert!(far_end.count() > 2 * ATTACKS.len());
}

#[tokio::test]
async fn first_line_in_an_odd_form_hides_no_other_request() {
    let Some(far_end) = FarEnd::start().await else { return };
    for line in LINES {
        let request = format!("{line}\r\nHost: a.test\r\n\r\n{SMUGGLED}");
        send(&far_end, &request);
        far_end.assert_unharmed(&request);
    }
}
