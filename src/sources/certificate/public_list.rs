//! The list of certificates for other programs: which there are, and where their files are. It contains no key.
//!
//! Pure. docker-balancer writes it as `certificates.json`, which all users may read, and docker-glue reads it.

use crate::{
    model::certificate::{Certificate, CertificateIndex, CertificateOrigin},
    sources::{acme, own_ca},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicCertificateList {
    /// Sorted by id.
    pub certificates: Vec<PublicCertificate>,
}

/// A certificate in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicCertificate {
    /// Remains the same when the certificate is renewed: `acme/app.example.com`, `own_ca/nas.lan`, or `file/` and the
    /// path.
    pub id: String,
    /// The hosts that it is valid for, sorted.
    pub names: Vec<String>,
    /// Differs for each certificate: 32 hexadecimal digits.
    pub digest: String,
    /// `ECDSA` or `RSA`.
    pub key_type: String,
    pub issuer: String,
    /// `acme`, `file` or `own_ca`.
    pub origin: String,
    /// The URL of the CA, for `acme`.
    pub ca: Option<String>,
    /// The file of the certificate with its chain. It is replaced by a renewal.
    pub certificate_file: Option<String>,
    /// The file of the key, if it is known. Few users may read it.
    pub key_file: Option<String>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
}

#[cfg(test)]
impl PublicCertificate {
    /// Returns a certificate for tests.
    pub(crate) fn sample(id: &str, name: &str, digest: &str) -> Self {
        Self {
            id: id.to_owned(),
            names: vec![name.to_owned()],
            digest: digest.to_owned(),
            key_type: "ECDSA".to_owned(),
            issuer: "Test CA".to_owned(),
            origin: "acme".to_owned(),
            ca: None,
            certificate_file: None,
            key_file: None,
            not_before: 0,
            not_after: 1,
        }
    }
}

impl PublicCertificateList {
    /// Lists the certificates of the index. Those of CAs are in `state_dir`.
    pub fn from_index(index: &CertificateIndex, state_dir: &Path) -> Self {
        let certificates = index.iter();
        let certificates = certificates.map(|found| PublicCertificate::new(found, state_dir));
        let mut certificates: Vec<_> = certificates.collect();
        certificates.sort_by(|one, other| one.id.cmp(&other.id));
        Self { certificates }
    }

    /// Returns the content of the file.
    pub fn to_json(&self) -> String {
        // Texts and numbers can always be serialized.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// # Errors
    /// Returns what is invalid.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

impl PublicCertificate {
    fn new(certificate: &Certificate, state_dir: &Path) -> Self {
        let name = &certificate.name;
        let text = |path: &Path| path.display().to_string();
        let (origin, key, ca, certificate_file, key_file) = match &certificate.origin {
            CertificateOrigin::File { path } => ("file", text(path), None, Some(text(path)), None),
            CertificateOrigin::Acme { ca } => {
                let files = acme::live_files(state_dir, ca, name);
                let [chain, key] = files.map_or([None, None], |files| files.map(Some));
                let [chain, key] = [chain, key].map(|path| path.as_deref().map(text));
                ("acme", name.clone(), Some(ca.to_string()), chain, key)
            }
            CertificateOrigin::OwnCa => {
                let path = text(&own_ca::certificate_path(state_dir, name));
                ("own_ca", name.clone(), None, Some(path.clone()), Some(path))
            }
        };
        Self {
            id: format!("{origin}/{key}"),
            names: certificate.names.iter().map(ToString::to_string).collect(),
            digest: certificate.digest.to_string(),
            key_type: certificate.key_type.to_string(),
            issuer: certificate.issuer.clone(),
            origin: origin.to_owned(),
            ca,
            certificate_file,
            key_file,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::{CertificateDigest, CertificateName, KeyType};
    use std::sync::Arc;

    fn index_of(name: &str, hosts: &[&str], origin: CertificateOrigin) -> CertificateIndex {
        let names = hosts.iter().filter_map(|host| CertificateName::parse(host));
        let certificate = Certificate {
            digest: CertificateDigest::of_pem(name),
            names: names.collect(),
            not_before: 1000,
            not_after: 9000,
            key_type: KeyType::Ecdsa,
            issuer: "Test CA".to_owned(),
            origin,
            name: name.to_owned(),
            pem_bytes: 0,
        };
        CertificateIndex::build(vec![Arc::new(certificate)], 2000)
    }

    /// `expected` is the id, then the files of the certificate and of the key.
    #[track_caller]
    fn check(name: &str, hosts: &[&str], origin: CertificateOrigin, expected: [&str; 3]) {
        let index = index_of(name, hosts, origin);
        let list = PublicCertificateList::from_index(&index, Path::new("/state"));
        let [certificate] = &list.certificates[..] else { panic!("{list:?}") };
        assert_eq!(certificate.names, hosts);
        let file = |path: &Option<String>| path.clone().unwrap_or_default();
        let files = [file(&certificate.certificate_file), file(&certificate.key_file)];
        assert_eq!([certificate.id.clone(), files[0].clone(), files[1].clone()], expected);
        assert_eq!(PublicCertificateList::parse(&list.to_json()), Ok(list));
    }

    #[test]
    fn certificate_is_listed_with_its_files() {
        let ca = "https://acme-v02.api.letsencrypt.org/directory".into();
        let live = "/state/acme/acme-v02.api.letsencrypt.org-directory/live/_.a.test";
        check(
            "_.a.test",
            &["a.test", "*.a.test"],
            CertificateOrigin::Acme { ca },
            ["acme/_.a.test", &format!("{live}/fullchain.pem"), &format!("{live}/privkey.pem")],
        );
        let path = "/certs/shop.pem".into();
        check(
            "shop",
            &["shop.test"],
            CertificateOrigin::File { path },
            ["file//certs/shop.pem", "/certs/shop.pem", ""],
        );
        let path = "/state/own-ca/nas.lan.pem";
        check("nas.lan", &["nas.lan"], CertificateOrigin::OwnCa, ["own_ca/nas.lan", path, path]);
    }
}
