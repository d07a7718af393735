//! Renders a template over 10, 1,000 and 10,000 containers: time and memory if all containers are new, and if one is
//! new.

#![allow(clippy::unwrap_used, reason = "this is a benchmark")]

use divan::{AllocProfiler, Bencher};
use docker_glue::{
    handlers::template::{TemplateEnv, TemplateRenderer, TemplateSource},
    model::container::ContainerId,
    sources::{ContainerMap, Description},
};
use serde_json::json;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    divan::main();
}

/// Returns an inspection of a realistic size.
fn container_description(number: usize, image: &str) -> (ContainerId, Arc<Description>) {
    let (a, b, c) = (number >> 16, number >> 8 & 255, number & 255);
    let id = format!("{number:064x}");
    let name = format!("app{}_web_{number}", number / 2);
    let environment: Vec<_> = (0..20).map(|n| format!("VARIABLE_{n}=value of {n}")).collect();
    let value = json!({
        "Id": id,
        "Name": format!("/{name}"),
        "Created": format!("2024-05-01T10:00:00.{number:09}Z"),
        "Path": "/docker-entrypoint.sh",
        "Args": ["nginx", "-g", "daemon off;"],
        "State": { "Status": "running", "Running": true, "Pid": number, "StartedAt": "2024-05-01T10:00:00Z" },
        "Config": {
            "Image": image,
            "Hostname": &id[52..],
            "Env": environment,
            "ExposedPorts": { "80/tcp": {} },
            "Labels": {
                "com.docker.compose.service": "web",
                "virtual-host": format!("app{}.example.com", number / 2),
                "description": "x".repeat(200),
            },
        },
        "HostConfig": { "NetworkMode": "apps", "Binds": null, "Memory": 0, "MaskedPaths": vec!["/proc/acpi"; 20] },
        "NetworkSettings": {
            "Ports": { "80/tcp": null },
            "Networks": {
                "apps": { "NetworkID": "5909", "IPAddress": format!("10.{a}.{b}.{c}"), "Gateway": "10.0.0.1" },
            },
        },
        "Mounts": [],
    });
    let id = ContainerId::new(id);
    (id.clone(), Arc::new(Description { id, name, json: value.to_string().into() }))
}

fn containers_of(size: usize) -> ContainerMap {
    (0..size).map(|number| container_description(number, "shop/web:1")).collect()
}

fn new_renderer() -> TemplateRenderer {
    TemplateRenderer::new(
        TemplateSource::File("examples/templates/nginx.tmpl".into()),
        template_env(),
    )
}

fn template_env() -> TemplateEnv {
    TemplateEnv { folder: "examples/templates".into(), ..TemplateEnv::default() }
}

#[divan::bench(args = SIZES, sample_count = 10)]
fn all_are_new(bencher: Bencher<'_, '_>, size: usize) {
    let roster = containers_of(size);
    bencher.bench(|| new_renderer().render(&roster, None).unwrap());
}

#[divan::bench(args = SIZES, sample_count = 10)]
fn one_is_new(bencher: Bencher<'_, '_>, size: usize) {
    let mut printer = new_renderer();
    let mut roster = containers_of(size);
    printer.render(&roster, None).unwrap();
    let mut version = 0;
    bencher.bench_local(|| {
        version += 1;
        roster.extend([container_description(size / 2, &format!("shop/web:{version}"))]);
        printer.render(&roster, None).unwrap()
    });
}

/// Memory that is kept between renderings: `max alloc` of this bench, without the rendered text.
#[divan::bench(args = SIZES, sample_count = 3)]
fn kept_between_renders(bencher: Bencher<'_, '_>, size: usize) {
    let roster = containers_of(size);
    let source = || TemplateSource::Inline("{{ containers|length }}".to_owned());
    bencher.bench(|| {
        let mut printer = TemplateRenderer::new(source(), template_env());
        printer.render(&roster, None).unwrap();
        printer
    });
}
