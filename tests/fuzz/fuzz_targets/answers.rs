//! Any answer of HAProxy is parsed, and routes are recovered from it.

#![no_main]

#[path = "../../common/story.rs"]
mod story;

use docker_glue::haproxy::{
    health,
    observed::{self, ObservedState},
    route_recovery,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static STARTED: LazyLock<ObservedState> = LazyLock::new(|| {
    ObservedState::from_config(&story::build_config(&story::parse_routes(
        "web 172.17.0.2 glue_http_80_host=a.test",
    )))
});

fuzz_target!(|text: &str| {
    observed::parse_servers(text);
    observed::parse_map(text);
    observed::parse_map_file(text);
    observed::parse_entry(text, "a.test/");
    observed::count_container_requests(text, "0x1");
    observed::count_requests(text);
    observed::parse_unpublished(text);
    observed::parse_queued(text);
    observed::parse_backends(text);
    observed::parse_worker_pid(text);
    observed::parse_fingerprint(text);
    health::parse_stat(text);
    health::parse_errors(text);
    let mut observed_state = STARTED.clone();
    observed_state.servers = observed::parse_servers(text);
    route_recovery::recover_routes(&observed_state);
});
