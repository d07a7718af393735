//! Labels of TCP and UDP.

use super::{
    ContainerId, LabelLimits, NetworkMode, allowed_hosts, check_limited, from_labels, labelled,
    parse_labels, request_text,
};
use crate::{
    label::{AllowedPorts, MAX_PROBLEMS, MAX_RANGE_PORTS, MAX_ROUTES, trace::trace_labels},
    model::{
        container::{Container, PublishedPort, Transport},
        label_option::LabelOption,
    },
    settings::value::parse_allowed_ports,
};

/// A container without hints about ports that it does not expose.
fn open(labels: &str) -> Container {
    Container { network_mode: NetworkMode::Host, ..labelled(labels) }
}

fn check(labels: &str, requests: &[&str], problems: &[&str]) {
    check_limited(&LabelLimits::default(), &open(labels), requests, problems);
}

#[test]
fn any_label_of_a_tcp_or_udp_port_makes_it_take_part() {
    for (labels, expected) in [
        ("glue_tcp_5432_bind=5432", "tcp://*:5432 -> 5432"),
        ("glue_tcp_5432_weight=100", "tcp://*:5432 -> 5432"),
        ("glue_tcp_5432_check=off", "tcp://*:5432 -> 5432 unchecked"),
        ("glue_tcp_5432_health=require", "tcp://*:5432 -> 5432 require"),
        ("glue_tcp_5432_host=db.example.com", "tcp://db.example.com:5432 -> 5432"),
        ("glue_tcp_5432_host=*.Example.com", "tcp://*.example.com:5432 -> 5432"),
        ("glue_tcp_ports=5432", "tcp://*:5432 -> 5432"),
        ("glue_udp_53_replies=1", "udp://*:53 -> 53 replies 1"),
        ("glue_udp_5353_bind=53", "udp://*:53 -> 5353"),
        ("glue_udp_ports=53", "udp://*:53 -> 53"),
        ("glue_tcp_5432_weight.a=5", "tcp://*:5432 -> 5432 weight 5"),
    ] {
        check(labels, &[expected], &[]);
    }
}

#[test]
fn option_of_tcp_or_udp_is_parsed() {
    for (labels, expected) in [
        ("glue_tcp_1_balance=round", "tcp://*:1 -> 1 balance round"),
        ("glue_tcp_1_balance=least", "tcp://*:1 -> 1"),
        ("glue_tcp_1_idle=8h", "tcp://*:1 -> 1 idle 8h"),
        ("glue_tcp_1_idle=off", "tcp://*:1 -> 1"),
        ("glue_tcp_1_proxy=v1", "tcp://*:1 -> 1 proxy v1"),
        ("glue_tcp_1_cut=down", "tcp://*:1 -> 1 cut down"),
        ("glue_tcp_1_check=8008", "tcp://*:1 -> 1 check 8008"),
        ("glue_tcp_1_check=8008/ready", "tcp://*:1 -> 1 check 8008/ready"),
        ("glue_tcp_1_check=/ready", "tcp://*:1 -> 1 check /ready"),
        ("glue_tcp_1_weight=0", "tcp://*:1 -> 1 weight 0"),
        ("glue_udp_1_sticky=source", "udp://*:1 -> 1 sticky source"),
        ("glue_udp_1_idle=30s", "udp://*:1 -> 1 idle 30s"),
        ("glue_udp_1_idle=2m", "udp://*:1 -> 1"),
        ("glue_udp_1_proxy=v2", "udp://*:1 -> 1 proxy v2"),
        ("glue_udp_1_replies=0", "udp://*:1 -> 1 replies 0"),
        ("glue_udp_1_health=ignore", "udp://*:1 -> 1 ignore"),
    ] {
        check(labels, &[expected], &[]);
    }
}

#[test]
fn invalid_option_of_tcp_or_udp_is_ignored_and_reported() {
    for (label, value, reason) in [
        ("tcp_1_balance", "leastconn", "balance is least, round or source"),
        (
            "tcp_1_idle",
            "0s",
            "idle is off or a duration from 1s to 24days with a unit, such as 30m or 8h",
        ),
        ("tcp_1_proxy", "on", "proxy is off, v1 or v2"),
        ("tcp_1_cut", "on", "cut is gone or down"),
        (
            "tcp_1_check",
            "https",
            "a check is tcp, off, a path such as /healthz, or another port of the container, also with a path: 8008 or 8008/ready",
        ),
        ("tcp_1_weight", "-1", "a weight is a whole number from 0 to 256"),
        ("udp_1_sticky", "on", "sticky is flow, source or none"),
        (
            "udp_1_idle",
            "off",
            "idle is a duration from 1s to 24days with a unit, such as 30s or 5m",
        ),
        ("udp_1_replies", "65536", "replies is a whole number from 0 to 65535"),
        (
            "udp_1_proxy",
            "v1",
            "proxy of UDP is off or v2, because the header of v1 is a line of text",
        ),
        ("udp_1_proxy", "1", "proxy is off, v1 or v2"),
        ("udp_1_health", "", "the value is empty; set a value, or remove the label"),
    ] {
        let protocol = &label[..3];
        check(
            &format!("glue_{label}={value}"),
            &[&format!("{protocol}://*:1 -> 1")],
            &[&format!("label glue_{label}={value:?}: {reason}")],
        );
    }
    check(
        "glue_http_80_host=a.test glue_http_80_check=8008/ready",
        &["a.test:80/ -> 80 check 8008/ready"],
        &[],
    );
}

#[test]
fn option_of_another_protocol_names_the_right_ones() {
    let tcp =
        "host, weight, bind, check, check_interval, health, backup, balance, idle, proxy, cut";
    let udp = "weight, bind, health, backup, proxy, sticky, idle, replies";
    for (key, option, owners, protocol, own) in [
        ("glue_tcp_22_prefix", "prefix", "glue_http_", "tcp", tcp),
        ("glue_tcp_22_tls", "tls", "glue_http_", "tcp", tcp),
        ("glue_udp_53_check", "check", "glue_http_ and glue_tcp_", "udp", udp),
        ("glue_udp_53_host", "host", "glue_http_ and glue_tcp_", "udp", udp),
        ("glue_udp_53-55_cut.x", "cut", "glue_tcp_", "udp", udp),
    ] {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!(
                "label {key}=\"1\": {option} is an option of {owners} labels; glue_{protocol}_ \
                 labels have {own}"
            )],
        );
    }
}

#[test]
fn unknown_label_gets_suggestion_of_its_protocol() {
    for (key, nearest) in [
        ("glue_tcp_5432_balence", "glue_tcp_5432_balance"),
        ("glue_tcp_5432_sni", "glue_tcp_5432_host"),
        ("glue_tcp_5432_host_sni.x", "glue_tcp_5432_host.x"),
        ("glue_tcp_5432_timeout", "glue_tcp_5432_idle"),
        ("glue_tcp_5432_proxy_protocol", "glue_tcp_5432_proxy"),
        ("glue_tcp_5432_strategy", "glue_tcp_5432_balance"),
        ("glue_tcp_25000-25010_bnid", "glue_tcp_25000-25010_bind"),
        ("glue_tcp_bind", "glue_tcp_<port>_bind"),
        ("glue_tcp_port", "glue_tcp_ports"),
        ("glue_udp_53_session_timeout", "glue_udp_53_idle"),
        ("glue_udp_53_stickiness", "glue_udp_53_sticky"),
        ("glue_udp_53_responses", "glue_udp_53_replies"),
        ("glue_udp_53-60_affinity.x", "glue_udp_53-60_sticky.x"),
        ("glue_udp_prots", "glue_udp_ports"),
        ("glue_tpc_5432_bind", "glue_tcp_5432_bind"),
    ] {
        check(
            &format!("{key}=1"),
            &[],
            &[&format!("label {key}=\"1\": unknown label; did you mean {nearest}?")],
        );
    }
}

#[test]
fn port_of_tcp_or_udp_in_label_name_may_be_a_range() {
    check(
        "glue_tcp_25000-25002_balance=round",
        &[
            "tcp://*:25000 -> 25000 balance round",
            "tcp://*:25001 -> 25001 balance round",
            "tcp://*:25002 -> 25002 balance round",
        ],
        &[],
    );
    check("glue_udp_5-5_idle=1m", &["udp://*:5 -> 5 idle 1m"], &[]);
    check("glue_udp_ports=5,7-8", &["udp://*:5 -> 5", "udp://*:7 -> 7", "udp://*:8 -> 8"], &[]);
    for (ports, reason) in [
        ("9-8", "\"9-8\" is not a range of ports; the last port is lower than the first"),
        ("0-8", "\"0\" is not a port; a port is a whole number from 1 to 65535"),
        ("1-2-3", "\"2-3\" is not a port; a port is a whole number from 1 to 65535"),
        ("1-x", "\"x\" is not a port; a port is a whole number from 1 to 65535"),
        ("-", "\"\" is not a port; a port is a whole number from 1 to 65535"),
    ] {
        let key = format!("glue_tcp_{ports}_bind");
        check(&format!("{key}=1"), &[], &[&format!("label {key}=\"1\": {reason}")]);
    }
    check(
        "glue_http_80-81_host=a.test",
        &[],
        &[
            "label glue_http_80-81_host=\"a.test\": \"80-81\" is not a port; a port is a whole number \
           from 1 to 65535",
        ],
    );
}

#[test]
fn label_of_fewer_ports_overrides_that_of_a_range() {
    check(
        "glue_udp_1-4_idle=1m glue_udp_2-3_idle=2s glue_udp_3_idle=3s glue_udp_1-4_sticky=source",
        &[
            "udp://*:1 -> 1 sticky source idle 1m",
            "udp://*:2 -> 2 sticky source idle 2s",
            "udp://*:3 -> 3 sticky source idle 3s",
            "udp://*:4 -> 4 sticky source idle 1m",
        ],
        &[],
    );
}

#[test]
fn bind_of_a_range_pairs_ports() {
    check(
        "glue_udp_49152-49154_bind=50000-50002",
        &["udp://*:50000 -> 49152", "udp://*:50001 -> 49153", "udp://*:50002 -> 49154"],
        &[],
    );
    for value in ["50000-50001", "50000", "50000-50002,60000", "x"] {
        check(
            &format!("glue_udp_49152-49154_bind={value}"),
            &[],
            &[&format!(
                "label glue_udp_49152-49154_bind=\"{value}\": the label's name has a range of 3 \
                 ports, so its value must be one range of 3 public ports; until then these ports \
                 are not served"
            )],
        );
    }
    check(
        "glue_tcp_5432_bind=5432,+25000-25001,25001",
        &["tcp://*:5432 -> 5432", "tcp://*:25000 -> 5432", "tcp://*:25001 -> 5432"],
        &[],
    );
    check(
        "glue_tcp_5432_bind=7-6",
        &[],
        &[
            "label glue_tcp_5432_bind=\"7-6\": \"7-6\" is not a range of ports; the last port is \
             lower than the first",
            "label glue_tcp_5432_bind=\"7-6\": no value of the label is valid, so this route of \
             port 5432 is ignored",
        ],
    );
}

#[test]
fn named_route_of_tcp_inherits_from_its_port() {
    check(
        "glue_tcp_5432_balance=source glue_tcp_5432_host.a=a.test glue_tcp_5432_host.b=b.test \
         glue_tcp_5432_balance.b=round",
        &["tcp://a.test:5432 -> 5432 balance source", "tcp://b.test:5432 -> 5432 balance round"],
        &[],
    );
    check(
        "glue_tcp_5432_host=a.test,*.b.test glue_tcp_5432_bind.all=6432",
        &["tcp://a.test:5432 -> 5432", "tcp://*.b.test:5432 -> 5432", "tcp://*:6432 -> 5432"],
        &[],
    );
    check(
        "glue_udp_53_bind=53 glue_udp_53_bind.x=5353 glue_udp_53_replies.x=1",
        &["udp://*:5353 -> 53 replies 1"],
        &[],
    );
}

#[test]
fn one_number_is_a_port_of_each_protocol() {
    check(
        "glue_http_53_host=a.test glue_tcp_53_bind=54 glue_udp_53_bind=53",
        &["a.test:53/ -> 53", "tcp://*:54 -> 53", "udp://*:53 -> 53"],
        &[],
    );
}

#[test]
fn unexposed_port_of_udp_gives_hint() {
    let mut container = labelled("glue_udp_53_bind=53 glue_tcp_3000_bind=3000");
    let requests = ["tcp://*:3000 -> 3000", "udp://*:53 -> 53"];
    let hint = "the container does not expose UDP port 53 (a hint: it may listen there \
                nevertheless)";
    check_limited(&LabelLimits::default(), &container, &requests, &[hint]);
    container.exposed.udp.insert(53);
    check_limited(&LabelLimits::default(), &container, &requests, &[]);
    // A published port of TCP is another one.
    let mut container = labelled("glue_udp_5300_bind=53");
    let published = |transport| PublishedPort {
        transport,
        container_port: 53,
        host_port: 5300,
        host_ip: [0, 0, 0, 0].into(),
    };
    container.published = vec![published(Transport::Tcp)];
    let requests = ["udp://*:53 -> 5300"];
    let hint = "the container does not expose UDP port 5300 (a hint: it may listen there \
                nevertheless)";
    check_limited(&LabelLimits::default(), &container, &requests, &[hint]);
    container.published = vec![published(Transport::Udp)];
    let hint = "5300 is the host port on which the container's port 53 is published; use the \
                container's port in the label: glue_udp_53_… (and glue_udp_53_bind for another \
                public port)";
    check_limited(&LabelLimits::default(), &container, &requests, &[hint]);
    // One hint for a range.
    let problems = parse_labels(&labelled("glue_udp_1-200_idle=1m"), &LabelLimits::default());
    assert_eq!(problems.problems.len(), 1, "{:?}", problems.problems);
}

#[test]
fn public_port_needs_its_protocol_if_hosts_are_limited() {
    let fenced = |ports: Option<&str>| LabelLimits {
        allowed_ports: ports.map(|ports| parse_allowed_ports(ports).unwrap()),
        ..allowed_hosts(&["*.test"])
    };
    let refused = |protocol: &str, port: u16| {
        format!(
            "{protocol} port {port} is not served: --allow-hosts limits the hosts, and all clients \
             of this port would reach the container; --allow-ports has to name it as \
             {protocol}:{port}"
        )
    };
    for (ports, labels, requests, problems) in [
        (None, "glue_tcp_5432_host=db.test", vec!["tcp://db.test:5432 -> 5432"], vec![]),
        (None, "glue_tcp_5432_bind=5432", vec![], vec![refused("tcp", 5432)]),
        (None, "glue_udp_53_bind=53", vec![], vec![refused("udp", 53)]),
        (Some("53,5432"), "glue_udp_53_bind=53", vec![], vec![refused("udp", 53)]),
        (
            Some("tcp:53"),
            "glue_udp_53_bind=53",
            vec![],
            vec![
            "label glue_udp_53_bind=\"53\": no value of the label is valid, so this route of port \
             53 is ignored".to_owned(),
            "label glue_udp_53_bind=\"53\": 53 is not an allowed public port; --allow-ports lists \
             the ports that labels may claim, and the bind label sets another one".to_owned(),
        ],
        ),
        (Some("udp:53"), "glue_udp_53_bind=53", vec!["udp://*:53 -> 53"], vec![]),
        (
            Some("tcp:5000-5010"),
            "glue_tcp_5005_idle=1h",
            vec!["tcp://*:5005 -> 5005 idle 1h"],
            vec![],
        ),
        (
            Some("5000-5010,tcp:5001"),
            "glue_tcp_1_bind=5000-5001",
            vec!["tcp://*:5001 -> 1"],
            vec![refused("tcp", 5000)],
        ),
    ] {
        let problems: Vec<_> = problems.iter().map(String::as_str).collect();
        check_limited(&fenced(ports), &open(labels), &requests, &problems);
    }
    // Without a limit of hosts.
    let ports = Some(AllowedPorts::from(super::port_set(&[53])));
    let limits = LabelLimits { allowed_ports: ports, ..LabelLimits::default() };
    check_limited(&limits, &open("glue_udp_53_bind=53"), &["udp://*:53 -> 53"], &[]);
}

#[test]
fn reserved_ports_of_udp_are_its_own() {
    let limits = LabelLimits {
        reserved_ports: super::port_set(&[22]),
        reserved_udp_ports: super::port_set(&[67]),
        ..LabelLimits::default()
    };
    let refused = |port: u16| {
        format!(
            "{port} is not an allowed public port; --allow-ports lists the ports that labels may \
             claim, and the bind label sets another one"
        )
    };
    check_limited(
        &limits,
        &open("glue_tcp_22_weight=1 glue_udp_22_idle=1m glue_tcp_67_weight=1 glue_udp_67_idle=1m"),
        &["tcp://*:67 -> 67 weight 1", "udp://*:22 -> 22 idle 1m"],
        &[&refused(22), &refused(67)],
    );
}

#[test]
fn ranges_of_more_than_256_ports_are_refused() {
    let too_many = |label: &str, text: &str| {
        format!(
            "label {label}: \"{text}\" is ignored: the ranges of a container may have 256 ports in \
             total; use shorter ranges"
        )
    };
    check(
        "glue_udp_1-65535_idle=1m glue_udp_9_idle=1m",
        &["udp://*:9 -> 9 idle 1m"],
        &[&too_many("glue_udp_1-65535_idle=\"1m\"", "1-65535")],
    );
    check("glue_tcp_ports=1-65535", &[], &[&too_many("glue_tcp_ports=\"1-65535\"", "1-65535")]);
    check(
        "glue_tcp_9_bind=1-65535",
        &[],
        &[
            &too_many("glue_tcp_9_bind=\"1-65535\"", "1-65535"),
            "label glue_tcp_9_bind=\"1-65535\": no value of the label is valid, so this route of \
             port 9 is ignored",
        ]
        .map(|text: &str| text),
    );
    let parsed = parse_labels(
        &open("glue_udp_1-200_idle=1m glue_udp_201-400_idle=1m glue_tcp_7_bind=7"),
        &LabelLimits::default(),
    );
    assert_eq!(parsed.requests.len(), 201);
    assert_eq!(parsed.problems.len(), 1, "{:?}", parsed.problems);
}

#[test]
fn ranges_do_not_reduce_the_number_of_single_ports() {
    let single = (1..=33).map(|port| format!("glue_tcp_{port}_weight=1"));
    let labels: Vec<_> = single.chain(["glue_tcp_30000-30255_weight=2".to_owned()]).collect();
    let labels = labels.join(" ");
    let parsed = parse_labels(&open(&labels), &LabelLimits::default());
    assert_eq!(parsed.requests.len(), MAX_RANGE_PORTS + 32);
    let problems: Vec<_> = parsed.problems.iter().map(|problem| problem.reason.kind()).collect();
    assert_eq!(problems, ["too_many_listeners"]);
}

#[test]
fn many_hostile_labels_with_ranges_are_limited() {
    let routes = (0..20_000).map(|n| (format!("glue_tcp_1-256_host.r{n}"), format!("h{n}.test")));
    let ranges = (1..=63).flat_map(|first| {
        (first + 1..=64).map(move |last| (format!("glue_udp_{first}-{last}_idle"), "1m".to_owned()))
    });
    for labels in [routes.collect::<Vec<_>>(), ranges.collect()] {
        let container = Container { network_mode: NetworkMode::Host, ..from_labels(labels) };
        let parsed = parse_labels(&container, &LabelLimits::default());
        assert!(parsed.requests.len() <= MAX_ROUTES);
        assert!(parsed.problems.len() <= MAX_PROBLEMS + 1);
    }
}

#[test]
fn every_request_of_tcp_or_udp_has_a_trace() {
    let labels = "glue_tcp_5432_host=a.test glue_tcp_5432_bind=1-2 glue_tcp_5432_host.x=x.test \
                  glue_udp_7-9_bind=17-19 glue_udp_8_idle=1m glue_udp_ports=53 \
                  glue_tcp_80_weight=1 glue_udp_7-9_proxy=v1";
    let container = open(labels);
    let limits = LabelLimits::default();
    for request in parse_labels(&container, &limits).requests {
        let trace = trace_labels(&container, &limits, &request.key, request.port);
        let trace = trace.unwrap_or_else(|| panic!("{}", request_text(&request)));
        assert!(trace.listener_source().is_some(), "{}", request_text(&request));
    }
    let trace = |key: &str, port: u16, option| {
        let key = key.parse().unwrap();
        let trace = trace_labels(&container, &limits, &key, port)?;
        trace.get(option).map(|source| format!("{}={}", source.key, source.value))
    };
    for (key, port, option, expected) in [
        ("tcp://a.test:2", 5432, LabelOption::Bind, Some("glue_tcp_5432_bind=1-2")),
        ("tcp://x.test:1", 5432, LabelOption::Bind, Some("glue_tcp_5432_bind=1-2")),
        ("tcp://x.test:1", 5432, LabelOption::Host, Some("glue_tcp_5432_host.x=x.test")),
        ("udp://*:18", 8, LabelOption::Bind, Some("glue_udp_7-9_bind=17-19")),
        ("udp://*:18", 8, LabelOption::FlowIdle, Some("glue_udp_8_idle=1m")),
        // The value is invalid.
        ("udp://*:18", 8, LabelOption::Proxy, None),
        ("udp://*:17", 8, LabelOption::Bind, None),
        ("tcp://b.test:1", 5432, LabelOption::Bind, None),
    ] {
        assert_eq!(trace(key, port, option).as_deref(), expected, "{key}");
    }
    let other = Container { id: ContainerId::new("beef"), ..labelled("") };
    assert_eq!(trace_labels(&other, &limits, &"udp://*:53".parse().unwrap(), 53), None);
}
