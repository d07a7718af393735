//! The client of one CA. Only this folder uses the library of the ACME protocol.

mod challenge;
mod http;
mod key;
mod key_change;
mod order;
mod retry;

pub(crate) use challenge::Solver;
pub use challenge::TokenRequest;
pub(crate) use challenge::is_token_path;
pub(crate) use http::unix_now;
pub(crate) use order::Issued;

use super::{
    acme_host::AcmeHost,
    decide::Order,
    error::{AcmeError, FailureKind},
    ledger::RenewalWindow,
    settings::{AcmeSettings, DirectoryUrl},
    store::Store,
};
use http::{AcmeHttp, Notes};
use instant_acme::{
    Account, AccountCredentials, CertificateIdentifier, ExternalAccountKey, NewAccount,
};
use key_change::StoredAccount;
use retry::{retry_nonce, translate};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The largest difference of the clocks at which orders are made, in seconds.
const MAX_SKEW: i64 = 300;

/// A CA with an account.
#[derive(Clone)]
pub(crate) struct Client {
    account: Account,
    http: AcmeHttp,
    store: Store,
    directory: DirectoryUrl,
    settings: Arc<AcmeSettings>,
}

impl Client {
    /// Uses the stored account, or registers one, which agrees to the CA's terms.
    ///
    /// # Errors
    /// They apply to all orders.
    pub(crate) async fn connect(
        settings: Arc<AcmeSettings>,
        directory: DirectoryUrl,
        store: Store,
    ) -> Result<Self, AcmeError> {
        let http = AcmeHttp::new(directory.as_str(), settings.ca_file.as_deref())?;
        let account = match store.read_account() {
            Some(text) => restore(&http, &store, &text).await,
            None => register(&http, &settings, &directory, &store).await,
        };
        let account = account.map_err(AcmeError::of_account)?;
        check_clock(&http.notes()).map_err(AcmeError::of_account)?;
        Ok(Self { account, http, store, directory, settings })
    }

    pub(crate) fn notes(&self) -> Notes {
        self.http.notes()
    }

    /// Returns the URL that identifies the account.
    pub(crate) fn account_id(&self) -> &str {
        self.account.id()
    }

    /// Returns when the CA wants a certificate to be renewed, and the seconds until it wants to be asked again.
    pub(crate) async fn ask_window(
        &self,
        ari_id: &str,
    ) -> Result<(RenewalWindow, Option<i64>), AcmeError> {
        let id = predecessor(ari_id)?;
        let answer = self.account.renewal_info(&id).await;
        let (info, retry) = answer.map_err(translate)?;
        let window = &info.suggested_window;
        let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
        Ok((RenewalWindow { start, end }, i64::try_from(retry.as_secs()).ok()))
    }

    /// Replaces the key of the account. The new one is on disk before the CA's decision. If that remains unknown, the
    /// next [`Client::connect`] finds out which key the CA has.
    pub(crate) async fn replace_account_key(&self) -> Result<Self, AcmeError> {
        let (store, http) = (&self.store, &self.http);
        let old = StoredAccount::parse(&store.read_account().ok_or_else(key_change::damaged)?)?;
        let new = old.with_new_key()?;
        store.write_next_account(&new.text()?).map_err(storage_error)?;
        if let Err(error) = key_change::replace_key(http, &old, &new).await {
            if !key_change::is_result_unknown(&error) {
                store.remove_next_account().map_err(storage_error)?;
            }
            return Err(error);
        }
        let account = adopt_next(http, store, &new).await?;
        Ok(Self { account, ..self.clone() })
    }

    /// Orders a certificate.
    ///
    /// # Errors
    /// A failure of the order, or with [`super::error::ErrorScope::Account`] one of all orders.
    pub(crate) async fn order(&self, order: &Order, solver: &Solver) -> Result<Issued, AcmeError> {
        check_clock(&self.notes()).map_err(AcmeError::of_account)?;
        let result = order::run(self, order, solver).await;
        result.map_err(|error| widen(error, &order.host))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Uses the stored account. If a replacement of its key was interrupted, the CA's answer decides which key is used.
async fn restore(http: &AcmeHttp, store: &Store, text: &str) -> Result<Account, AcmeError> {
    let next = store.read_next_account().and_then(|text| StoredAccount::parse(&text).ok());
    if let Some(next) = next {
        match adopt_next(http, store, &next).await {
            Err(error) if error.kind == FailureKind::UnknownAccount => {
                store.remove_next_account().map_err(storage_error)?;
            }
            result => return result,
        }
    }
    let credentials: AccountCredentials =
        serde_json::from_str(text).map_err(|_| key_change::damaged())?;
    let builder = Account::builder_with_http(Box::new(http.clone()));
    builder.from_credentials(credentials).await.map_err(translate)
}

/// Stores an account with a new key in place of the old one, if the CA knows the key.
async fn adopt_next(
    http: &AcmeHttp,
    store: &Store,
    next: &StoredAccount,
) -> Result<Account, AcmeError> {
    let account = next.find(http).await?;
    store.write_account(&next.text()?).map_err(storage_error)?;
    store.remove_next_account().map_err(storage_error)?;
    Ok(account)
}

fn storage_error(error: impl std::fmt::Display) -> AcmeError {
    AcmeError::new(FailureKind::Storage, error)
}

async fn register(
    http: &AcmeHttp,
    settings: &AcmeSettings,
    directory: &DirectoryUrl,
    store: &Store,
) -> Result<Account, AcmeError> {
    let contact: Vec<_> = settings.email.iter().map(|email| format!("mailto:{email}")).collect();
    let contact: Vec<_> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let eab = settings.eab.as_ref().map(|eab| ExternalAccountKey::new(eab.kid.clone(), &eab.key));
    let builder = || Account::builder_with_http(Box::new(http.clone()));
    let url = || directory.as_str().to_owned();
    let (account, credentials) = retry_nonce!(builder().create(&new, url(), eab.as_ref()))?;
    let text = serde_json::to_string(&credentials).map(Zeroizing::new);
    let text =
        text.map_err(|_| AcmeError::new(FailureKind::Storage, "cannot store the account"))?;
    store.write_account(&text).map_err(storage_error)?;
    Ok(account)
}

/// # Errors
/// If the clocks differ too much: certificates would seem to be expired, or not valid yet.
fn check_clock(notes: &Notes) -> Result<(), AcmeError> {
    match notes.skew {
        Some(skew) if MAX_SKEW < skew.abs() => {
            let side = if 0 < skew { "behind" } else { "ahead of" };
            let text =
                format!("the local clock is {} s {side} the CA's; set the clock", skew.abs());
            Err(AcmeError::new(FailureKind::Clock, text))
        }
        _ => Ok(()),
    }
}

/// A rate limit applies to all orders, unless the CA's explanation names the host or its domain.
fn widen(error: AcmeError, host: &AcmeHost) -> AcmeError {
    match error.kind {
        FailureKind::RateLimited if !error.text.contains(host.parent()) => error.of_account(),
        FailureKind::Account
        | FailureKind::UnknownAccount
        | FailureKind::Clock
        | FailureKind::Unreachable => error.of_account(),
        FailureKind::Server if error.retry_after.is_some() => error.of_account(),
        _ => error,
    }
}

fn predecessor(ari_id: &str) -> Result<CertificateIdentifier<'_>, AcmeError> {
    let parts = ari_id.split_once('.');
    let parts = parts.ok_or_else(|| AcmeError::new(FailureKind::BadRequest, "no identifier"))?;
    Ok(CertificateIdentifier { authority_key_identifier: parts.0.into(), serial: parts.1.into() })
}
