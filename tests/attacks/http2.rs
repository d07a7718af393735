//! HTTP/2 without TLS, which HAProxy accepts from clients that start with it: what must not reach a container as
//! HTTP/1.

use crate::far_end::{FarEnd, SMUGGLED};
use std::io::{Read as _, Write as _};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes literals without indexing (RFC 7541, 6.2.2) of less than 127 bytes each.
fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn request(fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let mut frames = frame(HEADERS, END_HEADERS | end, 1, &encode(fields));
    if !body.is_empty() {
        frames.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    frames
}

/// Sends the frames, and reads until the first stream or the connection ends.
fn send(far_end: &FarEnd, frames: &[u8]) {
    let mut stream = far_end.connect();
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat();
    let _ = stream.write_all(&all);
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).is_err() {
            return;
        }
        let ends = matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0;
        if ends || matches!(head[3], RST_STREAM | GOAWAY) {
            return;
        }
    }
}

/// Returns the fields of a request, with `changed` replacing some of them and adding others.
fn fields<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/x")];
    let is_own = |name: &str| own.iter().any(|(text, _)| *text == name);
    let mut fields: Vec<_> = own
        .iter()
        .map(|field| *changed.iter().find(|(name, _)| *name == field.0).unwrap_or(field))
        .collect();
    fields.extend(changed.iter().filter(|(name, _)| !is_own(name)));
    fields
}

#[tokio::test]
async fn http2_request_becomes_one_request_of_http1() {
    let Some(far_end) = FarEnd::start().await else { return };
    for changed in [
        &[][..],
        &[("x-forwarded-for", "6.6.6.6")],
        &[("content-length", "0")],
        &[("content-length", "5")],
        &[("content-length", "500")],
        &[("content-length", "0"), ("content-length", "41")],
        &[("content-length", "+0")],
        &[("transfer-encoding", "chunked")],
        &[("transfer-encoding", "chunked"), ("content-length", "0")],
        &[("te", "trailers, chunked")],
        &[("x", "y\r\nX-Forwarded-For: 6.6.6.6")],
        &[("x", "y\nX-Forwarded-For: 6.6.6.6")],
        &[("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test")],
        &[("x", "y\0z")],
        &[("x: y\r\ntransfer-encoding", "chunked")],
        &[("transfer-encoding ", "chunked")],
        &[("content-length:", "0")],
        &[("x y", "z")],
        &[("", "y")],
        &[("X-Upper", "y")],
        &[("connection", "x-forwarded-for")],
        &[("connection", "transfer-encoding"), ("transfer-encoding", "chunked")],
        &[("proxy-connection", "keep-alive"), ("keep-alive", "1")],
        &[("upgrade", "h2c"), ("http2-settings", "")],
        &[(":path", "/x HTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled")],
        &[(":path", "/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y")],
        &[(":path", "/x y")],
        &[(":path", "x")],
        &[(":path", "")],
        &[(":path", "*")],
        &[(":path", "http://b.test/x")],
        &[(":path", "//b.test/x")],
        &[(":path", "/x#y")],
        &[(":path", "/x\0")],
        &[(":method", "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\nGET")],
        &[(":method", "GET ")],
        &[(":method", "")],
        &[(":method", "CONNECT")],
        &[(":method", "CONNECT"), (":protocol", "websocket")],
        &[(":scheme", "http\r\nX: y")],
        &[(":scheme", "http://b.test/")],
        &[(":scheme", "")],
        &[(":authority", "b.test")],
        &[(":authority", "a.test\r\nX: y")],
        &[(":authority", "a.test/x")],
        &[(":authority", "u@a.test")],
        &[(":authority", "")],
        &[("host", "b.test")],
        &[("host", "a.test"), ("host", "b.test")],
        &[(":path2", "/x")],
        &[(":", "/x")],
        &[("x", "y"), (":path3", "/x")],
        &[("cookie", "a=b\r\nX: y"), ("cookie", "c")],
    ] {
        for body in ["", SMUGGLED, "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
            send(&far_end, &request(&fields(changed), body));
            far_end.assert_unharmed(&format!("{changed:?} {body:?}"));
        }
    }
    for (what, frames) in [
        ("a field twice", request(&[fields(&[]), fields(&[])].concat(), "")),
        (
            "no path",
            request(&[(":method", "GET"), (":scheme", "http"), (":authority", "a.test")], ""),
        ),
        ("no field", request(&[], "")),
    ] {
        send(&far_end, &frames);
        far_end.assert_unharmed(what);
    }
    assert!(far_end.count() > 100);
}

#[tokio::test]
async fn flood_of_http2_frames_leaves_others_served() {
    let Some(far_end) = FarEnd::start().await else { return };
    let block = encode(&fields(&[(":method", "GET")]));
    let begun = frame(HEADERS, END_STREAM, 1, &block);
    let continued = frame(CONTINUATION, 0, 1, &encode(&[("x", "y")])).repeat(20_000);
    let cancelled = (0..5_000).flat_map(|n| {
        let stream = 2 * n + 1;
        let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, &block), cancel].concat()
    });
    for (what, mut frames) in [
        ("headers without end", [begun, continued].concat()),
        ("requests that are cancelled", cancelled.collect()),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(20_000)),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        ("empty data", frame(DATA, 0, 1, &[]).repeat(20_000)),
        ("a table of 4 GB", request(&fields(&[]), "")),
    ] {
        if what.starts_with("a table") {
            frames.splice(0..0, frame(SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff]));
        }
        frames.extend(frame(GOAWAY, 0, 0, &[0; 8]));
        send(&far_end, &frames);
        far_end.assert_unharmed(what);
    }
}
