//! Where we stand: on the engine's host, in one of its containers, or elsewhere.

use super::{connect::Access, engine::Engine};
use crate::{container::NetworkMode, world::Vantage};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr};

/// Which addresses of containers are wanted: the setting `--address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Their own, on the networks that are reached from here.
    Networks,
    /// The ports that they publish on the engine's host.
    Published,
}

/// Where HAProxy stands, if it runs beside us.
pub async fn vantage(engine: &Engine, access: &Access, reach: Reach) -> Result<Vantage> {
    match reach {
        Reach::Published => Ok(Vantage::Published(engine_address(access).await?)),
        Reach::Networks => inside(engine).await,
    }
}

/// The id (or, by the host name, its first digits) of the container that we seem to run in. Only
/// the engine knows whether there is one of that id.
pub fn own_container_id() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    from_mounts(&read("/proc/self/mountinfo"))
        .or_else(|| from_cgroup(&read("/proc/self/cgroup")))
        .or_else(|| from_host_name(read("/etc/hostname").trim()))
}

async fn inside(engine: &Engine) -> Result<Vantage> {
    let Some(candidate) = own_container_id() else { return Ok(Vantage::Host) };
    Ok(match engine.running(&candidate).await? {
        Some((_, NetworkMode::Host)) | None => Vantage::Host,
        Some((_, NetworkMode::Container(other))) => Vantage::Inside(other),
        Some((id, NetworkMode::Own | NetworkMode::None)) => Vantage::Inside(id),
    })
}

async fn engine_address(access: &Access) -> Result<IpAddr> {
    let Some(host) = access.host()? else { return Ok(Ipv4Addr::LOCALHOST.into()) };
    let found =
        tokio::time::timeout(access.patience.connect, tokio::net::lookup_host((host.as_str(), 0)));
    let mut found = found
        .await
        .with_context(|| format!("no answer about the address of {host}"))?
        .with_context(|| format!("no address of the Docker host {host}"))?;
    Ok(found.next().with_context(|| format!("the Docker host {host} has no address"))?.ip())
}

/// Docker mounts three files of its own into each container, from a folder named by the id.
fn from_mounts(mountinfo: &str) -> Option<String> {
    let ours = |line: &&str| {
        let point = line.split(' ').nth(4);
        matches!(point, Some("/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf"))
    };
    mountinfo.lines().filter(ours).find_map(|line| {
        let (_, rest) = line.split(' ').nth(3)?.split_once("/containers/")?;
        id(rest.split('/').next()?)
    })
}

/// `12:memory:/docker/<id>`, or systemd's `0::/system.slice/docker-<id>.scope`.
fn from_cgroup(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        id(last.strip_prefix("docker-").unwrap_or(last).trim_end_matches(".scope"))
    })
}

/// A container that was not told another name has its short id for one.
fn from_host_name(name: &str) -> Option<String> {
    (name.len() == 12 && is_hex(name)).then(|| name.to_owned())
}

fn id(text: &str) -> Option<String> {
    (text.len() == 64 && is_hex(text)).then(|| text.to_owned())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{from_cgroup, from_host_name, from_mounts};

    const ID: &str = "d69b4755a44fe74409f80af2bcc26c63b067f45c7aa6877c04fe880cef03a4f1";

    #[test]
    fn a_container_sees_its_id_in_its_mounts() {
        let folder = format!("/var/lib/docker/containers/{ID}");
        let inside = format!(
            "500 400 0:50 / / rw - overlay overlay rw\n\
             512 500 254:1 {folder}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda1 rw\n"
        );
        assert_eq!(from_mounts(&inside).as_deref(), Some(ID));
        let host = format!("90 30 0:50 / {folder}/mounts/shm rw - tmpfs shm rw\n");
        assert_eq!(from_mounts(&host), None);
    }

    #[test]
    fn a_container_sees_its_id_in_its_cgroup() {
        let old = format!("12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n");
        let systemd = format!("0::/system.slice/docker-{ID}.scope\n");
        assert_eq!(from_cgroup(&old).as_deref(), Some(ID));
        assert_eq!(from_cgroup(&systemd).as_deref(), Some(ID));
        assert_eq!(from_cgroup("0::/init.scope\n1:name=systemd:/\n"), None);
    }

    #[test]
    fn a_host_name_may_be_a_short_id() {
        assert_eq!(from_host_name("d69b4755a44f").as_deref(), Some("d69b4755a44f"));
        assert_eq!(from_host_name("web-1"), None);
    }
}
