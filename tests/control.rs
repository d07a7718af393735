//! docs/control.yaml is what the control socket does: all of its paths, each answer of a daemon that runs,
//! and its examples as they stand.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use common::{
    Container,
    balancer::{Balancer, Plan},
    docker, wait_for,
};
use jsonschema::Validator;
use regex_lite::Regex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command, sync::LazyLock};

const TEXT: &str = include_str!("../docs/control.yaml");
const SOCKET: &str = "/run/docker-glue/control.sock";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| yaml_serde::from_str(TEXT).unwrap());

/// Method and path of each operation in the document.
fn documented() -> BTreeSet<(String, String)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(|it| (it.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// As the server's table has them.
fn served() -> BTreeSet<(String, String)> {
    let row = Regex::new(r#"\(&Method::([A-Z]+), "(/[a-z]+)"\)"#).unwrap();
    let source = include_str!("../src/control/server.rs");
    let rows = row.captures_iter(source);
    rows.map(|it| (it[1].to_owned(), it[2].to_owned())).collect()
}

/// What the document says of a body: by operation and status, or the request's.
fn schema(method: &str, path: &str, body: &str) -> Validator {
    let operation = &DOCUMENT["paths"][path][method.to_lowercase()];
    let body = match body {
        "request" => &operation["requestBody"],
        status => match operation["responses"][status]["$ref"].as_str() {
            Some(elsewhere) => DOCUMENT.pointer(elsewhere.trim_start_matches('#')).unwrap(),
            None => &operation["responses"][status],
        },
    };
    let schema = &body["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} {body}");
    // What it refers to is found where the document has it.
    let whole = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
    jsonschema::draft202012::new(&whole).unwrap()
}

/// # Panics
/// Where the answer is not as the document has it.
fn check(method: &str, path: &str, status: &str, answer: &Value) {
    let schema = schema(method, path, status);
    let errors: Vec<_> =
        schema.iter_errors(answer).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path} {status}: {errors:#?}\n{answer:#}");
}

#[test]
fn the_document_is_openapi_with_json_schemas() {
    let document = oas3::from_yaml(TEXT).unwrap();
    assert!(document.openapi.starts_with("3.1"), "{}", document.openapi);
    document.validate_version().unwrap();
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        let valid = jsonschema::meta::validate(schema);
        assert!(valid.is_ok(), "{name}: {}", valid.unwrap_err());
    }
    // Whatever is referred to is there.
    let refers = Regex::new(r"\$ref: '#([^']+)'").unwrap();
    for it in refers.captures_iter(TEXT) {
        assert!(DOCUMENT.pointer(&it[1]).is_some(), "{} is not there", &it[1]);
    }
    for (method, path) in documented() {
        let operation = &DOCUMENT["paths"][&path][method.to_lowercase()];
        let responses = operation["responses"].as_object().unwrap();
        for status in responses.keys() {
            let _ = schema(&method, &path, status);
        }
    }
}

#[test]
fn the_document_has_the_paths_of_the_server_and_no_others() {
    assert_eq!(documented(), served());
    assert!(8 <= served().len());
}

/// An example as the document has it, with this daemon's socket and this container.
fn curl(plan: &Plan, source: &str, web: &Container) -> (String, Value) {
    assert!(source.contains(SOCKET), "{source}");
    let socket = plan.runtime().join("control.sock").display().to_string();
    let source = source.replace(SOCKET, &socket).replace("\"web\"", &format!("{:?}", web.name));
    let shell = ["-c", &format!("{source} -w '\\n%{{http_code}}'")];
    let output = Command::new("sh").args(shell).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.trim_end().rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap())
}

/// The example of an operation.
fn source(method: &str, path: &str) -> &'static str {
    let operation = &DOCUMENT["paths"][path][method.to_lowercase()];
    operation["x-codeSamples"][0]["source"].as_str().unwrap()
}

#[test]
fn a_daemon_answers_as_the_document_says_and_its_examples_work() {
    let Some(docker) = docker() else { return };
    let plan = Balancer::of(&docker);
    let web = plan.run("web").label("glue_http_80_host", "a.test");
    let web = web.label("glue_http_80_wieght", "7").start();
    let balancer = plan.start().until_started();
    let paused = balancer.run("paused").label("glue_http_80_host", "a.test").start();
    paused.docker(&["pause"]);
    wait_for("two servers", || {
        let (_, routes) = curl(&balancer, source("GET", "/routes"), &web);
        (routes[0]["servers"].as_array()?.len() == 2).then_some(())
    });
    let works = |method: &str, path: &str| {
        let (status, answer) = curl(&balancer, source(method, path), &web);
        assert_eq!(status, "200", "{method} {path}: {answer}");
        check(method, path, "200", &answer);
        answer
    };
    let refuses = |status: &str, path: &str, body: &str| {
        let socket = format!("curl -s --unix-socket {SOCKET} http://d{path} -d '{body}'");
        let (got, answer) = curl(&balancer, &socket, &web);
        assert_eq!(got, status, "{path} {body}: {answer}");
        check("POST", path, status, &answer);
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
    // In an order in which each of them can work.
    let ordered = ["/drain", "/undrain", "/rollback", "/release"].map(|path| ("POST", path));
    let all = documented();
    let gets: Vec<_> = all.iter().filter(|it| it.0 == "GET").collect();
    assert_eq!(gets.len() + ordered.len(), all.len(), "an operation that nobody tries");
    for (method, path) in ordered {
        works(method, path);
        // Whatever holds now.
        for (method, path) in &gets {
            works(method, path);
        }
    }
    let status = works("GET", "/status");
    assert_eq!(status["rollback"], Value::Null);
    assert_eq!(works("GET", "/problems")[0]["label"], "glue_http_80_wieght");

    // The bodies that are sent are as the document has them too, and others are not.
    for (path, body, fits) in [
        ("/rollback", json!({ "generation": 1 }), true),
        ("/rollback", json!({ "generation": -1 }), false),
        ("/drain", json!({ "container": "web", "wait_ms": 1 }), true),
        ("/drain", json!({ "wait_ms": 1 }), false),
        ("/undrain", json!({ "container": "web", "wait_ms": 1 }), false),
    ] {
        assert_eq!(schema("POST", path, "request").is_valid(&body), fits, "{path} {body}");
    }
}
