//! Errors of the protocol's library, and requests whose nonce the CA rejects.

use super::{
    super::error::{AcmeError, FailureKind},
    http::{problem_kind, problem_text},
};
use instant_acme::Error;

/// The library repeats a request three times, each time with the nonce of the last answer. Together that is enough for
/// a CA that rejects half of all nonces.
pub(super) const MAX_TRIES: usize = 20;

/// Repeats a request, given as an expression, whose nonce the CA rejects. A rejection has no effect at the CA.
///
/// This is a macro because a future of an `AsyncFnMut` is not known to be `Send`.
macro_rules! retry_nonce {
    ($request:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            match $request.await {
                Err(error)
                    if $crate::sources::acme::client::retry::is_bad_nonce(&error)
                        && tries < $crate::sources::acme::client::retry::MAX_TRIES => {}
                result => break result.map_err($crate::sources::acme::client::retry::translate),
            }
        }
    }};
}
pub(super) use retry_nonce;

pub(super) fn is_bad_nonce(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

/// Converts an error of the library. Own errors pass through it as they are.
pub(super) fn translate(error: Error) -> AcmeError {
    match error {
        Error::Api(problem) => AcmeError::new(problem_kind(&problem), problem_text(&problem)),
        Error::Other(error) => match error.downcast::<AcmeError>() {
            Ok(error) => *error,
            Err(error) => AcmeError::new(FailureKind::BadResponse, error),
        },
        Error::Timeout(_) => {
            AcmeError::new(FailureKind::Timeout, "the CA does not finish the order")
        }
        Error::Crypto | Error::KeyRejected => AcmeError::new(FailureKind::Key, error),
        error => AcmeError::new(FailureKind::BadResponse, error),
    }
}
