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
    check_skipped("https://b.test", "\"https://b.test\" is a URL; write the host name alone");
    check_skipped(
        "*.b.test/x",
        "\"*.b.test/x\" has a path; write the host name alone, and the path in the prefix label",
    );
    check_skipped(
        "b.test:8080",
        "\"b.test:8080\" has a port; write the host name alone, and the port in the bind label",
    );
    check_skipped(
        "",
        "the list has an empty member; remove the extra comma, or add the missing value",
    );
    check_skipped(
        "*.",
        "a wildcard needs a name behind it, as in *.example.com; for every host write * alone",
    );
    for inner in ["b.*.test", "*b.test", "*.*.test", "b.*"] {
        check_skipped(
            inner,
            &format!(
                "\"{inner}\" has a misplaced wildcard; a wildcard is the whole first label, as in \
                 *.example.com"
            ),
        );
    }
    let long = format!("{}.test", "b".repeat(64));
    for gap in ["b..test", ".b.test", "b.test.."] {
        check_skipped(
            gap,
            &format!(
                "\"{gap}\" has no name before a dot; was a variable empty? For all names below a \
                 domain write *.example.com"
            ),
        );
    }
    for none in ["b!.test", "::1", "[::1]", "[::1]:80", "xn--ü.test", "xn--a.test", &long] {
        check_skipped(
            none,
            &format!(
                "{none:?} is not a host name; a host name has letters, digits, - and _, with dots \
                 between labels"
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
    let out = "label glue_http_80_host=\"\": no value of the label is valid, so this route of port \
               80 is ignored";
    let empty =
        "label glue_http_80_host=\"\": the value is empty; set a value, or remove the label";
    check("glue_http_80_host=", &[], &[empty, out]);
    check(
        "glue_http_80_host=++ glue_http_80_prefix=api glue_http_ports=80",
        &[],
        &[
            "label glue_http_80_host=\"  \": the value is empty; set a value, or remove the label",
            "label glue_http_80_host=\"  \": no value of the label is valid, so this route of port \
             80 is ignored",
        ],
    );
    check(
        "glue_http_80_host=, glue_http_80_host.x=x.test",
        &["x.test:80/ -> 80"],
        &[
            "label glue_http_80_host=\",\": the list has an empty member; remove the extra comma, \
             or add the missing value",
            "label glue_http_80_host=\",\": no value of the label is valid, so this route of port \
             80 is ignored",
        ],
    );
    check(
        "glue_http_80_host=a.test glue_http_80_host.x=",
        &["a.test:80/ -> 80"],
        &[
            "label glue_http_80_host.x=\"\": the value is empty; set a value, or remove the label",
            "label glue_http_80_host.x=\"\": no value of the label is valid, so this route of port \
             80 is ignored",
        ],
    );
}
