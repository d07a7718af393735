//! What an engine answers, for the fuzz targets: all the ways from its words to ours.

use super::{Description, Interest, convert, lenient};
use crate::model::container::Container;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EventMessage, ImageInspect, Network,
};

/// The containers of a list, and whatever else the same text may be.
pub fn containers(text: &[u8], interest: &Interest) -> Vec<Container> {
    let list = lenient::read_list::<ContainerSummary>(text).unwrap_or_default();
    let lines = list.entries.iter().cloned().filter_map(convert::line).count();
    assert!(lines <= list.entries.len());
    if let Ok(networks) = lenient::read_list::<Network>(text) {
        convert::networks(networks.entries);
    }
    if let Ok(text) = std::str::from_utf8(text) {
        entry(text, interest);
    }
    list.filter_map(convert::container).entries
}

fn entry(text: &str, interest: &Interest) {
    if let (Some(said), _) = lenient::read::<ContainerInspectResponse>(text) {
        convert::inspected_network_mode(&said);
        let whole: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let described: Result<Description, _> = convert::description(&said, whole);
        drop(described);
        convert::details(said, interest);
    }
    if let (Some(said), _) = lenient::read::<EventMessage>(text) {
        convert::event(said.clone());
        convert::report(said);
    }
    if let (Some(said), _) = lenient::read::<ImageInspect>(text) {
        convert::image(said);
    }
}
