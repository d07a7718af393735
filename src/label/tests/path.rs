//! Prefixes, and how lists multiply.

use super::{LabelLimits, check, check_limited, single_label};

#[test]
fn prefix_slashes_are_normalized() {
    check(
        "glue_http_80_prefix=/a/,b/c,/A,/b/c/",
        &["*:80/A/ -> 80", "*:80/a/ -> 80", "*:80/b/c/ -> 80"],
        &[],
    );
    check("glue_http_80_host=a.test glue_http_80_prefix=/", &["a.test:80/ -> 80"], &[]);
    check("glue_http_80_prefix=/-._~%2f!$&'()=:@", &["*:80/-._~/!$&'()=:@/ -> 80"], &[]);
    check("glue_http_80_prefix=1/2/3/4/5/6/7/8/", &["*:80/1/2/3/4/5/6/7/8/ -> 80"], &[]);
}

/// Prefixes are normalized as the paths of requests are.
#[test]
fn equivalent_prefix_spellings_are_normalized() {
    for (prefix, route) in [
        ("/%61pi", "*:80/api/"),
        ("/caf%c3%a9", "*:80/caf%C3%A9/"),
        ("/a%2Fb", "*:80/a/b/"),
        ("/a%20b/%40v", "*:80/a%20b/@v/"),
        ("/%2F", "*:80/"),
    ] {
        check(&format!("glue_http_80_prefix={prefix}"), &[&format!("{route} -> 80")], &[]);
    }
    for prefix in ["/a;b", "/a%3Bb"] {
        let reason = format!(
            "\"{prefix}\" has a semicolon, but requests are routed without path parameters; remove \
             the semicolon and what follows it"
        );
        let label = format!("{prefix},a");
        let problem = format!("label glue_http_80_prefix={label:?}: {reason}");
        check(&format!("glue_http_80_prefix={label}"), &["*:80/a/ -> 80"], &[&problem]);
    }
}

#[test]
fn invalid_prefix_in_list_is_skipped() {
    let check_skipped = |prefix: &str, reason: &str| {
        let label = single_label("glue_http_80_prefix", &format!("{prefix},a"));
        let problem = format!("label glue_http_80_prefix={:?}: {reason}", format!("{prefix},a"));
        check_limited(&LabelLimits::default(), &label, &["*:80/a/ -> 80"], &[&problem]);
    };
    check_skipped(
        "/1/2/3/4/5/6/7/8/9",
        "\"/1/2/3/4/5/6/7/8/9\" has more than 8 segments; use a shorter prefix",
    );
    for none in [
        "//", "b//c", "//b", "b//", ".", "b/../c", "b?c", "b#c", "é", "%", "%4", "%4g", "%2e%2E",
        "a/%2e", "%00", "b\\c",
    ] {
        check_skipped(
            none,
            &format!(
                "{none:?} is not a valid URL path: no empty segments, no . or .., no query, other \
                 characters as %XX"
            ),
        );
    }
    check(
        "glue_http_80_host=a.test glue_http_80_prefix=?",
        &[],
        &[
            "label glue_http_80_prefix=\"?\": \"?\" is not a valid URL path: no empty segments, no \
             . or .., no query, other characters as %XX",
            "label glue_http_80_prefix=\"?\": no value of the label is valid, so this route of \
             port 80 is ignored",
        ],
    );
}

#[test]
fn hosts_prefixes_and_ports_are_combined() {
    check(
        "glue_http_80_host=a.test,b.test glue_http_80_prefix=x,y glue_http_80_bind=80,443",
        &[
            "a.test:80/x/ -> 80",
            "a.test:80/y/ -> 80",
            "b.test:80/x/ -> 80",
            "b.test:80/y/ -> 80",
            "a.test:443/x/ -> 80",
            "a.test:443/y/ -> 80",
            "b.test:443/x/ -> 80",
            "b.test:443/y/ -> 80",
        ],
        &[],
    );
}
