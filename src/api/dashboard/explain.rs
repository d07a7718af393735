//! The answer of the explain box.
//!
//! Pure.

use crate::{
    haproxy::stats::Counters,
    report::{
        StateSnapshot,
        explain::{self, RequestOutcome, request::ExplainRequest},
        explain_text::format_explanation,
    },
};
use anstream::adapter::strip_str;

/// The explanation of a request, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainText {
    pub served: bool,
    /// Several lines, shown as preformatted text.
    pub text: String,
}

/// Explains a GET of this URL. Without a scheme, `http://` is assumed.
pub fn explain_url(url: &str, state: &StateSnapshot, counters: Option<&Counters>) -> ExplainText {
    let url = url.trim();
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let request = match (whole.parse(), "GET".parse()) {
        (Ok(url), Ok(method)) => ExplainRequest::new(method, url),
        (Err(error), _) | (_, Err(error)) => {
            return ExplainText { served: false, text: format!("This is not a URL: {error}") };
        }
    };
    let explanation = explain::explain(&request, state, counters);
    let served = explanation.outcome == RequestOutcome::Served;
    ExplainText { served, text: strip_str(&format_explanation(&explanation)).to_string() }
}
