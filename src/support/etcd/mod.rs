//! A client for etcd v3 with the calls that are needed, for publishers and readers. This is the only folder that uses tonic and prost.

mod message;
mod settings;
mod watch;

pub(crate) use message::KeyValue;
pub(crate) use settings::parse_endpoint;
pub use settings::{EtcdSettings, Password};
pub(crate) use watch::{EtcdWatch, KeyEvent, WatchMessage};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::stream;
use hyper::http::uri::PathAndQuery;
use message::{
    AuthenticateReply, AuthenticateRequest, Compare, EmptyReply, KeepAliveReply, LeaseGrantReply,
    LeaseGrantRequest, LeaseRequest, RangeReply, RangeRequest, ReplyHeader, TxnOperation, TxnReply,
    TxnRequest,
};
use prost::Message;
use settings::read_file;
use std::{error::Error, time::Duration};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

/// The time limit for one reply. A member that has lost contact with the others accepts requests but does not answer
/// them.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How many keys are read per page: at first, and after a timeout.
const PAGE_SIZES: (i64, i64) = (1000, 100);

/// A connection to one of etcd's members. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct EtcdClient {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// Which state of which cluster an answer describes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoreState {
    pub(crate) cluster_id: u64,
    /// The number of changes so far.
    pub(crate) revision: i64,
}

impl From<ReplyHeader> for StoreState {
    fn from(header: ReplyHeader) -> Self {
        Self { cluster_id: header.cluster_id, revision: header.revision }
    }
}

/// Why keys were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EtcdWriteError {
    #[error("etcd refuses the request because it is too large")]
    TooLarge,
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// A change of one key.
#[derive(Debug)]
pub(crate) enum KeyWrite {
    Put { key: String, value: String, lease: i64 },
    Delete { key: String },
}

impl EtcdClient {
    /// Connects, and logs in if a user is set.
    pub(crate) async fn connect(access: &EtcdSettings, endpoint: &str) -> Result<Self> {
        let channel = open_channel(access, endpoint).await?;
        let mut etcd = Self { channel, token: None };
        if let Some((name, password)) = &access.user {
            etcd.token = Some(etcd.log_in(name, password).await?);
        }
        Ok(etcd)
    }

    async fn log_in(&self, name: &str, password: &Password) -> Result<MetadataValue<Ascii>> {
        let password = password.read_password()?;
        let message = AuthenticateRequest { name: name.to_owned(), password };
        let answer: AuthenticateReply =
            self.call_unary("/etcdserverpb.Auth/Authenticate", message).await?;
        let mut token: MetadataValue<Ascii> =
            answer.token.parse().context("etcd returned an invalid token")?;
        token.set_sensitive(true);
        Ok(token)
    }

    /// Returns a new lease. etcd may grant a longer one than requested.
    pub(crate) async fn grant_lease(&self, ttl: Duration) -> Result<i64> {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let message = LeaseGrantRequest { ttl, id: 0 };
        let answer: LeaseGrantReply =
            self.call_unary("/etcdserverpb.Lease/LeaseGrant", message).await?;
        Ok(answer.id)
    }

    /// Ends a lease. etcd deletes its keys.
    pub(crate) async fn revoke_lease(&self, id: i64) -> Result<()> {
        self.call_unary::<_, EmptyReply>("/etcdserverpb.Lease/LeaseRevoke", LeaseRequest { id })
            .await?;
        Ok(())
    }

    /// Renews a lease. Returns `false` if the lease does not exist any more.
    pub(crate) async fn keep_alive(&self, id: i64) -> Result<bool> {
        let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
        let request = self.build_request(stream::iter([LeaseRequest { id }]));
        let call = async {
            let mut grpc = self.ready_client().await?;
            let codec = ProstCodec::<LeaseRequest, KeepAliveReply>::default();
            grpc.streaming(request, path, codec).await?.into_inner().message().await
        };
        match await_reply(call).await {
            Ok(kept) => Ok(kept.is_some_and(|kept| 0 < kept.ttl)),
            Err(EtcdCallError { status: Some(Code::NotFound), .. }) => Ok(false),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Reads all keys with a prefix as they were at one revision, in pages, and passes each to `found`. Returns the
    /// revision.
    pub(crate) async fn read_keys(
        &self,
        prefix: &str,
        keys_only: bool,
        mut found: impl FnMut(KeyValue),
    ) -> Result<StoreState> {
        let mut key = prefix.as_bytes().to_vec();
        let mut limit = PAGE_SIZES.0;
        let mut state: Option<StoreState> = None;
        loop {
            // Pages of different revisions would miss keys that are written between them.
            let revision = state.map_or(0, |state| state.revision);
            let message = RangeRequest {
                key: key.clone(),
                end: prefix_end(prefix),
                limit,
                revision,
                keys_only,
            };
            let page: RangeReply =
                match self.try_call_unary("/etcdserverpb.KV/Range", message).await {
                    // The network is slow, or the values are many times as large as usual.
                    Err(refusal) if PAGE_SIZES.1 < limit && refusal.status.is_none() => {
                        limit = PAGE_SIZES.1;
                        continue;
                    }
                    page => page?,
                };
            let state = *state.get_or_insert(StoreState::from(page.header.unwrap_or_default()));
            let Some(last) = page.kvs.last() else { return Ok(state) };
            let next = [last.key.as_slice(), &[0]].concat();
            if next <= key {
                bail!("etcd returned keys out of order");
            }
            key = next;
            page.kvs.into_iter().for_each(&mut found);
            if !page.more {
                return Ok(state);
            }
        }
    }

    /// Returns the current state of etcd. Members that have lost contact with the others do not answer.
    pub(crate) async fn query_state(&self, prefix: &str) -> Result<StoreState> {
        let (key, end) = (prefix.as_bytes().to_vec(), prefix_end(prefix));
        let message =
            RangeRequest { key, end, limit: 1, keys_only: true, ..RangeRequest::default() };
        let page: RangeReply = self.call_unary("/etcdserverpb.KV/Range", message).await?;
        Ok(page.header.unwrap_or_default().into())
    }

    /// Writes all keys in one transaction. Returns etcd's revision after it.
    pub(crate) async fn write_keys(&self, all: Vec<KeyWrite>) -> Result<i64, EtcdWriteError> {
        self.write_if(Vec::new(), all).await
    }

    /// Writes a key if it belongs to this lease, and stays in it.
    pub(crate) async fn rewrite_key(
        &self,
        key: String,
        value: String,
        lease: i64,
    ) -> Result<(), EtcdWriteError> {
        let condition = Compare::lease_is(&key, lease);
        self.write_if(vec![condition], vec![KeyWrite::Put { key, value, lease }]).await.map(drop)
    }

    async fn write_if(
        &self,
        compare: Vec<Compare>,
        all: Vec<KeyWrite>,
    ) -> Result<i64, EtcdWriteError> {
        let success =
            all.into_iter().map(|write| TxnOperation { request: Some(write.into()) }).collect();
        match self.try_call_unary("/etcdserverpb.KV/Txn", TxnRequest { compare, success }).await {
            Ok(TxnReply { header }) => Ok(header.unwrap_or_default().revision),
            Err(refusal) if refusal.is_too_large() => Err(EtcdWriteError::TooLarge),
            Err(refusal) => Err(anyhow!(refusal).into()),
        }
    }

    async fn call_unary<Q, A>(&self, path: &'static str, message: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        Ok(self.try_call_unary(path, message).await?)
    }

    async fn try_call_unary<Q, A>(&self, path: &'static str, message: Q) -> Result<A, EtcdCallError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.build_request(message);
        let path = PathAndQuery::from_static(path);
        let call = async {
            let codec = ProstCodec::<Q, A>::default();
            Ok(self.ready_client().await?.unary(request, path, codec).await?.into_inner())
        };
        await_reply(call).await
    }

    /// The reply size is not limited: the number of keys per page is, but the value of one container may be large.
    async fn ready_client(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    fn build_request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

async fn open_channel(access: &EtcdSettings, url: &str) -> Result<Channel> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT_TIMEOUT);
    if url.starts_with("https:") {
        let host = endpoint.uri().host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut tls = ClientTlsConfig::new().domain_name(host);
        tls = match &access.ca {
            Some(file) => tls.ca_certificate(Certificate::from_pem(read_file(file)?)),
            None => tls.with_native_roots(),
        };
        if let Some((cert, key)) = &access.identity {
            tls = tls.identity(Identity::from_pem(read_file(cert)?, read_file(key)?));
        }
        let why = |error: transport::Error| anyhow!(join_causes(error.to_string(), error.source()));
        endpoint = endpoint.tls_config(tls).map_err(why).context("the certificates are invalid")?;
    }
    match timeout(REPLY_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => bail!(join_causes(error.to_string(), error.source())),
        Err(_) => bail!("no connection within {REPLY_TIMEOUT:?}"),
    }
}

/// Returns the first key after all keys with this prefix. A prefix ends with a slash, so the last byte can be
/// incremented.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// An error from etcd or from the connection.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct EtcdCallError {
    /// `None` if there was no reply.
    status: Option<Code>,
    text: String,
}

impl EtcdCallError {
    /// Whether the request exceeds a size limit, either etcd's own or that of gRPC.
    fn is_too_large(&self) -> bool {
        self.text.contains("request is too large") || self.text.contains("larger than max")
    }
}

impl From<Status> for EtcdCallError {
    fn from(status: Status) -> Self {
        let first = match status.message() {
            "" => status.code().description(),
            text => text,
        };
        let text = join_causes(first.to_owned(), status.source());
        Self { status: Some(status.code()), text }
    }
}

async fn await_reply<A>(call: impl Future<Output = Result<A, Status>>) -> Result<A, EtcdCallError> {
    match timeout(REPLY_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            Err(EtcdCallError { status: None, text: format!("no answer within {REPLY_TIMEOUT:?}") })
        }
    }
}

/// Joins an error and its causes. An error is left out if its cause contains the same text.
fn join_causes(first: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    let mut all = vec![first];
    while let Some(inner) = cause {
        let text = inner.to_string();
        all.pop_if(|last| text.contains(last.as_str()) || last == "transport error");
        if !all.iter().any(|string| string.contains(&text)) {
            all.push(text);
        }
        cause = inner.source();
    }
    all.join(": ")
}

#[cfg(test)]
mod tests {
    use super::{join_causes, prefix_end};
    use std::{error::Error, fmt};

    /// An error with a text and an optional cause.
    #[derive(Debug)]
    struct ErrorChain(&'static str, Option<Box<ErrorChain>>);

    impl fmt::Display for ErrorChain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for ErrorChain {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|log| log as _)
        }
    }

    #[test]
    fn repeated_causes_are_joined_once() {
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
            let fold = |cause, text: &&'static str| Some(Box::new(ErrorChain(text, cause)));
            let first = chain.iter().rev().fold(None, fold).unwrap();
            assert_eq!(join_causes(first.to_string(), first.source()), expected);
        }
    }

    #[test]
    fn prefix_end_increments_last_byte() {
        assert_eq!(prefix_end("/a/"), b"/a0");
    }
}
