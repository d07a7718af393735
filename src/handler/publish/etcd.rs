//! etcd v3, as far as publishing needs it: the only file that says tonic and prost.
//!
//! The messages are those of etcd's `rpc.proto` and `kv.proto`, with the fields that are used, written by
//! hand: a client that is generated from those files would need protoc wherever docker-glue is built.

use super::params::{Access, Password};
use anyhow::{Context, Result, anyhow, bail};
use futures_util::stream;
use hyper::http::uri::PathAndQuery;
use prost::{Message, Oneof};
use std::{error::Error, fs, path::Path, time::Duration};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

/// For one answer; a member that has lost the others takes questions and answers none.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Keys that are read at a time, and where so many take too long.
const PAGES: (i64, i64) = (1000, 100);

/// A connection to one of etcd's members. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Etcd {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error("etcd takes no request as large as this one")]
    TooLarge,
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A change of one key.
#[derive(Debug)]
pub(super) enum Write {
    Put { key: String, value: String, lease: i64 },
    Delete { key: String },
}

impl Etcd {
    /// Connected, and known to etcd where there is a user.
    pub(super) async fn open(access: &Access, endpoint: &str) -> Result<Self> {
        let channel = connect(access, endpoint).await?;
        let mut etcd = Self { channel, token: None };
        if let Some((name, password)) = &access.user {
            etcd.token = Some(etcd.log_in(name, password).await?);
        }
        Ok(etcd)
    }

    async fn log_in(&self, name: &str, password: &Password) -> Result<MetadataValue<Ascii>> {
        let password = password.read()?;
        let question = Authenticate { name: name.to_owned(), password };
        let answer: Token = self.ask("/etcdserverpb.Auth/Authenticate", question).await?;
        let mut token: MetadataValue<Ascii> =
            answer.token.parse().context("etcd's token is no text")?;
        token.set_sensitive(true);
        Ok(token)
    }

    /// A new lease; etcd may grant a longer one than was asked for.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<i64> {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let question = Grant { ttl, id: 0 };
        let answer: Granted = self.ask("/etcdserverpb.Lease/LeaseGrant", question).await?;
        Ok(answer.id)
    }

    /// Its keys go with it.
    pub(super) async fn revoke(&self, id: i64) -> Result<()> {
        self.ask::<_, Nothing>("/etcdserverpb.Lease/LeaseRevoke", Lease { id }).await?;
        Ok(())
    }

    /// `false` if there is no such lease any more.
    pub(super) async fn keep_alive(&self, id: i64) -> Result<bool> {
        let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
        let request = self.request(stream::iter([Lease { id }]));
        let asked = async {
            let mut grpc = self.ready().await?;
            let codec = ProstCodec::<Lease, KeptAlive>::default();
            grpc.streaming(request, path, codec).await?.into_inner().message().await
        };
        match answer(asked).await {
            Ok(kept) => Ok(kept.is_some_and(|kept| 0 < kept.ttl)),
            Err(Refusal { status: Some(Code::NotFound), .. }) => Ok(false),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// All keys that begin so, in pages; each is handed on as it is.
    pub(super) async fn read(
        &self,
        prefix: &str,
        keys_only: bool,
        mut found: impl FnMut(KeyValue),
    ) -> Result<()> {
        let mut key = prefix.as_bytes().to_vec();
        let mut limit = PAGES.0;
        loop {
            let question = Range { key: key.clone(), end: after(prefix), limit, keys_only };
            let page: Ranged = match self.refusable("/etcdserverpb.KV/Range", question).await {
                // A slow way, or texts that are many times as long as most.
                Err(refusal) if PAGES.1 < limit && refusal.status.is_none() => {
                    limit = PAGES.1;
                    continue;
                }
                page => page?,
            };
            let Some(last) = page.kvs.last() else { return Ok(()) };
            let next = [last.key.as_slice(), &[0]].concat();
            if next <= key {
                bail!("etcd's keys are not in order");
            }
            key = next;
            page.kvs.into_iter().for_each(&mut found);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// All of them or none; returns etcd's revision after that.
    pub(super) async fn write(&self, all: Vec<Write>) -> Result<i64, Unwritten> {
        let success = all.into_iter().map(|it| Operation { request: Some(it.into()) }).collect();
        match self.refusable("/etcdserverpb.KV/Txn", Transaction { success }).await {
            Ok(Transacted { header }) => Ok(header.unwrap_or_default().revision),
            Err(refusal) if refusal.is_too_large() => Err(Unwritten::TooLarge),
            Err(refusal) => Err(anyhow!(refusal).into()),
        }
    }

    async fn ask<Q, A>(&self, path: &'static str, question: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        Ok(self.refusable(path, question).await?)
    }

    async fn refusable<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Refusal>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.request(question);
        let path = PathAndQuery::from_static(path);
        let asked = async {
            let codec = ProstCodec::<Q, A>::default();
            Ok(self.ready().await?.unary(request, path, codec).await?.into_inner())
        };
        answer(asked).await
    }

    /// Pages are few, but a container's text may be large.
    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    fn request<T>(&self, question: T) -> Request<T> {
        let mut request = Request::new(question);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

impl Password {
    fn read(&self) -> Result<String> {
        match self {
            Self::Said(text) => Ok(text.clone()),
            Self::File(file) => Ok(read(file)?.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }
}

async fn connect(access: &Access, url: &str) -> Result<Channel> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT);
    if url.starts_with("https:") {
        let host = endpoint.uri().host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut tls = ClientTlsConfig::new().domain_name(host);
        tls = match &access.ca {
            Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
            None => tls.with_native_roots(),
        };
        if let Some((cert, key)) = &access.identity {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        let why = |error: transport::Error| anyhow!(told(error.to_string(), error.source()));
        endpoint =
            endpoint.tls_config(tls).map_err(why).context("the certificates are not understood")?;
    }
    match timeout(PATIENCE, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => bail!(told(error.to_string(), error.source())),
        Err(_) => bail!("no connection within {PATIENCE:?}"),
    }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The first key that does not begin so. A prefix ends with a slash, which is not the last byte there is.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// What etcd, or the way to it, said instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refusal {
    /// `None`: nothing came.
    status: Option<Code>,
    text: String,
}

impl Refusal {
    /// Whichever of the two limits that a request meets it met first: etcd's own, or gRPC's.
    fn is_too_large(&self) -> bool {
        self.text.contains("request is too large") || self.text.contains("larger than max")
    }
}

async fn answer<A>(asked: impl Future<Output = Result<A, Status>>) -> Result<A, Refusal> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => {
            let first = match status.message() {
                "" => status.code().description(),
                text => text,
            };
            let text = told(first.to_owned(), status.source());
            Err(Refusal { status: Some(status.code()), text })
        }
        Err(_) => Err(Refusal { status: None, text: format!("no answer within {PATIENCE:?}") }),
    }
}

/// An error with its causes; those that only repeat what the next one says are passed over.
fn told(first: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    let mut all = vec![first];
    while let Some(inner) = cause {
        let text = inner.to_string();
        all.pop_if(|last| text.contains(last.as_str()) || last == "transport error");
        if !all.iter().any(|it| it.contains(&text)) {
            all.push(text);
        }
        cause = inner.source();
    }
    all.join(": ")
}

impl From<Write> for Change {
    fn from(write: Write) -> Self {
        match write {
            Write::Put { key, value, lease } => {
                Self::Put(Put { key: key.into(), value: value.into(), lease })
            }
            Write::Delete { key } => Self::Delete(Delete { key: key.into() }),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Eq, Message)]
struct Authenticate {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Token {
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Grant {
    #[prost(int64, tag = "1")]
    ttl: i64,
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Granted {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct KeptAlive {
    #[prost(int64, tag = "3")]
    ttl: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Range {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    end: Vec<u8>,
    #[prost(int64, tag = "3")]
    limit: i64,
    #[prost(bool, tag = "8")]
    keys_only: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Ranged {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
}

/// A key as etcd has it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
    #[prost(int64, tag = "6")]
    pub(super) lease: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Transaction {
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Operation {
    #[prost(oneof = "Change", tags = "2, 3")]
    request: Option<Change>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Change {
    #[prost(message, tag = "2")]
    Put(Put),
    #[prost(message, tag = "3")]
    Delete(Delete),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(int64, tag = "3")]
    lease: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Delete {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Transacted {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[cfg(test)]
mod tests {
    use super::{after, told};
    use std::{error::Error, fmt};

    /// Says a text, and has a cause.
    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|it| it as _)
        }
    }

    #[test]
    fn causes_are_told_once() {
        for (chain, expected) in [
            (&["no lease"][..], "no lease"),
            (
                &["transport error", "dns error", "dns error: no such name"],
                "dns error: no such name",
            ),
            (&["transport error", "refused: by peer", "by peer"], "refused: by peer"),
            (&["transport error", "a", "b"], "a: b"),
            (&["transport error"], "transport error"),
        ] {
            let fold = |cause, text: &&'static str| Some(Box::new(Told(text, cause)));
            let first = chain.iter().rev().fold(None, fold).unwrap();
            assert_eq!(told(first.to_string(), first.source()), expected);
        }
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_is_one_more() {
        assert_eq!(after("/a/"), b"/a0");
    }
}
