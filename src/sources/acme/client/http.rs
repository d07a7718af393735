//! The HTTP client of the ACME protocol: limits of time and size, the CA's errors with Retry-After, the CA's clock.

use super::super::error::{AcmeError, FailureKind};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::Deserialize;
use std::{
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The longest time of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes. A chain has a few thousand.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const JOSE_JSON: &str = "application/jose+json";
const REPLAY_NONCE: &str = "replay-nonce";
const PREFIX: &str = "urn:ietf:params:acme:error:";
const AGENT: &str = concat!("docker-balancer/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// What the CA sends besides the answers that the protocol's library reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    /// How far the CA's clock is ahead of the local one, in seconds.
    pub skew: Option<i64>,
    /// The seconds of the last answer's Retry-After.
    pub retry_after: Option<i64>,
    pub meta: Meta,
    /// Where keys of accounts are replaced.
    pub key_change: Option<String>,
    /// Where the first nonce is.
    pub new_nonce: Option<String>,
    /// The CA says when to renew (RFC 9773).
    pub renewal_info: bool,
}

/// Parts of the CA's directory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub terms_of_service: Option<String>,
    /// The CA's domains in CAA records and in the records of dns-persist-01.
    pub caa_identities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    #[serde(default)]
    meta: Option<Meta>,
    renewal_info: Option<String>,
    key_change: Option<String>,
    new_nonce: Option<String>,
}

/// A client whose clones share connections and notes.
#[derive(Clone)]
pub(crate) struct AcmeHttp {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    directory: Arc<str>,
    notes: Arc<Mutex<Notes>>,
}

impl AcmeHttp {
    /// Creates a client for the CA with this directory. It trusts the system's root certificates, or those of a file.
    pub(crate) fn new(directory: &str, ca_file: Option<&Path>) -> Result<Self, AcmeError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AcmeError::new(FailureKind::Unreachable, error))?
            .with_root_certificates(read_roots(ca_file)?)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = https.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, directory: directory.into(), notes: Arc::default() })
    }

    pub(crate) fn notes(&self) -> Notes {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a nonce for a request.
    pub(crate) async fn read_nonce(&self, url: &str) -> Result<String, Error> {
        let request = Request::head(url).body(BodyWrapper::default()).map_err(other)?;
        let answer = self.clone().send(request).await?;
        let nonce = answer.parts.headers.get(REPLAY_NONCE).and_then(|nonce| nonce.to_str().ok());
        let missing = || AcmeError::new(FailureKind::BadResponse, "the CA sent no nonce");
        nonce.map(str::to_owned).ok_or_else(|| other(missing()))
    }

    /// Sends a signed request. An answer that is neither a success nor an error rejects the nonce.
    pub(crate) async fn post_jose(&self, url: &str, body: String) -> Result<StatusCode, Error> {
        let request = Request::post(url).header(CONTENT_TYPE, JOSE_JSON);
        let request = request.body(body.into_bytes().into()).map_err(other)?;
        Ok(self.clone().send(request).await?.parts.status)
    }

    async fn send(self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let url = request.uri().to_string();
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(request)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(AcmeError::new(
                FailureKind::Unreachable,
                format!("no answer in {REQUEST_TIMEOUT:?}: {url}"),
            ))
        });
        let (parts, body) = answer.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
        self.note(&parts.headers, (*url == *self.directory).then_some(&body));
        match judge(parts.status, &parts.headers, &body) {
            Some(error) => Err(Error::Other(Box::new(error))),
            None => Ok(BytesResponse { parts, body: Box::new(body) }),
        }
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, AcmeError> {
        let unreachable = |error: &dyn std::error::Error| {
            AcmeError::new(FailureKind::Unreachable, chain_of(error))
        };
        let answer = self.client.request(request).await.map_err(|error| unreachable(&error))?;
        let (parts, body) = answer.into_parts();
        Ok(Response::from_parts(parts, read_body(body).await?))
    }

    fn note(&self, headers: &HeaderMap, directory: Option<&Bytes>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_now();
        notes.skew = date(headers, &DATE).map(|date| date - now).or(notes.skew);
        notes.retry_after = retry_after(headers);
        let directory = directory.and_then(|body| serde_json::from_slice::<Directory>(body).ok());
        if let Some(directory) = directory {
            notes.renewal_info = directory.renewal_info.is_some();
            notes.meta = directory.meta.unwrap_or_default();
            notes.key_change = directory.key_change;
            notes.new_nonce = directory.new_nonce;
        }
    }
}

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

async fn read_body(body: Incoming) -> Result<Bytes, AcmeError> {
    let expected = body.size_hint().lower();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| {
        AcmeError::new(FailureKind::BadResponse, format!("the answer ended early: {error}"))
    })?;
    let body = body.to_bytes();
    if u64::try_from(body.len()).is_ok_and(|length| length < expected) {
        return Err(AcmeError::new(FailureKind::BadResponse, "the answer ended early"));
    }
    Ok(body)
}

/// Returns the error that an answer reports. The library itself repeats a request whose nonce was bad.
fn judge(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Option<AcmeError> {
    if status.is_success() {
        return None;
    }
    let problem = serde_json::from_slice::<Problem>(body).ok();
    let name = problem.as_ref().and_then(|problem| problem.r#type.as_deref()?.strip_prefix(PREFIX));
    if name == Some("badNonce") && status == StatusCode::BAD_REQUEST {
        return None;
    }
    let kind = match name {
        Some(name) => FailureKind::of_problem(name),
        None if status == StatusCode::TOO_MANY_REQUESTS => FailureKind::RateLimited,
        None if status.is_server_error() => FailureKind::Server,
        None if problem.is_some() => FailureKind::BadRequest,
        None => FailureKind::BadResponse,
    };
    let text = problem
        .map_or_else(|| format!("the CA answers {status}"), |problem| problem_text(&problem));
    Some(AcmeError::new(kind, text).with_retry_after(retry_after(headers)))
}

/// Returns the CA's explanation, with those of the parts of the request.
pub(crate) fn problem_text(problem: &Problem) -> String {
    let detail = problem.detail.clone().or_else(|| problem.r#type.clone());
    let mut text = detail.unwrap_or_else(|| "no explanation".to_owned());
    for part in problem.subproblems.iter().filter_map(|part| part.detail.as_ref()) {
        text = format!("{text}; {part}");
    }
    text
}

/// Returns the kind of failure that the CA reports in an order or a challenge.
pub(crate) fn problem_kind(problem: &Problem) -> FailureKind {
    let name = problem.r#type.as_deref().unwrap_or_default();
    FailureKind::of_problem(name.strip_prefix(PREFIX).unwrap_or(name))
}

fn retry_after(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok();
    seconds.or_else(|| Some(date(headers, &RETRY_AFTER)? - unix_now())).map(|s: i64| s.max(0))
}

/// Returns a date of a header, in Unix seconds.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Returns the local time, in Unix seconds.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn read_roots(ca_file: Option<&Path>) -> Result<RootCertStore, AcmeError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let error = |error| {
        AcmeError::new(FailureKind::Unreachable, format!("cannot read {}: {error}", path.display()))
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|e| error(e.to_string()))?;
    for certificate in read {
        let certificate = certificate.map_err(|e| error(e.to_string()))?;
        roots.add(certificate).map_err(|e| error(e.to_string()))?;
    }
    Ok(roots)
}

/// Returns the texts of an error and its causes.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
