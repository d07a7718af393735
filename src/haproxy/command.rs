//! Commands of the runtime API: a command's display is the line that is sent over the socket.
//!
//! Pure. HAProxy's Management Guide, section 9.3.

use super::{
    config::{AdminState, BackendShape, MapName, Server},
    name,
    server_setting::{SETTINGS, ServerSetting},
    tls::{DEFAULT_FILE, TlsLine},
};
use std::{fmt, net::SocketAddr};
use strum::{IntoStaticStr, VariantNames};

#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum RuntimeCommand {
    /// HAProxy sends no requests to the new backend before it is published. Needs HAProxy 3.4.
    AddBackend {
        backend: String,
        shape: BackendShape,
    },
    #[strum(serialize = "publish_backend")]
    Publish {
        backend: String,
    },
    #[strum(serialize = "unpublish_backend")]
    Unpublish {
        backend: String,
    },
    /// HAProxy refuses it while the backend has servers or requests; then it is retried, as [`Self::DelServer`].
    DelBackend {
        backend: String,
    },
    /// Adds a server in maintenance, with the same words as on its line in the file.
    AddServer {
        backend: String,
        server: Server,
    },
    /// Without this command HAProxy never checks an added server.
    EnableHealth {
        backend: String,
        name: String,
    },
    SetState {
        backend: String,
        name: String,
        admin: AdminState,
    },
    /// Sets the assumed result of the checks so far. Only has an effect on a server that is ready.
    SetHealth {
        backend: String,
        name: String,
        health: CheckHealth,
    },
    SetAddress {
        backend: String,
        name: String,
        address: SocketAddr,
    },
    /// HAProxy 2.6 computes the cookie of an added server only when the key is set, which changes no other cookie if it
    /// is the same key.
    SetCookieKey {
        backend: String,
        key: String,
    },
    SetSetting {
        backend: String,
        name: String,
        setting: ServerSetting,
        value: u32,
    },
    /// Ends the connections of a server whose container is gone: some would never end by themselves.
    EndSessions {
        backend: String,
        name: String,
    },
    /// Not sent while HAProxy uses the server, and HAProxy refuses it while the server has idle connections. It is
    /// retried later, without waiting for it.
    DelServer {
        backend: String,
        name: String,
    },
    /// Resumes a paused frontend. HAProxy refuses it if another program has the port.
    EnableFrontend {
        frontend: String,
    },
    /// Pauses a frontend: its port is free, and its connections continue.
    DisableFrontend {
        frontend: String,
    },
    AddMap {
        map: MapName,
        key: String,
        value: String,
    },
    SetMap {
        map: MapName,
        key: String,
        value: String,
    },
    DelMap {
        map: MapName,
        key: String,
    },
    /// Loads a certificate with its key from its file. Several commands of HAProxy, the last of which is `commit ssl
    /// cert`.
    LoadCertificate {
        certificate: String,
    },
    /// Replaces the content of the default certificate by that of this one's file, as [`Self::LoadCertificate`] does.
    SetDefaultCertificate {
        certificate: String,
    },
    /// HAProxy refuses it while a line has the certificate.
    DelCertificate {
        certificate: String,
    },
    /// Loads a CA from its file, as [`Self::LoadCertificate`] does.
    LoadCa {
        ca: String,
    },
    /// HAProxy may refuse it while a server or a line has the CA.
    DelCa {
        ca: String,
    },
    AddTlsLine {
        list: String,
        line: TlsLine,
    },
    DelTlsLine {
        list: String,
        line: TlsLine,
    },
}

/// How many checks are needed to reach the other state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckHealth {
    /// `fall` failed checks.
    Up,
    /// `rise` successful checks.
    Down,
}

/// The answer of HAProxy to a command that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedReply {
    Empty,
    Exact(&'static str),
    /// Contains this text, and possibly more.
    Contains(&'static str),
    /// Empty, or contains this text: there was nothing to do.
    EmptyOr(&'static str),
}

impl RuntimeCommand {
    /// Returns all values of [`Self::kind`].
    pub fn kinds() -> Vec<&'static str> {
        let is_setting = |kind: &str| kind == "set_setting";
        let kinds = Self::VARIANTS.iter().copied().filter(|kind| !is_setting(kind));
        kinds.chain(SETTINGS.iter().map(|spec| spec.command_kind)).collect()
    }

    /// Returns the kind as one word for programs: a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SetSetting { setting, .. } => setting.spec().command_kind,
            _ => self.into(),
        }
    }

    /// Returns the answer of HAProxy if the command succeeds.
    pub fn expected_reply(&self) -> ExpectedReply {
        match self {
            // HAProxy may put earlier messages about servers in front of the answer.
            Self::AddBackend { .. } => ExpectedReply::Contains("New backend registered."),
            Self::Publish { .. } => ExpectedReply::Contains("Backend published."),
            Self::Unpublish { .. } => ExpectedReply::Contains("Backend unpublished."),
            Self::DelBackend { .. } => ExpectedReply::Contains("Backend deleted."),
            Self::AddServer { .. } => ExpectedReply::Exact("New server registered."),
            Self::DelServer { .. } => ExpectedReply::Exact("Server deleted."),
            Self::SetAddress { .. } => ExpectedReply::Contains("changed from '"),
            Self::LoadCertificate { .. }
            | Self::SetDefaultCertificate { .. }
            | Self::LoadCa { .. }
            | Self::AddTlsLine { .. } => ExpectedReply::Contains("Success!"),
            Self::DelTlsLine { .. } | Self::DelCertificate { .. } | Self::DelCa { .. } => {
                ExpectedReply::Contains(" deleted")
            }
            // Another client of the runtime API may have done the same.
            Self::EnableFrontend { .. } => ExpectedReply::EmptyOr("already enabled"),
            Self::DisableFrontend { .. } => ExpectedReply::EmptyOr("already disabled"),
            _ => ExpectedReply::Empty,
        }
    }

    /// Whether HAProxy may refuse the command without an error having occurred.
    pub fn may_be_refused(&self) -> bool {
        matches!(
            self,
            Self::DelServer { .. }
                | Self::DelBackend { .. }
                | Self::DelCertificate { .. }
                | Self::DelCa { .. }
        )
    }

    /// Whether the command may take a server out of use whose checks succeed.
    pub fn may_mark_down(&self) -> bool {
        matches!(self, Self::SetHealth { health: CheckHealth::Down, .. })
    }

    /// Returns the backend that the command changes.
    pub fn backend(&self) -> Option<&str> {
        match self {
            Self::AddBackend { backend, .. }
            | Self::Publish { backend }
            | Self::Unpublish { backend }
            | Self::DelBackend { backend }
            | Self::AddServer { backend, .. }
            | Self::EnableHealth { backend, .. }
            | Self::SetState { backend, .. }
            | Self::SetHealth { backend, .. }
            | Self::SetAddress { backend, .. }
            | Self::SetCookieKey { backend, .. }
            | Self::SetSetting { backend, .. }
            | Self::EndSessions { backend, .. }
            | Self::DelServer { backend, .. } => Some(backend),
            Self::EnableFrontend { .. }
            | Self::DisableFrontend { .. }
            | Self::AddMap { .. }
            | Self::SetMap { .. }
            | Self::DelMap { .. }
            | Self::LoadCertificate { .. }
            | Self::SetDefaultCertificate { .. }
            | Self::DelCertificate { .. }
            | Self::LoadCa { .. }
            | Self::DelCa { .. }
            | Self::AddTlsLine { .. }
            | Self::DelTlsLine { .. } => None,
        }
    }
}

impl RuntimeCommand {
    /// Returns the frontend that the command changes.
    pub fn frontend(&self) -> Option<&str> {
        match self {
            Self::EnableFrontend { frontend } | Self::DisableFrontend { frontend } => {
                Some(frontend)
            }
            _ => None,
        }
    }

    /// Returns the list of certificates that the command changes.
    pub fn tls_list(&self) -> Option<&str> {
        match self {
            Self::AddTlsLine { list, .. } | Self::DelTlsLine { list, .. } => Some(list),
            _ => None,
        }
    }

    /// Returns the map entry that the command changes.
    pub fn map_entry(&self) -> Option<(MapName, &str)> {
        match self {
            Self::AddMap { map, key, .. }
            | Self::SetMap { map, key, .. }
            | Self::DelMap { map, key } => Some((*map, key)),
            _ => None,
        }
    }
}

impl ExpectedReply {
    pub fn matches(self, answer: &str) -> bool {
        match self {
            Self::Empty => answer.trim().is_empty(),
            Self::Exact(text) => answer.trim() == text,
            Self::Contains(text) => answer.contains(text),
            Self::EmptyOr(text) => answer.trim().is_empty() || answer.contains(text),
        }
    }
}

impl fmt::Display for RuntimeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddBackend { backend, shape } => {
                write!(f, "add backend {backend} from {}", name::defaults_section(*shape))
            }
            Self::Publish { backend } => write!(f, "publish backend {backend}"),
            Self::Unpublish { backend } => write!(f, "unpublish backend {backend}"),
            Self::DelBackend { backend } => write!(f, "del backend {backend}"),
            Self::AddServer { backend, server } => {
                let (name, text) = (&server.name, server.place());
                write!(f, "add server {backend}/{name} {text} {}", server.arguments())
            }
            Self::EnableHealth { backend, name } => write!(f, "enable health {backend}/{name}"),
            Self::SetState { backend, name, admin } => {
                let state = match admin {
                    AdminState::Ready => "ready",
                    AdminState::Drain => "drain",
                    AdminState::Maintenance => "maint",
                };
                write!(f, "set server {backend}/{name} state {state}")
            }
            Self::SetHealth { backend, name, health } => {
                let health = match health {
                    CheckHealth::Up => "up",
                    CheckHealth::Down => "down",
                };
                write!(f, "set server {backend}/{name} health {health}")
            }
            Self::SetAddress { backend, name, address } => {
                let (ip, port) = (address.ip(), address.port());
                write!(f, "set server {backend}/{name} addr {ip} port {port}")
            }
            Self::SetCookieKey { backend, key } => {
                write!(f, "set dynamic-cookie-key backend {backend} {key}")
            }
            Self::SetSetting { backend, name, setting, value } => {
                (setting.spec().command)(f, &format!("{backend}/{name}"), *value)
            }
            Self::EndSessions { backend, name } => {
                write!(f, "shutdown sessions server {backend}/{name}")
            }
            Self::DelServer { backend, name } => write!(f, "del server {backend}/{name}"),
            Self::EnableFrontend { frontend } => write!(f, "enable frontend {frontend}"),
            Self::DisableFrontend { frontend } => write!(f, "disable frontend {frontend}"),
            Self::AddMap { map, key, value } => {
                write!(f, "add map {map} {} {}", Escaped(key), Escaped(value))
            }
            Self::SetMap { map, key, value } => {
                write!(f, "set map {map} {} {}", Escaped(key), Escaped(value))
            }
            Self::DelMap { map, key } => write!(f, "del map {map} {}", Escaped(key)),
            Self::LoadCertificate { certificate } => {
                write!(f, "commit ssl cert {}", Escaped(certificate))
            }
            Self::SetDefaultCertificate { certificate } => {
                write!(f, "commit ssl cert {DEFAULT_FILE} as {}", Escaped(certificate))
            }
            Self::DelCertificate { certificate } => {
                write!(f, "del ssl cert {}", Escaped(certificate))
            }
            Self::LoadCa { ca } => write!(f, "commit ssl ca-file {}", Escaped(ca)),
            Self::DelCa { ca } => write!(f, "del ssl ca-file {}", Escaped(ca)),
            Self::AddTlsLine { list, line } => write!(f, "add ssl crt-list {list} <<{line}"),
            Self::DelTlsLine { list, line } => write!(f, "del ssl crt-list {list} {line}"),
        }
    }
}

/// Writes a text as one word of a command. Unescaped, `;` would end the command and a space the word.
#[derive(Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if matches!(c, ';' | '\\' | ' ') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}
