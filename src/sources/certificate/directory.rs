//! Reads the certificates from directories, once.

use super::{
    assemble::CertificateWithKey,
    layout::{DirectoryContent, DirectoryFile, find_certificates, names_certificate},
    pem::parse_pem,
    problem::{CertificateProblem, CertificateProblemKind as Kind},
    scan::{FileStamp, Scan, scan_directories},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The most bytes in all files of a directory without its subdirectories: 10,000 chains of a public CA with RSA keys.
const MAX_DIRECTORY_BYTES: u64 = 64 * 1024 * 1024;

/// The certificates of all directories, and what is wrong in them.
#[derive(Debug, Clone, Default)]
pub struct DirectoryReading {
    /// Sorted by path.
    pub certificates: Vec<CertificateWithKey>,
    /// Sorted. Those that depend on the time, such as [`Kind::Expired`], are not among them.
    pub problems: Vec<CertificateProblem>,
}

/// Reads the certificates in directories and two levels below them.
pub fn read_directories(directories: &[PathBuf]) -> DirectoryReading {
    read_scan(&scan_directories(directories))
}

/// Reads the files of a scan.
pub(super) fn read_scan(scan: &Scan) -> DirectoryReading {
    let mut reading = DirectoryReading { problems: scan.problems.clone(), ..Default::default() };
    for (directory, files) in &scan.directories {
        let (files, problems) = read_files(directory, files);
        reading.problems.extend(problems);
        let content = find_certificates(&files);
        reading.add_content(content);
    }
    reading.problems.sort();
    reading.problems.dedup();
    reading
}

impl DirectoryReading {
    fn add_content(&mut self, content: DirectoryContent) {
        self.certificates.extend(content.certificates);
        self.problems.extend(content.problems);
    }
}

fn read_files(
    directory: &Path,
    listed: &BTreeMap<PathBuf, FileStamp>,
) -> (Vec<DirectoryFile>, Vec<CertificateProblem>) {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    let mut total = 0;
    for (path, stamp) in listed {
        if MAX_FILE_BYTES < stamp.bytes {
            let kind = Kind::FileTooLarge { limit: MAX_FILE_BYTES };
            problems.extend(names_certificate(path).then(|| CertificateProblem::new(path, kind)));
            continue;
        }
        total += stamp.bytes;
        if MAX_DIRECTORY_BYTES < total {
            let kind = Kind::DirectoryTooLarge { limit: MAX_DIRECTORY_BYTES };
            problems.push(CertificateProblem::new(directory, kind));
            break;
        }
        match read_file(path, stamp) {
            Ok(file) => files.push(file),
            Err(why) if names_certificate(path) => {
                let kind = Kind::Unreadable { why: why.to_string() };
                problems.push(CertificateProblem::new(path, kind));
            }
            Err(_) => {}
        }
    }
    (files, problems)
}

fn read_file(path: &Path, stamp: &FileStamp) -> io::Result<DirectoryFile> {
    let mut bytes = read_limited(path, stamp.bytes)?;
    // PEM is ASCII. Other bytes are in comments, or a byte order mark.
    bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b' ');
    let text = std::str::from_utf8(&bytes).map_err(io::Error::other)?;
    Ok(DirectoryFile {
        path: path.to_owned(),
        is_world_readable: stamp.is_world_readable(),
        content: parse_pem(text),
    })
}

/// Reads a file of a known length into a buffer that never grows, so no copy of a key is left behind in memory. If the
/// file is longer by now, its end is missing; the change is noticed and the file is read again.
fn read_limited(path: &Path, length: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let capacity = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
