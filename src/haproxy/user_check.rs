//! How HAProxy learns whether a user's password is right: a small Lua program asks docker-balancer, and HAProxy
//! remembers a hash of the credential.
//!
//! Pure. HAProxy's own user lists are part of the configuration's shape, and HAProxy computes the hash of a password
//! at every request, on the thread that also serves all others.

use super::{render::BaseConfig, requeue, version::Build};
use crate::model::http::users::NoUserCheck;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Name of the table of verified credentials.
pub const TABLE: &str = "docker-glue-table-users";

/// How long a credential is known after it was verified.
pub const KNOWN_FOR: &str = "10m";

const PROGRAM: &str = include_str!("../../templates/users.lua");

/// How long Lua waits for docker-balancer's answer, in seconds: longer than docker-balancer takes at most.
const ANSWER_TIMEOUT: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCheck {
    /// Where docker-balancer is asked.
    socket: PathBuf,
    says_booleans: bool,
}

/// The socket on which docker-balancer is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSocket {
    pub path: PathBuf,
    pub access: UserSocketAccess,
}

/// Who can connect to the socket: nobody except HAProxy's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserSocketAccess {
    /// Workers run as the user of docker-balancer.
    Owner,
    /// Workers run as another user of its group.
    Group,
    /// docker-balancer is root, and workers run as this user.
    Worker { uid: u32, gid: u32 },
}

impl UserCheck {
    /// # Errors
    /// If this HAProxy has no Lua, or looks for sockets below another root.
    pub fn of(build: Build, base: &BaseConfig, socket: &Path) -> Result<Self, NoUserCheck> {
        if !build.has_lua {
            return Err(NoUserCheck::Lua);
        }
        if base.text().lines().any(|line| line.split_whitespace().next() == Some("chroot")) {
            return Err(NoUserCheck::Chroot);
        }
        let says_booleans = requeue::says_booleans(build.version, base);
        Ok(Self { socket: socket.to_owned(), says_booleans })
    }

    /// Returns the Lua program.
    pub(super) fn lua_program(&self) -> String {
        let mut address = String::new();
        for byte in self.socket.as_os_str().as_encoded_bytes() {
            let is_plain = byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
            if is_plain {
                address.push(char::from(*byte));
            } else {
                write!(address, "\\{byte:03}").expect("writing to a string cannot fail");
            }
        }
        format!("local address, answer_timeout = \"unix@{address}\", {ANSWER_TIMEOUT}\n{PROGRAM}")
    }

    pub(super) fn says_booleans(&self) -> bool {
        self.says_booleans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::version::Version;

    #[test]
    fn path_of_socket_is_one_string_of_lua() {
        let build =
            Build { version: Version { major: 3, minor: 0 }, has_lua: true, has_quic: false };
        let base = BaseConfig::BuiltIn { drop_to: None };
        for (path, expected) in [
            ("/run/docker-glue/users.sock", r#""unix@/run/docker-glue/users.sock""#),
            ("/tmp/a\"\n\\1", r#""unix@/tmp/a\034\010\0921""#),
        ] {
            let program = UserCheck::of(build, &base, Path::new(path)).unwrap().lua_program();
            let first = program.lines().next().unwrap();
            assert_eq!(first, format!("local address, answer_timeout = {expected}, 4"));
        }
    }

    #[test]
    fn users_need_lua_and_no_chroot() {
        let file = |text: &str| BaseConfig::File { path: "base.cfg".into(), text: text.to_owned() };
        let built_in = || BaseConfig::BuiltIn { drop_to: None };
        for (has_lua, base, expected) in [
            (true, built_in(), Ok(())),
            (false, built_in(), Err(NoUserCheck::Lua)),
            (true, file("global\n  maxconn 100\n"), Ok(())),
            (true, file("global\n  chroot /var/lib/haproxy\n"), Err(NoUserCheck::Chroot)),
            (true, file("global\n  # chroot /var/lib/haproxy\n"), Ok(())),
        ] {
            let build = Build { version: Version { major: 3, minor: 0 }, has_lua, has_quic: false };
            let check = UserCheck::of(build, &base, Path::new("/run/s")).map(drop);
            assert_eq!(check, expected, "{base:?}");
        }
    }
}
