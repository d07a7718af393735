//! What a certificate says: names, validity, issuer, public key.
//!
//! Pure.

use crate::{
    model::certificate::{CertificateName, KeyType},
    support::escape::is_unprintable,
};
use x509_parser::{
    certificate,
    extensions::GeneralName,
    oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION},
    prelude::{FromDer, X509Name},
};

const MAX_ISSUER_CHARS: usize = 128;

/// The parts of a certificate that this program uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct X509Certificate {
    /// DNS names of the subject alternative names; the common name only if there are none of any kind.
    pub names: Vec<CertificateName>,
    /// First and last second of validity, in Unix time.
    pub not_before: i64,
    pub not_after: i64,
    /// `None` if the key is neither ECDSA nor RSA.
    pub key_type: Option<KeyType>,
    /// For printing.
    pub issuer_text: String,
    pub is_ca: bool,
    /// Subject and issuer in DER.
    pub subject: Vec<u8>,
    pub issuer: Vec<u8>,
    /// The SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

impl X509Certificate {
    /// Whether subject and issuer are equal, as in a root CA or a self-signed certificate.
    pub(super) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// Parses a certificate in DER; `None` if it is not one.
pub(super) fn parse_x509(der: &[u8]) -> Option<X509Certificate> {
    let (_, parsed) = certificate::X509Certificate::from_der(der).ok()?;
    let constraints = parsed.basic_constraints().ok().flatten();
    Some(X509Certificate {
        names: read_names(&parsed),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        key_type: read_key_type(&parsed),
        issuer_text: format_issuer(parsed.issuer()),
        is_ca: constraints.is_some_and(|constraints| constraints.value.ca),
        subject: parsed.subject().as_raw().to_vec(),
        issuer: parsed.issuer().as_raw().to_vec(),
        public_key: parsed.public_key().raw.to_vec(),
    })
}

fn read_names(parsed: &certificate::X509Certificate<'_>) -> Vec<CertificateName> {
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let texts: Vec<&str> = match &alternatives {
        Some(names) => names.value.general_names.iter().filter_map(dns_name).collect(),
        None => parsed.subject().iter_common_name().filter_map(|cn| cn.as_str().ok()).collect(),
    };
    let mut names: Vec<_> = texts.into_iter().filter_map(CertificateName::parse).collect();
    names.sort();
    names.dedup();
    names
}

fn dns_name<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::DNSName(text) = name { Some(text) } else { None }
}

fn read_key_type(parsed: &certificate::X509Certificate<'_>) -> Option<KeyType> {
    let algorithm = &parsed.public_key().algorithm.algorithm;
    match () {
        () if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY => Some(KeyType::Ecdsa),
        () if *algorithm == OID_PKCS1_RSAENCRYPTION => Some(KeyType::Rsa),
        () => None,
    }
}

fn format_issuer(issuer: &X509Name<'_>) -> String {
    let mut names = issuer.iter_common_name().chain(issuer.iter_organization());
    let text = names.find_map(|name| name.as_str().ok()).unwrap_or_default();
    text.chars().take(MAX_ISSUER_CHARS).map(|c| if is_unprintable(c) { '_' } else { c }).collect()
}
