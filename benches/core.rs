//! Labels → configuration, for worlds of 10 to 100,000 containers: time and memory.

#![allow(clippy::unwrap_used, reason = "this is a benchmark")]

#[path = "../tests/common/story.rs"]
mod story;

use divan::{AllocProfiler, Bencher};
use docker_glue::{
    haproxy::{files::ConfigFiles, render},
    model::world::World,
    routing::decide::{DecideState, Decision, decide},
};
use std::{fmt::Write as _, time::Instant};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

/// Two containers per route, some with a path prefix, as on a large machine.
fn world_of(size: usize) -> World {
    let story = (0..size).fold(String::new(), |mut story, n| {
        let (a, b, c) = (n >> 16, n >> 8 & 255, n & 255);
        let host = n / 2;
        write!(story, "web{n} 10.{a}.{b}.{c} glue_http_80_host=app{host}.example.com").unwrap();
        if host % 4 == 0 {
            story.push_str(" glue_http_80_prefix=api/v1 glue_http_80_strip_prefix=1");
        }
        story + "\n"
    });
    story::parse_world(&story)
}

fn decide_world(world: &World) -> Decision {
    decide(world, DecideState::default(), Instant::now(), &story::default_rules())
}

fn render_files(decided: &Decision) -> ConfigFiles {
    render::render_files(&story::build_config(&decided.routes), &story::default_frame())
}

#[divan::bench(args = SIZES)]
fn labels_to_configuration(bencher: Bencher<'_, '_>, size: usize) {
    let world = world_of(size);
    bencher.bench(|| render_files(&decide_world(&world)));
}

#[divan::bench(args = SIZES)]
fn labels_to_routes(bencher: Bencher<'_, '_>, size: usize) {
    let world = world_of(size);
    bencher.bench(|| decide_world(&world));
}

#[divan::bench(args = SIZES)]
fn routes_to_files(bencher: Bencher<'_, '_>, size: usize) {
    let decided = decide_world(&world_of(size));
    bencher.bench(|| render_files(&decided));
}
