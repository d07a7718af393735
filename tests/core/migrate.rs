//! `docker-balancer migrate`: translations of whole compose files, and of a collection of them.

#![allow(clippy::print_stdout, reason = "the counts are what the test is run for")]

use docker_glue::{
    migrate::{self, Outcome, Program, ServiceInput, Translation},
    sources::compose::{self, Deployment, VariableMode},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    files.sort();
    files
}

/// Returns `None` if the file is no compose file.
fn translate_file(program: Program, file: &Path) -> Option<Translation> {
    let project =
        compose::read_project_with(file, &BTreeMap::new(), Deployment::Swarm, VariableMode::Keep);
    let project = project.ok()?;
    let services = project.services.iter().chain(&project.inactive);
    let services: Vec<_> = services.map(|service| ServiceInput::from_service(service, 0)).collect();
    Some(migrate::translate(program, &services))
}

/// Returns what the program prints for a file, by its exit status 0.
fn print_migration(program: &str, files: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    let output = command.args(["migrate", "--from", program, "--compose"]).args(files).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `tests/migrate/<program>.yaml`, each with its translation.
#[test]
fn migration_of_each_program_matches_the_golden() {
    let files = files_below("tests/migrate".as_ref());
    assert_eq!(files.len(), Program::ALL.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let text = print_migration(name, &[file.to_str().unwrap()]);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/migrate"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

/// What is printed is a compose file with the same services, whose variables are filled in when it is used.
#[test]
fn printed_text_is_a_compose_file() {
    let text = print_migration("traefik", &["tests/migrate/traefik.yaml"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.yaml");
    fs::write(&file, text).unwrap();
    let environment = BTreeMap::from([("DOMAIN".to_owned(), "example.com".to_owned())]);
    let project = compose::read_project(&file, &environment, Deployment::Compose).unwrap();
    let names: Vec<_> = project.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["shop", "api", "db"]);
    let labels = &project.services[1].labels;
    assert_eq!(labels["glue_http_8080_host"], "api.example.com");
}

/// A middleware of one file is found by the services of another; each file has a document of its own.
#[test]
fn several_files_are_translated_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, labels: &str| {
        let file = folder.path().join(name);
        fs::write(&file, format!("services:\n  {name}:\n    labels:\n{labels}")).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let router = "      - traefik.http.routers.a.rule=Host(`a.test`)\n";
    let port = "      - traefik.http.services.a.loadbalancer.server.port=80\n";
    let used = "      - traefik.http.routers.a.middlewares=lan\n";
    let lan = "      - traefik.http.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/8\n";
    let other = router.replace("a.test", "b.test");
    let first = write("first", &format!("{router}{port}{used}"));
    let second = write("second", &format!("{other}{port}{lan}"));
    let text = print_migration("traefik", &[&first, &second]);
    let documents: Vec<_> = text.split("---\n").collect();
    assert!(documents[0].contains("- glue_http_80_allow=10.0.0.0/8"), "{text}");
    assert!(documents[1].contains("- glue_http_80_host=b.test"), "{text}");
}

/// Counts of one program's files.
#[derive(Default)]
struct Counts {
    whole: usize,
    partial: usize,
    nothing: usize,
    unreadable: usize,
    without: usize,
    labels: usize,
    /// Texts of losses.
    losses: BTreeMap<String, usize>,
}

impl Counts {
    fn add_file(&mut self, program: Program, file: &Path) {
        let Some(translation) = translate_file(program, file) else {
            self.unreadable += 1;
            println!("{}: not readable", file.display());
            return;
        };
        match translation.outcome() {
            None => self.without += 1,
            Some(Outcome::Whole) => self.whole += 1,
            Some(Outcome::Partial) => self.partial += 1,
            Some(Outcome::Nothing) => {
                self.nothing += 1;
                println!("{}: nothing translated", file.display());
            }
        }
        for service in &translation.services {
            self.labels += service.labels.len();
            for note in service.notes.iter().filter(|note| note.kind == migrate::NoteKind::Loss) {
                *self.losses.entry(note.text.clone()).or_default() += 1;
            }
        }
    }
}

/// The folder has a folder for each program: `traefik`, `nginx-proxy`, `caddy`, `easyhaproxy`.
#[test]
#[ignore = "GLUE_CORPUS=DIRECTORY cargo test --test core migrate::corpus -- --ignored --nocapture"]
fn corpus_is_counted() {
    let folder = PathBuf::from(std::env::var_os("GLUE_CORPUS").expect("GLUE_CORPUS is set"));
    let names = ["traefik", "nginx-proxy", "caddy", "easyhaproxy"];
    let mut lines = Vec::new();
    for (program, name) in Program::ALL.into_iter().zip(names) {
        let mut counts = Counts::default();
        for file in files_below(&folder.join(name)) {
            counts.add_file(program, &file);
        }
        let Counts { whole, partial, nothing, unreadable, without, labels, losses } = counts;
        let mut losses: Vec<_> = losses.into_iter().collect();
        losses.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        losses.truncate(25);
        println!("{program}: most frequent losses");
        for (text, count) in losses {
            println!("{count:6}  {text}");
        }
        lines.push(format!(
            "{program:20} whole {whole:4}  in part {partial:4}  not {nothing:4}  unreadable {unreadable:4}  \
             without labels {without:4}  labels {labels}"
        ));
    }
    println!("{}", lines.join("\n"));
}
