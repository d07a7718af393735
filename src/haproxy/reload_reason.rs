//! Reasons to reload HAProxy. There is no reload without a reason.
//!
//! Pure.

use crate::haproxy::config::{BackendShape, Config, ConnectRetry, Mode, Probe};
use std::{collections::BTreeSet, fmt, num::NonZeroU16};
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray, VariantNames};

#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames, EnumDiscriminants)]
#[strum(serialize_all = "snake_case")]
#[strum_discriminants(
    name(ReloadKind),
    doc = "Kind of a reason to reload, without the details.",
    derive(IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case")
)]
pub enum ReloadReason {
    /// HAProxy does not run, or its state cannot be read.
    StateUnknown,
    /// Public ports that are new. Those that no route uses any more are paused.
    Ports { new: BTreeSet<NonZeroU16> },
    /// The settings, the base file, or docker-balancer's version differ from those that HAProxy was started with.
    Settings,
    /// A route changes header fields of a name that no route had before.
    HeaderNames,
    /// The first authentication server that is named by a name of DNS, or that is asked over TLS.
    AuthServers,
    /// HAProxy's state still differs from the desired one after two rounds of runtime commands.
    RuntimeFailed,
    /// Ports on which the first route that passes TLS through is new.
    Passthrough { new: BTreeSet<NonZeroU16> },
    /// A new route needs a backend, and no spare one of its shape is left.
    NoSpare(BackendShape),
}

impl ReloadReason {
    /// All values of [`Self::kind`].
    pub const KINDS: &'static [&'static str] = Self::VARIANTS;

    /// Returns one word for programs, from a closed set that is the same in every version.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    /// Returns the reason for a reload from the difference of two configurations.
    pub fn from_diff(before: &Config, after: &Config) -> Self {
        let ports = |config: &Config| -> BTreeSet<_> {
            config.frontends.iter().map(|frontend| frontend.port).collect()
        };
        let passthrough = |config: &Config| -> BTreeSet<_> {
            let frontends = config.frontends.iter().filter(|frontend| frontend.has_passthrough);
            frontends.map(|frontend| frontend.port).collect()
        };
        let new = &ports(after) - &ports(before);
        let new_passthrough = &passthrough(after) - &passthrough(before);
        match (new.is_empty(), new_passthrough.is_empty()) {
            (false, _) => Self::Ports { new },
            (true, false) => Self::Passthrough { new: new_passthrough },
            _ if !before.header_names.has_all(&after.header_names) => Self::HeaderNames,
            _ if after.resolves_names && !before.resolves_names
                || after.asks_over_tls && !before.asks_over_tls =>
            {
                Self::AuthServers
            }
            (true, true) => Self::Settings,
        }
    }
}

impl ReloadKind {
    /// Every kind, in the order of the reasons.
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;

    /// Returns the word that metrics and the journal use for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// Returns when HAProxy is reloaded for it, for the reference.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::StateUnknown => {
                "HAProxy did not run, or its state could not be read over the runtime API."
            }
            Self::Ports => {
                "A public port is new. HAProxy binds ports only when it starts. A port that no label uses any more is paused, without a reload."
            }
            Self::Settings => {
                "Settings, the base file, or the version of docker-balancer differ from those that HAProxy was started with."
            }
            Self::HeaderNames => {
                "A label or a policy sets or removes a header of a name that no route had before. HAProxy's rules contain the names."
            }
            Self::AuthServers => {
                "The first policy names an authentication server by a name of DNS, or with `https` (`forward_auth`)."
            }
            Self::RuntimeFailed => {
                "HAProxy's state still differed from the expected one after two rounds of runtime commands."
            }
            Self::Passthrough => {
                "The first route with `tls=pass` on a port is new. `--passthrough` keeps HAProxy prepared for it."
            }
            Self::NoSpare => {
                "A new route needs a backend, and no spare one of its shape is left (`--spare-backends`). From HAProxy 3.4 on only for `glue_tcp_<port>_idle`."
            }
        }
    }
}

fn list(ports: &BTreeSet<NonZeroU16>) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ReloadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateUnknown => f.write_str("its state could not be read"),
            Self::Ports { new } => write!(f, "new public port {}", list(new)),
            Self::Passthrough { new } => {
                write!(f, "passing TLS through begins on port {}", list(new))
            }
            Self::Settings => f.write_str("its settings changed"),
            Self::HeaderNames => f.write_str("a route has a new name of a header"),
            Self::AuthServers => f.write_str("an authentication server is outside"),
            Self::RuntimeFailed => {
                f.write_str("runtime commands did not produce the expected state")
            }
            Self::NoSpare(shape) => match (shape.connect, shape.probe) {
                _ if !shape.is_prepared() => {
                    f.write_str("a limit of the idle time needs a separate backend")
                }
                _ if shape.mode == Mode::Tcp => {
                    f.write_str("no spare backend for connections is left")
                }
                (ConnectRetry::Off, _) => f.write_str("retry off needs a separate backend"),
                (_, Probe::Tcp) => f.write_str("no spare backend is left"),
                (_, Probe::Http) => f.write_str("no spare backend with a check path is left"),
            },
        }
    }
}
