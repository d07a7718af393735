//! Orders certificates from a CA by the ACME protocol (RFC 8555), and renews them.
//!
//! ```text
//! hosts    ─▶ ┌──────────────── follow ─────────────────┐ ─▶ status
//! requests ─▶ │ decide: pure, from the ledger           │ ─▶ issued: chain and key, already on disk
//!             │  ─▶ ledger on disk ─▶ client: one order │ ─▶ tokens: publish at HAProxy, wait, withdraw
//!             └─────────────────────────────────────────┘
//! ```
//!
//! [`follow`] is one task. Each order is a job of it with a time limit, so a host that fails delays no other. What a
//! restart must not forget is in the ledger, which is on disk before an order begins.
//!
//! With a store that several balancers [share](shared), one of them orders for all.

pub mod acme_host;
pub mod bucket;
pub mod chain;
pub mod decide;
pub mod dns;
pub mod error;
pub mod ledger;
pub mod ledger_file;
pub mod requests;
pub mod schedule;
pub mod settings;
pub mod shared;
pub mod status;
pub mod store;

mod blocking;
mod client;
mod follow;

pub use acme_host::AcmeHost;
pub use client::TokenRequest;
pub use follow::{AcmeHandles, AcmeRequest, IssuedCertificate, follow};
pub use settings::AcmeSettings;
pub use shared::{SharedSettings, SharedTimes};
pub use status::{AcmeStatus, HostStatus, SharedStatus};
pub use store::live_files;
