//! The daemon's side of the socket: requests become orders, and a drain is waited for here, so that
//! the balancer goes on meanwhile.

use super::{
    Drain, Refused, Rollback, Rolled, Standing, Undrain, explain,
    failure::Failure,
    order::{Look, Meant, Order, look, order},
    socket,
};
use crate::{
    balancer::past::Turned,
    haproxy::sessions::Sessions,
    metrics,
    supervise::supervise,
    view::{
        self,
        explain::Explanation,
        history::GenerationStatus,
        status::{Healthz, Status},
    },
    web::{self, Limits},
};
use anyhow::{Context as _, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use tokio_util::net::Listener;
use tracing::debug;

const NAME: &str = "the control socket";
/// For a request to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// It is for the balancer's own user: who waits for a drain holds a connection for hours.
const LIMITS: Limits = Limits { connections: 1024, patience: PATIENCE, head: 64 * 1024 };
const LONGEST_BODY: usize = 64 * 1024;
/// Nobody waits longer for a container to become idle.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Between two counts, while a drain is under way.
const PAUSE: Duration = Duration::from_millis(50);

/// The socket, as long as this lives.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    _server: JoinSet<()>,
}

impl Control {
    /// The caller holds the lock of the state directory: a socket that is there is a dead daemon's.
    pub fn open(runtime_dir: &Path, orders: mpsc::Sender<Order>) -> Result<Self> {
        let path = socket(runtime_dir);
        let listener =
            listen(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        let mut server = JoinSet::new();
        let listener = Shared(Arc::new(listener));
        let serve = move || serve(listener.clone(), orders.clone());
        server.spawn(supervise("control socket", serve));
        Ok(Self { path, _server: server })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Made where nobody else can look, and put into its place when its mode is right.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".control-").tempdir_in(parent)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(made, path)?;
    Ok(listener)
}

/// The socket outlives the task that serves it.
#[derive(Debug, Clone)]
struct Shared(Arc<UnixListener>);

impl Listener for Shared {
    type Io = UnixStream;
    type Addr = SocketAddr;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        self.0.poll_accept(cx)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn serve(listener: Shared, orders: mpsc::Sender<Order>) {
    let visit = |stream, seat| {
        let orders = orders.clone();
        async move { web::converse(stream, seat, NAME, LIMITS, |it| answer(it, &orders)).await }
    };
    web::accept(listener, NAME, LIMITS, visit).await;
}

/// Whatever a client may send on the control socket, for the fuzz targets: nobody is there to obey it.
#[cfg(fuzzing)]
pub async fn converse(sent: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (orders, _) = mpsc::channel(1);
    let answers = async move {
        web::converse(server, web::Seat::default(), NAME, LIMITS, |it| answer(it, &orders)).await;
    };
    let ask = async move {
        let mut heard = Vec::new();
        let _ = client.write_all(sent).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut heard).await;
        heard
    };
    tokio::join!(answers, ask).1
}

type Page = Response<Full<Bytes>>;

/// An endpoint is a row here.
async fn answer(request: Request<Incoming>, orders: &mpsc::Sender<Order>) -> Page {
    let path = request.uri().path().to_owned();
    let done = match (request.method(), path.as_str()) {
        (&Method::POST, "/drain") => drain(read(request).await, orders).await.map(ok),
        (&Method::POST, "/undrain") => undrain(read(request).await, orders).await.map(ok),
        (&Method::GET, "/status") => status(orders).await.map(ok),
        (&Method::GET, "/healthz") => healthz(orders).await,
        (&Method::GET, "/routes") => status(orders).await.map(|it| ok(it.routes)),
        (&Method::GET, "/problems") => status(orders).await.map(|it| ok(it.problems)),
        (&Method::GET, "/history") => history(orders).await.map(ok),
        (&Method::GET, "/explain") => explained(request.uri().query(), orders).await.map(ok),
        (&Method::GET, "/metrics") => metrics::server::page(orders).await,
        (&Method::POST, "/rollback") => rollback(read(request).await, orders).await.map(ok),
        (&Method::POST, "/release") => release(orders).await.map(ok),
        (_, "/drain" | "/undrain" | "/rollback" | "/release") => Err(Failure::NotSo("POST")),
        (
            _,
            "/status" | "/healthz" | "/routes" | "/problems" | "/history" | "/explain" | "/metrics",
        ) => Err(Failure::NotSo("GET")),
        _ => Err(Failure::NoSuchPath(path)),
    };
    done.unwrap_or_else(|failure| refused(&failure))
}

async fn status(orders: &mpsc::Sender<Order>) -> Result<Status, Failure> {
    let Look { picture, stat } = look(orders).await?;
    let counters = stat.ask().await.ok();
    aside(move || Status::of(&picture, counters.as_ref())).await
}

/// Ready is 200, and not ready 503 with the reasons.
async fn healthz(orders: &mpsc::Sender<Order>) -> Result<Page, Failure> {
    let health = Healthz::of(&status(orders).await?);
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(page(status, &health))
}

/// On another thread: of 10,000 routes it takes longer than the balancer should wait.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Stopping)
}

async fn history(orders: &mpsc::Sender<Order>) -> Result<Vec<GenerationStatus>, Failure> {
    let Look { picture, .. } = order(orders, |answer| Order::Look { answer }).await?;
    aside(move || picture.history.told()).await
}

async fn rollback(
    asked: Result<Rollback, Failure>,
    orders: &mpsc::Sender<Order>,
) -> Result<Rolled, Failure> {
    let Rollback { generation } = asked?;
    let turned = order(orders, |answer| Order::Rollback { generation, answer }).await??;
    Ok(rolled(turned).await)
}

async fn release(orders: &mpsc::Sender<Order>) -> Result<Rolled, Failure> {
    let turned = order(orders, |answer| Order::Release { answer }).await??;
    Ok(rolled(turned).await)
}

/// The disk is waited for here, so that the balancer goes on meanwhile.
async fn rolled(turned: Turned) -> Rolled {
    let Turned { generation, since_ms, kept } = turned;
    let kept = timeout(PATIENCE, kept).await.is_ok_and(|kept| kept.unwrap_or(false));
    Rolled { generation, since_ms, kept }
}

/// What is worked out there takes longer the more containers there are, so it is not done here.
async fn explained(
    query: Option<&str>,
    orders: &mpsc::Sender<Order>,
) -> Result<Explanation, Failure> {
    let asked = explain::request(query.unwrap_or_default())?;
    let Look { picture, stat } = look(orders).await?;
    if picture.world.is_none() {
        return Err(Failure::NoDocker);
    }
    let counters = stat.ask().await.ok();
    let work = move || view::explain::explain(&asked, &picture, counters.as_ref());
    spawn_blocking(work).await.map_err(|_| Failure::Stopping)
}

async fn drain(
    asked: Result<Drain, Failure>,
    orders: &mpsc::Sender<Order>,
) -> Result<Standing, Failure> {
    let Drain { container, wait_ms } = asked?;
    let end = Instant::now() + Duration::from_millis(wait_ms).min(LONGEST_WAIT);
    let meant = order(orders, |answer| Order::Drain { container, answer }).await??;
    let left = idle(meant.sessions.as_ref(), end).await?;
    Ok(standing(meant, Some(left)))
}

async fn undrain(
    asked: Result<Undrain, Failure>,
    orders: &mpsc::Sender<Order>,
) -> Result<Standing, Failure> {
    let Undrain { container } = asked?;
    let meant = order(orders, |answer| Order::Undrain { container, answer }).await??;
    Ok(standing(meant, None))
}

fn standing(meant: Meant, sessions: Option<u64>) -> Standing {
    let Meant { name, id, unserved, .. } = meant;
    let (id, drained) = (id.as_str().to_owned(), sessions == Some(0));
    Standing { container: name, id, sessions, drained, unserved }
}

/// Waits until nothing is under way, or until the end; how much is left. Where to count stays the
/// same: since the container was taken out no request can have come, and after a reload those of
/// before are an old worker's.
async fn idle(sessions: Option<&Sessions>, end: Instant) -> Result<u64, Failure> {
    let unknown = || Failure::NotCounted("it did not say what it has".to_owned());
    let sessions = sessions.ok_or_else(unknown)?;
    loop {
        let begun = Instant::now();
        let counted = sessions.count().await;
        let now = Instant::now();
        match counted {
            Ok(0) => return Ok(0),
            counted if end <= now => {
                return counted.map_err(|error| Failure::NotCounted(error.to_string()));
            }
            _ => {}
        }
        // What took long to count is not asked for again at once.
        let pause = PAUSE.max((now - begun) * 4);
        sleep(pause.min(end - now)).await;
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Failure> {
    let body = Limited::new(request.into_body(), LONGEST_BODY).collect();
    let late = |_| Failure::NotRead("it did not come in time".to_owned());
    let body = timeout(PATIENCE, body).await.map_err(late)?;
    let body = body.map_err(|error| Failure::NotRead(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| Failure::NotRead(error.to_string()))
}

fn ok(content: impl Serialize) -> Page {
    page(StatusCode::OK, &content)
}

fn refused(failure: &Failure) -> Page {
    let mut page = page(failure.status(), &Refused { error: failure.to_string() });
    if let Failure::NotSo(method) = failure {
        page.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    }
    page
}

fn page(status: StatusCode, content: &impl Serialize) -> Page {
    let text = serde_json::to_string(content).unwrap_or_default();
    let mut page = Response::new(Full::from(text + "\n"));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    page
}
