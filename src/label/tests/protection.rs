//! Options that protect a port: without them it is not served.

use super::check;

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
