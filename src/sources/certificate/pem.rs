//! The sections of a PEM file: certificates and private keys.
//!
//! Pure.

use super::{
    problem::CertificateProblemKind as Kind,
    x509::{self, X509Certificate},
};
use crate::support::secret::SecretPem;
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::fmt;
use zeroize::Zeroizing;

/// Content of one file. Sections that are neither certificates nor keys are ignored.
#[derive(Debug, Default)]
pub(super) struct PemFile {
    /// In the order of the file.
    pub certificates: Vec<PemCertificate>,
    pub keys: Vec<PemKey>,
    /// Why a key cannot be used: [`Kind::EncryptedKey`] or [`Kind::UnsupportedKey`].
    pub key_defect: Option<Kind>,
    /// [`Kind::NotPem`] if there is no section at all; [`Kind::Damaged`] if a certificate or key cannot be parsed, or its
    /// last line is missing.
    pub defect: Option<Kind>,
}

/// A certificate: its PEM text, without empty lines, and what it says.
#[derive(Debug)]
pub(super) struct PemCertificate {
    pub text: String,
    pub x509: X509Certificate,
}

/// A private key: its PEM text, without empty lines.
pub(super) struct PemKey {
    pub text: SecretPem,
    /// The SubjectPublicKeyInfo that belongs to the key, in DER.
    pub public_key: Vec<u8>,
}

struct Section<'a> {
    label: &'a str,
    /// The lines including the first and the last, without empty lines.
    lines: Vec<&'a str>,
}

/// Parses the text of a file.
pub(super) fn parse_pem(text: &str) -> PemFile {
    let (sections, is_complete) = split_sections(text);
    let defect = match () {
        () if !is_complete => Some(Kind::Damaged),
        () if sections.is_empty() => Some(Kind::NotPem),
        () => None,
    };
    let mut file = PemFile { defect, ..PemFile::default() };
    for section in &sections {
        file.add_section(section);
    }
    file
}

impl PemFile {
    fn add_section(&mut self, section: &Section<'_>) {
        match section.label {
            "CERTIFICATE" => match parse_certificate(section) {
                Some(certificate) => self.certificates.push(certificate),
                None => self.defect = Some(Kind::Damaged),
            },
            "ENCRYPTED PRIVATE KEY" => self.key_defect = Some(Kind::EncryptedKey),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => self.add_key(section),
            _ => {}
        }
    }

    fn add_key(&mut self, section: &Section<'_>) {
        // "Proc-Type: 4,ENCRYPTED", RFC 1421.
        if section.lines.iter().any(|line| line.starts_with("Proc-Type:")) {
            self.key_defect = Some(Kind::EncryptedKey);
            return;
        }
        let text = section.to_text();
        let Ok(der) = PrivateKeyDer::from_pem_slice(text.as_bytes()).map(Zeroizing::new) else {
            self.defect = Some(Kind::Damaged);
            return;
        };
        let public_key =
            any_supported_type(&der).ok().and_then(|key| Some(key.public_key()?.to_vec()));
        match public_key {
            Some(public_key) => self.keys.push(PemKey { text: SecretPem::new(text), public_key }),
            None => self.key_defect = Some(Kind::UnsupportedKey),
        }
    }
}

impl Section<'_> {
    /// Returns the lines as text. The buffer never grows, so no copy of a key is left behind in memory.
    fn to_text(&self) -> Zeroizing<String> {
        let length = self.lines.iter().map(|line| line.len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl fmt::Debug for PemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemKey").field("text", &self.text).finish_non_exhaustive()
    }
}

fn parse_certificate(section: &Section<'_>) -> Option<PemCertificate> {
    let text = section.to_text().to_string();
    let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
    let x509 = x509::parse_x509(&der)?;
    Some(PemCertificate { text, x509 })
}

/// Returns the sections, and whether each has its last line. Text between sections is a comment (RFC 7468, 2).
fn split_sections(text: &str) -> (Vec<Section<'_>>, bool) {
    let (mut sections, mut open, mut is_complete) = (Vec::new(), None, true);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(label) = boundary_label(line, "-----BEGIN ") {
            let previous = open.replace(Section { label, lines: vec![line] });
            is_complete &= previous.is_none();
            continue;
        }
        let Some(mut section) = open.take() else { continue };
        section.lines.push(line);
        if boundary_label(line, "-----END ") == Some(section.label) {
            sections.push(section);
        } else {
            open = Some(section);
        }
    }
    is_complete &= open.is_none();
    (sections, is_complete)
}

fn boundary_label<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}
