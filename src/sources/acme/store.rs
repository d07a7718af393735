//! The folder of one CA: the account, the certificates with their keys, and the orders that can be continued.
//!
//! ```text
//! STATE/acme/CA/account.json                                  the account and its key
//! STATE/acme/CA/account.json.next                             the same with another key, while the CA replaces it
//! STATE/acme/CA/archive/HOST/N/{privkey,fullchain}.pem, meta.json
//! STATE/acme/CA/live/HOST -> ../archive/HOST/N                as certbot: other programs can read it
//! STATE/acme/CA/live/HOST+rsa -> ../archive/HOST+rsa/N        the second one of a host with keys of both types
//! STATE/acme/CA/pending/HOST.json                             an order's URL, and its key from the request on
//! ```
//!
//! `meta.json` is written last, so a folder with it is complete. At the start the newest complete folder is used, even
//! if the program ended before it changed the link. The CA is in the path, so that certificates of a staging
//! environment never mix with others.

use super::{
    acme_host::AcmeHost,
    chain::{Leaf, parse_leaf},
    settings::DirectoryUrl,
};
use crate::support::{
    atomic_file::{
        FileAccess, WriteError, create_directory, stage_file, sync_directory, write_new,
    },
    durable,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};
use tracing::{debug, warn};
use zeroize::Zeroizing;

/// The folder in the state directory, which has a folder for each CA.
pub const STATE_FOLDER: &str = "acme";

const CHAIN_FILE: &str = "fullchain.pem";
const KEY_FILE: &str = "privkey.pem";

/// Folders with earlier certificates of a host that are kept.
const KEPT_ISSUES: usize = 2;

/// The folder of one CA.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// A certificate with its key. The debug text has neither.
pub struct StoredCertificate {
    pub leaf: Leaf,
    /// The chain, then the key, in PEM form.
    pub pem: Zeroizing<String>,
}

/// An order that the CA knows.
#[derive(Serialize, Deserialize)]
pub struct PendingOrder {
    pub url: String,
    /// The private key of the request, in PEM form, once it was sent.
    pub key: Option<Zeroizing<String>>,
}

/// Information for people and other programs. This program reads the certificate itself.
#[derive(Debug, Serialize)]
struct Meta<'a> {
    ca: &'a str,
    names: &'a [String],
    not_before: i64,
    not_after: i64,
}

impl Store {
    pub fn new(acme_folder: &Path, directory: &DirectoryUrl) -> Self {
        Self { folder: acme_folder.join(directory.folder()) }
    }

    /// Returns the account's credentials, if there is an account. Anything that is not a text counts as none.
    pub fn read_account(&self) -> Option<Zeroizing<String>> {
        fs::read_to_string(self.account_path()).ok().map(Zeroizing::new)
    }

    pub fn write_account(&self, credentials: &str) -> Result<(), WriteError> {
        create_directory(&self.folder, FileAccess::Private)?;
        let path = self.account_path();
        stage_file(&path, credentials, FileAccess::Private)?.replace(&path)
    }

    /// Returns the account with the key that is to replace the present one, if a replacement began.
    pub fn read_next_account(&self) -> Option<Zeroizing<String>> {
        fs::read_to_string(self.next_account_path()).ok().map(Zeroizing::new)
    }

    pub fn write_next_account(&self, credentials: &str) -> Result<(), WriteError> {
        let path = self.next_account_path();
        stage_file(&path, credentials, FileAccess::Private)?.replace(&path)
    }

    pub fn remove_next_account(&self) -> Result<(), WriteError> {
        let path = self.next_account_path();
        durable::remove(&path).map_err(|why| WriteError { path, why })
    }

    /// Keeps the account's file under another name, so that the next connection registers a new account.
    pub fn retire_account(&self) -> Result<(), WriteError> {
        let (path, copy) = (self.account_path(), self.folder.join("account.json.unknown"));
        if let Some(text) = self.read_account() {
            stage_file(&copy, &text, FileAccess::Private)?.replace(&copy)?;
        }
        durable::remove(&path).map_err(|why| WriteError { path, why })
    }

    /// Reads all complete certificates, and repairs links to them. A damaged certificate is logged and skipped.
    pub fn read_certificates(&self) -> BTreeMap<AcmeHost, StoredCertificate> {
        let hosts = entries(&self.folder.join("archive")).into_iter();
        let hosts = hosts.filter_map(|name| AcmeHost::from_folder(&name));
        hosts.filter_map(|host| Some((host.clone(), self.read_newest(&host)?))).collect()
    }

    fn read_newest(&self, host: &AcmeHost) -> Option<StoredCertificate> {
        for number in self.issues(host).into_iter().rev() {
            let folder = self.issue_folder(host, number);
            if !folder.join("meta.json").exists() {
                continue;
            }
            match read_certificate(&folder) {
                Ok(stored) => {
                    let _ = self.link(host, number);
                    return Some(stored);
                }
                Err(error) => warn!("skipping the certificate in {}: {error}", folder.display()),
            }
        }
        None
    }

    /// Reads the newest complete certificates that are not those that were read: `read` has the numbers of their folders.
    /// Another program writes the store, so nothing in it is changed.
    pub fn read_other_certificates(
        &self,
        read: &BTreeMap<AcmeHost, u64>,
    ) -> BTreeMap<AcmeHost, (u64, StoredCertificate)> {
        let hosts = entries(&self.folder.join("archive")).into_iter();
        let hosts = hosts.filter_map(|name| AcmeHost::from_folder(&name));
        let newer = |host: AcmeHost| {
            // The numbers of a host whose certificates were removed begin again.
            let last = read.get(&host).copied();
            let issues = self.issues(&host).into_iter().rev();
            let mut complete = issues
                .take_while(|number| Some(*number) != last)
                .filter(|number| self.issue_folder(&host, *number).join("meta.json").exists());
            let found = complete.find_map(|number| {
                let folder = self.issue_folder(&host, number);
                let certificate = read_certificate(&folder);
                let log =
                    |error| debug!("skipping the certificate in {}: {error}", folder.display());
                Some((number, certificate.map_err(log).ok()?))
            });
            Some((host, found?))
        };
        hosts.filter_map(newer).collect()
    }

    /// Writes a certificate of another store, unless it is the newest one.
    pub fn write_copy(
        &self,
        host: &AcmeHost,
        pem: &str,
        ca: &DirectoryUrl,
    ) -> Result<(), WriteError> {
        let is_present = self.read_newest(host).is_some_and(|newest| *newest.pem == pem);
        if is_present {
            return Ok(());
        }
        self.write_certificate(host, split_pem(pem), ca).map(drop)
    }

    /// Writes a certificate that was issued, and makes it the host's live one. Returns the number of its folder.
    pub fn write_certificate(
        &self,
        host: &AcmeHost,
        (chain, key): (&str, &str),
        ca: &DirectoryUrl,
    ) -> Result<u64, WriteError> {
        let number = self.issues(host).last().map_or(1, |last| last + 1);
        let folder = self.issue_folder(host, number);
        create_directory(&folder, FileAccess::Private)?;
        write_new(&folder.join(KEY_FILE), key, FileAccess::Private)?;
        write_new(&folder.join(CHAIN_FILE), chain, FileAccess::Private)?;
        write_new(&folder.join("meta.json"), &meta(chain, ca), FileAccess::Private)?;
        for parent in folder.ancestors().take_while(|parent| parent.starts_with(&self.folder)) {
            sync_directory(parent)?;
        }
        self.link(host, number)?;
        self.remove_old(host);
        Ok(number)
    }

    fn link(&self, host: &AcmeHost, number: u64) -> Result<(), WriteError> {
        let live = self.folder.join("live");
        create_directory(&live, FileAccess::Private)?;
        let link = live.join(host.folder());
        let target = format!("../archive/{}/{number}", host.folder());
        if fs::read_link(&link).is_ok_and(|present| present == Path::new(&target)) {
            return Ok(());
        }
        let linked = durable::replace_link(Path::new(&target), &link);
        linked.map_err(|why| WriteError { path: link, why })
    }

    fn remove_old(&self, host: &AcmeHost) {
        let issues = self.issues(host);
        for number in issues.iter().rev().skip(KEPT_ISSUES) {
            let _ = fs::remove_dir_all(self.issue_folder(host, *number));
        }
    }

    /// Removes all certificates of a host.
    pub fn remove_certificates(&self, host: &AcmeHost) -> io::Result<()> {
        durable::remove(&self.folder.join("live").join(host.folder()))?;
        match fs::remove_dir_all(self.folder.join("archive").join(host.folder())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the hosts with an order that can be continued.
    pub fn pending_hosts(&self) -> BTreeSet<AcmeHost> {
        let names = entries(&self.folder.join("pending")).into_iter();
        names.filter_map(|name| AcmeHost::from_folder(name.strip_suffix(".json")?)).collect()
    }

    pub fn read_pending(&self, host: &AcmeHost) -> Option<PendingOrder> {
        let text = Zeroizing::new(fs::read(self.pending_path(host)).ok()?);
        serde_json::from_slice(&text).ok()
    }

    pub fn write_pending(&self, host: &AcmeHost, order: &PendingOrder) -> Result<(), WriteError> {
        create_directory(&self.folder.join("pending"), FileAccess::Private)?;
        let path = self.pending_path(host);
        let text = serde_json::to_string(order).map(Zeroizing::new);
        let text =
            text.map_err(|why| WriteError { path: path.clone(), why: io::Error::other(why) })?;
        stage_file(&path, &text, FileAccess::Private)?.replace(&path)
    }

    pub fn remove_pending(&self, host: &AcmeHost) -> io::Result<()> {
        durable::remove(&self.pending_path(host))
    }

    fn account_path(&self) -> PathBuf {
        self.folder.join("account.json")
    }

    fn next_account_path(&self) -> PathBuf {
        self.folder.join("account.json.next")
    }

    /// The host's name is at most 253 bytes, and a file's name 255 bytes.
    fn pending_path(&self, host: &AcmeHost) -> PathBuf {
        self.folder.join("pending").join(format!("{}.json", host.folder()))
    }

    fn issue_folder(&self, host: &AcmeHost, number: u64) -> PathBuf {
        self.folder.join("archive").join(host.folder()).join(number.to_string())
    }

    /// Returns the numbers of the folders with certificates of a host, in ascending order.
    fn issues(&self, host: &AcmeHost) -> Vec<u64> {
        let names = entries(&self.folder.join("archive").join(host.folder()));
        let mut numbers: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }
}

impl std::fmt::Debug for StoredCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredCertificate")
            .field("issued", &self.leaf.issued)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PendingOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingOrder").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Returns the files of a host's present certificate: the chain, and the key. `folder` is the host's name in the store.
/// `None` if `ca` is not a URL.
pub fn live_files(state_dir: &Path, ca: &str, folder: &str) -> Option<[PathBuf; 2]> {
    let store = Store::new(&state_dir.join(STATE_FOLDER), &ca.parse().ok()?);
    let live = store.folder.join("live").join(folder);
    Some([CHAIN_FILE, KEY_FILE].map(|name| live.join(name)))
}

/// Returns the chain, then the key, without empty lines.
pub fn join_pem(chain: &str, key: &str) -> Zeroizing<String> {
    let mut pem = Zeroizing::new(String::with_capacity(chain.len() + key.len() + 2));
    for line in chain.lines().chain(key.lines()).map(str::trim).filter(|line| !line.is_empty()) {
        pem.push_str(line);
        pem.push('\n');
    }
    pem
}

/// Returns the chain and the key of a text that [`join_pem`] made.
pub fn split_pem(pem: &str) -> (&str, &str) {
    pem.split_at(pem.rfind("-----BEGIN ").unwrap_or(pem.len()))
}

fn read_certificate(folder: &Path) -> Result<StoredCertificate, String> {
    let read = |name| {
        let text = fs::read_to_string(folder.join(name)).map(Zeroizing::new);
        text.map_err(|error| format!("{name}: {error}"))
    };
    let (key, chain) = (read(KEY_FILE)?, read(CHAIN_FILE)?);
    if !key.contains("PRIVATE KEY-----") {
        return Err("privkey.pem is no private key".to_owned());
    }
    Ok(StoredCertificate { leaf: parse_leaf(&chain)?, pem: join_pem(&chain, &key) })
}

fn meta(chain: &str, ca: &DirectoryUrl) -> String {
    let Ok(Leaf { issued, names, .. }) = parse_leaf(chain) else { return "{}".to_owned() };
    let (not_before, not_after) = (issued.not_before, issued.not_after);
    let meta = Meta { ca: ca.as_str(), names: &names, not_before, not_after };
    serde_json::to_string_pretty(&meta).unwrap_or_default()
}

/// Returns the names in a folder; none if it cannot be read.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
