//! Options that protect a port: without them it is not served.

use super::{check, labelled};
use crate::{
    label::{LabelLimits, parse_labels},
    model::{
        http::{closed::Closed, users::NoUserCheck},
        label_option::LabelOption,
    },
};

#[test]
fn port_whose_protection_is_invalid_or_without_effect_is_not_served() {
    let invalid = |option: &str| {
        format!(
            "port 80 is not served, because the value of {option} is invalid; without it the port would be less protected"
        )
    };
    let verify =
        "verify is off, system or a CA's name, which has letters, digits, \".\", \"_\" and \"-\"";
    let client = "client_cert is off or a CA's name, which has letters, digits, \".\", \"_\" and \"-\", optionally followed by optional";
    let verify_needs_tls = "port 80 is not served, because verify has no effect without TLS; set scheme to https or h2";
    let client_needs_tls = "port 80 is not served, because client_cert has no effect without TLS; set tls to on or only";
    for (labels, problems) in [
        (
            "glue_http_80_scheme=https glue_http_80_verify=a/b",
            vec![invalid("verify"), format!("label glue_http_80_verify=\"a/b\": {verify}")],
        ),
        ("glue_http_80_verify=internal", vec![verify_needs_tls.to_owned()]),
        ("glue_http_80_scheme=h2c glue_http_80_verify=system", vec![verify_needs_tls.to_owned()]),
        (
            "glue_http_80_tls=on glue_http_80_client_cert=a/b",
            vec![
                invalid("client_cert"),
                format!("label glue_http_80_client_cert=\"a/b\": {client}"),
            ],
        ),
        ("glue_http_80_client_cert=staff", vec![client_needs_tls.to_owned()]),
        ("glue_http_80_tls=both glue_http_80_client_cert=staff", vec![client_needs_tls.to_owned()]),
    ] {
        let problems: Vec<_> = problems.iter().map(String::as_str).collect();
        check(&format!("glue_http_80_host=a.test {labels}"), &[], &problems);
    }
}

#[test]
fn route_with_invalid_or_unverifiable_users_answers_503_and_hides_value() {
    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let closed = "the routes of port 80 answer 503, because users is not understood; without it they would be less protected";
    let limits = LabelLimits::default();
    let without_lua = LabelLimits { no_user_check: Some(NoUserCheck::Lua), ..limits.clone() };
    for (limits, labels, is_closed, reason) in [
        (&limits, format!("users=alice:{SHA}"), false, ""),
        (&limits, "users=alice:hunter2".to_owned(), true, "users: \"entry 1\" is not NAME:HASH"),
        (&limits, format!("users=alice:{SHA},bob"), true, "users: \"entry 2\" is not NAME:HASH"),
        (&limits, "users=\"alice:hunter2\"".to_owned(), true, "the quotes are part of the value"),
        (&limits, "users=".to_owned(), true, "the value is empty"),
        (&limits, "user=alice:hunter2".to_owned(), true, "did you mean glue_http_80_users?"),
        (&limits, "uesrs=alice:hunter2".to_owned(), true, "did you mean glue_http_80_users?"),
        (&limits, "basic-auth=alice:hunter2".to_owned(), true, "did you mean glue_http_80_users?"),
        (
            &without_lua,
            format!("users=alice:{SHA}"),
            true,
            "because this HAProxy was built without Lua",
        ),
    ] {
        let container = labelled(&format!("glue_http_80_host=a.test glue_http_80_{labels}"));
        let parsed = parse_labels(&container, limits);
        let policies: Vec<_> = parsed.requests.iter().map(|request| &request.policy).collect();
        let is_reported = |option| policies[0].get::<Closed>() == Closed(option);
        assert_eq!(policies.len(), 1, "{labels}");
        assert!(is_reported(is_closed.then_some(LabelOption::Users)), "{labels}: {policies:?}");
        let problems: Vec<_> = parsed.problems.iter().map(ToString::to_string).collect();
        let problems = problems.join("\n");
        assert!(problems.contains(reason), "{labels}: {problems}");
        let shows_closed = problems.contains(closed);
        assert_eq!(shows_closed, is_closed && limits.no_user_check.is_none(), "{problems}");
        for text in [problems, format!("{parsed:?}")] {
            assert!(!text.contains("hunter2") && !text.contains(SHA), "{labels}: {text}");
        }
    }
}
