//! The files of src/ that are not tests.

use std::{fs, path::Path};

pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Returns the module of the file: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let path = path.trim_end_matches("/mod");
        let root = path == "lib";
        path.split('/').filter(|_| !root).map(str::to_owned).collect()
    }
}

/// Returns the sources in order of their paths.
pub(crate) fn read_sources() -> Vec<Source> {
    let mut paths = Vec::new();
    list_files("src", &mut paths);
    paths.sort();
    let is_rust = |path: &str| Path::new(path).extension().is_some_and(|is| is == "rs");
    let is_code = |path: &String| is_rust(path) && !is_test(path);
    let read = |path: String| Source { text: fs::read_to_string(&path).unwrap(), path };
    let sources: Vec<_> = paths.into_iter().filter(is_code).map(read).collect();
    assert!(!sources.is_empty(), "no code under src/");
    sources
}

fn list_files(folder: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            list_files(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

/// Returns whether a file contains only tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}
