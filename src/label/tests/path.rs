//! Prefixes, exact paths, and how lists multiply.

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

#[test]
fn exact_path_is_a_route_of_its_own() {
    for (labels, routes) in [
        ("glue_http_80_path=/health", &["*:80/health$ -> 80"][..]),
        (
            "glue_http_80_host=a.test glue_http_80_path=a,/a/,/",
            &["a.test:80/$ -> 80", "a.test:80/a$ -> 80", "a.test:80/a/$ -> 80"],
        ),
        (
            "glue_http_80_host=a.test glue_http_80_prefix=/x glue_http_80_path=/x,/y",
            &["a.test:80/x/ -> 80", "a.test:80/x$ -> 80", "a.test:80/y$ -> 80"],
        ),
        ("glue_http_80_path=/%61pi%2F,/p!", &["*:80/api/$ -> 80", "*:80/p!$ -> 80"]),
        ("glue_http_80_host=a.test glue_http_80_path.x=/x", &["a.test:80/ -> 80", "*:80/x$ -> 80"]),
        ("glue_http_80_host.x=a.test glue_http_80_path=/x", &["a.test:80/ -> 80", "*:80/x$ -> 80"]),
    ] {
        check(labels, routes, &[]);
    }
}

#[test]
fn invalid_exact_path_is_reported() {
    let not_a_path = "is not a valid URL path: no empty segments, no . or .., no query, other \
                      characters as %XX";
    let pattern = |below| {
        format!(
            "looks like a pattern, but path is literal text; for all paths below {below} use \
             prefix in place of path"
        )
    };
    for (path, reason) in [
        ("/a//b", not_a_path.to_owned()),
        ("/a?b", not_a_path.to_owned()),
        ("/a#", not_a_path.to_owned()),
        ("..", not_a_path.to_owned()),
        ("/{id}", pattern("/")),
        ("^/api$", pattern("/api")),
        (
            "/;x",
            "has a semicolon, but requests are routed without path parameters; remove the \
                 semicolon and what follows it"
                .to_owned(),
        ),
    ] {
        let label = format!("{path},/ok");
        let problem = format!("label glue_http_80_path={label:?}: {path:?} {reason}");
        let labels = single_label("glue_http_80_path", &label);
        check_limited(&LabelLimits::default(), &labels, &["*:80/ok$ -> 80"], &[&problem]);
    }
    for (path, below) in [("/api/*", "/api"), ("/users/:id", "/users")] {
        let problem = format!("label glue_http_80_path=\"{path}\": {path:?} {}", pattern(below));
        check(&format!("glue_http_80_path={path}"), &[&format!("*:80{path}$ -> 80")], &[&problem]);
    }
    check(
        "glue_http_80_host=a.test glue_http_80_prefix=/x glue_http_80_path=?",
        &[],
        &[
            &format!("label glue_http_80_path=\"?\": \"?\" {not_a_path}"),
            "label glue_http_80_path=\"?\": no value of the label is valid, so this route of port \
             80 is ignored",
        ],
    );
}
