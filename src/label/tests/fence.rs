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
