//! Cases for the layer test: the paths that the test finds in code, and its verdict on them.

use super::{
    find_broken_arrows, judge_arrow,
    path::read_paths,
    pure::find_outside,
    source::{Source, is_test},
    token::read_code,
};

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

/// Checks the paths, each with its line, that are found in code of src/haproxy/plan.rs.
#[track_caller]
fn check(code: &str, expected: &[&str]) {
    let plan = source("src/haproxy/plan.rs", code);
    let paths = read_paths(&read_code(&plan.text), &plan.module()).into_iter();
    let paths = paths.map(|path| format!("{} {}", path.line, path.segments.join("::")));
    assert_eq!(paths.collect::<Vec<_>>(), expected, "{code}");
}

#[test]
fn use_names_each_leaf_of_its_tree() {
    check("use crate::model::Route;", &["1 crate::model::Route"]);
    check("use std::fs;", &["1 std::fs"]);
    check("use ::std::fs;", &["1 std::fs"]);
    check("use anyhow;", &["1 anyhow"]);
    check("use crate::label;", &["1 crate::label"]);
    check("use crate::model::*;", &["1 crate::model::*"]);
    check("use docker_glue::cli::run;", &["1 crate::cli::run"]);
    check("use crate::{label, model::Host};", &["1 crate::label", "1 crate::model::Host"]);
    check("use {crate::label, std::fmt};", &["1 crate::label", "1 std::fmt"]);
    check(
        "use crate::{\n    api::{self, http},\n    model::{route::*, Host},\n};\nuse std::fmt;",
        &[
            "2 crate::api",
            "2 crate::api::http",
            "3 crate::model::route::*",
            "3 crate::model::Host",
            "5 std::fmt",
        ],
    );
}

#[test]
fn use_with_alias_or_visibility_names_the_original() {
    check("use crate::label::Key as LabelKey;", &["1 crate::label::Key"]);
    check(
        "use crate::label::{self as text, Key as _};",
        &["1 crate::label", "1 crate::label::Key"],
    );
    check("pub use crate::model::Host;", &["1 crate::model::Host"]);
    check("pub(crate) use crate::model::Host;", &["1 crate::model::Host"]);
    check(
        "pub(in crate::haproxy) use self::a::B;",
        &["1 crate::haproxy", "1 crate::haproxy::plan::a::B"],
    );
    check("use crate::r#mod::x;", &["1 crate::mod::x"]);
}

#[test]
fn self_and_super_are_resolved() {
    check("use self::part::A;", &["1 crate::haproxy::plan::part::A"]);
    check(
        "use super::config::{Bind, *};",
        &["1 crate::haproxy::config::Bind", "1 crate::haproxy::config::*"],
    );
    check("use super::super::label::Key;", &["1 crate::label::Key"]);
    check("use super::{super::sources, name};", &["1 crate::sources", "1 crate::haproxy::name"]);
    check("use self::super::name;", &["1 crate::haproxy::name"]);
    check("fn f() { super::super::cli::run() }", &["1 crate::cli::run"]);
    check(
        "mod inner { use super::part; }\nuse super::name;",
        &["1 crate::haproxy::plan::part", "2 crate::haproxy::name"],
    );
    check(
        "mod a { mod b { fn f() { super::super::super::x::y() } } }",
        &["1 crate::haproxy::x::y"],
    );
}

#[test]
fn path_without_use_is_named() {
    check("fn f(host: &crate::model::Host) {}", &["1 crate::model::Host"]);
    check("let x = crate::label::read(a)?.b;", &["1 crate::label::read"]);
    check("x: Vec<crate::model::Host>", &["1 crate::model::Host"]);
    check("impl From<crate::a::B> for crate::c::D {}", &["1 crate::a::B", "1 crate::c::D"]);
    check("<T as crate::a::B>::new()", &["1 crate::a::B"]);
    check("crate::a::read::<crate::b::C>()", &["1 crate::a::read", "1 crate::b::C"]);
    check("macro_rules! m { () => { $crate::support::log!() } }", &["1 crate::support::log"]);
    check("#[derive(crate::a::B)] struct C;", &["1 crate::a::B"]);
    check("pub(crate) fn f(self) { let now = Instant::now(); }", &["1 Instant::now"]);
    check("fn f<'a>() -> impl Sized + use<'a> { fs::read() }", &["1 fs::read"]);
}

#[test]
fn comment_and_literal_name_nothing() {
    check("// use crate::a::B;\n/// [`crate::a::B`]\nuse std::fmt;", &["3 std::fmt"]);
    check("/* crate::a::B /* nested */ crate::a::B\n */ use std::fmt;", &["2 std::fmt"]);
    check(r#"let text = "crate::a::B \" crate::a::B"; x::y()"#, &["1 x::y"]);
    check(r##"let text = r#"crate::a::B " crate::a::B"#; x::y()"##, &["1 x::y"]);
    check("let text = b\"crate::a::B\";\nlet text = \"\n\";\nx::y()", &["4 x::y"]);
    check(r"let quotes = ['\'', '\\', b'\'']; x::y()", &["1 x::y"]);
    check("let quote = '\"'; let e = 'é'; x::y(); let quote = '\"';", &["1 x::y"]);
    check(
        "fn f<'a>(x: &'a crate::a::B<'_>) { 'outer: loop { x::y() } }",
        &["1 crate::a::B", "1 x::y"],
    );
}

#[test]
fn test_module_names_nothing() {
    check(
        "#[cfg(test)]\nmod tests {\n    use crate::cli::x;\n    fn f() {}\n}\nuse std::fmt;",
        &["6 std::fmt"],
    );
    check("#[cfg(test)]\n#[allow(unused)]\nmod tests { use crate::cli::x; }", &[]);
    check("#[cfg(test)]\nmod tests;\nuse crate::label::Key;", &["3 crate::label::Key"]);
    check("#[cfg(test)]\nuse crate::label::Key;", &["2 crate::label::Key"]);
    check("#[cfg(unix)]\nmod inner { use crate::label::Key; }", &["2 crate::label::Key"]);
}

#[test]
fn file_gives_its_module() {
    let check = |path, expected: &[&str]| assert_eq!(source(path, "").module(), expected, "{path}");
    check("src/lib.rs", &[]);
    check("src/label/mod.rs", &["label"]);
    check("src/label.rs", &["label"]);
    check("src/label/read.rs", &["label", "read"]);
    check("src/label/read/mod.rs", &["label", "read"]);
    check("src/bin/docker-glue.rs", &["bin", "docker-glue"]);
    assert!(is_test("src/label/tests.rs") && is_test("src/label/tests/host.rs"));
    assert!(!is_test("src/label/latest.rs"));
}

#[test]
fn arrow_upward_or_across_is_wrong() {
    let check = |from, to, expected| assert_eq!(judge_arrow(from, to), expected, "{from} -> {to}");
    check("bin", "cli", None);
    check("cli", "support", None);
    check("label", "label", None);
    check("label", "routing", Some("upward"));
    check("model", "label", Some("upward"));
    check("support", "bin", Some("upward"));
    check("sources", "routing", None);
    check("sources", "label", Some("forbidden"));
    check("sources", "haproxy", Some("upward"));
    check("haproxy", "sources", Some("forbidden"));
    check("label", "Problem", Some("no layer"));
    check("docker", "label", Some("from no layer"));
}

#[test]
fn broken_rule_is_reported_with_its_line() {
    let code = "use std::{\n    fmt,\n    fs,\n};\nuse super::super::haproxy::Bind;\nasync fn f() { Instant::now(); }\n";
    let read = source("src/label/read.rs", code);
    assert_eq!(
        find_broken_arrows(&read),
        ["src/label/read.rs:5: label -> haproxy: crate::haproxy::Bind (upward)"]
    );
    assert_eq!(
        find_outside(&read),
        [
            "src/label/read.rs:3: std::fs",
            "src/label/read.rs:6: Instant::now",
            "src/label/read.rs:6: async"
        ]
    );
    let reexport = source("src/lib.rs", "pub mod label;\npub use label::Key;\n");
    assert_eq!(find_broken_arrows(&reexport), ["src/lib.rs:2: the crate's root has modules only"]);
}
