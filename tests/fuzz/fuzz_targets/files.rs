//! Any labels of three containers result in files in which every line has an expected form.

#![no_main]

mod labelled;
#[path = "../../common/ours.rs"]
mod ours;
#[path = "../../common/story.rs"]
mod story;

use docker_glue::model::world::World;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static BARE: LazyLock<World> =
    LazyLock::new(|| story::parse_world("web 172.17.0.2\napi 172.17.0.3\nold 172.17.0.4 exited"));

// U+0002 separates the containers.
fuzz_target!(|text: &str| {
    let mut world = BARE.clone();
    for (container, labels) in world.containers.values_mut().zip(text.split('\u{2}')) {
        *container = Arc::new(labelled::label_container(container, labels));
    }
    ours::assert_own_lines(&ours::files_of(&world));
});
