//! Anything that a client may send on the control socket.

#![no_main]

use docker_glue::api::control::server;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

fuzz_target!(|sent: &[u8]| {
    RUNTIME.block_on(server::serve_bytes(sent));
});
