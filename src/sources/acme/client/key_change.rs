//! The replacement of an account's key (RFC 8555, 7.3.5).
//!
//! The protocol's library can replace a key, too, but creates the new one in memory, and returns it after the CA's
//! answer: if the program ended in between, the account would be lost. Here the caller stores the new key first.

use super::{
    http::AcmeHttp,
    retry::{MAX_TRIES, retry_nonce, translate},
};
use crate::sources::acme::error::{AcmeError, FailureKind};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use instant_acme::{Account, Key};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The account as the protocol's library stores it.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAccount {
    /// The account's URL.
    id: String,
    /// The private key: PKCS #8 in base64url.
    key_pkcs8: Zeroizing<String>,
    /// The URL of the CA's directory.
    directory: String,
}

/// A key of an account, which signs requests.
struct AccountKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl StoredAccount {
    pub(super) fn parse(text: &str) -> Result<Self, AcmeError> {
        serde_json::from_str(text).map_err(|_| damaged())
    }

    /// Returns the account with a new key.
    pub(super) fn with_new_key(&self) -> Result<Self, AcmeError> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new());
        let key = key.map_err(|_| AcmeError::new(FailureKind::Key, "cannot generate a key"))?;
        let key_pkcs8 = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(key.as_ref()));
        Ok(Self { id: self.id.clone(), key_pkcs8, directory: self.directory.clone() })
    }

    pub(super) fn text(&self) -> Result<Zeroizing<String>, AcmeError> {
        let text = serde_json::to_string(self).map(Zeroizing::new);
        text.map_err(|_| AcmeError::new(FailureKind::Storage, "cannot store the account"))
    }

    /// Returns the account that the CA has for this key.
    ///
    /// # Errors
    /// [`FailureKind::UnknownAccount`] if the CA does not know the key.
    pub(super) async fn find(&self, http: &AcmeHttp) -> Result<Account, AcmeError> {
        let der = self.der()?;
        let (account, _) = retry_nonce!(async {
            let der = PrivatePkcs8KeyDer::from(der.to_vec());
            let key = Key::from_pkcs8_der(der.clone_key())?;
            let builder = Account::builder_with_http(Box::new(http.clone()));
            builder.from_key((key, PrivateKeyDer::Pkcs8(der)), self.directory.clone()).await
        })?;
        Ok(account)
    }

    fn der(&self) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
        let der = BASE64_URL_SAFE_NO_PAD.decode(&*self.key_pkcs8);
        der.map(Zeroizing::new).map_err(|_| damaged())
    }

    fn key(&self) -> Result<AccountKey, AcmeError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.der()?, &random);
        Ok(AccountKey { pair: pair.map_err(|_| damaged())?, random })
    }
}

impl AccountKey {
    /// Returns the public key (RFC 7517), whose point is not compressed.
    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let coordinate = |range| point.get(range).map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "x": coordinate(1..33), "y": coordinate(33..65) })
    }

    /// Returns a signed text (RFC 7515, 7.2.2).
    fn sign(&self, protected: &Value, payload: &Value) -> Result<Value, AcmeError> {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let (protected, payload) = (encode(protected), encode(payload));
        let text = format!("{protected}.{payload}");
        let signature = self.pair.sign(&self.random, text.as_bytes());
        let failed = |_| AcmeError::new(FailureKind::Key, "cannot sign with the account's key");
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.map_err(failed)?);
        Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }
}

/// Lets the CA replace the account's key.
pub(super) async fn replace_key(
    http: &AcmeHttp,
    old: &StoredAccount,
    new: &StoredAccount,
) -> Result<(), AcmeError> {
    let (account, notes) = (&old.id, http.notes());
    let unsupported = || {
        AcmeError::new(FailureKind::BadRequest, "the CA does not support the replacement of keys")
    };
    let url = notes.key_change.ok_or_else(unsupported)?;
    let nonce_url = notes.new_nonce.ok_or_else(unsupported)?;
    let (old, new) = (old.key()?, new.key()?);
    let header = json!({ "alg": "ES256", "jwk": new.jwk(), "url": url });
    let change = new.sign(&header, &json!({ "account": account, "oldKey": old.jwk() }))?;
    for _ in 0..MAX_TRIES {
        let nonce = http.read_nonce(&nonce_url).await.map_err(translate)?;
        let header = json!({ "alg": "ES256", "kid": account, "nonce": nonce, "url": url });
        let body = old.sign(&header, &change)?;
        if http.post_jose(&url, body.to_string()).await.map_err(translate)?.is_success() {
            return Ok(());
        }
        // The nonce was rejected.
    }
    Err(AcmeError::new(FailureKind::BadResponse, "the CA rejects all nonces"))
}

/// Whether the CA may have replaced the key, although the request failed.
pub(super) fn is_result_unknown(error: &AcmeError) -> bool {
    matches!(
        error.kind,
        FailureKind::Unreachable
            | FailureKind::Server
            | FailureKind::BadResponse
            | FailureKind::Timeout
            | FailureKind::Storage
    )
}

pub(super) fn damaged() -> AcmeError {
    let text = "account.json is damaged; restore it, or remove it to register again";
    AcmeError::new(FailureKind::Account, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn signature_is_of_the_key_that_is_named() {
        let (id, directory) = ("https://ca.example/1".to_owned(), "https://ca.example".to_owned());
        let account = StoredAccount { id, key_pkcs8: Zeroizing::default(), directory };
        let account = account.with_new_key().unwrap();
        let again = StoredAccount::parse(&account.text().unwrap()).unwrap();
        let (key, jwk) = (account.key().unwrap(), again.key().unwrap().jwk());
        let signed = key.sign(&json!({ "alg": "ES256" }), &json!({ "a": 1 })).unwrap();
        let decode = |text: &Value| BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
        let point = [vec![4], decode(&jwk["x"]), decode(&jwk["y"])].concat();
        let text = [&signed["protected"], &signed["payload"]].map(|part| part.as_str().unwrap());
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        public.verify(text.join(".").as_bytes(), &decode(&signed["signature"])).unwrap();
        assert_eq!(decode(&signed["payload"]), b"{\"a\":1}");
    }
}
