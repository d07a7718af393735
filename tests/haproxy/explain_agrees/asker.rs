//! A client with persistent connections.

use docker_glue::model::route::Routes;
use std::{collections::BTreeMap, num::NonZeroU16};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A random request.
#[derive(Debug, Clone)]
pub(crate) struct DrawnRequest {
    pub(crate) method: &'static str,
    /// The public port of the request.
    pub(crate) port: NonZeroU16,
    pub(crate) host: String,
    /// The port after the host in the Host header, with its colon.
    pub(crate) host_port: String,
    /// The path with the query. It may be empty in absolute form.
    pub(crate) path: String,
    pub(crate) absolute: bool,
    /// Besides Host and the length of the body.
    pub(crate) headers: Vec<&'static str>,
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The address of the server that answered.
    pub(crate) server: String,
    /// The path that the server saw.
    pub(crate) path: String,
    /// The URL of a redirect.
    pub(crate) location: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Client {
    bound: BTreeMap<NonZeroU16, u16>,
    connections: BTreeMap<NonZeroU16, BufReader<TcpStream>>,
}

impl DrawnRequest {
    /// Returns the URL as an operator would pass it to explain.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }

    pub(crate) fn head(&self) -> String {
        let Self { method, host, host_port, path, .. } = self;
        let headers: String = self.headers.iter().flat_map(|header| [header, "\r\n"]).collect();
        let target =
            if self.absolute { format!("http://{host}{host_port}{path}") } else { path.clone() };
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}{host_port}\r\n{headers}Content-Length: 0\r\n\r\n"
        )
    }
}

impl Client {
    pub(crate) fn new(bound: impl Fn(NonZeroU16) -> u16, routes: &Routes) -> Self {
        let ports = routes.0.keys().map(|key| key.listener.port);
        let bound = ports.map(|port| (port, bound(port))).collect();
        Self { bound, connections: BTreeMap::new() }
    }

    /// Sends a request on the kept connection, or on a new one if HAProxy closed it after an earlier answer.
    pub(crate) async fn send_request(&mut self, answered_by: &DrawnRequest) -> Answer {
        let head = answered_by.head();
        if let Some(kept) = self.connections.remove(&answered_by.port)
            && let Ok(answer) = self.exchange(kept, answered_by.port, &head).await
        {
            return answer;
        }
        let stream =
            TcpStream::connect(("127.0.0.1", self.bound[&answered_by.port])).await.unwrap();
        stream.set_nodelay(true).unwrap();
        self.exchange(BufReader::new(stream), answered_by.port, &head).await.unwrap()
    }

    async fn exchange(
        &mut self,
        mut stream: BufReader<TcpStream>,
        port: NonZeroU16,
        head: &str,
    ) -> std::io::Result<Answer> {
        stream.write_all(head.as_bytes()).await?;
        let (mut status, mut length, mut keep, mut location) = (0, 0, true, None);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let written = line.trim_end();
            let line = written.to_ascii_lowercase();
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                Some(("content-length", text)) => length = text.parse().unwrap(),
                Some(("location", _)) => {
                    location = written.split_once(": ").map(|pair| pair.1.to_owned());
                }
                Some(("connection", text)) => keep = text != "close",
                None => status = line.split(' ').nth(1).unwrap().parse().unwrap(),
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if keep {
            self.connections.insert(port, stream);
        }
        let body = String::from_utf8(body).unwrap();
        let (server, path) = match body.split_once(' ') {
            Some((server, path)) if status == 200 => (server.to_owned(), path.to_owned()),
            _ => Default::default(),
        };
        Ok(Answer { status, server, path, location })
    }
}
