//! Hosts.

use super::{Host, check};

#[test]
fn no_label_gives_no_request() {
    check("", &[], &[]);
    check("com.example.glue_http_80_host=a.test traefik.enable=1", &[], &[]);
}

#[test]
fn host_is_normalized_to_lower_case_ascii() {
    check("glue_http_80_host=App.Example.COM.", &["app.example.com:80/ -> 80"], &[]);
    check("glue_http_80_host=my_app.test", &["my_app.test:80/ -> 80"], &[]);
    check("glue_http_80_host=-a-.test", &["-a-.test:80/ -> 80"], &[]);
    check("glue_http_80_host=10.0.0.1", &["10.0.0.1:80/ -> 80"], &[]);
    check("glue_http_80_host=localhost", &["localhost:80/ -> 80"], &[]);
    check("glue_http_80_host=Bücher.test", &["xn--bcher-kva.test:80/ -> 80"], &[]);
    check("glue_http_80_host=xn--bcher-kva.test", &["xn--bcher-kva.test:80/ -> 80"], &[]);
    check("glue_http_80_host=a。test。", &["a.test:80/ -> 80"], &[]);
}

#[test]
fn host_list_is_sorted_and_deduplicated() {
    check(
        "glue_http_80_host=b.test,+*.b.test+,a.test,B.test.",
        &["a.test:80/ -> 80", "b.test:80/ -> 80", "*.b.test:80/ -> 80"],
        &[],
    );
}

#[test]
fn invalid_host_in_list_is_skipped() {
    let check_skipped = |host: &str, reason: &str| {
        let label = format!("glue_http_80_host={host},a.test");
        let problem = format!("label glue_http_80_host=\"{host},a.test\": {reason}");
        check(&label, &["a.test:80/ -> 80"], &[&problem]);
    };
    check_skipped("https://b.test", "\"https://b.test\" is a URL; write the host's name alone");
    check_skipped(
        "*.b.test/x",
        "\"*.b.test/x\" has a path; write the host's name alone, and the path in the prefix label",
    );
    check_skipped(
        "b.test:8080",
        "\"b.test:8080\" has a port; write the host's name alone, and the port in the bind label",
    );
    check_skipped(
        "",
        "a member of the list is empty; there is a comma too many or a value missing",
    );
    for lone in ["*", "*."] {
        check_skipped(
            lone,
            "a wildcard stands before a name, as in *.example.com; for any host leave the host label away and name a prefix, or name the port in glue_http_ports",
        );
    }
    for inner in ["b.*.test", "*b.test", "*.*.test", "b.*"] {
        check_skipped(
            inner,
            &format!(
                "\"{inner}\" has a wildcard in it; one stands in front, for one label, as in *.example.com"
            ),
        );
    }
    let long = format!("{}.test", "b".repeat(64));
    for gap in ["b..test", ".b.test", "b.test.."] {
        check_skipped(
            gap,
            &format!(
                "\"{gap}\" lacks a name before a dot; was a variable empty? For all names below one write *.example.com"
            ),
        );
    }
    for none in ["b!.test", "::1", "[::1]", "[::1]:80", "xn--ü.test", "xn--a.test", &long] {
        check_skipped(
            none,
            &format!(
                "{none:?} is no host name; one has letters, digits, - and _, and dots between them"
            ),
        );
    }
}

#[test]
fn host_longer_than_253_is_refused() {
    let label = "b".repeat(63);
    assert!(label.parse::<Host>().is_ok());
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert!(format!("{longest}.").parse::<Host>().is_ok());
    assert!(format!("{longest}b").parse::<Host>().is_err());
}

#[test]
fn host_label_without_valid_host_disables_route() {
    let out =
        "label glue_http_80_host=\"\": nothing is left of it, so this route of port 80 is out";
    let empty =
        "label glue_http_80_host=\"\": the value is empty; give it one, or leave the label away";
    check("glue_http_80_host=", &[], &[empty, out]);
    check(
        "glue_http_80_host=++ glue_http_80_prefix=api glue_http_ports=80",
        &[],
        &[
            "label glue_http_80_host=\"  \": the value is empty; give it one, or leave the label away",
            "label glue_http_80_host=\"  \": nothing is left of it, so this route of port 80 is out",
        ],
    );
    check(
        "glue_http_80_host=, glue_http_80_host.x=x.test",
        &["x.test:80/ -> 80"],
        &[
            "label glue_http_80_host=\",\": a member of the list is empty; there is a comma too many or a value missing",
            "label glue_http_80_host=\",\": nothing is left of it, so this route of port 80 is out",
        ],
    );
    check(
        "glue_http_80_host=a.test glue_http_80_host.x=",
        &["a.test:80/ -> 80"],
        &[
            "label glue_http_80_host.x=\"\": the value is empty; give it one, or leave the label away",
            "label glue_http_80_host.x=\"\": nothing is left of it, so this route of port 80 is out",
        ],
    );
}
