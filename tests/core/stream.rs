//! Routes of TCP and UDP over time: who has a port, and the limits.

use crate::common::story;
use docker_glue::{
    model::container::Transport,
    routing::decide::{DecideState, Decision, MAX_LISTENERS, MAX_UDP_LISTENERS, Rules, decide},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Returns the routes with their containers, and the problems that are not hints.
fn describe(decided: &Decision) -> Vec<String> {
    let routes = decided.routes.0.iter().map(|(key, route)| {
        let servers: Vec<_> =
            route.endpoints.iter().map(|endpoint| endpoint.container.name()).collect();
        format!("{key} {}", servers.join(","))
    });
    let problems = decided.problems.iter().map(ToString::to_string);
    routes.chain(problems.filter(|text| !text.contains("does not expose"))).collect()
}

fn decide_story(text: &str, rules: &Rules) -> Vec<String> {
    let world = story::parse_world(text);
    describe(&decide(&world, DecideState::default(), Instant::now(), rules))
}

fn taken(listener: &str, why: &str) -> String {
    format!(
        "listener {listener}: its port is {why}; retrying every few seconds, other listeners are \
         not affected"
    )
}

#[test]
fn http_has_a_port_before_tcp_whatever_the_age() {
    let http = "web 172.17.0.2 glue_http_80_host=a.test";
    let https =
        "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_tls=only glue_http_80_tls_bind=80";
    let tcp = "db 172.17.0.3 glue_tcp_8080_bind=80";
    let rules = Rules { certificates: Arc::default(), ..story::default_rules() };
    for (worlds, expected) in [
        (
            vec![[http, tcp].join("\n")],
            vec!["a.test:80/ web".to_owned(), taken("tcp :80", "used by listener http :80")],
        ),
        (
            vec![[tcp, http].join("\n")],
            vec!["a.test:80/ web".to_owned(), taken("tcp :80", "used by listener http :80")],
        ),
        // The port was one of TCP.
        (
            vec![tcp.to_owned(), [tcp, http].join("\n")],
            vec!["a.test:80/ web".to_owned(), taken("tcp :80", "used by listener http :80")],
        ),
        // HTTP has left, and its hold time is over.
        (
            vec![[tcp, http].join("\n"), tcp.to_owned(), tcp.to_owned()],
            vec!["tcp://*:80 db".to_owned()],
        ),
        (
            vec![[tcp, https].join("\n")],
            vec![
                "https://a.test:80/ web".to_owned(),
                "container web (0000000000b0): a.test has no certificate (cert is auto), so HTTPS \
                 connections to it are refused, and plain requests get 503; add one to a directory \
                 of --certificates, or order it with --acme"
                    .to_owned(),
                taken("tcp :80", "used by listener https :80"),
            ],
        ),
    ] {
        let (mut memory, mut now) = (DecideState::default(), Instant::now());
        let mut last = None;
        for world in &worlds {
            let decided = decide(&story::parse_world(world), memory, now, &rules);
            memory = decided.memory.clone();
            now += rules.hold + Duration::from_secs(1);
            last = Some(decided);
        }
        let actual = describe(&last.unwrap());
        // The number of the container depends on its line.
        let plain = |text: &String| text.replace("0000000000a0", "0000000000b0");
        assert_eq!(
            actual.iter().map(plain).collect::<Vec<_>>().len(),
            expected.len(),
            "{worlds:?}: {actual:#?}"
        );
        for text in expected.iter().filter(|text| !text.starts_with("container")) {
            assert!(actual.contains(text), "{worlds:?}: {text}\n{actual:#?}");
        }
    }
}

#[test]
fn udp_and_tcp_of_one_port_are_independent() {
    let dns = "ns 172.17.0.2 glue_tcp_53_bind=53 glue_udp_53_bind=53 glue_udp_53_replies=1";
    let web = "web 172.17.0.3 glue_http_80_host=a.test glue_http_80_bind=53";
    for (text, expected) in [
        (dns.to_owned(), vec!["tcp://*:53 ns".to_owned(), "udp://*:53 ns".to_owned()]),
        (
            format!("{dns}\n{web}"),
            vec![
                "a.test:53/ web".to_owned(),
                "udp://*:53 ns".to_owned(),
                taken("tcp :53", "used by listener http :53"),
            ],
        ),
    ] {
        assert_eq!(decide_story(&text, &story::default_rules()), expected);
    }
}

#[test]
fn published_port_is_taken_for_its_protocol_only() {
    let text =
        "ns 172.17.0.2 glue_tcp_53_bind=53 glue_udp_53_bind=53\nother 172.17.0.3 publishes=53";
    for (transport, expected) in [
        (Transport::Tcp, ["udp://*:53 ns", "listener tcp :53"]),
        (Transport::Udp, ["tcp://*:53 ns", "listener udp :53"]),
    ] {
        let mut world = story::parse_world(text);
        for container in world.containers.values_mut() {
            for port in &mut Arc::make_mut(container).published {
                port.transport = transport;
            }
        }
        let decided =
            decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
        let actual = describe(&decided);
        assert_eq!(actual.len(), 2, "{actual:?}");
        assert_eq!(actual[0], expected[0]);
        assert!(actual[1].starts_with(expected[1]), "{actual:?}");
        assert!(actual[1].contains("published by container other"), "{actual:?}");
    }
}

#[test]
fn mapped_port_of_udp_does_not_meet_one_of_tcp() {
    let mut rules = story::default_rules();
    rules.port_map.insert(53.try_into().unwrap(), 5353.try_into().unwrap());
    let text = "ns 172.17.0.2 glue_udp_53_bind=53\nother 172.17.0.3 glue_tcp_5353_bind=5353";
    assert_eq!(decide_story(text, &rules), ["tcp://*:5353 other", "udp://*:53 ns"]);
    let text = "ns 172.17.0.2 glue_udp_53_bind=53\nother 172.17.0.3 glue_udp_5353_bind=5353";
    let conflict = taken("udp :5353", "used by listener udp :53 because of --map-port");
    assert_eq!(decide_story(text, &rules), ["udp://*:53 ns".to_owned(), conflict]);
}

#[test]
fn port_of_udp_is_taken_by_http3() {
    let text = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_tls=only\n\
                game 172.17.0.3 glue_udp_443_bind=443-444";
    for (http3, expected) in [(false, "udp://*:443 game"), (true, "udp://*:444 game")] {
        let rules = Rules { http3, ..story::default_rules() };
        let actual = decide_story(text, &rules);
        assert_eq!(actual[1], expected, "{actual:?}");
        let conflict = taken("udp :443", "used by HTTP/3 of listener https :443");
        assert_eq!(actual.contains(&conflict), http3, "{actual:?}");
    }
}

#[test]
fn containers_share_a_port_of_tcp_if_they_agree() {
    for (option, differs) in [
        ("tcp_5432_balance=round", Some("balance")),
        ("tcp_5432_check=off", Some("check")),
        ("tcp_5432_idle=1h", Some("idle")),
        ("tcp_5432_proxy=v2", Some("proxy")),
        ("tcp_5432_cut=down", Some("cut")),
        ("tcp_5432_weight=7", None),
        ("tcp_5432_health=ignore", None),
        ("udp_5432_sticky=source", Some("sticky")),
        ("udp_5432_idle=1h", Some("idle")),
        ("udp_5432_replies=1", Some("replies")),
        ("udp_5432_proxy=v2", Some("proxy")),
    ] {
        let (protocol, _) = option.split_once('_').unwrap();
        let text = format!(
            "a 172.17.0.2 glue_{protocol}_5432_bind=5432\nb 172.17.0.3 \
             glue_{protocol}_5432_bind=5432 glue_{option}"
        );
        let actual = decide_story(&text, &story::default_rules());
        match differs {
            None => {
                assert_eq!(actual[0], format!("{protocol}://*:5432 a,b"), "{option}");
            }
            Some(name) => {
                assert!(
                    actual[0] == format!("{protocol}://*:5432 a") || actual[0].ends_with(" b"),
                    "{actual:?}"
                );
                assert!(actual[1].contains(&format!("with a different {name}; ")), "{actual:?}");
            }
        }
    }
}

#[test]
fn owner_has_its_public_ports_only() {
    let mut rules = story::default_rules();
    rules.base.label_limits.own_hosts_by = Some("project".to_owned());
    let text = "a 172.17.0.2 project=a glue_tcp_5432_bind=5432 glue_udp_53_bind=53\n\
                b 172.17.0.3 project=b glue_tcp_5432_bind=5433 glue_udp_54_bind=54\n\
                c 172.17.0.4 project=c glue_http_80_prefix=/";
    let own = ["*:80/ c", "tcp://*:5432 a", "tcp://*:5433 b", "udp://*:53 a", "udp://*:54 b"];
    assert_eq!(decide_story(text, &rules), own);
    // A stranger's container waits.
    let text = "a 172.17.0.2 project=a glue_tcp_5432_bind=5432";
    let first = decide(&story::parse_world(text), DecideState::default(), Instant::now(), &rules);
    let both = format!("x 172.17.0.9\n{text}\nb 172.17.0.3 project=b glue_tcp_5432_bind=5432");
    let both = both.replace("x 172.17.0.9\n", "");
    let decided = decide(&story::parse_world(&both), first.memory, Instant::now(), &rules);
    let actual = describe(&decided);
    assert_eq!(actual[0], "tcp://*:5432 a");
    assert!(actual[1].contains("belongs to project=a"), "{actual:?}");
}

#[test]
fn spare_ports_and_ports_of_udp_are_not_counted_as_listeners() {
    let line = |number: usize, protocol: &str, first: usize| {
        let ports = format!("{first}-{}", first + 255);
        let address = 2 + number;
        format!("c{number} 172.17.0.{address} glue_{protocol}_1_bind={ports}")
    };
    let count = |lines: &[String], spare: std::ops::Range<u16>| {
        let mut rules = story::default_rules();
        rules.spare_tcp_ports = spare.filter_map(std::num::NonZeroU16::new).collect();
        let world = story::parse_world(&lines.join("\n"));
        decide(&world, DecideState::default(), Instant::now(), &rules).routes.0.len()
    };
    let tcp: Vec<_> = (0..2).map(|number| line(number, "tcp", 20_000 + 256 * number)).collect();
    assert_eq!(count(&tcp, 0..0), MAX_LISTENERS);
    assert_eq!(count(&tcp, 20_000..20_100), MAX_LISTENERS + 100);
    assert_eq!(count(&tcp, 20_000..20_512), 512);
    let udp: Vec<_> = (0..33).map(|number| line(number, "udp", 20_000 + 256 * number)).collect();
    assert_eq!(count(&udp, 0..0), MAX_UDP_LISTENERS);
    assert_eq!(count(&[udp, tcp[..1].to_vec()].concat(), 0..0), MAX_UDP_LISTENERS + 256);
}
