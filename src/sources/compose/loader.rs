//! Loads compose files and the files that they refer to. The only part of this module that opens
//! files.

use super::{
    Deployment, ReadContext, VariableMode, extend, interpolate,
    note::{ComposeNote, FileError, Remark},
    variables,
    yaml::{self, Content, Node, Position},
};
use crate::model::label_text;
use anyhow::{Result, anyhow, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) type Variables = BTreeMap<String, String>;

/// Limits of the size of one file and of all files together, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 4 << 20;
const MAX_TOTAL_BYTES: u64 = 64 << 20;
/// The least that a file counts towards the total, in bytes.
const MIN_FILE_COST: u64 = 4 << 10;
/// Depth of files that include other files.
const MAX_INCLUDE_DEPTH: usize = 16;
/// Size of all texts after their variables are substituted, in bytes.
const MAX_FILLED_BYTES: usize = 32 << 20;
/// Nodes of all services, including those that they extend.
const MAX_NODES: usize = 2_000_000;
/// Further notes of one kind are not reported.
const MAX_NOTES_PER_KIND: usize = 50;

/// Keys below which [`VariableMode::Keep`] does not fill in variables.
const KEPT_KEYS: [&str; 2] = ["labels", "environment"];

/// Loads files, collects the notes, and counts the resources used so far.
pub(crate) struct ProjectLoader {
    pub(crate) notes: BTreeSet<ComposeNote>,
    /// Base of relative paths: the folder of the first file.
    pub(crate) folder: PathBuf,
    pub(crate) deployment: Deployment,
    pub(crate) variable_mode: VariableMode,
    bytes_read: u64,
    bytes_filled: usize,
    node_count: usize,
}

/// A file, with the variables to substitute in it.
struct SourceFile<'a> {
    name: &'a str,
    text: &'a str,
    folder: &'a Path,
    variables: &'a Variables,
    depth: usize,
}

impl ProjectLoader {
    pub(crate) fn new(context: &ReadContext) -> Self {
        Self {
            notes: BTreeSet::new(),
            folder: context.folder.clone(),
            deployment: context.deployment,
            variable_mode: context.variables,
            bytes_read: 0,
            bytes_filled: 0,
            node_count: 0,
        }
    }

    /// Loads a file from its text, with all files that it includes.
    ///
    /// # Errors
    /// The text is not YAML, or a limit is exceeded.
    pub(crate) fn load_root(
        &mut self,
        name: &str,
        text: &str,
        variables: &Variables,
    ) -> Result<Node> {
        let folder = self.folder.clone();
        self.load_file(&SourceFile { name, text, folder: &folder, variables, depth: 0 })
    }

    fn load_file(&mut self, file: &SourceFile<'_>) -> Result<Node> {
        let mut root = self.parse_file(file.name, file.text, file.variables)?;
        if 0 < file.depth
            && let Some(services) = root.get_mut("services")
            && let Content::Map(entries) = &mut services.content
        {
            for entry in entries {
                rebase_paths(&mut entry.value, file.folder);
            }
        }
        let includes: Vec<Node> = root.get("include").map_or(&[][..], Node::as_list).to_vec();
        for include in &includes {
            if file.depth == MAX_INCLUDE_DEPTH {
                self.notes.insert(ComposeNote::for_project(&include.position, Remark::Circle));
                break;
            }
            if let Some(included) = self.load_include(include, file)? {
                root = extend::merge_roots(included, root);
            }
        }
        Ok(root)
    }

    /// Loads one entry of `include`: a path, or a mapping with `path`, `project_directory` and
    /// `env_file`.
    fn load_include(&mut self, include: &Node, from: &SourceFile<'_>) -> Result<Option<Node>> {
        let paths = include.get("path").unwrap_or(include).as_list();
        let paths: Vec<&str> = paths.iter().filter_map(Node::as_text).collect();
        let mut folder = include.text_at("project_directory").map(|text| from.folder.join(text));
        let mut variables = None;
        let mut all: Option<Node> = None;
        for name in paths {
            let path = from.folder.join(name);
            let text = match self.read_file(name, &path) {
                Ok(text) => text,
                Err(error) => {
                    let remark = Remark::NoFile { file: name.to_owned(), why: error };
                    self.notes.insert(ComposeNote::for_project(&include.position, remark));
                    continue;
                }
            };
            let folder = folder.get_or_insert_with(|| super::parent_folder(&path)).clone();
            if variables.is_none() {
                variables = Some(self.include_variables(include, &folder, from)?);
            }
            let variables = variables.as_ref().expect("they were read above");
            let (name, depth) = (path.display().to_string(), from.depth + 1);
            let file = SourceFile { name: &name, text: &text, folder: &folder, variables, depth };
            match self.load_file(&file) {
                Ok(node) => {
                    all = Some(match all.take() {
                        None => node,
                        Some(before) => extend::merge_roots(before, node),
                    });
                }
                Err(error) if error.is::<TooLargeError>() => return Err(error),
                Err(error) => {
                    let remark = Remark::InvalidInclude(format!("{error:#}"));
                    self.notes.insert(ComposeNote::for_project(&include.position, remark));
                }
            }
        }
        Ok(all)
    }

    /// Variables of the including file win over those of the included project's own files.
    fn include_variables(
        &mut self,
        include: &Node,
        folder: &Path,
        from: &SourceFile<'_>,
    ) -> Result<Variables> {
        let named = include.get("env_file").map_or(&[][..], Node::as_list);
        let files: Vec<PathBuf> = match named {
            [] => vec![folder.join(".env")],
            files => {
                files.iter().filter_map(Node::as_text).map(|text| from.folder.join(text)).collect()
            }
        };
        let mut all = Variables::new();
        for file in files {
            if let Ok(text) = self.read_file(&file.display().to_string(), &file) {
                all.extend(variables::parse_variables(&text, from.variables).values);
            }
        }
        all.extend(from.variables.clone());
        self.count_filled(all.values().map(String::len).sum())?;
        Ok(all)
    }

    /// Returns the variables of `.env`; those of the shell win.
    pub(crate) fn load_variables(&mut self, environment: &Variables) -> Variables {
        let path = self.folder.join(".env");
        let Ok(text) = self.read_file(".env", &path) else { return environment.clone() };
        let variables::VariableFile { values: mut own, errors: mistakes, .. } =
            variables::parse_variables(&text, environment);
        self.note_errors(&path.display().to_string(), mistakes);
        own.extend(environment.clone());
        own
    }

    fn note_errors(&mut self, file: &str, errors: Vec<(usize, interpolate::InterpolationError)>) {
        let name: Arc<str> = file.into();
        for (line, error) in errors.into_iter().take(MAX_NOTES_PER_KIND) {
            let position = Position { file: Arc::clone(&name), line };
            self.notes.insert(ComposeNote::for_project(&position, Remark::InvalidText(error)));
        }
    }

    /// Loads another file that `extends` refers to. Relative paths in the file become absolute.
    pub(crate) fn load_extended_file(
        &mut self,
        file: &str,
        variables: &Variables,
    ) -> Result<Node, FileError> {
        let path = self.folder.join(file);
        let text = self.read_file(file, &path)?;
        let mut root = self
            .parse_file(&path.display().to_string(), &text, variables)
            .map_err(|error| FileError::Other(format!("{error:#}")))?;
        let folder = super::parent_folder(&path);
        let services =
            if root.get("services").is_some() { root.get_mut("services") } else { Some(&mut root) };
        if let Some(Content::Map(entries)) = services.map(|node| &mut node.content) {
            for entry in entries {
                rebase_paths(&mut entry.value, &folder);
            }
        }
        Ok(root)
    }

    /// Parses a file, merges its documents and substitutes its variables.
    fn parse_file(&mut self, name: &str, text: &str, variables: &Variables) -> Result<Node> {
        let yaml::ParsedYaml { documents, duplicates: twice } = yaml::parse_yaml(name, text)?;
        for (key, position) in twice.into_iter().take(MAX_NOTES_PER_KIND) {
            let remark = if label_text::has_our_labels([key.as_str()]) {
                Remark::DuplicateLabel(key)
            } else {
                Remark::DuplicateKey(key)
            };
            self.notes.insert(ComposeNote::for_project(&position, remark));
        }
        let documents = documents.into_iter().filter(|node| node.content != Content::Nothing);
        let Some(mut root) = documents.reduce(extend::merge_roots) else {
            bail!("{name}: the file is empty")
        };
        let kept = match self.variable_mode {
            VariableMode::Fill => &[][..],
            VariableMode::Keep => &KEPT_KEYS,
        };
        root.visit_texts_outside(kept, &mut |node| {
            let Content::Text(text) = &mut node.content else { return Ok(()) };
            match interpolate::fill_variables(text, variables) {
                Ok(filled) => {
                    self.count_filled(filled.text.len())?;
                    (*text, node.empty_variables) = (filled.text, filled.empty_variables);
                }
                Err(error) => node.error = Some(Box::new(error)),
            }
            Ok(())
        })?;
        let mut errors = Vec::new();
        root.collect_errors(&mut errors);
        for (position, error) in errors.into_iter().take(MAX_NOTES_PER_KIND) {
            self.notes
                .insert(ComposeNote::for_project(position, Remark::InvalidText(error.clone())));
        }
        Ok(root)
    }

    /// Loads a file of variables that a service refers to.
    pub(crate) fn load_variable_file(
        &mut self,
        file: &str,
        variables: &Variables,
    ) -> Result<variables::VariableFile, FileError> {
        let path = self.folder.join(file);
        let text = self.read_file(file, &path)?;
        let mut read = variables::parse_variables(&text, variables);
        self.note_errors(&path.display().to_string(), std::mem::take(&mut read.errors));
        Ok(read)
    }

    /// Reads a regular file only: a device never ends, and a pipe may block.
    fn read_file(&mut self, name: &str, path: &Path) -> Result<String, FileError> {
        if name.contains("://") || name.starts_with("git@") || name.starts_with("oci:") {
            return Err(FileError::Remote);
        }
        let nonblocking = nix::libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(nonblocking).open(path);
        let file = file.map_err(|error| FileError::from_io(&error))?;
        let found = file.metadata().map_err(|error| FileError::from_io(&error))?;
        if !found.is_file() {
            return Err(FileError::Irregular);
        }
        self.bytes_read += found.len().max(MIN_FILE_COST);
        if MAX_FILE_BYTES < found.len() || MAX_TOTAL_BYTES < self.bytes_read {
            return Err(FileError::TooLong);
        }
        read_text(file).map_err(|error| FileError::from_io(&error))
    }

    fn count_filled(&mut self, bytes: usize) -> Result<()> {
        self.bytes_filled += bytes;
        if MAX_FILLED_BYTES < self.bytes_filled {
            return Err(
                TooLargeError("the file is too long after substitution of variables").into()
            );
        }
        Ok(())
    }

    /// Adds the nodes of a service to the count.
    pub(crate) fn count_nodes(&mut self, nodes: usize) -> Result<()> {
        self.node_count += nodes;
        if MAX_NODES < self.node_count {
            return Err(anyhow!(TooLargeError("the services of the file are too large")));
        }
        Ok(())
    }
}

/// The file or its expansion is without end or would fill the memory.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TooLargeError(&'static str);

impl FileError {
    fn from_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Reads a text. Invalid UTF-8 is replaced, because comments may contain anything.
pub(crate) fn read_text(file: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if MAX_FILE_BYTES < bytes.len() as u64 {
        return Err(std::io::Error::other(format!(
            "the file is longer than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Makes relative paths in a service of another file relative to that file's folder.
fn rebase_paths(service: &mut Node, folder: &Path) {
    let Content::Map(entries) = &mut service.content else { return };
    for entry in entries {
        match entry.key.as_str() {
            "env_file" | "label_file" => rebase_files(&mut entry.value, folder),
            "extends" => rebase_key(&mut entry.value, "file", folder),
            _ => {}
        }
    }
}

fn rebase_files(node: &mut Node, folder: &Path) {
    match &mut node.content {
        Content::Text(name) => *name = rebase_path(name, folder),
        Content::List(list) => list.iter_mut().for_each(|node| rebase_files(node, folder)),
        Content::Map(_) => rebase_key(node, "path", folder),
        Content::Nothing => {}
    }
}

fn rebase_key(node: &mut Node, key: &str, folder: &Path) {
    if let Some(Content::Text(name)) = node.get_mut(key).map(|node| &mut node.content) {
        *name = rebase_path(name, folder);
    }
}

fn rebase_path(name: &str, folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.join(name).display().to_string()
}
