//! Pure files do not use the outside world, and files are replaced durably.

use std::path::Path;

use super::{
    path::read_paths,
    source::{Source, read_sources},
    token::read_code,
};

/// Layers whose files are pure, even if a file does not begin with `//! Pure`.
const PURE_LAYERS: [&str; 5] = ["report", "migrate", "routing", "label", "model"];

/// Parts of paths that a pure file must not contain: the outside world, the clock and the log.
const OUTSIDE: [&str; 12] = [
    "tokio",
    "axum",
    "bollard",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "UnixStream",
    "Instant::now",
    "SystemTime",
    "tracing",
];

/// Words that a pure file must not contain.
const OUTSIDE_WORDS: [&str; 4] = ["async", "await", "println", "eprintln"];

/// Files that replace or remove files themselves. All others use durable.rs, which also syncs the folder: without that
/// the old file may be back after a power failure.
const REPLACES_FILES: [&str; 5] = [
    "durable.rs",
    // Replaces whole generations and syncs them. The next start removes the remains of a crash.
    "haproxy/files.rs",
    // Removes a socket.
    "control/server.rs",
    // Moves a socket to its place.
    "users/mod.rs",
    // Removes a file by which a test makes a task panic.
    "supervise.rs",
];

#[test]
fn pure_files_name_nothing_of_the_outside() {
    let sources = read_sources();
    let pure: Vec<_> = sources.iter().filter(|source| is_pure(source)).collect();
    assert!(!pure.is_empty(), "no file under src/ begins with `//! Pure`");
    let broken: Vec<_> = pure.into_iter().flat_map(find_outside).collect();
    assert!(broken.is_empty(), "pure files that are not:\n{}", broken.join("\n"));
}

#[test]
fn files_are_replaced_and_removed_durably() {
    let words = [".persist(", "fs::rename(", "fs::remove_file("];
    let sources = read_sources();
    let replacing = sources.iter().filter(|source| words.iter().any(|w| source.text.contains(w)));
    let replacing: Vec<_> = replacing.map(|source| Path::new(&source.path)).collect();
    let listed = |path: &&Path| REPLACES_FILES.iter().any(|file| path.ends_with(file));
    let others: Vec<_> = replacing.iter().filter(|path| !listed(path)).collect();
    assert!(others.is_empty(), "use durable.rs in {others:?}");
    let unused = REPLACES_FILES.iter().filter(|file| !replacing.iter().any(|p| p.ends_with(file)));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<&&str>::new(), "listed, and replace no file");
}

fn is_pure(source: &Source) -> bool {
    let promises = source.text.lines().take(12).any(|line| line.starts_with("//! Pure"));
    promises || PURE_LAYERS.iter().any(|layer| source.path.starts_with(&format!("src/{layer}/")))
}

/// Returns each violation as `src/label/read.rs:3: std::fs`.
pub(crate) fn find_outside(source: &Source) -> Vec<String> {
    let tokens = read_code(&source.text);
    let paths = read_paths(&tokens, &source.module()).into_iter();
    let paths = paths.map(|path| (path.line, path.segments.join("::")));
    let paths = paths.filter(|(_, path)| OUTSIDE.iter().any(|outside| names(path, outside)));
    let words = tokens.iter().filter(|token| OUTSIDE_WORDS.contains(&token.text));
    let words = words.map(|token| (token.line, token.text.to_owned()));
    paths.chain(words).map(|(line, name)| format!("{}:{line}: {name}", source.path)).collect()
}

/// Returns whether `path` contains the segments of `part` in sequence.
fn names(path: &str, part: &str) -> bool {
    format!("::{path}::").contains(&format!("::{part}::"))
}
