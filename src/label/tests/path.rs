//! Prefixes, and how lists multiply.

use super::{Fences, check, check_fenced, one};

#[test]
fn a_prefix_is_whole_segments_with_or_without_slashes() {
    check(
        "glue_http_80_prefix=/a/,b/c,/A,/b/c/",
        &["*:80/A/ -> 80", "*:80/a/ -> 80", "*:80/b/c/ -> 80"],
        &[],
    );
    check("glue_http_80_host=a.test glue_http_80_prefix=/", &["a.test:80/ -> 80"], &[]);
    check("glue_http_80_prefix=/-._~%2f!$&'()=:@", &["*:80/-._~/!$&'()=:@/ -> 80"], &[]);
    check("glue_http_80_prefix=1/2/3/4/5/6/7/8/", &["*:80/1/2/3/4/5/6/7/8/ -> 80"], &[]);
}

/// As requests are read.
#[test]
fn prefix_in_another_spelling_is_the_same() {
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
            "\"{prefix}\" has a semicolon, and requests are routed without what follows one in a segment; leave it away"
        );
        let label = format!("{prefix},a");
        let problem = format!("label glue_http_80_prefix={label:?}: {reason}");
        check(&format!("glue_http_80_prefix={label}"), &["*:80/a/ -> 80"], &[&problem]);
    }
}

#[test]
fn a_bad_prefix_costs_that_prefix() {
    let costs = |prefix: &str, reason: &str| {
        let label = one("glue_http_80_prefix", &format!("{prefix},a"));
        let problem = format!("label glue_http_80_prefix={:?}: {reason}", format!("{prefix},a"));
        check_fenced(&Fences::default(), &label, &["*:80/a/ -> 80"], &[&problem]);
    };
    costs("/1/2/3/4/5/6/7/8/9", "\"/1/2/3/4/5/6/7/8/9\" has more than 8 segments; name fewer");
    for none in [
        "//", "b//c", "//b", "b//", ".", "b/../c", "b?c", "b#c", "é", "%", "%4", "%4g", "%2e%2E",
        "a/%2e", "%00", "b\\c",
    ] {
        costs(
            none,
            &format!(
                "{none:?} is no path as it stands in a URL: no empty segments, no . or .., no query, other characters as %XX"
            ),
        );
    }
    check(
        "glue_http_80_host=a.test glue_http_80_prefix=?",
        &[],
        &[
            "label glue_http_80_prefix=\"?\": \"?\" is no path as it stands in a URL: no empty segments, no . or .., no query, other characters as %XX",
            "label glue_http_80_prefix=\"?\": nothing is left of it, so this route of port 80 is out",
        ],
    );
}

#[test]
fn hosts_and_prefixes_and_public_ports_multiply() {
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
