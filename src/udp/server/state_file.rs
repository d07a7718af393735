//! The file of the plane's listeners, so that a new process serves at once what the last one served.

use crate::{support::durable, udp::config::UdpListener};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};
use tempfile::NamedTempFile;

/// The version of the file's format.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct StateFile {
    format: u32,
    listeners: Vec<UdpListener>,
}

/// Reads the listeners. If the file does not exist, there are none.
///
/// # Errors
/// If the file is damaged, or has another format.
pub(super) fn read_listeners(path: &Path) -> Result<Vec<UdpListener>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let StateFile { format, listeners } = serde_json::from_str(&text)?;
    if format != FORMAT {
        bail!("the format {format} is unknown");
    }
    for listener in &listeners {
        listener.check().with_context(|| format!("listener {}", listener.bind))?;
    }
    Ok(listeners)
}

/// Replaces the file.
pub(super) fn write_listeners(path: &Path, listeners: &[Arc<UdpListener>]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let listeners = listeners.iter().map(|listener| UdpListener::clone(listener)).collect();
    let mut content = serde_json::to_string(&StateFile { format: FORMAT, listeners })?;
    content.push('\n');
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o640))?;
    Ok(durable::replace(file, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listeners.json");
        fs::write(&path, content).unwrap();
        match read_listeners(&path) {
            Ok(listeners) => format!("{} listeners", listeners.len()),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn listeners_are_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listeners.json");
        assert_eq!(read_listeners(&path).unwrap(), []);
        let listener = UdpListener::new("[::]:53".parse().unwrap());
        write_listeners(&path, &[Arc::new(listener.clone())]).unwrap();
        assert_eq!(read_listeners(&path).unwrap(), [listener]);
    }

    #[test]
    fn damaged_file_is_an_error() {
        for (content, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            (r#"{"format":2,"listeners":[]}"#, "the format 2 is unknown"),
            (
                r#"{"format":1,"listeners":[{"bind":"0.0.0.0:0"}]}"#,
                "listener 0.0.0.0:0: the listener's port must not be 0",
            ),
            (r#"{"format":1,"listeners":[{"bind":"0.0.0.0:53"}]}"#, "1 listeners"),
        ] {
            assert_eq!(read(content), expected, "{content}");
        }
    }
}
