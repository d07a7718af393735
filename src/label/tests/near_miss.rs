//! Near misses are reported.

use super::{
    ContainerId, LabelLimits, NetworkMode, Reason, Severity, check, check_limited, from_labels,
    labelled, parse_labels, single_label,
};
use crate::label::{MAX_PROBLEMS, key::suggest_label};

#[test]
fn unknown_label_is_reported_with_nearest() {
    let check_suggestion = |key: &str, nearest: &str| {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!("label {key}=\"1\": unknown label; did you mean {nearest}?")],
        );
    };
    check_suggestion("glue_http_80_stripprefix", "glue_http_80_strip_prefix");
    check_suggestion("glue_http_80_strip-prefix.x", "glue_http_80_strip_prefix.x");
    check_suggestion("glue_http_80_hots.admin", "glue_http_80_host.admin");
    check_suggestion("glue_http_80_Host", "glue_http_80_host");
    check_suggestion("glue_http_80_hosts", "glue_http_80_host");
    check_suggestion("glue_http_80_wieght", "glue_http_80_weight");
    check_suggestion("glue_htp_80_host", "glue_http_80_host");
    check_suggestion("glue_http_80_timout.x!", "glue_http_80_timeout");
    check_suggestion("glue_http_port", "glue_http_ports");
    check_suggestion("glue_netwrok", "glue_network");
    check_suggestion("glue_http_host", "glue_http_<port>_host");
    check_suggestion("glue_http_strip_prefix.x", "glue_http_<port>_strip_prefix.x");
    check_suggestion("glue_ports", "glue_http_ports");
    // Synonyms.
    check_suggestion("glue_http_80_hostname", "glue_http_80_host");
    check_suggestion("glue_http_80_domain.x", "glue_http_80_host.x");
    check_suggestion("glue_http_80_paths", "glue_http_80_path");
    check_suggestion("glue_http_80_path_prefix", "glue_http_80_prefix");
    check_suggestion("glue_http_80_rewrite_target", "glue_http_80_strip_prefix");
    check_suggestion("glue_http_80_healthcheck.path", "glue_http_80_check");
    check_suggestion("glue_http_80_healthcheck.interval", "glue_http_80_check_interval");
    check_suggestion("glue_http_80_lb_healthcheck_interval", "glue_http_80_check_interval");
    check_suggestion("glue_http_80_interval", "glue_http_80_check_interval");
    check_suggestion("glue_http_80_standby", "glue_http_80_backup");
    check_suggestion("glue_tcp_5432_backup_server", "glue_tcp_5432_backup");
    check_suggestion("glue_http_80_read_timeout", "glue_http_80_timeout");
    check_suggestion("glue_http_80_max_conn", "glue_http_80_maxconn");
    check_suggestion("glue_http_80_max_connections", "glue_http_80_maxconn");
    check_suggestion("glue_http_80_retries", "glue_http_80_retry");
    check_suggestion("glue_http_80_entrypoints", "glue_http_80_bind");
    check_suggestion("glue_domain", "glue_http_<port>_host");
    check_suggestion("glue_8080_domain", "glue_http_8080_host");
}

#[test]
fn foreign_label_near_ours_gets_suggestion() {
    for (key, suggestion) in [
        ("glu_http_80_host", Some("glue_http_80_host")),
        ("gleu_http_8080_weight.api", Some("glue_http_8080_weight.api")),
        ("Glue_http_80_host", Some("glue_http_80_host")),
        ("GLUE_HTTP_80_STRIP_PREFIX", Some("glue_http_80_strip_prefix")),
        ("glue-http-80-host", Some("glue_http_80_host")),
        ("glue.http.80.strip-prefix", Some("glue_http_80_strip_prefix")),
        ("glue/http/80/hots", Some("glue_http_80_host")),
        ("gluehttp_80_host", Some("glue_http_80_host")),
        ("clue_http_ports", Some("glue_http_ports")),
        ("glue-network", Some("glue_network")),
        ("glue-tcp-5432-bind", Some("glue_tcp_5432_bind")),
        ("glu_udp_53_replis", Some("glue_udp_53_replies")),
        ("glue.http.80.domain", Some("glue_http_80_host")),
        ("Glue-Http-80-Path", Some("glue_http_80_path")),
        // Labels of docker-balancer or of other programs.
        ("glue_http_80_hots", None),
        ("glue_network", None),
        ("", None),
        ("http_80_host", None),
        ("traefik.http.routers.web.rule", None),
        ("com.docker.compose.network", None),
        ("my_network", None),
        ("glue-http-80", None),
        ("glue.http.0.host", None),
    ] {
        assert_eq!(suggest_label(key).as_deref(), suggestion, "{key}");
    }
    assert_eq!(suggest_label(&format!("glu_http_80_host{}", "t".repeat(100_000))), None);
}

#[test]
fn unknown_label_without_near_match_has_no_suggestion() {
    let long = format!("glue_http_80_host{}", "t".repeat(100_000));
    for key in ["glue_", "glue_http_80_", "glue_http_80_foo", "glue_http_80", "glue_x"] {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!("label {key}=\"1\": unknown label; the label reference lists all labels")],
        );
    }
    let problems = parse_labels(&single_label(&long, "1"), &LabelLimits::default()).problems;
    assert!(
        problems[0].to_string().ends_with(
            "… (100017 bytes)=\"1\": unknown label; the label reference lists all labels"
        ),
        "{}",
        problems[0]
    );
}

#[test]
fn invalid_port_in_label_name_is_reported() {
    for port in ["0", "99999", "x", "080", "+80", "", "80x"] {
        let problems = format!(
            "label glue_http_{port}_host=\"a.test\": {port:?} is not a port; a port is a whole \
             number from 1 to 65535"
        );
        check(&format!("glue_http_{port}_host=a.test"), &[], &[&problems]);
    }
}

#[test]
fn route_name_with_other_characters_is_refused() {
    let longest = "x".repeat(63);
    check(
        &format!("glue_http_80_host.{longest}=a.test glue_http_80_host.A-b_9=b.test"),
        &["a.test:80/ -> 80", "b.test:80/ -> 80"],
        &[],
    );
    for name in ["", "a.b", "é", "a/b", "a+b"] {
        check(
            &format!("glue_http_80_host.{name}=a.test"),
            &[],
            &[&format!(
                "label glue_http_80_host.{name}=\"a.test\": {name:?} is not a route name; a route \
                 name has 1 to 63 letters, digits, - and _"
            )],
        );
    }
    let problems = parse_labels(
        &single_label(&format!("glue_http_80_host.{longest}x"), "a.test"),
        &LabelLimits::default(),
    )
    .problems;
    assert!(matches!(problems[0].reason, Reason::NotARouteName(_)));
}

#[test]
fn unexposed_port_gives_hint() {
    let hint = "the container does not expose port 9000 (a hint: it may listen there nevertheless)";
    let labels = "glue_http_9000_host=a.test glue_http_9000_host.x=x.test";
    let requests = ["a.test:9000/ -> 9000", "x.test:9000/ -> 9000"];
    check(labels, &requests, &[hint]);
    check("glue_http_ports=9000", &["*:9000/ -> 9000"], &[hint]);
    let mut unexposed = labelled(labels);
    unexposed.exposed.tcp.clear();
    check_limited(&LabelLimits::default(), &unexposed, &requests, &[hint]);
    assert_eq!(
        parse_labels(&unexposed, &LabelLimits::default()).problems[0].reason.severity(),
        Severity::Hint
    );
    for mode in
        [NetworkMode::Host, NetworkMode::None, NetworkMode::Container(ContainerId::new("beef"))]
    {
        unexposed.network_mode = mode;
        check_limited(&LabelLimits::default(), &unexposed, &requests, &[]);
    }
}

#[test]
fn value_with_control_character_or_over_4096_bytes_is_refused() {
    let reasons = |value: &str| -> Vec<String> {
        let parsed =
            parse_labels(&single_label("glue_http_80_host", value), &LabelLimits::default());
        assert!(parsed.requests.is_empty());
        parsed.problems.iter().map(|problem| problem.reason.to_string()).collect()
    };
    let out = "no value of the label is valid, so this route of port 80 is ignored";
    for control in ["a.test\nb", "a\0.test", "a.test,\u{7f},b.test", "a\u{85}b"] {
        assert_eq!(
            reasons(control),
            [
                "the value contains a control character (such as a line break or a tab); remove it",
                out
            ]
        );
    }
    assert_eq!(
        reasons(&"a".repeat(4097)),
        ["the value is longer than 4096 bytes; shorten it", out]
    );
    let most = format!("{},b.test", "a".repeat(4089 - 1));
    assert_eq!(
        parse_labels(&single_label("glue_http_80_host", &most), &LabelLimits::default())
            .requests
            .len(),
        1
    );
    check_limited(
        &LabelLimits::default(),
        &single_label("glue_http_80_host", "\ta.test\n"),
        &["a.test:80/ -> 80"],
        &[],
    );
}

#[test]
fn more_than_1024_routes_are_refused() {
    let list = |n: usize| (0..n).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
    let labels = [
        ("glue_http_80_host", list(64)),
        ("glue_http_80_prefix", list(17)),
        ("glue_http_81_host", "a.test".into()),
    ];
    check_limited(
        &LabelLimits::default(),
        &from_labels(labels.map(|(key, value)| (key.to_owned(), value))),
        &["a.test:81/ -> 81"],
        &["port 80 requests 1088 routes (hosts times paths times public ports), but a \
             container may have 1024 in total; use fewer"],
    );
}

#[test]
fn many_invalid_labels_give_at_most_51_problems() {
    let nonsense = vec!["not a host".repeat(20); 19].join(",");
    let hosts = (1..=1000).map(|port| (format!("glue_http_{port}_host"), nonsense.clone()));
    let junk = (1..=20_000).map(|number| (format!("glue_junk_{number}"), "x".to_owned()));
    for labels in [hosts.collect::<Vec<_>>(), junk.collect()] {
        let problems = parse_labels(&from_labels(labels), &LabelLimits::default()).problems;
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), MAX_PROBLEMS + 1);
        assert_eq!(
            texts.iter().filter(|text| text.ends_with("more problems are not listed")).count(),
            1
        );
        let size: usize = texts.iter().map(String::len).sum();
        assert!(size < 30_000, "{size} bytes: {texts:#?}");
        let hints = problems.iter().filter(|problem| problem.reason.severity() == Severity::Hint);
        assert_eq!(hints.count(), 0, "{texts:#?}");
    }
}

#[test]
fn public_ports_above_32_are_dropped() {
    let list = |ports: std::ops::Range<u16>| ports.map(|n| n.to_string()).collect::<Vec<_>>();
    let labels = [
        ("glue_http_80_host", "a.test".to_owned()),
        ("glue_http_80_bind", list(30_001..30_041).join(",")),
        ("glue_http_81_host", "b.test".to_owned()),
        ("glue_http_81_bind", "30032,30033".to_owned()),
    ];
    let requests: Vec<_> = (30_001..=30_032).map(|port| format!("a.test:{port}/ -> 80")).collect();
    let requests = requests.iter().map(String::as_str).chain(["b.test:30032/ -> 81"]);
    let mut requests: Vec<_> = requests.collect();
    requests.sort_by_key(|ask| ask.split_once(':').unwrap().1[..5].to_owned());
    check_limited(
        &LabelLimits::default(),
        &from_labels(labels.map(|(key, value)| (key.to_owned(), value))),
        &requests,
        &[
            "port 80 requests 40 public ports, but a container may have 32 in total: 8 of them are \
             ignored",
            "port 81 requests 2 public ports, but a container may have 32 in total: 1 of them is \
             ignored",
        ],
    );
}

#[test]
fn invalid_list_members_give_at_most_16_problems() {
    let nonsense = (0..1000).map(|n| format!("?{n}")).collect::<Vec<_>>().join(",");
    let problems = parse_labels(
        &single_label("glue_http_80_host", &nonsense[..4000]),
        &LabelLimits::default(),
    )
    .problems;
    assert_eq!(problems.len(), 17);
    assert!(problems.iter().all(|problem| problem.to_string().len() < 400));
}
