//! The private key of a certificate, and the request that it signs.

use super::super::{
    acme_host::AcmeHost,
    error::{AcmeError, FailureKind},
    settings::AcmeKeyType,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;
use zeroize::Zeroizing;

/// The longest time that `openssl` has to generate a key.
const GENERATION_TIMEOUT: Duration = Duration::from_secs(30);
const OPENSSL_WORDS: [&str; 5] =
    ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

/// Generates a key, in PEM form.
pub(super) async fn generate_key(key_type: AcmeKeyType) -> Result<Zeroizing<String>, AcmeError> {
    match key_type {
        AcmeKeyType::Ecdsa => {
            let pair = KeyPair::generate().map_err(key_error)?;
            Ok(Zeroizing::new(pair.serialize_pem()))
        }
        AcmeKeyType::Rsa => generate_rsa().await,
    }
}

/// The library for keys cannot generate RSA keys, and the crate that can has an open advisory (RUSTSEC-2023-0071).
async fn generate_rsa() -> Result<Zeroizing<String>, AcmeError> {
    let mut command = Command::new("openssl");
    command.args(OPENSSL_WORDS).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(GENERATION_TIMEOUT, command.output()).await;
    let missing = |error| key_error(format!("cannot run openssl for an RSA key: {error}"));
    let output = output.map_err(|_| missing("it takes too long".to_owned()))?;
    let output = output.map_err(|error| missing(error.to_string()))?;
    let key = Zeroizing::new(output.stdout);
    match str::from_utf8(&key) {
        Ok(text) if output.status.success() => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(missing(format!("it ended with {}", output.status))),
    }
}

/// Returns the request for a certificate in DER form, and the public key that the certificate must have.
pub(super) fn sign_request(host: &AcmeHost, key: &str) -> Result<(Vec<u8>, Vec<u8>), AcmeError> {
    let pair = KeyPair::from_pem(key).map_err(key_error)?;
    let mut params = CertificateParams::new(host.names()).map_err(key_error)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&pair).map_err(key_error)?;
    Ok((request.der().to_vec(), pair.subject_public_key_info()))
}

fn key_error(error: impl std::fmt::Display) -> AcmeError {
    AcmeError::new(FailureKind::Key, error)
}
