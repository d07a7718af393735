//! The certificates of the services, in a directory that the balancer watches.

use crate::{entry::Entry, test_certificates::TestCa};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{fs, io::Write as _, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct Certificates {
    ca: TestCa,
    folder: tempfile::TempDir,
    /// The host with a certificate of its own.
    own: String,
    /// A host that the wildcard certificate serves, with all others.
    shared: String,
    wildcard: String,
}

impl Certificates {
    pub(crate) fn new(own: String, shared: String) -> Self {
        let wildcard = format!("*.{}", shared.split_once('.').expect("a host with a domain").1);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("certificates")).unwrap();
        let new = Self { ca: TestCa::new(), folder, own, shared, wildcard };
        new.issue("own.pem", &new.own);
        new.issue("wildcard.pem", &new.wildcard);
        new
    }

    pub(crate) fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("certificates")
    }

    /// Renews both certificates. Returns how many of them clients did not receive before the deadline.
    pub(crate) async fn renew(&self, entry: &Entry) -> usize {
        let own = self.issue("own.pem", &self.own);
        let wildcard = self.issue("wildcard.pem", &self.wildcard);
        let end = Instant::now() + DEADLINE;
        let mut missing = vec![(&self.own, own), (&self.shared, wildcard)];
        while !missing.is_empty() && Instant::now() < end {
            sleep(POLL_INTERVAL).await;
            let (host, certificate) = missing.pop().expect("one is missing");
            if entry.receive_certificate(host).await.as_ref() != Ok(&certificate) {
                missing.push((host, certificate));
            }
        }
        missing.len()
    }

    /// Writes a new certificate to a file. Returns the certificate in DER.
    fn issue(&self, file: &str, name: &str) -> Vec<u8> {
        let pem = self.ca.issue(&[name]);
        let mut written = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        written.write_all(pem.as_bytes()).unwrap();
        written.persist(self.directory().join(file)).unwrap();
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }
}
