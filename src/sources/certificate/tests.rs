//! Certificates in directories, as tables over real certificates and files.

mod cache;
mod fixture;
mod layout;
mod retention;
mod scale;
mod secret;
mod shelf;
mod store;
mod watch;
