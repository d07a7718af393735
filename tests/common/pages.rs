//! The pages of README.md and of the book, in the order of docs/src/SUMMARY.md.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary takes what it needs of these"
)]

use docker_glue::model::container::{
    Container, ContainerId, ContainerState, ExposedPorts, Health, NetworkMode,
};
use regex_lite::Regex;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCE: &str = "docs/src";

/// A Markdown file.
#[derive(Debug, Clone)]
pub struct Page {
    /// The path relative to the root of the repository.
    pub path: String,
    pub text: String,
}

/// A fenced block, without its fences.
#[derive(Debug, Clone)]
pub struct Block {
    pub kind: String,
    pub text: String,
}

impl Page {
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(absolute(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { path: path.to_owned(), text }
    }

    pub fn write(&self) {
        fs::write(absolute(&self.path), &self.text).unwrap();
    }

    pub fn blocks(&self) -> Vec<Block> {
        let parts: Vec<_> = self.text.split("```").collect();
        assert!(parts.len() % 2 == 1, "{}: a block is not closed", self.path);
        let inside = parts.into_iter().skip(1).step_by(2);
        let block = |part: &str| {
            let (kind, text) = part.split_once('\n').unwrap();
            Block { kind: kind.to_owned(), text: text.to_owned() }
        };
        inside.map(block).collect()
    }

    /// Returns the text without fenced blocks and without parts that are generated from the code.
    pub fn prose(&self) -> String {
        let left_out =
            Regex::new("(?s)```.*?```|<!-- generated.*?<!-- end of generated -->").unwrap();
        left_out.replace_all(&self.text, "").into_owned()
    }

    /// Returns the targets of `[text](target)`.
    pub fn links(&self) -> Vec<String> {
        let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
        link.captures_iter(&self.prose()).map(|found| found[1].to_owned()).collect()
    }

    /// Returns the anchors of the headings, as GitHub and mdBook derive them.
    pub fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

pub fn absolute(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

pub fn readme() -> Page {
    Page::read("README.md")
}

/// Returns the pages that SUMMARY.md lists.
pub fn book() -> Vec<Page> {
    let summary = Page::read(&format!("{SOURCE}/SUMMARY.md"));
    summary.links().iter().map(|link| Page::read(&format!("{SOURCE}/{link}"))).collect()
}

/// Returns README.md and then the book.
pub fn all() -> Vec<Page> {
    [vec![readme()], book()].concat()
}

/// Returns the text of the blocks of one kind, in order.
pub fn blocks(pages: &[Page], kind: &str) -> Vec<String> {
    let all = pages.iter().flat_map(Page::blocks);
    all.filter(|block| block.kind == kind).map(|block| block.text).collect()
}

/// Returns every Markdown file in the book's folder, in no defined order.
pub fn files() -> Vec<String> {
    let mut folders = vec![absolute(SOURCE)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                let path = path.strip_prefix(ROOT).unwrap();
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files
}

/// Returns a container with these labels, with the name and id that the pages use.
pub fn container(labels: BTreeMap<String, String>) -> Container {
    Container {
        id: ContainerId::new("0c3fa10e29c4".to_owned() + &"0".repeat(52)),
        name: "shop".to_owned(),
        image: "shop".to_owned(),
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: labels.into(),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed: ExposedPorts { tcp: [80, 3000].into(), udp: [53].into() },
        published: Vec::new(),
        stop_config: None,
        stopping: false,
        started: None,
    }
}
