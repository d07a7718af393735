//! Policies of the settings, protections that are not understood, and options that add routes or have open names.

use super::{LabelLimits, check, check_limited, labelled};
use crate::model::{
    label_option::{LabelOption, LabelProtocol},
    policy_book::{PolicyBook, Requirement},
};
use std::sync::Arc;

/// Limits with policies, as `name: option=value option=value`, and hosts that require them, as `host: name`.
fn limits(policies: &[&str], requirements: &[&str]) -> LabelLimits {
    let mut book = PolicyBook::default();
    for (name, options) in policies.iter().filter_map(|text| text.split_once(": ")) {
        let value = |text: &str| {
            let (name, value) = text.split_once('=').unwrap();
            LabelOption::parse_named(LabelProtocol::Http, name, value).unwrap().unwrap()
        };
        let values = options.split(' ').map(value).collect();
        book.policies.insert(name.parse().unwrap(), values);
    }
    for (host, policy) in requirements.iter().filter_map(|text| text.split_once(": ")) {
        let (hosts, policies) = (vec![host.parse().unwrap()], vec![policy.parse().unwrap()]);
        book.requirements.push(Requirement { hosts, policies });
    }
    LabelLimits { policies: Arc::new(book), ..LabelLimits::default() }
}

const POLICIES: [&str; 3] = [
    "lan: allow=10.0.0.0/8 response_header_X-A=lan response_header_X-B=lan",
    "slow: rate=5/s response_header_X-A=slow",
    "tls: tls=only",
];

#[test]
fn policies_are_merged_key_by_key_under_labels() {
    let limits = limits(&POLICIES, &[]);
    for (labels, expected) in [
        ("use=lan", "allow 10.0.0.0/8 response_header_<Name> x-a: lan\nx-b: lan"),
        ("use=lan,slow", "allow 10.0.0.0/8 response_header_<Name> x-a: slow\nx-b: lan rate 5/s"),
        ("use=slow,lan", "allow 10.0.0.0/8 response_header_<Name> x-a: lan\nx-b: lan rate 5/s"),
        (
            "use=lan glue_http_80_allow=192.168.0.0/16 glue_http_80_response_header_x-b=own",
            "allow 192.168.0.0/16 response_header_<Name> x-a: lan\nx-b: own",
        ),
    ] {
        let labels = labelled(&format!("glue_http_80_host=a.test glue_http_80_{labels}"));
        check_limited(&limits, &labels, &[&format!("a.test:80/ -> 80 {expected}")], &[]);
    }
    // A named route has the policies of its port, or its own.
    check_limited(
        &limits,
        &labelled(
            "glue_http_80_host=a.test glue_http_80_use=lan glue_http_80_host.b=b.test \
             glue_http_80_host.c=c.test glue_http_80_use.c=slow",
        ),
        &[
            "a.test:80/ -> 80 allow 10.0.0.0/8 response_header_<Name> x-a: lan\nx-b: lan",
            "b.test:80/ -> 80 allow 10.0.0.0/8 response_header_<Name> x-a: lan\nx-b: lan",
            "c.test:80/ -> 80 response_header_<Name> x-a: slow rate 5/s",
        ],
        &[],
    );
    check_limited(
        &limits,
        &labelled("glue_http_80_host=a.test glue_http_80_use=tls"),
        &["https://a.test:443/ -> 80 tls only"],
        &[],
    );
}

#[test]
fn protection_that_is_not_understood_closes_its_route() {
    let limits = limits(&POLICIES, &[]);
    let closed = |option: &str| {
        format!(
            "the routes of port 80 answer 503, because {option} is not understood; without it \
             they would be less protected"
        )
    };
    let not_network = "is not a network such as 10.0.0.0/8, an address, or private";
    for (label, option, problem) in [
        (
            "use=lam",
            "use",
            "label glue_http_80_use=\"lam\": there is no [policy.lam] in the settings; did you mean lan?",
        ),
        (
            "use=lan,other",
            "use",
            "label glue_http_80_use=\"lan,other\": there is no [policy.other] in the settings; ask the administrator for it",
        ),
        (
            "allow=lan",
            "allow",
            &format!("label glue_http_80_allow=\"lan\": allow: \"lan\" {not_network}"),
        ),
        (
            "deny=10.0.0.0/33",
            "deny",
            &format!(
                "label glue_http_80_deny=\"10.0.0.0/33\": deny: \"10.0.0.0/33\" {not_network}"
            ),
        ),
        (
            "alow=private",
            "allow",
            "label glue_http_80_alow=\"private\": unknown label; did you mean glue_http_80_allow?",
        ),
        (
            "ipwhitelist=private",
            "allow",
            "label glue_http_80_ipwhitelist=\"private\": unknown label; did you mean glue_http_80_allow?",
        ),
        (
            "forward_auth=sso:9091",
            "forward_auth",
            "label glue_http_80_forward_auth=\"sso:9091\": forward_auth: \"sso:9091\" is not the URL of an \
             authentication server: http://CONTAINER:PORT/PATH, or off",
        ),
        (
            "forward_auth=http://127.0.0.1:9091",
            "forward_auth",
            "label glue_http_80_forward_auth=\"http://127.0.0.1:9091\": forward_auth: \"http://127.0.0.1:9091\" is not \
             a URL with the name of a container; only a policy of the settings file may have an address",
        ),
        (
            "authelia=http://sso:9091",
            "forward_auth",
            "label glue_http_80_authelia=\"(secret)\": unknown label; did you mean glue_http_80_forward_auth?",
        ),
        (
            "middlewares=lan@file",
            "use",
            "label glue_http_80_middlewares=\"lan@file\": unknown label; did you mean glue_http_80_use?",
        ),
    ] {
        let request = match option {
            // The policies that exist still apply, without effect.
            "use" if label.contains("lan,") => {
                "a.test:80/ -> 80 closed use allow 10.0.0.0/8 response_header_<Name> x-a: lan\nx-b: lan".to_owned()
            }
            option => format!("a.test:80/ -> 80 closed {option}"),
        };
        check_limited(
            &limits,
            &labelled(&format!("glue_http_80_host=a.test glue_http_80_{label}")),
            &[&request],
            &[&closed(option), problem],
        );
    }
    let empty = labelled("glue_http_80_host=a.test glue_http_80_allow=");
    check_limited(
        &limits,
        &empty,
        &["a.test:80/ -> 80 closed allow"],
        &[
            &closed("allow"),
            "label glue_http_80_allow=\"\": the value is empty; set a value, or remove the label",
        ],
    );
}

#[test]
fn only_the_route_with_the_invalid_protection_is_closed() {
    let closed = "route admin of port 80 answers 503, because allow is not understood; without it \
                  the route would be less protected";
    let problem = "label glue_http_80_allow.admin=\"lan\": allow: \"lan\" is not a network such \
                   as 10.0.0.0/8, an address, or private";
    check(
        "glue_http_80_host=a.test glue_http_80_host.admin=a.test glue_http_80_prefix.admin=/admin \
         glue_http_80_allow.admin=lan",
        &["a.test:80/ -> 80", "a.test:80/admin/ -> 80 closed allow"],
        &[closed, problem],
    );
    // The invalid value of the port closes all routes that have no other.
    let routes = "the routes of port 80 answer 503, because allow is not understood; without it \
                  they would be less protected";
    let of_port = "label glue_http_80_allow=\"lan\": allow: \"lan\" is not a network such as \
                   10.0.0.0/8, an address, or private";
    check(
        "glue_http_80_host=a.test glue_http_80_host.admin=b.test glue_http_80_allow=lan",
        &["a.test:80/ -> 80 closed allow", "b.test:80/ -> 80 closed allow"],
        &[routes, closed, of_port],
    );
    check(
        "glue_http_80_host.admin=b.test glue_http_80_allow=lan",
        &["b.test:80/ -> 80 closed allow"],
        &[closed, of_port],
    );
    // Its own valid value replaces the invalid one of the port.
    check(
        "glue_http_80_allow=lan glue_http_80_host.x=x.test glue_http_80_allow.x=10.0.0.0/8",
        &["x.test:80/ -> 80 allow 10.0.0.0/8"],
        &[
            "label glue_http_80_allow=\"lan\": allow: \"lan\" is not a network such as 10.0.0.0/8, an address, or private",
        ],
    );
}

#[test]
fn route_without_the_protection_of_its_port_is_open_unless_the_protection_is_required() {
    let limits = limits(
        &[
            "sso: forward_auth=http://auth:80/",
            "all: users=alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        ],
        &["c.test: sso"],
    );
    check_limited(
        &limits,
        &labelled(
            "glue_http_80_host=a.test glue_http_80_use=sso,all glue_http_80_host.hook=a.test \
             glue_http_80_prefix.hook=/hook glue_http_80_users.hook=off glue_http_80_forward_auth.hook=OFF \
             glue_http_80_host.c=c.test glue_http_80_users.c=off glue_http_80_forward_auth.c=off",
        ),
        &[
            "a.test:80/ -> 80 users sha256:15ccd4477660c6b680cfc1485ade5818 forward_auth http://auth",
            "a.test:80/hook/ -> 80",
            "c.test:80/ -> 80 forward_auth http://auth",
        ],
        &[],
    );
}

#[test]
fn required_policy_applies_to_its_hosts_and_not_to_connections() {
    let limits = limits(&POLICIES[..1], &["*.in.test: lan"]);
    let required = "allow 10.0.0.0/8 response_header_<Name> x-a: lan\nx-b: lan";
    check_limited(
        &limits,
        &labelled("glue_http_80_host=a.in.test,b.test glue_http_80_allow=10.1.0.0/16,8.8.8.8"),
        &[
            "a.in.test:80/ -> 80 allow 10.1.0.0/16 response_header_<Name> x-a: lan\nx-b: lan",
            "b.test:80/ -> 80 allow 8.8.8.8/32,10.1.0.0/16",
        ],
        &[],
    );
    check_limited(
        &limits,
        &labelled(
            "glue_http_80_host=* glue_http_81_host=b.in.test glue_http_81_redirect=https://b.test",
        ),
        &[
            &format!("*:80/ -> 80 {required}"),
            &format!(
                "b.in.test:81/ -> 81 {}",
                required.replacen(" response", " redirect https://b.test response", 1)
            ),
        ],
        &[],
    );
    let refused = "a.in.test is not served, because the settings require policies for it, and \
                   HAProxy does not see the requests of connections that it passes on";
    for labels in
        ["glue_http_80_host=a.in.test glue_http_80_tls=pass", "glue_tcp_80_host=a.in.test"]
    {
        check_limited(&limits, &labelled(labels), &[], &[refused]);
    }
}

#[test]
fn protection_cannot_be_passed_through() {
    for label in ["allow=private", "use=lan"] {
        let limits = limits(&POLICIES, &[]);
        check_limited(
            &limits,
            &labelled(&format!(
                "glue_http_80_host=a.test glue_http_80_tls=pass glue_http_80_{label}"
            )),
            &[],
            &[
                "port 80 is not served, because tls is pass, and HAProxy does not see requests, so it \
               cannot protect them; remove what does (use, allow, deny)",
            ],
        );
    }
}

#[test]
fn redirect_from_adds_routes_that_redirect_to_the_first_host() {
    check(
        "glue_http_80_host=www.test,a.test glue_http_80_redirect_from=old.test,www.test,*.old.test \
         glue_http_80_redirect_status=308",
        &[
            "a.test:80/ -> 80 redirect_status 308",
            "old.test:80/ -> 80 redirect http://www.test redirect_status 308",
            "www.test:80/ -> 80 redirect_status 308",
            "*.old.test:80/ -> 80 redirect http://www.test redirect_status 308",
        ],
        &[],
    );
    check(
        "glue_http_80_host=www.test glue_http_80_redirect_from=old.test glue_http_80_tls=on",
        &[
            "old.test:80/ -> 80 tls on redirect https://www.test",
            "www.test:80/ -> 80 tls on",
            "https://old.test:443/ -> 80 tls on redirect https://www.test",
            "https://www.test:443/ -> 80 tls on",
        ],
        &[],
    );
    check(
        "glue_http_80_host=*.test glue_http_80_redirect_from=old.test",
        &["*.test:80/ -> 80"],
        &["label glue_http_80_redirect_from=\"old.test\": redirect_from needs a host label whose \
           first host is not a wildcard; requests are redirected to it"],
    );
}

#[test]
fn header_in_name_of_label_is_checked() {
    check(
        "glue_http_80_host=a.test glue_http_80_request_header_X-A=one glue_http_80_request_header_X-B.r=x \
         glue_http_80_host.r=r.test glue_http_80_request_header_Host=b.test",
        &[
            "a.test:80/ -> 80 request_header_<Name> x-a: one",
            "r.test:80/ -> 80 request_header_<Name> x-a: one\nx-b: x",
        ],
        &[
            "label glue_http_80_request_header_Host=\"b.test\": request_header_<Name>: \"Host\" is not \
           the name of a header that can be changed: letters, digits and \"-\", but none of the \
           connection such as Host or Content-Length",
        ],
    );
}
