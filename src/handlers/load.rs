//! Loads the handler files from the configured folders.

use super::{
    Handler,
    ini::{Ini, IniError},
};
use crate::settings::GlueSettings;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The result of loading the handler files.
#[derive(Debug, Default)]
pub struct LoadedHandlers {
    /// Handlers with the text of their file, in the order of folders and file names.
    pub handlers: Vec<(Handler, String)>,
    pub errors: Vec<IniError>,
    /// Notes about unusual content that is accepted.
    pub notes: Vec<IniError>,
    /// Files with `enabled=0`.
    pub disabled: Vec<PathBuf>,
    /// If no file was found: where files were searched.
    pub no_files_reason: Option<String>,
}

/// Reads all `*.ini` files in the folders. A folder that is listed twice is read once.
pub fn load_handlers(settings: &GlueSettings) -> LoadedHandlers {
    let mut loaded = LoadedHandlers::default();
    let mut visited = BTreeSet::new();
    let mut claims = BTreeMap::new();
    for folder in &settings.handler_paths {
        if let Err(why) = settings.check_trusted(folder) {
            let text = format!("ignored: {why}");
            loaded.notes.push(IniError { file: folder.clone(), line: None, text });
            continue;
        }
        match fs::canonicalize(folder) {
            Ok(real) => {
                if visited.insert(real) {
                    load_folder(folder, settings, &mut claims, &mut loaded);
                }
            }
            // A default folder need not exist.
            Err(error)
                if error.kind() == ErrorKind::NotFound && settings.handler_paths_are_default => {}
            Err(error) => loaded.errors.push(folder_error(folder, &error)),
        }
    }
    if loaded.handlers.is_empty() && loaded.disabled.is_empty() && loaded.errors.is_empty() {
        let all = settings.handler_paths.iter().map(|path| path.display().to_string());
        let all: Vec<_> = all.collect();
        loaded.no_files_reason = Some(format!("no *.ini file in {}", all.join(", ")));
    }
    loaded
}

fn folder_error(folder: &Path, error: &std::io::Error) -> IniError {
    let text = match error.kind() {
        ErrorKind::NotFound => "no such directory".to_owned(),
        _ => error.to_string(),
    };
    IniError { file: folder.to_owned(), line: None, text }
}

fn load_folder(
    folder: &Path,
    settings: &GlueSettings,
    claims: &mut BTreeMap<String, IniError>,
    loaded: &mut LoadedHandlers,
) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return loaded.errors.push(folder_error(folder, &error)),
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|suffix| suffix == "ini"));
    files.sort();
    if files.is_empty() && !settings.handler_paths_are_default {
        let text = "no *.ini file in this directory".to_owned();
        loaded.notes.push(IniError { file: folder.to_owned(), line: None, text });
    }
    for file in files {
        match load_file(&file, settings, claims) {
            Ok((handler, notes)) => {
                loaded.notes.extend(notes);
                match handler {
                    Some(handler) => loaded.handlers.push(handler),
                    None => loaded.disabled.push(file),
                }
            }
            Err(error) => loaded.errors.push(error),
        }
    }
}

type LoadResult = (Option<(Handler, String)>, Vec<IniError>);

/// Loads one file. If two handlers use the same resource, the later file is an error.
fn load_file(
    file: &Path,
    settings: &GlueSettings,
    claims: &mut BTreeMap<String, IniError>,
) -> Result<LoadResult, IniError> {
    let text = read_text(file)?;
    let Ini { params, notes, .. } = Ini::parse(file, &text)?;
    let Some(handler) = Handler::parse(file.to_owned(), &text, settings)? else {
        return Ok((None, notes));
    };
    if let Some((key, claim)) = handler.exclusive_resource() {
        if let Some(first) = claims.get(&claim) {
            let mut text = format!("{claim} is already used by {}", first.file.display());
            if let Some(line) = first.line {
                let _ = write!(text, ":{line}");
            }
            return Err(
                params.error_at(key, text + "; two handlers would overwrite each other's work")
            );
        }
        claims.insert(claim, params.error_at(key, ""));
    }
    Ok((Some((handler, text)), notes))
}

fn read_text(file: &Path) -> Result<String, IniError> {
    let mistake = |line, text| IniError { file: file.to_owned(), line, text };
    let bytes =
        fs::read(file).map_err(|error| mistake(None, format!("cannot be read: {error}")))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(mistake(Some(1), "the file is UTF-16; save it as UTF-8".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        mistake(Some(line), "the file is not UTF-8; save it as UTF-8".to_owned())
    })
}
