//! The folders of src/ are layers: each layer may import only layers below it.

#[path = "layers/cases.rs"]
mod cases;
#[path = "layers/path.rs"]
mod path;
#[path = "layers/pure.rs"]
mod pure;
#[path = "layers/source.rs"]
mod source;
#[path = "layers/token.rs"]
mod token;

use std::fs;

use path::{Path, read_paths};
use source::{Source, read_sources};
use token::read_code;

/// The layers from top to bottom, each with its purpose. The documentation of src/lib.rs has the same lines.
const LAYERS: [(&str, &str); 16] = [
    ("bin", "the `main` functions of the programs"),
    ("cli", "runs subcommands, and starts the programs with their tasks and channels"),
    (
        "handlers",
        "docker-glue: passes events in order to scripts, plugins, templates, publishers and a balancer",
    ),
    ("api", "the HTTP servers: control socket, metrics, dashboard"),
    ("controller", "docker-balancer's loop: reconcile, apply, count, keep the history"),
    ("settings", "options and settings files as checked values"),
    ("report", "what an operator reads: status, explain, plan, history; pure"),
    ("migrate", "translates labels for other proxies into labels of docker-balancer; pure"),
    (
        "haproxy",
        "desired configuration, observed state, plan, runtime commands, the HAProxy process",
    ),
    (
        "sources",
        "reads containers: from a Docker engine that it follows, or once from a compose file",
    ),
    (
        "fleet",
        "several balancers that know each other through etcd: what each serves, and drains of all",
    ),
    ("routing", "from containers to routes, over time; pure"),
    ("label", "parses the text of labels into options; pure"),
    ("model", "containers, routes, options and problems as values; pure"),
    ("udp", "what docker-glue-udp serves, the protocol on its socket, and the data plane itself"),
    (
        "support",
        "everything that does not depend on containers: log, signals, systemd, files, text",
    ),
];

/// Imports that the order allows but that are forbidden.
const FORBIDDEN: [(&str, &str); 2] = [("haproxy", "sources"), ("sources", "label")];

#[test]
fn src_has_layers_only() {
    let entries = fs::read_dir("src").unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let others: Vec<_> = names.filter(|name| name != "lib.rs" && !is_layer(name)).collect();
    assert!(others.is_empty(), "src/ has entries that are no layers: {}", others.join(" "));
}

#[test]
fn imports_point_downward() {
    let broken: Vec<_> = read_sources().iter().flat_map(find_broken_arrows).collect();
    assert!(broken.is_empty(), "{} imports:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn lib_documents_each_layer() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let lines = LAYERS.iter().filter(|(layer, _)| fs::exists(format!("src/{layer}")).unwrap());
    let lines = lines.map(|(layer, purpose)| format!("//! - `{layer}/`: {purpose}\n"));
    let lines: String = lines.collect();
    assert!(text.contains(&lines), "src/lib.rs lacks these lines:\n{lines}");
}

fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|(layer, _)| *layer == name)
}

/// Returns each violation as `src/label/read.rs:3: label -> haproxy: crate::haproxy::config (upward)`.
fn find_broken_arrows(source: &Source) -> Vec<String> {
    let module = source.module();
    let paths = read_paths(&read_code(&source.text), &module);
    let found = paths.iter().filter_map(|path| Some((path.line, judge_path(&module, path)?)));
    found.map(|(line, reason)| format!("{}:{line}: {reason}", source.path)).collect()
}

fn judge_path(module: &[String], path: &Path) -> Option<String> {
    let Some(from) = module.first() else {
        // A re-export at the crate's root would hide the layer that a name comes from.
        return Some("the crate's root has modules only".to_owned());
    };
    let to = target(path)?;
    let reason = judge_arrow(from, to)?;
    Some(format!("{from} -> {to}: {} ({reason})", path.segments.join("::")))
}

/// Returns the folder that a path leads to, if the path is in the crate.
fn target(path: &Path) -> Option<&str> {
    let [first, folder, ..] = path.segments.as_slice() else { return None };
    (first == "crate").then_some(folder)
}

/// Returns why an import is not allowed.
fn judge_arrow(from: &str, to: &str) -> Option<&'static str> {
    let level = |name| LAYERS.iter().position(|(layer, _)| *layer == name);
    match (level(from), level(to)) {
        _ if from == to => None,
        (_, None) => Some("no layer"),
        (None, _) => Some("from no layer"),
        (Some(from), Some(to)) if to < from => Some("upward"),
        _ => FORBIDDEN.contains(&(from, to)).then_some("forbidden"),
    }
}
