//! Any labels of one container are parsed, and the text of each problem is one printable line.

#![no_main]

mod labelled;
#[path = "../../common/story.rs"]
mod story;

use docker_glue::{
    label::{self, LabelLimits},
    model::container::Container,
    support::escape,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static BARE: LazyLock<Container> = LazyLock::new(|| {
    let world = story::parse_world("web 172.17.0.2");
    Container::clone(world.containers.values().next().expect("the story has one"))
});
static LIMITS: LazyLock<LabelLimits> = LazyLock::new(|| story::default_rules().base.label_limits);

fuzz_target!(|text: &str| {
    let parsed = label::parse_labels(&labelled::label_container(&BARE, text), &LIMITS);
    for problem in &parsed.problems {
        let text = problem.to_string();
        assert!(!text.contains(escape::is_unprintable), "{text:?}");
    }
});
