//! Entry points of the fuzz targets: every conversion of the engine's answers.

use super::{convert, lenient};
use crate::{
    model::container::Container,
    sources::{ContainerFilter, Description},
};
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EventMessage, ImageInspect, Network,
};

/// Parses a text as a list of containers, and as every other kind of answer.
pub fn parse_containers(text: &[u8], filter: &ContainerFilter) -> Vec<Container> {
    let source = &filter.source;
    let list = lenient::parse_list::<ContainerSummary>(text).unwrap_or_default();
    let lines = list
        .entries
        .iter()
        .filter_map(|container| convert::parse_fingerprint(container, source))
        .count();
    assert!(lines <= list.entries.len());
    if let Ok(networks) = lenient::parse_list::<Network>(text) {
        convert::parse_networks(networks.entries);
    }
    if let Ok(text) = std::str::from_utf8(text) {
        parse_entry(text, filter);
    }
    list.filter_map(|container| convert::parse_container(container, source)).entries
}

fn parse_entry(text: &str, filter: &ContainerFilter) {
    let source = &filter.source;
    if let (Some(response), _) = lenient::parse_entry::<ContainerInspectResponse>(text) {
        convert::inspected_network_mode(&response, source);
        let whole: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let described: Result<Description, _> =
            convert::build_description(&response, whole, source);
        drop(described);
        convert::parse_details(response, filter, source);
    }
    if let (Some(response), _) = lenient::parse_entry::<EventMessage>(text) {
        convert::parse_event(response, source);
    }
    if let (Some(response), _) = lenient::parse_entry::<ImageInspect>(text) {
        convert::parse_image(response);
    }
}
