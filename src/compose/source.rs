//! Files, and what they are read with. The only part of this that opens any.

use super::{
    extend,
    interpolate::{self},
    note::{Note, Remark, Unread},
    variables,
    yaml::{self, Content, Node, Place},
};
use anyhow::{Result, anyhow, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) type Variables = BTreeMap<String, String>;

/// What one file may have, and what all of them may, in bytes.
pub(super) const LONGEST: u64 = 4 << 20;
const MOST: u64 = 64 << 20;
/// What a file costs at least.
const BLOCK: u64 = 4 << 10;
/// Files that include each other.
const DEEPEST: usize = 16;
/// What all texts come to, once their variables are filled in.
const FULLEST: usize = 32 << 20;
/// Nodes of all services, with what they extend.
const MOST_NODES: usize = 2_000_000;
/// Of one kind no more are told.
const MOST_TOLD: usize = 50;

/// Reads on, and remembers what is to be said and what it has cost.
pub(super) struct Reader {
    pub(super) notes: BTreeSet<Note>,
    /// Where relative names begin: the folder of the first file.
    pub(super) folder: PathBuf,
    read: u64,
    filled: usize,
    nodes: usize,
}

/// A file and what its variables are.
struct Wanted<'a> {
    name: &'a str,
    text: &'a str,
    folder: &'a Path,
    variables: &'a Variables,
    depth: usize,
}

impl Reader {
    pub(super) fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { notes: BTreeSet::new(), folder, read: 0, filled: 0, nodes: 0 }
    }

    /// The file whose text this is, with all that it includes.
    ///
    /// # Errors
    /// It is no YAML, or has no end.
    pub(super) fn load(&mut self, name: &str, text: &str, variables: &Variables) -> Result<Node> {
        let folder = self.folder.clone();
        self.load_one(&Wanted { name, text, folder: &folder, variables, depth: 0 })
    }

    fn load_one(&mut self, wanted: &Wanted<'_>) -> Result<Node> {
        let mut root = self.parse(wanted.name, wanted.text, wanted.variables)?;
        if 0 < wanted.depth
            && let Some(services) = root.get_mut("services")
            && let Content::Map(entries) = &mut services.content
        {
            for entry in entries {
                settle(&mut entry.value, wanted.folder);
            }
        }
        let includes: Vec<Node> = root.get("include").map_or(&[][..], Node::list).to_vec();
        for include in &includes {
            if wanted.depth == DEEPEST {
                self.notes.insert(Note::at(&include.place, Remark::Circle));
                break;
            }
            if let Some(included) = self.included(include, wanted)? {
                root = extend::root_onto(included, root);
            }
        }
        Ok(root)
    }

    /// One entry of `include`: a path, or `path`, `project_directory` and `env_file`.
    fn included(&mut self, include: &Node, from: &Wanted<'_>) -> Result<Option<Node>> {
        let paths = include.get("path").unwrap_or(include).list();
        let paths: Vec<&str> = paths.iter().filter_map(Node::text).collect();
        let mut folder = include.text_of("project_directory").map(|it| from.folder.join(it));
        let mut variables = None;
        let mut all: Option<Node> = None;
        for name in paths {
            let path = from.folder.join(name);
            let text = match self.text(name, &path) {
                Ok(text) => text,
                Err(why) => {
                    let remark = Remark::NoFile { file: name.to_owned(), why };
                    self.notes.insert(Note::at(&include.place, remark));
                    continue;
                }
            };
            let folder = folder.get_or_insert_with(|| super::folder(&path)).clone();
            if variables.is_none() {
                variables = Some(self.variables_of(include, &folder, from)?);
            }
            let variables = variables.as_ref().expect("they were read above");
            let (name, depth) = (path.display().to_string(), from.depth + 1);
            let wanted = Wanted { name: &name, text: &text, folder: &folder, variables, depth };
            match self.load_one(&wanted) {
                Ok(node) => {
                    all = Some(match all.take() {
                        None => node,
                        Some(before) => extend::root_onto(before, node),
                    });
                }
                Err(error) if error.is::<Endless>() => return Err(error),
                Err(error) => {
                    let remark = Remark::Included(format!("{error:#}"));
                    self.notes.insert(Note::at(&include.place, remark));
                }
            }
        }
        Ok(all)
    }

    /// Those of the file that includes win over those of the included project's own files.
    fn variables_of(
        &mut self,
        include: &Node,
        folder: &Path,
        from: &Wanted<'_>,
    ) -> Result<Variables> {
        let named = include.get("env_file").map_or(&[][..], Node::list);
        let files: Vec<PathBuf> = match named {
            [] => vec![folder.join(".env")],
            files => files.iter().filter_map(Node::text).map(|it| from.folder.join(it)).collect(),
        };
        let mut all = Variables::new();
        for file in files {
            if let Ok(text) = self.text(&file.display().to_string(), &file) {
                all.extend(variables::read(&text, from.variables).own);
            }
        }
        all.extend(from.variables.clone());
        self.fill(all.values().map(String::len).sum())?;
        Ok(all)
    }

    /// The variables of `.env`, and above them the shell's.
    pub(super) fn variables(&mut self, environment: &Variables) -> Variables {
        let path = self.folder.join(".env");
        let Ok(text) = self.text(".env", &path) else { return environment.clone() };
        let variables::Read { mut own, mistakes, .. } = variables::read(&text, environment);
        self.lines(&path.display().to_string(), mistakes);
        own.extend(environment.clone());
        own
    }

    fn lines(&mut self, file: &str, mistakes: Vec<(usize, interpolate::Mistake)>) {
        let name: Arc<str> = file.into();
        for (line, mistake) in mistakes.into_iter().take(MOST_TOLD) {
            let place = Place { file: Arc::clone(&name), line };
            self.notes.insert(Note::at(&place, Remark::Text(mistake)));
        }
    }

    /// Another file that a service extends one of; its relative names are settled.
    pub(super) fn beside(&mut self, file: &str, variables: &Variables) -> Result<Node, Unread> {
        let path = self.folder.join(file);
        let text = self.text(file, &path)?;
        let mut root = self
            .parse(&path.display().to_string(), &text, variables)
            .map_err(|error| Unread::Other(format!("{error:#}")))?;
        let folder = super::folder(&path);
        let services =
            if root.get("services").is_some() { root.get_mut("services") } else { Some(&mut root) };
        if let Some(Content::Map(entries)) = services.map(|it| &mut it.content) {
            for entry in entries {
                settle(&mut entry.value, &folder);
            }
        }
        Ok(root)
    }

    /// Parses a file, puts its documents together and fills in its variables.
    fn parse(&mut self, name: &str, text: &str, variables: &Variables) -> Result<Node> {
        let yaml::Parsed { documents, twice } = yaml::parse(name, text)?;
        for (key, place) in twice.into_iter().take(MOST_TOLD) {
            let remark = if crate::label::speaks([key.as_str()]) {
                Remark::LabelTwice(key)
            } else {
                Remark::Twice(key)
            };
            self.notes.insert(Note::at(&place, remark));
        }
        let documents = documents.into_iter().filter(|it| it.content != Content::Nothing);
        let Some(mut root) = documents.reduce(extend::root_onto) else {
            bail!("{name}: there is nothing in it")
        };
        root.texts(&mut |node| {
            let Content::Text(text) = &mut node.content else { return Ok(()) };
            match interpolate::fill(text, variables) {
                Ok(filled) => {
                    self.fill(filled.text.len())?;
                    (*text, node.blanks) = (filled.text, filled.blanks);
                }
                Err(mistake) => node.mistake = Some(Box::new(mistake)),
            }
            Ok(())
        })?;
        let mut mistakes = Vec::new();
        root.mistakes(&mut mistakes);
        for (place, mistake) in mistakes.into_iter().take(MOST_TOLD) {
            self.notes.insert(Note::at(place, Remark::Text(mistake.clone())));
        }
        Ok(root)
    }

    /// A file of variables that a service names.
    pub(super) fn values(
        &mut self,
        file: &str,
        variables: &Variables,
    ) -> Result<variables::Read, Unread> {
        let path = self.folder.join(file);
        let text = self.text(file, &path)?;
        let mut read = variables::read(&text, variables);
        self.lines(&path.display().to_string(), std::mem::take(&mut read.mistakes));
        Ok(read)
    }

    /// Of a regular file alone: a device has no end, and a pipe keeps one waiting.
    fn text(&mut self, name: &str, path: &Path) -> Result<String, Unread> {
        if name.contains("://") || name.starts_with("git@") || name.starts_with("oci:") {
            return Err(Unread::Remote);
        }
        let nonblocking = nix::libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(nonblocking).open(path);
        let file = file.map_err(|error| Unread::of(&error))?;
        let found = file.metadata().map_err(|error| Unread::of(&error))?;
        if !found.is_file() {
            return Err(Unread::Irregular);
        }
        self.read += found.len().max(BLOCK);
        if LONGEST < found.len() || MOST < self.read {
            return Err(Unread::TooLong);
        }
        text(file).map_err(|error| Unread::of(&error))
    }

    fn fill(&mut self, bytes: usize) -> Result<()> {
        self.filled += bytes;
        if FULLEST < self.filled {
            return Err(Endless("its variables make it longer than anybody writes").into());
        }
        Ok(())
    }

    /// A service has so many nodes.
    pub(super) fn count(&mut self, nodes: usize) -> Result<()> {
        self.nodes += nodes;
        if MOST_NODES < self.nodes {
            return Err(anyhow!(Endless("its services are larger than anybody writes them")));
        }
        Ok(())
    }
}

/// What would go on for ever, or fill the memory.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Endless(&'static str);

impl Unread {
    fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// As it is, and where it is no UTF-8 as well as can be: comments may be anything.
pub(super) fn text(file: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if LONGEST < bytes.len() as u64 {
        return Err(std::io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Names of files that a service of a file elsewhere gives are seen from that file's folder.
fn settle(service: &mut Node, folder: &Path) {
    let Content::Map(entries) = &mut service.content else { return };
    for entry in entries {
        match entry.key.as_str() {
            "env_file" | "label_file" => settle_files(&mut entry.value, folder),
            "extends" => settle_key(&mut entry.value, "file", folder),
            _ => {}
        }
    }
}

fn settle_files(node: &mut Node, folder: &Path) {
    match &mut node.content {
        Content::Text(name) => *name = seen_from(name, folder),
        Content::List(list) => list.iter_mut().for_each(|it| settle_files(it, folder)),
        Content::Map(_) => settle_key(node, "path", folder),
        Content::Nothing => {}
    }
}

fn settle_key(node: &mut Node, key: &str, folder: &Path) {
    if let Some(Content::Text(name)) = node.get_mut(key).map(|it| &mut it.content) {
        *name = seen_from(name, folder);
    }
}

fn seen_from(name: &str, folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.join(name).display().to_string()
}
