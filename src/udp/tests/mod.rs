mod command;
mod config;
mod engine;
mod pick;
mod plan;
mod proxy_header;

use super::config::{NewFlows, UdpEndpoint, UdpListener};

/// An endpoint as `ID@ADDRESS`, with an optional `*WEIGHT`.
fn endpoint(text: &str) -> UdpEndpoint {
    let (text, weight) = text.split_once('*').unwrap_or((text, "100"));
    let (id, address) = text.split_once('@').unwrap();
    UdpEndpoint {
        id: id.into(),
        name: id.into(),
        address: address.parse().unwrap(),
        weight: weight.parse().unwrap(),
        flows: NewFlows::Accept,
    }
}

fn listener(bind: &str, endpoints: &[&str]) -> UdpListener {
    let endpoints = endpoints.iter().map(|text| endpoint(text)).collect();
    UdpListener { endpoints, ..UdpListener::new(bind.parse().unwrap()) }
}
