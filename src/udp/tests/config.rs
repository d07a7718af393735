use super::{endpoint, listener};
use crate::udp::config::UdpListener;
use std::time::Duration;

#[track_caller]
fn check_error(change: impl FnOnce(&mut UdpListener), expected: &str) {
    let mut listener = listener("[::]:53", &["a@10.0.0.1:53"]);
    change(&mut listener);
    let error = listener.check().map_or_else(|error| error.to_string(), |()| String::new());
    assert_eq!(error, expected);
}

#[test]
fn listener_within_limits_is_valid() {
    check_error(|_| {}, "");
    check_error(|listener| listener.endpoints.clear(), "");
    check_error(|listener| listener.endpoints[0].weight = 0, "");
}

#[test]
fn listener_over_limit_is_invalid() {
    check_error(|listener| listener.bind.set_port(0), "the listener's port must not be 0");
    check_error(
        |listener| listener.bind = "224.0.0.1:53".parse().unwrap(),
        "the listener's address 224.0.0.1 must not be a multicast address",
    );
    check_error(
        |listener| {
            let many = (0..1025).map(|n| endpoint(&format!("{n}@10.0.0.1:53")));
            listener.endpoints = many.collect();
        },
        "a listener has at most 1024 endpoints, this one has 1025",
    );
    check_error(
        |listener| listener.endpoints.push(endpoint("a@10.0.0.2:53")),
        "two endpoints have the identifier \"a\"",
    );
    check_error(
        |listener| listener.endpoints.push(endpoint("b@0.0.0.0:53")),
        "endpoint \"b\": datagrams cannot be sent to 0.0.0.0:53",
    );
    check_error(
        |listener| listener.endpoints[0].weight = 257,
        "endpoint \"a\": the weight 257 is greater than 256",
    );
    check_error(
        |listener| listener.idle = Duration::from_millis(99),
        "idle_ms must be 100 to 604800000",
    );
    let text = "an endpoint's identifier and name have at most 256 bytes without control \
                characters, and the identifier is not empty";
    check_error(|listener| listener.endpoints[0].id.clear(), text);
    check_error(|listener| listener.endpoints[0].name = "a\nb".into(), text);
    check_error(|listener| listener.endpoints[0].id = "a".repeat(257), text);
}
