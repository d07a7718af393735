//! Reads a certificate chain in PEM form, as the CA sends it.
//!
//! Pure.

use super::decide::CertificateSummary;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// The leaf of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub issued: CertificateSummary,
    /// The names and addresses in the certificate.
    pub names: Vec<String>,
    /// The public key in DER form (SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
}

/// Parses the leaf of a chain. All certificates must be complete.
pub fn parse_leaf(chain: &str) -> Result<Leaf, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let all = all.map_err(|error| format!("the chain is not PEM: {error}"))?;
    for der in &all {
        parse_certificate(der)?;
    }
    let leaf = all.first().ok_or("the chain is empty")?;
    let leaf = parse_certificate(leaf)?;
    let validity = leaf.validity();
    let issued = CertificateSummary {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        ari_id: ari_id(&leaf),
    };
    Ok(Leaf { issued, names: read_names(&leaf), public_key: leaf.public_key().raw.to_vec() })
}

fn parse_certificate<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let parsed = X509Certificate::from_der(der.as_ref());
    parsed.map(|(_, leaf)| leaf).map_err(|_| "the chain has a damaged certificate".to_owned())
}

fn read_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let four: [u8; 4] = (*bytes).try_into().ok()?;
            Some(std::net::Ipv4Addr::from(four).to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

/// Returns the identifier of RFC 9773, 4.1: the authority's key identifier and the serial number, each as base64url.
fn ari_id(leaf: &X509Certificate<'_>) -> Option<String> {
    let key_id =
        leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(format!("{}.{}", base64url(key_id.0), base64url(leaf.raw_serial())))
}

fn base64url(bytes: &[u8]) -> String {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
