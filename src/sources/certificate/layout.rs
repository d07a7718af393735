//! Finds the certificates among the files of one directory, by their content.
//!
//! Pure. The key of a certificate is the one that matches it, in the same file or in another file of the directory,
//! whatever the names are. File names matter in three cases only: to name a certificate, to name the file in which its
//! key is missing, and to skip `cert.pem` next to `fullchain.pem`.

use super::{
    pem::{PemCertificate, PemFile},
    problem::{CertificateProblem, CertificateProblemKind as Kind},
};
use crate::model::certificate::CertificateDigest;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Stems of files that are named for their content, in a directory that is named for the certificate.
const CONTENT_STEMS: [&str; 6] = ["fullchain", "cert", "privkey", "key", "tls", "bundle"];

/// What a file contains, without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileOutline {
    /// Whether users other than the owner and the group may read the file.
    is_world_readable: bool,
    /// In the order of the file.
    certificates: Vec<CertificateOutline>,
    /// The SubjectPublicKeyInfo of each key, in DER.
    keys: Vec<Vec<u8>>,
    key_defect: Option<Kind>,
    defect: Option<Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CertificateOutline {
    /// Of its PEM text.
    digest: CertificateDigest,
    /// The SubjectPublicKeyInfo, in DER.
    public_key: Vec<u8>,
    is_ca: bool,
}

/// A file with its path.
pub(super) type OutlinedFile<'a> = (&'a Path, &'a FileOutline);

/// A certificate, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub file: &'a Path,
    /// Position of the certificate in its file.
    pub leaf: usize,
    pub key_file: &'a Path,
    /// Position of the key in its file.
    pub key: usize,
}

/// The pairs of a directory, sorted by path, and what is wrong in it.
#[derive(Debug, Default)]
pub(super) struct FoundPairs<'a> {
    pub pairs: Vec<Pair<'a>>,
    pub problems: Vec<CertificateProblem>,
}

/// The keys of a directory by their public keys, each with its position in its file.
type Keys<'a> = BTreeMap<&'a [u8], (&'a Path, usize)>;

/// The files with a key and without a certificate, by their stems.
type KeyFiles<'a> = BTreeMap<String, OutlinedFile<'a>>;

/// Finds the certificates of a directory and their keys. Files that are only a chain, only a key, or neither are
/// skipped. `files` are sorted by path.
pub(super) fn find_pairs<'a>(files: &[OutlinedFile<'a>]) -> FoundPairs<'a> {
    let keys = collect_keys(files);
    let key_files = collect_key_files(files);
    let has_fullchain = files.iter().any(|(path, _)| file_stem(path) == "fullchain");
    let mut found = FoundPairs::default();
    let mut pairs = Vec::new();
    for &(path, outline) in files {
        found.add_defects(path, outline);
        if outline.certificates.is_empty() || (has_fullchain && is_leaf_only(path, outline)) {
            continue;
        }
        match find_pair(path, outline, &keys) {
            Some(pair) => pairs.push((pair, outline)),
            None => found.add_problem(path, diagnose_missing_key(path, outline, &key_files)),
        }
    }
    remove_duplicates(&mut pairs);
    found.pairs = pairs.into_iter().map(|(pair, _)| pair).collect();
    found
}

impl FileOutline {
    pub(super) fn new(content: &PemFile, is_world_readable: bool) -> Self {
        let outline = |certificate: &PemCertificate| CertificateOutline {
            digest: CertificateDigest::of_pem(&certificate.text),
            public_key: certificate.x509.public_key.clone(),
            is_ca: certificate.x509.is_ca,
        };
        Self {
            is_world_readable,
            certificates: content.certificates.iter().map(outline).collect(),
            keys: content.keys.iter().map(|key| key.public_key.clone()).collect(),
            key_defect: content.key_defect.clone(),
            defect: content.defect.clone(),
        }
    }

    /// Returns the positions of the first certificate whose key is in this file, and of the key.
    pub(super) fn own_pair(&self) -> Option<(usize, usize)> {
        let mut leaves = self.certificates.iter().enumerate();
        leaves.find_map(|(leaf, certificate)| Some((leaf, self.find_key(certificate)?)))
    }

    fn find_key(&self, certificate: &CertificateOutline) -> Option<usize> {
        self.keys.iter().position(|key| *key == certificate.public_key)
    }

    /// Whether the file contains a private key, even one that cannot be used.
    fn has_key(&self) -> bool {
        !self.keys.is_empty() || self.key_defect.is_some()
    }

    /// Whether the file has a certificate or a key that another file may complete.
    pub(super) fn may_be_paired(&self) -> bool {
        !self.certificates.is_empty() || !self.keys.is_empty()
    }

    /// Returns what is wrong with a pair that cannot be assembled.
    pub(super) fn defect_of_pair(&self, leaf: usize, kind: Kind) -> Option<Kind> {
        // A CA's own certificate, whose key is here as well.
        let is_ca = kind == Kind::NoNames && self.certificates[leaf].is_ca;
        (!is_ca).then_some(kind)
    }

    /// Returns what is wrong with the permissions of a key in this file.
    pub(super) fn defect_of_key(&self, path: &Path) -> Option<Kind> {
        let readable = || Kind::KeyReadableByOthers { key: path.to_owned() };
        self.is_world_readable.then(readable)
    }
}

impl FoundPairs<'_> {
    fn add_problem(&mut self, path: &Path, kind: Option<Kind>) {
        self.problems.extend(kind.map(|kind| CertificateProblem::new(path, kind)));
    }

    fn add_defects(&mut self, path: &Path, outline: &FileOutline) {
        let is_other = outline.defect == Some(Kind::NotPem) && !names_certificate(path);
        self.add_problem(path, outline.defect.clone().filter(|_| !is_other));
    }
}

fn collect_keys<'a>(files: &[OutlinedFile<'a>]) -> Keys<'a> {
    let keys = files.iter().flat_map(|&(path, outline)| {
        outline.keys.iter().enumerate().map(move |(position, key)| (path, position, key))
    });
    keys.map(|(path, position, key)| (key.as_slice(), (path, position))).collect()
}

fn collect_key_files<'a>(files: &[OutlinedFile<'a>]) -> KeyFiles<'a> {
    let key_only =
        |(_, outline): &&OutlinedFile<'_>| outline.certificates.is_empty() && outline.has_key();
    files.iter().filter(key_only).map(|file| (file_stem(file.0), *file)).collect()
}

/// Returns the first certificate of a file that has a key: one in the same file is preferred.
fn find_pair<'a>(file: &'a Path, outline: &FileOutline, keys: &Keys<'a>) -> Option<Pair<'a>> {
    if let Some((leaf, key)) = outline.own_pair() {
        return Some(Pair { file, leaf, key_file: file, key });
    }
    outline.certificates.iter().enumerate().find_map(|(leaf, certificate)| {
        let &(key_file, key) = keys.get(certificate.public_key.as_slice())?;
        Some(Pair { file, leaf, key_file, key })
    })
}

/// Keeps one file of those that contain the same certificate: the one with the longest chain, and then the first.
fn remove_duplicates(pairs: &mut Vec<(Pair<'_>, &FileOutline)>) {
    pairs.sort_by_key(|(_, outline)| std::cmp::Reverse(outline.certificates.len()));
    let mut seen = BTreeSet::new();
    pairs.retain(|(pair, outline)| seen.insert(outline.certificates[pair.leaf].digest));
    pairs.sort_by(|(one, _), (other, _)| one.file.cmp(other.file));
}

/// Returns why a file's certificate has no key; `None` if the file is only a chain, which needs none.
fn diagnose_missing_key(
    path: &Path,
    outline: &FileOutline,
    key_files: &KeyFiles<'_>,
) -> Option<Kind> {
    let is_chain = outline.certificates.iter().all(|certificate| certificate.is_ca);
    let partner =
        if outline.has_key() { Some((path, outline)) } else { find_partner(path, key_files) };
    match partner {
        None if is_chain => None,
        None => Some(Kind::NoKey),
        Some((key, partner)) if !partner.keys.is_empty() => {
            Some(Kind::KeyMismatch { key: key.to_owned() })
        }
        Some((_, partner)) => partner.key_defect.clone(),
    }
}

/// Returns the file that must contain the key, judged by its name: `X.key` for `X.crt`, `X-key.pem` for `X.pem`,
/// `privkey.pem` and `key.pem` for files that are named for their content.
fn find_partner<'a>(path: &Path, key_files: &KeyFiles<'a>) -> Option<OutlinedFile<'a>> {
    let stem = file_stem(path);
    let same = ["", "-key", ".key", "_key"].map(|end| format!("{stem}{end}"));
    let is_generic = CONTENT_STEMS.contains(&stem.as_str());
    let generic = ["privkey", "key"].into_iter().filter(|_| is_generic);
    let mut stems = same.iter().map(String::as_str).chain(generic);
    stems.find_map(|stem| key_files.get(stem).copied())
}

/// Whether `fullchain.pem` replaces this file. While certbot or acme.sh renews a certificate, `cert.pem` may match the
/// new key earlier than `fullchain.pem` does, but would be served without its chain.
fn is_leaf_only(path: &Path, outline: &FileOutline) -> bool {
    let (stem, directory) = (file_stem(path), directory_name(path));
    let is_named_so = stem == "cert" || stem == directory || format!("{stem}_ecc") == directory;
    is_named_so && outline.certificates.len() == 1
}

/// Whether the file's name promises a certificate or a key.
pub(super) fn names_certificate(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["pem", "crt", "cer", "cert", "key"].iter().any(|suffix| extension == *suffix)
}

/// Returns the name that a label selects: the file's stem, or the directory's name for `fullchain.pem` and the like.
pub(super) fn name_certificate(path: &Path) -> String {
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
