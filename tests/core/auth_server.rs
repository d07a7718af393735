//! Which container an authentication server's URL means, and what labels and policies may name.

use crate::common::story;
use docker_glue::{
    model::{
        http::forward_auth::ForwardAuth,
        label_option::{OptionValue, TypedOption},
        policy_book::PolicyBook,
    },
    routing::decide::{DecideState, Rules, decide},
};
use std::{sync::Arc, time::Instant};

/// Returns the rules with a policy `sso` that names this URL.
fn rules_with_policy(url: &str) -> Rules {
    let auth: ForwardAuth = url.parse().unwrap();
    let (mut rules, mut book) = (story::default_rules(), PolicyBook::default());
    let values: Vec<OptionValue> = vec![auth.by_policy().into_value()];
    book.policies.insert("sso".parse().unwrap(), values);
    rules.set_policies(&Arc::new(book));
    rules
}

/// Returns the servers and the problems of a story, in which `app` uses the policy and `own` has a label.
fn find_servers(containers: &str, url: &str) -> (String, String) {
    let story = format!(
        "app 172.17.0.2 glue_http_80_host=app.test glue_http_80_use=sso\n\
         own 172.17.0.3 glue_http_80_host=own.test glue_http_80_forward_auth={url}\n{containers}"
    );
    let world = story::parse_world(&story);
    let decided = decide(&world, DecideState::default(), Instant::now(), &rules_with_policy(url));
    let servers = decided.auth_servers.iter().map(|(key, server)| format!("{key} = {server}"));
    let problems = decided.problems.iter().map(ToString::to_string);
    (servers.collect::<Vec<_>>().join("\n"), problems.collect::<Vec<_>>().join("\n"))
}

const SERVED: &str = "glue_http_9091_host=auth.test";
const SERVICE: &str = "com.docker.compose.service=sso com.docker.compose.project=";

#[test]
fn server_is_found_by_name_of_container_or_service() {
    let url = "http://sso:9091/x";
    let both =
        "http://sso:9091 = IP 9091 address http\nlabel:http://sso:9091/x = IP 9091 address http";
    for (containers, ip, problem) in [
        (format!("sso 172.17.0.9 {SERVED}"), "172.17.0.9", ""),
        (format!("one-sso-1 172.17.0.9 {SERVED} {SERVICE}one"), "172.17.0.9", ""),
        (format!("one_sso_1 172.17.0.9 {SERVED} {SERVICE}one"), "172.17.0.9", ""),
        // Of several containers of a service, the one that has the name, or that is likely to answer.
        (
            format!(
                "one-sso-1 172.17.0.8 {SERVED} {SERVICE}one\nsso 172.17.0.9 {SERVED} {SERVICE}one"
            ),
            "172.17.0.9",
            "",
        ),
        // Anyone who starts a container can name it like the service.
        (
            format!("one-sso-1 172.17.0.8 {SERVED} {SERVICE}one\nsso 172.17.0.9 {SERVED}"),
            "",
            "write that of one container, or rename one: sso, one-sso-1",
        ),
        (
            format!(
                "one-sso-1 172.17.0.7 unhealthy {SERVED} {SERVICE}one\n\
                 one-sso-2 172.17.0.8 leaving {SERVED} {SERVICE}one\n\
                 one-sso-3 172.17.0.6 paused {SERVED} {SERVICE}one\n\
                 one-sso-4 172.17.0.9 {SERVED} {SERVICE}one"
            ),
            "172.17.0.9",
            "",
        ),
        (
            format!(
                "one-sso-1 172.17.0.8 {SERVED} {SERVICE}one\ntwo-sso-1 172.17.0.9 {SERVED} {SERVICE}two"
            ),
            "",
            "sso is the name of several containers or of their services; write that of one container, or rename one: one-sso-1, two-sso-1",
        ),
        // An image can have labels, but no name.
        (
            format!("evil 172.17.0.9 {SERVED} {SERVICE}one"),
            "",
            "no running container is called sso",
        ),
        (
            format!("ssox 172.17.0.9 {SERVED} {SERVICE}one"),
            "",
            "no running container is called sso",
        ),
        (format!("sso 172.17.0.9 exited {SERVED}"), "", "no running container is called sso"),
    ] {
        let (servers, problems) = find_servers(&containers, url);
        let expected = if ip.is_empty() { String::new() } else { both.replace("IP", ip) };
        assert_eq!(servers, expected, "{containers}");
        assert!(problems.contains(problem), "{containers}: {problems}");
        assert_eq!(
            problem.is_empty(),
            !problems.contains("answer 503"),
            "{containers}: {problems}"
        );
    }
}

#[test]
fn label_names_only_what_is_served_to_everyone() {
    for (labels, is_open) in [
        (SERVED, true),
        ("glue_http_9091_host=auth.test glue_http_9091_rate=5/s", true),
        (
            "glue_http_9091_host=auth.test glue_http_9091_host.x=x.test glue_http_9091_allow.x=10.0.0.0/8",
            true,
        ),
        ("", false),
        ("glue_http_80_host=auth.test", false),
        ("glue_tcp_9091_bind=9091", false),
        ("glue_http_9091_host=auth.test glue_http_9091_allow=10.0.0.0/8", false),
        ("glue_http_9091_host=auth.test glue_http_9091_deny=10.0.0.0/8", false),
        (
            "glue_http_9091_host=auth.test glue_http_9091_users=a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            false,
        ),
        ("glue_http_9091_host=auth.test glue_http_9091_allow=nowhere", false),
        ("glue_http_9091_host=auth.test glue_http_9091_use=sso", false),
    ] {
        check_label_url(labels, "/", is_open);
    }
}

/// Checks whether a label may name this path of a container with these labels.
fn check_label_url(labels: &str, path: &str, is_open: bool) {
    let by_policy = "http://sso:9091 = 172.17.0.9 9091 address http";
    let bare_path = path.split('?').next().unwrap();
    let by_label = format!("label:http://sso:9091{bare_path} = 172.17.0.9 9091 address http");
    let url = format!("http://sso:9091{path}");
    let (servers, problems) = find_servers(&format!("sso 172.17.0.9 {labels}"), &url);
    let expected = if is_open { format!("{by_policy}\n{by_label}") } else { by_policy.to_owned() };
    assert_eq!(servers, expected, "{labels} {path}: {problems}");
    let reason = format!(
        "a label may only name a path that is served to everyone, and {bare_path} of port 9091 of sso is not"
    );
    assert_eq!(problems.contains(&reason), !is_open, "{labels} {path}: {problems}");
}

/// HAProxy could otherwise be made to read what a route protects, or what no route serves.
#[test]
fn label_names_only_paths_that_everyone_can_reach() {
    let guarded = "glue_http_9091_host=a.test glue_http_9091_host.g=a.test glue_http_9091_prefix.g=/admin glue_http_9091_allow.g=10.0.0.0/8";
    let team = "glue_http_9091_host=a.test glue_http_9091_prefix=/team/x glue_http_9091_strip_prefix=/team";
    let added = "glue_http_9091_host=a.test glue_http_9091_prefix=/p glue_http_9091_strip_prefix=on glue_http_9091_add_prefix=/v2";
    let exact = "glue_http_9091_host=a.test glue_http_9091_path=/health";
    for (labels, path, is_open) in [
        (guarded, "/verify?x=/admin", true),
        (guarded, "/admin", false),
        (guarded, "/admin/secret", false),
        (guarded, "/administrator", true),
        (guarded, "/x/../admin", false),
        (guarded, "/%61dmin", false),
        (guarded, "//admin", false),
        (team, "/x/y", true),
        (team, "/y", false),
        (team, "/team/x", false),
        (added, "/v2/y", true),
        (added, "/v2", false),
        (added, "/y", false),
        (exact, "/health", true),
        (exact, "/health/x", false),
        (exact, "/", false),
        ("glue_http_9091_host=a.test glue_http_9091_redirect=https://b.test", "/", false),
    ] {
        check_label_url(labels, path, is_open);
    }
}

#[test]
fn server_outside_is_only_for_policies() {
    for (url, expected) in [
        (
            "https://auth.example.org/verify",
            "https://auth.example.org:443 = auth.example.org 443 name https",
        ),
        (
            "http://auth.example.org:8080",
            "http://auth.example.org:8080 = auth.example.org 8080 name http",
        ),
        ("http://192.0.2.7:9091", "http://192.0.2.7:9091 = 192.0.2.7 9091 address http"),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]:443 = 2001:db8::1 443 address https"),
        ("http://nowhere:9091", ""),
    ] {
        let (servers, problems) = find_servers("", url);
        assert_eq!(servers, expected, "{url}: {problems}");
        assert!(problems.contains("container own"), "{url}: {problems}");
        assert_eq!(problems.contains("container app"), expected.is_empty(), "{url}: {problems}");
    }
}
