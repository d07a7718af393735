//! Where certificates are read from, and where they are kept for HAProxy.
//!
//! ```text
//! directories ─scan─▶ pem ─layout─▶ assemble ─▶ retention ─┐
//! ACME, own CA ──CertificateWithKey::parse─────────────────┴─SourceUpdate─▶ shelf ─▶ store, CertificateSnapshot
//! ```
//!
//! Each source sends all its certificates as a [`SourceUpdate`]. The task of [`CertificateShelf`] stores them, and then
//! publishes a [`CertificateSnapshot`]. Other programs read a [`PublicCertificateList`], which docker-glue follows for its
//! handlers.

mod assemble;
mod ca;
mod directory;
mod layout;
mod list_file;
mod pem;
mod problem;
mod public_list;
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
pub use list_file::{CertificateLists, ListFile, follow_lists, read_lists};
pub use problem::{CertificateProblem, CertificateProblemKind};
pub use public_list::{PublicCertificate, PublicCertificateList};
pub use shelf::{CertificateShelf, CertificateSnapshot, SourceUpdate};
pub use store::CertificateStore;
pub use watch::follow;

#[cfg(test)]
mod tests;
