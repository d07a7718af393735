//! Syntax of other programs is reported, with the correction.

use super::{
    LabelLimits, NetworkMode, Severity, check, check_limited, labelled, parse_labels, single_label,
};
use crate::{
    label::{Constraint, constraint, environment_hints, foreign_hint},
    model::container::{PublishedPort, Transport},
};

/// Returns the texts of the problems of this value.
fn problem_texts(key: &str, value: &str) -> Vec<String> {
    let problems = parse_labels(&single_label(key, value), &LabelLimits::default()).problems;
    problems
        .iter()
        .map(|problem| format!("{:?}: {}", problem.reason.severity(), problem.reason))
        .collect()
}

fn check_reported(key: &str, value: &str, expected: &str) {
    let problems = problem_texts(key, value);
    assert!(problems.iter().any(|text| text.contains(expected)), "{key}={value}: {problems:#?}");
}

#[test]
fn prefix_pattern_is_reported_with_literal_part() {
    // The value is a valid path, which is served, but no client would request it.
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
        ("/a*b/c", "for the whole host remove the prefix label"),
        ("/*", "for the whole host remove the prefix label"),
        ("/api$", "write /api"),
    ] {
        let problems = problem_texts("glue_http_80_prefix", prefix);
        assert!(
            problems.iter().any(|text| text.starts_with("Hint: ") && text.ends_with(instead)),
            "{prefix}: {problems:#?}"
        );
        assert_eq!(
            parse_labels(&single_label("glue_http_80_prefix", prefix), &LabelLimits::default())
                .requests
                .len(),
            1,
            "{prefix}"
        );
    }
    // The value is not a valid path.
    for (prefix, instead) in [
        ("/users/{id}", "write /users"),
        ("^/api", "write /api"),
        ("^/api/(.*)$", "write /api"),
        ("~ ^/api", "write /api"),
        ("/api/[0-9]", "write /api"),
        ("/(a|b)", "remove the prefix label"),
        ("/users/<id>", "write /users"),
        ("/v/\\d", "write /v"),
    ] {
        let problems = problem_texts("glue_http_80_prefix", prefix);
        assert!(
            problems.iter().any(|text| text.starts_with("Problem: ") && text.ends_with(instead)),
            "{prefix}: {problems:#?}"
        );
    }
    for prefix in
        ["/~user", "/@scope", "/c++", "/Products(1)", "/$metadata", "/a:b", "/.well-known", "/it's"]
    {
        assert_eq!(problem_texts("glue_http_80_prefix", prefix), [""; 0], "{prefix}");
    }
}

#[test]
fn list_with_other_separators_is_reported_with_commas() {
    let host = "glue_http_80_host";
    check_reported(host, "a.test b.test", "write a.test,b.test");
    check_reported(host, "a.test;b.test", "write a.test,b.test");
    check_reported(host, "a.test | *.b.test", "write a.test,*.b.test");
    check_reported(host, "a.test||b.test", "write a.test,b.test");
    check_reported(
        host,
        "[a.test, 'b.test']",
        "write it with commas and without brackets: a.test,b.test",
    );
    check_reported(host, "[\"a.test\"]", "write it with commas and without brackets: a.test");
    check_reported("glue_http_80_prefix", "/a /b", "write /a,/b");
    check_reported("glue_http_80_prefix", "/a;/b", "write /a,/b");
    check_reported("glue_http_80_prefix", "[/a, /b]", "with commas and without brackets: /a,/b");
    check_reported("glue_http_ports", "80 443", "write 80,443");
    check_reported("glue_http_80_bind", "80;443", "write 80,443");
    check_reported("glue_http_80_bind", "[80, 443]", "with commas and without brackets: 80,443");
}

#[test]
fn quoted_value_is_reported() {
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
        check_reported(key, value, "Problem: the quotes are part of ");
    }
    assert_eq!(problem_texts("glue_http_80_prefix", "/it's"), [""; 0]);
}

#[test]
fn host_rule_pattern_or_placeholder_is_reported() {
    let host = "glue_http_80_host";
    check_reported(host, "Host(`a.test`)", "write only the host names: a.test");
    check_reported(
        host,
        "Host(`a.test`) || Host(`b.test`)",
        "write only the host names: a.test,b.test",
    );
    check_reported(host, "Host(`a.test`) && PathPrefix(`/x`)", "write only the host names: a.test");
    check_reported(host, "HostRegexp(`.+`)", "is a pattern, but patterns are not supported");
    check_reported(host, "~^app.$", "is a pattern, but patterns are not supported");
    check_reported(host, "{sub:[a-z]+}.a.test", "is a pattern, but patterns are not supported");
    check_reported(host, "a(b)?.test", "is a pattern, but patterns are not supported");
    check_reported(host, ".a.test", "For all names below a domain write *.example.com");
    for value in [
        "${DOMAIN}",
        "app.$DOMAIN",
        "{{ domain }}",
        "app.{$DOMAIN}",
        "<domain>",
        "app.${DOMAIN:-x}",
    ] {
        check_reported(host, value, "contains a variable that was not substituted");
    }
    check_reported(
        "glue_http_80_prefix",
        "/${BASE}",
        "contains a variable that was not substituted",
    );
    check_reported("glue_http_${PORT}_host", "a.test", "the label's name contains a variable");
}

#[test]
fn host_ending_with_its_first_dot_gives_hint() {
    check(
        "glue_http_80_host=app.,*.",
        &["app:80/ -> 80"],
        &[
            "label glue_http_80_host=\"app.,*.\": a wildcard needs a name behind it, as in \
             *.example.com; for every host write * alone",
            "label glue_http_80_host=\"app.,*.\": \"app.\" ends with its first dot, so the host is \
             only app; was a variable empty? If this is intended, remove the dot",
        ],
    );
    assert_eq!(problem_texts("glue_http_80_host", "app.test."), [""; 0]);
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
        assert_eq!(crate::model::label_text::is_cut_short(value), cut, "{value}");
    }
}

#[test]
fn foreign_option_name_is_reported_with_alternative() {
    for (option, instead) in [
        ("enable", "containers with labels of docker-balancer are served"),
        ("ssl", "did you mean glue_http_80_tls?"),
        ("ssl_redirect", "did you mean glue_http_80_tls?"),
        ("cert_resolver", "did you mean glue_http_80_tls?"),
        ("backend_protocol", "did you mean glue_http_80_scheme?"),
        ("sni", "did you mean glue_http_80_server_name?"),
        ("ssl_verify", "did you mean glue_http_80_verify?"),
        ("client_auth", "did you mean glue_http_80_client_cert?"),
        ("redirect_to", "did you mean glue_http_80_redirect?"),
        ("ip_whitelist", "did you mean glue_http_80_allow?"),
        ("sticky", "sticky: \"1\" is not cookie or off"),
        ("sticky_sessions", "did you mean glue_http_80_sticky?"),
        ("port", "the container's port is part of the label's name"),
        ("basic_auth", "did you mean glue_http_80_users?"),
        ("htpasswd", "did you mean glue_http_80_users?"),
        ("user", "did you mean glue_http_80_users?"),
        ("forwardauth", "did you mean glue_http_80_forward_auth?"),
        ("oauth", "did you mean glue_http_80_forward_auth?"),
        ("middlewares", "did you mean glue_http_80_use?"),
        ("priority", "the exact host wins"),
        ("proxy_protocol", "is set with the scheme label"),
        ("ratelimit", "did you mean glue_http_80_rate?"),
        ("gzip", "let the container do it"),
        ("network", "glue_network"),
    ] {
        check_reported(&format!("glue_http_80_{option}"), "1", instead);
    }
    // From a list in a compose file, with quotes in the wrong place.
    check_reported("glue_http_80_host: a.test", "", "did you mean glue_http_80_host=a.test?");
    check_reported("glue_http_80_weight:3", "", "did you mean glue_http_80_weight=3?");
    check_reported("glue_https_443_host", "a.test", "HTTPS is an option of the port");
    check_reported("glue_enable", "true", "containers with labels of docker-balancer are served");
    check_reported("glue_port", "80", "the container's port is part of the label's name");
}

#[test]
fn published_port_in_label_gives_hint_with_container_port() {
    let mut item = labelled("glue_http_8080_host=a.test");
    item.published = vec![PublishedPort {
        transport: Transport::Tcp,
        container_port: 80,
        host_port: 8080,
        host_ip: [0, 0, 0, 0].into(),
    }];
    let hint = "8080 is the host port on which the container's port 80 is published; use the \
                container's port in the label: glue_http_80_… (and glue_http_80_bind for another \
                public port)";
    item.exposed = [80].into();
    check_limited(&LabelLimits::default(), &item, &["a.test:8080/ -> 8080"], &[hint]);
    assert_eq!(
        parse_labels(&item, &LabelLimits::default()).problems[0].reason.severity(),
        Severity::Hint
    );
    item.exposed = [80, 8080].into();
    check_limited(&LabelLimits::default(), &item, &["a.test:8080/ -> 8080"], &[]);
    item.exposed = [80].into();
    item.network_mode = NetworkMode::Host;
    check_limited(&LabelLimits::default(), &item, &["a.test:8080/ -> 8080"], &[]);
}

#[test]
fn foreign_labels_give_hint_with_equivalent() {
    let texts = |labels: &[(&str, &str)], environment: &[(&str, &str)]| {
        let own = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let mut item = labelled("");
        item.labels = std::sync::Arc::new(own(labels));
        item.environment = own(environment);
        item.exposed = [80].into();
        foreign_hint(&item).map(|problem| problem.reason.to_string()).unwrap_or_default()
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
            texts(labels, &[]),
            format!("this label is for {program} and is ignored; the equivalent is {instead}")
        );
    }
    let environment = [("VIRTUAL_HOST", "a.test,b.test"), ("VIRTUAL_PORT", "81")];
    assert!(
        texts(&[], &environment).ends_with("the equivalent is glue_http_81_host=a.test,b.test")
    );
    for labels in [
        &[("traefik.enable", "false"), ("traefik.http.routers.x.rule", "Host(`a.test`)")][..],
        &[("traefik.enable", "true"), ("glue_http_80_host", "a.test")],
        &[("com.docker.compose.project", "traefik"), ("homepage.name", "x"), ("caddyfile", "x")],
    ] {
        assert_eq!(texts(labels, &[]), "");
    }
    let mut item = labelled("glue_http_80_host=a.test");
    item.environment = [
        ("glue_http_80_host".to_owned(), "a.test".to_owned()),
        ("glue_http_80_weight".to_owned(), "1".to_owned()),
    ]
    .into();
    let unread: Vec<_> =
        environment_hints(&item).map(|problem| problem.label.unwrap().key).collect();
    assert_eq!(unread, ["glue_http_80_weight"]);
}

#[test]
fn unsatisfiable_constraints_are_reported() {
    let texts = |constraints: &[&str]| -> Vec<String> {
        let constraints: Vec<_> = constraints
            .iter()
            .map(|text| match text.split_once('=') {
                Some((label, value)) => {
                    Constraint { label: label.to_owned(), value: Some(value.to_owned()) }
                }
                None => Constraint { label: (*text).to_owned(), value: None },
            })
            .collect();
        constraint::constraint_problems(&constraints).map(|problem| problem.to_string()).collect()
    };
    assert_eq!(
        texts(&["a=1", "a=2"]),
        ["option --constraint: no container can have both a=1 and a=2, so no container is \
             served; remove one of the two"]
    );
    for (input, suggestion) in [
        ("label=a=b", "a=b"),
        ("a==b", "a=b"),
        ("a!=b", "a=b"),
        ("a=b,c=d", "a=b --constraint c=d"),
        ("a: b", "a=b"),
        ("Label(`a`, `b`)", "a=b"),
    ] {
        let texts = texts(&[input]);
        assert!(
            texts.len() == 1 && texts[0].ends_with(&format!("did you mean {suggestion}?")),
            "{input}: {texts:?}"
        );
    }
    assert_eq!(texts(&["a", "a=1", "a=1", "b=1,2", "c=", "com.docker.compose.project=x"]), [""; 0]);
}
