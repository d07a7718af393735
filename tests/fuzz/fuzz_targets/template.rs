//! Any Jinja2 text, over a few real containers.

#![no_main]

#[path = "../../common/roster.rs"]
mod roster;

use docker_glue::{handlers::template::{Outside, Printer, Source}, settings::{GlueSettings, GlueTask, Machine}, sources::docker::Roster};
use libfuzzer_sys::fuzz_target;
use std::{path::Path, sync::LazyLock};

static ROSTER: LazyLock<Roster> = LazyLock::new(|| {
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).expect("the project");
    roster::roster()
});
static SETTINGS: LazyLock<GlueSettings> = LazyLock::new(|| {
    let args = ["docker-glue", "check"].map(Into::into);
    GlueTask::read(&args, Machine::default()).expect("these are arguments").1
});

fuzz_target!(|text: &str| {
    let Ok(source) = Source::read(&format!("#{text}"), Path::new("")) else { return };
    let outside = Outside::of(&source, &SETTINGS);
    let _ = Printer::new(source, outside).print(&ROSTER, None);
});
