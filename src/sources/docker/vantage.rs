//! Where this process runs relative to the engine: on its host, in one of its containers, or elsewhere.

use super::{
    connect::{EngineHost, EngineSettings},
    engine::Engine,
};
use crate::model::{
    container::{ContainerId, NetworkMode},
    world::Vantage,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Stdio,
};
use tokio::{process::Command, time::timeout};

/// Which addresses of containers are used: the setting `--address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// Container addresses if the engine is on this machine, published ports if it is on another one: bridge networks
    /// have the same addresses on each machine, so an address of another machine would lead to a local container.
    Auto,
    /// Container addresses on the networks that can be reached from here.
    Networks,
    /// The ports that containers publish on the engine's host.
    Published,
}

/// Returns the vantage of HAProxy, which is assumed to run in the same place as this process. Logs when published ports
/// are used because the engine is on another machine.
pub async fn detect_vantage(
    engine: &Engine,
    settings: &EngineSettings,
    kind: AddressKind,
) -> Result<Vantage> {
    let vantage = find_vantage(engine, settings, kind).await?;
    if kind == AddressKind::Auto && matches!(vantage, Vantage::Remote { .. }) {
        tracing::info!("Docker at {} is on another machine: using published ports", settings.url());
    }
    Ok(vantage)
}

/// Same as [`detect_vantage`], without logging.
pub async fn find_vantage(
    engine: &Engine,
    settings: &EngineSettings,
    kind: AddressKind,
) -> Result<Vantage> {
    if kind == AddressKind::Networks {
        return Ok(container_vantage(find_own_container(engine).await?));
    }
    let container = find_own_container(engine).await?;
    let location = locate_engine(settings).await?;
    Ok(match (location, kind) {
        (EngineLocation::Local(address), AddressKind::Published) => Vantage::Published(address),
        (EngineLocation::Local(_), _) => container_vantage(container),
        (EngineLocation::Remote { .. }, AddressKind::Auto) if container.is_some() => {
            container_vantage(container)
        }
        (EngineLocation::Remote { engine, own_addresses: own }, _) => {
            Vantage::Remote { engine, own_addresses: own }
        }
    })
}

/// Returns the id (or, from the host name, its first digits) of the container that this process seems to run in. Only
/// the engine knows whether such a container exists.
pub fn find_own_container_id() -> Option<String> {
    let host_name = || std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    find_container_of_process().or_else(|| from_host_name(host_name().trim()))
}

/// Returns the id of the container that this process runs in, as the kernel shows it.
pub(super) fn find_container_of_process() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    from_mounts(&read("/proc/self/mountinfo")).or_else(|| from_cgroup(&read("/proc/self/cgroup")))
}

/// Returns the container that this process runs in, if the engine has it.
async fn find_own_container(engine: &Engine) -> Result<Option<(ContainerId, NetworkMode)>> {
    match find_own_container_id() {
        Some(candidate) => engine.find_running(&candidate).await,
        None => Ok(None),
    }
}

fn container_vantage(container: Option<(ContainerId, NetworkMode)>) -> Vantage {
    match container {
        Some((_, NetworkMode::Host)) | None => Vantage::Host,
        Some((_, NetworkMode::Container(other))) => Vantage::Inside(other),
        Some((id, NetworkMode::Own | NetworkMode::None)) => Vantage::Inside(id),
    }
}

/// Where the engine is, according to its address.
#[derive(Debug, PartialEq, Eq)]
enum EngineLocation {
    Local(IpAddr),
    Remote { engine: IpAddr, own_addresses: BTreeSet<IpAddr> },
}

async fn locate_engine(settings: &EngineSettings) -> Result<EngineLocation> {
    let name = match settings.host()? {
        EngineHost::Local => return Ok(EngineLocation::Local(Ipv4Addr::LOCALHOST.into())),
        EngineHost::Named(name) => name,
        EngineHost::SshAlias(name) => resolve_ssh_alias(&name, settings).await,
    };
    let found = timeout(settings.timeouts.connect, tokio::net::lookup_host((name.as_str(), 0)));
    let found = found
        .await
        .with_context(|| format!("no answer for the address of {name}"))?
        .with_context(|| format!("no address of the Docker host {name}"))?;
    let addresses: Vec<_> = found.map(|addr| addr.ip().to_canonical()).collect();
    classify_engine(&addresses, read_own_addresses())
        .with_context(|| format!("the Docker host {name} has no address"))
}

fn classify_engine(engine: &[IpAddr], own: BTreeSet<IpAddr>) -> Option<EngineLocation> {
    let is_here = |ip: &&IpAddr| ip.is_loopback() || ip.is_unspecified() || own.contains(*ip);
    match engine.iter().find(is_here) {
        Some(local) => Some(EngineLocation::Local(*local)),
        None => Some(EngineLocation::Remote { engine: *engine.first()?, own_addresses: own }),
    }
}

/// Resolves a host name with the user's ssh configuration, where it may be an alias.
async fn resolve_ssh_alias(name: &str, settings: &EngineSettings) -> String {
    let mut ssh = Command::new("ssh");
    ssh.args(["-G", "--", name]).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(settings.timeouts.connect, ssh.output()).await;
    let output = output.ok().and_then(Result::ok).map(|output| output.stdout).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    let found = output.lines().find_map(|line| line.strip_prefix("hostname "));
    found.unwrap_or(name).trim().to_owned()
}

/// Returns the addresses of this machine, or of the container that this process runs in.
pub(crate) fn read_own_addresses() -> BTreeSet<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let ipv4 = from_fib_trie(&read("/proc/net/fib_trie"));
    let ipv6 = from_if_inet6(&read("/proc/net/if_inet6"));
    ipv4.into_iter().map(IpAddr::V4).chain(ipv6.into_iter().map(IpAddr::V6)).collect()
}

/// Parses `|-- 10.0.0.5`, followed by a line `/32 host LOCAL`.
fn from_fib_trie(trie: &str) -> BTreeSet<Ipv4Addr> {
    let lines = trie.lines().zip(trie.lines().skip(1));
    let own = lines.filter(|(_, kind)| kind.trim() == "/32 host LOCAL");
    own.filter_map(|(address, _)| address.trim().strip_prefix("|-- ")?.parse().ok()).collect()
}

/// Parses the 32 hexadecimal digits at the start of each line.
fn from_if_inet6(table: &str) -> BTreeSet<Ipv6Addr> {
    let first = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok();
    table.lines().filter_map(first).map(Ipv6Addr::from_bits).collect()
}

/// Docker mounts three files of its own into each container, from a folder whose name is the container's id.
fn from_mounts(mountinfo: &str) -> Option<String> {
    let is_docker_file = |line: &&str| {
        let point = line.split(' ').nth(4);
        matches!(point, Some("/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf"))
    };
    mountinfo.lines().filter(is_docker_file).find_map(|line| {
        let (_, after_folder) = line.split(' ').nth(3)?.split_once("/containers/")?;
        parse_full_id(after_folder.split('/').next()?)
    })
}

/// Parses `12:memory:/docker/<id>`, or systemd's `0::/system.slice/docker-<id>.scope`.
fn from_cgroup(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        parse_full_id(last.strip_prefix("docker-").unwrap_or(last).trim_end_matches(".scope"))
    })
}

/// A container's host name is its short id unless it was given another one.
fn from_host_name(name: &str) -> Option<String> {
    (name.len() == 12 && is_hex(name)).then(|| name.to_owned())
}

fn parse_full_id(text: &str) -> Option<String> {
    (text.len() == 64 && is_hex(text)).then(|| text.to_owned())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{
        EngineLocation, classify_engine, from_cgroup, from_fib_trie, from_host_name, from_if_inet6,
        from_mounts,
    };
    use std::net::IpAddr;

    const ID: &str = "d69b4755a44fe74409f80af2bcc26c63b067f45c7aa6877c04fe880cef03a4f1";

    #[test]
    fn container_id_is_found_in_mounts() {
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
    fn container_id_is_found_in_cgroup() {
        let old = format!("12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n");
        let systemd = format!("0::/system.slice/docker-{ID}.scope\n");
        assert_eq!(from_cgroup(&old).as_deref(), Some(ID));
        assert_eq!(from_cgroup(&systemd).as_deref(), Some(ID));
        assert_eq!(from_cgroup("0::/init.scope\n1:name=systemd:/\n"), None);
    }

    #[test]
    fn engine_with_own_address_is_local() {
        let ips = |text: &str| -> Vec<IpAddr> {
            text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
        };
        let own = || ips("127.0.0.1 10.0.0.5 172.17.0.1 fd00::5").into_iter().collect();
        for (engine, local) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.8.8.8", Some("127.8.8.8")),
            ("::1", Some("::1")),
            ("10.0.0.5", Some("10.0.0.5")),
            ("fd00::5", Some("fd00::5")),
            ("192.0.2.1 10.0.0.5", Some("10.0.0.5")),
            ("10.0.0.6", None),
            ("172.17.0.2", None),
            ("fd00::6 192.0.2.1", None),
        ] {
            let engine = ips(engine);
            let expected = match local {
                Some(ip) => EngineLocation::Local(ip.parse().unwrap()),
                None => EngineLocation::Remote { engine: engine[0], own_addresses: own() },
            };
            assert_eq!(classify_engine(&engine, own()), Some(expected), "{engine:?}");
        }
        assert_eq!(classify_engine(&[], own()), None);
    }

    #[test]
    fn own_addresses_are_parsed_from_proc() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
                    |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(from_fib_trie(trie), ["10.0.0.5".parse().unwrap()].into());
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe8000000000000000423cfffe8383f0 03 40 20 80  docker0\nx\n";
        let read = ["::1", "fe80::42:3cff:fe83:83f0"].map(|ip| ip.parse().unwrap());
        assert_eq!(from_if_inet6(table), read.into());
    }

    #[test]
    fn hex_host_name_is_taken_as_short_id() {
        assert_eq!(from_host_name("d69b4755a44f").as_deref(), Some("d69b4755a44f"));
        assert_eq!(from_host_name("web-1"), None);
    }
}
