//! Limits that an administrator sets for containers.

use super::{
    HostMatch, LabelLimits, allowed_hosts, check_limited, labelled, parse_labels, port_set,
};
use std::{fmt::Write as _, ops::Range};

#[test]
fn host_outside_allowed_hosts_is_refused() {
    let check_hosts = |patterns: &[&str], labels: &str, requests: &[&str], problems: &[&str]| {
        check_limited(&allowed_hosts(patterns), &labelled(labels), requests, problems);
    };
    check_hosts(
        &["*"],
        "glue_http_80_host=a.test glue_http_ports=81",
        &["a.test:80/ -> 80", "*:81/ -> 81"],
        &[],
    );
    check_hosts(
        &["a.test", "*.b.test"],
        "glue_http_80_host=A.test,x.b.test,*.b.test",
        &["a.test:80/ -> 80", "x.b.test:80/ -> 80", "*.b.test:80/ -> 80"],
        &[],
    );
    for other in ["B.test", "x.y.b.test", "*.a.test", "x.a.test", "*.y.b.test"] {
        check_hosts(
            &["a.test", "*.b.test"],
            &format!("glue_http_80_host=a.test,{other}"),
            &["a.test:80/ -> 80"],
            &[&format!(
                "label glue_http_80_host=\"a.test,{other}\": \"{other}\" is not an allowed host; \
                 --allow-hosts lists the hosts that labels may claim"
            )],
        );
    }
    for labels in ["glue_http_80_host=c.test", "glue_http_80_prefix=p", "glue_http_ports=80"] {
        let (key, value) = labels.split_once('=').unwrap();
        let host = if value == "c.test" { value } else { "*" };
        check_hosts(
            &["a.test"],
            labels,
            &[],
            &[
                &format!(
                    "label {key}=\"{value}\": no value of the label is valid, so this route of \
                     port 80 is ignored"
                ),
                &format!(
                    "label {key}=\"{value}\": \"{host}\" is not an allowed host; --allow-hosts \
                     lists the hosts that labels may claim"
                ),
            ],
        );
    }
}

#[test]
fn allowed_host_pattern_is_parsed_like_label() {
    assert_eq!(" * ".parse(), Ok(HostMatch::Any));
    assert_eq!("*.A.test".parse::<HostMatch>().unwrap().to_string(), "*.a.test");
    assert!("a.*".parse::<HostMatch>().is_err());
}

#[test]
fn reserved_host_without_label_is_refused() {
    let limits = allowed_hosts(&[
        "*",
        "bank.test if project=bank",
        "*.bank.test if project",
        "www.bank.test",
    ]);
    let labels = |host: &str, more: &str| labelled(&format!("glue_http_80_host={host} {more}"));
    let refused = |host: &str, constraint: &str| {
        [
            format!(
                "label glue_http_80_host=\"{host}\": no value of the label is valid, so this route \
                 of port 80 is ignored"
            ),
            format!(
                "label glue_http_80_host=\"{host}\": \"{host}\" is reserved by --allow-hosts for containers with {constraint}"
            ),
        ]
    };
    for (host, more, constraint) in [
        ("a.test", "", ""),
        ("bank.test", "project=bank", ""),
        ("bank.test", "project=evil", "project=bank"),
        ("bank.test", "", "project=bank"),
        ("x.bank.test", "project=evil", ""),
        ("x.bank.test", "", "project"),
        ("*.bank.test", "", "project"),
        ("www.bank.test", "", ""),
    ] {
        let served = format!("{host}:80/ -> 80");
        let expected_problems = refused(host, constraint);
        let expected_problems: Vec<_> = expected_problems
            .iter()
            .map(String::as_str)
            .filter(|_| !constraint.is_empty())
            .collect();
        let requests: Vec<_> =
            constraint.is_empty().then_some(served.as_str()).into_iter().collect();
        check_limited(&limits, &labels(host, more), &requests, &expected_problems);
    }
}

#[test]
fn container_with_99_ports_gets_8_servers_in_route() {
    let labels = |ports: std::ops::Range<u16>| {
        let labels: Vec<_> =
            ports.map(|n| format!("glue_http_{n}_host=a.test glue_http_{n}_bind=80")).collect();
        let mut container = labelled(&labels.join(" "));
        container.exposed.tcp = (1..100).collect();
        container
    };
    let requests =
        |last: u16| (1..=last).map(|port| format!("a.test:80/ -> {port}")).collect::<Vec<_>>();
    for (ports, served, expected_problems) in [
        (1..2, 1, vec![]),
        (
            1..3,
            2,
            vec![
                "2 ports of the container serve a.test:80/, and each gets a share of its requests; \
                 if this is not intended, give each port its own host or prefix",
            ],
        ),
        (
            1..100,
            8,
            vec![
                "99 ports of the container request a.test:80/, but a container may have 8 servers \
                 in a route; the lowest ports serve it",
            ],
        ),
    ] {
        let requests = requests(served);
        let requests: Vec<_> = requests.iter().map(String::as_str).collect();
        check_limited(&LabelLimits::default(), &labels(ports), &requests, &expected_problems);
    }
}

#[test]
fn container_on_host_network_with_host_network_off_is_refused() {
    let mut container = labelled("glue_http_80_host=a.test");
    container.network_mode = crate::model::container::NetworkMode::Host;
    check_limited(&LabelLimits::default(), &container, &["a.test:80/ -> 80"], &[]);
    let off =
        LabelLimits { host_network: crate::label::HostNetwork::Off, ..LabelLimits::default() };
    let expected_problems =
        "the container uses the host's network, and --host-network off excludes such containers";
    check_limited(&off, &container, &[], &[expected_problems]);
}

#[test]
fn public_port_outside_allowed_ports_is_refused() {
    let reserved = LabelLimits { reserved_ports: port_set(&[22, 80]), ..LabelLimits::default() };
    let named = LabelLimits { allowed_ports: Some(port_set(&[22, 81]).into()), ..reserved.clone() };
    let labels = labelled("glue_http_3000_host=a.test glue_http_3000_bind=22,81,443");
    let refused = |port: u16| {
        format!(
            "label glue_http_3000_bind=\"22,81,443\": {port} is not an allowed public port; \
             --allow-ports lists the ports that labels may claim, and the bind label sets another \
             one"
        )
    };
    check_limited(
        &reserved,
        &labels,
        &["a.test:81/ -> 3000", "a.test:443/ -> 3000"],
        &[&refused(22)],
    );
    check_limited(&named, &labels, &["a.test:22/ -> 3000", "a.test:81/ -> 3000"], &[&refused(443)]);
    check_limited(
        &reserved,
        &labelled("glue_http_80_host=a.test glue_http_80_host.x=x.test glue_http_80_bind.x=8080"),
        &["x.test:8080/ -> 80"],
        &["80 is not an allowed public port; --allow-ports lists the ports that labels may \
             claim, and the bind label sets another one"],
    );
    check_limited(
        &reserved,
        &labelled("glue_http_3000_host=a.test glue_http_3000_bind=22"),
        &[],
        &[
            "label glue_http_3000_bind=\"22\": no value of the label is valid, so this route of \
             port 3000 is ignored",
            "label glue_http_3000_bind=\"22\": 22 is not an allowed public port; --allow-ports \
             lists the ports that labels may claim, and the bind label sets another one",
        ],
    );
}

#[test]
fn header_names_of_container_are_limited() {
    let names = |range: Range<usize>, route: &str| {
        range.fold(String::new(), |mut text, number| {
            write!(text, " glue_http_80_response_header_X-{number:02}{route}=1").unwrap();
            text
        })
    };
    let labels = "glue_http_80_host.a=a.test glue_http_80_host.b=b.test glue_http_80_host.c=c.test";
    // The same name in another route is no further one.
    let labels = format!("{labels}{}{}", names(0..32, ".a"), names(32..63, ".b"));
    let labels = format!("{labels}{} glue_http_80_drop_request_headers.c=A,B", names(62..64, ".c"));
    let parsed = parse_labels(&labelled(&labels), &LabelLimits::default());
    let problems: Vec<_> = parsed.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "container web (c0ffee): label glue_http_80_drop_request_headers.c=\"A,B\": the labels of a container have at \
             most 64 names of headers; this label is ignored"
        ]
    );
}
