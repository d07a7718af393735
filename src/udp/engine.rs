//! How docker-glue-udp carries datagrams.
//!
//! Pure. The operator chooses the engine: containers see other addresses with each, so it is never chosen automatically.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};

/// Who carries datagrams to containers: docker-glue-udp, or the kernel by rules that docker-glue-udp sets.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Engine {
    /// Sockets of docker-glue-udp, in user space.
    #[default]
    User,
    /// Rules of nftables, in the kernel.
    Nft,
}

impl Engine {
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;
    /// All values of [`Self::as_str`].
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the engine counts sessions and datagrams. The kernel does not, so its reports lack these numbers.
    pub fn counts_datagrams(self) -> bool {
        match self {
            Self::User => true,
            Self::Nft => false,
        }
    }

    /// Whether datagrams arrive at containers from the client's address. Otherwise they arrive from the machine's, and
    /// a header of the PROXY protocol can contain the client's.
    pub fn keeps_client_address(self) -> bool {
        match self {
            Self::User => false,
            Self::Nft => true,
        }
    }
}
