//! Where certificates are read from, and where they are kept for HAProxy.
//!
//! ```text
//! directories ─scan─▶ pem ─layout─▶ assemble ─▶ retention ─┐
//! ACME, own CA ──CertificateWithKey::parse─────────────────┴─SourceUpdate─▶ shelf ─▶ store, CertificateSnapshot
//! ```
//!
//! Each source sends all its certificates as a [`SourceUpdate`]. The task of [`CertificateShelf`] stores them, and then
//! publishes a [`CertificateSnapshot`].

mod assemble;
mod ca;
mod directory;
mod inotify;
mod layout;
mod pem;
mod problem;
mod retention;
mod scan;
mod shelf;
mod store;
mod thread;
pub mod traefik;
mod watch;
mod x509;

pub use assemble::CertificateWithKey;
pub use ca::{CaDirectories, CaSnapshot, follow_cas, read_cas};
pub use directory::{DirectoryReading, read_directories};
pub use problem::{CertificateProblem, CertificateProblemKind};
pub use shelf::{CertificateShelf, CertificateSnapshot, SourceUpdate};
pub use store::CertificateStore;
pub use watch::follow;

#[cfg(test)]
mod tests;
