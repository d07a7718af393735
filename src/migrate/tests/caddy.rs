//! Labels of caddy-docker-proxy.

use super::{super::Program, Translation};

fn check(input: &str, labels: &[&str], losses: &[&str]) -> Translation {
    super::check(Program::Caddy, input, labels, losses)
}

/// A site of `a.test` with further labels, which begin with `caddy.`.
fn site(more: &str) -> String {
    let more = more.lines().map(|line| format!("caddy.{}", line.trim()));
    let more = more.collect::<Vec<_>>().join("\n");
    format!("caddy=a.test\n{more}")
}

#[test]
fn site_becomes_https() {
    let https = ["glue_http_80_host=a.test", "glue_http_80_tls=on"];
    check(&site("reverse_proxy={{upstreams 80}}"), &https, &[]);
    check(&site("reverse_proxy={{upstreams}}"), &https, &[]);
    check(&site("reverse_proxy=web:80"), &https, &[]);
    check(&site("reverse_proxy=other:80"), &[], &["does not lead to this container", "no route"]);
    check(
        &site("tls=internal\nreverse_proxy={{upstreams 80}}"),
        &[&https[..], &["glue_http_80_cert=self"]].concat(),
        &[],
    );
    check(
        &site("reverse_proxy={{upstreams https 8443}}"),
        &["glue_http_8443_host=a.test", "glue_http_8443_tls=on", "glue_http_8443_scheme=https"],
        &[],
    );
}

#[test]
fn address_has_scheme_and_port() {
    let row = |address: &str, labels: &[&str], losses: &[&str]| {
        check(
            &format!("caddy={address}\ncaddy.reverse_proxy={{{{upstreams 8080}}}}"),
            labels,
            losses,
        );
    };
    row("http://a.test", &["glue_http_8080_host=a.test", "glue_http_8080_bind=80"], &[]);
    row("a.test, b.test", &["glue_http_8080_host=a.test,b.test", "glue_http_8080_tls=on"], &[]);
    row(":80", &["glue_http_ports=8080", "glue_http_8080_bind=80"], &[]);
    row(
        "https://a.test:8443",
        &["glue_http_8080_host=a.test", "glue_http_8080_tls=on", "glue_http_8080_tls_bind=8443"],
        &[],
    );
    row("${HOST}", &["glue_http_8080_host=${HOST}", "glue_http_8080_tls=on"], &[]);
    row(
        "${HOST:-http://a.test}",
        &["glue_http_8080_host=${HOST:-a.test}", "glue_http_8080_bind=80"],
        &["without a scheme"],
    );
}

#[test]
fn blocks_become_routes() {
    check(
        &site(
            "handle_path=/api/*\nhandle_path.reverse_proxy={{upstreams 8080}}\nhandle.reverse_proxy={{upstreams 80}}",
        ),
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_tls=on",
            "glue_http_8080_host=a.test",
            "glue_http_8080_prefix=/api",
            "glue_http_8080_tls=on",
            "glue_http_8080_strip_prefix=on",
        ],
        &[],
    );
    check(
        &site(
            "@m.path=/x /x/*\nroute=@m\nroute.0_uri=strip_prefix /x\nroute.1_rewrite=* /y{uri}\nroute.2_reverse_proxy={{upstreams 80}}",
        ),
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_prefix=/x",
            "glue_http_80_tls=on",
            "glue_http_80_strip_prefix=on",
            "glue_http_80_add_prefix=/y",
        ],
        &[],
    );
    check(
        &site("@m.method=GET\nreverse_proxy=@m {{upstreams 80}}"),
        &[],
        &["host and path only", "no route"],
    );
}

#[test]
fn directives_become_options() {
    let row = |more: &str, labels: &[&str], losses: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("glue_http_80_{label}")).collect();
        let base = ["glue_http_80_host=a.test", "glue_http_80_tls=on"];
        let labels: Vec<_> = base.into_iter().chain(labels.iter().map(String::as_str)).collect();
        check(&site(&format!("{more}\nreverse_proxy={{{{upstreams 80}}}}")), &labels, losses);
    };
    row(
        "basicauth.bob=$$2a$$14$$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO",
        &["users=bob:$$2a$$14$$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO"],
        &[],
    );
    row(
        "basic_auth=/admin/*\nbasic_auth.bob=$$2a$$14$$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO",
        &["users=bob:$$2a$$14$$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO"],
        &["part of the site"],
    );
    row("basicauth.bob=JDJh", &["use=users"], &["cannot be read"]);
    row(
        "forward_auth=auth:9091\nforward_auth.uri=/verify\nforward_auth.copy_headers=Remote-User Remote-Email",
        &["forward_auth=http://auth:9091/verify", "forward_auth_headers=Remote-User,Remote-Email"],
        &[],
    );
    row(
        "header.X-Frame-Options=DENY\nheader.-Server=\nheader.Strict-Transport-Security=max-age=60;",
        &["drop_response_headers=Server", "hsts=60s", "response_header_X-Frame-Options=DENY"],
        &[],
    );
    row("header=-Server", &["drop_response_headers=Server"], &[]);
    row("header.X-Host={host}", &[], &["literal"]);
    row(
        "@out.not.remote_ip=private_ranges 1.2.3.4\nrespond=@out 403",
        &["allow=private,1.2.3.4"],
        &[],
    );
    row("@bad.remote_ip=1.2.3.0/24\nabort=@bad", &["deny=1.2.3.0/24"], &[]);
    row("@x.header=X y\nrespond=@x 403", &["use=caddy-respond"], &["refuses"]);
    row("encode=gzip", &[], &["compress"]);
    row("import=auth *", &["use=auth"], &["snippet"]);
    row("request_body.max_size=10MB", &["max_body=10m"], &[]);
}

#[test]
fn authentication_servers_outside_have_policies_of_their_own() {
    let site = |name: &str, server: &str| {
        format!(
            "[{name}]\ncaddy=http://{name}.test\ncaddy.forward_auth={server}\n\
             caddy.forward_auth.uri=/verify\ncaddy.reverse_proxy={{{{upstreams 80}}}}\n"
        )
    };
    let translation = check(
        &format!("{}{}", site("a", "auth.test:80"), site("b", "10.0.0.5:80")),
        &[
            "a glue_http_80_host=a.test",
            "a glue_http_80_use=auth-test-80-verify",
            "b glue_http_80_host=b.test",
            "b glue_http_80_use=10-0-0-5-80-verify",
        ],
        &["has [policy.auth-test-80-verify]", "has [policy.10-0-0-5-80-verify]"],
    );
    let options = &translation.policies["auth-test-80-verify"].options;
    assert_eq!(options[0].value, "http://auth.test:80/verify");
}

#[test]
fn snippet_is_imported() {
    check(
        "[auth]\ncaddy=(sso)\ncaddy.forward_auth=auth:9091\ncaddy.forward_auth.uri=/verify\n\
         [web]\ncaddy=a.test\ncaddy.import=sso *\ncaddy.reverse_proxy={{upstreams 80}}",
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_tls=on",
            "glue_http_80_forward_auth=http://auth:9091/verify",
        ],
        &[],
    );
}

#[test]
fn further_sites_and_redirects_become_routes() {
    check(
        "caddy_0=a.test\ncaddy_0.reverse_proxy={{upstreams 80}}\n\
         caddy_1=www.a.test\ncaddy_1.redir=https://a.test{uri} permanent\n\
         caddy_ingress_network=proxy",
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_tls=on",
            "glue_http_80_host.redirect=www.a.test",
            "glue_http_80_redirect.redirect=https://a.test",
            "glue_http_80_redirect_status.redirect=301",
            "glue_network=proxy",
        ],
        &[],
    );
    check("caddy.email=a@b.test", &[], &[]);
    check("caddy.address=a.test\ncaddy.targetport=80", &[], &["no site", "no site"]);
    check("caddy_0.handle_path=/x\ncaddy_0.handle_path.reverse_proxy=x", &[], &["no site"]);
}

#[test]
fn options_of_the_proxy_become_options() {
    check(
        &site(
            "reverse_proxy={{upstreams 80}}\nreverse_proxy.health_uri=/up\nreverse_proxy.lb_policy=cookie\n\
             reverse_proxy.header_up=-X-Old\nreverse_proxy.transport=http\n\
             reverse_proxy.transport.tls_insecure_skip_verify=",
        ),
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_tls=on",
            "glue_http_80_drop_request_headers=X-Old",
            "glue_http_80_check=/up",
            "glue_http_80_sticky=cookie",
            "glue_http_80_scheme=https",
            "glue_http_80_verify=off",
        ],
        &[],
    );
}
