//! Near misses are told.

use super::{
    ContainerId, Fences, NetworkMode, Reason, Severity, check, check_fenced, container, one, read,
    with,
};
use crate::label::{MOST_PROBLEMS, key::misspelt};

#[test]
fn an_unknown_label_is_told_with_the_nearest() {
    let near = |key: &str, nearest: &str| {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!("label {key}=\"1\": there is no such label; did you mean {nearest}?")],
        );
    };
    near("glue_http_80_stripprefix", "glue_http_80_strip_prefix");
    near("glue_http_80_strip-prefix.x", "glue_http_80_strip_prefix.x");
    near("glue_http_80_hots.admin", "glue_http_80_host.admin");
    near("glue_http_80_Host", "glue_http_80_host");
    near("glue_http_80_hosts", "glue_http_80_host");
    near("glue_http_80_wieght", "glue_http_80_weight");
    near("glue_htp_80_host", "glue_http_80_host");
    near("glue_http_80_timout.x!", "glue_http_80_timeout");
    near("glue_https_443_host", "glue_http_443_host");
    near("glue_http_port", "glue_http_ports");
    near("glue_netwrok", "glue_network");
    near("glue_http_host", "glue_http_<port>_host");
    near("glue_http_strip_prefix.x", "glue_http_<port>_strip_prefix.x");
    near("glue_ports", "glue_http_ports");
    // Another word for the same.
    near("glue_http_80_hostname", "glue_http_80_host");
    near("glue_http_80_domain.x", "glue_http_80_host.x");
    near("glue_http_80_path", "glue_http_80_prefix");
    near("glue_http_80_path_prefix", "glue_http_80_prefix");
    near("glue_http_80_rewrite_target", "glue_http_80_strip_prefix");
    near("glue_http_80_healthcheck.path", "glue_http_80_check");
    near("glue_http_80_read_timeout", "glue_http_80_timeout");
    near("glue_http_80_retries", "glue_http_80_retry");
    near("glue_http_80_entrypoints", "glue_http_80_bind");
    near("glue_domain", "glue_http_<port>_host");
    near("glue_8080_domain", "glue_http_8080_host");
}

#[test]
fn a_name_that_is_not_ours_may_have_been_meant_to_be() {
    for (key, meant) in [
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
        ("glue.http.80.domain", Some("glue_http_80_host")),
        ("Glue-Http-80-Path", Some("glue_http_80_prefix")),
        // These are ours, or another program's.
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
        assert_eq!(misspelt(key).as_deref(), meant, "{key}");
    }
    assert_eq!(misspelt(&format!("glu_http_80_host{}", "t".repeat(100_000))), None);
}

#[test]
fn what_is_near_to_nothing_is_told_plainly() {
    let long = format!("glue_http_80_host{}", "t".repeat(100_000));
    for key in ["glue_", "glue_http_80_", "glue_http_80_foo", "glue_http_80", "glue_x"] {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!(
                "label {key}=\"1\": there is no such label; the label reference lists all there are"
            )],
        );
    }
    let told = read(&one(&long, "1"), &Fences::default()).problems;
    assert!(
        told[0].to_string().ends_with(
            "… (100017 bytes)=\"1\": there is no such label; the label reference lists all there are"
        ),
        "{}",
        told[0]
    );
}

#[test]
fn a_port_that_is_no_port_is_told() {
    for port in ["0", "99999", "x", "080", "+80", "", "80x"] {
        let told = format!(
            "label glue_http_{port}_host=\"a.test\": {port:?} is no port; a port is a whole number from 1 to 65535"
        );
        check(&format!("glue_http_{port}_host=a.test"), &[], &[&told]);
    }
}

#[test]
fn tcp_and_udp_are_not_yet() {
    for key in ["glue_tcp_22_host", "glue_tcp_ports", "glue_udp_53_bind"] {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!(
                "label {key}=\"1\": TCP and UDP are not served yet, only glue_http_ labels are"
            )],
        );
    }
}

#[test]
fn a_route_name_is_letters_digits_and_dashes() {
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
                "label glue_http_80_host.{name}=\"a.test\": {name:?} is no route name; one has 1 to 63 letters, digits, - and _"
            )],
        );
    }
    let told =
        read(&one(&format!("glue_http_80_host.{longest}x"), "a.test"), &Fences::default()).problems;
    assert!(matches!(told[0].reason, Reason::NotARouteName(_)));
}

#[test]
fn a_port_that_is_not_exposed_is_a_hint() {
    let hint = "the container does not expose port 9000 (a hint: it may well listen there)";
    let labels = "glue_http_9000_host=a.test glue_http_9000_host.x=x.test";
    let asks = ["a.test:9000/ -> 9000", "x.test:9000/ -> 9000"];
    check(labels, &asks, &[hint]);
    check("glue_http_ports=9000", &["*:9000/ -> 9000"], &[hint]);
    let mut silent = container(labels);
    silent.exposed.clear();
    check_fenced(&Fences::default(), &silent, &asks, &[hint]);
    assert_eq!(read(&silent, &Fences::default()).problems[0].reason.severity(), Severity::Hint);
    for mode in
        [NetworkMode::Host, NetworkMode::None, NetworkMode::Container(ContainerId::new("beef"))]
    {
        silent.network_mode = mode;
        check_fenced(&Fences::default(), &silent, &asks, &[]);
    }
}

#[test]
fn control_characters_and_endless_values_are_refused() {
    let reasons = |value: &str| -> Vec<String> {
        let reading = read(&one("glue_http_80_host", value), &Fences::default());
        assert!(reading.asks.is_empty());
        reading.problems.iter().map(|problem| problem.reason.to_string()).collect()
    };
    let out = "nothing is left of it, so this route of port 80 is out";
    for control in ["a.test\nb", "a\0.test", "a.test,\u{7f},b.test", "a\u{85}b"] {
        assert_eq!(
            reasons(control),
            ["the value has a control character (a line break, a tab); take it out", out]
        );
    }
    assert_eq!(
        reasons(&"a".repeat(4097)),
        ["the value is longer than 4096 bytes; shorten it", out]
    );
    let most = format!("{},b.test", "a".repeat(4089 - 1));
    assert_eq!(read(&one("glue_http_80_host", &most), &Fences::default()).asks.len(), 1);
    check_fenced(
        &Fences::default(),
        &one("glue_http_80_host", "\ta.test\n"),
        &["a.test:80/ -> 80"],
        &[],
    );
}

#[test]
fn one_container_cannot_ask_for_a_million_routes() {
    let list = |n: usize| (0..n).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
    let labels = [
        ("glue_http_80_host", list(64)),
        ("glue_http_80_prefix", list(17)),
        ("glue_http_81_host", "a.test".into()),
    ];
    check_fenced(
        &Fences::default(),
        &with(labels.map(|(key, value)| (key.to_owned(), value))),
        &["a.test:81/ -> 81"],
        &[
            "port 80 asks for 1088 routes (hosts times prefixes times public ports), and a container gets 1024 in all; ask for fewer",
        ],
    );
}

#[test]
fn container_of_many_mistakes_has_a_few_problems() {
    let nonsense = vec!["not a host".repeat(20); 19].join(",");
    let hosts = (1..=1000).map(|port| (format!("glue_http_{port}_host"), nonsense.clone()));
    let junk = (1..=20_000).map(|number| (format!("glue_junk_{number}"), "x".to_owned()));
    for labels in [hosts.collect::<Vec<_>>(), junk.collect()] {
        let problems = read(&with(labels), &Fences::default()).problems;
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), MOST_PROBLEMS + 1);
        assert_eq!(
            said.iter().filter(|it| it.ends_with("which are not told one by one")).count(),
            1
        );
        let size: usize = said.iter().map(String::len).sum();
        assert!(size < 30_000, "{size} bytes: {said:#?}");
        let hints = problems.iter().filter(|it| it.reason.severity() == Severity::Hint);
        assert_eq!(hints.count(), 0, "{said:#?}");
    }
}

#[test]
fn public_ports_above_32_of_a_container_are_left_out() {
    let list = |ports: std::ops::Range<u16>| ports.map(|it| it.to_string()).collect::<Vec<_>>();
    let labels = [
        ("glue_http_80_host", "a.test".to_owned()),
        ("glue_http_80_bind", list(30_001..30_041).join(",")),
        ("glue_http_81_host", "b.test".to_owned()),
        ("glue_http_81_bind", "30032,30033".to_owned()),
    ];
    let asks: Vec<_> = (30_001..=30_032).map(|port| format!("a.test:{port}/ -> 80")).collect();
    let asks = asks.iter().map(String::as_str).chain(["b.test:30032/ -> 81"]);
    let mut asks: Vec<_> = asks.collect();
    asks.sort_by_key(|ask| ask.split_once(':').unwrap().1[..5].to_owned());
    check_fenced(
        &Fences::default(),
        &with(labels.map(|(key, value)| (key.to_owned(), value))),
        &asks,
        &[
            "port 80 asks for 40 public ports, and a container gets 32 in all: 8 of them are left out",
            "port 81 asks for 2 public ports, and a container gets 32 in all: 1 of them is left out",
        ],
    );
}

#[test]
fn a_list_of_nonsense_does_not_fill_a_log() {
    let nonsense = (0..1000).map(|n| format!("?{n}")).collect::<Vec<_>>().join(",");
    let told = read(&one("glue_http_80_host", &nonsense[..4000]), &Fences::default()).problems;
    assert_eq!(told.len(), 17);
    assert!(told.iter().all(|problem| problem.to_string().len() < 400));
}
