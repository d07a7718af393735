//! Any labels of one container are read, and what is said of them stays on its line.

#![no_main]

mod labelled;
#[path = "../../common/story.rs"]
mod story;

use docker_glue::{label::{Fences, self}, model::{container::Container, problem}};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static BARE: LazyLock<Container> = LazyLock::new(|| {
    let world = story::world("web 172.17.0.2");
    Container::clone(world.containers.values().next().expect("the story has one"))
});
static FENCES: LazyLock<Fences> = LazyLock::new(|| story::rules().fences);

fuzz_target!(|text: &str| {
    let reading = label::read(&labelled::label_container(&BARE, text), &FENCES);
    for problem in &reading.problems {
        let text = problem.to_string();
        assert!(!text.contains(problem::is_strange), "{text:?}");
    }
});
