//! Values as users write them.

use crate::model::label_option::{LabelOption, LabelProtocol, OptionValue};

/// Parses the value of a label of HTTP, whose name may contain a header's.
fn parse(name: &str, text: &str) -> Result<OptionValue, String> {
    let value = LabelOption::parse_named(LabelProtocol::Http, name, text).unwrap();
    value.map_err(|reason| reason.to_string())
}

#[test]
fn value_is_normalized_and_survives_display_and_json() {
    for (name, text, expected) in [
        ("allow", "10.1.2.3/8", "10.0.0.0/8"),
        ("allow", " 10.0.0.1 , 10.0.0.0/8,10.0.0.1", "10.0.0.0/8,10.0.0.1/32"),
        ("allow", "::ffff:10.0.0.1, 2001:DB8::/32", "10.0.0.1/32,2001:db8::/32"),
        (
            "deny",
            "PRIVATE",
            "10.0.0.0/8,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7,fe80::/10",
        ),
        ("rate", "10/s", "10/s"),
        ("rate", "1000000/h", "1000000/h"),
        ("at_once", "65535", "65535"),
        ("max_body", "1024", "1k"),
        ("max_body", "10MB", "10m"),
        ("max_body", "1025b", "1025"),
        ("max_body", "1024g", "1024g"),
        ("redirect", "HTTPS", "https"),
        ("redirect", "https://Example.COM", "https://example.com"),
        ("redirect", "http://a.test:8080", "http://a.test:8080"),
        ("redirect", "https://a.test/x?y=%20;z", "https://a.test/x?y=%20;z"),
        ("redirect_status", " 308 ", "308"),
        ("cors", "https://A.test:443/, http://b.test:8080", "http://b.test:8080,https://a.test"),
        ("cors", "*", "*"),
        ("add_prefix", "app/", "/app"),
        ("strip_prefix", "/team/", "/team"),
        ("strip_prefix", "/%2cx", "/%2Cx"),
        ("add_prefix", "/%2Cx", "/%2Cx"),
        ("strip_prefix", "yes", "1"),
        ("response_header_X-A", " noindex, \"x\" ; %[src] ", "x-a: noindex, \"x\" ; %[src]"),
        ("drop_response_headers", "Server, X-B,server", "server,x-b"),
        ("secure_headers", "on", "1"),
        ("tunnel_timeout", "90s", "1m 30s"),
        ("log", "no", "off"),
        ("users", "Off\n", "off"),
        ("forward_auth", " OFF ", "off"),
        ("forward_auth", "http://Auth:80/", "http://Auth"),
    ] {
        let value = parse(name, text).unwrap_or_else(|error| panic!("{name}={text}: {error}"));
        assert_eq!(value.to_string(), expected, "{name}={text}");
        let option = value.option();
        let again = option.parse_value(expected).unwrap().unwrap().0;
        assert_eq!(again, value, "{name}={expected}");
        assert_eq!(option.parse_json(&value.to_json()), Some(value), "{name}");
    }
}

#[test]
fn invalid_value_is_error_that_says_what_is_valid() {
    for (name, text, expected) in [
        ("allow", "10.0.0.0/33", "allow: \"10.0.0.0/33\" is not a network"),
        ("allow", "lan", "allow: \"lan\" is not a network"),
        ("allow", "10.0.0.1,", "empty member"),
        ("deny", "10.0.0.1;10.0.0.2", "deny: \"10.0.0.1;10.0.0.2\" is not a network"),
        ("rate", "0/s", "rate: \"0/s\" is not a number of requests"),
        ("rate", "10", "10/s, 100/m or 1000/h"),
        ("rate", "10/d", "rate"),
        ("rate", "+1/s", "rate"),
        ("rate", "1000001/s", "rate"),
        ("at_once", "0", "at_once"),
        ("at_once", "65536", "at_once"),
        ("max_body", "0", "max_body"),
        ("max_body", "10t", "a size such as 512k"),
        ("max_body", "99999999999999999999g", "max_body"),
        ("redirect", "1", "redirect: \"1\" is not https, an origin"),
        ("redirect", "ftp://a.test", "redirect"),
        ("redirect", "https://a.test/x y", "redirect"),
        ("redirect", "https://a.test/\"x\"", "redirect"),
        ("redirect", "https://*.test", "redirect"),
        ("redirect", "//a.test/", "redirect"),
        ("redirect_status", "200", "301, 302, 303, 307 and 308"),
        ("cors", "a.test", "an origin such as https://app.example.com"),
        ("cors", "https://a.test/path", "cors"),
        ("cors", "null", "cors"),
        ("response_header_Content-Length", "1", "none of the connection"),
        ("response_header_X_A", "1", "the name of a header"),
        ("request_header_Host", "a", "the name of a header"),
        ("request_header_X-A", "caf\u{e9}", "printable ASCII"),
        ("drop_request_headers", "connection", "the name of a header"),
        ("tunnel_timeout", "10ms", "a duration from 1s"),
        ("log", "maybe", "a switch is one of"),
        ("strip_prefix", "/%2f", "a switch is one of"),
        ("strip_prefix", "/a,/b", "/a,/b"),
        ("add_prefix", "/a,/b", "/a,/b"),
    ] {
        let error = parse(name, text).expect_err(&format!("{name}={text}"));
        assert!(error.contains(expected), "{name}={text}: {error}");
    }
}
