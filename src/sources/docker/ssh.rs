//! Connection to an engine over SSH: each connection is an `ssh` process that runs `docker system
//! dial-stdio` on the remote machine, as the docker command does. Keys, known hosts and jump hosts
//! are those of the user's ssh configuration. If ssh fails, its error output becomes the error of
//! the connection.

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

/// By default sshd allows ten unauthenticated connections at a time, and drops some beyond that
/// (`MaxStartups`).
const MAX_CONNECTIONS: usize = 4;
/// Limit of ssh's error output that is kept, in bytes.
const MAX_STDERR_BYTES: u64 = 4096;
/// How long to wait for ssh's error output after it has exited.
const STDERR_GRACE: Duration = Duration::from_millis(200);

/// `[user@]host[:port]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    user: Option<String>,
    pub(crate) host: String,
    port: Option<u16>,
}

impl Destination {
    /// Returns `None` if the address names no host.
    pub(crate) fn parse_place(address: &str) -> Option<Self> {
        let (user, address) = match address.rsplit_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, address),
        };
        let (host, port) = match address
            .strip_prefix('[')
            .and_then(|after_host| after_host.split_once(']'))
        {
            Some((host, "")) => (host, None),
            Some((host, after_host)) => (host, Some(after_host.strip_prefix(':')?.parse().ok()?)),
            None => match address.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (address, None),
            },
        };
        let is_user = user.as_deref().is_none_or(|user| !user.is_empty());
        // ssh would take such a host as an option.
        let is_host = !host.is_empty() && !host.starts_with('-');
        (is_user && is_host).then(|| Self { user, host: host.to_owned(), port })
    }

    fn ssh_command(&self, connect_timeout: Duration) -> Command {
        let mut ssh = Command::new("ssh");
        let connect_timeout = connect_timeout.as_secs().max(1);
        // There is nobody to enter a password or to confirm a host key.
        ssh.args(["-T", "-o", "BatchMode=yes", "-o", &format!("ConnectTimeout={connect_timeout}")]);
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

/// In the form that is typed after `ssh`.
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

/// Creates a client whose first connection works: the engine has answered over it.
pub(crate) async fn connect_client(
    destination: &Destination,
    url: &str,
    connect: Duration,
    answer: Duration,
) -> Result<Docker> {
    let connector = SshConnector { destination: destination.clone(), connect_timeout: connect };
    let connections = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(MAX_CONNECTIONS)
        .build(connector);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let transport = move |request: BollardRequest| {
        let (connections, permits) = (connections.clone(), Arc::clone(&permits));
        async move {
            let _turn = permits.acquire_owned().await;
            connections.request(request).await.map_err(Error::from)
        }
    };
    let seconds = answer.as_secs().max(1);
    // An engine at the end of a pipe ignores the host of requests.
    let docker = Docker::connect_with_custom_transport(
        transport,
        Some("ssh://docker"),
        seconds,
        API_DEFAULT_VERSION,
    )?;
    // In addition to ssh's own connect timeout, this covers the login and the start of a program.
    let all = connect * 3;
    match timeout(all, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(ssh_error(destination, url, &error)),
        Err(_) => Err(anyhow!("no answer from Docker at {url} within {all:?}")),
    }
}

fn ssh_error(destination: &Destination, url: &str, error: &Error) -> anyhow::Error {
    let message = root_cause(error);
    match suggest_fix(destination, &message) {
        Some(hint) => anyhow!("cannot connect to Docker at {url}: {message}; {hint}"),
        None => anyhow!("cannot connect to Docker at {url}: {message}"),
    }
}

/// Returns the innermost error, without the layers of the client.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn suggest_fix(destination: &Destination, message: &str) -> Option<String> {
    let has = |text: &str| message.contains(text);
    if has("Host key verification failed") {
        Some(format!(
            "log in once manually to accept its key (ssh {destination}), as the user that \
             docker-balancer runs as"
        ))
    } else if has("Permission denied") {
        Some(format!(
            "this command must work without a password: ssh -o BatchMode=yes {destination} docker \
             version"
        ))
    } else if has("docker: not found") || has("docker: command not found") {
        Some("install the docker command on that machine".to_owned())
    } else {
        None
    }
}

/// Creates connections for hyper.
#[derive(Debug, Clone)]
struct SshConnector {
    destination: Destination,
    connect_timeout: Duration,
}

impl tower_service::Service<Uri> for SshConnector {
    type Response = TokioIo<SshPipe>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(
            SshPipe::spawn_ssh(self.destination.ssh_command(self.connect_timeout))
                .map(TokioIo::new),
        )
    }
}

/// Standard input and output of one ssh process.
#[derive(Debug)]
struct SshPipe {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// Result of ssh's exit. Dropping it ends ssh.
    exit: JoinSet<io::Result<()>>,
}

impl SshPipe {
    fn spawn_ssh(mut ssh: Command) -> io::Result<Self> {
        let mut child = ssh.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                io::Error::new(error.kind(), "ssh is not in PATH; install OpenSSH")
            }
            _ => error,
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("ssh has no pipes"));
        };
        let mut end = JoinSet::new();
        end.spawn(wait_for_exit(child, stderr));
        Ok(Self { stdin, stdout, exit: end })
    }

    /// Returns the reason of the end of the connection, if ssh reported one.
    fn poll_exit_error(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(self.exit.poll_join_next(context)) {
            Some(end) => end.map_err(io::Error::other)?,
            None => Ok(()),
        })
    }
}

/// Waits for the exit of ssh, and reads its error output in the meantime so that ssh never blocks.
async fn wait_for_exit(mut child: Child, stderr: ChildStderr) -> io::Result<()> {
    let mut output = Vec::new();
    let mut stderr = stderr.take(MAX_STDERR_BYTES);
    let mut read_stderr = Box::pin(async {
        stderr.read_to_end(&mut output).await?;
        tokio::io::copy(stderr.get_mut(), &mut tokio::io::sink()).await
    });
    let status = tokio::select! {
        status = child.wait() => {
            // Another process may have inherited its stderr and keep it open.
            let _ = timeout(STDERR_GRACE, &mut read_stderr).await;
            status?
        }
        _ = &mut read_stderr => child.wait().await?,
    };
    drop(read_stderr);
    if status.success() {
        return Ok(());
    }
    let reason = match last_lines(&String::from_utf8_lossy(&output)) {
        words if words.is_empty() => format!("ssh exited with {status}"),
        words => words,
    };
    // An error in the middle of an answer gets lost in the client's layers, so it is logged.
    tracing::debug!("ssh failed: {reason}");
    Err(io::Error::other(reason))
}

/// Returns the last two lines, which have the cause and ssh's conclusion.
fn last_lines(output: &str) -> String {
    let lines: Vec<_> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(2)..].join(" ").trim_end_matches('.').to_owned()
}

impl AsyncRead for SshPipe {
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
        self.poll_exit_error(context)
    }
}

impl AsyncWrite for SshPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stdin).poll_write(context, bytes)) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Poll::Ready(ready!(self.poll_exit_error(context)).and(Err(error)))
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

impl Connection for SshPipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, last_lines};

    fn check(address: &str, expected: Option<&str>) {
        let read = Destination::parse_place(address).map(|destination| destination.to_string());
        assert_eq!(read.as_deref(), expected, "{address}");
    }

    #[test]
    fn destination_is_parsed_like_ssh_does() {
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
    fn stderr_text_is_reduced_to_last_two_lines() {
        assert_eq!(last_lines(""), "");
        assert_eq!(last_lines("one\n"), "one");
        assert_eq!(last_lines("@@@\n\nKey changed.\r\nRefused.\r\n"), "Key changed. Refused");
    }
}
