//! The paths in Rust code: each leaf of a `use`, and each path with `::` elsewhere.

use super::token::Token;

/// A full path. A path in the crate begins with `crate`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// Returns the paths in the code of a module. `module` is its own path, without `crate`.
pub(crate) fn read_paths(tokens: &[Token<'_>], module: &[String]) -> Vec<Path> {
    let mut reader =
        Reader { tokens, at: 0, module: module.to_vec(), blocks: Vec::new(), paths: Vec::new() };
    while reader.at < tokens.len() {
        reader.read_next();
    }
    reader.paths
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// The current module. In an inline module `super` is the enclosing module.
    module: Vec<String>,
    /// For each open `{`, whether it opens a module.
    blocks: Vec<bool>,
    paths: Vec<Path>,
}

impl<'a> Reader<'a> {
    fn read_next(&mut self) {
        match self.peek(0) {
            // `use<'a>` is part of a type.
            "use" if self.peek(1) != "<" => {
                self.at += 1;
                self.read_tree(&[]);
            }
            "mod" if self.peek(2) == "{" => self.enter_module(),
            "{" => self.enter_block(),
            "}" => self.leave_block(),
            text if is_word(text) => self.read_inline(),
            _ => self.at += 1,
        }
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn enter_module(&mut self) {
        self.module.push(self.peek(1).to_owned());
        self.blocks.push(true);
        self.at += 3;
    }

    fn enter_block(&mut self) {
        self.blocks.push(false);
        self.at += 1;
    }

    fn leave_block(&mut self) {
        if self.blocks.pop() == Some(true) {
            self.module.pop();
        }
        self.at += 1;
    }

    /// Reads a tree of `use`, starting after its prefix.
    fn read_tree(&mut self, prefix: &[&'a str]) {
        if self.peek(0) == "::" {
            self.at += 1;
        }
        match self.peek(0) {
            "{" => self.read_group(prefix),
            // A syntax error.
            "" => {}
            segment => self.read_segment(prefix, segment),
        }
    }

    fn read_group(&mut self, prefix: &[&'a str]) {
        self.at += 1;
        while !["}", ""].contains(&self.peek(0)) {
            self.read_tree(prefix);
            if self.peek(0) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn read_segment(&mut self, prefix: &[&'a str], segment: &'a str) {
        let line = self.tokens[self.at].line;
        let mut segments = prefix.to_vec();
        // `self` in braces is the module before the braces.
        if segment != "self" || prefix.is_empty() {
            segments.push(segment);
        }
        self.at += 1;
        if self.peek(0) == "::" {
            return self.read_tree(&segments);
        }
        if self.peek(0) == "as" {
            self.at += 2;
        }
        self.add_path(&segments, line);
    }

    /// Reads a word, and the path that begins with it, if there is one.
    fn read_inline(&mut self) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.peek(0)];
        while self.peek(1) == "::" && is_word(self.peek(2)) {
            segments.push(self.peek(2));
            self.at += 2;
        }
        self.at += 1;
        if segments.len() > 1 {
            self.add_path(&segments, line);
        }
    }

    fn add_path(&mut self, segments: &[&str], line: usize) {
        let segments = resolve_path(segments, &self.module);
        self.paths.push(Path { segments, line });
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Returns the full path. In the programs `docker_glue` is the library crate.
fn resolve_path(segments: &[&str], module: &[String]) -> Vec<String> {
    let climbed = segments.iter().take_while(|segment| **segment == "super").count();
    let kept = module.len().saturating_sub(climbed);
    let (base, remaining): (&[String], _) = match segments {
        ["crate" | "docker_glue", remaining @ ..] => (&[], remaining),
        ["self", "super", remaining @ ..] => {
            return resolve_path(&[&["super"], remaining].concat(), module);
        }
        ["self", remaining @ ..] => (module, remaining),
        ["super", ..] => (&module[..kept], &segments[climbed..]),
        _ => return segments.iter().map(|&segment| segment.to_owned()).collect(),
    };
    let remaining = remaining.iter().map(|&segment| segment.to_owned());
    ["crate".to_owned()].into_iter().chain(base.iter().cloned()).chain(remaining).collect()
}
