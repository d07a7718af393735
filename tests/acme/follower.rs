//! The task under test, with a web server that serves its tokens as HAProxy would.

use crate::common;
use docker_glue::sources::acme::{
    AcmeHandles, AcmeHost, AcmeRequest, AcmeSettings, AcmeStatus, IssuedCertificate, TokenRequest,
    decide::HostState, follow, status::HostStatus,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

/// What is served for challenges: answers by path, or certificates by host.
pub(crate) type Tokens = Arc<Mutex<BTreeMap<String, String>>>;

/// How the web server treats the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serve {
    All,
    /// It confirms each token, and serves none.
    Nothing,
    /// It cannot publish a token.
    Refuse,
    /// It never answers.
    Hang,
}

/// A task that runs until it is dropped.
pub(crate) struct Follower {
    hosts: watch::Sender<Arc<BTreeSet<AcmeHost>>>,
    requests: mpsc::Sender<AcmeRequest>,
    status: watch::Receiver<Arc<AcmeStatus>>,
    issued: mpsc::UnboundedReceiver<IssuedCertificate>,
    pub(crate) tokens: Tokens,
    _tasks: JoinSet<()>,
}

pub(crate) fn host(name: &str) -> AcmeHost {
    name.parse().unwrap()
}

impl Follower {
    /// Starts the task. Its tokens are served on `port`.
    pub(crate) async fn start(settings: AcmeSettings, port: u16, serve: Serve) -> Self {
        let (hosts, hosts_receiver) = watch::channel(Arc::default());
        let (requests, request_receiver) = mpsc::channel(8);
        let (status, status_receiver) = watch::channel(Arc::default());
        let (issued, mut issued_receiver) = mpsc::channel(8);
        let (all, all_receiver) = mpsc::unbounded_channel();
        let (tokens, token_receiver) = mpsc::channel(8);
        let served = Tokens::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_tokens(listen(port).await, served.clone()));
        tasks.spawn(take_requests(token_receiver, served.clone(), serve));
        tasks.spawn(async move {
            while let Some(certificate) = issued_receiver.recv().await {
                all.send(certificate).unwrap();
            }
        });
        let handles = AcmeHandles {
            hosts: hosts_receiver,
            tokens,
            issued,
            status,
            requests: request_receiver,
        };
        tasks.spawn(follow(settings, handles));
        let status = status_receiver;
        Self { hosts, requests, status, issued: all_receiver, tokens: served, _tasks: tasks }
    }

    pub(crate) fn want(&self, names: &[&str]) {
        self.hosts.send_replace(Arc::new(names.iter().map(|name| host(name)).collect()));
    }

    pub(crate) async fn renew(&self, name: &str) {
        self.requests.send(AcmeRequest::Renew(host(name))).await.unwrap();
    }

    pub(crate) async fn replace_account_key(&self) {
        self.requests.send(AcmeRequest::ReplaceAccountKey).await.unwrap();
    }

    pub(crate) fn status(&self) -> Arc<AcmeStatus> {
        self.status.borrow().clone()
    }

    /// Waits for the next certificate, and returns its name and PEM text.
    pub(crate) async fn next_issued(&mut self) -> (String, String) {
        let received = tokio::time::timeout(common::DEADLINE, self.issued.recv()).await;
        let certificate =
            received.unwrap_or_else(|_| panic!("no certificate: {:#?}", self.status()));
        let certificate = certificate.unwrap();
        (certificate.host.to_string(), certificate.pem.to_string())
    }

    /// Returns whether a certificate waits to be read.
    pub(crate) fn has_issued(&self) -> bool {
        !self.issued.is_empty()
    }

    /// Waits until a host's status satisfies a condition.
    pub(crate) async fn until_host(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&HostStatus) -> bool,
    ) -> HostStatus {
        let mut last = None;
        let found = common::wait_until(what, async || {
            last = self.status().hosts.get(&host(name)).cloned();
            last.clone().filter(&condition)
        });
        found.await
    }

    pub(crate) async fn until_state(&self, name: &str, state: HostState) -> HostStatus {
        self.until_host(name, &format!("{name} is {state}"), |status| status.state == state).await
    }

    /// Waits until the status satisfies a condition.
    pub(crate) async fn until_status(
        &self,
        what: &str,
        condition: impl Fn(&AcmeStatus) -> bool,
    ) -> Arc<AcmeStatus> {
        common::wait_until(what, async || Some(self.status()).filter(|status| condition(status)))
            .await
    }
}

/// The port of an earlier follower of the same test may be in use for a moment.
async fn listen(port: u16) -> TcpListener {
    common::wait_until("the port of the tokens is free", async || {
        TcpListener::bind(("127.0.0.1", port)).await.ok()
    })
    .await
}

async fn take_requests(mut requests: mpsc::Receiver<TokenRequest>, tokens: Tokens, serve: Serve) {
    let mut unanswered = Vec::new();
    while let Some(request) = requests.recv().await {
        match request {
            TokenRequest::Publish { done, .. } if serve == Serve::Hang => unanswered.push(done),
            TokenRequest::Publish { path, key_authorization, done } => {
                if serve != Serve::Nothing {
                    tokens.lock().unwrap().insert(path, key_authorization);
                }
                let refused = Err("HAProxy is down".to_owned());
                let _ = done.send(if serve == Serve::Refuse { refused } else { Ok(()) });
            }
            TokenRequest::Withdraw { path } => drop(tokens.lock().unwrap().remove(&path)),
            TokenRequest::Present { done, .. } if serve == Serve::Hang => unanswered.push(done),
            TokenRequest::Present { host, done, .. } => {
                tokens.lock().unwrap().insert(host.to_string(), "a certificate".to_owned());
                let _ = done.send(Ok(()));
            }
            TokenRequest::Hide { host } => drop(tokens.lock().unwrap().remove(host.as_str())),
        }
    }
}

async fn serve_tokens(listener: TcpListener, tokens: Tokens) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, tokens.clone()));
    }
}

async fn answer(mut stream: TcpStream, tokens: Tokens) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let token = tokens.lock().unwrap().get(path).cloned();
    let status = if token.is_some() { "200 OK" } else { "404 Not Found" };
    let body = token.unwrap_or_default();
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes()).await;
}
