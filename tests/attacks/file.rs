//! Untrusted files that never end or are nested very deeply.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// More levels than a stack of 8 MiB can hold.
const DEEP: usize = 200_000;

/// Returns the exit status of docker-balancer or docker-glue, and its output. Panics if a signal ended the program.
fn run(program: &str, words: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new(program);
    command.args(words).env("NO_COLOR", "1").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let text = input.to_owned();
    // The program may exit before it has read everything.
    let writing = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes).chars().take(2000).collect();
    (output.status.code().unwrap_or_else(|| panic!("{words:?}: {} {text}", output.status)), text)
}

#[test]
fn compose_file_that_nests_without_end_is_refused() {
    let service = |value: &str| format!("services:\n  web:\n    image: {value}\n");
    for text in [
        "[".repeat(DEEP),
        "{a: ".repeat(DEEP),
        "- ".repeat(DEEP),
        "? ".repeat(DEEP),
        "!!x ".repeat(DEEP),
        "&a ".repeat(DEEP),
        service(&"[".repeat(DEEP)),
        service(&"${A:-".repeat(DEEP)),
        service(&format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000))),
        (0..2_000).map(|n| " ".repeat(n) + "a:\n").collect(),
    ] {
        let (status, output) = run(
            env!("CARGO_BIN_EXE_docker-balancer"),
            &["check", "--compose", "-", "--settings", "/dev/null"],
            &text,
        );
        let start: String = text.chars().take(60).collect();
        assert!([0, 1, 2].contains(&status), "{start}: {status} {output}");
        assert!(!output.contains("panicked"), "{start}: {output}");
    }
}

#[test]
fn template_that_nests_without_end_is_refused() {
    for text in [
        "{{ ".to_owned() + &"(".repeat(DEEP),
        "{{ ".to_owned() + &"[".repeat(DEEP),
        "{{ ".to_owned() + &"not ".repeat(DEEP) + "x }}",
        "{{ ".to_owned() + &"-".repeat(DEEP) + "1 }}",
        "{{ x".to_owned() + &".a".repeat(DEEP) + " }}",
        "{{ x".to_owned() + &"|trim".repeat(DEEP) + " }}",
        "{{ 1".to_owned() + &" + 1".repeat(DEEP) + " }}",
        "{{ 1".to_owned() + &" if 1 else 1".repeat(DEEP) + " }}",
        "{% if 1 %}".repeat(100_000),
        "{% for a in [1] %}".repeat(100_000),
    ] {
        let folder = TempDir::with_prefix("glue").unwrap();
        let file = folder.path().join("x.tmpl");
        std::fs::write(&file, &text).unwrap();
        let words = ["render", file.to_str().unwrap(), "--settings", "/dev/null"];
        let (status, output) = run(env!("CARGO_BIN_EXE_docker-glue"), &words, "");
        let start: String = text.chars().take(30).collect();
        assert!([0, 1, 2].contains(&status), "{start}: {status} {output}");
        assert!(!output.contains("panicked"), "{start}: {output}");
    }
}

#[test]
fn settings_that_nest_without_end_are_refused() {
    let (balancer, glue) =
        (env!("CARGO_BIN_EXE_docker-balancer"), env!("CARGO_BIN_EXE_docker-glue"));
    for text in [
        "a = ".to_owned() + &"[".repeat(DEEP),
        "a = ".to_owned() + &"{a=".repeat(DEEP),
        "a".to_owned() + &".a".repeat(DEEP) + " = 1",
        format!("[a{}]", ".a".repeat(DEEP)),
    ] {
        let folder = TempDir::with_prefix("glue").unwrap();
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, &text).unwrap();
        for (program, verb) in [(balancer, "plan"), (glue, "check")] {
            let words = [verb, "--settings", file.to_str().unwrap()];
            let (status, output) = run(program, &words, "");
            assert!([1, 2].contains(&status), "{program}: {status} {output}");
            assert!(!output.contains("panicked"), "{program}: {output}");
        }
    }
}
