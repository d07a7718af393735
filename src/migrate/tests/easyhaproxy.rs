//! Labels of EasyHAProxy.

use super::super::Program;

fn check(input: &str, labels: &[&str], losses: &[&str]) {
    let input = input.lines().map(|line| format!("easyhaproxy.{}", line.trim()));
    let input = input.collect::<Vec<_>>().join(
        "
",
    );
    super::check(Program::EasyHaproxy, &input, labels, losses);
}

#[test]
fn definition_becomes_a_route() {
    check(
        "http.host=a.test,b.test\nhttp.port=80\nhttp.localport=8080",
        &["glue_http_8080_host=a.test,b.test", "glue_http_8080_bind=80"],
        &[],
    );
    check("http.host=a.test", &["glue_http_80_host=a.test"], &[]);
    check("http.port=80", &[], &["no host"]);
}

#[test]
fn definitions_of_both_schemes_become_one_route() {
    check(
        "http.host=a.test\nhttp.redirect_ssl=true\n\
         https.host=a.test\nhttps.port=443\nhttps.localport=8080\nhttps.ssl=true",
        &["glue_http_8080_host=a.test", "glue_http_8080_tls=on"],
        &[],
    );
    check(
        "http.host=a.test\nhttps.host=a.test\nhttps.port=443\nhttps.sslcert=x",
        &["glue_http_80_host=a.test", "glue_http_80_tls=both"],
        &["--certificates"],
    );
    check(
        "http.host=a.test\nhttp.certbot=true\nhttp.redirect_ssl=true",
        &["glue_http_80_host=a.test", "glue_http_80_tls=on", "glue_http_80_cert=acme"],
        &[],
    );
    check(
        "x.host=a.test\nx.port=8443\nx.ssl=true",
        &["glue_http_80_host=a.test", "glue_http_80_tls=only", "glue_http_80_tls_bind=8443"],
        &[],
    );
}

#[test]
fn plugins_become_options_or_close_the_route() {
    check(
        "http.host=a.test\nhttp.plugins=ip_whitelist,deny_pages\n\
         http.plugin.ip_whitelist.allowed_ips=10.0.0.0/8\nhttp.plugin.deny_pages.paths=/admin,/x",
        &[
            "glue_http_80_host.http=a.test",
            "glue_http_80_allow=10.0.0.0/8",
            "glue_http_80_host.denied=a.test",
            "glue_http_80_prefix.denied=/admin,/x",
            "glue_http_80_deny.denied=0.0.0.0/0,::/0",
        ]
        .map(|label| if label.contains("host.http") { "glue_http_80_host=a.test" } else { label }),
        &[],
    );
    check(
        "http.host=a.test\nhttp.plugins=jwt_validator",
        &["glue_http_80_host=a.test", "glue_http_80_use=jwt_validator"],
        &["jwt_validator"],
    );
}

#[test]
fn redirects_of_hosts_become_redirects() {
    check(
        "http.host=a.test\nhttp.redirect={\"www.a.test\":\"http://a.test\",\"old.test\":\"https://new.test\"}",
        &[
            "glue_http_80_host.redirect-1=old.test",
            "glue_http_80_redirect_status=301",
            "glue_http_80_redirect.redirect-1=https://new.test",
            "glue_http_80_host.http=a.test",
            "glue_http_80_redirect_from.http=www.a.test",
        ],
        &[],
    );
    check("http.host=a.test\nhttp.redirect=x", &["glue_http_80_host=a.test"], &["JSON"]);
}

#[test]
fn other_modes_are_streams_or_left_out() {
    check(
        "db.host=a.test\ndb.mode=tcp\ndb.port=5432\ndb.localport=5433",
        &["glue_tcp_5433_bind=5432"],
        &[],
    );
    check("db.host=a.test\ndb.mode=tcp\ndb.ssl=true", &[], &["passes TLS"]);
    check("php.host=a.test\nphp.proto=fcgi", &[], &["FastCGI"]);
}
