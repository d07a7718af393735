//! Any certificates, lines and CAs that HAProxy is to have.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary takes what it needs of these"
)]

use super::certificates;
use docker_glue::{
    haproxy::tls::{CertificateDirectory, TlsLine, TlsLists},
    model::certificate::CertificateDigest,
};
use proptest::{prelude::*, sample::subsequence};
use std::{collections::BTreeSet, fs, path::Path};

pub const LISTS: [&str; 2] = ["tls-443.list", "tls-8443.list"];
pub const NAMES: [&str; 4] = ["a.test", "b.shop.test", "c.shop.test", "*.shop.test"];
/// Number of certificates, and of CAs.
pub const SECRETS: usize = 5;

/// The paths of certificates and CAs, which are their names in HAProxy.
#[derive(Debug, Clone)]
pub struct CertificateFiles(CertificateDirectory);

impl Default for CertificateFiles {
    fn default() -> Self {
        Self(CertificateDirectory::new("/var/lib/docker-glue/certs"))
    }
}

impl CertificateFiles {
    /// Creates the files in a directory. Each certificate is for all names.
    pub fn create(directory: &Path) -> Self {
        let files = Self(CertificateDirectory::new(directory));
        let ca = certificates::TestCa::new();
        for number in 0..SECRETS {
            fs::write(files.certificate(number), ca.issue(&NAMES)).unwrap();
            fs::write(files.ca(number), certificates::TestCa::new().pem()).unwrap();
        }
        files
    }

    pub fn certificate(&self, number: usize) -> String {
        self.0.certificate_path(CertificateDigest::of_pem(&format!("certificate {number}")))
    }

    pub fn ca(&self, number: usize) -> String {
        self.0.ca_path(CertificateDigest::of_pem(&format!("ca {number}")))
    }

    /// Returns any lists, with their CAs and further ones, which servers have.
    pub fn desired_strategy(&self) -> impl Strategy<Value = (TlsLists, BTreeSet<String>)> + use<> {
        let (files, cas) = (self.clone(), self.clone());
        let options = prop_oneof![
            4 => Just(vec![]),
            1 => Just(vec!["ssl-min-ver TLSv1.3".to_owned()]),
            3 => (0..SECRETS).prop_map(move |number| {
                vec![format!("ca-file {}", cas.ca(number)), "verify required".to_owned()]
            }),
        ];
        let line = (0..LISTS.len(), 0..NAMES.len(), 0..SECRETS, options);
        let others = subsequence((0..SECRETS).collect::<Vec<_>>(), 0..3);
        (prop::collection::vec(line, 0..8), others).prop_map(move |(lines, others)| {
            let mut lists: TlsLists =
                LISTS.iter().map(|list| ((*list).to_owned(), BTreeSet::new())).collect();
            let mut cas: BTreeSet<_> = others.into_iter().map(|number| files.ca(number)).collect();
            for (list, name, number, options) in lines {
                let of_line = options.iter().filter_map(|option| option.strip_prefix("ca-file "));
                cas.extend(of_line.map(str::to_owned));
                let (name, certificate) = (NAMES[name].to_owned(), files.certificate(number));
                let line = TlsLine { name, certificate, options: options.into_iter().collect() };
                lists.get_mut(LISTS[list]).unwrap().insert(line);
            }
            (lists, cas)
        })
    }
}
