//! Labels for HTTPS: listeners, and values without which a port is not served.

use super::{LabelLimits, check, check_limited, labelled};
use crate::model::tls::TlsMode;

#[test]
fn tls_adds_https_listener_and_moves_plain_one_to_80() {
    let check_mode = |labels: &str, requests: &[&str]| {
        check(&format!("glue_http_3000_host=a.test {labels}"), requests, &[]);
    };
    check_mode("glue_http_3000_tls=off", &["a.test:3000/ -> 3000"]);
    check_mode(
        "glue_http_3000_tls=on",
        &["a.test:80/ -> 3000 tls on", "https://a.test:443/ -> 3000 tls on"],
    );
    check_mode("glue_http_3000_tls=only", &["https://a.test:443/ -> 3000 tls only"]);
    check_mode(
        "glue_http_3000_tls=both glue_http_3000_bind=81 glue_http_3000_tls_bind=8443,443",
        &[
            "a.test:81/ -> 3000 tls both tls_bind 443,8443",
            "https://a.test:443/ -> 3000 tls both tls_bind 443,8443",
            "https://a.test:8443/ -> 3000 tls both tls_bind 443,8443",
        ],
    );
    check_mode(
        "glue_http_3000_tls=only glue_http_3000_host.x=x.test glue_http_3000_tls.x=off",
        &["x.test:3000/ -> 3000", "https://a.test:443/ -> 3000 tls only"],
    );
}

#[test]
fn tls_of_settings_applies_where_label_is_missing() {
    let limits = LabelLimits { tls: TlsMode::On, ..LabelLimits::default() };
    for (labels, requests) in [
        (
            "glue_http_80_host=a.test",
            &["a.test:80/ -> 80 tls on", "https://a.test:443/ -> 80 tls on"][..],
        ),
        ("glue_http_80_host=a.test glue_http_80_tls=off", &["a.test:80/ -> 80"][..]),
        ("glue_http_ports=80 glue_http_80_tls=only", &["https://*:443/ -> 80 tls only"][..]),
    ] {
        check_limited(&limits, &labelled(labels), requests, &[]);
    }
}

#[test]
fn port_with_invalid_tls_value_is_not_served() {
    let excluded = "port 80 is not served, because the value of tls is invalid; without it the \
                    port would be less protected";
    for (value, reason) in [
        ("onn", "\"onn\": tls is off, on, both, only or pass"),
        ("", "\"\": the value is empty; set a value, or remove the label"),
        ("passed", "\"passed\": tls is off, on, both, only or pass"),
    ] {
        check(
            &format!("glue_http_80_host=a.test glue_http_80_tls={value}"),
            &[],
            &[excluded, &format!("label glue_http_80_tls={reason}")],
        );
    }
    // A named route with its own valid value is served.
    check(
        "glue_http_80_tls=onn glue_http_80_host.x=x.test glue_http_80_tls.x=only",
        &["https://x.test:443/ -> 80 tls only"],
        &["label glue_http_80_tls=\"onn\": tls is off, on, both, only or pass"],
    );
}

#[test]
fn port_with_misspelled_tls_label_is_not_served() {
    let excluded = "port 80 is not served, because the value of tls is invalid; without it the \
                    port would be less protected";
    for label in ["glue_http_80_tsl", "glue_http_80_https", "glue_http_80_TLS"] {
        check(
            &format!("glue_http_80_host=a.test {label}=on"),
            &[],
            &[
                excluded,
                &format!("label {label}=\"on\": unknown label; did you mean glue_http_80_tls?"),
            ],
        );
    }
    // The port has the right label as well.
    check(
        "glue_http_80_host=a.test glue_http_80_tls=only glue_http_80_https=on",
        &["https://a.test:443/ -> 80 tls only"],
        &["label glue_http_80_https=\"on\": unknown label; did you mean glue_http_80_tls?"],
    );
}

#[test]
fn invalid_value_of_other_https_option_is_ignored() {
    for (option, value, reason) in [
        ("tls_policy", "tls13", "tls_policy is modern, intermediate or old"),
        (
            "hsts",
            "always",
            "hsts is off or a time, optionally followed by subdomains and preload, as in '1y \
             subdomains'",
        ),
        (
            "cert",
            "../x",
            "cert is auto, files or a certificate's name, which has letters, digits, \".\", \"_\" \
             and \"-\"",
        ),
    ] {
        check(
            &format!(
                "glue_http_80_host=a.test glue_http_80_tls=only glue_http_80_{option}={value}"
            ),
            &["https://a.test:443/ -> 80 tls only"],
            &[&format!("label glue_http_80_{option}=\"{value}\": {reason}")],
        );
    }
}
