//! A file that promises to be pure does not name what would break the promise.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The outside, the clock and the log.
const OUTSIDE: [&str; 9] = [
    "tokio",
    "bollard",
    "std::fs",
    "std::env",
    "std::net::TcpStream",
    "Instant::now",
    "SystemTime",
    "tracing",
    "println",
];

#[test]
fn pure_files_use_no_io() {
    let pure: Vec<_> =
        source_files(Path::new("src")).into_iter().filter_map(read_pure_file).collect();
    assert!(!pure.is_empty(), "no file under src/ promises to be pure");
    let broken: Vec<_> = pure.iter().flat_map(|(path, text)| impure_names(path, text)).collect();
    assert!(broken.is_empty(), "broken promises:\n{}", broken.join("\n"));
}

#[test]
fn impure_import_is_detected() {
    let text = "//! Pure.\nuse std::{\n    fmt,\n    fs,\n};\nlet now = Instant::now();\n";
    let seen = impure_names(Path::new("x.rs"), text);
    assert_eq!(seen, ["x.rs names std::fs", "x.rs names Instant::now"]);
}

/// A name that is not synced with its folder is the old one after a power cut.
#[test]
fn files_are_replaced_and_removed_through_durable() {
    let elsewhere = [
        // A text that a container mounts on its own cannot be replaced; the folder is synced there too.
        "src/handler/template/target.rs",
        // Whole generations, synced there; what a crash has left is swept away again by the next start.
        "src/haproxy/files.rs",
        // A socket.
        "src/control/server.rs",
        "src/durable.rs",
        // A file by which a test makes a task panic.
        "src/supervise.rs",
    ];
    let words = [".persist(", "fs::rename(", "fs::remove_file("];
    let found = source_files(Path::new("src")).into_iter().filter(|path| {
        if path.ends_with("tests.rs") {
            return false;
        }
        let text = fs::read_to_string(path).unwrap();
        words.iter().any(|word| text.contains(word))
    });
    let found: Vec<_> = found.map(|path| path.display().to_string()).collect();
    let strange: Vec<_> = found.iter().filter(|text| !elsewhere.contains(&text.as_str())).collect();
    assert!(strange.is_empty(), "use durable.rs in {strange:?}");
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let (folders, files): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|is| is == "rs"));
    rust.chain(folders.iter().flat_map(|folder| source_files(folder))).collect()
}

fn read_pure_file(path: PathBuf) -> Option<(PathBuf, String)> {
    let text = fs::read_to_string(&path).unwrap();
    text.lines().take(12).any(|line| line.starts_with("//! Pure")).then_some((path, text))
}

/// As it stands in the text, or in an import that is grouped under `std`.
fn impure_names(path: &Path, text: &str) -> Vec<String> {
    let groups =
        text.split("use std::{").skip(1).filter_map(|remaining| remaining.split(';').next());
    let imported: Vec<_> =
        groups.flat_map(|group| group.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let is_named = |what: &str| {
        let last = what.strip_prefix("std::").and_then(|what| what.rsplit("::").next());
        text.contains(what) || last.is_some_and(|last| imported.contains(&last))
    };
    let outside = OUTSIDE.iter().filter(|what| is_named(what));
    outside.map(|what| format!("{} names {what}", path.display())).collect()
}
