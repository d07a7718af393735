//! How requests wait while no container accepts them: HAProxy sends them to itself.
//!
//! Pure. In each backend the server `hold` points to a frontend of the same HAProxy, where a small Lua program pauses a
//! request until its backend has a usable server. HAProxy counts failed connections and unanswered requests together
//! (`retries`). If a request waited by means of retries, as it does without Lua, HAProxy would send it to containers
//! that many times.

use super::{
    render::BaseConfig,
    version::{Build, Version},
};

/// The first version that expects the configuration to set how Lua sees booleans (Configuration Manual,
/// `tune.lua.bool-sample-conversion`).
const ASKS_FOR_BOOLEANS: Version = Version { major: 3, minor: 1 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requeue {
    /// Distinguishes the sockets of the HAProxy processes of one host.
    key: u64,
    says_booleans: bool,
}

impl Requeue {
    /// Returns `None` if this HAProxy cannot requeue: it has no Lua, or the base file sets the unique ids that
    /// requeuing needs.
    pub fn of(build: Build, base: &BaseConfig, key: u64) -> Option<Self> {
        let says_booleans = says_booleans(build.version, base);
        (build.has_lua && !base.says("unique-id-")).then_some(Self { key, says_booleans })
    }

    pub fn key(self) -> u64 {
        self.key
    }

    pub(super) fn says_booleans(self) -> bool {
        self.says_booleans
    }

    /// Returns the address of the frontend.
    pub(super) fn address(self) -> String {
        address(self.key)
    }
}

/// Whether the configuration has to set how Lua sees booleans.
pub(super) fn says_booleans(version: Version, base: &BaseConfig) -> bool {
    ASKS_FOR_BOOLEANS <= version && !base.says("tune.lua.bool-") && !base.says("lua-load")
}

/// Returns an abstract socket's address. Unlike a file, HAProxy can reach it from a chroot and as any user.
pub fn address(key: u64) -> String {
    format!("abns@docker-glue-{key:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_requeued_where_haproxy_can() {
        let file = |text: &str| BaseConfig::File { path: "base.cfg".into(), text: text.to_owned() };
        let of = |minor, has_lua, base| {
            let version = Version { major: 3, minor };
            Requeue::of(Build { version, has_lua, has_quic: false }, &base, 7)
                .map(|requeue| requeue.says_booleans)
        };
        let built_in = || BaseConfig::BuiltIn { drop_to: None };
        assert_eq!(of(0, true, built_in()), Some(false));
        assert_eq!(of(1, true, built_in()), Some(true));
        assert_eq!(of(1, false, built_in()), None);
        assert_eq!(of(1, true, file("global\n  lua-load mine.lua\n")), Some(false));
        assert_eq!(of(1, true, file("defaults\n  unique-id-header X-Id\n")), None);
        assert_eq!(of(1, true, file("defaults\n  timeout connect 5s\n")), Some(true));
    }
}
