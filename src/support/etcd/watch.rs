//! A watch of all keys with a prefix.

use super::{
    EtcdClient, StoreState, await_reply,
    message::{
        EmptyReply, EventMessage, KeyValue, WatchCommand, WatchCreateRequest, WatchReply,
        WatchRequest,
    },
    prefix_end,
};
use anyhow::{Result, anyhow, bail};
use futures_util::{FutureExt as _, stream};
use hyper::http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::{Streaming, metadata::MetadataValue};
use tonic_prost::ProstCodec;

/// The kind of an event that deletes its key.
const DELETE: i32 = 1;

/// Requests that wait to be sent: the creation, and progress requests of which each follows an answer.
const QUEUE: usize = 4;

/// An open watch. etcd ends it if the member loses contact with the others: it would be silent for ever otherwise.
#[derive(Debug)]
pub(crate) struct EtcdWatch {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchReply>,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyEvent {
    Put(KeyValue),
    Delete { key: Vec<u8>, revision: i64 },
}

/// What etcd reports over a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WatchMessage {
    Created(StoreState),
    /// All changes of one revision or of several.
    Events(StoreState, Vec<KeyEvent>),
    /// The member answers. Its revision must not be used to resume: etcd before 3.4.25 sends it before changes that it
    /// includes (etcd#15220).
    Progress,
    /// The revision to start with is not stored any more.
    Compacted,
}

impl EtcdClient {
    /// Opens a watch of all changes from a revision on.
    pub(crate) async fn watch(&self, prefix: &str, start_revision: i64) -> Result<EtcdWatch> {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let create = WatchCreateRequest {
            key: prefix.as_bytes().to_vec(),
            end: prefix_end(prefix),
            start_revision,
            progress_notify: true,
        };
        requests.try_send(WatchRequest { command: Some(WatchCommand::Create(create)) })?;
        let stream = stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let mut request = self.build_request(stream);
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let call = async {
            let codec = ProstCodec::<WatchRequest, WatchReply>::default();
            Ok(self.ready_client().await?.streaming(request, path, codec).await?.into_inner())
        };
        Ok(EtcdWatch { requests, answers: await_reply(call).await? })
    }
}

impl EtcdWatch {
    /// Returns the next message. Cancel safe.
    ///
    /// # Errors
    /// If the watch has ended.
    pub(crate) async fn next_message(&mut self) -> Result<WatchMessage> {
        let answer = self.answers.message().await.map_err(super::EtcdCallError::from)?;
        parse_reply(answer.ok_or_else(|| anyhow!("etcd ended the watch"))?)
    }

    /// Returns the next message if it has arrived already.
    pub(crate) fn next_ready(&mut self) -> Option<Result<WatchMessage>> {
        self.next_message().now_or_never()
    }

    /// Requests a sign of life. etcd answers with [`WatchMessage::Progress`].
    pub(crate) fn request_progress(&self) {
        // If earlier requests still wait, the member reads none, and the lack of answers shows.
        let command = Some(WatchCommand::Progress(EmptyReply {}));
        let _ = self.requests.try_send(WatchRequest { command });
    }
}

fn parse_reply(reply: WatchReply) -> Result<WatchMessage> {
    let state = StoreState::from(reply.header.unwrap_or_default());
    if reply.canceled && 0 < reply.compact_revision {
        return Ok(WatchMessage::Compacted);
    }
    if reply.canceled {
        bail!("etcd refuses the watch: {}", reply.cancel_reason);
    }
    if reply.created {
        return Ok(WatchMessage::Created(state));
    }
    if reply.events.is_empty() {
        return Ok(WatchMessage::Progress);
    }
    let event = |EventMessage { kind, kv }: EventMessage| match (kind, kv.unwrap_or_default()) {
        (DELETE, kv) => KeyEvent::Delete { key: kv.key, revision: kv.mod_revision },
        (_, kv) => KeyEvent::Put(kv),
    };
    Ok(WatchMessage::Events(state, reply.events.into_iter().map(event).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::etcd::message::ReplyHeader;

    #[test]
    fn reply_is_parsed_by_its_fields() {
        let header = Some(ReplyHeader { cluster_id: 7, revision: 9 });
        let state = StoreState { cluster_id: 7, revision: 9 };
        let kv = KeyValue { key: b"/a".to_vec(), value: b"b".to_vec(), ..KeyValue::default() };
        let event = |kind| EventMessage { kind, kv: Some(kv.clone()) };
        let empty = WatchReply { header, ..WatchReply::default() };
        for (reply, expected) in [
            (WatchReply { created: true, ..empty.clone() }, Ok(WatchMessage::Created(state))),
            (empty.clone(), Ok(WatchMessage::Progress)),
            (
                WatchReply { events: vec![event(0), event(1)], ..empty.clone() },
                Ok(WatchMessage::Events(
                    state,
                    vec![
                        KeyEvent::Put(kv.clone()),
                        KeyEvent::Delete { key: kv.key.clone(), revision: 0 },
                    ],
                )),
            ),
            // etcd 3.4 sends neither a reason nor a header.
            (
                WatchReply { canceled: true, compact_revision: 5, ..WatchReply::default() },
                Ok(WatchMessage::Compacted),
            ),
            (
                WatchReply { canceled: true, cancel_reason: "no".into(), ..empty.clone() },
                Err("etcd refuses the watch: no"),
            ),
        ] {
            let parsed = parse_reply(reply.clone()).map_err(|error| error.to_string());
            assert_eq!(parsed, expected.map_err(str::to_owned), "{reply:?}");
        }
    }
}
