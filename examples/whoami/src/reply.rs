//! Answers and how they are written.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use tungstenite::http::StatusCode;

/// The interval between the parts of a slow body.
const TICK_MS: u64 = 20;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// How long to wait before sending the answer.
    pub(crate) wait: Duration,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Text(String),
    Filler { size: u64, ms: u64 },
}

impl Reply {
    pub(crate) fn text(status: StatusCode, text: String) -> Self {
        Self { status, wait: Duration::ZERO, body: Body::Text(text) }
    }

    /// Returns a body of `size` bytes that is sent over `ms` milliseconds.
    pub(crate) fn filler(size: u64, ms: u64) -> Self {
        Self { status: StatusCode::OK, wait: Duration::ZERO, body: Body::Filler { size, ms } }
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        name: &str,
        keep: bool,
        with_body: bool,
    ) -> io::Result<()> {
        let mut answer = self.head(name, keep).into_bytes();
        let body = with_body && self.may_have_body();
        if let (Body::Text(text), true) = (&self.body, body) {
            answer.extend_from_slice(text.as_bytes());
        }
        out.write_all(&answer)?;
        match self.body {
            Body::Filler { size, ms } if body => trickle(out, size, ms),
            _ => Ok(()),
        }
    }

    fn head(&self, name: &str, keep: bool) -> String {
        let connection = if keep { "keep-alive" } else { "close" };
        let length = if self.may_have_body() {
            format!("Content-Length: {}\r\n", self.size())
        } else {
            String::new()
        };
        format!(
            "HTTP/1.1 {} {}\r\nX-Whoami: {name}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             {length}Connection: {connection}\r\n\r\n",
            self.status.as_str(),
            self.status.canonical_reason().unwrap_or("Unknown"),
        )
    }

    fn may_have_body(&self) -> bool {
        ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status)
    }

    fn size(&self) -> u64 {
        match &self.body {
            Body::Text(text) => text.len() as u64,
            Body::Filler { size, .. } => *size,
        }
    }
}

/// Writes `size` bytes in equal steps over `ms` milliseconds.
fn trickle(out: &mut impl Write, size: u64, ms: u64) -> io::Result<()> {
    let steps = (ms / TICK_MS).clamp(1, size.max(1));
    for step in 0..steps {
        let upto = |step: u64| u128::from(size) * u128::from(step) / u128::from(steps);
        let part = u64::try_from(upto(step + 1) - upto(step)).unwrap_or(u64::MAX);
        io::copy(&mut io::repeat(b'x').take(part), out)?;
        thread::sleep(Duration::from_millis(ms / steps));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply, keep: bool, with_body: bool) -> String {
        let mut out = Vec::new();
        reply.write(&mut out, "me", keep, with_body).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_say_who_and_how_much() {
        let reply = Reply::text(StatusCode::IM_A_TEAPOT, "tea\n".to_owned());
        let head = "HTTP/1.1 418 I'm a teapot\r\nX-Whoami: me\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\nConnection: ";
        assert_eq!(written(&reply, true, true), format!("{head}keep-alive\r\n\r\ntea\n"));
        assert_eq!(written(&reply, false, false), format!("{head}close\r\n\r\n"));
    }

    #[test]
    fn some_statuses_have_no_body() {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            let text = written(&Reply::text(status, "x".to_owned()), true, true);
            assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length"));
        }
    }

    #[test]
    fn fillers_have_their_size() {
        for (size, ms) in [(0, 0), (0, 40), (1, 100), (1001, 60), (100_000, 0)] {
            let text = written(&Reply::filler(size, ms), true, true);
            let body = text.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(body.len() as u64, size);
        }
    }
}
