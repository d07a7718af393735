//! The way to an engine over SSH: every connection is an `ssh` that runs `docker system dial-stdio`
//! over there, as the docker command does it. Keys, known hosts and jump hosts are those of the
//! user's ssh; what it says when it ends badly is the error of the connection.

use anyhow::{Result, anyhow};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper::Uri;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use std::{
    fmt,
    future::{Ready, ready},
    io::{self, ErrorKind},
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// An sshd lets ten log in at a time, and drops some of what is more (`MaxStartups`).
const MOST_AT_ONCE: usize = 4;
/// More of what ssh says is not kept.
const MOST_SAID: u64 = 4096;
/// How long after its end ssh may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// `[user@]host[:port]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    user: Option<String>,
    pub(super) host: String,
    port: Option<u16>,
}

impl Destination {
    /// `None` if it names no host.
    pub(super) fn read(place: &str) -> Option<Self> {
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, place),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':')?.parse().ok()?)),
            None => match place.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (place, None),
            },
        };
        let is_user = user.as_deref().is_none_or(|user| !user.is_empty());
        // ssh would take such a host for an option.
        let is_host = !host.is_empty() && !host.starts_with('-');
        (is_user && is_host).then(|| Self { user, host: host.to_owned(), port })
    }

    fn command(&self, patience: Duration) -> Command {
        let mut ssh = Command::new("ssh");
        let patience = patience.as_secs().max(1);
        // Nobody is there to be asked for a password or about a host's key.
        ssh.args(["-T", "-o", "BatchMode=yes", "-o", &format!("ConnectTimeout={patience}")]);
        if let Some(user) = &self.user {
            ssh.args(["-l", user]);
        }
        if let Some(port) = self.port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.args(["--", &self.host, "docker", "system", "dial-stdio"]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        ssh
    }
}

/// As it is typed after `ssh`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(port) = self.port {
            write!(f, "-p {port} ")?;
        }
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)
    }
}

/// A client whose first connection stands: the engine has answered over it.
pub(super) async fn client(
    destination: &Destination,
    url: &str,
    connect: Duration,
    answer: Duration,
) -> Result<Docker> {
    let dial = Dial { destination: destination.clone(), patience: connect };
    let connections =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(MOST_AT_ONCE).build(dial);
    let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let transport = move |request: BollardRequest| {
        let (connections, turns) = (connections.clone(), Arc::clone(&turns));
        async move {
            let _turn = turns.acquire_owned().await;
            connections.request(request).await.map_err(Error::from)
        }
    };
    let seconds = answer.as_secs().max(1);
    // The host in requests is of no use to an engine at the end of a pipe.
    let docker = Docker::connect_with_custom_transport(
        transport,
        Some("ssh://docker"),
        seconds,
        API_DEFAULT_VERSION,
    )?;
    // Beyond ssh's own patience with the network there is a login and a program to be started.
    let all = connect * 3;
    match timeout(all, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(unreachable(destination, url, &error)),
        Err(_) => Err(anyhow!("no answer from Docker at {url} within {all:?}")),
    }
}

fn unreachable(destination: &Destination, url: &str, error: &Error) -> anyhow::Error {
    let told = innermost(error);
    match way_out(destination, &told) {
        Some(way_out) => anyhow!("no way to Docker at {url}: {told}; {way_out}"),
        None => anyhow!("no way to Docker at {url}: {told}"),
    }
}

/// The error that the client's layers are wrapped around.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn way_out(destination: &Destination, told: &str) -> Option<String> {
    let has = |text: &str| told.contains(text);
    if has("Host key verification failed") {
        Some(format!(
            "log in once by hand to check its key (ssh {destination}), as the user that \
             docker-balancer runs as"
        ))
    } else if has("Permission denied") {
        Some(format!(
            "this has to work without a password: ssh -o BatchMode=yes {destination} docker version"
        ))
    } else if has("docker: not found") || has("docker: command not found") {
        Some("the docker command is needed over there".to_owned())
    } else {
        None
    }
}

/// Makes connections for hyper.
#[derive(Debug, Clone)]
struct Dial {
    destination: Destination,
    patience: Duration,
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Pipe::open(self.destination.command(self.patience)).map(TokioIo::new))
    }
}

/// What goes in and out of one ssh.
#[derive(Debug)]
struct Pipe {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// How ssh ended. Dropped, it ends ssh.
    end: JoinSet<io::Result<()>>,
}

impl Pipe {
    fn open(mut ssh: Command) -> io::Result<Self> {
        let mut child = ssh.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                io::Error::new(error.kind(), "there is no ssh program in PATH; install OpenSSH")
            }
            _ => error,
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("ssh has no pipes"));
        };
        let mut end = JoinSet::new();
        end.spawn(ended(child, stderr));
        Ok(Self { stdin, stdout, end })
    }

    /// Why nothing comes or goes any more, where ssh says so.
    fn poll_why(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(self.end.poll_join_next(context)) {
            Some(end) => end.map_err(io::Error::other)?,
            None => Ok(()),
        })
    }
}

/// Waits for its end, and has what it says read meanwhile, so that it never waits for us.
async fn ended(mut child: Child, stderr: ChildStderr) -> io::Result<()> {
    let mut said = Vec::new();
    let mut stderr = stderr.take(MOST_SAID);
    let mut listen = Box::pin(async {
        stderr.read_to_end(&mut said).await?;
        tokio::io::copy(stderr.get_mut(), &mut tokio::io::sink()).await
    });
    let status = tokio::select! {
        status = child.wait() => {
            // Somebody else may have been given its stderr, and hold it open.
            let _ = timeout(LAST_WORDS, &mut listen).await;
            status?
        }
        _ = &mut listen => child.wait().await?,
    };
    drop(listen);
    if status.success() {
        return Ok(());
    }
    let why = match last_lines(&String::from_utf8_lossy(&said)) {
        words if words.is_empty() => format!("ssh ended with {status}"),
        words => words,
    };
    // In the middle of an answer the error gets lost on its way up.
    tracing::debug!("ssh ended: {why}");
    Err(io::Error::other(why))
}

/// The last two say it: what went wrong, and what ssh makes of that.
fn last_lines(said: &str) -> String {
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(2)..].join(" ").trim_end_matches('.').to_owned()
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(context, buffer))?;
        if before < buffer.filled().len() || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_why(context)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stdin).poll_write(context, bytes)) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Poll::Ready(ready!(self.poll_why(context)).and(Err(error)))
            }
            done => Poll::Ready(done),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(context)
    }
}

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, last_lines};

    fn check(place: &str, expected: Option<&str>) {
        let read = Destination::read(place).map(|it| it.to_string());
        assert_eq!(read.as_deref(), expected, "{place}");
    }

    #[test]
    fn a_destination_is_read_as_ssh_takes_it() {
        check("far.test", Some("far.test"));
        check("me@far.test", Some("me@far.test"));
        check("me@far.test:2222", Some("-p 2222 me@far.test"));
        check("me@[::1]:22", Some("-p 22 me@::1"));
        check("[::1]", Some("::1"));
        for wrong in ["", "@host", "me@", "host:", "host:ssh", "-oProxyCommand=x", "[::1]22"] {
            check(wrong, None);
        }
    }

    #[test]
    fn of_many_words_the_last_lines_are_kept() {
        assert_eq!(last_lines(""), "");
        assert_eq!(last_lines("one\n"), "one");
        assert_eq!(last_lines("@@@\n\nKey changed.\r\nRefused.\r\n"), "Key changed. Refused");
    }
}
