//! Reads the certificates from directories. Files that did not change since the last time are not read again.

use super::{
    assemble::{self, CertificateWithKey},
    layout::{FileOutline, FoundPairs, Pair, find_pairs, name_certificate, names_certificate},
    pem::{PemFile, parse_pem},
    problem::{CertificateProblem, CertificateProblemKind as Kind},
    scan::{FileStamp, Scan, scan_directories},
    shelf::unix_time,
};
use crate::model::certificate::CertificateOrigin;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    mem,
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

/// What the files of the last reading contained, by directory and path.
#[derive(Debug, Default)]
pub(super) struct DirectoryCache(BTreeMap<PathBuf, CachedFiles>);

type CachedFiles = BTreeMap<PathBuf, CachedFile>;

/// What a file contained when it had this stamp.
#[derive(Debug)]
struct CachedFile {
    stamp: FileStamp,
    /// Whether any later write changes the stamp.
    is_settled: bool,
    /// Whether this reading has read the file.
    is_new: bool,
    outline: FileOutline,
    assembled: Option<AssembledPair>,
}

/// The certificate of a file.
#[derive(Debug)]
struct AssembledPair {
    leaf: usize,
    key: usize,
    /// `None` if the key is in the same file.
    key_file: Option<PathBuf>,
    result: Result<CertificateWithKey, Kind>,
}

/// One reading of a directory.
struct DirectoryReader {
    files: CachedFiles,
    /// Contents of the files that were read, and that another one may complete.
    contents: BTreeMap<PathBuf, PemFile>,
    problems: Vec<CertificateProblem>,
}

/// Reads the certificates in directories and two levels below them.
pub fn read_directories(directories: &[PathBuf]) -> DirectoryReading {
    read_scan(&scan_directories(directories))
}

/// Reads all files of a scan.
pub(super) fn read_scan(scan: &Scan) -> DirectoryReading {
    DirectoryCache::default().read_scan(scan, unix_time())
}

impl DirectoryCache {
    /// Reads the files of a scan that changed since the last one. `now` is in Unix time.
    pub(super) fn read_scan(&mut self, scan: &Scan, now: i64) -> DirectoryReading {
        let mut reading =
            DirectoryReading { problems: scan.problems.clone(), ..Default::default() };
        let mut last = mem::take(&mut self.0);
        for (directory, listed) in &scan.directories {
            let cached = last.remove(directory).unwrap_or_default();
            let files = reading.read_directory((directory, listed), cached, now);
            self.0.insert(directory.clone(), files);
        }
        reading.problems.sort();
        reading.problems.dedup();
        reading
    }
}

#[cfg(test)]
impl DirectoryCache {
    /// Returns how many files the last reading has read.
    pub(super) fn count_new(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).filter(|file| file.is_new).count()
    }
}

impl DirectoryReading {
    /// Adds the certificates of a directory. Returns what its files contain.
    fn read_directory(
        &mut self,
        listed: (&Path, &BTreeMap<PathBuf, FileStamp>),
        cached: CachedFiles,
        now: i64,
    ) -> CachedFiles {
        let mut reader = DirectoryReader::read_files(listed, cached, now);
        self.certificates.extend(reader.assemble_pairs());
        self.problems.append(&mut reader.problems);
        reader.files
    }
}

impl DirectoryReader {
    fn read_files(
        (directory, listed): (&Path, &BTreeMap<PathBuf, FileStamp>),
        mut cached: CachedFiles,
        now: i64,
    ) -> Self {
        let (files, contents, problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut reader = Self { files, contents, problems };
        let mut total = 0;
        for (path, stamp) in listed {
            if MAX_FILE_BYTES < stamp.bytes {
                reader.add_unread(path, Kind::FileTooLarge { limit: MAX_FILE_BYTES });
                continue;
            }
            total += stamp.bytes;
            if MAX_DIRECTORY_BYTES < total {
                let kind = Kind::DirectoryTooLarge { limit: MAX_DIRECTORY_BYTES };
                reader.problems.push(CertificateProblem::new(directory, kind));
                break;
            }
            let unchanged = |file: &CachedFile| file.is_settled && file.stamp == *stamp;
            if let Some(file) = cached.remove(path).filter(unchanged) {
                reader.files.insert(path.clone(), CachedFile { is_new: false, ..file });
                continue;
            }
            match read_file(path, stamp) {
                Ok(content) => reader.add_content(path, stamp, content, now),
                Err(why) => reader.add_unread(path, Kind::Unreadable { why: why.to_string() }),
            }
        }
        reader
    }

    fn add_unread(&mut self, path: &Path, kind: Kind) {
        let problem = names_certificate(path).then(|| CertificateProblem::new(path, kind));
        self.problems.extend(problem);
    }

    /// Keeps the content only if another file may complete it: those of thousands of files take much memory.
    fn add_content(&mut self, path: &Path, stamp: &FileStamp, content: PemFile, now: i64) {
        let outline = FileOutline::new(&content, stamp.is_world_readable());
        let own = outline.own_pair();
        let assembled = own.map(|(leaf, key)| AssembledPair {
            leaf,
            key,
            key_file: None,
            result: assemble(path, &content, leaf, (&content, key)),
        });
        if assembled.is_none() && outline.may_be_paired() {
            self.contents.insert(path.to_owned(), content);
        }
        let (stamp, is_settled) = (stamp.clone(), stamp.is_settled(now));
        let file = CachedFile { stamp, is_settled, is_new: true, outline, assembled };
        self.files.insert(path.to_owned(), file);
    }

    /// Returns the certificates of the directory, and adds what is wrong with its files.
    fn assemble_pairs(&mut self) -> Vec<CertificateWithKey> {
        let files = self.files.iter().map(|(path, file)| (path.as_path(), &file.outline));
        let FoundPairs { pairs, problems } = find_pairs(&files.collect::<Vec<_>>());
        let (mut certificates, mut problems, mut new) = (Vec::new(), problems, Vec::new());
        for pair in pairs {
            let outline = &self.files[pair.file].outline;
            let defect = match self.assemble_pair(&pair, &mut new) {
                Ok(certificate) => {
                    certificates.push(certificate);
                    self.files[pair.key_file].outline.defect_of_key(pair.key_file)
                }
                Err(kind) => outline.defect_of_pair(pair.leaf, kind),
            };
            problems.extend(defect.map(|kind| CertificateProblem::new(pair.file, kind)));
        }
        for (path, pair) in new {
            self.files.entry(path).and_modify(|file| file.assembled = Some(pair));
        }
        self.problems.append(&mut problems);
        certificates
    }

    /// Returns the certificate of a pair, which is added to `new` if it was not assembled earlier.
    fn assemble_pair(
        &self,
        pair: &Pair<'_>,
        new: &mut Vec<(PathBuf, AssembledPair)>,
    ) -> Result<CertificateWithKey, Kind> {
        let last = self.files[pair.file].assembled.as_ref();
        if let Some(last) = last.filter(|last| self.is_current(last, pair)) {
            return last.result.clone();
        }
        let (mut file, mut key_file) = (None, None);
        let content = self.content_of(pair.file, &mut file)?;
        let key_content = self.content_of(pair.key_file, &mut key_file)?;
        let result = assemble(pair.file, content, pair.leaf, (key_content, pair.key));
        new.push((pair.file.to_owned(), AssembledPair::new(pair, result.clone())));
        result
    }

    /// Whether the certificate was assembled from the files of this pair, which did not change since.
    fn is_current(&self, last: &AssembledPair, pair: &Pair<'_>) -> bool {
        let key_file = last.key_file.as_deref().unwrap_or(pair.file);
        (last.leaf, key_file, last.key) == (pair.leaf, pair.key_file, pair.key)
            && (last.key_file.is_none() || !self.files[key_file].is_new)
    }

    /// Returns the content of a file. One that is not kept is read into `again`.
    ///
    /// # Errors
    /// If the file changed in the meantime. Then its directory is read again soon.
    fn content_of<'a>(
        &'a self,
        path: &Path,
        again: &'a mut Option<PemFile>,
    ) -> Result<&'a PemFile, Kind> {
        if let Some(content) = self.contents.get(path) {
            return Ok(content);
        }
        let file = &self.files[path];
        let content = read_file(path, &file.stamp);
        let content = content.map_err(|why| Kind::Unreadable { why: why.to_string() })?;
        let is_same = FileOutline::new(&content, file.stamp.is_world_readable()) == file.outline;
        if is_same { Ok(again.insert(content)) } else { Err(Kind::Damaged) }
    }
}

impl AssembledPair {
    fn new(pair: &Pair<'_>, result: Result<CertificateWithKey, Kind>) -> Self {
        let key_file = (pair.key_file != pair.file).then(|| pair.key_file.to_owned());
        Self { leaf: pair.leaf, key: pair.key, key_file, result }
    }
}

/// Builds the certificate at `leaf` of a file, with the key at a position of a file.
fn assemble(
    path: &Path,
    content: &PemFile,
    leaf: usize,
    (key_content, key): (&PemFile, usize),
) -> Result<CertificateWithKey, Kind> {
    let origin = CertificateOrigin::File { path: path.to_owned() };
    let (certificates, key) = (&content.certificates, &key_content.keys[key]);
    assemble::assemble(certificates, leaf, key, origin, name_certificate(path))
}

fn read_file(path: &Path, stamp: &FileStamp) -> io::Result<PemFile> {
    let mut bytes = read_limited(path, stamp.bytes)?;
    // PEM is ASCII. Other bytes are in comments, or a byte order mark.
    bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b' ');
    let text = std::str::from_utf8(&bytes).map_err(io::Error::other)?;
    Ok(parse_pem(text))
}

/// Reads a file of a known length into a buffer that never grows, so no copy of a key is left behind in memory. If the
/// file is longer by now, its end is missing; the change is noticed and the file is read again.
fn read_limited(path: &Path, length: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let capacity = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
