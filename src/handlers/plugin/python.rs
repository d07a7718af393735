//! Plugins that are Python classes, and the package that runs them.

use super::{Plugin, find_plugin_program};
use crate::{
    handlers::{
        CLASSES,
        ini::{IniError, Section},
        script::join_paths,
    },
    settings::GlueSettings,
    support::suggest::suggest,
};
use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

/// Where the Python package is, relative to the program: installed, or in the source tree.
const PACKAGE_FOLDERS: &[&str] = &[
    "../lib/docker-glue/python",
    "../../packaging/python",
    "../../../packaging/python",
    "/usr/lib/docker-glue/python",
];

pub(crate) fn plugin_from_class(
    class: &str,
    head: &Section,
    settings: &GlueSettings,
) -> Result<Plugin, IniError> {
    let error_at_class = |text: String| head.error_at("class", text);
    let name = class.strip_prefix("python:").unwrap_or(class).trim();
    let (module, class) = split_class_name(name).ok_or_else(|| {
        error_at_class(format!(
            "{class:?} is not a class in a module, such as python:demo.DemoHandler"
        ))
    })?;
    let folders = settings.trusted_folders(&settings.plugin_paths);
    if !module_exists(module, &folders) {
        let text = missing_module_message(name, module, &folders);
        return Err(error_at_class(settings.missing_message(text, &settings.plugin_paths)));
    }
    let package = find_package().ok_or_else(|| {
        error_at_class(format!(
            "docker-glue's Python package is not in {}",
            PACKAGE_FOLDERS.join(", ")
        ))
    })?;
    let program = find_plugin_program("python3", settings)
        .map_err(|_| error_at_class("the plugin needs python3, which is not in PATH".to_owned()))?;
    // The package comes first, so that nothing in the plugin path hides it.
    let folders = folders.iter().filter_map(|folder| absolute(folder).ok());
    let inherited = settings.machine.env.get("PYTHONPATH").filter(|text| !text.is_empty());
    let inherited = inherited.into_iter().flat_map(env::split_paths);
    let path = env::join_paths([package.clone()].into_iter().chain(folders).chain(inherited))
        .map_err(|error| error_at_class(format!("the plugin path: {error}")))?;
    Ok(Plugin {
        program,
        arguments: ["-m", "docker_glue.runner", module, class].map(Into::into).into(),
        folder: package,
        environment: vec![("PYTHONPATH".to_owned(), path)],
        timeout: Duration::ZERO,
    })
}

/// Splits `demo.DemoHandler` or `demo:DemoHandler` into module and class.
fn split_class_name(name: &str) -> Option<(&str, &str)> {
    let (module, class) = name.rsplit_once(['.', ':'])?;
    let is_word = |word: &str| {
        let mut letters = word.chars();
        let first = |c: char| c.is_alphabetic() || c == '_';
        letters.next().is_some_and(first) && letters.all(|c| c.is_alphanumeric() || c == '_')
    };
    (module.split('.').all(is_word) && is_word(class)).then_some((module, class))
}

fn module_exists(module: &str, folders: &[PathBuf]) -> bool {
    let path = module.replace('.', "/");
    let files = [format!("{path}.py"), format!("{path}/__init__.py")];
    folders.iter().any(|folder| files.iter().any(|file| folder.join(file).is_file()))
}

fn missing_module_message(name: &str, module: &str, folders: &[PathBuf]) -> String {
    let class_names: Vec<_> =
        CLASSES.iter().map(|(_, long)| *long).filter(|text| !text.is_empty()).collect();
    let file = module.replace('.', "/") + ".py";
    match suggest(name, &class_names) {
        Some(near) if name.starts_with("DockerGlue.") && is_same_module(name, near) => {
            format!("unknown class {name:?}; did you mean {near}?")
        }
        _ => format!("no {file} in {}", join_paths(folders)),
    }
}

/// All names of Docker Glue have the same beginning, so names are only similar if the module is the same.
fn is_same_module(name: &str, class_names: &str) -> bool {
    let module = |name: &str| name.rsplit_once('.').map(|pair| pair.0.to_lowercase());
    module(name) == module(class_names)
}

fn find_package() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let home = program.parent().unwrap_or(Path::new("/"));
    let mut found = PACKAGE_FOLDERS.iter().map(|folder| home.join(folder));
    let is_package = |folder: &PathBuf| folder.join("docker_glue/runner.py").is_file();
    fs::canonicalize(found.find(is_package)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_name_is_split_at_last_separator() {
        for (name, expected) in [
            ("demo.Demo", Some(("demo", "Demo"))),
            ("demo:Demo", Some(("demo", "Demo"))),
            ("a.b.c_1.Demo", Some(("a.b.c_1", "Demo"))),
            ("a.b:Demo", Some(("a.b", "Demo"))),
            ("Demo", None),
            ("demo.", None),
            (".Demo", None),
            ("../x.Demo", None),
            ("a b.Demo", None),
            ("1a.Demo", None),
            ("a:b:Demo", None),
        ] {
            assert_eq!(split_class_name(name), expected, "{name}");
        }
    }

    #[test]
    fn misspelled_builtin_class_is_suggested_missing_module_is_named() {
        let message = |name: &str| {
            let (module, _) = split_class_name(name).unwrap();
            missing_module_message(name, module, &["/a".into(), "/b".into()])
        };
        assert_eq!(
            message("DockerGlue.handlers.exec.ScriptHandlr"),
            "unknown class \"DockerGlue.handlers.exec.ScriptHandlr\"; did you mean \
             DockerGlue.handlers.exec.ScriptHandler?"
        );
        assert_eq!(
            message("DockerGlue.handlers.demo.DemoHandler"),
            "no DockerGlue/handlers/demo.py in /a, /b"
        );
    }
}
