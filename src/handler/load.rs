//! The folders of handlers' files.

use super::{
    Handler,
    ini::{Ini, Mistake},
};
use crate::settings::GlueSettings;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// With the text of their file, in the order of the folders and of the files' names.
    pub handlers: Vec<(Handler, String)>,
    pub mistakes: Vec<Mistake>,
    /// What is odd, and costs nothing.
    pub notes: Vec<Mistake>,
    /// Files that say `enabled=0`.
    pub disabled: Vec<PathBuf>,
    /// Where there was nothing at all, and where that was looked for.
    pub nothing: Option<String>,
}

/// Reads all `*.ini` files of the folders; one that is named twice counts once.
pub fn load(settings: &GlueSettings) -> Found {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    let mut claims = BTreeMap::new();
    for folder in &settings.handler_paths {
        if let Err(why) = settings.trusts(folder) {
            let text = format!("passed over: {why}");
            found.notes.push(Mistake { file: folder.clone(), line: None, text });
            continue;
        }
        match fs::canonicalize(folder) {
            Ok(real) => {
                if seen.insert(real) {
                    folder_of(folder, settings, &mut claims, &mut found);
                }
            }
            // Nobody has said that it is there.
            Err(error)
                if error.kind() == ErrorKind::NotFound && settings.handler_paths_are_default => {}
            Err(error) => found.mistakes.push(of_folder(folder, &error)),
        }
    }
    if found.handlers.is_empty() && found.disabled.is_empty() && found.mistakes.is_empty() {
        let all = settings.handler_paths.iter().map(|it| it.display().to_string());
        let all: Vec<_> = all.collect();
        found.nothing = Some(format!("there is no *.ini file in {}", all.join(", ")));
    }
    found
}

fn of_folder(folder: &Path, error: &std::io::Error) -> Mistake {
    let text = match error.kind() {
        ErrorKind::NotFound => "there is no such folder".to_owned(),
        _ => error.to_string(),
    };
    Mistake { file: folder.to_owned(), line: None, text }
}

fn folder_of(
    folder: &Path,
    settings: &GlueSettings,
    claims: &mut BTreeMap<String, Mistake>,
    found: &mut Found,
) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return found.mistakes.push(of_folder(folder, &error)),
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|suffix| suffix == "ini"));
    files.sort();
    if files.is_empty() && !settings.handler_paths_are_default {
        let text = "there is no *.ini file in it".to_owned();
        found.notes.push(Mistake { file: folder.to_owned(), line: None, text });
    }
    for file in files {
        match read(&file, settings, claims) {
            Ok((handler, notes)) => {
                found.notes.extend(notes);
                match handler {
                    Some(handler) => found.handlers.push(handler),
                    None => found.disabled.push(file),
                }
            }
            Err(mistake) => found.mistakes.push(mistake),
        }
    }
}

type Read = (Option<(Handler, String)>, Vec<Mistake>);

/// What one handler has, no other may have: the later one of two is a mistake.
fn read(
    file: &Path,
    settings: &GlueSettings,
    claims: &mut BTreeMap<String, Mistake>,
) -> Result<Read, Mistake> {
    let text = text(file)?;
    let Ini { params, notes, .. } = Ini::read(file, &text)?;
    let Some(handler) = Handler::read(file.to_owned(), &text, settings)? else {
        return Ok((None, notes));
    };
    if let Some((key, claim)) = handler.claim() {
        if let Some(first) = claims.get(&claim) {
            let mut text = format!("{claim} belongs to {}", first.file.display());
            if let Some(line) = first.line {
                let _ = write!(text, ":{line}");
            }
            return Err(params.mistake(key, text + " already; two would undo each other's work"));
        }
        claims.insert(claim, params.mistake(key, ""));
    }
    Ok((Some((handler, text)), notes))
}

fn text(file: &Path) -> Result<String, Mistake> {
    let mistake = |line, text| Mistake { file: file.to_owned(), line, text };
    let bytes =
        fs::read(file).map_err(|error| mistake(None, format!("cannot be read: {error}")))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(mistake(Some(1), "it is UTF-16; save it as UTF-8".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let well = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = well.split(|byte| *byte == b'\n').count();
        mistake(Some(line), "it is not UTF-8; save it as UTF-8".to_owned())
    })
}
