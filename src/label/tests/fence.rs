//! What an administrator lets containers claim.

use super::{Fences, HostMatch, check_fenced, container, hosts, ports};

#[test]
fn hosts_outside_the_fence_are_left_out() {
    let fence = |patterns: &[&str], labels: &str, asks: &[&str], problems: &[&str]| {
        check_fenced(&hosts(patterns), &container(labels), asks, problems);
    };
    fence(
        &["*"],
        "glue_http_80_host=a.test glue_http_ports=81",
        &["a.test:80/ -> 80", "*:81/ -> 81"],
        &[],
    );
    fence(
        &["a.test", "*.b.test"],
        "glue_http_80_host=A.test,x.b.test,*.b.test",
        &["a.test:80/ -> 80", "x.b.test:80/ -> 80", "*.b.test:80/ -> 80"],
        &[],
    );
    for other in ["B.test", "x.y.b.test", "*.a.test", "x.a.test", "*.y.b.test"] {
        fence(
            &["a.test", "*.b.test"],
            &format!("glue_http_80_host=a.test,{other}"),
            &["a.test:80/ -> 80"],
            &[&format!(
                "label glue_http_80_host=\"a.test,{other}\": \"{other}\" is not a host that containers may take; --allow-hosts says which they may"
            )],
        );
    }
    for labels in ["glue_http_80_host=c.test", "glue_http_80_prefix=p", "glue_http_ports=80"] {
        let (key, value) = labels.split_once('=').unwrap();
        let host = if value == "c.test" { value } else { "*" };
        fence(
            &["a.test"],
            labels,
            &[],
            &[
                &format!(
                    "label {key}=\"{value}\": nothing is left of it, so this route of port 80 is out"
                ),
                &format!(
                    "label {key}=\"{value}\": \"{host}\" is not a host that containers may take; --allow-hosts says which they may"
                ),
            ],
        );
    }
}

#[test]
fn a_fence_is_written_like_a_label_and_may_be_any_host() {
    assert_eq!(HostMatch::pattern(" * "), Ok(HostMatch::Any));
    assert_eq!(HostMatch::pattern("*.A.test").unwrap().to_string(), "*.a.test");
    assert!(HostMatch::pattern("a.*").is_err());
}

#[test]
fn reserved_host_is_left_to_containers_with_its_label() {
    let fences =
        hosts(&["*", "bank.test if project=bank", "*.bank.test if project", "www.bank.test"]);
    let labels = |host: &str, more: &str| container(&format!("glue_http_80_host={host} {more}"));
    let refused = |host: &str, only: &str| {
        [
            format!(
                "label glue_http_80_host=\"{host}\": nothing is left of it, so this route of port 80 is out"
            ),
            format!(
                "label glue_http_80_host=\"{host}\": \"{host}\" is reserved by --allow-hosts for containers with {only}"
            ),
        ]
    };
    for (host, more, only) in [
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
        let said = refused(host, only);
        let said: Vec<_> = said.iter().map(String::as_str).filter(|_| !only.is_empty()).collect();
        let asks: Vec<_> = only.is_empty().then_some(served.as_str()).into_iter().collect();
        check_fenced(&fences, &labels(host, more), &asks, &said);
    }
}

#[test]
fn container_of_many_ports_gets_a_few_servers_of_a_route() {
    let labels = |ports: std::ops::Range<u16>| {
        let labels: Vec<_> =
            ports.map(|it| format!("glue_http_{it}_host=a.test glue_http_{it}_bind=80")).collect();
        let mut container = container(&labels.join(" "));
        container.exposed = (1..100).collect();
        container
    };
    let asks =
        |last: u16| (1..=last).map(|port| format!("a.test:80/ -> {port}")).collect::<Vec<_>>();
    for (ports, served, said) in [
        (1..2, 1, vec![]),
        (
            1..3,
            2,
            vec![
                "2 ports of the container serve a.test:80/, and each gets a share of its requests; if that is not meant, give each port a host or a prefix of its own",
            ],
        ),
        (
            1..100,
            8,
            vec![
                "99 ports of the container ask for a.test:80/, and a container gets 8 servers in a route; the lowest ports serve it",
            ],
        ),
    ] {
        let asks = asks(served);
        let asks: Vec<_> = asks.iter().map(String::as_str).collect();
        check_fenced(&Fences::default(), &labels(ports), &asks, &said);
    }
}

#[test]
fn container_on_the_host_network_is_left_out_where_these_are_fenced() {
    let mut container = container("glue_http_80_host=a.test");
    container.network_mode = crate::container::NetworkMode::Host;
    check_fenced(&Fences::default(), &container, &["a.test:80/ -> 80"], &[]);
    let off = Fences { host_network: crate::label::HostNetwork::Off, ..Fences::default() };
    let said =
        "the container is on the host's network, and --host-network off serves none of these";
    check_fenced(&off, &container, &[], &[said]);
}

#[test]
fn public_ports_outside_the_fence_are_left_out() {
    let reserved = Fences { reserved: ports(&[22, 80]), ..Fences::default() };
    let named = Fences { ports: Some(ports(&[22, 81])), ..reserved.clone() };
    let labels = container("glue_http_3000_host=a.test glue_http_3000_bind=22,81,443");
    let refused = |port: u16| {
        format!(
            "label glue_http_3000_bind=\"22,81,443\": {port} is not a public port that containers may take; --allow-ports says which they may, and the bind label names another"
        )
    };
    check_fenced(
        &reserved,
        &labels,
        &["a.test:81/ -> 3000", "a.test:443/ -> 3000"],
        &[&refused(22)],
    );
    check_fenced(&named, &labels, &["a.test:22/ -> 3000", "a.test:81/ -> 3000"], &[&refused(443)]);
    check_fenced(
        &reserved,
        &container("glue_http_80_host=a.test glue_http_80_host.x=x.test glue_http_80_bind.x=8080"),
        &["x.test:8080/ -> 80"],
        &[
            "80 is not a public port that containers may take; --allow-ports says which they may, and the bind label names another",
        ],
    );
    check_fenced(
        &reserved,
        &container("glue_http_3000_host=a.test glue_http_3000_bind=22"),
        &[],
        &[
            "label glue_http_3000_bind=\"22\": nothing is left of it, so this route of port 3000 is out",
            "label glue_http_3000_bind=\"22\": 22 is not a public port that containers may take; --allow-ports says which they may, and the bind label names another",
        ],
    );
}
