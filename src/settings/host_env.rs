//! The properties of the machine that settings depend on.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostEnv {
    pub uid: u32,
    pub env: BTreeMap<String, String>,
    pub ipv6: bool,
}

impl HostEnv {
    /// Reads the environment of this process and machine.
    pub fn detect_host() -> Self {
        let readable = |text: OsString| text.to_string_lossy().into_owned();
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            env: std::env::vars_os()
                .map(|(name, value)| (readable(name), readable(value)))
                .collect(),
            ipv6: std::fs::read("/proc/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty()),
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The XDG specification says that relative paths are to be ignored.
    pub(super) fn absolute_dir(&self, name: &str) -> Option<PathBuf> {
        self.env.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}
