//! Classes of Python, and the package that runs them.

use super::{Plugin, program_of};
use crate::{
    handler::{
        CLASSES,
        ini::{Mistake, Section, near},
        script::listed,
    },
    settings::GlueSettings,
};
use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

/// Where the package is, seen from the program: installed, and in the source tree it was built in.
const PACKAGE: &[&str] = &[
    "../lib/docker-glue/python",
    "../../packaging/python",
    "../../../packaging/python",
    "/usr/lib/docker-glue/python",
];

pub(super) fn read(
    class: &str,
    head: &Section,
    settings: &GlueSettings,
) -> Result<Plugin, Mistake> {
    let mistake = |text: String| head.mistake("class", text);
    let name = class.strip_prefix("python:").unwrap_or(class).trim();
    let (module, class) = split(name).ok_or_else(|| {
        mistake(format!("{class:?} is no class of a module, such as python:demo.DemoHandler"))
    })?;
    let folders = settings.trusted(&settings.plugin_paths);
    if !is_there(module, &folders) {
        let text = absent(name, module, &folders);
        return Err(mistake(settings.absent(text, &settings.plugin_paths)));
    }
    let package = package().ok_or_else(|| {
        mistake(format!("docker-glue's package for Python is in none of {}", PACKAGE.join(", ")))
    })?;
    let program = program_of("python3", settings)
        .map_err(|_| mistake("it needs python3, which is not in PATH".to_owned()))?;
    // The package comes first, whatever is in the plugin path.
    let folders = folders.iter().filter_map(|folder| absolute(folder).ok());
    let inherited = settings.machine.env.get("PYTHONPATH").filter(|text| !text.is_empty());
    let inherited = inherited.into_iter().flat_map(env::split_paths);
    let path = env::join_paths([package.clone()].into_iter().chain(folders).chain(inherited))
        .map_err(|error| mistake(format!("the plugin path: {error}")))?;
    Ok(Plugin {
        program,
        arguments: ["-m", "docker_glue.runner", module, class].map(Into::into).into(),
        folder: package,
        environment: vec![("PYTHONPATH".to_owned(), path)],
        timeout: Duration::ZERO,
    })
}

/// `demo.DemoHandler`, `demo:DemoHandler` → module and class.
fn split(name: &str) -> Option<(&str, &str)> {
    let (module, class) = name.rsplit_once(['.', ':'])?;
    let is_word = |word: &str| {
        let mut letters = word.chars();
        let first = |letter: char| letter.is_alphabetic() || letter == '_';
        letters.next().is_some_and(first) && letters.all(|it| it.is_alphanumeric() || it == '_')
    };
    (module.split('.').all(is_word) && is_word(class)).then_some((module, class))
}

fn is_there(module: &str, folders: &[PathBuf]) -> bool {
    let path = module.replace('.', "/");
    let files = [format!("{path}.py"), format!("{path}/__init__.py")];
    folders.iter().any(|folder| files.iter().any(|file| folder.join(file).is_file()))
}

fn absent(name: &str, module: &str, folders: &[PathBuf]) -> String {
    let known: Vec<_> = CLASSES.iter().map(|(_, long)| *long).filter(|it| !it.is_empty()).collect();
    let file = module.replace('.', "/") + ".py";
    match near(name, &known) {
        Some(near) if name.starts_with("DockerGlue.") && likely(name, near) => {
            format!("there is no class {name:?}; did you mean {near}?")
        }
        _ => format!("there is no {file} in {}", listed(folders)),
    }
}

/// All names of Docker Glue begin alike: they are near only where the module is the same.
fn likely(name: &str, known: &str) -> bool {
    let module = |name: &str| name.rsplit_once('.').map(|it| it.0.to_lowercase());
    module(name) == module(known)
}

fn package() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let home = program.parent().unwrap_or(Path::new("/"));
    let mut found = PACKAGE.iter().map(|folder| home.join(folder));
    let is_package = |folder: &PathBuf| folder.join("docker_glue/runner.py").is_file();
    fs::canonicalize(found.find(is_package)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_last_word() {
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
            assert_eq!(split(name), expected, "{name}");
        }
    }

    #[test]
    fn a_misspelt_class_of_ours_is_told_from_a_missing_plugin() {
        let told = |name: &str| {
            let (module, _) = split(name).unwrap();
            absent(name, module, &["/a".into(), "/b".into()])
        };
        assert_eq!(
            told("DockerGlue.handlers.exec.ScriptHandlr"),
            "there is no class \"DockerGlue.handlers.exec.ScriptHandlr\"; did you mean \
             DockerGlue.handlers.exec.ScriptHandler?"
        );
        assert_eq!(
            told("DockerGlue.handlers.demo.DemoHandler"),
            "there is no DockerGlue/handlers/demo.py in /a, /b"
        );
    }
}
