//! The PEM text that HAProxy gets: certificate, chain, key.
//!
//! Pure.

use super::{
    pem::{PemCertificate, PemKey, parse_pem},
    problem::CertificateProblemKind as Kind,
};
use crate::{
    model::certificate::{Certificate, CertificateDigest, CertificateOrigin},
    support::secret::SecretPem,
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A certificate and its PEM text with the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWithKey {
    pub certificate: Arc<Certificate>,
    pub pem: Arc<SecretPem>,
}

impl CertificateWithKey {
    /// Reads a text that contains a certificate, its chain and its key in any order, for example as an ACME CA issued
    /// it. `name` is what a label selects.
    ///
    /// # Errors
    /// If the text cannot serve a host; the validity is not checked.
    pub fn parse(text: &str, origin: CertificateOrigin, name: String) -> Result<Self, Kind> {
        let file = parse_pem(text);
        let pair = file.certificates.iter().enumerate().find_map(|(leaf, certificate)| {
            let matches = |key: &&PemKey| key.public_key == certificate.x509.public_key;
            Some((leaf, file.keys.iter().find(matches)?))
        });
        match (file.defect, pair) {
            (Some(defect), _) => Err(defect),
            (None, Some((leaf, key))) => assemble(&file.certificates, leaf, key, origin, name),
            (None, None) => Err(file.key_defect.unwrap_or(Kind::NoKey)),
        }
    }
}

/// Builds the PEM text of the certificate at `leaf` and describes it.
///
/// # Errors
/// If the certificate has no name or a key of another type.
pub(super) fn assemble(
    certificates: &[PemCertificate],
    leaf: usize,
    key: &PemKey,
    origin: CertificateOrigin,
    name: String,
) -> Result<CertificateWithKey, Kind> {
    let x509 = &certificates[leaf].x509;
    let key_type = x509.key_type.ok_or(Kind::UnsupportedKey)?;
    if x509.names.is_empty() {
        return Err(Kind::NoNames);
    }
    let chain = order_chain(certificates, leaf);
    let pem = join_texts(chain.iter().map(|part| part.text.as_str()).chain([key.text.reveal()]));
    let certificate = Certificate {
        digest: CertificateDigest::of_pem(&pem),
        names: x509.names.clone(),
        not_before: x509.not_before,
        not_after: x509.not_after,
        key_type,
        issuer: x509.issuer_text.clone(),
        origin,
        name,
        pem_bytes: pem.len(),
    };
    Ok(CertificateWithKey {
        certificate: Arc::new(certificate),
        pem: Arc::new(SecretPem::new(pem)),
    })
}

/// Returns the certificate, then its issuer, and so on. CA certificates that do not continue the chain follow, because
/// a client may need them for another path. Other certificates and the root are left out; clients have the root.
fn order_chain(certificates: &[PemCertificate], leaf: usize) -> Vec<&PemCertificate> {
    let is_link = |(position, part): &(usize, &PemCertificate)| {
        *position != leaf && part.x509.is_ca && !part.x509.is_self_signed()
    };
    let mut links: Vec<_> =
        certificates.iter().enumerate().filter(is_link).map(|(_, c)| c).collect();
    let mut chain = vec![&certificates[leaf]];
    while let Some(next) = chain.last().and_then(|last| find_issuer(&links, last)) {
        chain.push(links.remove(next));
    }
    chain.extend(links);
    chain
}

fn find_issuer(links: &[&PemCertificate], certificate: &PemCertificate) -> Option<usize> {
    links.iter().position(|link| link.x509.subject == certificate.x509.issuer)
}

/// Joins texts in a buffer that never grows, so no copy of a key is left behind in memory.
fn join_texts<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Zeroizing<String> {
    let length = texts.clone().map(str::len).sum();
    let mut joined = Zeroizing::new(String::with_capacity(length));
    texts.for_each(|text| joined.push_str(text));
    joined
}
