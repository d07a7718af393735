//! Any label text: it is read, and each hundredth time made a configuration, whose every line is ours.

#![no_main]

#[path = "../../common/ours.rs"]
mod ours;
#[path = "../../common/story.rs"]
mod story;

use docker_glue::{container::Container, label};
use libfuzzer_sys::fuzz_target;
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

/// A whole configuration takes as long as some hundred readings.
const RENDERED: u64 = 100;

static RUNS: AtomicU64 = AtomicU64::new(0);
static BARE: LazyLock<Container> = LazyLock::new(|| {
    let world = story::world("web 172.17.0.2");
    Container::clone(world.containers.values().next().expect("the story has one"))
});

// Lines of KEY=VALUE; a key may leave out `glue_http_80_`, so that the fuzzer gets deep soon.
fuzz_target!(|text: &str| {
    let mut container = BARE.clone();
    for line in text.split('\u{1}') {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let key = if key.starts_with("glue_") { key.to_owned() } else { format!("glue_http_80_{key}") };
        Arc::make_mut(&mut container.labels).insert(key, value.to_owned());
    }
    let reading = label::read(&container, &story::rules().fences);
    for problem in &reading.problems {
        assert!(!problem.to_string().contains(['\n', '\u{1b}']), "{problem}");
    }
    if RUNS.fetch_add(1, Ordering::Relaxed) % RENDERED == 0 {
        let mut world = story::world("web 172.17.0.2");
        let id = container.id.clone();
        world.containers.insert(id, Arc::new(container));
        ours::assert_ours(&ours::files(&world));
    }
});
