//! Where a client's datagrams go.
//!
//! Pure. The choice depends on the client and the containers alone, so it is known before a datagram arrives.

use super::{
    EngineStep, FlowStep, FlowTarget, request::ExplainRequest, selected_route::SelectedRoute,
};
use crate::{
    report::StateSnapshot,
    routing::udp_listener::{endpoint_id, udp_listener},
    udp::{
        engine::Engine,
        pick::{Choice, choose_endpoint},
    },
};
use std::net::{Ipv6Addr, SocketAddr};

pub(super) fn engine_step(
    snapshot: &StateSnapshot,
    selected: &SelectedRoute<'_>,
) -> Option<EngineStep> {
    let report = snapshot.udp.as_ref().filter(|_| selected.key.is_udp())?;
    let engine = report.plane.engine;
    Some(EngineStep { engine, client_address: engine.keeps_client_address() })
}

/// Returns where a new flow of the request's client goes. The kernel chooses in its own way with nftables.
pub(super) fn flow_step(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
    selected: &SelectedRoute<'_>,
) -> Option<FlowStep> {
    let from = request.from.filter(|_| selected.key.is_udp())?;
    let engine = snapshot.udp.as_ref().map_or(Engine::User, |report| report.plane.engine);
    if engine != Engine::User {
        return None;
    }
    // The address of the listener has no effect.
    let bind = SocketAddr::from((Ipv6Addr::UNSPECIFIED, selected.key.listener.port.get()));
    let listener = udp_listener(bind, selected.route);
    let (goes_to, chosen) = match choose_endpoint(&listener, from) {
        Choice::Endpoint(chosen) => (FlowTarget::Container, Some(chosen)),
        Choice::Spread => (FlowTarget::Spread, None),
        Choice::Nobody => (FlowTarget::Nowhere, None),
    };
    let is_chosen = |id: String| chosen.is_some_and(|chosen| chosen.id == id);
    let endpoint = selected.route.endpoints.iter().find(|view| is_chosen(endpoint_id(view)));
    Some(FlowStep {
        from,
        goes_to,
        container: endpoint.map(|view| view.container.qualified_name().into_owned()),
        id: endpoint.map(|view| view.container.id().to_owned()),
        address: endpoint.map(|view| view.address.to_string()),
    })
}
