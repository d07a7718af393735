//! The facts about a request that the answer contains, one a line and easy to
//! grep.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use crate::request::Request;

/// Returns all facts about a request as text.
pub(crate) fn facts(name: &str, local: SocketAddr, request: &Request, body: u64) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = write_facts(&mut text, name, local, request, body);
    text
}

fn write_facts(
    out: &mut String,
    name: &str,
    local: SocketAddr,
    request: &Request,
    body: u64,
) -> fmt::Result {
    writeln!(out, "name: {name}")?;
    writeln!(out, "address: {local}")?;
    writeln!(out, "method: {}", request.method)?;
    writeln!(out, "path: {}", request.path)?;
    writeln!(out, "query: {}", request.query)?;
    writeln!(out, "host: {}", request.header("host").unwrap_or_default())?;
    for (key, value) in &request.headers {
        writeln!(out, "header: {key}: {value}")?;
    }
    writeln!(out, "body: {body} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fact_a_line() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Request {
            method: "GET".to_owned(),
            path: "/x".to_owned(),
            query: "a=1".to_owned(),
            headers: vec![header("Host", "a.test"), header("X-B", "c")],
            ..Request::default()
        };
        let text = facts("me", SocketAddr::from(([10, 0, 0, 1], 80)), &request, 3);
        let expected = "name: me\naddress: 10.0.0.1:80\nmethod: GET\npath: /x\nquery: a=1\n\
            host: a.test\nheader: Host: a.test\nheader: X-B: c\nbody: 3 bytes\n";
        assert_eq!(text, expected);
    }
}
