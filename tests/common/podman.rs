//! A Podman service of a test in its own namespaces. Its containers, networks, mounts and firewall rules end with its
//! last process, and the machine's Podman is not affected.

use super::{Docker, is_installed};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    service: Child,
}

/// Uses runc, because crun refuses a mix of cgroups v1 and v2. The limits are below those of any machine.
const SETTINGS: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "/run/networks"
"#;

const STORAGE: &str = r#"
[storage]
driver = "vfs"
graphroot = "/run/storage"
runroot = "/run/storage-run"
"#;

const START: &str = r#"
for folder in /run /dev/shm /var/lib/containers; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
ip link set lo up
exec podman system service --time=0 "$1"
"#;

impl Podman {
    /// Starts the service and loads whoami's image. Returns `None` and records the skip if that is not possible.
    ///
    /// # Panics
    /// If the service does not answer in time.
    pub fn start() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            super::record_skip("needs root");
            return None;
        }
        if !is_installed("podman") {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("docker-glue-podman-").tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("containers.conf"), SETTINGS).unwrap();
        std::fs::write(file("storage.conf"), STORAGE).unwrap();
        let log = File::create(file("log")).unwrap();
        let service = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc", START, "sh", &socket_url(folder.path())])
            .env("CONTAINERS_CONF", file("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", file("storage.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let podman = Self { folder, service };
        podman.docker().wait_until_ready(podman.folder.path());
        Some(podman)
    }

    /// Returns the docker command on the Docker-compatible socket.
    pub fn docker(&self) -> Docker {
        Docker::at(socket_url(self.folder.path()))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

fn socket_url(folder: &Path) -> String {
    format!("unix://{}", folder.join("podman.sock").display())
}
