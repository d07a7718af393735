//! Labels of Traefik.

use super::{super::Program, Translation};

fn check(input: &str, labels: &[&str], losses: &[&str]) -> Translation {
    super::check(Program::Traefik, input, labels, losses)
}

/// One router `app` to port 3000, with further labels.
fn app(more: &str) -> String {
    format!(
        "traefik.http.routers.app.rule=Host(`a.test`)\n\
         traefik.http.services.app.loadbalancer.server.port=3000\n{more}"
    )
}

#[test]
fn router_with_tls_becomes_https_with_redirect() {
    check(
        &app("traefik.enable=true\n\
              traefik.http.routers.app.entrypoints=websecure\n\
              traefik.http.routers.app.tls.certresolver=le"),
        &["glue_http_3000_host=a.test", "glue_http_3000_tls=on", "glue_http_3000_cert=acme"],
        &[],
    );
    check(
        &app("traefik.http.routers.app.tls=true"),
        &["glue_http_3000_host=a.test", "glue_http_3000_tls=on"],
        &[],
    );
}

#[test]
fn plain_router_binds_port_80() {
    check(&app(""), &["glue_http_3000_host=a.test", "glue_http_3000_bind=80"], &[]);
    check(
        &app("traefik.http.routers.app.entryPoints=web"),
        &["glue_http_3000_host=a.test", "glue_http_3000_bind=80"],
        &[],
    );
}

#[test]
fn comma_of_a_path_is_not_that_of_a_list() {
    check(
        "traefik.http.routers.app.rule=Host(`a.test`) && (PathPrefix(`/a,b`) || Path(`/c,d`))\n\
         traefik.http.routers.app.entrypoints=web\n\
         traefik.http.services.app.loadbalancer.server.port=3000\n",
        &[
            "glue_http_3000_host=a.test",
            "glue_http_3000_prefix=/a%2Cb",
            "glue_http_3000_bind=80",
            "glue_http_3000_host.app=a.test",
            "glue_http_3000_path.app=/c%2Cd",
        ],
        &[],
    );
}

#[test]
fn routers_of_both_schemes_become_one_route() {
    let both = "traefik.http.routers.app.entrypoints=web\n\
                traefik.http.routers.apps.rule=Host(`a.test`)\n\
                traefik.http.routers.apps.entrypoints=websecure\n\
                traefik.http.routers.apps.tls=true\n";
    check(&app(both), &["glue_http_3000_host=a.test", "glue_http_3000_tls=both"], &[]);
    let redirect = "traefik.http.routers.app.middlewares=https\n\
                    traefik.http.middlewares.https.redirectscheme.scheme=https\n";
    check(
        &app(&format!("{both}{redirect}")),
        &["glue_http_3000_host=a.test", "glue_http_3000_tls=on"],
        &[],
    );
    let guarded = "traefik.http.routers.apps.middlewares=lan\n\
                   traefik.http.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/8\n";
    check(
        &app(&format!("{both}{guarded}")),
        &[
            "glue_http_3000_host.apps=a.test",
            "glue_http_3000_tls.apps=only",
            "glue_http_3000_allow.apps=10.0.0.0/8",
            "glue_http_3000_host.app=a.test",
            "glue_http_3000_bind.app=80",
        ],
        &[],
    );
}

#[test]
fn entry_points_of_the_command_have_ports() {
    let traefik = "[traefik]\nrun --entrypoints.front.address=:8080\nrun --entrypoints.back.address=:8443\n\
                   run --entrypoints.back.http.tls.certresolver=le\n\
                   run --entrypoints.back.http.middlewares=sec@file\n[web]\n";
    check(
        &format!("{traefik}{}", app("traefik.http.routers.app.entrypoints=back")),
        &[
            "glue_http_3000_host=a.test",
            "glue_http_3000_tls=on",
            "glue_http_3000_tls_bind=8443",
            "glue_http_3000_cert=acme",
            "glue_http_3000_use=sec",
        ],
        &["sec@file: it is defined outside of the labels"],
    );
    check(
        &format!("{traefik}{}", app("traefik.http.routers.app.entrypoints=front")),
        &["glue_http_3000_host=a.test", "glue_http_3000_bind=8080"],
        &[],
    );
    check(
        &app("traefik.http.routers.app.entrypoints=lan"),
        &["glue_http_3000_host=a.test", "glue_http_3000_bind=80"],
        &["the port of the entry point lan is not in the input"],
    );
}

#[test]
fn rule_with_alternatives_becomes_named_routes() {
    check(
        "traefik.http.routers.app.rule=Host(`a.test`) && PathPrefix(`/x`) || Host(`b.test`, `c.test`)\n\
         traefik.http.services.app.loadbalancer.server.port=80",
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_prefix=/x",
            "glue_http_80_host.app=b.test,c.test",
        ],
        &[],
    );
    check(
        "traefik.http.routers.app.rule=Host(`a.test`) && (Path(`/x/`) || Path(`/`))\n\
         traefik.http.services.app.loadbalancer.server.port=80",
        &["glue_http_80_host=a.test", "glue_http_80_path=/,/x/"],
        &[],
    );
    check(
        "traefik.http.routers.app.rule=PathPrefix(`/`)\n\
         traefik.http.services.app.loadbalancer.server.port=80",
        &["glue_http_ports=80"],
        &[],
    );
    check(
        "traefik.http.routers.app.rule=Host(`a.test`) || Method(`GET`)\n\
         traefik.http.services.app.loadbalancer.server.port=80",
        &["glue_http_80_host=a.test"],
        &["method has no counterpart"],
    );
}

#[test]
fn path_that_another_router_has_need_not_be_excluded() {
    let input = |path: &str, entry_points: &str| {
        format!(
            "[api]\ntraefik.http.routers.api.rule=Host(`a.test`) && PathPrefix(`{path}`)\n\
             traefik.http.routers.api.entrypoints={entry_points}\n\
             traefik.http.services.api.loadbalancer.server.port=80\n\
             [web]\ntraefik.http.routers.web.rule=Host(`a.test`) && !PathPrefix(`/api`)\n\
             traefik.http.routers.web.entrypoints=web\n\
             traefik.http.services.web.loadbalancer.server.port=80"
        )
    };
    let api = ["api glue_http_80_host=a.test", "api glue_http_80_prefix=/api"];
    check(&input("/api", "web"), &[&api[..], &["glue_http_80_host=a.test"]].concat(), &[]);
    let loss = "has no route of its own";
    check(&input("/api", "websecure"), &[&api[..], &["api glue_http_80_tls=on"]].concat(), &[loss]);
    let other = ["api glue_http_80_host=a.test", "api glue_http_80_prefix=/x"];
    check(&input("/x", "web"), &other, &[loss]);
}

#[test]
fn option_of_one_route_is_not_inherited_by_others() {
    check(
        "traefik.http.routers.a.rule=Host(`a.test`)\n\
         traefik.http.routers.a.tls=true\n\
         traefik.http.routers.b.rule=Host(`b.test`)\n\
         traefik.http.routers.b.tls=true\n\
         traefik.http.routers.b.middlewares=lan\n\
         traefik.http.middlewares.lan.ipwhitelist.sourceRange=10.0.0.0/8\n\
         traefik.http.services.a.loadbalancer.server.port=80",
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_tls=on",
            "glue_http_80_host.b=b.test",
            "glue_http_80_allow.b=10.0.0.0/8",
        ],
        &[],
    );
}

#[test]
fn routers_with_the_same_requests_are_noted() {
    let input = |rule: &str| {
        format!(
            "traefik.http.routers.a.rule=Host(`a.test`) && PathPrefix(`/x`)\n\
             traefik.http.routers.a.entrypoints=web\n\
             traefik.http.routers.a.middlewares=lan\n\
             traefik.http.middlewares.lan.ipwhitelist.sourceRange=10.0.0.0/8\n\
             traefik.http.routers.b.rule={rule}\n\
             traefik.http.routers.b.entrypoints=web\n\
             traefik.http.services.a.loadbalancer.server.port=80"
        )
    };
    let a = [
        "glue_http_80_host.a=a.test",
        "glue_http_80_prefix.a=/x",
        "glue_http_80_allow.a=10.0.0.0/8",
    ];
    let loss = "routers.a.rule=Host(`a.test`) && PathPrefix(`/x`) matches the same requests";
    for (rule, b, losses) in [
        (
            "Host(`a.test`,`b.test`) && PathPrefix(`/x`)",
            ["host=a.test,b.test", "prefix=/x"],
            &[loss][..],
        ),
        ("Host(`a.test`) && PathPrefix(`/y`)", ["host=a.test", "prefix=/y"], &[]),
        ("Host(`b.test`) && PathPrefix(`/x`)", ["host=b.test", "prefix=/x"], &[]),
    ] {
        let b = b.map(|label| format!("glue_http_80_{label}"));
        let labels: Vec<_> = b.iter().map(String::as_str).chain(a).collect();
        check(&input(rule), &labels, losses);
    }
}

#[test]
fn variables_stay_as_written() {
    check(
        "traefik.http.routers.${APP}.rule=Host(`${SUB:-a.b}.${DOMAIN}`)\n\
         traefik.http.routers.${APP}.entrypoints=web\n\
         traefik.http.services.${APP}.loadbalancer.server.port=${PORT:-8080}",
        &["glue_http_${PORT:-8080}_host=${SUB:-a.b}.${DOMAIN}", "glue_http_${PORT:-8080}_bind=80"],
        &[],
    );
}

#[test]
fn middlewares_become_options() {
    let with = |name: &str, options: &str| {
        let options =
            options.lines().map(|line| format!("traefik.http.middlewares.m.{}", line.trim()));
        let options = options.collect::<Vec<_>>().join("\n");
        app(&format!("traefik.http.routers.app.middlewares={name}\n{options}"))
    };
    let row = |options: &str, labels: &[&str], losses: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("glue_http_3000_{label}")).collect();
        let base = ["glue_http_3000_host=a.test", "glue_http_3000_bind=80"];
        let labels: Vec<_> = base.into_iter().chain(labels.iter().map(String::as_str)).collect();
        check(&with("m@docker", options), &labels, losses);
    };
    row(
        "basicauth.users=a:$$2y$$05$$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO,b:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/",
        &[
            "users=a:$$2y$$05$$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO,b:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/",
        ],
        &[],
    );
    row("basicauth.usersfile=/users", &["use=m"], &[]);
    row("ipallowlist.sourcerange=10.0.0.0/8, ::1", &["allow=10.0.0.0/8, ::1"], &[]);
    row(
        "forwardauth.address=http://auth:9091/verify\nforwardauth.authResponseHeaders=Remote-User",
        &["forward_auth=http://auth:9091/verify", "forward_auth_headers=Remote-User"],
        &[],
    );
    row(
        "forwardauth.address=http://auth:9091/?rd=https://${DOMAIN}/",
        &["forward_auth=http://auth:9091/?rd=https://${DOMAIN}/"],
        &[],
    );
    row("forwardauth.address=http://auth.test/x", &["use=m"], &["has [policy.m]"]);
    row("forwardauth.address=https://auth.test/", &["use=m"], &["only a policy"]);
    row("ratelimit.average=6\nratelimit.period=1m\nratelimit.burst=3", &["rate=6/m"], &[]);
    row("inflightreq.amount=10", &["at_once=10"], &[]);
    row("buffering.maxRequestBodyBytes=10485760", &["max_body=10m"], &[]);
    row("addprefix.prefix=/x", &["add_prefix=/x"], &[]);
    row(
        "headers.customResponseHeaders.X-Robots-Tag=none\nheaders.customRequestHeaders.X-Old=",
        &["drop_request_headers=X-Old", "response_header_X-Robots-Tag=none"],
        &[],
    );
    row(
        "headers.customRequestHeaders.Host=b.test\nheaders.customResponseHeaders.X_Y=${X}",
        &[],
        &["request_header_Host: \"Host\" is not the name", "response_header_X_Y"],
    );
    row(
        "headers.stsSeconds=60\nheaders.stsIncludeSubdomains=true\nheaders.frameDeny=true",
        &["response_header_X-Frame-Options=DENY", "hsts=60s subdomains"],
        &[],
    );
    row("headers.accessControlAllowOriginList=https://b.test", &["cors=https://b.test"], &[]);
    row("compress=true", &[], &["does not compress"]);
    row("digestauth.users=a:b:c", &["use=m"], &["digest"]);
    row(
        "plugin.bouncer.key=secret\nplugin.bouncer.enabled=true",
        &["use=m"],
        &["plugin.bouncer: there are no plugins"],
    );
    row(
        "redirectregex.regex=^https?://a.test/(.*)\nredirectregex.replacement=https://b.test/$${1}",
        &["redirect=https://b.test"],
        &[],
    );
    row(
        "redirectregex.regex=^https?://www.a.test/(.*)\nredirectregex.replacement=https://a.test/$${1}",
        &["redirect_from=www.a.test"],
        &[],
    );
    row(
        "redirectregex.regex=^http://a.test/(.*)\nredirectregex.replacement=https://a.test/$${1}",
        &["redirect=https"],
        &[],
    );
    row("chain.middlewares=n\n", &["use=n"], &["n: its definition is not in the input"]);
    check(
        &app("traefik.http.routers.app.middlewares=auth@file"),
        &["glue_http_3000_host=a.test", "glue_http_3000_bind=80", "glue_http_3000_use=auth"],
        &["auth@file"],
    );
}

#[test]
fn authentication_servers_outside_have_policies_of_their_own() {
    let routers = |one: &str, other: &str| {
        format!(
            "traefik.http.routers.a.rule=Host(`a.test`)\n\
             traefik.http.routers.a.entrypoints=web\n\
             traefik.http.routers.a.middlewares={one}\n\
             traefik.http.routers.b.rule=Host(`b.test`)\n\
             traefik.http.routers.b.entrypoints=web\n\
             traefik.http.routers.b.middlewares={other}\n\
             traefik.http.services.a.loadbalancer.server.port=80\n\
             traefik.http.middlewares.strict.forwardauth.address=http://auth.test/verify\n\
             traefik.http.middlewares.strict.forwardauth.authresponseheaders=X-User,X-Mail\n\
             traefik.http.middlewares.open.forwardauth.address=http://10.0.0.5:9091/all"
        )
    };
    let translation = check(
        &routers("strict", "open"),
        &[
            "glue_http_80_host.a=a.test",
            "glue_http_80_use.a=strict",
            "glue_http_80_host.b=b.test",
            "glue_http_80_use.b=open",
        ],
        &["has [policy.strict]", "has [policy.open]"],
    );
    let options = |name: &str| -> Vec<_> {
        let options = translation.policies[name].options.iter();
        options.map(|option| format!("{}={}", option.key, option.value)).collect()
    };
    let strict = ["forward_auth=http://auth.test/verify", "forward_auth_headers=X-User,X-Mail"];
    assert_eq!(options("strict"), strict);
    assert_eq!(options("open"), ["forward_auth=http://10.0.0.5:9091/all"]);
    // A second server on one route is not left out.
    check(
        &app("traefik.http.routers.app.middlewares=x,y\n\
              traefik.http.middlewares.x.forwardauth.address=http://x:80/\n\
              traefik.http.middlewares.y.forwardauth.address=http://y:80/"),
        &[
            "glue_http_3000_host=a.test",
            "glue_http_3000_bind=80",
            "glue_http_3000_forward_auth=http://x:80/",
            "glue_http_3000_use=y",
        ],
        &["a route has one authentication server"],
    );
}

#[test]
fn policy_of_two_services_that_differ_is_noted() {
    let router = |service: &str, address: &str| {
        format!(
            "[{service}]\ntraefik.http.routers.{service}.rule=Host(`{service}.test`)\n\
             traefik.http.routers.{service}.entrypoints=web\n\
             traefik.http.routers.{service}.middlewares=m\n\
             traefik.http.middlewares.m.forwardauth.address={address}\n\
             traefik.http.services.{service}.loadbalancer.server.port=80\n"
        )
    };
    let labels = [
        "a glue_http_80_host=a.test",
        "a glue_http_80_use=m",
        "b glue_http_80_host=b.test",
        "b glue_http_80_use=m",
    ];
    let policy = "has [policy.m]";
    let (a, b) = (router("a", "http://x.test/"), router("b", "http://y.test/"));
    check(&format!("{a}{b}"), &labels, &[policy, policy, "give one of both another name"]);
    let b = router("b", "http://x.test/");
    check(&format!("{a}{b}"), &labels, &[policy, policy]);
}

#[test]
fn names_of_policies_have_defaults_of_variables() {
    let base = ["glue_http_3000_host=a.test", "glue_http_3000_bind=80"];
    check(
        &app("traefik.http.routers.app.middlewares=${AUTH:-auth@file}"),
        &[&base[..], &["glue_http_3000_use=auth"]].concat(),
        &["it is defined outside of the labels"],
    );
    check(
        &app("traefik.http.routers.app.middlewares=${N?no name}-lan\n\
              traefik.http.middlewares.${N}-lan.ipallowlist.sourcerange=10.0.0.0/8"),
        &[&base[..], &["glue_http_3000_allow=10.0.0.0/8"]].concat(),
        &[],
    );
    check(
        "traefik.http.routers.${N:?no. name}.rule=Host(`a.test`)\n\
         traefik.http.routers.${N}.tls=true\n\
         traefik.http.services.${N}.loadbalancer.server.port=80",
        &["glue_http_80_host=a.test", "glue_http_80_tls=on"],
        &[],
    );
}

#[test]
fn hosts_that_are_redirected_leave_the_route() {
    let www = |rule: &str| {
        format!(
            "traefik.http.routers.a.rule={rule}\n\
             traefik.http.routers.a.entrypoints=web\n\
             traefik.http.routers.a.middlewares=www\n\
             traefik.http.middlewares.www.redirectregex.regex=^https?://www\\.b\\.test/(.*)\n\
             traefik.http.middlewares.www.redirectregex.replacement=https://b.test/$${{1}}\n\
             traefik.http.services.a.loadbalancer.server.port=80"
        )
    };
    check(
        &www("Host(`b.test`) || Host(`www.b.test`)"),
        &["glue_http_80_host=b.test", "glue_http_80_redirect_from=www.b.test"],
        &[],
    );
    check(
        &www("Host(`a.test`,`b.test`,`www.b.test`)"),
        &["glue_http_80_host=a.test,b.test,www.b.test"],
        &["redirect_from leads to a.test"],
    );
}

#[test]
fn wildcard_with_a_path_loses_against_hosts() {
    let route = |rule: &str, more: &str| {
        format!(
            "traefik.http.routers.a.rule={rule} && PathPrefix(`/x`)\n\
             traefik.http.routers.a.entrypoints=web\n\
             traefik.http.services.a.loadbalancer.server.port=80\n{more}"
        )
    };
    check(
        &route("HostRegexp(`{s:[a-z0-9-]+}.a.test`)", ""),
        &["glue_http_80_host=*.a.test", "glue_http_80_prefix=/x"],
        &["list the hosts in host"],
    );
    let any = "HostRegexp(`.+`)";
    check(&route(any, ""), &["glue_http_80_prefix=/x"], &[]);
    check(
        &route(any, "traefik.http.routers.a.priority=99"),
        &["glue_http_80_prefix=/x"],
        &["this one of any host"],
    );
}

#[test]
fn default_entry_points_are_those_of_traefik() {
    let row = |options: &str, labels: &[&str]| {
        let options = options.split(' ').map(|option| format!("run --{option}\n"));
        let labels: Vec<_> = labels.iter().map(|label| format!("glue_http_3000_{label}")).collect();
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        let input = format!("[traefik]\n{}[web]\n{}", options.collect::<String>(), app(""));
        let translation = check(&input, &labels, &[]);
        assert_eq!(translation.services[0].notes, [], "the input has the entry points");
    };
    let plain = ["host=a.test", "bind=80"];
    row("entrypoints.a.address=:80 entrypoints.dns.address=:53/udp", &plain);
    row("entrypoints.a.address=:80 entrypoints.b.address=:81", &["host=a.test", "bind=80,81"]);
    row("entrypoints.a.address=:80 entrypoints.b.address=:81 entrypoints.a.asdefault=true", &plain);
    row(
        "entrypoints.a.address=:80 entrypoints.p.address=:8082 entrypoints.traefik.address=:8080 \
         entrypoints.m.address=:8083 ping.entrypoint=p metrics.prometheus.entryPoint=m",
        &plain,
    );
    row("entrypoints.a.address=:80 ping.entrypoint=a", &plain);
    let labels = ["glue_http_3000_host=a.test", "glue_http_3000_bind=80"];
    let translation = check(&app(""), &labels, &[]);
    assert!(translation.services[0].notes[0].text.contains("default entry points"));
}

#[test]
fn prefix_is_stripped() {
    let strip = |rule: &str, prefixes: &str| {
        format!(
            "traefik.http.routers.a.rule={rule}\n\
             traefik.http.routers.a.middlewares=s\n\
             traefik.http.middlewares.s.stripprefix.prefixes={prefixes}\n\
             traefik.http.services.a.loadbalancer.server.port=80"
        )
    };
    let labels =
        |strip: &'static str| ["glue_http_80_host=a.test", "glue_http_80_prefix=/x/y", strip];
    let rule = "Host(`a.test`) && PathPrefix(`/x/y`)";
    check(&strip(rule, "/x/y/"), &labels("glue_http_80_strip_prefix=on"), &[]);
    check(&strip(rule, "/x"), &labels("glue_http_80_strip_prefix=/x"), &[]);
    check(&strip(rule, "/z"), &labels("")[..2], &["another path"]);
    check(&strip("Host(`a.test`)", "/x"), &["glue_http_80_host=a.test"], &["no prefix"]);
}

#[test]
fn middleware_of_another_service_is_found() {
    let translation = check(
        "[auth]\n\
         traefik.http.middlewares.auth.forwardauth.address=http://auth:9091/\n\
         traefik.http.middlewares.other.ipallowlist.sourcerange=10.0.0.0/8\n\
         [web]\n\
         traefik.http.routers.app.rule=Host(`a.test`)\n\
         traefik.http.routers.app.middlewares=auth@docker\n\
         traefik.http.services.app.loadbalancer.server.port=80",
        &["glue_http_80_host=a.test", "glue_http_80_forward_auth=http://auth:9091/"],
        &[],
    );
    let options = &translation.policies["other"].options;
    assert_eq!((options[0].key.as_str(), options[0].value.as_str()), ("allow", "10.0.0.0/8"));
}

#[test]
fn service_options_become_options() {
    check(
        &app("traefik.http.services.app.loadbalancer.server.scheme=https\n\
              traefik.http.services.app.loadbalancer.passhostheader=true\n\
              traefik.http.services.app.loadbalancer.sticky.cookie=true\n\
              traefik.http.services.app.loadbalancer.sticky.cookie.name=x\n\
              traefik.http.services.app.loadbalancer.healthcheck.path=/up\n\
              traefik.http.services.app.loadbalancer.healthcheck.interval=10s\n\
              traefik.http.services.app.loadbalancer.healthcheck.port=81\n\
              traefik.docker.network=proxy"),
        &[
            "glue_http_3000_host=a.test",
            "glue_http_3000_bind=80",
            "glue_http_3000_check_interval=10s",
            "glue_http_3000_check=81/up",
            "glue_http_3000_scheme=https",
            "glue_http_3000_sticky=cookie",
            "glue_network=proxy",
        ],
        &[],
    );
}

#[test]
fn interval_of_checks_has_milliseconds() {
    let row = |interval: &str, labels: &[&str], losses: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("glue_http_3000_{label}")).collect();
        let base = ["glue_http_3000_host=a.test", "glue_http_3000_bind=80"];
        let labels: Vec<_> = base.into_iter().chain(labels.iter().map(String::as_str)).collect();
        let option = "traefik.http.services.app.loadbalancer.healthcheck.interval";
        let translation = check(&app(&format!("{option}={interval}")), &labels, losses);
        let texts = translation.services[0].notes.iter().map(|note| &note.text);
        let names = texts.map(|text| text.matches("check_interval").count());
        assert!(names.max().is_none_or(|most| most <= 1), "the option is named once");
    };
    row("500ms", &["check_interval=500ms"], &[]);
    row("1m30s", &["check_interval=90s"], &[]);
    row("5", &["check_interval=5s"], &[]);
    row("100ms", &[], &["\"100ms\" is not a duration"]);
}

#[test]
fn port_that_is_not_known_is_assumed() {
    let rule = "traefik.http.routers.app.rule=Host(`a.test`)";
    let labels = ["glue_http_8080_host=a.test", "glue_http_8080_bind=80"];
    check(rule, &["glue_http_80_host=a.test"], &["80 is assumed"]);
    check(&format!("{rule}\nexpose 9000,8080"), &labels, &["8080 is assumed"]);
    check(&format!("{rule}\nimage-expose 9000,8080"), &labels, &[]);
}

#[test]
fn container_without_rule_or_off_has_no_labels() {
    check("traefik.enable=false\ntraefik.http.routers.a.rule=Host(`a.test`)", &[], &[]);
    check("traefik.enable=true", &[], &["glue_http_80_host"]);
    check(
        "traefik.enable=true\ntraefik.http.services.a.loadbalancer.server.port=9898",
        &[],
        &["glue_http_9898_host"],
    );
    check("traefik.enable=${ON:-false}", &[], &[]);
    check(
        "traefik.http.routers.a.rule=Host(`a.test`)\ntraefik.http.routers.a.service=api@internal",
        &[],
        &[],
    );
    // The router that redirects to the dashboard goes with it.
    let dashboard = "traefik.http.routers.a.rule=Host(`a.test`)\n\
                     traefik.http.routers.a.entrypoints=websecure\n\
                     traefik.http.routers.a.tls=true\n\
                     traefik.http.routers.x.rule=Host(`a.test`)\n\
                     traefik.http.routers.x.entrypoints=web\n\
                     traefik.http.routers.x.middlewares=s\n\
                     traefik.http.middlewares.s.redirectscheme.scheme=https\n";
    check(&format!("{dashboard}traefik.http.routers.a.service=api@internal"), &[], &[]);
    check(
        &format!(
            "{dashboard}traefik.http.routers.x.service=noop@internal\n\
             traefik.http.services.a.loadbalancer.server.port=80"
        ),
        &["glue_http_80_host=a.test", "glue_http_80_tls=on"],
        &[],
    );
    check(
        "[a]\ntraefik.http.services.x.loadbalancer.server.port=80\n\
         traefik.http.routers.x.rule=Host(`x.test`)\n\
         [b]\ntraefik.http.routers.y.rule=Host(`y.test`)\ntraefik.http.routers.y.service=x",
        &["a glue_http_80_host=x.test"],
        &["this service is that of the container a"],
    );
}

#[test]
fn streams_have_public_ports() {
    let tcp = |rule: &str, more: &str| {
        format!(
            "[traefik]\nrun --entrypoints.db.address=:5432\nrun --entrypoints.dns.address=:53/udp\n[web]\n\
             traefik.tcp.routers.db.rule={rule}\ntraefik.tcp.services.db.loadbalancer.server.port=5433\n{more}"
        )
    };
    check(
        &tcp("HostSNI(`*`)", "traefik.tcp.routers.db.entrypoints=db"),
        &["glue_tcp_5433_bind=5432"],
        &[],
    );
    check(
        &tcp(
            "HostSNI(`db.test`)",
            "traefik.tcp.routers.db.entrypoints=db\ntraefik.tcp.routers.db.tls.passthrough=true",
        ),
        &["glue_tcp_5433_host=db.test", "glue_tcp_5433_bind=5432"],
        &[],
    );
    check(
        &tcp(
            "HostSNI(`db.test`)",
            "traefik.tcp.routers.db.entrypoints=websecure\ntraefik.tcp.routers.db.tls.passthrough=true",
        ),
        &["glue_http_5433_host=db.test", "glue_http_5433_tls=pass"],
        &[],
    );
    check(
        &tcp(
            "HostSNI(`*`)",
            "traefik.tcp.routers.db.entrypoints=db\ntraefik.tcp.routers.db.tls=true",
        ),
        &[],
        &["does not end TLS"],
    );
    let version = "traefik.tcp.routers.db.entrypoints=db\n\
                   traefik.tcp.services.db.loadbalancer.proxyprotocol.version";
    check(
        &tcp("HostSNI(`*`)", &format!("{version}=1")),
        &["glue_tcp_5433_proxy=v1", "glue_tcp_5433_bind=5432"],
        &[],
    );
    check(
        &tcp("HostSNI(`*`)", &format!("{version}=3")),
        &["glue_tcp_5433_bind=5432"],
        &["to v1 or v2"],
    );
    check(
        &tcp("HostSNI(`*`)", "traefik.tcp.routers.db.middlewares=lan"),
        &[],
        &["do not restrict connections"],
    );
    check(
        "[traefik]\nrun --entrypoints.dns.address=:53/udp\n[web]\n\
         traefik.udp.routers.dns.entrypoints=dns\ntraefik.udp.services.dns.loadbalancer.server.port=5353",
        &["glue_udp_5353_bind=53"],
        &[],
    );
}

#[test]
fn labels_of_traefik_1_are_read() {
    check(
        "traefik.frontend.rule=Host:a.test,b.test;PathPrefixStrip:/x\n\
         traefik.port=3000\n\
         traefik.backend=app\n\
         traefik.frontend.entryPoints=http,https\n\
         traefik.frontend.auth.basic.users=a:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/\n\
         traefik.frontend.headers.customResponseHeaders.X-Y=z",
        &[
            "glue_http_3000_host=a.test,b.test",
            "glue_http_3000_prefix=/x",
            "glue_http_3000_tls=both",
            "glue_http_3000_users=a:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/",
            "glue_http_3000_response_header_X-Y=z",
            "glue_http_3000_strip_prefix=on",
        ],
        &[],
    );
    check(
        "traefik.web.frontend.rule=Host:a.test\ntraefik.web.port=80\n\
         traefik.api.frontend.rule=Host:a.test;PathPrefix:/api\ntraefik.api.port=81",
        &[
            "glue_http_81_host=a.test",
            "glue_http_81_prefix=/api",
            "glue_http_81_bind=80",
            "glue_http_80_host=a.test",
        ],
        &[],
    );
    let redirect = |option: &str| {
        check(
            &format!("traefik.frontend.rule=Host:a.test\ntraefik.port=80\n{option}"),
            &["glue_http_80_host=a.test", "glue_http_80_tls=on"],
            &[],
        );
    };
    redirect("traefik.frontend.headers.SSLRedirect=true");
    redirect("traefik.frontend.redirect.entryPoint=https");
    check(
        "traefik.frontend.rule=Host:a.test\ntraefik.port=80\n\
         traefik.frontend.headers.customResponseHeaders=X-A:b||X-B: c:d\n\
         traefik.frontend.headers.customRequestHeaders=X-C:",
        &[
            "glue_http_80_host=a.test",
            "glue_http_80_drop_request_headers=X-C",
            "glue_http_80_response_header_X-A=b",
            "glue_http_80_response_header_X-B=c:d",
        ],
        &[],
    );
    check(
        &app("traefik.port=99\ntraefik.frontend.rule=Host:b.test"),
        &["glue_http_3000_host=a.test", "glue_http_3000_bind=80"],
        &[],
    );
}
