//! Anything that an engine may answer: it becomes a world, and the world is decided about.

#![no_main]

#[path = "../../common/story.rs"]
mod story;

use docker_glue::{label, model::world::World, routing::decide::{Memory, decide}, sources::docker::{Interest, fuzzed}};
use libfuzzer_sys::fuzz_target;
use std::{sync::Arc, time::Instant};

fuzz_target!(|text: &[u8]| {
    let interest = Interest {
        speaks: |labels| label::speaks(labels.keys().map(String::as_str)),
        reads: label::is_read,
        required: Vec::new(),
        environment: true,
        everything: false,
        named: std::collections::BTreeSet::new(),
        own_labels: None,
        own: None,
    };
    let mut world = World::default();
    for container in fuzzed::containers(text, &interest) {
        world.containers.insert(container.id.clone(), Arc::new(container));
    }
    decide(&world, Memory::default(), Instant::now(), &story::rules());
});
