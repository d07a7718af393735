//! Any label text → a configuration whose every line is ours. `make fuzz` runs it.

#![no_main]

#[path = "../../common/ours.rs"]
mod ours;
#[path = "../../common/story.rs"]
mod story;

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

// Lines of KEY=VALUE; a key may leave out `glue_http_80_`, so that the fuzzer gets deep soon.
fuzz_target!(|text: &str| {
    let mut world = story::world("web 172.17.0.2");
    let container = world.containers.values_mut().next().expect("the story has one");
    for line in text.split('\u{1}') {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let key = if key.starts_with("glue_") { key.to_owned() } else { format!("glue_http_80_{key}") };
        Arc::make_mut(container).labels.insert(key, value.to_owned());
    }
    ours::assert_ours(&ours::files(&world));
});
