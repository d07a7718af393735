//! Certificates of docker-balancer's own CA, for names that no public CA signs.
//!
//! ```text
//! hosts ─▶ follow ─▶ STATE/own-ca/{ca.pem, ca-key.pem, HOST.pem} ─▶ SourceUpdate, to the shelf
//! ```
//!
//! The CA and each certificate are created when they are needed for the first time, and survive a restart: clients trust
//! the CA's certificate, which an operator gives them.

use super::{
    acme::AcmeHost,
    certificate::{CertificateProblem, CertificateProblemKind, CertificateWithKey, SourceUpdate},
};
use crate::{
    model::{
        certificate::{CertificateOrigin, CertificateOriginKind},
        host::Host,
    },
    support::{
        atomic_file::{self, FileAccess, WriteError},
        durable,
        secret::SecretPem,
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};
use tracing::{info, warn};
use zeroize::Zeroizing;

const DIRECTORY: &str = "own-ca";
const ROOT_FILE: &str = "ca.pem";
const ROOT_KEY_FILE: &str = "ca-key.pem";
const EXTENSION: &str = ".pem";

const DAY: Duration = Duration::from_hours(24);
/// Browsers refuse certificates for more than 398 days, and Apple's systems those for more than 825 days, from any CA.
const LIFETIME: Duration = DAY.saturating_mul(90);
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
/// A certificate with less time left is replaced.
const RENEWAL: Duration = DAY.saturating_mul(30);
/// The clocks of clients may be behind.
const BACKDATING: Duration = Duration::from_hours(1);
/// The time between two checks whether certificates have to be replaced, or could be written at last.
const CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// Why a certificate could not be made. The text contains no part of a key.
#[derive(Debug, thiserror::Error)]
pub enum OwnCaError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot read {}: {why}", path.display())]
    Read { path: PathBuf, why: io::Error },
    #[error("{} is damaged ({why}); restore it, or remove the directory to make a new CA", path.display())]
    Damaged { path: PathBuf, why: rcgen::Error },
    #[error("cannot make a certificate: {0}")]
    Library(#[from] rcgen::Error),
}

/// Returns the path of the CA's certificate.
pub fn root_path(state_dir: &Path) -> PathBuf {
    state_dir.join(DIRECTORY).join(ROOT_FILE)
}

/// Returns the path of a host's certificate with its key. `folder` is the name of the certificate.
pub fn certificate_path(state_dir: &Path, folder: &str) -> PathBuf {
    state_dir.join(DIRECTORY).join(format!("{folder}{EXTENSION}"))
}

/// Returns a certificate for the host that no CA has signed, with its key.
///
/// # Errors
/// If no key can be made.
pub fn self_sign(host: &Host, now: SystemTime) -> Result<SecretPem, OwnCaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([host.to_string()])?;
    params.distinguished_name = named("docker-balancer default");
    (params.not_before, params.not_after) =
        ((now - BACKDATING).into(), (now + ROOT_LIFETIME).into());
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(SecretPem::new(Zeroizing::new(format!("{}{}", certificate.pem(), *key))))
}

/// Whether certificates were made earlier.
pub fn exists(state_dir: &Path) -> bool {
    root_path(state_dir).exists()
}

/// Reads the certificates that were issued earlier.
pub fn read_certificates(state_dir: &Path) -> Vec<CertificateWithKey> {
    read_issued(&state_dir.join(DIRECTORY)).into_values().collect()
}

/// Sends the certificates of earlier runs, and then those of the hosts. Never returns.
pub async fn follow(
    state_dir: PathBuf,
    mut hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    updates: mpsc::Sender<SourceUpdate>,
) {
    let mut ca = OwnCa::new(&state_dir);
    loop {
        let requested = Arc::clone(&hosts.borrow_and_update());
        let work = spawn_blocking(move || {
            let update = ca.update(&requested, SystemTime::now());
            (ca, update)
        });
        let Ok((returned, update)) = work.await else { return };
        ca = returned;
        if updates.send(update).await.is_err() {
            return;
        }
        tokio::select! {
            changed = hosts.changed() => if changed.is_err() { return std::future::pending().await },
            () = sleep(CHECK_INTERVAL) => {}
        }
    }
}

/// The files of the CA.
#[derive(Debug)]
pub struct OwnCa {
    directory: PathBuf,
    /// The certificates on disk. `None` before the first update.
    issued: Option<BTreeMap<AcmeHost, CertificateWithKey>>,
}

impl OwnCa {
    pub fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join(DIRECTORY), issued: None }
    }

    /// Issues certificates for the hosts that have none, or one that expires soon, and returns all.
    pub fn update(&mut self, hosts: &BTreeSet<AcmeHost>, now: SystemTime) -> SourceUpdate {
        let mut issued = self.issued.take().unwrap_or_else(|| read_issued(&self.directory));
        let limit = unix_seconds(now + RENEWAL);
        let is_current = |host: &AcmeHost| {
            issued.get(host).is_some_and(|found| limit <= found.certificate.not_after)
        };
        let due: Vec<_> = hosts.iter().filter(|host| !is_current(host)).cloned().collect();
        let mut problems = Vec::new();
        if !due.is_empty() {
            match self.issue(&due, now) {
                Ok(new) => issued.extend(new),
                Err(error) => {
                    let kind = CertificateProblemKind::Unreadable { why: error.to_string() };
                    problems.push(CertificateProblem::new(&self.directory, kind));
                }
            }
        }
        remove_expired(&self.directory, &mut issued, hosts, unix_seconds(now));
        let certificates = issued.values().cloned().collect();
        self.issued = Some(issued);
        SourceUpdate { kind: CertificateOriginKind::OwnCa, certificates, problems }
    }

    fn issue(
        &self,
        hosts: &[AcmeHost],
        now: SystemTime,
    ) -> Result<Vec<(AcmeHost, CertificateWithKey)>, OwnCaError> {
        let issuer = self.open_root(now)?;
        let mut certificates = Vec::new();
        for host in hosts {
            let pem = sign(host, &issuer, now)?;
            let path = self.directory.join(file_name(host));
            atomic_file::stage_file(&path, &pem, FileAccess::Private)?.replace(&path)?;
            info!("issued a certificate of the own CA for {host}");
            if let Some(certificate) = parse(host, &pem) {
                certificates.push((host.clone(), certificate));
            }
        }
        Ok(certificates)
    }

    /// Reads the CA, or creates it.
    fn open_root(&self, now: SystemTime) -> Result<Issuer<'static, KeyPair>, OwnCaError> {
        let (path, key_path) = (self.directory.join(ROOT_FILE), self.directory.join(ROOT_KEY_FILE));
        if !path.exists() {
            atomic_file::create_directory(&self.directory, FileAccess::Private)?;
            let (root, key) = create_root(now)?;
            // The key first: a certificate without its key would be of no use, and is what tells that the CA exists.
            for (path, text) in [(&key_path, &*key), (&path, &root)] {
                atomic_file::stage_file(path, text, FileAccess::Private)?.replace(path)?;
            }
            info!("created the own CA, with its certificate in {}", path.display());
        }
        let key = Zeroizing::new(read(&key_path)?);
        let damaged = |path: &Path| {
            let path = path.to_owned();
            move |why| OwnCaError::Damaged { path, why }
        };
        let key = KeyPair::from_pem(&key).map_err(damaged(&key_path))?;
        Issuer::from_ca_cert_pem(&read(&path)?, key).map_err(damaged(&path))
    }
}

fn read(path: &Path) -> Result<String, OwnCaError> {
    fs::read_to_string(path).map_err(|why| OwnCaError::Read { path: path.to_owned(), why })
}

/// Returns the CA's certificate and its key.
fn create_root(now: SystemTime) -> Result<(String, Zeroizing<String>), OwnCaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = named("docker-balancer CA");
    (params.not_before, params.not_after) =
        ((now - BACKDATING).into(), (now + ROOT_LIFETIME).into());
    let root = params.self_signed(&key)?;
    Ok((root.pem(), Zeroizing::new(key.serialize_pem())))
}

/// Returns a certificate with its key.
fn sign(
    host: &AcmeHost,
    issuer: &Issuer<'_, KeyPair>,
    now: SystemTime,
) -> Result<Zeroizing<String>, OwnCaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(host.names())?;
    params.distinguished_name = named("docker-balancer");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = ((now - BACKDATING).into(), (now + LIFETIME).into());
    let certificate = params.signed_by(&key, issuer)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{}{}", certificate.pem(), *key)))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn file_name(host: &AcmeHost) -> String {
    host.folder() + EXTENSION
}

/// Reads the certificates of earlier runs. Files that are damaged are issued again.
fn read_issued(directory: &Path) -> BTreeMap<AcmeHost, CertificateWithKey> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        if [ROOT_FILE, ROOT_KEY_FILE].contains(&name.as_str()) {
            return None;
        }
        let host = AcmeHost::from_folder(name.strip_suffix(EXTENSION)?)?;
        let pem = Zeroizing::new(fs::read_to_string(entry.path()).ok()?);
        let certificate = parse(&host, &pem)?;
        Some((host, certificate))
    };
    entries.filter_map(read).collect()
}

fn parse(host: &AcmeHost, pem: &str) -> Option<CertificateWithKey> {
    let parsed = CertificateWithKey::parse(pem, CertificateOrigin::OwnCa, host.folder());
    parsed.inspect_err(|problem| warn!("the own CA's certificate of {host}: {problem}")).ok()
}

/// Removes certificates that no host requests when they have expired.
fn remove_expired(
    directory: &Path,
    issued: &mut BTreeMap<AcmeHost, CertificateWithKey>,
    hosts: &BTreeSet<AcmeHost>,
    now: i64,
) {
    issued.retain(|host, found| {
        let keep = hosts.contains(host) || now <= found.certificate.not_after;
        if !keep && let Err(error) = durable::remove(&directory.join(file_name(host))) {
            warn!("cannot remove the expired certificate of {host}: {error}");
        }
        keep
    });
}

fn unix_seconds(time: SystemTime) -> i64 {
    let elapsed = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::{Certificate, CertificateIndex};
    use std::os::unix::fs::PermissionsExt;

    fn hosts(names: &[&str]) -> BTreeSet<AcmeHost> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn names(update: &SourceUpdate) -> Vec<String> {
        assert_eq!(update.problems, []);
        let certificates = update.certificates.iter().map(|found| &found.certificate);
        let join = |found: &Arc<Certificate>| {
            let names: Vec<_> = found.names.iter().map(ToString::to_string).collect();
            format!("{} by {}", names.join(" "), found.issuer)
        };
        certificates.map(join).collect()
    }

    #[test]
    fn self_signed_certificate_is_for_its_host() {
        let pem = self_sign(&"www.test".parse().unwrap(), SystemTime::now()).unwrap();
        let parsed =
            CertificateWithKey::parse(pem.reveal(), CertificateOrigin::OwnCa, "www".to_owned());
        let Certificate { names, issuer, .. } = parsed.unwrap().certificate.as_ref().clone();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(
            (names, issuer.as_str()),
            (vec!["www.test".to_owned()], "docker-balancer default")
        );
    }

    #[test]
    fn certificates_are_issued_once_and_replaced_before_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let expected =
            ["nas.lan by docker-balancer CA", "shop.lan *.shop.lan by docker-balancer CA"];
        let requested = hosts(&["nas.lan", "*.shop.lan"]);
        let first = OwnCa::new(folder.path()).update(&requested, now);
        assert_eq!(names(&first), expected);

        // A restart knows no hosts at first.
        let mut restarted = OwnCa::new(folder.path());
        let digests = |update: &SourceUpdate| -> BTreeSet<_> {
            update.certificates.iter().map(|found| found.certificate.digest).collect()
        };
        for requested in [&BTreeSet::new(), &requested] {
            assert_eq!(digests(&restarted.update(requested, now)), digests(&first));
        }
        let later = restarted.update(&requested, now + DAY * 61);
        assert_eq!(names(&later), expected);
        assert!(digests(&later).is_disjoint(&digests(&first)));
        let last = restarted.update(&hosts(&["nas.lan"]), now + DAY * 200);
        assert_eq!(names(&last), expected[..1]);
        let left = fs::read_dir(folder.path().join(DIRECTORY)).unwrap().count();
        assert_eq!(left, 3, "two files of the CA, and one certificate");
    }

    #[test]
    fn files_are_readable_by_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        OwnCa::new(folder.path()).update(&hosts(&["nas.lan"]), SystemTime::now());
        for entry in fs::read_dir(folder.path().join(DIRECTORY)).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
        }
        let directory = fs::metadata(folder.path().join(DIRECTORY)).unwrap();
        assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn damaged_ca_is_reported_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        OwnCa::new(folder.path()).update(&hosts(&["nas.lan"]), now);
        fs::write(root_path(folder.path()), "damaged").unwrap();
        let update = OwnCa::new(folder.path()).update(&hosts(&["nas.lan", "new.lan"]), now);
        assert_eq!(update.certificates.len(), 1);
        let text = update.problems[0].to_string();
        assert!(text.contains("own-ca/ca.pem is damaged"), "{text}");
        let index = update.certificates.iter().map(|found| Arc::clone(&found.certificate));
        assert_eq!(CertificateIndex::build(index.collect(), unix_seconds(now)).iter().count(), 1);
    }
}
