//! The health check. The image has no curl.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(1);
const HEALTHY: &[u8; 12] = b"HTTP/1.1 200";

/// Returns an error unless the server on `port` of this machine is healthy
/// within a second.
pub(crate) fn check(port: u16) -> io::Result<()> {
    let started = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    let left = LIMIT.saturating_sub(started.elapsed());
    stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; HEALTHY.len()];
    stream.read_exact(&mut status)?;
    if &status == HEALTHY {
        return Ok(());
    }
    Err(io::Error::other(format!("unhealthy on port {port}")))
}
