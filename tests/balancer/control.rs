//! docs/control.yaml describes what the control socket does: it has all paths, the answers of a running daemon match
//! it, and its examples work unchanged.

use crate::common::{
    Container, Docker,
    balancer::{Balancer, BalancerPlan},
    find_docker, wait_for,
};
use jsonschema::Validator;
use regex_lite::Regex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command, sync::LazyLock};

const TEXT: &str = include_str!("../../docs/control.yaml");
const SOCKET: &str = "/run/docker-glue/control.sock";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| yaml_serde::from_str(TEXT).unwrap());

/// Returns method and path of each operation in the document.
fn documented_operations() -> BTreeSet<(String, String)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(|text| (text.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// Returns method and path of each operation in the server's table of routes.
fn served_operations() -> BTreeSet<(String, String)> {
    let row = Regex::new(r#"\.route\("(/[a-z/]+)", ([a-z]+)\("#).unwrap();
    let source = include_str!("../../src/api/control/server.rs");
    let rows = row.captures_iter(source);
    rows.map(|captures| (captures[2].to_uppercase(), captures[1].to_owned())).collect()
}

/// Returns the document's schema of a body: of an operation's response by status, or of its request.
fn body_schema(method: &str, path: &str, body: &str) -> Validator {
    let operation = &DOCUMENT["paths"][path][method.to_lowercase()];
    let body = match body {
        "request" => &operation["requestBody"],
        status => match operation["responses"][status]["$ref"].as_str() {
            Some(elsewhere) => DOCUMENT.pointer(elsewhere.trim_start_matches('#')).unwrap(),
            None => &operation["responses"][status],
        },
    };
    let content = body["content"].as_object().unwrap();
    assert_eq!(content.len(), 1, "{method} {path}: one kind of body");
    let schema = &content.values().next().unwrap()["schema"];
    assert!(schema.is_object(), "{method} {path} {body}");
    // The schema's references are resolved within the document's components.
    let whole = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
    jsonschema::draft202012::new(&whole).unwrap()
}

/// # Panics
/// If the answer does not match the document.
pub(crate) fn check_answer(method: &str, path: &str, status: &str, answer: &Value) {
    let schema = body_schema(method, path, status);
    let errors: Vec<_> = schema
        .iter_errors(answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{method} {path} {status}: {errors:#?}\n{answer:#}");
}

#[test]
fn api_document_is_valid_openapi() {
    let document = oas3::from_yaml(TEXT).unwrap();
    assert!(document.openapi.starts_with("3.1"), "{}", document.openapi);
    document.validate_version().unwrap();
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        let valid = jsonschema::meta::validate(schema);
        assert!(valid.is_ok(), "{name}: {}", valid.unwrap_err());
    }
    // All references in the document can be resolved.
    let refers = Regex::new(r"\$ref: '#([^']+)'").unwrap();
    for captures in refers.captures_iter(TEXT) {
        assert!(DOCUMENT.pointer(&captures[1]).is_some(), "{} is not there", &captures[1]);
    }
    for (method, path) in documented_operations() {
        let operation = &DOCUMENT["paths"][&path][method.to_lowercase()];
        let responses = operation["responses"].as_object().unwrap();
        for status in responses.keys() {
            let _ = body_schema(&method, &path, status);
        }
    }
}

#[test]
fn api_document_lists_exactly_the_served_paths() {
    assert_eq!(documented_operations(), served_operations());
    assert!(8 <= served_operations().len());
}

/// For each field that is an enum the document lists exactly the values that the daemon uses.
#[test]
fn api_document_lists_exactly_the_enum_words_of_explain() {
    let source = include_str!("../../src/report/explain/mod.rs");
    let schemas = &DOCUMENT["components"]["schemas"];
    let explanation = &schemas["Explanation"]["properties"];
    for (name, documented) in [
        ("AnsweredBy", &explanation["answered_by"]),
        ("RequestOutcome", &explanation["outcome"]),
        ("RetryScope", &schemas["Becomes"]["properties"]["again"]),
        ("NotSelectedReason", &schemas["Lost"]["properties"]["why"]),
        ("ExclusionReason", &schemas["Absent"]["properties"]["why"]),
    ] {
        let body = source.split(&format!("pub enum {name} {{\n")).nth(1).unwrap();
        let body = body.split("\n}").next().unwrap();
        let variants = body.lines().map(str::trim).filter(|text| !text.starts_with(['/', '#']));
        let words: Vec<_> =
            variants.map(|text| to_kebab_case(text.trim_end_matches(','))).collect();
        assert_eq!(documented["enum"], json!(words), "{name}");
    }
}

fn to_kebab_case(name: &str) -> String {
    let big = Regex::new("([a-z])([A-Z])").unwrap();
    big.replace_all(name, "$1-$2").to_lowercase()
}

/// Runs an example of the document with this daemon's socket and this container.
fn run_curl_json(plan: &BalancerPlan, source: &str, web: &Container) -> (String, Value) {
    let (status, kind, body) = run_curl_text(plan, source, web);
    assert_eq!(kind, "application/json", "{source}: {body}");
    (status, serde_json::from_str(&body).unwrap())
}

/// Returns the status, the content type and the body.
fn run_curl_text(plan: &BalancerPlan, source: &str, web: &Container) -> (String, String, String) {
    assert!(source.contains(SOCKET), "{source}");
    let socket = plan.runtime().join("control.sock").display().to_string();
    let source = source.replace(SOCKET, &socket).replace("\"web\"", &format!("{:?}", web.name));
    let shell = ["-c", &format!("{source} -w '\\n%{{http_code}} %{{content_type}}'")];
    let output = Command::new("sh").args(shell).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, end) = text.trim_end().rsplit_once('\n').unwrap();
    let (status, kind) = end.split_once(' ').unwrap();
    (status.to_owned(), kind.to_owned(), body.to_owned())
}

/// Returns the example of an operation.
fn example_source(method: &str, path: &str) -> &'static str {
    let operation = &DOCUMENT["paths"][path][method.to_lowercase()];
    operation["x-codeSamples"][0]["source"].as_str().unwrap()
}

#[test]
fn daemon_answers_match_the_document_and_its_examples() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = plan.run("web").label("glue_http_80_host", "a.test");
    let web = web.label("glue_http_80_wieght", "7").start();
    let balancer = plan.start().wait_until_started();
    let paused = balancer.run("paused").label("glue_http_80_host", "a.test").start();
    paused.docker(&["pause"]);
    wait_for("two servers", || {
        let (_, routes) = run_curl_json(&balancer, example_source("GET", "/routes"), &web);
        (routes[0]["servers"].as_array()?.len() == 2).then_some(())
    });
    let works = |method: &str, path: &str| {
        let (status, answer) = run_curl_json(&balancer, example_source(method, path), &web);
        assert_eq!(status, "200", "{method} {path}: {answer}");
        check_answer(method, path, "200", &answer);
        answer
    };
    let refuses = |status: &str, path: &str, body: &str| {
        let socket = format!("curl -s --unix-socket {SOCKET} http://d{path} -d '{body}'");
        let (got, answer) = run_curl_json(&balancer, &socket, &web);
        assert_eq!(got, status, "{path} {body}: {answer}");
        check_answer("POST", path, status, &answer);
    };

    refuses("409", "/release", "{}");
    for body in ["", "{}", r#"{"generation": "1"}"#, r#"{"generation": 1, "and": 2}"#] {
        refuses("400", "/rollback", body);
    }
    refuses("404", "/rollback", r#"{"generation": 99}"#);
    for path in ["/drain", "/undrain"] {
        refuses("400", path, "{");
        refuses("404", path, r#"{"container": "nobody"}"#);
    }
    // A renewal succeeds in the tests with a CA, tests/acme.
    let renew = "/certificates/renew";
    refuses("400", renew, "{}");
    refuses("409", renew, r#"{"host": "a.test"}"#);
    refuses("409", "/certificates/account", "{}");
    // In this order each operation can succeed.
    let ordered = ["/drain", "/undrain", "/rollback", "/release"].map(|path| ("POST", path));
    let all = documented_operations();
    // The answer of `/metrics` is text.
    let text = ("GET".to_owned(), "/metrics".to_owned());
    // This balancer has no fleet; tests/balancer/fleet.rs has one.
    let fleet = ("GET".to_owned(), "/fleet".to_owned());
    let (status, answer) = run_curl_json(&balancer, example_source("GET", &fleet.1), &web);
    assert_eq!(status, "404", "{answer}");
    check_answer("GET", &fleet.1, "404", &answer);
    let is_tried = |pair: &&(String, String)| pair.0 == "GET" && **pair != text && **pair != fleet;
    let gets: Vec<_> = all.iter().filter(is_tried).collect();
    assert_eq!(gets.len() + ordered.len() + 4, all.len(), "an operation that is not tried");
    for (method, path) in ordered {
        works(method, path);
        // Each GET works in every state.
        for (method, path) in &gets {
            works(method, path);
        }
    }
    let (status, kind, metrics) = run_curl_text(&balancer, example_source("GET", &text.1), &web);
    let content = &DOCUMENT["paths"][&text.1]["get"]["responses"]["200"]["content"];
    assert_eq!(status, "200", "{metrics}");
    assert_eq!(content.as_object().unwrap().keys().collect::<Vec<_>>(), [&kind]);
    assert!(metrics.starts_with("# HELP ") && metrics.contains("\n# TYPE "), "{metrics}");
    check_explain_outcomes(&balancer, &web, &paused);

    let status = works("GET", "/status");
    assert_eq!(status["rollback"], Value::Null);
    assert_eq!(works("GET", "/problems")[0]["label"], "glue_http_80_wieght");

    // Request bodies also match the document, and invalid ones do not.
    for (path, body, fits) in [
        ("/rollback", json!({ "generation": 1 }), true),
        ("/rollback", json!({ "generation": -1 }), false),
        ("/drain", json!({ "container": "web", "wait_ms": 1 }), true),
        ("/drain", json!({ "container": "web", "cut": true }), true),
        ("/drain", json!({ "wait_ms": 1 }), false),
        ("/undrain", json!({ "container": "web", "wait_ms": 1 }), false),
    ] {
        assert_eq!(body_schema("POST", path, "request").is_valid(&body), fits, "{path} {body}");
    }
}

/// The explanation of each outcome, and of each absent container, matches the document.
fn check_explain_outcomes(balancer: &Balancer, web: &Container, paused: &Container) {
    let explained = |query: &str, status: &str| {
        let source = format!("curl -s --unix-socket {SOCKET} 'http://d/explain{query}'");
        let (got, answer) = run_curl_json(balancer, &source, web);
        assert_eq!(got, status, "{query}: {answer}");
        check_answer("GET", "/explain", status, &answer);
        answer
    };
    for (query, outcome, status) in [
        ("?url=http://a.test/x&method=POST", "served", Value::Null),
        ("?url=http://b.test/", "not-found", json!(404)),
        ("?url=http://a.test:81/", "not-listening", Value::Null),
        ("?url=https://a.test/", "not-listening", Value::Null),
    ] {
        let answer = explained(query, "200");
        assert_eq!((&answer["outcome"], &answer["status"]), (&json!(outcome), &status));
    }
    let answer = explained("?url=http://a.test/", "200");
    assert_eq!(answer["absent"][0]["why"], "paused", "{answer:#}");
    web.docker(&["pause"]);
    let answer = wait_for("no server that is up", || {
        let answer = explained("?url=http://a.test/", "200");
        (answer["outcome"] == "unavailable").then_some(answer)
    });
    assert_eq!(answer["status"], 503);
    assert_eq!(answer["absent"].as_array().unwrap().len(), 2, "{answer:#} {}", paused.name);
    web.docker(&["unpause"]);
    for query in ["", "?url=a.test", "?url=http://a.test/&verb=GET"] {
        explained(query, "400");
    }
}

#[test]
fn answers_without_docker_match_the_document() {
    let plan = Balancer::plan(&Docker::at("unix:///nonexistent/docker.sock"));
    let balancer = plan.start();
    let url = "/explain?url=http://a.test/";
    let socket = balancer.runtime().join("control.sock");
    let refused = wait_for("its answer", || {
        let socket = socket.display().to_string();
        let url = format!("http://d{url}");
        let words = ["-s", "-w", "\n%{http_code}", "--unix-socket", &socket, &url];
        let output = Command::new("curl").args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    });
    let (body, status) = refused.rsplit_once('\n').unwrap();
    assert_eq!(status, "503", "{body}");
    check_answer("GET", "/explain", "503", &serde_json::from_str(body).unwrap());
}
