//! Any Jinja2 text, rendered with a few real containers.

#![no_main]

#[path = "../../common/roster.rs"]
mod roster;

use docker_glue::{
    handlers::template::{TemplateEnv, TemplateRenderer, TemplateSource},
    settings::{GlueSettings, GlueTask, HostEnv},
    sources::ContainerMap,
};
use libfuzzer_sys::fuzz_target;
use std::{path::Path, sync::LazyLock};

static ROSTER: LazyLock<ContainerMap> = LazyLock::new(|| {
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).expect("the project");
    roster::sample_containers()
});
static SETTINGS: LazyLock<GlueSettings> = LazyLock::new(|| {
    let args = ["docker-glue", "check"].map(Into::into);
    GlueTask::from_args(&args, HostEnv::default()).expect("these are arguments").1
});

fuzz_target!(|text: &str| {
    let Ok(source) = TemplateSource::parse(&format!("#{text}"), Path::new("")) else { return };
    let environment = TemplateEnv::from_source(&source, &SETTINGS);
    let _ = TemplateRenderer::new(source, environment).render(&ROSTER, None);
});
