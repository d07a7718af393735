//! README.md and the book as text: every page is listed, every link resolves, every label, option and default that is
//! named exists, and references that are generated from the code are up to date.

use crate::common::pages::{self, Page, absolute, all, book, container};
use docker_glue::{
    label::{self, LabelLimits},
    model::{
        label_option::{OPTIONS, OptionScope},
        problem::Reason,
    },
    settings::options::{self, Program, glue, udp::udp_command},
};
use regex_lite::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

const LABELS: &str = "docs/src/reference/labels.md";
/// What other programs call their options.
const MIGRATE: &str = "docs/src/migrate/";
/// The pages at the top that link into the tree.
const TOP: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

#[test]
fn summary_lists_every_page_once() {
    let listed: Vec<_> = book().into_iter().map(|page| page.path).collect();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice: {listed:?}");
    let files = pages::files().into_iter().filter(|path| !path.ends_with("/SUMMARY.md"));
    assert_eq!(files.collect::<BTreeSet<_>>(), once);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let top = TOP.map(Page::read);
    for page in all().iter().chain(&top) {
        for link in page.links().into_iter().filter(|link| !link.contains("://")) {
            check_link(page, &link);
        }
    }
}

fn check_link(page: &Page, link: &str) {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = absolute(&page.path).parent().unwrap().to_owned();
    let target = if file.is_empty() { absolute(&page.path) } else { folder.join(file) };
    assert!(target.exists(), "{}: {link} leads nowhere", page.path);
    if anchor.is_empty() {
        return;
    }
    let anchors = Page::read(target.to_str().unwrap()).anchors();
    assert!(anchors.iter().any(|text| text == anchor), "{}: no heading {link}", page.path);
}

/// The book's own pages become HTML; others would not.
#[test]
fn no_page_of_the_book_links_to_markdown_outside_of_it() {
    let source = absolute("docs/src").canonicalize().unwrap();
    for page in book() {
        let folder = absolute(&page.path).parent().unwrap().to_owned();
        for link in page.links().iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            let target = folder.join(file).canonicalize();
            let inside = target.is_ok_and(|target| target.starts_with(&source));
            let is_page = Path::new(file).extension().is_some_and(|end| end == "md");
            assert!(inside || !is_page, "{}: {link}", page.path);
        }
    }
}

/// Words and phrases that the style of CONTRIBUTING.md avoids.
const AVOIDED: [&str; 13] = [
    "told",
    "anew",
    "nobody",
    "somebody",
    "beside",
    "meanwhile",
    "whoever",
    "takes no part",
    "take no part",
    "costs nothing",
    "has no use",
    "no use there",
    "of ours",
];

/// Code spans are the program's words, and fenced blocks what it prints.
#[test]
fn prose_is_plain() {
    let code = Regex::new("`[^`]*`").unwrap();
    let words = Regex::new(&format!(r"(?i)\b({})\b", AVOIDED.join("|"))).unwrap();
    let top = TOP.map(Page::read);
    let mut found = Vec::new();
    for page in all().into_iter().chain(top) {
        let prose = page.prose();
        for line in code.replace_all(&prose, "").lines() {
            let avoided = words.find_iter(line).map(|word| word.as_str().to_owned());
            found.extend(avoided.map(|word| format!("{}: {word}: {line}", page.path)));
        }
    }
    assert!(found.is_empty(), "write it in plain words:\n{}", found.join("\n"));
}

/// What the programs print: help, texts in the source, and comments in HAProxy's configuration.
#[test]
fn texts_of_the_programs_are_plain() {
    let words = Regex::new(&format!(r"(?i)\b({})\b", AVOIDED.join("|"))).unwrap();
    let mut found = Vec::new();
    for (name, text) in program_texts() {
        let lines = text.lines().filter(|line| words.is_match(line));
        found.extend(lines.map(|line| format!("{name}: {line}")));
    }
    assert!(found.is_empty(), "write it in plain words:\n{}", found.join("\n"));
}

fn program_texts() -> Vec<(String, String)> {
    let commands = [options::balancer_command(), glue::GlueOptions::command_line(), udp_command()];
    let mut texts: Vec<_> = commands.into_iter().flat_map(help_texts).collect();
    let literal = Regex::new(r#""(?:\\(?s:.)|[^"\\])*""#).unwrap();
    for path in files_below("src".as_ref()) {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests speak to those who read the source.
        if name.contains("tests") {
            continue;
        }
        let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        let code = kept_names(&code);
        let literals: Vec<_> = literal.find_iter(&code).map(|found| found.as_str()).collect();
        texts.push((name, literals.join("\n")));
    }
    for path in files_below("tests/golden".as_ref()) {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("haproxy")) {
            let text = std::fs::read_to_string(&path).unwrap();
            texts.push((path.display().to_string(), text));
        }
    }
    assert!(200 < texts.len(), "only {} texts", texts.len());
    texts
}

/// Without the names of before that the source has as data.
fn kept_names(code: &str) -> String {
    Regex::new(r#"alias = "[^"]*"|OLD_NO_SERVER: &str = "[^"]*""#)
        .unwrap()
        .replace_all(code, "")
        .into()
}

fn help_texts(mut command: clap::Command) -> Vec<(String, String)> {
    let name = format!("{} --help", command.get_name());
    let text = command.render_long_help().to_string();
    let commands = command.get_subcommands().cloned().flat_map(help_texts);
    std::iter::once((name, text)).chain(commands).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.into_iter().chain(folders.iter().flat_map(|path| files_below(path))).collect()
}

#[test]
fn readme_has_at_most_200_lines() {
    assert!(pages::readme().text.lines().count() <= 200);
}

/// Packages carry every page, at the same place relative to the examples.
#[test]
fn packages_have_every_page() {
    let assets = std::fs::read_to_string("packaging/assets").unwrap();
    for path in pages::files() {
        let folder = path.rsplit_once('/').unwrap().0;
        let rule = format!("644 {folder}/*.md");
        let row = assets.lines().find(|line| line.split("  ").next() == Some(&rule));
        let row = row.unwrap_or_else(|| panic!("packaging/assets has no row for {path}"));
        assert!(row.ends_with(&format!("/usr/share/doc/docker-glue/{folder}/")), "{row}");
    }
}

#[test]
fn every_label_that_is_named_exists() {
    let mut all_names = BTreeSet::new();
    for page in all() {
        for name in label_names(&page) {
            let labels = BTreeMap::from([(name.clone(), "1".to_owned())]);
            let problems =
                label::parse_labels(&container(labels), &LabelLimits::default()).problems;
            let unknown = problems
                .iter()
                .find(|problem| matches!(problem.reason, Reason::UnknownLabel { .. }));
            assert!(unknown.is_none(), "{}: {}", page.path, unknown.unwrap());
            all_names.insert(name);
        }
    }
    assert!(all_names.len() > 10, "{all_names:?}");
}

fn label_names(page: &Page) -> BTreeSet<String> {
    // Mistakes are shown in these, as mistakes; so they are in what the code says of them.
    let shown =
        Regex::new("(?s)```(text|console)\n.*?```|<!-- generated.*?<!-- end of generated -->")
            .unwrap();
    let text = page.text.replace("<port>", "80");
    let prose = shown.replace_all(&text, "");
    let word = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    // A file's name such as docker-glue_0.1.0-1_amd64.deb is no label.
    let before = |c: char| word(c) || c == '-';
    let starts = prose.match_indices("glue_").filter(|(at, _)| !prose[..*at].ends_with(before));
    // A port may be a range.
    let part = |c: char| word(c) || c == '-';
    let names = starts.map(|(at, _)| prose[at..].split(|c| !part(c)).next().unwrap());
    let names = names.map(|name| name.trim_end_matches(['.', '-']).to_owned());
    // `glue_` and `glue_tcp_` are how they begin.
    names.filter(|name| !name.ends_with('_')).collect()
}

#[test]
fn every_label_option_has_a_row() {
    let page = Page::read(LABELS).text;
    let options = OPTIONS.iter().filter(|spec| spec.scope != OptionScope::Derived);
    let options =
        options.flat_map(|spec| spec.protocols.iter().map(|protocol| spec.label(*protocol)));
    for name in options {
        assert!(page.contains(&format!("\n| `{name}` |")), "{LABELS} has no row for {name}");
    }
}

/// A default in the table of labels is what holds where the label is absent.
#[test]
fn every_default_of_a_label_is_its_default() {
    let asks = |labels: BTreeMap<String, String>| {
        let reading = label::parse_labels(&container(labels), &LabelLimits::default());
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        reading.requests
    };
    let base =
        [("glue_http_80_host", "a.test"), ("glue_tcp_ports", "3000"), ("glue_udp_ports", "53")];
    let base = BTreeMap::from(base.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let page = Page::read(LABELS).text;
    let rows: Vec<_> = page.lines().filter_map(default_of).collect();
    assert_eq!(rows.len(), 38, "{rows:?}");
    for (label, default) in rows {
        let mut labels = base.clone();
        labels.insert(label.clone(), default.clone());
        assert_eq!(asks(labels), asks(base.clone()), "{label}={default}");
    }
}

/// Of a row such as ``| `glue_http_<port>_weight` | 0 to 256 | `100` | share … |``.
fn default_of(row: &str) -> Option<(String, String)> {
    let cells: Vec<_> = row.split(" | ").collect();
    let label = cells[0].strip_prefix("| `")?.strip_suffix('`')?;
    let (protocol, _) = label.strip_prefix("glue_")?.split_once("_<port>_")?;
    let port = match protocol {
        "tcp" => "3000",
        "udp" => "53",
        _ => "80",
    };
    let default = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
    Some((label.replace("<port>", port), default.replace("<port>", port)))
}

/// In words as in `--allow-ports 80,443`: the option is there and takes the value.
#[test]
fn every_option_that_is_named_exists() {
    let pages = all().into_iter().filter(|page| !page.path.starts_with(MIGRATE));
    let named: usize = pages.map(|page| check_options(&page)).sum();
    assert!(named > 10, "{named}");
}

fn check_options(page: &Page) -> usize {
    let prose = page.prose();
    let spans = prose.split('`').skip(1).step_by(2);
    let spans: Vec<_> =
        spans.filter(|text| text.starts_with("--") && !text.contains('|')).collect();
    for span in &spans {
        let words = shlex::split(span).unwrap();
        let programs =
            [options::balancer_command(), glue::GlueOptions::command_line(), udp_command()];
        let fits = programs.into_iter().any(|program| takes(program, &words));
        assert!(fits, "{}: there is no option {span}", page.path);
    }
    spans.len()
}

/// Whether a program, or one of its commands, has the option of the first word and takes the others.
fn takes(program: clap::Command, words: &[String]) -> bool {
    let name = words[0].trim_start_matches("--");
    let name = name.split('=').next();
    let find = |command: &clap::Command| {
        command.get_arguments().find(|arg| arg.get_long() == name).cloned()
    };
    let Some(option) = find(&program) else {
        let option = program.get_subcommands().find_map(find);
        return option.is_some_and(|arg| words.len() == 1 || arg.get_action().takes_values());
    };
    if words.len() == 1 || option.get_action().takes_values() && words[1].is_empty() {
        return true;
    }
    let mode = program.get_arguments().any(|arg| arg.get_long() == Some("watch"));
    let program_words = [program.get_name().to_owned()].into_iter();
    let program_words = program_words.chain(mode.then(|| "--watch".to_owned()));
    let line = program_words.chain(words.iter().cloned());
    program.try_get_matches_from(line).is_ok()
}
