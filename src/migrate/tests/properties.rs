//! Random labels become labels that docker-balancer reads.

use super::{
    super::{Program, ServiceInput, output::format_translation},
    check_labels, translate,
};
use crate::sources::compose::yaml;
use proptest::prelude::{ProptestConfig, Strategy, prop, proptest};
use std::collections::BTreeMap;

/// Names of labels and variables, in parts.
const NAMES: [&str; 44] = [
    "traefik.http.routers.a.rule",
    "traefik.http.routers.b.rule",
    "traefik.http.routers.a.entrypoints",
    "traefik.http.routers.b.entrypoints",
    "traefik.http.routers.a.tls",
    "traefik.http.routers.b.tls.certresolver",
    "traefik.http.routers.a.middlewares",
    "traefik.http.routers.b.middlewares",
    "traefik.http.routers.a.service",
    "traefik.http.services.a.loadbalancer.server.port",
    "traefik.http.services.b.loadbalancer.server.port",
    "traefik.http.services.a.loadbalancer.server.scheme",
    "traefik.http.services.a.loadbalancer.healthcheck.interval",
    "traefik.http.middlewares.m.stripprefix.prefixes",
    "traefik.http.middlewares.m.redirectregex.regex",
    "traefik.http.middlewares.m.redirectregex.replacement",
    "traefik.http.middlewares.m.chain.middlewares",
    "traefik.http.middlewares.m.headers.stsseconds",
    "traefik.tcp.routers.a.rule",
    "traefik.tcp.services.a.loadbalancer.server.port",
    "traefik.tcp.routers.a.entrypoints",
    "traefik.frontend.rule",
    "traefik.port",
    "traefik.enable",
    "VIRTUAL_HOST",
    "VIRTUAL_PORT",
    "VIRTUAL_PATH",
    "VIRTUAL_DEST",
    "VIRTUAL_PROTO",
    "VIRTUAL_HOST_MULTIPORTS",
    "ACME_HOST",
    "HTTPS_METHOD",
    "HSTS",
    "caddy",
    "caddy_1",
    "caddy.reverse_proxy",
    "caddy_1.handle_path",
    "caddy_1.handle_path.reverse_proxy",
    "caddy.redir",
    "caddy.@m.path",
    "caddy.header.X-Y",
    "easyhaproxy.http.host",
    "easyhaproxy.http.port",
    "easyhaproxy.http.redirect",
];

const VALUES: [&str; 40] = [
    "Host(`a.test`)",
    "Host(`b.test`,`*.c.test`) && PathPrefix(`/x/y`)",
    "PathPrefix(`/x`) || Path(`/y`)",
    "HostRegexp(`{s:.+}.a.test`)",
    "HostSNI(`*`)",
    "HostSNI(`db.test`)",
    "Host:a.test,b.test;PathPrefixStrip:/x",
    "!Host(`a`)",
    "a.test",
    "*.a.test, b.test",
    "~^x$$",
    "http://a.test:8080, b.test",
    ":80",
    "(snippet)",
    "web",
    "websecure",
    "web,websecure",
    "other",
    "true",
    "false",
    "80",
    "3000",
    "0",
    "99999",
    "${PORT}",
    "${HOST:-a.test}",
    "m",
    "m,n@file",
    "/x",
    "/x/y/",
    "/",
    "https",
    "grpc",
    "redirect",
    "nohttp",
    "{{upstreams 80}}",
    "@m {{upstreams https 8443}}",
    "https://b.test{uri} permanent",
    "{\"a.test\": \"https://b.test\"}",
    "max-age=60",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_labels_become_valid_labels(
        services in prop::collection::vec(
            prop::collection::vec(
                (prop::sample::select(&NAMES[..]), prop::sample::select(&VALUES[..]).prop_map(str::to_owned)),
                0..16,
            ),
            1..4,
        ),
    ) {
        let inputs = services.iter().enumerate().map(|(at, pairs)| input(at, pairs));
        check_translations(&inputs.collect::<Vec<_>>());
    }

    #[test]
    fn any_text_is_translated_or_left_out(
        pairs in prop::collection::vec((prop::sample::select(&NAMES[..]), proptest::prelude::any::<String>()), 0..8),
    ) {
        let inputs = [input(0, &pairs)];
        for program in Program::ALL {
            let translation = translate(program, &inputs);
            let text = format_translation(program, &["x".to_owned()], &translation);
            assert!(yaml::parse_yaml("output", &text).is_ok(), "{text}");
        }
    }
}

fn input(at: usize, pairs: &[(&str, String)]) -> ServiceInput {
    let all: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    ServiceInput {
        name: format!("service{at}"),
        labels: all.clone(),
        environment: all,
        ..ServiceInput::default()
    }
}

fn check_translations(inputs: &[ServiceInput]) {
    for program in Program::ALL {
        let translation = translate(program, inputs);
        check_labels(&translation);
        let text = format_translation(program, &["x".to_owned()], &translation);
        let parsed = yaml::parse_yaml("output", &text);
        assert!(parsed.is_ok_and(|parsed| parsed.documents.len() == 1), "{text}");
    }
}
