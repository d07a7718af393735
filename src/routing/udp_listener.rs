//! From a route of datagrams to a listener of docker-glue-udp.
//!
//! Pure.

use crate::{
    model::{
        flow::{self, FlowIdle, Replies},
        route::{Endpoint, Readiness, Route},
        stream,
    },
    udp::config::{NewFlows, ProxyHeader, Sticky, UdpEndpoint, UdpListener},
};
use std::net::SocketAddr;

/// Returns what docker-glue-udp serves at an address for a route of datagrams.
pub fn udp_listener(bind: SocketAddr, route: &Route) -> UdpListener {
    let policy = &route.policy;
    UdpListener {
        endpoints: route.endpoints.iter().map(udp_endpoint).collect(),
        sticky: match policy.get() {
            flow::Sticky::Flow => Sticky::Flow,
            flow::Sticky::Source => Sticky::Source,
            flow::Sticky::None => Sticky::None,
        },
        idle: policy.get::<FlowIdle>().duration(),
        replies: policy.get::<Replies>().get().map(u32::from),
        proxy: match policy.get() {
            stream::ProxyHeader::V2 => ProxyHeader::V2,
            stream::ProxyHeader::Off | stream::ProxyHeader::V1 => ProxyHeader::Off,
        },
        ..UdpListener::new(bind)
    }
}

fn udp_endpoint(endpoint: &Endpoint) -> UdpEndpoint {
    UdpEndpoint {
        id: endpoint_id(endpoint),
        name: endpoint.container.name().to_owned(),
        address: endpoint.address,
        weight: endpoint.weight().get(),
        flows: match endpoint.readiness {
            Readiness::Ready => NewFlows::Accept,
            Readiness::Out => NewFlows::Drain,
        },
    }
}

/// Returns the identifier, on which the choice for a flow depends. It is the same on all listeners.
pub fn endpoint_id(endpoint: &Endpoint) -> String {
    format!("{}{}", endpoint_ids_start(endpoint.container.id()), endpoint.port)
}

/// Returns what the identifiers of all endpoints of a container begin with.
pub fn endpoint_ids_start(container: &str) -> String {
    format!("{container}:")
}
