//! An ACME server that fails on demand. It verifies neither signatures nor challenges.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use docker_glue::sources::acme::AcmeSettings;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How a request fails.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A status with headers and a body.
    Answer(&'static str, Vec<(&'static str, String)>, String),
    /// No answer.
    Hang,
    /// The announced length is longer than the body.
    HalfBody,
    /// The body is cut, and its length is announced correctly.
    CutBody,
}

#[derive(Default)]
struct State {
    /// Faults by path, each with how often it still occurs.
    faults: BTreeMap<String, (Fault, usize)>,
    /// Requests for new orders.
    orders: Vec<Value>,
    /// Requests by path.
    requests: Vec<String>,
    certificates: BTreeMap<usize, String>,
    clock_offset: i64,
    window: Option<Value>,
    token: Option<String>,
    /// The certificates are for another key.
    wrong_key: bool,
    /// Decides about a challenge by its token and its host. `None`: all names are proven.
    validator: Option<Validator>,
    /// The results of challenges.
    validated: BTreeMap<usize, bool>,
}

type Validator = Box<dyn Fn(&str, &str) -> bool + Send>;

pub(crate) struct Fake {
    port: u16,
    state: Arc<Mutex<State>>,
    _task: JoinSet<()>,
}

/// Returns the body of an error of the protocol.
pub(crate) fn problem(kind: &str, detail: &str) -> String {
    json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail }).to_string()
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, state.clone()));
        Self { port, state, _task: task }
    }

    /// Settings for this CA, which count as those of a private one.
    pub(crate) fn settings(&self, folder: &TempDir) -> AcmeSettings {
        let url = format!("http://127.0.0.1:{}/dir", self.port).parse().unwrap();
        AcmeSettings::new(url, folder.path().join("acme"))
    }

    /// Lets the next `times` requests of a path fail.
    pub(crate) fn fail(&self, path: &str, fault: Fault, times: usize) {
        self.state.lock().unwrap().faults.insert(path.to_owned(), (fault, times));
    }

    pub(crate) fn repair(&self, path: &str) {
        self.state.lock().unwrap().faults.remove(path);
    }

    pub(crate) fn orders(&self) -> Vec<Value> {
        self.state.lock().unwrap().orders.clone()
    }

    pub(crate) fn requests(&self, path: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|request| *request == path).count()
    }

    pub(crate) fn set_clock(&self, offset: i64) {
        self.state.lock().unwrap().clock_offset = offset;
    }

    pub(crate) fn set_window(&self, start: &str, end: &str) {
        let window = json!({ "suggestedWindow": { "start": start, "end": end } });
        self.state.lock().unwrap().window = Some(window);
    }

    pub(crate) fn require_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// Demands a proof for each order, which `validator` gets as the token and the host.
    pub(crate) fn validate(&self, validator: impl Fn(&str, &str) -> bool + Send + 'static) {
        self.state.lock().unwrap().validator = Some(Box::new(validator));
    }

    /// Returns the directory without one of its URLs.
    pub(crate) fn directory_without(&self, key: &str) -> String {
        let mut directory = directory(&format!("http://127.0.0.1:{}", self.port));
        directory.as_object_mut().unwrap().remove(key).unwrap();
        directory.to_string()
    }

    pub(crate) fn use_wrong_key(&self) {
        self.state.lock().unwrap().wrong_key = true;
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let port = listener.local_addr().unwrap().port();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, state.clone(), format!("http://127.0.0.1:{port}")));
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>, base: String) {
    let Some((path, body)) = read_request(&mut stream).await else { return };
    let fault = take_fault(&state, &path);
    if let Some(Fault::Answer(status, headers, body)) = &fault {
        let text = response(&state, status, headers, body, body.len());
        let _ = stream.write_all(text.as_bytes()).await;
        return;
    }
    if matches!(fault, Some(Fault::Hang)) {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    let (status, headers, mut body) = handle(&state, &base, &path, &body);
    let length = match fault {
        Some(Fault::HalfBody) => body.len() * 2,
        Some(Fault::CutBody) => {
            body.truncate(body.len() / 2);
            body.len()
        }
        _ => body.len(),
    };
    let text = response(&state, status, &headers, &body, length);
    let _ = stream.write_all(text.as_bytes()).await;
}

fn take_fault(state: &Mutex<State>, path: &str) -> Option<Fault> {
    let mut state = state.lock().unwrap();
    state.requests.push(path.to_owned());
    let (fault, times) = state.faults.get_mut(path)?;
    let fault = fault.clone();
    *times -= 1;
    if *times == 0 {
        state.faults.remove(path);
    }
    Some(fault)
}

/// Returns the path and the body of a request.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.to_ascii_lowercase();
    let length = length
        .split("content-length: ")
        .nth(1)
        .and_then(|remainder| remainder.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head.split(' ').nth(1)?.to_owned(), body))
}

fn response(
    state: &Mutex<State>,
    status: &str,
    headers: &[(&'static str, String)],
    body: &str,
    length: usize,
) -> String {
    let offset = state.lock().unwrap().clock_offset;
    let now = SystemTime::now();
    let by = Duration::from_secs(offset.unsigned_abs());
    let date = httpdate::fmt_http_date(if offset < 0 { now - by } else { now + by });
    let headers = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat());
    let headers: String = headers.collect();
    format!(
        "HTTP/1.1 {status}\r\ndate: {date}\r\nreplay-nonce: bm9uY2U\r\ncontent-length: {length}\r\n\
         connection: close\r\n{headers}\r\n{body}"
    )
}

type Answer = (&'static str, Vec<(&'static str, String)>, String);

fn handle(state: &Mutex<State>, base: &str, path: &str, body: &[u8]) -> Answer {
    let mut state = state.lock().unwrap();
    let ok = |json: Value| ("200 OK", Vec::new(), json.to_string());
    let words: Vec<_> = path.trim_matches('/').split('/').collect();
    let number = words.get(1).and_then(|number| number.parse::<usize>().ok());
    match (words[0], number) {
        ("dir", _) => ok(directory(base)),
        ("key-change", _) => ok(json!({})),
        ("nonce", _) => ("200 OK", Vec::new(), String::new()),
        ("account", _) => {
            let location = vec![("location", format!("{base}/account/1"))];
            ("201 Created", location, json!({ "status": "valid" }).to_string())
        }
        ("order", None) => {
            state.orders.push(payload(body));
            let number = state.orders.len();
            let location = vec![("location", format!("{base}/order/{number}"))];
            ("201 Created", location, order(&state, base, number).to_string())
        }
        ("order", Some(number)) => ok(order(&state, base, number)),
        ("authz", Some(number)) => ok(authorization(&state, base, number)),
        ("challenge", Some(number)) => {
            let host = host_of(&state, number);
            let validator = state.validator.as_ref();
            let is_valid =
                validator.is_none_or(|validator| validator(&token(&state, number), &host));
            state.validated.insert(number, is_valid);
            ok(challenge(&state, base, number, "http-01"))
        }
        ("finalize", Some(number)) => {
            let request = payload(body)["csr"].as_str().unwrap().to_owned();
            let chain = sign(&request, state.wrong_key);
            state.certificates.insert(number, chain);
            ok(order(&state, base, number))
        }
        ("certificate", Some(number)) => {
            ("200 OK", Vec::new(), state.certificates[&number].clone())
        }
        ("renewal", _) => match &state.window {
            Some(window) => {
                ("200 OK", vec![("retry-after", "21600".to_owned())], window.to_string())
            }
            None => ("404 Not Found", Vec::new(), problem("malformed", "no window")),
        },
        _ => ("404 Not Found", Vec::new(), problem("malformed", path)),
    }
}

fn directory(base: &str) -> Value {
    json!({
        "newNonce": format!("{base}/nonce"),
        "newAccount": format!("{base}/account"),
        "newOrder": format!("{base}/order"),
        "renewalInfo": format!("{base}/renewal"),
        "keyChange": format!("{base}/key-change"),
    })
}

fn order(state: &State, base: &str, number: usize) -> Value {
    let request = &state.orders[number - 1];
    let ready = match authorization_status(state, number) {
        "valid" => "ready",
        other => other,
    };
    let mut order = json!({
        "status": ready,
        "identifiers": request["identifiers"],
        "authorizations": [format!("{base}/authz/{number}")],
        "finalize": format!("{base}/finalize/{number}"),
    });
    if let Some(replaces) = request.get("replaces") {
        order["replaces"] = replaces.clone();
    }
    if state.certificates.contains_key(&number) {
        order["status"] = "valid".into();
        order["certificate"] = format!("{base}/certificate/{number}").into();
    }
    order
}

fn authorization(state: &State, base: &str, number: usize) -> Value {
    let challenges = ["http-01", "tls-alpn-01"].map(|kind| challenge(state, base, number, kind));
    json!({
        "status": authorization_status(state, number),
        "identifier": state.orders[number - 1]["identifiers"][0],
        "challenges": challenges,
    })
}

fn authorization_status(state: &State, number: usize) -> &'static str {
    match state.validated.get(&number) {
        Some(false) => "invalid",
        None if state.token.is_some() || state.validator.is_some() => "pending",
        Some(true) | None => "valid",
    }
}

fn challenge(state: &State, base: &str, number: usize, kind: &str) -> Value {
    json!({
        "type": kind,
        "status": authorization_status(state, number),
        "url": format!("{base}/challenge/{number}"),
        "token": token(state, number),
    })
}

fn token(state: &State, number: usize) -> String {
    state.token.clone().unwrap_or_else(|| format!("token-{number}"))
}

fn host_of(state: &State, number: usize) -> String {
    state.orders[number - 1]["identifiers"][0]["value"].as_str().unwrap().to_owned()
}

/// Returns the payload of a signed request.
fn payload(body: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(request["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// Returns a chain for a request.
fn sign(request: &str, wrong_key: bool) -> String {
    let der = BASE64_URL_SAFE_NO_PAD.decode(request).unwrap();
    let request = CertificateSigningRequestParams::from_der(&der.into()).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let mut leaf = request.params.clone();
    leaf.use_authority_key_identifier_extension = true;
    leaf.serial_number = Some(rcgen::SerialNumber::from(rand_serial()));
    let other = KeyPair::generate().unwrap();
    let signed = if wrong_key {
        leaf.signed_by(&other, &issuer)
    } else {
        leaf.signed_by(&request.public_key, &issuer)
    };
    signed.unwrap().pem()
}

fn rand_serial() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
