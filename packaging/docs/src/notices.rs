//! The licences of the crates that are linked into the programs, word for word, as most of them ask for: what `cargo metadata`
//! says is linked, and the files that its sources have.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

const ROOT: &str = "docker-glue";
/// What a file with a licence, or with what belongs to one, is called.
const NAMES: &[&str] = &["licen", "copy", "notice", "unlicense"];
/// Crates without such a file, and the one of the same project and licence that has it.
const ELSEWHERE: &[(&str, &str)] = &[("bollard-stubs", "bollard"), ("tonic-prost", "tonic")];
const HEAD: &str = "\
docker-balancer, docker-glue and docker-glue-udp are linked with the crates below, and with the standard library of Rust (by the Rust project's
developers, MIT or Apache-2.0, whose text is below). Each text is followed by the next; those who share one stand above it.
";

#[derive(Debug)]
struct Crate {
    name: String,
    version: String,
    license: String,
    texts: BTreeMap<String, String>,
}

/// All of them, by name.
pub(crate) fn notices(root: &Path) -> Result<String> {
    let metadata = metadata(root)?;
    let mut crates = linked(&metadata)?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    for (name, other) in ELSEWHERE {
        let texts = crates
            .iter()
            .find(|it| it.name == *other)
            .map(|it| (it.texts.clone(), it.license.clone()));
        let Some(missing) = crates.iter_mut().find(|it| it.name == *name) else { continue };
        let (texts, license) =
            texts.with_context(|| format!("{other} is not linked, and had {name}'s licence"))?;
        ensure!(missing.license == license, "{name} has another licence than {other}");
        if missing.texts.is_empty() {
            missing.texts = texts;
        }
    }
    let without: Vec<_> =
        crates.iter().filter(|it| it.texts.is_empty()).map(|it| it.name.as_str()).collect();
    ensure!(without.is_empty(), "no licence is in the sources of {}", without.join(", "));
    Ok(printed(&crates))
}

/// Each text once, below all who have it.
fn printed(crates: &[Crate]) -> String {
    let mut of_text: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for it in crates {
        for (file, text) in &it.texts {
            let who = format!("{} {} ({}): {file}", it.name, it.version, it.license);
            of_text.entry(text).or_default().insert(who);
        }
    }
    let mut all: Vec<_> = of_text.into_iter().collect();
    all.sort_by(|(_, a), (_, b)| a.iter().cmp(b.iter()));
    let line = "-".repeat(100);
    let mut written = HEAD.to_owned();
    for (text, who) in all {
        let who: Vec<_> = who.into_iter().collect();
        written += &format!("\n{line}\n{}\n{line}\n\n{text}\n", who.join("\n"));
    }
    written
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform"]);
    let output = command.arg(host()?).current_dir(root).output().context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata")
}

/// What this machine's programs are built for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The packages that the programs' own leads to, but for those that work at build time alone.
fn linked(metadata: &Value) -> Result<Vec<&Value>> {
    let list = |value: &'static str| metadata.pointer(value).and_then(Value::as_array);
    let packages = list("/packages").context("no packages")?;
    let nodes = list("/resolve/nodes").context("no resolve")?;
    let by_id = |all: &'static str, id: &Value| {
        let all = if all == "packages" { packages } else { nodes };
        all.iter().find(|it| it["id"] == *id)
    };
    let root = packages.iter().find(|it| it["name"] == ROOT).context("the root is missing")?;
    let mut seen = BTreeSet::new();
    let mut waiting = vec![&root["id"]];
    let mut found = Vec::new();
    while let Some(id) = waiting.pop() {
        let Some(text) = id.as_str() else { bail!("an id is no text") };
        if !seen.insert(text) {
            continue;
        }
        let package = by_id("packages", id).context("a package is missing")?;
        if is_macro(package) {
            continue;
        }
        if package["name"] != ROOT {
            found.push(package);
        }
        let node = by_id("nodes", id).context("a node is missing")?;
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array();
            if kinds.into_iter().flatten().any(|kind| kind["kind"].is_null()) {
                waiting.push(&dependency["pkg"]);
            }
        }
    }
    Ok(found)
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array();
    let kinds = targets.into_iter().flatten().filter_map(|it| it["kind"].as_array()).flatten();
    kinds.into_iter().any(|kind| kind == "proc-macro")
}

fn read(package: &Value) -> Result<Crate> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let manifest = text("manifest_path");
    let folder = Path::new(&manifest).parent().context("a manifest is in no folder")?;
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_licence = NAMES.iter().any(|it| name.to_lowercase().starts_with(it));
        let is_text = !name.to_lowercase().ends_with(".rs") && path.is_file();
        if is_licence && is_text {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            texts.insert(name, String::from_utf8_lossy(&bytes).replace('\r', "").trim().to_owned());
        }
    }
    Ok(Crate { name: text("name"), version: text("version"), license: text("license"), texts })
}

#[cfg(test)]
mod tests {
    use super::notices;
    use std::path::Path;

    #[test]
    fn each_crate_that_is_linked_has_its_licence_in_the_notices() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let notices = notices(&root).unwrap();
        let names: Vec<_> = notices.lines().filter_map(|line| line.split_once(' ')).collect();
        let is_named = |name: &str| names.iter().any(|(first, _)| *first == name);
        for name in ["bollard", "bollard-stubs", "minijinja", "nix", "ring", "tokio", "tonic-prost"]
        {
            assert!(is_named(name), "{name}");
        }
        // For tests, and for the build.
        for name in ["docker-glue", "fantoccini", "insta", "clap_mangen", "serde_derive"] {
            assert!(!is_named(name), "{name}");
        }
        for part in ["Apache License", "Permission is hereby granted", "Redistribution and use"] {
            assert!(notices.contains(part), "{part}");
        }
        let places = ["/root/", "/home/", ".cargo"];
        assert!(places.iter().all(|it| !notices.contains(it)), "a machine's path is in it");
    }
}
