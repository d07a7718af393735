//! Variables of nginx-proxy.

use super::super::Program;

fn check(input: &str, labels: &[&str], losses: &[&str]) {
    super::check(Program::NginxProxy, input, labels, losses);
}

#[test]
fn host_and_port_become_a_route() {
    check(
        "env VIRTUAL_HOST=a.test, *.b.test\nenv VIRTUAL_PORT=3000",
        &["glue_http_3000_host=a.test,*.b.test", "glue_http_3000_bind=80"],
        &[],
    );
    check("env VIRTUAL_HOST=${HOST}\nimage-expose 80", &["glue_http_80_host=${HOST}"], &[]);
    let labels = ["glue_http_81_host=a.test", "glue_http_81_bind=80"];
    check("env VIRTUAL_HOST=a.test\nimage-expose 81", &labels, &[]);
    check("env VIRTUAL_HOST=a.test\nexpose 81", &labels, &["81 is assumed"]);
    check("env VIRTUAL_HOST=a.test\nexpose 81,82", &["glue_http_80_host=a.test"], &[]);
    check("env VIRTUAL_HOST=a.test", &["glue_http_80_host=a.test"], &["80 is assumed"]);
    check("env VIRTUAL_HOST=", &[], &[]);
}

#[test]
fn pattern_of_hosts_or_paths_is_left_out() {
    let port = "env VIRTUAL_PORT=80\n";
    check(&format!("{port}env VIRTUAL_HOST=~^a.*"), &[], &["regular expression"]);
    check(
        &format!("{port}env VIRTUAL_HOST=a.test,www.*"),
        &["glue_http_80_host=a.test"],
        &["wildcard"],
    );
    check(
        &format!("{port}env VIRTUAL_HOST=a.test\nenv VIRTUAL_PATH=~ ^/(a|b)/"),
        &[],
        &["regular expression"],
    );
    check(
        &format!("{port}env VIRTUAL_HOST=a.test\nenv VIRTUAL_PROTO=fastcgi"),
        &[],
        &["does not speak this protocol"],
    );
}

#[test]
fn path_and_destination_become_prefixes() {
    let route = |path: &str, dest: &str| {
        format!(
            "env VIRTUAL_HOST=a.test\nenv VIRTUAL_PORT=80\nenv VIRTUAL_PATH={path}\nenv VIRTUAL_DEST={dest}"
        )
    };
    let base = ["glue_http_80_host=a.test", "glue_http_80_prefix=/x"];
    check(&route("/x/", ""), &base, &[]);
    check(&route("/x", "/"), &[&base[..], &["glue_http_80_strip_prefix=on"]].concat(), &[]);
    check(
        &route("/x", "/y"),
        &[&base[..], &["glue_http_80_strip_prefix=on", "glue_http_80_add_prefix=/y"]].concat(),
        &[],
    );
    check(&route("/x", "/x/"), &base, &[]);
    let exact = ["glue_http_80_host=a.test", "glue_http_80_path=/x"];
    check(&route("= /x", ""), &exact, &[]);
    check(
        &route("= /x", "/y"),
        &[&exact[..], &["glue_http_80_strip_prefix=on", "glue_http_80_add_prefix=/y"]].concat(),
        &["with a slash at its end"],
    );
    check(&route("= /x", "/"), &[&exact[..], &["glue_http_80_strip_prefix=on"]].concat(), &[]);
}

#[test]
fn certificate_and_method_become_tls() {
    let host = "env VIRTUAL_HOST=a.test\nenv VIRTUAL_PORT=80\n";
    let row = |more: &str, labels: &[&str], losses: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("glue_http_80_{label}")).collect();
        let labels: Vec<_> = std::iter::once("glue_http_80_host=a.test")
            .chain(labels.iter().map(String::as_str))
            .collect();
        check(&format!("{host}{more}"), &labels, losses);
    };
    row("env LETSENCRYPT_HOST=a.test", &["tls=on", "cert=acme"], &[]);
    row("env ACME_HOST=a.test\nenv HTTPS_METHOD=noredirect", &["tls=both", "cert=acme"], &[]);
    row("env ACME_HOST=a.test\nenv HTTPS_METHOD=nohttp", &["tls=only", "cert=acme"], &[]);
    row("env ACME_HOST=a.test\nenv HTTPS_METHOD=nohttps", &[], &[]);
    row("env ACME_HOST=b.test", &["tls=on", "cert=acme"], &["some of the hosts"]);
    row("env CERT_NAME=shared", &["tls=on", "cert=shared"], &[]);
    row(
        "env ACME_HOST=a.test\nenv HSTS=max-age=60; includeSubDomains\nenv SSL_POLICY=Mozilla-Modern",
        &["tls=on", "cert=acme", "hsts=60s subdomains", "tls_policy=modern"],
        &[],
    );
    row(
        "env ACME_HOST=a.test\nenv SSL_POLICY=AWS-TLS-1-2-2017-01",
        &["tls=on", "cert=acme"],
        &["tls_policy"],
    );
    row("env NETWORK_ACCESS=internal", &["allow=private"], &[]);
    row("env VIRTUAL_PROTO=https", &["scheme=https"], &[]);
    row("env EXTERNAL_HTTP_PORT=8080", &["bind=8080"], &[]);
}

#[test]
fn variables_of_the_proxy_are_defaults() {
    let row = |proxy: &str, more: &str, labels: &[&str], losses: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("glue_http_80_{label}")).collect();
        let labels: Vec<_> = std::iter::once("glue_http_80_host=a.test")
            .chain(labels.iter().map(String::as_str))
            .collect();
        let web = "env VIRTUAL_HOST=a.test\nenv VIRTUAL_PORT=80";
        let proxy = format!("[proxy]\nimage nginxproxy/nginx-proxy\n{proxy}");
        check(&format!("{proxy}\n[web]\n{web}\n{more}"), &labels, losses);
    };
    let acme = "env ACME_HOST=a.test";
    row("env HTTPS_METHOD=noredirect", acme, &["tls=both", "cert=acme"], &[]);
    row("env HTTPS_METHOD=noredirect", "", &["tls=both"], &[]);
    row("env HTTPS_METHOD=nohttp", "", &["tls=only"], &[]);
    row("env HTTPS_METHOD=nohttps", "", &[], &[]);
    row("env HTTPS_METHOD=redirect", "", &[], &[]);
    let hsts = "env HSTS=max-age=60; preload";
    row(hsts, acme, &["tls=on", "cert=acme", "hsts=60s preload"], &[]);
    row(hsts, "", &[], &["with tls=on, set hsts=60s preload"]);
    row("env SSL_POLICY=Mozilla-Modern", "", &[], &["with tls=on, set tls_policy=modern"]);
    row("env HSTS=off", "", &[], &[]);
    row("env HTTP_PORT=8080\nenv HTTPS_PORT=8443", "", &["bind=8080"], &[]);
    row(
        "env HTTP_PORT=8080\nenv HTTPS_PORT=8443",
        acme,
        &["tls=on", "cert=acme", "bind=8080", "tls_bind=8443"],
        &[],
    );
    row("env HTTP_PORT=8080\npublish 80:8080", "", &[], &[]);
    row("env HTTP_PORT=8080", "env EXTERNAL_HTTP_PORT=81", &["bind=81"], &[]);
}

#[test]
fn client_certificates_close_the_route_until_there_is_a_ca() {
    check(
        "env VIRTUAL_HOST=a.test\nenv VIRTUAL_PORT=80\nenv CERT_NAME=x\n\
         com.github.nginx-proxy.nginx-proxy.ssl_verify_client=on",
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_tls=on",
            "glue_http_80_cert=x",
            "glue_http_80_client_cert=nginx-proxy",
        ],
        &["--client-ca"],
    );
}

#[test]
fn multiports_are_read_as_yaml() {
    check(
        "env VIRTUAL_HOST_MULTIPORTS={a.test: {/: {port: 8080}, /api: {port: 8081, dest: /}}, b.test: }\nimage-expose 80",
        &[
            "glue_http_8080_host=a.test",
            "glue_http_8080_bind=80",
            "glue_http_8081_host=a.test",
            "glue_http_8081_prefix=/api",
            "glue_http_8081_strip_prefix=on",
            "glue_http_8081_bind=80",
            "glue_http_80_host=b.test",
        ],
        &[],
    );
    check("env VIRTUAL_HOST_MULTIPORTS={a", &[], &["cannot be read as YAML"]);
}
