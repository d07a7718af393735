//! Private keys are in the stores of docker-balancer, and nowhere else: what it prints, answers and writes is searched
//! for each key that it has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Directories of the state directory that contain keys.
const STORES: [&str; 3] = ["certs", "acme", "own-ca"];
/// Answers of the control socket that contain what docker-balancer knows.
const ANSWERS: [&str; 6] =
    ["/status", "/certificates", "/problems", "/history", "/routes", "/metrics"];

/// Returns the place that contains a key of the state directory: a text, another file of the state or the runtime
/// directory, or an answer of the control socket.
pub fn find_key_outside_stores(
    state: &Path,
    runtime: &Path,
    texts: &[(&str, String)],
) -> Option<String> {
    let keys: BTreeSet<_> =
        STORES.iter().flat_map(|store| keys_below(&state.join(store))).collect();
    if keys.is_empty() {
        return None;
    }
    let has_key = |text: &str| keys.iter().any(|key| text.contains(key.as_str()));
    let of_texts = texts.iter().find(|(_, text)| has_key(text)).map(|(name, _)| (*name).to_owned());
    let of_files = || {
        let is_store = |path: &Path| STORES.iter().any(|store| path.starts_with(state.join(store)));
        let files = files_below(state).into_iter().chain(files_below(runtime));
        let mut files = files.filter(|file| !is_store(file));
        let found = files
            .find(|file| has_key(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default())));
        found.map(|file| file.display().to_string())
    };
    let of_answers = || {
        let socket = runtime.join("control.sock");
        let mut paths = ANSWERS.iter().filter(|_| socket.exists());
        paths.find(|path| has_key(&answer_of(&socket, path))).map(|path| (*path).to_owned())
    };
    of_texts.or_else(of_files).or_else(of_answers)
}

fn answer_of(socket: &Path, path: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "5", "--unix-socket"]).arg(socket);
    let output = command.arg(format!("http://localhost{path}")).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the first line of each private key in the files: enough to recognize it.
fn keys_below(directory: &Path) -> Vec<String> {
    let files = files_below(directory).into_iter();
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| keys_of(&text)).collect()
}

fn keys_of(text: &str) -> Vec<String> {
    let blocks = text.split("PRIVATE KEY-----").skip(1).step_by(2);
    // The lines of RSA and EC keys begin alike, so the second one is taken, if there is one.
    let lines = blocks.filter_map(|block| {
        let lines = block.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('-'));
        lines.take(2).last().map(str::to_owned)
    });
    lines.collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let files = paths.flat_map(|path| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => files_below(&path),
        Ok(metadata) if metadata.is_file() => vec![path],
        _ => Vec::new(),
    });
    files.collect()
}
