//! Any answer of an engine is parsed into a world, and the routes are decided from it.

#![no_main]

#[path = "../../common/story.rs"]
mod story;

use docker_glue::{
    label,
    model::{source_name::SourceName, world::World},
    routing::decide::{DecideState, decide},
    sources::{ContainerFilter, docker::fuzzed},
};
use libfuzzer_sys::fuzz_target;
use std::{sync::Arc, time::Instant};

fuzz_target!(|text: &[u8]| {
    let filter = ContainerFilter {
        source: SourceName::NONE,
        has_our_labels: |labels| label::has_our_labels(labels.keys().map(String::as_str)),
        is_used_label: label::is_relevant_label,
        required_labels: Vec::new(),
        reads_environment: true,
        matches_all: false,
        named: std::collections::BTreeSet::new(),
        own_labels: None,
        own_container: None,
    };
    let mut world = World::default();
    for container in fuzzed::parse_containers(text, &filter) {
        world.containers.insert(container.id.clone(), Arc::new(container));
    }
    decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
});
