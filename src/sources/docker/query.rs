//! Requests whose answer is parsed entry by entry: the library would reject a whole list for one unknown value.

use super::{
    engine::Engine,
    lenient::{self, LenientList},
};
use anyhow::{Context, Result, anyhow};
use bollard::{BollardRequest, errors::Error};
use futures_util::{Stream, TryStreamExt, stream};
use hyper::{
    Uri,
    body::Bytes,
    http::uri::{InvalidUri, PathAndQuery},
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, future::ready, io, time::Duration};
use tokio::{io::AsyncBufReadExt, time::timeout};
use tokio_util::io::StreamReader;

/// A parsed object, and the text that it was parsed from.
#[derive(Debug)]
pub(crate) struct ParsedObject<T> {
    pub(crate) value: T,
    pub(crate) text: String,
    pub(crate) is_partial: bool,
}

/// Returns the path of a request with its parameters; a filter has a list of values for each key.
pub(crate) fn query_path(
    route: &str,
    parameters: &[(&str, &str)],
    filters: &BTreeMap<&str, Vec<&str>>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(format!("{route}?"));
    query.extend_pairs(parameters);
    if !filters.is_empty() {
        query.append_pair("filters", &serde_json::json!(filters).to_string());
    }
    query.finish()
}

impl Engine {
    pub(crate) async fn query_list<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
    ) -> Result<LenientList<T>> {
        let text = self.query_with_timeout(what, self.timeouts.list, self.fetch_body(path)).await?;
        lenient::parse_list(&text).with_context(|| {
            format!("Docker at {} returned invalid data instead of {what}", self.url())
        })
    }

    /// Requests one object; `None` if it does not exist.
    pub(crate) async fn query_object<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        time_limit: Duration,
    ) -> Result<Option<ParsedObject<T>>> {
        let query = async {
            match self.fetch_body(path).await {
                Ok(text) => Ok(Some(text)),
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let Some(text) = self.query_with_timeout(what, time_limit, query).await? else {
            return Ok(None);
        };
        let text = String::from_utf8(text).with_context(|| {
            format!("Docker at {} returned invalid data instead of {what}", self.url())
        })?;
        let (value, warnings) = lenient::parse_entry(&text);
        let value = value.ok_or_else(|| {
            anyhow!(
                "Docker at {} returned invalid data instead of {what}: {}",
                self.url(),
                warnings.join(", ")
            )
        })?;
        Ok(Some(ParsedObject { value, text, is_partial: !warnings.is_empty() }))
    }

    /// Checks whether the engine answers at all; any answer counts, because a proxy in front of it may not know
    /// `/_ping`.
    pub(crate) async fn ping(&self) -> Result<()> {
        let limit = self.timeouts.ping;
        match timeout(limit, self.fetch_body("/_ping")).await {
            Ok(Ok(_) | Err(Error::DockerResponseServerError { .. })) => Ok(()),
            Ok(Err(error)) => Err(anyhow!(error).context(format!("Docker at {}", self.url()))),
            Err(_) => Err(anyhow!("Docker at {} did not answer within {limit:?}", self.url())),
        }
    }

    async fn fetch_body(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut body = self.open_body(path)?;
        let mut text = Vec::new();
        while let Some(part) = body.try_next().await? {
            text.extend_from_slice(&part);
        }
        Ok(text)
    }

    /// Streams the lines of an answer until it ends.
    pub(crate) fn stream_lines(&self, path: &str) -> impl Stream<Item = Result<String>> + use<> {
        let body =
            stream::once(ready(self.open_body(path))).try_flatten().map_err(io::Error::other);
        let lines = StreamReader::new(Box::pin(body)).split(b'\n');
        stream::try_unfold(lines, async |mut lines| {
            let line = lines.next_segment().await?;
            Ok(line.map(|line| (String::from_utf8_lossy(&line).into_owned(), lines)))
        })
    }

    /// The library returns raw bytes for one kind of request only, so it is used for all requests.
    fn open_body(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Unpin + use<>, Error> {
        let path: PathAndQuery = path.parse().map_err(|error: InvalidUri| Error::from(error))?;
        let set_path = move |mut request: BollardRequest| {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(path.clone());
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
            request
        };
        Ok(self.docker.clone().with_request_modifier(set_path).export_container("-"))
    }
}
