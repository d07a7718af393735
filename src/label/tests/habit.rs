//! What people write who come from other programs: it is told, with what to write instead.

use super::{Fences, NetworkMode, Severity, check, check_fenced, container, one, read};
use crate::{
    container::Published,
    label::{Constraint, constraint, foreign, in_environment, is_cut_short},
};

/// What is said of this value, after the label.
fn told(key: &str, value: &str) -> Vec<String> {
    let told = read(&one(key, value), &Fences::default()).problems;
    told.iter().map(|it| format!("{:?}: {}", it.reason.severity(), it.reason)).collect()
}

fn first(key: &str, value: &str, expected: &str) {
    let told = told(key, value);
    assert!(told.iter().any(|it| it.contains(expected)), "{key}={value}: {told:#?}");
}

#[test]
fn a_prefix_that_looks_like_a_pattern_is_told_with_the_literal_part() {
    // It is a path, which is served, and which nobody asks for.
    for (prefix, instead) in [
        ("/api/*", "write /api"),
        ("/api/.*", "write /api"),
        ("/api/(.*)", "write /api"),
        ("/api/.+", "write /api"),
        ("/api/**", "write /api"),
        ("/api*", "write /api"),
        ("/users/:id", "write /users"),
        ("/users/:id/posts", "write /users"),
        ("/a/(v1)/b", "write /a"),
        ("/a*b/c", "for the whole host leave the prefix label away"),
        ("/*", "for the whole host leave the prefix label away"),
        ("/api$", "write /api"),
    ] {
        let told = told("glue_http_80_prefix", prefix);
        assert!(
            told.iter().any(|it| it.starts_with("Hint: ") && it.ends_with(instead)),
            "{prefix}: {told:#?}"
        );
        assert_eq!(
            read(&one("glue_http_80_prefix", prefix), &Fences::default()).asks.len(),
            1,
            "{prefix}"
        );
    }
    // It is none.
    for (prefix, instead) in [
        ("/users/{id}", "write /users"),
        ("^/api", "write /api"),
        ("^/api/(.*)$", "write /api"),
        ("~ ^/api", "write /api"),
        ("/api/[0-9]", "write /api"),
        ("/(a|b)", "leave the prefix label away"),
        ("/users/<id>", "write /users"),
        ("/v/\\d", "write /v"),
    ] {
        let told = told("glue_http_80_prefix", prefix);
        assert!(
            told.iter().any(|it| it.starts_with("Problem: ") && it.ends_with(instead)),
            "{prefix}: {told:#?}"
        );
    }
    for prefix in
        ["/~user", "/@scope", "/c++", "/Products(1)", "/$metadata", "/a:b", "/.well-known", "/it's"]
    {
        assert_eq!(told("glue_http_80_prefix", prefix), [""; 0], "{prefix}");
    }
}

#[test]
fn lists_of_other_kinds_are_told_with_commas() {
    let host = "glue_http_80_host";
    first(host, "a.test b.test", "write a.test,b.test");
    first(host, "a.test;b.test", "write a.test,b.test");
    first(host, "a.test | *.b.test", "write a.test,*.b.test");
    first(host, "a.test||b.test", "write a.test,b.test");
    first(host, "[a.test, 'b.test']", "write it with commas alone: a.test,b.test");
    first(host, "[\"a.test\"]", "write it with commas alone: a.test");
    first("glue_http_80_prefix", "/a /b", "write /a,/b");
    first("glue_http_80_prefix", "/a;/b", "write /a,/b");
    first("glue_http_80_prefix", "[/a, /b]", "with commas alone: /a,/b");
    first("glue_http_ports", "80 443", "write 80,443");
    first("glue_http_80_bind", "80;443", "write 80,443");
    first("glue_http_80_bind", "[80, 443]", "with commas alone: 80,443");
}

#[test]
fn quotes_that_are_part_of_a_value_are_told() {
    for (key, value) in [
        ("glue_http_80_host", "\"a.test\""),
        ("glue_http_80_host", "'a.test'"),
        ("glue_http_80_host", "`a.test`"),
        ("glue_http_80_host", "\u{201c}a.test\u{201d}"),
        ("glue_http_80_host", "\"a.test\",\"b.test\""),
        ("glue_http_80_host", "\"a.test\",b.test"),
        ("glue_http_80_host", "'a.test"),
        ("glue_http_80_prefix", "'/api'"),
        ("glue_http_80_prefix", "\"/api\",/v2"),
        ("glue_http_80_weight", "\"50\""),
        ("glue_http_80_check", "\"/healthz\""),
        ("glue_network", "\"front\""),
    ] {
        first(key, value, "Problem: the quotes are part of ");
    }
    assert_eq!(told("glue_http_80_prefix", "/it's"), [""; 0]);
}

#[test]
fn a_host_that_is_a_rule_a_pattern_or_not_filled_in_is_told() {
    let host = "glue_http_80_host";
    first(host, "Host(`a.test`)", "write the names alone: a.test");
    first(host, "Host(`a.test`) || Host(`b.test`)", "write the names alone: a.test,b.test");
    first(host, "Host(`a.test`) && PathPrefix(`/x`)", "write the names alone: a.test");
    first(host, "HostRegexp(`.+`)", "is a pattern, and a host is none");
    first(host, "~^app.$", "is a pattern, and a host is none");
    first(host, "{sub:[a-z]+}.a.test", "is a pattern, and a host is none");
    first(host, "a(b)?.test", "is a pattern, and a host is none");
    first(host, ".a.test", "For all names below one write *.example.com");
    for value in [
        "${DOMAIN}",
        "app.$DOMAIN",
        "{{ domain }}",
        "app.{$DOMAIN}",
        "<domain>",
        "app.${DOMAIN:-x}",
    ] {
        first(host, value, "has a variable in it that nobody has filled in");
    }
    first("glue_http_80_prefix", "/${BASE}", "has a variable in it that nobody has filled in");
    first("glue_http_${PORT}_host", "a.test", "there is a variable in the label's name");
}

#[test]
fn a_host_that_ends_with_its_first_dot_is_a_hint() {
    check(
        "glue_http_80_host=app.,*.",
        &["app:80/ -> 80"],
        &[
            "label glue_http_80_host=\"app.,*.\": a wildcard stands before a name, as in *.example.com; for any host leave the host label away and name a prefix, or name the port in glue_http_ports",
            "label glue_http_80_host=\"app.,*.\": \"app.\" ends with its first dot, so the host is app alone; was a variable empty? If it is meant so, leave the dot away",
        ],
    );
    assert_eq!(told("glue_http_80_host", "app.test."), [""; 0]);
    for (value, cut) in [
        ("app.", true),
        (".test", true),
        ("a..b", true),
        ("app.test,", true),
        ("/", true),
        ("/a//b", true),
        ("app-.test", true),
        ("app.test", false),
        ("/api/", false),
        ("a,b", false),
    ] {
        assert_eq!(is_cut_short(value), cut, "{value}");
    }
}

#[test]
fn options_of_other_programs_are_told_with_what_there_is_instead() {
    for (option, instead) in [
        ("enable", "a container takes part by having labels of ours"),
        ("tls", "there is no TLS yet"),
        ("tls.certresolver", "there is no TLS yet"),
        ("ssl_redirect", "there is no TLS yet"),
        ("redirect", "redirects are not made by labels"),
        ("sticky", "do not stick to one container"),
        ("sticky_sessions", "do not stick to one container"),
        ("port", "the container's port stands in the name of the label"),
        ("basic_auth", "Until then everybody may"),
        ("middlewares", "let the container do it"),
        ("priority", "the exact host wins"),
        ("scheme", "HTTP/1.1 without TLS"),
        ("maxconn", "requests are not limited by labels"),
        ("network", "glue_network"),
    ] {
        first(&format!("glue_http_80_{option}"), "1", instead);
    }
    // Of a list of a compose file, in quotes.
    first("glue_http_80_host: a.test", "", "did you mean glue_http_80_host=a.test?");
    first("glue_http_80_weight:3", "", "did you mean glue_http_80_weight=3?");
    first("glue_enable", "true", "a container takes part by having labels of ours");
    first("glue_port", "80", "the container's port stands in the name of the label");
}

#[test]
fn the_hosts_port_in_a_label_is_a_hint_with_the_containers() {
    let mut it = container("glue_http_8080_host=a.test");
    it.published =
        vec![Published { container_port: 80, host_port: 8080, host_ip: [0, 0, 0, 0].into() }];
    let hint = "8080 is where the host publishes the container's port 80; a label takes the container's: glue_http_80_… (and glue_http_80_bind for another public port)";
    it.exposed = [80].into();
    check_fenced(&Fences::default(), &it, &["a.test:8080/ -> 8080"], &[hint]);
    assert_eq!(read(&it, &Fences::default()).problems[0].reason.severity(), Severity::Hint);
    it.exposed = [80, 8080].into();
    check_fenced(&Fences::default(), &it, &["a.test:8080/ -> 8080"], &[]);
    it.exposed = [80].into();
    it.network_mode = NetworkMode::Host;
    check_fenced(&Fences::default(), &it, &["a.test:8080/ -> 8080"], &[]);
}

#[test]
fn labels_for_other_programs_are_hints_for_those_who_ask() {
    let said = |labels: &[(&str, &str)], environment: &[(&str, &str)]| {
        let own = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let mut it = container("");
        it.labels = std::sync::Arc::new(own(labels));
        it.environment = own(environment);
        it.exposed = [80].into();
        foreign(&it).map(|it| it.reason.to_string()).unwrap_or_default()
    };
    for (labels, program, instead) in [
        (
            &[
                ("traefik.http.routers.x.rule", "Host(`a.test`) || Host(`b.test`)"),
                ("traefik.http.services.x.loadbalancer.server.port", "8080"),
            ][..],
            "Traefik",
            "glue_http_8080_host=a.test,b.test",
        ),
        (
            &[("traefik.enable", "true"), ("traefik.frontend.rule", "Host:a.test")],
            "Traefik",
            "glue_http_80_host=a.test",
        ),
        (&[("traefik.enable", "true")], "Traefik", "glue_http_80_host=<host>"),
        (
            &[("caddy", "a.test"), ("caddy.reverse_proxy", "{{upstreams 3000}}")],
            "caddy-docker-proxy",
            "glue_http_3000_host=a.test",
        ),
        (
            &[("caddy_1", "https://a.test b.test")],
            "caddy-docker-proxy",
            "glue_http_80_host=a.test,b.test",
        ),
    ] {
        assert_eq!(
            said(labels, &[]),
            format!("it is for {program}, and not read here; the like of it is {instead}")
        );
    }
    let environment = [("VIRTUAL_HOST", "a.test,b.test"), ("VIRTUAL_PORT", "81")];
    assert!(said(&[], &environment).ends_with("the like of it is glue_http_81_host=a.test,b.test"));
    for labels in [
        &[("traefik.enable", "false"), ("traefik.http.routers.x.rule", "Host(`a.test`)")][..],
        &[("traefik.enable", "true"), ("glue_http_80_host", "a.test")],
        &[("com.docker.compose.project", "traefik"), ("homepage.name", "x"), ("caddyfile", "x")],
    ] {
        assert_eq!(said(labels, &[]), "");
    }
    let mut it = container("glue_http_80_host=a.test");
    it.environment = [
        ("glue_http_80_host".to_owned(), "a.test".to_owned()),
        ("glue_http_80_weight".to_owned(), "1".to_owned()),
    ]
    .into();
    let unread: Vec<_> = in_environment(&it).map(|it| it.label.unwrap().key).collect();
    assert_eq!(unread, ["glue_http_80_weight"]);
}

#[test]
fn constraints_that_no_container_can_meet_are_told() {
    let said = |constraints: &[&str]| -> Vec<String> {
        let constraints: Vec<_> = constraints
            .iter()
            .map(|text| match text.split_once('=') {
                Some((label, value)) => {
                    Constraint { label: label.to_owned(), value: Some(value.to_owned()) }
                }
                None => Constraint { label: (*text).to_owned(), value: None },
            })
            .collect();
        constraint::problems(&constraints).map(|it| it.to_string()).collect()
    };
    assert_eq!(
        said(&["a=1", "a=2"]),
        [
            "option --constraint: no container has a=1 and a=2 at once, so none is served; leave one of them away"
        ]
    );
    for (odd, meant) in [
        ("label=a=b", "a=b"),
        ("a==b", "a=b"),
        ("a!=b", "a=b"),
        ("a=b,c=d", "a=b --constraint c=d"),
        ("a: b", "a=b"),
        ("Label(`a`, `b`)", "a=b"),
    ] {
        let said = said(&[odd]);
        assert!(
            said.len() == 1 && said[0].ends_with(&format!("was {meant} meant?")),
            "{odd}: {said:?}"
        );
    }
    assert_eq!(said(&["a", "a=1", "a=1", "b=1,2", "c=", "com.docker.compose.project=x"]), [""; 0]);
}
