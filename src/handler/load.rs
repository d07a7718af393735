//! The folders of handlers' files.

use super::{Handler, ini::Mistake};
use crate::settings::GlueSettings;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// With the text of their file, in the order of the folders and of the files' names.
    pub handlers: Vec<(Handler, String)>,
    pub mistakes: Vec<Mistake>,
    /// Files that say `enabled=0`.
    pub disabled: Vec<PathBuf>,
}

/// Reads all `*.ini` files of the folders; one that is named twice counts once.
pub fn load(settings: &GlueSettings) -> Found {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for folder in &settings.handler_paths {
        let Ok(real) = fs::canonicalize(folder) else { continue };
        if seen.insert(real) {
            folder_of(folder, settings, &mut found);
        }
    }
    found
}

fn folder_of(folder: &Path, settings: &GlueSettings, found: &mut Found) {
    let mistake = |error: &std::io::Error| Mistake {
        file: folder.to_owned(),
        line: None,
        text: error.to_string(),
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return found.mistakes.push(mistake(&error)),
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|suffix| suffix == "ini"));
    files.sort();
    for file in files {
        match read(&file, settings) {
            Ok(Some(handler)) => found.handlers.push(handler),
            Ok(None) => found.disabled.push(file),
            Err(mistake) => found.mistakes.push(mistake),
        }
    }
}

fn read(file: &Path, settings: &GlueSettings) -> Result<Option<(Handler, String)>, Mistake> {
    let unreadable = |error: std::io::Error| Mistake {
        file: file.to_owned(),
        line: None,
        text: format!("cannot be read: {error}"),
    };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let handler = Handler::read(file.to_owned(), &text, settings)?;
    Ok(handler.map(|handler| (handler, text)))
}
