//! Certificates in the file `acme.json` of Traefik.
//!
//! Pure. Traefik 2 and 3 have an object for each certificate resolver; Traefik 1 has one for all. Texts are in base64
//! (doc.traefik.io, "ACME storage"; the format is not specified, but has not changed since version 2).

use super::{assemble::CertificateWithKey, problem::CertificateProblemKind};
use crate::{model::certificate::CertificateOrigin, support::secret::SecretPem};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The text is not an `acme.json`. Its text does not contain any part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an acme.json of Traefik: it has no list \"Certificates\"")]
pub struct AcmeJsonError;

/// The name of a certificate, which is that of its file, and the certificate.
pub type ImportedCertificate = (String, Result<CertificateWithKey, CertificateProblemKind>);

#[derive(Deserialize)]
struct Resolver {
    #[serde(rename = "Certificates")]
    certificates: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "Domain")]
    domain: Domain,
    #[serde(alias = "Certificate")]
    certificate: Zeroizing<String>,
    #[serde(alias = "Key")]
    key: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Domain {
    #[serde(alias = "Main")]
    main: String,
}

/// Returns all certificates, each with its main domain as the name. A further one of the same name gets a number.
///
/// # Errors
/// If the text does not have the format.
pub fn parse_acme_json(text: &str) -> Result<Vec<ImportedCertificate>, AcmeJsonError> {
    let resolvers = parse_resolvers(text)?;
    let entries =
        resolvers.into_iter().flat_map(|resolver| resolver.certificates.unwrap_or_default());
    let mut numbers = BTreeMap::new();
    let import = |entry: Entry| {
        let name = file_name(&entry.domain.main);
        let number: &mut u32 = numbers.entry(name.clone()).or_default();
        *number += 1;
        let name = if *number == 1 { name } else { format!("{name}-{number}") };
        let origin = CertificateOrigin::File { path: format!("{name}.pem").into() };
        let pem = decode(&entry).ok_or(CertificateProblemKind::Damaged);
        let parsed =
            pem.and_then(|pem| CertificateWithKey::parse(pem.reveal(), origin, name.clone()));
        (name, parsed)
    };
    Ok(entries.map(import).collect())
}

fn parse_resolvers(text: &str) -> Result<Vec<Resolver>, AcmeJsonError> {
    // A resolver without certificates has `null` for them, but the key exists.
    let has_list = |resolver: &Resolver| resolver.certificates.is_some();
    if let Ok(one) = serde_json::from_str::<Resolver>(text)
        && has_list(&one)
    {
        return Ok(vec![one]);
    }
    let all: BTreeMap<String, Resolver> = serde_json::from_str(text).map_err(|_| AcmeJsonError)?;
    Ok(all.into_values().collect())
}

/// Returns the certificate with its chain, and the key.
fn decode(entry: &Entry) -> Option<SecretPem> {
    let mut pem = Zeroizing::new(String::new());
    for part in [&entry.certificate, &entry.key] {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(part.as_bytes()).ok()?);
        pem.push_str(std::str::from_utf8(&bytes).ok()?);
        pem.push('\n');
    }
    Some(SecretPem::new(pem))
}

/// `*.example.com` becomes `wildcard.example.com`. Characters that are not part of a domain are left out.
fn file_name(domain: &str) -> String {
    let name = domain.replace('*', "wildcard");
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name: String = name.chars().filter(legal).collect();
    name.trim_start_matches('.').to_owned()
}
