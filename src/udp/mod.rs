//! UDP: what docker-glue-udp serves, the protocol on its socket, and the data plane itself.
//!
//! `config`, `engine`, `pick`, `command`, `answer`, `plan`, `proxy_header` and `nft` are pure. docker-balancer uses them and
//! docker-glue-udp runs `server`.

pub mod answer;
pub mod client;
pub mod command;
pub mod config;
pub mod engine;
pub mod nft;
pub mod pick;
pub mod plan;
pub mod proxy_header;
pub mod server;

#[cfg(test)]
mod tests;
