//! The directory of error pages.

use crate::haproxy::error_pages::ErrorPages;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directory of `--error-pages`, if it is set. Files `STATUS.html` in it are pages; other files are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPageDirectory(pub Option<PathBuf>);

/// The pages, and what is wrong with files that are not used. Those have no page of the administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPageReading {
    pub pages: ErrorPages,
    /// Sorted by file; each names its file.
    pub faults: Vec<String>,
}

/// Files in a directory that are looked at. A directory with more was hardly meant.
const MAX_FILES: usize = 10_000;

impl ErrorPageDirectory {
    /// Reads the pages.
    pub fn read(&self) -> ErrorPageReading {
        let mut reading = ErrorPageReading::default();
        let Some(directory) = &self.0 else { return reading };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                reading.faults.push(format!("cannot read {}: {error}", directory.display()));
                return reading;
            }
        };
        let mut files: Vec<_> =
            entries.flatten().take(MAX_FILES).map(|entry| entry.path()).collect();
        files.sort();
        for path in files {
            let Some(status) = page_status(&path) else { continue };
            if let Err(error) = add_page(&mut reading.pages, status, &path) {
                reading.faults.push(format!("{}: {error}", path.display()));
            }
        }
        reading
    }
}

/// Returns the status of the page in a file of this name.
fn page_status(path: &Path) -> Option<u16> {
    let status = path.file_name()?.to_str()?.strip_suffix(".html")?;
    let is_status = status.len() == 3 && status.bytes().all(|c| c.is_ascii_digit());
    status.parse().ok().filter(|_| is_status)
}

fn add_page(pages: &mut ErrorPages, status: u16, path: &Path) -> anyhow::Result<()> {
    let file = fs::metadata(path)?;
    anyhow::ensure!(file.is_file(), "it is not a file");
    anyhow::ensure!(file.len() < 1 << 20, "it has {} bytes", file.len());
    Ok(pages.add(status, fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn unusable_files_are_faults_and_other_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [
            ("503.html", "<p>busy"),
            ("404.html", ""),
            ("302.html", "<p>x"),
            ("style.css", "p {}"),
            ("0503.html", "<p>x"),
            ("503.htm", "<p>x"),
            ("+50.html", "<p>x"),
        ] {
            fs::write(path(name), content).unwrap();
        }
        fs::write(path("401.html"), b"\xff").unwrap();
        fs::write(path("429.html"), vec![b'x'; 2 << 20]).unwrap();
        fs::create_dir(path("403.html")).unwrap();
        symlink("/nonexistent", path("502.html")).unwrap();
        let reading = ErrorPageDirectory(Some(folder.path().to_owned())).read();
        let prefix = format!("{}/", folder.path().display());
        let faults: Vec<_> =
            reading.faults.iter().map(|fault| fault.replace(&prefix, "")).collect();
        let starts = [
            "302.html: HAProxy",
            "401.html: it is not UTF-8",
            "403.html: it is not a file",
            "404.html: it is empty",
            "429.html: it has 2097152 bytes",
            "502.html: No such file",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
        let mut pages = ErrorPages::default();
        pages.add(503, b"<p>busy".to_vec()).unwrap();
        assert_eq!(reading.pages, pages);
    }

    #[test]
    fn missing_directory_is_a_fault_and_none_is_not() {
        let reading = ErrorPageDirectory(Some("/nonexistent/pages".into())).read();
        assert_eq!(
            reading.faults,
            ["cannot read /nonexistent/pages: No such file or directory (os error 2)"]
        );
        assert_eq!(ErrorPageDirectory::default().read(), ErrorPageReading::default());
    }
}
