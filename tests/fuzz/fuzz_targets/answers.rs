//! Anything that HAProxy may answer: it is read, and what follows from it is worked out.

#![no_main]

#[path = "../../common/story.rs"]
mod story;

use docker_glue::haproxy::{health, inverse, observed::{Observed, self}};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static STARTED: LazyLock<Observed> = LazyLock::new(|| {
    Observed::started(&story::config(&story::routes("web 172.17.0.2 glue_http_80_host=a.test")))
});

fuzz_target!(|text: &str| {
    observed::servers(text);
    observed::map(text);
    observed::map_file(text);
    observed::entry(text, "a.test/");
    observed::sessions(text, "0x1");
    observed::requests(text);
    observed::unpublished(text);
    observed::waiting(text);
    observed::backends(text);
    observed::worker(text);
    observed::skeleton(text);
    health::stat(text);
    health::captured(text);
    let mut seen = STARTED.clone();
    seen.servers = observed::servers(text);
    inverse::routes(&seen);
});
