//! Certificates of a test CA, and directories with files in a short notation.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, date_time_ymd,
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
    time::Duration,
};
use tempfile::TempDir;

const RSA_KEY: &str = include_str!("../fixtures/rsa.key");

/// Root, and an intermediate CA that signs all certificates.
struct TestAuthority {
    root: String,
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
}

static AUTHORITY: LazyLock<TestAuthority> = LazyLock::new(TestAuthority::new);
/// Certificate and key of each host that a test names.
static ISSUED: Mutex<BTreeMap<String, (String, String)>> = Mutex::new(BTreeMap::new());

impl TestAuthority {
    fn new() -> Self {
        let (root_key, key) = (new_key(), new_key());
        let root_params = ca_params("Test Root");
        let root = root_params.self_signed(&root_key).unwrap().pem();
        let root_issuer = Issuer::new(root_params, root_key);
        let params = ca_params("Test CA");
        let intermediate = params.signed_by(&key, &root_issuer).unwrap().pem();
        Self { root, intermediate, issuer: Issuer::new(params, key) }
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn sign(params: &CertificateParams, key: &KeyPair) -> Certificate {
    params.signed_by(key, &AUTHORITY.issuer).unwrap()
}

/// Returns a certificate and its key in PEM. The times are seconds from 2020-01-01 on.
pub(super) fn issue(names: &[&str], from: u64, to: u64) -> (String, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1) + Duration::from_secs(from);
    params.not_after = date_time_ymd(2020, 1, 1) + Duration::from_secs(to);
    let key = new_key();
    (sign(&params, &key).pem(), key.serialize_pem())
}

/// 2020-01-01 in Unix time.
pub(super) const START: i64 = 1_577_836_800;
/// Long after any test, in seconds from 2020-01-01 on.
pub(super) const FAR: u64 = 3_000_000_000;

/// Returns certificate and key of a test name: `a` is for `a.test`, and some names are for odd certificates.
fn issued(name: &str) -> (String, String) {
    let mut issued = ISSUED.lock().unwrap();
    issued.entry(name.to_owned()).or_insert_with(|| issue_test_name(name)).clone()
}

fn issue_test_name(name: &str) -> (String, String) {
    let host = format!("{name}.test");
    let mut params = CertificateParams::new(vec![host.clone()]).unwrap();
    let mut key = new_key();
    match name {
        "rsa" => key = KeyPair::from_pem(RSA_KEY).unwrap(),
        "ed25519" => key = KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        "cn" | "nameless" => {
            params.subject_alt_names.clear();
            let name = if name == "cn" { &host } else { "no host" };
            params.distinguished_name.push(DnType::CommonName, name);
        }
        "ip" => {
            params.subject_alt_names = vec![SanType::IpAddress([192, 0, 2, 1].into())];
            params.distinguished_name.push(DnType::CommonName, &host);
        }
        "many" => {
            let names = ["B.test", "*.B.test", "xn--bcher-kva.test", "f*.test", "b.test"];
            let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
            params.subject_alt_names = names.map(dns).to_vec();
        }
        "old" => params.not_after = date_time_ymd(2021, 3, 4),
        "future" => params.not_before = date_time_ymd(2999, 5, 6),
        "own" => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            return (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        }
        "ca" => {
            let params = ca_params("Other Root");
            return (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        }
        _ => {}
    }
    (sign(&params, &key).pem(), key.serialize_pem())
}

/// Returns the text of a file that is written as words: `leaf:a chain root key:a`.
pub(super) fn render_words(words: &str) -> String {
    words.split_whitespace().map(render_word).collect()
}

fn render_word(word: &str) -> String {
    let (kind, name) = word.split_once(':').unwrap_or((word, ""));
    match kind {
        "leaf" => issued(name).0,
        "key" => issued(name).1,
        "half" => render_word(name).split_at(150).0.to_owned(),
        "crlf" => render_word(name).replace('\n', "\r\n\r\n"),
        "chain" => AUTHORITY.intermediate.clone(),
        "root" => AUTHORITY.root.clone(),
        "comment" => "Bag Attributes\n  friendlyName: é\n\n".to_owned(),
        "encrypted" => section("ENCRYPTED PRIVATE KEY", "AAAA"),
        "legacy" => section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA"),
        "dhparam" => section("DH PARAMETERS", "AAAA"),
        "request" => section("CERTIFICATE REQUEST", "AAAA"),
        "garbage" => section("CERTIFICATE", "AAAA"),
        "text" => "This directory contains certificates.\n".to_owned(),
        "large" => "x".repeat(70_000),
        _ => panic!("unknown word {word:?}"),
    }
}

fn section(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// A temporary directory whose files are written in the notation of [`render_words`].
pub(super) struct TestDirectory(TempDir);

impl TestDirectory {
    /// Each line is `PATH = WORDS`, or `PATH -> LINK`.
    pub(super) fn new(lines: &str) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some((path, target)) = line.split_once(" -> ") {
                directory.link(path, target);
            } else {
                let (path, words) = line.split_once(" =").unwrap();
                directory.write(path, words);
            }
        }
        directory
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        vec![self.path().to_owned()]
    }

    pub(super) fn write(&self, path: &str, words: &str) {
        let path = self.create_parent(path);
        fs::write(&path, render_words(words)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.create_parent(path)).unwrap();
    }

    fn create_parent(&self, path: &str) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Returns a text without the path of this directory.
    pub(super) fn relative(&self, text: &str) -> String {
        let root = self.path().display().to_string();
        text.replace(&format!("{root}/"), "").replace(&root, "ROOT")
    }
}
