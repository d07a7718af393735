//! Finds the certificates among the files of one directory, by their content.
//!
//! Pure. The key of a certificate is the one that matches it, in the same file or in another file of the directory,
//! whatever the names are. File names matter in three cases only: to name a certificate, to name the file in which its
//! key is missing, and to skip `cert.pem` next to `fullchain.pem`.

use super::{
    assemble::{self, CertificateWithKey},
    pem::{PemFile, PemKey},
    problem::{CertificateProblem, CertificateProblemKind as Kind},
};
use crate::model::certificate::CertificateOrigin;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Stems of files that are named for their content, in a directory that is named for the certificate.
const CONTENT_STEMS: [&str; 6] = ["fullchain", "cert", "privkey", "key", "tls", "bundle"];

/// A file of a directory.
#[derive(Debug)]
pub(super) struct DirectoryFile {
    pub path: PathBuf,
    /// Whether users other than the owner and the group may read it.
    pub is_world_readable: bool,
    pub content: PemFile,
}

/// The certificates of a directory, and what is wrong in it.
#[derive(Debug, Default)]
pub(super) struct DirectoryContent {
    pub certificates: Vec<CertificateWithKey>,
    pub problems: Vec<CertificateProblem>,
}

/// The keys of a directory by their public keys.
type Keys<'a> = BTreeMap<&'a [u8], (&'a DirectoryFile, &'a PemKey)>;

/// The files with a key and without a certificate, by their stems.
type KeyFiles<'a> = BTreeMap<String, &'a DirectoryFile>;

/// A file that contains a certificate whose key was found.
struct Pair<'a> {
    file: &'a DirectoryFile,
    /// Position of the certificate in its file.
    leaf: usize,
    key: (&'a DirectoryFile, &'a PemKey),
}

/// Finds the certificates of a directory. Files that are only a chain, only a key, or neither are skipped.
pub(super) fn find_certificates(files: &[DirectoryFile]) -> DirectoryContent {
    let keys = collect_keys(files);
    let key_files = collect_key_files(files);
    let has_fullchain = files.iter().any(|file| file_stem(&file.path) == "fullchain");
    let mut content = DirectoryContent::default();
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for file in files {
        content.add_defects(file);
        if file.content.certificates.is_empty() || (has_fullchain && is_leaf_only(file)) {
            continue;
        }
        match find_pair(file, &keys) {
            Some(pair) => pairs.push(pair),
            None => content.add_problem(&file.path, diagnose_missing_key(file, &key_files)),
        }
    }
    remove_duplicates(&mut pairs);
    for pair in pairs {
        content.add_pair(&pair);
    }
    content
}

impl DirectoryContent {
    fn add_problem(&mut self, path: &Path, kind: Option<Kind>) {
        self.problems.extend(kind.map(|kind| CertificateProblem::new(path, kind)));
    }

    fn add_defects(&mut self, file: &DirectoryFile) {
        let is_other = file.content.defect == Some(Kind::NotPem) && !names_certificate(&file.path);
        self.add_problem(&file.path, file.content.defect.clone().filter(|_| !is_other));
    }

    fn add_pair(&mut self, pair: &Pair<'_>) {
        let path = &pair.file.path;
        let origin = CertificateOrigin::File { path: path.clone() };
        let certificates = &pair.file.content.certificates;
        match assemble::assemble(
            certificates,
            pair.leaf,
            pair.key.1,
            origin,
            name_certificate(path),
        ) {
            Ok(certificate) => self.certificates.push(certificate),
            // A CA's own certificate, whose key is here as well.
            Err(Kind::NoNames) if certificates[pair.leaf].x509.is_ca => return,
            Err(kind) => return self.add_problem(path, Some(kind)),
        }
        let key = &pair.key.0;
        let readable = || Kind::KeyReadableByOthers { key: key.path.clone() };
        self.add_problem(path, key.is_world_readable.then(readable));
    }
}

fn collect_keys(files: &[DirectoryFile]) -> Keys<'_> {
    let keys = files.iter().flat_map(|file| file.content.keys.iter().map(move |key| (file, key)));
    keys.map(|(file, key)| (key.public_key.as_slice(), (file, key))).collect()
}

fn collect_key_files(files: &[DirectoryFile]) -> KeyFiles<'_> {
    let key_only =
        |file: &&DirectoryFile| file.content.certificates.is_empty() && file.content.has_key();
    files.iter().filter(key_only).map(|file| (file_stem(&file.path), file)).collect()
}

/// Returns the first certificate of a file that has a key: one in the same file is preferred.
fn find_pair<'a>(file: &'a DirectoryFile, keys: &Keys<'a>) -> Option<Pair<'a>> {
    let leaves = || file.content.certificates.iter().enumerate();
    let own = leaves().find_map(|(leaf, certificate)| {
        let matches = |key: &&PemKey| key.public_key == certificate.x509.public_key;
        Some((leaf, (file, file.content.keys.iter().find(matches)?)))
    });
    let others = || {
        leaves().find_map(|(leaf, certificate)| {
            Some((leaf, *keys.get(certificate.x509.public_key.as_slice())?))
        })
    };
    own.or_else(others).map(|(leaf, key)| Pair { file, leaf, key })
}

/// Keeps one file of those that contain the same certificate: the one with the longest chain, and then the first.
fn remove_duplicates(pairs: &mut Vec<Pair<'_>>) {
    let certificate = |pair: &Pair<'_>| pair.file.content.certificates[pair.leaf].text.clone();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.file.content.certificates.len()));
    let mut seen = BTreeSet::new();
    pairs.retain(|pair| seen.insert(certificate(pair)));
    pairs.sort_by(|one, other| one.file.path.cmp(&other.file.path));
}

/// Returns why a file's certificate has no key; `None` if the file is only a chain, which needs none.
fn diagnose_missing_key(file: &DirectoryFile, key_files: &KeyFiles<'_>) -> Option<Kind> {
    let has_key = file.content.has_key();
    let is_chain = file.content.certificates.iter().all(|certificate| certificate.x509.is_ca);
    let partner = if has_key { Some(file) } else { find_partner(file, key_files) };
    match partner {
        None if is_chain => None,
        None => Some(Kind::NoKey),
        Some(partner) if !partner.content.keys.is_empty() => {
            Some(Kind::KeyMismatch { key: partner.path.clone() })
        }
        Some(partner) => partner.content.key_defect.clone(),
    }
}

/// Returns the file that must contain the key, judged by its name: `X.key` for `X.crt`, `X-key.pem` for `X.pem`,
/// `privkey.pem` and `key.pem` for files that are named for their content.
fn find_partner<'a>(file: &DirectoryFile, key_files: &KeyFiles<'a>) -> Option<&'a DirectoryFile> {
    let stem = file_stem(&file.path);
    let same = ["", "-key", ".key", "_key"].map(|end| format!("{stem}{end}"));
    let is_generic = CONTENT_STEMS.contains(&stem.as_str());
    let generic = ["privkey", "key"].into_iter().filter(|_| is_generic);
    let mut stems = same.iter().map(String::as_str).chain(generic);
    stems.find_map(|stem| key_files.get(stem).copied())
}

/// Whether `fullchain.pem` replaces this file. While certbot or acme.sh renews a certificate, `cert.pem` may match the
/// new key earlier than `fullchain.pem` does, but would be served without its chain.
fn is_leaf_only(file: &DirectoryFile) -> bool {
    let (stem, directory) = (file_stem(&file.path), directory_name(&file.path));
    let is_named_so = stem == "cert" || stem == directory || format!("{stem}_ecc") == directory;
    is_named_so && file.content.certificates.len() == 1
}

/// Whether the file's name promises a certificate or a key.
pub(super) fn names_certificate(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["pem", "crt", "cer", "cert", "key"].iter().any(|suffix| extension == *suffix)
}

/// Returns the name that a label selects: the file's stem, or the directory's name for `fullchain.pem` and the like.
fn name_certificate(path: &Path) -> String {
    let stem = file_stem(path);
    if CONTENT_STEMS.contains(&stem.as_str()) { directory_name(path) } else { stem }
}

fn file_stem(path: &Path) -> String {
    sanitize_name(&path.file_stem().unwrap_or_default().to_string_lossy())
}

fn directory_name(path: &Path) -> String {
    let name = path.parent().and_then(Path::file_name).unwrap_or_default();
    sanitize_name(&name.to_string_lossy())
}

/// Replaces characters that a label cannot contain.
fn sanitize_name(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().map(|c| if legal(c) { c } else { '_' }).collect()
}
